package server_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// methodsOf are the methods of every path, pages among them, with what every path has.
func methodsOf() map[string][]string {
	paths := map[string][]string{}
	lines := append(slices.Clone(contract), "GET /", "GET /login", "POST /login", "POST /logout", "GET /setup", "GET /static/style.css")
	for _, line := range lines {
		f := strings.Fields(line)
		path := strings.NewReplacer("{id}", "x", "{name}", "x", "{kid}", "x").Replace(f[1])
		if paths[path] == nil {
			paths[path] = []string{"OPTIONS"}
		}
		paths[path] = append(paths[path], f[0])
		if f[0] == "GET" && path != "/v1/revocations" { // which may answer without an end
			paths[path] = append(paths[path], "HEAD")
		}
	}
	return paths
}

// TestAllow: the header Allow has exactly the methods of its path (RFC 9110 section 10.2.1), whichever method is refused,
// and what it has is answered.
func TestAllow(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.stranger()
	for path, methods := range methodsOf() {
		slices.Sort(methods)
		want := strings.Join(methods, ", ")
		for _, method := range []string{"TRACE", "CONNECT", "PROPFIND", "get", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
			a := c.do(method, path, nil)
			answered := slices.Contains(methods, method) || path == "/v1/check" && method != "TRACE" && method != "CONNECT"
			if answered {
				if a.status == 405 || a.header.Get("Allow") != "" {
					t.Errorf("%s %s = %d with Allow %q, want it answered", method, path, a.status, a.header.Get("Allow"))
				}
				continue
			}
			if a.status != 405 || a.header.Get("Allow") != want {
				t.Errorf("%s %s = %d with Allow %q, want 405 with %q", method, path, a.status, a.header.Get("Allow"), want)
			}
		}
		if path == "/v1/check" {
			continue // answers OPTIONS itself
		}
		if a := c.do("OPTIONS", path, nil).want(204); a.header.Get("Allow") != want {
			t.Errorf("OPTIONS %s: Allow = %q, want %q", path, a.header.Get("Allow"), want)
		}
	}
	for _, method := range []string{"TRACE", "CONNECT", "PROPFIND"} {
		a := c.do(method, "/v1/nothing", nil).refused(404, "not_found")
		if a.header.Values("Allow") != nil {
			t.Errorf("%s on a path that is not there: Allow = %q", method, a.header.Get("Allow"))
		}
	}
	// Nothing is echoed, whatever the origin.
	req, err := http.NewRequest("TRACE", w.url+"/v1/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer hs_s_secret")
	req.Header.Set("Origin", "https://evil.example")
	if a := c.send(req).refused(405, "method_not_allowed"); strings.Contains(a.raw, "hs_s_secret") {
		t.Errorf("TRACE repeats a credential: %s", a.raw)
	}
}

// TestOnePlainForm: a path is served in one spelling. A rule about paths in front of this server compares bytes, or decodes
// before it compares; neither is walked around. Ids are the client's, in whatever encoding.
func TestOnePlainForm(t *testing.T) {
	for _, prefix := range []string{"", "/base"} {
		w := newWorld(t, settings{prefix: prefix})
		w.document = nil
		c := w.program(w.key("handstamp.admin"))
		for _, path := range []string{
			"/v1/%61dmin/users", "/%761/admin/users", "/v1/admin/user%73", "/v1/admin/users%2F42", "/v1%2Fadmin/users", "/v1/admin/users/42/%73essions",
			"/v1/%63heck", "/v1/sessio%6E", "/%68ealthz", "/%6Fpenapi.json", "/%2Ewell-known/jwks.json", "/.well-known/jwks%2Ejson", "/%6cogin", "/%73tatic/style.css",
			"//v1/admin/users", "/v1//admin/users", "/v1/admin//users", "/v1/admin/users/", "/v1/admin/users//", "/v1/./admin/users", "/v1/x/../admin/users",
			"/v1/admin/users/.", "/v1/admin/users/..", "/v1/%2e/admin/users", "/v1/x/%2e%2e/admin/users", "/v1/%2E%2E/v1/admin/users", "/V1/admin/users",
			"/v1/admin/users;x=1", "/v1/admin/users%3Bx", "/v1/admin/users%00",
		} {
			req, err := http.NewRequest("GET", w.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = c.header.Clone()
			req.URL.RawPath = prefix + path // as it is: nothing on this side may tidy it
			if req.URL.Path, err = url.PathUnescape(prefix + path); err != nil {
				t.Fatal(err)
			}
			if got := req.URL.RequestURI(); got != prefix+path {
				t.Fatalf("%s is sent as %s", path, got)
			}
			c.send(req).refused(404, "not_found")
		}
		for _, id := range []string{"..%2F..%2F..%2Fhealthz", "a%2F..%2Fb", "a%2f%2e%2e", ".%2Fa"} {
			c.put("/v1/admin/users/"+id+"/roles", m{"roles": []string{"editor"}}).refused(404, "not_found")
		}
		for spelling, status := range map[string]int{"42": 404, "a%2Fb": 404, "a%2fb": 404, "%61": 404, "%2e%2e": 404, "a..b%2F...": 404, "%00": 422} {
			c.get("/v1/admin/users/" + spelling).want(status)
		}
		for _, spelling := range []string{"a%2Fb", "a%2fb", "%61%2f%62"} {
			if got := c.put("/v1/admin/users/"+spelling+"/roles", m{"roles": []string{"editor"}}).want(200).body["id"]; got != "a/b" {
				t.Errorf("%s is read as %v", spelling, got)
			}
		}
		c.get("/v1/admin/users").want(200)
	}
}
