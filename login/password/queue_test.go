package password

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/bubbletest"
)

func TestQueueDefaults(t *testing.T) {
	q := NewQueue(0, 0, 0)
	if q.workers < 1 || q.waiting != 64*q.workers || q.maxWait != 3*time.Second {
		t.Errorf("defaults %d, %d, %v", q.workers, q.waiting, q.maxWait)
	}
	if q := NewQueue(-1, -1, -1); q.workers < 1 || q.waiting < 1 || q.maxWait < 1 {
		t.Errorf("below zero: %d, %d, %v", q.workers, q.waiting, q.maxWait)
	}
}

// No more than the workers run at once, whatever comes; so memory is bounded.
func TestQueueBoundsWhatRuns(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		q := NewQueue(3, 100, time.Hour)
		var running, most, done atomic.Int32
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				err := q.Do(t.Context(), func() {
					now := running.Add(1)
					for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
					}
					time.Sleep(time.Second)
					running.Add(-1)
					done.Add(1)
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		start := time.Now()
		all.Wait()
		if most.Load() != 3 || done.Load() != 50 || time.Since(start) != 17*time.Second {
			t.Errorf("%d at once, %d done, in %v; want 3, 50, 17s", most.Load(), done.Load(), time.Since(start))
		}
		checkIdle(t, q)
	})
}

func checkIdle(t *testing.T, q *Queue) {
	t.Helper()
	if l := q.Load(); l.Running != 0 || l.Waiting != 0 {
		t.Errorf("%d running and %d waiting, want none", l.Running, l.Waiting)
	}
}

// occupy takes a slot until the returned function is called.
func occupy(t *testing.T, q *Queue) (free func()) {
	t.Helper()
	hold := make(chan struct{})
	go func() { _ = q.Do(context.Background(), func() { <-hold }) }()
	synctest.Wait()
	return func() { close(hold); synctest.Wait() }
}

func TestQueueServesInOrderOfArrival(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		q := NewQueue(1, 100, time.Hour)
		free := occupy(t, q)
		var order []int
		for i := range 20 {
			go func() { _ = q.Do(t.Context(), func() { order = append(order, i) }) }()
			synctest.Wait()
		}
		free()
		if len(order) != 20 || !slices.IsSorted(order) {
			t.Errorf("order %v", order)
		}
		checkIdle(t, q)
	})
}

// A newcomer must not overtake those who wait at the moment a slot comes free.
func TestQueueNobodyOvertakes(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		q := NewQueue(1, 10, time.Hour)
		free := occupy(t, q)
		var order []string
		go func() { _ = q.Do(t.Context(), func() { order = append(order, "first") }) }()
		synctest.Wait()
		free()
		if err := q.Do(t.Context(), func() { order = append(order, "second") }); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(order) != "[first second]" {
			t.Errorf("order %v", order)
		}
	})
}

func TestQueueRefusesWhenTooManyWait(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		q := NewQueue(1, 2, 2500*time.Millisecond)
		free := occupy(t, q)
		var served atomic.Int32
		for range 2 {
			go func() { _ = q.Do(t.Context(), func() { served.Add(1) }) }()
		}
		synctest.Wait()
		start := time.Now()
		err := q.Do(t.Context(), func() { t.Error("work ran") })
		busy, ok := errors.AsType[*BusyError](err)
		if !ok || !errors.Is(err, ErrBusy) || busy.RetryAfter != 3 {
			t.Errorf("full queue: %v, want ErrBusy with 3 s", err)
		}
		if time.Since(start) != 0 {
			t.Errorf("refused after %v, want at once", time.Since(start))
		}
		if l := q.Load(); l != (Load{Running: 1, Waiting: 2, Refused: 1}) {
			t.Errorf("%+v", l)
		}
		free()
		if served.Load() != 2 {
			t.Errorf("%d served, want 2", served.Load())
		}
		checkIdle(t, q)
	})
}

func TestQueueBoundsTheWait(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		q := NewQueue(1, 10, 2*time.Second)
		free := occupy(t, q)
		start := time.Now()
		err := q.Do(t.Context(), func() { t.Error("work ran") })
		if !errors.Is(err, ErrBusy) || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %v, want ErrBusy after 2s", err, time.Since(start))
		}
		if l := q.Load(); l.Waiting != 0 || l.Refused != 1 {
			t.Errorf("the place is still taken, or the refusal is not counted: %+v", l)
		}
		free()
		if err := q.Do(t.Context(), func() {}); err != nil {
			t.Errorf("free queue: %v", err)
		}
		checkIdle(t, q)
	})
}

