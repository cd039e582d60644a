package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

//nolint:gochecknoglobals // one server for the whole test process, which is its point
var sharedPostgres struct {
	sync.Mutex
	p *Postgres
}

// SharedPostgres is one server for the whole test process, with fsync off. Every test makes a database of its own in it
// with CreateDB, and neither kills the server nor changes its settings.
func SharedPostgres(t testing.TB) *Postgres {
	t.Helper()
	sharedPostgres.Lock()
	defer sharedPostgres.Unlock()
	if sharedPostgres.p == nil {
		sharedPostgres.p = newPostgres(t, PostgresOptions{Settings: map[string]string{"max_connections": "400"}})
	}
	return sharedPostgres.p
}

// session runs fn on a connection of its own.
func (p *Postgres) session(t testing.TB, db string, fn func(ctx context.Context, c *pgx.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	c, err := pgx.Connect(ctx, p.DSN(db)+"&application_name=fault&default_query_exec_mode=simple_protocol")
	if err != nil {
		t.Fatalf("fault: connect to postgres: %v", err)
	}
	defer func() { _ = c.Close(ctx) }()
	if err := fn(ctx, c); err != nil {
		t.Fatalf("fault: postgres: %v", err)
	}
}

// Exec runs statements in the database postgres, each for itself.
func (p *Postgres) Exec(t testing.TB, sql ...string) {
	t.Helper()
	p.ExecIn(t, superuser, sql...)
}

// ExecIn runs statements in a database, each for itself.
func (p *Postgres) ExecIn(t testing.TB, db string, sql ...string) {
	t.Helper()
	p.session(t, db, func(ctx context.Context, c *pgx.Conn) error {
		for _, s := range sql {
			if _, err := c.Exec(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	})
}

// Value is the first column of the first row of a query as text; "" without a row.
func (p *Postgres) Value(t testing.TB, db, sql string, args ...any) string {
	t.Helper()
	var text string
	p.session(t, db, func(ctx context.Context, c *pgx.Conn) error {
		var v any
		err := c.QueryRow(ctx, sql, args...).Scan(&v)
		if err == nil && v != nil {
			text = fmt.Sprint(v)
		}
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return text
}

// CreateDB makes an empty database of a new name. It is dropped when the test ends, whoever is still connected.
func (p *Postgres) CreateDB(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", p.next.Add(1))
	p.Exec(t, "CREATE DATABASE "+name)
	t.Cleanup(func() {
		if !p.proc.running() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		c, err := pgx.Connect(ctx, p.DSN(superuser))
		if err != nil {
			return // a server that a test broke goes away as a whole
		}
		defer func() { _ = c.Close(ctx) }()
		_, _ = c.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	})
	return name
}

// Configure sets server settings by ALTER SYSTEM and makes the running server take them. An empty value takes the
// setting back. Settings that only count from the next start on are there then.
func (p *Postgres) Configure(t testing.TB, settings map[string]string) {
	t.Helper()
	for name, value := range settings {
		if value == "" {
			p.Exec(t, "ALTER SYSTEM RESET "+name)
			continue
		}
		p.Exec(t, "ALTER SYSTEM SET "+name+" = '"+value+"'")
	}
	p.Exec(t, "SELECT pg_reload_conf()")
}

// Statements counts the statements that clients ran in a database since the server started, without those of this
// package: each execution once, transaction control included, statements inside functions not. Failed ones do not count.
func (p *Postgres) Statements(t testing.TB, db string) int64 {
	t.Helper()
	var n int64
	for _, calls := range p.StatementsByText(t, db) {
		n += calls
	}
	return n
}

// StatementsByText is Statements for each text, with the constants taken out.
func (p *Postgres) StatementsByText(t testing.TB, db string) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	// The counting connection is in another database, so that it does not count itself.
	p.session(t, superuser, func(ctx context.Context, c *pgx.Conn) error {
		if _, err := c.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements"); err != nil {
			return err
		}
		rows, err := c.Query(ctx, `SELECT s.query, sum(s.calls)::bigint FROM pg_stat_statements s
			JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = $1 GROUP BY s.query`, db)
		if err != nil {
			return err
		}
		var text string
		var calls int64
		_, err = pgx.ForEachRow(rows, []any{&text, &calls}, func() error {
			all[text] += calls
			return nil
		})
		return err
	})
	return all
}

// Disconnect ends all client connections to a database, as an operator or a failover does. It says how many.
func (p *Postgres) Disconnect(t testing.TB, db string) string {
	t.Helper()
	return p.Value(t, superuser, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1", db)
}

// Standby starts a second server that follows this one by streaming replication. Whether commits wait for it is the
// setting synchronous_standby_names of this server ("*" lets them).
func (p *Postgres) Standby(t testing.TB) *Postgres {
	t.Helper()
	s := emptyPostgres(t, p.opt)
	if err := os.Remove(s.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("fault: %v", err)
	}
	cmd := exec.Command(filepath.Join(p.bin, "pg_basebackup"), "-h", "127.0.0.1", "-p", fmt.Sprint(p.port), "-U", superuser, //nolint:gosec,noctx // a fixed program
		"-D", s.dir, "-R", "-X", "stream", "-c", "fast", "--no-sync")
	cmd.Env, cmd.Dir = plainEnv(), filepath.Dir(s.dir)
	run, err := start(t, cmd, p.who, s.log)
	if err == nil {
		<-run.done
		err = run.err
	}
	if err != nil {
		t.Fatalf("fault: pg_basebackup: %v\n%s", err, s.log.tail())
	}
	s.settle(t)
	s.launch(t)
	t.Cleanup(func() { s.remove(t) })
	return s
}

// Promote makes a standby the primary and waits until it takes writes.
func (p *Postgres) Promote(t testing.TB) {
	t.Helper()
	if p.Value(t, superuser, "SELECT pg_promote(true, 60)") != "true" {
		t.Fatalf("fault: the standby was not promoted\n%s", p.log.tail())
	}
}

// CaughtUp waits until a standby has replayed what the primary has written so far.
func (p *Postgres) CaughtUp(t testing.TB, standby *Postgres) {
	t.Helper()
	at := p.Value(t, superuser, "SELECT pg_current_wal_lsn()::text")
	err := standby.proc.await(func() error {
		if standby.Value(t, superuser, "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", at) == "true" {
			return nil
		}
		return errors.New("it is behind")
	})
	if err != nil {
		t.Fatalf("fault: the standby: %v", err)
	}
}
