package redis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/redis"
)

// unknown checks an error that must mean "don't know".
func unknown(t testing.TB, what string, err error) {
	t.Helper()
	for _, no := range []error{nil, handstamp.ErrNotFound, handstamp.ErrConflict, handstamp.ErrTaken} {
		if errors.Is(err, no) {
			t.Errorf("%s = %v, want an error that says that it is not known", what, err)
		}
	}
}

// eventually repeats what may fail while a connection comes back.
func eventually(t testing.TB, what string, fn func() error) {
	t.Helper()
	var err error
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); {
		if err = fn(); err == nil {
			return
		}
		runtimeYield()
	}
	t.Fatalf("%s = %v for too long", what, err)
}

func runtimeYield() { <-time.After(time.Millisecond) }

// everything asks each door of the store about a session, and checks what each says.
func everything(t *testing.T, s handle, r handstamp.Session, check func(what string, err error)) {
	t.Helper()
	_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
	check("Find", err)
	_, err = s.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key})
	check("Find by key", err)
	_, err = s.Sessions().List(t.Context(), handstamp.SessionFilter{Limit: 10, Now: at(6)})
	check("List", err)
	f := r.Refresh
	f.Generation++
	_, err = s.Sessions().Rotate(t.Context(), r.ID, 1, handstamp.Rotation{At: at(6), Family: f})
	check("Rotate", err)
	check("Touch", s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{r.ID: at(6)}))
	_, _, err = s.Values().Get(t.Context(), r.ID, "cart")
	check("Get", err)
	check("Put", s.Values().Put(t.Context(), value(r, 0, 1)))
	check("a login", login(t, s, session(ada, 3)))
}

// TestRedisAway: while Redis is dead, hangs or is cut off nothing is yes and nothing is no, and after that everything is as
// it was.
func TestRedisAway(t *testing.T) {
	server := fault.StartRedis(t, fault.RedisOptions{AppendFsync: "always"})
	proxy := fault.NewProxy(t, server.Addr())
	path, u := t.TempDir()+"/handstamp.db", server.URLAt(proxy.Addr(), 0)
	patient, s := openAt(t, path, u), openWith(t, path, u, redis.Options{Timeout: 100 * time.Millisecond})
	r := begin(t, patient, 0)
	for name, f := range map[string]struct{ away, back func() }{
		"killed":     {server.Kill, func() { server.Start(t) }},
		"paused":     {server.Pause, server.Resume},
		"blackholed": {proxy.Blackhole, proxy.Heal},
		"half-open":  {proxy.HalfOpen, proxy.Heal},
	} {
		t.Run(name, func(t *testing.T) {
			f.away()
			everything(t, s, r, func(what string, err error) { unknown(t, what, err) })
			f.back()
			for _, s := range []handle{s, patient} {
				eventually(t, "Find", func() error {
					f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
					if errors.Is(err, handstamp.ErrNotFound) || err == nil && !handstamp.Live(f.Session, f.Subject, at(6)) {
						t.Fatalf("a live session = %+v, %v", f.Session, err)
					}
					return err
				})
			}
		})
	}
}

// TestEndWithoutRedis ends while Redis is away: the log has it, and nobody takes the session for alive when Redis is back
// with what it had.
func TestEndWithoutRedis(t *testing.T) {
	for name, e := range map[string]func(r handstamp.Session) revoke.Event{
		"session": func(r handstamp.Session) revoke.Event { return event(revoke.KindSession, string(r.ID), revoke.End) },
		"user":    func(handstamp.Session) revoke.Event { return event(revoke.KindUser, string(ada), revoke.End) },
		"all":     func(handstamp.Session) revoke.Event { return event(revoke.KindAll, "", revoke.End) },
	} {
		t.Run(name, func(t *testing.T) {
			server := fault.StartRedis(t, fault.RedisOptions{AppendFsync: "always"})
			path := t.TempDir() + "/handstamp.db"
			patient, s := openAt(t, path, server.URL()), openWith(t, path, server.URL(), redis.Options{Timeout: 100 * time.Millisecond})
			r, spared := begin(t, patient, 0), begin(t, patient, 1)
			server.Kill()
			a := appendTo(t, s, e(r))
			if a.Sessions != 0 || !a.More {
				t.Errorf("Append = %d sessions, more: %v; want that it is not known", a.Sessions, a.More)
			}
			spare := event(revoke.KindUser, string(ada), revoke.End)
			spare.Except = spared.ID
			_, err := tryAppend(t, s, spare)
			unknown(t, "sparing a session that nobody can look at", err)
			server.Start(t)
			eventually(t, "Find", func() error {
				_, err := patient.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
				return err
			})
			if alive(t, patient, r) {
				t.Error("the session is alive")
			}
			if name == "session" && !alive(t, patient, spared) {
				t.Error("the other session is over")
			}
		})
	}
}

