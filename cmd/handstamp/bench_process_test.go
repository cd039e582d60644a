package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/sqlite"
)

// The document has what was asked for, in names and units that stay, and no secret.
func TestBench_document(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", "HANDSTAMP_MODES=session,hybrid")
	if err := os.Mkdir(filepath.Join(s.dir, "handstamp-data"), 0o700); err != nil {
		t.Fatal(err)
	}
	out := s.must("bench", "--for", "100ms", "--target", "10ms", "--concurrency", "2", "--json")
	if strings.Contains(out, "hs_") || strings.Contains(out, "eyJ") {
		t.Errorf("there is a credential in it:\n%s", out)
	}
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	type numbers struct {
		Concurrency int     `json:"concurrency"`
		Count       int     `json:"count"`
		Errors      *int    `json:"errors"`
		Elapsed     float64 `json:"elapsed_us"`
		Rate        float64 `json:"rate_per_second"`
		P50         float64 `json:"p50_us"`
		P90         float64 `json:"p90_us"`
		P99         float64 `json:"p99_us"`
		Max         float64 `json:"max_us"`
	}
	type costs struct {
		Memory      int `json:"memory_kib"`
		Iterations  int `json:"iterations"`
		Parallelism int `json:"parallelism"`
	}
	type hash struct {
		costs
		AtOnce int `json:"memory_at_once_kib"`
		numbers
	}
	var d struct {
		Version, Go, OS, Arch string
		Cores                 int
		For                   int `json:"for_us"`
		Store                 struct {
			Place, Durability string
			ThrownAway        bool `json:"thrown_away"`
		}
		Measurements []struct {
			Name, Form, Over, From string
			numbers
		}
		Hash struct {
			Configured hash
			Candidates []hash
			Target     int `json:"target_us"`
			Proposal   struct {
				costs
				P50        float64 `json:"p50_us"`
				Within     *bool   `json:"within_target"`
				Configured *bool   `json:"configured"`
			}
		}
		Notes []string
	}
	if err := dec.Decode(&d); err != nil || dec.More() {
		t.Fatalf("%v in\n%s", err, out)
	}
	if d.Version == "" || d.Go == "" || d.OS == "" || d.Arch == "" || d.Cores < 1 || d.For != 100_000 || len(d.Notes) == 0 {
		t.Errorf("the machine is %+v", d)
	}
	if !d.Store.ThrownAway || d.Store.Durability != "durable" || !strings.Contains(d.Store.Place, filepath.Join("handstamp-data", "handstamp-bench-")) {
		t.Errorf("the store is %+v", d.Store)
	}
	good := func(name string, n numbers) {
		if n.Count < 1 || n.Errors == nil || *n.Errors != 0 || n.Rate <= 0 || n.Elapsed <= 0 || n.P50 <= 0 || n.P50 > n.P90 || n.P90 > n.P99 || n.P99 > n.Max || n.Concurrency < 1 {
			t.Errorf("%s: %+v", name, n)
		}
	}
	seen := map[string]int{}
	for _, m := range d.Measurements {
		seen[strings.Join([]string{m.Name, m.Form, m.Over, m.From}, " ")]++
		good(m.Name, m.numbers)
		if m.Concurrency != 2 {
			t.Errorf("%s: %d at once", m.Name, m.Concurrency)
		}
	}
	want := []string{"login_hash  process ", "refresh hybrid process ", "refresh hybrid http "}
	for _, form := range []string{"session", "hybrid"} {
		for _, over := range []string{"process", "http"} {
			want = append(want, "login "+form+" "+over+" ", "check "+form+" "+over+" memory", "check "+form+" "+over+" store")
		}
	}
	for _, w := range want {
		if seen[w] != 1 {
			t.Errorf("%q is measured %d times, of\n%v", w, seen[w], seen)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("%d measurements, want %d: %v", len(seen), len(want), seen)
	}
	good("configured", d.Hash.Configured.numbers)
	for _, c := range d.Hash.Candidates {
		good("candidate", c.numbers)
	}
	if p := d.Hash.Proposal; len(d.Hash.Candidates) < 5 || d.Hash.Target != 10_000 || p.Memory < 7168 || p.P50 <= 0 || p.Within == nil || p.Configured == nil || *p.Configured {
		t.Errorf("the hashes are %+v", d.Hash)
	}
	if left, _ := os.ReadDir(filepath.Join(s.dir, "handstamp-data")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// beginBench runs bench beside the test. ended says how it ended.
func (s *site) beginBench(args ...string) (cmd *exec.Cmd, ended func() (code int, stderr string)) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	s.t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, s.binary, append([]string{"bench"}, args...)...)
	cmd.Dir, cmd.Env = s.dir, s.env
	var errs output
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return cmd, func() (int, string) {
		_ = cmd.Wait()
		return cmd.ProcessState.ExitCode(), errs.String()
	}
}

// accounts counts those in the database; none where it is not there yet.
func (s *site) accounts() (n int) {
	db := s.database()
	defer func() { _ = db.Close() }()
	if db.QueryRow("SELECT count(*) FROM handstamp_users").Scan(&n) != nil {
		return 0
	}
	return n
}

// Ctrl-C ends it with an error, and the store that was made is gone.
func TestBench_interrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	made := func() bool {
		found, err := filepath.Glob(filepath.Join(s.dir, "handstamp-bench-*", "bench.db"))
		return err == nil && len(found) > 0
	}
	cmd, ended := s.beginBench("check", "--for", "10m")
	within(t, 30*time.Second, "the store", made)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code, said := ended(); code != exitFailure || said != "handstamp: it was interrupted\n" {
		t.Errorf("exit %d: %s", code, said)
	}
	if left, err := os.ReadDir(s.dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// With --stores the accounts are gone after a signal, too, and so is the place in the list of verifiers.
func TestBench_stores_interrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.must("migrate")
	cmd, ended := s.beginBench("check", "--stores", "--for", "10m", "--concurrency", "3")
	within(t, 30*time.Second, "the accounts", func() bool { return s.accounts() == 3 })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, said := ended(); code != exitFailure || said != "handstamp: it was interrupted\n" {
		t.Errorf("exit %d: %s", code, said)
	}
	if n := s.accounts(); n != 0 {
		t.Errorf("%d accounts are left", n)
	}
	db := s.database()
	defer func() { _ = db.Close() }()
	var verifiers, keys, settled int
	if err := db.QueryRow(`SELECT (SELECT count(*) FROM handstamp_verifiers), (SELECT count(*) FROM handstamp_keys),
		(SELECT count(*) FROM handstamp_log WHERE lease <> 0)`).Scan(&verifiers, &keys, &settled); err != nil || verifiers+keys+settled != 0 {
		t.Errorf("left behind: %d verifiers, %d keys, settled %d, %v", verifiers, keys, settled, err)
	}
	if got := s.must("session", "list", "--json"); !strings.Contains(got, `"sessions": []`) {
		t.Errorf("left behind: %s", got)
	}
}

// A server that is started on the database ends the measurement, and goes on by itself.
func TestBench_ends_when_a_server_comes(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.must("migrate")
	_, ended := s.beginBench("check", "--stores", "--for", "10m")
	within(t, 30*time.Second, "the accounts", func() bool { return s.accounts() > 0 })
	s.start()
	if code, said := ended(); code != exitFailure || !strings.Contains(said, "another process began to use it, so the measurement was ended") {
		t.Errorf("exit %d: %s", code, said)
	}
	if n := s.accounts(); n != 0 {
		t.Errorf("%d accounts are left", n)
	}
	if got := s.check(s.signUp("ada@example.com", "hybrid").Access); got != 200 {
		t.Errorf("a check at the server = %d", got)
	}
	before := s.accounts()
	if code, _, said := s.run("", "bench", "check", "--stores"); code != exitFailure || !strings.HasSuffix(said, "nothing was changed\n") {
		t.Errorf("beside a server: exit %d: %s", code, said)
	}
	if n := s.accounts(); n != before {
		t.Errorf("%d accounts, %d before", n, before)
	}
}

// Each sign of somebody else's use is enough to refuse a database.
func TestBench_refuses_a_database_in_use(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	register := func(t *testing.T, s *sqlite.Store, name string) {
		t.Helper()
		if _, err := s.Log().Register(t.Context(), revoke.Registration{Verifier: id.NewVerifier(now), RegisteredAt: now, Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		use  func(t *testing.T, s *sqlite.Store)
		says string
	}{
		"nobody's": {func(*testing.T, *sqlite.Store) {}, ""},
		"ours":     {func(t *testing.T, s *sqlite.Store) { t.Helper(); register(t, s, "this") }, ""},
		"followed": {func(t *testing.T, s *sqlite.Store) { t.Helper(); register(t, s, "this"); register(t, s, "that") }, "is used by another process"},
		"settled": {func(t *testing.T, s *sqlite.Store) {
			t.Helper()
			if _, err := s.Settle(t.Context(), handstamp.Settings{Lease: time.Second}); err != nil {
				t.Fatal(err)
			}
		}, "has been used by a server"},
		"sessions of an application's own users": {func(t *testing.T, s *sqlite.Store) {
			t.Helper()
			auth, err := handstamp.Open(t.Context(), guest{s, handstamp.Settings{Lease: time.Second}}, handstamp.Options{
				PublicURL: "http://127.0.0.1:1", Lease: time.Second, Logger: discard(), Now: func() time.Time { return now },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = auth.Close() }()
			p, err := auth.Prove(t.Context(), "their-own-id")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := auth.Start(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}, "holds sessions"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "h.db"), sqlite.Options{Logger: discard()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			c.use(t, s)
			err = unused(t.Context(), s, "h.db", "this")
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// Sessions in a Redis that another database has are left alone: a store that finds them there would drop them.
func TestBench_leaves_others_sessions_in_redis(t *testing.T) {
	t.Parallel()
	r := fault.SharedRedis(t)
	taken, free := r.URLAt(r.Addr(), r.NextDB()), r.URLAt(r.Addr(), r.NextDB())
	s := newSite(t, "", "HANDSTAMP_SESSIONS="+taken, "HANDSTAMP_ACCEPT_LOSS=volatile")
	s.start()
	g := s.signUp("ada@example.com", "session")
	code, out, said := s.run("", "bench", "check", "--stores", "--database", "sqlite:other.db", "--for", "100ms")
	if code != exitFailure || out != "" || !strings.Contains(said, "holds the sessions of another database") {
		t.Errorf("exit %d: %s%s", code, out, said)
	}
	if got := s.must("bench", "refresh", "--stores", "--database", "sqlite:other.db", "--sessions", free, "--for", "100ms"); !strings.Contains(got, "sessions in redis://") {
		t.Error(got)
	}
	s.must("bench", "refresh", "--stores", "--database", "sqlite:other.db", "--sessions", free, "--for", "100ms") // what it left there is its own
	if got := s.check(g.Access); got != 200 {
		t.Errorf("a check at the server = %d", got)
	}
	if list := s.must("session", "list"); !strings.Contains(list, g.Session.ID) {
		t.Errorf("the session is gone: %s", list)
	}
}
