package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/revoke"
)

// waiting waits until a statement of a database that contains a text waits for a lock.
func waiting(t testing.TB, server *fault.Postgres, db, text string) {
	t.Helper()
	const query = `SELECT count(*)::text FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock' AND strpos(query, $2) > 0`
	until(t, "somebody waits with "+text, func() bool { return server.Value(t, "postgres", query, db, text) != "0" })
}

// TestOvertakingCommits: a unit that took its number first and commits late. Nobody sees a later number before, and
// whoever sees one sees all before it: the others stand in line, whatever connection and process they come from.
func TestOvertakingCommits(t *testing.T) {
	s, server, db := newTest(t)
	other := openTest(t, server.DSN(db), Options{})
	h, err := s.Log().Register(t.Context(), registration("vrf_1"))
	if err != nil {
		t.Fatal(err)
	}
	taken, commit, over := make(chan uint64, 1), make(chan struct{}), make(chan error, 1)
	go func() {
		over <- s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			a, err := tx.Append(t.Context(), endOfUser("usr_slow"))
			taken <- a.Last()
			<-commit
			return err
		})
	}()
	first := <-taken
	var later sync.WaitGroup
	for n := range 3 {
		later.Go(func() {
			if _, err := appended(t, other, endOfUser(handstamp.UserID(fmt.Sprint("usr_", n)))); err != nil {
				t.Error(err)
			}
		})
	}
	waiting(t, server, db, "append_1")
	for _, one := range []*Store{s, other} {
		if a := renewOK(t, one, place("vrf_1", h)); a.Head.Seq != 0 || len(a.Events) != 0 {
			t.Errorf("a renewal sees %d events up to %d, and none is committed", len(a.Events), a.Head.Seq)
		}
		if sub, err := one.Sessions().Subject(t.Context(), "usr_slow"); err != nil || sub.Head != 0 || sub.Ended != 0 {
			t.Errorf("Subject = %+v, %v; want nothing of what is not committed", sub, err)
		}
	}
	close(commit)
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	later.Wait()
	a := renewOK(t, s, place("vrf_1", h))
	if a.Head.Seq != 4 || len(a.Events) != 4 || a.Events[0].ID != "usr_slow" || first != 1 {
		t.Errorf("the log is %+v, want usr_slow first of 4", a.Events)
	}
}