// TestF12_Flushed: people log in again, and nothing of before is accepted or is an error.
func TestF12_Flushed(t *testing.T) {
	server := fault.StartRedis(t, fault.RedisOptions{})
	s := openAt(t, t.TempDir()+"/handstamp.db", server.URL())
	other := s.again(t)
	for n, flush := range []func(){
		func() { server.Flush(t) },
		func() { server.Flush(t); server.Do(t, "SCRIPT", "FLUSH") },
		func() { server.Kill(); server.Start(t) },
	} {
		r := begin(t, s, n)
		must(t, s.Values().Put(t.Context(), value(r, 0, 1)))
		appendTo(t, s, event(revoke.KindUser, "usr_bob", revoke.End))
		flush()
		eventually(t, "Find", func() error {
			_, err := other.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
			if errors.Is(err, handstamp.ErrNotFound) {
				return nil
			}
			return fmt.Errorf("want ErrNotFound, got %w", err)
		})
		all, err := s.Sessions().List(t.Context(), handstamp.SessionFilter{Limit: 10, Now: at(6)})
		must(t, err)
		if len(all) != 0 {
			t.Errorf("%d sessions after the flush", len(all))
		}
		if err := s.Values().Put(t.Context(), value(r, 1, 2)); !errors.Is(err, handstamp.ErrConflict) {
			t.Errorf("Put = %v, want ErrConflict", err)
		}
		if a := appendTo(t, s, event(revoke.KindSession, string(r.ID), revoke.End)); a.Sessions != 0 {
			t.Errorf("the end of a session that is gone = %d", a.Sessions)
		}
		next := session(ada, n+1)
		eventually(t, "a login", func() error { return login(t, other, next) })
		if !alive(t, s, next) {
			t.Error("the login after the flush is over")
		}
		appendTo(t, other, event(revoke.KindSession, string(next.ID), revoke.End))
		if alive(t, s, next) {
			t.Error("the session is alive after its end")
		}
	}
}

// TestRedisWithOlderData: Redis comes back as it was an hour ago. What was ended since stays ended, what was spared lives,
// and refreshes since are only lost.
func TestRedisWithOlderData(t *testing.T) {
	for _, forgot := range []bool{false, true} {
		server := fault.StartRedis(t, fault.RedisOptions{})
		s := openAt(t, t.TempDir()+"/handstamp.db", server.URL())
		ended, lives, spared := begin(t, s, 0), begin(t, s, 1), session("usr_bob", 2)
		must(t, login(t, s, spared))
		server.Do(t, "SAVE")
		spare := event(revoke.KindUser, "usr_bob", revoke.End)
		spare.Except = spared.ID
		appendTo(t, s, event(revoke.KindSession, string(ended.ID), revoke.End), spare)
		later := begin(t, s, 3)
		if forgot { // by another process, which knows nothing of Redis
			_, err := s.base.Log().Forget(t.Context(), lives.ExpiresAt.Add(time.Hour), 10)
			must(t, err)
		}
		server.Kill()
		server.Start(t)
		eventually(t, "List", func() error {
			_, err := s.Sessions().List(t.Context(), handstamp.SessionFilter{Limit: 10, Now: at(6)})
			return err
		})
		state := func(r handstamp.Session) string {
			f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
			switch {
			case errors.Is(err, handstamp.ErrNotFound):
				return "gone"
			case err != nil:
				return err.Error()
			case handstamp.Live(f.Session, f.Subject, at(6)):
				return "alive"
			default:
				return "over"
			}
		}
		got := []string{state(ended), state(lives), state(spared), state(later)}
		want := []string{"over", "alive", "alive", "gone"}
		if forgot { // then nothing is known of any of them
			want = []string{"gone", "gone", "gone", "gone"}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("forgot: %v: ended, lives, spared, later = %v, want %v", forgot, got, want)
		}
	}
}

