package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/token"
)

// cached opens an engine with a memory, whatever the default of this build is, in a bubble.
func cached(t testing.TB, store fullStore) *engine {
	return setup{store: store, now: time.Now, change: func(o *handstamp.Options) { o.CacheBytes = 16 << 20 }}.open(t)
}

// counts counts calls of the store by name.
type counts struct {
	mu sync.Mutex
	of map[string]int
}

func (e *engine) count() *counts {
	c := &counts{of: map[string]int{}}
	e.store.set(func(op string, call func() error) error {
		c.mu.Lock()
		c.of[op]++
		c.mu.Unlock()
		return call()
	})
	return c
}

func (c *counts) take(op string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.of[op]
	c.of[op] = 0
	return n
}

// TestCacheCosts: a check that memory answers asks the store nothing and writes nothing; Fresh asks it every time.
func TestCacheCosts(t *testing.T) {
	for _, mode := range []handstamp.Mode{handstamp.ModeSession, handstamp.ModeHybrid} {
		t.Run(string(mode), func(t *testing.T) {
			bubbletest.Test(t, func(t *testing.T) {
				e := cached(t, nil)
				g := e.start(t, "ada", mode)
				c := e.count()
				for range 100 {
					must[handstamp.Principal](t)(e.verify(g))
				}
				want := 0
				if mode == handstamp.ModeSession {
					want = 1
				}
				if n := c.take("Find"); n != want {
					t.Errorf("100 checks asked the store %d times, want %d", n, want)
				}
				if n := c.take("Touch") + c.take("Do"); n != 0 {
					t.Errorf("100 checks wrote %d times", n)
				}
				for range 5 {
					must[handstamp.Principal](t)(e.verify(g, handstamp.Fresh()))
				}
				if n := c.take("Find"); n != 5 {
					t.Errorf("5 fresh checks asked the store %d times", n)
				}
				s := e.Stats().Cache
				if s.Hits < 99 || s.Entries == 0 {
					t.Errorf("the statistics say %+v", s)
				}
			})
		})
	}
}

// TestCacheHearsEvents: whatever ends or changes a session is obeyed by the copies of another process, as soon as that
// process has heard of it, and a fleet that was waited for has.
func TestCacheHearsEvents(t *testing.T) {
	ctx := context.Background()
	wait := handstamp.EndOptions{WaitFleet: true}
	for name, end := range map[string]func(e *engine, g handstamp.Grant) error{
		"session": func(e *engine, g handstamp.Grant) error { _, err := e.EndSession(ctx, g.Session.ID, wait); return err },
		"user":    func(e *engine, _ handstamp.Grant) error { _, err := e.EndUser(ctx, "ada", wait); return err },
		"all":     func(e *engine, _ handstamp.Grant) error { _, err := e.EndAll(ctx, wait); return err },
		"log out": func(e *engine, g handstamp.Grant) error { _, err := e.LogOut(ctx, g.AccessToken, wait); return err },
	} {
		for _, mode := range []handstamp.Mode{handstamp.ModeSession, handstamp.ModeToken} {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				bubbletest.Test(t, func(t *testing.T) {
					store := memory.New()
					here, there := cached(t, store), cached(t, store)
					g := here.start(t, "ada", mode)
					for range 3 {
						must[handstamp.Principal](t)(there.verify(g))
					}
					if err := end(here, g); err != nil {
						t.Fatal(err)
					}
					_, err := there.verify(g)
					wantReason(t, err, handstamp.ReasonRevoked)
				})
			})
		}
	}
}

// TestCacheSparesTheSpared: an event that spares one session is no reason to refuse its copy, and every reason for others.
func TestCacheSparesTheSpared(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := cached(t, nil)
		keep, lose := e.start(t, "ada", handstamp.ModeSession), e.start(t, "ada", handstamp.ModeSession)
		for _, g := range []handstamp.Grant{keep, lose} {
			must[handstamp.Principal](t)(e.verify(g))
		}
		must[handstamp.Ended](t)(e.EndUser(t.Context(), "ada", handstamp.EndOptions{Except: keep.Session.ID}))
		c := e.count()
		must[handstamp.Principal](t)(e.verify(keep))
		if n := c.take("Find"); n != 0 {
			t.Errorf("the spared session's copy was thrown away: %d look-ups", n)
		}
		_, err := e.verify(lose)
		wantReason(t, err, handstamp.ReasonRevoked)
	})
}

