package revoke

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/bubbletest"
)

// farLog is a log whose calls take a while, as a database's do.
type farLog struct {
	*fakeLog
	away time.Duration
}

func (l farLog) Renew(ctx context.Context, r Renewal) (Answer, error) {
	defer time.Sleep(l.away / 2)
	time.Sleep(l.away / 2)
	return l.fakeLog.Renew(ctx, r)
}

func (l farLog) Registered(ctx context.Context) ([]Registration, error) {
	defer time.Sleep(l.away / 2)
	time.Sleep(l.away / 2)
	return l.fakeLog.Registered(ctx)
}

// nodeLog is the log as a node tells it to a remote verifier: answers from memory, and a stream that wakes.
type nodeLog struct {
	node  *Follower
	away  time.Duration
	calls *int // guarded by mu
	mu    *sync.Mutex
}

func newNodeLog(node *Follower, away time.Duration) nodeLog {
	return nodeLog{node, away, new(int), new(sync.Mutex)}
}

func (l nodeLog) called() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return *l.calls
}

func (l nodeLog) Register(_ context.Context, r Registration) (Head, error) {
	a, err := l.node.Answer(Renewal{Verifier: r.Verifier, Limit: pageLimit})
	a.Head.Lease = period // a reset names none
	return a.Head, err
}

func (l nodeLog) Renew(_ context.Context, r Renewal) (Answer, error) {
	l.mu.Lock()
	*l.calls++
	l.mu.Unlock()
	defer time.Sleep(l.away / 2)
	time.Sleep(l.away / 2)
	return l.node.Answer(r)
}

func (l nodeLog) Watch(ctx context.Context, wake func()) error {
	for at := l.node.Applied(); ; at = l.node.Applied() {
		if err := l.node.Await(ctx, at, l.node.View().Log); err != nil {
			return err
		}
		time.Sleep(l.away / 2)
		wake()
	}
}

func (nodeLog) Registered(context.Context) ([]Registration, error)      { return nil, nil }
func (nodeLog) Remove(context.Context, uint64, ...id.Verifier) error    { return nil }
func (nodeLog) Forget(context.Context, time.Time, int) (n int, _ error) { return 0, nil }

// TestWaitTakesRoundTrips: over a fleet at rest, waiting takes the round trips of the protocol and a look at the list, and
// no pause besides. A node reads the event and acknowledges it; what remote verifiers do lies between the two, and then the
// node says so.
func TestWaitTakesRoundTrips(t *testing.T) {
	const away = 2 * ms
	for _, remotes := range []int{0, 1, 20} {
		bubbletest.Test(t, func(t *testing.T) {
			l := farLog{newFakeLog(), away}
			a, b := follow(t, l, FollowOptions{}), follow(t, l, FollowOptions{})
			defer a.Close()
			defer b.Close()
			for i := range remotes {
				r := follow(t, newNodeLog([]*Follower{a, b}[i%2], away), FollowOptions{})
				defer r.Close()
			}
			var took []time.Duration
			for i := range 101 {
				time.Sleep(time.Duration(300+i*37) * ms) // whenever the last renewals were
				own := l.append(endOf("ses_1"))
				a.Learn(own...)
				before := l.called("Renew")
				w, err := a.Wait(t.Context(), own[0].Seq)
				if err != nil || w.WaitedOut != 0 {
					t.Fatalf("Wait = %+v, %v", w, err)
				}
				took = append(took, w.Took)
				time.Sleep(100 * ms)
				if n := l.called("Renew") - before; n > 8 {
					t.Errorf("%d renewals of two nodes for one event, want 4 each at most", n)
				}
			}
			slices.Sort(took)
			t.Logf("%d remotes: %v in the median, %v at most", remotes, took[50], took[100])
			// To the node and back, the node's word of it, and on the way between them the remote's event and its two renewals.
			trips := 2 * away
			if remotes > 0 {
				trips += 3*away + away
			}
			if p50, most := took[50], trips+pollAfter(trips)+away+firstPoll; p50 > most {
				t.Errorf("%d remotes: the median is %v, want at most %v; all: %v", remotes, p50, most, took)
			}
			if last := took[100]; last > 50*ms {
				t.Errorf("%d remotes: the longest wait is %v", remotes, last)
			}
		})
	}
}

// TestNoNeedlessRenewals: a node reads its own commit once and acknowledges it once, whether the log's wake-up comes before
// the commit was confirmed, or while it is read back.
func TestNoNeedlessRenewals(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		const away = 2 * ms
		l := farLog{newFakeLog(), away}
		l.mute = true
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		for i := range 40 {
			time.Sleep(longestInterval / 5 * 4)
			for f.View().LeaseLeft < period-100*ms { // no regular renewal is due soon
				time.Sleep(ms)
			}
			before := l.called("Renew")
			own := l.append(endOf("ses_1"))
			if i%2 == 0 {
				f.hurry()
				time.Sleep(3 * away)
				f.Learn(own...)
			} else {
				f.Learn(own...)
				time.Sleep(away / 2)
				f.hurry()
			}
			time.Sleep(100 * ms)
			if n := l.called("Renew") - before; n != 2 {
				t.Errorf("%d renewals for one event, want 2", n)
			}
		}
	})
}

