package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/redis"
)

// refused says that Dial must answer with a sentence that has these words, and no password.
func refused(t *testing.T, url string, words ...string) {
	t.Helper()
	refusedWithin(t, 20*time.Second, url, words...)
}

func refusedWithin(t *testing.T, patience time.Duration, url string, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := redis.Dial(ctx, url, redis.Options{})
	if err == nil {
		c.Close()
		t.Errorf("Dial = nil, want an error with %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("Dial = %q, want %q in it", err, w)
		}
	}
	if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Dial = %q: want one line without the password", err)
	}
}

func TestF12_EvictionIsRefused(t *testing.T) {
	r := fault.StartRedis(t, fault.RedisOptions{})
	for _, policy := range []string{"allkeys-lru", "volatile-lru", "allkeys-random", "volatile-ttl"} {
		for _, limit := range []string{"0", "100mb"} {
			r.Do(t, "CONFIG", "SET", "maxmemory", limit)
			r.Do(t, "CONFIG", "SET", "maxmemory-policy", policy)
			refused(t, r.URL(), policy, "noeviction")
		}
	}
	c := dial(t, r.URL(), redis.Options{Cache: true})
	defer c.Close()
	if _, err := redis.Over(memory.New(), c); err == nil {
		t.Error("Over takes a client that was dialled for a cache")
	}
	r.Do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction")
	dial(t, r.URL(), redis.Options{}).Close()
}

func TestDialRefuses(t *testing.T) {
	r := fault.StartRedis(t, fault.RedisOptions{Password: "hunter2"})
	host := r.Addr()
	refused(t, "redis://"+host, "wants a password")
	refused(t, "redis://:hunter2wrong@"+host, "refuses the user or the password")
	refused(t, "redis://nobody:hunter2@"+host, "refuses the user or the password")
	refused(t, "redis://:hunter2@"+host+"/9999", "DB index")
	refused(t, "redis://:hunter2@"+host+"?cluster=true", "no node of a Cluster")
	refused(t, "redis://:hunter2@"+host+"?master=m", "Sentinels")
	refusedWithin(t, time.Second, "rediss://:hunter2@"+host, "TLS")
	refused(t, fmt.Sprint("redis://:hunter2@", fault.Loopback(fault.FreePort(t))), "refused", "is it running")
	replica := fault.StartRedis(t, fault.RedisOptions{Password: "hunter2", ReplicaOf: r})
	replica.InSync(t)
	refused(t, replica.URL(), "replica", "primary")
	c := dial(t, r.URL(), redis.Options{})
	defer c.Close()
	must(t, c.Ready(t.Context()))
}

// TestDialGivesUp: a server that accepts and says nothing keeps nobody for longer than asked.
func TestDialGivesUp(t *testing.T) {
	r := fault.SharedRedis(t)
	p := fault.NewProxy(t, r.Addr())
	p.Blackhole()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if c, err := redis.Dial(ctx, "redis://:hunter2@"+p.Addr(), redis.Options{}); err == nil {
		c.Close()
		t.Error("Dial = nil")
	} else if !strings.Contains(err.Error(), "no answer in time") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Dial = %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := redis.Dial(cancelled, r.URL(), redis.Options{}); err == nil {
		t.Error("Dial with a context that is over = nil")
	}
}

func TestTLS(t *testing.T) {
	r := fault.StartRedis(t, fault.RedisOptions{TLS: true, Password: "hunter2"})
	q := "?ca=" + url.QueryEscape(r.CA.File)
	c := dial(t, r.URL()+q, redis.Options{})
	c.Close()
	refused(t, r.URL(), "ca=")
	refused(t, r.URL()+q+"&server_name=other.example", "certificate")
	refused(t, strings.Replace(r.URL(), "rediss:", "redis:", 1), "rediss://")
	s := openAt(t, t.TempDir()+"/handstamp.db", r.URL()+q)
	if f := find(t, s, begin(t, s, 0).ID); f.Session.User != ada {
		t.Errorf("Find over TLS = %+v", f.Session)
	}
}

