package revoke

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/handstamp/handstamp/id"
)

// bench is one member, a log without faults, and a clock moved by hand.
type bench struct {
	*testing.T
	m   *member
	log *fakeLog
	now Instant
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, m: newMember("test"), log: newFakeLog(), now: Instant{Wall: time.Unix(1_900_000_000, 0)}}
	b.join()
	return b
}

func (b *bench) pass(d time.Duration) {
	b.now = Instant{Mono: b.now.Mono + d, Wall: b.now.Wall.Add(d)}
}

func (b *bench) join() outcome {
	b.Helper()
	q := b.m.begin(b.now)
	if !q.join {
		b.Fatalf("begin = %+v, want a registration", q)
	}
	h, err := b.log.Register(b.Context(), q.registration)
	if err != nil {
		b.Fatal(err)
	}
	return b.m.joined(q, h)
}

// ask begins a renewal and returns what the log answers to it.
func (b *bench) ask() (request, Answer) {
	b.Helper()
	q := b.m.begin(b.now)
	if q.join {
		b.Fatal("begin wants a registration, want a renewal")
	}
	a, err := b.log.renew(q.renewal)
	if err != nil {
		b.Fatal(err)
	}
	return q, a
}

func (b *bench) renew() outcome {
	b.Helper()
	q, a := b.ask()
	return b.m.answered(q, b.now, a)
}

func (b *bench) left() time.Duration { return b.m.state.Load().lease.left(b.now) }

func TestLeaseCountsFromBeforeTheQuestion(t *testing.T) {
	b := newBench(t)
	if b.left() != 0 {
		t.Fatal("a registration alone grants a lease")
	}
	q, a := b.ask()
	b.pass(700 * ms) // the answer takes its time
	b.m.answered(q, b.now, a)
	if got := b.left(); got != period-700*ms {
		t.Errorf("left = %v, want %v", got, period-700*ms)
	}
}

func TestBothClocksMustSayFresh(t *testing.T) {
	tests := []struct {
		name       string
		mono, wall time.Duration
		fresh      bool
	}{
		{"just before the end", period - 1, period - 1, true},
		{"the end", period, period, false},
		{"suspended", ms, 8 * time.Hour, false},
		{"wall clock set forward", ms, period, false},
		{"wall clock set back", ms, -1, false},
		{"wall clock set back over the end", period, ms, false},
		{"monotonic clock before the lease", -1, ms, false},
	}
	for _, tt := range tests {
		b := newBench(t)
		b.renew()
		now := Instant{Mono: b.now.Mono + tt.mono, Wall: b.now.Wall.Add(tt.wall)}
		if v := b.m.state.Load().check(now, Query{}); v.Fresh != tt.fresh {
			t.Errorf("%s: %+v, want fresh %v", tt.name, v, tt.fresh)
		}
	}
	if v := (&state{events: &snapshot{}}).check(Instant{}, Query{}); v.Fresh {
		t.Error("the zero state is fresh")
	}
}

// TestLeaseNeedsTheAcknowledgement: until the registration says what the lease rests on, the registration may be removed
// as dead by who waited for it, so the lease must not be used.
func TestLeaseNeedsTheAcknowledgement(t *testing.T) {
	b := newBench(t)
	b.log.append(endOf("ses_1"))
	first := b.now
	if out := b.renew(); len(out.events) != 1 || b.left() != 0 {
		t.Fatalf("the answer with news: %+v, %v left, want the event and no lease yet", out, b.left())
	}
	if due := b.m.due(b.now); due != 0 {
		t.Errorf("the acknowledgement is due in %v, want at once", due)
	}
	b.pass(spacing)
	b.log.append(endOf("ses_2")) // there is always something new
	b.renew()
	if s := b.m.state.Load(); s.lease.from != first || s.applied != 2 {
		t.Errorf("the acknowledged answer: %+v, want the lease of the first question", s)
	}
	b.pass(spacing)
	b.renew()
	if got := b.left(); got != period {
		t.Errorf("left = %v after all is acknowledged, want the whole lease", got)
	}
}

