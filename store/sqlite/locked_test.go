package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
)

// dials counts the connections that were made.
type dials struct {
	connector
	n *atomic.Int64
}

func (d dials) Connect(ctx context.Context) (driver.Conn, error) {
	d.n.Add(1)
	return d.connector.Connect(ctx)
}

// TestDefaultsAnswerInTime: whoever asks over HTTP is told within 3 s that the lock is held.
func TestDefaultsAnswerInTime(t *testing.T) {
	opt, err := Options{}.complete()
	if err != nil {
		t.Fatal(err)
	}
	if longest := opt.BusyTimeout + 10*busySlice; longest > 2500*time.Millisecond {
		t.Errorf("a write waits up to %v, want room for the rest of a request before 3 s", longest)
	}
	if opt.openTimeout() < leastOpenTimeout || (Options{BusyTimeout: time.Minute}).openTimeout() != time.Minute {
		t.Error("opening waits for less than other processes may need to migrate")
	}
}

// TestOneWaitForAHeldLock: another process holds the lock for long. A write waits for it once, not once more for every time
// it begins again; and those in line behind it have waited as well, and are not made to wait one after the other.
func TestOneWaitForAHeldLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handstamp.db")
	holder := openTest(t, path)
	var made atomic.Int64
	const patience = 300 * time.Millisecond
	s, err := open(t.Context(), path, Options{BusyTimeout: patience}, func(dsn string) (connector, error) {
		c, err := plain(dsn)
		return dials{c, &made}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	err = holder.Work().Do(t.Context(), func(handstamp.Tx) error {
		before := made.Load()
		if err := s.dropNothing(t.Context()); !busy(err) {
			t.Errorf("a write beside a long one = %v, want busy", err)
		}
		if err := s.dropNothing(t.Context()); !busy(err) {
			t.Errorf("another one = %v, want busy", err)
		}
		// The connection of a write that failed is not used again: the second write made one, and nobody made more.
		if n := made.Load() - before; n != 1 {
			t.Errorf("two writes made %d connections, want 1: they began again after they had waited", n)
		}
		const writers = 60
		errs := make([]error, writers)
		began := time.Now()
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() { errs[i] = s.dropNothing(t.Context()) })
		}
		all.Wait()
		took, inLine := time.Since(began), 0
		for _, err := range errs {
			switch {
			case errors.Is(err, errLocked):
				inLine++
			case !busy(err):
				t.Errorf("one of many writes beside a long one = %v, want busy", err)
			}
		}
		if inLine == 0 {
			t.Error("nobody gave up in line")
		}
		if took > writers*patience/2 {
			t.Errorf("%d writes took %v: they waited one after the other", writers, took)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.dropNothing(t.Context()); err != nil {
		t.Errorf("a write after it = %v", err)
	}
}

// TestGiveUpOnlyWhereLocked: in line behind this process's own writes nobody gives up, however long they take.
func TestGiveUpOnlyWhereLocked(t *testing.T) {
	s := newTest(t)
	inLine, leave := context.WithCancelCause(t.Context())
	s.giveUp(inLine, leave)
	if err := inLine.Err(); err != nil {
		t.Errorf("behind a write of this process: %v", context.Cause(inLine))
	}
	s.locked.Store(true)
	s.giveUp(inLine, leave)
	if err := context.Cause(inLine); !errors.Is(err, errLocked) {
		t.Errorf("behind a write that waits for another process: %v, want %v", err, errLocked)
	}
	// What was held a while ago is asked for anew.
	if err := s.dropNothing(t.Context()); err != nil || s.locked.Load() {
		t.Errorf("a write once the lock is free = %v, locked %v", err, s.locked.Load())
	}
	l, err := s.takeWriter(t.Context(), time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatalf("a free writer after the deadline: %v", err)
	}
	s.writer.give(l, true)
}
