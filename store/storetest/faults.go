package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/revoke"
)

func faultRules() []rule[SessionStore] {
	return []rule[SessionStore]{
		{"before_effect", "whichever call of a unit fails before it did anything, the store is as it was", faultsBefore},
		{"after_effect", "whichever call of a unit fails after it did all it does, the store is as it was", faultsAfter},
		{"refused_call", "a refused call that its unit goes on after has done nothing, and the rest of the unit stands", faultsRefused},
		{"unknown_commit", "a commit that may or may not have happened is there as a whole or not at all, and can be done again", faultsUnknown},
	}
}

// errFault is what a broken call answers.
var errFault = errors.New("storetest: this call fails")

// broken is a transaction whose n-th call fails, before its effect or after it.
type broken struct {
	handstamp.Tx
	calls, at int
	after     bool
}

// call counts a call, and says whether it fails here.
func (b *broken) call(after bool) error {
	if !after {
		b.calls++
	}
	if b.calls == b.at && b.after == after {
		return fmt.Errorf("call %d: %w", b.at, errFault)
	}
	return nil
}

func (b *broken) run(fn func() error) error {
	if err := b.call(false); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	return b.call(true)
}

func (b *broken) Subject(ctx context.Context, u handstamp.UserID) (s handstamp.Subject, err error) {
	return s, b.run(func() error { s, err = b.Tx.Subject(ctx, u); return err })
}

func (b *broken) PutSubject(ctx context.Context, s handstamp.Subject) error {
	return b.run(func() error { return b.Tx.PutSubject(ctx, s) })
}

func (b *broken) PutSession(ctx context.Context, s handstamp.Session) error {
	return b.run(func() error { return b.Tx.PutSession(ctx, s) })
}

func (b *broken) Oldest(
	ctx context.Context, u handstamp.UserID, now time.Time, keep int,
) (ids []handstamp.SessionID, err error) {
	return ids, b.run(func() error { ids, err = b.Tx.Oldest(ctx, u, now, keep); return err })
}

func (b *broken) Append(ctx context.Context, e ...revoke.Event) (a handstamp.Appended, err error) {
	return a, b.run(func() error { a, err = b.Tx.Append(ctx, e...); return err })
}

func (b *broken) Carry(ctx context.Context, c handstamp.Carrying) error {
	return b.run(func() error { return b.Tx.Carry(ctx, c) })
}

func (b *broken) Record(ctx context.Context, e audit.Event) error {
	return b.run(func() error { return b.Tx.Record(ctx, e) })
}

func faultsBefore(t *testing.T, s SessionStore) { faultsAt(t, s, false) }

func faultsAfter(t *testing.T, s SessionStore) { faultsAt(t, s, true) }

// faultsAt fails every call in turn until the unit goes through.
func faultsAt(t *testing.T, s SessionStore, after bool) {
	begun, ended := session(ada, 1), begin(t, s, ada, 0)
	set(t, s, ended, "cart", "x", 0, 1)
	before := read(t, s, begun, ended)
	for n := 1; n < 100; n++ {
		err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			_, err := everything(t.Context(), &broken{Tx: tx, at: n, after: after}, begun, ended)
			return err
		})
		if err == nil {
			if n < 8 {
				t.Errorf("the unit went through though its call %d was to fail", n)
			}
			got := read(t, s, begun, ended)
			if got.Begun.Session.ID != begun.ID || got.Ended.Session.EndedBy != 2 || got.Bob.Changed != 3 || got.Ada.Head != 4 ||
				string(got.Carts[0].Data) != "x" {
				t.Errorf("after the unit that went through: %+v", got)
			}
			return
		}
		fails(t, fmt.Sprintf("the unit whose call %d fails", n), err, errFault)
		same(t, fmt.Sprintf("the store after call %d failed", n), read(t, s, begun, ended), before)
	}
	t.Error("the unit never went through")
}

func faultsRefused(t *testing.T, s SessionStore) {
	ended, other := begin(t, s, ada, 0), begin(t, s, bob, 0)
	add(t, s, endSession(ended, 1))
	dead := find(t, s, ended.ID).Session
	other.UserAgent = "written in the same unit"
	unit(t, s, func(tx handstamp.Tx) error {
		again := dead
		again.EndedBy, again.EndedAt, again.EndReason = 0, time.Time{}, ""
		fails(t, "PutSession(over a tombstone)", tx.PutSession(t.Context(), again), handstamp.ErrConflict)
		stale := other
		stale.Version += 5
		fails(t, "PutSession(another version)", tx.PutSession(t.Context(), stale), handstamp.ErrConflict)
		return tx.PutSession(t.Context(), other)
	})
	same(t, "the tombstone", find(t, s, ended.ID).Session, dead)
	if got := find(t, s, other.ID).Session.UserAgent; got != other.UserAgent {
		t.Errorf("UserAgent = %q, want %q", got, other.UserAgent)
	}
}

// faultsUnknown loses the answer of a commit: the unit was committed, and its caller does not know. Doing it again must
// not make two of it.
func faultsUnknown(t *testing.T, s SessionStore) {
	begun, ended := session(ada, 1), begin(t, s, ada, 0)
	once := func() error {
		return s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			_, err := everything(t.Context(), tx, begun, ended)
			return err
		})
	}
	must(t, once())
	after := read(t, s, begun, ended)
	fails(t, "the unit again, after its answer was lost", once(), handstamp.ErrConflict)
	same(t, "the store after that", read(t, s, begun, ended), after)
	a := add(t, s, endSession(ended, 9)) // an end that is asked for again answers from the tombstone
	if got := find(t, s, ended.ID).Session; got.EndedBy != after.Ended.Session.EndedBy || a.Sessions != 0 {
		t.Errorf("ended again: by %d (%d sessions), want by %d", got.EndedBy, a.Sessions, after.Ended.Session.EndedBy)
	}
}
