package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	driver "modernc.org/sqlite"
)

// prepare looks at the file before anything may write to it, and makes an empty one if there is none.
func prepare(ctx context.Context, name string, opt Options) error {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && opt.SkipMigrations:
		return fmt.Errorf("%w (there is no such file)", ErrOlder)
	case errors.Is(err, fs.ErrNotExist):
		return create(name)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", info.Mode().Type())
	case info.Size() == 0:
		return os.Chmod(name, privateFile)
	case info.Size() < minPage:
		return fmt.Errorf("%w (it has %d bytes)", ErrDamaged, info.Size())
	}
	if info.Mode().Perm()&0o077 != 0 {
		opt.Logger.Warn("sqlite: others than the owner have access to the database file", "mode", info.Mode().Perm().String())
	}
	found, err := probe(ctx, name, opt.openTimeout())
	if err != nil {
		return err
	}
	_, err = found.judge(opt.SkipMigrations)
	return err
}

// minPage is the smallest page of a SQLite database. The engine takes a file of fewer bytes for an empty database and
// would write over it.
const minPage = 512

// finding is what a database says of itself.
type finding struct {
	version  int
	shapes   map[string]string // our names, and what they are
	expected map[string]string // what they should be at that version; at the newest for version 0
	newest   int
}

// judge returns how many steps are missing.
func (f finding) judge(skip bool) (int, error) {
	switch {
	case f.version > f.newest:
		return 0, fmt.Errorf("%w (its tables are version %d, this program knows %d)", ErrNewer, f.version, f.newest)
	case f.version == 0:
		for _, name := range slices.Sorted(maps.Keys(f.shapes)) {
			if _, ours := f.expected[name]; ours {
				return 0, fmt.Errorf("%w (%s)", ErrForeign, name)
			}
		}
	default:
		for _, name := range slices.Sorted(maps.Keys(f.expected)) {
			if got, ok := f.shapes[name]; !ok {
				return 0, fmt.Errorf("%w (%s is missing)", ErrDamaged, name)
			} else if got != f.expected[name] {
				return 0, fmt.Errorf("%w (%s has other columns)", ErrForeign, name)
			}
		}
	}
	if f.version < f.newest && skip {
		return 0, fmt.Errorf("%w (its tables are version %d, this program needs %d)", ErrOlder, f.version, f.newest)
	}
	return f.newest - f.version, nil
}

// probe reads a file without changing it. A file that nobody uses is read as immutable, which takes no lock and leaves
// no file beside it. Where another process may be writing, that would see half a change, so there it is read like any
// other reader does, and what was read as immutable counts only if nobody began to write meanwhile.
func probe(ctx context.Context, name string, wait time.Duration) (finding, error) {
	for range 3 {
		before := fingerprint(name)
		if before.inUse {
			break
		}
		found, err := probeAs(ctx, dsn(name, "ro", probing(wait))+"&immutable=1")
		if fingerprint(name) == before {
			return found, err
		}
	}
	found, err := probeAs(ctx, dsn(name, "ro", probing(wait)))
	if errors.Is(err, ErrReadOnly) {
		// A program that was killed in the middle of a transaction left a rollback journal, and reading is not possible
		// before the engine has put the old pages back. Whoever opens the file next does that.
		return probeAs(ctx, dsn(name, "rw", probing(wait)))
	}
	return found, err
}

// trace is what changes when somebody begins to write.
type trace struct {
	inUse    bool
	size     int64
	modified time.Time
}

func fingerprint(name string) trace {
	p := trace{inUse: inUse(name)}
	if info, err := os.Stat(name); err == nil {
		p.size, p.modified = info.Size(), info.ModTime()
	}
	return p
}

func probing(wait time.Duration) []string {
	return append(hardening(), "busy_timeout("+milliseconds(wait)+")", "query_only(1)")
}

func inUse(name string) bool {
	for _, suffix := range []string{"-wal", "-journal"} {
		if _, err := os.Stat(name + suffix); err == nil {
			return true
		}
	}
	return false
}

