package server_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/server"
)

func TestIntrospect(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	admin.put("/v1/admin/roles/editor", m{"permissions": []string{"posts:*", "a:b"}}).want(200)
	caller := w.program(w.key("handstamp.introspect"))
	ask := func(text string) *response {
		return caller.post("/v1/introspect", m{"token": text, "token_type_hint": "x"}).want(200)
	}
	for _, mode := range []string{"session", "token", "hybrid"} {
		c := w.signUp(mode+"@example.com", mode, "bearer")
		w.give(c.user(), "editor")
		if mode != "session" {
			if a := ask(c.token("access_token")); strings.TrimSpace(a.raw) != `{"active":false}` {
				t.Errorf("a stale token = %s", a.raw)
			}
		}
		c.start("/v1/login", mode, "bearer", 200)
		a := ask(c.token("access_token"))
		form := caller.do("POST", "/v1/introspect", url.Values{"token": {c.token("access_token")}, "other": {"x"}}).want(200)
		if form.raw != a.raw {
			t.Errorf("as a form = %s, as JSON = %s", form.raw, a.raw)
		}
		now := float64(w.clock.Now().Unix())
		if b := a.body; b["active"] != true || b["sub"] != c.user() || b["sid"] != c.session() || b["scope"] != "a:b posts:*" ||
			b["token_type"] != "Bearer" || b["client_id"] != w.url || b["iat"].(float64) != now || b["exp"].(float64) <= now || b["ep"] == nil {
			t.Errorf("introspection in mode %s = %s", mode, a.raw)
		}
		if !slices.Equal(a.body["roles"].([]any), []any{"editor"}) {
			t.Errorf("roles = %v", a.body["roles"])
		}
		if a := ask(c.token("access_token") + " "); strings.TrimSpace(a.raw) != `{"active":false}` {
			t.Errorf("a token with a space = %s", a.raw)
		}
		if rt := c.token("refresh_token"); rt != "" {
			if a := ask(rt); strings.TrimSpace(a.raw) != `{"active":false}` {
				t.Errorf("a refresh token = %s", a.raw)
			}
			c.refresh().want(200) // asking did not use it up
		}
		access := c.token("access_token")
		c.post("/v1/logout", nil).want(204)
		if a := ask(access); strings.TrimSpace(a.raw) != `{"active":false}` {
			t.Errorf("an ended session = %s", a.raw)
		}
	}
	if b := ask(w.signUp("nobody@example.com", "session", "bearer").token("access_token")).body; b["active"] != true || b["scope"] != "" {
		t.Errorf("who may nothing = %v, want an empty scope", b)
	}
	key := ask(w.key("posts:read")).body
	if key["active"] != true || !strings.HasPrefix(key["sub"].(string), "key_") || key["sid"] != nil || key["exp"] != nil || key["scope"] != "posts:read" {
		t.Errorf("a service key = %v", key)
	}
	setup, err := w.flow.NewSetup(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "x", "a.b.c", "hs_s_x", setup.Reveal(), "\x00", strings.Repeat("x", 60000)} {
		if a := ask(bad); strings.TrimSpace(a.raw) != `{"active":false}` {
			t.Errorf("introspect(%.10q) = %s", bad, a.raw)
		}
	}
	caller.post("/v1/introspect", m{}).refused(422, "invalid_input")
	caller.do("POST", "/v1/introspect", url.Values{"token": {"a", "b"}}).refused(400, "malformed_request")
	caller.do("POST", "/v1/introspect", "token=x", "Content-Type", "text/plain").refused(415, "unsupported_media_type")
}

func TestRevokeToken(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "hybrid", "bearer")
	for _, name := range []string{"access_token", "refresh_token"} {
		c.start("/v1/login", "hybrid", "bearer", 200)
		access := c.token("access_token")
		good := w.program("").do("POST", "/v1/revoke", url.Values{"token": {c.token(name)}, "token_type_hint": {"refresh_token"}}).want(200)
		w.program(access).get("/v1/session").refused(401, "revoked")
		again := w.program("").post("/v1/revoke", m{"token": c.token(name)}).want(200)
		unknown := w.program("").post("/v1/revoke", m{"token": "nothing"}).want(200)
		if good.raw != unknown.raw || good.raw != again.raw {
			t.Errorf("revoke tells known from unknown: %q %q %q", good.raw, again.raw, unknown.raw)
		}
	}
	w.program("").post("/v1/revoke", nil).refused(422, "invalid_input")
}

