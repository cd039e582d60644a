package server_test

import (
	"context"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login/password"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/server"
)

func TestS3_NewSecretsAtLogin(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "cookie")
	old := c.cookie("/", "__Host-handstamp")
	c.start("/v1/login", "session", "cookie", 200)
	if c.cookie("/", "__Host-handstamp") == old {
		t.Error("a login keeps the secret of the session before it")
	}
	w.program(old).get("/v1/session").refused(401, "revoked") // the new session took the place of the old one
	old = c.cookie("/", "__Host-handstamp")
	c.post("/v1/password", m{"current_password": typed, "new_password": "another passphrase of mine"}).want(200)
	if c.cookie("/", "__Host-handstamp") == old {
		t.Error("a password change keeps the session's secret")
	}
	if a := w.program(old).get("/v1/session"); a.status != 401 {
		t.Errorf("the secret from before the password change = %d, want 401", a.status)
	}
	c.get("/v1/session").want(200)
}

func TestS4_NothingIsAdopted(t *testing.T) {
	w := newWorld(t, settings{})
	ada := w.signUp("ada@example.com", "session", "cookie")
	planted := ada.cookie("/", "__Host-handstamp")
	for _, value := range []string{planted, "hs_s_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa000000", "x", ""} {
		body := m{"email": "bob@example.com", "password": typed}
		path := "/v1/login"
		if value == planted {
			path = "/v1/signup"
		}
		a := w.stranger().do("POST", path, body, "Cookie", "__Host-handstamp="+value)
		if a.status > 201 {
			t.Fatalf("login with a planted cookie = %d %s", a.status, a.raw)
		}
		if got := a.setCookies()[0].Value; got == value || got == "" {
			t.Error("a login adopted the secret that the client presented")
		}
	}
	// The planted session's owner gets nobody else's identity.
	w.program(planted).get("/v1/session").want(401)
}

func TestS5_LogOutEndsEveryForm(t *testing.T) {
	for _, p := range pairs {
		w := newWorld(t, settings{})
		c := w.signUp("ada@example.com", p.mode, p.transport)
		access, refresh := c.token("access_token"), c.token("refresh_token")
		if p.transport == "cookie" {
			access, refresh = c.cookie("/", "__Host-handstamp"), c.cookie("/v1/refresh", "__Secure-handstamp-refresh")
		}
		c.post("/v1/logout", nil).want(204)
		w.program(access).get("/v1/session").refused(401, "revoked")
		w.program(access).get("/v1/check").refused(401, "revoked")
		if p.mode == "hybrid" {
			w.program("").post("/v1/refresh", m{"refresh_token": refresh}).refused(401, "revoked")
		}
	}
}

