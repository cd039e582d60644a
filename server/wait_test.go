package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/server"
)

// watchedStore calls a function whenever somebody who waits for the fleet looks at the list of verifiers.
type watchedStore struct {
	handstamp.Store
	looked func()
}

func (s watchedStore) Log() revoke.Log { return watchedLog{s.Store.Log(), s.looked} }

type watchedLog struct {
	revoke.Log
	looked func()
}

func (l watchedLog) Registered(ctx context.Context) ([]revoke.Registration, error) {
	l.looked()
	return l.Log.Registered(ctx)
}

// impatient is a world with a verifier that never answers, where a wait for the fleet ends before its time.
type impatient struct {
	*world
	mu  sync.Mutex
	end context.CancelFunc // ends the request that waits
}

func newImpatient(t *testing.T) *impatient {
	t.Helper()
	i := &impatient{end: func() {}}
	i.world = newWorld(t, settings{store: func(s handstamp.Store) handstamp.Store { return watchedStore{s, i.looked} }})
	dead := revoke.Registration{Verifier: id.Verifier("vrf_01h2xcejqtf2nbrexx3vqjhp41"), RegisteredAt: i.clock.Now(), Name: "dead"}
	if _, err := i.store.Log().Register(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *impatient) looked() { i.mu.Lock(); defer i.mu.Unlock(); i.end() }

// do serves a request whose context ends while it waits for the fleet.
func (i *impatient) do(method, path, body string, headers ...string) *response {
	i.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	i.mu.Lock()
	i.end = cancel
	i.mu.Unlock()
	r := httptest.NewRequest(method, i.url+path, strings.NewReader(body)).WithContext(ctx)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for n := 0; n+1 < len(headers); n += 2 {
		r.Header.Set(headers[n], headers[n+1])
	}
	rec := httptest.NewRecorder()
	i.server.ServeHTTP(rec, r)
	i.mu.Lock()
	i.end = func() {}
	i.mu.Unlock()
	if ctx.Err() == nil {
		i.t.Errorf("%s %s did not wait", method, path)
	}
	a := &response{t: i.t, what: method + " " + path, status: rec.Code, header: rec.Result().Header, raw: rec.Body.String()}
	if a.raw != "" {
		if err := json.Unmarshal(rec.Body.Bytes(), &a.body); err != nil {
			i.t.Fatal(err)
		}
	}
	i.conforms(r, a)
	return a
}

// TestPasswordChangeOutlivesTheWait: the change is durable and the old secrets are dead before the wait for the fleet
// begins. A wait that does not finish must not take the new secrets away with it.
func TestPasswordChangeOutlivesTheWait(t *testing.T) {
	const body = `{"current_password":"` + typed + `","new_password":"another passphrase of mine"}`
	for _, p := range pairs {
		w := newImpatient(t)
		c := w.signUp("ada@example.com", p.mode, p.transport)
		other := c.logIn("hybrid", "bearer")
		before := c.token("access_token") + c.cookie("/", "__Host-handstamp")
		a := w.do("POST", "/v1/password?wait=fleet", body, "Authorization", "Bearer "+before).want(200)
		if a.body["applied"] != "node" || a.body["verifiers"] != nil || a.body["waited_ms"] != nil {
			t.Errorf("%v: %s, want it to say that only this node knows", p, a.raw)
		}
		if user := a.body["user"].(m); user["email"] != "ada@example.com" || user["id"] != c.user() || user["disabled"] != nil {
			t.Errorf("%v: user = %v", p, user)
		}
		c.keep(a)
		now := w.program(c.token("access_token"))
		if p.transport == "cookie" {
			if len(a.setCookies()) == 0 {
				t.Fatalf("%v: the new cookies are lost", p)
			}
			now = w.program(a.setCookies()[0].Value)
		}
		if got := now.get("/v1/session").want(200).body["session"].(m)["id"]; got != c.session() {
			t.Errorf("%v: the new secrets are of %v, want %s", p, got, c.session())
		}
		if a := w.program(before).get("/v1/session"); a.status != 401 {
			t.Errorf("%v: the secret from before = %d, want 401", p, a.status)
		}
		other.get("/v1/session").refused(401, "revoked")
	}
}

// fragileUsers is a view of the accounts that cannot be read while it is down.
type fragileUsers struct {
	account.Store
	down *atomic.Bool
}

func (f fragileUsers) Users() account.Users { return fragileReads{f.Store.Users(), f.down} }

type fragileReads struct {
	account.Users
	down *atomic.Bool
}

func (f fragileReads) ByID(ctx context.Context, u handstamp.UserID) (account.User, error) {
	if f.down.Load() {
		return account.User{}, errors.New(cause)
	}
	return f.Users.ByID(ctx, u)
}

// lastBreath takes the accounts down the moment a password has changed.
type lastBreath struct {
	server.Passwords
	down *atomic.Bool
}

func (l lastBreath) Change(ctx context.Context, c login.Change) (handstamp.Grant, handstamp.Ended, error) {
	g, ended, err := l.Passwords.Change(ctx, c)
	l.down.Store(true)
	return g, ended, err
}

// TestPasswordChangeReadsNothingAfter: accounts that are down after the commit do not take the new secrets away.
func TestPasswordChangeReadsNothingAfter(t *testing.T) {
	var down atomic.Bool
	var store account.Store
	w := newWorld(t, settings{
		store:  func(s handstamp.Store) handstamp.Store { store = s.(backend); return s },
		server: func(o *server.Options) { o.Accounts = account.New(o.Auth, fragileUsers{store, &down}) },
		wrap:   func(p server.Passwords) server.Passwords { return lastBreath{p, &down} },
	})
	c := w.signUp("ada@example.com", "session", "bearer")
	change := m{"current_password": typed, "new_password": "another passphrase of mine"}
	down.Store(true)
	c.post("/v1/password", change).refused(503, "unavailable") // before the change: nothing has happened
	down.Store(false)
	a := c.post("/v1/password", change).want(200)
	c.keep(a)
	if got := a.body["user"].(m)["email"]; got != "ada@example.com" {
		t.Errorf("email = %v", got)
	}
	down.Store(false)
	c.get("/v1/session").want(200)
}

// TestEndsOutliveTheWait: what ends without new secrets says 503, and has ended all the same; a log-out leaves the cookies
// with which it can be tried again.
func TestEndsOutliveTheWait(t *testing.T) {
	w := newImpatient(t)
	c := w.signUp("ada@example.com", "session", "bearer")
	other := c.logIn("hybrid", "bearer")
	auth := []string{"Authorization", "Bearer " + c.token("access_token")}
	a := w.do("DELETE", "/v1/sessions/"+other.session()+"?wait=fleet", "", auth...).refused(503, "unavailable")
	if a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	other.get("/v1/session").refused(401, "revoked")
	a = w.do("POST", "/v1/logout?wait=fleet", "", auth...).refused(503, "unavailable")
	if len(a.setCookies()) != 0 || a.header.Get("Clear-Site-Data") != "" {
		t.Errorf("a log-out that did not finish clears %v", a.header)
	}
	c.get("/v1/session").refused(401, "revoked")
	c.post("/v1/logout", nil).want(204)
}

// TestStartOutlivesTheWait: roles that come with a new session are waited for, and a wait that does not finish does not take
// the session away.
func TestStartOutlivesTheWait(t *testing.T) {
	w := newImpatient(t)
	key := w.key("handstamp.start")
	app := w.program(key)
	app.post("/v1/admin/sessions?wait=planet", m{"user": "42"}).refused(422, "invalid_input")
	if got := app.post("/v1/admin/sessions", m{"user": "42", "roles": []string{"editor"}}).want(201).body["applied"]; got != "node" {
		t.Errorf("without a wait: applied = %v", got)
	}
	a := w.do("POST", "/v1/admin/sessions?wait=fleet", `{"user":"42","roles":["reader"]}`, "Authorization", "Bearer "+key).want(200)
	if a.body["applied"] != "node" || a.body["verifiers"] != nil {
		t.Errorf("%s, want it to say that only this node knows", a.raw)
	}
	c := w.program("")
	c.keep(a)
	if got := c.get("/v1/session").want(200).body["user"].(m)["roles"].([]any)[0]; got != "reader" {
		t.Errorf("roles = %v", got)
	}
}
