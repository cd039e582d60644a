package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

func eventRules() []rule[SessionStore] {
	return []rule[SessionStore]{
		{"numbers", "events are numbered 1, 2, 3 in the order given, each with a tag of its own", numbersEvents},
		{"comes_back", "an event comes back as it was given but for number and tag", eventComesBack},
		{"nothing", "appending nothing changes nothing", appendsNothing},
		{"session_end", "the first end of a session leaves a tombstone that says by which event, when and why; later ones leave it", endsSession},
		{"session_change", "session/change sets the session's number and ends nothing", changesSession},
		{"absent_session", "an event for a record that is not here is an event all the same: others may hold copies", endsAbsent},
		{"user_end", "user/end ends every session of the user by one number, and nobody else's", endsUser},
		{"user_change", "user/change sets the subject's number and ends nothing", changesUser},
		{"unseen_user", "an event for a user without a row makes it, or a login that is under way would miss it", endsUnseen},
		{"all_end", "all/end ends everybody's sessions, and those of users without a row too", endsEverybody},
		{"role_change", "role/change takes a number and touches no record", changesRole},
		{"except_alive", "a spared session that is alive carries the event's number and lives on", sparesAlive},
		{"except_dead", "a session that is over is not spared, or a second event would revive what the first ended", sparesNoDead},
		{"except_then_all", "what one event of a unit spares, the next one may end: it is counted and over", sparesThenAll},
		{"except_foreign", "another user's session and an unknown one are not spared, and are left alone", sparesNoForeign},
		{"except_other_kinds", "only a user/end event spares", sparesInUserEndOnly},
		{"except_forgotten", "a second user/end without an exception ends the session that the first one spared", sparesOnce},
		{"counts", "the answer says how many live sessions the events ended, each once", counts},
		{"counts_disabled", "a unit that disables a user and ends their sessions says how many it ended, and ending them again ends none", countsDisabled},
		{"begun_in_unit", "a session that began in the unit is hit and spared like any other", endsBegunInUnit},
		{"more", "the count is exact up to 10,000 and says when there were more", countsMore},
		{"subject_numbers", "PutSubject writes what a user may do and leaves the numbers alone, which only events move", putSubjectKeeps},
		{"subject_round_trip", "a subject comes back as it was put, and nothing of it is left after it was emptied", subjectRoundTrip},
		{"subject_unseen", "a user without a row is no error: nothing but the name and the log's numbers", subjectUnseen},
		{"one_snapshot", "what decides about a session comes from one snapshot, or a copy is newer than its parts", oneSnapshot},
	}
}

func numbersEvents(t *testing.T, s SessionStore) {
	tags := map[revoke.Tag]bool{"": true}
	want := uint64(0)
	for _, batch := range [][]revoke.Event{
		{endUser(ada, 0)},
		{changeUser(ada, 1), endUser(bob, 1), endAll(1), event(revoke.KindRole, "r", revoke.Change, 1)},
		{endUser(ada, 0)}, // older than what was appended before: time orders nothing
	} {
		a := add(t, s, batch...)
		for n, e := range a.Events {
			want++
			if e.Seq != want || tags[e.Tag] {
				t.Errorf("event %d has number %d and tag %q, want %d and a new tag", n, e.Seq, e.Tag, want)
			}
			tags[e.Tag] = true
		}
		if a.Last() != want || len(a.Events) != len(batch) {
			t.Errorf("Appended = %d events up to %d, want %d up to %d", len(a.Events), a.Last(), len(batch), want)
		}
		if head := subject(t, s, ada).Head; head != want {
			t.Errorf("Head = %d, want %d", head, want)
		}
	}
}

func eventComesBack(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	want := []revoke.Event{
		event(revoke.KindKey, "kid", revoke.End, 1), event(revoke.KindServiceKey, "key_x", revoke.End, 1),
		event(revoke.KindRole, "editor", revoke.Change, 1), changeUser(bob, 1), sparing(endUser(ada, 1), r),
		event(revoke.KindSession, string(r.ID), revoke.Change, 1), endSession(r, 1), endAll(1),
	}
	got := add(t, s, want...).Events
	for n := range want {
		want[n].Seq, want[n].Tag = got[n].Seq, got[n].Tag
		utc(t, "At", got[n].At, want[n].At)
		utc(t, "Until", got[n].Until, want[n].Until)
	}
	same(t, "the events", got, want)
}

func appendsNothing(t *testing.T, s SessionStore) {
	a := add(t, s)
	same(t, "Append()", a, handstamp.Appended{})
	if head := subject(t, s, ada).Head; head != 0 {
		t.Errorf("Head = %d, want 0", head)
	}
}

