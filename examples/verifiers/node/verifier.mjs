// A verifier of Handstamp's value tokens (ES256), for Node 20, with nothing but node: modules. docs/verifiers.md has the rules.
import { createPublicKey, randomBytes, verify } from "node:crypto";

const NONE = { mono: 0, wall: 0, ms: 0 };
const clock = () => ({ mono: performance.now(), wall: Date.now() }); // at this moment; a lease has to be fresh by both
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const newID = () => "vrf_0" + [...randomBytes(25)].map((b) => "0123456789abcdefghjkmnpqrstvwxyz"[b & 31]).join("");
const covers = (granted, asked) => !asked || granted.some((g) => g === asked || g === "*" || (g.endsWith(":*") && asked.startsWith(g.slice(0, -1))));
const numbers = (...all) => { if (!all.every((n) => Number.isSafeInteger(n) && n >= 0)) throw new Error("not what the protocol says"); };

export class Refused extends Error {
  constructor(status, code) { super(code); Object.assign(this, { status, code }); }
}

export class Verifier {
  #id = newID(); #log = ""; #applied = 0; #tag = ""; #low = 0; #events = new Map(); // "kind id" → its events, in order
  #lease = NONE; #pending = NONE; #period = 400; #ahead = 0; #stopped = false;
  #keys = new Map(); #keysAt = -Infinity; #keysRead;

