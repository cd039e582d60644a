package redis_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/token"
)

// errCrash is what a unit ends with whose process died.
var errCrash = errors.New("the process died")

// dieAt lets every unit of a store die at a step.
func dieAt(s handle, step string) {
	s.StopAt(func(name string) error {
		if name == step {
			return errCrash
		}
		return nil
	})
}

// TestCrashAfterAnEnd dies when the base has committed an end and Redis has not heard of it. Every other process must know
// of it, whatever it does first.
func TestCrashAfterAnEnd(t *testing.T) {
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
				other := s.again(t)
				dieAt(s, "committed")
				if _, err := tryAppend(t, s, e(r)); !errors.Is(err, errCrash) {
					t.Fatalf("Do = %v, want the crash", err)
				}
				if isAlive(t, other, r) || alive(t, other, r) {
					t.Error("the session is alive though its end is committed")
				}
			})
		}
	}
}

// TestCrashAfterSparing dies when the base has committed that one session is spared, and Redis has not heard of it. It must
// be brought along before anybody calls it over.
func TestCrashAfterSparing(t *testing.T) {
	server := fault.SharedRedis(t)
	for first, isAlive := range firsts() {
		t.Run(first, func(t *testing.T) {
			s := open(t, server)
			r, gone := begin(t, s, 0), begin(t, s, 1)
			other := s.again(t)
			dieAt(s, "committed")
			e := event(revoke.KindUser, string(ada), revoke.End)
			e.Except = r.ID
			if _, err := tryAppend(t, s, e); !errors.Is(err, errCrash) {
				t.Fatalf("Do = %v, want the crash", err)
			}
			if first == "PutSession" { // which judges by the record of before
				f := find(t, other, r.ID)
				if !handstamp.Live(f.Session, f.Subject, at(6)) || f.Session.Stamp != f.Subject.Ended {
					t.Errorf("Find = %+v, want it spared", f.Session)
				}
				return
			}
			if !isAlive(t, other, r) {
				t.Error("the spared session was called over")
			}
			if alive(t, other, gone) {
				t.Error("the other one is alive")
			}
		})
	}
}

// TestCrashAfterBeginning dies between the commit of a login and Redis: the session is nowhere, and the user can log in.
func TestCrashAfterBeginning(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	other := s.again(t)
	dieAt(s, "committed")
	r := session(ada, 0)
	if err := login(t, s, r); !errors.Is(err, errCrash) {
		t.Fatalf("Do = %v, want the crash", err)
	}
	if _, err := other.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID}); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("Find = %v, want ErrNotFound", err)
	}
	next := begin(t, other, 1)
	dieAt(s, "written")
	last := session(ada, 2)
	if err := login(t, s, last); !errors.Is(err, errCrash) {
		t.Fatalf("Do = %v, want the crash", err)
	}
	if !alive(t, other, next) || !alive(t, other, last) {
		t.Error("a session that is in Redis is over")
	}
}

// TestCrashWhileReplacing dies between the commit of new secrets and Redis: the old ones stay, the session lives, and once
// the claim has run out others can write it.
func TestCrashWhileReplacing(t *testing.T) {
	server := fault.StartRedis(t, fault.RedisOptions{})
	s := open(t, server)
	r := begin(t, s, 0)
	other := s.again(t)
	dieAt(s, "committed")
	next := r
	next.Key = token.HashOf(token.Generate(token.Reference))
	err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		if err := tx.PutSession(t.Context(), next); err != nil {
			return err
		}
		_, err := tx.Append(t.Context(), event(revoke.KindSession, string(r.ID), revoke.Change))
		return err
	})
	if !errors.Is(err, errCrash) {
		t.Fatalf("Do = %v, want the crash", err)
	}
	f := find(t, other, r.ID)
	if !f.Session.Key.Equal(r.Key) || f.Session.Changed != f.Subject.Head || !handstamp.Live(f.Session, f.Subject, at(6)) {
		t.Errorf("Find = %+v, want the old secrets, changed by the event, and alive", f.Session)
	}
	put := func() error {
		return other.Work().Do(t.Context(), func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), f.Session) })
	}
	if err := put(); !errors.Is(err, handstamp.ErrConflict) {
		t.Errorf("PutSession while the claim stands = %v, want ErrConflict", err)
	}
	for _, k := range server.Do(t, "KEYS", "*:c:*").([]any) { // as its time does
		server.Do(t, "DEL", fmt.Sprint(k))
	}
}

