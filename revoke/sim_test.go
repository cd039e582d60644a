package revoke

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp/id"
)

// history plays one seeded history and returns what broke, if anything.
func history(seed uint64, mutant string, stats *simStats, trace func(string, ...any)) string {
	r := rand.New(rand.NewPCG(seed, 1))
	w := &world{r: r, mutant: mutant, stats: stats, trace: trace}
	w.log = &simLog{w: w, id: "log", rows: map[id.Verifier]*Registration{}}
	w.slow, w.lossy = w.chance(.5), w.chance(.3)
	w.page = [...]int{1, 1, 3, pageLimit}[r.IntN(4)]
	if w.chance(.3) { // a log that has forgotten something
		w.log.low, w.log.lowTag = 7, "low"
	}
	for range r.IntN(3) {
		w.log.append(Event{Kind: KindSession, ID: "old", Effect: End})
	}
	var nodes []*proc
	for i := range 1 + r.IntN(3) {
		w.after(w.between(0, 3*time.Second)*time.Duration(min(i, 1)), func() {
			nodes = append(nodes, w.start(fmt.Sprintf("node%d", i), nil))
			w.trouble(nodes[len(nodes)-1])
		})
	}
	for i := range r.IntN(3) {
		w.after(w.between(ms, 4*time.Second), func() { w.remote(fmt.Sprintf("remote%d", i), &nodes) })
	}
	w.revocations(&nodes)
	if w.chance(.2) {
		w.after(w.between(3*time.Second, 6*time.Second), w.log.restore)
	}
	w.run(15 * time.Second)
	return w.violated
}

func (w *world) remote(name string, nodes *[]*proc) {
	p := w.start(name, (*nodes)[w.r.IntN(len(*nodes))])
	w.trouble(p)
	for range w.r.IntN(3) {
		w.after(w.between(0, 8*time.Second), func() { p.node = (*nodes)[w.r.IntN(len(*nodes))] })
	}
}

// trouble plans what happens to a process. A machine sleeps, or somebody sets its wall clock: a suspend that the wall
// clock does not show either is more than two clocks can tell.
func (w *world) trouble(p *proc) {
	stepped := w.chance(.2)
	for range w.r.IntN(3) {
		w.after(w.between(200*ms, 8*time.Second), func() {
			p.pause(w.between(50*ms, 5*time.Second), !stepped && w.chance(.3))
		})
	}
	if w.chance(.3) {
		w.after(w.between(0, 8*time.Second), func() { w.cutOff(p) })
	}
	if stepped {
		for range 2 {
			w.after(w.between(0, 9*time.Second), func() {
				d := w.between(-4*time.Second, 4*time.Second)
				w.tell("%s: wall clock set by %v", p.name, d)
				p.clock.step += d
				p.check()
			})
		}
	}
	if w.chance(.15) {
		w.after(w.between(time.Second, 8*time.Second), func() {
			p.die(w.chance(.5))
			w.after(w.between(100*ms, time.Second), func() { w.start(p.name+"'", p.node) })
		})
	}
}

func (w *world) cutOff(p *proc) {
	d := w.between(200*ms, 5*time.Second)
	w.tell("%s: cut off for %v", p.name, d)
	p.cut = true
	w.after(d, func() { p.cut = false })
}

// revocations plans one to five of them, spread out or in a burst, by nodes or by the command line. Trouble likes the
// moments around them: the dangerous leases are those renewed just before.
func (w *world) revocations(nodes *[]*proc) {
	at := w.between(2*time.Second, 6*time.Second)
	burst := w.chance(.5)
	for range 1 + w.r.IntN(5) {
		w.after(at, func() {
			var owner *proc
			if i := w.r.IntN(4); i < len(*nodes) {
				owner = (*nodes)[i]
			}
			if owner == nil || owner.alive {
				w.revoke(owner)
			}
		})
		if w.chance(.4) {
			w.after(at-w.between(0, 500*ms), func() {
				if len(w.procs) > 0 {
					w.cutOff(w.procs[w.r.IntN(len(w.procs))])
				}
			})
		}
		if at += w.between(0, 50*ms); !burst {
			at += w.between(0, 3*time.Second)
		}
	}
}

