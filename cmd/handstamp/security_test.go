package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A weak secret of each class stops the start with a named reason, before anything is made on the disk; testdata/script
// has the same from the outside.
func TestP15_weak_secret_stops_the_start(t *testing.T) {
	for _, c := range []struct{ name, secret, reason string }{
		{"short", "hunter2", "is too short"},
		{"padded", "hunter2                                 ", "is too short"},
		{"one character", strings.Repeat("x", 40), "is weak: it repeats"},
		{"repeated word", strings.Repeat("secret-", 8), "is weak"},
		{"alphabet", "abcdefghijklmnopqrstuvwxyz0123456789", "is weak: looks like a sequence"},
		{"keyboard", "qwertyuiopasdfghjklzxcvbnm1234567890", "is weak"},
		{"sample", "your-super-secret-key-change-this-in-production", "is weak"},
		{"second of two", "kJ8vQ2mZ7xR4tW9bN3cL6hF1sD5gA0pYqEuIoKjM,short", "item 2 of 2 is too short"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			var errs bytes.Buffer
			code := run([]string{"serve", "--public-url", "https://app.example.com"}, &app{
				stdin: strings.NewReader(""), stdout: &errs, stderr: &errs,
				environ: []string{"HANDSTAMP_SECRET=" + c.secret, "HANDSTAMP_DATA_DIR=" + dir},
			})
			if code != exitUsage || !strings.Contains(errs.String(), c.reason) {
				t.Errorf("exit %d: %s", code, &errs)
			}
			if strings.Contains(errs.String(), c.secret) {
				t.Error("the message holds the secret")
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("something was made on the disk")
			}
		})
	}
}

// Nothing is the same in two installations, and nobody is in a new one.
func TestP15_no_default_accounts_no_default_secrets(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 2 {
		s := newSite(t, "")
		s.start()
		b, err := os.ReadFile(filepath.Join(s.dir, "handstamp-data", "secret"))
		if err != nil {
			t.Fatal(err)
		}
		if len(bytes.TrimSpace(b)) < 43 || seen[string(b)] {
			t.Errorf("a secret of %d bytes, seen before: %v", len(b), seen[string(b)])
		}
		seen[string(b)] = true
		if out := s.must("user", "list", "--json"); !strings.Contains(out, `"users": []`) {
			t.Errorf("a new installation has users: %s", out)
		}
		if out := s.must("service-key", "list", "--json"); !strings.Contains(out, `"service_keys": []`) {
			t.Errorf("a new installation has service keys: %s", out)
		}
		for _, name := range []string{"", "secret", "handstamp.db", "handstamp.db-wal"} {
			info, err := os.Stat(filepath.Join(s.dir, "handstamp-data", name))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("others have access to %q: %v", name, info.Mode())
			}
		}
	}
}

// Canaries through every flow of the binary: no output holds one.
func TestL2_no_secret_in_any_output(t *testing.T) {
	t.Parallel()
	const canary = "Canary-7f3a9c-Password"
	s := newSite(t, "", "HANDSTAMP_LOG_LEVEL=debug", "HANDSTAMP_SECRET=kJ8vQ2mZ7xR4tW9bN3cL6hF1sD5gA0pYqEuIoKjM")
	s.start()
	secrets := []string{canary, "kJ8vQ2mZ7xR4"}
	keep := func(g grant) grant {
		for _, text := range []string{g.Access, g.Refresh} {
			if text != "" {
				secrets = append(secrets, text[len(text)-20:])
			}
		}
		return g
	}
	for _, mode := range []string{"session", "token", "hybrid"} {
		email := mode + "@example.com"
		_, g := s.call("POST", "/v1/signup", "", map[string]any{"email": email, "password": canary, "mode": mode, "transport": "bearer"})
		keep(g)
		_, g = s.call("POST", "/v1/login", "", map[string]any{"email": email, "password": canary, "mode": mode, "transport": "bearer"})
		keep(g)
		if g.Refresh != "" {
			_, g = s.call("POST", "/v1/refresh", "", map[string]any{"refresh_token": g.Refresh})
			keep(g)
		}
		s.call("POST", "/v1/login", "", map[string]any{"email": canary, "password": canary + "-wrong"})
		s.call("POST", "/v1/login", "", map[string]any{"email": email, "password": canary + "-wrong"})
		s.call("GET", "/v1/session?token="+g.Access, g.Access+"x", nil)
		s.call("GET", "/"+g.Access, "", nil)
		_, g = s.call("POST", "/v1/password", g.Access, map[string]any{"current_password": canary, "new_password": canary + "-2"})
		keep(g)
		s.call("POST", "/v1/logout", g.Access, nil)
	}
	var outputs []string
	for _, args := range [][]string{
		{"user", "add", "--email", "eve@example.com", "--password-stdin"}, {"user", "password", "eve@example.com", "--password-stdin"},
		{"user", "list"}, {"user", "show", "eve@example.com", "--json"}, {"session", "list", "--json"}, {"audit", "list", "--json"},
		{"key", "list", "--json"}, {"config"}, {"config", "--json"}, {"service-key", "list"},
	} {
		code, out, errs := s.run(canary, args...)
		if code != 0 {
			t.Errorf("%v: %s", args, errs)
		}
		outputs = append(outputs, out, errs)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	outputs = append(outputs, s.stderr.String())
	for _, secret := range secrets {
		for _, out := range outputs {
			if strings.Contains(out, secret) {
				t.Errorf("an output holds a secret:\n%s", out)
			}
		}
	}
}

// What the log's last line of defence hides.
func TestL2_redact(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{ReplaceAttr: redact}))
	secret := "hs_s_6yUW6DCdO0DcIpg644V4PzcuTmcfbGWPUxy9WvImFtb3SQXHE"
	log.Info("asked for "+secret, "path", "/v1/x?t="+secret, "error", fmt.Errorf("wrap: %w", errors.New(secret)),
		"password", "hunter22", "Authorization", "Basic aHVudGVyMjI=", "token", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
		slog.Group("in", "cookie", "a=hunter22"), "harmless", "https://example.com/they")
	for _, hidden := range []string{"6yUW6", "hunter22", "aHVudGVyMjI", "c2lnbmF0dXJl"} {
		if strings.Contains(out.String(), hidden) {
			t.Errorf("%q is shown: %s", hidden, &out)
		}
	}
	if !strings.Contains(out.String(), "https://example.com/they") {
		t.Errorf("too much is hidden: %s", &out)
	}
}

