package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// rounds is how often a crash is tried: HANDSTAMP_TORTURE times, or a few.
func rounds(few int) int {
	if n, err := strconv.Atoi(os.Getenv("HANDSTAMP_TORTURE")); err == nil && n > 0 {
		return n
	}
	return few
}

// soon tries something until it works, and checks that it does within the time in which service must be back.
func soon(t testing.TB, what string, try func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := try()
		switch {
		case err == nil:
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s works after %v, want at most 5s", what, took)
			}
			return
		case time.Since(began) > 30*time.Second:
			t.Fatalf("%s never works again: %v", what, err)
		}
	}
}

// beginOne begins a session and writes an entry, as one unit. The id of both is the caller's.
func beginOne(ctx context.Context, s *Store, rec handstamp.Session) error {
	return s.Work().Do(ctx, func(tx handstamp.Tx) error {
		sub, err := tx.Subject(ctx, rec.User)
		if err != nil {
			return err
		}
		if err := tx.PutSubject(ctx, sub); err != nil {
			return err
		}
		if err := tx.PutSession(ctx, rec); err != nil {
			return err
		}
		if err := tx.Record(ctx, audit.Event{ID: id.Audit("evt" + rec.ID[3:]), At: begun, Kind: audit.LoginOK, Actor: string(rec.User)}); err != nil {
			return err
		}
		change := endOfUser(rec.User)
		change.Effect = revoke.Change
		_, err = tx.Append(ctx, change)
		return err
	})
}

// TestKillTheServer: the server is killed under units again and again. What was acknowledged is there, with its entry and
// its event; what was refused is not; what is not known is there as a whole or not at all; numbers have no gaps. Then it
// is back in time.
func TestKillTheServer(t *testing.T) {
	server := fault.StartPostgres(t, fault.PostgresOptions{Durable: true})
	db := server.CreateDB(t)
	calm := openTest(t, server.DSN(db), Options{})
	s := openHurried(t, server.DSN(db), hurried())
	if d, err := s.Settle(t.Context(), handstamp.Settings{}); err != nil || d.Durability.Class != handstamp.Durable {
		t.Fatalf("Settle = %+v, %v; want durable", d, err)
	}
	var mu sync.Mutex
	outcome := map[handstamp.SessionID]error{}
	for range rounds(2) {
		stop := make(chan struct{})
		var done atomic.Int64
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					rec := session(handstamp.UserID(fmt.Sprint("usr_", w)))
					err := beginOne(t.Context(), s, rec)
					if errors.Is(err, handstamp.ErrConflict) || errors.Is(err, handstamp.ErrTaken) {
						t.Errorf("Do = %v for a session of a new id", err)
					}
					mu.Lock()
					outcome[rec.ID] = err
					mu.Unlock()
					if err == nil {
						done.Add(1)
					}
				}
			})
		}
		until(t, "units are acknowledged", func() bool { return done.Load() >= 30 })
		server.Kill()
		close(stop)
		writers.Wait()
		server.Start(t)
		soon(t, "a unit", func() error { return beginOne(t.Context(), s, session("usr_again")) })
	}
	var acknowledged, unknown int
	for sid, err := range outcome {
		f, lookup := calm.Sessions().Find(t.Context(), handstamp.Lookup{Session: sid})
		entry := server.Value(t, db, "SELECT count(*)::text FROM handstamp.audit WHERE id = $1", "evt"+string(sid[3:]))
		there := lookup == nil
		if there != (entry == "1") {
			t.Errorf("%s: there: %v, entries: %s; want both or none", sid, there, entry)
		}
		if errors.As(err, new(*unknownError)) {
			unknown++
		} else if there != (err == nil) {
			t.Errorf("%s: Do = %v, and it is there: %v", sid, err, there)
		}
		if err == nil {
			acknowledged++
		}
		if there && f.Subject.Changed == 0 {
			t.Errorf("%s is there without its event", sid)
		}
	}
	t.Logf("%d acknowledged, %d unknown of %d", acknowledged, unknown, len(outcome))
	const gaps = `SELECT (max(seq) - min(seq) + 1 - count(*))::text || ' ' || (max(seq) - (SELECT head FROM handstamp.log))::text FROM handstamp.events`
	if got := server.Value(t, db, gaps); got != "0 0" {
		t.Errorf("numbers that are missing, and events beyond the head: %s", got)
	}
}

