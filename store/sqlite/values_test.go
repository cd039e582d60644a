package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/handstamp/handstamp"
)

func valueOf(rec handstamp.Session, name, data string, from, to uint64) handstamp.DatumWrite {
	return handstamp.DatumWrite{
		Session: rec.ID, Value: handstamp.Datum{Name: name, Data: []byte(data), Version: to}, From: from, Limit: 16 << 10, Now: begun,
	}
}

func putValueOf(t testing.TB, s *Store, w handstamp.DatumWrite) {
	t.Helper()
	if err := s.Values().Put(t.Context(), w); err != nil {
		t.Fatalf("Put(%q) = %v", w.Value.Name, err)
	}
}

// version is that of a session's value, 0 for none.
func version(t testing.TB, s *Store, rec handstamp.Session, name string) uint64 {
	t.Helper()
	d, _, err := s.Values().Get(t.Context(), rec.ID, name)
	if err != nil {
		t.Fatal(err)
	}
	return d.Version
}

// first is a database as the first version made it, with a session in it. A copy (VACUUM INTO) is not in WAL mode.
func first(t *testing.T, mode string) (string, handstamp.Session) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "handstamp.db")
	c, err := plain(dsn(path, "rwc", []string{"journal_mode(" + mode + ")"}))
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(c, nil, 1)
	defer func() { _ = p.shut(nil) }()
	l, err := p.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.give(l, false)
	all, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	rec := session("ada")
	if err := apply(l, all[:1]); err != nil {
		t.Fatal(err)
	}
	if _, err := l.exec(insertSession, sessionValues(&rec)...); err != nil {
		t.Fatal(err)
	}
	rec.Version = 1
	return path, rec
}

// A database that the first version made is brought up to date when it is opened, with everything in it.
func TestMigrateFromFirst(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) { migratesFromFirst(t, mode) })
	}
}

