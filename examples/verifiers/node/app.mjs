// A service of one route: who asks? It answers from memory, and knows within a second when a session has ended.
import { createServer } from "node:http";
import { Verifier } from "./verifier.mjs";

const { HANDSTAMP_URL, HANDSTAMP_KEY, PORT = "8097" } = process.env; // the key may: handstamp.revocations, handstamp.introspect
const verifier = await new Verifier(HANDSTAMP_URL, HANDSTAMP_KEY).open();

const server = createServer(async (req, res) => {
  const token = /^Bearer +(\S+)$/i.exec(req.headers.authorization ?? "")?.[1] ?? "";
  const permission = new URL(req.url, "http://localhost").searchParams.get("permission");
  const [status, out] = await verifier.check(token, permission).then((p) => [200, p], (err) => [err.status ?? 503, { code: err.code ?? "unavailable" }]);
  res.writeHead(status, { "Content-Type": "application/json", "Cache-Control": "no-store" }).end(JSON.stringify(out));
});
server.listen(Number(PORT), "127.0.0.1", () => console.log(`verifier: http://127.0.0.1:${server.address().port}`));
