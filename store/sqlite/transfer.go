package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/handstamp/handstamp/store/transfer"
)

// Transfer is a database file as a move sees it; see package transfer. It reads and writes tables that servers are kept
// out of, so it is no [Store]. It is safe for concurrent use.
type Transfer struct {
	s *Store // its connections, and none of its views
}

var _ transfer.Database = (*Transfer)(nil)

// transferBusy is how long a write of a move waits for another process. Nobody has to be answered in time.
const transferBusy = 30 * time.Second

// OpenTransfer opens the database at path for a move, in whichever phase it is. It migrates none; with create it makes
// one where there are no tables of ours yet, as [Open] does. Its errors are those of [Open] with Options.SkipMigrations,
// but it does not answer [ErrMoved].
func OpenTransfer(ctx context.Context, path string, create bool) (*Transfer, error) {
	if create {
		if err := makeTables(ctx, path); err != nil {
			return nil, err
		}
	}
	t, err := openTransfer(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open database %q: %w", path, err)
	}
	return t, nil
}

// makeTables makes a database where there is none, or where making one was interrupted.
func makeTables(ctx context.Context, path string) error {
	name, err := fileName(path)
	if err != nil {
		return fmt.Errorf("open database %q: %w", path, err)
	}
	info, err := os.Stat(name)
	if err == nil && info.Size() >= minPage {
		if _, version, err := markOf(ctx, name); err != nil || version > 0 {
			return nil //nolint:nilerr // whoever opens it next says what is wrong
		}
	}
	s, err := Open(ctx, path, Options{})
	if err != nil {
		return err
	}
	return s.Close()
}

func openTransfer(ctx context.Context, path string) (*Transfer, error) {
	opt, err := Options{SkipMigrations: true, BusyTimeout: transferBusy, Readers: 2}.complete()
	if err != nil {
		return nil, err
	}
	name, err := fileName(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(name); err != nil {
		return nil, err
	}
	mark, _, err := markOf(ctx, name)
	if err != nil {
		return nil, err
	}
	if !mark.Phase.Closed() { // otherwise its tables have other names, and nobody but a move has written to it
		if err := prepare(ctx, name, opt); err != nil {
			return nil, err
		}
	}
	s := &Store{path: name, busy: opt.BusyTimeout, log: slog.New(slog.DiscardHandler)}
	if s.writer, err = connect(plain, name, moving, 1); err != nil {
		return nil, err
	}
	if s.readers, err = connect(plain, name, reading(opt.BusyTimeout), opt.Readers); err != nil {
		return nil, errors.Join(err, s.writer.db.Close())
	}
	t := &Transfer{s: s}
	if err := t.prime(ctx, opt); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return t, nil
}

// moving is writing without foreign keys: a row and the one that it refers to arrive on different pages, and a referent
// that was deleted meanwhile takes its rows along at the source, where that is noted.
func moving() settings {
	set := writing()
	set.set = slices.DeleteFunc(set.set, func(p string) bool { return p == "foreign_keys(1)" })
	set.set = append(set.set, "foreign_keys(0)")
	set.want = slices.DeleteFunc(set.want, func(p pragma) bool { return p.name == "foreign_keys" })
	set.want = append(set.want, pragma{"foreign_keys", "0"})
	return set
}

func (t *Transfer) prime(ctx context.Context, opt Options) error {
	if err := t.s.useWAL(ctx, opt); err != nil {
		return err
	}
	l, err := t.s.readers.take(ctx)
	if err != nil {
		return err
	}
	defer t.s.readers.give(l, true)
	return thisVersion(l)
}

// thisVersion refuses tables that are not those of this program.
func thisVersion(l *link) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	have, err := schemaVersion(l)
	switch {
	case err != nil:
		return err
	case have > len(all):
		return fmt.Errorf("%w: %w (its tables are version %d, this program knows %d)", transfer.ErrSchema, ErrNewer, have, len(all))
	case have < len(all):
		return fmt.Errorf("%w: %w (its tables are version %d, this program needs %d)", transfer.ErrSchema, ErrOlder, have, len(all))
	default:
		return nil
	}
}

