package revoke

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/bubbletest"
)

const wholeWait = period * 112 / 100

func TestFleetWait(t *testing.T) {
	at := func(d time.Duration) Instant { return Instant{Mono: time.Hour + d} }
	row := func(v id.Verifier, applied, lag uint64) Registration {
		return Registration{Verifier: v, Applied: applied, Lag: lag}
	}
	tests := []struct {
		name    string
		lists   [][]Registration
		missing int
	}{
		{"nobody is registered", [][]Registration{{}}, 0},
		{"all have applied it", [][]Registration{{row("a", 5, 0), row("b", 9, 0)}}, 0},
		{"one has not", [][]Registration{{row("a", 5, 0), row("b", 4, 0)}}, 1},
		{"one applies it later", [][]Registration{{row("b", 4, 0)}, {row("b", 5, 0)}}, 0},
		{"who is removed holds no lease", [][]Registration{{row("b", 4, 0)}, {}}, 0},
		{"who comes later reads the event", [][]Registration{{row("a", 5, 0)}, {row("a", 5, 0), row("b", 0, 0)}}, 0},
		{"a node speaks for its remotes", [][]Registration{{row("a", 6, 2)}}, 1},
		{"a node whose remotes have it", [][]Registration{{row("a", 6, 2)}, {row("a", 7, 2)}}, 0},
		{"a lag that makes no sense", [][]Registration{{row("a", 6, 100)}}, 1},
	}
	for _, tt := range tests {
		f := newFleetWait(at(0), period, 5)
		if f.done(at(0)) {
			t.Errorf("%s: done before anything was read", tt.name)
		}
		for _, list := range tt.lists {
			f.see(list)
		}
		if got := f.done(at(wholeWait - 1)); got != (tt.missing == 0) || len(f.waitedOut()) != tt.missing {
			t.Errorf("%s: done = %v, missing %v, want %d missing", tt.name, got, f.waitedOut(), tt.missing)
		}
		if !f.done(at(wholeWait)) {
			t.Errorf("%s: not done at the bound", tt.name)
		}
	}
	if f := newFleetWait(at(0), period, 5); !f.done(at(wholeWait)) {
		t.Error("not done at the bound when nothing could be read")
	}
}

func TestWaitForTheFleet(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		a, b := follow(t, l, FollowOptions{}), follow(t, l, FollowOptions{})
		defer a.Close()
		defer b.Close()
		synctest.Wait() // until both are watching
		own := l.append(endOf("ses_1"))
		a.Learn(own...)
		got, err := a.Wait(t.Context(), own[0].Seq)
		if err != nil || got.Verifiers != 2 || got.WaitedOut != 0 || got.Took > 150*ms {
			t.Errorf("Wait = %+v, %v, want 2 verifiers within 150 ms", got, err)
		}
		for _, f := range []*Follower{a, b} {
			if says(f, "ses_1").Ended != 1 {
				t.Error("a check after the wait does not know the event")
			}
		}
		if got, err = a.Wait(t.Context(), own[0].Seq); err != nil || got.Took > 10*ms {
			t.Errorf("waiting again = %+v, %v, want at once", got, err)
		}
		if got, err = a.Wait(t.Context(), 0); err != nil || got != (Waited{}) {
			t.Errorf("waiting for no event = %+v, %v", got, err)
		}
	})
}

// TestWaitNeverTakesLongerThanTheLease, whatever dead verifiers or the log do, and the dead cost only the first waiter.
func TestWaitNeverTakesLongerThanTheLease(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		l.set(func(l *fakeLog) { l.rows["vrf_dead"] = Registration{Verifier: "vrf_dead"} })
		e := l.append(endOf("ses_1"))
		f.Learn(e...)
		got, err := f.Wait(t.Context(), 1)
		if err != nil || got.WaitedOut != 1 || got.Verifiers != 2 || got.Took < wholeWait || got.Took > wholeWait+ms {
			t.Errorf("with a dead verifier: %+v, %v, want 1 waited out in %v", got, err, wholeWait)
		}
		time.Sleep(longestInterval + spacing)
		f.Learn(l.append(endOf("ses_2"))...)
		if got, err = f.Wait(t.Context(), 2); err != nil || got.WaitedOut != 0 || got.Took > 150*ms {
			t.Errorf("the next wait: %+v, %v, want the dead one gone", got, err)
		}
		for _, fault := range []func(l *fakeLog){
			func(l *fakeLog) { l.fail = errDown },
			func(l *fakeLog) { l.fail, l.stall = nil, true },
		} {
			l.set(fault)
			got, err = f.Wait(t.Context(), 2)
			if err != nil || got.Took < wholeWait || got.Took > wholeWait+2*ms {
				t.Errorf("with a faulty log: %+v, %v, want %v", got, err, wholeWait)
			}
		}
		l.set(func(l *fakeLog) { l.stall = false })
	})
}

