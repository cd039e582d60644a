package server_test

import (
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/handstamp/handstamp"
)

// navigation is what browsers send when they load a page.
func navigation(more ...string) []string {
	return append([]string{"Accept", "text/html,application/xhtml+xml;q=0.9", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin"}, more...)
}

// problemPage wants a page of a status that says what to do, and no cookie.
func (a *response) problemPage(status int, says, link string) {
	a.t.Helper()
	a.want(status)
	for h, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
	} {
		if got := a.header.Get(h); got != want {
			a.t.Errorf("%s: %s = %q, want %q", a.what, h, got, want)
		}
	}
	if !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
		a.t.Errorf("%s: Content-Security-Policy = %q", a.what, a.header.Get("Content-Security-Policy"))
	}
	if !strings.Contains(a.raw, "<h1>"+says+"</h1>") || !strings.Contains(a.raw, `href="`+link+`"`) {
		a.t.Errorf("%s = %s, want %q and a link to %s", a.what, a.raw, says, link)
	}
	if len(a.setCookies()) != 0 {
		a.t.Errorf("%s touches a cookie: %v", a.what, a.header["Set-Cookie"])
	}
}

// TestProblemPages: a person who loads a page is told in words; a program gets what it always gets.
func TestProblemPages(t *testing.T) {
	var down atomic.Bool
	w := newWorld(t, settings{
		prefix: "/auth", wrap: breakLogin,
		store: func(s handstamp.Store) handstamp.Store { return downStore{s, &down} },
		auth:  func(o *handstamp.Options) { o.CacheBytes = -1 }, // or a copy would answer
	})
	c := w.signUp("ada@example.com", "session", "cookie")
	token := c.get("/").want(200).formToken()
	form := url.Values{"handstamp_form": {token}}
	send := func(c *client, method, path string, body any, more ...string) *response {
		return c.do(method, path, body, navigation(more...)...)
	}
	send(c, "GET", "/nothing", nil).problemPage(404, "There is no such page", "/auth/")
	send(c, "GET", "/static/nothing.css", nil).problemPage(404, "There is no such page", "/auth/")
	send(c, "POST", "/logout", url.Values{}).problemPage(403, "This form is out of date", "/auth/")
	send(c, "POST", "/logout", form, "Sec-Fetch-Site", "cross-site").problemPage(403, "This form is out of date", "/auth/")
	send(c, "POST", "/setup", url.Values{}).problemPage(405, "Method not allowed", "/auth/")
	send(c, "POST", "/login", "{}").problemPage(415, "Unsupported media type", "/auth/")
	visitor := w.stranger()
	fresh := visitor.get("/login").want(200)
	everywhere := url.Values{"handstamp_form": {fresh.formToken()}, "everywhere": {"1"}}
	out := send(visitor, "POST", "/logout", everywhere)
	out.problemPage(401, "You are not signed in", "/auth/login")
	if got := out.header.Get("WWW-Authenticate"); got != "Bearer" {
		t.Errorf("%s: WWW-Authenticate = %q", out.what, got)
	}
	for who, says := range map[string]string{"down": "Please try again in a moment", "panic": "Something went wrong here"} {
		a := send(visitor, "POST", "/login", url.Values{"handstamp_form": {fresh.formToken()}, "email": {who + "@example.com"}, "password": {typed}})
		if a.problemPage(map[string]int{"down": 503, "panic": 500}[who], says, "/auth/"); strings.Contains(a.raw, "db.internal") || strings.Contains(a.raw, "stack") {
			t.Errorf("%s tells the browser why: %s", a.what, a.raw)
		}
	}
	many := send(visitor, "POST", "/login", url.Values{"handstamp_form": {fresh.formToken()}, "email": {"many@example.com"}, "password": {typed}}).want(429)
	if many.header.Get("Retry-After") != "5" || !strings.Contains(many.raw, `value="many@example.com"`) {
		t.Errorf("too many attempts on the page = %v %s", many.header, many.raw)
	}
	down.Store(true)
	outage := send(c, "GET", "/", nil)
	outage.problemPage(503, "Please try again in a moment", "/auth/")
	if outage.header.Get("Retry-After") == "" {
		t.Errorf("%s: no Retry-After", outage.what)
	}
	// Scripts and programs.
	c.do("GET", "/", nil, navigation("Sec-Fetch-Mode", "cors")...).refused(503, "unavailable")
	c.do("GET", "/", nil, "Accept", "*/*").refused(503, "unavailable")
	for _, path := range []string{"/v1/session", "/v1/nothing", "/v1/check"} {
		a := send(c, "GET", path, nil)
		if a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s for a browser = %s: the API answers programs", a.what, a.raw)
		}
	}
	down.Store(false)
	c.get("/").want(200)
}
