package handstamp

import (
	"context"
	"errors"
	"sync"
	"time"
)

// WithBudget bounds what stores may take, in all, over one piece of work, such as a request: what is asked of them with the
// context that it returns ends when they have used up d. Each call of a store has a bound of its own, but several one after
// the other add theirs up, and whoever waits is better told in time that nothing can be said. A commit that is under way is
// not cut off: it gets what its store gives it, half a second.
//
// Two things do not count, for they take their time while all is well: waiting for the fleet ([Auth.WaitFleet],
// [EndOptions].WaitFleet), and hashing a password. See [OutsideBudget]. Call cancel when the work is done. The context is
// safe for concurrent use.
func WithBudget(ctx context.Context, d time.Duration) (bounded context.Context, cancel context.CancelFunc) {
	inner, end := context.WithCancelCause(ctx)
	b := &budget{Context: inner, outside: ctx, left: d, since: time.Now()}
	b.timer = time.AfterFunc(d, func() { end(errBudget) })
	return b, func() {
		b.timer.Stop()
		end(nil)
	}
}

// OutsideBudget is for what may take long although no store is slow. The context that it returns ends when ctx does, but not
// with the budget that [WithBudget] put around it, and until back is called, which must be, that budget is not used up.
// Without a budget it returns ctx.
func OutsideBudget(ctx context.Context) (free context.Context, back func()) {
	b, ok := ctx.Value(budgetKey{}).(*budget)
	if !ok {
		return ctx, func() {}
	}
	b.pause()
	free, end := context.WithCancel(b.outside)
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(context.Cause(ctx), errBudget) {
			end()
		}
	})
	return free, sync.OnceFunc(func() {
		stop()
		end()
		b.goOn()
	})
}

// errBudget is the cause with which a budget ends.
var errBudget = errors.New("the stores took longer than the request may wait")

type budgetKey struct{}

// budget is a context that ends when its time is used up.
type budget struct {
	context.Context // ends with errBudget, or as outside does
	outside         context.Context

	mu     sync.Mutex
	timer  *time.Timer
	left   time.Duration // at since, or, while it is paused, now
	since  time.Time
	paused int
}

// Deadline implements context.Context: when it ends if it is not paused until then.
func (b *budget) Deadline() (time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.paused > 0 {
		return b.outside.Deadline()
	}
	end := b.since.Add(b.left)
	if by, ok := b.outside.Deadline(); ok && by.Before(end) {
		end = by
	}
	return end, true
}

// Err implements context.Context: a budget that is used up is a deadline that has passed, not somebody who hung up.
func (b *budget) Err() error {
	err := b.Context.Err()
	if err != nil && errors.Is(context.Cause(b.Context), errBudget) {
		return context.DeadlineExceeded
	}
	return err
}

// Value implements context.Context.
func (b *budget) Value(key any) any {
	if key == (budgetKey{}) {
		return b
	}
	return b.Context.Value(key)
}

func (b *budget) pause() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.paused++; b.paused == 1 && b.timer.Stop() {
		b.left -= time.Since(b.since)
	}
}

func (b *budget) goOn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.paused--; b.paused == 0 && b.Context.Err() == nil {
		b.since = time.Now()
		b.timer.Reset(max(b.left, 0))
	}
}
