package storetest

import (
	"testing"
	"time"

	"github.com/handstamp/handstamp"
)

// What the sessions of two networks without a user are kept under. No application's user has such an id: it begins with a
// control character.
const (
	nobody      handstamp.UserID = "\x1fanonymous/203.0.113.7/32"
	nobodyElse  handstamp.UserID = "\x1fanonymous/203.0.113.7/3"
	namedNobody handstamp.UserID = "anonymous/203.0.113.7/32" // an application's user, if it likes
)

func anonymousRules() []rule[SessionStore] {
	return []rule[SessionStore]{
		{"without_subject", "a session without a user needs no row of a subject, is found like any other and leaves none behind", guestFound},
		{"in_no_list", "visitors are in no list of all sessions and take no room in its pages; under their own name they are listed", guestListed},
		{"counted", "the oldest of one network are counted apart from those of any other", guestCounted},
		{"touch_and_sweep", "they are kept by activity, and deleted five minutes after their idle end", guestSwept},
		{"ends", "they end by their own event, by that of their network and by that of everybody", guestEnds},
		{"values", "they have values, until they end", guestValues},
		{"login", "a login ends the visitor's session and takes the named values along, in one unit or not at all", guestLogsIn},
	}
}

// guest is a session as a visitor has it.
func guest(u handstamp.UserID, minute int) handstamp.Session {
	now := at(minute)
	r := session(u, minute)
	r.Mode, r.Transport, r.BrowserSession = handstamp.ModeAnonymous, handstamp.TransportCookie, false
	r.Methods, r.Claims, r.Refresh = nil, nil, handstamp.Family{}
	r.AuthAt, r.SeenAt = now, now
	return r
}

// visit begins a session without a user as the engine does: no subject is written.
func visit(t testing.TB, s SessionStore, u handstamp.UserID, minute int) handstamp.Session {
	t.Helper()
	r := guest(u, minute)
	unit(t, s, func(tx handstamp.Tx) error {
		sub, err := tx.Subject(t.Context(), u)
		if err != nil {
			return err
		}
		if _, err := tx.Oldest(t.Context(), u, at(minute), 99); err != nil {
			return err
		}
		r.Stamp = max(sub.Ended, sub.AllEnded)
		return tx.PutSession(t.Context(), r)
	})
	r.Version++
	return r
}

func guestFound(t *testing.T, s SessionStore) {
	add(t, s, endAll(0))
	r := visit(t, s, nobody, 1)
	f := find(t, s, r.ID)
	same(t, "the record by id", f.Session, r)
	byKey, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key})
	must(t, err)
	same(t, "what Find says by key", byKey, f)
	want := handstamp.Subject{User: nobody, AllEnded: 1, AllEndedAt: at(0), Head: 1}
	same(t, "its subject", f.Subject, want)
	same(t, "the subject by its name", subject(t, s, nobody), want)
	unit(t, s, func(tx handstamp.Tx) error {
		sub, err := tx.Subject(t.Context(), nobody)
		same(t, "the subject in a unit", sub, want)
		return err
	})
	next := r
	next.Key = hash()
	unit(t, s, func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), next) })
	next.Version++
	same(t, "the record after a replacement", find(t, s, r.ID).Session, next)
	_, err = s.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key})
	fails(t, "Find(the key before)", err, handstamp.ErrNotFound)
}

func guestListed(t *testing.T, s SessionStore) {
	var users, guests []handstamp.SessionID
	for minute := range 30 {
		if minute%3 == 1 {
			users = append([]handstamp.SessionID{begin(t, s, ada, minute).ID}, users...)
		} else {
			guests = append([]handstamp.SessionID{visit(t, s, nobody, minute).ID}, guests...)
		}
	}
	visit(t, s, nobodyElse, 10)
	named := begin(t, s, namedNobody, 31)
	users = append([]handstamp.SessionID{named.ID}, users...)
	pages := func(f handstamp.SessionFilter) []handstamp.SessionID {
		f.Now = at(31)
		got := []handstamp.SessionID{}
		for range 50 {
			page := ids(list(t, s, f))
			if got = append(got, page...); len(page) < f.Limit {
				break
			}
			f.After = page[len(page)-1]
		}
		return got
	}
	for _, limit := range []int{1, 3, 100} {
		same(t, "the list of all", pages(handstamp.SessionFilter{Limit: limit}), users)
		same(t, "the network's list", pages(handstamp.SessionFilter{User: nobody, Limit: limit}), guests)
	}
	same(t, "the list of a user of such a name", pages(handstamp.SessionFilter{User: namedNobody, Limit: 5}), []handstamp.SessionID{named.ID})
}

func guestCounted(t *testing.T, s SessionStore) {
	all := []handstamp.Session{visit(t, s, nobody, 0), visit(t, s, nobody, 1), visit(t, s, nobody, 2)}
	visit(t, s, nobodyElse, 0)
	begin(t, s, namedNobody, 0)
	add(t, s, endSession(all[1], 3))
	unit(t, s, func(tx handstamp.Tx) error {
		got, err := tx.Oldest(t.Context(), nobody, at(4), 0)
		same(t, "Oldest", got, []handstamp.SessionID{all[0].ID, all[2].ID})
		return err
	})
	unit(t, s, func(tx handstamp.Tx) error {
		got, err := tx.Oldest(t.Context(), nobody, at(4), 1)
		same(t, "Oldest but one", got, []handstamp.SessionID{all[0].ID})
		return err
	})
	unit(t, s, func(tx handstamp.Tx) error {
		got, err := tx.Oldest(t.Context(), nobody, at(4).Add(idle), 0)
		same(t, "Oldest after the idle end", got, []handstamp.SessionID{})
		return err
	})
}

