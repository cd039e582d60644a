package sqlite

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refusal is a file that is spoilt in one way.
type refusal struct {
	name  string
	spoil func(t *testing.T, path string)
	opt   Options
	want  error
	says  string
}

func refusals() []refusal {
	return []refusal{
		{"text", func(t *testing.T, p string) { write(t, p, []byte(strings.Repeat("no database\n", 500))) }, Options{}, ErrDamaged, "not a database"},
		{"one byte", func(t *testing.T, p string) { write(t, p, []byte("x")) }, Options{}, ErrDamaged, "damaged"},
		{"header only", func(t *testing.T, p string) { write(t, p, contents(t, p)[:100]) }, Options{}, ErrDamaged, "damaged"},
		{"half of it", func(t *testing.T, p string) { b := contents(t, p); write(t, p, b[:len(b)/2]) }, Options{}, ErrDamaged, "damaged"},
		{"schema overwritten", func(t *testing.T, p string) {
			b := contents(t, p)
			clear(b[100:2000])
			write(t, p, b)
		}, Options{}, ErrDamaged, "damaged"},
		{"newer", func(t *testing.T, p string) {
			outside(t, p, "INSERT INTO handstamp_migrations VALUES (9999, '9999_later', 0)")
		}, Options{}, ErrNewer, "version 9999"},
		{"foreign table", func(t *testing.T, p string) {
			write(t, p, nil)
			outside(t, p, "CREATE TABLE handstamp_sessions (mine TEXT)")
		}, Options{}, ErrForeign, "handstamp_sessions"},
		{"foreign view in other case", func(t *testing.T, p string) {
			write(t, p, nil)
			outside(t, p, "CREATE TABLE mine (x)", "CREATE VIEW Handstamp_Users AS SELECT * FROM mine")
		}, Options{}, ErrForeign, "handstamp_users"},
		{"other columns", func(t *testing.T, p string) {
			outside(t, p, "ALTER TABLE handstamp_users ADD COLUMN phone TEXT")
		}, Options{}, ErrForeign, "handstamp_users"},
		{"table gone", func(t *testing.T, p string) { outside(t, p, "DROP TABLE handstamp_log") }, Options{}, ErrDamaged, "handstamp_log is missing"},
		{"index gone", func(t *testing.T, p string) { outside(t, p, "DROP INDEX handstamp_sessions_key") }, Options{}, ErrDamaged, "handstamp_sessions_key"},
		{"not migrated", func(t *testing.T, p string) {
			write(t, p, nil)
			outside(t, p, "CREATE TABLE notes (text TEXT)")
		}, Options{SkipMigrations: true}, ErrOlder, "version 0"},
	}
}

// A file that cannot be used is refused in words, and is the same afterwards, to the byte; nothing is left beside it.
func TestRefusedFilesAreUntouched(t *testing.T) {
	for _, tt := range refusals() {
		t.Run(tt.name, func(t *testing.T) {
			path := made(t)
			tt.spoil(t, path)
			before := contents(t, path)
			s, err := Open(t.Context(), path, tt.opt)
			if err == nil {
				_ = s.Close()
			}
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Open() = %v, want %v that says %q", err, tt.want, tt.says)
			}
			if !bytes.Equal(before, contents(t, path)) {
				t.Error("the refused file was changed")
			}
			if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
				t.Errorf("beside the refused file lie %v", left)
			}
			_, perr := Pending(t.Context(), path)
			if tt.want != ErrOlder && !errors.Is(perr, tt.want) {
				t.Errorf("Pending() = %v, want %v", perr, tt.want)
			}
		})
	}
}

func TestRefusedNames(t *testing.T) {
	for _, path := range []string{"", ":memory:", "file:x.db?mode=memory", "a\x00b", t.TempDir()} {
		if s, err := Open(t.Context(), path, Options{}); err == nil {
			_ = s.Close()
			t.Errorf("Open(%q) succeeded", path)
		}
	}
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "x"), Options{SkipMigrations: true}); !errors.Is(err, ErrOlder) {
		t.Errorf("Open(no file, SkipMigrations) = %v, want %v", err, ErrOlder)
	}
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "x"), Options{Readers: 65}); err == nil {
		t.Error("Open with 65 readers succeeded")
	}
}

// An application that was killed in the middle of a transaction left a rollback journal. That is no damage: opening the
// file puts the old pages back, as any other opening would.
func TestHotJournal(t *testing.T) {
	dir := t.TempDir()
	app := filepath.Join(dir, "app.db")
	outside(t, app, "CREATE TABLE notes (text TEXT)", "INSERT INTO notes VALUES (zeroblob(100000)), ('old')")
	db, err := sql.Open("sqlite", app)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	for _, s := range []string{"PRAGMA cache_size = 1", "BEGIN", "UPDATE notes SET text = 'new'", "INSERT INTO notes VALUES (zeroblob(1000000))"} {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	killed := filepath.Join(dir, "killed.db")
	write(t, killed, contents(t, app))
	write(t, killed+"-journal", contents(t, app+"-journal"))
	s := openTest(t, killed)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := sql.Open("sqlite", killed)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	var n int
	if err := again.QueryRowContext(t.Context(), "SELECT count(*) FROM notes WHERE text = 'old'").Scan(&n); err != nil || n != 1 {
		t.Errorf("the application's row from before the crash: %d of them, %v", n, err)
	}
}