// TestLogOutByAnyCredential: whatever names the session genuinely ends it, in whatever state; what does not is no error.
func TestLogOutByAnyCredential(t *testing.T) {
	w := newWorld(t, settings{})
	fresh := func() *client {
		w.clock.add(time.Second)
		c := w.stranger()
		c.email = "ada@example.com"
		c.start("/v1/login", "hybrid", "bearer", 200)
		return c
	}
	w.signUp("ada@example.com", "session", "cookie")
	gone := func(how string, c *client) {
		t.Helper()
		if a := w.program(c.token("access_token")).get("/v1/session"); a.body["code"] != "revoked" {
			t.Errorf("log-out by %s: the session answers %d %v, want revoked", how, a.status, a.body["code"])
		}
	}
	c := fresh()
	w.program(c.token("access_token")).post("/v1/logout", nil).want(204)
	gone("header", c)
	c = fresh()
	w.program("").post("/v1/logout", m{"refresh_token": c.token("refresh_token")}).want(204)
	gone("body", c)
	c = fresh()
	w.stranger().do("POST", "/v1/logout", nil, "Cookie", "__Host-handstamp="+c.token("access_token")).want(204)
	gone("session cookie", c)
	c = fresh()
	w.stranger().do("POST", "/v1/logout", nil, "Cookie", "__Secure-handstamp-refresh="+c.token("refresh_token")).want(204)
	gone("refresh cookie", c)
	c = fresh()
	unknown := w.key("posts:read") // genuine, and no session's
	w.stranger().do("POST", "/v1/logout", nil, "Cookie", "__Host-handstamp=hs_s_x; __Secure-handstamp-refresh="+c.token("refresh_token")).want(204)
	gone("refresh cookie beside an unknown session cookie", c)
	c = fresh()
	w.program(unknown).post("/v1/logout", m{"refresh_token": c.token("refresh_token")}).want(204)
	gone("body beside a service key", c)
	c, d := fresh(), fresh()
	w.program(c.token("access_token")).do("POST", "/v1/logout", nil, "Cookie", "__Host-handstamp="+d.token("access_token"), "Origin", w.http.URL).want(204)
	gone("header beside a cookie", c)
	gone("cookie beside a header", d)
	// An expired value token still names its session.
	c = fresh()
	w.clock.add(11 * time.Minute)
	w.program(c.token("access_token")).get("/v1/session").refused(401, "expired")
	w.program(c.token("access_token")).post("/v1/logout", nil).want(204)
	w.program("").post("/v1/refresh", m{"refresh_token": c.token("refresh_token")}).refused(401, "revoked")
	for _, nothing := range []*client{w.stranger(), w.program("x"), w.program("hs_s_x"), w.program(unknown), w.program("a.b.c")} {
		a := nothing.post("/v1/logout", nil).want(204)
		if len(a.setCookies()) != 2 {
			t.Error("log-out without a session clears no cookies")
		}
	}
}

func TestS6_S7_IdleAndAbsoluteEnd(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "bearer")
	w.clock.add(23 * time.Hour)
	c.get("/v1/session").want(200)
	w.clock.add(23 * time.Hour)
	c.get("/v1/session").want(200)
	w.clock.add(25 * time.Hour)
	c.get("/v1/session").refused(401, "expired")
}

func TestS8_DisabledUser(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	c := w.signUp("ada@example.com", "session", "bearer")
	all := []*client{c, c.logIn("token", "bearer"), c.logIn("hybrid", "bearer"), c.logIn("hybrid", "cookie")}
	if got := admin.do("PATCH", "/v1/admin/users/"+c.user(), m{"disabled": true}).want(200).body["disabled"]; got != true {
		t.Errorf("PATCH disabled = %v", got)
	}
	for _, one := range all {
		one.get("/v1/session").refused(401, "revoked")
		one.get("/v1/check").refused(401, "revoked")
	}
	all[2].refresh().refused(401, "revoked")
	all[3].refresh().refused(401, "revoked")
	w.stranger().post("/v1/login", m{"email": c.email, "password": typed}).refused(403, "account_disabled")
	w.stranger().post("/v1/login", m{"email": c.email, "password": "wrong password"}).refused(401, "invalid_credentials")
	w.program(w.key("handstamp.start")).post("/v1/admin/sessions", m{"user": c.user(), "methods": []string{"pwd"}}).refused(403, "account_disabled")
	admin.do("PATCH", "/v1/admin/users/"+c.user(), m{"disabled": false}).want(200)
	for _, one := range all {
		one.get("/v1/session").refused(401, "revoked") // none comes back
	}
	c.start("/v1/login", "session", "bearer", 200)
	admin.del("/v1/admin/users/" + c.user()).want(204)
	c.get("/v1/session").refused(401, "revoked")
	admin.get("/v1/admin/users/"+c.user()).refused(404, "not_found")
	admin.del("/v1/admin/users/"+c.user()).refused(404, "not_found")
}

