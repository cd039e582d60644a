package storetest

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

func logRules() []rule[Backend] {
	return []rule[Backend]{
		{"new_log", "a new log has an id, no events and no tags", newLog},
		{"renew", "a renewal records what was applied and brings what is new, in order and without gaps", renews},
		{"limit", "an answer holds no more than was asked for and says that there is more", renewsInParts},
		{"not_registered", "a verifier whose row is gone renews nothing and gets no row by it", renewsUnregistered},
		{"applied_never_down", "a late renewal takes nothing back, and its lag promises nothing more", renewsLate},
		{"remove", "who acknowledged in the meantime is not removed", removes},
		{"forget", "events are forgotten oldest first and without gaps, never the head", forgets},
		{"reset_other_log", "a reader of another log is reset, and acknowledges nothing by it", resetOtherLog},
		{"reset_tag", "the same number with another tag is another log", resetTag},
		{"reset_forgotten", "a reader from before what is forgotten is reset; one at that place goes on", resetForgotten},
		{"reset_ahead", "a reader ahead of the head comes from a log that was lost", resetAhead},
		{"overtaking", "a reader that follows while others commit sees every number once and in order, and none that failed", readsOvertaking},
		{"watch", "an append wakes who watches, and the watch ends with its context", watches},
	}
}

// reader is a verifier that follows the log.
type reader struct {
	b Backend
	r revoke.Renewal
}

func follow(t testing.TB, b Backend) *reader {
	t.Helper()
	v := id.NewVerifier(at(0))
	h, err := b.Log().Register(t.Context(), revoke.Registration{Verifier: v, RegisteredAt: at(0), Name: "host/1"})
	must(t, err)
	return &reader{b, revoke.Renewal{Verifier: v, Log: h.Log, Applied: h.Low, Tag: h.LowTag, Limit: 10_000}}
}

// renew asks once and, if it was not reset, moves on to the end of the answer.
func (f *reader) renew(t testing.TB) revoke.Answer {
	t.Helper()
	a, err := f.b.Log().Renew(t.Context(), f.r)
	if err != nil {
		t.Fatalf("Renew(%+v) = %v, want no error", f.r, err)
	}
	if n := len(a.Events); n > 0 {
		f.r.Applied, f.r.Tag = a.Events[n-1].Seq, a.Events[n-1].Tag
	}
	return a
}

// registration is the reader's row; the zero value if there is none.
func (f *reader) registration(t testing.TB) revoke.Registration {
	t.Helper()
	all, err := f.b.Log().Registered(t.Context())
	must(t, err)
	for _, r := range all {
		if r.Verifier == f.r.Verifier {
			return r
		}
	}
	return revoke.Registration{}
}

func newLog(t *testing.T, b Backend) {
	h, err := b.Log().Register(t.Context(), revoke.Registration{Verifier: id.NewVerifier(at(0)), RegisteredAt: at(0)})
	must(t, err)
	if h.Log == "" || h.Seq != 0 || h.Tag != "" || h.Low != 0 || h.LowTag != "" {
		t.Errorf("Head = %+v, want an id and nothing else", h)
	}
}

func renews(t *testing.T, b Backend) {
	one, two := follow(t, b), follow(t, b)
	want := add(t, b, endUser(ada, 1), changeUser(bob, 1)).Events
	a := one.renew(t)
	same(t, "the events", a.Events, want)
	if a.More || a.Reset || a.Head.Seq != 2 || a.Head.Tag != want[1].Tag || a.Head.Log != one.r.Log {
		t.Errorf("Answer = %+v, want the head at 2 and nothing more", a)
	}
	if got := one.registration(t).Applied; got != 0 {
		t.Errorf("Applied = %d before anything was acknowledged, want 0", got)
	}
	if a := one.renew(t); len(a.Events) != 0 || a.More || a.Reset {
		t.Errorf("Answer at the head = %+v, want nothing new", a)
	}
	want = append(want, add(t, b, endAll(2)).Events...)
	same(t, "what is new", one.renew(t).Events, want[2:])
	one.renew(t)
	same(t, "all of it, for who has not asked yet", two.renew(t).Events, want)
	got := one.registration(t)
	if got.Applied != 3 || got.Name != "host/1" {
		t.Errorf("Registration = %+v, want Applied 3", got)
	}
	utc(t, "RegisteredAt", got.RegisteredAt, at(0))
	all, err := b.Log().Registered(t.Context())
	must(t, err)
	if len(all) != 2 {
		t.Errorf("Registered = %d verifiers, want 2", len(all))
	}
}

