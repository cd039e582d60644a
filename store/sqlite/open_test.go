package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	driver "modernc.org/sqlite"

	"github.com/handstamp/handstamp/account"
)

// outside runs statements on a file as another program does, in a connection of its own.
func outside(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	db.SetMaxOpenConns(1)
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// made is a file with a good, closed database in it.
func made(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "handstamp.db")
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func modes(t *testing.T, names ...string) []string {
	t.Helper()
	var got []string
	for _, n := range names {
		info, err := os.Stat(n)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Mode().Perm().String())
	}
	return got
}

func TestFilesArePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes are another thing there")
	}
	path := filepath.Join(t.TempDir(), "new", "handstamp.db")
	s := openTest(t, path)
	if err := s.dropNothing(t.Context()); err != nil { // a write, so that all files are there
		t.Fatal(err)
	}
	got := modes(t, filepath.Dir(path), path, path+"-wal", path+"-shm")
	want := []string{"-rwx------", "-rw-------", "-rw-------", "-rw-------"}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("modes of directory, database, -wal, -shm = %v, want %v", got, want)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 3 {
		t.Errorf("the directory holds %v (%v), want the three files and nothing else", left, err)
	}
}

// dropNothing is the smallest write there is.
func (s *Store) dropNothing(ctx context.Context) error {
	return s.do(ctx, func(u *unit) error { return u.DropOneTimes(ctx, "none") })
}

func TestEmptyFileBecomesPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "touched.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	openTest(t, path)
	if got := modes(t, path)[0]; got != "-rw-------" {
		t.Errorf("mode of a file that was empty = %s, want -rw-------", got)
	}
}

func TestOthersAccessIsSaid(t *testing.T) {
	path := made(t)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s, err := Open(t.Context(), path, Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if !strings.Contains(out.String(), "others than the owner") {
		t.Errorf("log of opening a file that others can read = %q", out.String())
	}
}

// Names that mean something in a URI are names all the same.
func TestOddNames(t *testing.T) {
	for _, name := range []string{"a b.db", "a?mode=memory", "a#b", "a%20b", "ä;PRAGMA", "file:x"} {
		path := filepath.Join(t.TempDir(), name)
		openTest(t, path)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("Open(%q) made no file of that name: %v", name, err)
		}
	}
}

func TestBesideAnApplicationsTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	outside(t, path, "CREATE TABLE notes (text TEXT)", "INSERT INTO notes VALUES ('mine')", "CREATE TABLE goose_db_version (id INTEGER)")
	if n, err := Pending(t.Context(), path); n == 0 || err != nil {
		t.Errorf("Pending(an application's database) = %d, %v, want some", n, err)
	}
	s := openTest(t, path)
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := Pending(t.Context(), path); n != 0 || err != nil {
		t.Errorf("Pending(migrated) = %d, %v, want 0", n, err)
	}
	outside(t, path, "UPDATE notes SET text = 'still mine'", "CREATE TABLE handstamp_extra (x)")
	openTest(t, path)
}

// Every connection that writes syncs each commit; a connection that does not say so is not used.
func TestWritersSync(t *testing.T) {
	s := newTest(t)
	for range 3 { // a connection that is given up is replaced by one that was looked at too
		l, err := s.writer.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1", "trusted_schema": "0", "secure_delete": "1"} {
			var got string
			if err := l.conn.QueryRowContext(t.Context(), "PRAGMA "+name).Scan(&got); err != nil || got != want {
				t.Errorf("PRAGMA %s of a writer = %s (%v), want %s", name, got, err, want)
			}
		}
		s.writer.give(l, false)
	}
	set := writing()
	weaker := strings.ReplaceAll(strings.Join(set.set, " "), "synchronous(2)", "synchronous(1)")
	c, err := driver.NewConnector(dsn(s.path, "rw", strings.Fields(weaker)))
	if err != nil {
		t.Fatal(err)
	}
	weak := newPool(c, set.want, 1)
	defer func() { _ = weak.shut(nil) }()
	if _, err := weak.take(t.Context()); err == nil || !strings.Contains(err.Error(), "synchronous") {
		t.Errorf("take(a connection with synchronous=NORMAL) = %v, want a refusal", err)
	}
}

func TestReadersCannotWrite(t *testing.T) {
	s := newTest(t)
	l, err := s.readers.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.readers.give(l, true)
	if _, err := l.exec("DELETE FROM handstamp_roles"); primary(err) != codeReadOnly {
		t.Errorf("DELETE on a reader = %v, want read-only", err)
	}
}

func TestEngineNumber(t *testing.T) {
	for version, want := range map[string]int{"3.51.3": minEngine, "3.53.4": 3_053_004, "3.51.2": minEngine - 1, "3.7.17.1": 3_007_017, "": 0, "3.51": 0, "3.x.1": 0, "3.-1.0": 0} {
		if got := engineNumber(version); got != want {
			t.Errorf("engineNumber(%q) = %d, want %d", version, got, want)
		}
	}
}

func TestReadOnly(t *testing.T) {
	path := made(t)
	_, err := open(t.Context(), path, Options{}, func(dsn string) (connector, error) {
		return plain(strings.Replace(dsn, "mode=rw", "mode=ro", 1))
	})
	if !errors.Is(err, ErrReadOnly) {
		t.Errorf("Open(a file that cannot be written) = %v, want %v", err, ErrReadOnly)
	}
}

// Processes that start together on no file, or on one that must be migrated, all end up with the same database.
func TestOpenTogether(t *testing.T) {
	for round := range 5 {
		path := filepath.Join(t.TempDir(), "new", "handstamp.db")
		if round%2 == 1 {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			outside(t, path, "CREATE TABLE notes (text TEXT)")
		}
		var wg sync.WaitGroup
		logs := make([]string, 8)
		for i := range logs {
			wg.Go(func() {
				s, err := Open(t.Context(), path, Options{})
				if err != nil {
					t.Errorf("Open() beside others = %v", err)
					return
				}
				defer func() { _ = s.Close() }()
				h, err := s.Log().Register(t.Context(), registration(fmt.Sprint("vrf_", i)))
				if err != nil {
					t.Error(err)
				}
				logs[i] = h.Log
			})
		}
		wg.Wait()
		for _, l := range logs {
			if l == "" || l != logs[0] {
				t.Fatalf("logs seen by those who opened together = %q, want one", logs)
			}
		}
	}
}

func TestCloseEnds(t *testing.T) {
	s := newTest(t)
	watching := make(chan error, 1)
	woken := make(chan struct{}, 10)
	go func() { watching <- s.Log().Watch(t.Context(), func() { woken <- struct{}{} }) }()
	<-woken
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	if err := <-watching; !errors.Is(err, ErrClosed) {
		t.Errorf("Watch() at Close = %v, want %v", err, ErrClosed)
	}
	if _, err := s.Users().ByEmail(t.Context(), account.Address("a@b.example")); !errors.Is(err, ErrClosed) {
		t.Errorf("a read after Close = %v, want %v", err, ErrClosed)
	}
	if err := s.dropNothing(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a write after Close = %v, want %v", err, ErrClosed)
	}
	if _, err := os.Stat(s.path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log of commits is still there after Close: %v", err)
	}
}

func TestSeededRoles(t *testing.T) {
	s := newTest(t)
	table, head, err := s.Roles(t.Context())
	if err != nil || head != 0 || len(table) != 2 {
		t.Fatalf("Roles() = %v, %d, %v, want admin and member", table, head, err)
	}
	if !table["admin"].Has("anything:at-all") || !table["member"].Empty() {
		t.Errorf("Roles() = %v, want admin to have everything and member nothing", table)
	}
}
