package fault

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

// tale makes a history: every operation is invoked and answered at the times given, in milliseconds.
type tale struct {
	ops []Op
}

func (s *tale) add(from, to int, op Op) *tale {
	op.ID, op.Invoke, op.Return = len(s.ops)+1, time.Duration(from)*ms, time.Duration(to)*ms
	if to < 0 {
		op.Return = forever
	}
	s.ops = append(s.ops, op)
	return s
}

func begins(session, user string) Op {
	return Op{Kind: Start, Node: "a", Session: session, User: user, Token: session + "-0", Outcome: Yes, Status: 201}
}

func good(node, session, user string) Op {
	return Op{Kind: Check, Node: node, Session: session, User: user, SaidUser: user, SaidSession: session, Outcome: Yes, Status: 200}
}

func bad(node, session, user string) Op {
	return Op{Kind: Check, Node: node, Session: session, User: user, Outcome: No, Status: 401, Code: "revoked"}
}

func final(op Op) Op {
	op.Final = true
	return op
}

func ends(node, session, user string) Op {
	return Op{Kind: End, Node: node, Session: session, User: user, Outcome: Yes, Status: 204}
}

func unknown(op Op) Op {
	op.Outcome, op.Status, op.RetryAfter = Unknown, 503, true
	return op
}

func turns(node, session, token, successor string) Op {
	return Op{Kind: Refresh, Node: node, Session: session, User: "u", Token: token, Successor: successor, SaidUser: "u", Outcome: Yes, Status: 200}
}

func theft(node, session, token string) Op {
	return Op{Kind: Refresh, Node: node, Session: session, User: "u", Token: token, Outcome: No, Status: 401, Code: reused}
}

var rules = Rules{Bound: time.Second}

// judge runs every checker and says which rules were broken, each once.
func judge(s *tale, r Rules) string {
	var broken []string
	for _, check := range []func([]Op, Rules) []Violation{CheckSet, CheckRegister, CheckRefresh, CheckIdentity, CheckAnswers} {
		for _, v := range check(s.ops, r) {
			if text := v.Rule + ": " + v.Text; len(broken) == 0 || broken[len(broken)-1] != text {
				broken = append(broken, text)
			}
		}
	}
	return strings.Join(broken, "; ")
}

func TestCheckersLetGoodHistoriesPass(t *testing.T) {
	t.Parallel()
	s := (&tale{}).add(0, 5, begins("s1", "u")).add(0, 5, begins("s2", "u")).add(1, 6, begins("s3", "v"))
	s.add(10, 11, good("a", "s1", "u")).add(10, 12, good("b", "s1", "u"))
	s.add(20, 30, ends("a", "s1", "u"))
	s.add(25, 26, good("a", "s1", "u"))    // begins before the end is acknowledged
	s.add(27, 28, bad("a", "s1", "u"))     // the end took effect already
	s.add(31, 32, bad("a", "s1", "u"))     // the bound is 0 here
	s.add(900, 901, good("b", "s1", "u"))  // within the bound
	s.add(1031, 1032, bad("b", "s1", "u")) // after it
	s.add(40, 3000, unknown(ends("a", "s2", "u")))
	s.add(3001, 3002, unknown(good("b", "s2", "u")))
	s.add(3003, 3004, good("b", "s2", "u")) // an end whose outcome is not known may not have happened …
	s.add(9000, 9001, bad("b", "s2", "u"))  // … or happen late
	no := theft("b", "s1", "s1-0")          // the record is asked, and memory may not have heard of it yet
	no.Code = "revoked"
	s.add(40, 41, no)
	fleet := ends("a", "", "v")
	fleet.Fleet = true
	s.add(4000, 4500, fleet)
	s.add(4499, 4600, good("b", "s3", "v"))
	s.add(4501, 4502, bad("b", "s3", "v"))
	s.add(4600, 4605, begins("s4", "v")) // a login after everything of the user was ended
	s.add(5000, 5001, final(good("b", "s4", "v")))
	s.add(5000, 5001, final(bad("a", "s1", "u")))
	if got := judge(s, rules); got != "" {
		t.Error(got)
	}
}