// TestWhoSeesOneSeesAllBefore: while many commit, every snapshot that holds an effect with a number holds a head at least
// as high, and the effects of all numbers up to its head.
func TestWhoSeesOneSeesAllBefore(t *testing.T) {
	s, server, db := newTest(t)
	stores := []*Store{s, openTest(t, server.DSN(db), Options{}), openTest(t, server.DSN(db), Options{})}
	const writers, each = 6, 25
	user := func(w int) handstamp.UserID { return handstamp.UserID(fmt.Sprint("usr_", w)) }
	numbers := make([]atomic.Uint64, writers) // what was acknowledged
	var all, readers sync.WaitGroup
	stop := make(chan struct{})
	h, err := s.Log().Register(t.Context(), registration("vrf_1"))
	if err != nil {
		t.Fatal(err)
	}
	readers.Go(func() {
		at, ended := place("vrf_1", h), map[handstamp.UserID]uint64{}
		for {
			a, err := stores[2].Log().Renew(t.Context(), at)
			if err != nil || a.Reset {
				t.Errorf("Renew = %+v, %v", a.Head, err)
				return
			}
			for _, e := range a.Events {
				if e.Seq != at.Applied+1 {
					t.Errorf("after %d comes %d", at.Applied, e.Seq)
				}
				at.Applied, at.Tag = e.Seq, e.Tag
				ended[handstamp.UserID(e.ID)] = e.Seq
			}
			for w := range writers {
				known := numbers[w].Load()
				sub, err := stores[2].Sessions().Subject(t.Context(), user(w))
				if err != nil {
					t.Error(err)
					return
				}
				if sub.Ended > sub.Head || sub.Ended < ended[user(w)] || sub.Ended < known || sub.Head < at.Applied {
					t.Errorf("%s: ended by %d at head %d; applied %d of it, %d was acknowledged, %d was applied",
						user(w), sub.Ended, sub.Head, ended[user(w)], known, at.Applied)
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for w := range writers {
		all.Go(func() {
			for range each {
				done, err := appended(t, stores[w%2], endOfUser(user(w)))
				if err != nil {
					t.Error(err)
					return
				}
				numbers[w].Store(done.Last())
			}
		})
	}
	all.Wait()
	close(stop)
	readers.Wait()
	if a := renewOK(t, s, place("vrf_1", h)); a.Head.Seq != writers*each {
		t.Errorf("the head is %d, want %d", a.Head.Seq, writers*each)
	}
}

// TestPausedHolder: a process that stops in the middle of a unit, with the counter taken. The others fail in their time
// instead of hanging, the server ends the one that stopped, and then they succeed. Who stopped is told that it failed.
func TestPausedHolder(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	short := patient()
	short.limits.lock, short.limits.idle = 200*time.Millisecond, 2*time.Second
	s, other := openTest(t, server.DSN(db), short), openTest(t, server.DSN(db), short)
	rec := put(t, s, "usr_ada")
	taken, wake, over := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		over <- s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			_, err := tx.Append(t.Context(), endOfUser("usr_paused"))
			close(taken)
			<-wake
			return err
		})
	}()
	<-taken
	_, err := appended(t, other, endOf(rec))
	if code(err) != codeLockTimeout || errors.Is(err, handstamp.ErrConflict) {
		t.Errorf("Append behind a paused holder = %v, want a lock that was not free in time", err)
	}
	if f := found(t, other, rec.ID); f.Session.EndedBy != 0 {
		t.Error("half of a failed unit is there")
	}
	until(t, "the server ends who stopped", func() bool {
		_, err := appended(t, other, endOf(rec))
		if err != nil && code(err) != codeLockTimeout {
			t.Fatalf("Append = %v, want a lock that was not free in time", err)
		}
		return err == nil
	})
	close(wake)
	if err := <-over; err == nil || errors.Is(err, handstamp.ErrConflict) {
		t.Errorf("the paused unit = %v, want an error that says that it is not known", err)
	}
	if f := found(t, s, rec.ID); f.Session.EndedBy != 1 || f.Subject.Head != 1 {
		t.Errorf("ended by %d at head %d, want the number that the paused one had taken and lost", f.Session.EndedBy, f.Subject.Head)
	}
}

// TestRotateReadsOneMoment: a refresh that waits for the row of its session while a unit takes roles away and then spares
// the session. The row it writes is newer than what it read before; its answer must not vouch for what it has missed.
func TestRotateReadsOneMoment(t *testing.T) {
	s, server, db := newTest(t)
	rec := put(t, s, "usr_ada")
	stop, commit := make(chan struct{}), make(chan struct{})
	over := make(chan error, 1)
	go func() {
		over <- s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			sub, err := tx.Subject(t.Context(), "usr_ada")
			if err != nil {
				return err
			}
			sub.Grants.Roles = []string{"less"}
			if err := tx.PutSubject(t.Context(), sub); err != nil {
				return err
			}
			end, change := endOfUser("usr_ada"), endOfUser("usr_ada")
			end.Except, change.Effect = rec.ID, revoke.Change
			_, err = tx.Append(t.Context(), change, end)
			close(stop)
			<-commit
			return err
		})
	}()
	<-stop
	var refresh sync.WaitGroup
	refresh.Go(func() {
		f, err := s.Sessions().Rotate(t.Context(), rec.ID, 1, rotation(rec, 2))
		if err != nil {
			t.Error(err)
			return
		}
		sub := f.Subject
		if f.Session.Stamp != 2 || sub.Ended != 2 || sub.Changed != 1 || sub.Head != 2 || len(sub.Grants.Roles) != 1 || f.Session.Refresh.Generation != 2 {
			t.Errorf("stamp %d, ended %d, changed %d, head %d, roles %v, generation %d: not of one moment",
				f.Session.Stamp, sub.Ended, sub.Changed, sub.Head, sub.Grants.Roles, f.Session.Refresh.Generation)
		}
	})
	waiting(t, server, db, "generation")
	close(commit)
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	refresh.Wait()
}

