"""A service of one route: who asks? It answers from memory, and knows within a second when a session has ended."""
import http.server, json, os, re, urllib.parse
from verifier import Refused, Verifier

verifier = Verifier(os.environ["HANDSTAMP_URL"], os.environ["HANDSTAMP_KEY"]).open()  # the key may: handstamp.revocations, handstamp.introspect

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        token = re.match(r"Bearer +(\S+)$", self.headers.get("Authorization", ""), re.IGNORECASE)
        permission = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("permission", [None])[0]
        try:
            status, said = 200, verifier.check(token[1] if token else "", permission)
        except Refused as no:
            status, said = no.args[0], {"code": no.args[1]}
        text = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_): pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8098"))), App)
print(f"verifier: http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
