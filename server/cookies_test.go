package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/server"
)

// eachSetCookie runs the calls that set cookies, in all modes, and looks at every one of them.
func eachSetCookie(t *testing.T, w *world, look func(a *response, k *http.Cookie)) {
	t.Helper()
	for _, mode := range []string{"session", "token", "hybrid"} {
		email := mode + "@example.com"
		c := w.stranger()
		c.email = email
		answers := []*response{c.start("/v1/signup", mode, "cookie", 201), c.start("/v1/login", mode, "cookie", 200)}
		if mode == "hybrid" {
			answers = append(answers, c.post("/v1/refresh", nil).want(200))
		}
		answers = append(answers,
			c.post("/v1/password", m{"current_password": typed, "new_password": "another passphrase of mine"}).want(200),
			c.post("/v1/logout", nil).want(204))
		for _, a := range answers {
			if len(a.setCookies()) == 0 {
				t.Errorf("%s in mode %s sets no cookie", a.what, mode)
			}
			for _, k := range a.setCookies() {
				look(a, k)
			}
		}
	}
}

func TestC1_CookieAttributes(t *testing.T) {
	w := newWorld(t, settings{})
	eachSetCookie(t, w, func(a *response, k *http.Cookie) {
		session, refresh := k.Name == "__Host-handstamp", k.Name == "__Secure-handstamp-refresh"
		if !session && !refresh {
			t.Errorf("%s sets the cookie %q", a.what, k.Name)
		}
		if !k.Secure || !k.HttpOnly || k.Domain != "" {
			t.Errorf("%s: %s is Secure %v, HttpOnly %v, Domain %q", a.what, k.Name, k.Secure, k.HttpOnly, k.Domain)
		}
		if session && k.Path != "/" || refresh && k.Path != "/v1/refresh" {
			t.Errorf("%s: %s has the path %s", a.what, k.Name, k.Path)
		}
		// Deleting needs the same attributes, or the browser keeps the cookie.
		if a.status == 204 && (k.MaxAge >= 0 || k.Value != "") {
			t.Errorf("%s does not clear %s", a.what, k.Name)
		}
	})
	// With a domain, asked for by name, no cookie says __Host-.
	shared := newWorld(t, settings{auth: func(o *handstamp.Options) { o.Cookie.Domain = "127.0.0.1" }})
	a := shared.stranger().post("/v1/signup", m{"email": "ada@example.com", "password": typed}).want(201)
	if k := a.setCookies()[0]; k.Name != "__Secure-handstamp" || k.Domain != "127.0.0.1" {
		t.Errorf("with a domain the cookie is %v", k)
	}
	// Over plain http the names say nothing that is not so.
	plain := newWorld(t, settings{plain: true})
	a = plain.stranger().post("/v1/signup", m{"email": "ada@example.com", "password": typed, "mode": "hybrid", "transport": "cookie"}).want(201)
	for _, k := range a.setCookies() {
		if k.Secure || strings.HasPrefix(k.Name, "__") || !k.HttpOnly {
			t.Errorf("over plain http the cookie is %v", k)
		}
	}
}

func TestC2_SameSite(t *testing.T) {
	w := newWorld(t, settings{})
	eachSetCookie(t, w, func(a *response, k *http.Cookie) {
		if k.SameSite != http.SameSiteStrictMode {
			t.Errorf("%s: %s has SameSite %v, want Strict", a.what, k.Name, k.SameSite)
		}
	})
}

func TestC3_SecretsStayInCookies(t *testing.T) {
	w := newWorld(t, settings{})
	eachSetCookie(t, w, func(a *response, k *http.Cookie) {
		if k.Value != "" && strings.Contains(a.raw, k.Value) {
			t.Errorf("%s repeats the cookie %s in its body", a.what, k.Name)
		}
		for _, prefix := range []string{"hs_s_", "hs_r_", `"access_token"`, `"refresh_token"`, `"token_type"`} {
			if strings.Contains(a.raw, prefix) {
				t.Errorf("%s has %s in a body of cookie transport", a.what, prefix)
			}
		}
	})
}

