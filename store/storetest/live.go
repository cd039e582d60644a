package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
)

// liveCase is a session in a state, and whether it is alive in it at a time.
type liveCase struct {
	name string
	make func(t testing.TB, s SessionStore) handstamp.Session
	now  time.Time
	want bool
}

// plain is a session that has until at(600) by its absolute end and until at(60) by its idle one.
func plain(t testing.TB, s SessionStore) handstamp.Session {
	r := session(ada, 0)
	r.SeenAt = at(0)
	return put(t, s, r)
}

// idleless is a session that ends by its absolute end only.
func idleless(t testing.TB, s SessionStore) handstamp.Session {
	r := session(ada, 0)
	r.IdleTimeout = 0
	return put(t, s, r)
}

// forbidden is a session whose user was changed after it began, without an event.
func forbidden(change func(*handstamp.Subject)) func(testing.TB, SessionStore) handstamp.Session {
	return func(t testing.TB, s SessionStore) handstamp.Session {
		r := plain(t, s)
		unit(t, s, func(tx handstamp.Tx) error {
			sub, err := tx.Subject(t.Context(), ada)
			if err != nil {
				return err
			}
			change(&sub)
			return tx.PutSubject(t.Context(), sub)
		})
		return r
	}
}

// after is a session that events came after.
func after(events ...func(handstamp.Session) revoke.Event) func(testing.TB, SessionStore) handstamp.Session {
	return func(t testing.TB, s SessionStore) handstamp.Session {
		r := plain(t, s)
		for _, e := range events {
			add(t, s, e(r))
		}
		return r
	}
}

func liveCases() []liveCase {
	const us = time.Microsecond
	ended := func(r handstamp.Session) revoke.Event { return endSession(r, 1) }
	userEnded := func(handstamp.Session) revoke.Event { return endUser(ada, 1) }
	allEnded := func(handstamp.Session) revoke.Event { return endAll(1) }
	spared := func(r handstamp.Session) revoke.Event { return sparing(endUser(ada, 1), r) }
	otherEnded := func(handstamp.Session) revoke.Event { return endUser(bob, 1) }
	changed := func(handstamp.Session) revoke.Event { return changeUser(ada, 1) }
	return []liveCase{
		{"just begun", plain, at(0), true},
		{"before the idle end", plain, at(60).Add(-us), true},
		{"the idle end itself", plain, at(60), false},
		{"after the idle end", plain, at(60).Add(us), false},
		{"before the absolute end", idleless, at(600).Add(-us), true},
		{"the absolute end itself", idleless, at(600), false},
		{"after the absolute end", idleless, at(600).Add(us), false},
		{"disabled", forbidden(func(s *handstamp.Subject) { s.Disabled = true }), at(2), false},
		{"deleted", forbidden(func(s *handstamp.Subject) { s.Deleted = true }), at(2), false},
		{"ended", after(ended), at(2), false},
		{"its user ended", after(userEnded), at(2), false},
		{"everybody ended", after(allEnded), at(2), false},
		{"spared", after(spared), at(2), true},
		{"spared, then ended", after(spared, userEnded), at(2), false},
		{"spared, then everybody ended", after(spared, allEnded), at(2), false},
		{"another user ended", after(otherEnded), at(2), true},
		{"its user changed", after(changed), at(2), true},
		{"began after both ends", func(t testing.TB, s SessionStore) handstamp.Session {
			add(t, s, endUser(ada, 0), endAll(0))
			return plain(t, s)
		}, at(2), true},
	}
}

// liveTable asks every case of everything that decides it. Each question changes nothing of the answer to the next one.
func liveTable(t *testing.T, s SessionStore) {
	for n, c := range liveCases() {
		// All cases in one store: what ended before is over for those who begin later.
		t.Run(c.name, func(t *testing.T) {
			r := c.make(t, s)
			f := find(t, s, r.ID)
			if got := handstamp.Live(f.Session, f.Subject, c.now); got != c.want {
				t.Errorf("Live(Find) = %v, want %v", got, c.want)
			}
			if got := live(t, s, r, c.now); got != c.want {
				t.Errorf("List has it: %v, want %v", got, c.want)
			}
			oldestHas(t, s, r, c)
			if handstamp.Standing(f.Session, f.Subject, c.now) == c.want { // for the idle end see touches
				must(t, s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{r.ID: c.now}))
				if got := find(t, s, r.ID).Session.SeenAt.Equal(c.now); got != c.want && c.now.After(r.SeenAt) {
					t.Errorf("Touch moved SeenAt: %v, want %v", got, c.want)
				}
			}
			change := rotation(f.Session, 0)
			change.At, change.SeenAt = c.now, time.Time{}
			_, err := s.Sessions().Rotate(t.Context(), r.ID, 1, change)
			if c.want {
				fails(t, "Rotate", err, nil)
			} else {
				fails(t, "Rotate", err, handstamp.ErrConflict)
			}
			ended := endSession(r, 0)
			ended.At = c.now
			if got, want := add(t, s, ended).Sessions == 1, c.want; got != want {
				t.Errorf("session/end counts it: %v, want %v", got, want)
			}
			enable(t, s, fmt.Sprint(n))
		})
	}
}

func oldestHas(t *testing.T, s SessionStore, r handstamp.Session, c liveCase) {
	t.Helper()
	unit(t, s, func(tx handstamp.Tx) error {
		got, err := tx.Oldest(t.Context(), r.User, c.now, 0)
		if has := len(got) == 1 && got[0] == r.ID; has != c.want || len(got) > 1 {
			t.Errorf("Oldest = %v, has it: %v, want %v", got, has, c.want)
		}
		return err
	})
}

// enable makes the user what the next case expects.
func enable(t testing.TB, s SessionStore, email string) {
	t.Helper()
	unit(t, s, func(tx handstamp.Tx) error {
		return tx.PutSubject(t.Context(), handstamp.Subject{User: ada, Email: email})
	})
}
