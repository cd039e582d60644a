package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// trial is one thing that is measured.
type trial struct {
	name string // check, login, refresh or hash
	form string // session, token or hybrid; empty where that makes no difference
	over string // overProcess or overHTTP
	from string // fromMemory or fromStore; empty where that makes no difference

	atOnce int           // workers, each with one call at a time
	length time.Duration // of the measurement; it is warmed up for a fifth of that before
	least  int           // calls that each worker makes, however long they take

	// worker makes what one worker calls again and again. It is asked for twice, for the warm-up and for the measurement.
	worker func(n int) func(ctx context.Context) error
}

// How a check is asked for, and who answers it.
const (
	overProcess = "process"
	overHTTP    = "http"
	fromMemory  = "memory"
	fromStore   = "store"
)

// measured is what came of a step.
type measured struct {
	step    trial
	times   times
	errors  uint64
	first   error // of them
	elapsed time.Duration
}

// rate is how many calls succeeded in a second.
func (m *measured) rate() float64 {
	if m.elapsed <= 0 {
		return 0
	}
	return float64(m.times.count) / m.elapsed.Seconds()
}

// failed is nil for a measurement without errors.
func (m *measured) failed() error {
	if m.errors == 0 {
		return nil
	}
	return fmt.Errorf("%s: %d of %d calls failed, the first with: %w", m.step, m.errors, m.errors+m.times.count, m.first)
}

// String names a step for people.
func (s trial) String() string {
	text := s.name
	if s.name == loginHash {
		text = "hash of a login"
	}
	if s.form != "" {
		text += " of the form " + s.form
	}
	if s.over == overHTTP {
		text += " over HTTP"
	}
	if s.from == fromStore {
		text += " by a look-up"
	}
	return text
}

// warmUp is how long a step runs before it is measured: connections are opened, memory is filled.
func (s trial) warmUp() time.Duration { return s.length / 5 }

// measure runs a step. An error means that it was interrupted; calls that fail are counted.
func measure(ctx context.Context, s trial) (*measured, error) {
	warm := s
	warm.length, warm.least = s.warmUp(), 1
	drive(ctx, warm)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	m := drive(ctx, s)
	return m, context.Cause(ctx)
}

// drive lets the workers of a step call until its time is over.
func drive(ctx context.Context, s trial) *measured {
	shares := make([]measured, s.atOnce)
	var workers sync.WaitGroup
	began := time.Now()
	for n := range shares {
		workers.Go(func() { s.work(ctx, n, &shares[n]) })
	}
	workers.Wait()
	all := &measured{step: s, elapsed: time.Since(began)}
	for n := range shares {
		all.times.join(&shares[n].times)
		all.errors += shares[n].errors
		if all.first == nil {
			all.first = shares[n].first
		}
	}
	return all
}

// enoughErrors is after how many a worker gives up: what fails at once would otherwise fail a million times.
const enoughErrors = 100

// work is one worker. The end of a call is the beginning of the next one, so that the clock is read once for each: a check
// from memory takes little longer than that.
func (s trial) work(ctx context.Context, n int, into *measured) {
	call := s.worker(n)
	at := time.Now()
	end := at.Add(s.length)
	for calls := 0; calls < s.least || at.Before(end); calls++ {
		err := call(ctx)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return // what it says of this call is not the call's doing
		case err == nil:
			into.times.add(now.Sub(at))
		default:
			into.errors++
			if into.first == nil {
				into.first = err
			}
			if into.errors == enoughErrors {
				return
			}
		}
		at = now
	}
}