// TestRotateAgainstEnds: refreshes and ends of one user at once. A refresh that went through is either before the end, and
// then its answer does not know the end, or it never was.
func TestRotateAgainstEnds(t *testing.T) {
	s, server, db := newTest(t)
	other := openTest(t, server.DSN(db), Options{})
	for round := range 30 {
		rec := session("usr_ada")
		sub, err := s.Sessions().Subject(t.Context(), rec.User)
		if err != nil {
			t.Fatal(err)
		}
		rec.Stamp = max(sub.Ended, sub.AllEnded)
		if err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), rec) }); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		var f handstamp.Found
		var rotated error
		var end handstamp.Appended
		both.Go(func() { f, rotated = s.Sessions().Rotate(t.Context(), rec.ID, 1, rotation(rec, 2)) })
		both.Go(func() {
			e := endOfUser("usr_ada")
			switch round % 3 {
			case 1:
				e = endOf(rec)
			case 2:
				e.Kind, e.ID = revoke.KindAll, ""
			}
			end = ended(t, other, e)
		})
		both.Wait()
		switch {
		case errors.Is(rotated, handstamp.ErrConflict):
		case rotated != nil:
			t.Errorf("Rotate = %v", rotated)
		case f.Subject.Head >= end.Last():
			t.Errorf("Rotate went through at head %d, after the end %d", f.Subject.Head, end.Last())
		}
		if _, err := s.Sessions().Rotate(t.Context(), rec.ID, 2, rotation(rec, 3)); !errors.Is(err, handstamp.ErrConflict) {
			t.Errorf("Rotate after the end = %v, want ErrConflict", err)
		}
	}
}

// TestDeadlocksAreDoneOver: two units that lock two users in different orders both go through.
func TestDeadlocksAreDoneOver(t *testing.T) {
	s, _, _ := newTest(t)
	for _, u := range []handstamp.UserID{"usr_a", "usr_b"} {
		if err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			return tx.PutSubject(t.Context(), handstamp.Subject{User: u})
		}); err != nil {
			t.Fatal(err)
		}
	}
	var both, met sync.WaitGroup
	met.Add(2)
	var runs atomic.Int64
	for n := range 2 {
		both.Go(func() {
			first := true
			err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
				runs.Add(1)
				for i := range 2 {
					sub, err := tx.Subject(t.Context(), []handstamp.UserID{"usr_a", "usr_b"}[(n+i)%2])
					if err != nil {
						return err
					}
					sub.Grants.Roles = append(sub.Grants.Roles, fmt.Sprint("by-", n))
					if err := tx.PutSubject(t.Context(), sub); err != nil {
						return err
					}
					if first && i == 0 {
						first = false
						met.Done()
						met.Wait()
					}
				}
				return nil
			})
			if err != nil {
				t.Errorf("unit %d: %v", n, err)
			}
		})
	}
	both.Wait()
	for _, u := range []handstamp.UserID{"usr_a", "usr_b"} {
		if sub, err := s.Sessions().Subject(t.Context(), u); err != nil || len(sub.Grants.Roles) != 2 {
			t.Errorf("%s = %v, %v; want what both wrote", u, sub.Grants.Roles, err)
		}
	}
	if runs.Load() != 3 {
		t.Errorf("the two units ran %d times, want 3: one of them was done over", runs.Load())
	}
}

