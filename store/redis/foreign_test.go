package redis_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/revoke"
)

func value(r handstamp.Session, from, to uint64) handstamp.DatumWrite {
	return handstamp.DatumWrite{
		Session: r.ID, Value: handstamp.Datum{Name: "cart", Data: []byte("x"), Version: to}, From: from, Limit: 100, Now: at(6),
	}
}

// firsts are everything that may be the first to hear of what another process did. Each says whether it took the session
// for alive.
func firsts() map[string]func(t *testing.T, s handle, r handstamp.Session) bool {
	return map[string]func(t *testing.T, s handle, r handstamp.Session) bool{
		"Find": func(t *testing.T, s handle, r handstamp.Session) bool { return alive(t, s, r) },
		"Find by key": func(t *testing.T, s handle, r handstamp.Session) bool {
			f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key})
			must(t, err)
			return handstamp.Live(f.Session, f.Subject, at(6))
		},
		"List": func(t *testing.T, s handle, r handstamp.Session) bool {
			all, err := s.Sessions().List(t.Context(), handstamp.SessionFilter{User: r.User, Limit: 10, Now: at(6)})
			must(t, err)
			return len(all) > 0
		},
		"List of all": func(t *testing.T, s handle, _ handstamp.Session) bool {
			all, err := s.Sessions().List(t.Context(), handstamp.SessionFilter{Limit: 10, Now: at(6)})
			must(t, err)
			return len(all) > 0
		},
		"Rotate": func(t *testing.T, s handle, r handstamp.Session) bool {
			f := r.Refresh
			f.Generation++
			_, err := s.Sessions().Rotate(t.Context(), r.ID, r.Refresh.Generation, handstamp.Rotation{At: at(6), Family: f})
			if err != nil && !errors.Is(err, handstamp.ErrConflict) {
				t.Errorf("Rotate = %v", err)
			}
			return err == nil
		},
		"Touch": func(t *testing.T, s handle, r handstamp.Session) bool {
			must(t, s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{r.ID: at(6)}))
			return find(t, s, r.ID).Session.SeenAt.Equal(at(6))
		},
		"Get": func(t *testing.T, s handle, r handstamp.Session) bool {
			_, f, err := s.Values().Get(t.Context(), r.ID, "cart")
			must(t, err)
			return handstamp.Live(f.Session, f.Subject, at(6))
		},
		"Put": func(t *testing.T, s handle, r handstamp.Session) bool {
			err := s.Values().Put(t.Context(), value(r, 0, 1))
			if err != nil && !errors.Is(err, handstamp.ErrConflict) {
				t.Errorf("Put = %v", err)
			}
			return err == nil
		},
		"Oldest": func(t *testing.T, s handle, r handstamp.Session) bool {
			var ids []handstamp.SessionID
			must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) (err error) {
				ids, err = tx.Oldest(t.Context(), r.User, at(6), 0)
				return err
			}))
			return len(ids) > 0
		},
		"PutSession": func(t *testing.T, s handle, r handstamp.Session) bool {
			r.Version = 1
			err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
				sub, err := tx.Subject(t.Context(), r.User)
				if err != nil {
					return err
				}
				if !handstamp.Live(r, sub, at(6)) {
					return handstamp.ErrConflict
				}
				return tx.PutSession(t.Context(), r)
			})
			if err != nil && !errors.Is(err, handstamp.ErrConflict) {
				t.Errorf("Do = %v", err)
			}
			return err == nil
		},
		"counted": func(t *testing.T, s handle, r handstamp.Session) bool {
			return appendTo(t, s, event(revoke.KindSession, string(r.ID), revoke.End)).Sessions > 0
		},
		"spared": func(t *testing.T, s handle, r handstamp.Session) bool {
			e := event(revoke.KindUser, string(r.User), revoke.End)
			e.Except = r.ID
			return appendTo(t, s, e).Events[0].Except != ""
		},
	}
}

