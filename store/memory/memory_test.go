package memory_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/storetest"
	"github.com/handstamp/handstamp/token"
)

func open(t testing.TB) storetest.Backend {
	s := memory.New()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Maker{
		Open: open,
		// In one process a second handle is the store itself.
		Again: func(_ testing.TB, b storetest.Backend) storetest.Backend { return b },
	})
}

// TestWaitingEndsWithContext holds a unit open: whoever waits for it is let go by its own context.
func TestWaitingEndsWithContext(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		s := memory.New()
		inside, release := make(chan struct{}), make(chan struct{})
		var holder sync.WaitGroup
		holder.Go(func() {
			must(t, s.Work().Do(t.Context(), func(handstamp.Tx) error {
				close(inside)
				<-release
				return nil
			}))
		})
		<-inside
		ctx, cancel := context.WithCancel(t.Context())
		waiting := make(chan error, 1)
		go func() { waiting <- s.Work().Do(ctx, func(handstamp.Tx) error { return nil }) }()
		synctest.Wait()
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("Do = %v, want the context's error", err)
		}
		if _, err := s.Sessions().Subject(t.Context(), ada); err != nil { // reads go on beside the unit
			t.Errorf("Subject = %v", err)
		}
		close(release)
		holder.Wait()
	})
}

// TestWatchWakes counts: each append that follows the last wake-up wakes, and what changes no log does not.
func TestWatchWakes(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		s := memory.New()
		ctx, cancel := context.WithCancel(t.Context())
		wakes, over := 0, make(chan error, 1)
		go func() { over <- s.Log().Watch(ctx, func() { wakes++ }) }()
		synctest.Wait()
		if wakes != 1 {
			t.Errorf("%d wake-ups at the start, want 1", wakes)
		}
		begin(t, s, 0)
		synctest.Wait()
		if wakes != 1 {
			t.Errorf("%d wake-ups after a unit without events, want still 1", wakes)
		}
		appendTo(t, s, event(revoke.KindAll, "", revoke.End))
		synctest.Wait()
		if wakes != 2 {
			t.Errorf("%d wake-ups after an append, want 2", wakes)
		}
		if _, err := s.Restored(t.Context(), true, at(1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if wakes != 3 {
			t.Errorf("%d wake-ups after the log became another one, want 3", wakes)
		}
		cancel()
		if err := <-over; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch = %v", err)
		}
	})
}

// TestIndexesFollow puts, moves and sweeps many sessions and looks each up by every way.
func TestIndexesFollow(t *testing.T) {
	s := memory.New()
	var all []handstamp.Session
	for n := range 100 {
		all = append(all, begin(t, s, n%7))
	}
	key := all[0].Key
	must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		one, two := all[0], all[1]
		one.Key, two.Key = two.Key, one.Key // one takes what the other gives up
		if err := tx.PutSession(t.Context(), one); !errors.Is(err, handstamp.ErrTaken) {
			t.Errorf("PutSession(a key of another session) = %v, want ErrTaken", err)
		}
		one.Key = token.Hash{}
		if err := tx.PutSession(t.Context(), one); err != nil {
			return err
		}
		return tx.PutSession(t.Context(), two)
	}))
	f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: key})
	must(t, err)
	if f.Session.ID != all[1].ID {
		t.Errorf("the key finds %s, want %s", f.Session.ID, all[1].ID)
	}
	for swept := 0; swept < 100; {
		n, err := s.Sessions().Sweep(t.Context(), at(10_000), 9)
		must(t, err)
		swept += n
		left, err := s.Sessions().List(t.Context(), handstamp.SessionFilter{User: ada, Limit: 1000, Now: at(6)})
		must(t, err)
		if n == 0 || len(left) != 100-swept {
			t.Fatalf("Sweep = %d, and %d of 100 are left after %d", n, len(left), swept)
		}
	}
}

func fill(b *testing.B, s storetest.SessionStore, n int) []handstamp.Session {
	b.Helper()
	var all []handstamp.Session
	must(b, s.Work().Do(b.Context(), func(tx handstamp.Tx) error {
		all = nil
		for i := range n {
			u := handstamp.UserID(fmt.Sprint("user-", i%1000))
			r := handstamp.Session{
				ID: id.NewSession(at(i)), User: u, Key: token.HashOf(token.Generate(token.Reference)), Methods: []string{"pwd"},
				CreatedAt: at(i), SeenAt: at(i), ExpiresAt: at(i + 600),
			}
			sub := handstamp.Subject{User: u, Grants: handstamp.Grants{Roles: []string{"member"}}}
			if err := tx.PutSubject(b.Context(), sub); err != nil {
				return err
			}
			if err := tx.PutSession(b.Context(), r); err != nil {
				return err
			}
			all = append(all, r)
		}
		return nil
	}))
	return all
}

func BenchmarkFind(b *testing.B) {
	for name, s := range map[string]storetest.SessionStore{"memory": memory.New(), "over": memory.Over(memory.New())} {
		all := fill(b, s, 100_000)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for n := 0; pb.Next(); n++ {
					if _, err := s.Sessions().Find(b.Context(), handstamp.Lookup{Key: all[n%len(all)].Key}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