func TestS9_PasswordChange(t *testing.T) {
	for _, p := range pairs {
		w := newWorld(t, settings{})
		c := w.signUp("ada@example.com", p.mode, p.transport)
		other := c.logIn("hybrid", "bearer")
		before := c.token("access_token") + c.cookie("/", "__Host-handstamp")
		a := c.post("/v1/password", m{"current_password": typed, "new_password": "another passphrase of mine"}).want(200)
		c.keep(a)
		if after := c.token("access_token") + c.cookie("/", "__Host-handstamp"); after == before {
			t.Errorf("%v: a password change keeps the secret", p)
		}
		if a := w.program(before).get("/v1/session"); a.status != 401 {
			t.Errorf("%v: the secret from before = %d, want 401", p, a.status)
		}
		c.get("/v1/session").want(200)
		other.get("/v1/session").refused(401, "revoked")
		other.refresh().refused(401, "revoked")
	}
}

func TestS10_AdminEndsSessions(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	c := w.signUp("ada@example.com", "session", "bearer")
	other := c.logIn("hybrid", "bearer")
	list := admin.get("/v1/admin/sessions?user=" + c.user()).want(200).body["sessions"].([]any)
	if len(list) != 2 || list[0].(m)["user"] != c.user() {
		t.Errorf("GET /v1/admin/sessions = %v", list)
	}
	admin.del("/v1/admin/sessions/" + c.session()).want(204)
	c.get("/v1/session").refused(401, "revoked")
	admin.del("/v1/admin/sessions/" + c.session()).want(204)
	admin.del("/v1/admin/sessions/ses_01h2xcejqtf2nbrexx3vqjhp41").refused(404, "not_found")
	other.get("/v1/session").want(200)
	admin.del("/v1/admin/users/" + c.user() + "/sessions").want(204)
	other.get("/v1/session").refused(401, "revoked")
	admin.del("/v1/admin/users/somebody%20else%2Fhere/sessions").want(204)
}

func TestS11_OwnSessions(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "cookie")
	c.header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0")
	other := c.w.stranger()
	other.header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0")
	other.email = c.email
	w.clock.add(time.Second)
	other.start("/v1/login", "token", "cookie", 200)
	a := c.get("/v1/sessions").want(200)
	list := a.body["sessions"].([]any)
	newest := list[0].(m)
	if newest["id"] != other.session() || newest["device"] != "Firefox on Linux" || newest["last_seen_at"] != nil || newest["ip"] != "127.0.0.1" || newest["current"] != false {
		t.Errorf("newest session = %v", newest)
	}
	if list[1].(m)["last_seen_at"] == nil || list[1].(m)["current"] != true {
		t.Errorf("own session = %v", list[1])
	}
	// The ids are handles: they open nothing, and no secret is in the list.
	for _, s := range list {
		w.program(s.(m)["id"].(string)).get("/v1/session").refused(401, "invalid_token")
		w.rawCookie("/v1/session", "__Host-handstamp="+s.(m)["id"].(string)).refused(401, "invalid_token")
	}
	if strings.Contains(a.raw, c.cookie("/", "__Host-handstamp")) || strings.Contains(a.raw, "hs_") {
		t.Errorf("the list holds a secret: %s", a.raw)
	}
	c.del("/v1/sessions/" + other.session()).want(204)
	other.get("/v1/session").refused(401, "revoked")
	other.start("/v1/login", "hybrid", "bearer", 200)
	if a := c.del("/v1/sessions?keep=current").want(200); a.body["revoked"] != 1.0 || a.body["applied"] != "node" {
		t.Errorf("DELETE /v1/sessions?keep=current = %s", a.raw)
	}
	other.get("/v1/session").refused(401, "revoked")
	c.get("/v1/session").want(200)
	c.del("/v1/sessions?keep=curent").refused(422, "invalid_input")
	c.del("/v1/sessions?keep").refused(422, "invalid_input")
	if a := c.del("/v1/sessions").want(200); a.body["revoked"] != 1.0 {
		t.Errorf("DELETE /v1/sessions = %s", a.raw)
	}
	c.get("/v1/session").refused(401, "revoked")
	// Pages.
	c = w.signUp("bob@example.com", "session", "cookie")
	ids := map[string]bool{}
	for range 4 {
		c.logIn("session", "bearer")
	}
	for next, pages := "", 0; ; pages++ {
		page := c.get("/v1/sessions?limit=2&cursor=" + next).want(200).body
		for _, s := range page["sessions"].([]any) {
			ids[s.(m)["id"].(string)] = true
		}
		if page["next"] == nil {
			if len(ids) != 5 || pages != 2 {
				t.Errorf("%d sessions on %d pages, want 5 on 3", len(ids), pages+1)
			}
			break
		}
		next = page["next"].(string)
	}
}