func migratesFromFirst(t *testing.T, mode string) {
	path, rec := first(t, mode)
	all, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	before := contents(t, path)
	if n, err := Pending(t.Context(), path); n != len(all)-1 || err != nil {
		t.Errorf("Pending(version 1) = %d, %v, want %d", n, err, len(all)-1)
	}
	if _, err := Open(t.Context(), path, Options{SkipMigrations: true}); !errors.Is(err, ErrOlder) {
		t.Errorf("Open(version 1, SkipMigrations) = %v, want %v", err, ErrOlder)
	}
	if !bytes.Equal(before, contents(t, path)) {
		t.Error("looking at an older database changed it")
	}
	logs := make([]string, 6)
	var wg sync.WaitGroup
	for i := range logs {
		wg.Go(func() { // processes that are updated and started together
			s, err := Open(t.Context(), path, Options{})
			if err != nil {
				t.Errorf("Open(version 1) beside others = %v", err)
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
	s := openTest(t, path)
	found, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: rec.Key})
	if err != nil || found.Session.ID != rec.ID || found.Session.Version != 1 {
		t.Errorf("Find(a session from before) = %+v, %v", found.Session, err)
	}
	putValueOf(t, s, valueOf(rec, "cart", "x", 0, 1))
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if n, err := Pending(t.Context(), path); n != 0 || err != nil {
		t.Errorf("Pending(migrated) = %d, %v, want 0", n, err)
	}
}

// A name counts in bytes, whatever is in it: a zero byte ends a text in some of the engine's functions.
func TestOddNamesOfValues(t *testing.T) {
	s := newTest(t)
	for _, name := range []string{"a\x00bcdefgh", "\x00", "\xff\xfe\xfd", "é日本語"} {
		rec := put(t, s, "ada")
		w := valueOf(rec, name, "12345", 0, 1)
		w.Limit = len(name) + 5
		putValueOf(t, s, w)
		over := valueOf(rec, "b", "1", 0, 1)
		over.Limit = len(name) + 6
		if err := s.Values().Put(t.Context(), over); !errors.Is(err, handstamp.ErrDataTooLarge) {
			t.Errorf("one byte too many beside the name %q = %v, want %v", name, err, handstamp.ErrDataTooLarge)
		}
		if version(t, s, rec, name) != 1 {
			t.Errorf("the value %q is not found", name)
		}
	}
}

// Whatever deletes a session deletes its values, and what another program left without a session is swept.
func TestValuesBelongToASession(t *testing.T) {
	s := newTest(t)
	rec, other := put(t, s, "ada"), put(t, s, "ada")
	putValueOf(t, s, valueOf(rec, "cart", "x", 0, 1))
	putValueOf(t, s, valueOf(other, "cart", "x", 0, 1))
	err := s.do(t.Context(), func(u *unit) error {
		if _, err := u.exec("INSERT INTO handstamp_data VALUES ('ses_none', 'cart', x'00', 1)"); primary(err) != codeConstraint {
			t.Errorf("a value without a session = %v, want a refusal", err)
		}
		_, err := u.exec("DELETE FROM handstamp_sessions WHERE id = ?", string(rec.ID))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := countValues(t, s); n != 1 {
		t.Errorf("%d values are left, want the other session's", n)
	}
	outside(t, s.path, "INSERT INTO handstamp_data VALUES ('ses_none', 'cart', x'00', 1)")
	if n, err := s.Sessions().Sweep(t.Context(), begun, 10); n != 1 || err != nil {
		t.Errorf("Sweep = %d, %v, want the value that has no session", n, err)
	}
	if n := countValues(t, s); n != 1 || version(t, s, other, "cart") != 1 {
		t.Errorf("%d values are left, want the other session's", n)
	}
}

func countValues(t testing.TB, s *Store) (n int) {
	t.Helper()
	l, err := s.readers.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.readers.give(l, true)
	if err := l.row("SELECT count(*) FROM handstamp_data", nil, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A sweep looks at a part of the sessions that have values, and the next one goes on there, also in another process.
func TestSweepGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handstamp.db")
	handles := []*Store{openTest(t, path), openTest(t, path)}
	var all []handstamp.Session
	for range 11 {
		rec := put(t, handles[0], "ada")
		putValueOf(t, handles[0], valueOf(rec, "a", "x", 0, 1))
		putValueOf(t, handles[0], valueOf(rec, "b", "x", 0, 1))
		all = append(all, rec)
	}
	slices.SortFunc(all, func(a, b handstamp.Session) int { return strings.Compare(string(a.ID), string(b.ID)) })
	sweep := func(n, limit, window, want int) {
		t.Helper()
		got, err := handles[n%2].sweepData(t.Context(), begun.Add(1), limit, window)
		if err != nil || got != want {
			t.Errorf("a sweep over %d sessions up to %d values = %d, %v, want %d", window, limit, got, err, want)
		}
	}
	for n := range 5 { // round, and on from the beginning
		sweep(n, 100, 3, 0)
	}
	for _, at := range []int{4, 5, 10} {
		ended(t, handles[0], endOf(all[at]))
	}
	sweep(0, 100, 3, 4) // 4, 5, 6
	sweep(1, 1, 3, 0)   // 7, 8, 9
	sweep(0, 1, 3, 1)   // 10, 0, 1, and there is more
	sweep(1, 1, 3, 1)   // again
	sweep(0, 9, 3, 0)
	sweep(0, 9, 100, 0)
	for n, rec := range all {
		want := uint64(1)
		if n == 4 || n == 5 || n == 10 {
			want = 0
		}
		if got := version(t, handles[1], rec, "b"); got != want {
			t.Errorf("the value of session %d has version %d, want %d", n, got, want)
		}
	}
}

// What was found to be over and lives on meanwhile keeps its values.
func TestSweepJudgesAgain(t *testing.T) {
	s := newTest(t)
	rec := put(t, s, "ada")
	putValueOf(t, s, valueOf(rec, "cart", "x", 0, 1))
	err := s.do(t.Context(), func(u *unit) error {
		_, err := u.sweepData([]handstamp.SessionID{rec.ID}, begun, 10)
		return err
	})
	if !errors.Is(err, errNothing) || version(t, s, rec, "cart") != 1 {
		t.Errorf("sweeping a session that stands = %v, want nothing to do", err)
	}
}