// TestForeignEvents ends, in the base alone as a command line does, a session in Redis. Whoever is the first to hear of it
// must know, and no answer's head may be beyond what its record has heard of.
func TestForeignEvents(t *testing.T) {
	server := fault.SharedRedis(t)
	for name, e := range map[string]func(r handstamp.Session) revoke.Event{
		"session": func(r handstamp.Session) revoke.Event { return event(revoke.KindSession, string(r.ID), revoke.End) },
		"user":    func(handstamp.Session) revoke.Event { return event(revoke.KindUser, string(ada), revoke.End) },
		"all":     func(handstamp.Session) revoke.Event { return event(revoke.KindAll, "", revoke.End) },
	} {
		for first, isAlive := range firsts() {
			t.Run(name+"/"+first, func(t *testing.T) {
				s := open(t, server)
				r := begin(t, s, 0)
				a := appendTo(t, s.base, e(r))
				if isAlive(t, s, r) {
					t.Error("the session is alive though another process ended it")
				}
				f := find(t, s, r.ID)
				if handstamp.Live(f.Session, f.Subject, at(6)) || f.Subject.Head < a.Last() || name == "session" && f.Session.EndedBy != a.Last() {
					t.Errorf("Find = %+v at head %d, want ended by %d", f.Session, f.Subject.Head, a.Last())
				}
				left, err := s.base.Log().Registered(t.Context())
				must(t, err)
				if len(left) != 0 {
					t.Errorf("%d registrations are left for waiters to wait for", len(left))
				}
			})
		}
	}
}

// TestForeignChanges leaves the session alive: no event of somebody else's, and none that only changes, ends it. New secrets
// end the old ones, whoever gave them.
func TestForeignChanges(t *testing.T) {
	server := fault.SharedRedis(t)
	for name, e := range map[string]func(r handstamp.Session) revoke.Event{
		"session/change": func(r handstamp.Session) revoke.Event { return event(revoke.KindSession, string(r.ID), revoke.Change) },
		"user/change":    func(handstamp.Session) revoke.Event { return event(revoke.KindUser, string(ada), revoke.Change) },
		"another user":   func(handstamp.Session) revoke.Event { return event(revoke.KindUser, "usr_bob", revoke.End) },
		"a role":         func(handstamp.Session) revoke.Event { return event(revoke.KindRole, "editor", revoke.Change) },
	} {
		for _, first := range []string{"Find", "List", "Rotate", "Touch", "Get", "Put", "Oldest", "counted", "spared"} {
			t.Run(name+"/"+first, func(t *testing.T) {
				s := open(t, server)
				r := begin(t, s, 0)
				a := appendTo(t, s.base, e(r))
				renewed := name == "session/change" // its secrets are others now, which nobody has written
				if alive, want := firsts()[first](t, s, r), !renewed || first != "Rotate"; alive != want {
					t.Errorf("the session is alive = %v, want %v", alive, want)
				}
				f := find(t, s, r.ID)
				if renewed && (f.Session.Changed != a.Last() || !f.Session.Key.IsZero() || !f.Session.Refresh.Nonce.IsZero()) {
					t.Errorf("the record is changed by %d and has secrets, want %d and none: %+v", f.Session.Changed, a.Last(), f.Session)
				}
				_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key})
				if errors.Is(err, handstamp.ErrNotFound) != renewed {
					t.Errorf("who has the old secret: %v", err)
				}
			})
		}
	}
}