func TestQueueCancelLeaves(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		q := NewQueue(1, 2, time.Hour)
		free := occupy(t, q)
		gone := errors.New("client went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		result := make(chan error, 1)
		go func() { result <- q.Do(ctx, func() { t.Error("work ran") }) }()
		synctest.Wait()
		served := false
		go func() { _ = q.Do(t.Context(), func() { served = true }) }()
		synctest.Wait()
		cancel(gone)
		if err := <-result; !errors.Is(err, gone) || errors.Is(err, ErrBusy) {
			t.Errorf("cancelled: %v", err)
		}
		if l := q.Load(); l.Waiting != 1 || l.Refused != 0 { // who left was not refused
			t.Errorf("%+v, want 1 waiting", l)
		}
		free()
		if !served {
			t.Error("who waited behind was not served")
		}
		if err := q.Do(ctx, func() { t.Error("work ran") }); !errors.Is(err, gone) {
			t.Errorf("cancelled before: %v", err)
		}
		checkIdle(t, q)
	})
}

// The slot comes at the moment at which the one who waits leaves: it must reach the next one.
func TestQueueSlotComesWhileLeaving(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		q := NewQueue(1, 2, time.Hour)
		if err := q.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- q.Do(ctx, func() { t.Error("work ran") }) }()
		synctest.Wait()
		q.mu.Lock()
		cancel() // wakes the one who waits, who then needs mu
		q.handOver()
		q.mu.Unlock()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		checkIdle(t, q)
		if err := q.Do(t.Context(), func() {}); err != nil {
			t.Error(err)
		}
	})
}

// The slot comes at the moment at which patience ends: it is taken.
func TestQueueSlotComesAtTheLastMoment(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		q := NewQueue(1, 2, time.Second)
		if err := q.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() { result <- q.Do(t.Context(), func() {}) }()
		synctest.Wait()
		q.mu.Lock()
		time.Sleep(time.Second)
		q.handOver()
		q.mu.Unlock()
		if err := <-result; err != nil {
			t.Error(err)
		}
		checkIdle(t, q)
	})
}

func TestQueueSurvivesPanic(t *testing.T) {
	q := NewQueue(1, 1, time.Hour)
	func() {
		defer func() { _ = recover() }()
		_ = q.Do(t.Context(), func() { panic("x") })
	}()
	if err := q.Do(t.Context(), func() {}); err != nil {
		t.Error(err)
	}
	checkIdle(t, q)
}

// Slots are neither lost nor made when turns, ends of patience and cancellations meet.
func TestQueueKeepsCountUnderRaces(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		q := NewQueue(2, 8, 3*time.Millisecond)
		var running atomic.Int32
		var served, busy, gone atomic.Int32
		var all sync.WaitGroup
		for i := range 400 {
			all.Go(func() {
				time.Sleep(time.Duration(i/4) * time.Millisecond)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%5)*time.Millisecond)
				defer cancel()
				err := q.Do(ctx, func() {
					if running.Add(1) > 2 {
						t.Error("more than two at once")
					}
					time.Sleep(time.Millisecond)
					running.Add(-1)
				})
				switch {
				case err == nil:
					served.Add(1)
				case errors.Is(err, ErrBusy):
					busy.Add(1)
				case errors.Is(err, context.DeadlineExceeded):
					gone.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if served.Load()+busy.Load()+gone.Load() != 400 || served.Load() == 0 || busy.Load() == 0 || gone.Load() == 0 {
			t.Errorf("%d served, %d refused, %d gone", served.Load(), busy.Load(), gone.Load())
		}
		checkIdle(t, q)
	})
}

// TestQueueIsOutsideBudgets: waiting for a turn and hashing do not use up what the stores may take, or in a crowd nobody
// whose turn comes would have time left to log in.
func TestQueueIsOutsideBudgets(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		ctx, cancel := handstamp.WithBudget(t.Context(), time.Second)
		defer cancel()
		q := NewQueue(1, 1, 0)
		var first sync.WaitGroup
		first.Go(func() {
			if err := q.Do(t.Context(), func() { time.Sleep(2 * time.Second) }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if err := q.Do(ctx, func() { time.Sleep(2 * time.Second) }); err != nil || ctx.Err() != nil {
			t.Errorf("Do = %v, and the budget %v", err, ctx.Err())
		}
		first.Wait()
		time.Sleep(time.Second + time.Millisecond)
		if err := q.Do(ctx, func() {}); err == nil {
			t.Error("a hash is made for a request that is over")
		}
	})
}
