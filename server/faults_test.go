package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/server"
	"github.com/handstamp/handstamp/store/sqlite"
)

// breakLogin makes logins of some addresses fail in ways that a login method must not.
func breakLogin(p server.Passwords) server.Passwords { return broken{p} }

type broken struct{ server.Passwords }

const cause = "dial tcp db.internal:5432: password=hunter2hunter2"

func (b broken) Login(ctx context.Context, email account.Address, typed string, o handstamp.StartOptions) (handstamp.Grant, error) {
	switch email.Local() {
	case "panic":
		panic("a bug with a stack")
	case "down":
		return handstamp.Grant{}, errors.New(cause)
	case "busy":
		return handstamp.Grant{}, &handstamp.UnavailableError{RetryAfter: 1500 * time.Millisecond, Err: errors.New(cause)}
	case "many":
		return handstamp.Grant{}, &login.TooManyError{RetryAfter: 4100 * time.Millisecond}
	case "disabled":
		return handstamp.Grant{}, errors.Join(handstamp.ErrDisabled)
	case "large":
		return handstamp.Grant{}, errors.Join(handstamp.ErrTooLarge)
	}
	return b.Passwords.Login(ctx, email, typed, o)
}

// TestL4_Faults: what went wrong inside is said in the log, once, and never to the client.
func TestL4_Faults(t *testing.T) {
	w := newWorld(t, settings{wrap: breakLogin})
	try := func(who string) *response {
		return w.stranger().post("/v1/login", m{"email": who + "@example.com", "password": typed})
	}
	for who, want := range map[string]struct {
		status     int
		code       string
		retryAfter string
	}{
		"panic": {500, "internal", ""}, "down": {503, "unavailable", "2"}, "busy": {503, "unavailable", "2"},
		"many": {429, "too_many_attempts", "5"}, "disabled": {403, "account_disabled", ""}, "large": {422, "invalid_input", ""},
	} {
		a := try(who).refused(want.status, want.code)
		if got := a.header.Get("Retry-After"); got != want.retryAfter {
			t.Errorf("%s: Retry-After = %q, want %q", who, got, want.retryAfter)
		}
		for _, inside := range []string{"stack", "goroutine", "db.internal", "hunter2", ".go:", "handstamp/"} {
			if strings.Contains(a.raw, inside) {
				t.Errorf("%s tells the client %q: %s", who, inside, a.raw)
			}
		}
		if len(a.setCookies()) != 0 {
			t.Errorf("%s sets or clears a cookie", who)
		}
	}
	id := try("down").header.Get("Request-Id")
	lines := 0
	for line := range strings.Lines(w.logs.String()) {
		if strings.Contains(line, id) && strings.Contains(line, "db.internal") {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("the cause of a fault is logged %d times with its request id, want once", lines)
	}
	if !strings.Contains(w.logs.String(), "a handler panicked") {
		t.Error("a panic is not logged")
	}
}

// TestOutageFillsNoLog: an outage is in the log with its cause, and not once for each request of it; none is lost count of.
func TestOutageFillsNoLog(t *testing.T) {
	var down atomic.Bool
	watch := &clock{now: time.Now()}
	w := newWorld(t, settings{
		store:  func(s handstamp.Store) handstamp.Store { return downStore{s, &down} },
		server: func(o *server.Options) { o.Now = watch.Now },
	})
	c := w.signUp("ada@example.com", "session", "bearer")
	lines := func() (n, unlogged int) {
		for line := range strings.Lines(w.logs.String()) {
			if !strings.Contains(line, "could not decide about a request") {
				continue
			}
			n++
			var said struct {
				UnloggedBefore int `json:"unlogged_before"`
			}
			if err := json.Unmarshal([]byte(line), &said); err != nil {
				t.Fatal(err)
			}
			unlogged += said.UnloggedBefore
		}
		return n, unlogged
	}
	down.Store(true)
	for range 200 {
		c.get("/v1/session").refused(503, "unavailable")
	}
	if n, unlogged := lines(); n != 20 || unlogged != 0 {
		t.Errorf("200 requests of one moment: %d lines, %d counted, want 20 and the others later", n, unlogged)
	}
	c.post("/v1/logout", nil).refused(503, "unavailable")
	if n, unlogged := lines(); n != 21 || unlogged != 180 {
		t.Errorf("another route: %d lines, %d counted, want 21 and 180", n, unlogged)
	}
	watch.add(200 * time.Millisecond)
	c.get("/v1/session").refused(503, "unavailable")
	c.get("/v1/session").refused(503, "unavailable")
	if n, unlogged := lines(); n != 22 || unlogged != 180 {
		t.Errorf("a fifth of a second later: %d lines, %d counted, want 22 and 180", n, unlogged)
	}
	watch.add(10 * time.Second)
	c.get("/v1/session").refused(503, "unavailable")
	if n, unlogged := lines(); n != 23 || unlogged != 181 {
		t.Errorf("later: %d lines, %d counted, want 23 and 181", n, unlogged)
	}
}

// downStore fails every read of sessions while it is down.
type downStore struct {
	handstamp.Store
	down *atomic.Bool
}

func (d downStore) Sessions() handstamp.Sessions { return downSessions{d.Store.Sessions(), d.down} }
func (d downStore) Work() handstamp.UnitOfWork[handstamp.Tx] {
	return downWork{d.Store.Work(), d.down}
}

type downSessions struct {
	handstamp.Sessions
	down *atomic.Bool
}

func (d downSessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	if d.down.Load() && l.ServiceKey.IsZero() { // programs still get in, to ask about others
		return handstamp.Found{}, errors.New(cause)
	}
	return d.Sessions.Find(ctx, l)
}

func (d downSessions) Rotate(ctx context.Context, s handstamp.SessionID, from uint32, r handstamp.Rotation) (handstamp.Found, error) {
	if d.down.Load() {
		return handstamp.Found{}, errors.New(cause)
	}
	return d.Sessions.Rotate(ctx, s, from, r)
}

type downWork struct {
	handstamp.UnitOfWork[handstamp.Tx]
	down *atomic.Bool
}

func (d downWork) Do(ctx context.Context, fn func(handstamp.Tx) error) error {
	if d.down.Load() {
		return errors.New(cause)
	}
	return d.UnitOfWork.Do(ctx, fn)
}

// TestHeldLock: another process holds the write lock of the file and does not let go of it. What must write is told so, all
// callers at the same time and long before they give up; what only reads goes on; and afterwards all is as before.
func TestHeldLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	w := newWorld(t, settings{sqlite: true, file: file})
	admin := w.admin()
	c := w.signUp("ada@example.com", "session", "cookie")
	h := w.signUp("bob@example.com", "hybrid", "bearer")
	key := w.program(w.key("handstamp.start"))
	other, err := sqlite.Open(t.Context(), file, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	login := func(email string) func() *response {
		return func() *response { return w.stranger().post("/v1/login", m{"email": email, "password": typed}) }
	}
	calls := map[string]func() *response{
		"login": login("ada@example.com"), "login with an unknown address": login("nobody@example.com"),
		"sign-up": func() *response {
			return w.stranger().post("/v1/signup", m{"email": "new@example.com", "password": typed})
		},
		"log-out": func() *response { return c.post("/v1/logout", nil) },
		"refresh": func() *response { return h.refresh() },
		"password": func() *response {
			return h.post("/v1/password?wait=fleet", m{"current_password": typed, "new_password": "another passphrase of mine"})
		},
		"end all": func() *response { return h.del("/v1/sessions?keep=current&wait=fleet") },
		"revoke":  func() *response { return w.program("").post("/v1/revoke", m{"token": h.token("refresh_token")}) },
		"roles":   func() *response { return admin.put("/v1/admin/users/42/roles", m{"roles": []string{"editor"}}) },
		"role":    func() *response { return admin.put("/v1/admin/roles/editor", m{"permissions": []string{"posts:read"}}) },
		"rotate":  func() *response { return admin.post("/v1/admin/keys/rotate", nil) },
		"service key": func() *response {
			return admin.post("/v1/admin/service-keys", m{"name": "x", "permissions": []string{}})
		},
		"start": func() *response { return key.post("/v1/admin/sessions", m{"user": "42", "methods": []string{"pwd"}}) },
		"form": func() *response {
			browser := w.stranger()
			return browser.do("POST", "/login", url.Values{
				handstamp.FormField: {browser.get("/login").want(200).formToken()}, "email": {"ada@example.com"}, "password": {typed},
			})
		},
	}
	var limited atomic.Int32
	err = other.Work().Do(t.Context(), func(handstamp.Tx) error {
		var all sync.WaitGroup
		for what, call := range calls {
			all.Go(func() {
				began := time.Now()
				a := call()
				if took := time.Since(began); took > 10*time.Second { // it is 2; a wait for each try would be 20
					t.Errorf("%s answers after %v", what, took)
				}
				// Of the four that try a password three are let through by this process's own count.
				refused := a.status == 429 && slices.Contains([]string{"login", "login with an unknown address", "form", "password"}, what) && limited.Add(1) == 1
				if a.status != 503 && !refused || a.header.Get("Retry-After") == "" {
					t.Errorf("%s = %d with Retry-After %q, want 503: %s", what, a.status, a.header.Get("Retry-After"), a.raw)
				}
				for _, k := range a.setCookies() {
					if k.Name != "__Host-handstamp-form" {
						t.Errorf("%s touches the cookie %s", what, k.Name)
					}
				}
			})
		}
		for _, one := range []*client{c, h, admin} {
			one.get("/v1/session").want(200)
			one.get("/v1/check").want(200)
		}
		all.Wait()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.get("/v1/session").want(200)
	h.refresh().want(200)
	login("ada@example.com")().want(200)
	w.stranger().post("/v1/signup", m{"email": "new@example.com", "password": typed}).want(201)
}

// TestOutageLogsNobodyOut: while the store is down the answer is 503, no cookie is touched, and afterwards all is as before.
func TestOutageLogsNobodyOut(t *testing.T) {
	var down atomic.Bool
	w := newWorld(t, settings{store: func(s handstamp.Store) handstamp.Store { return downStore{s, &down} }})
	c := w.signUp("ada@example.com", "session", "cookie")
	h := w.signUp("bob@example.com", "hybrid", "cookie")
	asks := w.program(w.key("handstamp.introspect"))
	down.Store(true)
	asks.post("/v1/introspect", m{"token": c.cookie("/", "__Host-handstamp")}).refused(503, "unavailable")
	for _, a := range []*response{
		c.get("/v1/session"), c.get("/v1/check"), c.get("/v1/sessions"), c.post("/v1/logout", nil), c.del("/v1/sessions"),
		h.post("/v1/refresh", nil), h.post("/v1/logout", nil), c.get("/"), w.program("").post("/v1/revoke", m{"token": h.cookie("/", "__Host-handstamp")}),
	} {
		a.refused(503, "unavailable")
		if a.header.Get("Retry-After") == "" || len(a.setCookies()) != 0 || a.header.Get("Clear-Site-Data") != "" {
			t.Errorf("%s during an outage: %v, want Retry-After and no cookie touched", a.what, a.header)
		}
	}
	down.Store(false)
	c.get("/v1/session").want(200)
	h.refresh().want(200)
	h.get("/v1/session").want(200)
}
