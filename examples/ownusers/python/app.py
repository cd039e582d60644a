"""An application that keeps its own users and asks Handstamp about sessions, over HTTP. Standard library only."""
import contextlib, hashlib, hmac, http.server, json, os, re, secrets, sqlite3, threading, time, urllib.request

HANDSTAMP, KEY = os.environ["HANDSTAMP_URL"], os.environ["HANDSTAMP_KEY"]  # the key may: handstamp.start, handstamp.admin
NOBODY = {"id": 0, "password": "00" * 16 + "$" + "00" * 64}  # stands in for an unknown address: it takes as long
opener = urllib.request.OpenerDirector()  # follows no redirect, asks no proxy, and a status is no exception
for handler in urllib.request.HTTPHandler, urllib.request.HTTPSHandler:
    opener.add_handler(handler())
tries, lock = {}, threading.Lock()  # of one process; several share a table
class Refused(Exception): """A "no": its status and its code."""

def ask(method, path, token, body=None, headers={}):  # what is no clear answer about the user is 503: an outage logs nobody out
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json", **headers}
    request = urllib.request.Request(HANDSTAMP + path, body and json.dumps(body).encode(), headers, method=method)
    try:
        with opener.open(request, timeout=float(os.environ.get("TIMEOUT", "5"))) as answer:
            said = json.loads(answer.read() or "null")
    except (OSError, ValueError, http.client.HTTPException):
        raise Refused(503, "unavailable")
    if answer.status < 300:
        return answer.headers, said
    if answer.status not in (401, 403, 404) or token == KEY:  # of our own key a 401 says nothing about the user
        raise Refused(503, "unavailable")
    raise Refused(answer.status, said["code"])

