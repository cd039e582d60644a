package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
)

// Base is a full store that sessions kept elsewhere may be over.
type Base interface {
	Backend
	Subjects(ctx context.Context, users []handstamp.UserID) ([]handstamp.Subject, error)
}

// asked counts how often a base is asked for subjects.
type asked struct {
	Base
	one, many atomic.Int64
}

func (a *asked) Sessions() handstamp.Sessions { return askedSessions{a.Base.Sessions(), a} }

func (a *asked) Subjects(ctx context.Context, users []handstamp.UserID) ([]handstamp.Subject, error) {
	a.many.Add(1)
	return a.Base.Subjects(ctx, users)
}

type askedSessions struct {
	handstamp.Sessions
	a *asked
}

func (s askedSessions) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	s.a.one.Add(1)
	return s.Sessions.Subject(ctx, u)
}

// Batches checks that what is done with many sessions of many users at once asks a base that is far away a few times, and
// not once for each of them: who waits for one that asks so often waits for seconds. Over makes the store.
func Batches(t *testing.T, base Base, over func(b Base) SessionStore) {
	t.Helper()
	const users, asks = 300, 12
	b := &asked{Base: base}
	s := over(b)
	all := make([]handstamp.Session, users)
	unit(t, s, func(tx handstamp.Tx) error {
		for i := range all {
			all[i] = session(handstamp.UserID(fmt.Sprint("usr_", i)), i)
			all[i].ExpiresAt = at(10_000)
			all[i].IdleTimeout = 0
			if err := putIn(t.Context(), tx, all[i]); err != nil {
				return err
			}
		}
		return nil
	})
	for _, r := range all {
		w := handstamp.DatumWrite{Session: r.ID, Limit: 100, Now: at(users), Value: handstamp.Datum{Name: "cart", Data: []byte("x"), Version: 1}}
		if err := s.Values().Put(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	costs := func(what string, do func()) {
		t.Helper()
		b.one.Store(0)
		b.many.Store(0)
		do()
		if one, many := b.one.Load(), b.many.Load(); many < 1 || one+many > asks {
			t.Errorf("%s: the base was asked %d times for one subject, and %d times for several; want at most %d", what, one, many, asks)
		}
	}
	listed := func(want int) {
		t.Helper()
		got := list(t, s, handstamp.SessionFilter{Limit: users, Now: at(users + 1)})
		if len(got) != want {
			t.Errorf("%d sessions are listed, want %d", len(got), want)
		}
		for _, r := range got {
			if !r.SeenAt.Equal(at(users)) {
				t.Errorf("a session was last seen at %v, want %v", r.SeenAt, at(users))
				break
			}
		}
	}
	costs("activity", func() {
		seen := make(map[handstamp.SessionID]time.Time)
		for _, r := range all {
			seen[r.ID] = at(users)
		}
		if err := s.Sessions().Touch(t.Context(), seen); err != nil {
			t.Errorf("Touch = %v", err)
		}
	})
	costs("a list", func() { listed(users) })
	add(t, base, endSession(all[3], 1), endUser(all[7].User, 1)) // by another process
	costs("a list of what somebody has ended meanwhile", func() { listed(users - 2) })
	costs("a sweep", func() {
		if n, err := s.Sessions().Sweep(t.Context(), at(users+1), 1000); err != nil || n != 2 {
			t.Errorf("Sweep = %d, %v, want the values of the two that have ended", n, err)
		}
	})
}
