package server_test

import (
	"context"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

var formField = regexp.MustCompile(`name="handstamp_form" value="([^"]+)"`)

// formToken reads the hidden field of a page.
func (a *response) formToken() string {
	a.t.Helper()
	found := formField.FindStringSubmatch(a.raw)
	if found == nil {
		a.t.Fatalf("%s has no form token: %s", a.what, a.raw)
	}
	return found[1]
}

func TestPages(t *testing.T) {
	w := newWorld(t, settings{auth: trustFriend})
	w.signUp("ada@example.com", "session", "bearer")
	c := w.stranger()
	if to := c.get("/").want(303).header.Get("Location"); to != "/login" {
		t.Errorf("GET / leads to %q", to)
	}
	page := c.get("/login?return_to=/notes").want(200)
	form := url.Values{"handstamp_form": {page.formToken()}, "return_to": {"/notes"}, "email": {"Ada@Example.com"}, "password": {"not the password"}}
	failed := c.do("POST", "/login", form).want(401)
	if !strings.Contains(failed.raw, `value="Ada@Example.com"`) || !strings.Contains(failed.raw, `role="alert"`) || strings.Contains(failed.raw, "not the password") {
		t.Errorf("a failed login shows %s", failed.raw)
	}
	form.Set("password", typed)
	ok := c.do("POST", "/login", form).want(303)
	if ok.header.Get("Location") != "/notes" || c.cookie("/", "__Host-handstamp") == "" || ok.setCookies()[0].MaxAge != 0 {
		t.Errorf("a login = %v", ok.header)
	}
	home := c.get("/").want(200)
	if !strings.Contains(home.raw, "ada@example.com") {
		t.Errorf("GET / = %s", home.raw)
	}
	// A token from before the login is worth nothing after it.
	c.do("POST", "/logout", url.Values{"handstamp_form": {page.formToken()}}).refused(403, "cross_origin")
	c.do("POST", "/logout", url.Values{"handstamp_form": {home.formToken()}}, "Origin", "https://evil.example").refused(403, "cross_origin")
	c.do("POST", "/logout", url.Values{}).refused(403, "cross_origin")
	c.do("POST", "/logout", "{}").refused(415, "unsupported_media_type")
	old := c.cookie("/", "__Host-handstamp")
	out := c.do("POST", "/logout", url.Values{"handstamp_form": {home.formToken()}}).want(303)
	if out.header.Get("Location") != "/login" || c.cookie("/", "__Host-handstamp") != "" || out.header.Get("Clear-Site-Data") == "" {
		t.Errorf("log-out = %v", out.header)
	}
	w.program(old).get("/v1/session").refused(401, "revoked")
	// Everywhere.
	page = c.get("/login").want(200)
	other := w.stranger()
	other.email = "ada@example.com"
	other.start("/v1/login", "hybrid", "bearer", 200)
	c.do("POST", "/login", url.Values{"handstamp_form": {page.formToken()}, "email": {"ada@example.com"}, "password": {typed}, "remember": {"1"}}).want(303)
	home = c.get("/").want(200)
	c.do("POST", "/logout", url.Values{"handstamp_form": {home.formToken()}, "everywhere": {"1"}}).want(303)
	other.get("/v1/session").refused(401, "revoked")
}

// TestC17_ReturnTo: after a login the browser stays here, or goes to an origin that was named.
func TestC17_ReturnTo(t *testing.T) {
	w := newWorld(t, settings{auth: trustFriend})
	w.signUp("ada@example.com", "session", "bearer")
	for target, want := range map[string]string{
		"/notes?a=b#c": "/notes?a=b#c", friend + "/x": friend + "/x", w.http.URL + "/x": w.http.URL + "/x",
		"": "/", "//evil.example": "/", "/\\evil.example": "/", "\\\\evil.example": "/", "https:evil.example": "/", "https://evil.example": "/",
		"https://app.example@evil.example/": "/", "https://user@app.example/": "/", "/\t/evil.example": "/", " //evil.example": "/", "javascript:alert(1)": "/",
		"https://app.example.evil.example/": "/", "http://app.example/": "/", "/a\r\nSet-Cookie: x=y": "/", "data:text/html,x": "/", "notes": "/", "///evil.example": "/",
		"https://[::1]/": "/", "https://app.example\uff0eevil.example/": "/", "/%5cevil.example": "/%5cevil.example", "/%2f%2fevil.example": "/",
	} {
		c := w.stranger()
		page := c.get("/login?return_to=" + url.QueryEscape(target)).want(200)
		form := url.Values{"handstamp_form": {page.formToken()}, "return_to": {target}, "email": {"ada@example.com"}, "password": {typed}}
		got := c.do("POST", "/login", form).want(303).header.Get("Location")
		if got != want {
			t.Errorf("return_to %q leads to %q, want %q", target, got, want)
		}
		policy := page.header.Get("Content-Security-Policy")
		if strings.Contains(policy, "evil") || strings.Contains(policy, friend) != strings.HasPrefix(want, friend) {
			t.Errorf("return_to %q makes the policy %s", target, policy)
		}
	}
}

// TestC14_PageHeaders: every page runs its own script and style and nothing else, and is framed by nobody.
func TestC14_PageHeaders(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "cookie")
	for path, referrer := range map[string]string{"/login": "same-origin", "/setup": "no-referrer", "/": "same-origin"} {
		a := c.get(path).want(200)
		policy := a.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "script-src 'self'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: Content-Security-Policy = %s, want %s", path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") || strings.Contains(policy, "*") {
			t.Errorf("%s: Content-Security-Policy = %s", path, policy)
		}
		for h, want := range map[string]string{"X-Frame-Options": "DENY", "Referrer-Policy": referrer, "X-Content-Type-Options": "nosniff", "Content-Type": "text/html; charset=utf-8"} {
			if got := a.header.Get(h); got != want {
				t.Errorf("%s: %s = %q, want %q", path, h, got, want)
			}
		}
	}
	// Nothing inline, nothing from elsewhere, and a label for every field.
	pages, err := fs.Glob(os.DirFS("webui"), "*.html")
	if err != nil || len(pages) != 5 {
		t.Fatalf("%v, %v", pages, err)
	}
	for _, name := range pages {
		raw, err := os.ReadFile("webui/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"<style", " style=", "<svg", "onclick", "onsubmit", "javascript:", "http://", "https://", "//cdn"} {
			if strings.Contains(string(raw), bad) {
				t.Errorf("%s has %s", name, bad)
			}
		}
		if regexp.MustCompile(`<script[^>]*>[^<]`).Match(raw) {
			t.Errorf("%s has an inline script", name)
		}
		for _, input := range regexp.MustCompile(`<input id="([a-z]+)"`).FindAllSubmatch(raw, -1) {
			if !strings.Contains(string(raw), `for="`+string(input[1])+`"`) {
				t.Errorf("%s: the field %s has no label", name, input[1])
			}
		}
	}
	for path, kind := range map[string]string{"/static/style.css": "text/css; charset=utf-8", "/static/icon.svg": "image/svg+xml", "/static/setup.js": "text/javascript; charset=utf-8"} {
		a := c.get(path).want(200)
		if a.header.Get("Content-Type") != kind || !strings.Contains(a.header.Get("Cache-Control"), "max-age") {
			t.Errorf("%s: %v", path, a.header)
		}
	}
}