func renewsInParts(t *testing.T, b Backend) {
	f := follow(t, b)
	var want []revoke.Event
	for range 7 {
		want = append(want, add(t, b, endUser(ada, 1)).Events...)
	}
	f.r.Limit = 3
	var got []revoke.Event
	for n, more := range []bool{true, true, false, false} {
		a := f.renew(t)
		if a.More != more || len(a.Events) > 3 || a.Head.Seq != 7 {
			t.Errorf("answer %d has %d events, more: %v, head %d; want at most 3, %v, 7", n, len(a.Events), a.More, a.Head.Seq, more)
		}
		got = append(got, a.Events...)
	}
	same(t, "all answers together", got, want)
	f.r.Limit, f.r.Applied, f.r.Tag = 7, 0, ""
	if a := f.renew(t); a.More || len(a.Events) != 7 {
		t.Errorf("an answer of exactly the limit: %d events, more: %v; want 7, false", len(a.Events), a.More)
	}
}

func renewsUnregistered(t *testing.T, b Backend) {
	f := follow(t, b)
	add(t, b, endUser(ada, 1))
	must(t, b.Log().Remove(t.Context(), math.MaxInt64, f.r.Verifier))
	for range 2 {
		_, err := b.Log().Renew(t.Context(), f.r)
		fails(t, "Renew", err, revoke.ErrNotRegistered)
	}
	if f.registration(t).Verifier != "" {
		t.Error("the renewal brought the row back")
	}
}

func renewsLate(t *testing.T, b Backend) {
	f := follow(t, b)
	old := f.r
	events := add(t, b, endUser(ada, 1), endUser(ada, 1), endUser(ada, 1)).Events
	f.r.Lag = 2
	f.renew(t)
	f.renew(t)
	if got := f.registration(t); got.Applied != 3 || got.Lag != 2 {
		t.Errorf("Registration = %+v, want Applied 3 and Lag 2", got)
	}
	old.Applied, old.Tag, old.Lag = 1, events[0].Tag, 0
	_, err := b.Log().Renew(t.Context(), old)
	must(t, err)
	if got := f.registration(t); got.Applied != 3 || got.Applied-got.Lag != 1 {
		t.Errorf("Registration after a late renewal = %+v, want Applied 3 and no more than 1 to count on", got)
	}
	f.r.Lag = 0
	f.renew(t)
	if got := f.registration(t); got.Applied != 3 || got.Lag != 0 {
		t.Errorf("Registration = %+v, want Applied 3 and Lag 0", got)
	}
}

func removes(t *testing.T, b Backend) {
	behind, done, other := follow(t, b), follow(t, b), follow(t, b)
	add(t, b, endUser(ada, 1), endUser(ada, 2))
	done.renew(t)
	done.renew(t)
	must(t, b.Log().Remove(t.Context(), 2, behind.r.Verifier, done.r.Verifier, id.NewVerifier(at(1))))
	if behind.registration(t).Verifier != "" || done.registration(t).Verifier == "" || other.registration(t).Verifier == "" {
		t.Error("want the one that is behind removed, and neither the one that acknowledged 2 nor the one that was not named")
	}
	must(t, b.Log().Remove(t.Context(), 3, done.r.Verifier))
	must(t, b.Log().Remove(t.Context(), 3, done.r.Verifier))
	must(t, b.Log().Remove(t.Context(), 3))
	if done.registration(t).Verifier != "" {
		t.Error("a verifier behind 3 is there after Remove(3)")
	}
}

// timed is an event to be forgotten after a minute.
func timed(minute int) revoke.Event {
	e := endUser(ada, 0)
	e.Until = at(minute)
	return e
}

func forget(t testing.TB, b Backend, now time.Time, limit, want int) {
	t.Helper()
	n, err := b.Log().Forget(t.Context(), now, limit)
	must(t, err)
	if n != want {
		t.Errorf("Forget(limit %d) = %d, want %d", limit, n, want)
	}
}

func forgets(t *testing.T, b Backend) {
	f := follow(t, b)
	forget(t, b, at(9), 10, 0)
	all := add(t, b, timed(1), timed(2), timed(90), timed(3), timed(4)).Events
	forget(t, b, at(1), 10, 0) // the end itself: not before it
	forget(t, b, at(50), 1, 1)
	forget(t, b, at(50), 10, 1) // 3 stays, and so does what comes after it
	forget(t, b, at(50), 10, 0)
	f.r.Applied, f.r.Tag = 2, all[1].Tag
	a := f.renew(t)
	same(t, "what is left", a.Events, all[2:])
	if a.Head.Low != 2 || a.Head.LowTag != all[1].Tag || a.Head.Seq != 5 || a.Reset {
		t.Errorf("Head = %+v, want Low 2 with its tag and the head at 5", a.Head)
	}
	forget(t, b, at(500), 10, 2)
	forget(t, b, at(500), 10, 0)
	a = f.renew(t)
	if a.Head.Low != 4 || a.Head.Seq != 5 || a.Head.Tag != all[4].Tag || a.Reset {
		t.Errorf("Head = %+v, want Low 4 and the head still there", a.Head)
	}
	next := add(t, b, timed(1)).Events[0]
	if next.Seq != 6 {
		t.Errorf("the next number = %d, want 6: what is forgotten is not given again", next.Seq)
	}
	if sub := subject(t, b, ada); sub.Ended != 6 {
		t.Errorf("the subject's Ended = %d, want 6", sub.Ended)
	}
}

