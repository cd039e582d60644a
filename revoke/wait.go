package revoke

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/handstamp/handstamp/id"
)

const (
	firstPoll = 4 * time.Millisecond
	lastPoll  = 25 * time.Millisecond
)

// pollAfter returns how long to pause before the next look at the registrations, after pauses of that much: a quarter of
// it, so that an acknowledgement is seen soon after it was written, however long it took. These are 13 looks in the first
// 100 ms and 40 a second afterwards; see [lister] for what many waiters cost.
func pollAfter(paused time.Duration) time.Duration {
	return min(max(paused/4, firstPoll), lastPoll)
}

// Waited says how a wait for the fleet went.
type Waited struct {
	Verifiers int // registered verifiers that had to apply the event
	WaitedOut int // those whose lease had to run out instead
	Took      time.Duration
}

// Waiting says what [Wait] waits for.
type Waiting struct {
	Seq   uint64        // the event's number
	Lease time.Duration // the fleet's lease
	Clock Clock
	// Self is the caller's own verifier, if it has one and has applied the event to it; it is not waited for.
	Self id.Verifier
}

// Wait returns when no check that begins from then on can be answered yes from memory by a registered verifier that has
// not applied the event. It is for a process that verifies nothing itself; see [Follower.Wait] for one that does.
//
// It must be called after the commit of the event was confirmed, and takes at most 1.12 leases: by then every lease that
// was given without the event has ended, whatever verifiers and log do, so a log that cannot be read only makes it take
// that long. Verifiers that did not answer are removed, and register anew if they live. The only error is that of ctx:
// the event stands, but the fleet was not waited for.
func Wait(ctx context.Context, log Log, w Waiting) (Waited, error) {
	if w.Seq == 0 {
		return Waited{}, nil
	}
	f := newFleetWait(w.Clock(), w.Lease, w.Seq)
	own := func(Instant) (id.Verifier, bool) { return w.Self, w.Self != "" }
	if err := f.run(ctx, w.Clock, own, log.Registered); err != nil {
		return Waited{}, err
	}
	if dead := f.waitedOut(); len(dead) > 0 {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_ = log.Remove(ctx, w.Seq, dead...) // who is left over costs the next waiter its patience, no more
	}
	return f.result(w.Clock()), nil
}

// fleetWait is one wait, as a state machine over a clock and lists of registrations that are given to it.
type fleetWait struct {
	seq     uint64
	start   Instant
	bound   time.Duration
	listed  bool
	total   int
	missing map[id.Verifier]struct{}
}

// newFleetWait begins a wait for the event seq, whose commit was confirmed before now.
func newFleetWait(now Instant, period time.Duration, seq uint64) *fleetWait {
	return &fleetWait{seq: seq, start: now, bound: margin(period)}
}

// see takes a list of registrations that was read after newFleetWait. The first one says who is waited for: whoever
// registers later reads a log that holds the event. Who is gone from a later list was removed by somebody who had waited
// long enough, and holds no lease.
func (f *fleetWait) see(list []Registration) {
	behind := make(map[id.Verifier]struct{}, len(list))
	for _, r := range list {
		if r.Applied < f.seq || r.Applied-min(r.Lag, r.Applied) < f.seq {
			behind[r.Verifier] = struct{}{}
		}
	}
	if !f.listed {
		f.listed, f.total, f.missing = true, len(list), behind
		return
	}
	maps.DeleteFunc(f.missing, func(v id.Verifier, _ struct{}) bool {
		_, ok := behind[v]
		return !ok
	})
}

// settle notes that v has applied the event, whatever its registration says yet.
func (f *fleetWait) settle(v id.Verifier) { delete(f.missing, v) }

// left returns how long it is until the bound. The waiter's monotonic clock decides alone: where it misses a suspend, it
// waits longer.
func (f *fleetWait) left(now Instant) time.Duration {
	return max(0, f.start.Mono+f.bound-now.Mono)
}

// done reports whether the wait is over.
func (f *fleetWait) done(now Instant) bool {
	return f.listed && len(f.missing) == 0 || f.left(now) == 0
}

// waitedOut lists who did not answer.
func (f *fleetWait) waitedOut() []id.Verifier { return slices.Collect(maps.Keys(f.missing)) }

func (f *fleetWait) result(now Instant) Waited {
	return Waited{Verifiers: f.total, WaitedOut: len(f.missing), Took: now.Mono - f.start.Mono}
}

// run polls until the wait is done. own says whether this process has the event applied; list reads the registrations.
// Nothing is held between two reads.
func (f *fleetWait) run(
	ctx context.Context, clock Clock, own func(Instant) (id.Verifier, bool),
	list func(context.Context) ([]Registration, error),
) error {
	paused := time.Duration(0)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		// The bound holds for a read that hangs, too.
		read, cancel := context.WithTimeout(ctx, max(f.left(clock()), time.Millisecond))
		regs, err := list(read)
		cancel()
		if err == nil {
			f.see(regs)
		}
		now := clock()
		if v, ok := own(now); ok {
			f.settle(v)
		}
		if f.done(now) {
			return nil
		}
		pause := pollAfter(paused)
		timer.Reset(min(pause, f.left(now)))
		paused += pause
	}
}
