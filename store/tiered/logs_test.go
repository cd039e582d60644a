package tiered_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/revoke"
)

// kept has the tier keep a copy, and looks that it is used.
func kept(t testing.TB, s handle, r handstamp.Session) handstamp.Found {
	t.Helper()
	copyOf(t, s, r)
	f := copyOf(t, s, r)
	if !f.Copy {
		t.Fatal("there is no copy")
	}
	return f
}

// TestOtherLog: after a restore no copy of the log before is used, whoever restored.
func TestOtherLog(t *testing.T) {
	for name, restore := range map[string]func(s handle) error{
		"here":      func(s handle) error { _, err := s.Restored(t.Context(), true, time.Now()); return err },
		"elsewhere": func(s handle) error { _, err := s.base.Restored(t.Context(), true, time.Now()); return err },
	} {
		s := open(t, fault.SharedRedis(t))
		renew := follow(t, s)
		r := begin(t, s)
		kept(t, s, r)
		must(t, restore(s))
		if f := copyOf(t, s, r); name == "here" && f.Copy {
			t.Errorf("%s: a copy at %d, while nobody knows which log it is of", name, f.Subject.Head)
		}
		renew()
		f := copyOf(t, s, r)
		if f.Copy || f.Subject.Head < 1<<32 {
			t.Errorf("%s: a copy: %v at %d, want the database's answer", name, f.Copy, f.Subject.Head)
		}
		if f := copyOf(t, s, r); !f.Copy || f.Subject.Head < 1<<32 {
			t.Errorf("%s: a copy: %v at %d, want a copy of the new log", name, f.Copy, f.Subject.Head)
		}
	}
}

// TestCopiedDatabase: a copy of the database is taken into use elsewhere, with the cache and the secrets of the first by
// mistake. It has the same sessions, and numbers that are larger; what may be done there is nothing to the first.
func TestCopiedDatabase(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	r := begin(t, s)
	must(t, s.Close())
	b, err := os.ReadFile(s.path)
	must(t, err)
	path := filepath.Join(t.TempDir(), "copy.db")
	must(t, os.WriteFile(path, b, 0o600))
	first, other := s.again(t), openAt(t, path, s.url, secrets())
	_, err = other.Restored(t.Context(), true, time.Now())
	must(t, err)
	follow(t, first)
	follow(t, other)
	must(t, other.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		return tx.PutSubject(t.Context(), handstamp.Subject{User: ada, Grants: handstamp.Grants{Permissions: []string{"*"}}})
	}))
	kept(t, other, r)
	for range 2 {
		if f := copyOf(t, first, r); f.Copy || f.Subject.Head >= 1<<32 || len(f.Subject.Grants.Permissions) > 0 {
			t.Errorf("the first answers (a copy: %v at %d) that %s may %v", f.Copy, f.Subject.Head, ada, f.Subject.Grants.Permissions)
		}
	}
}

// TestForgotten: a copy from before what the log still knows cannot be judged any more.
func TestForgotten(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	renew := follow(t, s)
	r := begin(t, s)
	kept(t, s, r)
	a := appendTo(t, s.base, event(revoke.KindUser, string(ada), revoke.Change), event(revoke.KindUser, "usr_bob", revoke.Change))
	n, err := s.base.Log().Forget(t.Context(), time.Now().Add(1000*time.Hour), 10)
	if err != nil || n == 0 {
		t.Fatalf("Forget = %d, %v", n, err)
	}
	renew()
	if f := copyOf(t, s, r); f.Copy || f.Subject.Changed != a.Events[0].Seq {
		t.Errorf("a copy: %v at %d, want the database's answer at %d", f.Copy, f.Subject.Head, a.Last())
	}
}

// TestOtherFleet: two installations that share a cache and a secret by mistake know nothing of each other's sessions.
func TestOtherFleet(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	other := openAt(t, t.TempDir()+"/other.db", s.url, secrets())
	follow(t, s)
	follow(t, other)
	r := begin(t, s)
	kept(t, s, r)
	if f, err := other.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key, Copy: true}); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("Find in the other installation = %+v, %v; want ErrNotFound", f.Session, err)
	}
}
