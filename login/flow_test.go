package login_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/login/logintest"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// fake is a method whose credential is a word.
type fake struct {
	w      logintest.World
	owner  handstamp.UserID
	word   atomic.Value // string
	checks atomic.Uint64
	mu     sync.Mutex
	during func()
}

func newFake(t testing.TB, w logintest.World) *fake {
	t.Helper()
	u, err := w.Accounts.Create(t.Context(), account.NewUser{Email: "ada@example.org"}, handstamp.Client{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{w: w, owner: u.ID}
	f.word.Store("right")
	return f
}

func (f *fake) hold(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.during = fn
}

func (f *fake) attempt(who logintest.Who, word string) login.Attempt {
	name := map[logintest.Who]string{logintest.Owner: "owner", logintest.Stranger: "stranger", logintest.Credential: "bare"}[who]
	return login.Attempt{
		Method: "fake", Account: name,
		Find: func(context.Context) (handstamp.UserID, error) {
			if who == logintest.Owner {
				return f.owner, nil
			}
			return "", handstamp.ErrNotFound
		},
		Verify: func(_ context.Context, u handstamp.UserID) (login.Verified, error) {
			f.checks.Add(1)
			ok := word == f.word.Load() // read before the pause, as a hash is
			f.mu.Lock()
			fn := f.during
			f.during = nil
			f.mu.Unlock()
			if fn != nil {
				fn()
			}
			return login.Verified{OK: ok && u != ""}, nil
		},
	}
}

func (f *fake) login(ctx context.Context, who logintest.Who, word string, ip string) (handstamp.Grant, error) {
	return f.w.Flow.Login(ctx, f.attempt(who, word), handstamp.StartOptions{Client: handstamp.Client{IP: ip}})
}

func TestFlowKeepsTheContract(t *testing.T) {
	logintest.Run(t, func(t testing.TB, w logintest.World) logintest.Method {
		f := newFake(t, w)
		return logintest.Method{
			Name: "fake", Owner: f.owner, Work: f.checks.Load, During: f.hold,
			Login: func(ctx context.Context, who logintest.Who, right bool, start handstamp.StartOptions) (handstamp.Grant, error) {
				word := "wrong"
				if right {
					word = "right"
				}
				return w.Flow.Login(ctx, f.attempt(who, word), start)
			},
		}
	})
}

func (f *fake) subject(t testing.TB, change func(*handstamp.Subject), effect revoke.Effect) {
	t.Helper()
	_, err := handstamp.Do(t.Context(), f.w.Auth, f.w.Store.Work(), func(tx handstamp.Tx) (handstamp.Appended, error) {
		sub, err := tx.Subject(t.Context(), f.owner)
		if err != nil {
			return handstamp.Appended{}, err
		}
		change(&sub)
		if err := tx.PutSubject(t.Context(), sub); err != nil {
			return handstamp.Appended{}, err
		}
		return tx.Append(t.Context(), f.w.Auth.Event(revoke.KindUser, string(f.owner), effect, "test"))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestD12_LoginHeldAtTheCheck: whatever ends or changes a user while the credential is being checked, the old credential
// never yields a live session; what did not take the credential away is done over once and succeeds.
func TestD12_LoginHeldAtTheCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		during func(t testing.TB, f *fake)
		want   error // nil: it succeeds
		checks uint64
	}{
		"nothing": {func(testing.TB, *fake) {}, nil, 1},
		"password changes": {func(t testing.TB, f *fake) {
			f.word.Store("another")
			f.subject(t, func(*handstamp.Subject) {}, revoke.End)
		}, login.ErrInvalidCredentials, 2},
		"disabled": {func(t testing.TB, f *fake) {
			f.subject(t, func(s *handstamp.Subject) { s.Disabled = true }, revoke.End)
		}, handstamp.ErrDisabled, 1},
		"disabled and enabled": {func(t testing.TB, f *fake) {
			f.subject(t, func(s *handstamp.Subject) { s.Disabled = true }, revoke.End)
			f.subject(t, func(s *handstamp.Subject) { s.Disabled = false }, revoke.Change)
		}, nil, 2},
		"all of the user's sessions end": {func(t testing.TB, f *fake) {
			if _, err := f.w.Auth.EndUser(t.Context(), f.owner, handstamp.EndOptions{}); err != nil {
				t.Error(err)
			}
		}, nil, 2},
		"everybody's sessions end": {func(t testing.TB, f *fake) {
			if _, err := f.w.Auth.EndAll(t.Context(), handstamp.EndOptions{}); err != nil {
				t.Error(err)
			}
		}, nil, 2},
		"deleted": {func(t testing.TB, f *fake) {
			f.subject(t, func(s *handstamp.Subject) { *s = handstamp.Subject{User: s.User, Deleted: true} }, revoke.End)
		}, handstamp.ErrDisabled, 1},
		"roles change": {func(t testing.TB, f *fake) {
			if _, err := f.w.Accounts.SetRoles(t.Context(), f.owner, []string{"editor"}, handstamp.EndOptions{}); err != nil {
				t.Error(err)
			}
		}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, logintest.NewWorld(t))
			f.hold(func() { tc.during(t, f) })
			g, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.1")
			if !errors.Is(err, tc.want) || tc.want == nil && err != nil {
				t.Fatalf("Login = %v, want %v", err, tc.want)
			}
			if f.checks.Load() != tc.checks {
				t.Errorf("the credential was checked %d times, want %d", f.checks.Load(), tc.checks)
			}
			live, err := f.w.Auth.Sessions(t.Context(), handstamp.SessionFilter{})
			if err != nil || (len(live) == 1) != (tc.want == nil) {
				t.Fatalf("%d live sessions, %v", len(live), err)
			}
			if tc.want != nil {
				return
			}
			p, err := f.w.Auth.VerifyToken(t.Context(), g.AccessToken.Reveal())
			if err != nil || name == "roles change" && p.Roles()[0] != "editor" {
				t.Errorf("Verify = %v %v", p.Roles(), err)
			}
		})
	}
}

// TestP11_Budget: two hundred wrong logins at once let at most the budget through to the check; then delays of 5 s that
// double up to a minute.
func TestP11_Budget(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() { _, _ = f.login(t.Context(), logintest.Owner, "wrong", "192.0.2.1") })
	}
	wg.Wait()
	if n := f.checks.Load(); n != logintest.MaxFailures {
		t.Fatalf("%d checks, want %d", n, logintest.MaxFailures)
	}
	for _, want := range []time.Duration{5, 10, 20, 40, 60, 60, 60} {
		want *= time.Second
		_, err := f.login(t.Context(), logintest.Owner, "wrong", "192.0.2.1")
		refused, ok := errors.AsType[*login.TooManyError](err)
		if !ok || refused.RetryAfter != want {
			t.Fatalf("Login = %v, want a delay of %v", err, want)
		}
		f.w.Advance(want - time.Microsecond)
		if _, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.1"); !errors.As(err, &refused) {
			t.Fatalf("1 µs early: %v", err)
		}
		f.w.Advance(time.Microsecond)
		if _, err := f.login(t.Context(), logintest.Owner, "wrong", "192.0.2.1"); !errors.Is(err, login.ErrInvalidCredentials) {
			t.Fatalf("after the delay: %v", err)
		}
	}
	f.w.Advance(time.Minute)
	if _, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.login(t.Context(), logintest.Owner, "wrong", "192.0.2.1"); !errors.Is(err, login.ErrInvalidCredentials) {
		t.Errorf("a good login did not clear the budget: %v", err)
	}
}

