package login_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/login/logintest"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/sqlite"
)

// entries are those of a kind, newest first.
func entries(t testing.TB, s handstamp.Store, k audit.Kind) []audit.Event {
	t.Helper()
	log, ok := s.(interface{ Audit() audit.Log })
	if !ok {
		t.Fatal("the store has no audit log")
	}
	list, err := log.Audit().List(t.Context(), audit.Filter{Kind: k, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// throttled checks how often delays began, and returns the newest entry about that.
func (f *fake) throttled(t testing.TB, want int) audit.Event {
	t.Helper()
	list := entries(t, f.w.Store, audit.LoginThrottled)
	if len(list) != want {
		t.Fatalf("%d entries, want %d: %+v", len(list), want, list)
	}
	if want == 0 {
		return audit.Event{}
	}
	return list[0]
}

// TestL1_LockoutIsRecorded: that delays begin is in the audit log, with whom it is about, from where, and which limit it is;
// never with what was typed.
func TestL1_LockoutIsRecorded(t *testing.T) {
	const full = logintest.MaxFailures
	const home = "192.0.2.1"
	client := func(ip string) handstamp.StartOptions {
		return handstamp.StartOptions{Client: handstamp.Client{IP: ip, UserAgent: "Agent/1", RequestID: "req-1"}}
	}
	try := func(f *fake, t testing.TB, who logintest.Who, typed, ip string) {
		a := f.attempt(who, "wrong")
		a.Account += typed
		_, _ = f.w.Flow.Login(t.Context(), a, client(ip))
	}
	for name, tc := range map[string]struct {
		before func(f *fake, t testing.TB) // one short of it
		last   func(f *fake, t testing.TB)
		limit  string
		owner  bool
		ip     string
		had    int
	}{
		"an account": {
			func(f *fake, t testing.TB) {
				for i := range full - 1 {
					try(f, t, logintest.Owner, "", network(i))
				}
			},
			func(f *fake, t testing.TB) { try(f, t, logintest.Owner, "", home) }, "account", true, home, 0,
		},
		"an account that does not exist": {
			func(f *fake, t testing.TB) {
				for i := range full - 1 {
					try(f, t, logintest.Stranger, "hunter2", network(i))
				}
			},
			func(f *fake, t testing.TB) { try(f, t, logintest.Stranger, "hunter2", home) }, "account", false, home, 0,
		},
		"a network": {
			func(f *fake, t testing.TB) {
				for i := range full - 1 {
					try(f, t, logintest.Stranger, fmt.Sprint("hunter2", i), home)
				}
			},
			func(f *fake, t testing.TB) { try(f, t, logintest.Stranger, "hunter2", home) }, "network", false, home, 0,
		},
		"both": {
			func(f *fake, t testing.TB) {
				for range full - 1 {
					try(f, t, logintest.Owner, "", home)
				}
			},
			func(f *fake, t testing.TB) { try(f, t, logintest.Owner, "", home) }, "account network", true, home, 0,
		},
		"a network that is known": {
			func(f *fake, t testing.TB) {
				f.welcome(t, "owner", home, nil)
				for range full - 1 {
					try(f, t, logintest.Owner, "", home)
				}
			},
			func(f *fake, t testing.TB) { try(f, t, logintest.Owner, "", home) }, "known_network", true, home, 0,
		},
		"what is let through beside it": {
			func(f *fake, t testing.TB) {
				for i := range full + 29 {
					try(f, t, logintest.Owner, "", network(i))
				}
			},
			func(f *fake, t testing.TB) { try(f, t, logintest.Owner, "", home) }, "aside", true, home, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, logintest.NewWorld(t))
			tc.before(f, t)
			f.throttled(t, tc.had)
			f.w.Advance(time.Millisecond) // entries of one moment have no order
			checks := f.checks.Load()
			tc.last(f, t)
			if f.checks.Load() != checks+1 {
				t.Error("the attempt that uses the limit up was not checked")
			}
			got := f.throttled(t, tc.had+1)
			if tc.owner != (got.Target == string(f.owner)) || !tc.owner && got.Target != "" {
				t.Errorf("Target = %q", got.Target)
			}
			if got.IP != tc.ip || got.UserAgent != "Agent/1" || got.RequestID != "req-1" || got.Actor != "" || got.Detail["limit"] != tc.limit || got.Detail["method"] != "fake" {
				t.Errorf("the entry = %+v, want the limit %q", got, tc.limit)
			}
			if strings.Contains(fmt.Sprintf("%+v", got), "hunter2") {
				t.Errorf("the entry tells what was typed: %+v", got)
			}
		})
	}
}

// TestL1_OneEntryForALockout: whoever goes on guessing writes nothing more, neither refused nor at the end of each delay.
// Only when the limit was whole again is there another one.
func TestL1_OneEntryForALockout(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	guess := func(n int) {
		for range n {
			_, _ = f.login(t.Context(), logintest.Owner, "wrong", "192.0.2.1")
		}
	}
	guess(200)
	f.throttled(t, 1)
	for range 300 { // five hours
		f.w.Advance(time.Minute)
		guess(5)
	}
	f.throttled(t, 1)
	f.w.Advance(time.Hour)
	guess(logintest.MaxFailures - 1)
	f.throttled(t, 1)
	guess(1)
	f.throttled(t, 2)
	f.w.Advance(time.Minute)
	if _, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	f.throttled(t, 2)
	f.w.Advance(90 * 24 * time.Hour) // the network is not known any more, and what its counter had is long over
	guess(1)
	f.throttled(t, 2)
}

// TestL1_LockoutAfterALockout that was forgotten is another one, also where the first attempt brings it about.
func TestL1_LockoutAfterALockout(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	var err error
	if f.w.Flow, err = login.New(f.w.Auth, f.w.Store, login.Options{MaxFailures: 1}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		for range 5 {
			_, _ = f.login(t.Context(), logintest.Owner, "wrong", "192.0.2.1")
			f.w.Advance(time.Minute)
		}
		f.throttled(t, i+1)
		f.w.Advance(time.Hour)
	}
}

// TestL1_OneEntryForALockoutOfTwoProcesses, whichever of them counts.
func TestL1_OneEntryForALockoutOfTwoProcesses(t *testing.T) {
	type backend = interface {
		handstamp.Store
		login.Store
	}
	for name, open := range map[string]func(t *testing.T) func(int) backend{
		"memory": func(*testing.T) func(int) backend { s := memory.New(); return func(int) backend { return s } },
		"sqlite": func(t *testing.T) func(int) backend {
			file := filepath.Join(t.TempDir(), "test.db")
			return func(int) backend {
				s, err := sqlite.Open(t.Context(), file, sqlite.Options{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Close() })
				return s
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var store backend
			make := open(t)
			f := newFleet(t, 10, func(i int) interface {
				handstamp.Store
				login.Store
			} {
				store = make(i)
				return store
			})
			f.storm(t, 100, func(int) string { return "owner" })
			if got := entries(t, store, audit.LoginThrottled); len(got) != 1 || f.checks.Load() != 10 {
				t.Errorf("%d entries after %d checks, want one after ten", len(got), f.checks.Load())
			}
		})
	}
}

// TestL1_LockoutInAnOutage: what a process counts by itself is in no log; when the store is told of it delays begin there,
// and that is.
func TestL1_LockoutInAnOutage(t *testing.T) {
	f, o := newOutage(t)
	for range 200 {
		_ = f.at("x", "192.0.2.1")
		f.w.Advance(time.Second)
	}
	f.throttled(t, 0)
	o.down.Store(false)
	if wait := refusedFor(t, f.at("x", "192.0.2.1")); wait == 0 {
		t.Error("the attempt is let through")
	}
	if got := f.throttled(t, 1); got.Detail["limit"] != "account network" {
		t.Errorf("the entry = %+v", got)
	}
	_ = f.at("x", "192.0.2.1")
	f.throttled(t, 1)
}

// undoing is a backend whose units of logins are undone when they wrote an entry, as by a commit that fails.
type undoing struct {
	login.Store
	on atomic.Bool
}

func (s *undoing) LoginWork() handstamp.UnitOfWork[login.Tx] {
	return undoingWork{s.Store.LoginWork(), s}
}

type undoingWork struct {
	handstamp.UnitOfWork[login.Tx]
	s *undoing
}

func (w undoingWork) Do(ctx context.Context, fn func(login.Tx) error) error {
	return w.UnitOfWork.Do(ctx, func(tx login.Tx) error {
		r := &recorder{Tx: tx}
		if err := fn(r); err != nil {
			return err
		}
		if r.wrote && w.s.on.Load() {
			return errStore
		}
		return nil
	})
}

type recorder struct {
	login.Tx
	wrote bool
}

func (r *recorder) Record(ctx context.Context, e audit.Event) error {
	r.wrote = true
	return r.Tx.Record(ctx, e)
}

// TestL1_LockoutAndEntryAreOne: there is no entry without the delays and there are no delays without the entry. While they
// cannot be written together, or nobody can say whom it is about, this process counts by itself.
func TestL1_LockoutAndEntryAreOne(t *testing.T) {
	failures := func(t *testing.T, f *fake) (n int) {
		err := f.w.Store.LoginWork().Do(t.Context(), func(tx login.Tx) error {
			c, err := tx.Counter(t.Context(), f.w.Flow.BudgetOf("owner"))
			n = c.Failures
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for name, lost := range map[string]bool{"the unit is undone": false, "the account cannot be looked for": true} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, logintest.NewWorld(t))
			s := &undoing{Store: f.w.Store}
			var err error
			if f.w.Flow, err = login.New(f.w.Auth, s, login.Options{MaxFailures: logintest.MaxFailures}); err != nil {
				t.Fatal(err)
			}
			for range logintest.MaxFailures - 1 {
				_, _ = f.login(t.Context(), logintest.Owner, "wrong", "192.0.2.1")
			}
			a := f.attempt(logintest.Owner, "wrong")
			if lost {
				a.Find = func(context.Context) (handstamp.UserID, error) { return "", errStore }
			}
			s.on.Store(!lost)
			_, _ = f.w.Flow.Login(t.Context(), a, handstamp.StartOptions{Client: handstamp.Client{IP: "192.0.2.1"}})
			f.throttled(t, 0)
			if n := failures(t, f); n != logintest.MaxFailures-1 || f.w.Flow.Throttle().Passed != 1 {
				t.Errorf("%d counted in the store, %+v here", n, f.w.Flow.Throttle())
			}
			s.on.Store(false)
			for range 3 {
				_, _ = f.login(t.Context(), logintest.Owner, "wrong", "192.0.2.1")
			}
			if got := f.throttled(t, 1); got.Target != string(f.owner) {
				t.Errorf("the entry = %+v", got)
			}
			if n := failures(t, f); n != logintest.MaxFailures {
				t.Errorf("%d counted in the store", n)
			}
		})
	}
}

