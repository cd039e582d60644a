package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// From nothing: no configuration file, no secret, no database.
func TestServe_from_nothing_to_logged_out(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	took := s.start()
	t.Logf("first answer after %v", took)
	for _, mode := range []string{"session", "token", "hybrid"} {
		g := s.signUp(mode+"@example.com", mode)
		if got := s.check(g.Access); got != http.StatusOK {
			t.Errorf("%s: check of a new session = %d", mode, got)
		}
		status, login := s.call("POST", "/v1/login", "", map[string]any{"email": mode + "@example.com", "password": goodPassword, "mode": mode, "transport": "bearer"})
		if status != http.StatusOK {
			t.Fatalf("%s: login = %d", mode, status)
		}
		if status, _ := s.call("POST", "/v1/logout", login.Access, nil); status != http.StatusNoContent {
			t.Errorf("%s: logout = %d", mode, status)
		}
		if got := s.check(login.Access); got != http.StatusUnauthorized {
			t.Errorf("%s: check after logout = %d", mode, got)
		}
		if got := s.check(g.Access); got != http.StatusOK {
			t.Errorf("%s: the other session after logout = %d", mode, got)
		}
	}
	for _, path := range []string{"/readyz", "/metrics", "/healthz"} {
		r, err := http.Get("http://" + s.ops + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s = %d", path, r.StatusCode)
		}
	}
	if err := s.stop(); err != nil {
		t.Errorf("stop: %v\n%s", err, s.stderr)
	}
	if out := s.stdout.String(); !strings.Contains(out, "http://"+s.addr+"/openapi.json") || !strings.Contains(out, "/v1/signup") {
		t.Errorf("the server does not say where to go next:\n%s", out)
	}
}

// What a command ends is over in a server that runs, within a second; the aim is 250 ms for 99 of 100.
func TestCommand_reaches_a_running_server(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.start()
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for _, mode := range []string{"session", "token", "hybrid"} {
		var took []time.Duration
		for n := range rounds {
			g := s.signUp(fmt.Sprintf("%s-%d@example.com", mode, n), mode)
			if got := s.check(g.Access); got != http.StatusOK {
				t.Fatalf("check = %d", got)
			}
			args := []string{"session", "revoke", g.Session.ID}
			if n%2 == 1 {
				args = []string{"session", "revoke", "--user", g.User.ID}
			}
			if n%3 == 2 {
				args = append(args, "--wait")
			}
			s.must(args...)
			if n%3 == 2 { // no check that begins after --wait returned says yes, not even the first
				if got := s.check(g.Access); got != http.StatusUnauthorized {
					t.Errorf("%s: check = %d after --wait returned", mode, got)
				}
			}
			wait := within(t, time.Second, "revoked "+mode, func() bool { return s.check(g.Access) == http.StatusUnauthorized })
			took = append(took, wait)
		}
		slices.Sort(took)
		t.Logf("%s: after the command returned: median %v, worst of %d %v", mode, took[len(took)/2], len(took), took[len(took)-1])
	}
}

// Roles and users that a command changes are changed in a server that runs.
func TestCommand_changes_users_of_a_running_server(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.start()
	g := s.signUp("ada@example.com", "session")
	allowed := func() int {
		status, _ := s.call("GET", "/v1/check?permission=posts:write", g.Access, nil)
		return status
	}
	if got := allowed(); got != http.StatusForbidden {
		t.Fatalf("before the role: %d", got)
	}
	s.must("role", "set", "editor", "posts:write")
	s.must("user", "roles", "ada@example.com", "--add", "editor")
	within(t, time.Second, "the role", func() bool { return allowed() == http.StatusOK })
	s.must("role", "delete", "editor")
	within(t, time.Second, "the role's end", func() bool { return allowed() == http.StatusForbidden })
	key := strings.TrimSpace(s.must("service-key", "add", "robot", "posts:read"))
	if got := s.check(key); got != http.StatusOK {
		t.Errorf("a new service key: %d", got)
	}
	s.must("user", "disable", "ada@example.com")
	within(t, time.Second, "disabled", func() bool { return s.check(g.Access) == http.StatusUnauthorized })
	if _, out, _ := s.run(g.Access, "inspect"); !strings.Contains(out, `("disabled")`) || !strings.Contains(out, "by event") {
		t.Errorf("inspect after disabling:\n%s", out)
	}
}

