package sqlite

import (
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// Migrations are our own few lines and no library: all steps, the seed and the record of them are one transaction that
// holds the write lock from before the version is read. So processes that start together need no second try, a crash
// leaves the old tables or the new ones, and an application's own migrations (with any library) are not touched.

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step, named NNNN_what.sql. Steps are only ever added.
type migration struct {
	version int
	name    string
	text    string
}

// migrationsTable holds a row for each step that was done.
const migrationsTable = `CREATE TABLE IF NOT EXISTS handstamp_migrations (
	version    INTEGER PRIMARY KEY,
	name       TEXT    NOT NULL,
	applied_at INTEGER NOT NULL
) STRICT`

// migrations returns all steps in order. A gap or a misnamed file is a mistake in the program's build.
func migrations() ([]migration, error) {
	entries, err := fs.ReadDir(migrationFiles, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	var all []migration
	for i, e := range entries {
		text, err := fs.ReadFile(migrationFiles, "migrations/"+e.Name())
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		number, _, _ := strings.Cut(e.Name(), "_")
		v, err := strconv.Atoi(number)
		if err != nil || v != i+1 {
			return nil, fmt.Errorf("migration %s is out of order", e.Name())
		}
		all = append(all, migration{version: v, name: strings.TrimSuffix(e.Name(), ".sql"), text: string(text)})
	}
	return all, nil
}

// migrate does the steps that are missing, or answers ErrOlder where it may not.
func (s *Store) migrate(ctx context.Context, l *link, opt Options) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	err = whileBusy(ctx, time.Now().Add(opt.openTimeout()), func() error {
		if err := l.script("BEGIN IMMEDIATE"); err != nil {
			return readOnly(fmt.Errorf("begin: %w", err))
		}
		if err := upgrade(l, all, !opt.SkipMigrations); err != nil {
			_ = l.script("ROLLBACK")
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.script("COMMIT"); err != nil {
		_ = l.script("ROLLBACK")
		return &unknownError{err}
	}
	return nil
}

func upgrade(l *link, all []migration, allowed bool) error {
	have, err := schemaVersion(l)
	if err != nil {
		return err
	}
	switch {
	case have > len(all):
		return fmt.Errorf("%w (its tables are version %d, this program knows %d)", ErrNewer, have, len(all))
	case have < len(all) && !allowed:
		return fmt.Errorf("%w (its tables are version %d, this program needs %d)", ErrOlder, have, len(all))
	case have == len(all):
		return nil
	}
	return apply(l, all[have:])
}

func apply(l *link, steps []migration) error {
	if err := l.script(migrationsTable); err != nil {
		return fmt.Errorf("create handstamp_migrations: %w", err)
	}
	for _, m := range steps {
		if err := l.script(m.text); err != nil {
			return fmt.Errorf("migrate to %s: %w", m.name, err)
		}
		if m.version == 1 {
			if err := seed(l); err != nil {
				return err
			}
		}
		if _, err := l.exec("INSERT INTO handstamp_migrations VALUES (?, ?, ?)", m.version, m.name, micros(time.Now())); err != nil {
			return fmt.Errorf("record migration %s: %w", m.name, err)
		}
	}
	return nil
}

// seed writes what a new database begins with: the log, and two roles. A member may do nothing but be somebody.
func seed(l *link) error {
	if _, err := l.exec("INSERT INTO handstamp_log (id, log) VALUES (1, ?)", rand.Text()); err != nil {
		return fmt.Errorf("create the log: %w", err)
	}
	if _, err := l.exec(`INSERT INTO handstamp_roles VALUES ('admin', '["*"]'), ('member', '[]')`); err != nil {
		return fmt.Errorf("create the roles: %w", err)
	}
	return nil
}

// schemaVersion is the last step that was done; 0 for a database without our tables.
func schemaVersion(l *link) (int, error) {
	var have int
	err := l.row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'handstamp_migrations'", nil, &have)
	if err != nil || have == 0 {
		return 0, err
	}
	var version int
	if err := l.row("SELECT coalesce(max(version), 0) FROM handstamp_migrations", nil, &version); err != nil {
		return 0, fmt.Errorf("read the version of the tables: %w", err)
	}
	return version, nil
}
