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

// TestCrashWhileReplacing dies between the commit of new secrets and Redis: the new ones are lost, the old ones are dead, for
// others were meant to be rid of who has them, and once the claim has run out others can write the session.
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
	if !f.Session.Key.IsZero() || !f.Session.Refresh.Nonce.IsZero() || f.Session.Changed != f.Subject.Head || !handstamp.Live(f.Session, f.Subject, at(6)) {
		t.Errorf("Find = %+v, want no secrets, changed by the event, and alive", f.Session)
	}
	if _, err := other.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key}); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("who has the old secret: %v", err)
	}
	if _, err := other.Sessions().Rotate(t.Context(), r.ID, 1, handstamp.Rotation{At: at(6), Family: handstamp.Family{Generation: 2, Nonce: r.Refresh.Nonce}}); !errors.Is(err, handstamp.ErrConflict) {
		t.Errorf("who has the old refresh token: %v", err)
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
			refreshing, err := redis.Over(b, dial(t, s.url, redis.Options{Timeout: patience}))
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

// TestGap dies with one event that Redis has not heard of, and lets others append after it. What they write must not hide
// the one before, and once it is heard of the records are where the head is.
func TestGap(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	other := s.again(t)
	one, two, three := begin(t, s, 0), begin(t, s, 1), begin(t, other, 2)
	dieAt(s, "committed")
	if _, err := tryAppend(t, s, event(revoke.KindSession, string(one.ID), revoke.End)); !errors.Is(err, errCrash) {
		t.Fatalf("Do = %v, want the crash", err)
	}
	err := other.Work().Do(t.Context(), func(tx handstamp.Tx) error { // looks at nothing before it appends
		_, err := tx.Append(t.Context(), event(revoke.KindRole, "r", revoke.Change), event(revoke.KindRole, "r", revoke.Change))
		return err
	})
	must(t, err)
	appendTo(t, other, event(revoke.KindSession, string(two.ID), revoke.End))
	for _, r := range []handstamp.Session{one, two} {
		if f := find(t, other, r.ID); handstamp.Live(f.Session, f.Subject, at(6)) || f.Subject.Head != 4 {
			t.Errorf("the session is alive at head %d: %+v", f.Subject.Head, f.Session)
		}
	}
	if f := find(t, other, three.ID); !handstamp.Live(f.Session, f.Subject, at(6)) || f.Subject.Head != 4 {
		t.Errorf("the third session at head %d: %+v", f.Subject.Head, f.Session)
	}
}

// TestRefreshWaitsForUnit refreshes a session while a unit gives it new secrets: between its commit in the base and Redis
// nobody may move the old family on, or its new child would be of a family that is dead.
func TestRefreshWaitsForUnit(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	other := s.again(t)
	r := begin(t, s, 0)
	refreshed := make(chan error, 1)
	s.StopAt(func(step string) error {
		if step != "committed" {
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		f := r.Refresh
		f.Generation = 2
		_, err := other.Sessions().Rotate(ctx, r.ID, 1, handstamp.Rotation{At: at(1), Family: f})
		refreshed <- err
		return nil
	})
	next := r
	next.Refresh = handstamp.Family{Generation: 2, Nonce: token.NewNonce().Hash()}
	must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), next) }))
	unknown(t, "a refresh in the middle of a unit", <-refreshed)
	if f := find(t, other, r.ID); !f.Session.Refresh.Nonce.Equal(next.Refresh.Nonce) || f.Session.Version != r.Version+1 {
		t.Errorf("the record = %+v, want what the unit wrote", f.Session)
	}
}

