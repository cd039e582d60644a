package postgres

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/revoke"
)

// hurried are the limits of a server, so that a test sees that waits end.
func hurried() Options { return Options{MaxConns: 6, limits: defaults()} }

// openHurried opens a store with such limits on a database that is ready, as often as it takes on a busy machine.
func openHurried(t testing.TB, dsn string, opt Options) *Store {
	t.Helper()
	var s *Store
	until(t, "the store is open", func() bool {
		var err error
		if s, err = Open(t.Context(), dsn, opt); err != nil && !errors.Is(err, ErrUnreachable) && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// answers checks that a call that cannot succeed says so, as "don't know", within the time in which somebody who asked
// over HTTP must be told.
func answers(t *testing.T, what string, call func() error) {
	t.Helper()
	began := time.Now()
	err := call()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("%s took %v, want less than 3s", what, took)
	}
	for _, no := range []error{nil, handstamp.ErrNotFound, handstamp.ErrConflict, handstamp.ErrTaken, revoke.ErrNotRegistered} {
		if errors.Is(err, no) {
			t.Errorf("%s = %v, want an error that says that it is not known", what, err)
		}
	}
}

// TestUnitsLeaveRoom: units that hold all the connections that they may have keep no check and no renewal waiting.
func TestUnitsLeaveRoom(t *testing.T) {
	server := fault.SharedPostgres(t)
	opt := patient()
	opt.MaxConns = 6
	s := openTest(t, server.DSN(server.CreateDB(t)), opt)
	rec := put(t, s, "usr_ada")
	h, err := s.Log().Register(t.Context(), registration("vrf_1"))
	if err != nil {
		t.Fatal(err)
	}
	var units sync.WaitGroup
	begun, end := make(chan struct{}, 20), make(chan struct{})
	for range 20 {
		units.Go(func() {
			err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
				_, err := tx.Oldest(t.Context(), "usr_ada", rec.CreatedAt, 0)
				begun <- struct{}{}
				<-end
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range 3 {
		<-begun
	}
	for range 50 {
		found(t, s, rec.ID)
		renewOK(t, s, place("vrf_1", h))
	}
	if n := s.pool.Stat().AcquiredConns(); n != 3 {
		t.Errorf("20 units hold %d connections of 6, want half of them", n)
	}
	close(end)
	units.Wait()
}

// TestChecksLeaveRoom: checks that hang, because somebody locks the table, keep no renewal waiting and end by themselves;
// when the lock is gone everything works.
func TestChecksLeaveRoom(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	opt := hurried()
	opt.limits.lock, opt.limits.statement = time.Minute, time.Minute // the server ends nothing by itself
	calm := openTest(t, server.DSN(db), Options{})
	rec := put(t, calm, "usr_ada")
	h, err := calm.Log().Register(t.Context(), registration("vrf_1"))
	if err != nil {
		t.Fatal(err)
	}
	s := openHurried(t, server.DSN(db), opt)
	c := connect(t, server.DSN(db))
	sqlExec(t, c, "BEGIN", "LOCK TABLE handstamp.sessions IN ACCESS EXCLUSIVE MODE")
	var checks sync.WaitGroup
	for range 30 {
		checks.Go(func() {
			answers(t, "Find", func() error {
				_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID})
				return err
			})
		})
		checks.Go(func() {
			answers(t, "Do", func() error {
				return s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
					_, err := tx.Oldest(t.Context(), "usr_ada", begun, 0)
					return err
				})
			})
		})
	}
	over := make(chan struct{})
	go func() { checks.Wait(); close(over) }()
	for most := int32(0); ; {
		renewOK(t, s, place("vrf_1", h))
		most = max(most, s.pool.Stat().AcquiredConns())
		select {
		case <-over:
		default:
			continue
		}
		if most < 5 {
			t.Errorf("%d connections were in use, want all but one: the test is none", most)
		}
		break
	}
	sqlExec(t, c, "COMMIT")
	soon(t, "Find", func() error {
		_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID})
		return err
	})
	soon(t, "a unit", func() error { return beginOne(t.Context(), s, session("usr_bob")) })
}

// TestHangingUpCostsNoConnection: what was sent for a caller who hangs up is brought to its end, and the connection goes on.
// Otherwise clients could keep pool and server busy with logins by hanging up.
func TestHangingUpCostsNoConnection(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	opt := patient()
	opt.MaxConns = 8
	s := openTest(t, server.DSN(db), opt)
	rec := put(t, s, "usr_ada")
	c := connect(t, server.DSN(db))
	waiting := func() string {
		return server.Value(t, "postgres", "SELECT count(*)::text FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'", db)
	}
	before := int64(0)
	for round := range 3 {
		sqlExec(t, c, "BEGIN", "LOCK TABLE handstamp.sessions, handstamp.subjects IN ACCESS EXCLUSIVE MODE")
		ctx, hangUp := context.WithCancel(t.Context())
		calls := []func() error{
			func() error { _, err := s.Sessions().Find(ctx, handstamp.Lookup{Session: rec.ID}); return err },
			func() error { _, err := s.Sessions().Rotate(ctx, rec.ID, 7, rotation(rec, 8)); return err },
			func() error { _, err := s.Sessions().Subject(ctx, "usr_ada"); return err },
			func() error {
				return s.Work().Do(ctx, func(tx handstamp.Tx) error {
					_, err := tx.Subject(ctx, "usr_ada")
					return err
				})
			},
		}
		var all sync.WaitGroup
		for _, call := range calls {
			all.Go(func() { _ = call() }) // whatever it is told, nobody hears it
		}
		until(t, "all of them wait in the server", func() bool { return waiting() == "4" })
		hangUp()
		sqlExec(t, c, "COMMIT")
		all.Wait()
		if n := s.pool.Stat().NewConnsCount(); round > 0 && n != before {
			t.Fatalf("in round %d %d connections were made anew", round, n-before)
		}
		before = s.pool.Stat().NewConnsCount()
	}
	if n := s.pool.Stat().AcquiredConns(); n != 0 || len(s.units) != 0 || len(s.work) != 0 {
		t.Errorf("%d connections are taken, %d and %d places", n, len(s.units), len(s.work))
	}
}