func TestMoreGrantsNoLease(t *testing.T) {
	b := newBench(t)
	b.m.limit = 2
	for range 5 {
		b.log.append(endOf("ses_1"))
	}
	for applied := uint64(2); applied <= 5; applied += 2 {
		if b.renew(); b.left() != 0 || b.m.state.Load().applied != applied {
			t.Fatalf("applied %d, left %v, want %d and no lease", b.m.state.Load().applied, b.left(), applied)
		}
	}
	b.renew() // the last one
	b.renew() // its acknowledgement
	if b.left() != period {
		t.Errorf("left = %v, want the whole lease", b.left())
	}
}

// TestAnswersThatAreNotAwaited change nothing: late, doubled, of an abandoned request, of none.
func TestAnswersThatAreNotAwaited(t *testing.T) {
	b := newBench(t)
	old, oldAnswer := b.ask() // given up
	b.pass(spacing)
	b.log.append(endOf("ses_1"))
	q, a := b.ask()
	if out := b.m.answered(old, b.now, oldAnswer); out.events != nil || b.left() != 0 {
		t.Errorf("an abandoned renewal's answer: %+v, left %v", out, b.left())
	}
	b.m.failed(old, ErrNotRegistered)
	if out := b.m.answered(q, b.now, a); len(out.events) != 1 {
		t.Fatalf("the awaited answer: %+v", out)
	}
	b.pass(spacing)
	b.renew()
	before := *b.m.state.Load()
	b.m.answered(q, b.now, a)
	b.m.answered(request{}, b.now, Answer{Reset: true})
	b.m.joined(q, Head{Log: "other"})
	b.m.failed(q, ErrNotRegistered)
	if after := *b.m.state.Load(); after != before || !b.m.registered {
		t.Errorf("answers that are not awaited changed %+v to %+v", before, after)
	}
}

func TestGapsAreNotSkipped(t *testing.T) {
	b := newBench(t)
	for range 3 {
		b.log.append(endOf("ses_1"))
	}
	q, a := b.ask()
	a.Events = slices.Delete(a.Events, 1, 2)
	out := b.m.answered(q, b.now, a)
	if out.err == nil || b.m.state.Load().applied != 1 || b.left() != 0 || out.reset {
		t.Errorf("an answer with a gap: %+v, applied %d, want an error at 1", out, b.m.state.Load().applied)
	}
	b.pass(longestInterval)
	if out := b.renew(); out.err != nil || b.m.state.Load().applied != 3 {
		t.Errorf("the next answer: %+v, applied %d, want 3", out, b.m.state.Load().applied)
	}
}

// TestAnswersThatDoNotMatchAreResets even if the log did not notice.
func TestAnswersThatDoNotMatchAreResets(t *testing.T) {
	for name, spoil := range map[string]func(a *Answer){
		"reset":                 func(a *Answer) { a.Reset = true },
		"another log":           func(a *Answer) { a.Head.Log = "log2" },
		"a head that went back": func(a *Answer) { a.Head.Seq = 1 },
		"another tag":           func(a *Answer) { a.Head.Tag = "other" },
		"forgotten ahead":       func(a *Answer) { a.Head.Low = 7 },
	} {
		b := newBench(t)
		b.log.append(endOf("ses_1"), endOf("ses_2"))
		b.renew()
		b.renew()
		before := b.m.state.Load()
		q, a := b.ask()
		spoil(&a)
		out := b.m.answered(q, b.now, a)
		after := b.m.state.Load()
		if !out.reset || b.left() != 0 || after.generation == before.generation || after.applied != a.Head.Low || b.m.registered {
			t.Errorf("%s: %+v, %+v, want a reset", name, out, after)
		}
		if h := after.events.hit(Query{Session: "ses_1"}); h != (Hit{}) {
			t.Errorf("%s: the set still holds events: %+v", name, h)
		}
	}
}

func TestResetWhileRegistering(t *testing.T) {
	b := newBench(t)
	b.log.append(endOf("ses_1"))
	b.renew()
	q := b.m.begin(b.now)
	b.m.failed(q, ErrNotRegistered)
	b.log.replace("log2", 50)
	if out := b.join(); !out.reset || b.m.state.Load().applied != 50 {
		t.Errorf("registering at another log: %+v, %+v, want a reset", out, b.m.state.Load())
	}
	if b.renew(); b.left() != period {
		t.Errorf("left = %v, want a lease of the new log", b.left())
	}
}

