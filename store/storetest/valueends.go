package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
)

// ends are the ways for a session of a user to be over at a minute after 5, and whether it does not stand then.
type ending struct {
	name   string
	end    func(t testing.TB, s SessionStore, r handstamp.Session)
	now    time.Time
	swept  bool // it does not stand, so its values may go
	others bool // it ends everybody's
}

func endings() []ending {
	switchOff := func(change func(*handstamp.Subject)) func(testing.TB, SessionStore, handstamp.Session) {
		return func(t testing.TB, s SessionStore, r handstamp.Session) {
			unit(t, s, func(tx handstamp.Tx) error {
				sub, err := tx.Subject(t.Context(), r.User)
				if err != nil {
					return err
				}
				change(&sub)
				return tx.PutSubject(t.Context(), sub)
			})
		}
	}
	nothing := func(testing.TB, SessionStore, handstamp.Session) {}
	return []ending{
		{"the session ended", func(t testing.TB, s SessionStore, r handstamp.Session) { add(t, s, endSession(r, 5)) }, at(6), true, false},
		{"its user ended", func(t testing.TB, s SessionStore, r handstamp.Session) { add(t, s, endUser(r.User, 5)) }, at(6), true, false},
		{"its user disabled", switchOff(func(s *handstamp.Subject) { s.Disabled = true }), at(6), true, false},
		{"its user deleted", switchOff(func(s *handstamp.Subject) { s.Deleted = true }), at(6), true, false},
		{"the absolute end", nothing, at(0).Add(life), true, false},
		{"the idle end", nothing, at(0).Add(2*time.Microsecond + idle), false, false},
		{"everybody ended", func(t testing.TB, s SessionStore, _ handstamp.Session) { add(t, s, endAll(5)) }, at(6), true, true},
	}
}

// of makes the session that ends so; the others have neither a user nor a time in common with it.
func (e ending) of(t testing.TB, s SessionStore, n int) handstamp.Session {
	t.Helper()
	r := session(handstamp.UserID(fmt.Sprint("usr_", n)), 0)
	if e.swept && e.now.Sub(at(0)) >= life {
		r.IdleTimeout = 0
	}
	return put(t, s, r)
}

func valueDead(t *testing.T, s SessionStore) {
	for n, e := range endings() {
		t.Run(e.name, func(t *testing.T) {
			r := e.of(t, s, n)
			set(t, s, r, "cart", "before", 0, 1)
			e.end(t, s, r)
			for what, w := range map[string]handstamp.DatumWrite{
				"replacing": write(r, "cart", "after", 1, 2), "creating": write(r, "new", "after", 0, 2),
				"deleting": write(r, "cart", "", 1, 0), "deleting nothing": write(r, "new", "", 0, 0),
				"replacing by too much": {Session: r.ID, Value: handstamp.Datum{Name: "cart", Data: []byte("after"), Version: 2}, From: 1},
			} {
				w.Now = e.now
				fails(t, what, tryPut(t, s, w), handstamp.ErrConflict)
			}
			holds(t, s, r, "cart", "before", 1)
			lacks(t, s, r, "new")
			w := write(r, "cart", "after", 1, 2)
			if w.Now = e.now.Add(-2 * time.Microsecond); e.now.After(at(6)) { // before an end by time
				must(t, tryPut(t, s, w))
			}
		})
	}
}

func valueLive(t *testing.T, s SessionStore) {
	for n, c := range liveCases() {
		t.Run(c.name, func(t *testing.T) {
			r := c.make(t, s)
			w := write(r, "cart", "x", 0, 1)
			w.Now = c.now
			err := tryPut(t, s, w)
			if c.want {
				fails(t, "Put", err, nil)
				holds(t, s, r, "cart", "x", 1)
			} else {
				fails(t, "Put", err, handstamp.ErrConflict)
				lacks(t, s, r, "cart")
			}
			add(t, s, endUser(ada, 0)) // no other case finds it alive
			enable(t, s, fmt.Sprint(n))
		})
	}
}