// TestLostAnswer loses the answer of the write to Redis that follows a commit. The unit is told to be done, and is there
// once.
func TestLostAnswer(t *testing.T) {
	server := fault.StartRedis(t, fault.RedisOptions{})
	proxy := fault.NewProxy(t, server.Addr())
	path := t.TempDir() + "/handstamp.db"
	direct := openAt(t, path, server.URL())
	s := openWith(t, path, server.URLAt(proxy.Addr(), 0), redis.Options{Timeout: patience})
	old := begin(t, s, 0)
	must(t, direct.Values().Put(t.Context(), value(old, 0, 1)))
	tries := 0
	s.StopAt(func(step string) error {
		if step != "planned" {
			return nil
		}
		if tries++; tries > 1 {
			return nil
		}
		proxy.HalfOpen()
		time.AfterFunc(100*time.Millisecond, func() { proxy.Reset(); proxy.Heal() })
		return nil
	})
	r, next := session(ada, 1), old
	next.Key = token.HashOf(token.Generate(token.Reference))
	must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		if err := tx.PutSession(t.Context(), r); err != nil {
			return err
		}
		if err := tx.PutSession(t.Context(), next); err != nil {
			return err
		}
		return tx.Carry(t.Context(), handstamp.Carrying{From: old.ID, To: r.ID, Names: []string{"cart"}, Limit: 100, Now: at(1)})
	}))
	if tries < 2 {
		t.Errorf("Redis was written to in %d tries: no answer was lost", tries)
	}
	if f := find(t, direct, r.ID); f.Session.Version != 1 {
		t.Errorf("the new session has version %d, want 1", f.Session.Version)
	}
	if f := find(t, direct, old.ID); f.Session.Version != old.Version+1 || !f.Session.Key.Equal(next.Key) {
		t.Errorf("the replaced session has version %d, want %d and the new key", f.Session.Version, old.Version+1)
	}
	if d, _, err := direct.Values().Get(t.Context(), r.ID, "cart"); err != nil || d.Version != 1 {
		t.Errorf("the cart has version %d, %v", d.Version, err)
	}
}

// TestEndWhileReplacing ends a session between the commit of its new secrets and Redis: the tombstone stays.
func TestEndWhileReplacing(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	other := s.again(t)
	r := begin(t, s, 0)
	begin(t, other, 1)
	s.StopAt(func(step string) error {
		if step == "committed" {
			appendTo(t, other, event(revoke.KindSession, string(r.ID), revoke.End))
		}
		return nil
	})
	next := r
	next.Key = token.HashOf(token.Generate(token.Reference))
	must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), next) }))
	if f := find(t, s, r.ID); f.Session.EndedBy != 1 || !f.Session.Key.Equal(r.Key) {
		t.Errorf("the record = %+v, want the tombstone", f.Session)
	}
}

// asked is a base that does something after a subject was read, once, before the reader has the answer. It counts the
// questions.
type asked struct {
	redis.Base
	mu    sync.Mutex
	do    func()
	times int
}

func (b *asked) Sessions() handstamp.Sessions { return askedSessions{b.Base.Sessions(), b} }

type askedSessions struct {
	handstamp.Sessions
	b *asked
}

func (v askedSessions) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	defer v.b.was()
	return v.Sessions.Subject(ctx, u)
}

func (b *asked) Subjects(ctx context.Context, users []handstamp.UserID) ([]handstamp.Subject, error) {
	defer b.was()
	return b.Base.Subjects(ctx, users)
}

// was does what is to be done once something was read.
func (b *asked) was() {
	b.mu.Lock()
	do := b.do
	b.do = nil
	b.times++
	b.mu.Unlock()
	if do != nil {
		do()
	}
}

// slow is a second process on the data of s that does something each time it has read a subject.
func slow(t *testing.T, s handle) (*redis.Store, *asked) {
	t.Helper()
	b := &asked{Base: openBase(t, s.path)}
	other, err := redis.Over(b, dial(t, s.url, redis.Options{Timeout: patience}))
	must(t, err)
	t.Cleanup(func() { must(t, other.Close()) })
	return other, b
}

// TestPutAgainstEnds ends a session after the write of a value was judged and before it is done.
func TestPutAgainstEnds(t *testing.T) {
	for name, end := range map[string]func(s handle, r handstamp.Session){
		"session": func(s handle, r handstamp.Session) {
			appendTo(t, s, event(revoke.KindSession, string(r.ID), revoke.End))
		},
		"user": func(s handle, _ handstamp.Session) { appendTo(t, s, event(revoke.KindUser, string(ada), revoke.End)) },
		"swept": func(s handle, r handstamp.Session) {
			_, err := s.Sessions().Sweep(t.Context(), r.ExpiresAt.Add(time.Second), 10)
			must(t, err)
		},
	} {
		s := open(t, fault.SharedRedis(t))
		r := begin(t, s, 0)
		other, b := slow(t, s)
		b.do = func() { end(s, r) }
		if err := other.Values().Put(t.Context(), value(r, 0, 1)); !errors.Is(err, handstamp.ErrConflict) {
			t.Errorf("%s: Put = %v, want ErrConflict", name, err)
		}
		if d, _, err := s.Values().Get(t.Context(), r.ID, "cart"); d.Version != 0 || err != nil && !errors.Is(err, handstamp.ErrNotFound) {
			t.Errorf("%s: the value has version %d, %v", name, d.Version, err)
		}
		r.Version = 0
		if err := login(t, s, r); name == "swept" && err == nil {
			if d, _, err := s.Values().Get(t.Context(), r.ID, "cart"); d.Version != 0 || err != nil {
				t.Errorf("a value was there before its session: version %d, %v", d.Version, err)
			}
		}
	}
}