func TestNotRegisteredEndsTheLease(t *testing.T) {
	b := newBench(t)
	b.renew()
	old := b.m.self
	b.m.failed(b.m.begin(b.now), errDown)
	if b.left() == 0 {
		t.Error("a failure ended the lease")
	}
	b.m.failed(b.m.begin(b.now), ErrNotRegistered)
	if b.left() != 0 {
		t.Error("the lease outlived its registration")
	}
	if b.join(); b.m.self == old {
		t.Error("the id was used twice")
	}
	q := b.m.begin(b.now)
	if b.m.failed(q, errDown); q.join || q.renewal.Verifier != b.m.self {
		t.Errorf("after registering anew: %+v", q)
	}
}

// TestEachTryToRegisterHasItsOwnID: whether a try that failed left a row is not known.
func TestEachTryToRegisterHasItsOwnID(t *testing.T) {
	m := newMember("test")
	seen := map[id.Verifier]bool{}
	for range 3 {
		q := m.begin(Instant{})
		if seen[q.registration.Verifier] || q.registration.Applied != 0 {
			t.Errorf("registration = %+v, want a new id that has applied nothing", q.registration)
		}
		seen[q.registration.Verifier] = true
		m.failed(q, errDown)
	}
}

func TestLearnMovesNoNumber(t *testing.T) {
	b := newBench(t)
	b.renew()
	other, own := b.log.append(endOf("ses_1"))[0], b.log.append(endOf("ses_2"))[0]
	b.m.learn([]Event{own, {Kind: KindAll, Effect: End}}) // one without a number is nothing
	s := b.m.state.Load()
	if s.applied != 0 || s.events.hit(Query{Session: "ses_2"}).Ended != own.Seq || s.events.hit(Query{Session: "ses_9"}) != (Hit{}) {
		t.Errorf("after learn: %+v", s)
	}
	if !b.m.vouch(b.now, own.Seq) || b.m.vouch(b.now, other.Seq) {
		t.Error("it must vouch for the own commit, and not for the one that was not read yet")
	}
	if q, _ := b.ask(); q.renewal.Applied != 0 {
		t.Errorf("the renewal acknowledges %d, want 0", q.renewal.Applied)
	}
	if out := b.renew(); len(out.events) != 2 || !b.m.vouch(b.now, other.Seq) || len(b.m.ahead) != 0 {
		t.Errorf("after reading: %+v, ahead %v", out, b.m.ahead)
	}
}

func TestRhythm(t *testing.T) {
	for lease, want := range map[time.Duration]time.Duration{
		2 * time.Second: 400 * ms, 30 * time.Second: 400 * ms, 500 * ms: 125 * ms, time.Millisecond: spacing,
	} {
		b := newBench(t)
		b.log.head.Lease = lease
		b.renew()
		if got := b.m.due(b.now); got != want {
			t.Errorf("lease %v: the next renewal is due in %v, want %v", lease, got, want)
		}
		if b.m.hurry(); b.m.due(b.now) != 0 {
			t.Errorf("lease %v: woken up, due in %v, want at once", lease, b.m.due(b.now))
		}
	}
}

// TestBurst: what a verifier saved up while it rested is spent at once, and no more than that.
func TestBurst(t *testing.T) {
	b := newBench(t)
	b.renew()
	for _, rest := range []time.Duration{time.Hour, spacing, 2 * spacing, 3*spacing - 1, 100 * spacing} {
		b.pass(rest)
		for range min(int(rest/spacing), burst) {
			if b.m.hurry(); b.m.due(b.now) != 0 {
				t.Fatalf("after a rest of %v: due in %v, want at once", rest, b.m.due(b.now))
			}
			b.renew()
		}
		b.m.hurry()
		if due := b.m.due(b.now); due <= 0 || due > spacing {
			t.Errorf("a rest of %v is spent: due in %v, want within %v and not at once", rest, due, spacing)
		}
		b.pass(b.m.due(b.now))
		b.renew()
	}
	for range 100 { // a clock that stands still owes no more than one that moves
		b.renew()
	}
	if b.m.hurry(); b.m.due(b.now) != spacing {
		t.Errorf("after 100 renewals at one moment: due in %v, want %v", b.m.due(b.now), spacing)
	}
}

