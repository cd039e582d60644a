package server_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/login"
)

var pairs = []struct{ mode, transport string }{
	{"session", "cookie"}, {"session", "bearer"}, {"token", "cookie"}, {"token", "bearer"}, {"hybrid", "cookie"}, {"hybrid", "bearer"},
}

// TestLifeOfAnIdentity is one identity from sign-up to deletion, in every mode over every transport.
func TestLifeOfAnIdentity(t *testing.T) {
	for _, sqlite := range []bool{false, true} {
		for _, p := range pairs {
			name := p.mode + "/" + p.transport
			if sqlite {
				name += "/sqlite"
			}
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, settings{sqlite: sqlite})
				c := w.signUp("ada@example.com", p.mode, p.transport)
				life(t, w, c, p.mode, p.transport)
			})
		}
	}
}

func life(t *testing.T, w *world, c *client, mode, transport string) {
	checkGrant(t, c, mode, transport)
	me := c.get("/v1/session").want(200).body
	if got := me["user"].(m); got["disabled"] != nil || got["email"] != "ada@example.com" || got["id"] != c.user() || got["email_verified"] != false {
		t.Errorf("GET /v1/session: user = %v", got)
	}
	if got := me["session"].(m)["id"]; got != c.session() {
		t.Errorf("GET /v1/session: session = %v, want %s", got, c.session())
	}
	check := c.get("/v1/check").want(200)
	if check.raw != "" || check.header.Get("Handstamp-User") != c.user() || check.header.Get("Handstamp-Session") != c.session() {
		t.Errorf("GET /v1/check = %q %v", check.raw, check.header)
	}
	other := c.logIn(mode, transport)
	list := c.get("/v1/sessions").want(200).body["sessions"].([]any)
	if len(list) != 2 || list[0].(m)["id"] != other.session() || list[0].(m)["current"] != false || list[1].(m)["current"] != true {
		t.Errorf("GET /v1/sessions = %v, want the newer one first and the other one current", list)
	}
	if mode == "hybrid" {
		before := c.token("refresh_token")
		a := c.refresh().want(200)
		if transport == "bearer" && a.body["refresh_token"] == before {
			t.Error("a refresh gave the same refresh token again")
		}
		c.keep(a)
		c.get("/v1/session").want(200)
	}
	// A password change ends the other session and gives this one new secrets.
	a := c.post("/v1/password", m{"current_password": typed, "new_password": "another passphrase of mine"}).want(200)
	if got := a.body["session"].(m)["id"]; got != c.session() {
		t.Errorf("after a password change the session is %v, want the same %s", got, c.session())
	}
	if a.body["applied"] != "node" {
		t.Errorf("POST /v1/password: applied = %v, want node", a.body["applied"])
	}
	c.keep(a)
	c.get("/v1/session").want(200)
	other.get("/v1/session").refused(401, "revoked")
	// Log-out, and again.
	c.post("/v1/logout", nil).want(204)
	stale := w.program(c.token("access_token"))
	if transport == "bearer" {
		stale.get("/v1/session").refused(401, "revoked")
	} else {
		c.get("/v1/session").refused(401, "missing_credential")
	}
	c.post("/v1/logout", nil).want(204)
	// Back in with the new password, and gone for good.
	again := w.stranger()
	again.keep(again.post("/v1/login", m{"email": "ADA@example.com ", "password": "another passphrase of mine", "mode": mode, "transport": transport}).want(200))
	held := again.cookie("/", "__Host-handstamp") + again.token("access_token")
	gone := again.del("/v1/account").want(204)
	if cleared := len(gone.setCookies()); cleared != 2 || again.cookie("/", "__Host-handstamp") != "" {
		t.Errorf("deleting the account clears %d cookies, want both", cleared)
	}
	w.program(held).get("/v1/session").refused(401, "revoked")
	w.stranger().post("/v1/login", m{"email": "ada@example.com", "password": "another passphrase of mine"}).refused(401, "invalid_credentials")
	w.stranger().post("/v1/signup", m{"email": "ada@example.com", "password": typed}).want(201)
}

// refresh refreshes the way this client holds its token.
func (c *client) refresh() *response {
	if rt := c.token("refresh_token"); rt != "" {
		return c.post("/v1/refresh", m{"refresh_token": rt})
	}
	return c.post("/v1/refresh", nil)
}