func TestJ8_KeySet(t *testing.T) {
	w := newWorld(t, settings{})
	a := w.stranger().get("/.well-known/jwks.json").want(200)
	keys := a.body["keys"].([]any)
	if len(keys) < 2 {
		t.Errorf("%d keys are published, want the active one and a standby", len(keys))
	}
	for _, k := range keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if k.(m)[private] != nil {
				t.Errorf("a key has %s", private)
			}
		}
		if k.(m)["kid"] == "" || k.(m)["alg"] != "ES256" || k.(m)["use"] != "sig" {
			t.Errorf("key = %v", k)
		}
	}
	hidden := newWorld(t, settings{server: func(o *server.Options) { o.HideKeys = true }})
	if got := strings.TrimSpace(hidden.stranger().get("/.well-known/jwks.json").want(200).raw); got != `{"keys":[]}` {
		t.Errorf("hidden keys = %s", got)
	}
}

func TestSigningKeys(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	c := w.signUp("ada@example.com", "token", "bearer")
	list := admin.get("/v1/admin/keys").want(200).body["keys"].([]any)
	active := ""
	for _, k := range list {
		if k.(m)["state"] == "active" {
			active = k.(m)["kid"].(string)
		}
	}
	admin.post("/v1/admin/keys/rotate", nil).want(201)
	whole, parts := admin.get("/v1/admin/keys").want(200).body["keys"].([]any), []any{}
	for next := any(""); next != nil; {
		page := admin.get("/v1/admin/keys?limit=1&cursor=" + next.(string)).want(200).body
		parts, next = append(parts, page["keys"].([]any)...), page["next"]
	}
	if len(whole) < 3 || fmt.Sprint(parts) != fmt.Sprint(whole) {
		t.Errorf("page by page the keys are %v, want %v", parts, whole)
	}
	admin.post("/v1/admin/keys/nothing/revoke", nil).refused(404, "not_found")
	admin.post("/v1/admin/keys/..%2f..%2fetc/revoke", nil).refused(404, "not_found")
	c.get("/v1/session").want(200)
	if a := admin.post("/v1/admin/keys/"+active+"/revoke", nil).want(201); a.body["applied"] != "node" {
		t.Errorf("revoke a key = %s", a.raw)
	}
	c.get("/v1/session").refused(401, "revoked")
	c.start("/v1/login", "token", "bearer", 200) // the standby signs
	c.get("/v1/session").want(200)
	admin.post("/v1/admin/keys/"+active+"/revoke?wait=fleet", nil).want(200)
	kinds := admin.get("/v1/admin/audit?kind=key.revoked").want(200).body["events"].([]any)
	if len(kinds) == 0 || kinds[0].(m)["actor"] != admin.user() {
		t.Errorf("audit of a revoked key = %v", kinds)
	}
	if got := admin.get("/v1/admin/audit?kind=key.rotated").want(200).body["events"].([]any); len(got) != 1 {
		t.Errorf("audit of a rotation = %v", got)
	}
}

