package login_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/login/logintest"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/sqlite"
)

// outage is a backend whose logins can be down, while what is read from it elsewhere is there.
type outage struct {
	login.Store
	down  atomic.Bool
	err   error
	lost  atomic.Bool // commits, and says that it did not
	slow  time.Duration
	units atomic.Int64
	// failsAfter is how many units of an attempt are good before one fails; 0 is all of them.
	failsAfter atomic.Int64
}

func (o *outage) LoginWork() handstamp.UnitOfWork[login.Tx] {
	return outageWork{o.Store.LoginWork(), o}
}

type outageWork struct {
	handstamp.UnitOfWork[login.Tx]
	o *outage
}

func (w outageWork) Do(ctx context.Context, fn func(login.Tx) error) error {
	w.o.units.Add(1)
	if w.o.slow > 0 {
		select {
		case <-time.After(w.o.slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if n := w.o.failsAfter.Load(); w.o.down.Load() || n > 0 && w.o.units.Load() > n {
		return w.o.err
	}
	err := w.UnitOfWork.Do(ctx, fn)
	if err == nil && w.o.lost.Load() {
		return w.o.err
	}
	return err
}

// newOutage is a world whose store of logins is down.
func newOutage(t testing.TB) (*fake, *outage) {
	t.Helper()
	f := newFake(t, logintest.NewWorld(t))
	o := &outage{Store: f.w.Store, err: errStore}
	var err error
	if f.w.Flow, err = login.New(f.w.Auth, o, login.Options{MaxFailures: logintest.MaxFailures}); err != nil {
		t.Fatal(err)
	}
	o.down.Store(true)
	return f, o
}

// at tries a wrong word at an account that does not exist.
func (f *fake) at(account, ip string) error {
	a := f.attempt(logintest.Stranger, "wrong")
	a.Account = account
	_, err := f.w.Flow.Login(context.Background(), a, handstamp.StartOptions{Client: handstamp.Client{IP: ip}})
	return err
}

func network(i int) string { return fmt.Sprintf("198.51.%d.%d", i/250, i%250+1) }

// refusedFor says for how long an attempt is refused: 0 for one that was checked.
func refusedFor(t testing.TB, err error) time.Duration {
	t.Helper()
	if e, ok := errors.AsType[*login.TooManyError](err); ok {
		return e.RetryAfter
	}
	if !errors.Is(err, login.ErrInvalidCredentials) {
		t.Fatalf("the attempt = %v", err)
	}
	return 0
}

// TestD50_LocalLimit: while the store of the counters is down three attempts at an account get through, from however many
// networks, and three of a network, at however many accounts; then one every twenty seconds, and nobody waits longer.
func TestD50_LocalLimit(t *testing.T) {
	for name, try := range map[string]func(f *fake, i int) error{
		"one account, many networks": func(f *fake, i int) error { return f.at("owner", network(i)) },
		"one network, many accounts": func(f *fake, i int) error { return f.at(fmt.Sprint(i), "192.0.2.1") },
		"one of both":                func(f *fake, _ int) error { return f.at("owner", "192.0.2.1") },
		"addresses of one network":   func(f *fake, i int) error { return f.at(fmt.Sprint(i), fmt.Sprintf("2001:db8::%x", i)) },
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newOutage(t)
			i := 0
			next := func() time.Duration { i++; return refusedFor(t, try(f, i)) }
			for range 3 {
				if wait := next(); wait != 0 {
					t.Fatalf("attempt %d: refused for %v", i, wait)
				}
			}
			for range 50 { // refused ones neither count nor extend
				if wait := next(); wait != 20*time.Second {
					t.Fatalf("attempt %d: refused for %v, want 20 s", i, wait)
				}
			}
			for range 5 {
				f.w.Advance(20*time.Second - time.Microsecond)
				if wait := next(); wait != time.Microsecond {
					t.Fatalf("1 µs early: refused for %v", wait)
				}
				f.w.Advance(time.Microsecond)
				if wait := next(); wait != 0 {
					t.Fatalf("after 20 s: refused for %v", wait)
				}
				if wait := next(); wait != 20*time.Second {
					t.Fatalf("and again: refused for %v", wait)
				}
			}
			f.w.Advance(time.Minute)
			for range 3 {
				if wait := next(); wait != 0 {
					t.Fatalf("a minute later: refused for %v", wait)
				}
			}
			if wait := next(); wait == 0 {
				t.Fatal("a minute later: a fourth")
			}
			if got := f.w.Flow.Throttle(); got.Passed != f.checks.Load() || got.Refused == 0 {
				t.Errorf("%+v, %d checks", got, f.checks.Load())
			}
		})
	}
}

// TestD50_LocalLimitOfTheProcess: a crowd of networks at a crowd of accounts gets a hundred through, and then ten a second.
func TestD50_LocalLimitOfTheProcess(t *testing.T) {
	f, _ := newOutage(t)
	i := 0
	next := func() time.Duration { i++; return refusedFor(t, f.at(fmt.Sprint(i), network(i))) }
	for range 100 {
		if wait := next(); wait != 0 {
			t.Fatalf("attempt %d: refused for %v", i, wait)
		}
	}
	if wait := next(); wait != 100*time.Millisecond {
		t.Fatalf("attempt %d: refused for %v", i, wait)
	}
	before := f.checks.Load()
	for range 100 {
		f.w.Advance(10 * time.Millisecond)
		next()
	}
	if n := f.checks.Load() - before; n != 10 {
		t.Errorf("%d get through in a second, want 10", n)
	}
}

// TestD50_AtOnce: two hundred attempts at once, with the store down: three are checked.
func TestD50_AtOnce(t *testing.T) {
	f, _ := newOutage(t)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() { _ = f.at("owner", network(i)) })
	}
	all.Wait()
	if n := f.checks.Load(); n != 3 {
		t.Errorf("%d checks, want 3", n)
	}
}

