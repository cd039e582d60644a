package tiered

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/bubbletest"
)

var errAway = errors.New("away")

// TestBreaker: a cache that does not answer is left alone after a few tries, tried by one call at a time, for pauses that
// double, and used again once it answers.
func TestBreaker(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		s := New(nil, nil, Options{})
		calls := 0
		call := func(err error) bool {
			return s.call(t.Context(), func(context.Context) error { calls++; return err })
		}
		for n := range 20 {
			call(errAway)
			if want := min(n+1, maxFailures); calls != want {
				t.Fatalf("after %d look-ups the cache was called %d times, want %d", n+1, calls, want)
			}
		}
		if st := s.Stats(); st.State != Open || st.Opened != 1 || st.Errors != maxFailures {
			t.Errorf("Stats = %+v, want open", st)
		}
		for _, pause := range []time.Duration{firstPause, 2 * firstPause, 4 * firstPause, 8 * firstPause, longPause, longPause} {
			time.Sleep(pause - 1)
			before := calls
			if call(errAway); calls != before {
				t.Errorf("the cache was called %v after it failed", pause-1)
			}
			time.Sleep(time.Nanosecond)
			if s.Stats().State != HalfOpen {
				t.Errorf("State after %v = %s, want half open", pause, s.Stats().State)
			}
			call(errAway)
			call(errAway)
			if calls != before+1 {
				t.Errorf("%d calls tried it after %v, want 1", calls-before, pause)
			}
		}
		time.Sleep(longPause)
		first, second := call(nil), call(nil)
		if !first || !second || s.Stats().State != Closed {
			t.Errorf("State after it answered = %s, want closed", s.Stats().State)
		}
		for range maxFailures - 1 {
			call(errAway)
		}
		call(nil)
		for range maxFailures - 1 {
			call(errAway)
		}
		if s.Stats().State != Closed {
			t.Error("failures that are not in a row opened it")
		}
	})
}

// TestProbe: while one call tries whether the cache is back all others go to the database, and a caller who goes away says
// nothing about the cache.
func TestProbe(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		s := New(nil, nil, Options{})
		for range maxFailures {
			s.call(t.Context(), func(context.Context) error { return errAway })
		}
		time.Sleep(firstPause)
		ctx, cancel := context.WithCancel(t.Context())
		entered := make(chan struct{})
		over := make(chan bool)
		go func() {
			over <- s.call(ctx, func(ctx context.Context) error { close(entered); <-ctx.Done(); return ctx.Err() })
		}()
		<-entered
		if s.call(t.Context(), func(context.Context) error { t.Error("a second call was let through"); return nil }) {
			t.Error("a second call was answered")
		}
		cancel()
		if <-over {
			t.Error("a call whose caller has gone was answered")
		}
		if !s.call(t.Context(), func(context.Context) error { return nil }) || s.Stats().State != Closed {
			t.Error("the next call did not close it")
		}
		for range 2 * maxFailures {
			gone, cancel := context.WithCancel(t.Context())
			s.call(gone, func(context.Context) error { cancel(); return gone.Err() })
		}
		if s.Stats().State != Closed {
			t.Error("callers who went away opened it")
		}
	})
}

// TestTimeout bounds a call that gets no answer.
func TestTimeout(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		for given, want := range map[time.Duration]time.Duration{0: defaultTimeout, 1: leastTimeout, time.Hour: maxTimeout, 30 * time.Millisecond: 30 * time.Millisecond} {
			s, began := New(nil, nil, Options{Timeout: given}), time.Now()
			if s.call(t.Context(), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }) || time.Since(began) != want {
				t.Errorf("Timeout %v: the call took %v, want %v", given, time.Since(began), want)
			}
		}
	})
}
