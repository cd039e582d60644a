package login_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/login/logintest"
	"github.com/handstamp/handstamp/token"
)

// failing is a backend whose n-th call about counters and one-time tokens fails; the unit it belongs to is undone.
type failing struct {
	login.Store
	at, calls int
	what      string // the call that failed
}

var errStore = errors.New("the disk is gone")

func (s *failing) LoginWork() handstamp.UnitOfWork[login.Tx] {
	return failingWork{s.Store.LoginWork(), s}
}

type failingWork struct {
	handstamp.UnitOfWork[login.Tx]
	s *failing
}

func (w failingWork) Do(ctx context.Context, fn func(login.Tx) error) error {
	return w.UnitOfWork.Do(ctx, func(tx login.Tx) error { return fn(failingTx{tx, w.s}) })
}

type failingTx struct {
	login.Tx
	s *failing
}

func (t failingTx) fail(what string) error {
	if t.s.calls++; t.s.calls != t.s.at {
		return nil
	}
	t.s.what = what
	return errStore
}

func (t failingTx) Counter(ctx context.Context, k login.BudgetKey) (login.Counter, error) {
	if err := t.fail("read a counter"); err != nil {
		return login.Counter{}, err
	}
	return t.Tx.Counter(ctx, k)
}

func (t failingTx) PutCounter(ctx context.Context, c login.Counter) error {
	if err := t.fail("write a counter"); err != nil {
		return err
	}
	return t.Tx.PutCounter(ctx, c)
}

func (t failingTx) PutOneTime(ctx context.Context, o login.OneTime) error {
	if err := t.fail("keep a link"); err != nil {
		return err
	}
	return t.Tx.PutOneTime(ctx, o)
}

func (t failingTx) TakeOneTime(ctx context.Context, kind string, h token.Hash) (login.OneTime, error) {
	if err := t.fail("take a link"); err != nil {
		return login.OneTime{}, err
	}
	return t.Tx.TakeOneTime(ctx, kind, h)
}

func (t failingTx) DropOneTimes(ctx context.Context, kind string) error {
	if err := t.fail("void links"); err != nil {
		return err
	}
	return t.Tx.DropOneTimes(ctx, kind)
}

// newFailing is a fresh world whose store fails nothing yet.
func newFailing(t *testing.T) (*fake, *failing) {
	t.Helper()
	f := newFake(t, logintest.NewWorld(t))
	s := &failing{Store: f.w.Store, at: -1}
	flow, err := login.New(f.w.Auth, s, login.Options{MaxFailures: logintest.MaxFailures})
	if err != nil {
		t.Fatal(err)
	}
	f.w.Flow = flow
	return f, s
}

// everyFault runs do in a fresh world with the first call failing, then with the second, until none is left to fail; in
// each it must answer "don't know".
func everyFault(t *testing.T, do func(t *testing.T, f *fake) error) {
	for n := 1; n < 100; n++ {
		f, s := newFailing(t)
		s.at = n
		err := do(t, f)
		if s.what == "" {
			if n == 1 {
				t.Error("nothing can fail")
			}
			return
		}
		if !errors.Is(err, errStore) || errors.Is(err, login.ErrInvalidCredentials) || errors.Is(err, login.ErrSetup) || tooMany(err) {
			t.Errorf("call %d (%s): %v", n, s.what, err)
		}
		if p := login.ProblemOf(err); p.Status != 503 {
			t.Errorf("call %d (%s): status %d", n, s.what, p.Status)
		}
	}
	t.Error("the calls do not end")
}

// TestP11_CountedThereOrHere: an attempt is counted by the store or, when that fails, in this process's memory; by nobody
// is never. A login whose counters could not be written begins no session.
func TestP11_CountedThereOrHere(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, f *fake){
		"at a new network":   func(*testing.T, *fake) {},
		"at a known network": func(t *testing.T, f *fake) { f.welcome(t, "owner", "192.0.2.1", nil) },
		"beside the budget": func(t *testing.T, f *fake) {
			for i := range logintest.MaxFailures {
				_, _ = f.login(t.Context(), logintest.Owner, "wrong", fmt.Sprintf("198.51.100.%d", i))
			}
			f.checks.Store(0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			here, after := 0, 0
			for n := 1; ; n++ {
				f, s := newFailing(t)
				before(t, f)
				s.at, s.calls = n, 0
				_, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.1")
				if s.what == "" {
					break
				}
				live, listErr := f.w.Auth.Sessions(t.Context(), handstamp.SessionFilter{})
				if listErr != nil {
					t.Fatal(listErr)
				}
				switch counted := f.w.Flow.Throttle(); {
				case f.checks.Load() != 1:
					t.Errorf("call %d (%s): %d checks", n, s.what, f.checks.Load())
				case err == nil && counted.Passed == 1 && len(live) == 1 && after == 0: // the calls of the counting come first
					here++
				case errors.Is(err, errStore) && login.ProblemOf(err).Status == 503 && counted.Passed == 0 && len(live) == 0:
					after++
				default:
					t.Errorf("call %d (%s): %v, %+v, %d sessions", n, s.what, err, counted, len(live))
				}
			}
			if here < 3 || after < 2 {
				t.Errorf("%d faults while it is counted, %d after the check", here, after)
			}
		})
	}
}

// TestP16_SetupFaults: a link that could not be kept, voided or taken is an error, never "used" and never good.
func TestP16_SetupFaults(t *testing.T) {
	everyFault(t, func(t *testing.T, f *fake) error {
		secret, err := f.w.Flow.NewSetup(t.Context())
		if err != nil && !secret.IsZero() {
			t.Error("a link with an error")
		}
		if err != nil {
			return err
		}
		if err := f.w.Flow.CheckSetup(t.Context(), secret); err != nil {
			return err
		}
		return f.w.Flow.Store().LoginWork().Do(t.Context(), func(tx login.Tx) error {
			return f.w.Flow.TakeSetup(t.Context(), tx, secret, handstamp.Client{})
		})
	})
}

// TestSignUpFaults: a sign-up that could not be counted, or whose network could not be written, did not happen.
func TestSignUpFaults(t *testing.T) {
	everyFault(t, func(t *testing.T, f *fake) error {
		if err := f.w.Flow.CountSignUp(t.Context(), handstamp.Client{IP: "192.0.2.1"}, false); err != nil {
			return err
		}
		return f.w.Flow.Store().LoginWork().Do(t.Context(), func(tx login.Tx) error {
			return f.w.Flow.Welcome(t.Context(), tx, "owner", handstamp.Client{IP: "192.0.2.1"})
		})
	})
}