func endsSession(t *testing.T, s SessionStore) {
	r, other := begin(t, s, ada, 0), begin(t, s, ada, 1)
	a := add(t, s, endSession(r, 2))
	got := find(t, s, r.ID).Session
	want := r
	want.EndedBy, want.EndedAt, want.EndReason, want.Version = a.Last(), at(2), "reason session", got.Version
	same(t, "the tombstone", got, want)
	if a.Sessions != 1 || a.More {
		t.Errorf("Appended = %d sessions (more: %v), want 1", a.Sessions, a.More)
	}
	late := endSession(r, 3)
	late.Reason = "again"
	if n := add(t, s, late).Sessions; n != 0 {
		t.Errorf("ending again = %d sessions, want 0", n)
	}
	got.Version = find(t, s, r.ID).Session.Version
	same(t, "the tombstone after a second end", find(t, s, r.ID).Session, got)
	add(t, s, endUser(ada, 4))
	got.Version = find(t, s, r.ID).Session.Version
	same(t, "the tombstone after an end of its user", find(t, s, r.ID).Session, got)
	same(t, "another session of the user", find(t, s, other.ID).Session, other)
	if a.Events[0].Kind != revoke.KindSession || subject(t, s, ada).Changed != 0 {
		t.Error("an end of a session moved its subject's number of changes")
	}
}

func changesSession(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	e := event(revoke.KindSession, string(r.ID), revoke.Change, 1)
	a := add(t, s, e)
	got := find(t, s, r.ID).Session
	want := r
	want.Changed, want.Version = a.Last(), got.Version
	same(t, "the record", got, want)
	if a.Sessions != 0 || !live(t, s, r, at(1)) {
		t.Errorf("session/change ended %d sessions, want none", a.Sessions)
	}
	if sub := subject(t, s, ada); sub.Changed != 0 || sub.Ended != 0 {
		t.Errorf("session/change moved the subject: %+v", sub)
	}
}

func endsAbsent(t *testing.T, s SessionStore) {
	r := session(ada, 0)
	a := add(t, s, endSession(r, 1), event(revoke.KindSession, string(r.ID), revoke.Change, 1))
	if len(a.Events) != 2 || a.Sessions != 0 || a.Last() != 2 {
		t.Errorf("Appended = %+v, want two events that ended nothing", a)
	}
	_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
	fails(t, "Find(it)", err, handstamp.ErrNotFound)
}

func endsUser(t *testing.T, s SessionStore) {
	one, two, other := begin(t, s, ada, 0), begin(t, s, ada, 1), begin(t, s, bob, 2)
	a := add(t, s, changeUser(ada, 2), endUser(ada, 3))
	sub := subject(t, s, ada)
	if sub.Ended != a.Last() || sub.EndReason != "reason user" || sub.Changed != a.Last()-1 {
		t.Errorf("Subject = %+v, want Ended %d", sub, a.Last())
	}
	utc(t, "EndedAt", sub.EndedAt, at(3))
	if a.Sessions != 2 || live(t, s, one, at(4)) || live(t, s, two, at(4)) || !live(t, s, other, at(4)) {
		t.Errorf("user/end ended %d sessions, want ada's two and not bob's", a.Sessions)
	}
	same(t, "the record of an ended session", find(t, s, one.ID).Session, one) // one number did it, not a write per session
	if n := add(t, s, endUser(ada, 5)).Sessions; n != 0 {
		t.Errorf("ending again = %d sessions, want 0", n)
	}
	again := begin(t, s, ada, 6)
	if !live(t, s, again, at(7)) {
		t.Error("a session that began after the end is over")
	}
	same(t, "bob's subject", subject(t, s, bob).Ended, uint64(0))
}

func changesUser(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	a := add(t, s, changeUser(ada, 1))
	sub := subject(t, s, ada)
	if sub.Changed != a.Last() || sub.Ended != 0 || a.Sessions != 0 || !live(t, s, r, at(1)) {
		t.Errorf("after user/change: subject %+v, %d ended; want Changed %d and nothing ended", sub, a.Sessions, a.Last())
	}
	same(t, "the record", find(t, s, r.ID).Session, r)
}

func endsUnseen(t *testing.T, s SessionStore) {
	const unseen, changed handstamp.UserID = "customer/4711", "customer/4712"
	a := add(t, s, endUser(unseen, 1), changeUser(changed, 1))
	if sub := subject(t, s, unseen); sub.Ended != a.Events[0].Seq || sub.Changed != 0 {
		t.Errorf("Subject = %+v, want Ended %d", sub, a.Events[0].Seq)
	}
	if sub := subject(t, s, changed); sub.Changed != a.Last() || sub.Ended != 0 {
		t.Errorf("Subject = %+v, want Changed %d", sub, a.Last())
	}
	r := session(unseen, 2) // a login that read the subject before the end
	unit(t, s, func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), r) })
	if live(t, s, r, at(3)) {
		t.Error("a session with the stamp from before the end is alive")
	}
}

func endsEverybody(t *testing.T, s SessionStore) {
	one, other := begin(t, s, ada, 0), begin(t, s, bob, 1)
	a := add(t, s, endAll(2))
	if a.Sessions != 2 || live(t, s, one, at(3)) || live(t, s, other, at(3)) {
		t.Errorf("all/end ended %d sessions, want 2", a.Sessions)
	}
	for _, u := range []handstamp.UserID{ada, "never-seen"} {
		if sub := subject(t, s, u); sub.AllEnded != a.Last() || sub.Ended != 0 || sub.Head != a.Last() {
			t.Errorf("Subject(%s) = %+v, want AllEnded and Head %d, Ended 0", u, sub, a.Last())
		}
	}
	if f := find(t, s, one.ID); f.Subject.AllEnded != a.Last() {
		t.Errorf("Find's AllEnded = %d, want %d", f.Subject.AllEnded, a.Last())
	}
	if begun := begin(t, s, ada, 4); !live(t, s, begun, at(5)) {
		t.Error("a session that began after the end is over")
	}
}