func checkGrant(t *testing.T, c *client, mode, transport string) {
	t.Helper()
	s := c.grant["session"].(m)
	if s["mode"] != mode || !strings.HasPrefix(s["id"].(string), "ses_") || !strings.HasPrefix(c.user(), "usr_") {
		t.Errorf("grant: session %v of %s, want mode %s", s, c.user(), mode)
	}
	if roles := c.grant["user"].(m)["roles"].([]any); len(roles) != 1 || roles[0] != "member" {
		t.Errorf("grant: roles = %v, want member", roles)
	}
	if (s["idle_expires_at"] == nil) != (mode == "token") {
		t.Errorf("grant: idle_expires_at = %v in mode %s", s["idle_expires_at"], mode)
	}
	bearer := transport == "bearer"
	for name, want := range map[string]bool{
		"token_type": bearer, "access_token": bearer, "expires_in": bearer,
		"refresh_token": bearer && mode == "hybrid", "refresh_expires_in": bearer && mode == "hybrid",
	} {
		if _, ok := c.grant[name]; ok != want {
			t.Errorf("grant by %s in mode %s: %s present = %v, want %v", transport, mode, name, ok, want)
		}
	}
	if !bearer {
		return
	}
	prefix := map[string]string{"session": "hs_s_", "token": "ey", "hybrid": "ey"}[mode]
	if !strings.HasPrefix(c.token("access_token"), prefix) {
		t.Errorf("access token of mode %s = %.5s…", mode, c.token("access_token"))
	}
	if got := c.grant["expires_in"].(float64); mode == "hybrid" && (got > 600 || got < 560) {
		t.Errorf("expires_in = %v, want 10 min less up to 5 %%", got)
	}
}

func TestModesAndDefaults(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "", "")
	if c.grant["session"].(m)["mode"] != "session" || c.cookie("/", "__Host-handstamp") == "" {
		t.Errorf("a login that asks for nothing = %v, want mode session by cookie", c.grant)
	}
	b := c.logIn("hybrid", "")
	if b.token("refresh_token") == "" {
		t.Error("hybrid without a transport = no tokens in the body, want bearer")
	}
	w = newWorld(t, settings{auth: offerOnlySessions})
	w.signUp("ada@example.com", "session", "cookie")
	for _, path := range []string{"/v1/signup", "/v1/login"} {
		a := w.stranger().post(path, m{"email": "ada@example.com", "password": typed, "mode": "hybrid"})
		if path == "/v1/login" {
			a.refused(422, "invalid_input")
		}
		w.stranger().post(path, m{"email": "ada@example.com", "password": typed, "mode": "nonsense"}).refused(422, "invalid_input")
		w.stranger().post(path, m{"email": "ada@example.com", "password": typed, "transport": "pigeon"}).refused(422, "invalid_input")
	}
	w.stranger().post("/v1/signup", m{"email": "new@example.com", "password": typed, "mode": "hybrid"}).refused(422, "invalid_input")
}

// TestModeBeforePassword: a mode that is not offered is refused before anybody looks at the password, so it neither tells
// whether that was right nor counts as an attempt.
func TestModeBeforePassword(t *testing.T) {
	w := newWorld(t, settings{auth: offerOnlySessions, login: func(o *login.Options) { o.MaxFailures = 3 }})
	w.signUp("ada@example.com", "session", "bearer")
	answers := map[string]bool{}
	for range 5 {
		for _, password := range []string{typed, "not the password"} {
			for _, mode := range []string{"hybrid", "token", "nonsense", ""} {
				a := w.stranger().post("/v1/login", m{"email": "ada@example.com", "password": password, "mode": mode}).refused(422, "invalid_input")
				if fields := a.fields(); len(fields) != 1 || fields[0] != "mode" {
					t.Errorf("mode %q = %s, want the field mode named", mode, a.raw)
				}
				answers[a.raw] = true
			}
		}
	}
	if len(answers) != 1 {
		t.Errorf("%d different answers, want one whatever the password: %v", len(answers), answers)
	}
	w.stranger().post("/v1/login", m{"email": "ada@example.com", "password": "not the password"}).refused(401, "invalid_credentials")
	w.stranger().post("/v1/login", m{"email": "ada@example.com", "password": typed}).want(200)
}

