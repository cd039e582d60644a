package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/handstamp/handstamp/store/postgres"
)

func postgresAilments() []ailment {
	return []ailment{
		{"postgres-fsync", high, "PostgreSQL: fsync", "a power loss leaves a database that is damaged without a sign, or lacks what was acknowledged: ended sessions live again",
			"set fsync = on and full_page_writes = on in postgresql.conf"},
		{"postgres-synchronous-commit", medium, "PostgreSQL: synchronous_commit", "a crash forgets the last moments: a log-out or a spent refresh token that was acknowledged",
			"set synchronous_commit = on for this database or user"},
		{"postgres-read-only", high, "database", "it is a standby or read-only: nobody can log in or out, and verifiers cannot renew their lease, so that every check asks the database",
			"name the primary; with several hosts in the URL add target_session_attrs=read-write"},
		{"postgres-superuser", medium, "database", "a hole in anything that has this URL is a hole in every database of that server and in its files",
			"make a user of its own: CREATE USER handstamp; GRANT CREATE ON DATABASE … TO handstamp"},
		{"postgres-old", high, "database", "no server starts on it",
			"use PostgreSQL 13 or newer"},
		{"clock-database", medium, "the clocks", "nodes take the time from the database: sessions end early or late by the difference, and logs cannot be laid side by side",
			"run a time service (chrony, systemd-timesyncd) on both machines"},
		{"postgres-connections", medium, "PostgreSQL: max_connections", "the pools of all nodes together, or an application beside them, take the last connection: logins and revocations fail with 503",
			"raise max_connections, lower pool_max_conns in the URL, or put a pooler in between (database_pooler)"},
	}
}

// leastPostgres is the oldest version that is taken, as server_version_num has it.
const leastPostgres = 130000

// postgresFacts is what a server says of itself.
type postgresFacts struct {
	version                         int
	fsync, fullPages, commit        string
	readOnly, superuser             bool
	now                             time.Time
	connections, inUse, reservation int
}

// postgres looks at the server, and then at the schema. It reports whether there is something in it to look at.
func (x *examination) postgres(ctx context.Context) bool {
	const part = "the database server"
	opt := postgresOptions(x.cfg, slog.New(slog.DiscardHandler))
	asking, cancel := context.WithTimeout(ctx, x.wait)
	defer cancel()
	missing, err := postgres.Pending(asking, x.cfg.Database.DSN.Reveal(), opt)
	if errors.Is(err, postgres.ErrUnreachable) {
		x.skip(part, "it cannot be reached")
		return x.schema(ctx, missing, err)
	}
	facts, ahead, failed := x.postgresFacts(ctx)
	switch {
	case failed == nil:
		x.look(part)
		x.judgePostgres(facts, ahead)
	case err == nil:
		x.blind(part, "%s", postgresReason(failed))
	default:
		x.skip(part, "%s", postgresReason(failed))
	}
	return x.schema(ctx, missing, err)
}

// errURL is what is said in place of the driver's text, which quotes the URL.
var errURL = errors.New("the driver does not take its URL")

// postgresFacts asks the server about itself, in a transaction that cannot write, and how far its clock is ahead.
func (x *examination) postgresFacts(ctx context.Context) (f postgresFacts, ahead time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, x.wait)
	defer cancel()
	cfg := onPostgres(x.cfg)
	if cfg == nil {
		return f, 0, errURL
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // good through a pooler, too
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return f, 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	began := time.Now()
	f, err = askPostgres(ctx, conn)
	return f, f.now.Sub(began.Add(time.Since(began) / 2)), err
}

// postgresReason is why a server could not be asked. The driver's own text of a failed connection names users and hosts
// only; of a server's error the message is enough.
func postgresReason(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return "it answers: " + e.Message
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "it did not answer in time"
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

func askPostgres(ctx context.Context, conn *pgx.Conn) (f postgresFacts, err error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return f, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing was written
	err = tx.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('fsync'), current_setting('full_page_writes'),
		current_setting('synchronous_commit'), pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on',
		(SELECT rolsuper FROM pg_roles WHERE rolname = current_user), clock_timestamp(),
		current_setting('max_connections')::int, (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend'),
		current_setting('superuser_reserved_connections')::int`).Scan(
		&f.version, &f.fsync, &f.fullPages, &f.commit, &f.readOnly, &f.superuser, &f.now, &f.connections, &f.inUse, &f.reservation)
	if err != nil {
		return f, fmt.Errorf("ask: %w", err)
	}
	return f, nil
}

func (x *examination) judgePostgres(f postgresFacts, ahead time.Duration) {
	if f.version < leastPostgres {
		x.find(ailmentNamed("postgres-old"), "the server is version %d", f.version/10000)
	}
	if f.fsync != "on" || f.fullPages != "on" {
		x.find(ailmentNamed("postgres-fsync"), "fsync is %s, full_page_writes is %s", f.fsync, f.fullPages)
	}
	if f.commit == "off" {
		x.find(ailmentNamed("postgres-synchronous-commit"), "synchronous_commit is off")
	}
	if f.readOnly {
		x.find(ailmentNamed("postgres-read-only"), "the server takes no writes")
	}
	if f.superuser {
		x.find(ailmentNamed("postgres-superuser"), "the user of database is a superuser")
	}
	if ahead.Abs() > skew {
		x.find(ailmentNamed("clock-database"), "the database's clock is %v %s this machine's", ahead.Abs().Round(100*time.Millisecond), aheadOrBehind(ahead))
	}
	if free := f.connections - f.reservation - f.inUse; free < f.connections/10 {
		x.find(ailmentNamed("postgres-connections"), "%d of %d connections are taken", f.inUse, f.connections)
	}
}

func aheadOrBehind(d time.Duration) string {
	if d < 0 {
		return "behind"
	}
	return "ahead of"
}
