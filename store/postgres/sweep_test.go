package postgres

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/login"
)

func putAll(t testing.TB, s *Store, all ...handstamp.Session) {
	t.Helper()
	err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		for _, rec := range all {
			if err := tx.PutSession(t.Context(), rec); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSweepByBothClocks: a node whose clock is an hour ahead sweeps nobody's session.
func TestSweepByBothClocks(t *testing.T) {
	s, server, db := newTest(t)
	ctx, now := t.Context(), time.Now()
	live, guest := session("usr_ada"), session("\x1fanonymous/x")
	live.ExpiresAt = now.Add(30 * time.Minute)
	guest.Mode, guest.SeenAt, guest.IdleTimeout, guest.ExpiresAt = handstamp.ModeAnonymous, now, 30*time.Minute, now.Add(time.Hour)
	putAll(t, s, live, guest)
	err := s.LoginWork().Do(ctx, func(tx login.Tx) error {
		if err := tx.PutCounter(ctx, login.Counter{Key: login.BudgetKey{1}, Failures: 1, ExpiresAt: now.Add(time.Hour)}); err != nil {
			return err
		}
		if err := tx.Record(ctx, audit.Event{ID: id.NewAudit(now), At: now.Add(time.Hour), Kind: "k"}); err != nil {
			return err
		}
		return tx.PutOneTime(ctx, login.OneTime{Kind: "k", ExpiresAt: now.Add(time.Hour)})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Values().Put(ctx, handstamp.DatumWrite{Session: live.ID, Limit: 100, Now: now, SeenAt: now,
		Value: handstamp.Datum{Name: "x", Data: []byte("x"), Version: 1}}); err != nil {
		t.Fatal(err)
	}
	ahead := now.Add(24 * time.Hour)
	if n, err := s.Sessions().Sweep(ctx, ahead, 100); err != nil || n != 0 {
		t.Errorf("Sweep by a clock that is ahead = %d, %v; want 0", n, err)
	}
	if n, err := s.Audit().Sweep(ctx, ahead, 100); err != nil || n != 0 {
		t.Errorf("Sweep of entries by a clock that is ahead = %d, %v; want 0", n, err)
	}
	found(t, s, live.ID)
	found(t, s, guest.ID)
	if n := server.Value(t, db, "SELECT count(*)::text FROM handstamp.data"); n != "1" {
		t.Errorf("%s values are left, want 1", n)
	}
}

// TestVisitorsAreLookedAtAgain: a visitor who comes back again and again is kept, however often the sweep looked.
func TestVisitorsAreLookedAtAgain(t *testing.T) {
	s, server, db := newTest(t)
	ctx := t.Context()
	guest, forever, gone := session("\x1fanonymous/x"), session("\x1fanonymous/x"), session("\x1fanonymous/x")
	for _, g := range []*handstamp.Session{&guest, &forever, &gone} {
		g.Mode = handstamp.ModeAnonymous
	}
	forever.IdleTimeout = 0
	putAll(t, s, guest, forever, gone)
	sweep := func(after time.Duration, want int) {
		t.Helper()
		if n, err := s.Sessions().Sweep(ctx, begun.Add(after), 100); err != nil || n != want {
			t.Errorf("Sweep after %v = %d, %v; want %d", after, n, err, want)
		}
	}
	touch := func(after time.Duration) {
		t.Helper()
		if err := s.Sessions().Touch(ctx, map[handstamp.SessionID]time.Time{guest.ID: begun.Add(after)}); err != nil {
			t.Fatal(err)
		}
	}
	touch(50 * time.Minute)
	sweep(65*time.Minute, 0)
	sweep(65*time.Minute+time.Microsecond, 1) // the one that nobody saw again, five minutes after its end
	touch(100 * time.Minute)
	for after := 66 * time.Minute; after < 165*time.Minute; after += 10 * time.Minute {
		sweep(after, 0)
	}
	if at := server.Value(t, db, "SELECT look_at::text FROM handstamp.sessions WHERE id = $1", string(guest.ID)); at != fmt.Sprint(begun.Add(160*time.Minute).UnixMicro()) {
		t.Errorf("the visitor is looked at again at %s, want its idle end", at)
	}
	sweep(165*time.Minute+time.Microsecond, 1)
	sweep(20*time.Hour, 0)
	ended(t, s, endOf(forever))
	sweep(20*time.Hour, 1)
}

// TestSweepTogether: several processes that sweep at once delete each row once and wait for nobody.
func TestSweepTogether(t *testing.T) {
	s, server, db := newTest(t)
	stores := []*Store{s, openTest(t, server.DSN(db), Options{})}
	const many = 300
	var all []handstamp.Session
	for range many {
		all = append(all, session("usr_ada"))
	}
	putAll(t, s, all...)
	held := connect(t, server.DSN(db)) // somebody works with one of them
	sqlExec(t, held, "BEGIN", fmt.Sprintf("SELECT 1 FROM handstamp.sessions WHERE id = '%s' FOR UPDATE", all[0].ID))
	var both sync.WaitGroup
	var deleted atomic.Int64
	for n := range 6 {
		both.Go(func() {
			got, err := stores[n%2].Sessions().Sweep(t.Context(), begun.Add(100*time.Hour), many)
			if err != nil {
				t.Error(err)
			}
			deleted.Add(int64(got))
		})
	}
	both.Wait()
	if deleted.Load() != many-1 {
		t.Errorf("%d were deleted, want %d", deleted.Load(), many-1)
	}
	sqlExec(t, held, "COMMIT")
	if n, err := s.Sessions().Sweep(t.Context(), begun.Add(100*time.Hour), many); err != nil || n != 1 {
		t.Errorf("Sweep = %d, %v; want the one that was held", n, err)
	}
}

// TestTouchWaitsForNobodyInLine: the activity of a session that a unit holds is written when the unit is over, and that
// of the others at once.
func TestTouchOfHeldSessions(t *testing.T) {
	s, server, db := newTest(t)
	one, two := put(t, s, "usr_ada"), put(t, s, "usr_bob")
	then := begun.Add(10 * time.Minute)
	held := connect(t, server.DSN(db))
	sqlExec(t, held, "BEGIN", fmt.Sprintf("SELECT 1 FROM handstamp.sessions WHERE id = '%s' FOR UPDATE", one.ID))
	var touch sync.WaitGroup
	touch.Go(func() {
		if err := s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{one.ID: then, two.ID: then}); err != nil {
			t.Error(err)
		}
	})
	waiting(t, server, db, "seen_at = greatest")
	if at := found(t, s, two.ID).Session.SeenAt; !at.Equal(then) {
		t.Errorf("SeenAt of the one that nobody holds = %v, want %v", at, then)
	}
	sqlExec(t, held, "COMMIT")
	touch.Wait()
	if f := found(t, s, one.ID); !f.Session.SeenAt.Equal(then) || f.Session.Version != 1 {
		t.Errorf("SeenAt of the one that was held = %v, want %v", f.Session.SeenAt, then)
	}
}

// TestRefreshesTouchNoIndex: what is written at every refresh, activity and renewal stays in its page (a heap-only
// update), so that a busy server does not write every index each time.
func TestRefreshesTouchNoIndex(t *testing.T) {
	s, server, db := newTest(t)
	ctx := t.Context()
	rec, guest := put(t, s, "usr_ada"), session("\x1fanonymous/x")
	guest.Mode = handstamp.ModeAnonymous
	putAll(t, s, guest)
	h, err := s.Log().Register(ctx, registration("vrf_1"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint32(20) {
		if _, err := s.Sessions().Rotate(ctx, rec.ID, n+1, rotation(rec, n+2)); err != nil {
			t.Fatal(err)
		}
		seen := begun.Add(time.Duration(n+1) * time.Minute)
		if err := s.Sessions().Touch(ctx, map[handstamp.SessionID]time.Time{rec.ID: seen, guest.ID: seen}); err != nil {
			t.Fatal(err)
		}
		renewOK(t, s, place("vrf_1", h))
		ended(t, s, endOfUser("usr_bob"))
	}
	server.ExecIn(t, db, "ANALYZE")
	_ = s.Close() // the counts are reported when a connection ends
	const query = `SELECT coalesce(string_agg(relname || ' ' || n_tup_hot_upd || '/' || n_tup_upd, ', ' ORDER BY relname), 'none')
		FROM pg_stat_user_tables WHERE schemaname = 'handstamp' AND n_tup_hot_upd < n_tup_upd`
	const any = `SELECT count(*)::text FROM pg_stat_user_tables WHERE schemaname = 'handstamp' AND relname IN ('sessions', 'verifiers', 'log', 'subjects') AND n_tup_upd >= 19`
	until(t, "the server has counted the updates", func() bool { return server.Value(t, db, any) == "4" })
	if got := server.Value(t, db, query); got != "none" {
		t.Errorf("updates that wrote indexes too: %s", got)
	}
}