// TestFollowerBringsRecordsAlong: who follows the log through the store writes what it hears, so that no reader has to.
func TestFollowerBringsRecordsAlong(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	r := begin(t, s, 0)
	h, err := s.Log().Register(t.Context(), revoke.Registration{Verifier: "vrf_x", RegisteredAt: at(0)})
	must(t, err)
	renewal := revoke.Renewal{Verifier: "vrf_x", Log: h.Log, Applied: h.Seq, Tag: h.Tag, Limit: 10}
	for n := range 3 {
		a := appendTo(t, s.base, event(revoke.KindSession, string(r.ID), revoke.Change))
		got, err := s.Log().Renew(t.Context(), renewal)
		must(t, err)
		if len(got.Events) != n+1 {
			t.Errorf("Renew = %d events, want %d", len(got.Events), n+1)
		}
		before := registrations(t, s)
		if f := find(t, s, r.ID); f.Session.Changed != a.Last() || f.Subject.Head != a.Last() {
			t.Errorf("Find = changed by %d at %d, want %d", f.Session.Changed, f.Subject.Head, a.Last())
		}
		if after := registrations(t, s); after != before {
			t.Errorf("the reader has read the log itself")
		}
	}
}

// registrations counts commits to the base's table of verifiers, by what is in it: the reader's own row is gone after it.
func registrations(t *testing.T, s handle) string {
	t.Helper()
	all, err := s.base.Log().Registered(t.Context())
	must(t, err)
	return fmt.Sprint(all)
}

// TestRestoredElsewhere lets another process restore the base: what the log forgot with it may have ended sessions here,
// so they are over. Restored through the store they live on if they are to be kept.
func TestRestoredElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		restore func(s handle) error
		lives   bool
	}{
		"elsewhere": {func(s handle) error { _, err := s.base.Restored(t.Context(), true, at(5)); return err }, false},
		"here":      {func(s handle) error { _, err := s.Restored(t.Context(), true, at(5)); return err }, true},
		"all ended": {func(s handle) error { _, err := s.Restored(t.Context(), false, at(5)); return err }, false},
	} {
		s := open(t, fault.SharedRedis(t))
		r := begin(t, s, 0)
		must(t, s.Values().Put(t.Context(), value(r, 0, 1)))
		other := s.again(t)
		appendTo(t, s.base, event(revoke.KindUser, "usr_bob", revoke.End)) // which the records have not heard of
		must(t, c.restore(s))
		f, err := other.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
		if lives := err == nil && handstamp.Live(f.Session, f.Subject, at(6)); lives != c.lives || err != nil && !errors.Is(err, handstamp.ErrNotFound) {
			t.Errorf("%s: Find = alive: %v, %v; want %v", name, lives, err, c.lives)
		}
		next := session(ada, 6)
		must(t, login(t, other, next))
		if f := find(t, s, next.ID); !handstamp.Live(f.Session, f.Subject, at(7)) {
			t.Errorf("%s: a session that began after that is over", name)
		}
		appendTo(t, other, event(revoke.KindSession, string(next.ID), revoke.End))
		if f := find(t, s, next.ID); handstamp.Live(f.Session, f.Subject, at(7)) {
			t.Errorf("%s: a session that ended after that is alive", name)
		}
	}
}

// TestRestoredBackup puts the base back as it was, beside a Redis that has gone on: with keepSessions what Redis knows
// stays, what is over and what lives, whatever happened since the backup; without it all is over.
func TestRestoredBackup(t *testing.T) {
	for name, c := range map[string]struct{ keep, happened bool }{
		"kept, with ends since": {true, true}, "kept, with logins only": {true, false}, "not kept": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, fault.SharedRedis(t))
			before, over := begin(t, s, 0), begin(t, s, 0)
			appendTo(t, s, event(revoke.KindUser, "usr_bob", revoke.Change))
			must(t, s.Close())
			backup, err := os.ReadFile(s.path)
			must(t, err)
			s = s.again(t)
			since := begin(t, s, 1)
			if c.happened {
				appendTo(t, s, event(revoke.KindSession, string(over.ID), revoke.End), event(revoke.KindUser, "usr_bob", revoke.Change))
			}
			must(t, s.Close())
			path := filepath.Join(t.TempDir(), "handstamp.db")
			must(t, os.WriteFile(path, backup, 0o600))
			s = openAt(t, path, s.url)
			h, err := s.Restored(t.Context(), c.keep, at(5))
			must(t, err)
			lives := func(r handstamp.Session) bool {
				f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
				if err != nil && !errors.Is(err, handstamp.ErrNotFound) {
					t.Fatal(err)
				}
				return err == nil && handstamp.Live(f.Session, f.Subject, at(6))
			}
			if lives(before) != c.keep || lives(since) != c.keep || lives(over) != (c.keep && !c.happened) {
				t.Errorf("alive: from before %v, from since %v, ended since %v", lives(before), lives(since), lives(over))
			}
			next := session(ada, 6)
			must(t, login(t, s, next))
			a := appendTo(t, s, event(revoke.KindSession, string(before.ID), revoke.End))
			if a.Last() != h.Seq+1 || lives(before) || !lives(next) || lives(since) != c.keep {
				t.Errorf("then, at %d after %d: %v, %v, %v", a.Last(), h.Seq, lives(before), lives(next), lives(since))
			}
		})
	}
}