// simWait is one revocation that waits for the fleet.
type simWait struct {
	w     *world
	owner *proc // nil: the command line
	clock simClock
	event Event
	f     *fleetWait
	spent time.Duration // in pauses
	over  bool
	polls int
}

func (w *world) revoke(owner *proc) {
	x := &simWait{w: w, owner: owner, clock: simClock{rate: w.rate()}}
	var early []Registration
	if w.mutant == "members_before_commit" {
		early = w.log.list()
	}
	w.after(w.delay()+300*ms, func() {
		if w.log.down {
			return
		}
		w.commits++
		w.stats.events++
		x.event = w.log.append(Event{Kind: KindSession, ID: fmt.Sprintf("ses_%d", w.commits), Effect: End})
		w.tell("log: event %d committed", x.event.Seq)
		w.after(w.delay(), func() { x.do(func() { x.confirmed(early) }) })
	})
}

func (x *simWait) do(what func()) {
	if x.owner != nil {
		x.owner.do(what)
		return
	}
	what()
}

func (x *simWait) read() Instant {
	if x.owner != nil {
		return x.owner.read()
	}
	return x.clock.read(x.w.now)
}

func (x *simWait) confirmed(early []Registration) {
	if x.owner != nil {
		x.owner.learn(x.event)
	}
	length := period
	if x.w.mutant == "no_drift_margin" {
		length = period * 100 / 112
	}
	x.f = newFleetWait(x.read(), length, x.event.Seq)
	if x.w.mutant == "members_before_commit" {
		x.f.see(early)
	}
	x.w.after(time.Duration(float64(x.f.bound)*1.06), func() { x.do(x.step) })
	x.poll()
}

func (x *simWait) poll() {
	if x.over {
		return
	}
	x.polls++
	no := x.polls
	next := func() {
		pause := pollAfter(x.spent)
		x.w.after(pause, func() {
			if no == x.polls {
				x.poll()
			}
		})
		x.spent += pause
	}
	answered := false
	x.w.send(func() {
		if x.w.log.down || x.owner != nil && x.owner.cut {
			return
		}
		list := x.w.log.list()
		x.w.send(func() {
			x.do(func() {
				x.f.see(list)
				x.step()
				if !answered {
					answered = true
					next()
				}
			})
		})
	})
	x.w.after(300*ms, func() {
		if !answered {
			answered = true
			x.do(x.step)
			next()
		}
	})
}

// step looks whether the wait is over; if so, every check that begins from here on must know the event.
func (x *simWait) step() {
	if x.over {
		return
	}
	now := x.read()
	if x.owner != nil && (x.owner.m.vouch(now, x.event.Seq) || x.w.mutant == "flat_acks") {
		x.f.settle(x.owner.m.self)
	}
	if !x.f.done(now) {
		return
	}
	x.over = true
	x.w.stats.waits++
	x.w.tell("wait for %d is over, missing %v", x.event.Seq, x.f.missing)
	x.w.stats.waitedOut += len(x.f.missing)
	if !x.w.log.holds(x.event) {
		return // lost in a restore
	}
	x.w.ended = append(x.w.ended, x.event)
	for _, p := range x.w.procs {
		p.check()
	}
	var ids []id.Verifier
	for _, r := range x.w.log.list() { // in an order that replays
		if _, ok := x.f.missing[r.Verifier]; ok {
			ids = append(ids, r.Verifier)
		}
	}
	log := x.w.log.id
	x.w.after(x.w.delay(), func() {
		if x.w.log.id == log {
			x.w.log.remove(x.event.Seq, ids)
		}
	})
}

func (l *simLog) holds(e Event) bool {
	for _, have := range l.events {
		if have.Tag == e.Tag {
			return true
		}
	}
	return e.Seq <= l.low
}

