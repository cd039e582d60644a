package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
)

// handles are two views of the same data, as two processes have them.
type handles struct{ one, two Backend }

// reopened is a store and a way to close it and open its data again.
type reopened struct {
	store Backend
	again func(Backend) Backend
}

func handleRules() []rule[handles] {
	return []rule[handles]{
		{"reads_at_once", "what one process committed another one reads at once", handlesRead},
		{"one_winner", "of many refreshes in two processes exactly one wins", handlesRotate},
		{"one_writer", "of many writers of one version of a value in two processes exactly one wins", handlesSwap},
		{"values", "values are one for both processes, and neither writes after the other one's end", handlesValues},
		{"one_taker", "of many takers in two processes exactly one gets a token", handlesTake},
		{"one_numbering", "two processes give one sequence of numbers, without gaps and without twins", handlesNumber},
		{"wakes", "an append in one process wakes who watches in the other", func(t *testing.T, h handles) { wakesUp(t, h.one, h.two) }},
		{"one_log", "a process that registers is seen by the other, and both follow one log", handlesLog},
		{"settled", "what one process settled the other is told", handlesSettle},
	}
}

func handlesRead(t *testing.T, h handles) {
	s := begin(t, h.one, ada, 0)
	f := find(t, h.two, s.ID)
	same(t, "the session in the other process", f.Session, s)
	f, err := h.two.Sessions().Rotate(t.Context(), s.ID, 1, rotation(s, 1))
	must(t, err)
	same(t, "the refreshed session", find(t, h.one, s.ID), f)
	a := add(t, h.two, endUser(ada, 2))
	if sub := subject(t, h.one, ada); sub.Ended != a.Last() || sub.Head != a.Last() || live(t, h.one, s, at(2)) {
		t.Errorf("the subject in the other process = %+v, want Ended %d", sub, a.Last())
	}
	u := signUp(t, h.one, user(1))
	got, err := h.two.Users().ByEmail(t.Context(), u.Email)
	must(t, err)
	same(t, "the account", got, u)
	accountUnit(t, h.two, func(tx account.Tx) error {
		return tx.PutRole(t.Context(), account.Role{Name: "editor", Permissions: []string{"a:b"}})
	})
	table, _, err := h.one.Roles(t.Context())
	must(t, err)
	if !table["editor"].Has("a:b") {
		t.Errorf("the role in the other process grants %v", table["editor"].List())
	}
	record(t, h.two, entry(1, audit.RoleDefined))
	if got := entries(t, h.one, audit.Filter{Limit: 10}); len(got) != 1 {
		t.Errorf("the other process sees %d entries, want 1", len(got))
	}
	must(t, h.one.Keys().PutKey(t.Context(), signingKey(1)))
	k := signingKey(1)
	k.Version = 1
	same(t, "the signing keys", signingKeys(t, h.two), []keyring.Record{k})
}

// either is one of the two, by turns.
func (h handles) either(n int) Backend {
	if n%2 == 0 {
		return h.one
	}
	return h.two
}

func handlesRotate(t *testing.T, h handles) {
	s := begin(t, h.one, ada, 0)
	won := race(t, func(n int) error {
		_, err := h.either(n).Sessions().Rotate(t.Context(), s.ID, 1, rotation(s, 1))
		return err
	})
	if got := find(t, h.two, s.ID).Session.Refresh.Generation; len(won) != 1 || got != 2 {
		t.Errorf("%d refreshes won, generation %d; want 1 and 2", len(won), got)
	}
}

func handlesSwap(t *testing.T, h handles) {
	r := begin(t, h.one, ada, 0)
	set(t, h.two, r, "cart", "before", 0, 1)
	won := race(t, func(n int) error {
		return tryPut(t, h.either(n), write(r, "cart", fmt.Sprint("racer ", n), 1, uint64(n+2)))
	})
	if len(won) != 1 {
		t.Fatalf("%d writers won, want 1", len(won))
	}
	holds(t, h.either(won[0]+1), r, "cart", fmt.Sprint("racer ", won[0]), uint64(won[0]+2))
	won = race(t, func(n int) error { return tryPut(t, h.either(n), write(r, fmt.Sprint("name", n), "x", 0, 1)) })
	if len(won) != racers {
		t.Errorf("%d of %d writers of names of their own won, want all", len(won), racers)
	}
}

