package redis_test

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
	"github.com/handstamp/handstamp/token"
)

// patience is for how long these tests wait for a file or a server: a machine that is slow is no failure.
const patience = 10 * time.Second

const ada handstamp.UserID = "usr_ada"

// handle is a store, and where its data is.
type handle struct {
	*redis.Store
	base redis.Base
	path string // of the base's file
	url  string
}

func dial(t testing.TB, url string, opt redis.Options) *redis.Client {
	t.Helper()
	c, err := redis.Dial(t.Context(), url, opt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func openBase(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	b, err := sqlite.Open(t.Context(), path, sqlite.Options{BusyTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// openAt opens sessions at a URL over the file of a base.
func openAt(t testing.TB, path, url string) handle {
	t.Helper()
	return openWith(t, path, url, redis.Options{Timeout: patience})
}

func openWith(t testing.TB, path, url string, opt redis.Options) handle {
	t.Helper()
	b := openBase(t, path)
	s, err := redis.Over(b, dial(t, url, opt))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return handle{s, b, path, url}
}

// again is a second process on the same data.
func (h handle) again(t testing.TB) handle {
	t.Helper()
	return openAt(t, h.path, h.url)
}

// open is an empty store on a server.
func open(t testing.TB, r *fault.Redis) handle {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "handstamp.db"), r.URLAt(r.Addr(), r.NextDB()))
}

func at(minutes int) time.Time {
	return time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC).Add(time.Duration(minutes) * time.Minute)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// session is a record as a login makes it.
func session(u handstamp.UserID, minute int) handstamp.Session {
	return handstamp.Session{
		ID: id.NewSession(at(minute)), User: u, Key: token.HashOf(token.Generate(token.Reference)), Mode: handstamp.ModeHybrid,
		CreatedAt: at(minute), SeenAt: at(minute), ExpiresAt: at(minute + 600),
		Refresh: handstamp.Family{Generation: 1, Nonce: token.NewNonce().Hash()},
	}
}

// login begins a session in a unit as the engine does.
func login(t testing.TB, s storetest.SessionStore, r handstamp.Session) error {
	t.Helper()
	return s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		sub, err := tx.Subject(t.Context(), r.User)
		if err != nil {
			return err
		}
		r.Stamp = max(sub.Ended, sub.AllEnded)
		if err := tx.PutSubject(t.Context(), sub); err != nil {
			return err
		}
		return tx.PutSession(t.Context(), r)
	})
}

// begin starts a session that must begin.
func begin(t testing.TB, s storetest.SessionStore, minute int) handstamp.Session {
	t.Helper()
	r := session(ada, minute)
	must(t, login(t, s, r))
	return find(t, s, r.ID).Session
}

func find(t testing.TB, s storetest.SessionStore, sid handstamp.SessionID) handstamp.Found {
	t.Helper()
	f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: sid})
	must(t, err)
	return f
}

// alive says whether a look-up finds the session good.
func alive(t testing.TB, s storetest.SessionStore, r handstamp.Session) bool {
	t.Helper()
	f := find(t, s, r.ID)
	return handstamp.Live(f.Session, f.Subject, at(6))
}

func event(k revoke.Kind, what string, effect revoke.Effect) revoke.Event {
	return revoke.Event{Kind: k, ID: what, Effect: effect, At: at(5), Until: at(100), Reason: "elsewhere"}
}

// appendTo appends in a unit of its own.
func appendTo(t testing.TB, s storetest.SessionStore, events ...revoke.Event) handstamp.Appended {
	t.Helper()
	a, err := tryAppend(t, s, events...)
	must(t, err)
	return a
}

func tryAppend(t testing.TB, s storetest.SessionStore, events ...revoke.Event) (a handstamp.Appended, err error) {
	t.Helper()
	err = s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		if _, err := tx.Subject(t.Context(), ada); err != nil {
			return err
		}
		a, err = tx.Append(t.Context(), events...)
		return err
	})
	return a, err
}