// TestRestoredTwice puts the base back to before its log became another one: Redis follows a log that the base has never
// had, however much higher its numbers are, so its records cannot know what they missed.
func TestRestoredTwice(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	r := begin(t, s, 0)
	must(t, s.Close())
	backup, err := os.ReadFile(s.path)
	must(t, err)
	s = s.again(t)
	_, err = s.Restored(t.Context(), true, at(1))
	must(t, err)
	find(t, s, r.ID)
	must(t, s.Close())
	path := filepath.Join(t.TempDir(), "handstamp.db")
	must(t, os.WriteFile(path, backup, 0o600))
	s = openAt(t, path, s.url)
	_, err = s.Restored(t.Context(), true, at(5))
	must(t, err)
	if f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID}); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("Find = %+v, %v; want ErrNotFound", f.Session, err)
	}
}

// TestForgotten lets the log forget what the records have not heard of: then they cannot know whether they are alive.
// Forgetting through the store brings them along first.
func TestForgotten(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	one, two := begin(t, s, 0), begin(t, s, 1)
	appendTo(t, s.base, event(revoke.KindSession, string(one.ID), revoke.End), event(revoke.KindUser, "usr_bob", revoke.Change))
	n, err := s.Log().Forget(t.Context(), at(1000), 10)
	must(t, err)
	if n != 1 || alive(t, s, one) || !alive(t, s, two) {
		t.Errorf("Forget = %d; want 1, the one over and the other alive", n)
	}
	appendTo(t, s.base, event(revoke.KindSession, string(two.ID), revoke.End), event(revoke.KindUser, "usr_bob", revoke.Change))
	_, err = s.base.Log().Forget(t.Context(), at(1000), 10)
	must(t, err)
	if f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: two.ID}); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("Find = %+v, %v; want ErrNotFound", f.Session, err)
	}
}

// TestLogRemembers: what changes a record stays in the log until its session ends by itself, since Redis may come back
// with older data.
func TestLogRemembers(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	r, other := begin(t, s, 0), begin(t, s, 1)
	spare := event(revoke.KindUser, string(ada), revoke.End)
	spare.Except = other.ID
	a := appendTo(t, s, event(revoke.KindSession, string(r.ID), revoke.End), spare)
	if !a.Events[0].Until.Equal(at(100)) {
		t.Errorf("Until in the answer = %v, want as it was given", a.Events[0].Until)
	}
	appendTo(t, s, event(revoke.KindUser, "usr_bob", revoke.Change))
	for now, want := range map[time.Time]int{at(101): 0, r.ExpiresAt: 0, r.ExpiresAt.Add(time.Second): 1} {
		if now.After(r.ExpiresAt) {
			continue
		}
		n, err := s.Log().Forget(t.Context(), now, 10)
		must(t, err)
		if n != want {
			t.Errorf("Forget at %v = %d, want %d", now, n, want)
		}
	}
	n, err := s.Log().Forget(t.Context(), other.ExpiresAt.Add(time.Second), 10)
	must(t, err)
	if n != 2 {
		t.Errorf("Forget after both have ended = %d, want 2", n)
	}
}