// TestC18_Encoding: what somebody typed is text on a page, never markup.
func TestC18_Encoding(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.stranger()
	for _, bad := range []string{`"><script>alert(1)</script>`, `'><img src=x onerror=alert(1)>`, `</title><svg onload=alert(1)>`, "{{.Form}}", "javascript:alert(1)"} {
		page := c.get("/login?return_to=" + url.QueryEscape("/"+bad) + "&error=" + url.QueryEscape(bad) + "&error_description=" + url.QueryEscape(bad)).want(200)
		form := url.Values{"handstamp_form": {page.formToken()}, "email": {bad}, "password": {bad}, "return_to": {"/" + bad}}
		for _, a := range []*response{page, c.do("POST", "/login", form)} {
			if strings.Contains(a.raw, "<script>alert") || strings.Contains(a.raw, "<img src=x") || strings.Contains(a.raw, "<svg") {
				t.Errorf("%s with %q = %s", a.what, bad, a.raw)
			}
		}
		a := c.get("/v1/" + url.PathEscape(bad)).want(404)
		if a.header.Get("Content-Type") != "application/problem+json" || strings.Contains(a.raw, "script") {
			t.Errorf("404 = %s", a.raw)
		}
	}
}

// TestSetUp: the one-time link makes one administrator, once, and logs them in.
func TestSetUp(t *testing.T) {
	w := newWorld(t, settings{})
	link, err := w.flow.NewSetup(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	c := w.stranger()
	page := c.get("/setup").want(200)
	if strings.Contains(page.raw, "hs_b_") {
		t.Error("the page holds the token")
	}
	body := func(token string) m { return m{"token": token, "email": "root@example.com", "password": typed} }
	c.post("/v1/setup", body("x")).refused(401, "invalid_token")
	c.post("/v1/setup", body("")).refused(401, "invalid_token")
	c.post("/v1/setup", m{"token": link.Reveal(), "email": "root@example.com", "password": "short"}).refused(422, "invalid_input")
	c.do("POST", "/v1/setup", body(link.Reveal()), "Origin", "https://evil.example").refused(403, "cross_origin")
	made := c.post("/v1/setup", body(link.Reveal())).want(201)
	if made.body["user"].(m)["roles"].([]any)[0] != "admin" || made.body["access_token"] != nil {
		t.Errorf("POST /v1/setup = %s", made.raw)
	}
	c.get("/v1/admin/users").want(200)
	if home := c.get("/").want(http.StatusOK); !strings.Contains(home.raw, "root@example.com") {
		t.Errorf("GET / = %s", home.raw)
	}
	w.stranger().post("/v1/setup", m{"token": link.Reveal(), "email": "other@example.com", "password": typed}).refused(401, "invalid_token")
	late, err := w.flow.NewSetup(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	w.clock.add(31 * 60 * 1e9)
	w.stranger().post("/v1/setup", m{"token": late.Reveal(), "email": "late@example.com", "password": typed}).refused(401, "invalid_token")
}

// TestSignOutEverywhereEndsTheVisitor: on a shared machine nothing of who signs out is left to the next, wherever they sign
// out of.
func TestSignOutEverywhereEndsTheVisitor(t *testing.T) {
	const guest = "__Host-handstamp-guest"
	w := newWorld(t, settings{})
	here, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	visit := func() *http.Cookie {
		t.Helper()
		rec := httptest.NewRecorder()
		if _, err := w.auth.Anonymous(rec, httptest.NewRequest("GET", w.url+"/", nil)); err != nil {
			t.Fatal(err)
		}
		return rec.Result().Cookies()[0]
	}
	for _, everywhere := range []string{"", "1"} {
		c := w.stranger()
		c.email = "ada" + everywhere + "@example.com"
		c.start("/v1/signup", "session", "cookie", 201)
		other := w.stranger()
		other.email = c.email
		w.clock.add(time.Second)
		other.start("/v1/login", "session", "bearer", 200)
		visitor := visit()
		c.jar.SetCookies(here, []*http.Cookie{visitor})
		home := c.get("/").want(200)
		c.do("POST", "/logout", url.Values{"handstamp_form": {home.formToken()}, "everywhere": {everywhere}}).want(303)
		if left := c.cookie("/", guest) + c.cookie("/", "__Host-handstamp"); left != "" {
			t.Errorf("everywhere %q leaves a cookie", everywhere)
		}
		r := httptest.NewRequest("GET", w.url+"/", nil)
		r.AddCookie(visitor)
		if s, ok, err := w.auth.Visitor(r); ok || err != nil {
			t.Errorf("everywhere %q leaves the visitor's session %s, %v", everywhere, s, err)
		}
		if a := other.get("/v1/session"); (a.status == 401) != (everywhere != "") {
			t.Errorf("everywhere %q: another session of the user = %d", everywhere, a.status)
		}
		w.program(c.cookie("/", "__Host-handstamp")).get("/v1/session").want(401)
	}
}
