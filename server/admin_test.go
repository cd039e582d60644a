package server_test

import (
	"context"
	"encoding/base64"
	"errors"
	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/handstamp/handstamp/server"
)

func decodePart(t *testing.T, token string, n int) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAdminUsers(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	made := admin.post("/v1/admin/users", m{"email": "Grace@Example.com", "password": typed, "roles": []string{"editor"}}).want(201).body
	id := made["id"].(string)
	if made["email"] != "grace@example.com" || made["disabled"] != false || made["roles"].([]any)[0] != "editor" {
		t.Errorf("POST /v1/admin/users = %v", made)
	}
	admin.post("/v1/admin/users", m{"email": "grace@example.com"}).refused(409, "email_taken")
	admin.post("/v1/admin/users", m{"email": "a@example.com", "password": ""}).refused(422, "invalid_input")
	admin.post("/v1/admin/users", m{"email": "a@example.com", "password": "short"}).refused(422, "invalid_input")
	admin.post("/v1/admin/users", m{"email": "a@example.com", "roles": []string{"a", "a"}}).refused(422, "invalid_input")
	c := w.stranger()
	c.email = "grace@example.com"
	c.start("/v1/login", "session", "bearer", 200)
	if got := admin.get("/v1/admin/users/" + id).want(200).body; got["id"] != id {
		t.Errorf("GET user = %v", got)
	}
	if got := admin.get("/v1/admin/users?query=GRACE").want(200).body["users"].([]any); len(got) != 1 {
		t.Errorf("query = %v", got)
	}
	if got := admin.get("/v1/admin/users?query=%25").want(200).body["users"].([]any); len(got) != 0 {
		t.Errorf("a percent sign finds %d users, want none", len(got))
	}
	changed := admin.do("PATCH", "/v1/admin/users/"+id, m{"email": "hopper@example.com"}).want(200).body
	if changed["email"] != "hopper@example.com" || changed["email_verified"] != false || changed["applied"] != "node" {
		t.Errorf("PATCH email = %v", changed)
	}
	if got := c.get("/v1/session").want(200).body["user"].(m)["email"]; got != "hopper@example.com" { // an address that changes ends nothing
		t.Errorf("the address after a change = %v", got)
	}
	admin.do("PATCH", "/v1/admin/users/"+id, m{"email": "admin@example.com", "disabled": true}).refused(409, "email_taken")
	if got := admin.get("/v1/admin/users/" + id).want(200).body["disabled"]; got != false {
		t.Error("a refused change is half done")
	}
	admin.do("PATCH", "/v1/admin/users/"+id, m{"email": "not an address"}).refused(422, "invalid_input")
	admin.do("PATCH", "/v1/admin/users/usr_01h2xcejqtf2nbrexx3vqjhp41", m{"disabled": true}).refused(404, "not_found")
	admin.put("/v1/admin/users/"+id+"/roles", m{}).refused(422, "invalid_input")
	admin.put("/v1/admin/users/"+id+"/roles", m{"roles": []string{}}).want(200)
	admin.put("/v1/admin/users/"+id+"/roles", `{"roles":null}`).refused(400, "malformed_request")
	admin.put("/v1/admin/users/"+id+"/roles", `{"roles":[null]}`).refused(400, "malformed_request")
	admin.put("/v1/admin/users/"+id+"/roles", m{"roles": "admin"}).refused(400, "malformed_request")
}

