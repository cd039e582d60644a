package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// faulty is the driver with faults: before is asked about every text that goes to the engine without values, after about
// those that succeeded.
type faulty struct {
	connector
	before, after func(query string) error
}

func (f *faulty) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := f.connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &faultyConn{c.(engine), f}, nil
}

// engine is what the driver's connection can do.
type engine interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
	IsReadOnly(schema string) (bool, error)
}

type faultyConn struct {
	engine
	f *faulty
}

func (c *faultyConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.f.before != nil {
		if err := c.f.before(query); err != nil {
			return nil, err
		}
	}
	r, err := c.engine.ExecContext(ctx, query, args)
	if err == nil && c.f.after != nil {
		if err := c.f.after(query); err != nil {
			return nil, err
		}
	}
	return r, err
}

// engineError is an error with one of the engine's codes.
type engineError int

func (e engineError) Error() string { return "made up" }
func (e engineError) Code() int     { return int(e) }

// openFaulty opens a store whose writer has the faults.
func openFaulty(t *testing.T, path string, before, after func(string) error) *Store {
	t.Helper()
	s, err := open(t.Context(), path, Options{BusyTimeout: 300 * time.Millisecond}, func(dsn string) (connector, error) {
		c, err := plain(dsn)
		return &faulty{c, before, after}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// once answers err to the first query that begins so after it is armed.
func onceAt(armed *atomic.Bool, begins string, err error) func(string) error {
	return func(query string) error {
		if strings.HasPrefix(query, begins) && armed.CompareAndSwap(true, false) {
			return err
		}
		return nil
	}
}

// A COMMIT that fails may have happened or not. Whichever it was, the caller is told neither yes nor no.
func TestCommitOutcomeUnknown(t *testing.T) {
	const ioFsync = codeIO | 4<<8
	for _, happened := range []bool{false, true} {
		for _, failure := range []error{engineError(ioFsync), engineError(codeFull), engineError(codeBusy)} {
			var armed atomic.Bool
			path := filepath.Join(t.TempDir(), "handstamp.db")
			fault := onceAt(&armed, "COMMIT", failure)
			var s *Store
			if happened {
				s = openFaulty(t, path, nil, fault)
			} else {
				s = openFaulty(t, path, fault, nil)
			}
			armed.Store(true)
			rec := session("ada")
			runs := 0
			err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
				runs++
				return tx.PutSession(t.Context(), rec)
			})
			var unknown *unknownError
			if !errors.As(err, &unknown) || errors.Is(err, handstamp.ErrConflict) || errors.Is(err, handstamp.ErrNotFound) || runs != 1 {
				t.Errorf("Do() whose commit fails with %v (done: %t) = %v after %d runs, want don't know after one", failure, happened, err, runs)
			}
			_, err = s.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID})
			if happened != (err == nil) {
				t.Errorf("after a commit that failed with %v (done: %t) Find = %v", failure, happened, err)
			}
			err = s.dropNothing(t.Context())
			if stops := errors.Is(failure, engineError(ioFsync)); stops != errors.Is(err, errStopped) {
				t.Errorf("a write after a commit that failed with %v = %v", failure, err)
			} else if !stops && err != nil {
				t.Errorf("a write after a commit that failed with %v = %v, want success", failure, err)
			} else if stops && s.Check(t.Context()) == nil {
				t.Error("Check() of a store that stopped writing says all is well")
			}
		}
	}
}

// Whatever a unit's function does with the error of a failed statement, nothing of the unit is committed: the engine
// may have rolled back already, and what followed would be committed alone.
func TestSwallowedErrorCommitsNothing(t *testing.T) {
	s := newTest(t)
	rec, late := session("ada"), session("bob")
	err := s.do(t.Context(), func(u *unit) error {
		if err := u.PutSession(t.Context(), rec); err != nil {
			return err
		}
		if _, err := u.exec("INSERT INTO no_such_table VALUES (1)"); err == nil {
			t.Error("a statement on no table succeeded")
		}
		if err := u.PutSession(t.Context(), late); err == nil {
			t.Error("PutSession in a broken unit succeeded")
		}
		return nil
	})
	if err == nil {
		t.Error("Do() of a broken unit = nil")
	}
	for _, r := range []handstamp.Session{rec, late} {
		if _, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID}); !errors.Is(err, handstamp.ErrNotFound) {
			t.Errorf("a session of a broken unit: Find = %v, want not found", err)
		}
	}
}

