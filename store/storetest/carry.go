package storetest

import (
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
)

// carry copies values in a unit that must succeed.
func carry(t testing.TB, s SessionStore, from, to handstamp.Session, names ...string) {
	t.Helper()
	unit(t, s, func(tx handstamp.Tx) error { return carryIn(t.Context(), tx, from.ID, to.ID, names...) })
}

func carries(t *testing.T, s SessionStore) {
	from, to, other := begin(t, s, ada, 0), begin(t, s, bob, 1), begin(t, s, ada, 2)
	for n, name := range []string{"cart", "draft", "flash", "cart2"} {
		set(t, s, from, name, "of the first", 0, uint64(n+1))
	}
	set(t, s, to, "draft", "of the second", 0, 7)
	set(t, s, to, "flash", "of the second", 0, 8)
	set(t, s, other, "cart", "of another", 0, 9)
	carry(t, s, from, to, "cart", "draft", "cart")
	for name, want := range map[string]string{
		"cart": "of the first", "draft": "of the second", "flash": "of the second", "cart2": "",
	} {
		if got := string(get(t, s, to, name).Data); got != want {
			t.Errorf("%q = %q after carrying, want %q", name, got, want)
		}
	}
	for n, name := range []string{"cart", "draft", "flash", "cart2"} {
		holds(t, s, from, name, "of the first", uint64(n+1))
	}
	holds(t, s, to, "flash", "of the second", 8)
	holds(t, s, other, "cart", "of another", 9)
	same(t, "the record of the session that values were carried to", find(t, s, to.ID).Session, to)
	carry(t, s, from, to)
	carry(t, s, from, from, "cart", "draft")
	holds(t, s, from, "cart", "of the first", 1)
}

func carriesOver(t *testing.T, s SessionStore) {
	to := begin(t, s, bob, 0)
	for name, end := range map[string]func(r handstamp.Session){
		"session": func(r handstamp.Session) { add(t, s, endSession(r, 1)) },
		"user":    func(r handstamp.Session) { add(t, s, endUser(r.User, 1)) },
		"disabled": func(r handstamp.Session) {
			unit(t, s, func(tx handstamp.Tx) error {
				return tx.PutSubject(t.Context(), handstamp.Subject{User: r.User, Disabled: true})
			})
		},
		"everybody": func(handstamp.Session) { add(t, s, endAll(1)); to = begin(t, s, bob, 1) },
	} {
		from := begin(t, s, handstamp.UserID("user "+name), 1)
		set(t, s, from, "cart", "x", 0, 1)
		end(from)
		carry(t, s, from, to, "cart")
		lacks(t, s, to, "cart")
	}
	late := begin(t, s, ada, 2)
	set(t, s, late, "cart", "x", 0, 1)
	unit(t, s, func(tx handstamp.Tx) error {
		return tx.Carry(t.Context(), handstamp.Carrying{From: late.ID, To: to.ID, Names: []string{"cart"}, Limit: room, Now: late.ExpiresAt})
	})
	lacks(t, s, to, "cart")
}

func carriesLimit(t *testing.T, s SessionStore) {
	from, to := begin(t, s, ada, 0), begin(t, s, ada, 1)
	set(t, s, from, "long", "0123456789", 0, 1)
	set(t, s, from, "s", "0123", 0, 2)
	set(t, s, from, "t", "0", 0, 3)
	set(t, s, to, "own", "0123456", 0, 4) // ten bytes with its name
	unit(t, s, func(tx handstamp.Tx) error {
		return tx.Carry(t.Context(), handstamp.Carrying{From: from.ID, To: to.ID, Names: []string{"long", "s", "t"}, Limit: 15, Now: at(2)})
	})
	lacks(t, s, to, "long")
	holds(t, s, to, "s", "0123", 2) // fifteen: exactly
	lacks(t, s, to, "t")
	holds(t, s, to, "own", "0123456", 4)
}