// TestPrefix: everything lives below the path of the public URL, and nothing beside it.
func TestPrefix(t *testing.T) {
	w := newWorld(t, settings{prefix: "/id"})
	c := w.signUp("ada@example.com", "hybrid", "cookie")
	c.get("/v1/session").want(200)
	c.refresh().want(200)
	if c.cookie("/v1/refresh", "__Secure-handstamp-refresh") == "" || c.cookie("/v1/session", "__Secure-handstamp-refresh") != "" {
		t.Error("the refresh cookie is not sent to the refresh path alone")
	}
	u := w.url
	for _, path := range []string{"/v1/session", "/idx/v1/session", "/id", "/ID/v1/session"} {
		w.url = strings.TrimSuffix(u, "/id")
		w.stranger().get(path).refused(404, "not_found")
	}
	w.url = u
	if to := w.stranger().get("/").want(303).header.Get("Location"); to != "/id/login" {
		t.Errorf("GET / without a session leads to %q, want /id/login", to)
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "cookie")
	for _, path := range []string{
		"/nothing", "/v1", "/v1/", "/v1/session/", "/v1//session", "/v1/../v1/session", "/v1/./session", "/v1/sessions/../session",
		"/static", "/static/", "/static/login.html", "/static/..%2fstyle.css", "/v1/%2e%2e/v1/session", "//v1/session", "/V1/session",
		"/v1/session%00", "/v1/session;jsessionid=1",
	} {
		c.get(path).refused(404, "not_found")
	}
	for _, line := range contract {
		f := strings.Fields(line)
		if f[1] == "/v1/check" {
			continue
		}
		path := strings.NewReplacer("{id}", "x", "{name}", "x", "{kid}", "x").Replace(f[1])
		a := c.do("PROPFIND", path, nil).refused(405, "method_not_allowed")
		if !strings.Contains(a.header.Get("Allow"), f[0]) {
			t.Errorf("PROPFIND %s: Allow = %q, want %s in it", path, a.header.Get("Allow"), f[0])
		}
	}
	c.do("TRACE", "/v1/check", nil).refused(405, "method_not_allowed")
	c.do("TRACE", "/v1/session", nil).refused(405, "method_not_allowed")
	head := c.do("HEAD", "/v1/session", nil).want(200)
	if head.raw != "" {
		t.Errorf("HEAD has a body: %s", head.raw)
	}
	c.do("POST", "/v1/session", nil, "X-HTTP-Method-Override", "GET").refused(405, "method_not_allowed")
}

func TestWaitFleet(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	c := w.signUp("ada@example.com", "hybrid", "bearer")
	waited := func(a *response) m {
		t.Helper()
		a.want(200)
		if a.body["applied"] != "fleet" || a.body["verifiers"] == nil || a.body["waited_out"] == nil || a.body["waited_ms"] == nil {
			t.Errorf("%s = %s, want what it waited for", a.what, a.raw)
		}
		return a.body
	}
	other := c.logIn("token", "bearer")
	if v := waited(c.del("/v1/sessions/" + other.session() + "?wait=fleet"))["verifiers"]; v != 1.0 {
		t.Errorf("verifiers = %v, want the one there is", v)
	}
	other.get("/v1/session").refused(401, "revoked")
	waited(c.del("/v1/sessions/" + other.session() + "?wait=fleet")) // again: waits for the event that ended it
	c.logIn("session", "bearer")
	if n := waited(c.del("/v1/sessions?keep=current&wait=fleet"))["revoked"]; n != 1.0 {
		t.Errorf("revoked = %v, want 1", n)
	}
	changed := c.post("/v1/password?wait=fleet", m{"current_password": typed, "new_password": "another passphrase of mine"})
	if v := waited(changed)["verifiers"]; v != 1.0 {
		t.Errorf("a password change waited for %v verifiers, want the one there is", v)
	}
	c.keep(changed)
	waited(admin.put("/v1/admin/users/"+c.user()+"/roles?wait=fleet", m{"roles": []string{"member"}}))
	started := waited(admin.post("/v1/admin/sessions?wait=fleet", m{"user": c.user(), "roles": []string{"editor"}}))
	if started["access_token"] == nil || started["verifiers"] != 1.0 {
		t.Errorf("a session with other roles = %v", started)
	}
	waited(admin.put("/v1/admin/roles/editor?wait=fleet", m{"permissions": []string{"posts:*"}}))
	waited(admin.del("/v1/admin/roles/editor?wait=fleet"))
	waited(admin.del("/v1/admin/users/" + c.user() + "/sessions?wait=fleet"))
	waited(admin.do("PATCH", "/v1/admin/users/"+c.user()+"?wait=fleet", m{"disabled": true}))
	waited(admin.del("/v1/admin/users/" + c.user() + "?wait=fleet"))
	waited(c.post("/v1/logout?wait=fleet", nil))
	waited(w.program("").do("POST", "/v1/revoke?wait=fleet", url.Values{"token": {"x"}}))
	c.post("/v1/logout?wait=planet", nil).refused(422, "invalid_input")
}