// TestStorm: a thousand ends a second, and somebody waiting for each fiftieth. Every verifier still renews fifty times a
// second and a burst, the lists are read once each 4 ms at most, nobody waits for long, and every verifier hears of an end
// soon, also one that renews at the node where they happen.
func TestStorm(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		const away = 2 * ms
		l := farLog{newFakeLog(), away}
		a, b := follow(t, l, FollowOptions{}), follow(t, l, FollowOptions{})
		defer a.Close()
		defer b.Close()
		all := []*Follower{a, b}
		var doors []nodeLog
		for _, node := range []*Follower{a, b} {
			doors = append(doors, newNodeLog(node, away))
			r := follow(t, doors[len(doors)-1], FollowOptions{})
			defer r.Close()
			all = append(all, r)
		}
		time.Sleep(time.Minute) // a long rest saves no more up than a short one
		nodes, lists := l.called("Renew"), l.called("Registered")
		remotes := []int{doors[0].called(), doors[1].called()}
		var waits sync.WaitGroup
		const ends, seconds = 5_000, 5
		for i := range ends {
			own := l.append(endOf(fmt.Sprintf("ses_%d", i)))
			a.Learn(own...)
			if i%50 == 0 {
				for n, f := range all {
					waits.Go(func() {
						began := time.Now()
						for f.Applied() < own[0].Seq {
							time.Sleep(ms)
						}
						if late := time.Since(began); late > 3*spacing {
							t.Errorf("verifier %d hears of event %d after %v", n, own[0].Seq, late)
						}
					})
				}
				waits.Go(func() {
					w, err := a.Wait(t.Context(), own[0].Seq)
					if err != nil || w.WaitedOut != 0 || w.Took > 150*ms {
						t.Errorf("Wait in the storm = %+v, %v", w, err)
					}
				})
			}
			time.Sleep(ms)
		}
		waits.Wait()
		const most = 50*seconds + 50/2 + 10 // the last waits take a little longer than the storm
		if n := l.called("Renew") - nodes; n > 2*most {
			t.Errorf("%d renewals of two nodes in %d s, want %d at most", n, seconds, 2*most)
		}
		for i, door := range doors {
			if n := door.called() - remotes[i]; n > most {
				t.Errorf("%d renewals of a remote verifier in %d s, want %d at most", n, seconds, most)
			}
		}
		if n := l.called("Registered") - lists; n > 250*(seconds+1) {
			t.Errorf("%d lists in %d s, want 250 a second at most", n, seconds)
		}
		time.Sleep(100 * ms)
		for _, f := range all {
			if f.Applied() != ends || says(f, "ses_1").Ended != 2 || !says(f, "ses_1").Fresh {
				t.Errorf("after the storm: applied %d, %+v", f.Applied(), says(f, "ses_1"))
			}
		}
	})
}

// TestLooks: how often a waiter looks at the registrations, and how late it sees that they are complete.
func TestLooks(t *testing.T) {
	early := 1 // the first one is at once
	var at time.Duration
	for at < wholeWait {
		next := pollAfter(at)
		if next > lastPoll || next > max(firstPoll, at/4) {
			t.Errorf("after %v it pauses for %v", at, next)
		}
		if at += next; at <= 100*ms {
			early++
		}
	}
	if early != 13 {
		t.Errorf("%d looks in the first 100 ms, want 13", early)
	}
}

// TestManyWaitersLookSeldom: a process reads the list once each 4 ms at most, however many wait, and whatever comes of it.
func TestManyWaitersLookSeldom(t *testing.T) {
	for _, fail := range []error{nil, errDown} {
		bubbletest.Test(t, func(t *testing.T) {
			l := newFakeLog()
			f := follow(t, l, FollowOptions{})
			defer f.Close()
			l.set(func(l *fakeLog) { l.rows["vrf_late"] = Registration{Verifier: "vrf_late"} })
			f.Learn(l.append(endOf("ses_1"))...)
			time.Sleep(100 * ms)
			l.set(func(l *fakeLog) { l.fail = fail })
			before := l.called("Registered")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var group sync.WaitGroup
			for i := range maxWaiters {
				group.Go(func() {
					time.Sleep(time.Duration(i) * 100 * time.Microsecond)
					_, _ = f.Wait(ctx, 1)
				})
			}
			group.Wait()
			if n := l.called("Registered") - before; n > 251 {
				t.Errorf("with %v: %d lists in a second for %d waiters", fail, n, maxWaiters)
			}
		})
	}
}

// TestOwnEventIsAcknowledgedAtOnce: who ended something asks the log for it without being rung, which may not come.
func TestOwnEventIsAcknowledgedAtOnce(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.mute = true
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		time.Sleep(time.Second + 7*ms)
		own := l.append(endOf("ses_1"))
		f.Learn(own...)
		time.Sleep(ms)
		if f.Applied() != own[0].Seq {
			t.Errorf("a millisecond after its own event a verifier has applied %d, want %d", f.Applied(), own[0].Seq)
		}
	})
}
