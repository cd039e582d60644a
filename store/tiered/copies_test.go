package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/store/sqlite"
	"github.com/handstamp/handstamp/store/storetest"
	"github.com/handstamp/handstamp/store/tiered"
	"github.com/handstamp/handstamp/token"
)

func same(t testing.TB, what string, got, want handstamp.Found) {
	t.Helper()
	d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(handstamp.Found{}, "Copy"),
		cmp.Comparer(func(a, b token.Hash) bool { return a == b }),
		cmp.Comparer(func(a, b permission.Set) bool { return cmp.Equal(a.List(), b.List()) }))
	if d != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, d)
	}
}

// TestCopies: the first look-up that may be a copy asks the database, the next ones, in whatever process, do not.
func TestCopies(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	follow(t, s)
	other := s.again(t)
	follow(t, other)
	must(t, s.AccountWork().Do(t.Context(), func(tx account.Tx) error {
		if err := tx.PutRole(t.Context(), account.Role{Name: "editor", Permissions: []string{"a:b"}}); err != nil {
			return err
		}
		return tx.PutSubject(t.Context(), handstamp.Subject{User: ada, Grants: handstamp.Grants{Roles: []string{"editor"}}, Email: "a@example.com"})
	}))
	r := begin(t, s)
	want, err := s.base.Store.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key})
	must(t, err)
	for n, from := range []handle{s, s, other, other} {
		f := copyOf(t, from, r)
		same(t, fmt.Sprint("copy ", n), f, want)
		if f.Copy != (n > 0) {
			t.Errorf("answer %d says it is a copy: %v", n, f.Copy)
		}
	}
	if s.base.finds != 1 || other.base.finds != 0 {
		t.Errorf("the database was asked %d and %d times, want once", s.base.finds, other.base.finds)
	}
	if a, b := s.Stats(), other.Stats(); a.Hits != 1 || a.Misses != 1 || b.Hits != 2 || b.Misses != 0 || a.State != tiered.Closed {
		t.Errorf("Stats = %+v and %+v, want 1 hit after a miss, and 2 hits", a, b)
	}
	f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key})
	must(t, err)
	if f.Copy || s.base.finds != 2 {
		t.Error("a look-up that may be no copy was answered by one")
	}
}

// asked is how often a store has asked a server for something, by command. What connections are set up and kept with
// (HELLO, CLIENT, SUBSCRIBE, PING) is none of it: the driver sends that when it likes.
func asked(t testing.TB, server *fault.Redis) map[string]int64 {
	t.Helper()
	all, of := server.CommandsByName(t), map[string]int64{}
	for _, category := range []string{"read", "write", "scripting"} {
		names, ok := server.Do(t, "ACL", "CAT", category).([]any)
		if !ok || len(names) == 0 {
			t.Fatalf("ACL CAT %s = %v", category, names)
		}
		for _, name := range names {
			if n := all[fmt.Sprint(name)]; n != 0 {
				of[fmt.Sprint(name)] = n
			}
		}
	}
	if n := all["publish"]; n != 0 {
		of["publish"] = n
	}
	return of
}

