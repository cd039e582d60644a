package server_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// jsonCalls are calls that take a body, with one that is good enough to be read.
var jsonCalls = []string{
	"POST /v1/signup", "POST /v1/login", "POST /v1/setup", "POST /v1/refresh", "POST /v1/logout", "POST /v1/password",
	"POST /v1/introspect", "POST /v1/revoke", "POST /v1/admin/users", "PATCH /v1/admin/users/usr_x", "PUT /v1/admin/users/42/roles",
	"PUT /v1/admin/roles/editor", "POST /v1/admin/sessions", "POST /v1/admin/service-keys",
}

// TestR2_JSONTestSuite sends all of JSONTestSuite to every call that takes a body.
func TestR2_JSONTestSuite(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	files, err := filepath.Glob("../internal/strictjson/testdata/json-parsing/test_parsing/*.json")
	if err != nil || len(files) != 318 {
		t.Fatalf("%d files, %v; want 318", len(files), err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		for i, call := range jsonCalls {
			if i > 1 && !strings.HasPrefix(name, "n_") && i != len(name)%len(jsonCalls) {
				continue // one of the others in turn
			}
			f := strings.Fields(call)
			caller := admin
			if f[1] == "/v1/logout" {
				caller = w.program("") // an empty body is none, and would log the administrator out
			}
			a := caller.do(f[0], f[1], string(body))
			switch {
			case a.status >= 500:
				t.Errorf("%s to %s = %d %s", name, call, a.status, a.raw)
			case len(body) > 64<<10:
				a.refused(413, "too_large")
			case strings.HasPrefix(name, "n_") && a.status != 400 && len(body) > 0:
				t.Errorf("%s to %s = %d, want 400", name, call, a.status)
			case strings.HasPrefix(name, "y_") && a.status != 400: // none of them is an object of ours
				if name != "y_object_empty.json" && name != "y_structure_whitespace_array.json" {
					t.Errorf("%s to %s = %d, want 400", name, call, a.status)
				}
			}
		}
	}
}

func TestR2_StrictJSON(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.stranger()
	good := `{"email":"ada@example.com","password":"` + typed + `"}`
	for name, body := range map[string]string{
		"empty":             "",
		"space":             "  ",
		"array":             `[` + good + `]`,
		"string":            `"x"`,
		"null":              `null`,
		"null member":       `{"email":null,"password":"x"}`,
		"null optional":     strings.TrimSuffix(good, "}") + `,"mode":null}`,
		"number for text":   `{"email":"ada@example.com","password":12345678}`,
		"text for boolean":  strings.TrimSuffix(good, "}") + `,"remember":"true"}`,
		"object for text":   `{"email":{"a":1},"password":"x"}`,
		"array for text":    `{"email":["ada@example.com"],"password":"x"}`,
		"unknown":           strings.TrimSuffix(good, "}") + `,"role":"admin"}`,
		"twice":             `{"email":"ada@example.com","email":"bob@example.com","password":"` + typed + `"}`,
		"other case":        `{"Email":"ada@example.com","password":"` + typed + `"}`,
		"both cases":        `{"email":"ada@example.com","Email":"bob@example.com","password":"` + typed + `"}`,
		"escaped twin":      `{"email":"ada@example.com","\u0065mail":"bob@example.com","password":"` + typed + `"}`,
		"trailing":          good + `x`,
		"two objects":       good + good,
		"trailing null":     good + ` null`,
		"trailing comma":    strings.TrimSuffix(good, "}") + `,}`,
		"comment":           good + `//`,
		"byte order mark":   "\ufeff" + good,
		"invalid UTF-8":     `{"email":"ada@example.com","password":"` + typed + "\xff" + `"}`,
		"lone surrogate":    `{"email":"ada@example.com","password":"` + typed + `\ud800"}`,
		"deep":              `{"email":` + strings.Repeat("[", 17) + strings.Repeat("]", 17) + `}`,
		"deeper":            strings.Repeat(`{"email":`, 5000),
		"single quotes":     `{'email':'ada@example.com'}`,
		"form":              `email=ada@example.com`,
		"control character": "{\"email\":\"ada@example.com\",\"password\":\"a\nb\"}",
	} {
		a := c.post("/v1/signup", body)
		if a.status != 400 || a.body["code"] != "malformed_request" {
			t.Errorf("%s = %d %s, want 400 malformed_request", name, a.status, a.raw)
		}
	}
	a := c.post("/v1/signup", m{"email": "ada@example.com", "password": 5}).refused(400, "malformed_request")
	if !strings.Contains(a.body["detail"].(string), `"password"`) {
		t.Errorf("a wrong type = %v, want the member's name", a.body["detail"])
	}
	// What is right in type and wrong in value says which fields, all at once, and never the value.
	a = c.post("/v1/signup", m{"email": "nobody", "mode": "hunter2", "transport": "hunter2"}).refused(422, "invalid_input")
	if got := strings.Join(a.fields(), " "); got != "email password mode transport" {
		t.Errorf("fields = %s, want email password mode transport", got)
	}
	if strings.Contains(a.raw, "hunter2") || strings.Contains(a.raw, "nobody") {
		t.Errorf("a value is repeated: %s", a.raw)
	}
	for field, body := range map[string]m{
		"email":        {"email": "ada\x00@example.com", "password": typed},
		"password":     {"email": "ada@example.com", "password": typed + "\x00"},
		"new_password": nil,
	} {
		if body != nil {
			if got := c.post("/v1/signup", body).refused(422, "invalid_input").fields(); len(got) != 1 || got[0] != field {
				t.Errorf("NUL in %s: fields = %v", field, got)
			}
		}
	}
}

// TestC9_MediaType: a form or a text of another site is no JSON.
func TestC9_MediaType(t *testing.T) {
	w := newWorld(t, settings{})
	body := `{"email":"ada@example.com","password":"` + typed + `"}`
	w.stranger().post("/v1/signup", body).want(201)
	for _, kind := range []string{"application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON", "application/json; a=b"} {
		w.stranger().do("POST", "/v1/login", body, "Content-Type", kind).want(200)
	}
	for _, kind := range []string{"text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", "application/json, text/plain", "application/xml"} {
		for _, call := range jsonCalls {
			f := strings.Fields(call)
			if strings.Contains(call, "introspect") || strings.Contains(call, "revoke") {
				continue
			}
			if a := w.program(w.key("*")).do(f[0], f[1], body, "Content-Type", kind); a.status != 415 && a.status != 403 {
				t.Errorf("%s as %q = %d, want 415", call, kind, a.status)
			}
		}
	}
	w.stranger().do("POST", "/v1/login", body, "Content-Encoding", "gzip").refused(415, "unsupported_media_type")
	// What takes no body needs no type; what takes none refuses members all the same.
	c := w.signUp("bob@example.com", "session", "cookie")
	c.do("DELETE", "/v1/sessions/ses_x", `{"user":"usr_1"}`).refused(400, "malformed_request")
	c.do("POST", "/v1/logout", nil, "Content-Type", "text/plain").want(204)
}

func TestR1_BodyLimit(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	big := `{"email":"ada@example.com","password":"` + strings.Repeat("x", 64<<10) + `"}`
	for _, call := range jsonCalls {
		f := strings.Fields(call)
		admin.do(f[0], f[1], big).refused(413, "too_large")
	}
	// Without a length, too.
	req, err := http.NewRequest("POST", w.url+"/v1/login", struct{ *strings.Reader }{strings.NewReader(big)})
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.ContentLength = -1
	w.stranger().send(req).refused(413, "too_large")
	fits := `{"email":"ada@example.com","password":"` + strings.Repeat("x", 2000) + `"}`
	w.stranger().post("/v1/login", fits).refused(422, "invalid_input")
}

// TestNaughtyStrings puts the Big List of Naughty Strings into every text field: no 5xx, no panic, no echo.
func TestNaughtyStrings(t *testing.T) {
	raw, err := os.ReadFile("testdata/blns/blns.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil || len(list) != 515 {
		t.Fatalf("%d strings, %v; want 515", len(list), err)
	}
	w := newWorld(t, settings{})
	admin := w.admin()
	for _, s := range append(list, "\x00", "a\x00b", "\u0085", "\u202e", "\x7f") {
		for _, call := range []struct {
			method, path string
			body         m
		}{
			{"POST", "/v1/signup", m{"email": s, "password": typed}},
			{"POST", "/v1/signup", m{"email": "ada@example.com", "password": s, "mode": s, "transport": s}},
			{"POST", "/v1/login", m{"email": s, "password": s}},
			{"POST", "/v1/refresh", m{"refresh_token": s}},
			{"POST", "/v1/logout", m{"refresh_token": s}},
			{"POST", "/v1/setup", m{"token": s, "email": s, "password": s}},
			{"POST", "/v1/introspect", m{"token": s, "token_type_hint": s}},
			{"POST", "/v1/revoke", m{"token": s}},
			{"POST", "/v1/admin/users", m{"email": s, "password": s, "roles": []string{s}}},
			{"POST", "/v1/admin/sessions", m{"user": s, "methods": []string{s}, "roles": []string{s}, "mode": s}},
			{"PUT", "/v1/admin/roles/x", m{"permissions": []string{s}}},
			{"POST", "/v1/admin/service-keys", m{"name": s, "permissions": []string{}, "expires_at": s}},
		} {
			a := admin.do(call.method, call.path, call.body)
			if a.status >= 500 {
				t.Errorf("%s %s with %q = %d %s", call.method, call.path, s, a.status, a.raw)
			}
			if quoted, _ := json.Marshal(s); a.status >= 400 && len(s) > 12 && strings.Contains(a.raw, strings.Trim(string(quoted), `"`)) {
				t.Errorf("%s %s repeats %q: %s", call.method, call.path, s, a.raw)
			}
		}
	}
}

// TestNaughtyPaths puts them into paths, queries and headers.
func TestNaughtyPaths(t *testing.T) {
	raw, err := os.ReadFile("testdata/blns/blns.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, settings{})
	admin := w.admin()
	for _, s := range append(list, "a/b", "..", ".", "%", "a\x00b") {
		e := strings.NewReplacer("+", "%20").Replace(queryEscape(s))
		for _, call := range []string{
			"GET /v1/admin/users/" + e, "DELETE /v1/sessions/" + e, "DELETE /v1/admin/sessions/" + e, "DELETE /v1/admin/roles/" + e,
			"DELETE /v1/admin/service-keys/" + e, "POST /v1/admin/keys/" + e + "/revoke", "GET /v1/admin/users?query=" + e,
			"GET /v1/admin/users?cursor=" + e, "GET /v1/admin/audit?user=" + e + "&kind=" + e, "GET /v1/admin/sessions?limit=" + e,
			"GET /v1/check?permission=" + e, "GET /v1/check?" + e, "GET /login?return_to=" + e, "GET /static/" + e,
			"DELETE /v1/admin/users/" + e + "/sessions",
		} {
			f := strings.Fields(call)
			if a := admin.do(f[0], f[1], nil); a.status >= 500 {
				t.Errorf("%s = %d %s", call, a.status, a.raw)
			}
		}
	}
}

// TestStrictQuery: a query parameter that a call does not have, or that is there twice, is refused before anything is done,
// as an unknown member of a body is. Who mistypes keep=current must not lose the session they call with.
func TestStrictQuery(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "bearer")
	other := c.logIn("session", "bearer")
	for _, q := range []string{
		"Keep=current", "kepe=current", "keep=current&keep=current", "keep=current&Wait=fleet", "keep=current&x", "wait=fleet&wait=fleet",
		"keep%20=current", " keep=current", "keep=current;wait=fleet", "=", "=x", "x=", "%zz", "cursor=x", "utm_source=mail",
		"keep[]=current", "Idempotency-Key=x", "current",
	} {
		c.del("/v1/sessions?"+strings.ReplaceAll(q, " ", "%20")).refused(400, "malformed_request")
	}
	other.get("/v1/session").want(200)
	c.del("/v1/sessions?keep=curent").refused(422, "invalid_input") // a known one with a value that it cannot have
	c.del("/v1/sessions?keep=current").want(200)
	c.get("/v1/session").want(200)
	other.get("/v1/session").refused(401, "revoked")

	key := w.program(w.key("*"))
	for _, line := range contract {
		f := strings.Fields(line)
		path := strings.NewReplacer("{id}", "x", "{name}", "x", "{kid}", "x").Replace(f[1])
		if !strings.HasPrefix(path, "/v1/") {
			c.do(f[0], path+"?utm_source=mail&utm_source=mail", nil).want(200) // no part of the API
			continue
		}
		caller := key
		if f[1] == "/v1/account" || f[1] == "/v1/password" || strings.HasPrefix(f[1], "/v1/sessions") {
			caller = c // for users alone
		}
		secret := "hunter2hunter2"
		a := caller.do(f[0], path+"?"+secret+"="+secret, nil).refused(400, "malformed_request")
		if strings.Contains(a.raw, secret) {
			t.Errorf("%s repeats the query: %s", line, a.raw)
		}
		if path == "/v1/check" {
			continue
		}
		// What the document lists is known: only what it says twice, or the value, can be wrong.
		op := w.operation(path, f[0])
		params, _ := op["parameters"].([]any)
		for _, p := range params {
			p := p.(m)
			name := p["name"].(string)
			if p["in"] != "query" {
				if p["in"] == "header" {
					caller.do(f[0], path+"?"+name+"=x", nil).refused(400, "malformed_request")
				}
				continue
			}
			caller.do(f[0], path+"?"+name+"=x&"+name+"=x", nil).refused(400, "malformed_request")
			if a := caller.do(f[0], path+"?"+name+"=\u0085", nil); a.body["code"] == "malformed_request" && strings.Contains(a.raw, "query") {
				t.Errorf("%s does not know %s, which the document lists: %s", line, name, a.raw)
			}
		}
		if spec, _ := op["responses"].(m)["400"].(m); spec == nil || !strings.Contains(spec["description"].(string), "query") {
			t.Errorf("%s: the document does not say that a query is refused: %v", line, spec)
		}
	}
	// Who may not call at all learns nothing about the query.
	w.stranger().get("/v1/admin/users?x=y").refused(401, "missing_credential")
	c.get("/v1/admin/users?x=y").refused(403, "forbidden")
	// Links to pages carry what mailers add.
	for _, page := range []string{"/login", "/setup"} {
		w.stranger().get(page + "?utm_source=mail&utm_source=mail&fbclid=x").want(200)
	}
}