func TestRememberFalse(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "cookie")
	for _, remember := range []bool{true, false} {
		a := w.stranger().post("/v1/login", m{"email": c.email, "password": typed, "mode": "hybrid", "transport": "cookie", "remember": remember}).want(200)
		for _, k := range a.setCookies() {
			if (k.MaxAge > 0) != remember {
				t.Errorf("remember %v: %s has Max-Age %d", remember, k.Name, k.MaxAge)
			}
			if remember && (k.MaxAge > 90*86400 || k.MaxAge < 85*86400) {
				t.Errorf("Max-Age of %s = %d s, want the absolute end in about 90 days", k.Name, k.MaxAge)
			}
		}
	}
}

// rawCookie sends a Cookie header as it is.
func (w *world) rawCookie(path string, lines ...string) *response {
	w.t.Helper()
	req, err := http.NewRequest("GET", w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header["Cookie"] = lines
	return w.program("").send(req)
}

func TestC5_CookiesByteForByte(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "cookie")
	good := c.cookie("/", "__Host-handstamp")
	w.rawCookie("/v1/session", "__Host-handstamp="+good).want(200)
	w.rawCookie("/v1/session", "a=b;  __Host-handstamp="+good+" ;c=d").want(200)
	for _, line := range []string{
		"\u2000__Host-handstamp=" + good, "\u00a0__Host-handstamp=" + good, `"__Host-handstamp"=` + good, `__Host-handstamp="` + good + `"`,
		"$Version=1; __Host-handstamp=" + good, "$Version=1, __Host-handstamp=" + good, "=__Host-handstamp=" + good, "__host-handstamp=" + good,
		"__HOST-HANDSTAMP=" + good, "__Host-handstamp =" + good, "__Host-handstamp= " + good, "__Host%2Dhandstamp=" + good, "handstamp=" + good,
		"__Secure-handstamp=" + good, "__Host-handstamp=%" + good, "x__Host-handstamp=" + good,
	} {
		if a := w.rawCookie("/v1/session", line); a.status != 401 && a.status != 400 {
			t.Errorf("Cookie: %.40q = %d, want it refused", line, a.status)
		}
	}
}

func TestC6_ManyCookies(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "cookie")
	good := "__Host-handstamp=" + c.cookie("/", "__Host-handstamp")
	w.rawCookie("/v1/session", strings.Repeat("a=b;", 1000)+good).want(200)
	if a := w.rawCookie("/v1/session", strings.Repeat("a=b;", 2500)+good); a.status != 401 && a.status != 431 {
		t.Errorf("10 kB of cookies = %d, want refused", a.status)
	}
	if a := w.rawCookie("/v1/session", strings.Repeat("a=b;", 50000)+good); a.status != 431 && a.status != 400 {
		t.Errorf("50,000 cookies = %d, want 431", a.status)
	}
}

// TestS18_TwoCredentials: a header beats a cookie and there is no falling back; two cookies are none.
func TestS18_TwoCredentials(t *testing.T) {
	w := newWorld(t, settings{})
	ada, bob := w.signUp("ada@example.com", "session", "cookie"), w.signUp("bob@example.com", "session", "bearer")
	a, b := ada.cookie("/", "__Host-handstamp"), bob.token("access_token")
	for _, pair := range [][2]string{{a, b}, {b, a}, {a, a}, {a, ""}, {"", a}} {
		two := "__Host-handstamp=" + pair[0] + "; __Host-handstamp=" + pair[1]
		w.rawCookie("/v1/session", two).refused(400, "duplicate_credential")
		w.rawCookie("/v1/session", "__Host-handstamp="+pair[0], "__Host-handstamp="+pair[1]).refused(400, "duplicate_credential")
		w.rawCookie("/v1/check", two).refused(401, "duplicate_credential")
	}
	if got := ada.do("GET", "/v1/session", nil, "Authorization", "Bearer "+b).want(200).body["user"].(m)["id"]; got != bob.user() {
		t.Errorf("header and cookie = %v, want the header's user %s", got, bob.user())
	}
	ada.do("GET", "/v1/session", nil, "Authorization", "Bearer nonsense").refused(401, "invalid_token")
	ada.do("GET", "/v1/session", nil, "Authorization", "Bearer").refused(401, "invalid_token")
	ada.do("GET", "/v1/session", nil, "Authorization", "Basic YWRhOnB3").want(200) // somebody else's scheme is no credential of ours
}