// TestRecordAheadOfSubject spares a session after its subject was read, and before its record is read again: both must be of
// one number, or the session looks as nobody ever was.
func TestRecordAheadOfSubject(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	r := begin(t, s, 0)
	other, b := slow(t, s)
	appendTo(t, s.base, event(revoke.KindUser, "usr_bob", revoke.End)) // so that the record must be read again
	b.do = func() {
		e := event(revoke.KindUser, string(ada), revoke.End)
		e.Except = r.ID
		appendTo(t, s, e)
	}
	f, err := other.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
	must(t, err)
	if f.Session.Stamp != f.Subject.Ended || !handstamp.Live(f.Session, f.Subject, at(6)) {
		t.Errorf("stamp %d, ended %d, head %d: not from one number", f.Session.Stamp, f.Subject.Ended, f.Subject.Head)
	}
}

// TestSweepByBothClocks: a process whose time is a day ahead sweeps no session that the server's clock calls alive.
func TestSweepByBothClocks(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	r := session(ada, 0)
	now := time.Now().UTC().Truncate(time.Microsecond)
	r.CreatedAt, r.SeenAt, r.ExpiresAt = now, now, now.Add(time.Hour)
	must(t, login(t, s, r))
	n, err := s.Sessions().Sweep(t.Context(), now.Add(24*time.Hour), 10)
	must(t, err)
	if n != 0 || find(t, s, r.ID).Session.ID != r.ID {
		t.Errorf("Sweep = %d, want 0", n)
	}
}

// TestSparedTwice spares one session in two processes, one after the other, again and again.
func TestSparedTwice(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	other := s.again(t)
	r := begin(t, s, 0)
	for n := range 6 {
		e := event(revoke.KindUser, string(ada), revoke.End)
		e.Except = r.ID
		a := appendTo(t, []handle{s, other}[n%2], e)
		if a.Events[0].Except != r.ID || !alive(t, s, r) || !alive(t, other, r) {
			t.Fatalf("round %d: %+v, want it spared", n, a.Events[0])
		}
	}
	appendTo(t, other, event(revoke.KindUser, string(ada), revoke.End))
	if alive(t, s, r) {
		t.Error("ended without an exception, and alive")
	}
}

// TestAllEndedOfManyUsers counts whom an end of everybody ends where there are more users than a unit looks at itself.
func TestAllEndedOfManyUsers(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		for n := range 60 {
			if err := tx.PutSession(t.Context(), session(handstamp.UserID(fmt.Sprint("usr_", n/2)), n)); err != nil {
				return err
			}
		}
		return nil
	}))
	appendTo(t, s, event(revoke.KindUser, "usr_7", revoke.End))
	other, b := slow(t, s)
	runs := 0
	var a handstamp.Appended
	must(t, other.Work().Do(t.Context(), func(tx handstamp.Tx) (err error) {
		runs++
		a, err = tx.Append(t.Context(), event(revoke.KindAll, "", revoke.End), event(revoke.KindAll, "", revoke.End))
		return err
	}))
	if a.Sessions != 58 || a.More || runs > 2 {
		t.Errorf("all/end = %d sessions, more: %v, after %d runs; want 58", a.Sessions, a.More, runs)
	}
	if b.times != 1 {
		t.Errorf("the base was asked %d times about 30 users, want once for a page", b.times)
	}
}

// restoring is a base on which somebody appends just before it is restored.
type restoring struct {
	redis.Base
	before func()
}

func (b *restoring) Restored(ctx context.Context, keep bool, now time.Time) (revoke.Head, error) {
	b.before()
	return b.Base.Restored(ctx, keep, now)
}

// TestRestoredInAHurry appends between the look at the log and its restore: records that have not heard of it are not taken
// over.
func TestRestoredInAHurry(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	r := begin(t, s, 0)
	b := &restoring{openBase(t, s.path), func() { appendTo(t, s.base, event(revoke.KindSession, string(r.ID), revoke.End)) }}
	other, err := redis.Over(b, dial(t, s.url, redis.Options{Timeout: patience}))
	must(t, err)
	t.Cleanup(func() { must(t, other.Close()) })
	_, err = other.Restored(t.Context(), true, at(5))
	must(t, err)
	if f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID}); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("Find = %+v, %v; want ErrNotFound", f.Session, err)
	}
}