func handlesValues(t *testing.T, h handles) {
	r, next := begin(t, h.one, ada, 0), begin(t, h.one, ada, 1)
	set(t, h.one, r, "cart", "one", 0, 1)
	holds(t, h.two, r, "cart", "one", 1)
	w := write(r, "more", "12345", 0, 1)
	w.Limit = 15
	fails(t, "Put beside what the other process wrote", tryPut(t, h.two, w), handstamp.ErrDataTooLarge)
	carry(t, h.two, r, next, "cart")
	holds(t, h.one, next, "cart", "one", get(t, h.two, next, "cart").Version)
	set(t, h.two, r, "cart", "two", 1, 2)
	fails(t, "Put in the version before the other one's", tryPut(t, h.one, write(r, "cart", "x", 1, 3)), handstamp.ErrConflict)
	add(t, h.one, endSession(r, 1))
	fails(t, "Put after the other one's end", tryPut(t, h.two, write(r, "cart", "x", 2, 3)), handstamp.ErrConflict)
	sweep(t, h.one, at(2), 10, 1)
	lacks(t, h.two, r, "cart")
	sweep(t, h.two, at(2), 10, 0)
}

func handlesTake(t *testing.T, h handles) {
	o := oneTime("setup")
	putOneTimes(t, h.one, o)
	won := race(t, func(n int) error {
		return h.either(n).LoginWork().Do(t.Context(), func(tx login.Tx) error {
			_, err := tx.TakeOneTime(t.Context(), o.Kind, o.Hash)
			return err
		})
	})
	if len(won) != 1 {
		t.Errorf("%d takers got the token, want 1", len(won))
	}
}

func handlesNumber(t *testing.T, h handles) {
	f := follow(t, h.one)
	won := race(t, func(n int) error {
		return h.either(n).Work().Do(t.Context(), func(tx handstamp.Tx) error {
			_, err := addIn(t.Context(), tx, endUser(handstamp.UserID(fmt.Sprint("user-", n)), 1))
			return err
		})
	})
	got := f.renew(t).Events
	if len(won) != racers || len(got) != racers {
		t.Fatalf("%d of %d units went through and there are %d events", len(won), racers, len(got))
	}
	for n, e := range got {
		if e.Seq != uint64(n+1) {
			t.Fatalf("event %d has number %d", n+1, e.Seq)
		}
	}
}

func handlesLog(t *testing.T, h handles) {
	one, two := follow(t, h.one), follow(t, h.two)
	if one.r.Log != two.r.Log {
		t.Errorf("two processes follow the logs %q and %q", one.r.Log, two.r.Log)
	}
	want := append(add(t, h.one, endUser(ada, 1)).Events, add(t, h.two, endUser(bob, 1)).Events...)
	same(t, "the events in one process", one.renew(t).Events, want)
	same(t, "the events in the other", two.renew(t).Events, want)
	two.renew(t)
	// A store may leave an acknowledgement out where nobody else can be waiting for it; here somebody can.
	seen := *two
	seen.b = h.one
	if got := seen.registration(t).Applied; got != 2 {
		t.Errorf("one process sees that the other applied %d, want 2", got)
	}
	must(t, h.one.Log().Remove(t.Context(), 3, two.r.Verifier))
	add(t, h.one, endUser(ada, 2))
	_, err := h.two.Log().Renew(t.Context(), two.r)
	fails(t, "Renew of a verifier that the other process removed", err, revoke.ErrNotRegistered)
}