def query(text, *values):
    with contextlib.closing(sqlite3.connect(os.environ.get("DB", "ownusers.db"), isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        return db.execute(text, values).fetchall()

def hashed(password, salt):
    return salt + "$" + hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=5).hex()

def prove(column, value, password):  # a try counts before the password is looked at
    with lock:
        if len(tries) > 100_000: tries.clear()
        recent = [t for t in tries.get(value, []) if t > time.monotonic() - 300]
        if len(recent) >= 5: raise Refused(429, "too_many_attempts")
        tries[value] = recent + [time.monotonic()]
    user = (query(f"SELECT * FROM users WHERE {column} = ?", value) or [NOBODY])[0]
    if not hmac.compare_digest(hashed(password, user["password"].split("$")[0]), user["password"]) or user is NOBODY:
        raise Refused(401 if column == "email" else 403, "invalid_credentials")
    if user["disabled"]:  # said only to who knows the password
        raise Refused(403, "account_disabled")
    tries.pop(value, None)
    return user

class App(http.server.BaseHTTPRequestHandler):
    def who(self, need=""):  # the user of this request; Handstamp is asked each time, so the answer is never old
        self.said = ask("GET", "/v1/check" + need, self.token)[0]
        user = query("SELECT * FROM users WHERE id = ?", self.said["Handstamp-User"])
        if not user:
            raise Refused(401, "invalid_token")  # good, but of nobody in this table
        return user[0]

    def begin(self, user):  # starts a session for a user whose password was right a moment ago
        seen = {"User-Agent": self.headers.get("User-Agent", ""), "X-Forwarded-For": self.client_address[0]}  # for the list of devices
        body = {"user": str(user["id"]), "roles": [user["role"]], "methods": ["pwd"], "transport": "bearer"}
        token = ask("POST", "/v1/admin/sessions", KEY, body, seen)[1]["access_token"]
        now = query("SELECT * FROM users WHERE id = ?", user["id"])
        if now != [user]:  # a new password or role came in between, and this login has written the old role over the new one
            ask("POST", "/v1/logout", token)
            ask("PUT", f"/v1/admin/users/{user['id']}/roles", KEY, {"roles": [row["role"] for row in now]})
            raise Refused(503, "unavailable")
        self.cookie = token
        ask("POST", "/v1/logout", self.token)  # the new session takes the place of the one before, if there was one

    def sign_up(self, body):
        if not 8 <= len(body["password"].encode()) <= 1024:
            raise Refused(422, "invalid_input")
        made = query("INSERT INTO users (name, email, password, role) SELECT ?, ?, ?, iif(count(*), 'customer', 'manager') FROM users WHERE true "
                     "ON CONFLICT DO NOTHING RETURNING id", body["name"], body["email"].strip().lower(), hashed(body["password"], secrets.token_hex(16)))
        if not made:
            raise Refused(409, "email_taken")
        return 201, {"id": str(made[0]["id"])}  # the first one manages the others

    def log_in(self, body):
        self.begin(prove("email", body["email"].strip().lower(), body["password"]))

    def step_up(self, body):
        self.begin(prove("id", self.who()["id"], body["password"]))

    def me(self, _):
        user = self.who()
        return 200, {"id": str(user["id"]), "name": user["name"], "role": user["role"], "permissions": self.said.get("Handstamp-Permissions", "").split()}

    def end(self, which):  # the user's own token opens the user's own sessions and no others
        ask("DELETE", "/v1/sessions" + which, self.token)

    def log_out(self, method, path):
        ask(method, path, self.token)
        self.cookie = ""

    def delete_account(self, _):
        user = self.who("?max_age=300")["id"]
        query("DELETE FROM users WHERE id = ?", user)
        ask("DELETE", f"/v1/admin/users/{user}/sessions", KEY)
        self.cookie = ""

    def change_user(self, body, user):
        self.who("?permission=users:manage")
        if not query("SELECT 1 FROM users WHERE id = ?", user):
            raise Refused(404, "not_found")
        if body.get("role") in ("manager", "customer"):
            query("UPDATE users SET role = ? WHERE id = ?", body["role"], user)
            ask("PUT", f"/v1/admin/users/{user}/roles", KEY, {"roles": [body["role"]]})
        if "disabled" in body:
            query("UPDATE users SET disabled = ? WHERE id = ?", bool(body["disabled"]), user)
            ask("DELETE", f"/v1/admin/users/{user}/sessions", KEY)

    ROUTES = {"POST /signup": sign_up, "POST /login": log_in, "POST /step-up": step_up, "GET /me": me,
              "GET /devices": lambda app, _: (200, {"devices": ask("GET", "/v1/sessions", app.token)[1]["sessions"]}),
              "DELETE /devices": lambda app, _: app.end("?keep=current"), r"DELETE /devices/(\w+)": lambda app, _, device: app.end("/" + device),
              "POST /logout": lambda app, _: app.log_out("POST", "/v1/logout"), "POST /logout/everywhere": lambda app, _: app.log_out("DELETE", "/v1/sessions"),
              "DELETE /account": delete_account, r"PUT /users/(\d+)": change_user}

    def from_here(self):  # another site must not make a browser change something
        site, origin = self.headers.get("Sec-Fetch-Site"), self.headers.get("Origin")
        if self.command == "GET" or site:
            return self.command == "GET" or site in ("same-origin", "none")
        return origin == "http://" + self.headers["Host"] or not origin and "Cookie" not in self.headers

    def answer(self):
        cookies = dict(pair.strip().partition("=")[::2] for pair in self.headers.get("Cookie", "").split(";"))
        self.token, self.cookie, status, out = cookies.get("shop", ""), None, 404, {"code": "not_found"}
        try:
            if not self.from_here():
                raise Refused(403, "cross_origin")
            body = json.loads(self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 65536)) or "{}")
            for pattern, handler in self.ROUTES.items():
                if found := re.fullmatch(pattern, f"{self.command} {self.path}", re.ASCII):
                    status, out = handler(self, body, *found.groups()) or (204, None)
        except Refused as refused:
            status, out = refused.args[0], {"code": refused.args[1]}
        except (ValueError, KeyError, TypeError, AttributeError):
            status, out = 400, {"code": "malformed_request"}
        self.send_response(status)
        if self.cookie is not None:  # over https it is also Secure
            self.send_header("Set-Cookie", f"shop={self.cookie}; Path=/; HttpOnly; SameSite=Strict" + ("" if self.cookie else "; Max-Age=0"))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(json.dumps(out).encode() if out else b"")

    do_GET = do_POST = do_PUT = do_DELETE = answer

query("CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY AUTOINCREMENT, name, email UNIQUE, password, role, disabled NOT NULL DEFAULT 0)")
ask("PUT", "/v1/admin/roles/manager", KEY, {"permissions": ["users:manage"]})  # what the role grants
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8092"))), App)
print(f"ownusers: http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
