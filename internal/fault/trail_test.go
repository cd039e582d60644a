package fault

import (
	"strconv"
	"strings"
	"testing"
)

// trailOf runs both checkers and says which rules were broken, each once.
func trailOf(s *tale, trail Trail) string {
	var broken []string
	for _, v := range append(CheckTrail(s.ops, trail), CheckUnits(s.ops, trail)...) {
		if text := v.Rule + ": " + v.Text; len(broken) == 0 || broken[len(broken)-1] != text {
			broken = append(broken, text)
		}
	}
	return strings.Join(broken, "; ")
}

// leaves says which entry an operation leaves.
func leaves(kind string, op Op) Op {
	op.Entry = kind
	return op
}

// refused is an operation that did not happen.
func refused(op Op) Op {
	op.Outcome, op.Status = No, 429
	return op
}

// wrote makes a log of "kind target session" triples.
func wrote(entries ...string) []Entry {
	var all []Entry
	for i, text := range entries {
		f := append(strings.Fields(text), "", "")
		all = append(all, Entry{ID: strconv.Itoa(i), Kind: f[0], Target: f[1], Session: f[2]})
	}
	return all
}

const (
	loginOK = "login.ok"
	allOver = "user.sessions_ended"
	changed = "password.changed"
)

func TestTrailsThatAreComplete(t *testing.T) {
	t.Parallel()
	nameless := unknown(leaves(loginOK, begins("", "u")))
	s := (&tale{}).add(0, 5, leaves(loginOK, begins("s1", "u"))).add(6, 7, leaves(loginOK, begins("s2", "u"))).add(8, 9, nameless).add(8, 9, nameless)
	s.add(10, 11, leaves(entryEnded, ends("a", "s1", "u"))).add(12, 13, leaves(entryEnded, ends("b", "s1", "u"))) // the second found it ended
	s.add(20, 21, leaves(loginOK, begins("s3", "v"))).add(30, 31, leaves(allOver, ends("a", "", "v")))
	s.add(32, 33, leaves(entryEnded, ends("a", "s3", "v"))) // over before
	s.add(40, -1, unknown(leaves(entryEnded, ends("a", "s2", "u"))))
	s.add(50, 51, leaves(changed, ends("a", "", "w"))).add(52, 53, unknown(leaves(changed, ends("a", "", "w"))))
	s.add(54, 55, refused(leaves(loginOK, begins("", "x"))))
	made := Op{Kind: Create, Entry: "user.created", Session: "w", Outcome: Yes, Status: 201}
	s.add(60, 61, made).add(62, 63, unknown(Op{Kind: Create, Entry: "user.created"}))
	for name, more := range map[string][]string{
		"nothing of what is not known":    nil,
		"a login whose answer was lost":   {loginOK + " u s4"},
		"both logins that got no answer":  {loginOK + " u s4", loginOK + " u s5"},
		"a change whose answer was lost":  {changed + " w"},
		"two ends that came together":     {entryEnded + " u s1"},
		"of a kind that nobody looks for": {"shop.order u"},
	} {
		log := wrote(append([]string{loginOK + " u s1", loginOK + " u s2", entryEnded + " u s1", loginOK + " v s3", allOver + " v", changed + " w"}, more...)...)
		log = append(log, Entry{ID: "w", Kind: "user.created", Session: "w"}, Entry{ID: "x", Kind: "user.created", Session: "x"})
		live := []Live{{"s2", "u"}}
		for _, e := range log[6:] {
			if e.Kind == loginOK {
				live = append(live, Live{e.Session, e.Target})
			}
		}
		if got := trailOf(s, Trail{Log: log, Live: live}); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := CheckUnits(s.ops, Trail{Log: wrote(loginOK + " u s9"), Separate: true}); len(got) != 0 {
		t.Errorf("an entry alone, in two systems: %v", got)
	}
}

func TestTrailsThatAreNot(t *testing.T) {
	t.Parallel()
	first := loginOK + " u s"
	cases := map[string]struct {
		want string
		log  []string
		live []Live
		tell func(s *tale)
	}{
		"a login without an entry": {want: "trail: an acknowledged change left no entry login.ok; trail: 1 acknowledged changes left 0 entries login.ok u; units: the live session s of u has 0 entries of a login",
			live: []Live{{"s", "u"}}},
		"a login with two": {want: "trail: 2 entries login.ok s for 1 operations; trail: 2 entries login.ok u for 1 operations, 0 more without a known outcome; units: the live session s of u has 2 entries of a login",
			log: []string{first, first}, live: []Live{{"s", "u"}}},
		"a login of another user": {want: "trail: an entry names another user: v; trail: 1 acknowledged changes left 0 entries login.ok u; trail: an entry of what nobody did: login.ok user v; units: the login of s names another user: v",
			log: []string{loginOK + " v s"}, live: []Live{{"s", "u"}}},
		"a login that was refused": {want: "trail: 2 entries login.ok u for 1 operations, 0 more without a known outcome",
			log: []string{first, loginOK + " u r"}, live: []Live{{"s", "u"}, {"r", "u"}},
			tell: func(s *tale) { s.add(6, 7, refused(leaves(loginOK, begins("", "u")))) }},
		"more logins than anybody tried": {want: "trail: 3 entries login.ok u for 1 operations, 1 more without a known outcome",
			log: []string{first, loginOK + " u r", loginOK + " u q"}, live: []Live{{"s", "u"}, {"r", "u"}, {"q", "u"}},
			tell: func(s *tale) { s.add(6, 7, unknown(leaves(loginOK, begins("", "u")))) }},
		"a login of nobody": {want: "trail: an entry of what nobody did: login.ok user v",
			log: []string{first, loginOK + " v r"}, live: []Live{{"s", "u"}, {"r", "v"}}},
		"a log-out without an entry": {want: "trail: an acknowledged change left no entry session.ended; units: a login left an entry and no session: s",
			log: []string{first}, tell: func(s *tale) { s.add(6, 7, leaves(entryEnded, ends("a", "s", "u"))) }},
		"a log-out that is no end": {want: "units: the session s is live, and an entry says that it was ended",
			log: []string{first, entryEnded + " u s"}, live: []Live{{"s", "u"}},
			tell: func(s *tale) { s.add(6, 7, unknown(leaves(entryEnded, ends("a", "s", "u")))) }},
		"an end of another session of the user": {want: "trail: an entry of what nobody did: session.ended session r",
			log: []string{first, loginOK + " u r", entryEnded + " u r", entryEnded + " u s"},
			tell: func(s *tale) {
				s.add(1, 2, leaves(loginOK, begins("r", "u"))).add(6, 7, leaves(entryEnded, ends("a", "s", "u")))
			}},
		"more ends than anybody asked for": {want: "trail: 2 entries session.ended s for 1 operations",
			log:  []string{first, entryEnded + " u s", entryEnded + " u s"},
			tell: func(s *tale) { s.add(6, 7, leaves(entryEnded, ends("a", "s", "u"))) }},
		"an end of everything without an entry": {want: "trail: 1 acknowledged changes left 0 entries user.sessions_ended u; units: a login left an entry and no session: s",
			log: []string{first}, tell: func(s *tale) { s.add(6, 7, leaves(allOver, ends("a", "", "u"))) }},
		"a password change without an entry": {want: "trail: 1 acknowledged changes left 0 entries password.changed u",
			log: []string{first}, live: []Live{{"s", "u"}}, tell: func(s *tale) { s.add(6, 7, leaves(changed, ends("a", "", "u"))) }},
		"a password change that was refused": {want: "trail: 1 entries password.changed u for 0 operations, 0 more without a known outcome; trail: an entry of what nobody did: password.changed user u",
			log: []string{first, changed + " u"}, live: []Live{{"s", "u"}},
			tell: func(s *tale) {
				no := leaves(changed, ends("a", "", "u"))
				no.Outcome = No
				s.add(6, 7, no)
			}},
		"a change without an entry that was found done": {want: "trail: 1 acknowledged changes left 0 entries password.changed u",
			log: []string{first}, live: []Live{{"s", "u"}},
			tell: func(s *tale) {
				op := unknown(leaves(changed, ends("a", "", "u")))
				op.Found = Yes
				s.add(6, 7, op)
			}},
		"an entry of a change that was found not done": {want: "trail: 1 entries password.changed u for 0 operations, 0 more without a known outcome; trail: an entry of what nobody did: password.changed user u",
			log: []string{first, changed + " u"}, live: []Live{{"s", "u"}},
			tell: func(s *tale) {
				op := unknown(leaves(changed, ends("a", "", "u")))
				op.Found = No
				s.add(6, 7, op)
			}},
		"an account without an entry": {want: "trail: an acknowledged change left no entry user.created; trail: 1 acknowledged changes left 0 entries user.created ",
			log: []string{first}, live: []Live{{"s", "u"}},
			tell: func(s *tale) {
				s.add(6, 7, Op{Kind: Create, Entry: "user.created", Session: "v", Outcome: Yes, Status: 201})
			}},
		"an entry without its session": {want: "units: a login left an entry and no session: s", log: []string{first}},
		"a session without its entry": {want: "units: the live session r of u has 0 entries of a login",
			log: []string{first}, live: []Live{{"s", "u"}, {"r", "u"}},
			tell: func(s *tale) { s.add(6, 7, unknown(leaves(loginOK, begins("", "u")))) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := (&tale{}).add(0, 5, leaves(loginOK, begins("s", "u")))
			if c.tell != nil {
				c.tell(s)
			}
			if got := trailOf(s, Trail{Log: wrote(c.log...), Live: c.live}); got != c.want {
				t.Errorf("found %q,\n want %q", got, c.want)
			}
		})
	}
	s := (&tale{}).add(0, 5, leaves(loginOK, begins("s", "u")))
	log := wrote(first, first)
	log[1].ID = log[0].ID
	if got := trailOf(s, Trail{Log: log, Live: []Live{{"s", "u"}}}); !strings.HasPrefix(got, "trail: an entry is there twice") {
		t.Errorf("a number that was given twice: %s", got)
	}
}