// TestC12_HSTS: every answer over TLS says that there is no other way.
func TestC12_HSTS(t *testing.T) {
	w := newWorld(t, settings{wrap: breakLogin})
	c := w.signUp("ada@example.com", "session", "cookie")
	for _, a := range []*response{
		c.get("/v1/session").want(200), w.stranger().get("/v1/session").want(401), c.get("/nothing").want(404), c.do("TRACE", "/", nil).want(405),
		c.post("/v1/login", m{"email": "panic@example.com", "password": typed}).want(500), c.get("/.well-known/jwks.json").want(200),
		w.stranger().get("/").want(303), w.stranger().get("/login").want(200), c.post("/v1/logout", nil).want(204), c.do("OPTIONS", "/v1/session", nil).want(204),
		c.do("POST", "/v1/login", nil, "Origin", "https://evil.example").want(403), c.get("/static/style.css").want(200),
		c.post("/v1/login", m{"email": "down@example.com", "password": typed}).want(503),
	} {
		if got := a.header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
			t.Errorf("%s = %d: Strict-Transport-Security = %q", a.what, a.status, got)
		}
		for h, want := range map[string]string{"X-Content-Type-Options": "nosniff"} {
			if got := a.header.Get(h); got != want {
				t.Errorf("%s = %d: %s = %q, want %q", a.what, a.status, h, got, want)
			}
		}
		if id := a.header.Get("Request-Id"); len(id) < 20 {
			t.Errorf("%s = %d: Request-Id = %q", a.what, a.status, id)
		}
	}
	plain := newWorld(t, settings{plain: true})
	if got := plain.stranger().get("/healthz").want(200).header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("over plain http: Strict-Transport-Security = %q", got)
	}
}

// TestC15_NoStore: what depends on who asks is kept by nobody. The key set is the one document that may be.
func TestC15_NoStore(t *testing.T) {
	w := newWorld(t, settings{wrap: breakLogin})
	admin := w.admin()
	for _, line := range contract {
		f := strings.Fields(line)
		path := strings.NewReplacer("{id}", "x", "{name}", "x", "{kid}", "x").Replace(f[1])
		for _, c := range []*client{admin, w.stranger()} {
			if f[1] == "/v1/logout" || f[1] == "/v1/account" || line == "DELETE /v1/sessions 200" {
				c = w.stranger()
			}
			want := "no-store"
			if path == "/.well-known/jwks.json" {
				want = "public, max-age=300"
			}
			if got := c.do(f[0], path, nil).header.Get("Cache-Control"); got != want {
				t.Errorf("%s %s: Cache-Control = %q, want %q", f[0], path, got, want)
			}
		}
	}
	for _, a := range []*response{
		w.stranger().get("/").want(303), w.stranger().get("/login").want(200), w.stranger().get("/setup").want(200),
		w.stranger().post("/v1/login", m{"email": "panic@example.com", "password": typed}).want(500),
		w.stranger().do("GET", "/v1/check?login=redirect", nil, "Accept", "text/html").want(302),
	} {
		if got := a.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s = %d: Cache-Control = %q", a.what, a.status, got)
		}
	}
}

// TestC16_LogOutClears: expired cookies with the attributes they were set with, and the caches of the site.
func TestC16_LogOutClears(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "hybrid", "cookie")
	a := c.post("/v1/logout", nil).want(204)
	if got := a.header.Get("Clear-Site-Data"); got != `"cache"` {
		t.Errorf("Clear-Site-Data = %s", got)
	}
	if c.cookie("/", "__Host-handstamp") != "" || c.cookie("/v1/refresh", "__Secure-handstamp-refresh") != "" {
		t.Error("the jar still has a cookie after log-out")
	}
	w = newWorld(t, settings{server: func(o *server.Options) { o.ClearSiteData = []string{"cache", "storage"} }})
	if got := w.stranger().post("/v1/logout", nil).want(204).header.Get("Clear-Site-Data"); got != `"cache", "storage"` {
		t.Errorf("Clear-Site-Data = %s", got)
	}
}