// acl is a server whose users may do little.
func acl(t *testing.T, rights string) string {
	t.Helper()
	r := fault.StartRedis(t, fault.RedisOptions{
		AppendFsync: "always", Admin: "root", AdminPassword: "hunter2root",
		ACL: "user default off\nuser root on >hunter2root ~* &* +@all\nuser handstamp on >hunter2 " + rights,
	})
	return "redis://handstamp:hunter2@" + r.Addr()
}

// leastRights are what the package's documentation asks for.
const leastRights = "~{handstamp:}* &{handstamp:}* +@read +@write +@scripting +@pubsub +@connection +info +time"

func TestLeastRightsSuffice(t *testing.T) {
	u := acl(t, leastRights)
	c := dial(t, u, redis.Options{})
	if d := c.Durability(); d.Class != handstamp.Window || !strings.Contains(c.Note(), "CONFIG is forbidden") {
		t.Errorf("without CONFIG: %+v (%s), want a window and why", d, c.Note())
	}
	c.Close()
	s := openAt(t, t.TempDir()+"/handstamp.db", u)
	r := begin(t, s, 0)
	a := appendTo(t, s, event("session", string(r.ID), "end"))
	if f := find(t, s, r.ID); f.Session.EndedBy != a.Last() {
		t.Errorf("Find = %+v, want ended by %d", f.Session, a.Last())
	}
	must(t, s.Values().Put(t.Context(), value(begin(t, s, 1), 0, 1)))
	_, err := s.Sessions().List(t.Context(), handstamp.SessionFilter{Limit: 10, Now: at(1)})
	must(t, err)
	_, err = s.Sessions().Sweep(t.Context(), at(9999), 10)
	must(t, err)
}

func TestMissingRights(t *testing.T) {
	refused(t, acl(t, "~* &* +@connection"), "may not", "+info")
	u := acl(t, leastRights+" +config|get")
	c := dial(t, u, redis.Options{})
	if d := c.Durability(); d.Class != handstamp.Durable {
		t.Errorf("with CONFIG GET: %+v (%s), want durable", d, c.Note())
	}
	c.Close()
	s, err := redis.Over(memory.New(), dial(t, u, redis.Options{Prefix: "other:"}))
	must(t, err)
	if err := login(t, s, session(ada, 0)); err == nil || !strings.Contains(err.Error(), "may not") {
		t.Errorf("a login under a foreign prefix = %v, want to be told of missing rights", err)
	}
	must(t, s.Close())
}

func TestDurability(t *testing.T) {
	for fsync, want := range map[string]handstamp.Durability{
		"always": {Class: handstamp.Durable}, "everysec": {Class: handstamp.Window, Window: time.Second},
		"no": {Class: handstamp.Window, Window: 30 * time.Second}, "": {Class: handstamp.Volatile},
	} {
		r := fault.StartRedis(t, fault.RedisOptions{AppendFsync: fsync})
		s := openAt(t, t.TempDir()+"/handstamp.db", r.URL())
		got, err := s.Settle(t.Context(), handstamp.Settings{Lease: time.Second})
		must(t, err)
		if got.Durability != want || got.Lease != time.Second {
			t.Errorf("appendfsync %q: %+v, want %+v", fsync, got, want)
		}
	}
	s, err := redis.Over(memory.New(), dial(t, fault.StartRedis(t, fault.RedisOptions{AppendFsync: "always"}).URL(), redis.Options{}))
	must(t, err)
	got, err := s.Settle(t.Context(), handstamp.Settings{})
	must(t, err)
	if got.Durability.Class != handstamp.Volatile {
		t.Errorf("over a base in memory: %+v, want volatile: the accounts are", got.Durability)
	}
	must(t, s.Close())
}