func handlesSettle(t *testing.T, h handles) {
	settle(t, h.one, time.Second, "a")
	if got := settle(t, h.two, 9*time.Second, "a").Lease; got != time.Second {
		t.Errorf("the other process was told %v, want 1s", got)
	}
	_, err := h.two.Settle(t.Context(), handstamp.Settings{Lease: time.Second, Secrets: []string{"x"}})
	fails(t, "Settle(foreign secrets)", err, handstamp.ErrConflict)
}

func reopenRules() []rule[reopened] {
	return []rule[reopened]{
		{"all_there", "everything that was acknowledged is there after the store was opened again", reopens},
		{"goes_on", "numbers, log and settings go on where they were", reopensOn},
		{"delete_audit", "what a deletion left to the sweep is done, though the process that deleted has ended", reopensDeleting},
	}
}

func reopens(t *testing.T, r reopened) {
	b := r.store
	begun, ended := session(ada, 1), begin(t, b, ada, 0)
	set(t, b, ended, "cart", "\x00 bytes \xff", 0, 1)
	unit(t, b, func(tx handstamp.Tx) error {
		_, err := everything(t.Context(), tx, begun, ended)
		return err
	})
	u, k, o, counter := signUp(t, b, user(1)), serviceKey(1), oneTime("setup"), login.Counter{Key: login.BudgetKey(hash()), Failures: 3, LastAt: at(1), ExpiresAt: at(90)}
	putOneTimes(t, b, o)
	loginUnit(t, b, func(tx login.Tx) error {
		if err := tx.PutServiceKey(t.Context(), k); err != nil {
			return err
		}
		return tx.PutCounter(t.Context(), counter)
	})
	must(t, b.Keys().PutKey(t.Context(), signingKey(1)))
	before, log := read(t, b, begun, ended), entries(t, b, audit.Filter{Limit: 100})
	b = r.again(b)
	same(t, "sessions, subjects and values", read(t, b, begun, ended), before)
	same(t, "the audit log", entries(t, b, audit.Filter{Limit: 100}), log)
	same(t, "the counter", counterOf(t, b, counter.Key), counter)
	got, err := b.Users().ByEmail(t.Context(), u.Email)
	must(t, err)
	same(t, "the account", got, u)
	f, err := b.Sessions().Find(t.Context(), handstamp.Lookup{ServiceKey: k.Hash})
	must(t, err)
	k.Version = 1
	same(t, "the service key", f.ServiceKey, k)
	if n := len(signingKeys(t, b)); n != 1 {
		t.Errorf("there are %d signing keys, want 1", n)
	}
	_, err = take(t, b, o)
	must(t, err)
	b = r.again(b)
	_, err = take(t, b, o)
	fails(t, "TakeOneTime(taken before the store was opened again)", err, handstamp.ErrNotFound)
}

func reopensOn(t *testing.T, r reopened) {
	b := r.store
	settle(t, b, 3*time.Second, "a")
	f := follow(t, b)
	want := add(t, b, endUser(ada, 1), endAll(1)).Events
	b = r.again(b)
	if got := settle(t, b, time.Second, "a").Lease; got != 3*time.Second {
		t.Errorf("the lease = %v, want 3s", got)
	}
	_, err := b.Settle(t.Context(), handstamp.Settings{Secrets: []string{"x"}})
	fails(t, "Settle(foreign secrets)", err, handstamp.ErrConflict)
	next := follow(t, b)
	if next.r.Log != f.r.Log {
		t.Error("the log is another one")
	}
	same(t, "the events", next.renew(t).Events, want)
	if e := add(t, b, changeUser(ada, 2)).Events[0]; e.Seq != 3 {
		t.Errorf("the next number = %d, want 3", e.Seq)
	}
	begin(t, b, ada, 3)
	if got := list(t, b, handstamp.SessionFilter{User: ada, Limit: 10, Now: at(3)}); len(got) != 1 {
		t.Errorf("there are %d live sessions, want the one that began after the end", len(got))
	}
}
