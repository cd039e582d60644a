package tiered_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/store/sqlite"
	"github.com/handstamp/handstamp/store/storetest"
	"github.com/handstamp/handstamp/store/tiered"
	"github.com/handstamp/handstamp/token"
)

const ada handstamp.UserID = "usr_ada"

// secrets are the options of every process. The timeout is the longest there is: a machine that is slow is no cache that
// is away.
func secrets() tiered.Options {
	return tiered.Options{Secrets: [][]byte{[]byte("a secret that the whole fleet has")}, Timeout: time.Second}
}

// handle is a store, and where its data is.
type handle struct {
	*tiered.Store
	base  *counted
	path  string
	url   string
	cache *redis.Cache
}

// counted counts the look-ups that reach the database.
type counted struct {
	*sqlite.Store
	finds int
}

func (c *counted) Sessions() handstamp.Sessions { return countedSessions{c.Store.Sessions(), c} }

type countedSessions struct {
	handstamp.Sessions
	c *counted
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openAt(t testing.TB, path, url string, opt tiered.Options) handle {
	t.Helper()
	b, err := sqlite.Open(t.Context(), path, sqlite.Options{BusyTimeout: 10 * time.Second})
	must(t, err)
	c, err := redis.Dial(t.Context(), url, redis.Options{Cache: true})
	must(t, err)
	h := handle{base: &counted{Store: b}, path: path, url: url, cache: redis.NewCache(c)}
	h.Store = tiered.New(h.base, h.cache, opt)
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func open(t testing.TB, r *fault.Redis) handle {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "handstamp.db"), r.URLAt(r.Addr(), r.NextDB()), secrets())
}

func (h handle) again(t testing.TB) handle {
	t.Helper()
	return openAt(t, h.path, h.url, secrets())
}

// follow registers a verifier, so that the store knows its log, and returns how it renews.
func follow(t testing.TB, s storetest.Backend) func() revoke.Answer {
	t.Helper()
	v := id.NewVerifier(time.Now())
	h, err := s.Log().Register(t.Context(), revoke.Registration{Verifier: v, RegisteredAt: time.Now()})
	must(t, err)
	r := revoke.Renewal{Verifier: v, Log: h.Log, Applied: h.Seq, Tag: h.Tag, Limit: 1000}
	return func() revoke.Answer {
		t.Helper()
		a, err := s.Log().Renew(t.Context(), r)
		must(t, err)
		if a.Reset {
			r.Log, r.Applied, r.Tag = a.Head.Log, a.Head.Low, a.Head.LowTag
		} else if n := len(a.Events); n > 0 {
			r.Applied, r.Tag = a.Events[n-1].Seq, a.Events[n-1].Tag
		}
		return a
	}
}

// begin starts a session of today with a reference token and a refresh token.
func begin(t testing.TB, s storetest.SessionStore) handstamp.Session {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	r := handstamp.Session{
		ID: id.NewSession(now), User: ada, Key: token.HashOf(token.Generate(token.Reference)), Mode: handstamp.ModeHybrid,
		Transport: handstamp.TransportCookie, Methods: []string{"pwd"}, Claims: []byte(`{"a": 1}`), CreatedAt: now, AuthAt: now, SeenAt: now,
		IdleTimeout: time.Hour, ExpiresAt: now.Add(24 * time.Hour), IP: "192.0.2.1", UserAgent: "Agent \xff/1",
		Refresh: handstamp.Family{Generation: 1, Nonce: token.NewNonce().Hash()},
	}
	must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		sub, err := tx.Subject(t.Context(), ada)
		if err != nil {
			return err
		}
		r.Stamp = max(sub.Ended, sub.AllEnded)
		if err := tx.PutSubject(t.Context(), sub); err != nil {
			return err
		}
		return tx.PutSession(t.Context(), r)
	}))
	r.Version = 1
	return r
}

func appendTo(t testing.TB, s storetest.SessionStore, events ...revoke.Event) handstamp.Appended {
	t.Helper()
	var a handstamp.Appended
	must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		if _, err := tx.Subject(t.Context(), ada); err != nil {
			return err
		}
		var err error
		a, err = tx.Append(t.Context(), events...)
		return err
	}))
	return a
}

func event(k revoke.Kind, what string, effect revoke.Effect) revoke.Event {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return revoke.Event{Kind: k, ID: what, Effect: effect, At: now, Until: now.Add(time.Hour), Reason: "test"}
}

// copyOf asks for a session's copy.
func copyOf(t testing.TB, s storetest.SessionStore, r handstamp.Session) handstamp.Found {
	t.Helper()
	f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key, Copy: true})
	must(t, err)
	return f
}