// TestS12_StepUp: what cannot be undone needs a login that is young; a program has nobody who could log in again.
func TestS12_StepUp(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	c := w.signUp("ada@example.com", "session", "bearer")
	w.clock.add(10*time.Minute - time.Second)
	admin.put("/v1/admin/roles/editor", m{"permissions": []string{"posts:*"}}).want(200)
	w.clock.add(2 * time.Second)
	c.del("/v1/account").refused(403, "step_up_required")
	for _, line := range contract {
		f := strings.Fields(line)
		path := strings.NewReplacer("{id}", "x", "{name}", "editor", "{kid}", "x").Replace(f[1])
		if strings.HasPrefix(path, "/v1/admin") && f[0] != "GET" {
			admin.do(f[0], path, m{}).refused(403, "step_up_required")
		}
	}
	admin.get("/v1/admin/users").want(200)
	c.get("/v1/check?max_age=600").refused(403, "step_up_required")
	c.get("/v1/check?max_age=3600").want(200)
	w.program(w.key("handstamp.admin")).put("/v1/admin/roles/editor", m{"permissions": []string{}}).want(200)
	admin.start("/v1/login", "session", "bearer", 200)
	admin.put("/v1/admin/roles/editor", m{"permissions": []string{"posts:read"}}).want(200)
	c.start("/v1/login", "session", "bearer", 200)
	c.del("/v1/account").want(204)
}

// TestS16_EveryChangeOfATokenIsRefused cuts, extends and changes credentials at every byte: the answer is one and the same.
func TestS16_EveryChangeOfATokenIsRefused(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "hybrid", "bearer")
	session := c.logIn("session", "bearer")
	for path, good := range map[string]string{
		"/v1/session": session.token("access_token"), "/v1/check": c.token("access_token"), "/v1/refresh": c.token("refresh_token"), "/v1/admin/users": w.key("*"),
	} {
		use := func(text string) *response {
			if path == "/v1/refresh" {
				return w.program("").post(path, m{"refresh_token": text})
			}
			return w.program(text).get(path)
		}
		want := use(good[:len(good)-1]).refused(401, "invalid_token").raw
		var changed []string
		for i := range good {
			flip := []byte(good)
			flip[i] ^= 1
			swap := []byte(good)
			if swap[i] >= 'a' && swap[i] <= 'z' {
				swap[i] -= 32
			} else {
				swap[i] = 'a'
			}
			changed = append(changed, good[:i]+good[i+1:], good[:i], string(flip), string(swap))
		}
		for _, text := range append(changed, good+"A", good+"=", good+".", good+good, good+"\t", "hs_s_"+good, strings.ToUpper(good)) {
			if text == good || strings.Trim(text, " \t") == good || text == "" {
				continue
			}
			if strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r > 0x7e }) && path != "/v1/refresh" {
				continue // no header
			}
			if a := use(text); a.status != 401 || a.raw != want {
				t.Fatalf("%s with a changed token (%d of %d bytes) = %d %s, want the one answer", path, len(text), len(good), a.status, a.raw)
			}
		}
		use(good).want(200)
	}
}