// SIGTERM under load: the listener closes, what is under way is answered, and the exit code is 0.
func TestF3_graceful_stop_under_load(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", "HANDSTAMP_PASSWORD_MEMORY_KIB=19456", "HANDSTAMP_PASSWORD_ITERATIONS=2")
	s.start()
	g := s.signUp("ada@example.com", "session")
	var answered, broken atomic.Int64
	var crowd sync.WaitGroup
	stop := make(chan struct{})
	for n := range 8 {
		crowd.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: n%2 == 0}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, _ := http.NewRequest("GET", "http://"+s.addr+"/v1/check", nil)
				r.Header.Set("Authorization", "Bearer "+g.Access)
				answer, err := client.Do(r)
				switch {
				case err == nil:
					if answer.StatusCode != http.StatusOK {
						t.Errorf("answer = %d", answer.StatusCode)
					}
					_ = answer.Body.Close()
					answered.Add(1)
				case strings.Contains(err.Error(), "connection refused"):
					return // the listener is closed: a proxy asks another server
				default:
					broken.Add(1) // a connection that was idle, or not accepted yet, at that moment: nothing was answered by it
					return
				}
			}
		})
	}
	slow := make(chan int, 1)
	go func() {
		status, _ := s.call("POST", "/v1/login", "", map[string]any{"email": "ada@example.com", "password": goodPassword, "transport": "bearer"})
		slow <- status
	}()
	within(t, 5*time.Second, "load", func() bool { return answered.Load() > 200 })
	if err := s.stop(); err != nil {
		t.Errorf("exit: %v\n%s", err, s.stderr)
	}
	close(stop)
	crowd.Wait()
	if got := <-slow; got != http.StatusOK {
		t.Errorf("the login that was under way = %d", got)
	}
	t.Logf("%d answered, %d connections ended without one", answered.Load(), broken.Load())
}

// A second signal ends the process although a request is still under way.
func TestServe_second_signal_ends_at_once(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.start()
	conn := halfRequest(t, s.addr)
	defer func() { _ = conn.Close() }()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "the first signal", func() bool { return strings.Contains(s.stderr.String(), "stopping") })
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.exited:
		s.cmd = nil
	case <-time.After(5 * time.Second):
		t.Error("still running after a second signal")
	}
}

// What is in use is said in one line, and does no harm to who uses it.
func TestServe_port_in_use(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.start()
	code, _, stderr := s.run("", "serve")
	line := stderr[strings.LastIndex(strings.TrimSpace(stderr), "\n")+1:]
	if code != exitFailure || !strings.Contains(line, "address already in use: stop the program that uses the address") {
		t.Errorf("exit %d: %s", code, line)
	}
}

// A signing key that a command revokes takes all its tokens along; the next login gets one that is good.
func TestCommand_revokes_a_key_of_a_running_server(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.start()
	g, reference := s.signUp("ada@example.com", "hybrid"), s.signUp("bob@example.com", "session")
	var keys struct{ Keys []struct{ ID, State string } }
	if err := json.Unmarshal([]byte(s.must("key", "list", "--json")), &keys); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys.Keys {
		if k.State == "active" {
			s.must("key", "revoke", k.ID, "--reason", "leaked", "--wait")
		}
	}
	if got := s.check(g.Access); got != http.StatusUnauthorized {
		t.Errorf("a token of the revoked key = %d", got)
	}
	if got := s.check(reference.Access); got != http.StatusOK {
		t.Errorf("a session that no key signed = %d", got)
	}
	status, next := s.call("POST", "/v1/refresh", "", map[string]any{"refresh_token": g.Refresh})
	if status != http.StatusOK || s.check(next.Access) != http.StatusOK {
		t.Errorf("refresh = %d %s, its token = %d", status, next.Code, s.check(next.Access))
	}
}

// An unknown id among those that end does not keep what was ended from being waited for and said.
func TestCommand_waits_for_what_was_ended_beside_a_failure(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.start()
	const unknown = "ses_01h2xcejqtf2nbrexx3vqjhp41"
	for n, args := range [][]string{{"--json"}, {}} {
		g := s.signUp(fmt.Sprintf("u%d@example.com", n), "hybrid")
		code, out, errs := s.run("", append([]string{"session", "revoke", unknown, g.Session.ID, "--wait"}, args...)...)
		if got := s.check(g.Access); got != http.StatusUnauthorized {
			t.Errorf("check = %d after --wait returned", got)
		}
		if code != exitFailure || errs != "handstamp: there is no session "+unknown+" (1 other ended): see handstamp session list\n" {
			t.Errorf("exit %d, %q", code, errs)
		}
		if len(args) == 0 && !strings.Contains(out, "1 session ended (event ") || len(args) == 0 && !strings.Contains(out, "applied by 1 of 1 verifiers") {
			t.Errorf("said %q", out)
		}
		var done outcome
		if err := json.Unmarshal([]byte(out), &done); len(args) > 0 && (err != nil || done.Revoked != 1 || done.Applied != "fleet" || done.Event == 0 || done.Verifiers == nil || *done.Verifiers != 1) {
			t.Errorf("%v: said %s", err, out)
		}
	}
	if code, out, _ := s.run("", "session", "revoke", unknown, "--wait", "--json"); code != exitFailure || out != "" {
		t.Errorf("nothing was ended: exit %d, %q", code, out)
	}
}

