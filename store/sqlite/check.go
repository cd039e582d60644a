package sqlite

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// fullCheckBytes is the largest database that every opening checks from end to end: a fraction of a second. Of a larger
// one it checks the pages of the tables that decide about everybody, and [Store.Check] the rest.
const fullCheckBytes = 32 << 20

// decisive are the small tables that are always looked at.
func decisive(table string) bool {
	switch table {
	case "handstamp_log", "handstamp_migrations", "handstamp_keys", "handstamp_key_ends", "handstamp_roles":
		return true
	default:
		return false
	}
}

// anybodys checks a database that has no tables of ours yet. What the engine cannot check (an application's collation
// that only its own process knows) is not damage.
func anybodys(ctx context.Context, l *link, bytes int64) error {
	if bytes > fullCheckBytes {
		return nil
	}
	if err := integrity(ctx, l, "quick_check(1)"); err != nil && primary(err) != codeError {
		return err
	}
	return nil
}

// ours checks our tables and their indexes, thoroughly or the decisive ones only. The rest of the file is its owner's.
func ours(ctx context.Context, l *link, found finding, thorough bool) error {
	for _, name := range slices.Sorted(maps.Keys(found.expected)) { // not a name that the file made up: it is put into SQL
		check := "integrity_check"
		switch _, there := found.shapes[name]; {
		case !there, !strings.HasPrefix(found.expected[name], "table "):
			continue
		case !thorough && !decisive(name):
			continue
		case !thorough:
			check = "quick_check"
		}
		if err := integrity(ctx, l, check+"('"+name+"')"); err != nil {
			return err
		}
	}
	return nil
}

// integrity has the engine compare pages with each other. Its integrity_check also compares rows with indexes, and the
// user and the key of a session are in both: a flipped bit that would give one user's session to another is found.
func integrity(ctx context.Context, l *link, check string) error {
	var first string
	err := l.each(ctx, "PRAGMA "+check, nil, func(r scanner) error {
		if first != "" {
			return nil
		}
		return r.Scan(&first)
	})
	if err != nil {
		return fmt.Errorf("check the file: %w", err)
	}
	if first != "ok" {
		return fmt.Errorf("%w (the check says: %s)", ErrDamaged, first)
	}
	return nil
}

// Check has the engine read all of our tables and compare their pages, rows and indexes with each other. It answers
// [ErrDamaged] if they contradict each other, and an error if the store has stopped writing after an I/O error. It takes
// seconds for a large file and holds up nobody.
func (s *Store) Check(ctx context.Context) error {
	l, err := s.readers.take(ctx)
	if err != nil {
		return fmt.Errorf("check database: %w", err)
	}
	defer s.readers.give(l, true)
	if s.stopped.Load() {
		return fmt.Errorf("check database: %w", errStopped)
	}
	var found finding
	found.shapes, err = shapes(ctx, l)
	if err == nil {
		found.expected, found.newest, err = expected(ctx, 0)
	}
	if err == nil {
		err = ours(ctx, l, found, true)
	}
	if err != nil {
		return fmt.Errorf("check database: %w", damaged(err))
	}
	return nil
}
