package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
)

func queryEscape(s string) string { return url.QueryEscape(s) }

const friend = "https://app.example"

func trustFriend(o *handstamp.Options) { o.Origins = []string{friend} }

// unsafeCalls are all calls that change something and that a browser could send.
func unsafeCalls() []string {
	var list []string
	for _, line := range contract {
		f := strings.Fields(line)
		if f[0] != "GET" && f[1] != "/v1/check" {
			list = append(list, f[0]+" "+strings.NewReplacer("{id}", "x", "{name}", "x", "{kid}", "x").Replace(f[1]))
		}
	}
	return append(list, "POST /login", "POST /logout")
}

var originMatrix = []struct {
	site, origin string
	cookie       bool // what is decided when the request carries our cookie
	bare         bool // and when it does not
}{
	{"same-origin", "own", true, true},
	{"same-origin", "", true, true},
	{"same-origin", "null", true, true}, // the browser itself says where it comes from
	{"none", "", true, true},
	{"same-site", "own", false, false},
	{"same-site", "https://sub.example", false, false},
	{"same-site", "", false, false},
	{"cross-site", "https://evil.example", false, false},
	{"cross-site", "null", false, false},
	{"cross-site", "", false, false},
	{"cross-site", friend, true, true},
	{"same-site", friend, true, true},
	{"nonsense", "own", false, false},
	{"Same-Origin", "own", false, false},
	{"", "own", true, true},
	{"", friend, true, true},
	{"", "https://evil.example", false, false},
	{"", "null", false, false},
	{"", "http-twin", false, false},
	{"", "http://app.example", false, false},
	{"", "https://app.example.evil.example", false, false},
	{"", "", false, true},
}

// TestC7_OriginMatrix: unsafe methods with a cookie pass from where they may come and from nowhere else.
func TestC7_OriginMatrix(t *testing.T) {
	w := newWorld(t, settings{auth: trustFriend})
	c := w.signUp("ada@example.com", "session", "cookie")
	for _, row := range originMatrix {
		for _, call := range unsafeCalls() {
			w.matrix(c, call, row.site, row.origin, row.cookie)
		}
		// Safe methods change nothing and pass.
		c.do("GET", "/v1/session", nil, "Sec-Fetch-Site", row.site, "Origin", w.origin(row.origin)).want(200)
	}
	c.get("/v1/session").want(200) // nothing of all that logged anybody out
}

// TestC8_OriginMatrixBeforeLogin: the same without a session: nobody is logged in or out by another site.
func TestC8_OriginMatrixBeforeLogin(t *testing.T) {
	w := newWorld(t, settings{auth: trustFriend})
	for _, row := range originMatrix {
		for _, call := range unsafeCalls() {
			w.matrix(w.stranger(), call, row.site, row.origin, row.bare)
		}
	}
	a := w.stranger().do("POST", "/v1/signup", m{"email": "x@example.com", "password": typed}, "Origin", "https://evil.example").refused(403, "cross_origin")
	if len(a.setCookies()) != 0 {
		t.Error("a login from another site set a cookie")
	}
	w.stranger().post("/v1/login", m{"email": "x@example.com", "password": typed}).refused(401, "invalid_credentials")
}

func (w *world) origin(name string) string {
	switch name {
	case "own":
		return w.http.URL
	case "http-twin":
		return strings.Replace(w.http.URL, "https:", "http:", 1)
	}
	return name
}

// matrix sends one call that would fail for a reason of its own, unless the origin rules refuse it before.
func (w *world) matrix(c *client, call, site, origin string, pass bool) {
	w.t.Helper()
	f := strings.Fields(call)
	body := any("{\"nothing\":1}")
	if f[1] == "/login" || f[1] == "/logout" {
		return // TestPages
	}
	a := c.do(f[0], f[1], body, "Sec-Fetch-Site", site, "Origin", w.origin(origin))
	if got := a.body["code"] != "cross_origin"; got != pass {
		w.t.Errorf("%s with Sec-Fetch-Site %q and Origin %q = %d %v, want passed = %v", call, site, origin, a.status, a.body["code"], pass)
	}
}