// TestPace: whenever it is rung, a verifier makes no more requests in any stretch of time than the spacing allows and a
// burst, and none waits longer for its turn than a spacing.
func TestPace(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	b := newBench(t)
	var began []time.Duration
	for range 2_000 {
		switch b.m.hurry(); r.IntN(4) {
		case 0:
			b.pass(time.Duration(r.Int64N(int64(10 * spacing))))
		case 1:
			b.pass(time.Duration(r.Int64N(int64(spacing))))
		}
		due := b.m.due(b.now)
		if due > spacing {
			t.Fatalf("due in %v", due)
		}
		b.pass(due)
		b.renew()
		began = append(began, b.now.Mono)
	}
	for i := range began {
		for j := i + burst; j < len(began); j++ {
			if n, most := j-i+1, burst+int((began[j]-began[i])/spacing); n > most {
				t.Fatalf("%d requests in %v, want %d at most", n, began[j]-began[i], most)
			}
		}
	}
}

func TestNodeAnswersRemotes(t *testing.T) {
	b := newBench(t)
	ask := func(applied uint64, tag Tag) (Answer, error) {
		return b.m.answer(b.now, Renewal{Verifier: "vrf_r", Log: "log1", Applied: applied, Tag: tag, Limit: 10})
	}
	if _, err := ask(0, ""); !errors.Is(err, ErrNoLease) {
		t.Errorf("without a lease: %v, want ErrNoLease", err)
	}
	b.renew()

	b.pass(300 * ms)
	if a, err := ask(0, ""); err != nil || a.Age != 300*ms || a.Reset {
		t.Fatalf("answer = %+v, %v, want an age of 300 ms", a, err)
	}
	e := b.log.append(endOf("ses_1"))[0]
	b.renew()
	b.pass(spacing)
	q, a := b.ask()
	if q.renewal.Applied != 1 || q.renewal.Lag != 1 {
		t.Errorf("renewal = %+v, want the remote's lag of 1", q.renewal)
	}
	b.m.answered(q, b.now, a)
	if b.left() != period {
		t.Errorf("left = %v: a slow remote must not cost the node its own lease", b.left())
	}
	if b.m.vouch(b.now, 1) {
		t.Error("it vouches though a remote may hold a lease without the event")
	}
	if a, err := ask(1, e.Tag); err != nil || len(a.Events) != 0 || !b.m.vouch(b.now, 1) {
		t.Errorf("the remote's acknowledgement: %+v, %v, vouches %v", a, err, b.m.vouch(b.now, 1))
	}
	if a, err := ask(1, "other"); err != nil || !a.Reset {
		t.Errorf("another tag: %+v, %v, want a reset", a, err)
	}
	if _, err := ask(2, "t"); !errors.Is(err, errBehind) {
		t.Errorf("a remote that is ahead: %v, want errBehind", err)
	}
}

// TestClaimIsRefuted: a verifier that says it has applied more than there is was told it by a log that was put back since. It
// is answered once this node holds a lease that it asked for after that was said: until then the other node may have been
// the faster one.
func TestClaimIsRefuted(t *testing.T) {
	b := newBench(t)
	b.log.append(endOf("ses_1"))
	b.renew()
	b.pass(spacing)
	b.renew()
	ask := func(applied uint64) (Answer, error) {
		return b.m.answer(b.now, Renewal{Verifier: "vrf_r", Log: "log1", Applied: applied, Tag: "t", Limit: 10})
	}
	behind := func(when string, applied uint64) {
		t.Helper()
		if a, err := ask(applied); !errors.Is(err, errBehind) {
			t.Fatalf("%s: %+v, %v, want errBehind", when, a, err)
		}
	}
	q, late := b.ask() // on its way while it is said
	b.pass(spacing)
	behind("at first", 7)
	b.m.answered(q, b.now, late)
	behind("after an answer to an older question", 7)
	b.pass(spacing)
	b.renew()
	behind("another claim", 8)
	b.pass(spacing)
	b.renew()
	if a, err := ask(8); err != nil || !a.Reset || a.Head.Seq != 1 {
		t.Errorf("after a question that was sent later: %+v, %v, want a reset", a, err)
	}
	b.log.append(endOf("ses_2"), endOf("ses_3"))
	behind("what the other node has read already", 3)
	b.pass(spacing)
	b.renew()
	if a, err := ask(3); err != nil || !a.Reset { // the tag is another
		t.Errorf("with a tag that is not the log's: %+v, %v", a, err)
	}
	for i := range 2 * maxRemotes {
		if _, err := b.m.answer(b.now, Renewal{Verifier: id.Verifier(fmt.Sprint("vrf_", i)), Log: "log1", Applied: 99, Limit: 10}); !errors.Is(err, errBehind) {
			t.Fatalf("claim %d: %v", i, err)
		}
	}
	if n := len(b.m.claims); n > maxRemotes {
		t.Errorf("%d claims are remembered", n)
	}
}