// TestP7_PasswordChangeNeedsThePassword also with a young session, and counts as an attempt.
func TestP7_PasswordChangeNeedsThePassword(t *testing.T) {
	w := newWorld(t, settings{login: func(o *login.Options) { o.MaxFailures = 3 }})
	c := w.signUp("ada@example.com", "session", "bearer")
	c.post("/v1/password", m{"new_password": "another passphrase of mine"}).refused(422, "invalid_input")
	c.post("/v1/password", m{"current_password": typed}).refused(422, "invalid_input")
	c.post("/v1/password", m{"current_password": typed, "new_password": "short"}).refused(422, "invalid_input")
	if got := c.post("/v1/password", m{"current_password": typed, "new_password": "password123"}).refused(422, "invalid_input").fields(); !slices.Equal(got, []string{"new_password"}) {
		t.Errorf("a common password is blamed on %v", got)
	}
	for range 3 {
		a := c.post("/v1/password", m{"current_password": "not my password", "new_password": "another passphrase of mine"}).refused(403, "invalid_credentials")
		if a.header.Get("WWW-Authenticate") != "" || len(a.setCookies()) != 0 {
			t.Error("a wrong current password looks like a lost session")
		}
	}
	a := c.post("/v1/password", m{"current_password": typed, "new_password": "another passphrase of mine"}).refused(429, "too_many_attempts")
	if a.header.Get("Retry-After") != "5" {
		t.Errorf("Retry-After = %q, want 5", a.header.Get("Retry-After"))
	}
	c.get("/v1/session").want(200)
}

// TestP9_SameAnswer: an unknown address and a wrong password are answered with the same bytes, the same headers and the
// same work.
func TestP9_SameAnswer(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	c := w.signUp("ada@example.com", "session", "bearer")
	gone := w.signUp("gone@example.com", "session", "bearer")
	admin.do("PATCH", "/v1/admin/users/"+gone.user(), m{"disabled": true}).want(200)
	admin.post("/v1/admin/users", m{"email": "nopassword@example.com"}).want(201)
	try := func(email, password string) (*response, any) {
		before := w.hasher.Work()
		a := w.stranger().post("/v1/login", m{"email": email, "password": password}).refused(401, "invalid_credentials")
		after := w.hasher.Work()
		return a, [2]uint64{after.Hashes - before.Hashes, after.KiB - before.KiB}
	}
	want, work := try("nobody@example.com", "not the password")
	for _, email := range []string{c.email, "ADA@EXAMPLE.COM", gone.email, "nopassword@example.com", "other@example.org"} {
		a, did := try(email, "not the password")
		if a.raw != want.raw || !sameHeaders(a, want) || did != work {
			t.Errorf("%s = %s %v %v, and an unknown address = %s %v %v", email, a.raw, a.header, did, want.raw, want.header, work)
		}
	}
	// What no password can be is refused for known and unknown alike, before anything is looked up.
	long := strings.Repeat("x", 1025)
	one := w.stranger().post("/v1/login", m{"email": c.email, "password": long}).refused(422, "invalid_input")
	two := w.stranger().post("/v1/login", m{"email": "nobody@example.com", "password": long}).refused(422, "invalid_input")
	if one.raw != two.raw || !sameHeaders(one, two) {
		t.Errorf("a password that is too long tells accounts apart:\n%s\n%s", one.raw, two.raw)
	}
}