func TestCheckersLetGoodRefreshesPass(t *testing.T) {
	t.Parallel()
	s := (&tale{}).add(0, 5, begins("s", "u"))
	s.add(10, 20, turns("a", "s", "s-0", "s-1")).add(10, 22, turns("b", "s", "s-0", "s-1")) // the same, delivered twice
	s.add(30, 40, turns("b", "s", "s-1", "s-1"))                                            // a cookie's, answered with itself
	s.add(50, 60, turns("b", "s", "s-1", "s-2"))
	s.add(70, 80, theft("a", "s", "s-0")) // its successor was shown
	s.add(90, 91, bad("a", "s", "u"))
	s.add(2000, 2001, final(bad("b", "s", "u")))
	s.add(3000, 3005, begins("r", "u"))
	s.add(3010, 3020, turns("a", "r", "r-0", "r-1"))
	s.add(24000, 24001, theft("a", "r", "r-0")) // after the grace
	if got := judge(s, rules); got != "" {
		t.Error(got)
	}
}

func TestCheckersCatchBadHistories(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		want string
		tell func(s *tale)
		rule func(r *Rules)
	}{
		"a lost session": {want: "set: an acknowledged session is lost; register: the answers of b about s fit no order; answers: 401 for a live session",
			tell: func(s *tale) { s.add(10, 11, final(bad("b", "s", "u"))) }},
		"a session that nobody looks for": {want: "set: nobody looked for it at the end", tell: func(*tale) {}},
		"lost although another one of the user was ended": {want: "set: an acknowledged session is lost; register: the answers of b about s fit no order; answers: 401 for a live session",
			tell: func(s *tale) {
				other := ends("a", "", "u")
				other.Except = "s"
				s.add(8, 9, other).add(10, 11, final(bad("b", "s", "u")))
			}},
		"lost after an end that was over before it began": {want: "set: an acknowledged session is lost; register: the answers of b about late fit no order; answers: 401 for a live session",
			tell: func(s *tale) {
				s.add(6, 7, ends("a", "", "u")).add(8, 9, begins("late", "u")).add(10, 11, final(bad("b", "late", "u")))
			}},
		"accepted at the node that ended": {want: "register: an ended session was accepted 1ms after the end was acknowledged",
			tell: func(s *tale) { s.add(10, 20, ends("a", "s", "u")).add(21, 22, good("a", "s", "u")) }},
		"accepted elsewhere after the bound": {want: "register: an ended session was accepted 1.001s after the end was acknowledged",
			tell: func(s *tale) { s.add(10, 20, ends("a", "s", "u")).add(1021, 1022, good("b", "s", "u")) }},
		"accepted after everything of the user was ended": {want: "register: an ended session was accepted 1.001s after the end was acknowledged",
			tell: func(s *tale) { s.add(10, 20, ends("a", "", "u")).add(1021, 1022, good("b", "s", "u")) }},
		"accepted after everything was ended": {want: "register: an ended session was accepted 1.001s after the end was acknowledged",
			tell: func(s *tale) { s.add(10, 20, ends("a", "", "")).add(1021, 1022, good("b", "s", "u")) }},
		"accepted after the fleet was waited for": {want: "register: an ended session was accepted 1ms after the end was acknowledged",
			tell: func(s *tale) {
				e := ends("a", "s", "u")
				e.Fleet = true
				s.add(10, 20, e).add(21, 22, good("b", "s", "u"))
			}},
		"refreshed after the end": {want: "register: an ended session was accepted 1ms after the end was acknowledged",
			tell: func(s *tale) { s.add(10, 20, ends("a", "s", "u")).add(21, 22, turns("a", "s", "s-0", "s-1")) }},
		"accepted for ever": {want: "register: an ended session was accepted 1h0m0s after the end was acknowledged",
			tell: func(s *tale) { s.add(10, 20, ends("a", "s", "u")).add(3600020, 3600022, good("b", "s", "u")) },
			rule: func(r *Rules) { r.BoundFor = func(Op, Op) time.Duration { return time.Minute } }},
		"back to life after an end without an answer": {want: "register: a session came back to life",
			tell: func(s *tale) {
				s.add(10, 20, unknown(ends("a", "s", "u"))).add(30, 31, bad("b", "s", "u")).add(40, 41, good("b", "s", "u"))
			}},
		"refreshed elsewhere after the end": {want: "register: an ended session was accepted 1ms after the end was acknowledged",
			tell: func(s *tale) { s.add(10, 20, ends("a", "s", "u")).add(21, 22, turns("b", "s", "s-0", "s-1")) }},
		"refreshed after a check was told no": {want: "register: a session came back to life",
			tell: func(s *tale) {
				s.add(10, 20, unknown(ends("a", "s", "u"))).add(30, 31, bad("b", "s", "u")).add(32, 33, turns("a", "s", "s-0", "s-1"))
			}},
		"refused by the record, in memory for longer than the bound": {want: "register: a session came back to life",
			tell: func(s *tale) {
				no := theft("b", "s", "s-0")
				no.Code = "revoked"
				s.add(10, 20, unknown(ends("a", "s", "u"))).add(30, 31, no).add(1032, 1033, good("b", "s", "u"))
			}},
		"back to life elsewhere": {want: "register: a session came back to life",
			tell: func(s *tale) {
				s.add(10, 20, unknown(ends("a", "s", "u"))).add(30, 31, bad("b", "s", "u")).add(1040, 1041, good("a", "s", "u"))
			}},
		"no before there is a reason": {want: "register: the answers of b about s fit no order; answers: 401 for a live session",
			tell: func(s *tale) { s.add(8, 9, bad("b", "s", "u")).add(10, 20, ends("a", "s", "u")) }},
		"over by an end that was found not to have happened": {want: "set: an acknowledged session is lost; register: the answers of b about s fit no order; answers: 401 for a live session",
			tell: func(s *tale) {
				e := unknown(ends("a", "s", "u"))
				e.Found = No
				s.add(10, 20, e).add(30, 31, final(bad("b", "s", "u")))
			}},
		"two successors": {want: "refresh: two successors of one token",
			tell: func(s *tale) {
				s.add(10, 20, turns("a", "s", "s-0", "s-1")).add(10, 20, turns("b", "s", "s-0", "s-1b")).add(30, 31, final(good("a", "s", "u")))
			}},
		"a false alarm": {want: "refresh: a benign refresh was taken for theft",
			tell: func(s *tale) { s.add(10, 20, turns("a", "s", "s-0", "s-1")).add(15, 30, theft("b", "s", "s-0")) }},
		"a false alarm for a token that nobody used": {want: "refresh: a benign refresh was taken for theft",
			tell: func(s *tale) { s.add(15, 30, theft("b", "s", "s-0")) }},
		"two false alarms do not excuse each other": {want: "refresh: a benign refresh was taken for theft",
			tell: func(s *tale) {
				s.add(10, 20, turns("a", "s", "s-0", "s-1")).add(15, 30, theft("b", "s", "s-0")).add(15, 30, theft("a", "s", "s-0"))
			}},
		"accepted after a theft": {want: "register: an ended session was accepted 10ms after the end was acknowledged",
			tell: func(s *tale) {
				s.add(10, 20, turns("a", "s", "s-0", "s-1")).add(21, 22, turns("a", "s", "s-1", "s-2"))
				s.add(30, 40, theft("a", "s", "s-0")).add(50, 51, good("a", "s", "u"))
			}},
		"another user": {want: "identity: the answer names the user v",
			tell: func(s *tale) { op := final(good("a", "s", "u")); op.SaidUser = "v"; s.add(10, 11, op) }},
		"another session": {want: "identity: the answer names the session r",
			tell: func(s *tale) { op := final(good("a", "s", "u")); op.SaidSession = "r"; s.add(10, 11, op) }},
		"nobody": {want: "identity: the answer names nobody",
			tell: func(s *tale) { op := final(good("a", "s", "u")); op.SaidUser = ""; s.add(10, 11, op) }},
		"a server error": {want: "answers: a server error",
			tell: func(s *tale) { op := unknown(good("a", "s", "u")); op.Status = 500; s.add(10, 11, op); s.keep() }},
		"a gateway's error": {want: "answers: a server error",
			tell: func(s *tale) { op := unknown(good("a", "s", "u")); op.Status = 504; s.add(10, 11, op); s.keep() }},
		"503 that does not say when": {want: "answers: 503 without Retry-After",
			tell: func(s *tale) { op := unknown(good("a", "s", "u")); op.RetryAfter = false; s.add(10, 11, op); s.keep() }},
		"503 too late": {want: "answers: 503 after 3.001s",
			tell: func(s *tale) { s.add(10, 3011, unknown(good("a", "s", "u"))); s.keep() }},
		"no answer": {want: "answers: no answer",
			tell: func(s *tale) { op := unknown(good("a", "s", "u")); op.Status = 0; s.add(10, 3011, op); s.keep() }},
		"no answer while another node is down": {want: "answers: no answer",
			tell: func(s *tale) {
				op := unknown(good("a", "s", "u"))
				op.Status = 0
				s.add(9, 3011, Op{Kind: Nemesis, Node: "b"}).add(10, 3011, op)
				s.keep()
			}},
		"a cleared cookie": {want: "answers: the cookie of a live session is cleared",
			tell: func(s *tale) { op := final(good("a", "s", "u")); op.CookieCleared = true; s.add(10, 11, op) }},
		"a cookie cleared by a log-out that may not have happened": {want: "answers: an end that is not acknowledged clears the cookie",
			tell: func(s *tale) {
				op := unknown(ends("a", "s", "u"))
				op.CookieCleared = true
				s.add(10, 11, op)
				s.keep()
			}},
		"a cookie cleared by a log-out from elsewhere": {want: "answers: an end that is not acknowledged clears the cookie",
			tell: func(s *tale) {
				op := ends("a", "s", "u")
				op.Outcome, op.Status, op.CookieCleared = No, 403, true
				s.add(10, 11, op)
				s.keep()
			}},
		"a cookie that a log-out leaves": {want: "answers: an acknowledged log-out leaves the cookie",
			tell: func(s *tale) { op := ends("a", "s", "u"); op.Form = FormCookie; s.add(10, 11, op) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := (&tale{}).add(0, 5, begins("s", "u")), rules
			if c.rule != nil {
				c.rule(&r)
			}
			c.tell(s)
			if got := judge(s, r); got != c.want {
				t.Errorf("found %q,\n want %q", got, c.want)
			}
		})
	}
}

