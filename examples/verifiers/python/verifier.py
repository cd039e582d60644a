"""A verifier of Handstamp's value tokens (ES256), for Python 3.9, standard library only. docs/verifiers.md has the rules."""
import base64, calendar, hashlib, http.client, json, secrets, threading, time, urllib.parse

# P-256 (FIPS 186-4 D.1.2.3). Checking a signature needs no secret, so plain integers will do: about 3 ms each.
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296, 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5, 1)

def double(a):  # points are (X, Y, Z) for (X/Z², Y/Z³); Z = 0 is the point at infinity
    x, y, z = a
    s, m = 4 * x * y * y % P, 3 * (x - z * z) * (x + z * z) % P
    x3 = (m * m - 2 * s) % P
    return x3, (m * (s - x3) - 8 * pow(y, 4, P)) % P, 2 * y * z % P

def add(a, b):
    if not a[2] or not b[2]:
        return a if a[2] else b
    (x1, y1, z1), (x2, y2, z2) = a, b
    u1, u2, s1, s2 = x1 * z2 * z2 % P, x2 * z1 * z1 % P, y1 * z2 ** 3 % P, y2 * z1 ** 3 % P
    if u1 == u2:
        return double(a) if s1 == s2 else (1, 1, 0)
    h, r = u2 - u1, s2 - s1
    x3 = (r * r - h ** 3 - 2 * u1 * h * h) % P
    return x3, (r * (u1 * h * h - x3) - s1 * h ** 3) % P, h * z1 * z2 % P

def es256(x, y, signed, signature):  # FIPS 186-4 6.4.2; RFC 7518 3.4: r and s are 32 bytes each
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if len(signature) != 64 or not (0 < r < N and 0 < s < N) or not (x < P and y < P) or (y * y - x ** 3 + 3 * x - B) % P:
        return False
    w, e = pow(s, -1, N), int.from_bytes(hashlib.sha256(signed).digest(), "big")
    u, v, both, sum_ = e * w % N, r * w % N, add(G, (x, y, 1)), (1, 1, 0)
    for i in reversed(range(256)):
        which = (u >> i & 1) + 2 * (v >> i & 1)
        sum_ = double(sum_)
        if which:
            sum_ = add(sum_, (None, G, (x, y, 1), both)[which])
    return sum_[2] != 0 and sum_[0] * pow(sum_[2], -2, P) % P % N == r

class Refused(Exception):
    """A "no", or 503 for what could not be found out: its status and its code."""