// TestCommands counts what each costs the cache.
func TestCommands(t *testing.T) {
	server := fault.StartRedis(t, fault.RedisOptions{})
	s := openAt(t, t.TempDir()+"/handstamp.db", server.URL(), secrets())
	follow(t, s)
	r := begin(t, s)
	refreshed := begin(t, s)
	// spent is what ten calls cost, and whether the cache answered all of them: one that is late is not asked for a while.
	spent := func(fn func()) (before, after map[string]int64, good bool) {
		for !copyOf(t, s, r).Copy { // from here on it answers
		}
		failed := s.Stats().Errors
		before = asked(t, server)
		for range 10 {
			fn()
		}
		return before, asked(t, server), s.Stats().Errors == failed
	}
	count := func(what string, reads int64, fn func()) {
		t.Helper()
		before, after, good := spent(fn)
		for !good {
			before, after, good = spent(fn)
		}
		before["get"] += 10 * reads
		if d := cmp.Diff(before, after); d != "" {
			t.Errorf("ten times %s, with %d reads each (-want +got):\n%s", what, reads, d)
		}
	}
	find := func(l handstamp.Lookup) func() {
		return func() {
			_, err := s.Sessions().Find(t.Context(), l)
			must(t, err)
		}
	}
	count("a copy", 1, find(handstamp.Lookup{Key: r.Key, Copy: true}))
	count("the primary", 0, find(handstamp.Lookup{Key: r.Key}))
	count("by id", 0, find(handstamp.Lookup{Session: r.ID, Copy: true}))
	count("with a signing key", 0, find(handstamp.Lookup{Key: r.Key, SigningKey: "k", Copy: true}))
	family := refreshed.Refresh
	count("a refresh", 0, func() {
		family.Generation++
		_, err := s.Sessions().Rotate(t.Context(), refreshed.ID, family.Generation-1, handstamp.Rotation{At: time.Now(), Family: family})
		must(t, err)
	})
	count("a login", 0, func() { begin(t, s) })
	count("a made-up secret", 1, func() {
		_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: token.HashOf(token.Generate(token.Reference)), Copy: true})
		if !errors.Is(err, handstamp.ErrNotFound) {
			t.Errorf("Find = %v, want ErrNotFound", err)
		}
	})
}

// judged is what a verifier makes of an answer: a copy is judged by the events after it, and takes no refusal.
func judged(t testing.TB, s handle, r handstamp.Session, events *revoke.Set, now time.Time) (live bool, f handstamp.Found) {
	t.Helper()
	f = copyOf(t, s, r)
	hit := events.Hit(revoke.Query{Session: r.ID, User: r.User, AsOf: f.Subject.Head})
	if hit == (revoke.Hit{}) && handstamp.Live(f.Session, f.Subject, now) {
		return true, f
	}
	f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key})
	must(t, err)
	return handstamp.Live(f.Session, f.Subject, now), f
}

// TestOutOfDate: a copy that something happened to is replaced, by the process that did it and by those that hear of it.
func TestOutOfDate(t *testing.T) {
	for name, e := range map[string]func(r handstamp.Session) revoke.Event{
		"session/change": func(r handstamp.Session) revoke.Event { return event(revoke.KindSession, string(r.ID), revoke.Change) },
		"user/change":    func(handstamp.Session) revoke.Event { return event(revoke.KindUser, string(ada), revoke.Change) },
		"role/change":    func(handstamp.Session) revoke.Event { return event(revoke.KindRole, "editor", revoke.Change) },
		"spared": func(r handstamp.Session) revoke.Event {
			e := event(revoke.KindUser, string(ada), revoke.End)
			e.Except = r.ID
			return e
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, fault.SharedRedis(t))
			other := s.again(t)
			follow(t, s)
			renew := follow(t, other)
			must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
				return tx.PutSubject(t.Context(), handstamp.Subject{User: ada, Grants: handstamp.Grants{Roles: []string{"editor"}}})
			}))
			r := begin(t, s)
			before := copyOf(t, s, r)
			a := appendTo(t, s, e(r))
			renew()
			f := copyOf(t, other, r)
			if f.Subject.Head != a.Last() && name != "spared" || f.Copy && f.Subject.Head == before.Subject.Head && name != "spared" {
				t.Errorf("after the event a copy at %d (copy: %v), want %d", f.Subject.Head, f.Copy, a.Last())
			}
			if again := copyOf(t, s, r); !again.Copy || again.Subject.Head != f.Subject.Head {
				t.Errorf("the new copy is at %d (copy: %v), want %d", again.Subject.Head, again.Copy, f.Subject.Head)
			}
		})
	}
}