// TestJ6_SwapMatrix puts every kind of credential into every place where a credential goes: each opens its own door only.
func TestJ6_SwapMatrix(t *testing.T) {
	w := newWorld(t, settings{})
	reference := w.signUp("r@example.com", "session", "bearer")
	value := w.signUp("v@example.com", "token", "bearer")
	hybrid := w.signUp("h@example.com", "hybrid", "bearer")
	setup, err := w.flow.NewSetup(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	cursor := w.admin().get("/v1/admin/users?limit=1").want(200).body["next"].(string)
	form := w.stranger().get("/login").want(200).raw
	form = form[strings.Index(form, `name="handstamp_form" value="`)+len(`name="handstamp_form" value="`):]
	form = form[:strings.Index(form, `"`)]
	credentials := map[string]string{
		"reference": reference.token("access_token"), "value": value.token("access_token"), "hybrid access": hybrid.token("access_token"),
		"refresh": hybrid.token("refresh_token"), "service key": w.key("posts:read"), "setup": setup.Reveal(),
		"session id": reference.session(), "user id": reference.user(), "cursor": cursor, "form token": form, "empty": "",
	}
	opens := func(kinds ...string) func(string) bool {
		return func(k string) bool { return slices.Contains(kinds, k) }
	}
	access := opens("reference", "value", "hybrid access", "service key")
	sessions := opens("reference", "value", "hybrid access")
	nobody := opens()
	doors := []struct {
		name  string
		good  func(string) bool
		enter func(string) *response
	}{
		{"Authorization", access, func(s string) *response {
			return w.program("").do("GET", "/v1/session", nil, "Authorization", "Bearer "+s)
		}},
		{"Authorization of check", access, func(s string) *response {
			return w.program("").do("GET", "/v1/check", nil, "Authorization", "Bearer "+s)
		}},
		{"Authorization of sessions", sessions, func(s string) *response {
			return w.program("").do("GET", "/v1/sessions", nil, "Authorization", "Bearer "+s)
		}},
		{"session cookie", access, func(s string) *response { return w.rawCookie("/v1/session", "__Host-handstamp="+s) }},
		{"refresh cookie as a session", nobody, func(s string) *response { return w.rawCookie("/v1/session", "__Secure-handstamp-refresh="+s) }},
		{"cursor", opens("empty"), func(s string) *response {
			return reference.get("/v1/sessions?cursor=" + url.QueryEscape(s))
		}},
		{"setup", nobody, func(s string) *response {
			if s == setup.Reveal() { // its own door, which would use it up
				return w.program("").post("/v1/setup", m{"token": s, "email": "x", "password": typed})
			}
			return w.program("").post("/v1/setup", m{"token": s, "email": "x@example.com", "password": typed})
		}},
		{"password", nobody, func(s string) *response {
			return w.program("").post("/v1/login", m{"email": "r@example.com", "password": "x" + s})
		}},
		{"session in the path", nobody, func(s string) *response { return value.del("/v1/sessions/" + url.PathEscape(s)) }},
		{"refresh", opens("refresh"), func(s string) *response { return w.program("").post("/v1/refresh", m{"refresh_token": s}) }},
	}
	for _, d := range doors {
		for kind, text := range credentials {
			a := d.enter(text)
			if (a.status < 300) != d.good(kind) || a.status >= 500 {
				t.Errorf("%s as %s = %d %s, want opened = %v", kind, d.name, a.status, a.raw, d.good(kind))
			}
			if text != "" && len(text) > 20 && a.status >= 300 && strings.Contains(a.raw, text) {
				t.Errorf("%s as %s is repeated: %s", kind, d.name, a.raw)
			}
		}
	}
}

// TestJ16_NoPersonalData: a value token holds ids and roles, no address.
func TestJ16_NoPersonalData(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "token", "bearer")
	if payload := decodePart(t, c.token("access_token"), 1); strings.Contains(payload, "ada") || strings.Contains(payload, "mail") {
		t.Errorf("claims = %s", payload)
	}
}

