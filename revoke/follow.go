package revoke

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/id"
)

// replay registers and applies the log until the first lease. It does not keep the spacing of renewals while it gets on.
func (f *Follower) replay(ctx context.Context) error {
	for {
		join := !f.member.registered
		out, err := f.step(ctx)
		if err != nil && !errors.Is(err, ErrNotRegistered) {
			return fmt.Errorf("replay the log of revocations: %w", err)
		}
		switch s := f.member.state.Load(); {
		case s.fleet <= 0:
			return errors.New("revoke: the log names no lease for the fleet")
		case s.lease.length > 0:
			return nil
		case join && err == nil || len(out.events) > 0:
			continue
		}
		if err := pause(ctx, f.due()); err != nil {
			return fmt.Errorf("replay the log of revocations: %w", err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// run renews until ctx ends.
func (f *Follower) run(ctx context.Context) {
	timer := time.NewTimer(f.due())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
			f.mu.Lock()
			f.member.hurry()
			f.mu.Unlock()
			timer.Reset(f.due())
			continue
		case <-timer.C:
		}
		select {
		case <-f.wake: // what rang before the request begins is answered by it
		default:
		}
		out, err := f.step(ctx)
		if ctx.Err() != nil {
			return
		}
		f.report(err)
		if out.reset && f.opt.OnReset != nil {
			f.opt.OnReset()
		}
		if len(out.events) > 0 && f.opt.OnEvents != nil {
			f.opt.OnEvents(out.events)
		}
		if err == nil {
			f.sweep(ctx)
		}
		timer.Reset(f.due())
	}
}

// watch lets the log wake the follower up. A log that has no alarm clock leaves it to the renewals.
func (f *Follower) watch(ctx context.Context) {
	for {
		if err := f.log.Watch(ctx, f.hurry); err == nil || ctx.Err() != nil {
			return
		}
		// What was rung while nobody listened is picked up by the next renewal.
		if pause(ctx, longestInterval) != nil {
			return
		}
	}
}

func (f *Follower) due() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	// A clock that a test moves by hand does not move timers; look again at the latest when a renewal would be due.
	return min(f.member.due(f.clock()), longestInterval)
}

// step makes one request to the log and takes its answer.
func (f *Follower) step(ctx context.Context) (outcome, error) {
	f.mu.Lock()
	// While a lease is held, a request that hangs is given up early enough for another before the lease lapses.
	limit := patience
	now := f.clock()
	if s := f.member.state.Load(); s.lease.left(now) > 0 {
		limit = s.fleet / 2
	}
	q := f.member.begin(now)
	f.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if q.join {
		return f.join(ctx, q)
	}
	a, err := f.log.Renew(ctx, q.renewal)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.member.failed(q, err)
		return outcome{}, fmt.Errorf("renew the lease: %w", err)
	}
	now = f.clock()
	out := f.member.answered(q, now, a)
	f.account(now, out)
	return out, out.err
}

func (f *Follower) join(ctx context.Context, q request) (outcome, error) {
	h, err := f.log.Register(ctx, q.registration)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.member.failed(q, err)
		return outcome{}, fmt.Errorf("register a verifier: %w", err)
	}
	out := f.member.joined(q, h)
	f.account(f.clock(), out)
	return out, nil
}

// account keeps what sweep needs. Numbers of a log that is gone say nothing about the registrations of another.
func (f *Follower) account(now Instant, out outcome) {
	if out.reset {
		f.reaper.reset()
		clear(f.gone)
	}
	f.reaper.learn(now, f.member.journal.applied())
	if out.reset || len(out.events) > 0 {
		close(f.moved)
		f.moved = make(chan struct{})
	}
}

// sweep removes the registrations of verifiers that are dead: those that a waiter waited for in vain, and those that are
// behind for longer than any lease.
func (f *Follower) sweep(ctx context.Context) {
	f.mu.Lock()
	gone, self, limit := f.gone, f.member.self, f.member.interval
	below, due := f.reaper.due(f.clock(), f.member.period)
	f.gone = map[id.Verifier]uint64{}
	due = due && f.member.registered // else the numbers may be those of a log that is gone
	f.mu.Unlock()
	if len(gone) == 0 && !due {
		return
	}
	// What fails here is not worth a line in the log: it is done again after the next event, and costs its waiters their
	// patience until then. It may take no longer than the lease can spare.
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for v, n := range gone {
		_ = f.log.Remove(ctx, n, v)
	}
	if !due {
		return
	}
	list, err := f.log.Registered(ctx)
	if err != nil {
		return
	}
	if ids := dead(list, below, self); len(ids) > 0 {
		_ = f.log.Remove(ctx, below, ids...)
	}
	f.mu.Lock()
	f.reaper.looked()
	f.mu.Unlock()
}

// report keeps the error for Err and logs a change of state once.
func (f *Follower) report(err error) {
	before := f.Err()
	if err == nil {
		f.err.Store(nil)
		if before != nil {
			f.opt.Logger.Info("revocation lease is renewed again")
		}
		return
	}
	f.err.Store(&err)
	if before == nil {
		f.opt.Logger.Warn("revocation lease is not renewed; checks ask the store", "error", err)
	}
}
