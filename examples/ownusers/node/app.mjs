// An application that keeps its own users and asks Handstamp about sessions, over HTTP. Node's standard library only.
import { createServer } from "node:http";
import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";

const { HANDSTAMP_URL, HANDSTAMP_KEY: KEY, PORT = "8093", TIMEOUT = "5" } = process.env; // the key may: handstamp.start, handstamp.admin
const users = new Map(); // stands for your table: id → user
const tries = new Map(); // of one process; several share a table
const NOBODY = { id: "0", salt: "00".repeat(16), hash: Buffer.alloc(64) }; // stands in for an unknown address: it takes as long

class Refused extends Error {
  constructor(status, code) { super(code); this.status = status; this.code = code; }
}

// ask asks Handstamp. What is no clear answer about the user is 503: an outage logs nobody out.
async function ask(method, path, token, body, headers = {}) {
  const init = { method, headers: { ...headers, Authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(TIMEOUT * 1000) };
  if (body) {
    init.body = JSON.stringify(body);
    init.headers["Content-Type"] = "application/json";
  }
  const answer = await fetch(HANDSTAMP_URL + path, init).catch(() => { throw new Refused(503, "unavailable"); });
  const json = await answer.json().catch(() => null); // some answers have no body
  if (answer.ok) return { headers: answer.headers, json };
  // Said of our own key it would say nothing about the user.
  if ([401, 403, 404].includes(answer.status) && token !== KEY && json) throw new Refused(answer.status, json.code);
  throw new Refused(503, "unavailable");
}

const hashed = (password, salt) => promisify(scrypt)(password, Buffer.from(salt, "hex"), 64, { N: 2 ** 14, r: 8, p: 5 });
const canonical = (email) => email.trim().toLowerCase();
const byEmail = (email) => [...users.values()].find((user) => user?.email === email);

// prove returns the user if the password is right. A try counts before the password is looked at.
async function prove(user, key, password, wrong) {
  if (tries.size > 100_000) tries.clear();
  let tried = tries.get(key);
  if (!tried || tried.until < Date.now()) tries.set(key, (tried = { count: 0, until: Date.now() + 300_000 }));
  if (tried.count++ >= 5) throw new Refused(429, "too_many_attempts");
  const seen = user ?? NOBODY;
  const right = timingSafeEqual(await hashed(password, seen.salt), seen.hash);
  if (!right || !user) throw new Refused(wrong, "invalid_credentials");
  if (user.disabled) throw new Refused(403, "account_disabled"); // said only to who knows the password
  tries.delete(key);
  return seen; // the row that was looked at: rows are replaced, never changed
}

// begin starts a session for a user whose password was right a moment ago.
async function begin(c, user) {
  const seen = { "User-Agent": c.req.headers["user-agent"] ?? "", "X-Forwarded-For": c.req.socket.remoteAddress }; // for the list of devices
  const body = { user: user.id, roles: [user.role], methods: ["pwd"], transport: "bearer" };
  const { json } = await ask("POST", "/v1/admin/sessions", KEY, body, seen);
  const now = users.get(user.id);
  if (now !== user) { // a new password or role came in between, and this login has written the old role over the new one
    await ask("POST", "/v1/logout", json.access_token);
    await ask("PUT", `/v1/admin/users/${user.id}/roles`, KEY, { roles: now ? [now.role] : [] });
    throw new Refused(503, "unavailable");
  }
  c.cookie = json.access_token;
  await ask("POST", "/v1/logout", c.token); // the new session takes the place of the one before, if there was one
}

// who says whose this request is. Handstamp is asked each time, so the answer is never old.
async function who(c, need = "") {
  c.said = (await ask("GET", `/v1/check${need}`, c.token)).headers;
  const user = users.get(c.said.get("Handstamp-User"));
  if (!user) throw new Refused(401, "invalid_token"); // good, but of nobody in this table
  return user;
}

const routes = {
  "POST /signup": async (c) => {
    const { name, email, password } = c.body;
    const bytes = Buffer.byteLength(password);
    if (bytes < 8 || bytes > 1024) throw new Refused(422, "invalid_input");
    const salt = randomBytes(16).toString("hex");
    const hash = await hashed(password, salt);
    if (byEmail(canonical(email))) throw new Refused(409, "email_taken");
    const id = String(users.size + 1);
    users.set(id, { id, name, email: canonical(email), salt, hash, role: id === "1" ? "manager" : "customer", disabled: false });
    return [201, { id }];
  },
  "POST /login": async (c) => {
    const email = canonical(c.body.email);
    await begin(c, await prove(byEmail(email), email, c.body.password, 401));
  },
  "POST /step-up": async (c) => {
    const user = await who(c);
    await begin(c, await prove(user, user.id, c.body.password, 403));
  },
  "GET /me": async (c) => {
    const { id, name, role } = await who(c);
    return [200, { id, name, role, permissions: (c.said.get("Handstamp-Permissions") ?? "").split(" ").filter(Boolean) }];
  },
  "GET /devices": async (c) => [200, { devices: (await ask("GET", "/v1/sessions", c.token)).json.sessions }],
  // The user's own token opens the user's own sessions and no others.
  "DELETE /devices": async (c) => { await ask("DELETE", "/v1/sessions?keep=current", c.token); },
  "DELETE /devices/(\\w+)": async (c, device) => { await ask("DELETE", `/v1/sessions/${device}`, c.token); },
  "POST /logout": async (c) => { await ask("POST", "/v1/logout", c.token); c.cookie = ""; },
  "POST /logout/everywhere": async (c) => { await ask("DELETE", "/v1/sessions", c.token); c.cookie = ""; },
  "DELETE /account": async (c) => {
    const { id } = await who(c, "?max_age=300");
    users.set(id, undefined); // the entry stays, so that its id is not given again
    await ask("DELETE", `/v1/admin/users/${id}/sessions`, KEY);
    c.cookie = "";
  },
  "PUT /users/(\\d+)": async (c, id) => {
    await who(c, "?permission=users:manage");
    if (!users.get(id)) throw new Refused(404, "not_found");
    if (["manager", "customer"].includes(c.body.role)) {
      users.set(id, { ...users.get(id), role: c.body.role });
      await ask("PUT", `/v1/admin/users/${id}/roles`, KEY, { roles: [c.body.role] });
    }
    if ("disabled" in c.body) {
      users.set(id, { ...users.get(id), disabled: c.body.disabled });
      await ask("DELETE", `/v1/admin/users/${id}/sessions`, KEY);
    }
  },
};

// fromHere: another site must not make a browser change something.
function fromHere({ method, headers }) {
  if (method === "GET") return true;
  if (headers["sec-fetch-site"]) return ["same-origin", "none"].includes(headers["sec-fetch-site"]);
  return headers.origin ? headers.origin === `http://${headers.host}` : !headers.cookie;
}

async function answer(c) {
  if (!fromHere(c.req)) throw new Refused(403, "cross_origin");
  let text = "";
  for await (const part of c.req) if ((text += part).length > 65536) throw new Refused(413, "too_large");
  c.body = text ? JSON.parse(text) : {};
  for (const [pattern, handler] of Object.entries(routes)) {
    const found = `${c.req.method} ${c.req.url}`.match(`^${pattern}$`);
    if (found) return (await handler(c, ...found.slice(1))) ?? [204];
  }
  throw new Refused(404, "not_found");
}

await ask("PUT", "/v1/admin/roles/manager", KEY, { permissions: ["users:manage"] }); // what the role grants
const server = createServer(async (req, res) => {
  const c = { req, token: /(?:^|; )shop=([^;]*)/.exec(req.headers.cookie ?? "")?.[1] ?? "" };
  const [status, out] = await answer(c).catch((err) => [err.status ?? 400, { code: err.code ?? "malformed_request" }]);
  const headers = { "Cache-Control": "no-store" };
  if (c.cookie !== undefined) { // over https it is also Secure
    headers["Set-Cookie"] = `shop=${c.cookie}; Path=/; HttpOnly; SameSite=Strict${c.cookie ? "" : "; Max-Age=0"}`;
  }
  res.writeHead(status, headers).end(out && JSON.stringify(out));
});
server.listen(Number(PORT), "127.0.0.1", () => console.log(`ownusers: http://127.0.0.1:${server.address().port}`));