// What comes from outside cannot begin a line of its own, in a log or in a table, or steer a terminal.
func TestL3_no_line_can_be_forged(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", "HANDSTAMP_LOG_LEVEL=debug")
	s.start()
	evil := "evil\u2028\u0085\u009b\u202e\x7f\x1b[31m{\"level\":\"ERROR\"}"
	body, _ := json.Marshal(map[string]any{"email": "ada@example.com", "password": goodPassword, "transport": "bearer"})
	r, _ := http.NewRequest("POST", "http://"+s.addr+"/v1/signup", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header["User-Agent"] = []string{"evil\u2028\u0085\u009b\u202e{\"level\":\"ERROR\"}"}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		t.Fatalf("sign-up = %d", answer.StatusCode)
	}
	if list := s.must("session", "list", "--json"); !strings.Contains(list, `evil\u2028\u0085\u009b\u202e{`) {
		t.Errorf("session list --json: %s", list)
	}
	s.must("session", "revoke", "--user", "ada@example.com", "--reason", evil+"\nforged")
	for _, args := range [][]string{
		{"session", "list"}, {"session", "list", "--json"}, {"audit", "list"}, {"audit", "list", "--json"}, {"user", "show", "ada@example.com"},
	} {
		out := s.must(args...)
		if strings.ContainsAny(out, "\x1b\x7f\u2028\u0085\u009b\u202e") || strings.Contains(out, "\nforged") {
			t.Errorf("%v: %q", args, out)
		}
	}
	_, _, errs := s.run("", "user", "show", "x@y.example\nforged")
	if strings.Count(errs, "\n") != 1 {
		t.Errorf("an error of more than one line: %q", errs)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(s.stderr.String()) {
		if !json.Valid([]byte(line)) || strings.ContainsAny(line, "\u2028\u0085\u009b\u202e\x7f\x1b") {
			t.Errorf("a line of the log is %q", line)
		}
	}
}

// Operators' pages are on their own listener, and that is on loopback unless somebody says otherwise.
func TestL5_operations_are_not_public(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.start()
	for _, path := range []string{"/metrics", "/readyz", "/debug/pprof/", "/debug/vars"} {
		if status, _ := s.call("GET", path, "", nil); status != http.StatusNotFound {
			t.Errorf("%s on the public listener = %d", path, status)
		}
	}
	for _, path := range []string{"/v1/login", "/v1/admin/users", "/debug/pprof/"} {
		r, err := http.Get("http://" + s.ops + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != http.StatusNotFound {
			t.Errorf("%s on the operators' listener = %d", path, r.StatusCode)
		}
	}
	if status, _ := s.call("TRACE", "/v1/session", "", nil); status != http.StatusMethodNotAllowed {
		t.Errorf("TRACE = %d", status)
	}
	if out := s.must("config", "--ops-addr", "127.0.0.1:8081"); !strings.Contains(out, "127.0.0.1:8081") {
		t.Error(out)
	}
}

// With few files to open, a crowd of idle connections takes neither the database's files nor the place of who asks.
func TestF29_few_files_many_connections(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell to set the limit with")
	}
	s := newSite(t, "")
	script := filepath.Join(t.TempDir(), "handstamp")
	writeFile(t, script, []byte("#!"+sh+"\nulimit -n 256 && exec "+s.binary+" \"$@\"\n"))
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	real := s.binary
	s.binary = script
	s.start()
	s.binary = real
	g := s.signUp("ada@example.com", "session")
	for range 400 {
		c, err := net.DialTimeout("tcp", s.addr, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n", s.addr)
	}
	http.DefaultClient.CloseIdleConnections()
	took := within(t, 10*time.Second, "a check among idle connections", func() bool { return s.check(g.Access) == http.StatusOK })
	t.Logf("answered after %v", took)
	s.must("session", "revoke", g.Session.ID)
	within(t, 5*time.Second, "a revocation among idle connections", func() bool { return s.check(g.Access) == http.StatusUnauthorized })
}
