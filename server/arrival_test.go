package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/server"
)

// fromMail are the headers of a browser that follows a link on another site.
var fromMail = []string{"Origin", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}

// again are those of the load that the bounce begins.
var again = []string{"Origin", "", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}

// keptBack is a browser that keeps SameSite=Strict cookies back, as it does with a load that another site began: what is Lax
// it sends.
func (c *client) keptBack() *client {
	c.w.t.Helper()
	other := c.w.stranger()
	if here, err := url.Parse(c.w.url); err != nil {
		c.w.t.Fatal(err)
	} else if k := c.cookie("/", "__Host-handstamp-arrival"); k != "" {
		other.jar.SetCookies(here, []*http.Cookie{{Name: "__Host-handstamp-arrival", Value: k, Path: "/", Secure: true}})
	}
	return other
}

// arrive follows a link from another site to a page of ours, and lets the page send the browser on once. It answers the
// second load.
func (c *client) arrive(path string) *response {
	c.w.t.Helper()
	first := c.keptBack().do("GET", path, nil, fromMail...).want(200)
	if got, want := first.header.Get("Refresh"), "0; url="+strings.TrimPrefix(c.w.url, c.w.http.URL)+path; got != want {
		c.w.t.Fatalf("%s: Refresh = %q, want %q", path, got, want)
	}
	here, err := url.Parse(c.w.url)
	if err != nil {
		c.w.t.Fatal(err)
	}
	c.jar.SetCookies(here, first.setCookies())
	return c.do("GET", path, nil, again...)
}

// TestC2_LinksFromElsewhere: who follows a link from another site to a page of ours is shown what they would be shown anyway,
// once the page has loaded itself. Nobody is sent round in circles, and nowhere else.
func TestC2_LinksFromElsewhere(t *testing.T) {
	for _, prefix := range []string{"", "/base"} {
		w := newWorld(t, settings{prefix: prefix})
		c := w.signUp("ada@example.com", "session", "cookie")
		if a := c.arrive("/?from=mail").want(200); !strings.Contains(a.raw, "ada@example.com") || a.header.Get("Refresh") != "" {
			t.Errorf("GET / from elsewhere = %s", a.raw)
		}
		if to := w.stranger().arrive("/").want(303).header.Get("Location"); to != prefix+"/login" {
			t.Errorf("GET / from elsewhere leads a stranger to %q", to)
		}
		w.stranger().arrive("/login").want(200).formToken()
		// The bounce is a page like the others, and repeats nothing of the request.
		a := w.stranger().do("GET", `/login?return_to=https://evil.example/"><script>;'&x=%0d%0a`+"\u00fc", nil, fromMail...).want(200)
		if strings.Contains(a.raw, "evil") || strings.Contains(a.raw, "script") || a.header.Get("Location") != "" {
			t.Errorf("the bounce = %v %s", a.header, a.raw)
		}
		if got, want := a.header.Get("Refresh"), "0; url="+prefix+"/login?return_to=https://evil.example/%22%3E%3Cscript%3E;%27&x=%0d%0a%C3%BC"; got != want {
			t.Errorf("Refresh = %q, want %q", got, want)
		}
		for h, want := range map[string]string{"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Content-Type": "text/html; charset=utf-8"} {
			if got := a.header.Get(h); got != want {
				t.Errorf("the bounce: %s = %q, want %q", h, got, want)
			}
		}
		if policy := a.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("the bounce: Content-Security-Policy = %s", policy)
		}
		if k := a.setCookies(); len(k) != 1 || k[0].Name != "__Host-handstamp-arrival" || !k[0].HttpOnly || !k[0].Secure || k[0].SameSite != http.SameSiteLaxMode || k[0].MaxAge != 10 {
			t.Errorf("the bounce sets %v", k)
		}
		// A browser that says cross-site again is not sent round once more.
		stuck := w.stranger()
		stuck.do("GET", "/", nil, fromMail...).want(200)
		if out := stuck.do("GET", "/", nil, fromMail...).want(303); out.header.Get("Refresh") != "" {
			t.Errorf("a browser goes round in circles: %v", out.header)
		}
	}
}