// Sessions in the server's memory are ended from the command line by user, and are gone after a restart.
func TestServe_sessions_in_memory(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", "HANDSTAMP_SESSIONS=memory")
	s.start()
	a, b := s.signUp("ada@example.com", "session"), s.signUp("bob@example.com", "session")
	s.must("session", "revoke", "--user", "ada@example.com", "--wait")
	if got := s.check(a.Access); got != http.StatusUnauthorized {
		t.Errorf("after the revocation: %d", got)
	}
	if got := s.check(b.Access); got != http.StatusOK {
		t.Errorf("another user's session: %d", got)
	}
	if code, _, errs := s.run("", "session", "revoke", b.Session.ID); code == 0 || !strings.Contains(errs, "sessions is memory") {
		t.Errorf("one session: exit %d, %s", code, errs)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	s.start()
	if got := s.check(b.Access); got != http.StatusUnauthorized {
		t.Errorf("after a restart: %d", got)
	}
	status, _ := s.call("POST", "/v1/login", "", map[string]any{"email": "bob@example.com", "password": goodPassword})
	if status != http.StatusOK {
		t.Errorf("login after a restart: %d", status)
	}
}

// Yesterday's database comes back: what was revoked since would live again, so "restored" ends everything.
func TestF27_restored_backup(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want int
	}{{[]string{"restored"}, http.StatusUnauthorized}, {[]string{"restored", "--keep-sessions"}, http.StatusOK}} {
		s := newSite(t, "")
		s.start()
		g := s.signUp("ada@example.com", "session")
		value := s.signUp("bob@example.com", "token")
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		data, backup := filepath.Join(s.dir, "handstamp-data"), filepath.Join(s.dir, "backup")
		if err := os.CopyFS(backup, os.DirFS(data)); err != nil {
			t.Fatal(err)
		}
		s.start()
		s.must("session", "revoke", g.Session.ID)
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		database := filepath.Join(data, "handstamp.db")
		b, err := os.ReadFile(filepath.Join(backup, "handstamp.db"))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, database, b)
		_ = os.Remove(database + "-wal")
		_ = os.Remove(database + "-shm")
		s.must(c.args...)
		s.start()
		if got := s.check(g.Access); got != c.want {
			t.Errorf("%v: a session that was revoked after the backup = %d, want %d", c.args, got, c.want)
		}
		if got := s.check(value.Access); got != c.want {
			t.Errorf("%v: a value token = %d, want %d", c.args, got, c.want)
		}
		if status, _ := s.call("POST", "/v1/login", "", map[string]any{"email": "ada@example.com", "password": goodPassword}); status != http.StatusOK {
			t.Errorf("%v: login = %d", c.args, status)
		}
		s.kill()
	}
}

// What must not be done beside a server is refused in one line, and changes nothing; when the server is gone it works,
// also if it went without a word.
func TestCommand_refused_beside_a_server(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(s *site){
		"stopped": func(s *site) {
			if err := s.stop(); err != nil {
				s.t.Error(err)
			}
		},
		"killed": (*site).kill,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "", "HANDSTAMP_REVOCATION_LEASE=500ms")
			s.start()
			g := s.signUp("ada@example.com", "token")
			for _, c := range []struct {
				args []string
				line string
			}{
				{[]string{"restored"}, "a server uses this database: stop it, then run handstamp restored; nothing was changed"},
				{[]string{"restored", "--keep-sessions"}, "a server uses this database: stop it, then run handstamp restored; nothing was changed"},
				{[]string{"migrate", "--set-lease", "--revocation-lease", "3s"}, "a server uses this database: stop it, then set the lease; nothing was changed"},
			} {
				code, out, errs := s.run("", c.args...)
				if code != exitFailure || errs != "handstamp: "+c.line+"\n" {
					t.Errorf("%v: exit %d\n%s%s", c.args, code, out, errs)
				}
			}
			if got := s.check(g.Access); got != http.StatusOK {
				t.Errorf("check after the refusals = %d", got)
			}
			end(s)
			if out := s.must("restored"); !strings.Contains(out, "everybody has to log in again") {
				t.Error(out)
			}
			s.start()
			if got := s.check(g.Access); got != http.StatusUnauthorized {
				t.Errorf("check after restored = %d", got)
			}
		})
	}
}
