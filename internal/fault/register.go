package fault

import (
	"fmt"
	"slices"
	"time"
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

// linearizable holds the answers of one node about one session against the register: is there a moment at which the
// session can have ended? It must not be before the last "yes" was asked for, nor after the first "no" was answered, nor
// after an acknowledged end has to be felt; and it must lie within some end.
func (w *world) linearizable(ends, checks []Op) bool {
	after, before, needed := time.Duration(0), forever, false
	for _, c := range checks {
		switch {
		case c.Outcome == Yes:
			after = max(after, c.Invoke)
		case w.rules.Expires == nil || !w.rules.Expires(c):
			before, needed = min(before, c.Return), true
		}
	}
	felt := func(e Op) time.Duration { // when an end is felt at the latest
		to := forever
		if w.definite(e, checks[0].Session) {
			var bound time.Duration
			for _, c := range checks {
				bound = max(bound, w.bound(e, c))
			}
			to = e.Return + bound
		}
		return to
	}
	for _, e := range ends {
		if to := felt(e); to != forever {
			before, needed = min(before, to), true
		}
	}
	return !needed || slices.ContainsFunc(ends, func(e Op) bool {
		return max(after, e.Invoke) <= min(before, felt(e))
	})
}