// simulate plays n histories on all cores and returns the seeds that broke, in order of finding.
func simulate(first uint64, n int, mutant string, stop int) (bad []string, total simStats) {
	var next atomic.Int64
	var mu sync.Mutex
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			var stats simStats
			for {
				i := next.Add(1) - 1
				if i >= int64(n) {
					break
				}
				seed := first + uint64(i)
				if broken := history(seed, mutant, &stats, nil); broken != "" {
					mu.Lock()
					bad = append(bad, fmt.Sprintf("seed %d: %s", seed, broken))
					enough := len(bad) >= stop
					mu.Unlock()
					if enough {
						next.Store(int64(n))
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total.add(stats)
		})
	}
	group.Wait()
	return bad, total
}

func (s *simStats) add(o simStats) {
	s.checks += o.checks
	s.fresh += o.fresh
	s.waits += o.waits
	s.waitedOut += o.waitedOut
	s.events += o.events
	s.removed += o.removed
	s.resets += o.resets
}

func simEnv(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return n
}

// TestSimulation plays HANDSTAMP_SIM_RUNS histories (12,000), from the seed HANDSTAMP_SIM_SEED (1). No check that begins
// after a wait for the fleet returned may be answered yes from memory. A run of one history prints what happened in it.
func TestSimulation(t *testing.T) {
	n, first := simEnv(t, "HANDSTAMP_SIM_RUNS", 12_000), simEnv(t, "HANDSTAMP_SIM_SEED", 1)
	bad, stats := simulate(uint64(first), n, "", 10)
	for _, b := range bad {
		t.Errorf("violated: %s", b)
	}
	if n == 1 { // one history is asked for to be read
		history(uint64(first), "", &simStats{}, t.Logf)
	}
	t.Logf("%d histories: %+v", n, stats)
	if stats.fresh < stats.checks/20 || stats.waitedOut == 0 || stats.removed == 0 || stats.resets == 0 {
		t.Errorf("the histories are too dull to prove anything: %+v", stats)
	}
}

// TestSimulationFindsMutants takes one rule of the protocol away at a time. Each must break the promise in some history,
// or the simulator could not see the rule's loss.
func TestSimulationFindsMutants(t *testing.T) {
	mutants := []struct{ name, without string }{
		{"flat_acks", "a node acknowledges only what its remote verifiers acknowledged"},
		{"push", "what merely arrives renews nothing"},
		{"chain_no_age", "a remote's lease is shorter by the age of the node's knowledge"},
		{"register_after_read", "a verifier registers before its first read"},
		{"members_before_commit", "registrations are read after the commit"},
		{"coarse_clock", "a check reads the clock itself"},
		{"no_drift_margin", "the waiter waits longer than a lease, for clocks differ"},
		{"skipped_reset", "a place that does not exist in the log drops everything"},
		{"lease_from_receipt", "a lease counts from before the question, not from the answer"},
		{"ahead_moves_applied", "own commits do not move the applied number"},
		{"more_grants", "an answer that has more to say grants no lease"},
		{"row_gone_renews", "a renewal whose row is gone renews nothing"},
		{"lease_before_ack", "a lease counts once what it knows is acknowledged"},
		{"row_goes_down", "the recorded number never goes down"},
		{"answers_after_vouching", "a node that has vouched for its own commit answers nobody before it has read it back"},
		{"mono_only", "the wall clock must agree, for a suspend stops the monotonic one"},
		{"wall_only", "the monotonic clock must agree, for the wall clock is set back"},
	}
	limit := simEnv(t, "HANDSTAMP_SIM_MUTANT_RUNS", 60_000)
	for _, mutant := range mutants {
		t.Run(mutant.name, func(t *testing.T) {
			n := min(limit, 1_000)
			bad, stats := simulate(1, n, mutant.name, n)
			if len(bad) == 0 {
				n = limit
				bad, stats = simulate(1, n, mutant.name, 1)
			}
			if len(bad) == 0 {
				t.Fatalf("%d histories without the rule %q broke nothing: %+v", n, mutant.without, stats)
			}
			t.Logf("without the rule %q, %d of up to %d histories broke: %s", mutant.without, len(bad), n, bad[0])
		})
	}
}