func guestSwept(t *testing.T, s SessionStore) {
	r, other := visit(t, s, nobody, 0), visit(t, s, nobody, 5)
	must(t, s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{r.ID: at(50)}))
	want := r
	want.SeenAt = at(50)
	same(t, "the record after last-seen", find(t, s, r.ID).Session, want)
	if !live(t, s, r, at(100)) || live(t, s, other, at(100)) {
		t.Error("the one that was seen is over, or the other one is not")
	}
	set(t, s, r, "cart", "x", 0, 1)
	late := at(50).Add(idle + 5*time.Minute) // activity may be written late
	sweep(t, s, other.SeenAt.Add(idle+5*time.Minute), 10, 0)
	sweep(t, s, other.SeenAt.Add(idle+5*time.Minute+time.Microsecond), 10, 1)
	_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: other.Key})
	fails(t, "Find(swept)", err, handstamp.ErrNotFound)
	sweep(t, s, late, 10, 0)
	find(t, s, r.ID)
	sweep(t, s, late.Add(time.Microsecond), 10, 1)
	_, err = s.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key})
	fails(t, "Find(swept after its activity)", err, handstamp.ErrNotFound)
	user := begin(t, s, ada, 0)
	sweep(t, s, at(0).Add(2*idle), 10, 0) // a user's tombstone or idle session is kept to its absolute end
	find(t, s, user.ID)
}

func guestEnds(t *testing.T, s SessionStore) {
	one, two, other, user := visit(t, s, nobody, 0), visit(t, s, nobody, 1), visit(t, s, nobodyElse, 2), begin(t, s, ada, 3)
	if a := add(t, s, endSession(one, 4)); a.Sessions != 1 || live(t, s, one, at(5)) || !live(t, s, two, at(5)) {
		t.Errorf("session/end = %d sessions, want the one", a.Sessions)
	}
	if got := find(t, s, one.ID).Session; got.EndedBy != 1 || got.EndReason != "reason session" {
		t.Errorf("the tombstone = %+v", got)
	}
	if a := add(t, s, endUser(nobody, 4)); a.Sessions != 1 || live(t, s, two, at(5)) || !live(t, s, other, at(5)) {
		t.Errorf("user/end of a network = %d sessions, want the one that was left", a.Sessions)
	}
	if next := visit(t, s, nobody, 5); !live(t, s, next, at(6)) {
		t.Error("a visit after the end is over")
	}
	if a := add(t, s, endAll(6)); a.Sessions != 3 || live(t, s, other, at(7)) || live(t, s, user, at(7)) {
		t.Errorf("all/end = %d sessions, want 3", a.Sessions)
	}
	if next := visit(t, s, nobodyElse, 8); !live(t, s, next, at(9)) {
		t.Error("a visit after the end of everybody is over")
	}
}

func guestValues(t *testing.T, s SessionStore) {
	r, other := visit(t, s, nobody, 0), visit(t, s, nobody, 1)
	set(t, s, r, "cart", "x", 0, 1)
	set(t, s, other, "cart", "y", 0, 2)
	holds(t, s, r, "cart", "x", 1)
	add(t, s, endSession(r, 2))
	w := write(r, "cart", "z", 1, 3)
	fails(t, "Put for a visitor whose session ended", tryPut(t, s, w), handstamp.ErrConflict)
	sweep(t, s, at(3), 10, 1) // the record, and the value with it
	_, _, err := s.Values().Get(t.Context(), r.ID, "cart")
	fails(t, "Get after the sweep", err, handstamp.ErrNotFound)
	holds(t, s, other, "cart", "y", 2)
	add(t, s, endUser(nobody, 4))
	sweep(t, s, at(5), 10, 1)
}

func guestLogsIn(t *testing.T, s SessionStore) {
	r := visit(t, s, nobody, 0)
	set(t, s, r, "cart", "x", 0, 1)
	set(t, s, r, "flash", "y", 0, 2)
	logIn := func(end error) (handstamp.Session, error) {
		user := session(ada, 1)
		return user, s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			if err := putIn(t.Context(), tx, user); err != nil {
				return err
			}
			if err := carryIn(t.Context(), tx, r.ID, user.ID, "cart", "wishes"); err != nil {
				return err
			}
			if _, err := addIn(t.Context(), tx, endSession(r, 1)); err != nil {
				return err
			}
			return end
		})
	}
	_, err := logIn(errRollback)
	fails(t, "the login that is rolled back", err, errRollback)
	if !live(t, s, r, at(2)) || live(t, s, handstamp.Session{User: ada}, at(2)) {
		t.Error("a login that failed ended the visit, or began a session")
	}
	holds(t, s, r, "cart", "x", 1)
	user, err := logIn(nil)
	must(t, err)
	if live(t, s, r, at(2)) || !live(t, s, user, at(2)) {
		t.Error("after the login the visit goes on, or the user's session does not")
	}
	if d := get(t, s, user, "cart"); string(d.Data) != "x" {
		t.Errorf("the user's cart = %q, want the visitor's", d.Data)
	}
	lacks(t, s, user, "flash")
}