func TestWaitWithoutAFollower(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		synctest.Wait() // until it is watching
		w := Waiting{Seq: l.append(endOf("ses_1"))[0].Seq, Lease: period, Clock: SystemClock()}
		got, err := Wait(t.Context(), l, w)
		if err != nil || got.Verifiers != 1 || got.WaitedOut != 0 || got.Took > 150*ms {
			t.Errorf("Wait = %+v, %v, want the one verifier within 150 ms", got, err)
		}
		l.set(func(l *fakeLog) { l.rows["vrf_dead"] = Registration{Verifier: "vrf_dead"} })
		if got, err = Wait(t.Context(), l, w); err != nil || got.WaitedOut != 1 || got.Took < wholeWait {
			t.Errorf("Wait with a dead verifier = %+v, %v", got, err)
		}
		if _, there, n := l.row("vrf_dead"); there || n != 1 {
			t.Errorf("%d registrations, the dead one among them: %v; want the living one", n, there)
		}
		w.Self = "vrf_self"
		l.set(func(l *fakeLog) { l.rows["vrf_self"] = Registration{Verifier: "vrf_self"} })
		if got, err = Wait(t.Context(), l, w); err != nil || got.WaitedOut != 0 || got.Took > 10*ms {
			t.Errorf("Wait of one that verifies itself = %+v, %v, want at once", got, err)
		}
		if got, err = Wait(t.Context(), l, Waiting{}); err != nil || got != (Waited{}) {
			t.Errorf("waiting for no event = %+v, %v", got, err)
		}
	})
}

func TestWaitIsCancelled(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		l.set(func(l *fakeLog) { l.rows["vrf_dead"] = Registration{Verifier: "vrf_dead"} })
		l.append(endOf("ses_1"))
		ctx, cancel := context.WithTimeout(t.Context(), 300*ms)
		defer cancel()
		if _, err := f.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %v, want the context's error", err)
		}
	})
}

func TestTooManyWaiters(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		l.set(func(l *fakeLog) { l.rows["vrf_dead"] = Registration{Verifier: "vrf_dead"} })
		f.Learn(l.append(endOf("ses_1"))...)
		var group sync.WaitGroup
		for range maxWaiters {
			group.Go(func() {
				if _, err := f.Wait(t.Context(), 1); err != nil {
					t.Errorf("Wait: %v", err)
				}
			})
		}
		synctest.Wait()
		if _, err := f.Wait(t.Context(), 1); !errors.Is(err, ErrTooManyWaiters) {
			t.Errorf("one more Wait = %v, want ErrTooManyWaiters", err)
		}
		group.Wait()
		if _, err := f.Wait(t.Context(), 1); err != nil {
			t.Errorf("Wait after the others ended: %v", err)
		}
	})
}

// slowList takes a while for each list, as a database does.
type slowList struct {
	*fakeLog
	running, most int
}

func (l *slowList) Registered(ctx context.Context) ([]Registration, error) {
	l.set(func(*fakeLog) { l.running++; l.most = max(l.most, l.running) })
	time.Sleep(5 * ms)
	l.set(func(*fakeLog) { l.running-- })
	return l.fakeLog.Registered(ctx)
}

// TestWaitersShareReads: many waiters cost the database little more than one, and none takes a list from before it asked.
func TestWaitersShareReads(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := &slowList{fakeLog: newFakeLog()}
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		l.set(func(l *fakeLog) { l.rows["vrf_late"] = Registration{Verifier: "vrf_late"} })
		f.Learn(l.append(endOf("ses_1"))...)
		var group sync.WaitGroup
		for i := range 200 {
			group.Go(func() {
				time.Sleep(time.Duration(i) * ms / 10)
				if got, err := f.Wait(t.Context(), 1); err != nil || got.WaitedOut != 0 || got.Took > 400*ms {
					t.Errorf("Wait = %+v, %v, want it over soon after the last one has applied the event", got, err)
				}
			})
		}
		time.Sleep(300 * ms)
		l.set(func(l *fakeLog) { l.rows["vrf_late"] = Registration{Verifier: "vrf_late", Applied: 1} })
		group.Wait()
		if n := l.called("Registered"); n > 80 || l.most != 1 {
			t.Errorf("%d lists, %d at a time, for 200 waiters in 300 ms; want one after the other", n, l.most)
		}
	})
}

func TestReaper(t *testing.T) {
	at := func(d time.Duration) Instant { return Instant{Mono: time.Hour + d} }
	var r reaper
	if _, due := r.due(at(time.Hour), period); due {
		t.Error("due before any event")
	}
	r.learn(at(0), 5)
	r.learn(at(time.Second), 9) // does not put off what is known of 5
	if _, due := r.due(at(wholeWait-1), period); due {
		t.Error("due before every lease without event 5 has ended")
	}
	if below, due := r.due(at(wholeWait), period); !due || below != 5 {
		t.Errorf("due = %d, %v, want those below 5", below, due)
	}
	if _, due := r.due(at(wholeWait), 0); due {
		t.Error("due without a lease to go by")
	}
	r.looked()
	r.learn(at(2*wholeWait), 5)
	if _, due := r.due(at(4*wholeWait), period); due {
		t.Error("due twice for one number")
	}
	list := []Registration{{Verifier: "self"}, {Verifier: "a", Applied: 4}, {Verifier: "b", Applied: 5}}
	if got := dead(list, 5, "self"); !slices.Equal(got, []id.Verifier{"a"}) {
		t.Errorf("dead = %v, want a", got)
	}
	if got := dead(list[1:], 5, "self"); got != nil {
		t.Errorf("dead by a list that the caller is not in = %v, want nobody", got)
	}
}

func ExampleWaited() {
	w := Waited{Verifiers: 3, WaitedOut: 1, Took: wholeWait}
	fmt.Printf("%d verifiers, of which %d waited out, in %v\n", w.Verifiers, w.WaitedOut, w.Took)
	// Output: 3 verifiers, of which 1 waited out, in 2.24s
}
