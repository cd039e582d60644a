package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// application is one of the three that run, in whatever language.
type application struct {
	base    string
	advance func(time.Duration)
}

// late is a handler that is made after the address it answers at is known, or that changes.
type late struct{ now atomic.Pointer[http.Handler] }

func (l *late) set(h http.Handler)                               { l.now.Store(&h) }
func (l *late) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*l.now.Load()).ServeHTTP(w, r) }

const goodPassword = "correct horse battery"

// TestGo drives the application in Go, on a file of its own.
func TestGo(t *testing.T) {
	_, running := serve(t, settings{})
	contract(t, running)
}

// serve runs the application on a free port with a file of its own.
func serve(t *testing.T, set settings) (*app, application) {
	t.Helper()
	now := &clock{now: time.Now()}
	handler := &late{}
	srv := httptest.NewServer(handler)
	set.file, set.publicURL, set.now, set.cost = filepath.Join(t.TempDir(), "app.db"), srv.URL, now.Now, bcrypt.MinCost
	a, err := open(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	handler.set(a.routes())
	t.Cleanup(func() {
		srv.Close()
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
	return a, application{base: srv.URL, advance: now.add}
}

// browser is one device of one person.
type browser struct {
	t      *testing.T
	app    application
	http   *http.Client
	agent  string
	site   string // what it says in Sec-Fetch-Site
	email  string
	userID string
}

func (a application) browser(t *testing.T, agent string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, app: a, http: &http.Client{Jar: jar, Timeout: 2 * time.Minute}, agent: agent, site: "same-origin"}
}

type object = map[string]any

// send sends JSON, and wants a status.
func (b *browser) send(method, path string, body object, want int) object {
	b.t.Helper()
	out, _ := b.ask(method, path, body, want)
	return out
}

// ask is send that also returns the response; want 0 takes any status.
func (b *browser) ask(method, path string, body object, want int) (object, *http.Response) {
	b.t.Helper()
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.app.base+path, r)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("User-Agent", b.agent)
	if b.site != "" {
		req.Header.Set("Sec-Fetch-Site", b.site)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if want != 0 && res.StatusCode != want {
		b.t.Fatalf("%s %s of %s = %d %s, want %d", method, path, b.agent, res.StatusCode, raw, want)
	}
	var out object
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &out); err != nil {
			b.t.Fatalf("%s %s: no JSON object: %s", method, path, raw)
		}
	}
	return out, res
}

// refused wants a refusal of a status and a code.
func (b *browser) refused(method, path string, body object, status int, code string) {
	b.t.Helper()
	if got := b.send(method, path, body, status)["code"]; got != code {
		b.t.Errorf("%s %s of %s = code %v, want %s", method, path, b.agent, got, code)
	}
}

func (b *browser) signUp(email string) *browser {
	b.t.Helper()
	b.email = email
	b.userID = b.send("POST", "/signup", object{"name": "Somebody", "email": email, "password": goodPassword}, 201)["id"].(string)
	return b.logIn(email)
}

func (b *browser) logIn(email string) *browser {
	b.t.Helper()
	b.email = email
	b.send("POST", "/login", object{"email": email, "password": goodPassword}, 204)
	return b
}

// in wants the browser to be logged in, out wants it not to be.
func (b *browser) in()  { b.t.Helper(); b.send("GET", "/me", nil, 200) }
func (b *browser) out() { b.t.Helper(); b.send("GET", "/me", nil, 401) }

func (b *browser) cookies() string {
	b.t.Helper()
	u, err := url.Parse(b.app.base)
	if err != nil {
		b.t.Fatal(err)
	}
	var all []string
	for _, c := range b.http.Jar.Cookies(u) {
		all = append(all, c.Name+"="+c.Value)
	}
	return strings.Join(all, "; ")
}

// with is a browser that sends the cookies of another as they are now.
func (b *browser) with(cookies string) *browser {
	b.t.Helper()
	thief := b.app.browser(b.t, "thief")
	u, err := url.Parse(b.app.base)
	if err != nil {
		b.t.Fatal(err)
	}
	var list []*http.Cookie
	for pair := range strings.SplitSeq(cookies, "; ") {
		name, value, _ := strings.Cut(pair, "=")
		list = append(list, &http.Cookie{Name: name, Value: value})
	}
	thief.http.Jar.SetCookies(u, list)
	return thief
}