// TestAnswersBeforeReadingBack: while a node has not read back its own commit it answers its remotes like any node that has
// not heard of it, or a storm of ends at one node would keep its remotes from renewing. Once it has vouched for the commit,
// nobody gets a lease without it.
func TestAnswersBeforeReadingBack(t *testing.T) {
	b := newBench(t)
	b.renew()
	ask := func(name id.Verifier) (Answer, error) {
		return b.m.answer(b.now, Renewal{Verifier: name, Log: "log1", Limit: 10})
	}
	b.m.learn(b.log.append(endOf("ses_1")))
	if a, err := ask("vrf_a"); err != nil || a.Head.Seq != 0 || a.More {
		t.Fatalf("answer = %+v, %v, want a lease on what was read", a, err)
	}
	if b.m.vouch(b.now, 1) {
		t.Error("it vouches though a remote holds a lease without the event")
	}
	b.pass(wholeWait)
	b.renew() // reads
	b.pass(spacing)
	b.renew() // and acknowledges
	b.m.learn(b.log.append(endOf("ses_2")))
	if !b.m.vouch(b.now, 2) {
		t.Error("it does not vouch for its own commit, and no remote holds a lease")
	}
	if a, err := ask("vrf_b"); !errors.Is(err, errBehind) {
		t.Errorf("answer after vouching = %+v, %v, want errBehind", a, err)
	}
	b.pass(spacing)
	b.renew()
	if a, err := ask("vrf_b"); err != nil || a.Head.Seq != 2 {
		t.Errorf("answer after reading = %+v, %v", a, err)
	}
}

// TestFirstAnswerCovers: a remote that starts from nothing has no lease without what its first answer holds, so a node
// must not wait for it.
func TestFirstAnswerCovers(t *testing.T) {
	b := newBench(t)
	b.log.append(endOf("ses_1"))
	b.renew()
	b.renew()
	if a, err := b.m.answer(b.now, Renewal{Verifier: "vrf_r", Log: "log1", Limit: 10}); err != nil || len(a.Events) != 1 {
		t.Fatalf("answer = %+v, %v", a, err)
	}
	if q, _ := b.ask(); q.renewal.Lag != 0 {
		t.Errorf("Lag = %d, want 0", q.renewal.Lag)
	}
}

// TestNodeWaitsOutSilentRemotes: 1.12 leases after the read that the remote's last lease rests on.
func TestNodeWaitsOutSilentRemotes(t *testing.T) {
	b := newBench(t)
	b.renew()
	base := b.now.Mono
	b.pass(time.Second)
	if _, err := b.m.answer(b.now, Renewal{Verifier: "vrf_r", Log: "log1", Limit: 10}); err != nil {
		t.Fatal(err)
	}
	b.m.learn(b.log.append(endOf("ses_1")))
	b.now.Mono = base + wholeWait - 1
	if b.m.vouch(b.now, 1) {
		t.Error("it vouches before the remote's lease ended")
	}
	if b.now.Mono++; !b.m.vouch(b.now, 1) || len(b.m.remotes.all) != 0 {
		t.Error("it does not vouch after it ended")
	}
}