func changesRole(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	before := find(t, s, r.ID)
	a := add(t, s, event(revoke.KindRole, "editor", revoke.Change, 1))
	before.Subject.Head = a.Last()
	same(t, "what Find says", find(t, s, r.ID), before)
	if a.Sessions != 0 {
		t.Errorf("role/change ended %d sessions", a.Sessions)
	}
}

func endsBegunInUnit(t *testing.T, s SessionStore) {
	kept, gone := session(ada, 0), session(ada, 1)
	var a handstamp.Appended
	unit(t, s, func(tx handstamp.Tx) error {
		for _, r := range []handstamp.Session{kept, gone} {
			if err := putIn(t.Context(), tx, r); err != nil {
				return err
			}
		}
		var err error
		a, err = addIn(t.Context(), tx, sparing(endUser(ada, 2), kept))
		return err
	})
	if a.Sessions != 1 || !live(t, s, kept, at(3)) || live(t, s, gone, at(3)) {
		t.Errorf("Appended = %+v; the spared one lives: %v, the other: %v", a, live(t, s, kept, at(3)), live(t, s, gone, at(3)))
	}
}

func counts(t *testing.T, s SessionStore) {
	one, two := begin(t, s, ada, 0), begin(t, s, ada, 1)
	begin(t, s, ada, 2)
	begin(t, s, bob, 3)
	idled := session(ada, 4)
	idled.IdleTimeout = time.Microsecond
	put(t, s, idled)
	a := add(t, s, endSession(one, 5), endSession(one, 5), sparing(endUser(ada, 5), two))
	if a.Sessions != 2 || a.More {
		t.Errorf("session/end twice and user/end but for one = %d sessions, want 2", a.Sessions)
	}
	a = add(t, s, changeUser(ada, 6), event(revoke.KindSession, string(two.ID), revoke.Change, 6), endAll(6), endAll(6))
	if a.Sessions != 2 {
		t.Errorf("all/end = %d sessions, want the spared one and bob's", a.Sessions)
	}
}

func countsDisabled(t *testing.T, s SessionStore) {
	begin(t, s, ada, 0)
	begin(t, s, ada, 1)
	for _, want := range []int{2, 0} {
		var a handstamp.Appended
		unit(t, s, func(tx handstamp.Tx) error {
			sub, err := tx.Subject(t.Context(), ada)
			if err != nil {
				return err
			}
			sub.Disabled = true
			if err := tx.PutSubject(t.Context(), sub); err != nil {
				return err
			}
			a, err = tx.Append(t.Context(), endUser(ada, 2))
			return err
		})
		if a.Sessions != want {
			t.Errorf("disabled and ended %d sessions, want %d", a.Sessions, want)
		}
	}
}

func countsMore(t *testing.T, s SessionStore) {
	const many = 10_000
	fill := func(from, n int) {
		unit(t, s, func(tx handstamp.Tx) error {
			for i := range n {
				r := handstamp.Session{
					ID: id.NewSession(at(from + i)), User: ada, Mode: handstamp.ModeToken, CreatedAt: at(0), SeenAt: at(0),
					ExpiresAt: at(100_000), Stamp: 0,
				}
				if err := tx.PutSession(t.Context(), r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	unit(t, s, func(tx handstamp.Tx) error { return tx.PutSubject(t.Context(), handstamp.Subject{User: ada}) })
	for from := 0; from < many; from += many / 10 {
		fill(from, many/10)
	}
	count := func(want int, more bool, e revoke.Event) {
		t.Helper()
		failed := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			a, err := addIn(t.Context(), tx, e)
			if a.Sessions != want || a.More != more {
				t.Errorf("%s/end of all = %d sessions, more: %v; want %d, %v", e.Kind, a.Sessions, a.More, want, more)
			}
			return cmpErr(err)
		})
		fails(t, "the unit", failed, errRollback)
	}
	count(many, false, endUser(ada, 1))
	count(many, false, endAll(1))
	fill(many, 1)
	count(many, true, endUser(ada, 1))
	count(many, true, endAll(1))
	unit(t, s, func(tx handstamp.Tx) error {
		got, err := tx.Oldest(t.Context(), ada, at(1), 5)
		if len(got) != 1000 || !slices.IsSorted(got) {
			t.Errorf("Oldest of %d sessions = %d, want the 1,000 oldest in order", many+1, len(got))
		}
		return err
	})
	if got := list(t, s, handstamp.SessionFilter{User: ada, Limit: many + 1, Now: at(1)}); len(got) != many+1 {
		t.Errorf("List with a limit of %d = %d sessions", many+1, len(got))
	}
}
