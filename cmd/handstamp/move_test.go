package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/move"
)

// TestMove_between_files moves a server that runs: whoever was logged in stays so, whoever was logged out stays so, and
// the server that is left behind knows nothing.
func TestMove_between_files(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.moves(t, "sqlite:"+filepath.Join(s.dir, "new.db"))
}

func TestMove_to_postgres(t *testing.T) {
	t.Parallel()
	p := fault.SharedPostgres(t)
	newSite(t, "", "HANDSTAMP_ACCEPT_LOSS=volatile").moves(t, p.DSN(p.CreateDB(t))) // the server of tests does not sync
}

func TestMove_to_redis(t *testing.T) {
	t.Parallel()
	r := fault.SharedRedis(t)
	s := newSite(t, "", "HANDSTAMP_ACCEPT_LOSS=volatile")
	url := r.URLAt(r.Addr(), r.NextDB())
	s.moves(t, "sqlite:"+filepath.Join(s.dir, "new.db"), "--to-sessions", url)
	// And out of Redis again, under a server that runs.
	g := s.signUp("more@example.com", "hybrid")
	s.must("move", "--from", "sqlite:new.db", "--from-sessions", url, "--to", "sqlite:third.db")
	if got := s.check(g.Access); got != http.StatusServiceUnavailable {
		t.Errorf("the server that was left behind answers a check with %d", got)
	}
	s.kill()
	s.args = []string{"--database", "sqlite:third.db"}
	s.start()
	if got := s.check(g.Access); got != http.StatusOK {
		t.Errorf("check after the second move = %d", got)
	}
	if status, _ := s.call("POST", "/v1/refresh", "", map[string]any{"refresh_token": g.Refresh}); status != http.StatusOK {
		t.Errorf("refresh after the second move = %d", status)
	}
}

// moves moves the installation somewhere, and looks what users and operators see before, during and after.
func (s *site) moves(t *testing.T, to string, more ...string) {
	t.Helper()
	s.start()
	modes := []string{"session", "token", "hybrid"}
	live, gone := map[string]grant{}, map[string]grant{}
	for _, mode := range modes {
		live[mode], gone[mode] = s.signUp(mode+"@example.com", mode), s.signUp("gone-"+mode+"@example.com", mode)
		if status, _ := s.call("POST", "/v1/logout", gone[mode].Access, nil); status != http.StatusNoContent {
			t.Fatalf("logout = %d", status)
		}
	}
	if out := s.must("move", "--from", "sqlite", "--to", to, "--check"); !strings.Contains(out, "can be moved to ") {
		t.Errorf("--check says\n%s", out)
	}
	var report movedReport
	if err := json.Unmarshal([]byte(s.must(append([]string{"move", "--from", "sqlite", "--to", to, "--json"}, more...)...)), &report); err != nil {
		t.Fatal(err)
	}
	t.Logf("paused for %d ms, head %d, %v", report.PausedMS, report.Head, report.Tables)
	for _, mode := range modes {
		if got := s.check(live[mode].Access); got != http.StatusServiceUnavailable {
			t.Errorf("%s: the server that was left behind answers a check with %d", mode, got)
		}
	}
	if status, _ := s.call("POST", "/v1/login", "", map[string]any{"email": "token@example.com", "password": goodPassword}); status != http.StatusServiceUnavailable {
		t.Errorf("the server that was left behind answers a log-in with %d", status)
	}
	if code, _, errs := s.run("", "user", "list"); code != exitFailure || !strings.Contains(errs, "it was moved to ") || strings.Contains(errs, "fault-postgres") {
		t.Errorf("a command on the old database = %d\n%s", code, errs)
	}
	old := *s
	defer old.kill()
	s.cmd, s.addr, s.ops = nil, freeAddr(t), freeAddr(t)
	s.env = append(s.env, "HANDSTAMP_ADDR="+s.addr, "HANDSTAMP_OPS_ADDR="+s.ops)
	s.args = []string{"--database", to}
	if len(more) > 0 {
		s.args = append(s.args, "--sessions", more[1])
	}
	s.start()
	for _, mode := range modes {
		if got := s.check(live[mode].Access); got != http.StatusOK {
			t.Errorf("%s: a session that was good is answered %d", mode, got)
		}
		if got := s.check(gone[mode].Access); got != http.StatusUnauthorized {
			t.Errorf("%s: a session that was ended is answered %d", mode, got)
		}
		if status, _ := s.call("POST", "/v1/login", "", map[string]any{"email": mode + "@example.com", "password": goodPassword, "mode": mode, "transport": "bearer"}); status != http.StatusOK {
			t.Errorf("%s: log-in = %d", mode, status)
		}
	}
	status, next := s.call("POST", "/v1/refresh", "", map[string]any{"refresh_token": live["hybrid"].Refresh})
	if status != http.StatusOK || next.Refresh == live["hybrid"].Refresh {
		t.Errorf("refresh = %d", status)
	}
	if code, _, errs := s.run("", append([]string{"move", "--from", "sqlite", "--to", to, "--undo"}, more...)...); code != exitFailure || !strings.Contains(errs, "was used since") {
		t.Errorf("--undo after the target was used = %d\n%s", code, errs)
	}
}

// TestMove_killed kills the command again and again while it works on a database that is used.
func TestMove_killed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.start()
	g := s.signUp("ada@example.com", "hybrid")
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	for n := range rounds {
		cmd := exec.Command(s.binary, "move", "--from", "sqlite", "--to", "sqlite:new.db")
		cmd.Dir, cmd.Env = s.dir, s.env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(n*7) * time.Millisecond) // any moment is a good one
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if status, _ := s.call("POST", "/v1/login", "", map[string]any{"email": "ada@example.com", "password": goodPassword}); status != http.StatusOK && status != http.StatusServiceUnavailable {
		t.Errorf("log-in after the kills = %d", status)
	}
	s.must("move", "--from", "sqlite", "--to", "sqlite:new.db")
	if got := s.check(g.Access); got != http.StatusServiceUnavailable {
		t.Errorf("the server that was left behind answers a check with %d", got)
	}
	s.kill()
	s.args = []string{"--database", "sqlite:new.db"}
	s.start()
	if got := s.check(g.Access); got != http.StatusOK {
		t.Errorf("check after the move = %d", got)
	}
}

func TestMoveText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		p    move.Progress
		took time.Duration
		want string
	}{
		{move.Progress{Step: move.Outlasting}, time.Second, "waiting for leases"},
		{move.Progress{Step: move.Copying, Table: "sessions", Rows: 3000, Wrote: 3000}, 2 * time.Second, "copying sessions: 3000 rows  1500 rows/s"},
		{move.Progress{Step: move.Copying, Table: "sessions", Rows: 3000, Wrote: 12}, 0, "copying sessions: 3000 rows, 12 written"},
	} {
		if got := moveText(tt.p, tt.took); got != tt.want {
			t.Errorf("moveText(%+v) = %q, want %q", tt.p, got, tt.want)
		}
	}
	var out bytes.Buffer
	b := newMoveBar(&out, time.Now)
	b.update(move.Progress{Step: move.Copying})
	b.hide()
	if out.Len() != 0 {
		t.Errorf("no terminal was shown %q", out.String())
	}
}
