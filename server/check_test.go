package server_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/server"
)

func trustLoopback(o *handstamp.Options) {
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	o.Origins = []string{friend}
}

func TestCheck(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	admin.put("/v1/admin/roles/editor", m{"permissions": []string{"posts:*", "drafts:read"}}).want(200)
	for _, p := range pairs {
		c := w.signUp(p.mode+p.transport+"@example.com", p.mode, p.transport)
		w.give(c.user(), "editor")
		if p.mode != "session" {
			c.get("/v1/check").refused(401, "stale_token")
			c.start("/v1/login", p.mode, p.transport, 200)
		}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY"} {
			a := c.do(method, "/v1/check?permission=posts:write&permission=drafts:read&max_age=600&fresh=true", nil).want(200)
			for h, want := range map[string]string{
				"Handstamp-User": c.user(), "Handstamp-Session": c.session(), "Handstamp-Roles": "editor",
				"Handstamp-Permissions": "drafts:read posts:*", "Handstamp-Email": "", "Cache-Control": "no-store",
			} {
				if got := a.header.Get(h); got != want {
					t.Errorf("%s by %v: %s = %q, want %q", a.what, p, h, got, want)
				}
			}
			if _, err := time.Parse(time.RFC3339, a.header.Get("Handstamp-Expires")); err != nil || a.raw != "" {
				t.Errorf("%s: Handstamp-Expires %q, body %q", a.what, a.header.Get("Handstamp-Expires"), a.raw)
			}
		}
		if got := c.get("/v1/check?permission=posts:write&permission=users:write").refused(403, "forbidden").body["detail"].(string); !strings.Contains(got, "users:write") {
			t.Errorf("detail = %q, want the missing permission", got)
		}
	}
	a := w.program(w.key("posts:write")).get("/v1/check?permission=posts:write&max_age=0").want(200)
	if got := a.header.Get("Handstamp-User"); !strings.HasPrefix(got, "key_") || a.header.Values("Handstamp-Session") != nil || a.header.Values("Handstamp-Expires") != nil {
		t.Errorf("a service key's check = %v", a.header)
	}
}

// TestA9_CheckQuery: a mistyped rule does not open the door.
func TestA9_CheckQuery(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "bearer")
	w.give(c.user(), "admin")
	for _, q := range []string{
		"permision=posts:write", "Permission=posts:write", "permission", "permission=", "permission=posts:*", "permission=*", "permission=a%20b",
		"permission=posts:write:all", "permission=posts%3A", "permission=ok&permission=", "perms=x", "max_age=", "max_age=-1", "max_age=1.5", "max_age=x",
		"max_age=1&max_age=2", "max_age=99999999999999999999", "fresh=1", "fresh=false", "fresh=", "fresh=true&fresh=true", "login=yes", "login=", "x", "=", "%zz",
		"a=b;permission=x", "permission=posts:write;max_age=1", "access_token=x", "permission[]=x", "return_to=/", "permission=" + strings.Repeat("x", 129),
	} {
		a := c.get("/v1/check?"+q).refused(400, "malformed_request")
		if strings.Contains(a.raw, "all") && strings.Contains(q, ":all") {
			t.Errorf("?%s is repeated: %s", q, a.raw)
		}
	}
	c.get("/v1/check?").want(200)
	c.get("/v1/check?permission=any:thing&max_age=0600").want(200)
}

func TestCheckHeaderNames(t *testing.T) {
	w := newWorld(t, settings{server: func(o *server.Options) {
		o.UnverifiedEmail = true
		o.CheckHeaders = map[string]string{"handstamp-user": "Remote-User", "Handstamp-Email": "Remote-Email", "Handstamp-Roles": "Remote-Groups"}
	}})
	c := w.signUp("ada@example.com", "session", "cookie")
	a := c.get("/v1/check").want(200)
	for h, want := range map[string]string{"Remote-User": c.user(), "Remote-Email": "ada@example.com", "Remote-Groups": "member", "Handstamp-User": "", "Handstamp-Session": c.session()} {
		if got := a.header.Get(h); got != want {
			t.Errorf("%s = %q, want %q", h, got, want)
		}
	}
	for _, bad := range []map[string]string{{"Handstamp-Nothing": "X"}, {"Handstamp-User": "Remote_User"}, {"Handstamp-User": ""}, {"Handstamp-User": "a b"}, {"Handstamp-User": "a\r\nb"}} {
		if _, err := server.New(server.Options{Auth: w.auth, Accounts: w.accounts, Passwords: w.method, Audit: w.store.Audit(), PublicURL: w.url, CheckHeaders: bad}); err == nil {
			t.Errorf("New with CheckHeaders %v = nil, want an error", bad)
		}
	}
	_, err := server.New(server.Options{CheckHeaders: map[string]string{"x": "y"}})
	for _, want := range []string{"Auth", "Accounts", "PublicURL", "CheckHeaders"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New of nothing = %v, want %s named", err, want)
		}
	}
}