// TestLateCopies: a copy that was read before an end and arrives after it is not kept where the end was noted, and is
// judged by the end where it was not.
func TestLateCopies(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	follow(t, s)
	r := begin(t, s)
	stale := copyOf(t, s, r)
	key := fmt.Sprintf("r%x", r.Key[:])
	late, err := s.cache.Get(t.Context(), key)
	must(t, err)
	appendTo(t, s, event(revoke.KindSession, string(r.ID), revoke.End))
	if b, err := s.cache.Get(t.Context(), key); err != nil || b != nil {
		t.Errorf("the copy of an ended session is there: %d bytes, %v", len(b), err)
	}
	entry := redis.Entry{Key: key, Owner: string(r.ID), AsOf: stale.Subject.Head, Version: 1, Value: late, KeepFor: time.Minute}
	must(t, s.cache.Put(t.Context(), entry))
	if b, err := s.cache.Get(t.Context(), key); err != nil || b != nil {
		t.Errorf("a late copy was kept: %d bytes, %v", len(b), err)
	}
	// Where the note was lost it is there, and known to be out of date.
	entry.Owner = "somebody else"
	must(t, s.cache.Put(t.Context(), entry))
	if f := copyOf(t, s, r); f.Copy || handstamp.Standing(f.Session, f.Subject, time.Now()) {
		t.Errorf("Find = a copy: %v, %+v; want the database's tombstone", f.Copy, f.Session)
	}
	if b, err := s.cache.Get(t.Context(), key); err != nil || string(b) != string(late) {
		t.Errorf("a tombstone was kept: %v", err)
	}
}

// TestOlderWrites: what is older than what is there is dropped, by number and then by version.
func TestOlderWrites(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	put := func(asOf, version uint64, value string) string {
		must(t, s.cache.Put(t.Context(), redis.Entry{Key: "k", Owner: "o", AsOf: asOf, Version: version, Value: []byte(value), KeepFor: time.Minute}))
		b, err := s.cache.Get(t.Context(), "k")
		must(t, err)
		return string(b)
	}
	for n, step := range []struct {
		asOf, version uint64
		kept          bool
	}{{5, 2, true}, {4, 9, false}, {5, 1, false}, {5, 2, true}, {5, 3, true}, {6, 1, true}, {1 << 40, 1, true}, {6, 9, false}, {1<<40 + 1, 1, true}} {
		value := fmt.Sprint("value ", n)
		if got := put(step.asOf, step.version, value) == value; got != step.kept {
			t.Errorf("step %d (%d, version %d): kept: %v, want %v", n, step.asOf, step.version, got, step.kept)
		}
	}
	must(t, s.cache.Put(t.Context(), redis.Entry{Key: "k2", Owner: "o", AsOf: 1<<40 + 2, Value: []byte("x"), KeepFor: time.Minute}))
	if b, err := s.cache.Get(t.Context(), "k"); err != nil || b != nil {
		t.Errorf("the copy under the owner's old key is there: %q, %v", b, err)
	}
	must(t, s.cache.Note(t.Context(), 7, "o"))
	if b, err := s.cache.Get(t.Context(), "k2"); err != nil || b == nil {
		t.Errorf("a copy that is newer than what was noted is gone, %v", err)
	}
}

// TestNotKept: what could not be a yes, and what nobody may know yet, is not kept.
func TestNotKept(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	r := begin(t, s)
	if copyOf(t, s, r); s.Stats() != (tiered.Stats{State: tiered.Closed}) {
		t.Errorf("before anybody follows the log: %+v, want the tier unused", s.Stats())
	}
	follow(t, s)
	unknown := handstamp.Lookup{Key: token.HashOf(token.Generate(token.Reference)), Copy: true}
	ended, old := begin(t, s), begin(t, s)
	appendTo(t, s, event(revoke.KindSession, string(ended.ID), revoke.End))
	must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		old.ExpiresAt = time.Now().Add(-time.Second)
		return tx.PutSession(t.Context(), old)
	}))
	for range 2 {
		if _, err := s.Sessions().Find(t.Context(), unknown); !errors.Is(err, handstamp.ErrNotFound) {
			t.Errorf("Find = %v, want ErrNotFound", err)
		}
		if copyOf(t, s, ended).Copy || copyOf(t, s, old).Copy {
			t.Error("a session that is over was kept")
		}
	}
	made := begin(t, s)
	unknown.Key = made.Key
	if f := copyOf(t, s, made); f.Session.ID != made.ID {
		t.Errorf("Find = %+v", f.Session)
	}
}