// TestCommands counts what a look-up and a refresh cost Redis: one command each, and a read for the refresh.
func TestCommands(t *testing.T) {
	server := fault.StartRedis(t, fault.RedisOptions{})
	s := openAt(t, t.TempDir()+"/handstamp.db", server.URL())
	r := begin(t, s, 0)
	find(t, s, r.ID)
	sent := func() int64 {
		by := server.CommandsByName(t)
		return by["evalsha"] + by["evalsha_ro"] + by["eval"] + by["eval_ro"] + by["publish"] + by["subscribe"]
	}
	count := func(what string, want int64, fn func()) {
		t.Helper()
		before := sent()
		for range 10 {
			fn()
		}
		if got := sent() - before; got != 10*want {
			t.Errorf("ten times %s = %d commands, want %d each", what, got, want)
		}
	}
	count("Find", 1, func() { find(t, s, r.ID) })
	count("Find by key", 1, func() {
		_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key})
		must(t, err)
	})
	count("Get", 1, func() {
		_, _, err := s.Values().Get(t.Context(), r.ID, "cart")
		must(t, err)
	})
	generation := uint32(1)
	count("Rotate", 2, func() {
		f := r.Refresh
		f.Generation = generation + 1
		_, err := s.Sessions().Rotate(t.Context(), r.ID, generation, handstamp.Rotation{At: at(1), Family: f})
		must(t, err)
		generation++
	})
	count("Subject", 0, func() {
		_, err := s.Sessions().Subject(t.Context(), ada)
		must(t, err)
	})
}

// TestBroom: everything in Redis goes by itself one day, though the times of these sessions lie in the past.
func TestBroom(t *testing.T) {
	server := fault.StartRedis(t, fault.RedisOptions{})
	s := openAt(t, t.TempDir()+"/handstamp.db", server.URL())
	r := begin(t, s, 0)
	must(t, s.Values().Put(t.Context(), value(r, 0, 1)))
	f := r.Refresh
	f.Generation = 2
	_, err := s.Sessions().Rotate(t.Context(), r.ID, 1, handstamp.Rotation{At: at(1), Family: f})
	must(t, err)
	seen := 0
	for _, k := range server.Do(t, "KEYS", "*").([]any) {
		name := fmt.Sprint(k)
		ttl, _ := server.Do(t, "PTTL", name).(int64)
		for _, kind := range []string{":s:", ":k:", ":u:", ":d:"} {
			if !strings.Contains(name, kind) {
				continue
			}
			seen++
			if left := time.Duration(ttl) * time.Millisecond; left < 24*time.Hour || left > 35*time.Hour {
				t.Errorf("%s goes in %v, want the life of the session (10 h) and a day", name, left)
			}
		}
	}
	if seen != 4 {
		t.Errorf("looked at %d keys, want 4", seen)
	}
}

// TestRepairedIndex takes records away behind the store's back, as their time does. Lists and sweeps drop their ids.
func TestRepairedIndex(t *testing.T) {
	server := fault.StartRedis(t, fault.RedisOptions{})
	s := openAt(t, t.TempDir()+"/handstamp.db", server.URL())
	var all []handstamp.Session
	for n := range 5 {
		all = append(all, begin(t, s, n))
		must(t, s.Values().Put(t.Context(), value(all[n], 0, 1)))
	}
	index := func() (n int64) {
		for _, k := range server.Do(t, "KEYS", "*").([]any) {
			if name := fmt.Sprint(k); strings.Contains(name, ":u:") || strings.HasSuffix(name, ":n") || strings.HasSuffix(name, ":x") || strings.HasSuffix(name, ":v") {
				c, _ := server.Do(t, "ZCARD", name).(int64)
				n += c
			}
		}
		return n
	}
	if got := index(); got != 20 {
		t.Fatalf("the indexes have %d ids, want 20", got)
	}
	for _, k := range server.Do(t, "KEYS", "*:s:*").([]any) {
		if name := fmt.Sprint(k); strings.HasSuffix(name, string(all[0].ID)) || strings.HasSuffix(name, string(all[4].ID)) {
			server.Do(t, "DEL", name)
		}
	}
	for _, f := range []handstamp.SessionFilter{{User: ada, Limit: 1, Now: at(6)}, {Limit: 10, Now: at(6)}, {User: ada, Limit: 10, Now: at(6)}} {
		got, err := s.Sessions().List(t.Context(), f)
		must(t, err)
		if len(got) != min(f.Limit, 3) || got[0].ID != all[3].ID {
			t.Errorf("List(%+v) = %d sessions, want those that are left", f, len(got))
		}
	}
	n, err := s.Sessions().Sweep(t.Context(), all[0].ExpiresAt.Add(time.Second), 100)
	must(t, err)
	if got := index(); n != 0 || got != 13 { // the last one is to be looked at by a sweep after its end
		t.Errorf("Sweep = %d, and the indexes have %d ids; want 0 and 13", n, got)
	}
}

