package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// open are the calls that ask nobody who they are. Everything else is refused without a credential: a new route that
// forgets its guard fails here.
var open = []string{
	"POST /v1/signup", "POST /v1/login", "POST /v1/setup", "POST /v1/refresh", "POST /v1/logout", "POST /v1/revoke",
	"GET /.well-known/jwks.json", "GET /healthz", "GET /openapi.json",
}

// TestA1_RouteCrawl: nothing is open but what is meant to be, and what is for administrators needs their permission.
func TestA1_RouteCrawl(t *testing.T) {
	w := newWorld(t, settings{})
	w.admin()
	member := w.signUp("ada@example.com", "session", "bearer")
	for _, line := range contract {
		f := strings.Fields(line)
		call := f[0] + " " + f[1]
		path := strings.NewReplacer("{id}", "usr_01h2xcejqtf2nbrexx3vqjhp41", "{name}", "editor", "{kid}", "x").Replace(f[1])
		isOpen := slices.Contains(open, call)
		if a := w.stranger().do(f[0], path, nil); isOpen == (a.body["code"] == "missing_credential") && f[1] != "/v1/refresh" {
			t.Errorf("%s for a stranger = %d %v, want open = %v", call, a.status, a.body["code"], isOpen)
		} else if !isOpen && a.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s for a stranger: WWW-Authenticate = %q, want Bearer alone", call, a.header.Get("WWW-Authenticate"))
		}
		for _, credential := range []string{"x", "hs_s_x", "hs_k_x", "a.b.c"} {
			if a := w.program(credential).do(f[0], path, nil); !isOpen && a.body["code"] != "invalid_token" {
				t.Errorf("%s with %q = %d %v, want invalid_token", call, credential, a.status, a.body["code"])
			}
		}
		if !strings.HasPrefix(path, "/v1/admin") && path != "/v1/introspect" {
			continue
		}
		needs := "handstamp.admin"
		switch call {
		case "POST /v1/admin/sessions":
			needs = "handstamp.start"
		case "POST /v1/introspect":
			needs = "handstamp.introspect"
		}
		for _, c := range []*client{member, w.program(w.key("handstamp.admi", "handstamp.admin.x", "handstamp:*", "posts:*", "handstamp.revocations"))} {
			a := c.do(f[0], path, nil).refused(403, "forbidden")
			if !strings.Contains(a.body["detail"].(string), needs) {
				t.Errorf("%s: detail = %v, want the permission %s named", call, a.body["detail"], needs)
			}
		}
		for _, other := range []string{"handstamp.admin", "handstamp.start", "handstamp.introspect"} {
			a := w.program(w.key(other)).do(f[0], path, nil)
			if (a.body["code"] == "forbidden") != (other != needs) {
				t.Errorf("%s with %s = %d %v, want it to need %s", call, other, a.status, a.body["code"], needs)
			}
		}
	}
}

// TestA2_OtherUsersObjects: another user's session is as absent as one that never was, byte for byte.
func TestA2_OtherUsersObjects(t *testing.T) {
	w := newWorld(t, settings{})
	ada, bob := w.signUp("ada@example.com", "session", "cookie"), w.signUp("bob@example.com", "hybrid", "bearer")
	theirs := ada.del("/v1/sessions/"+bob.session()).refused(404, "not_found")
	for _, absent := range []string{"ses_01h2xcejqtf2nbrexx3vqjhp41", "ses_x", "x", strings.ToUpper(bob.session()), bob.session() + "x", bob.user(), "%00"} {
		if a := ada.del("/v1/sessions/"+absent).refused(404, "not_found"); a.raw != theirs.raw || !sameHeaders(a, theirs) {
			t.Errorf("absent %q and another user's differ:\n%s%v\n%s%v", absent, a.raw, a.header, theirs.raw, theirs.header)
		}
	}
	bob.get("/v1/session").want(200)
	// An ended session of another user is still not there; an own one answers as the first time.
	second := bob.logIn("session", "bearer")
	bob.del("/v1/sessions/" + second.session()).want(204)
	bob.del("/v1/sessions/" + second.session()).want(204)
	if a := ada.del("/v1/sessions/"+second.session()).refused(404, "not_found"); a.raw != theirs.raw {
		t.Errorf("another user's ended session = %s", a.raw)
	}
	if n := len(ada.get("/v1/sessions").want(200).body["sessions"].([]any)); n != 1 {
		t.Errorf("a user sees %d sessions, want only the own one", n)
	}
}

