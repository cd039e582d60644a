package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/fault"
)

// counted runs something and returns the statements that the server ran for it, by their beginnings.
func counted(t *testing.T, server *fault.Postgres, db string, fn func()) map[string]int64 {
	t.Helper()
	before := server.StatementsByText(t, db)
	fn()
	out := map[string]int64{}
	for text, calls := range server.StatementsByText(t, db) {
		if n := calls - before[text]; n > 0 {
			out[strings.Join(strings.Fields(text), " ")] += n
		}
	}
	return out
}

// costs checks that something done many times is one statement each time.
func costs(t *testing.T, server *fault.Postgres, db, what string, one func(n int)) {
	t.Helper()
	const times = 20
	got := counted(t, server, db, func() {
		for n := range times {
			one(n)
		}
	})
	if len(got) != 1 || slices.Collect(maps.Values(got))[0] != times {
		t.Errorf("%s, %d times, is %d kinds of statements, want one, as often:\n%v", what, times, len(got), got)
	}
}

// TestOneStatement: what is done for every request is one statement each time, asked of the server. Behind a pooler too.
func TestOneStatement(t *testing.T) {
	for _, pooled := range []bool{false, true} {
		t.Run(fmt.Sprint("pooler=", pooled), func(t *testing.T) {
			s, server, db := newTest(t)
			if pooled {
				s = openTest(t, fault.StartPgBouncer(t, server, fault.PgBouncerOptions{}).DSN(db), Options{Pooler: Transaction})
			}
			oneStatement(t, s, server, db)
		})
	}
}

func oneStatement(t *testing.T, s *Store, server *fault.Postgres, db string) {
	ctx := t.Context()
	rec := put(t, s, "usr_ada")
	h, err := s.Log().Register(ctx, registration("vrf_1"))
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	costs(t, server, db, "Find by id", func(int) { found(t, s, rec.ID) })
	costs(t, server, db, "Find by key", func(int) {
		_, err := s.Sessions().Find(ctx, handstamp.Lookup{Key: rec.Key, SigningKey: "kid"})
		must(err)
	})
	costs(t, server, db, "Rotate", func(n int) {
		_, err := s.Sessions().Rotate(ctx, rec.ID, uint32(n+1), rotation(rec, uint32(n+2)))
		must(err)
	})
	costs(t, server, db, "Renew", func(int) { renewOK(t, s, place("vrf_1", h)) })
	costs(t, server, db, "Subject", func(int) { _, err := s.Sessions().Subject(ctx, "usr_ada"); must(err) })
	costs(t, server, db, "Subjects", func(int) { _, err := s.Subjects(ctx, []handstamp.UserID{"usr_ada", "usr_x"}); must(err) })
	costs(t, server, db, "Roles", func(int) { _, _, err := s.Roles(ctx); must(err) })
	costs(t, server, db, "Registered", func(int) { _, err := s.Log().Registered(ctx); must(err) })
	costs(t, server, db, "Touch of many", func(n int) {
		must(s.Sessions().Touch(ctx, map[handstamp.SessionID]time.Time{rec.ID: begun.Add(time.Duration(n) * time.Minute), "ses_x": begun}))
	})
	costs(t, server, db, "Put", func(n int) {
		must(s.Values().Put(ctx, handstamp.DatumWrite{Session: rec.ID, From: uint64(n), Limit: 100, Now: begun,
			Value: handstamp.Datum{Name: "cart", Data: []byte("x"), Version: uint64(n + 1)}}))
	})
	costs(t, server, db, "Get", func(int) { _, _, err := s.Values().Get(ctx, rec.ID, "cart"); must(err) })
	costs(t, server, db, "List", func(int) {
		_, err := s.Sessions().List(ctx, handstamp.SessionFilter{User: "usr_ada", Limit: 10, Now: begun})
		must(err)
	})
}

// batches counts what the driver sends: each batch and each query is one round trip.
type batches struct{ n atomic.Int64 }

func (b *batches) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	b.n.Add(1)
	return ctx
}

func (b *batches) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	b.n.Add(1)
	return ctx
}
func (b *batches) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (b *batches) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}
func (b *batches) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData)     {}

// traced is a store on a pool that counts.
func traced(t *testing.T) (*Store, *batches) {
	t.Helper()
	server := fault.SharedPostgres(t)
	config, err := pgxpool.ParseConfig(server.DSN(server.CreateDB(t)))
	if err != nil {
		t.Fatal(err)
	}
	count := &batches{}
	config.ConnConfig.Tracer, config.MaxConns = count, 4
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s, err := New(t.Context(), pool, patient())
	if err != nil {
		t.Fatal(err)
	}
	return s, count
}

// TestRoundTrips: a unit begins with its first question and ends with what it has to say last; what has no answer goes
// along.
func TestRoundTrips(t *testing.T) {
	s, count := traced(t)
	ctx := t.Context()
	one, two := session("usr_ada"), session("usr_ada")
	entry := func(tx handstamp.Tx) error {
		return tx.Record(ctx, audit.Event{ID: id.NewAudit(begun), At: begun, Kind: audit.LoginOK, Actor: "usr_ada"})
	}
	begins := func(rec handstamp.Session) func(tx account.Tx) error {
		return func(tx account.Tx) error {
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
			return entry(tx)
		}
	}
	for _, c := range []struct {
		what string
		want int64
		fn   func(tx account.Tx) error
	}{
		{"nothing", 0, func(account.Tx) error { return nil }},
		{"an entry", 2, func(tx account.Tx) error { return entry(tx) }},
		{"a login: subject, session, commit", 3, begins(one)},
		{"another login", 3, begins(two)},
		{"an end: subject, append, commit", 3, func(tx account.Tx) error {
			if _, err := tx.Subject(ctx, "usr_ada"); err != nil {
				return err
			}
			if err := entry(tx); err != nil {
				return err
			}
			_, err := tx.Append(ctx, endOf(one))
			return err
		}},
		{"an end of many: append, commit", 2, func(tx account.Tx) error {
			_, err := tx.Append(ctx, endOfUser("usr_ada"), endOf(one), endOf(two), endOfUser("usr_bob"))
			return err
		}},
	} {
		before := count.n.Load()
		if err := s.AccountWork().Do(ctx, c.fn); err != nil {
			t.Fatal(err)
		}
		if got := count.n.Load() - before; got != c.want {
			t.Errorf("%s: %d round trips, want %d", c.what, got, c.want)
		}
	}
}
