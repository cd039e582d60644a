package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/move"
	"github.com/handstamp/handstamp/store/sqlite"
	"github.com/handstamp/handstamp/store/transfer"
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
	sessions := func(out string) int64 {
		var report movedReport
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatal(err)
		}
		for _, table := range report.Tables {
			if table.Name == transfer.Sessions().Name {
				return table.Rows
			}
		}
		return 0
	}
	would := s.must("move", "--from", "sqlite:new.db", "--from-sessions", url, "--to", "sqlite:third.db", "--check", "--json")
	if n := sessions(would); n < 4 {
		t.Errorf("--check says that %d sessions would be moved out of Redis", n)
	}
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

// readyz is what the server says of itself to operators.
func (s *site) readyz(t *testing.T) string {
	t.Helper()
	res, err := http.Get("http://" + s.ops + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
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
	if got := s.readyz(t); !strings.Contains(got, "it was moved by handstamp move") || strings.Contains(got, "fault-postgres") || strings.Contains(got, "127.0.0.1") {
		t.Errorf("/readyz of the server that was left behind says\n%s", got)
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

// moving is what the databases say of a move between two files, seen from outside of the command.
type moving struct {
	t    testing.TB
	from *sqlite.Transfer
	to   string
}

func (s *site) moving(to string) moving {
	s.t.Helper()
	from, err := sqlite.OpenTransfer(s.t.Context(), filepath.Join(s.dir, "handstamp-data", "handstamp.db"), false)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = from.Close() })
	return moving{t: s.t, from: from, to: to}
}

func (m moving) source() transfer.Mark {
	m.t.Helper()
	k, err := m.from.Mark(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return k
}

// target asks the target something, if there is one that can answer.
func (m moving) target(ask func(ctx context.Context, to *sqlite.Transfer) error) {
	m.t.Helper()
	to, err := sqlite.OpenTransfer(m.t.Context(), m.to, false)
	if err != nil {
		return // the command has not made it yet
	}
	if err := errors.Join(ask(m.t.Context(), to), to.Close()); err != nil {
		m.t.Fatal(err)
	}
}

// phase is the target's; open where there is none.
func (m moving) phase() transfer.Phase {
	m.t.Helper()
	var k transfer.Mark
	m.target(func(ctx context.Context, to *sqlite.Transfer) (err error) {
		k, err = to.Mark(ctx)
		return err
	})
	return k.Phase
}

// first is the first row of a table of the source, nil if there is none.
func (m moving) first(table transfer.Table) transfer.Row {
	m.t.Helper()
	page, err := m.from.Page(m.t.Context(), table, nil, 1)
	if err != nil {
		m.t.Fatal(err)
	}
	if len(page) == 0 {
		return nil
	}
	return page[0]
}

// begun says whether the target has the first row of a table. A target that was just made has rows of its own.
func (m moving) begun(table transfer.Table) bool {
	m.t.Helper()
	var page []transfer.Row
	m.target(func(ctx context.Context, to *sqlite.Transfer) (err error) {
		page, err = to.Page(ctx, table, nil, 1)
		return err
	})
	return len(page) > 0 && transfer.Equal(page[0], m.first(table))
}

// killed runs the command and kills it as soon as the databases say that it has come to a point.
func (s *site) killed(point string, reached func() bool) {
	s.t.Helper()
	cmd := exec.Command(s.binary, "move", "--from", "sqlite", "--to", "sqlite:new.db")
	var out output
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	defer func() {
		_ = cmd.Process.Kill()
		<-exited
	}()
	for !reached() {
		select {
		case <-exited:
			if reached() {
				return
			}
			s.t.Fatalf("the move ended by itself before %s: %s\n%s", point, cmd.ProcessState, &out)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestMove_killed kills the command at one point after the other while it works on a database that is used, and each time
// runs it again.
func TestMove_killed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.start()
	g := s.signUp("ada@example.com", "hybrid")
	s.importSome(4000) // several pages of most tables, so that a kill meets the copying also where this test is slow
	m := s.moving(filepath.Join(s.dir, "new.db"))
	s.killed("its start", func() bool { return true })
	s.killed("a target", func() bool {
		_, err := os.Stat(m.to)
		return err == nil
	})
	s.killed("the mark of the target", func() bool { return m.phase() == transfer.Filling })
	s.killed("the mark of the source", func() bool { return m.source().Phase == transfer.Tracked })
	tables := slices.DeleteFunc(transfer.Tables(), func(table transfer.Table) bool { return m.first(table) == nil })
	one, last := tables[0], tables[len(tables)-1]
	s.killedWhile(m, moment{"rows of " + one.Name, func() bool { return m.begun(one) }, func() bool { return !m.begun(last) }})
	for _, table := range tables {
		if !m.begun(table) {
			s.killed("rows of "+table.Name, func() bool { return m.begun(table) })
		}
	}
	tracked := func() bool { return m.source().Phase == transfer.Tracked }
	fenced := func() bool { return m.source().Phase == transfer.Fenced }
	moved := func() bool { return m.source().Phase == transfer.Moved }

	fence := moment{"the fence", func() bool { return fenced() || moved() }, fenced}
	s.killedWhile(m, fence)
	if status := s.logIn("ada@example.com"); status != http.StatusServiceUnavailable {
		t.Errorf("log-in under the fence of a move that was killed = %d", status)
	}
	if got := s.check(g.Access); got != http.StatusOK {
		t.Errorf("check under the fence of a move that was killed = %d", got)
	}
	s.killedWhile(m, fence, moment{"the run after that", func() bool { return tracked() || moved() }, tracked})
	if status := s.logIn("ada@example.com"); status != http.StatusOK {
		t.Errorf("log-in after the run after that was killed as well = %d", status)
	}
	s.killedWhile(m, moment{"the closing", moved, func() bool { return m.phase() == transfer.Filling }})
	closed := m.source().Run
	s.killed("the run after the closing", func() bool { return m.source().Run != closed })

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
	if status := s.logIn("ada@example.com"); status != http.StatusOK {
		t.Errorf("log-in after the move = %d", status)
	}
}

// moment is a point at which the kill must come while something is still so, which it is for a moment only.
type moment struct {
	point          string
	reached, still func() bool
}

// killedWhile kills one run after the other, each in its moment. If a run was quicker than this test, everything is taken
// back and begun again from nothing.
func (s *site) killedWhile(m moving, moments ...moment) {
	s.t.Helper()
	for range 100 {
		missed := slices.IndexFunc(moments, func(one moment) bool {
			s.killed(one.point, one.reached)
			return !one.still()
		})
		if missed < 0 {
			return
		}
		s.t.Logf("missed %s", moments[missed].point)
		s.must("move", "--from", "sqlite", "--to", "sqlite:new.db", "--undo")
		for _, more := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(m.to + more); err != nil && !errors.Is(err, os.ErrNotExist) {
				s.t.Fatal(err)
			}
		}
	}
	s.t.Fatalf("no kill hit %s", moments[len(moments)-1].point)
}

// importSome imports so many users.
func (s *site) importSome(users int) {
	s.t.Helper()
	var lines strings.Builder
	for n := range users {
		fmt.Fprintf(&lines, "{\"email\":\"user-%d@example.org\"}\n", n)
	}
	s.write("users.jsonl", lines.String())
	s.must("user", "import", "users.jsonl")
}

// logIn says how a log-in is answered.
func (s *site) logIn(email string) int {
	status, _ := s.call("POST", "/v1/login", "", map[string]any{"email": email, "password": goodPassword})
	return status
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