func valueActivity(t *testing.T, s SessionStore) {
	for n, e := range endings() {
		r := e.of(t, s, n)
		e.end(t, s, r)
		w := write(r, "cart", "x", 0, 1)
		w.Now, w.SeenAt = e.now, e.now.Add(-time.Minute)
		want := error(handstamp.ErrConflict)
		if !e.swept {
			want = nil
		}
		fails(t, "Put with an activity a minute before, "+e.name, tryPut(t, s, w), want)
	}
	r := begin(t, s, bob, 0)
	w := write(r, "cart", "x", 0, 1)
	w.Now, w.SeenAt = at(90), at(30)
	fails(t, "Put with an activity that is too long ago", tryPut(t, s, w), handstamp.ErrConflict)
	w.SeenAt = at(30).Add(time.Microsecond)
	must(t, tryPut(t, s, w))
	utc(t, "SeenAt: a value is no activity", find(t, s, r.ID).Session.SeenAt, r.SeenAt)
	must(t, s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{r.ID: at(50)}))
	w = write(r, "cart", "y", 1, 2)
	w.Now, w.SeenAt = at(100), at(20) // what is stored is later
	must(t, tryPut(t, s, w))
}

func valueSweptRecord(t *testing.T, s SessionStore) {
	r, stays := begin(t, s, ada, 0), begin(t, s, ada, 5)
	for _, name := range []string{"a", "b", "c"} {
		set(t, s, r, name, "x", 0, 1)
		set(t, s, stays, name, "x", 0, 1)
	}
	sweep(t, s, r.ExpiresAt.Add(time.Microsecond), 1, 1)
	_, _, err := valuesOf(t, s).Get(t.Context(), r.ID, "a")
	fails(t, "Get of a session that was swept", err, handstamp.ErrNotFound)
	r.Version = 0 // its id, from a backup perhaps, with nothing of what it had
	put(t, s, r)
	lacks(t, s, r, "a")
	w := write(r, "a", "1234", 0, 1)
	w.Limit = 5
	must(t, tryPut(t, s, w))
	holds(t, s, stays, "b", "x", 1)
	sweep(t, s, at(5), 100, 0)
}

func valueSweptOver(t *testing.T, s SessionStore) {
	for n, e := range endings() {
		t.Run(e.name, func(t *testing.T) {
			r, other := e.of(t, s, n), begin(t, s, bob, 1)
			for _, one := range []handstamp.Session{r, other} {
				set(t, s, one, "a", "x", 0, 1)
				set(t, s, one, "b", "x", 0, 1)
			}
			sweep(t, s, at(5), 100, 0)
			e.end(t, s, r)
			want := 0
			if e.swept {
				want += 2
			}
			if e.others {
				want += 2
			}
			sweep(t, s, e.now, 100, want)
			if find(t, s, r.ID); e.swept {
				lacks(t, s, r, "a")
				lacks(t, s, r, "b")
			} else {
				holds(t, s, r, "a", "x", 1)
				add(t, s, endUser(r.User, 6))
				sweep(t, s, at(6), 100, 2)
			}
			sweep(t, s, e.now, 100, 0)
			if !e.others {
				holds(t, s, other, "a", "x", 1)
				add(t, s, endSession(other, 5))
				sweep(t, s, at(6), 100, 2)
			}
		})
	}
}

// valueSweptBounded has sessions that stand before, between and after those that do not.
func valueSweptBounded(t *testing.T, s SessionStore) {
	var over, stand []handstamp.Session
	for n := range 12 {
		r := begin(t, s, handstamp.UserID(fmt.Sprint("usr_", n)), n)
		for _, name := range []string{"a", "b", "c"} {
			set(t, s, r, name, "x", 0, 1)
		}
		if n%2 == 1 {
			over = append(over, r)
		} else {
			stand = append(stand, r)
		}
	}
	for _, r := range over {
		add(t, s, endSession(r, 20))
	}
	sweep(t, s, at(20), 0, 0)
	for left := 3 * len(over); left > 0; left -= 4 {
		sweep(t, s, at(20), 4, min(left, 4))
	}
	sweep(t, s, at(20), 4, 0)
	for _, r := range over {
		lacks(t, s, r, "c")
	}
	for _, r := range stand {
		holds(t, s, r, "a", "x", 1)
		holds(t, s, r, "c", "x", 1)
	}
}
