package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/store/postgres"
	"github.com/handstamp/handstamp/store/storetest"
	"github.com/handstamp/handstamp/store/storetest/transfertest"
	"github.com/handstamp/handstamp/store/transfer"
)

// transfers runs the contract of transfers on schemas of one database.
func transfers(t *testing.T, dsn string, opt postgres.Options) {
	var next atomic.Int64
	transfertest.Run(t, transfertest.Maker{New: func(t testing.TB) transfertest.Pair {
		opt := opt
		opt.Schema = fmt.Sprintf("transfer_%d", next.Add(1))
		tr, err := postgres.OpenTransfer(t.Context(), dsn, opt, true)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tr.Close() })
		return transfertest.Pair{Backend: openWith(t, dsn, opt), Transfer: tr, Open: func(ctx context.Context) (transfertest.Backend, error) {
			return postgres.Open(ctx, dsn, opt)
		}}
	}})
}

func TestTransfer(t *testing.T) {
	server := fault.SharedPostgres(t)
	transfers(t, server.DSN(server.CreateDB(t)), postgres.Options{})
}

// TestTransferBehindPgBouncer is the same where each transaction may be on another connection to the server.
func TestTransferBehindPgBouncer(t *testing.T) {
	server := fault.SharedPostgres(t)
	pooler := fault.StartPgBouncer(t, server, fault.PgBouncerOptions{})
	transfers(t, pooler.DSN(server.CreateDB(t)), postgres.Options{Pooler: postgres.Transaction})
}

// TestTransferIsEverything: a table or a column that a later migration adds is moved, or left behind on purpose.
func TestTransferIsEverything(t *testing.T) {
	server := fault.SharedPostgres(t)
	dsn := server.DSN(server.CreateDB(t))
	openWith(t, dsn, postgres.Options{})
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(t.Context()) }()
	rows, err := c.Query(t.Context(), `SELECT table_name::text, array_agg(column_name::text) FROM information_schema.columns
		WHERE table_schema = 'handstamp' GROUP BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	moved := map[string][]string{}
	for _, table := range transfer.Tables() {
		for _, c := range table.Columns {
			moved[table.Name] = append(moved[table.Name], strings.Replace(c.Name+".", "user.", "user_id.", 1))
		}
	}
	moved[transfer.TableSessions] = append(moved[transfer.TableSessions], "look_at.") // follows from the others
	stays := []string{"migrations", "verifiers", "sweep"}
	for rows.Next() {
		var name string
		var have []string
		if err := rows.Scan(&name, &have); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(stays, name) {
			continue
		}
		want := moved[name]
		for i := range want {
			want[i] = strings.TrimSuffix(want[i], ".")
		}
		slices.Sort(want)
		slices.Sort(have)
		if !slices.Equal(have, want) {
			t.Errorf("the table %s has the columns %v, and moved are %v", name, have, want)
		}
		delete(moved, name)
	}
	for name := range moved {
		t.Errorf("there is no table %s", name)
	}
}

// TestTransferRights: servers that run as a user who does not own the tables go on, and start, while their database is
// moved by its owner; and a move by anybody else is refused with what to do.
func TestTransferRights(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	tr, err := postgres.OpenTransfer(t.Context(), server.DSN(db), postgres.Options{}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tr.Close() }()
	server.ExecIn(t, db, "CREATE ROLE mover_"+db+" LOGIN PASSWORD 'hunter2'", "GRANT USAGE ON SCHEMA handstamp TO mover_"+db,
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA handstamp TO mover_"+db)
	dsn := strings.Replace(server.DSN(db), "postgres:fault-postgres@", "mover_"+db+":hunter2@", 1)
	opt := postgres.Options{SkipMigrations: true}
	b := openWith(t, dsn, opt)
	begin := func(s storetest.SessionStore) error {
		return s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			return tx.PutSubject(t.Context(), handstamp.Subject{User: "usr_ada", Email: rand.Text()})
		})
	}
	open := transfer.Mark{}
	tracked := transfer.Mark{Phase: transfer.Tracked, Log: "log", Run: "run"}
	fenced := transfer.Mark{Phase: transfer.Fenced, Log: "log", Run: "run"}
	if err := tr.Set(t.Context(), open, tracked); err != nil {
		t.Fatal(err)
	}
	if err := begin(b); err != nil {
		t.Errorf("a write of a server while it is tracked = %v", err)
	}
	if found, err := tr.Changes(t.Context(), 10); err != nil || len(found) != 1 {
		t.Errorf("Changes = %v, %v, want one", found, err)
	}
	if err := begin(openWith(t, dsn, opt)); err != nil {
		t.Errorf("a write of a server that has just started = %v", err)
	}
	if err := tr.Set(t.Context(), tracked, fenced); err != nil {
		t.Fatal(err)
	}
	if err := begin(openWith(t, dsn, opt)); err == nil {
		t.Error("a server writes under the fence")
	}
	if err := tr.Set(t.Context(), fenced, open); err != nil {
		t.Fatal(err)
	}
	foreign, err := postgres.OpenTransfer(t.Context(), dsn, postgres.Options{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = foreign.Close() }()
	if err := foreign.Set(t.Context(), open, tracked); !errors.Is(err, postgres.ErrRights) || !strings.Contains(err.Error(), "owner") {
		t.Errorf("Set by a user who does not own the tables = %v, want ErrRights", err)
	}
}