// TestP9_LockoutCostsTheSame for accounts that exist and for those that do not: as many units, as many look-ups; and nothing
// more than without it but when it begins.
func TestP9_LockoutCostsTheSame(t *testing.T) {
	costs := map[logintest.Who][]string{}
	for _, who := range []logintest.Who{logintest.Owner, logintest.Stranger} {
		f, o := newOutage(t)
		o.down.Store(false)
		for range logintest.MaxFailures + 2 {
			o.units.Store(0)
			finds := 0
			a := f.attempt(who, "wrong")
			find := a.Find
			a.Find = func(ctx context.Context) (handstamp.UserID, error) { finds++; return find(ctx) }
			_, _ = f.w.Flow.Login(t.Context(), a, handstamp.StartOptions{Client: handstamp.Client{IP: "192.0.2.1"}})
			costs[who] = append(costs[who], fmt.Sprintf("%d units, %d look-ups", o.units.Load(), finds))
		}
	}
	const free, begins, refused = "1 units, 1 look-ups", "2 units, 2 look-ups", "1 units, 0 look-ups"
	for who, got := range costs {
		if want := []string{free, free, free, begins, refused, refused}; strings.Join(got, "; ") != strings.Join(want, "; ") {
			t.Errorf("account %d: %q, want %q", who, got, want)
		}
	}
}