func carriesAbsent(t *testing.T, s SessionStore) {
	one, two := begin(t, s, ada, 0), begin(t, s, ada, 1)
	none := handstamp.Session{ID: id.NewSession(at(2))}
	set(t, s, one, "cart", "x", 0, 1)
	set(t, s, two, "draft", "stays", 0, 2)
	carry(t, s, one, two, "draft", "never", "", "CART", "car")
	carry(t, s, none, two, "draft", "cart")
	carry(t, s, one, none, "cart")
	carry(t, s, none, none, "cart")
	carry(t, s, handstamp.Session{}, two, "cart", "draft")
	carry(t, s, one, handstamp.Session{}, "cart")
	lacks(t, s, two, "cart")
	lacks(t, s, two, "never")
	holds(t, s, two, "draft", "stays", 2)
	later := session(ada, 2) // the session that was not there is made: nothing waits for it
	later.ID = none.ID
	put(t, s, later)
	lacks(t, s, later, "cart")
	sweep(t, s, at(3), 100, 0)
}

func carriesInUnit(t *testing.T, s SessionStore) {
	from := begin(t, s, ada, 0)
	set(t, s, from, "cart", "x", 0, 1)
	set(t, s, from, "other", "x", 0, 1)
	to := session(ada, 1)
	run := func(end error) error {
		return s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			if err := putIn(t.Context(), tx, to); err != nil {
				return err
			}
			if err := carryIn(t.Context(), tx, from.ID, to.ID, "cart"); err != nil {
				return err
			}
			if _, err := addIn(t.Context(), tx, endSession(from, 1)); err != nil {
				return err
			}
			return end
		})
	}
	fails(t, "the unit that is rolled back", run(errRollback), errRollback)
	_, _, err := valuesOf(t, s).Get(t.Context(), to.ID, "cart")
	fails(t, "Get after the unit was rolled back", err, handstamp.ErrNotFound)
	put(t, s, to)
	lacks(t, s, to, "cart")
	to = session(ada, 2)
	must(t, run(nil))
	if d := get(t, s, to, "cart"); string(d.Data) != "x" || d.Version == 0 {
		t.Errorf("the session of the unit has %q in version %d", d.Data, d.Version)
	}
	lacks(t, s, to, "other")
	sweep(t, s, at(3), 100, 2) // the copies stay when what they were made of goes
	holds(t, s, to, "cart", "x", get(t, s, to, "cart").Version)
	lacks(t, s, from, "cart")

	other := begin(t, s, ada, 3)
	set(t, s, other, "kept", "before", 0, 5)
	err = s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		return cmpErr(carryIn(t.Context(), tx, to.ID, other.ID, "cart"))
	})
	fails(t, "the unit that copied a value and is rolled back", err, errRollback)
	lacks(t, s, other, "cart")
	holds(t, s, other, "kept", "before", 5)

	var kept handstamp.Tx
	unit(t, s, func(tx handstamp.Tx) error { kept = tx; return nil })
	if err := carryIn(t.Context(), kept, to.ID, from.ID, "cart"); err == nil {
		t.Error("Carry in a unit that has ended = nil, want an error")
	}
	lacks(t, s, from, "cart")
}

func carriesVersion(t *testing.T, s SessionStore) {
	from, to := begin(t, s, ada, 0), begin(t, s, ada, 1)
	set(t, s, from, "cart", "one", 0, 1)
	carry(t, s, from, to, "cart")
	fails(t, "Put of a new value over the copy", tryPut(t, s, write(to, "cart", "x", 0, 78)), handstamp.ErrConflict)
	copied := get(t, s, to, "cart").Version
	set(t, s, to, "cart", "two", copied, 1000)
	holds(t, s, from, "cart", "one", 1)
	set(t, s, from, "cart", "three", 1, 1001)
	holds(t, s, to, "cart", "two", 1000)
	w := write(to, "more", "123456", 0, 1) // a copy counts for the size
	w.Limit = 16
	fails(t, "Put beside a copy", tryPut(t, s, w), handstamp.ErrDataTooLarge)
	w.Limit = 17
	must(t, tryPut(t, s, w))
}
