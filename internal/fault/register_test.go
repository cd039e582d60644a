package fault

import (
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// registerInput is one operation on the register of one session at one node.
type registerInput struct{ end, yes bool }

// register is the model that the checker has a short cut for.
var register = porcupine.Model{
	Init: func() any { return false }, // ended?
	Step: func(state, input, _ any) (bool, any) {
		ended, in := state.(bool), input.(registerInput)
		if in.end {
			return true, true
		}
		return in.yes != ended, state
	},
}

// The short cut for a register that turns once says the same as a general checker of linearizability.
func TestRegisterAgainstPorcupine(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := index(nil, Rules{})
	legal := 0
	const histories = 20000
	for range histories {
		moments := rnd.Perm(40)
		interval := func() (from, to time.Duration) {
			a, b := time.Duration(moments[0]), time.Duration(moments[1])
			moments = moments[2:]
			return min(a, b), max(a, b)
		}
		var ends, checks []Op
		var events []porcupine.Operation
		add := func(in registerInput, from, to time.Duration) {
			events = append(events, porcupine.Operation{ClientId: len(events), Input: in, Call: int64(from), Return: int64(to)})
		}
		for range rnd.IntN(3) {
			from, to := interval()
			e := Op{Kind: End, Session: "s", Invoke: from, Return: to, Outcome: Outcome(rnd.IntN(2))}
			ends = append(ends, e)
			if e.Outcome == Unknown {
				to = forever
			}
			add(registerInput{end: true}, from, to)
		}
		for range 1 + rnd.IntN(6) {
			from, to := interval()
			c := Op{Kind: Check, Session: "s", Invoke: from, Return: to, Outcome: Yes + Outcome(rnd.IntN(2))}
			checks = append(checks, c)
			add(registerInput{yes: c.Outcome == Yes}, from, to)
		}
		sort.Slice(events, func(i, j int) bool { return events[i].Call < events[j].Call })
		want := porcupine.CheckOperations(register, events)
		if want {
			legal++
		}
		if got := w.linearizable(ends, checks); got != want {
			t.Fatalf("seed %d: %v, porcupine says %v: ends %+v, checks %+v", seed, got, want, ends, checks)
		}
	}
	if legal < histories/50 || legal > histories*49/50 {
		t.Errorf("%d of %d histories are legal", legal, histories)
	}
}
