package handstamp_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
)

// TestBudget: the budget ends calls of stores, and no wait for the fleet; who hangs up ends both.
func TestBudget(t *testing.T) {
	for name, c := range map[string]struct {
		around func(ctx context.Context) (context.Context, context.CancelFunc) // within the budget
		took   time.Duration
		err    error
	}{
		"the budget alone": {context.WithCancel, 2240 * time.Millisecond, nil},
		"who hangs up": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 500*time.Millisecond)
		}, 500 * time.Millisecond, handstamp.ErrNotAwaited},
	} {
		t.Run(name, func(t *testing.T) {
			bubbletest.Test(t, func(t *testing.T) {
				s := memory.New()
				a, err := handstamp.Open(t.Context(), s, handstamp.Options{PublicURL: "https://app.example.com"})
				if err != nil {
					t.Fatal(err)
				}
				defer a.Close()
				_, err = s.Log().Register(t.Context(), revoke.Registration{Verifier: id.NewVerifier(time.Now()), RegisteredAt: time.Now()})
				if err != nil { // it is never heard of again
					t.Fatal(err)
				}
				bounded, cancel := handstamp.WithBudget(t.Context(), time.Second)
				defer cancel()
				bounded, hangUp := c.around(bounded)
				defer hangUp()
				began := time.Now()
				ended, err := a.EndUser(bounded, "ada", handstamp.EndOptions{WaitFleet: true})
				if took := time.Since(began); !errors.Is(err, c.err) || took < c.took || took > c.took+50*time.Millisecond {
					t.Errorf("EndUser = %+v, %v after %v; want %v after %v", ended, err, took, c.err, c.took)
				}
				time.Sleep(time.Second + time.Millisecond)
				if _, err := a.EndUser(bounded, "ada", handstamp.EndOptions{}); err == nil {
					t.Error("EndUser after the budget succeeds")
				}
			})
		})
	}
}

// TestOutsideBudget: what is done outside a budget does not use it up, however often and wherever that is, and ends with
// whoever hangs up.
func TestOutsideBudget(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := handstamp.WithBudget(t.Context(), time.Second)
		defer cancel()
		ends := func() time.Duration { by, _ := ctx.Deadline(); return by.Sub(began) }
		inner, hangUp := context.WithTimeout(context.WithValue(ctx, t, t), time.Hour)
		defer hangUp()
		time.Sleep(600 * time.Millisecond)
		if ends() != time.Second {
			t.Errorf("the deadline is %v from the start", ends())
		}
		free, back := handstamp.OutsideBudget(inner)
		_, backAgain := handstamp.OutsideBudget(ctx) // at the same time, elsewhere
		if _, limited := ctx.Deadline(); limited {
			t.Error("there is a deadline while the budget is not used up")
		}
		time.Sleep(5 * time.Second)
		back()
		time.Sleep(5 * time.Second)
		backAgain()
		backAgain()
		if free.Err() == nil || ctx.Err() != nil || ends() != 11*time.Second {
			t.Errorf("afterwards: %v, %v, deadline %v", free.Err(), ctx.Err(), ends())
		}
		time.Sleep(390 * time.Millisecond)
		if ctx.Err() != nil || inner.Err() != nil {
			t.Errorf("10 ms before its end: %v, %v", ctx.Err(), inner.Err())
		}
		time.Sleep(11 * time.Millisecond)
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) || inner.Err() == nil {
			t.Errorf("after its end: %v, %v", ctx.Err(), inner.Err())
		}
		if free, back := handstamp.OutsideBudget(inner); free.Err() != nil {
			t.Errorf("outside a budget that is used up: %v", free.Err())
		} else {
			back()
		}

		ctx, cancel = handstamp.WithBudget(t.Context(), time.Second)
		free, back = handstamp.OutsideBudget(ctx)
		defer back()
		cancel()
		synctest.Wait()
		if !errors.Is(free.Err(), context.Canceled) {
			t.Errorf("when the work is done: %v", free.Err())
		}
		if free, back := handstamp.OutsideBudget(t.Context()); free != t.Context() {
			t.Error("another context where there is no budget")
		} else {
			back()
		}
	})
}

// hanging is a store whose look-ups answer nothing until whoever asks gives up.
type hanging struct {
	*memory.Store
	hangs *atomic.Bool
}

func (h hanging) Sessions() handstamp.Sessions { return hangingSessions{h.Store.Sessions(), h.hangs} }

type hangingSessions struct {
	handstamp.Sessions
	hangs *atomic.Bool
}

func (s hangingSessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	if s.hangs.Load() {
		<-ctx.Done()
		return handstamp.Found{}, ctx.Err()
	}
	return s.Sessions.Find(ctx, l)
}

// TestPatience: a check that has to ask a store which does not answer is told so within 3 s, whatever its credential is and
// whatever the store's own bounds are.
func TestPatience(t *testing.T) {
	for _, mode := range []handstamp.Mode{handstamp.ModeSession, handstamp.ModeToken, handstamp.ModeHybrid} {
		t.Run(string(mode), func(t *testing.T) {
			bubbletest.Test(t, func(t *testing.T) {
				var hangs atomic.Bool
				e := setup{store: hanging{memory.New(), &hangs}, now: time.Now}.open(t)
				g := e.start(t, "ada", mode)
				hangs.Store(true)
				began := time.Now()
				_, err := e.verify(g, handstamp.Fresh())
				if took := time.Since(began); verdict(err) != "don't know" || took < 2*time.Second || took > 3*time.Second {
					t.Errorf("a check = %v after %v, want 503 within 3 s", err, took)
				}
				var crowd sync.WaitGroup
				defer time.Sleep(10 * time.Second) // until the last question has ended
				defer crowd.Wait()
				for range 8 { // one after the other, so that each comes too late to share the question before
					crowd.Go(func() {
						began := time.Now()
						_, err := e.verify(g, handstamp.Fresh())
						if took := time.Since(began); verdict(err) != "don't know" || took > 3*time.Second {
							t.Errorf("a check among others = %v after %v, want 503 within 3 s", err, took)
						}
					})
					time.Sleep(400 * time.Millisecond) // of the bubble
				}
			})
		})
	}
}