// keep says that the session of these tales is still there at the end.
func (s *tale) keep() { s.add(9000, 9001, final(good("a", "s", "u"))) }

// What no pair of operations shows: between two ends of unknown outcome the answers of one node go to and fro.
func TestCheckRegisterAsAWhole(t *testing.T) {
	t.Parallel()
	s := (&tale{}).add(0, 5, begins("s", "u")).add(10, -1, unknown(ends("b", "s", "u")))
	s.add(20, 50, bad("a", "s", "u")).add(30, 60, good("a", "s", "u")) // together they fit an order
	if got := CheckRegister(s.ops, rules); len(got) != 0 {
		t.Errorf("answers that overlap: %v", got)
	}
	s = (&tale{}).add(0, 5, begins("s", "u")).add(10, -1, unknown(ends("b", "s", "u")))
	s.add(20, 21, bad("a", "s", "u")).add(22, 60, good("a", "s", "u"))
	if got := CheckRegister(s.ops, rules); len(got) == 0 {
		t.Error("a session that comes back to life passes")
	}
}

func TestCheckAnswersExcusesTheDead(t *testing.T) {
	t.Parallel()
	op := unknown(good("a", "s", "u"))
	op.Status = 0
	s := (&tale{}).add(0, 5, begins("s", "u")).add(9, 3011, Op{Kind: Nemesis, Node: "a"}).add(10, 3100, op)
	s.keep()
	if got := judge(s, rules); got != "" {
		t.Error(got)
	}
	r := rules
	r.Expires = func(Op) bool { return true }
	s = (&tale{}).add(0, 5, begins("s", "u")).add(10, 11, final(bad("a", "s", "u")))
	if got := judge(s, r); got != "" {
		t.Errorf("a session whose time is over: %s", got)
	}
}