func TestRoles(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	c := w.signUp("ada@example.com", "token", "bearer")
	w.give(c.user(), "editor")
	c.start("/v1/login", "token", "bearer", 200)
	c.get("/v1/check?permission=posts:write").refused(403, "forbidden")
	put := admin.put("/v1/admin/roles/editor", m{"permissions": []string{"posts:write", "posts:read"}}).want(200).body
	if put["name"] != "editor" || put["permissions"].([]any)[0] != "posts:read" || put["applied"] != "node" {
		t.Errorf("PUT role = %v", put)
	}
	c.get("/v1/check?permission=posts:write").want(200) // at once, in a token that is already out
	list := admin.get("/v1/admin/roles").want(200).body["roles"].([]any)
	if len(list) != 3 || list[0].(m)["name"] != "admin" || list[1].(m)["name"] != "editor" || list[2].(m)["name"] != "member" {
		t.Errorf("roles = %v", list)
	}
	page := admin.get("/v1/admin/roles?limit=2").want(200).body
	rest := admin.get("/v1/admin/roles?limit=2&cursor=" + page["next"].(string)).want(200).body
	if len(rest["roles"].([]any)) != 1 || rest["next"] != nil {
		t.Errorf("second page of roles = %v", rest)
	}
	admin.del("/v1/admin/roles/editor").want(204)
	c.get("/v1/check?permission=posts:write").refused(403, "forbidden")
	admin.del("/v1/admin/roles/editor").refused(404, "not_found")
	admin.del("/v1/admin/roles/admin").refused(422, "invalid_input")
	admin.put("/v1/admin/roles/admin", m{"permissions": []string{"posts:read"}}).refused(422, "invalid_input")
	admin.put("/v1/admin/roles/a%20b", m{"permissions": []string{}}).refused(422, "invalid_input")
	admin.put("/v1/admin/roles/x", m{}).refused(422, "invalid_input")
	if got := admin.put("/v1/admin/roles/x", m{"permissions": []string{"ok:ok", "p*:x"}}).refused(422, "invalid_input").fields(); got[0] != "permissions[1]" {
		t.Errorf("fields = %v", got)
	}
}

// TestA4_RoleRemoval: what a role no longer grants is refused by the next request, whatever the form.
func TestA4_RoleRemoval(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	admin.put("/v1/admin/roles/editor", m{"permissions": []string{"posts:write"}}).want(200)
	for _, p := range pairs {
		c := w.signUp(p.mode+p.transport+"@example.com", p.mode, p.transport)
		w.give(c.user(), "editor")
		c.start("/v1/login", p.mode, p.transport, 200)
		c.get("/v1/check?permission=posts:write").want(200)
		admin.put("/v1/admin/users/"+c.user()+"/roles", m{"roles": []string{"member"}}).want(200)
		if a := c.get("/v1/check?permission=posts:write"); p.mode == "session" {
			a.refused(403, "forbidden")
		} else {
			a.refused(401, "stale_token")
		}
	}
}

func TestSignUpClosed(t *testing.T) {
	w := newWorld(t, settings{server: func(o *server.Options) { o.SignUpClosed = true }})
	w.stranger().post("/v1/signup", m{"email": "ada@example.com", "password": typed}).refused(403, "forbidden")
	w.stranger().post("/v1/login", m{"email": "ada@example.com", "password": typed}).refused(401, "invalid_credentials")
}

func TestL1_Audit(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	c := w.signUp("ada@example.com", "hybrid", "bearer")
	w.stranger().post("/v1/login", m{"email": "ada@example.com", "password": "not the password"}).want(401)
	c.keep(c.post("/v1/password", m{"current_password": typed, "new_password": "another passphrase of mine"}).want(200))
	ended := c.post("/v1/logout", nil).want(204)
	admin.put("/v1/admin/users/"+c.user()+"/roles", m{"roles": []string{"editor"}}).want(200)
	kinds := map[string]m{}
	next := ""
	for {
		page := admin.get("/v1/admin/audit?limit=3&user=" + c.user() + "&cursor=" + next).want(200).body
		for _, e := range page["events"].([]any) {
			kinds[e.(m)["kind"].(string)] = e.(m)
		}
		if page["next"] == nil {
			break
		}
		next = page["next"].(string)
	}
	for kind, actor := range map[string]string{
		"signup": c.user(), "user.created": c.user(), "login.ok": c.user(), "login.failed": "", "password.changed": c.user(), "session.secrets_renewed": c.user(),
		"session.ended": c.user(), "user.roles_changed": admin.user(),
	} {
		e := kinds[kind]
		if e == nil || e["actor"] != actor || e["target"] != c.user() || e["ip"] != "127.0.0.1" || e["user_agent"] == "" || len(e["request_id"].(string)) < 20 {
			t.Errorf("audit %s = %v, want it by %q", kind, e, actor)
		}
	}
	if got := kinds["session.ended"]; got != nil && got["request_id"] != ended.header.Get("Request-Id") {
		t.Errorf("the entry's request id is %v, the answer's %s", got["request_id"], ended.header.Get("Request-Id"))
	}
	// A client does not choose the id that its requests go by.
	a := c.do("POST", "/v1/login", m{"email": "ada@example.com", "password": "x"}, "Request-Id", "chosen")
	if a.header.Get("Request-Id") == "chosen" || strings.Contains(w.logs.String(), "chosen") {
		t.Error("a client chose its request id")
	}
}

