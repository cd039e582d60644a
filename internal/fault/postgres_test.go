package fault

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestPostgresKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	p := StartPostgres(t, PostgresOptions{Password: true})
	db := p.CreateDB(t)
	p.ExecIn(t, db, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (7)")
	p.Kill()
	if err := p.answers(); err == nil {
		t.Fatal("a killed server answers")
	}
	p.Start(t)
	if got := p.Value(t, db, "SELECT n FROM t"); got != "7" {
		t.Errorf("after a kill: %q", got)
	}
	for _, mode := range []string{"fast", "immediate"} {
		p.Stop(mode)
		p.Start(t)
	}
	if got := p.Value(t, db, "SELECT n FROM t"); got != "7" {
		t.Errorf("after stops: %q", got)
	}
	p.Pause()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := pgx.Connect(ctx, p.DSN(db)); err == nil {
		t.Error("a paused server answers")
	}
	p.Resume()
	if got := p.Value(t, db, "SELECT n FROM t"); got != "7" {
		t.Errorf("after a pause: %q", got)
	}
	wrong := strings.Replace(p.DSN(db), superpass, "wrong", 1)
	if _, err := pgx.Connect(context.Background(), wrong); err == nil {
		t.Error("a wrong password is taken")
	}
}

func TestPostgresKillLeavesNoProcess(t *testing.T) {
	t.Parallel()
	p := StartPostgres(t, PostgresOptions{})
	family := descendants(p.proc.cmd.Process.Pid)
	if len(family) < 3 {
		t.Fatalf("the children of the server: %v", family)
	}
	p.Kill()
	for _, pid := range family {
		if !zombie(pid) && exec.Command("kill", "-0", itoa(pid)).Run() == nil {
			t.Errorf("process %d is alive", pid)
		}
	}
}

func TestPostgresCountsStatements(t *testing.T) {
	t.Parallel()
	p := SharedPostgres(t)
	db := p.CreateDB(t)
	ctx := context.Background()
	c, err := pgx.Connect(ctx, p.DSN(db))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	run := func(sql string, args ...any) {
		t.Helper()
		if _, err := c.Exec(ctx, sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	run("CREATE TABLE t (n int)")
	before := p.Statements(t, db)
	for n := range 5 {
		run("INSERT INTO t VALUES ($1)", n)
	}
	run("BEGIN")
	run("COMMIT")
	if got := p.Statements(t, db) - before; got != 7 {
		t.Errorf("%d statements were counted, 7 were run: %v", got, p.StatementsByText(t, db))
	}
	if got := p.Statements(t, db) - before; got != 7 {
		t.Errorf("counting was counted: %d", got)
	}
}

func TestPostgresStandby(t *testing.T) {
	t.Parallel()
	p := StartPostgres(t, PostgresOptions{})
	db := p.CreateDB(t)
	p.ExecIn(t, db, "CREATE TABLE t (n int)")
	s := p.Standby(t)
	p.Configure(t, map[string]string{"synchronous_standby_names": "*"})
	p.ExecIn(t, db, "INSERT INTO t VALUES (1)")
	p.CaughtUp(t, s)
	if got := s.Value(t, db, "SELECT n FROM t"); got != "1" {
		t.Errorf("on the standby: %q", got)
	}
	p.Kill()
	s.Promote(t)
	s.ExecIn(t, db, "INSERT INTO t VALUES (2)")
	if got := s.Value(t, db, "SELECT count(*) FROM t"); got != "2" {
		t.Errorf("on the new primary: %q", got)
	}
}

func TestPostgresReadOnly(t *testing.T) {
	t.Parallel()
	p := StartPostgres(t, PostgresOptions{TLS: true})
	p.Configure(t, map[string]string{"default_transaction_read_only": "on"})
	if got := p.Value(t, superuser, "SHOW default_transaction_read_only"); got != "on" {
		t.Errorf("read-only is %q", got)
	}
	if got := p.Value(t, superuser, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != "true" {
		t.Errorf("TLS is %q", got)
	}
	p.Configure(t, map[string]string{"default_transaction_read_only": ""})
	p.ExecIn(t, superuser, "CREATE TABLE t (n int)")
}

func TestPgBouncer(t *testing.T) {
	t.Parallel()
	p := StartPostgres(t, PostgresOptions{Password: true})
	db := p.CreateDB(t)
	b := StartPgBouncer(t, p, PgBouncerOptions{PoolSize: 1})
	ctx := context.Background()
	connect := func() *pgx.Conn {
		c, err := pgx.Connect(ctx, b.DSN(db)+"&default_query_exec_mode=exec")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(ctx) })
		return c
	}
	// Two clients on one server connection: transaction pooling.
	pid := func(c *pgx.Conn) (n int) {
		if err := c.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if one, two := pid(connect()), pid(connect()); one != two {
		t.Errorf("two server connections: %d and %d", one, two)
	}
	b.Kill()
	b.Start(t)
	pid(connect())
}

func TestPostgresStatementsFail(t *testing.T) {
	t.Parallel()
	p := SharedPostgres(t)
	db := p.CreateDB(t)
	p.ExecIn(t, db, "CREATE SCHEMA s", "CREATE TABLE s.one (n int)", "CREATE TABLE s.two (n int)")
	for _, late := range []bool{false, true} {
		x := p.FailStatements(t, db, Failing{Table: "s.two", Late: late, Share: 1, Code: "40001"})
		p.session(t, db, func(ctx context.Context, c *pgx.Conn) error {
			tx, err := c.Begin(ctx)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "INSERT INTO s.one VALUES (1)"); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, "INSERT INTO s.two VALUES (1)")
			if late == (err != nil) {
				t.Errorf("late %v: the statement is answered %v", late, err)
			}
			if err == nil {
				err = tx.Commit(ctx)
			}
			var said *pgconn.PgError
			if !errors.As(err, &said) || said.Code != "40001" {
				t.Errorf("late %v: %v", late, err)
			}
			return nil
		})
		if n := x.Count(t); n != 1 {
			t.Errorf("late %v: %d changes failed", late, n)
		}
		x.Heal(t)
	}
	p.ExecIn(t, db, "INSERT INTO s.two VALUES (1)")
	if got := p.Value(t, db, "SELECT (SELECT count(*) FROM s.one) || ' ' || (SELECT count(*) FROM s.two)"); got != "0 1" {
		t.Errorf("rows: %s", got)
	}
	if n := p.FailStatements(t, db, Failing{Table: "s.two"}).Count(t); n != 0 {
		t.Errorf("%d changes failed that nobody made", n)
	}
}