// TestDefaultsAnswerInTime: whoever asks over HTTP is told within 3 s.
func TestDefaultsAnswerInTime(t *testing.T) {
	l := defaults()
	if longest := l.total + l.commit; longest > 3*time.Second {
		t.Errorf("a call takes up to %v, want at most 3s", longest)
	}
	if l.lock != time.Second || l.idle != 2*time.Second || l.acquire > 2*time.Second {
		t.Errorf("limits = %+v", l)
	}
}

// TestNothingIsLeft: a store that is closed leaves no goroutine and no connection.
func TestNothingIsLeft(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	before := runtime.NumGoroutine()
	s, err := Open(t.Context(), server.DSN(db), patient())
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "usr_ada")
	over := make(chan error, 1)
	woken := make(chan struct{}, 1)
	go func() { over <- s.Log().Watch(t.Context(), func() { woken <- struct{}{} }) }()
	<-woken
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	<-over
	until(t, "no connection is left", func() bool {
		return server.Value(t, "postgres", "SELECT count(*)::text FROM pg_stat_activity WHERE datname = $1", db) == "0"
	})
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
	for what, call := range map[string]func() error{
		"Find": func() error { _, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: "ses_x"}); return err },
		"Do": func() error {
			return s.Work().Do(t.Context(), func(tx handstamp.Tx) error { _, err := tx.Subject(t.Context(), "u"); return err })
		},
		"Renew": func() error { _, err := s.Log().Renew(t.Context(), revoke.Renewal{Verifier: "vrf_1"}); return err },
	} {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close = %v, want ErrClosed", what, err)
		}
	}
}

// TestCallersTime: a caller's deadline ends a call wherever it hangs. One who hangs up is told so when the statement that was
// sent ends, for which the server's limits are there.
func TestCallersTime(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	s := openHurried(t, server.DSN(db), hurried())
	rec := put(t, s, "usr_ada")
	c := connect(t, server.DSN(db))
	sqlExec(t, c, "BEGIN", "LOCK TABLE handstamp.sessions IN ACCESS EXCLUSIVE MODE")
	for what, call := range map[string]func(ctx context.Context) error{
		"Find": func(ctx context.Context) error {
			_, err := s.Sessions().Find(ctx, handstamp.Lookup{Session: rec.ID})
			return err
		},
		"Rotate": func(ctx context.Context) error {
			_, err := s.Sessions().Rotate(ctx, rec.ID, 1, rotation(rec, 2))
			return err
		},
		"Do": func(ctx context.Context) error {
			return s.Work().Do(ctx, func(tx handstamp.Tx) error { return tx.PutSession(ctx, session("usr_bob")) })
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- call(ctx) }()
		waiting(t, server, db, "handstamp")
		cancel()
		if err := <-over; !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want the context's error", what, err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s = %v, want that the deadline has passed", what, err)
		}
		cancel()
	}
	sqlExec(t, c, "COMMIT")
	if f := found(t, s, rec.ID); f.Session.Version != 1 {
		t.Errorf("the record is %+v, want it unchanged", f.Session)
	}
}

// TestBrokenAnswerIsNotRepeated: an answer whose connection ends between two rows is not asked for again, for those who have
// taken the first rows would get them twice; one that has not begun is.
func TestBrokenAnswerIsNotRepeated(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	s := openTest(t, server.DSN(db), patient())
	seen := map[int64]int{}
	err := s.each(t.Context(), "SELECT n, repeat('x', 1000) FROM generate_series(1::bigint, 100000) AS n", nil, func(r pgx.Rows) error {
		var n int64
		if err := r.Scan(&n, nil); err != nil {
			return err
		}
		if seen[n]++; len(seen) == 1 {
			server.Disconnect(t, db)
		}
		return nil
	})
	if err == nil || !brokeOff(err) {
		t.Errorf("an answer that broke off = %v after %d rows", err, len(seen))
	}
	for n, times := range seen {
		if times != 1 {
			t.Fatalf("row %d came %d times", n, times)
		}
	}
	rec := put(t, s, "usr_ada")
	server.Disconnect(t, db)
	if _, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID}); err != nil {
		t.Errorf("a read whose connection had ended = %v, want it asked again", err)
	}
}