// TestLoopbackOrigins: on loopback localhost, 127.0.0.1 and [::1] with one port are one origin, also in origins and for
// the headers of CORS; another port, another scheme and a name that only looks like it are not.
func TestLoopbackOrigins(t *testing.T) {
	for _, entry := range []string{"http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000"} {
		w := newWorld(t, settings{auth: func(o *handstamp.Options) { o.Origins = []string{entry} }})
		c := w.signUp("ada@example.com", "session", "cookie")
		for origin, ok := range map[string]bool{
			"http://localhost:3000": true, "http://127.0.0.1:3000": true, "http://[::1]:3000": true,
			"http://localhost:3001": false, "http://127.0.0.1:3001": false, "http://[::1]": false, "http://localhost": false,
			"https://localhost:3000": false, "https://[::1]:3000": false, "http://127.0.0.2:3000": false, "http://[::2]:3000": false,
			"http://localhost.evil.example:3000": false, "http://evil.localhost:3000": false, "http://localhost:3000.evil.example": false,
			"http://0.0.0.0:3000": false, "http://[::]:3000": false, "http://127.1:3000": false, "http://[::ffff:127.0.0.1]:3000": false,
			"http://192.168.0.1:3000": false, friend: false, "null": false,
		} {
			for _, site := range []string{"", "cross-site", "same-site"} {
				for _, one := range []*client{c, w.stranger()} {
					a := one.do("POST", "/v1/logout", `{"nothing":1}`, "Origin", origin, "Sec-Fetch-Site", site)
					if got := a.body["code"] != "cross_origin"; got != ok {
						t.Errorf("origins %s: a request from %s with Sec-Fetch-Site %q = %d, want passed = %v", entry, origin, site, a.status, ok)
					}
				}
			}
			a := c.do("OPTIONS", "/v1/sessions", nil, "Origin", origin, "Access-Control-Request-Method", "DELETE").want(204)
			allowed := a.header.Get("Access-Control-Allow-Origin")
			if (allowed != "") != ok || ok && allowed != origin || ok != (a.header.Get("Access-Control-Allow-Credentials") == "true") {
				t.Errorf("origins %s: CORS for %s is %q, want allowed = %v", entry, origin, allowed, ok)
			}
		}
		c.get("/v1/session").want(200)
	}
	// An origin elsewhere has no twins.
	w := newWorld(t, settings{auth: trustFriend})
	for _, origin := range []string{"https://localhost", "https://127.0.0.1", "https://[::1]"} {
		w.stranger().do("POST", "/v1/logout", nil, "Origin", origin).refused(403, "cross_origin")
	}
}

// TestC13_CORS: an answer that scripts of another origin may read is for the origins that were named, and for nobody
// who looks like them.
func TestC13_CORS(t *testing.T) {
	w := newWorld(t, settings{auth: trustFriend})
	c := w.signUp("ada@example.com", "session", "cookie")
	for origin, ok := range map[string]bool{
		friend: true, "": false, "null": false, "*": false, "https://app.example.": false, "https://app.example/": false,
		"http://app.example": false, "https://app.example:443": false, "https://app.example:8443": false, "https://APP.example": false,
		"HTTPS://app.example": false, "https://xapp.example": false, "https://app.example.evil.example": false, "https://evil.example": false,
		"https://sub.app.example": false, "https://user@app.example": false, "https://app.example#": false, "https://app.example?": false,
		"https://app.example%2eevil.example": false, "https://app.example evil": false, " https://app.example": true, // trimmed by HTTP itself
		"file://": false, "https://": false, "//app.example": false, w.http.URL: false, "https://app.example\\@evil": false,
		"https://app.example, https://evil.example": false,
	} {
		for _, a := range []*response{
			c.do("GET", "/v1/session", nil, "Origin", origin).want(200),
			c.do("GET", "/v1/nothing", nil, "Origin", origin).want(404),
			c.do("OPTIONS", "/v1/sessions", nil, "Origin", origin, "Access-Control-Request-Method", "DELETE").want(204),
		} {
			got := a.header.Get("Access-Control-Allow-Origin")
			if (got != "") != ok || ok && got != friend {
				t.Errorf("%s from %q: Access-Control-Allow-Origin = %q, want allowed = %v", a.what, origin, got, ok)
			}
			if (a.header.Get("Access-Control-Allow-Credentials") == "true") != ok || (a.header.Get("Access-Control-Allow-Methods") != "" && !ok) {
				t.Errorf("%s from %q: credentials or methods are allowed to who may not", a.what, origin)
			}
			if !strings.Contains(strings.Join(a.header.Values("Vary"), ","), "Origin") {
				t.Errorf("%s: no Vary: Origin", a.what)
			}
		}
	}
	a := c.do("OPTIONS", "/v1/sessions", nil, "Origin", friend, "Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "authorization").want(204)
	for h, want := range map[string]string{"Access-Control-Allow-Methods": "DELETE", "Access-Control-Allow-Headers": "Authorization", "Allow": "GET"} {
		if !strings.Contains(a.header.Get(h), want) {
			t.Errorf("preflight: %s = %q, want %s in it", h, a.header.Get(h), want)
		}
	}
	// Two headers are no origin.
	req, err := http.NewRequest("GET", w.url+"/v1/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header["Origin"] = []string{friend, friend}
	if got := c.send(req).header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("two Origin headers: Access-Control-Allow-Origin = %q", got)
	}
}

// TestC11_SafeMethodsChangeNothing calls every path with safe methods as an administrator.
func TestC11_SafeMethodsChangeNothing(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	before := admin.get("/v1/admin/audit?limit=1000").want(200).raw
	sessions := admin.get("/v1/admin/sessions").want(200).raw
	for _, line := range contract {
		f := strings.Fields(line)
		path := strings.NewReplacer("{id}", admin.user(), "{name}", "admin", "{kid}", "x").Replace(f[1])
		for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
			admin.do(method, path, nil, "X-HTTP-Method-Override", "DELETE", "X-Method-Override", "DELETE", "X-HTTP-Method", "DELETE")
			admin.do(method, path+"?_method=DELETE", nil)
		}
	}
	if after := admin.get("/v1/admin/audit?limit=1000").want(200).raw; after != before {
		t.Errorf("safe methods wrote to the audit log:\n%s\n%s", before, after)
	}
	if after := admin.get("/v1/admin/sessions").want(200).raw; after != sessions {
		t.Errorf("safe methods changed the sessions:\n%s\n%s", sessions, after)
	}
}