func TestServiceKeys(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	expires := w.clock.Now().Add(time.Hour).Format(time.RFC3339)
	made := admin.post("/v1/admin/service-keys", m{"name": "deploy", "permissions": []string{"posts:*", "handstamp.introspect"}, "expires_at": expires}).want(201).body
	if !strings.HasPrefix(made["key"].(string), "hs_k_") || !strings.HasPrefix(made["id"].(string), "key_") || made["expires_at"] != expires {
		t.Errorf("POST /v1/admin/service-keys = %v", made)
	}
	if me := w.program(made["key"].(string)).get("/v1/session").want(200).body; me["session"] != nil || me["user"].(m)["id"] != made["id"] {
		t.Errorf("GET /v1/session with a service key = %v", me)
	}
	for _, call := range []string{"GET /v1/sessions", "DELETE /v1/sessions", "DELETE /v1/sessions/x", "DELETE /v1/account", "POST /v1/password"} {
		f := strings.Fields(call)
		w.program(made["key"].(string)).do(f[0], f[1], nil).refused(403, "forbidden")
	}
	forever := admin.post("/v1/admin/service-keys", m{"name": "ever", "permissions": []string{}}).want(201).body
	if forever["expires_at"] != nil {
		t.Errorf("without an end: expires_at = %v", forever["expires_at"])
	}
	a := admin.get("/v1/admin/service-keys").want(200)
	if n := len(a.body["service_keys"].([]any)); n != 2 || strings.Contains(a.raw, "hs_k_") {
		t.Errorf("list = %s", a.raw)
	}
	w.clock.add(time.Hour)
	admin.start("/v1/login", "session", "bearer", 200)
	w.program(made["key"].(string)).get("/v1/session").refused(401, "expired")
	admin.del("/v1/admin/service-keys/" + forever["id"].(string)).want(204)
	w.program(forever["key"].(string)).get("/v1/session").refused(401, "revoked")
	admin.del("/v1/admin/service-keys/" + forever["id"].(string)).want(204) // the same again
	if a := admin.del("/v1/admin/service-keys/" + forever["id"].(string) + "?wait=fleet").want(200); a.body["applied"] != "fleet" {
		t.Errorf("ending a key again and waiting = %s", a.raw)
	}
	admin.del("/v1/admin/service-keys/key_01h2xcejqtf2nbrexx3vqjhp41").refused(404, "not_found")
	for _, bad := range []m{
		{"permissions": []string{}}, {"name": "", "permissions": []string{}}, {"name": "x"}, {"name": "a\nb", "permissions": []string{}},
		{"name": "x", "permissions": []string{"a b"}}, {"name": "x", "permissions": []string{"*:read"}}, {"name": "x", "permissions": []string{"a:b", "a:b"}},
		{"name": "x", "permissions": []string{}, "expires_at": "tomorrow"}, {"name": "x", "permissions": []string{}, "expires_at": "2001-01-01T00:00:00Z"},
		{"name": strings.Repeat("x", 201), "permissions": []string{}},
	} {
		admin.post("/v1/admin/service-keys", bad).refused(422, "invalid_input")
	}
}

// TestIntrospectAudience: client_id is whom tokens are made for, also where that is not this server's address, and ep is
// how far the answer has read.
func TestIntrospectAudience(t *testing.T) {
	w := newWorld(t, settings{auth: func(o *handstamp.Options) { o.Token.Audience = "https://api.example" }})
	caller := w.program(w.key("handstamp.introspect"))
	for _, mode := range []string{"session", "token", "hybrid"} {
		c := w.signUp(mode+"@example.com", mode, "bearer")
		before := caller.post("/v1/introspect", m{"token": c.token("access_token")}).want(200).body
		if before["client_id"] != "https://api.example" {
			t.Errorf("client_id in mode %s = %v", mode, before["client_id"])
		}
		w.signUp("other-"+mode+"@example.com", mode, "bearer").post("/v1/logout", nil).want(204) // the log moves on
		if after := caller.post("/v1/introspect", m{"token": c.token("access_token")}).want(200).body; after["ep"].(float64) <= before["ep"].(float64) {
			t.Errorf("ep in mode %s = %v after %v, want it to move with the log", mode, after["ep"], before["ep"])
		}
	}
}

// TestRotationIsRecordedFirst: what an administrator asked for is on record, or it is not done.
func TestRotationIsRecordedFirst(t *testing.T) {
	var down atomic.Bool
	w := newWorld(t, settings{store: func(s handstamp.Store) handstamp.Store { return downStore{s, &down} }})
	program := w.program(w.key("handstamp.admin"))
	before := program.get("/v1/admin/keys").want(200).raw
	down.Store(true)
	program.post("/v1/admin/keys/rotate", nil).refused(503, "unavailable")
	if after := program.get("/v1/admin/keys").want(200).raw; after != before {
		t.Errorf("a rotation that is not on record changed the keys:\n%s\n%s", before, after)
	}
	down.Store(false)
	program.post("/v1/admin/keys/rotate", nil).want(201)
	if after := program.get("/v1/admin/keys").want(200).raw; after == before {
		t.Error("a rotation changed nothing")
	}
}
