package postgres

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Migrations are our own few lines and no library. Each step is one transaction, together with the record of it, and
// begins by locking a row of the table of migrations, which works behind a pooler, too: of several processes that start
// together one does the step and the others find it done.

//go:embed migrations/*.sql
var migrationFiles embed.FS

// columnsFile lists the columns of all tables at the newest version, as "table.column type".
//
//go:embed migrations/columns.txt
var columnsFile string

// migration is one step, named NNNN_what.sql. Steps are only ever added.
type migration struct {
	version int
	name    string
	text    string
	// readableBy is the oldest version that can still work with the tables after this step: a program that knows only that
	// many steps may be running, and may start, beside a newer one.
	readableBy int
}

const readableMark = "-- readable by "

// migrations returns all steps in order. A gap or a misnamed file is a mistake in the program's build.
func migrations() ([]migration, error) {
	entries, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	var all []migration
	for i, name := range entries {
		text, err := fs.ReadFile(migrationFiles, name)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		m := migration{name: strings.TrimSuffix(strings.TrimPrefix(name, "migrations/"), ".sql"), text: string(text)}
		first, _, _ := strings.Cut(m.text, "\n")
		prefix, _, _ := strings.Cut(m.name, "_")
		var errV, errR error
		m.version, errV = strconv.Atoi(prefix)
		m.readableBy, errR = strconv.Atoi(strings.TrimPrefix(first, readableMark))
		if errV != nil || errR != nil || m.version != i+1 || m.readableBy < 1 || m.readableBy > m.version {
			return nil, fmt.Errorf("migration %s is out of order, or does not say who can read it", m.name)
		}
		all = append(all, m)
	}
	return all, nil
}

// shape is the columns of all tables and their types.
func shape() (names, types []string) {
	for line := range strings.Lines(columnsFile) {
		name, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		names, types = append(names, name), append(types, kind)
	}
	return names, types
}

// prepare looks at the database, and migrates it where that is allowed and needed.
func (o Options) prepare(ctx context.Context, c *pgx.Conn) (facts, error) {
	all, err := migrations()
	if err != nil {
		return facts{}, err
	}
	return o.upgrade(ctx, c, all)
}

func (o Options) upgrade(ctx context.Context, c *pgx.Conn, all []migration) (facts, error) {
	for {
		found, err := o.look(ctx, c, len(all))
		if err != nil {
			return found, err
		}
		missing, err := o.judge(found, len(all))
		if err != nil || missing == 0 {
			return found, err
		}
		if err := o.step(ctx, c, found, all); err != nil && !raced(err) {
			return found, err
		}
		// Whoever lost the race looks again: the other one may be done, or may have failed.
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return found, fmt.Errorf("wait for the process that migrates: %w", err)
		}
	}
}

// raced reports whether another process got in the way of a step.
func raced(err error) bool {
	switch code(err) {
	case codeUnique, codeSerialization, codeDeadlock, codeLockTimeout,
		"42P06", "42P07", "42723": // a schema, table or function that is there already
		return true
	default:
		return errors.Is(err, errRaced)
	}
}

var errRaced = errors.New("another process has done this step")

// step does the next migration.
func (o Options) step(ctx context.Context, c *pgx.Conn, found facts, all []migration) (err error) {
	tx, err := c.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return fmt.Errorf("begin to migrate: %w", harmless(err))
	}
	defer func() {
		if err != nil {
			// A rollback must not be given up with the caller's context: it would close the connection.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.limits.total)
			defer cancel()
			_ = tx.Rollback(ctx)
		}
	}()
	if err := o.lock(ctx, tx, found); err != nil {
		return err
	}
	m := all[found.version]
	if err := script(ctx, tx, o.qualify(m.text)); err != nil {
		return fmt.Errorf("migrate to %s: %w", m.name, err)
	}
	if m.version == 1 {
		if _, err := tx.Exec(ctx, o.qualify("INSERT INTO @log (id, log) VALUES (1, $1)"), rand.Text()); err != nil {
			return fmt.Errorf("make the log: %w", harmless(err))
		}
	}
	_, err = tx.Exec(ctx, o.qualify("INSERT INTO @migrations (version, name, readable_by, applied_at) VALUES ($1, $2, $3, $4)"),
		int64(m.version), m.name, int64(m.readableBy), micros(time.Now()))
	if err != nil {
		return fmt.Errorf("record migration %s: %w", m.name, harmless(err))
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit migration %s: %w", m.name, harmless(err))
	}
	return nil
}

// lock takes the row that all migrations begin with, and makes it if there is none. Then it looks whether the version is
// still what it was.
func (o Options) lock(ctx context.Context, tx pgx.Tx, found facts) error {
	const limit = `SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '60s', true)`
	if _, err := tx.Exec(ctx, limit, milliseconds(o.limits.lock)); err != nil {
		return fmt.Errorf("begin to migrate: %w", harmless(err))
	}
	if !found.schema {
		if err := script(ctx, tx, "CREATE SCHEMA "+strings.TrimSuffix(o.qualify("@"), ".")); err != nil {
			return fmt.Errorf("make the schema: %w", err)
		}
	}
	if found.migrations == "" {
		const table = `CREATE TABLE @migrations (version bigint PRIMARY KEY, name text NOT NULL, readable_by bigint NOT NULL, applied_at bigint NOT NULL);
			INSERT INTO @migrations VALUES (0, 'this row is the lock', 0, 0)`
		if err := script(ctx, tx, o.qualify(table)); err != nil {
			return fmt.Errorf("make the table of migrations: %w", err)
		}
	}
	var version int
	if _, err := tx.Exec(ctx, o.qualify("SELECT 1 FROM @migrations WHERE version = 0 FOR UPDATE")); err != nil {
		return fmt.Errorf("lock the migrations: %w", harmless(err))
	}
	if err := tx.QueryRow(ctx, o.qualify("SELECT max(version) FROM @migrations")).Scan(asNumber(&version)); err != nil {
		return fmt.Errorf("read the version of the tables: %w", harmless(err))
	}
	if version != found.version {
		return errRaced
	}
	return nil
}

// script runs several statements without arguments.
func script(ctx context.Context, tx pgx.Tx, text string) error {
	_, err := tx.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol)
	return harmless(err)
}

// Pending says how many migrations the database lacks, without changing anything. Its errors are those of [Open].
func Pending(ctx context.Context, dsn string, opt Options) (int, error) {
	missing, err := pending(ctx, dsn, opt)
	if err != nil {
		return 0, fmt.Errorf("look at the database: %w", err)
	}
	return missing, nil
}

func pending(ctx context.Context, dsn string, opt Options) (int, error) {
	opt.SkipMigrations = false
	opt, err := opt.complete()
	if err != nil {
		return 0, err
	}
	config, err := configOf(dsn, opt)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, opt.limits.open)
	defer cancel()
	c, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return 0, describe(err)
	}
	defer func() { _ = c.Close(ctx) }()
	all, err := migrations()
	if err != nil {
		return 0, err
	}
	found, err := opt.look(ctx, c, len(all))
	if err != nil {
		return 0, err
	}
	return opt.judge(found, len(all))
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