func probeAs(ctx context.Context, source string) (finding, error) {
	c, err := driver.NewConnector(source)
	if err != nil {
		return finding{}, err
	}
	p := newPool(c, nil, 1)
	defer func() { _ = p.shut(nil) }()
	l, err := p.take(ctx)
	if err != nil {
		return finding{}, damaged(err)
	}
	defer p.give(l, false)
	if err := l.script("BEGIN"); err != nil { // one snapshot: another process may be migrating
		return finding{}, damaged(err)
	}
	found, err := look(ctx, l)
	return found, damaged(err)
}

// damaged says in words what the engine's codes for a bad file mean.
func damaged(err error) error {
	switch primary(err) {
	case codeCorrupt, codeNotADB:
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	case codeCantOpen, codeReadOnly:
		return fmt.Errorf("%w (%w)", ErrReadOnly, err)
	default:
		return err
	}
}

func look(ctx context.Context, l *link) (finding, error) {
	var pages, size int64
	if err := l.row("PRAGMA page_count", nil, &pages); err != nil {
		return finding{}, fmt.Errorf("read the file's header: %w", err)
	}
	if err := l.row("PRAGMA page_size", nil, &size); err != nil {
		return finding{}, fmt.Errorf("read the file's header: %w", err)
	}
	version, err := schemaVersion(l)
	if err != nil {
		return finding{}, err
	}
	if err := refuseMoved(l); err != nil {
		return finding{}, err
	}
	found := finding{version: version}
	if found.shapes, err = shapes(ctx, l); err != nil {
		return finding{}, err
	}
	if found.expected, found.newest, err = expected(ctx, version); err != nil {
		return finding{}, err
	}
	if version == 0 {
		return found, anybodys(ctx, l, pages*size)
	}
	return found, ours(ctx, l, found, pages*size <= fullCheckBytes)
}

// shapes describes everything whose name begins like ours: a table by its columns, the rest by kind and table.
func shapes(ctx context.Context, l *link) (map[string]string, error) {
	found := make(map[string]string)
	const query = `SELECT m.name, m.type, m.tbl_name, coalesce((SELECT group_concat(c.name || ' ' || c.type || ' ' || c."notnull" || ' ' || c.pk, ', ')
		FROM pragma_table_info(m.name) AS c), '')
		FROM sqlite_schema AS m WHERE lower(substr(m.name, 1, 10)) = 'handstamp_'`
	err := l.each(ctx, query, nil, func(r scanner) error {
		var name, kind, table, columns string
		if err := r.Scan(&name, &kind, &table, &columns); err != nil {
			return err
		}
		if kind != "table" {
			columns = ""
		}
		found[strings.ToLower(name)] = kind + " " + table + " (" + columns + ")"
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tables' definitions: %w", err)
	}
	return found, nil
}

// expected makes an empty database in memory to learn what our names are at a version.
func expected(ctx context.Context, version int) (map[string]string, int, error) {
	all, err := migrations()
	if err != nil {
		return nil, 0, err
	}
	c, err := driver.NewConnector(":memory:")
	if err != nil {
		return nil, 0, err
	}
	p := newPool(c, nil, 1)
	defer func() { _ = p.shut(nil) }()
	l, err := p.take(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer p.give(l, false)
	if version == 0 || version > len(all) {
		version = len(all)
	}
	if err := apply(l, all[:version]); err != nil {
		return nil, 0, err
	}
	found, err := shapes(ctx, l)
	return found, len(all), err
}

// Pending says how many migrations the database at path lacks, without changing anything and without creating it. Its
// errors are those of [Open].
func Pending(ctx context.Context, path string) (int, error) {
	missing, err := pending(ctx, path)
	if err != nil {
		return 0, fmt.Errorf("look at database %q: %w", path, err)
	}
	return missing, nil
}

func pending(ctx context.Context, path string) (int, error) {
	name, err := fileName(path)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		all, err := migrations()
		return len(all), err
	}
	if err != nil {
		return 0, err
	}
	if info.Size() < minPage {
		return 0, fmt.Errorf("%w (it has %d bytes)", ErrDamaged, info.Size())
	}
	found, err := probe(ctx, name, leastOpenTimeout)
	if err != nil {
		return 0, err
	}
	return found.judge(false)
}