func (b *browser) devices() []object {
	b.t.Helper()
	var list []object
	for _, d := range b.send("GET", "/devices", nil, 200)["devices"].([]any) {
		list = append(list, d.(object))
	}
	return list
}

// contract is what all three applications do.
func contract(t *testing.T, app application) {
	root := app.browser(t, "root").signUp("root@example.com") // the first one manages the others
	for name, test := range map[string]func(t *testing.T, app application, root *browser){
		"log in": logsIn, "devices": devicesEnd, "everywhere": everywhere, "roles": rolesChange,
		"disabled": disabledUsers, "step up": stepsUp, "guessing": guessing, "other sites": otherSites,
	} {
		t.Run(name, func(t *testing.T) {
			as := *root
			as.t = t
			test(t, app, &as)
		})
	}
}

func logsIn(t *testing.T, app application, _ *browser) {
	ada := app.browser(t, "laptop").signUp("Ada@Example.com")
	me := ada.send("GET", "/me", nil, 200)
	if me["id"] != ada.userID || me["role"] != "customer" || len(me["permissions"].([]any)) != 0 {
		t.Errorf("GET /me = %v", me)
	}
	stranger := app.browser(t, "stranger")
	stranger.out()
	wrong := stranger.send("POST", "/login", object{"email": "ada@example.com", "password": "not the password"}, 401)
	unknown := stranger.send("POST", "/login", object{"email": "nobody@example.com", "password": "not the password"}, 401)
	if wrong["code"] != "invalid_credentials" || len(wrong) != len(unknown) || wrong["code"] != unknown["code"] {
		t.Errorf("a wrong password = %v, an unknown address = %v, want the same", wrong, unknown)
	}
	stranger.refused("POST", "/signup", object{"name": "x", "email": "ADA@example.com", "password": goodPassword}, 409, "email_taken")
	stranger.refused("POST", "/signup", object{"name": "x", "email": "eve@example.com", "password": "short"}, 422, "invalid_input")
	stranger.refused("POST", "/login", object{"email": 1, "password": true}, 400, "malformed_request")
	_, res := app.browser(t, "phone").ask("POST", "/login", object{"email": " ada@example.com", "password": goodPassword}, 204)
	for _, c := range res.Cookies() {
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" {
			t.Errorf("the cookie is %v", c)
		}
	}
	ada.send("POST", "/logout", nil, 204)
	ada.out()
	if got := ada.cookies(); got != "" {
		t.Errorf("after a log-out the jar holds %s", got)
	}
}

func devicesEnd(t *testing.T, app application, root *browser) {
	laptop := app.browser(t, "laptop/1").signUp("bob@example.com")
	phone := app.browser(t, "phone/2").logIn("bob@example.com")
	seen := map[string]object{}
	for _, d := range laptop.devices() {
		seen[d["user_agent"].(string)] = d
		if _, err := time.Parse(time.RFC3339, d["last_seen_at"].(string)); err != nil || d["ip"] != "127.0.0.1" {
			t.Errorf("a device is %v", d)
		}
	}
	if len(seen) != 2 || seen["laptop/1"]["current"] != true || seen["phone/2"]["current"] != false {
		t.Fatalf("the devices are %v", seen)
	}
	id := seen["phone/2"]["id"].(string)
	root.send("DELETE", "/devices/"+id, nil, 404) // not root's
	root.send("DELETE", "/devices/nothing", nil, 404)
	phone.in()
	laptop.send("DELETE", "/devices/"+id, nil, 204)
	phone.out()
	laptop.in()
	phone.logIn("bob@example.com")
	laptop.send("DELETE", "/devices", nil, 204) // the others
	phone.out()
	laptop.in()
}

func everywhere(t *testing.T, app application, root *browser) {
	laptop := app.browser(t, "laptop").signUp("cy@example.com")
	phone := app.browser(t, "phone").logIn("cy@example.com")
	old := laptop.with(laptop.cookies())
	laptop.send("POST", "/logout/everywhere", nil, 204)
	laptop.out()
	phone.out()
	old.out()
	root.in()
	phone.logIn("cy@example.com").in()
}

