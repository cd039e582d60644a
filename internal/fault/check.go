package fault

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Rules are what a history is held against.
type Rules struct {
	// Bound is how long after an acknowledged end a check that begins at another node may still be answered yes. At the
	// node that ended, and after an end that waited for the fleet, the bound is always 0.
	Bound time.Duration
	// BoundFor is the bound between one end and one check, where Bound is not enough.
	BoundFor func(end, check Op) time.Duration
	// Answer is how long an answer may take that says "don't know"; 0 is 3 s.
	Answer time.Duration
	// Grace is how long a refresh token that was just used may be shown again; 0 is 20 s.
	Grace time.Duration
	// Expires says that a session may have come to its end by time, so that "no" needs no other reason.
	Expires func(check Op) bool
}

// Violation is one thing that must not have happened.
type Violation struct {
	Rule string
	Text string
	Ops  []Op
}

func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", v.Rule, v.Text)
	for _, op := range v.Ops {
		fmt.Fprintf(&b, "\n\t#%d %s %s at %s: session %s user %s token %s, %v to %v: %v %d %s", op.ID, op.Client, op.Kind, op.Node,
			op.Session, op.User, op.Token, op.Invoke, op.Return, op.Outcome, op.Status, op.Code)
	}
	return b.String()
}

// Judge holds the whole history against all rules and reports what broke them.
func (h *History) Judge(t testing.TB, r Rules) {
	t.Helper()
	ops := h.Ops()
	var all []Violation
	for _, check := range []func([]Op, Rules) []Violation{CheckSet, CheckRegister, CheckRefresh, CheckIdentity, CheckAnswers} {
		all = append(all, check(ops, r)...)
	}
	report(t, all)
}

// report shows the first of what was found.
func report(t testing.TB, all []Violation) {
	t.Helper()
	const show = 10
	for i, v := range all {
		if i == show {
			t.Errorf("and %d more", len(all)-show)
			return
		}
		t.Error(v)
	}
}

// hits says whether an end is meant for a session of a user.
func hits(end Op, session, user string) bool {
	switch {
	case end.Kind != End:
		return false
	case end.Session != "":
		return end.Session == session
	case end.User != "":
		return end.User == user && end.Except != session
	}
	return true
}

// world is an index of a history.
type world struct {
	starts map[string]Op   // by session; those that were acknowledged
	one    map[string][]Op // ends by session
	wide   []Op            // ends of a user or of everybody
	faults []Op
	rules  Rules
}

func index(ops []Op, r Rules) *world {
	w := &world{starts: map[string]Op{}, one: map[string][]Op{}, rules: r}
	for _, op := range ops {
		switch {
		case op.Kind == Start && op.Outcome == Yes:
			w.starts[op.Session] = op
		case op.Kind == End && op.happened() != No:
			if op.Session != "" {
				w.one[op.Session] = append(w.one[op.Session], op)
			} else {
				w.wide = append(w.wide, op)
			}
		case op.Kind == Nemesis:
			w.faults = append(w.faults, op)
		}
	}
	return w
}

// indexAll is index with one more reason to be over: a refresh that was taken for theft ends the session. CheckRefresh
// alone judges whether it was one.
func indexAll(ops []Op, r Rules) *world {
	w := index(ops, r)
	for _, op := range ops {
		if op.Kind == Refresh && op.Code == reused {
			e := Op{ID: op.ID, Kind: End, Node: op.Node, Session: op.Session, User: op.User, Invoke: op.Invoke, Return: op.Return, Outcome: Yes}
			w.one[op.Session] = append(w.one[op.Session], e)
		}
	}
	return w
}

// reused is the code of a refresh that was taken for theft.
const reused = "refresh_reused"

// endsOf are the ends that a session may have felt: those meant for it that were not over before it began.
func (w *world) endsOf(session, user string) []Op {
	began, known := w.starts[session]
	var all []Op
	for _, list := range [][]Op{w.one[session], w.wide} {
		for _, e := range list {
			if hits(e, session, user) && (!known || e.Return > began.Invoke) {
				all = append(all, e)
			}
		}
	}
	return all
}

// mayBeOver says whether there is a reason for "no" to this operation.
func (w *world) mayBeOver(op Op) bool {
	if w.rules.Expires != nil && w.rules.Expires(op) {
		return true
	}
	return slices.ContainsFunc(w.endsOf(op.Session, op.User), func(e Op) bool { return e.Invoke < op.Return })
}

// excused says whether the node that was asked was broken meanwhile.
func (w *world) excused(op Op) bool {
	return slices.ContainsFunc(w.faults, func(f Op) bool {
		return (f.Node == "" || f.Node == op.Node) && f.Invoke < op.Return && op.Invoke < f.Return
	})
}