// TestIDsInPaths: what no id can be is bad input wherever an administrator names something, and never "not there"; what
// could be one and is not there is 404.
func TestIDsInPaths(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	calls := []struct {
		method, path, field string
		body                any
		absent              int // of an id that could be
	}{
		{"GET", "/v1/admin/users/%s", "id", nil, 404},
		{"PATCH", "/v1/admin/users/%s", "id", m{"disabled": true}, 404},
		{"DELETE", "/v1/admin/users/%s", "id", nil, 404},
		{"PUT", "/v1/admin/users/%s/roles", "id", m{"roles": []string{"editor"}}, 200},
		{"DELETE", "/v1/admin/users/%s/sessions", "id", nil, 204},
		{"DELETE", "/v1/admin/sessions/%s", "id", nil, 404},
		{"DELETE", "/v1/admin/service-keys/%s", "id", nil, 404},
		{"POST", "/v1/admin/keys/%s/revoke", "kid", nil, 404},
		{"DELETE", "/v1/admin/roles/%s", "name", nil, 404},
		{"PUT", "/v1/admin/roles/%s", "name", m{"permissions": []string{}}, 200},
	}
	for _, c := range calls {
		for name, bad := range map[string]string{
			"129 bytes": strings.Repeat("x", 129), "129 bytes of text": strings.Repeat("x", 127) + "%C3%BC", "8 kB": strings.Repeat("x", 8000),
			"NUL": "a%00b", "line break": "a%0Ab", "DEL": "a%7F", "C1": "a%C2%85b", "no UTF-8": "a%FFb", "half of a rune": "%C3",
		} {
			a := admin.do(c.method, strings.Replace(c.path, "%s", bad, 1), c.body).refused(422, "invalid_input")
			if got := a.fields(); len(got) != 1 || got[0] != c.field {
				t.Errorf("%s %s with %s: fields = %v, want %s", c.method, c.path, name, got, c.field)
			}
			if strings.Contains(a.raw, "xxx") {
				t.Errorf("%s %s repeats the id", c.method, c.path)
			}
		}
		for _, absent := range []string{"nobody", strings.Repeat("x", 128)} {
			admin.do(c.method, strings.Replace(c.path, "%s", absent, 1), c.body).want(c.absent)
		}
	}
	for _, list := range []string{"/v1/admin/sessions?user=", "/v1/admin/audit?user="} {
		for _, bad := range []string{strings.Repeat("x", 129), "a%00b", "a%C2%85b", "%FF"} {
			if got := admin.get(list+bad).refused(422, "invalid_input").fields(); len(got) != 1 || got[0] != "user" {
				t.Errorf("%s: fields = %v, want user", list, got)
			}
		}
	}
}

// TestStartCanBeAnybody: the users of POST /v1/admin/sessions and their roles are the application's, so its key may give
// what it does not hold. That makes the permission worth as much as an administrator's, and the document says so.
func TestStartCanBeAnybody(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	admin.put("/v1/admin/roles/editor", m{"permissions": []string{"posts:write"}}).want(200)
	app := w.program(w.key("handstamp.start"))
	app.get("/v1/check?permission=posts:write").refused(403, "forbidden")
	app.get("/v1/admin/users").refused(403, "forbidden")
	for _, body := range []m{{"user": "42", "roles": []string{"editor"}}, {"user": "42"}} { // given, and kept
		c := w.program("")
		c.keep(app.post("/v1/admin/sessions", body).want(201))
		c.get("/v1/check?permission=posts:write").want(200)
	}
	c := w.program("")
	c.keep(app.post("/v1/admin/sessions", m{"user": admin.user()}).want(201))
	c.get("/v1/admin/users").want(200)
	for _, other := range []string{"handstamp.introspect", "posts:write"} {
		w.program(w.key(other)).post("/v1/admin/sessions", m{"user": "42"}).refused(403, "forbidden")
	}
	said := w.operation("/v1/admin/sessions", "POST")["description"].(string)
	for _, want := range []string{"handstamp.start", "anybody", "roles", "administrators"} {
		if !strings.Contains(said, want) {
			t.Errorf("the document says %q, want %q in it", said, want)
		}
	}
}