func TestP11_TooManyAttempts(t *testing.T) {
	w := newWorld(t, settings{login: func(o *login.Options) { o.MaxFailures = 2 }})
	for _, path := range []string{"/v1/login"} {
		for range 2 {
			w.stranger().post(path, m{"email": "ada@example.com", "password": "not the password"}).refused(401, "invalid_credentials")
		}
		a := w.stranger().post(path, m{"email": "Ada@Example.com", "password": typed}).refused(429, "too_many_attempts")
		if a.header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
}

// TestP14_ForwardedHeaders: an address that anybody can write gives nobody a new budget.
func TestP14_ForwardedHeaders(t *testing.T) {
	w := newWorld(t, settings{login: func(o *login.Options) { o.MaxFailures = 2 }})
	refused := 0
	for i := range 6 {
		ip := "203.0.113." + string(rune('1'+i))
		a := w.stranger().do("POST", "/v1/login", m{"email": "u" + string(rune('a'+i)) + "@example.com", "password": "not the password"},
			"X-Forwarded-For", ip, "X-Real-Ip", ip, "Forwarded", "for="+ip, "True-Client-Ip", ip, "X-Client-Ip", ip)
		if a.status == 429 {
			refused++
		}
	}
	if refused != 4 {
		t.Errorf("%d of 6 tries were refused, want 4", refused)
	}
}

// TestUsersElsewhere: a user that no account knows has sessions, lists, ends and roles like any other.
func TestUsersElsewhere(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	app := w.program(w.key("handstamp.start"))
	for _, id := range []string{"42", "ada@elsewhere", "a/b", "ü", "x y", "%2F", "..", "💥", " lead", strings.Repeat("x", 128)} {
		a := app.post("/v1/admin/sessions", m{"user": id, "methods": []string{"pwd", "otp"}, "roles": []string{"editor"}, "mode": "hybrid", "transport": "bearer"}).want(201)
		user := a.body["user"].(m)
		if user["id"] != id || user["email"] != nil || user["created_at"] != nil || user["roles"].([]any)[0] != "editor" {
			t.Errorf("start for %q: user = %v", id, user)
		}
		c := w.program("")
		c.keep(a)
		if got := c.get("/v1/session").want(200).body["user"].(m)["id"]; got != id {
			t.Errorf("session of %q speaks for %v", id, got)
		}
		if got := c.get("/v1/check").want(200).header.Get("Handstamp-User"); must(url.PathUnescape(got)) != id || strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("Handstamp-User of %q = %q", id, got)
		}
		c.post("/v1/password", m{"current_password": typed, "new_password": "another passphrase of mine"}).refused(404, "not_found")
		path := "/v1/admin/users/" + url.PathEscape(id)
		if id == ".." {
			path = "/v1/admin/users/%2e%2e"
		}
		admin.get(path).refused(404, "not_found")
		set := admin.put(path+"/roles", m{"roles": []string{"reader"}}).want(200).body
		if set["id"] != id || set["roles"].([]any)[0] != "reader" || set["applied"] != "node" {
			t.Errorf("PUT roles of %q = %v", id, set)
		}
		c.get("/v1/session").refused(401, "stale_token")
		c.keep(c.refresh().want(200))
		if got := c.get("/v1/session").want(200).body["user"].(m)["roles"].([]any)[0]; got != "reader" {
			t.Errorf("roles after a refresh = %v", got)
		}
		if n := len(admin.get("/v1/admin/sessions?user=" + url.QueryEscape(id)).want(200).body["sessions"].([]any)); n != 1 {
			t.Errorf("%q has %d sessions, want 1", id, n)
		}
		admin.del(path + "/sessions").want(204)
		c.get("/v1/session").refused(401, "revoked")
	}
	for _, id := range []string{"", strings.Repeat("x", 129), "a\nb", "a\x00b", "\u0085"} {
		app.post("/v1/admin/sessions", m{"user": id}).refused(422, "invalid_input")
	}
	app.post("/v1/admin/sessions", m{"user": "42", "transport": "cookie"}).refused(422, "invalid_input")
	app.post("/v1/admin/sessions", m{"user": "42", "methods": []string{"P W D"}}).refused(422, "invalid_input")
	app.post("/v1/admin/sessions", m{"user": "42", "roles": []string{"a b"}}).refused(422, "invalid_input")
	if sub, err := w.auth.Subject(context.Background(), handstamp.UserID("42")); err != nil || sub.Ended == 0 {
		t.Errorf("Subject(42) = %v, %v", sub, err)
	}
}

// TestEndingAllIsBounded: ending all of one's sessions over and over is an event each time, which every process remembers.
// A user has 300 at once, and one a second; what one does takes nothing from another.
func TestEndingAllIsBounded(t *testing.T) {
	now := &clock{now: time.Now()}
	w := newWorld(t, settings{server: func(o *server.Options) { o.Now = now.Now }})
	ada, bob := w.signUp("ada@example.com", "session", "bearer"), w.signUp("bob@example.com", "session", "bearer")
	for i := range 303 {
		got := ada.del("/v1/sessions?keep=current")
		if i < 300 {
			got.want(200)
			continue
		}
		got.refused(429, "too_many_attempts")
		if after := got.header.Get("Retry-After"); after != "1" {
			t.Errorf("%d times at once: Retry-After = %q, want 1", i+1, after)
		}
	}
	bob.del("/v1/sessions?keep=current").want(200)
	ada.get("/v1/session").want(200)
	ada.del("/v1/sessions/" + ada.logIn("session", "bearer").session()).want(204) // one by one is another call
	// One more each second. What was refused in between did not count.
	for range 2 {
		now.add(time.Second)
		ada.del("/v1/sessions?keep=current").want(200)
		ada.del("/v1/sessions").refused(429, "too_many_attempts")
	}
	ada.get("/v1/session").want(200)
}

