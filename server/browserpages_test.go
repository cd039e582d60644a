//go:build browser

package server_test

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/handstamp/handstamp"
)

// TestBrowserSetUp: the one-time link makes one administrator, and its secret does not stay where others find it.
func TestBrowserSetUp(t *testing.T) {
	w := newWorld(t, settings{plain: true, sqlite: true})
	browser := newBrowser(t)
	secret, err := w.flow.NewSetup(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	link := w.url + "/setup#" + secret.Reveal()
	p := w.person(t, browser)
	p.open(200, link)
	p.run(visible("#setup"))
	p.at("/setup")
	if page := p.js("document.documentElement.outerHTML"); strings.Contains(page, secret.Reveal()) {
		t.Error("the secret is in the page")
	}
	p.run(fill("root@example.com", "short"), click(submit), visible("#error"))
	if got := p.text("#error"); !strings.Contains(got, "8 characters") {
		t.Errorf("a short password is answered with %q", got)
	}
	p.run(chromedp.WaitEnabled(submit), fill("root@example.com", typed), click(submit), visible("#done"))
	p.loads(200, click("#done a.button")).at("/")
	if got := p.text("main"); !strings.Contains(got, "root@example.com") {
		t.Errorf("after the set-up the page says %q", got)
	}
	// Whoever goes back finds neither the secret nor the password.
	p.run(chromedp.NavigateBack())
	p.at("/setup")
	if left := p.js(`location.href + " " + document.documentElement.outerHTML + " " + document.getElementById("password").value`); strings.Contains(left, secret.Reveal()) || strings.Contains(left, typed) {
		t.Errorf("after going back the page holds %s", left)
	}
	p.loads(200, chromedp.Reload()).at("/setup")
	p.run(visible("#error"))
	p.calm()

	late := w.person(t, browser)
	late.open(200, link)
	late.run(fill("other@example.com", typed), click(submit), visible("#error"))
	if got := late.text("#error"); !strings.Contains(got, "This link was used") || !strings.Contains(got, "Start the server again") {
		t.Errorf("a used link is answered with %q", got)
	}
	late.signedIn(false)
	bare := w.person(t, browser)
	bare.open(200, w.url+"/setup")
	bare.run(visible("#error"), chromedp.WaitNotVisible(chromedp.CSS("#setup")))
	// Pasting the whole link over it loads no page; the form is there all the same.
	bare.js(`location.hash = "x"`)
	bare.run(visible("#setup"), chromedp.WaitNotVisible(chromedp.CSS("#error")))
	bare.at("/setup")
	bare.calm()
}

// TestBrowserSignIn: the form works with scripts and without.
func TestBrowserSignIn(t *testing.T) {
	w := newWorld(t, settings{plain: true})
	w.signUp("ada@example.com", "session", "bearer")
	browser := newBrowser(t)
	for _, scripts := range []bool{true, false} {
		p := w.person(t, browser)
		call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripts})
		p.open(200, w.url+"/login?return_to="+url.QueryEscape("/?from=here"))
		p.loads(401, fill("Ada@Example.com", "not the password"), click(submit)).at("/login")
		email, password := value(p, chromedp.Value(chromedp.CSS("#email"))), value(p, chromedp.Value(chromedp.CSS("#password")))
		if got := p.text("[role=alert]"); email != "Ada@Example.com" || password != "" || !strings.Contains(got, "wrong") {
			t.Errorf("scripts %v: after a wrong password the form holds %q and %q and says %q", scripts, email, password, got)
		}
		p.loads(200, chromedp.SendKeys(chromedp.CSS("#password"), typed), click(submit)).at("/?from=here")
		if got := p.text("main"); !strings.Contains(got, "ada@example.com") {
			t.Errorf("scripts %v: the start page says %q", scripts, got)
		}
		p.calm()
	}
}