// spy is a test that failed.
type spy struct {
	testing.TB
	cleanup []func()
	said    []string
}

func (s *spy) Helper()                 {}
func (s *spy) Failed() bool            { return true }
func (s *spy) Name() string            { return "TestSpy/one" }
func (s *spy) Cleanup(f func())        { s.cleanup = append(s.cleanup, f) }
func (s *spy) Error(a ...any)          { s.said = append(s.said, fmt.Sprint(a...)) }
func (s *spy) Logf(f string, a ...any) { s.said = append(s.said, fmt.Sprintf(f, a...)) }

func TestHistoryIsWrittenWhenTheTestFails(t *testing.T) {
	t.Setenv("HANDSTAMP_HISTORY", t.TempDir())
	fake := &spy{TB: t}
	h := NewHistory(fake)
	h.Done(h.Invoke(begins("s", "u")), func(op *Op) { op.Outcome, op.Status = Yes, 201 })
	h.Invoke(good("a", "s", "u"))
	over := h.Fault("kill", "a")
	over()
	h.Judge(fake, Rules{})
	for _, f := range fake.cleanup {
		f()
	}
	said := strings.Join(fake.said, "\n")
	if !strings.Contains(said, "nobody looked") {
		t.Errorf("said %s", said)
	}
	_, path, ok := strings.Cut(said, "the history is in ")
	if !ok {
		t.Fatalf("said %s", said)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(string(b)), "\n"); len(lines) != 3 || !strings.Contains(lines[1], `"info"`) {
		t.Errorf("the file:\n%s", b)
	}
}