// TestCacheLateFill: a row that was read before an end and arrives after it opens no door, not for who shares the question
// that was under way, and not from memory later.
func TestCacheLateFill(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := cached(t, nil)
		g := e.start(t, "ada", handstamp.ModeSession)
		read, goOn := make(chan struct{}), make(chan struct{})
		var first atomic.Bool
		first.Store(true)
		e.store.set(func(op string, call func() error) error {
			err := call()
			if op == "Find" && first.Swap(false) {
				close(read)
				<-goOn // the row is on its way
			}
			return err
		})
		began := make(chan error, 1)
		go func() { _, err := e.verify(g); began <- err }()
		<-read
		must[handstamp.Ended](t)(e.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{WaitFleet: true}))
		late := make(chan error, 1)
		go func() { _, err := e.verify(g); late <- err }()
		synctest.Wait() // it shares the question
		close(goOn)
		<-began // began before the end: either answer is right
		wantReason(t, <-late, handstamp.ReasonRevoked)
		_, err := e.verify(g)
		wantReason(t, err, handstamp.ReasonRevoked)
		if e.Stats().Cache.Joined == 0 {
			t.Error("nobody shared a question, so nothing was tested")
		}
	})
}

// TestCacheLapsed: without a lease memory does not answer, and nobody is content with a question that began before theirs.
func TestCacheLapsed(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := cached(t, nil)
		g := e.start(t, "ada", handstamp.ModeSession)
		must[handstamp.Principal](t)(e.verify(g))
		var finds atomic.Int32
		hold := make(chan struct{})
		e.store.set(func(op string, call func() error) error {
			switch op {
			case "log.Renew", "log.Register":
				return errors.New("the log is cut off")
			case "Find":
				finds.Add(1)
				err := call()
				<-hold
				return err
			}
			return call()
		})
		time.Sleep(3 * time.Second) // the bubble's time: the lease lapses
		const n = 20
		answers := make(chan error, n)
		go func() { _, err := e.verify(g); answers <- err }()
		synctest.Wait()
		for range n - 1 { // their question may not be the one under way
			go func() { _, err := e.verify(g); answers <- err }()
		}
		synctest.Wait()
		if got := finds.Load(); got != 1 {
			t.Fatalf("%d questions are under way for one credential, want 1", got)
		}
		time.Sleep(time.Millisecond)
		close(hold)
		for range n {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		if got := finds.Load(); got != 2 {
			t.Errorf("%d checks without a lease asked %d times, want 2: one, and one for all who came later", n, got)
		}
	})
}

// TestCacheGoesWithTheLog: after a restore no copy from before counts.
func TestCacheGoesWithTheLog(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := cached(t, nil)
		var grants []handstamp.Grant
		for _, m := range modes() {
			grants = append(grants, e.start(t, "ada", m))
		}
		for _, g := range grants {
			must[handstamp.Principal](t)(e.verify(g))
		}
		if _, err := e.store.Restored(t.Context(), false, time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		for _, g := range grants {
			if _, err := e.verify(g); !errors.Is(err, handstamp.ErrUnauthenticated) {
				t.Errorf("%s: accepted after a restore that ended everybody: %v", g.Session.Mode, err)
			}
		}
	})
}

// TestCacheSaysNoNo: idle and absolute ends, missing permissions and roles are never refused from memory: what the store
// knows by now could be a yes.
func TestCacheSaysNoNo(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		store := memory.New()
		here := setup{store: store, now: time.Now, change: func(o *handstamp.Options) {
			o.CacheBytes = 1 << 20
			o.Session.IdleTimeout = 10 * time.Minute
		}}.open(t)
		there := setup{store: store, now: time.Now, change: func(o *handstamp.Options) {
			o.Permissions = func(context.Context, handstamp.UserID) (handstamp.Grants, error) {
				return handstamp.Grants{Permissions: []string{"posts:write"}}, nil
			}
		}}.open(t)
		g := here.start(t, "ada", handstamp.ModeSession)
		must[handstamp.Principal](t)(here.verify(g))
		for range 5 { // the user works elsewhere
			time.Sleep(4 * time.Minute)
			must[handstamp.Principal](t)(there.verify(g))
		}
		time.Sleep(2 * time.Second) // it is written
		if _, err := here.verify(g); err != nil {
			t.Errorf("a copy called a session idle that was used elsewhere: %v", err)
		}
		_, err := here.verify(g, handstamp.Permission("posts:write"))
		wantVerdict(t, err, "forbidden")
		// The permission is given elsewhere; before this process can have heard of it, the refusal asks, and finds it.
		must[handstamp.Ended](t)(there.Changed(t.Context(), "ada", handstamp.EndOptions{}))
		if _, err := here.verify(g, handstamp.Permission("posts:write")); err != nil {
			t.Errorf("a permission was given, and refused from memory: %v", err)
		}
	})
}

