package scenario

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// lag measures how long after an acknowledged end on one node a check that begins on the other is still answered yes;
// 0 is never.
func lag(t *testing.T, f *fleet, mode string) time.Duration {
	t.Helper()
	a, b := f.nodes[0], f.nodes[1]
	c := a.start(f.newUser(), mode)
	if c == nil {
		t.Fatal("no session")
	}
	var mu sync.Mutex
	var last time.Duration // when the last check began that was answered yes
	over := make(chan error, 1)
	if op := b.check(c, false); op.Outcome != fault.Yes { // it is known there, and kept in memory
		t.Fatalf("a new session is answered %d %s on the other node", op.Status, op.Code)
	}
	go func() {
		for {
			op := b.check(c, false)
			if op.Outcome != fault.Yes {
				if op.Outcome != fault.No {
					over <- fmt.Errorf("a check is answered %d %s", op.Status, op.Code)
				}
				close(over)
				return
			}
			mu.Lock()
			last = op.Invoke
			mu.Unlock()
		}
	}()
	end, _ := a.end(c, false)
	for try := 0; end.Outcome == fault.Unknown && try < 10; try++ { // what is not known is asked again, as a client does
		end, _ = a.end(c, false)
	}
	if end.Outcome != fault.Yes {
		t.Fatalf("the end is answered %d %s", end.Status, end.Code)
	}
	if op := a.check(c, false); op.Outcome != fault.No {
		t.Errorf("at the node that ended the session: %d %s", op.Status, op.Code)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return max(0, last-end.Return)
}

// percentiles prints what was measured and returns the largest.
func percentiles(t *testing.T, what string, all []time.Duration) time.Duration {
	t.Helper()
	slices.Sort(all)
	at := func(p int) time.Duration { return all[min(len(all)-1, len(all)*p/100)].Round(10 * time.Microsecond) }
	t.Logf("%s: n=%d p50=%v p99=%v max=%v", what, len(all), at(50), at(99), at(100))
	return all[len(all)-1]
}

// measure runs rounds and holds the longest lag against the bound.
func measure(t *testing.T, f *fleet, what string, rounds int, bound time.Duration) {
	t.Helper()
	for _, mode := range []string{"session", "hybrid"} {
		var all []time.Duration
		for range rounds {
			all = append(all, lag(t, f, mode))
		}
		if worst := percentiles(t, what+", "+mode, all); worst > bound {
			t.Errorf("%s, %s: accepted %v after the end was acknowledged, bound %v", what, mode, worst, bound)
		}
	}
}

// storm ends sessions of users who have none at a node, as fast as four clients can, until stop: each is an event.
func (n *node) storm() (stop func()) {
	began := n.f.Now()
	done := make(chan struct{})
	var clients sync.WaitGroup
	var ends atomic.Int64
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					n.endUser(n.f.newUser(), false)
					ends.Add(1)
				}
			}
		})
	}
	return func() {
		close(done)
		clients.Wait()
		n.f.t.Logf("%.0f more ends a second meanwhile", float64(ends.Load())/(n.f.Now()-began).Seconds())
	}
}

// Ended on one node, last accepted on the other: within a second, whatever wakes the other node up or does not.
func TestRevocationReachesTheOtherNode(t *testing.T) {
	for _, store := range []string{onPostgres, onSQLite, onRedis, onTiered} {
		t.Run(store, func(t *testing.T) {
			rounds := times(40, 1000)
			if store == onPostgres {
				rounds = times(200, 1000)
			}
			f := newFleet(t, setup{store: store, nodes: 2, shared: true})
			measure(t, f, store, rounds, time.Second)
			f.Judge(t, fault.Rules{Bound: time.Second})
		})
	}
	t.Run("in a storm of ends", func(t *testing.T) {
		f := newFleet(t, setup{store: onPostgres, nodes: 2, shared: true})
		stop := f.nodes[0].storm()
		measure(t, f, "in a storm", times(10, 200), time.Second)
		stop()
		f.Judge(t, fault.Rules{Bound: time.Second})
	})
	t.Run("through a pooler that passes no notifications", func(t *testing.T) {
		f := newFleet(t, setup{store: onPostgres, nodes: 2, shared: true, env: map[string]string{"HANDSTAMP_DATABASE_POOLER": "transaction"}})
		measure(t, f, "polling", times(10, 200), time.Second)
		f.Judge(t, fault.Rules{Bound: time.Second})
	})
	for _, store := range []string{onPostgres, onTiered} {
		t.Run("wake-ups lost on "+store, func(t *testing.T) {
			f := newFleet(t, setup{store: store, nodes: 2, shared: true})
			for _, p := range []*fault.Proxy{f.nodes[1].sql, f.nodes[1].redis} {
				if p != nil {
					p.Mute()
				}
			}
			measure(t, f, "wake-ups lost, "+store, times(10, 200), time.Second)
			f.Judge(t, fault.Rules{Bound: time.Second})
		})
	}
}

// A node that is cut off from the database answers from memory for as long as its lease lasts, and then says that it
// does not know. When it is back it knows.
func TestRevocationAtANodeThatIsCutOff(t *testing.T) {
	const lease = 2 * time.Second
	for name, cut := range map[string]func(p *fault.Proxy){
		"black hole": (*fault.Proxy).Blackhole, "half-open": (*fault.Proxy).HalfOpen, "cut": (*fault.Proxy).Cut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, setup{store: onPostgres, nodes: 2, shared: true})
			a, b := f.nodes[0], f.nodes[1]
			var all []*cred
			for _, mode := range []string{"session", "hybrid", "token"} {
				all = append(all, a.start(f.newUser(), mode))
			}
			for _, c := range all {
				if op := b.check(c, false); op.Outcome != fault.Yes {
					t.Fatalf("before: %d %s", op.Status, op.Code)
				}
			}
			cut(b.sql)
			for _, c := range all {
				a.end(c, false)
			}
			var each sync.WaitGroup
			for _, c := range all {
				each.Go(func() { // until the node says that it does not know; that this comes in time is judged below
					for began := time.Now(); time.Since(began) < 5*lease; {
						switch op := b.check(c, false); {
						case op.Status == 503:
							return
						case op.Outcome == fault.No:
							t.Errorf("a node that is cut off says no: %d %s", op.Status, op.Code)
							return
						}
					}
					t.Error("a node that is cut off never says that it does not know")
				})
			}
			each.Wait()
			b.sql.Heal()
			f.recovered()
			for _, c := range all {
				if op := b.check(c, false); op.Outcome != fault.No {
					t.Errorf("when it is back: %d %s", op.Status, op.Code)
				}
			}
			f.Judge(t, fault.Rules{Bound: lease})
		})
	}
}
