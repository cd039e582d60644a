package server_test

import (
	"net/http"
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