// TestCheckForwarded: a proxy's question is harmless, the request behind it may not be.
func TestCheckForwarded(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		set := settings{}
		if trusted {
			set.auth = trustLoopback
		}
		w := newWorld(t, set)
		c := w.signUp("ada@example.com", "session", "cookie")
		u, err := url.Parse(w.http.URL)
		if err != nil {
			t.Fatal(err)
		}
		ask := func(headers ...string) *response {
			h := append([]string{"Origin", "", "X-Forwarded-Method", "POST", "X-Forwarded-Proto", "https", "X-Forwarded-Host", u.Host}, headers...)
			return c.do("GET", "/v1/check", nil, h...)
		}
		status := func(code int) int {
			if trusted {
				return code
			}
			return 200
		}
		ask("Origin", w.http.URL).want(200)
		ask("Sec-Fetch-Site", "same-origin").want(200)
		ask().want(status(403))
		ask("Origin", "https://evil.example").want(status(403))
		ask("Sec-Fetch-Site", "cross-site").want(status(403))
		ask("Sec-Fetch-Site", "cross-site", "X-Forwarded-Method", "GET").want(200)
		ask("Sec-Fetch-Site", "cross-site", "Authorization", "Bearer x").refused(401, "invalid_token")
		if trusted {
			ask("Sec-Fetch-Site", "cross-site").refused(403, "cross_origin")
		}
	}
}

func TestCheckLoginRedirect(t *testing.T) {
	w := newWorld(t, settings{auth: trustLoopback})
	host := strings.TrimPrefix(w.http.URL, "https://")
	page := []string{"Accept", "text/html,application/xhtml+xml", "Origin", ""}
	ask := func(path string, more ...string) *response {
		return w.stranger().do("GET", path, nil, append(page[:4:4], more...)...)
	}
	for _, c := range []struct {
		headers []string
		want    string
	}{
		{nil, w.url + "/login"},
		{[]string{"X-Forwarded-Host", host, "X-Forwarded-Proto", "https", "X-Forwarded-Uri", "/notes?id=1&x=%2F"}, w.url + "/login?return_to=" + url.QueryEscape(w.http.URL+"/notes?id=1&x=%2F")},
		{[]string{"X-Original-URL", w.http.URL + "/a"}, w.url + "/login?return_to=" + url.QueryEscape(w.http.URL+"/a")},
		{[]string{"X-Forwarded-Host", "app.example", "X-Forwarded-Proto", "https", "X-Forwarded-Uri", "/x"}, w.url + "/login?return_to=" + url.QueryEscape(friend+"/x")},
		{[]string{"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https", "X-Forwarded-Uri", "/x"}, w.url + "/login"},
		{[]string{"X-Forwarded-Host", host + "@evil.example", "X-Forwarded-Uri", "/x"}, w.url + "/login"},
		{[]string{"X-Forwarded-Host", host, "X-Forwarded-Proto", "javascript", "X-Forwarded-Uri", "/x"}, w.url + "/login"},
		{[]string{"X-Original-URL", "//evil.example/"}, w.url + "/login"},
		{[]string{"X-Original-URL", "https://evil.example\\@" + host}, w.url + "/login"},
	} {
		if got := ask("/v1/check?login=redirect", c.headers...).want(http.StatusFound).header.Get("Location"); got != c.want {
			t.Errorf("%v leads to %s, want %s", c.headers, got, c.want)
		}
	}
	ask("/v1/check").refused(401, "missing_credential")
	ask("/v1/check?login=redirect", "X-Forwarded-Method", "POST").refused(401, "missing_credential")
	ask("/v1/check?login=redirect", "Accept", "application/json").refused(401, "missing_credential")
	ask("/v1/check?login=redirect", "Sec-Fetch-Mode", "cors").refused(401, "missing_credential")
	c := w.signUp("ada@example.com", "session", "cookie")
	c.do("GET", "/v1/check?login=redirect", nil, page...).want(200)
	c.do("GET", "/v1/check?login=redirect&permission=a:b", nil, page...).refused(403, "forbidden")
}

// TestChallenges: a 401 about a credential that was sent says what is wrong with it, as RFC 6750 section 3.1 has it; to who
// sent none it says nothing.
func TestChallenges(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.program("")
	two := []string{"Cookie", "__Host-handstamp=a; __Host-handstamp=b"}
	for want, a := range map[string]*response{
		`Bearer error="invalid_token"`:   c.post("/v1/setup", m{"token": "hs_b_x", "email": "root@example.com", "password": typed}).refused(401, "invalid_token"),
		`Bearer error="invalid_request"`: c.do("GET", "/v1/check", nil, two...).refused(401, "duplicate_credential"),
		`Bearer`:                         c.get("/v1/check").refused(401, "missing_credential"),
		``:                               c.do("GET", "/v1/session", nil, two...).refused(400, "duplicate_credential"),
	} {
		if got := a.header.Get("WWW-Authenticate"); got != want || len(a.header.Values("WWW-Authenticate")) > 1 {
			t.Errorf("%s: WWW-Authenticate = %q, want %q", a.what, got, want)
		}
	}
	a := w.program("x").get("/v1/check").refused(401, "invalid_token")
	if got := a.header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
		t.Errorf("%s: WWW-Authenticate = %q", a.what, got)
	}
}