// ready makes the tables, a session and a verifier.
func ready(t *testing.T, dsn string) (handstamp.Session, revoke.Head) {
	t.Helper()
	s := openTest(t, dsn, Options{})
	rec := put(t, s, "usr_ada")
	h, err := s.Log().Register(t.Context(), registration("vrf_1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return rec, h
}

// warm makes a store open several connections.
func warm(s *Store, rec handstamp.Session) {
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() { _, _ = s.Sessions().Find(context.Background(), handstamp.Lookup{Session: rec.ID}) })
	}
	all.Wait()
}

// TestServerRestarts: an operator restarts the server, or PgBouncer, or ends all connections. Nobody has to restart us.
func TestServerRestarts(t *testing.T) {
	server := fault.StartPostgres(t, fault.PostgresOptions{})
	pooler := fault.StartPgBouncer(t, server, fault.PgBouncerOptions{})
	for name, c := range map[string]struct {
		dsn func(db string) string
		opt Options
		off func(db string)
		on  func()
	}{
		"restarted":         {server.DSN, hurried(), func(string) { server.Stop("fast") }, func() { server.Start(t) }},
		"disconnected":      {server.DSN, hurried(), func(db string) { server.Disconnect(t, db) }, func() {}},
		"pooler killed":     {pooler.DSN, Options{Pooler: Transaction, MaxConns: 6}, func(string) { pooler.Kill() }, func() { pooler.Start(t) }},
		"behind the pooler": {pooler.DSN, Options{Pooler: Transaction, MaxConns: 6}, func(db string) { server.Disconnect(t, db) }, func() {}},
	} {
		t.Run(name, func(t *testing.T) {
			db := server.CreateDB(t)
			rec, h := ready(t, server.DSN(db))
			s := openHurried(t, c.dsn(db), c.opt)
			warm(s, rec)
			c.off(db)
			for range 3 { // while it is away: no answer that means no
				if _, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID}); errors.Is(err, handstamp.ErrNotFound) {
					t.Errorf("Find = %v", err)
				}
				if _, err := s.Log().Renew(t.Context(), place("vrf_1", h)); errors.Is(err, revoke.ErrNotRegistered) {
					t.Errorf("Renew = %v", err)
				}
			}
			c.on()
			soon(t, "Find", func() error {
				_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID})
				return err
			})
			soon(t, "Renew", func() error { _, err := s.Log().Renew(t.Context(), place("vrf_1", h)); return err })
			soon(t, "a unit", func() error { return beginOne(t.Context(), s, session("usr_ada")) })
		})
	}
}

// TestDeadNetwork: a network that swallows everything, or only the answers, and says nothing. Calls end in time and say
// that they do not know; when it is whole again, so is the store.
func TestDeadNetwork(t *testing.T) {
	server := fault.SharedPostgres(t)
	for name, damage := range map[string]func(p *fault.Proxy){
		"black hole": (*fault.Proxy).Blackhole,
		"half open":  (*fault.Proxy).HalfOpen,
		"deaf":       (*fault.Proxy).Deaf,
		"cut":        (*fault.Proxy).Cut,
		"slow":       func(p *fault.Proxy) { p.Delay(2 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			db := server.CreateDB(t)
			proxy := fault.NewProxy(t, server.Addr())
			rec, h := ready(t, server.DSN(db))
			s := openHurried(t, server.DSNAt(proxy.Addr(), db), hurried())
			warm(s, rec)
			damage(proxy)
			var calls sync.WaitGroup
			for range 4 {
				calls.Go(func() {
					answers(t, "Find", func() error {
						_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID})
						return err
					})
				})
				calls.Go(func() {
					answers(t, "Renew", func() error { _, err := s.Log().Renew(t.Context(), place("vrf_1", h)); return err })
				})
				calls.Go(func() { answers(t, "a unit", func() error { return beginOne(t.Context(), s, session("usr_bob")) }) })
				calls.Go(func() {
					answers(t, "Rotate", func() error {
						_, err := s.Sessions().Rotate(t.Context(), rec.ID, 7, rotation(rec, 8))
						return err
					})
				})
			}
			calls.Wait()
			proxy.Heal()
			soon(t, "Find", func() error {
				_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID})
				return err
			})
			soon(t, "Renew", func() error { _, err := s.Log().Renew(t.Context(), place("vrf_1", h)); return err })
			soon(t, "a unit", func() error { return beginOne(t.Context(), s, session("usr_ada")) })
		})
	}
}