// TestAcknowledgementForRemotes: what a node says before its remotes have spoken is worth nothing to who waits for it, so it
// gives them a moment. It does not where they cannot speak, since it holds no lease to answer them by.
func TestAcknowledgementForRemotes(t *testing.T) {
	for _, fresh := range []bool{true, false} {
		b := newBench(t)
		b.renew()
		if _, err := b.m.answer(b.now, Renewal{Verifier: "vrf_r", Log: "log1", Limit: 10}); err != nil {
			t.Fatal(err)
		}
		want := 2 * spacing
		if b.pass(longestInterval); !fresh {
			b.pass(period - longestInterval)
			want = 0
		}
		e := b.log.append(endOf("ses_1"))[0]
		b.renew()
		if due := b.m.due(b.now); due != want {
			t.Errorf("with a lease: %v: the acknowledgement is due in %v, want %v", fresh, due, want)
		}
		if h := b.m.owing(b.now, 1, false); h != atOnce {
			t.Errorf("with a lease: %v: the next page of a log is asked for with haste %d, want at once", fresh, h)
		}
		if !fresh {
			continue
		}
		b.pass(3 * ms)
		for _, r := range []Renewal{{}, {Applied: 1, Tag: e.Tag}} {
			if due := b.m.due(b.now); due != want-3*ms {
				t.Errorf("the remote has not said %d: due in %v, want %v", r.Applied, due, want-3*ms)
			}
			r.Verifier, r.Log, r.Limit = "vrf_r", "log1", 10
			if _, err := b.m.answer(b.now, r); err != nil {
				t.Fatal(err)
			}
		}
		if due := b.m.due(b.now); due != 0 {
			t.Errorf("the remote has spoken: due in %v, want at once", due)
		}
	}
}

// TestOnlyTheLastRemoteHurries: a node acknowledges what all its remotes have, so that a thousand of them cost the log one
// renewal and not a thousand.
func TestOnlyTheLastRemoteHurries(t *testing.T) {
	b := newBench(t)
	b.renew()
	ask := func(v id.Verifier, applied uint64, tag Tag) {
		t.Helper()
		if _, err := b.m.answer(b.now, Renewal{Verifier: v, Log: "log1", Applied: applied, Tag: tag, Limit: 10}); err != nil {
			t.Fatal(err)
		}
	}
	fleet := []id.Verifier{"vrf_a", "vrf_b", "vrf_c"}
	for _, v := range fleet {
		ask(v, 0, "")
	}
	e := b.log.append(endOf("ses_1"))[0]
	b.renew()
	b.renew() // the node's own acknowledgement
	for i, v := range fleet {
		ask(v, 0, "")
		ask(v, 1, e.Tag)
		if last := i == len(fleet)-1; (b.m.haste == atOnce) != last {
			t.Errorf("after %s has acknowledged: haste %v, the last: %v", v, b.m.haste, last)
		}
	}
	if q, _ := b.ask(); q.renewal.Applied != 1 || q.renewal.Lag != 0 {
		t.Errorf("renewal = %+v, want all of it acknowledged", q.renewal)
	}
	if ask("vrf_a", 1, e.Tag); b.m.haste != calm {
		t.Error("what was said before hurries")
	}
}

func TestNodeRefusesTooManyRemotes(t *testing.T) {
	b := newBench(t)
	b.renew()
	for range maxRemotes {
		if _, err := b.m.answer(b.now, Renewal{Verifier: id.NewVerifier(b.now.Wall), Log: "log1"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.m.answer(b.now, Renewal{Verifier: "vrf_r", Log: "log1"}); !errors.Is(err, ErrTooManyRemotes) {
		t.Errorf("one more remote: %v, want ErrTooManyRemotes", err)
	}
}

func TestRemotesLeaseIsShorterByTheAge(t *testing.T) {
	b := newBench(t)
	q, a := b.ask()
	a.Age = time.Second
	b.m.answered(q, b.now, a)
	if want := period - 1120*ms; b.left() != want {
		t.Errorf("left = %v, want %v", b.left(), want)
	}
	q, a = b.ask()
	a.Age = time.Hour
	b.m.answered(q, b.now, a)
	if b.left() > period-1120*ms {
		t.Errorf("an answer older than the lease extended it: left = %v", b.left())
	}
}