// brittleAccounts is a view of the accounts on which only so many units of work succeed.
type brittleAccounts struct {
	account.Store
	left *atomic.Int32
}

func (b brittleAccounts) AccountWork() handstamp.UnitOfWork[account.Tx] {
	return brittleWork{b.Store.AccountWork(), b.left}
}

type brittleWork struct {
	handstamp.UnitOfWork[account.Tx]
	left *atomic.Int32
}

func (b brittleWork) Do(ctx context.Context, fn func(account.Tx) error) error {
	if b.left.Add(-1) < 0 {
		return errors.New(cause)
	}
	return b.UnitOfWork.Do(ctx, fn)
}

// TestUserChangesAtOnce: what one request changes about a user is one unit of work with one wait, and nothing is half done.
func TestUserChangesAtOnce(t *testing.T) {
	t.Run("memory", func(t *testing.T) { userChangesAtOnce(t, false) })
	t.Run("sqlite", func(t *testing.T) { userChangesAtOnce(t, true) })
}

func userChangesAtOnce(t *testing.T, file bool) {
	var left atomic.Int32
	left.Store(1000)
	var store account.Store
	w := newWorld(t, settings{
		sqlite: file,
		store:  func(s handstamp.Store) handstamp.Store { store = s.(backend); return s },
		server: func(o *server.Options) { o.Accounts = account.New(o.Auth, brittleAccounts{store, &left}) },
	})
	admin := w.admin()
	c := w.signUp("ada@example.com", "session", "bearer")
	path := "/v1/admin/users/" + c.user()
	both := m{"email": "countess@example.com", "disabled": true}
	left.Store(0)
	admin.do("PATCH", path, both).refused(503, "unavailable")
	left.Store(1)
	a := admin.do("PATCH", path+"?wait=fleet", both).want(200)
	if a.body["email"] != "countess@example.com" || a.body["disabled"] != true || a.body["applied"] != "fleet" || a.body["verifiers"] != 1.0 {
		t.Errorf("PATCH = %s", a.raw)
	}
	c.get("/v1/session").refused(401, "revoked")
	for _, kind := range []string{"user.changed", "user.disabled"} {
		if n := len(admin.get("/v1/admin/audit?kind=" + kind + "&user=" + c.user()).want(200).body["events"].([]any)); n != 1 {
			t.Errorf("%d entries %s, want 1", n, kind)
		}
	}
	// There is nothing that a change of nothing could be applied of, anywhere.
	for _, query := range []string{"", "?wait=fleet"} {
		if got := admin.do("PATCH", path+query, m{}).refused(422, "invalid_input").fields(); len(got) != 1 || got[0] != "body" {
			t.Errorf("fields = %v", got)
		}
	}
}

// TestNoAuditLog: a server that was given no audit log does without, also where it would look into it.
func TestNoAuditLog(t *testing.T) {
	w := newWorld(t, settings{server: func(o *server.Options) { o.Audit = nil }})
	c := w.program(w.key("handstamp.admin"))
	c.del("/v1/admin/service-keys/key_01h2xcejqtf2nbrexx3vqjhp41").refused(404, "not_found")
	id := c.post("/v1/admin/service-keys", m{"name": "x", "permissions": []string{}}).want(201).body["id"].(string)
	c.del("/v1/admin/service-keys/" + id).want(204)
	c.del("/v1/admin/service-keys/"+id).refused(404, "not_found")
	c.get("/v1/admin/audit").refused(404, "not_found")
	if strings.Contains(w.logs.String(), "panic") {
		t.Error("a handler panicked")
	}
}
