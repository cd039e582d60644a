package scenario

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// Everything at once: a random schedule of faults under load, for as long as HANDSTAMP_TORTURE_TIME says. The seed that
// is printed runs the same schedule again; a schedule that found something becomes a test of its own.
func TestTorture(t *testing.T) {
	d := 5 * time.Second
	if long() {
		d = 10 * time.Minute
	}
	if text := os.Getenv("HANDSTAMP_TORTURE_TIME"); text != "" {
		var err error
		if d, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	rnd := seeded(t)
	end := time.Now().Add(d)
	for time.Now().Before(end) {
		store := []string{onPostgres, onRedis, onTiered, onSQLite}[rnd.IntN(4)]
		t.Run(store, func(t *testing.T) {
			f := newFleet(t, setup{store: store, nodes: 2 + rnd.IntN(2)})
			var possible []evil
			for _, e := range evils() {
				if e.on(store) {
					possible = append(possible, e)
				}
			}
			before := f.goroutines()
			stop := f.load(rnd, 8)
			// A fleet is judged after a minute: histories grow, and so does what checking them takes.
			for until := min(time.Until(end), time.Minute); until > 0; {
				began := time.Now()
				var heals [theNode + 1][]func()
				for range 1 + rnd.IntN(3) {
					e := possible[rnd.IntN(len(possible))]
					if e.part != thePaths && len(heals[e.part]) > 0 {
						continue // a server that is stopped cannot be told to be read-only
					}
					t.Logf("%v: %s", f.Now().Round(time.Millisecond), e.name)
					heals[e.part] = append(heals[e.part], e.begin(f, rnd))
					wait(time.Duration(rnd.IntN(1500)) * time.Millisecond)
				}
				for _, heal := range slices.Concat(heals[:]...) {
					heal()
				}
				f.recovered()
				wait(time.Duration(rnd.IntN(500)) * time.Millisecond)
				until -= time.Since(began)
				if t.Failed() {
					break
				}
			}
			stop()
			f.calm(before)
			f.finish(fault.Rules{Bound: 2 * time.Second})
		})
		if t.Failed() {
			return
		}
	}
}

// goroutines says how many each node has.
func (f *fleet) goroutines() []int {
	f.t.Helper()
	var all []int
	for _, n := range f.nodes {
		n.client.CloseIdleConnections()
		_, text, err := n.get(n.ops + "/metrics")
		if err != nil {
			f.t.Fatal(err)
		}
		count := 0
		for line := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(line, "go_goroutines "); ok {
				if count, err = strconv.Atoi(strings.TrimSpace(rest)); err != nil {
					f.t.Fatal(err)
				}
			}
		}
		all = append(all, count)
	}
	return all
}

// calm waits until the nodes are as quiet as they were: what every fault leaves behind would end them some day. Nodes that
// were killed began anew, so the number from before is only a measure.
func (f *fleet) calm(before []int) {
	f.t.Helper()
	const slack, patience = 30, time.Minute
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		now, quiet := f.goroutines(), true
		for i := range now {
			quiet = quiet && now[i] <= before[i]+slack
		}
		switch {
		case quiet:
			f.t.Logf("goroutines: %v before, %v after", before, now)
			return
		case time.Since(began) > patience:
			f.t.Errorf("goroutines: %v before, %v a minute after", before, now)
			return
		}
	}
}
