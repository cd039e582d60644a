package fault

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// Entry is one entry of the audit log of the system under test, as it was read after the history.
type Entry struct {
	ID      string
	Kind    string
	Target  string // the user
	Session string
}

// Live is one session that the system under test lists as live after the history.
type Live struct {
	Session string
	User    string
}

// Trail is what the system says of itself when everything is over and it is well again.
type Trail struct {
	Log  []Entry
	Live []Live
	// Separate says that sessions and log are kept in two systems, which no transaction spans: then a login whose outcome
	// is not known may have left its entry alone.
	Separate bool
}

// JudgeTrail holds the history against what the system wrote down and reports what broke the rules.
func (h *History) JudgeTrail(t testing.TB, trail Trail) {
	t.Helper()
	ops := h.Ops()
	report(t, append(CheckTrail(ops, trail), CheckUnits(ops, trail)...))
}

// CheckTrail: every acknowledged change has its entry, and there is no entry of what nobody did (I14). An operation
// leaves the entry that its field Entry names, once, if it happens. One whose outcome is not known may have left it or
// not; more entries than operations that may have happened are never right.
func CheckTrail(ops []Op, trail Trail) []Violation {
	w := indexAll(ops, Rules{})
	c := &clerk{world: w, entries: map[string][]Entry{}, byUser: map[string][]Entry{}, watched: map[string]bool{}}
	seen := map[string]bool{}
	for _, e := range trail.Log {
		if seen[e.ID] {
			c.add("an entry is there twice: " + e.Kind + " " + e.ID)
		}
		seen[e.ID] = true
		c.entries[e.Kind+" "+e.Session] = append(c.entries[e.Kind+" "+e.Session], e)
		c.byUser[e.Kind+" "+e.Target] = append(c.byUser[e.Kind+" "+e.Target], e)
	}
	for _, op := range ops {
		if op.Entry != "" {
			c.watched[op.Entry] = true
		}
	}
	c.sessions(ops)
	c.users(ops)
	c.strangers(ops, trail.Log)
	return c.found
}

// clerk compares operations with entries.
type clerk struct {
	*world
	entries map[string][]Entry // by kind and session
	byUser  map[string][]Entry // by kind and user
	watched map[string]bool    // kinds that operations leave
	found   []Violation
}

func (c *clerk) add(text string, ops ...Op) {
	c.found = append(c.found, Violation{"trail", text, ops})
}

// sessions looks at operations that name the session that their entry names.
func (c *clerk) sessions(ops []Op) {
	groups := map[string][]Op{}
	for _, op := range ops {
		if op.Entry != "" && op.Session != "" {
			groups[op.Entry+" "+op.Session] = append(groups[op.Entry+" "+op.Session], op)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		group, entries := groups[key], c.entries[key]
		possible := 0
		var acknowledged []Op
		for _, op := range group {
			if op.happened() != No {
				possible++
			}
			if op.happened() == Yes {
				acknowledged = append(acknowledged, op)
			}
		}
		if len(entries) > possible {
			c.add(fmt.Sprintf("%d entries %s for %d operations", len(entries), key, possible), group...)
		}
		for _, e := range entries {
			if group[0].User != "" && e.Target != group[0].User {
				c.add("an entry names another user: "+e.Target, group[0])
			}
		}
		if len(entries) == 0 {
			// Ending what is over already is answered the same and leaves nothing: the first end left its own entry.
			if i := slices.IndexFunc(acknowledged, func(op Op) bool { return op.Kind != End || !c.overBefore(op) }); i >= 0 {
				c.add("an acknowledged change left no entry "+group[0].Entry, acknowledged[i])
			}
		}
	}
}

// overBefore says whether something else may have ended the session before this end did.
func (c *clerk) overBefore(end Op) bool {
	return slices.ContainsFunc(c.endsOf(end.Session, end.User), func(e Op) bool {
		return e.ID != end.ID && e.Entry != end.Entry && e.Invoke < end.Return
	})
}

// makes says whether an operation makes something, whose id nobody knows when no answer came.
func makes(op Op) bool { return op.Kind == Start || op.Kind == Create }

// users looks at operations that name a user only, and at those that make something.
func (c *clerk) users(ops []Op) {
	type count struct {
		yes, unknown int
		one          Op
	}
	counts := map[string]*count{}
	for _, op := range ops {
		if op.Entry == "" || op.Session != "" && !makes(op) {
			continue
		}
		key := op.Entry + " " + op.User
		if counts[key] == nil {
			counts[key] = &count{}
		}
		switch op.happened() {
		case Yes:
			counts[key].yes++
			counts[key].one = op
		case Unknown:
			counts[key].unknown++
		case No:
		}
	}
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		n, k := len(c.byUser[key]), counts[key]
		switch {
		case n < k.yes:
			c.add(fmt.Sprintf("%d acknowledged changes left %d entries %s", k.yes, n, key), k.one)
		case n > k.yes+k.unknown:
			c.add(fmt.Sprintf("%d entries %s for %d operations, %d more without a known outcome", n, key, k.yes, k.unknown))
		}
	}
}