// TestD50_Outages: every way for the store not to answer is the same; that the caller is gone is none.
func TestD50_Outages(t *testing.T) {
	for name, cause := range map[string]error{
		"an error": errStore, "a time-out": context.DeadlineExceeded, "its own cancelling": context.Canceled, "a conflict": handstamp.ErrConflict,
		"unavailable": &handstamp.UnavailableError{Err: errStore},
	} {
		f, o := newOutage(t)
		o.err = cause
		for i := range 4 {
			if wait := refusedFor(t, f.at("owner", network(i))); (wait == 0) != (i < 3) {
				t.Errorf("%s: attempt %d refused for %v", name, i, wait)
			}
		}
	}
	f, _ := newOutage(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		if _, err := f.login(gone, logintest.Owner, "wrong", "192.0.2.1"); !errors.Is(err, errStore) {
			t.Errorf("a caller who is gone: %v", err)
		}
	}
	if got := f.w.Flow.Throttle(); got != (login.Throttle{}) || f.checks.Load() != 0 {
		t.Errorf("a caller who is gone is counted: %+v, %d checks", got, f.checks.Load())
	}
}

// TestD50_NoSessionWithoutTheStore: a right word gets through to the check, and then the session cannot begin: 503, no 401.
// A sign-up and a one-time link are not counted here at all: they say and do nothing without the store.
func TestD50_NoSessionWithoutTheStore(t *testing.T) {
	f, o := newOutage(t)
	for i := range 200 { // as often as somebody tries who knows it
		_, err := f.login(t.Context(), logintest.Owner, "right", network(i%2))
		if !errors.Is(err, errStore) || login.ProblemOf(err).Status != 503 {
			t.Fatalf("a right word = %v", err)
		}
	}
	if err := f.w.Flow.CountSignUp(t.Context(), handstamp.Client{IP: "192.0.2.1"}, true); !errors.Is(err, errStore) {
		t.Errorf("a sign-up = %v", err)
	}
	if _, err := f.w.Flow.NewSetup(t.Context()); !errors.Is(err, errStore) {
		t.Errorf("a link = %v", err)
	}
	o.down.Store(false)
	if _, err := f.login(t.Context(), logintest.Owner, "right", network(4)); err != nil {
		t.Errorf("with the store back: %v", err)
	}
}