// TestForgottenConnections: a firewall forgets all connections and lets new ones through. Those that were given up on take
// no place in the pool, however long their end takes.
func TestForgottenConnections(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	before, after := fault.NewProxy(t, server.Addr()), fault.NewProxy(t, server.Addr())
	rec, _ := ready(t, server.DSN(db))
	opt, err := hurried().complete()
	if err != nil {
		t.Fatal(err)
	}
	config, err := configOf(server.DSN(db), opt)
	if err != nil {
		t.Fatal(err)
	}
	var way atomic.Pointer[fault.Proxy]
	way.Store(before)
	config.ConnConfig.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, way.Load().Addr())
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(pool, opt)
	s.own = true
	find := func() error {
		_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID})
		return err
	}
	var all []*pgxpool.Conn // as many as there may be
	for range config.MaxConns {
		until(t, "there is one more connection", func() bool {
			conn, err := pool.Acquire(t.Context())
			if err == nil {
				all = append(all, conn)
			}
			return err == nil
		})
	}
	for _, conn := range all {
		conn.Release()
	}
	before.Blackhole()
	var calls sync.WaitGroup
	for range 12 {
		calls.Go(func() { answers(t, "Find", find) })
		calls.Go(func() { answers(t, "a unit", func() error { return beginOne(t.Context(), s, session("usr_bob")) }) })
	}
	calls.Wait()
	way.Store(after)
	soon(t, "Find", find)
	soon(t, "a unit", func() error { return beginOne(t.Context(), s, session("usr_ada")) })
	before.Cut()
	_ = s.Close()
}

// TestUnknownCommit: the COMMIT is sent, and its answer does not come. It may have happened, and does not have to have; it
// is called neither done nor refused.
func TestUnknownCommit(t *testing.T) {
	server := fault.SharedPostgres(t)
	for name, c := range map[string]struct {
		damage func(p *fault.Proxy)
		done   bool
	}{
		"the answer is lost":  {(*fault.Proxy).HalfOpen, true},
		"the request is lost": {(*fault.Proxy).Deaf, false},
	} {
		t.Run(name, func(t *testing.T) {
			db := server.CreateDB(t)
			proxy := fault.NewProxy(t, server.Addr())
			direct := openTest(t, server.DSN(db), Options{})
			s := openHurried(t, server.DSNAt(proxy.Addr(), db), hurried())
			soon(t, "a unit", func() error { // and the driver knows the statements
				return s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), session("usr_bob")) })
			})
			rec := session("usr_ada")
			calls := 0
			answers(t, "Do", func() error {
				return s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
					calls++
					err := tx.PutSession(t.Context(), rec)
					c.damage(proxy)
					return err
				})
			})
			if calls != 1 {
				t.Errorf("the unit ran %d times, want once: nobody knows what came of the first", calls)
			}
			if !c.done {
				proxy.Reset() // and the server hears of it
			}
			if c.done { // it may be under way
				until(t, "the unit is there", func() bool {
					_, err := direct.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID})
					return err == nil
				})
			}
			_, err := direct.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID})
			if (err == nil) != c.done {
				t.Errorf("Find = %v; want it there: %v", err, c.done)
			}
		})
	}
}