// sameHeaders compares all headers but those that are new for every answer.
func sameHeaders(a, b *response) bool {
	strip := func(h http.Header) string {
		h = h.Clone()
		for _, name := range []string{"Date", "Request-Id"} {
			h.Del(name)
		}
		raw, _ := json.Marshal(h)
		return string(raw)
	}
	return strip(a.header) == strip(b.header)
}

// TestA3_MassAssignment: what a user may not choose is no member of any body.
func TestA3_MassAssignment(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "bearer")
	bodies := map[string]m{
		"/v1/signup": {"email": "new@example.com", "password": typed}, "/v1/login": {"email": "ada@example.com", "password": typed},
		"/v1/setup":    {"token": "x", "email": "new@example.com", "password": typed},
		"/v1/password": {"current_password": typed, "new_password": "another passphrase of mine"}, "/v1/refresh": {"refresh_token": "x"},
		"/v1/logout": {"refresh_token": "x"},
	}
	for path, body := range bodies {
		for _, member := range []string{
			"roles", "role", "permissions", "admin", "is_admin", "email_verified", "emailVerified", "verified", "disabled", "id", "user_id",
			"userId", "user", "session", "created_at", "tenant", "tenant_id", "__proto__", "constructor", "Password", "EMAIL", "scope", "auth_time",
		} {
			for _, value := range []any{true, "admin", []string{"admin"}, m{"id": "x"}, 1} {
				body[member] = value
				c.post(path, body).refused(400, "malformed_request")
				delete(body, member)
			}
		}
	}
	me := c.get("/v1/session").want(200).body["user"].(m)
	if roles := me["roles"].([]any); len(roles) != 1 || roles[0] != "member" || me["email_verified"] != false {
		t.Errorf("after all that the user is %v", me)
	}
	w.stranger().post("/v1/login", m{"email": "new@example.com", "password": typed}).refused(401, "invalid_credentials")
}

// TestA5_ActingUser: who is acting is said by the credential and by nothing else.
func TestA5_ActingUser(t *testing.T) {
	w := newWorld(t, settings{})
	admin, ada := w.admin(), w.signUp("ada@example.com", "session", "bearer")
	headers := []string{
		"X-User", "X-User-Id", "X-Forwarded-User", "X-Auth-User", "Remote-User", "Handstamp-User", "Handstamp-Session", "Handstamp-Roles",
		"Handstamp-Permissions", "X-Auth-Request-User", "X_User", "Handstamp_User", "X-Original-User",
	}
	for _, h := range headers {
		if got := ada.do("GET", "/v1/session", nil, h, admin.user()).want(200).body["user"].(m)["id"]; got != ada.user() {
			t.Errorf("with %s the user is %v", h, got)
		}
		w.stranger().do("GET", "/v1/session", nil, h, admin.user()).refused(401, "missing_credential")
		w.stranger().do("GET", "/v1/check", nil, h, admin.user()).refused(401, "missing_credential")
		ada.do("GET", "/v1/admin/users", nil, h, admin.user()).refused(403, "forbidden")
		for name, values := range ada.do("GET", "/v1/check", nil, h, admin.user()).want(200).header {
			if strings.Contains(strings.Join(values, " "), admin.user()) {
				t.Errorf("/v1/check gives back %s as %s", h, name)
			}
		}
	}
	for _, q := range []string{"user", "user_id", "sub", "id", "userId"} {
		for _, a := range []*response{
			ada.get("/v1/session?" + q + "=" + admin.user()), ada.get("/v1/sessions?" + q + "=" + admin.user()),
			ada.del("/v1/sessions?keep=current&" + q + "=" + admin.user()),
		} {
			a.refused(400, "malformed_request")
		}
	}
	admin.get("/v1/session").want(200)
	ada.get("/v1/session").want(200)
}