// TestC2_WhatIsNotBounced: only a page load that another site began, without our cookie, where that is Strict.
func TestC2_WhatIsNotBounced(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "cookie")
	with := func(headers ...string) []string { return append(append([]string{}, fromMail...), headers...) }
	for name, a := range map[string]*response{
		"no Fetch Metadata":   w.stranger().do("GET", "/", nil, with("Sec-Fetch-Site", "", "Sec-Fetch-Mode", "")...),
		"same-site":           w.stranger().do("GET", "/", nil, with("Sec-Fetch-Site", "same-site")...),
		"typed":               w.stranger().do("GET", "/", nil, with("Sec-Fetch-Site", "none")...),
		"a script":            w.stranger().do("GET", "/", nil, with("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "empty")...),
		"a frame":             w.stranger().do("GET", "/", nil, with("Sec-Fetch-Dest", "iframe")...),
		"HEAD":                w.stranger().do("HEAD", "/", nil, fromMail...),
		"with the cookie":     c.do("GET", "/", nil, fromMail...),
		"with a header":       w.stranger().do("GET", "/", nil, with("Authorization", "Bearer x")...),
		"a form":              w.stranger().do("POST", "/login", url.Values{}, fromMail...),
		"the set-up page":     w.stranger().do("GET", "/setup", nil, fromMail...),
		"a style":             w.stranger().do("GET", "/static/style.css", nil, fromMail...),
		"the API":             w.stranger().do("GET", "/v1/session", nil, fromMail...),
		"a page not there":    w.stranger().do("GET", "/nothing", nil, fromMail...),
		"the cookie is Lax":   newWorld(t, settings{auth: func(o *handstamp.Options) { o.Cookie.SameSite = http.SameSiteLaxMode }}).stranger().do("GET", "/", nil, fromMail...),
		"the cookie is None":  newWorld(t, settings{auth: func(o *handstamp.Options) { o.Cookie.SameSite = http.SameSiteNoneMode }}).stranger().do("GET", "/", nil, fromMail...),
		"there are no pages":  newWorld(t, settings{server: func(o *server.Options) { o.NoPages = true }}).stranger().do("GET", "/", nil, fromMail...),
		"another way to read": w.stranger().do("GET", "/", nil, with("Sec-Fetch-Site", "Cross-Site")...),
	} {
		if a.header.Get("Refresh") != "" || a.header.Get("Set-Cookie") != "" && strings.Contains(a.header.Get("Set-Cookie"), "arrival") {
			t.Errorf("%s: %d %v bounces", name, a.status, a.header)
		}
	}
}

// TestLoginOfWhoIsSignedIn: the form is there for who was sent to log in once more, and says who they are already. Who comes
// from elsewhere, to a page of the application that did not see their cookie, is sent back there.
func TestLoginOfWhoIsSignedIn(t *testing.T) {
	var w *world
	page := func(rules ...handstamp.Rule) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.auth.Require(rules...)(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusTeapot) })).ServeHTTP(rw, r)
		})
	}
	w = newWorld(t, settings{
		auth: func(o *handstamp.Options) { o.LoginURL = "/login" },
		app: func(server http.Handler) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/notes", page())
			mux.Handle("/bank", page(handstamp.MaxAuthAge(10*time.Minute)))
			mux.Handle("/", server)
			return mux
		},
	})
	w.document = nil
	c := w.signUp("ada@example.com", "session", "cookie")
	for target, onward := range map[string]string{"/login": "/", "/login?return_to=/notes%3Fa=b": "/notes?a=b", "/login?return_to=https://evil.example": "/"} {
		a := c.do("GET", target, nil, again...).want(200)
		a.formToken()
		if !strings.Contains(a.raw, "ada@example.com") || !strings.Contains(a.raw, `<a href="`+onward+`">`) {
			t.Errorf("%s = %s, want to be told who one is and a link to %s", target, a.raw, onward)
		}
	}
	if a := w.stranger().get("/login").want(200); strings.Contains(a.raw, "signed in as") {
		t.Errorf("a stranger is told %s", a.raw)
	}
	to := c.keptBack().do("GET", "/notes", nil, fromMail...).want(302).header.Get("Location")
	if back := c.arrive(to).want(303).header.Get("Location"); back != "/notes" {
		t.Errorf("%s leads back to %q", to, back)
	}
	c.do("GET", "/notes", nil, again...).want(http.StatusTeapot)
	// One of another site that sends them here again, to log in once more, does not send anybody round: there is the form.
	twice := c.arrive("/login?return_to=/notes").want(200)
	if twice.formToken(); !strings.Contains(twice.raw, `<a href="/notes">`) || len(twice.setCookies()) != 1 || twice.setCookies()[0].MaxAge >= 0 {
		t.Errorf("the second time in a row: %v %s", twice.header, twice.raw)
	}
	// Nor does a page that asks for a recent login.
	w.clock.add(time.Hour)
	to = c.keptBack().do("GET", "/bank", nil, fromMail...).want(302).header.Get("Location")
	if back := c.arrive(to).want(303).header.Get("Location"); back != "/bank" {
		t.Errorf("%s leads back to %q", to, back)
	}
	to = c.do("GET", "/bank", nil, again...).want(302).header.Get("Location")
	form := c.do("GET", to, nil, again...).want(200)
	w.clock.add(time.Second)
	in := c.do("POST", "/login", url.Values{"handstamp_form": {form.formToken()}, "return_to": {"/bank"}, "email": {"ada@example.com"}, "password": {typed}}).want(303)
	if in.header.Get("Location") != "/bank" {
		t.Errorf("the login leads to %q", in.header.Get("Location"))
	}
	c.do("GET", "/bank", nil, again...).want(http.StatusTeapot)
}