// CheckSet: nothing that was acknowledged is lost (I1). Every session whose start was acknowledged is looked for at the
// end of the history, and is there unless something may have ended it.
func CheckSet(ops []Op, r Rules) []Violation {
	w := indexAll(ops, r)
	seen := map[string]bool{}
	var all []Violation
	for _, op := range ops {
		if op.Kind != Check || !op.Final || op.Outcome == Unknown {
			continue
		}
		seen[op.Session] = true
		if op.Outcome == No && !w.mayBeOver(op) {
			all = append(all, Violation{"set", "an acknowledged session is lost", []Op{w.starts[op.Session], op}})
		}
	}
	for session, op := range w.starts {
		if !seen[session] && len(w.endsOf(session, op.User)) == 0 {
			all = append(all, Violation{"set", "nobody looked for it at the end", []Op{op}})
		}
	}
	return all
}

// CheckRefresh: a refresh token has at most one successor, however often, wherever and how much at the same time it is
// shown (I4), and no benign use of one ends a session (I5): "refresh_reused" is for a token that was spent, which is one
// whose successor was shown, or that comes again after the grace.
func CheckRefresh(ops []Op, r Rules) []Violation {
	w := index(ops, r)
	grace := r.Grace
	if grace == 0 {
		grace = 20 * time.Second
	}
	child := map[string]Op{}
	parent := map[string]string{}
	shown := map[string]time.Duration{} // when a token was first shown
	var all []Violation
	for _, op := range ops {
		if op.Kind != Refresh {
			continue
		}
		if at, ok := shown[op.Token]; !ok || op.Invoke < at {
			shown[op.Token] = op.Invoke
		}
		if op.Outcome != Yes || op.Successor == "" || op.Successor == op.Token {
			continue // a cookie's token that was made just now is answered with itself
		}
		if first, ok := child[op.Token]; ok && first.Successor != op.Successor {
			all = append(all, Violation{"refresh", "two successors of one token", []Op{first, op}})
			continue
		}
		child[op.Token], parent[op.Successor] = op, op.Token
	}
	spent := map[string]time.Duration{} // when a token was spent
	for token, at := range shown {
		spent[token] = min(at+grace, cmp.Or(spent[token], forever))
		if p, ok := parent[token]; ok {
			spent[p] = min(at, cmp.Or(spent[p], forever))
		}
	}
	for _, op := range ops {
		if op.Kind == Refresh && op.Code == reused && op.Return < spent[op.Token] && !w.mayBeOver(op) {
			all = append(all, Violation{"refresh", "a benign refresh was taken for theft", []Op{op}})
		}
	}
	return all
}

// CheckIdentity: every answer names the user and the session that the credential was made for (I6).
func CheckIdentity(ops []Op, _ Rules) []Violation {
	var all []Violation
	for _, op := range ops {
		switch {
		case op.Outcome != Yes:
		case op.SaidUser != "" && op.User != "" && op.SaidUser != op.User:
			all = append(all, Violation{"identity", "the answer names the user " + op.SaidUser, []Op{op}})
		case op.SaidSession != "" && op.Session != "" && op.SaidSession != op.Session:
			all = append(all, Violation{"identity", "the answer names the session " + op.SaidSession, []Op{op}})
		case op.Kind == Check && op.SaidUser == "":
			all = append(all, Violation{"identity", "the answer names nobody", []Op{op}})
		}
	}
	return all
}

// CheckAnswers: whatever breaks, an answer is a success, an honest refusal, or 503 with Retry-After within three seconds
// (I7, I8); a live session is never answered 401, and its cookie never cleared; a log-out by cookie takes the cookie away
// if it is acknowledged, and only then. A node that is killed or stopped meanwhile
// is excused from answering, not from answering wrongly.
func CheckAnswers(ops []Op, r Rules) []Violation {
	w := indexAll(ops, r)
	limit := r.Answer
	if limit == 0 {
		limit = 3 * time.Second
	}
	var all []Violation
	for _, op := range ops {
		if op.Kind == Nemesis {
			continue
		}
		if wrong := w.wrongAnswer(op, limit); wrong != "" {
			all = append(all, Violation{"answers", wrong, []Op{op}})
		}
	}
	return all
}

func (w *world) wrongAnswer(op Op, limit time.Duration) string {
	took := op.Return - op.Invoke
	switch {
	case op.Status == 0 && !w.excused(op):
		return "no answer"
	case op.Status == http.StatusServiceUnavailable && !op.RetryAfter:
		return "503 without Retry-After"
	case op.Status == http.StatusServiceUnavailable && took > limit && !w.excused(op):
		return fmt.Sprintf("503 after %v", took)
	case op.Status > http.StatusServiceUnavailable, op.Status >= 500 && op.Status < http.StatusServiceUnavailable:
		return "a server error"
	case op.Status == http.StatusUnauthorized && op.Session != "" && op.Kind != Start && op.Code != reused && !w.mayBeOver(op):
		return "401 for a live session"
	case op.CookieCleared && op.Kind == End && op.Outcome != Yes:
		return "an end that is not acknowledged clears the cookie"
	case op.Form == FormCookie && op.Kind == End && op.Outcome == Yes && !op.CookieCleared:
		return "an acknowledged log-out leaves the cookie"
	case op.CookieCleared && !w.mayBeOver(op):
		return "the cookie of a live session is cleared"
	}
	return ""
}