// TestEndWhileBeginning lets the user be ended between the commit of a login and the record in Redis. The login must be told
// to begin again, and leave nothing.
func TestEndWhileBeginning(t *testing.T) {
	for _, e := range []revoke.Event{event(revoke.KindUser, string(ada), revoke.End), event(revoke.KindAll, "", revoke.End)} {
		s := open(t, fault.SharedRedis(t))
		other := s.again(t)
		s.StopAt(func(step string) error {
			if step == "committed" {
				appendTo(t, other, e)
			}
			return nil
		})
		r := session(ada, 0)
		if err := login(t, s, r); !errors.Is(err, handstamp.ErrProofOutdated) {
			t.Errorf("%s: Do = %v, want ErrProofOutdated", e.Kind, err)
		}
		if f, err := other.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID}); !errors.Is(err, handstamp.ErrNotFound) {
			t.Errorf("%s: Find = %+v, %v; want ErrNotFound", e.Kind, f.Session, err)
		}
		s.StopAt(nil)
		if next := begin(t, s, 1); !alive(t, other, next) {
			t.Errorf("%s: the login that began again is over", e.Kind)
		}
	}
}

// between is a base that does something when roles are read: in a refresh that is after it was judged and before it is
// written.
type between struct {
	redis.Base
	mu sync.Mutex
	do func()
}

func (b *between) Roles(ctx context.Context) (permission.Table, uint64, error) {
	b.mu.Lock()
	do := b.do
	b.do = nil
	b.mu.Unlock()
	if do != nil {
		do()
	}
	return b.Base.Roles(ctx)
}

// TestRefreshAgainstEnds ends a session, by every way there is, after its refresh was judged and before it is written.
func TestRefreshAgainstEnds(t *testing.T) {
	server := fault.SharedRedis(t)
	for name, end := range map[string]func(t *testing.T, s handle, r handstamp.Session){
		"session": func(t *testing.T, s handle, r handstamp.Session) {
			appendTo(t, s, event(revoke.KindSession, string(r.ID), revoke.End))
		},
		"user": func(t *testing.T, s handle, _ handstamp.Session) {
			appendTo(t, s, event(revoke.KindUser, string(ada), revoke.End))
		},
		"all": func(t *testing.T, s handle, _ handstamp.Session) {
			appendTo(t, s, event(revoke.KindAll, "", revoke.End))
		},
		"disabled": func(t *testing.T, s handle, _ handstamp.Session) {
			must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
				sub, err := tx.Subject(t.Context(), ada)
				if err != nil {
					return err
				}
				sub.Disabled = true
				if err := tx.PutSubject(t.Context(), sub); err != nil {
					return err
				}
				_, err = tx.Append(t.Context(), event(revoke.KindUser, string(ada), revoke.End))
				return err
			}))
		},
		"new secrets": func(t *testing.T, s handle, r handstamp.Session) {
			must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
				r.Refresh.Nonce, r.Refresh.Generation = token.NewNonce().Hash(), r.Refresh.Generation+1
				return tx.PutSession(t.Context(), r)
			}))
		},
		"swept": func(t *testing.T, s handle, r handstamp.Session) {
			n, err := s.Sessions().Sweep(t.Context(), r.ExpiresAt.Add(time.Second), 10)
			must(t, err)
			if n != 1 {
				t.Errorf("Sweep = %d, want 1", n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, server)
			r := begin(t, s, 0)
			must(t, s.AccountWork().Do(t.Context(), func(tx account.Tx) error {
				return tx.PutSubject(t.Context(), handstamp.Subject{User: ada, Grants: handstamp.Grants{Roles: []string{"admin"}}})
			}))
			b := &between{Base: openBase(t, s.path)}
			refreshing, err := redis.Over(b, dial(t, s.url, redis.Options{}))
			must(t, err)
			t.Cleanup(func() { must(t, refreshing.Close()) })
			b.do = func() { end(t, s, r) }
			f := r.Refresh
			f.Generation = 2
			_, err = refreshing.Sessions().Rotate(t.Context(), r.ID, 1, handstamp.Rotation{At: at(6), Family: f})
			if !errors.Is(err, handstamp.ErrConflict) {
				t.Errorf("Rotate = %v, want ErrConflict", err)
			}
			got, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
			if err == nil && got.Session.Refresh.Nonce.Equal(r.Refresh.Nonce) && got.Session.Refresh.Generation != 1 {
				t.Errorf("the record = %+v, want the generation as it was", got.Session.Refresh)
			}
		})
	}
}