// TestDeletedUsersLeaveNoAddress in the audit log, whoever deletes them, and however that happens while they log in; what an
// administrator did to them stays as it is.
func TestDeletedUsersLeaveNoAddress(t *testing.T) {
	const admin = "usr_admin"
	for name, by := range map[string]handstamp.Client{
		"by themselves":       {Actor: "self", IP: "192.0.2.1", UserAgent: "Agent/1"},
		"by an administrator": {Actor: admin, IP: "203.0.113.1", UserAgent: "Admin/1"},
		"on the command line": {Actor: "cli"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, logintest.NewWorld(t))
			if by.Actor == "self" {
				by.Actor = string(f.owner)
			}
			if _, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.1"); err != nil {
				t.Fatal(err)
			}
			if _, err := f.w.Accounts.SetRoles(t.Context(), f.owner, []string{"editor"}, handstamp.EndOptions{Client: handstamp.Client{Actor: admin, IP: "203.0.113.1"}}); err != nil {
				t.Fatal(err)
			}
			for i := range logintest.MaxFailures {
				_, _ = f.login(t.Context(), logintest.Owner, "wrong", network(i))
			}
			f.throttled(t, 1)
			f.w.Advance(time.Minute)
			f.hold(func() {
				if _, err := f.w.Accounts.Delete(t.Context(), f.owner, handstamp.EndOptions{Client: by}); err != nil {
					t.Error(err)
				}
			})
			if _, err := f.login(t.Context(), logintest.Owner, "wrong", "192.0.2.99"); !errors.Is(err, login.ErrInvalidCredentials) {
				t.Fatal(err)
			}
			list, err := f.w.Store.Audit().List(t.Context(), audit.Filter{User: f.owner, Limit: 1000})
			if err != nil || len(list) != logintest.MaxFailures+6 { // created, login, roles, throttled, deleted, the last one
				t.Fatalf("%d entries, %v", len(list), err)
			}
			for _, e := range list {
				if theirs := e.Actor != admin; theirs != (e.IP == "" && e.UserAgent == "") {
					t.Errorf("%s by %q of %s: IP %q, UserAgent %q", e.Kind, e.Actor, e.Target, e.IP, e.UserAgent)
				}
				if e.ID == "" || e.At.IsZero() {
					t.Errorf("%s has no id or no time", e.Kind)
				}
			}
		})
	}
}