// storm lets several processes do what they like with sessions, while disturb does something to Redis again and again. No
// answer may take an ended session for alive, or one that nobody ended for over or unknown; "don't know" is always right.
func storm(t *testing.T, stores []handle, lossy bool, disturb func(n int)) {
	t.Helper()
	var mu sync.Mutex
	ended := map[handstamp.SessionID]bool{}   // acknowledged
	unclear := map[handstamp.SessionID]bool{} // asked for, with an outcome that is not known
	var live []handstamp.Session
	done := make(chan struct{})
	var all sync.WaitGroup
	for n, s := range stores {
		for k := range 3 {
			rnd := rand.New(rand.NewPCG(uint64(n), uint64(k)))
			all.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					default:
					}
					mu.Lock()
					var r handstamp.Session
					if len(live) > 0 {
						r = live[rnd.IntN(len(live))]
					}
					wasEnded := ended[r.ID]
					mu.Unlock()
					switch action := rnd.IntN(10); {
					case action < 2 || r.ID == "":
						next := session(handstamp.UserID(fmt.Sprint("usr_", n, k, i)), i)
						if login(t, s, next) == nil {
							mu.Lock()
							live = append(live, next)
							mu.Unlock()
						}
					case action < 3:
						mu.Lock()
						unclear[r.ID] = true
						mu.Unlock()
						if _, err := tryAppend(t, s, event(revoke.KindSession, string(r.ID), revoke.End)); err == nil {
							mu.Lock()
							ended[r.ID] = true
							mu.Unlock()
						}
					default:
						f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
						mu.Lock()
						maybe := unclear[r.ID]
						mu.Unlock()
						isLive := err == nil && handstamp.Live(f.Session, f.Subject, r.CreatedAt)
						switch {
						case isLive && wasEnded:
							t.Errorf("%s is alive after its end was acknowledged", r.ID)
						case err == nil && !isLive && !maybe:
							t.Errorf("%s is over, and nobody ended it: %+v %+v", r.ID, f.Session, f.Subject)
						case errors.Is(err, handstamp.ErrNotFound) && !lossy:
							t.Errorf("%s is not found", r.ID)
						}
					}
				}
			})
		}
	}
	for n := range 6 {
		<-time.After(50 * time.Millisecond)
		disturb(n)
	}
	close(done)
	all.Wait()
	if len(live) == 0 || len(ended) == 0 {
		t.Errorf("%d sessions began and %d ended: nothing was tried", len(live), len(ended))
	}
}

func TestStorm(t *testing.T) {
	for name, c := range map[string]struct {
		opt     fault.RedisOptions
		lossy   bool
		disturb func(r *fault.Redis, n int)
	}{
		"calm":    {fault.RedisOptions{}, false, func(*fault.Redis, int) {}},
		"killed":  {fault.RedisOptions{AppendFsync: "always"}, false, func(r *fault.Redis, _ int) { r.Kill(); r.Start(t) }},
		"paused":  {fault.RedisOptions{}, false, func(r *fault.Redis, _ int) { r.Pause(); <-time.After(100 * time.Millisecond); r.Resume() }},
		"flushed": {fault.RedisOptions{}, true, func(r *fault.Redis, _ int) { r.Flush(t) }},
		"lost":    {fault.RedisOptions{}, true, func(r *fault.Redis, _ int) { r.Kill(); r.Start(t) }},
	} {
		t.Run(name, func(t *testing.T) {
			server := fault.StartRedis(t, c.opt)
			s := openAt(t, t.TempDir()+"/handstamp.db", server.URL())
			storm(t, []handle{s, s.again(t)}, c.lossy, func(n int) { c.disturb(server, n) })
		})
	}
}