func rolesChange(t *testing.T, app application, root *browser) {
	dora := app.browser(t, "laptop").signUp("dora@example.com")
	other := app.browser(t, "laptop").signUp("else@example.com")
	dora.refused("PUT", "/users/"+other.userID, object{"role": "manager"}, 403, "forbidden")
	root.send("PUT", "/users/"+dora.userID, object{"role": "manager"}, 204)
	me := dora.send("GET", "/me", nil, 200) // the session goes on, and knows
	if me["role"] != "manager" || len(me["permissions"].([]any)) != 1 {
		t.Errorf("after the change GET /me = %v", me)
	}
	dora.send("PUT", "/users/"+other.userID, object{"role": "customer"}, 204)
	root.send("PUT", "/users/"+dora.userID, object{"role": "customer"}, 204)
	dora.refused("PUT", "/users/"+other.userID, object{"role": "manager"}, 403, "forbidden")
	dora.in()
	root.refused("PUT", "/users/999999", object{"role": "customer"}, 404, "not_found")
	root.refused("PUT", "/users/999999", object{"disabled": true}, 404, "not_found")
}

func disabledUsers(t *testing.T, app application, root *browser) {
	eve := app.browser(t, "laptop").signUp("eve@example.com")
	root.send("PUT", "/users/"+eve.userID, object{"disabled": true}, 204)
	eve.out()
	eve.refused("POST", "/login", object{"email": eve.email, "password": goodPassword}, 403, "account_disabled")
	eve.refused("POST", "/login", object{"email": eve.email, "password": "not the password"}, 401, "invalid_credentials")
	root.send("PUT", "/users/"+eve.userID, object{"disabled": false}, 204)
	eve.out() // enabling brings no session back
	eve.logIn(eve.email).in()
}

func stepsUp(t *testing.T, app application, root *browser) {
	fay := app.browser(t, "laptop").signUp("fay@example.com")
	phone := app.browser(t, "phone").logIn("fay@example.com")
	app.advance(6 * time.Minute)
	fay.refused("DELETE", "/account", nil, 403, "step_up_required")
	fay.refused("POST", "/step-up", object{"password": "not the password"}, 403, "invalid_credentials")
	fay.refused("DELETE", "/account", nil, 403, "step_up_required")
	before := fay.cookies()
	fay.send("POST", "/step-up", object{"password": goodPassword}, 204)
	fay.with(before).out() // new secrets: a copy of the old cookie opens nothing
	fay.in()
	phone.in()
	if n := len(fay.devices()); n != 2 {
		t.Errorf("after the step-up there are %d devices, want 2", n)
	}
	phone.refused("DELETE", "/account", nil, 403, "step_up_required") // the step-up was this browser's
	fay.send("DELETE", "/account", nil, 204)
	fay.out()
	phone.out()
	fay.refused("POST", "/login", object{"email": "fay@example.com", "password": goodPassword}, 401, "invalid_credentials")
	root.in()
}

func guessing(t *testing.T, app application, _ *browser) {
	app.browser(t, "laptop").signUp("gus@example.com")
	guesser := app.browser(t, "guesser")
	for _, email := range []string{"gus@example.com", "nobody-at-all@example.com"} {
		for tries := 0; ; tries++ {
			out, res := guesser.ask("POST", "/login", object{"email": email, "password": "a guess of mine"}, 0)
			if res.StatusCode == 429 && out["code"] == "too_many_attempts" {
				break
			}
			if res.StatusCode != 401 || tries > 10 {
				t.Fatalf("guess %d for %s = %d %v", tries, email, res.StatusCode, out)
			}
		}
	}
	guesser.refused("POST", "/login", object{"email": "gus@example.com", "password": goodPassword}, 429, "too_many_attempts")
}

func otherSites(t *testing.T, app application, _ *browser) {
	hal := app.browser(t, "laptop").signUp("hal@example.com")
	for _, site := range []string{"cross-site", "same-site"} {
		hal.site = site
		for _, call := range []string{"POST /logout", "POST /logout/everywhere", "DELETE /devices", "DELETE /account", "POST /step-up"} {
			method, path, _ := strings.Cut(call, " ")
			hal.refused(method, path, object{}, 403, "cross_origin")
		}
		hal.refused("POST", "/login", object{"email": "hal@example.com", "password": goodPassword}, 403, "cross_origin")
	}
	hal.site = "" // a browser that hides where it comes from
	hal.refused("POST", "/logout", nil, 403, "cross_origin")
	hal.site = "same-origin"
	hal.in()
}
