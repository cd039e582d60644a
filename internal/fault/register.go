package fault

import (
	"fmt"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// CheckRegister: a session is a register that goes from active to ended once (I2, I3). A check that begins after an end
// was acknowledged and its bound is over is not answered yes; where one was told that the session is over, nobody is told
// the contrary later; and "no" has a reason.
//
// First every pair of an end and a check is looked at, which says what is wrong in plain words. Then the answers of each
// node about each session are held against the register as a whole, where an end takes effect once, at any time between
// its invocation and its acknowledgement plus the bound: that finds what no pair shows.
//
// A refresh asks the system of record wherever it is sent: for it the bound is always 0. What it is told binds later
// refreshes, and checks, which may be answered from memory, a bound later.
func CheckRegister(ops []Op, r Rules) []Violation {
	w := indexAll(ops, r)
	asked := map[[2]string][]Op{} // by session and node
	bySession := map[string][]Op{}
	for _, op := range ops {
		if (op.Kind == Check || op.Kind == Refresh) && op.Session != "" && op.Outcome != Unknown && op.Code != reused {
			key := [2]string{op.Session, op.Node}
			if op.Kind == Refresh {
				key[1] = "refreshes"
			}
			asked[key] = append(asked[key], op)
			bySession[op.Session] = append(bySession[op.Session], op)
		}
	}
	var all []Violation
	for session, checks := range bySession {
		all = append(all, w.pairs(w.endsOf(session, checks[0].User), checks)...)
	}
	if len(all) > 0 {
		return all
	}
	for key, checks := range asked {
		if !w.linearizable(w.endsOf(key[0], checks[0].User), checks) {
			all = append(all, Violation{"register", fmt.Sprintf("the answers of %s about %s fit no order", key[1], key[0]), nil})
		}
	}
	return all
}

// bound is how long after an end was acknowledged a check may still be answered yes.
func (w *world) bound(end, check Op) time.Duration {
	switch {
	case end.Fleet, check.Kind == Refresh, end.Node != "" && end.Node == check.Node:
		return 0
	case w.rules.BoundFor != nil:
		return w.rules.BoundFor(end, check)
	}
	return w.rules.Bound
}

// definite says whether an end was meant for a session that had begun before, so that it cannot have missed it.
func (w *world) definite(end Op, session string) bool {
	began, known := w.starts[session]
	return end.Outcome == Yes && (end.Session != "" || known && began.Return <= end.Invoke)
}

func (w *world) pairs(ends, checks []Op) []Violation {
	var all []Violation
	for _, c := range checks {
		if c.Outcome != Yes {
			continue
		}
		for _, e := range ends {
			if w.definite(e, c.Session) && c.Invoke > e.Return+w.bound(e, c) {
				late := c.Invoke - e.Return
				all = append(all, Violation{"register", fmt.Sprintf("an ended session was accepted %v after the end was acknowledged", late), []Op{e, c}})
			}
		}
		// Who was told "no" saw the event: everybody sees it a bound later, whether or not the end was acknowledged.
		for _, n := range checks {
			if n.Outcome != No || w.rules.Expires != nil && w.rules.Expires(n) {
				continue
			}
			bound := w.rules.Bound
			if c.Kind == Refresh || c.Kind == n.Kind && c.Node == n.Node {
				bound = 0
			}
			if c.Invoke > n.Return+bound {
				all = append(all, Violation{"register", "a session came back to life", []Op{n, c}})
				break
			}
		}
	}
	return all
}

// registerInput is one operation on the register of one session at one node.
type registerInput struct{ end, yes bool }

// linearizable holds the answers of one node about one session against the register.
func (w *world) linearizable(ends, checks []Op) bool {
	var events []porcupine.Operation
	add := func(in registerInput, from, to time.Duration) {
		events = append(events, porcupine.Operation{ClientId: len(events), Input: in, Call: int64(from), Return: int64(max(from, to))})
	}
	for _, e := range ends {
		to := forever
		if w.definite(e, checks[0].Session) {
			bound := time.Duration(0)
			for _, c := range checks {
				bound = max(bound, w.bound(e, c))
			}
			if to = e.Return + bound; to < e.Return {
				to = forever
			}
		}
		add(registerInput{end: true}, e.Invoke, to)
	}
	for _, c := range checks {
		if c.Outcome == No && w.rules.Expires != nil && w.rules.Expires(c) {
			continue
		}
		add(registerInput{yes: c.Outcome == Yes}, c.Invoke, c.Return)
	}
	sort.SliceStable(events, func(i, j int) bool { return events[i].Call < events[j].Call })
	model := porcupine.Model{
		Init: func() any { return false }, // ended?
		Step: func(state, input, _ any) (bool, any) {
			ended, in := state.(bool), input.(registerInput) // what Init and add made
			if in.end {
				return true, true
			}
			return in.yes != ended, state
		},
	}
	return porcupine.CheckOperationsTimeout(model, events, 30*time.Second) != porcupine.Illegal
}