// resets checks that a place is not known and that nothing was recorded of it.
func resets(t testing.TB, f *reader) {
	t.Helper()
	before := f.registration(t)
	a := f.renew(t)
	if !a.Reset || len(a.Events) != 0 {
		t.Errorf("Renew(log %.4s…, %d, %q) = reset: %v with %d events, want a reset without any", f.r.Log, f.r.Applied, f.r.Tag, a.Reset, len(a.Events))
	}
	same(t, "the registration after a reset", f.registration(t), before)
	again := *f
	again.r.Log, again.r.Applied, again.r.Tag = a.Head.Log, a.Head.Low, a.Head.LowTag
	if a := again.renew(t); a.Reset {
		t.Error("going on from the head's Low is a reset again")
	}
}

func resetOtherLog(t *testing.T, b Backend) {
	f := follow(t, b)
	add(t, b, endUser(ada, 1))
	f.renew(t)
	f.r.Log = "another"
	resets(t, f)
	f.r.Applied, f.r.Tag = 0, ""
	resets(t, f)
	f.r.Log = ""
	resets(t, f)
}

func resetTag(t *testing.T, b Backend) {
	f := follow(t, b)
	add(t, b, endUser(ada, 1), endUser(ada, 1))
	f.r.Applied = 1
	for _, tag := range []revoke.Tag{"", "another", revoke.NewTag()} {
		f.r.Tag = tag
		resets(t, f)
	}
	f.r.Applied, f.r.Tag = 0, "another"
	resets(t, f)
}

func resetForgotten(t *testing.T, b Backend) {
	f := follow(t, b)
	all := add(t, b, timed(1), timed(1), timed(90)).Events
	forget(t, b, at(5), 10, 2)
	resets(t, f)
	f.r.Applied, f.r.Tag = 1, all[0].Tag
	resets(t, f)
	f.r.Applied, f.r.Tag = 2, "another"
	resets(t, f)
	f.r.Tag = all[1].Tag
	if a := f.renew(t); a.Reset || len(a.Events) != 1 {
		t.Errorf("Renew at Low = reset: %v, %d events; want the one that is left", a.Reset, len(a.Events))
	}
}

func resetAhead(t *testing.T, b Backend) {
	f := follow(t, b)
	e := add(t, b, endUser(ada, 1)).Events[0]
	f.r.Applied, f.r.Tag = 2, e.Tag
	resets(t, f)
	f.r.Applied = math.MaxInt64
	resets(t, f)
}

func readsOvertaking(t *testing.T, b Backend) {
	f := follow(t, b)
	f.r.Limit = 3
	next, seen := uint64(1), map[handstamp.UserID]uint64{}
	look := func() revoke.Answer {
		a := f.renew(t)
		for _, e := range a.Events {
			if e.Seq != next || a.Reset {
				t.Errorf("after %d comes %d (reset: %v)", next-1, e.Seq, a.Reset)
			}
			next = e.Seq + 1
			seen[handstamp.UserID(e.ID)] = e.Seq
		}
		if !a.More && a.Head.Seq != f.r.Applied {
			t.Errorf("an answer without more ends at %d, and its head is %d", f.r.Applied, a.Head.Seq)
		}
		return a
	}
	told := overtake(t, b, func(map[handstamp.UserID]uint64) { look() })
	for look().More {
	}
	same(t, "what the reader saw", seen, told)
}

// watches appends until the watch wakes up: there is no way to know from outside that it has begun.
func watches(t *testing.T, b Backend) {
	wakesUp(t, b, b)
}

func wakesUp(t *testing.T, watched, written Backend) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	woken, over := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		over <- watched.Log().Watch(ctx, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}()
	limit := time.After(20 * time.Second)
	for wakes := 0; wakes < 3; {
		add(t, written, changeUser(ada, 1))
		again := time.NewTimer(100 * time.Millisecond)
		select {
		case err := <-over:
			if err == nil {
				t.Skip("this log has no alarm clock")
			}
			t.Fatalf("Watch = %v before its context ended", err)
		case <-limit:
			t.Fatal("nobody was woken")
		case <-woken:
			wakes++
		case <-again.C:
		}
		again.Stop()
	}
	cancel()
	fails(t, "Watch", <-over, context.Canceled)
}