// TestOneSlot: all keys of a prefix are on one slot, and two prefixes know nothing of each other.
func TestOneSlot(t *testing.T) {
	r := fault.StartRedis(t, fault.RedisOptions{})
	s := openAt(t, t.TempDir()+"/handstamp.db", r.URL()+"?prefix=one:")
	other := openAt(t, t.TempDir()+"/handstamp.db", r.URL()+"?prefix=two:")
	one := begin(t, s, 0)
	must(t, s.Values().Put(t.Context(), value(one, 0, 1)))
	begin(t, other, 0)
	if _, err := other.Sessions().Find(t.Context(), handstamp.Lookup{Session: one.ID}); err == nil {
		t.Error("a session is found under another prefix")
	}
	keys, _ := r.Do(t, "KEYS", "*").([]any)
	for _, k := range keys {
		if name := fmt.Sprint(k); !strings.HasPrefix(name, "{one:}") && !strings.HasPrefix(name, "{two:}") {
			t.Errorf("the key %q is outside of the prefix", name)
		}
		if name := fmt.Sprint(k); strings.ContainsAny(name[6:], "{}") {
			t.Errorf("the key %q has a second hash tag", name)
		}
	}
	if len(keys) < 12 {
		t.Errorf("there are %d keys: %v", len(keys), keys)
	}
}

// TestOpenCache: a cache that is away keeps nobody from starting, and is used from when it is there. What waiting does not
// mend is an error at once.
func TestOpenCache(t *testing.T) {
	r := fault.StartRedis(t, fault.RedisOptions{})
	r.Do(t, "CONFIG", "SET", "requirepass", "hunter2hunter2")
	if _, err := redis.OpenCache(t.Context(), r.URL(), redis.Options{}, func(*redis.Client, error) {}); err == nil {
		t.Error("OpenCache without the password it wants = nil")
	}
	r.Kill() // it starts again without one
	for _, url := range []string{"redis://", "http://127.0.0.1"} {
		if _, err := redis.OpenCache(t.Context(), url, redis.Options{}, func(*redis.Client, error) {}); err == nil {
			t.Errorf("OpenCache of %s = nil", url)
		}
	}
	told := make(chan error, 3)
	open := func() *redis.Cache {
		t.Helper()
		k, err := redis.OpenCache(t.Context(), r.URL(), redis.Options{}, func(c *redis.Client, away error) {
			if (c == nil) == (away == nil) {
				t.Errorf("told of %v and %v", c, away)
			}
			told <- away
		})
		if err != nil {
			t.Fatalf("OpenCache of a server that is away = %v", err)
		}
		if away := <-told; away == nil || !strings.Contains(away.Error(), "is it running") {
			t.Errorf("told %v, want why it is not there", away)
		}
		return k
	}
	open().Close() // while it looks for it
	k := open()
	defer k.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	woken := make(chan struct{}, 100)
	go k.Listen(ctx, func() { woken <- struct{}{} })
	entry := redis.Entry{Key: "k", Owner: "o", AsOf: 1, Version: 1, Value: []byte("v"), KeepFor: time.Minute}
	if _, err := k.Get(t.Context(), "k"); err == nil {
		t.Error("Get without a server = nil")
	}
	if err := k.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "is it running") {
		t.Errorf("Ready = %v, want why it is not", err)
	}
	if k.Put(t.Context(), entry) == nil || k.Note(t.Context(), 1, "o") == nil || k.Ready(t.Context()) == nil {
		t.Error("a call without a server succeeds")
	}
	r.Start(t)
	if away := <-told; away != nil {
		t.Errorf("told %v, want that it is there", away)
	}
	if err := errors.Join(k.Put(t.Context(), entry), k.Ready(t.Context())); err != nil {
		t.Fatal(err)
	}
	if v, err := k.Get(t.Context(), "k"); string(v) != "v" || err != nil {
		t.Errorf("Get = %q, %v", v, err)
	}
	for rung := false; !rung; { // it may not listen yet
		if err := k.Note(t.Context(), 2, "o"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-woken:
			rung = true
		case <-time.After(20 * time.Millisecond):
		}
	}
}