func TestRefreshOverHTTP(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "hybrid", "bearer")
	w.stranger().post("/v1/refresh", nil).refused(401, "missing_credential")
	w.stranger().post("/v1/refresh", m{"refresh_token": ""}).refused(401, "invalid_token")
	w.stranger().post("/v1/refresh", m{"refresh_token": c.token("access_token")}).refused(401, "invalid_token")
	first := c.token("refresh_token")
	one := c.post("/v1/refresh", m{"refresh_token": first}).want(200).body["refresh_token"]
	two := c.post("/v1/refresh", m{"refresh_token": first}).want(200).body["refresh_token"]
	if one != two {
		t.Error("two refreshes with one token inside the grace gave two successors")
	}
	// With a key the same successor is given after the grace as well.
	key := []string{"Idempotency-Key", "try-1"}
	a := c.do("POST", "/v1/refresh", m{"refresh_token": one, "background": true}, key...).want(200)
	w.clock.add(time.Minute)
	b := c.do("POST", "/v1/refresh", m{"refresh_token": one}, key...).want(200)
	if a.body["refresh_token"] != b.body["refresh_token"] {
		t.Error("a retry with the same Idempotency-Key gave another successor")
	}
	for _, bad := range []string{" ", "a b", strings.Repeat("k", 129), "schlüssel"} {
		c.do("POST", "/v1/refresh", m{"refresh_token": one}, "Idempotency-Key", bad).refused(422, "invalid_input")
	}
	// A token that its owner can no longer hold ends the session.
	a = c.do("POST", "/v1/refresh", m{"refresh_token": first}).refused(401, "refresh_reused")
	if n := len(a.setCookies()); n != 2 {
		t.Errorf("refresh_reused clears %d cookies, want both", n)
	}
	c.post("/v1/refresh", m{"refresh_token": b.body["refresh_token"]}).refused(401, "revoked")
}

func offerOnlySessions(o *handstamp.Options) { o.Modes = []handstamp.Mode{handstamp.ModeSession} }

// TestRefreshOfSomebodyElse: a token in the body and the cookies of another session are two people's, or two sessions of one:
// the end of the one takes nothing away from the other. And what came in a cookie never goes into a body.
func TestRefreshOfSomebodyElse(t *testing.T) {
	w := newWorld(t, settings{})
	ada := w.signUp("ada@example.com", "hybrid", "bearer")
	first := ada.token("refresh_token")
	second := ada.post("/v1/refresh", m{"refresh_token": first}).want(200).body["refresh_token"]
	third := ada.post("/v1/refresh", m{"refresh_token": second}).want(200).body["refresh_token"]
	w.clock.add(time.Minute)
	bob := w.signUp("bob@example.com", "hybrid", "cookie")
	a := bob.post("/v1/refresh", m{"refresh_token": first}).refused(401, "refresh_reused")
	if n := len(a.setCookies()); n != 0 {
		t.Errorf("a token in the body that was reused takes %d cookies of another session away", n)
	}
	ada.post("/v1/refresh", m{"refresh_token": third}).refused(401, "revoked")
	bob.get("/v1/session").want(200)
	bob.post("/v1/refresh", nil).want(200)

	eve := w.signUp("eve@example.com", "hybrid", "bearer")
	a = w.stranger().do("POST", "/v1/refresh", nil, "Cookie", "__Secure-handstamp-refresh="+eve.token("refresh_token"), "Origin", w.http.URL).want(200)
	if a.body["access_token"] != nil || a.body["refresh_token"] != nil || len(a.setCookies()) != 2 {
		t.Errorf("a refresh by cookie is answered with %s and %d cookies, want two and no token", a.raw, len(a.setCookies()))
	}
}