// TestP12_StrangersKeepNobodyOut: a thousand failures of strangers do not touch the owner at a network that is known, and
// cost the owner at another one a minute at most.
func TestP12_StrangersKeepNobodyOut(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	if _, err := f.login(t.Context(), logintest.Owner, "right", "2001:db8:1::1"); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		ip := "198.51.100.1"
		if i%2 == 0 {
			ip = "203.0.113.7"
		}
		_, _ = f.login(t.Context(), logintest.Owner, "wrong", ip)
		f.w.Advance(time.Second)
	}
	if _, err := f.login(t.Context(), logintest.Owner, "right", "2001:db8:1::ffff"); err != nil {
		t.Errorf("the owner at the known network: %v", err)
	}
	_, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.200")
	if refused, ok := errors.AsType[*login.TooManyError](err); ok && refused.RetryAfter <= time.Minute {
		f.w.Advance(refused.RetryAfter)
		_, err = f.login(t.Context(), logintest.Owner, "right", "192.0.2.200")
	}
	if err != nil {
		t.Errorf("the owner at another network, a minute later: %v", err)
	}
	if _, err := f.login(t.Context(), logintest.Owner, "wrong", "2001:db8:1::1"); !errors.Is(err, login.ErrInvalidCredentials) {
		t.Errorf("a typing mistake at home: %v", err)
	}
}