  constructor(url, serviceKey, issuer = url, audience = issuer) { Object.assign(this, { url, issuer, audience }); this.#secret = () => serviceKey; }
  #secret;

  async open() {
    for (let tries = 1; !this.#fresh(); tries++) {
      const failed = await this.#renew().then(() => undefined, (err) => err);
      if (tries > 50) throw failed ?? new Error("the server grants no lease");
      if (failed) await sleep(50);
    }
    await this.#readKeys();
    this.#run();
    return this;
  }
  close() { this.#stopped = true; }

  // check answers who a token is of, or throws Refused: 401, 403, or 503 where that could not be found out.
  async check(token, permission) {
    let p = await this.#local(token);
    if (!p || !covers(p.permissions, permission)) p = await this.#introspect(token); // memory says yes, never no
    if (!covers(p.permissions, permission)) throw new Refused(403, "forbidden");
    return p;
  }

  async #local(token) {
    const parts = token.split(".").map((part) => Buffer.from(part, "base64url"));
    if (parts.length !== 3 || token.length > 8192) return; // opaque or encrypted
    if (parts.map((part) => part.toString("base64url")).join(".") !== token) throw new Refused(401, "invalid_token"); // a token has one spelling
    let head, c;
    try { [head, c] = parts.slice(0, 2).map((part) => JSON.parse(part)); } catch { throw new Refused(401, "invalid_token"); }
    const key = await this.#key(head?.kid), signed = Buffer.from(token.slice(0, token.lastIndexOf(".")));
    if (!key || head.alg !== "ES256" || head.typ !== "at+jwt" || !verify("sha256", signed, { key, dsaEncoding: "ieee-p1363" }, parts[2])) throw new Refused(401, "invalid_token");
    const now = (performance.now() + this.#ahead) / 1000;
    if (c.iss !== this.issuer || ![c.aud].flat().includes(this.audience) || !c.sub || !c.sid || !(c.nbf <= now + 30)) throw new Refused(401, "invalid_token");
    if (!(now < c.exp)) throw new Refused(401, "expired");
    const why = this.#hit(c, head.kid);
    if (why) throw new Refused(401, why);
    if (this.#fresh() && c.ep >= this.#low) return { user: c.sub, session: c.sid, permissions: c.permissions ?? [], from: "memory" };
  }

  // No event above the token's own number may hit its session, its user, its roles or everybody, and no event at all its key.
  #hit(c, kid) {
    let changed = false;
    for (const name of [`key ${kid}`, `session ${c.sid}`, `user ${c.sub}`, "all ", ...(c.roles ?? []).map((role) => `role ${role}`)]) {
      for (const e of this.#events.get(name) ?? []) {
        if ((e.seq <= c.ep && e.kind !== "key") || (e.except && e.except === c.sid)) continue;
        if (e.effect === "end" && e.kind !== "role") return "revoked";
        changed = true; // also an effect that is not known here
      }
    }
    return changed && "stale_token";
  }

  #fresh() {
    const now = clock(), mono = now.mono - this.#lease.mono, wall = now.wall - this.#lease.wall;
    return !this.#stopped && mono >= 0 && wall >= 0 && Math.max(mono, wall) < this.#lease.ms;
  }

  // renew makes one round trip, and answers whether the next one is due at once.
  async #renew() {
    const t0 = clock(), sent = this.#applied; // the lease counts from before the question
    const a = await this.#ask("/v1/revocations/lease", { verifier: this.#id, log: this.#log, applied: sent, tag: this.#tag }, this.#fresh() ? this.#lease.ms / 2 : 5000);
    numbers(a.head, a.low);
    if (a.reset) { // another log: nothing of what was known is known
      [this.#id, this.#log, this.#applied, this.#tag, this.#low] = [newID(), a.log, a.low, a.tag, a.low];
      [this.#lease, this.#pending, this.#events, this.#keysAt] = [NONE, NONE, new Map(), -Infinity];
      return true;
    }
    numbers(a.age_ms, a.lease_ms);
    if (a.log !== this.#log || a.lease_ms > 30_000) throw new Error("not what the protocol says");
    for (const e of a.events) {
      if (e.seq !== this.#applied + 1) throw new Error("an event is missing");
      const known = ["session", "user", "role", "key", "service_key", "all"].includes(e.kind); // else it may hit anybody
      const name = known ? `${e.kind} ${e.id}` : "all ";
      this.#events.set(name, [...(this.#events.get(name) ?? []), known ? e : { ...e, effect: "change" }]);
      [this.#applied, this.#tag] = [e.seq, e.tag];
      if (e.kind === "key") this.#keysAt = -Infinity;
    }
    if (a.low > this.#low) {
      this.#low = a.low;
      for (const [name, list] of this.#events) if (list.at(-1).seq <= a.low && !name.startsWith("key ")) this.#events.delete(name);
    }
    [this.#period, this.#ahead] = [Math.min(400, a.lease_ms / 4), Date.parse(a.now) - performance.now()];
    // A lease may be used once a question that acknowledged everything it rests on was answered.
    const lease = { ...t0, ms: a.lease_ms - 1.12 * a.age_ms, head: a.head }, complete = !a.more && this.#applied === a.head;
    if (sent >= this.#pending.head) this.#lease = this.#pending;
    if (complete && sent === a.head) this.#lease = lease;
    this.#pending = complete ? lease : NONE;
    return !complete || sent !== a.head;
  }

  async #run() {
    while (!this.#stopped) {
      const began = performance.now();
      const again = await this.#renew().catch(() => false); // the lease runs on, and then out
      if (began - this.#keysAt > 150_000) this.#readKeys().catch(() => {});
      await sleep(Math.max(0, (again ? 20 : this.#period) - (performance.now() - began)));
    }
  }

  async #key(kid) {
    if (!this.#keys.has(kid) && performance.now() - this.#keysAt > 30_000) this.#readKeys(); // made-up ids cost one read in 30 s
    if (!this.#keys.has(kid)) await this.#keysRead; // if it failed, it is not known whether there is such a key
    return this.#keys.get(kid);
  }

  #readKeys() {
    this.#keysAt = performance.now();
    this.#keysRead = this.#ask("/.well-known/jwks.json").then(({ keys }) => {
      this.#keys = new Map(keys.filter((k) => k.alg === "ES256" && k.crv === "P-256").map((k) => [k.kid, createPublicKey({ key: k, format: "jwk" })]));
    });
    this.#keysRead.catch(() => {}); // who needs it is told
    return this.#keysRead;
  }

  async #introspect(token) {
    const a = await this.#ask("/v1/introspect", { token });
    if (a.active === false) throw new Refused(401, "invalid_token");
    if (a.active !== true || !a.sub) throw new Refused(503, "unavailable");
    return { user: a.sub, session: a.sid, permissions: (a.scope ?? "").split(" ").filter(Boolean), from: "introspection" };
  }

  // ask posts, or gets where there is no body. Whatever is not the server's own clear answer is 503.
  async #ask(path, body, timeout = 2500) {
    const headers = body && { "Content-Type": "application/json", Authorization: `Bearer ${this.#secret()}` };
    const init = { method: body ? "POST" : "GET", body: body && JSON.stringify(body), headers, redirect: "error", signal: AbortSignal.timeout(Math.ceil(timeout)) };
    const answer = await fetch(this.url + path, init).catch(() => undefined);
    if (answer?.status !== 200 || answer.headers.has("Age")) throw new Refused(503, "unavailable");
    return answer.json().catch(() => { throw new Refused(503, "unavailable"); });
  }
}
