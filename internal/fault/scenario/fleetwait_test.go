package scenario

import (
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// seeded is a source of chance that a failing test can be given again: HANDSTAMP_TORTURE_SEED.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	text, _, _ := strings.Cut(os.Getenv("HANDSTAMP_TORTURE_SEED"), "/") // a plan also says how long it is
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("HANDSTAMP_TORTURE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// Who waited for the fleet and was answered may rely on it: no check that begins afterwards is answered yes anywhere,
// also not by a process that was stopped meanwhile and reads what waits in its sockets.
func TestWaitForTheFleet(t *testing.T) {
	for _, store := range []string{onPostgres, onSQLite} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			waitForTheFleet(t, store)
		})
	}
}

func waitForTheFleet(t *testing.T, store string) {
	const lease = 500 * time.Millisecond
	const limit = lease*112/100 + 500*time.Millisecond
	rnd := seeded(t)
	f := newFleet(t, setup{store: store, nodes: 3, shared: true, lease: lease})
	harm := map[string]func(n *node) (heal func()){
		"nothing": func(*node) func() { return func() {} },
		"stop":    (*node).stop,
		"kill":    (*node).kill,
	}
	if store != onSQLite {
		harm["partition"] = func(n *node) func() { n.sql.Blackhole(); return n.sql.Heal }
		harm["half-open"] = func(n *node) func() { n.sql.HalfOpen(); return n.sql.Heal }
		harm["stop with an answer on its way"] = func(n *node) func() {
			// A slow path: a renewal is under way most of the time, and its answer, from before the end, waits in the socket.
			n.sql.Delay(60 * time.Millisecond)
			wait(150 * time.Millisecond)
			back := n.stop()
			return func() { back(); wait(100 * time.Millisecond); n.sql.Heal() }
		}
		harm["cut"] = func(n *node) func() { n.sql.Cut(); return n.sql.Heal }
	}
	kinds := []string{"nothing", "stop", "kill"}
	if store != onSQLite {
		kinds = append(kinds, "partition", "half-open", "cut", "stop with an answer on its way", "stop with an answer on its way")
	}
	var awake, all []time.Duration
	for round := range 2 * times(30, 200) {
		kinds := kinds
		if round < times(30, 200) {
			kinds = kinds[:1] // at first nothing is broken
		}
		mode := []string{"session", "hybrid", "token"}[rnd.IntN(3)]
		c := f.nodes[0].start(f.newUser(), mode)
		if c == nil {
			t.Fatal("no session")
		}
		for _, n := range f.nodes {
			if op := n.check(c, false); op.Outcome != fault.Yes {
				t.Errorf("before: %d %s", op.Status, op.Code)
			}
		}
		var heal []func()
		quiet, stopped := true, false
		over := make(chan struct{})
		var checks sync.WaitGroup
		for _, n := range f.nodes[1:] {
			checks.Go(func() { // what is under way meanwhile
				for {
					select {
					case <-over:
						return
					default:
						n.check(c, false)
						breathe()
					}
				}
			})
			kind := kinds[rnd.IntN(len(kinds))]
			quiet, stopped = quiet && kind == "nothing", stopped || kind == "stop"
			if back := harm[kind](n); kind == "kill" {
				heal = append(heal, back) // one that starts needs the lock of a file, which one that is stopped may hold
			} else {
				heal = slices.Insert(heal, 0, back)
			}
		}
		op, g := f.nodes[0].end(c, true)
		took := op.Return - op.Invoke
		switch {
		case store == onSQLite && stopped && op.Status == http.StatusServiceUnavailable:
			// The process was stopped while it held the lock of the file: nobody writes until it goes on, and the end is not
			// durable. It says so.
			t.Logf("the end is answered 503 after %v: the file is locked by a process that is stopped", took)
		case op.Outcome != fault.Yes || g.Applied != "fleet":
			t.Errorf("the end is answered %d %q", op.Status, g.Applied)
		case took > limit:
			t.Errorf("answered after %v, limit %v", took, limit)
		default:
			all = append(all, took)
			if quiet {
				awake = append(awake, took)
			}
		}
		// These begin after the answer; the stopped ones read them when they go on.
		for _, n := range f.nodes {
			checks.Go(func() { n.check(c, false) })
		}
		for _, h := range heal {
			h()
		}
		wait(150 * time.Millisecond) // who believes an old answer shows it now
		close(over)
		checks.Wait()
		f.recovered()
		if t.Failed() {
			break
		}
	}
	percentiles(t, "wait=fleet", all)
	if len(awake) > 0 {
		percentiles(t, "wait=fleet, all awake", awake)
	}
	f.finish(fault.Rules{Bound: lease})
}
