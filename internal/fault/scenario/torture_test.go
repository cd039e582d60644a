package scenario

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Everything at once: random schedules of faults under load, one fleet after the other, for as long as
// HANDSTAMP_TORTURE_TIME says. Each fleet has a seed of its own, which is printed: HANDSTAMP_TORTURE_SEED plays that one
// again, and only that. One that found something belongs into testdata/seeds.txt, which makes it a test.
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
	if text := os.Getenv("HANDSTAMP_TORTURE_SEED"); text != "" {
		p, err := parsePlan(text)
		if err != nil {
			t.Fatal(err)
		}
		t.Run("again", func(t *testing.T) { p.torture(t, min(d, time.Minute)) })
		return
	}
	for end := time.Now().Add(d); time.Now().Before(end) && !t.Failed(); {
		p := plan{seed: rand.Uint64()}
		// A fleet is judged after a minute: histories grow, and so does what checking them takes.
		t.Run(p.String(), func(t *testing.T) { p.torture(t, min(time.Until(end), time.Minute)) })
	}
}

// torture plays a plan, and says what to do with one that found something.
func (p plan) torture(t *testing.T, limit time.Duration) {
	took := p
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to play it again: HANDSTAMP_TORTURE_SEED=%v go test -count=1 -run TestTorture -v ./internal/fault/scenario\n"+
				"to keep it, add this line to %s:\n%v what was wrong, in a few words", took, seedsFile, took)
		}
	})
	p.play(t, limit, &took)
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