// TestS17_NoTokensInURLs: a credential counts in a cookie, a header or a body, never in a URL.
func TestS17_NoTokensInURLs(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "hybrid", "bearer")
	access, refresh := url.QueryEscape(c.token("access_token")), url.QueryEscape(c.token("refresh_token"))
	for _, q := range []string{"?access_token=" + access, "?token=" + access, "?handstamp=" + access, "?Authorization=Bearer+" + access} {
		w.stranger().get("/v1/session"+q).refused(401, "missing_credential")
		w.stranger().get("/v1/sessions"+q).refused(401, "missing_credential")
		if a := w.stranger().get("/v1/check" + q); a.status != 400 {
			t.Errorf("/v1/check%.10s = %d, want 400", q, a.status)
		}
	}
	w.stranger().get("/v1/session;jsessionid=" + access).want(404)
	w.stranger().post("/v1/refresh?refresh_token="+refresh, nil).refused(400, "malformed_request")
	w.stranger().post("/v1/logout?refresh_token="+refresh, nil).refused(400, "malformed_request")
	c.get("/v1/session").want(200)
	// Nor in the body of a form, as RFC 6750 section 2.2 once had it.
	w.stranger().do("POST", "/v1/logout", url.Values{"access_token": {c.token("access_token")}}).want(415)
}

// TestA7_Cursors: a cursor is one that this list gave, or it is refused.
func TestA7_Cursors(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	for range 3 {
		c := w.stranger()
		c.email = "u" + w.clock.Now().Format("150405") + "@example.com"
		c.start("/v1/signup", "session", "bearer", 201)
		w.clock.add(time.Second)
	}
	first := admin.get("/v1/admin/users?limit=2").want(200).body
	cursor := first["next"].(string)
	second := admin.get("/v1/admin/users?limit=2&cursor=" + cursor).want(200).body
	if len(second["users"].([]any)) != 2 || second["next"] != nil {
		t.Errorf("second page = %v, want the other two and no third", second)
	}
	forged := []string{
		"x", "' OR 1=1 --", "%27%3BDROP", cursor + "A", cursor[1:], strings.ToUpper(cursor), "usr_01h2xcejqtf2nbrexx3vqjhp41",
		base64.RawURLEncoding.EncodeToString([]byte("usr_00000000000000000000000000")), base64.RawURLEncoding.EncodeToString(make([]byte, 16)),
		cursor + "=", "..%2f", strings.Repeat("A", 2000), cursor + "%0a", "%00",
	}
	for i := range cursor {
		flipped := []byte(cursor)
		flipped[i] ^= 1
		forged = append(forged, url.QueryEscape(string(flipped)))
	}
	for _, f := range forged {
		if got := admin.get("/v1/admin/users?limit=2&cursor="+url.QueryEscape(must(url.QueryUnescape(f)))).refused(422, "invalid_input").fields(); got[0] != "cursor" {
			t.Errorf("a forged cursor is blamed on %v", got)
		}
	}
	// It belongs to its list and its filters.
	for _, other := range []string{"/v1/admin/sessions?cursor=", "/v1/admin/audit?cursor=", "/v1/admin/users?query=u&cursor=", "/v1/sessions?cursor=", "/v1/admin/roles?cursor=", "/v1/admin/service-keys?cursor="} {
		admin.get(other+cursor).refused(422, "invalid_input")
	}
	for _, limit := range []string{"0", "-1", "1001", "x", "1.5", "%2b1", "", "99999999999999999999", "0x10"} {
		admin.get("/v1/admin/users?limit="+limit).refused(422, "invalid_input")
	}
	admin.get("/v1/admin/users?limit=1000").want(200)
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

// TestA8_IdentityHeaders: what /v1/check answers comes from the credential, whatever the request says, in any spelling
// and through Connection.
func TestA8_IdentityHeaders(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "token", "bearer")
	for _, name := range []string{"Handstamp-User", "Handstamp-Email", "Handstamp-Roles", "Handstamp_User", "handstamp-user"} {
		a := c.do("GET", "/v1/check", nil, name, "evil", "Connection", name).want(200)
		if a.header.Get("Handstamp-User") != c.user() || a.header.Get("Handstamp-Email") != "" || strings.Contains(a.header.Get("Handstamp-Roles"), "evil") {
			t.Errorf("with %s: %v", name, a.header)
		}
	}
}