// TestOutagesKeepNobodyOut: whatever is away, an attempt that came to no answer costs nothing, neither while it is away nor
// when it is back, neither its account nor others on its network. A wrong word that was looked at costs what it always does.
func TestOutagesKeepNobodyOut(t *testing.T) {
	const home, away = "192.0.2.1", "192.0.2.77"
	for name, c := range map[string]struct {
		known  bool                                       // the network logged in to the account before
		breaks func(f *fake, o *outage, a *login.Attempt) // how the attempts fail
	}{
		"sessions are away, counters are not": {breaks: func(f *fake, o *outage, a *login.Attempt) {
			o.down.Store(false)
			o.failsAfter.Store(1) // the unit that counts
		}},
		"the same, and the network is known": {known: true, breaks: func(f *fake, o *outage, a *login.Attempt) {
			o.failsAfter.Store(1)
		}},
		"nothing can be written": {breaks: func(_ *fake, o *outage, _ *login.Attempt) { o.down.Store(true) }},
		"nothing can be read": {breaks: func(_ *fake, o *outage, a *login.Attempt) {
			o.down.Store(true)
			a.Find = func(context.Context) (handstamp.UserID, error) { return "", errStore }
		}},
		"nothing can be read, and it is counted": {breaks: func(_ *fake, _ *outage, a *login.Attempt) {
			a.Find = func(context.Context) (handstamp.UserID, error) { return "", errStore }
		}},
		"credentials cannot be looked at, and it is counted": {breaks: func(_ *fake, _ *outage, a *login.Attempt) {
			a.Verify = func(context.Context, handstamp.UserID) (login.Verified, error) {
				return login.Verified{}, &handstamp.UnavailableError{Err: errStore} // as a queue of hashes that is full
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f, o := newOutage(t)
			o.down.Store(false)
			if c.known {
				if _, err := f.login(t.Context(), logintest.Owner, "right", home); err != nil {
					t.Fatal(err)
				}
			}
			broken := f.attempt(logintest.Owner, "right")
			c.breaks(f, o, &broken)
			for range 50 {
				o.units.Store(0)
				_, err := f.w.Flow.Login(t.Context(), broken, handstamp.StartOptions{Client: handstamp.Client{IP: home}})
				if login.ProblemOf(err).Status != 503 {
					t.Fatalf("an attempt in the outage = %v", err)
				}
			}
			o.down.Store(false)
			o.failsAfter.Store(0)
			if err := f.at("somebody else", home); !errors.Is(err, login.ErrInvalidCredentials) {
				t.Errorf("another account on that network = %v", err)
			}
			for _, ip := range []string{away, home} {
				if _, err := f.login(t.Context(), logintest.Owner, "right", ip); err != nil {
					t.Errorf("afterwards, from %s: %v", ip, err)
				}
			}
			wrong := 0
			for ; wrong < 20 && errors.Is(f.at("victim", away), login.ErrInvalidCredentials); wrong++ {
			}
			if wrong != logintest.MaxFailures {
				t.Errorf("%d wrong words are let through, want %d", wrong, logintest.MaxFailures)
			}
		})
	}
}

// TestD50_OneWait: a store that lets everything run into its time-out is waited for once, not once for each step.
func TestD50_OneWait(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f, o := newOutage(t)
		o.slow = 2 * time.Second
		for i, word := range []string{"right", "wrong", "wrong", "wrong", "right"} {
			began := time.Now()
			_, err := f.login(t.Context(), logintest.Owner, word, network(i))
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("attempt %d took %v: %v", i, took, err)
			}
			if want := map[string]int{"right": 503, "wrong": 401}[word]; i < 4 && login.ProblemOf(err).Status != want {
				t.Errorf("attempt %d: %v", i, err)
			}
			if i == 4 && !tooMany(err) {
				t.Errorf("attempt %d: %v", i, err)
			}
		}
		p, err := f.w.Flow.Prove(t.Context(), f.attempt(logintest.Owner, "right"), handstamp.Client{IP: network(9)})
		if !tooMany(err) {
			t.Fatal(err)
		}
		if ctx, cancel := p.Hurry(t.Context()); ctx != t.Context() {
			cancel()
			t.Error("an attempt that was not counted here has to hurry")
		}
	})
}

