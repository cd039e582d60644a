package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/handstamp/handstamp/revoke"
)

func restoredRules() []rule[Backend] {
	return []rule[Backend]{
		{"ends", "a restored log is another one with numbers far beyond, and everybody's sessions end", restored},
		{"keeps", "restored with the sessions kept, the log is another one and nothing ends", restoredKept},
		{"empty", "a log that never had an event can be restored too", restoredEmpty},
		{"registrations_stay", "whoever holds a lease of the log as it was still holds it, so a waiter must still know of it", restoredRegistrations},
	}
}

// followOn checks that a reader of the log as it was is reset, and goes on from the new head's Low.
func followOn(t testing.TB, f *reader, h revoke.Head) *reader {
	t.Helper()
	if f.registration(t).Verifier == "" { // which is against another rule; this one can be tried all the same
		_, err := f.b.Log().Register(t.Context(), revoke.Registration{Verifier: f.r.Verifier, RegisteredAt: at(0)})
		must(t, err)
	}
	resets(t, f)
	f.r.Log, f.r.Applied, f.r.Tag = h.Log, h.Low, h.LowTag
	return f
}

func restoredRegistrations(t *testing.T, b Backend) {
	f := follow(t, b)
	add(t, b, endUser(ada, 1))
	f.renew(t)
	f.renew(t)
	want := f.registration(t)
	_, err := b.Restored(t.Context(), false, at(5))
	must(t, err)
	same(t, "the registration", f.registration(t), want)
}

func restored(t *testing.T, b Backend) {
	f, s, gone := follow(t, b), begin(t, b, ada, 0), begin(t, b, bob, 0)
	add(t, b, endSession(gone, 1), changeUser(ada, 1))
	f.renew(t)
	h, err := b.Restored(t.Context(), false, at(5))
	must(t, err)
	if h.Log == f.r.Log || h.Log == "" || h.Low < 2+1<<32 || h.Seq != h.Low+1 || h.Tag == h.LowTag || h.LowTag == "" {
		t.Errorf("Head = %+v, want another log, forgotten up to beyond 2^32, and one event after that", h)
	}
	f = followOn(t, f, h)
	a := f.renew(t)
	if len(a.Events) != 1 || a.Events[0].Kind != revoke.KindAll || a.Events[0].Effect != revoke.End || a.Events[0].Seq != h.Seq || a.Events[0].Tag != h.Tag {
		t.Fatalf("the events of the new log = %+v, want one all/end", a.Events)
	}
	utc(t, "At", a.Events[0].At, at(5))
	if a.Events[0].Until.Before(at(5).Add(revoke.Retention)) {
		t.Errorf("Until = %v, want no less than the retention", a.Events[0].Until)
	}
	sub := subject(t, b, ada)
	if sub.AllEnded != h.Seq || sub.Head != h.Seq || live(t, b, s, at(5)) {
		t.Errorf("subject %+v, session alive: %v; want AllEnded %d and no", sub, live(t, b, s, at(5)), h.Seq)
	}
	utc(t, "RestoredAt", sub.RestoredAt, at(5))
	if next := begin(t, b, ada, 6); !live(t, b, next, at(7)) {
		t.Error("a session that began after that is over")
	}
	if e := add(t, b, endUser(ada, 8)).Events[0]; e.Seq != h.Seq+1 {
		t.Errorf("the next number = %d, want %d", e.Seq, h.Seq+1)
	}
}

func restoredKept(t *testing.T, b Backend) {
	f, _ := follow(t, b), begin(t, b, ada, 0)
	add(t, b, endUser(bob, 1), endAll(1))
	s := begin(t, b, ada, 2)
	f.renew(t)
	h, err := b.Restored(t.Context(), true, at(5))
	must(t, err)
	if h.Log == f.r.Log || h.Seq < 2+1<<32 || h.Low != h.Seq || h.LowTag != h.Tag || h.Tag == "" {
		t.Errorf("Head = %+v, want another log that has forgotten everything", h)
	}
	followOn(t, f, h)
	sub := subject(t, b, ada)
	if sub.AllEnded != 2 || sub.Head != h.Seq || !live(t, b, s, at(5)) {
		t.Errorf("subject %+v, session alive: %v; want AllEnded 2 and yes", sub, live(t, b, s, at(5)))
	}
	utc(t, "RestoredAt", sub.RestoredAt, at(5))
	again, err := b.Restored(t.Context(), true, at(6))
	must(t, err)
	if again.Log == h.Log || again.Seq <= h.Seq {
		t.Errorf("restored again: %+v after %+v", again, h)
	}
	if e := add(t, b, endUser(ada, 8)).Events[0]; e.Seq != again.Seq+1 || live(t, b, s, at(9)) {
		t.Errorf("the next number = %d, want %d, and the session over", e.Seq, again.Seq+1)
	}
}

func restoredEmpty(t *testing.T, b Backend) {
	utc(t, "RestoredAt of a log that never was", subject(t, b, ada).RestoredAt, time.Time{})
	f := follow(t, b)
	h, err := b.Restored(t.Context(), false, at(5))
	must(t, err)
	f = followOn(t, f, h)
	if got := f.renew(t).Events; !slices.ContainsFunc(got, func(e revoke.Event) bool { return e.Seq == h.Seq }) {
		t.Errorf("the events = %+v, want the head %d among them", got, h.Seq)
	}
}