// TestOneReplacement lets fifty units in two processes replace one record at once.
func TestOneReplacement(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	other := s.again(t)
	r := begin(t, s, 0)
	keys := make([]token.Hash, 50)
	errs := make([]error, len(keys))
	var all sync.WaitGroup
	for n := range keys {
		keys[n] = token.HashOf(token.Generate(token.Reference))
		all.Go(func() {
			from := []handle{s, other}[n%2]
			errs[n] = from.Work().Do(t.Context(), func(tx handstamp.Tx) error {
				next := r
				next.Key = keys[n]
				return tx.PutSession(t.Context(), next)
			})
		})
	}
	all.Wait()
	won := -1
	for n, err := range errs {
		switch {
		case err == nil && won >= 0:
			t.Errorf("both %d and %d replaced one version", won, n)
		case err == nil:
			won = n
		case !errors.Is(err, handstamp.ErrConflict):
			t.Errorf("unit %d = %v, want ErrConflict", n, err)
		}
	}
	f := find(t, other, r.ID)
	if won < 0 || !f.Session.Key.Equal(keys[won]) || f.Session.Version != r.Version+1 {
		t.Errorf("the record = %+v, want the winner's (%d)", f.Session, won)
	}
}

// TestOneCart lets a visitor's browser log in twice at once, as two users in two processes: one of them gets the cart.
func TestOneCart(t *testing.T) {
	for round := range 10 {
		s := open(t, fault.SharedRedis(t))
		other := s.again(t)
		visitor := session("\x1fanonymous/192.0.2.0/24", 0)
		visitor.Mode = handstamp.ModeAnonymous
		must(t, login(t, s, visitor))
		must(t, s.Values().Put(t.Context(), value(visitor, 0, 1)))
		users := []handstamp.Session{session("usr_one", 1), session("usr_two", 1)}
		var all sync.WaitGroup
		for n, from := range []handle{s, other} {
			all.Go(func() {
				err := from.Work().Do(t.Context(), func(tx handstamp.Tx) error {
					if err := tx.PutSession(t.Context(), users[n]); err != nil {
						return err
					}
					c := handstamp.Carrying{From: visitor.ID, To: users[n].ID, Names: []string{"cart"}, Limit: 100, Now: at(2)}
					if err := tx.Carry(t.Context(), c); err != nil {
						return err
					}
					_, err := tx.Append(t.Context(), event(revoke.KindSession, string(visitor.ID), revoke.End))
					return err
				})
				if err != nil {
					t.Errorf("login %d = %v", n, err)
				}
			})
		}
		all.Wait()
		carts := 0
		for _, r := range users {
			d, _, err := s.Values().Get(t.Context(), r.ID, "cart")
			must(t, err)
			if d.Version != 0 {
				carts++
			}
		}
		if carts != 1 {
			t.Errorf("round %d: %d users have the cart, want 1", round, carts)
		}
		if f := find(t, s, visitor.ID); f.Session.EndedBy != 1 {
			t.Errorf("round %d: the visit ended by %d, want the first end", round, f.Session.EndedBy)
		}
	}
}