// TestUnseenUsersAreLocked: a user without a row is locked like any other, and gets no row by it.
func TestUnseenUsersAreLocked(t *testing.T) {
	s, server, db := newTest(t)
	var all sync.WaitGroup
	var inside, most atomic.Int64
	for range 8 {
		all.Go(func() {
			err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
				if _, err := tx.Subject(t.Context(), "usr_unseen"); err != nil {
					return err
				}
				most.Store(max(most.Load(), inside.Add(1)))
				defer inside.Add(-1)
				_, err := tx.Oldest(t.Context(), "usr_unseen", begun, 0)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d units held the user at once", most.Load())
	}
	if n := server.Value(t, db, "SELECT count(*)::text FROM handstamp.subjects"); n != "0" {
		t.Errorf("there are %s rows of users, want none", n)
	}
}

// TestRenewals: what a renewal does besides the contract: it tells the server's time, and is refused nowhere but where its
// row is gone.
func TestRenewals(t *testing.T) {
	s, server, db := newTest(t)
	h, err := s.Log().Register(t.Context(), registration("vrf_1"))
	if err != nil {
		t.Fatal(err)
	}
	a := renewOK(t, s, place("vrf_1", h))
	for _, now := range []time.Time{h.Now, a.Head.Now} {
		if age := time.Since(now); age < -time.Minute || age > time.Minute {
			t.Errorf("Now = %v, want the server's clock", now)
		}
	}
	// A row that somebody removes at this moment is gone, whatever the renewal saw when it began.
	c := connect(t, server.DSN(db))
	sqlExec(t, c, "BEGIN", "DELETE FROM handstamp.verifiers")
	var renewal sync.WaitGroup
	renewal.Go(func() {
		if _, err := s.Log().Renew(t.Context(), place("vrf_1", h)); !errors.Is(err, revoke.ErrNotRegistered) {
			t.Errorf("Renew = %v, want ErrNotRegistered", err)
		}
	})
	waiting(t, server, db, "own AS")
	sqlExec(t, c, "COMMIT")
	renewal.Wait()
	// Strange texts are a place that no log has.
	if h, err = s.Log().Register(t.Context(), registration("vrf_2")); err != nil {
		t.Fatal(err)
	}
	for _, r := range []revoke.Renewal{{Verifier: "vrf_2", Log: "\xff", Limit: 1}, {Verifier: "vrf_2", Log: h.Log, Tag: "\x00", Limit: 1}} {
		if a := renewOK(t, s, r); !a.Reset {
			t.Errorf("Renew(%q, %q) is no reset", r.Log, r.Tag)
		}
	}
	if _, err := s.Log().Renew(t.Context(), revoke.Renewal{Verifier: "\x00"}); err == nil {
		t.Error("a renewal of an id that cannot be went through")
	}
}

// TestRegistrationIsDurable: a registration waits for the disk even where the server's commits do not, and a renewal does
// not wait for it anywhere.
func TestRegistrationIsDurable(t *testing.T) {
	server := fault.SharedPostgres(t)
	for _, mode := range []string{"on", "off", "local"} {
		db := server.CreateDB(t)
		server.ExecIn(t, db, "ALTER DATABASE "+db+" SET synchronous_commit = "+mode)
		s := openTest(t, server.DSN(db), Options{})
		// Triggers see the setting that the commit will see.
		server.ExecIn(t, db, `CREATE TABLE public.seen (what text, mode text)`,
			`CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				INSERT INTO public.seen VALUES (TG_OP || ' ' || TG_TABLE_NAME, current_setting('synchronous_commit')); RETURN NULL; END $$`,
			`CREATE CONSTRAINT TRIGGER a AFTER INSERT OR UPDATE ON handstamp.verifiers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.look()`,
			`CREATE CONSTRAINT TRIGGER a AFTER INSERT OR UPDATE ON handstamp.sessions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.look()`)
		h, err := s.Log().Register(t.Context(), registration("vrf_1"))
		if err != nil {
			t.Fatal(err)
		}
		renewOK(t, s, place("vrf_1", h))
		rec := put(t, s, "usr_ada")
		if err := s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{rec.ID: begun.Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		durable := map[string]string{"on": "on", "off": "local", "local": "local"}[mode]
		want := fmt.Sprintf("INSERT verifiers %s, UPDATE verifiers off, INSERT sessions %s, UPDATE sessions off", durable, mode)
		if got := server.Value(t, db, "SELECT string_agg(what || ' ' || mode, ', ') FROM public.seen"); got != want {
			t.Errorf("with synchronous_commit=%s: %s, want %s", mode, got, want)
		}
	}
}

// TestForgetsByBothClocks: an event is forgotten when the caller's clock and the server's say so.
func TestForgetsByBothClocks(t *testing.T) {
	s, _, _ := newTest(t)
	now := time.Now()
	over, open := endOfUser("usr_ada"), endOfUser("usr_ada")
	over.Until, open.Until = now.Add(-time.Hour), now.Add(time.Hour)
	ended(t, s, over, open, endOfUser("usr_bob"))
	if n, err := s.Log().Forget(t.Context(), now.Add(2*time.Hour), 10); err != nil || n != 1 {
		t.Errorf("Forget by a clock that is ahead = %d, %v; want 1", n, err)
	}
	if n, err := s.Log().Forget(t.Context(), begun, 10); err != nil || n != 0 {
		t.Errorf("Forget by a clock that is behind = %d, %v; want 0", n, err)
	}
}

// TestForgetTogether: two that forget at once, and one that appends, lose nothing.
func TestForgetTogether(t *testing.T) {
	s, server, db := newTest(t)
	stores := []*Store{s, openTest(t, server.DSN(db), Options{})}
	var events []revoke.Event
	for range 500 {
		events = append(events, endOfUser("usr_ada"))
	}
	ended(t, s, events...)
	var all sync.WaitGroup
	var forgot atomic.Int64
	for n := range 6 {
		all.Go(func() {
			got, err := stores[n%2].Log().Forget(t.Context(), time.Now(), 100)
			if err != nil {
				t.Error(err)
			}
			forgot.Add(int64(got))
		})
		all.Go(func() { ended(t, stores[n%2], endOfUser("usr_bob")) })
	}
	all.Wait()
	h, err := s.Log().Register(t.Context(), registration("vrf_1"))
	if err != nil {
		t.Fatal(err)
	}
	a := renewOK(t, s, revoke.Renewal{Verifier: "vrf_1", Log: h.Log, Applied: h.Low, Tag: h.LowTag, Limit: 1000})
	if h.Low != uint64(forgot.Load()) || a.Reset || len(a.Events) != 506-int(h.Low) || a.Events[0].Seq != h.Low+1 {
		t.Errorf("low %d after %d were forgotten, %d events are left (reset: %v)", h.Low, forgot.Load(), len(a.Events), a.Reset)
	}
}

// TestSetLease: the lease changes when nobody runs, also after a process was killed, and never under one that runs.
func TestSetLease(t *testing.T) {
	s, _, _ := newTest(t)
	ctx := t.Context()
	settle := func(want time.Duration) time.Duration {
		got, err := s.Settle(ctx, handstamp.Settings{Lease: want})
		if err != nil {
			t.Fatal(err)
		}
		return got.Lease
	}
	settle(500 * time.Millisecond)
	killed := revoke.Registration{Verifier: id.NewVerifier(time.Now()), RegisteredAt: time.Now(), Name: "killed"}
	if _, err := s.Log().Register(ctx, killed); err != nil {
		t.Fatal(err)
	}
	if err := s.SetLease(ctx, time.Second); err != nil {
		t.Fatalf("nobody runs: %v", err)
	}
	if got := settle(500 * time.Millisecond); got != time.Second {
		t.Errorf("the lease is %v, want 1s", got)
	}
	f, err := revoke.Follow(ctx, s.Log(), revoke.FollowOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.SetLease(ctx, 2*time.Second); !errors.Is(err, handstamp.ErrConflict) {
		t.Errorf("a process runs: %v, want ErrConflict", err)
	}
	if got := settle(2 * time.Second); got != time.Second {
		t.Errorf("the lease moved to %v under a process that runs", got)
	}
}

// TestWatchSurvives: a listener whose connection is cut gets another one and wakes up for what it has missed; Close and
// the context end it.
func TestWatchSurvives(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	s := openTest(t, server.DSN(db), Options{Schema: "watched"})
	woken, over := make(chan struct{}, 1), make(chan error, 2)
	ctx, cancel := context.WithCancel(t.Context())
	wake := func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	go func() { over <- s.Log().Watch(ctx, wake) }()
	<-woken // it listens
	ended(t, s, endOfUser("usr_ada"))
	<-woken
	before := s.suspect.Load()
	server.Exec(t, fmt.Sprintf(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s' AND query LIKE 'LISTEN%%'`, db))
	<-woken // again, by itself
	if s.suspect.Load() == before {
		t.Error("the other connections are not suspect")
	}
	ended(t, s, endOfUser("usr_ada")) // and they are found good
	<-woken
	cancel()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch = %v, want its context's error", err)
	}
	go func() { over <- s.Log().Watch(t.Context(), wake) }()
	<-woken
	_ = s.Close()
	if err := <-over; !errors.Is(err, ErrClosed) {
		t.Errorf("Watch of a store that was closed = %v, want ErrClosed", err)
	}
}