// strangers looks for entries of a kind that operations leave, about a user or session that no such operation named.
func (c *clerk) strangers(ops []Op, log []Entry) {
	named, exact := map[string]bool{}, map[string]bool{}
	for _, op := range ops {
		if op.Entry == "" {
			continue
		}
		// Whoever ends a session names it; what a login makes is not known before its answer.
		exact[op.Entry] = exact[op.Entry] || op.Session != "" && !makes(op)
		if op.happened() != No {
			named[op.Entry+" user "+op.User], named[op.Entry+" session "+op.Session] = true, true
		}
	}
	for _, e := range log {
		by := " user " + e.Target
		if exact[e.Kind] {
			by = " session " + e.Session
		}
		if c.watched[e.Kind] && !named[e.Kind+by] {
			c.add("an entry of what nobody did: " + e.Kind + by)
		}
	}
}

// CheckUnits: what belongs together happened together (I13). A session that is live has the entry of the one login that
// began it, and none that says that it was ended; a session whose login left an entry is live, or was ended by something
// that left one too.
func CheckUnits(ops []Op, trail Trail) []Violation {
	begun, ended := map[string][]Entry{}, map[string]bool{}
	startKinds, endKinds := map[string]bool{}, map[string]bool{}
	for _, op := range ops {
		switch {
		case op.Entry == "":
		case op.Kind == Start:
			startKinds[op.Entry] = true
		case op.Kind == End:
			endKinds[op.Entry] = true
		}
	}
	over := map[string]bool{} // users with an entry that says that their sessions were ended
	for _, e := range trail.Log {
		switch {
		case startKinds[e.Kind]:
			begun[e.Session] = append(begun[e.Session], e)
		case e.Kind == entryEnded:
			ended[e.Session] = true
		case endKinds[e.Kind]:
			over[e.Target] = true
		}
	}
	var all []Violation
	add := func(text string) { all = append(all, Violation{"units", text, nil}) }
	alive := map[string]bool{}
	for _, l := range trail.Live {
		alive[l.Session] = true
		switch {
		case len(begun[l.Session]) != 1:
			add(fmt.Sprintf("the live session %s of %s has %d entries of a login", l.Session, l.User, len(begun[l.Session])))
		case begun[l.Session][0].Target != l.User:
			add("the login of " + l.Session + " names another user: " + begun[l.Session][0].Target)
		case ended[l.Session]:
			add("the session " + l.Session + " is live, and an entry says that it was ended")
		}
	}
	if trail.Separate {
		return all
	}
	for _, session := range slices.Sorted(maps.Keys(begun)) {
		if !alive[session] && !ended[session] && !over[begun[session][0].Target] {
			add("a login left an entry and no session: " + session)
		}
	}
	return all
}

// entryEnded is the kind of the entry that says that one session was ended.
const entryEnded = "session.ended"