// TestServiceKeys are kept too.
func TestServiceKeys(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	follow(t, s)
	k := handstamp.ServiceKey{
		ID: id.NewServiceKey(time.Now()), Hash: token.HashOf(token.Generate(token.ServiceKey)), Name: "n", Permissions: []string{"a:b"},
		CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
	}
	must(t, s.AccountWork().Do(t.Context(), func(tx account.Tx) error { return tx.PutServiceKey(t.Context(), k) }))
	l := handstamp.Lookup{ServiceKey: k.Hash, Copy: true}
	first, err := s.Sessions().Find(t.Context(), l)
	must(t, err)
	second, err := s.Sessions().Find(t.Context(), l)
	must(t, err)
	same(t, "the copy", second, first)
	if first.Copy || !second.Copy {
		t.Errorf("copies: %v and %v, want the second", first.Copy, second.Copy)
	}
	appendTo(t, s, event(revoke.KindServiceKey, string(k.ID), revoke.End))
	for range 2 {
		if f, err := s.Sessions().Find(t.Context(), l); err != nil || f.Copy || f.ServiceKey.EndedBy == 0 {
			t.Errorf("Find after the end = %+v, %v", f.ServiceKey, err)
		}
	}
}

// TestWakes: what one process appends wakes who watches in another, over the cache alone.
func TestWakes(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	c, err := redis.Dial(t.Context(), s.url, redis.Options{Cache: true})
	must(t, err)
	deaf := tiered.New(&silent{s.base.Store}, redis.NewCache(c), secrets())
	t.Cleanup(c.Close)
	ctx, cancel := context.WithCancel(t.Context())
	woken, over := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		over <- deaf.Log().Watch(ctx, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}()
	for waiting := true; waiting; {
		appendTo(t, s, event(revoke.KindUser, string(ada), revoke.Change))
		select {
		case <-woken:
			waiting = false
		case <-time.After(20 * time.Millisecond): // it may not listen yet
		}
	}
	cancel()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch = %v", err)
	}
}

// silent is a database whose log has no alarm clock.
type silent struct{ *sqlite.Store }

func (b *silent) Log() revoke.Log { return silentLog{b.Store.Log()} }

type silentLog struct{ revoke.Log }

func (silentLog) Watch(context.Context, func()) error { return nil }

// verifier is a process that checks sessions: it follows the log and judges what it is told.
type verifier struct {
	s      handle
	events *revoke.Set
	renew  func() revoke.Answer
}

func newVerifier(t testing.TB, s handle) *verifier {
	return &verifier{s: s, events: revoke.NewSet(), renew: follow(t, s)}
}

func (v *verifier) hear() { v.events.Add(v.renew().Events...) }

