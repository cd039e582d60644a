package scenario

import (
	"bufio"
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// plan is a schedule of faults. Its seed decides where the sessions are, how many nodes there are, which faults come
// together and after one another, whom they hit, for how long they last, and what each client tries first. It does not
// decide how far the clients come meanwhile, in which order processes and packets are served, or which statement is under
// way when a fault strikes: a plan that found something finds it again often, not always.
type plan struct {
	seed   uint64
	rounds int // 0 is as many as there is time for
}

func (p plan) String() string {
	if p.rounds == 0 {
		return strconv.FormatUint(p.seed, 10)
	}
	return fmt.Sprintf("%d/%d", p.seed, p.rounds)
}

// parsePlan reads what String wrote.
func parsePlan(text string) (plan, error) {
	seed, rounds, some := strings.Cut(text, "/")
	n, err := strconv.ParseUint(seed, 10, 64)
	p := plan{seed: n}
	if err == nil && some {
		if p.rounds, err = strconv.Atoi(rounds); err == nil && p.rounds < 1 {
			err = fmt.Errorf("%d rounds", p.rounds)
		}
	}
	if err != nil {
		return plan{}, fmt.Errorf("read the plan %q: %w", text, err)
	}
	return p, nil
}

// round is one step of a plan: faults that are there together.
type round struct {
	faults []evil
	chance []uint64        // what each of them draws from
	lasts  []time.Duration // until the next one comes, or until all are over
	calm   time.Duration   // after it
}

// next draws a round. What it draws depends on nothing but the seed and the rounds before.
func next(rnd *rand.Rand, possible []evil) round {
	var r round
	n := 1 + rnd.IntN(3)
	for range n {
		e, chance, lasts := choose(rnd.Uint64(), possible), rnd.Uint64(), time.Duration(rnd.IntN(1500))*time.Millisecond
		if e.part != thePaths && slices.ContainsFunc(r.faults, func(o evil) bool { return o.part == e.part }) {
			continue // a server that is stopped cannot be told to be read-only
		}
		r.faults, r.chance, r.lasts = append(r.faults, e), append(r.chance, chance), append(r.lasts, lasts)
	}
	r.calm = time.Duration(rnd.IntN(500)) * time.Millisecond
	return r
}

// choose takes the one whose name suits the number best: a fault that is new takes its share, and old plans keep the rest.
func choose(number uint64, possible []evil) evil {
	return slices.MaxFunc(possible, func(a, b evil) int { return cmp.Compare(suits(number, a.name), suits(number, b.name)) })
}

func suits(number uint64, name string) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %s %d", number, name, number) // it never fails
	sum := h.Sum64()
	return rand.New(rand.NewPCG(sum, number)).Uint64()
}

// play runs a plan for its rounds, or for as long as it may, and judges it. It counts the rounds in took.
func (p plan) play(t *testing.T, limit time.Duration, took *plan) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(p.seed, 1))
	store := []string{onPostgres, onRedis, onTiered, onSQLite}[rnd.IntN(4)]
	f := newFleet(t, setup{store: store, nodes: 2 + rnd.IntN(2), disk: diskFor(t, store)})
	t.Logf("HANDSTAMP_TORTURE_SEED=%v: %d nodes on %s", p, len(f.nodes), store)
	var possible []evil
	for _, e := range evils() {
		if e.on(store) {
			possible = append(possible, e)
		}
	}
	before := f.goroutines()
	stop := f.load(rnd, 8)
	*took = plan{seed: p.seed}
	for began := time.Now(); !t.Failed() && (took.rounds < p.rounds || p.rounds == 0 && time.Since(began) < limit); {
		took.rounds++
		f.suffers(next(rnd, possible))
	}
	stop()
	if !t.Failed() {
		f.calm(before)
	}
	f.finish(fault.Rules{Bound: 2 * time.Second})
}

func (f *fleet) suffers(r round) {
	f.t.Helper()
	var heals [theNode + 1][]func()
	for i, e := range r.faults {
		f.t.Logf("%v: %s for %v", f.Now().Round(time.Millisecond), e.name, r.lasts[i])
		heals[e.part] = append(heals[e.part], e.begin(f, rand.New(rand.NewPCG(r.chance[i], 4))))
		wait(r.lasts[i])
	}
	for _, heal := range slices.Concat(heals[:]...) {
		heal()
	}
	f.recovered()
	wait(r.calm)
}

//go:embed testdata/seeds.txt
var seeds []byte

// seedsFile is where a plan that found something is kept.
const seedsFile = "internal/fault/scenario/testdata/seeds.txt"

// kept reads the plans of a file: one on a line, and behind it what it found.
func kept(text []byte) (all []plan, found []string, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		first, what, _ := strings.Cut(line, " ")
		p, err := parsePlan(first)
		if err == nil && (p.rounds == 0 || strings.TrimSpace(what) == "") {
			err = fmt.Errorf("%s: want seed/rounds and what it found", line)
		}
		if err != nil {
			return nil, nil, err
		}
		all, found = append(all, p), append(found, strings.TrimSpace(what))
	}
	return all, found, lines.Err()
}

// TestSeeds plays every schedule again that found something once.
func TestSeeds(t *testing.T) {
	all, found, err := kept(seeds)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range all {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			t.Logf("it once found: %s", found[i])
			for range times(1, 5) {
				p.play(t, 0, &plan{})
			}
		})
	}
}

func TestPlansAreReadAndDrawnAgain(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]plan{"7": {seed: 7}, "18446744073709551615/3": {18446744073709551615, 3}} {
		if p, err := parsePlan(text); err != nil || p != want || p.String() != text {
			t.Errorf("%s is read as %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "7/", "7/0", "7/-1", "7/x", "18446744073709551616"} {
		if p, err := parsePlan(text); err == nil {
			t.Errorf("%q is read as %v", text, p)
		}
	}
	for _, text := range []string{"7 no rounds", "7/2", "x/2 a word", "7/2 good\n8/0 not"} {
		if all, _, err := kept([]byte(text)); err == nil {
			t.Errorf("%q is read as %v", text, all)
		}
	}
	if all, found, err := kept([]byte("# a word\n\n 7/2  a lost session \n8/1 x\n")); err != nil || len(all) != 2 || all[0] != (plan{7, 2}) || found[0] != "a lost session" {
		t.Errorf("read as %v %v %v", all, found, err)
	}

	// The same seed draws the same, and a fault that is new leaves most of it.
	draw := func(possible []evil) (names []string) {
		rnd := rand.New(rand.NewPCG(1, 1))
		for range 300 {
			r := next(rnd, possible)
			for i, e := range r.faults {
				names = append(names, fmt.Sprint(e.name, r.chance[i], r.lasts[i]))
			}
		}
		return names
	}
	all := evils()
	first, fewer := draw(all), draw(all[1:])
	if !slices.Equal(first, draw(all)) {
		t.Error("a seed draws twice, and not the same")
	}
	same, seen := 0, map[string]bool{}
	for _, one := range fewer {
		if slices.Contains(first, one) {
			same++
		}
	}
	if same < len(first)*8/10 {
		t.Errorf("with one fault more, %d of %d faults stay", same, len(first))
	}
	for _, e := range all {
		seen[e.name] = slices.ContainsFunc(first, func(s string) bool { return strings.HasPrefix(s, e.name) })
		if !seen[e.name] {
			t.Errorf("%s never comes", e.name)
		}
	}
}