func TestUnitsEndClean(t *testing.T) {
	s := newTest(t)
	errMine := errors.New("mine")
	rec := session("ada")
	if err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		if err := tx.PutSession(t.Context(), rec); err != nil {
			return err
		}
		return errMine
	}); err != errMine {
		t.Errorf("Do() = %v, want the function's own error", err)
	}
	func() {
		defer func() {
			if recover() != "boom" {
				t.Error("the panic did not come through")
			}
		}()
		_ = s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			_ = tx.PutSession(t.Context(), rec)
			panic("boom")
		})
	}()
	done := make(chan struct{})
	go func() { // a goroutine that ends in the middle, as a failing test does
		defer close(done)
		_ = s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			_ = tx.PutSession(t.Context(), rec)
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Work().Do(ctx, func(tx handstamp.Tx) error {
		if err := tx.PutSession(ctx, rec); err != nil {
			return err
		}
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Do() whose context ended = %v, want %v", err, context.Canceled)
	}
	if _, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID}); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("Find after units that failed = %v, want not found", err)
	}
	var kept handstamp.Tx
	if err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error { kept = tx; return tx.PutSession(t.Context(), rec) }); err != nil {
		t.Fatalf("a unit after those that failed: %v", err)
	}
	if err := kept.PutSession(t.Context(), session("eve")); err == nil {
		t.Error("a Tx that was kept still writes")
	}
}

// Another process holds the write lock: a write waits no longer than its context and no longer than BusyTimeout.
func TestWaitingForAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handstamp.db")
	holder := openTest(t, path)
	s := openFaulty(t, path, nil, nil)
	err := holder.Work().Do(t.Context(), func(handstamp.Tx) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := s.dropNothing(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a write beside a long one = %v, want the deadline", err)
		}
		if err := s.dropNothing(t.Context()); !busy(err) {
			t.Errorf("a write beside a long one = %v, want busy", err)
		}
		if _, err := s.Sessions().Subject(t.Context(), "ada"); err != nil {
			t.Errorf("a read beside a long write = %v", err)
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

// Writers of one store wait in line, and each leaves with its context.
func TestWaitingForTheWriter(t *testing.T) {
	s := newTest(t)
	err := s.Work().Do(t.Context(), func(handstamp.Tx) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := s.dropNothing(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a write beside a long one = %v, want the deadline", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The disk is full: writes fail and are not half there, reads go on, and space that comes back is used.
func TestDiskFull(t *testing.T) {
	s := newTest(t)
	first := put(t, s, "ada")
	l, err := s.writer.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var pages int
	if err := l.row("PRAGMA page_count", nil, &pages); err != nil {
		t.Fatal(err)
	}
	limit := func(n int) {
		var got int
		if err := l.conn.QueryRowContext(t.Context(), "PRAGMA max_page_count="+strconv.Itoa(n)).Scan(&got); err != nil {
			t.Fatal(err)
		}
	}
	limit(pages + 2)
	s.writer.give(l, true)

	var written []handstamp.Session
	var full error
	for range 200 {
		a, b := session("ada"), session("ada")
		err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			return errors.Join(tx.PutSession(t.Context(), a), tx.PutSession(t.Context(), b))
		})
		if err != nil {
			full = err
			for _, r := range []handstamp.Session{a, b} {
				if _, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID}); !errors.Is(err, handstamp.ErrNotFound) {
					t.Errorf("half of a unit that found the disk full is there: %v", err)
				}
			}
			break
		}
		written = append(written, a, b)
	}
	if primary(full) != codeFull {
		t.Fatalf("writing until the disk is full = %v, want full", full)
	}
	for _, r := range append(written, first) {
		if _, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key}); err != nil {
			t.Errorf("Find on a full disk = %v", err)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if l, err = s.writer.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	limit(1 << 20)
	s.writer.give(l, true)
	put(t, s, "ada")
}

// What the engine says holds no value of a query: errors end in logs.
func TestErrorsHoldNoValues(t *testing.T) {
	s := newTest(t)
	const secret = "argon2-of-somebody"
	err := s.do(t.Context(), func(u *unit) error {
		if err := u.PutCredential(t.Context(), account.Credential{User: "ada", Method: "password", Data: secret}); err != nil {
			return err
		}
		_, err := u.exec("UPDATE handstamp_credentials SET version = data")
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("an error of the engine = %v, want one without the value", err)
		}
		var n int64
		err = u.l.row("SELECT data FROM handstamp_credentials", nil, asInt(func(v int64) { n = v }))
		if err == nil || n != 0 || strings.Contains(err.Error(), secret) {
			t.Errorf("an error of a row = %v, want one without the value", err)
		}
		return err
	})
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("the unit's error = %v", err)
	}
}