// Close closes the file.
func (t *Transfer) Close() error { return t.s.Close() }

// Mark implements transfer.Reader.
func (t *Transfer) Mark(ctx context.Context) (transfer.Mark, error) {
	return read(ctx, t.s, func(c *link) (transfer.Mark, error) { return readMark(c.row) })
}

// Page implements transfer.Reader.
func (t *Transfer) Page(ctx context.Context, table transfer.Table, after transfer.Row, limit int) ([]transfer.Row, error) {
	page := make([]transfer.Row, 0, limit)
	err := t.s.snapshot(ctx, func(c *link) error {
		m, err := readMark(c.row)
		if err != nil {
			return err
		}
		q := statementsOf(table, m.Phase)
		query, args := q.first, []any{limit}
		if after != nil {
			query, args = q.next, append(slices.Clone([]any(after)), limit)
		}
		return c.each(ctx, query, args, func(r scanner) error {
			row, err := scanRow(table, r)
			page = append(page, row)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read a page of %s: %w", table.Name, err)
	}
	return page, nil
}

// Rows implements transfer.Reader.
func (t *Transfer) Rows(ctx context.Context, table transfer.Table, keys []transfer.Row) ([]transfer.Row, error) {
	var found []transfer.Row
	err := t.s.snapshot(ctx, func(c *link) error {
		m, err := readMark(c.row)
		if err != nil {
			return err
		}
		query := statementsOf(table, m.Phase).one
		for _, k := range keys {
			err := c.each(ctx, query, k, func(r scanner) error {
				row, err := scanRow(table, r)
				found = append(found, row)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read rows of %s: %w", table.Name, err)
	}
	return found, nil
}

// Write implements transfer.Target. INSERT OR REPLACE also takes away another row that holds a unique value of this one.
func (t *Transfer) Write(ctx context.Context, m transfer.Mark, table transfer.Table, put, drop []transfer.Row) error {
	err := t.s.do(ctx, func(u *unit) error {
		if err := u.marked(m); err != nil {
			return err
		}
		if m.Phase != transfer.Filling {
			return transfer.ErrTaken
		}
		q := statementsOf(table, m.Phase)
		for _, k := range drop {
			if _, err := u.exec(q.drop, k...); err != nil {
				return err
			}
		}
		for _, r := range put {
			if err := transfer.Check(table, r); err != nil {
				return err
			}
			if _, err := u.exec(q.put, bound(r)...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write rows of %s: %w", table.Name, err)
	}
	return nil
}

// Changes implements transfer.Source.
func (t *Transfer) Changes(ctx context.Context, limit int) ([]transfer.Change, error) {
	keys := map[string]int{}
	for _, table := range transfer.Tables() {
		keys[table.Name] = table.Keys
	}
	return read(ctx, t.s, func(c *link) ([]transfer.Change, error) {
		var found []transfer.Change
		err := c.each(ctx, "SELECT n, tbl, k1, k2 FROM handstamp_move_changes ORDER BY n LIMIT ?", []any{limit}, func(r scanner) error {
			var ch transfer.Change
			key := make(transfer.Row, 2)
			if err := r.Scan(&ch.N, &ch.Table, &key[0], &key[1]); err != nil {
				return err
			}
			ch.Key = key[:min(keys[ch.Table], 2)]
			found = append(found, ch)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read what has changed: %w", err)
		}
		return found, nil
	})
}

// Forget implements transfer.Source.
func (t *Transfer) Forget(ctx context.Context, done []transfer.Change) error {
	err := t.s.do(ctx, func(u *unit) error {
		for _, c := range done {
			if _, err := u.exec("DELETE FROM handstamp_move_changes WHERE n = ?", c.N); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget changes: %w", err)
	}
	return nil
}
