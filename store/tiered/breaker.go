package tiered

import (
	"context"
	"sync"
	"time"
)

// State is how the cache is treated.
type State string

// The states.
const (
	Closed   State = "closed"    // it is asked
	Open     State = "open"      // it is left alone: the database is asked instead
	HalfOpen State = "half_open" // one call tries whether it is back
)

// After so many failures in a row the cache is left alone, for a time that doubles while it does not come back.
const (
	maxFailures = 5
	firstPause  = 500 * time.Millisecond
	longPause   = 5 * time.Second
)

// breaker leaves a cache alone that does not answer: a time-out for each look-up would be slower than no cache. The zero
// value is closed.
type breaker struct {
	mu       sync.Mutex
	failures int
	pause    time.Duration // 0 while closed
	until    time.Time     // open before this
	probing  bool
	opened   uint64
}

// enter says whether the cache may be called. Whoever enters must leave.
func (b *breaker) enter(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pause == 0:
		return true
	case now.Before(b.until) || b.probing:
		return false
	default:
		b.probing = true
		return true
	}
}

// leave says how the call went.
func (b *breaker) leave(now time.Time, outcome outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	probe := b.probing
	b.probing = false
	switch {
	case outcome == answered:
		b.failures, b.pause = 0, 0
	case outcome == abandoned:
	case probe:
		b.pause = min(2*b.pause, longPause)
		b.until = now.Add(b.pause)
	default:
		if b.failures++; b.failures >= maxFailures && b.pause == 0 {
			b.pause, b.opened = firstPause, b.opened+1
			b.until = now.Add(b.pause)
		}
	}
}

func (b *breaker) look(now time.Time) (State, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pause == 0:
		return Closed, b.opened
	case now.Before(b.until):
		return Open, b.opened
	default:
		return HalfOpen, b.opened
	}
}

// outcome is how a call of the cache went.
type outcome uint8

const (
	answered  outcome = iota + 1
	failed            // no answer, or none in time
	abandoned         // its caller has gone: it says nothing about the cache
)

// call calls the cache, if it is not left alone, for no longer than the time-out. It reports whether it answered.
func (s *Store) call(ctx context.Context, fn func(ctx context.Context) error) bool {
	if ctx.Err() != nil || !s.breaker.enter(time.Now()) {
		return false
	}
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := fn(limited)
	switch {
	case err == nil:
		s.breaker.leave(time.Now(), answered)
	case ctx.Err() != nil:
		s.breaker.leave(time.Now(), abandoned)
	default:
		s.failures.Add(1)
		s.breaker.leave(time.Now(), failed)
	}
	return err == nil
}