// TestCacheUnknown: a secret that the store never heard of is asked for once in five seconds, and never believed unknown
// without a lease or for longer.
func TestCacheUnknown(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := cached(t, nil)
		made := token.Generate(token.Reference).Reveal()
		c := e.count()
		for range 50 {
			_, err := e.VerifyToken(t.Context(), made)
			wantReason(t, err, handstamp.ReasonInvalid)
		}
		if n := c.take("Find"); n != 1 {
			t.Errorf("asked %d times for a secret that is not known", n)
		}
		_, err := e.CheckToken(t.Context(), made, handstamp.Fresh())
		wantReason(t, err, handstamp.ReasonInvalid)
		time.Sleep(5 * time.Second)
		_, err = e.VerifyToken(t.Context(), made)
		wantReason(t, err, handstamp.ReasonInvalid)
		if n := c.take("Find"); n != 2 {
			t.Errorf("asked %d times: fresh, and after five seconds", n)
		}
		e.store.set(func(op string, call func() error) error {
			if op == "log.Renew" || op == "Find" {
				return errors.New("cut off")
			}
			return call()
		})
		time.Sleep(2500 * time.Millisecond)
		_, err = e.VerifyToken(t.Context(), made)
		wantVerdict(t, err, "don't know")
	})
}

// TestCacheWritesLastSeenRarely: checks from memory note activity as rarely as those that look up.
func TestCacheWritesLastSeenRarely(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := cached(t, nil)
		g := e.start(t, "ada", handstamp.ModeSession)
		c := e.count()
		for range 600 { // ten minutes
			time.Sleep(time.Second)
			must[handstamp.Principal](t)(e.verify(g))
		}
		if n := c.take("Touch"); n < 9 || n > 11 {
			t.Errorf("ten minutes of activity were written %d times, want about 10", n)
		}
		if n := c.take("Find"); n != 1 {
			t.Errorf("ten minutes of checks looked up %d times", n)
		}
	})
}

// TestCacheOfKeys: the signature of a token that is remembered is as dead as its key.
func TestCacheOfKeys(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := cached(t, nil)
		g := e.start(t, "ada", handstamp.ModeToken)
		p := must[handstamp.Principal](t)(e.verify(g))
		for range 3 {
			must[handstamp.Principal](t)(e.verify(g))
		}
		if e.Stats().Cache.Hits == 0 {
			t.Error("the signature is checked each time")
		}
		text := g.AccessToken.Reveal()
		for i := range text { // every other token is another one
			other := []byte(text)
			if other[i] = 'A'; text[i] == 'A' {
				other[i] = 'B'
			}
			if q, err := e.VerifyToken(t.Context(), string(other)); err == nil && (q.User != p.User || i < len(text)-2) {
				t.Fatalf("accepted with byte %d changed", i)
			}
		}
		time.Sleep(20 * time.Minute)
		_, err := e.verify(g)
		wantReason(t, err, handstamp.ReasonExpired)
	})
}

// TestCacheIsBounded: the memory stays within its bytes, and the estimate of a copy's size is no fantasy.
func TestCacheIsBounded(t *testing.T) {
	const limit = 4 << 20
	e := newEngine(t, func(o *handstamp.Options) { o.CacheBytes = limit })
	var texts []string
	for i := range 8000 {
		texts = append(texts, e.start(t, handstamp.UserID(fmt.Sprint("user-", i)), handstamp.ModeSession).AccessToken.Reveal())
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range 2 {
		for _, text := range texts {
			must[handstamp.Principal](t)(e.VerifyToken(t.Context(), text))
		}
	}
	s := e.Stats().Cache
	grew := int64(heap()) - int64(before)
	t.Logf("%d copies, estimated %d KiB, the heap grew by %d KiB", s.Entries, s.Bytes>>10, grew>>10)
	if s.Bytes > limit+limit/8 || s.Entries == 0 || s.Entries == len(texts) {
		t.Errorf("%d copies of %d bytes within %d", s.Entries, s.Bytes, limit)
	}
	if grew > 2*limit {
		t.Errorf("a memory of %d bytes takes %d", limit, grew)
	}
}

// TestCacheForgotten: a copy that was used since an event was heard outlives the log's memory of the event; one that was not
// is older than what the log remembers, and is read again.
func TestCacheForgotten(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := cached(t, nil)
		used, idle := e.start(t, "ada", handstamp.ModeSession), e.start(t, "bob", handstamp.ModeSession)
		for _, g := range []handstamp.Grant{used, idle} {
			must[handstamp.Principal](t)(e.verify(g))
		}
		must[handstamp.Ended](t)(e.EndUser(t.Context(), "eve", handstamp.EndOptions{}))
		must[handstamp.Ended](t)(e.EndUser(t.Context(), "eve", handstamp.EndOptions{}))
		time.Sleep(time.Second)
		must[handstamp.Principal](t)(e.verify(used))
		time.Sleep(2 * time.Hour)
		if low := e.Health().Low; low == 0 {
			t.Fatal("the log has forgotten nothing, so nothing is tested")
		}
		c := e.count()
		must[handstamp.Principal](t)(e.verify(used))
		if n := c.take("Find"); n != 0 {
			t.Errorf("a copy that was used meanwhile was read again %d times", n)
		}
		must[handstamp.Principal](t)(e.verify(idle))
		if n := c.take("Find"); n != 1 {
			t.Errorf("a copy older than what the log remembers was used: %d look-ups", n)
		}
	})
}