// TestCacheAway takes the cache away in the middle, in every way. A verifier that has heard of an end never takes the
// session for alive, and the tier never makes one over that is not.
func TestCacheAway(t *testing.T) {
	for name, disturb := range map[string]func(t *testing.T, r *fault.Redis){
		"calm":    func(*testing.T, *fault.Redis) {},
		"killed":  func(t *testing.T, r *fault.Redis) { r.Kill(); r.Start(t) },
		"stays":   func(_ *testing.T, r *fault.Redis) { r.Kill() },
		"paused":  func(_ *testing.T, r *fault.Redis) { r.Pause(); <-time.After(50 * time.Millisecond); r.Resume() },
		"flushed": func(t *testing.T, r *fault.Redis) { r.Flush(t) },
	} {
		t.Run(name, func(t *testing.T) {
			server := fault.StartRedis(t, fault.RedisOptions{})
			s := openAt(t, t.TempDir()+"/handstamp.db", server.URL(), secrets())
			processes := []*verifier{newVerifier(t, s), newVerifier(t, s.again(t)), newVerifier(t, s.again(t))}
			var mu sync.Mutex
			ended := map[handstamp.SessionID]uint64{}
			asked := map[handstamp.SessionID]bool{}
			var live []handstamp.Session
			for range 4 {
				live = append(live, begin(t, s))
			}
			done := make(chan struct{})
			var all sync.WaitGroup
			for n, v := range processes {
				rnd := rand.New(rand.NewPCG(uint64(n), 9))
				all.Go(func() {
					for turn := 0; ; turn++ {
						select {
						case <-done:
							return
						default:
						}
						mu.Lock()
						r := live[rnd.IntN(len(live))]
						mu.Unlock()
						switch action := rnd.IntN(20); {
						case action == 0:
							next := begin(t, v.s)
							mu.Lock()
							live = append(live, next)
							mu.Unlock()
						case action == 1:
							mu.Lock()
							asked[r.ID] = true
							mu.Unlock()
							a := appendTo(t, v.s, event(revoke.KindSession, string(r.ID), revoke.End))
							v.events.Add(a.Events...)
							mu.Lock()
							ended[r.ID] = a.Last()
							mu.Unlock()
						case action == 2:
							appendTo(t, v.s, event(revoke.KindUser, string(ada), revoke.Change))
						default:
							mu.Lock()
							wasEnded := ended[r.ID] != 0
							mu.Unlock()
							v.hear() // under a fresh lease a verifier knows of all that was acknowledged a moment ago
							isLive, f := judged(t, v.s, r, v.events, time.Now())
							mu.Lock()
							maybe := asked[r.ID]
							mu.Unlock()
							if isLive && wasEnded {
								t.Errorf("process %d: %s is alive after its end (copy: %v at %d)", n, r.ID, f.Copy, f.Subject.Head)
							}
							if !isLive && !maybe {
								t.Errorf("process %d: %s is over, and nobody ended it (copy: %v)", n, r.ID, f.Copy)
							}
						}
					}
				})
			}
			for range 4 {
				<-time.After(50 * time.Millisecond)
				disturb(t, server)
			}
			close(done)
			all.Wait()
			hits, stale := uint64(0), uint64(0)
			for _, v := range processes {
				st := v.s.Stats()
				hits, stale = hits+st.Hits, stale+st.Stale
			}
			if hits == 0 && name != "stays" {
				t.Error("no copy was ever used: nothing was tried")
			}
			t.Logf("%d copies used, %d out of date, %d sessions, %d ended", hits, stale, len(live), len(ended))
		})
	}
}

// TestCacheDown: with the cache away from the start everything works, and what it costs is bounded by the breaker.
func TestCacheDown(t *testing.T) {
	server := fault.StartRedis(t, fault.RedisOptions{})
	s := openAt(t, t.TempDir()+"/handstamp.db", server.URL(), secrets())
	follow(t, s)
	r := begin(t, s)
	server.Kill()
	for range 50 {
		if f := copyOf(t, s, r); f.Copy {
			t.Fatal("a copy out of nowhere")
		}
		appendTo(t, s, event(revoke.KindUser, string(ada), revoke.Change))
	}
	if st := s.Stats(); st.Errors == 0 || st.Opened != 1 {
		t.Errorf("Stats = %+v, want the breaker opened once", st)
	}
	server.Start(t)
	for limit := time.Now().Add(30 * time.Second); !copyOf(t, s, r).Copy; {
		if time.Now().After(limit) {
			t.Fatalf("the cache is back and not used: %+v", s.Stats())
		}
		<-time.After(time.Millisecond)
	}
	if st := s.Stats(); st.State != tiered.Closed {
		t.Errorf("State = %s, want closed", st.State)
	}
}

var _ storetest.Backend = handle{}