// TestD50_Debts: what was counted here is charged to the store when it is back, once, to account and network.
func TestD50_Debts(t *testing.T) {
	const home = "192.0.2.1"
	t.Run("to the account", func(t *testing.T) {
		f, o := newOutage(t)
		for i := range 3 {
			_ = f.at("owner", network(i))
		}
		o.down.Store(false)
		if wait := refusedFor(t, f.at("owner", network(3))); wait != 0 {
			t.Fatalf("the fourth is refused for %v", wait)
		}
		f.w.Advance(time.Microsecond)
		_ = f.at("owner", network(3)) // the one beside the budget is the newcomer's; this network has had its own
		if wait := refusedFor(t, f.at("owner", network(3))); wait == 0 {
			t.Error("three counted here and one there, and a fifth is let through")
		}
		if got := f.w.Flow.Throttle(); got.Passed != 3 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("to the network", func(t *testing.T) {
		f, o := newOutage(t)
		for i := range 3 {
			_ = f.at(fmt.Sprint(i), home)
		}
		o.down.Store(false)
		if wait := refusedFor(t, f.at("x", home)); wait != 0 {
			t.Fatalf("the fourth is refused for %v", wait)
		}
		if wait := refusedFor(t, f.at("y", home)); wait != 5*time.Second {
			t.Errorf("the fifth is refused for %v, want 5 s", wait)
		}
	})
	t.Run("also when the attempt that pays is refused", func(t *testing.T) {
		f, o := newOutage(t)
		o.down.Store(false)
		for i := range 3 {
			_ = f.at(fmt.Sprint(i), home)
		}
		o.down.Store(true)
		for range 3 {
			_ = f.at("x", home)
		}
		o.down.Store(false)
		if wait := refusedFor(t, f.at("y", home)); wait != 20*time.Second { // six of four
			t.Errorf("refused for %v, want 20 s", wait)
		}
		f.w.Advance(20 * time.Second)
		if wait := refusedFor(t, f.at("y", home)); wait != 0 {
			t.Errorf("20 s later: refused for %v", wait)
		}
		if wait := refusedFor(t, f.at("z", home)); wait != 40*time.Second { // seven: the debt was paid once
			t.Errorf("refused for %v, want 40 s", wait)
		}
	})
	t.Run("not by an attempt that fails", func(t *testing.T) {
		f, o := newOutage(t)
		for range 3 {
			_ = f.at("x", home)
		}
		f.w.Advance(20 * time.Second)
		_ = f.at("x", home)
		f.w.Advance(20 * time.Second)
		o.down.Store(false)
		o.lost.Store(true) // committed, but nobody heard: charged again rather than never
		_ = f.at("x", home)
		o.lost.Store(false)
		if wait := refusedFor(t, f.at("y", home)); wait != time.Minute {
			t.Errorf("refused for %v, want a minute", wait)
		}
	})
	t.Run("until the store would have forgotten", func(t *testing.T) {
		f, o := newOutage(t)
		for range 3 {
			_ = f.at("x", home)
		}
		f.w.Advance(time.Hour)
		o.down.Store(false)
		for i := range logintest.MaxFailures {
			if wait := refusedFor(t, f.at(fmt.Sprint(i), home)); wait != 0 {
				t.Errorf("try %d: refused for %v", i, wait)
			}
		}
	})
	t.Run("not to who logged in", func(t *testing.T) {
		f, o := newOutage(t)
		_ = f.at("owner", home)
		_ = f.at("owner", home)
		f.hold(func() { o.down.Store(false) }) // the store comes back while the word is checked
		if _, err := f.login(t.Context(), logintest.Owner, "right", home); err != nil {
			t.Fatal(err)
		}
		for i := range logintest.MaxFailures { // from elsewhere, the whole budget of the account
			if wait := refusedFor(t, f.at("owner", network(i))); wait != 0 {
				t.Errorf("try %d: refused for %v", i, wait)
			}
		}
		for i := range logintest.MaxFailures - 2 { // the network owes the two that failed
			if wait := refusedFor(t, f.at(fmt.Sprint(i), home)); wait != 0 {
				t.Errorf("try %d of the network: refused for %v", i, wait)
			}
		}
		if wait := refusedFor(t, f.at("one more", home)); wait == 0 {
			t.Error("the network owes nothing")
		}
	})
	t.Run("and gives nothing back that it did not count", func(t *testing.T) {
		f, o := newOutage(t)
		o.down.Store(false)
		for i := range logintest.MaxFailures - 1 {
			_ = f.at(fmt.Sprint(i), home)
		}
		o.down.Store(true)
		f.hold(func() { o.down.Store(false) })
		if _, err := f.login(t.Context(), logintest.Owner, "right", home); err != nil {
			t.Fatal(err)
		}
		if wait := refusedFor(t, f.at("x", home)); wait != 0 {
			t.Errorf("the last of its budget is refused for %v", wait)
		}
		if wait := refusedFor(t, f.at("y", home)); wait == 0 {
			t.Error("a good login that was counted here gave a try back to the network, there")
		}
	})
	t.Run("not by a network that is known", func(t *testing.T) {
		f, o := newOutage(t)
		f.welcome(t, "owner", home, nil)
		for range 3 {
			_ = f.at("owner", home)
		}
		o.down.Store(false)
		for i := range logintest.MaxFailures {
			if wait := refusedFor(t, f.at("owner", home)); wait != 0 {
				t.Errorf("try %d: refused for %v", i, wait)
			}
		}
		_ = f.at("owner", network(1))
		if wait := refusedFor(t, f.at("owner", network(1))); wait == 0 {
			t.Error("what strangers owe is gone")
		}
	})
}

// fleet is two flows, as two processes have them.
type fleet struct {
	stores [2]login.Store
	flows  [2]*login.Flow
	checks atomic.Int64
}

func newFleet(t *testing.T, limit int, open func(i int) interface {
	handstamp.Store
	login.Store
}) *fleet {
	t.Helper()
	f := &fleet{}
	at := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range f.flows {
		s := open(i)
		auth, err := handstamp.Open(t.Context(), s, handstamp.Options{
			PublicURL: "https://app.example.com", Now: func() time.Time { return at }, Logger: slog.New(slog.DiscardHandler),
			Secrets: [][]byte{[]byte("one secret that both of the processes have")},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = auth.Close() })
		f.stores[i] = s
		if f.flows[i], err = login.New(auth, s, login.Options{MaxFailures: limit}); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// storm tries n times at once, at both processes.
func (f *fleet) storm(t *testing.T, n int, account func(i int) string) {
	t.Helper()
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			_, err := f.flows[i%2].Login(context.Background(), login.Attempt{
				Method: "fake", Account: account(i), Find: func(context.Context) (handstamp.UserID, error) { return "", handstamp.ErrNotFound },
				Verify: func(context.Context, handstamp.UserID) (login.Verified, error) {
					f.checks.Add(1)
					return login.Verified{}, nil
				},
			}, handstamp.StartOptions{Client: handstamp.Client{IP: "192.0.2.1"}})
			if !errors.Is(err, login.ErrInvalidCredentials) && !tooMany(err) {
				t.Errorf("attempt %d: %v", i, err)
			}
		})
	}
	close(start)
	all.Wait()
}

// TestD50_TwoProcesses: both count in one place. Of two hundred attempts at once not one more than the budget is checked,
// and not one that was checked is missing from the count.
func TestD50_TwoProcesses(t *testing.T) {
	type backend = interface {
		handstamp.Store
		login.Store
	}
	for name, make := range map[string]func(t *testing.T) func(int) backend{
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
			f := newFleet(t, 10, make(t))
			f.storm(t, 200, func(int) string { return "owner" })
			if n := f.checks.Load(); n != 10 {
				t.Errorf("%d checks of one account, want 10", n)
			}
			f.storm(t, 100, func(i int) string { return fmt.Sprint(i) })
			if n := f.checks.Load(); n != 10 { // the network's budget is the same ten
				t.Errorf("%d checks of one network, want 10", n)
			}
			const many = 150
			f = newFleet(t, 1000, make(t))
			f.storm(t, many, func(int) string { return "somebody" })
			var failures int
			err := f.stores[0].LoginWork().Do(t.Context(), func(tx login.Tx) error {
				c, err := tx.Counter(t.Context(), f.flows[0].BudgetOf("somebody"))
				failures = c.Failures
				return err
			})
			if err != nil || failures != many || f.checks.Load() != many {
				t.Errorf("%d counted of %d checked, want %d; %v", failures, f.checks.Load(), many, err)
			}
			for i, flow := range f.flows {
				if got := flow.Throttle(); got != (login.Throttle{}) {
					t.Errorf("process %d counted by itself: %+v", i, got)
				}
			}
		})
	}
}