// otherLog is a store whose log calls itself another one when it is told to, as after a failover that lost events.
type otherLog struct {
	*hooked
	lost atomic.Bool
}

func (s *otherLog) Log() revoke.Log { return lossyLog{s.hooked.Log(), s} }

type lossyLog struct {
	revoke.Log
	s *otherLog
}

func (l lossyLog) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	a, err := l.Log.Renew(ctx, r)
	if err == nil && l.s.lost.Swap(false) {
		a.Reset, a.Events = true, nil
	}
	return a, err
}

// TestCacheAfterReset: when the log behind the numbers is another one, no copy from before is used, whatever its number says.
func TestCacheAfterReset(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		store := &otherLog{hooked: newHooked(memory.New())}
		keys := openKeys(store, time.Now)
		var verified atomic.Int32
		auth := openAuth(store, handstamp.Options{CacheBytes: 1 << 20, Keys: countingKeys{keys, &verified}, Now: time.Now})
		defer auth.Close()
		e := &engine{Auth: auth, store: store.hooked}
		session, value := e.start(t, "ada", handstamp.ModeSession), e.start(t, "ada", handstamp.ModeToken)
		for range 2 {
			must[handstamp.Principal](t)(e.verify(session))
			must[handstamp.Principal](t)(e.verify(value))
		}
		store.lost.Store(true)
		time.Sleep(2 * time.Second)
		c := e.count()
		must[handstamp.Principal](t)(e.verify(session))
		if n := c.take("Find"); n != 1 {
			t.Errorf("a copy from before the reset was used: %d look-ups", n)
		}
		before := verified.Load()
		must[handstamp.Principal](t)(e.verify(value))
		if verified.Load() == before {
			t.Error("a signature is remembered from before the reset")
		}
		if e.Stats().Lag.Counts == nil {
			t.Error("no distribution of the lag")
		}
	})
}

// countingKeys counts how often a key is wanted, and can forget them all.
type countingKeys struct {
	handstamp.Keys
	wanted *atomic.Int32
}

func (k countingKeys) Issued(kid string) (jwt.VerifyKey, bool) {
	if k.wanted.Add(1) < 0 {
		return jwt.VerifyKey{}, false
	}
	return k.Keys.Issued(kid)
}

// TestCacheForgetsWithTheKey: a signature that was found good is no better than its key, which is asked for each time.
func TestCacheForgetsWithTheKey(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		store := memory.New()
		var wanted atomic.Int32
		auth := openAuth(store, handstamp.Options{CacheBytes: 1 << 20, Keys: countingKeys{openKeys(store, time.Now), &wanted}, Now: time.Now})
		defer auth.Close()
		e := &engine{Auth: auth}
		g := e.start(t, "ada", handstamp.ModeToken)
		for range 2 {
			must[handstamp.Principal](t)(e.verify(g))
		}
		wanted.Store(math.MinInt32) // no key is issued any more
		_, err := e.verify(g)
		wantReason(t, err, handstamp.ReasonInvalid)
	})
}

// TestCacheOfServiceKeys: a key that was ended stays ended, also when its record was read, and remembered, after its end.
func TestCacheOfServiceKeys(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := cached(t, nil)
		secret := token.Generate(token.ServiceKey)
		k := handstamp.ServiceKey{
			ID: id.NewServiceKey(time.Now()), Hash: token.HashOf(secret), Name: "robot", Permissions: []string{"posts:read"}, CreatedAt: time.Now(),
		}
		put := func(tx account.Tx) error { return tx.PutServiceKey(t.Context(), k) }
		if err := e.store.AccountWork().Do(t.Context(), put); err != nil {
			t.Fatal(err)
		}
		check := func() error { _, err := e.VerifyToken(t.Context(), secret.Reveal()); return err }
		c := e.count()
		for range 5 {
			wantVerdict(t, check(), "yes")
		}
		if n := c.take("Find"); n != 1 {
			t.Errorf("5 checks of a service key asked %d times", n)
		}
		must[handstamp.Ended](t)(e.EndServiceKey(t.Context(), k.ID, handstamp.EndOptions{}))
		for range 5 {
			wantReason(t, check(), handstamp.ReasonRevoked)
		}
	})
}