// TestP14_Networks: IPv6 is counted by /64 in any spelling, IPv4 by address, and a client without an address has one
// budget with its like.
func TestP14_Networks(t *testing.T) {
	for _, tc := range []struct {
		ips    []string
		checks uint64
	}{
		{[]string{"2001:db8::1", "2001:DB8:0:0::2", "2001:0db8:0000:0000:ffff::3", "2001:db8::4", "2001:db8::5", "2001:db8::6"}, logintest.MaxFailures},
		{[]string{"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "::ffff:c000:201", "192.0.2.1", "192.0.2.1"}, logintest.MaxFailures},
		{[]string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"}, 6},
		{[]string{"2001:db8:0:1::", "2001:db8:0:2::", "2001:db8:0:3::", "2001:db8:0:4::", "2001:db8:0:5::", "2001:db8:0:6::"}, 6},
		{[]string{"", "junk", "", "@", "", ""}, logintest.MaxFailures},
	} {
		f := newFake(t, logintest.NewWorld(t))
		for i, ip := range tc.ips {
			a := f.attempt(logintest.Stranger, "wrong")
			a.Account = string(rune('a' + i)) // an account of its own each time: what is left is the network
			_, _ = f.w.Flow.Login(t.Context(), a, handstamp.StartOptions{Client: handstamp.Client{IP: ip}})
		}
		if got := f.checks.Load(); got != tc.checks {
			t.Errorf("%v: %d checks, want %d", tc.ips, got, tc.checks)
		}
	}
}

// TestP13_OneBudgetForAllNetworks: tries at one account share its budget, wherever they come from, but for a bounded
// number in an hour, at most one a minute for each network.
func TestP13_OneBudgetForAllNetworks(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	for i := range 200 {
		for range 3 {
			_, _ = f.login(t.Context(), logintest.Owner, "wrong", fmt.Sprintf("192.0.2.%d", i))
		}
	}
	const aside = 30
	if got := f.checks.Load(); got != logintest.MaxFailures+aside {
		t.Errorf("%d checks, want %d", got, logintest.MaxFailures+aside)
	}
}

// TestP12_AnAttackerWhoNeverStops takes every turn of the account's budget. The owner, from a network he was never at,
// gets in all the same, at his first try; a typing mistake costs him a minute.
func TestP12_AnAttackerWhoNeverStops(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	attack := func(d time.Duration) {
		for range d / (200 * time.Millisecond) {
			_, _ = f.login(t.Context(), logintest.Owner, "wrong", "198.51.100.7")
			f.w.Advance(200 * time.Millisecond)
		}
	}
	attack(10 * time.Minute)
	if _, err := f.login(t.Context(), logintest.Owner, "wrong", "192.0.2.200"); !errors.Is(err, login.ErrInvalidCredentials) {
		t.Fatalf("the owner mistypes: %v", err)
	}
	_, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.200")
	refused, ok := errors.AsType[*login.TooManyError](err)
	if !ok || refused.RetryAfter > time.Minute {
		t.Fatalf("at once again: %v", err)
	}
	attack(refused.RetryAfter)
	if _, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.200"); err != nil {
		t.Errorf("the owner, as long later as he was told: %v", err)
	}
	if n := f.checks.Load(); n > 40 {
		t.Errorf("%d tries were let through in 11 minutes", n)
	}
}

// TestOwnSuccessesBuyNoGuesses: who has an account of his own gets back one try for each good login, no more.
func TestOwnSuccessesBuyNoGuesses(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	wrong := 0
	for i := range 40 {
		before := f.checks.Load()
		a := f.attempt(logintest.Stranger, "wrong")
		a.Account = string(rune('a' + i))
		_, _ = f.w.Flow.Login(t.Context(), a, handstamp.StartOptions{Client: handstamp.Client{IP: "192.0.2.1"}})
		wrong += int(f.checks.Load() - before)
		if i%2 == 0 {
			_, _ = f.login(t.Context(), logintest.Owner, "right", "192.0.2.1")
		}
	}
	if wrong > logintest.MaxFailures+1 {
		t.Errorf("%d guesses at others", wrong)
	}
}

// TestClockSetBack: a clock that was wrong by an hour keeps nobody out for an hour.
func TestClockSetBack(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	f.w.Advance(time.Hour)
	for range 20 {
		_, _ = f.login(t.Context(), logintest.Owner, "wrong", "192.0.2.1")
	}
	f.w.Advance(-time.Hour)
	_, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.1")
	if refused, ok := errors.AsType[*login.TooManyError](err); ok {
		if refused.RetryAfter > time.Minute {
			t.Fatalf("a delay of %v", refused.RetryAfter)
		}
		f.w.Advance(refused.RetryAfter)
		_, err = f.login(t.Context(), logintest.Owner, "right", "192.0.2.1")
	}
	if err != nil {
		t.Error(err)
	}
}

// TestSignUpsAreCountedByNetwork: an address that is taken costs ten times as much as one that is free.
func TestSignUpsAreCountedByNetwork(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	for _, taken := range []bool{true, false} {
		ip := map[bool]string{true: "192.0.2.1", false: "192.0.2.2"}[taken]
		n := 0
		for n < 5000 {
			if err := f.w.Flow.CountSignUp(t.Context(), handstamp.Client{IP: ip}, taken); err != nil {
				if _, ok := errors.AsType[*login.TooManyError](err); !ok {
					t.Fatal(err)
				}
				break
			}
			n++
		}
		if want := map[bool]int{true: 100, false: 1000}[taken]; n != want {
			t.Errorf("taken=%v: %d, want %d", taken, n, want)
		}
	}
}

// TestP16_Setup: the one-time link works once, for half an hour, and not after another one was made.
func TestP16_Setup(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	take := func(s token.Secret) error {
		return f.w.Store.LoginWork().Do(t.Context(), func(tx login.Tx) error {
			return f.w.Flow.TakeSetup(t.Context(), tx, s, handstamp.Client{IP: "192.0.2.1"})
		})
	}
	make := func() token.Secret {
		s, err := f.w.Flow.NewSetup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first, second := make(), make()
	for name, s := range map[string]token.Secret{"voided": first, "empty": {}, "another kind": token.Generate(token.Reference), "made up": token.Generate(token.Setup)} {
		if err := take(s); !errors.Is(err, login.ErrSetup) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var wg sync.WaitGroup
	var good atomic.Int32
	for range 20 {
		wg.Go(func() {
			if take(second) == nil {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 {
		t.Errorf("%d takers", good.Load())
	}
	late := make()
	f.w.Advance(login.SetupLife)
	if err := take(late); !errors.Is(err, login.ErrSetup) {
		t.Errorf("after half an hour: %v", err)
	}
	rolled := make()
	boom := errors.New("boom")
	err := f.w.Store.LoginWork().Do(t.Context(), func(tx login.Tx) error {
		return errors.Join(f.w.Flow.TakeSetup(t.Context(), tx, rolled, handstamp.Client{}), boom)
	})
	if !errors.Is(err, boom) || take(rolled) != nil {
		t.Error("a link that made nobody was used up")
	}
}

// TestZeroValuesMeanNo.
func TestZeroValuesMeanNo(t *testing.T) {
	w := logintest.NewWorld(t)
	if err := (login.Proved{}).Settle(t.Context(), nil); err == nil {
		t.Error("a zero Proved settles")
	}
	a := login.Attempt{Method: "m", Account: "a",
		Find:   func(context.Context) (handstamp.UserID, error) { return "", nil },
		Verify: func(context.Context, handstamp.UserID) (login.Verified, error) { return login.Verified{OK: true}, nil }}
	if _, err := w.Flow.Login(t.Context(), a, handstamp.StartOptions{}); !errors.Is(err, login.ErrInvalidCredentials) {
		t.Errorf("nobody logged in: %v", err)
	}
	for _, n := range []int{-1, 1_000_001} {
		if _, err := login.New(w.Auth, w.Store, login.Options{MaxFailures: n}); err == nil {
			t.Errorf("MaxFailures %d is accepted", n)
		}
	}
	boom := errors.New("boom")
	a.Find = func(context.Context) (handstamp.UserID, error) { return "", boom }
	if _, err := w.Flow.Login(t.Context(), a, handstamp.StartOptions{}); !errors.Is(err, boom) || errors.Is(err, login.ErrInvalidCredentials) {
		t.Errorf("a failing look-up: %v", err)
	}
	list, err := w.Store.Audit().List(t.Context(), audit.Filter{Kind: audit.LoginFailed, Limit: 10})
	if err != nil || len(list) != 1 {
		t.Errorf("audit: %v %v", list, err)
	}
}
