package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestL2_NoSecretIsLogged sends marked secrets through every flow, good and bad, and looks for them in everything that
// was logged at debug level, in the metrics and in the audit log.
func TestL2_NoSecretIsLogged(t *testing.T) {
	w := newWorld(t, settings{wrap: breakLogin})
	const canary, second = "canary-one-7f3a9c1e", "canary-two-5b8d2e4f"
	secrets := []string{canary, second}
	note := func(texts ...string) {
		for _, s := range texts {
			if s != "" {
				secrets = append(secrets, s)
			}
		}
	}
	setup, err := w.flow.NewSetup(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	note(setup.Reveal())
	w.stranger().post("/v1/setup", m{"token": setup.Reveal(), "email": "root@example.com", "password": canary}).want(201)
	admin := w.admin()
	note(admin.token("access_token"))
	for _, p := range pairs {
		c := w.stranger()
		c.email = p.mode + p.transport + "@example.com"
		body := m{"email": c.email, "password": canary, "mode": p.mode, "transport": p.transport}
		c.keep(c.post("/v1/signup", body).want(201))
		c.keep(c.post("/v1/login", body).want(200))
		c.get("/v1/session").want(200)
		c.get("/v1/check?permission=a:b").want(403)
		if p.mode == "hybrid" {
			note(c.token("refresh_token"), c.cookie("/v1/refresh", "__Secure-handstamp-refresh"))
			c.keep(c.refresh().want(200))
		}
		c.post("/v1/password", m{"current_password": second, "new_password": canary + second}).want(403)
		c.keep(c.post("/v1/password", m{"current_password": canary, "new_password": canary + second}).want(200))
		note(c.token("access_token"), c.token("refresh_token"), c.cookie("/", "__Host-handstamp"))
		form := url.Values{"token": {c.token("access_token")}}
		w.program(w.key("handstamp.introspect")).do("POST", "/v1/introspect", form).want(200)
		c.post("/v1/logout", nil).want(204)
	}
	c := w.stranger()
	for _, email := range []string{"panic@example.com", "down@example.com", "nobody@example.com", canary, canary + "@example.com"} {
		c.post("/v1/login", m{"email": email, "password": canary})
		c.post("/v1/login", m{canary: canary, "password": canary})
		c.post("/v1/login", canary)
		c.do("POST", "/login", url.Values{"email": {email}, "password": {canary}, "handstamp_form": {canary}})
	}
	w.program(canary).get("/v1/session?access_token=" + canary).want(401)
	w.rawCookie("/v1/session", "__Host-handstamp="+canary).want(401)
	w.stranger().get("/v1/" + canary + "?x=" + canary).want(404)
	w.stranger().post("/v1/refresh", m{"refresh_token": canary}).want(401)
	key := admin.post("/v1/admin/service-keys", m{"name": "x", "permissions": []string{"a:b"}}).want(201).body["key"].(string)
	note(key)
	w.program(key).get("/v1/check").want(200)
	metrics := httptest.NewRecorder()
	w.server.Ops().ServeHTTP(metrics, httptest.NewRequest("GET", "/metrics", nil))
	audit := admin.get("/v1/admin/audit?limit=1000").want(200).raw
	for _, s := range secrets {
		for name, text := range map[string]string{"log": w.logs.String(), "metrics": metrics.Body.String(), "audit": audit} {
			if strings.Contains(text, s) {
				t.Errorf("the %s holds the secret %.12s…", name, s)
			}
		}
	}
	if len(w.logs.String()) < 1000 || len(secrets) < 12 {
		t.Errorf("%d bytes of logs and %d secrets: this test looked at nothing", len(w.logs.String()), len(secrets))
	}
}

// TestL3_LogInjection: whatever a client sends, the log stays one JSON object per line and the terminal stays its own.
func TestL3_LogInjection(t *testing.T) {
	w := newWorld(t, settings{wrap: breakLogin})
	bad := []string{"\u2028{\"level\":\"ERROR\"}", "\x1b[31mred", "\u202eevil", "\u0085next"}
	for _, b := range bad {
		c := w.stranger()
		req := c.do("POST", "/v1/login", m{"email": "down@example.com", "password": typed}, "User-Agent", strings.NewReplacer("\x1b", "\u009b").Replace(b))
		req.want(503)
		c.post("/v1/login", m{"email": b + "@example.com", "password": b}).want(422)
		c.do("GET", "/v1/check?permission="+url.QueryEscape(b), nil, "X-Forwarded-For", strings.ReplaceAll(b, "\x1b", ""))
		c.do("BREW", "/v1/session", nil)
	}
	c := w.stranger()
	c.header.Set("User-Agent", "Mozilla\u2028\u202e fake")
	c.email = "ada@example.com"
	c.start("/v1/signup", "session", "cookie", 201)
	if ua := c.get("/v1/sessions").want(200).body["sessions"].([]any)[0].(m)["user_agent"].(string); !strings.Contains(ua, "Mozilla") {
		t.Errorf("user agent = %q", ua)
	}
	for line := range strings.Lines(w.logs.String()) {
		var v m
		if json.Unmarshal([]byte(line), &v) != nil {
			t.Errorf("a line of the log is no JSON object: %q", line)
		}
		if strings.ContainsAny(line, "\x1b\r\u2028\u2029") {
			t.Errorf("a line of the log holds a control character: %q", line)
		}
		if bytes.Contains([]byte(line), []byte("BREW")) {
			t.Errorf("a method that a client made up is in the log: %q", line)
		}
	}
}