// TestLossyFailover: a standby that has not received everything becomes the primary. A reader that knows more than it
// notices, also when the new primary has given the same numbers to other events; and Restored makes it certain.
func TestLossyFailover(t *testing.T) {
	primary := fault.StartPostgres(t, fault.PostgresOptions{})
	db := primary.CreateDB(t)
	s := openTest(t, primary.DSN(db), Options{})
	h, err := s.Log().Register(t.Context(), registration("vrf_1"))
	if err != nil {
		t.Fatal(err)
	}
	rec := put(t, s, "usr_ada")
	ended(t, s, endOfUser("usr_bob"), endOfUser("usr_bob"))
	standby := primary.Standby(t)
	primary.CaughtUp(t, standby)
	standby.Stop("fast")
	end := ended(t, s, endOf(rec)) // acknowledged, and lost
	a := renewOK(t, s, place("vrf_1", h))
	at := place("vrf_1", a.Head)
	if at.Applied != end.Last() || at.Applied != 3 {
		t.Fatalf("applied %d, want 3", at.Applied)
	}
	both := openTest(t, fmt.Sprintf("postgres://postgres@%s,%s/%s?sslmode=disable", primary.Addr(), standby.Addr(), db), Options{})
	put(t, both, "usr_eve")
	primary.Kill()
	standby.Start(t)
	standby.Promote(t)

	var next revoke.Answer
	soon(t, "a renewal at the other server", func() error { next, err = both.Log().Renew(t.Context(), at); return err })
	if !next.Reset || next.Head.Seq != 2 {
		t.Errorf("Renew(3) of a log that ends at %d: reset %v, want a reset", next.Head.Seq, next.Reset)
	}
	ended(t, both, endOfUser("usr_eve")) // another event with the number 3
	if next, err = both.Log().Renew(t.Context(), at); err != nil || !next.Reset {
		t.Errorf("Renew(3) of a log with another 3: reset %v, %v; want a reset", next.Reset, err)
	}
	ended(t, both, endOfUser("usr_eve"))
	if next, err = both.Log().Renew(t.Context(), at); err != nil || !next.Reset {
		t.Errorf("Renew(3) of a log with another 3 and more: reset %v, %v; want a reset", next.Reset, err)
	}
	if f := found(t, both, rec.ID); f.Session.EndedBy != 0 {
		t.Fatal("the end is not lost; the test is none")
	}
	r, err := both.Restored(t.Context(), false, begun.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if f := found(t, both, rec.ID); handstamp.Live(f.Session, f.Subject, begun.Add(time.Minute)) {
		t.Error("a session is alive whose end was lost")
	}
	if next, err = both.Log().Renew(t.Context(), at); err != nil || !next.Reset || next.Head.Log == h.Log || next.Head.Seq != r.Seq {
		t.Errorf("Renew after Restored = %+v, %v; want a reset to another log", next, err)
	}
}

// TestFencedPrimary: a primary that was made read-only renews nobody's lease, and nothing that it says or does not know
// decides, on connections that are open already, too: what was ended since is ended somewhere else.
func TestFencedPrimary(t *testing.T) {
	server := fault.StartPostgres(t, fault.PostgresOptions{})
	db := server.CreateDB(t)
	rec, h := ready(t, server.DSN(db))
	s := openHurried(t, server.DSN(db), hurried())
	server.Configure(t, map[string]string{"default_transaction_read_only": "on"})
	soon(t, "the setting", func() error {
		if _, err := s.Log().Renew(t.Context(), place("vrf_1", h)); err == nil {
			return errors.New("it is not there yet")
		}
		return nil
	})
	answers(t, "Renew", func() error { _, err := s.Log().Renew(t.Context(), place("vrf_1", h)); return err })
	answers(t, "Rotate", func() error { _, err := s.Sessions().Rotate(t.Context(), rec.ID, 1, rotation(rec, 2)); return err })
	find := func(l handstamp.Lookup) func() error {
		return func() error { _, err := s.Sessions().Find(t.Context(), l); return err }
	}
	value := func(id handstamp.SessionID) func() error {
		return func() error { _, _, err := s.Values().Get(t.Context(), id, "cart"); return err }
	}
	for what, call := range map[string]func() error{
		"Find by id": find(handstamp.Lookup{Session: rec.ID}), "Find of nobody": find(handstamp.Lookup{Session: "ses_x"}),
		"Find by key": find(handstamp.Lookup{Key: rec.Key}), "Find of no key": find(handstamp.Lookup{Key: token.HashOf(token.Generate(token.Reference))}),
		"Find of no service key": find(handstamp.Lookup{ServiceKey: token.HashOf(token.Generate(token.ServiceKey))}),
		"Get":                    value(rec.ID), "Get of nobody": value("ses_x"),
		"Subject":    func() error { _, err := s.Sessions().Subject(t.Context(), "usr_x"); return err },
		"Subjects":   func() error { _, err := s.Subjects(t.Context(), []handstamp.UserID{"usr_x"}); return err },
		"Roles":      func() error { _, _, err := s.Roles(t.Context()); return err },
		"Keys":       func() error { _, err := s.Keys().Keys(t.Context()); return err },
		"Registered": func() error { _, err := s.Log().Registered(t.Context()); return err },
	} {
		answers(t, what, call)
	}
	server.Configure(t, map[string]string{"default_transaction_read_only": ""})
	soon(t, "Renew", func() error { _, err := s.Log().Renew(t.Context(), place("vrf_1", h)); return err })
}
