package storetest

import (
	"cmp"
	"errors"
	"sync"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
)

// errRollback is what a unit returns that shall leave nothing.
var errRollback = errors.New("storetest: roll this unit back")

// cmpErr is err, or else errRollback.
func cmpErr(err error) error { return cmp.Or(err, errRollback) }

func sparesAlive(t *testing.T, s SessionStore) {
	r, other := begin(t, s, ada, 0), begin(t, s, ada, 1)
	a := add(t, s, sparing(endUser(ada, 2), r))
	if a.Events[0].Except != r.ID || a.Sessions != 1 {
		t.Errorf("Appended = %+v, want one ended session and the exception", a)
	}
	got := find(t, s, r.ID).Session
	want := r
	want.Stamp, want.Version = a.Last(), got.Version
	same(t, "the spared record", got, want)
	if !live(t, s, r, at(3)) || live(t, s, other, at(3)) {
		t.Error("the spared one is over, or the other one is not")
	}
}

func sparesNoDead(t *testing.T, s SessionStore) {
	for _, c := range liveCases() {
		if c.want {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r := c.make(t, s)
			before := find(t, s, r.ID).Session
			e := sparing(endUser(ada, 0), r)
			e.At = c.now
			if a := add(t, s, e); a.Events[0].Except != "" || a.Sessions != 0 {
				t.Errorf("Appended = %+v, want no exception and nothing ended", a)
			}
			same(t, "the record that was to be spared", find(t, s, r.ID).Session, before)
			enable(t, s, c.name)
			if live(t, s, r, c.now) {
				t.Error("it is alive")
			}
		})
	}
}

func sparesThenAll(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	begin(t, s, ada, 1)
	if a := add(t, s, sparing(endUser(ada, 2), r), endAll(2)); a.Events[0].Except != r.ID || a.Sessions != 2 {
		t.Errorf("Appended = %+v, want two ended sessions, the spared one among them", a)
	}
	if live(t, s, r, at(3)) {
		t.Error("the spared one outlived the end of everybody")
	}
}

func sparesNoForeign(t *testing.T, s SessionStore) {
	mine, foreign := begin(t, s, ada, 0), begin(t, s, bob, 1)
	a := add(t, s, sparing(endUser(ada, 2), foreign), sparing(endUser("never-seen", 2), foreign))
	if a.Events[0].Except != "" || a.Events[1].Except != "" || a.Sessions != 1 {
		t.Errorf("Appended = %+v, want no exception and one ended session", a)
	}
	same(t, "the foreign record", find(t, s, foreign.ID).Session, foreign)
	if live(t, s, mine, at(3)) {
		t.Error("the user's own session is alive")
	}
	e := endUser(bob, 3)
	e.Except = id.NewSession(at(0))
	if a := add(t, s, e); a.Events[0].Except != "" || a.Sessions != 1 {
		t.Errorf("sparing an unknown session: Appended = %+v, want no exception and one ended session", a)
	}
}

func sparesInUserEndOnly(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	add(t, s, sparing(changeUser(ada, 1), r), sparing(endSession(r, 1), r))
	if got := find(t, s, r.ID).Session; got.Stamp != r.Stamp || got.EndedBy != 2 {
		t.Errorf("stamp %d, ended by %d; want %d and 2", got.Stamp, got.EndedBy, r.Stamp)
	}
	other := begin(t, s, ada, 2)
	add(t, s, sparing(endAll(3), other))
	if live(t, s, other, at(4)) {
		t.Error("all/end spared a session")
	}
}

func sparesOnce(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	add(t, s, sparing(endUser(ada, 1), r))
	add(t, s, sparing(endUser(ada, 2), r))
	if !live(t, s, r, at(3)) {
		t.Error("spared twice, and over")
	}
	add(t, s, endUser(ada, 3))
	if live(t, s, r, at(4)) {
		t.Error("ended without an exception, and alive")
	}
}

func putSubjectKeeps(t *testing.T, s SessionStore) {
	a := add(t, s, changeUser(ada, 1), endUser(ada, 2), endAll(3))
	before := subject(t, s, ada)
	unit(t, s, func(tx handstamp.Tx) error {
		return tx.PutSubject(t.Context(), handstamp.Subject{
			User: ada, Ended: 77, EndedAt: at(77), EndReason: "x", Changed: 78, AllEnded: 79, AllEndedAt: at(79), Head: 80,
			Grants: handstamp.Grants{Roles: []string{"editor"}},
		})
	})
	want := before
	want.Grants.Roles = []string{"editor"}
	same(t, "the subject", subject(t, s, ada), want)
	unit(t, s, func(tx handstamp.Tx) error {
		return tx.PutSubject(t.Context(), handstamp.Subject{User: bob, Ended: 77, Changed: 78, Head: 80})
	})
	if sub := subject(t, s, bob); sub.Ended != 0 || sub.Changed != 0 || sub.Head != a.Last() || sub.AllEnded != a.Last() {
		t.Errorf("a row made with numbers of its own = %+v, want those of the log", sub)
	}
}

func subjectRoundTrip(t *testing.T, s SessionStore) {
	want := handstamp.Subject{
		User: ada, Disabled: true, Deleted: true, Email: "ada@example.com", EmailVerified: true,
		Grants: handstamp.Grants{Roles: []string{"b", "a"}, Permissions: []string{"notes:*", "x.y"}},
	}
	unit(t, s, func(tx handstamp.Tx) error { return tx.PutSubject(t.Context(), want) })
	same(t, "the subject", subject(t, s, ada), want)
	unit(t, s, func(tx handstamp.Tx) error {
		got, err := tx.Subject(t.Context(), ada)
		same(t, "the subject in a unit", got, want)
		return err
	})
	want = handstamp.Subject{User: ada}
	unit(t, s, func(tx handstamp.Tx) error { return tx.PutSubject(t.Context(), want) })
	same(t, "the emptied subject", subject(t, s, ada), want)
}

func subjectUnseen(t *testing.T, s SessionStore) {
	a := add(t, s, endAll(1))
	want := handstamp.Subject{User: "never-seen", AllEnded: a.Last(), AllEndedAt: at(1), Head: a.Last()}
	got := subject(t, s, "never-seen")
	got.AllEndedAt = want.AllEndedAt
	same(t, "the subject", got, want)
	unit(t, s, func(tx handstamp.Tx) error {
		got, err := tx.Subject(t.Context(), "never-seen")
		got.AllEndedAt = want.AllEndedAt
		same(t, "the subject in a unit", got, want)
		return err
	})
}

// oneSnapshot reads while somebody spares a session again and again. In one snapshot the spared session always carries
// the subject's number, and the head is never behind what was read.
func oneSnapshot(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() {
		for range 50 {
			err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
				_, err := addIn(t.Context(), tx, sparing(endUser(ada, 1), r))
				return err
			})
			if err != nil {
				t.Errorf("Do = %v", err)
				return
			}
		}
	})
	for range 200 {
		f := find(t, s, r.ID)
		if f.Session.Stamp != f.Subject.Ended || f.Subject.Head < f.Subject.Ended {
			t.Errorf("stamp %d, ended %d, head %d: not from one snapshot", f.Session.Stamp, f.Subject.Ended, f.Subject.Head)
			return
		}
	}
}