// TestS18_DoubledCookies: what carries the session cookie, or the refresh cookie, twice is nobody's, also at login and
// refresh.
func TestS18_DoubledCookies(t *testing.T) {
	w := newWorld(t, settings{})
	w.signUp("ada@example.com", "session", "cookie")
	good := m{"email": "ada@example.com", "password": typed}
	for _, cookie := range []string{"__Host-handstamp=a; __Host-handstamp=a", "__Secure-handstamp-refresh=a; __Secure-handstamp-refresh=b"} {
		w.stranger().do("POST", "/v1/login", good, "Cookie", cookie).refused(400, "duplicate_credential")
		w.stranger().do("POST", "/v1/refresh", nil, "Cookie", cookie).refused(400, "duplicate_credential")
		w.stranger().do("POST", "/v1/signup", m{"email": "bob@example.com", "password": typed}, "Cookie", cookie).refused(400, "duplicate_credential")
	}
}

// TestLogOutEndsAllItClears: log-out takes the cookies away, so it ends the session of each credential that the request
// carries, in whatever place. One that it left alive could not be ended from that browser any more.
func TestLogOutEndsAllItClears(t *testing.T) {
	w := newWorld(t, settings{})
	w.signUp("ada@example.com", "session", "cookie")
	w.signUp("bob@example.com", "session", "cookie")
	fresh := func(email string) *client {
		w.clock.add(time.Second)
		c := w.stranger()
		c.email = email
		c.start("/v1/login", "hybrid", "bearer", 200)
		return c
	}
	for _, query := range []string{"", "?wait=fleet"} {
		// a by header, b by cookie, c by the refresh cookie, d in the body, e a second cookie; b is another user's.
		a, b, c, d, e := fresh("ada@example.com"), fresh("bob@example.com"), fresh("ada@example.com"), fresh("ada@example.com"), fresh("ada@example.com")
		bystander := fresh("ada@example.com")
		out := w.program(a.token("access_token")).do("POST", "/v1/logout"+query, m{"refresh_token": d.token("refresh_token")}, "Origin", w.http.URL, "Cookie",
			"__Host-handstamp="+b.token("access_token")+"; __Secure-handstamp-refresh="+c.token("refresh_token")+"; __Host-handstamp="+e.token("access_token"))
		if query == "" {
			out.want(204)
		} else if out.want(200); out.body["applied"] != "fleet" {
			t.Errorf("%s = %s", out.what, out.raw)
		}
		if len(out.setCookies()) != 2 {
			t.Errorf("%s clears %d cookies, want both", out.what, len(out.setCookies()))
		}
		for place, one := range map[string]*client{"header": a, "cookie": b, "refresh cookie": c, "body": d, "second cookie": e} {
			if got := w.program(one.token("access_token")).get("/v1/session"); got.body["code"] != "revoked" {
				t.Errorf("%s: the session of the %s answers %d, want it ended", out.what, place, got.status)
			}
		}
		w.program(bystander.token("access_token")).get("/v1/session").want(200)
	}
	// The page does the same.
	one, two := fresh("ada@example.com"), fresh("bob@example.com")
	browser := w.stranger()
	browser.header.Set("Authorization", "Bearer "+one.token("access_token"))
	cookie := "__Host-handstamp=" + two.token("access_token")
	page := browser.do("GET", "/", nil, "Cookie", cookie).want(200)
	browser.do("POST", "/logout", url.Values{handstamp.FormField: {page.formToken()}}, "Cookie", cookie).want(303)
	for _, c := range []*client{one, two} {
		w.program(c.token("access_token")).get("/v1/session").refused(401, "revoked")
	}
}