// TestC17_Browser: what a browser makes of a hostile return_to is what the server makes of it.
func TestC17_Browser(t *testing.T) {
	friendly := site(t, "localhost", "<h1>the application</h1>")
	w := newWorld(t, settings{plain: true, auth: func(o *handstamp.Options) { o.Origins = []string{friendly} }})
	w.signUp("ada@example.com", "session", "bearer")
	p := w.person(t, newBrowser(t))
	evil := site(t, "localhost", "<h1>evil</h1>")
	host := strings.TrimPrefix(evil, "http://")
	for _, target := range []string{
		evil, evil + "/login", "//" + host, "///" + host, `/\` + host, `\\` + host, `/` + "\t" + `/` + host, "http:" + host, "http:/" + host,
		strings.Replace(w.url, "http://", "http://x@"+host+"/", 1), w.url + "@" + host, "/../" + "/" + host, "/.//" + host, "javascript:alert(1)", "data:text/html,x",
	} {
		p.open(200, w.url+"/login?return_to="+url.QueryEscape(target))
		p.loads(200, fill("ada@example.com", typed), click(submit))
		if got := p.js("location.origin"); got != w.url {
			t.Errorf("return_to %q leads the browser to %s", target, got)
		}
	}
	p.open(200, w.url+"/login?return_to="+url.QueryEscape(friendly+"/notes?a=b"))
	p.loads(200, fill("ada@example.com", typed), click(submit))
	if got := p.js("location.href"); got != friendly+"/notes?a=b" {
		t.Errorf("return_to an origin that was named leads to %s", got)
	}
	p.calm()
}

// TestC3_Browser: scripts see no cookie, whatever the mode.
func TestC3_Browser(t *testing.T) {
	w := newWorld(t, settings{plain: true})
	w.signUp("ada@example.com", "session", "bearer")
	browser := newBrowser(t)
	for _, mode := range []string{"session", "token", "hybrid"} {
		p := w.person(t, browser)
		p.open(200, w.url+"/login")
		if status := p.fetch("/v1/login", `{"email":"ada@example.com","password":"`+typed+`","mode":"`+mode+`","transport":"cookie"}`); status != "200" {
			t.Fatalf("log in by fetch in mode %s = %s", mode, status)
		}
		if got := p.js("document.cookie"); got != "" {
			t.Errorf("mode %s: a script sees %q", mode, got)
		}
		names := map[string]bool{}
		for _, k := range p.cookies() {
			names[k.Name] = true
			if !k.HTTPOnly || k.SameSite != network.CookieSameSiteStrict || k.Domain != "127.0.0.1" {
				t.Errorf("mode %s: the browser holds %s with HttpOnly %v, SameSite %s, domain %s", mode, k.Name, k.HTTPOnly, k.SameSite, k.Domain)
			}
			if want := map[bool]string{true: "/v1/refresh", false: "/"}[k.Name == "handstamp-refresh"]; k.Path != want {
				t.Errorf("mode %s: %s has the path %s, want %s", mode, k.Name, k.Path, want)
			}
		}
		if !names["handstamp"] || names["handstamp-refresh"] != (mode == "hybrid") {
			t.Errorf("mode %s: the browser holds %v", mode, names)
		}
		p.signedIn(true)
		p.calm()
	}
}

// fetch posts JSON from a script of the page, and answers the status.
func (p *tab) fetch(path, body string) string {
	p.t.Helper()
	return p.js(`fetch(` + strconv.Quote(p.w.url+path) + `, {method: "POST", credentials: "include", headers: {"Content-Type": "application/json"}, body: ` + strconv.Quote(body) + `})
		.then((a) => String(a.status), () => "refused")`)
}

// TestC7_Browser: another site's page can make the browser send a request, with its cookies where the site is the same
// and only the port is not. It changes nothing.
func TestC7_Browser(t *testing.T) {
	w := newWorld(t, settings{plain: true})
	w.signUp("ada@example.com", "session", "bearer")
	w.signUp("eve@example.com", "session", "bearer")
	browser := newBrowser(t)
	forms := `<form id="api" method="post" action="{url}/v1/logout"></form>
		<form id="page" method="post" action="{url}/logout"><input type="hidden" name="everywhere" value="1"></form>
		<form id="plain" method="post" enctype="text/plain" action="{url}/v1/login"><input name='{"email":"eve@example.com","password":"{typed}","x":"' value='"}'></form>
		<form id="login" method="post" action="{url}/login"><input name="email" value="eve@example.com"><input name="password" value="{typed}"></form>`
	forms = strings.NewReplacer("{url}", w.url, "{typed}", html.EscapeString(typed)).Replace(forms)
	for _, host := range []string{"localhost", "127.0.0.1"} { // another site; the same site at another port
		evil := site(t, host, forms)
		p := w.person(t, browser).signIn("ada@example.com")
		for _, form := range []string{"api", "page", "plain", "login"} {
			p.open(200, evil)
			p.loads(403, chromedp.Submit(chromedp.CSS("#"+form)))
			p.signedIn(true)
		}
		p.calm()
		for _, path := range []string{"/v1/logout", "/v1/login", "/logout", "/login"} {
			for _, script := range []string{
				`fetch({target}, {method: "POST", mode: "no-cors", credentials: "include"})`,
				`fetch({target}, {method: "POST", mode: "no-cors", credentials: "include", headers: {"Content-Type": "text/plain"}, body: "{}"})`,
				`fetch({target}, {method: "POST", credentials: "include", headers: {"Content-Type": "application/json"}, body: "{}"})`,
				`fetch({target}, {method: "DELETE", credentials: "include"})`,
			} {
				p.open(200, evil)
				script = strings.Replace(script, "{target}", strconv.Quote(w.url+path), 1) + `.then((a) => a.text(), () => "")`
				if read := p.js(script); read != "" {
					t.Errorf("a script of %s reads %q from %s", evil, read, path)
				}
			}
		}
		p.signedIn(true)
		if got := p.text("main"); !strings.Contains(got, "ada@example.com") {
			t.Errorf("after all that the browser is signed in as %q", got)
		}
		// Nobody is logged in as somebody else either.
		visitor := w.person(t, browser)
		visitor.open(200, evil)
		visitor.loads(403, chromedp.Submit(chromedp.CSS("#login")))
		visitor.signedIn(false)
		visitor.calm()
	}
}

// TestC14_Browser: the policy of our pages stops a script that got into one, and our own pages do not run into it.
func TestC14_Browser(t *testing.T) {
	w := newWorld(t, settings{plain: true})
	w.signUp("ada@example.com", "session", "bearer")
	p := w.person(t, newBrowser(t))
	for path, status := range map[string]int64{"/login": 200, "/setup": 200, "/nothing": 404} {
		p.open(status, w.url+path)
		p.calm()
	}
	p.signIn("ada@example.com").calm()
	p.js(`new Promise((done) => {
		document.addEventListener("securitypolicyviolation", done, {once: true});
		const s = document.createElement("script");
		s.textContent = "window.injected = true";
		document.body.append(s);
	}).then(() => "")`)
	if got := p.js("String(window.injected)"); got != "undefined" {
		t.Error("an injected script ran")
	}
	p.mu.Lock()
	noticed := len(p.trouble) > 0
	p.trouble = nil
	p.mu.Unlock()
	if !noticed {
		t.Error("the browser's complaint about the injected script was not noticed: this test would notice nothing")
	}
	// Nobody else shows our pages in a frame: what the frame shows is the browser's own page, of no origin of ours.
	p.open(200, site(t, "127.0.0.1", `<iframe id="f" src="`+w.url+`/login"></iframe>`))
	p.mu.Lock()
	refused := strings.Join(p.trouble, " ")
	p.mu.Unlock()
	if !strings.Contains(refused, "frame-ancestors") && !strings.Contains(refused, "X-Frame-Options") {
		t.Errorf("the sign-in page in a frame of another site: the browser says %q", refused)
	}
}

// TestBrowserSignOut: here, and everywhere.
func TestBrowserSignOut(t *testing.T) {
	w := newWorld(t, settings{plain: true})
	w.signUp("ada@example.com", "session", "bearer")
	browser := newBrowser(t)
	here, there := w.person(t, browser).signIn("ada@example.com"), w.person(t, browser).signIn("ada@example.com")
	here.loads(200, click(submit)).at("/login")
	if n := len(here.sessionCookies()); n != 0 {
		t.Errorf("after signing out the browser holds %d cookies of ours", n)
	}
	here.signedIn(false)
	there.signedIn(true)
	here.signIn("ada@example.com")
	here.loads(200, click("button[name=everywhere]")).at("/login")
	here.signedIn(false)
	there.signedIn(false)
	// A page that was left open says what happened.
	stale := w.person(t, browser).signIn("ada@example.com")
	here.signIn("ada@example.com").loads(200, click("button[name=everywhere]"))
	stale.loads(403, click(submit))
	if got := stale.text("h1"); got != "This form is out of date" {
		t.Errorf("a form of an ended session says %q", got)
	}
	stale.loads(200, click("a.button")).at("/login")
	here.calm()
	there.calm()
	stale.calm()
}

func (p *tab) sessionCookies() []string {
	var names []string
	for _, k := range p.cookies() {
		if k.Name != "handstamp-form" {
			names = append(names, k.Name)
		}
	}
	return names
}

// TestC2_Browser: the cookie is Strict, and who follows a link from another site arrives signed in all the same: at a page of
// ours, with scripts and without, and at a page of the application that sends to ours.
func TestC2_Browser(t *testing.T) {
	var w *world
	w = newWorld(t, settings{
		plain: true,
		auth:  func(o *handstamp.Options) { o.LoginURL = "/login" },
		app: func(server http.Handler) http.Handler {
			notes := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "text/html")
				fmt.Fprint(rw, "<!doctype html><title>notes</title><link rel=icon href='data:,'><main>the notes</main>")
			})
			mux := http.NewServeMux()
			mux.HandleFunc("/notes", func(rw http.ResponseWriter, r *http.Request) { w.auth.Require()(notes).ServeHTTP(rw, r) })
			mux.Handle("/", server)
			return mux
		},
	})
	w.signUp("ada@example.com", "session", "bearer")
	browser := newBrowser(t)
	links := fmt.Sprintf(`<a id="home" href="%[1]s/?from=%%22mail%%22#here">home</a> <a id="login" href="%[1]s/login">login</a> <a id="notes" href="%[1]s/notes?page=2">notes</a>`, w.url)
	elsewhere := site(t, "localhost", links)
	for _, scripts := range []bool{true, false} {
		p, stranger := w.person(t, browser).signIn("ada@example.com"), w.person(t, browser)
		for _, somebody := range []*tab{p, stranger} {
			call(somebody, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripts})
		}
		for _, c := range []struct {
			link, path, says string
		}{{"home", "/?from=%22mail%22", "ada@example.com"}, {"login", "/", "ada@example.com"}, {"notes", "/notes?page=2", "the notes"}} {
			p.forget("handstamp-arrival") // of the link before
			p.open(200, elsewhere)
			p.run(click(chromedp.CSS("#"+c.link)), visible("main"))
			p.at(c.path)
			if got := p.text("main"); !strings.Contains(got, c.says) {
				t.Errorf("scripts %v: the link %s leads to %q, want %q", scripts, c.link, got, c.says)
			}
		}
		p.loads(200, chromedp.Reload()).at("/notes?page=2")
		for link, path := range map[string]string{"home": "/login", "login": "/login", "notes": "/login?return_to=%2Fnotes%3Fpage%3D2"} {
			stranger.open(200, elsewhere)
			stranger.run(click(chromedp.CSS("#"+link)), visible("#email"))
			stranger.at(path)
		}
		stranger.loads(200, fill("ada@example.com", typed), click(submit)).signedIn(true)
		p.calm()
		stranger.calm()
	}
}

// forget takes a cookie away, as its age would.
func (p *tab) forget(name string) {
	p.t.Helper()
	call(p, network.DeleteCookies, network.DeleteCookiesParams{Name: name, URL: p.w.url + "/"})
}