class Verifier:
    def __init__(self, url, service_key, issuer=None, audience=None):
        self.url, self.key, self.issuer = urllib.parse.urlsplit(url), service_key, issuer or url
        self.audience, self.lock, self.line, self.stopped = audience or self.issuer, threading.Lock(), None, False
        self.period, self.ahead, self.keys, self.keys_at, self.keys_failed = 0.4, 0.0, {}, -1e9, None
        self.reset("", 0, "")

    def reset(self, log, low, tag):  # another log: nothing of what was known is known
        self.id = "vrf_0" + "".join(secrets.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(25))
        self.log, self.applied, self.tag, self.low, self.events = log, low, tag, low, {}
        self.lease = self.pending = (0.0, 0.0, 0.0, 1 << 64)  # from (two clocks), seconds, and what it rests on

    def open(self):
        for tries in range(50):
            try:
                while self.renew() or not self.fresh():
                    time.sleep(0.02)
                break
            except (Refused, ValueError):
                if tries == 49:
                    raise
                time.sleep(0.05)
        self.read_keys()
        threading.Thread(target=self.run, daemon=True).start()
        return self

    def check(self, token, permission=None):
        """Answers who a token is of, or raises Refused: 401, 403, or 503 where that could not be found out."""
        who = self.local(token)
        if not who or not covers(who["permissions"], permission):  # memory says yes, never no
            who = self.introspect(token)
        if not covers(who["permissions"], permission):
            raise Refused(403, "forbidden")
        return who

    def local(self, token):
        if token.count(".") != 2 or len(token) > 8192:
            return None  # opaque or encrypted
        try:
            parts = [base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True) for part in token.split(".")]
            head, again = json.loads(parts[0]), ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
            key = self.key_of(head["kid"]) if again == token else None  # a token has one spelling
            good = key and head["alg"] == "ES256" and head["typ"] == "at+jwt" and es256(*key, token.rpartition(".")[0].encode(), parts[2])
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise Refused(401, "invalid_token")
        c, now = json.loads(parts[1]), time.monotonic() + self.ahead
        audience = c["aud"] if isinstance(c["aud"], list) else [c["aud"]]
        if c["iss"] != self.issuer or self.audience not in audience or not c["sub"] or not c["sid"] or c["nbf"] > now + 30:
            raise Refused(401, "invalid_token")
        if now >= c["exp"]:
            raise Refused(401, "expired")
        with self.lock:
            why, fresh = self.hit(c, head["kid"]), self.fresh() and c["ep"] >= self.low
        if why:
            raise Refused(401, why)
        return {"user": c["sub"], "session": c["sid"], "permissions": c.get("permissions", []), "from": "memory"} if fresh else None

    def hit(self, c, kid):  # no event above the token's own number may hit its session, user, roles or everybody; none at all its key
        changed = None
        for name in [("key", kid), ("session", c["sid"]), ("user", c["sub"]), ("all", ""), *(("role", role) for role in c.get("roles", []))]:
            for e in self.events.get(name, []):
                if e["seq"] <= c["ep"] and name[0] != "key" or e.get("except") == c["sid"]:
                    continue
                if e["effect"] == "end" and name[0] != "role":
                    return "revoked"
                changed = "stale_token"  # also an effect that is not known here
        return changed

    def fresh(self):
        mono, wall = time.monotonic() - self.lease[0], time.time() - self.lease[1]  # read now; a lease has to be fresh by both
        return not self.stopped and mono >= 0 and wall >= 0 and max(mono, wall) < self.lease[2]

    def renew(self):
        """Makes one round trip, and answers whether the next one is due at once."""
        mono, wall, sent = time.monotonic(), time.time(), self.applied  # the lease counts from before the question
        timeout, self.line = self.lease[2] / 2 if self.fresh() else 5, self.line or self.connect()
        try:
            a = self.ask("/v1/revocations/lease", {"verifier": self.id, "log": self.log, "applied": sent, "tag": self.tag}, self.line, timeout)
        except Refused:
            self.line = None
            raise
        with self.lock:
            if a.get("reset"):
                self.reset(a["log"], number(a["low"]), a["tag"])
                self.keys_at = -1e9
                return True
            lease, age, head = number(a["lease_ms"]) / 1000, number(a["age_ms"]) / 1000, number(a["head"])
            if a["log"] != self.log or lease > 30:
                raise ValueError("not what the protocol says")
            for e in a["events"]:
                if e["seq"] != self.applied + 1:
                    raise ValueError("an event is missing")
                known = e["kind"] in ("session", "user", "role", "key", "service_key", "all")  # else it may hit anybody
                self.events.setdefault((e["kind"], e["id"]) if known else ("all", ""), []).append(e if known else {**e, "effect": "change"})
                self.applied, self.tag = e["seq"], e["tag"]
                if e["kind"] == "key":
                    self.keys_at = -1e9
            if number(a["low"]) > self.low:
                self.low = a["low"]
                self.events = {name: list_ for name, list_ in self.events.items() if list_[-1]["seq"] > self.low or name[0] == "key"}
            self.period, self.ahead = min(0.4, lease / 4), timestamp(a["now"]) - time.monotonic()
            # A lease may be used once a question that acknowledged everything it rests on was answered.
            granted, complete = (mono, wall, lease - 1.12 * age, head), not a["more"] and self.applied == head
            if sent >= self.pending[3]:
                self.lease = self.pending
            if complete and sent == head:
                self.lease = granted
            self.pending = granted if complete else (0.0, 0.0, 0.0, 1 << 64)
            return not complete or sent != head

    def run(self):
        while not self.stopped:
            began, again = time.monotonic(), False
            try:
                again = self.renew()
                if began - self.keys_at > 150:
                    self.read_keys()
            except (Refused, ValueError, KeyError, TypeError):
                pass  # the lease runs on, and then out
            time.sleep(max(0, (0.02 if again else self.period) - (time.monotonic() - began)))

    def key_of(self, kid):
        if kid not in self.keys and time.monotonic() - self.keys_at > 30:  # made-up ids cost one read in 30 s
            self.read_keys()
        if kid not in self.keys and self.keys_failed:
            raise self.keys_failed  # then it is not known whether there is such a key
        return self.keys.get(kid)

    def read_keys(self):
        self.keys_at, self.keys_failed = time.monotonic(), Refused(503, "unavailable")
        keys = [k for k in self.ask("/.well-known/jwks.json")["keys"] if k.get("alg") == "ES256" and k.get("crv") == "P-256"]
        self.keys = {k["kid"]: tuple(int.from_bytes(base64.urlsafe_b64decode(k[xy] + "="), "big") for xy in "xy") for k in keys}
        self.keys_failed = None

    def introspect(self, token):
        a = self.ask("/v1/introspect", {"token": token})
        if a.get("active") is False:
            raise Refused(401, "invalid_token")
        if a.get("active") is not True or not a.get("sub"):
            raise Refused(503, "unavailable")
        return {"user": a["sub"], "session": a.get("sid"), "permissions": a.get("scope", "").split(), "from": "introspection"}

    def connect(self):
        return (http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection)(self.url.netloc)

    def ask(self, path, body=None, line=None, timeout=2.5):  # whatever is not the server's own clear answer is 503
        headers = {"Authorization": "Bearer " + self.key, "Content-Type": "application/json"} if body else {}
        line = line or self.connect()
        line.timeout = timeout
        if line.sock:
            line.sock.settimeout(timeout)
        try:
            line.request("POST" if body else "GET", self.url.path + path, body and json.dumps(body), headers)
            answer = line.getresponse()
            said = json.loads(answer.read(16 << 20))
        except (OSError, ValueError, http.client.HTTPException):
            raise Refused(503, "unavailable") from None
        if answer.status != 200 or answer.getheader("Age") or not isinstance(said, dict):
            raise Refused(503, "unavailable")
        return said

def covers(granted, asked):
    return not asked or any(g in (asked, "*") or g.endswith(":*") and asked.startswith(g[:-1]) for g in granted)

def number(n):
    if type(n) is not int or n < 0:
        raise ValueError("not what the protocol says")
    return n

def timestamp(text):  # RFC 3339 in UTC; more digits than a float has are of no interest
    seconds, _, fraction = text.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) + float("0." + (fraction or "0"))