// TestLogOutIsWhole: while one of two ends cannot be made durable, no cookie goes, and trying again ends the other.
func TestLogOutIsWhole(t *testing.T) {
	var down atomic.Bool
	w := newWorld(t, settings{store: func(s handstamp.Store) handstamp.Store { return downStore{s, &down} }})
	a, b := w.signUp("ada@example.com", "session", "bearer"), w.signUp("bob@example.com", "session", "bearer")
	out := func() *response {
		return w.program(a.token("access_token")).do("POST", "/v1/logout", nil, "Origin", w.http.URL, "Cookie", "__Host-handstamp="+b.token("access_token"))
	}
	down.Store(true)
	if got := out().refused(503, "unavailable"); len(got.setCookies()) != 0 || got.header.Get("Clear-Site-Data") != "" {
		t.Errorf("during an outage: %v", got.header)
	}
	down.Store(false)
	if got := out().want(204); len(got.setCookies()) != 2 {
		t.Errorf("afterwards %d cookies are cleared, want both", len(got.setCookies()))
	}
	a.get("/v1/session").refused(401, "revoked")
	b.get("/v1/session").refused(401, "revoked")
}

// TestImportedUsers: an account that came with the id of another system is described like any other, and a check reads no
// account at all.
func TestImportedUsers(t *testing.T) {
	var reads atomic.Int32
	var store account.Store
	w := newWorld(t, settings{
		store:  func(s handstamp.Store) handstamp.Store { store = s.(backend); return s },
		server: func(o *server.Options) { o.Accounts = account.New(o.Auth, readAccounts{store, &reads}) },
	})
	secret, err := password.Prepare(typed)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := w.hasher.Hash(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	one := account.Imported{ID: "4711", Email: "ada@example.com", EmailVerified: true, PasswordHash: hash}
	if _, err := w.accounts.Adopt(t.Context(), []account.Imported{one}, handstamp.Client{Actor: "cli"}); err != nil {
		t.Fatal(err)
	}
	c := w.stranger()
	c.email = "ada@example.com"
	grant := c.start("/v1/login", "session", "bearer", 200)
	for _, a := range []*response{grant, c.get("/v1/session").want(200)} {
		user := a.body["user"].(m)
		if user["id"] != "4711" || user["email"] != "ada@example.com" || user["email_verified"] != true || user["created_at"] == nil {
			t.Errorf("%s: user = %v", a.what, user)
		}
	}
	reads.Store(0)
	c.get("/v1/check").want(200)
	program := w.program(w.key("posts:write"))
	program.get("/v1/check").want(200)
	if user := program.get("/v1/session").want(200).body["user"].(m); user["email"] != nil || user["created_at"] != nil {
		t.Errorf("a service key is described as %v", user)
	}
	// A user of the application's own has no account, and the record that is read anyway says so.
	own := w.program(w.key("handstamp.start")).post("/v1/admin/sessions", m{"user": "42", "methods": []string{"pwd"}, "mode": "hybrid"}).want(201)
	refreshed := w.stranger().post("/v1/refresh", m{"refresh_token": own.body["refresh_token"]}).want(200)
	if user := refreshed.body["user"].(m); user["id"] != "42" || user["email"] != nil {
		t.Errorf("a user without an account is described as %v", user)
	}
	if n := reads.Load(); n != 0 {
		t.Errorf("checks, a service key's session and a user without an account read %d accounts, want none", n)
	}
}

// readAccounts is a view of the accounts that counts how many are read by their id.
type readAccounts struct {
	account.Store
	n *atomic.Int32
}

func (r readAccounts) Users() account.Users { return readUsers{r.Store.Users(), r.n} }

type readUsers struct {
	account.Users
	n *atomic.Int32
}

func (r readUsers) ByID(ctx context.Context, u handstamp.UserID) (account.User, error) {
	r.n.Add(1)
	return r.Users.ByID(ctx, u)
}