func TestCluster(t *testing.T) {
	cluster := fault.StartRedisCluster(t, fault.RedisOptions{})
	addrs := cluster.Addrs()
	u := "redis://" + addrs[0] + "?cluster=true&addr=" + addrs[1]
	s := openAt(t, t.TempDir()+"/handstamp.db", u)
	other := s.again(t)
	r := begin(t, s, 0)
	must(t, s.Values().Put(t.Context(), value(r, 0, 1)))
	f := r.Refresh
	f.Generation = 2
	_, err := other.Sessions().Rotate(t.Context(), r.ID, 1, handstamp.Rotation{At: at(1), Family: f})
	must(t, err)
	appendTo(t, other, event(revoke.KindSession, string(r.ID), revoke.End))
	if alive(t, s, r) {
		t.Error("the session is alive")
	}
	all, err := s.Sessions().List(t.Context(), handstamp.SessionFilter{Limit: 10, Now: at(1)})
	must(t, err)
	if len(all) != 0 {
		t.Errorf("List = %d", len(all))
	}
	if d, err := s.Settle(t.Context(), handstamp.Settings{Lease: time.Second}); err != nil || d.Durability.Class == handstamp.Durable {
		t.Errorf("Settle = %+v, %v", d, err)
	}
	refused(t, "redis://"+addrs[0], "cluster=true")
}

// TestF13_Failover lets the Sentinels put the replica in the primary's place. What was ended stays ended, whatever the
// replica had heard of.
func TestF13_Failover(t *testing.T) {
	group := fault.StartSentinels(t, fault.RedisOptions{AppendFsync: "always"})
	addrs := group.Addrs()
	q := url.Values{"master": {group.Name}, "addr": addrs[1:]}
	s := openAt(t, t.TempDir()+"/handstamp.db", "redis://"+addrs[0]+"?"+q.Encode())
	if d, err := s.Settle(t.Context(), handstamp.Settings{Lease: time.Second}); err != nil || d.Durability.Class != handstamp.Window {
		t.Errorf("Settle = %+v, %v; want a window: a failover may lose something", d, err)
	}
	refused(t, "redis://"+addrs[0]+"?master=other", "do not know it")
	refused(t, "redis://"+addrs[0], "Sentinel")
	ended, lives := begin(t, s, 0), begin(t, s, 1)
	group.Replica.InSync(t)
	group.Replica.Pause() // what follows it never hears of
	appendTo(t, s, event(revoke.KindSession, string(ended.ID), revoke.End))
	group.Primary.Kill()
	group.Replica.Resume()
	eventually(t, "a look-up at the new primary", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		f, err := s.Sessions().Find(ctx, handstamp.Lookup{Session: ended.ID})
		if err == nil && handstamp.Live(f.Session, f.Subject, at(6)) {
			t.Fatal("the ended session is alive after the failover")
		}
		if errors.Is(err, handstamp.ErrNotFound) {
			return nil // it never reached the replica
		}
		return err
	})
	if f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: lives.ID}); err == nil && !handstamp.Live(f.Session, f.Subject, at(6)) {
		t.Error("a session that nobody ended is over")
	}
	if next := begin(t, s, 3); !alive(t, s, next) {
		t.Error("a login after the failover is over")
	}
}

// TestWakes: an append in one process wakes who watches in another, over Redis alone.
func TestWakes(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	deaf, err := redis.Over(&silent{s.base}, dial(t, s.url, redis.Options{Timeout: patience}))
	must(t, err)
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

// silent is a base whose log has no alarm clock.
type silent struct{ redis.Base }

func (b *silent) Log() revoke.Log { return silentLog{b.Base.Log()} }

type silentLog struct{ revoke.Log }

func (silentLog) Watch(context.Context, func()) error { return nil }
