package handstamp_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/store/memory"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var testSecret = []byte("a secret for tests that nobody else uses, 0123456789")

// engine is an Auth on a memory store with a clock of its own.
type engine struct {
	*handstamp.Auth
	clock *clock
	store *memory.Store
	ring  *keyring.Ring
}

func newEngine(t testing.TB, change func(*handstamp.Options)) *engine {
	t.Helper()
	e := &engine{clock: newClock(), store: memory.New()}
	ring, err := keyring.Open(t.Context(), e.store.Keys(), keyring.Options{
		Secrets: [][]byte{testSecret}, Now: e.clock.Now, TokenLife: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	e.ring = ring
	opt := handstamp.Options{
		PublicURL: "https://app.example.com", Secrets: [][]byte{testSecret}, Keys: ring, Now: e.clock.Now,
	}
	if change != nil {
		change(&opt)
	}
	if e.Auth, err = handstamp.Open(t.Context(), e.store, opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *engine) start(t testing.TB, user handstamp.UserID, mode handstamp.Mode) handstamp.Grant {
	t.Helper()
	p, err := e.Prove(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	p.Mode, p.Methods = mode, []string{"pwd"}
	g, err := e.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func wantReason(t testing.TB, err error, want handstamp.Reason) {
	t.Helper()
	if got, _ := handstamp.ReasonOf(err); got != want {
		t.Errorf("reason = %q (%v), want %q", got, err, want)
	}
}

var modes = []handstamp.Mode{handstamp.ModeSession, handstamp.ModeToken, handstamp.ModeHybrid}

func TestLifeOfASession(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			e := newEngine(t, nil)
			g := e.start(t, "ada", mode)
			p, err := e.VerifyToken(t.Context(), g.AccessToken.Reveal())
			if err != nil || p.User != "ada" || p.Session != g.Session.ID {
				t.Fatalf("Verify = %+v, %v", p, err)
			}
			if _, err := e.LogOut(t.Context(), g.AccessToken, handstamp.EndOptions{}); err != nil {
				t.Fatal(err)
			}
			_, err = e.VerifyToken(t.Context(), g.AccessToken.Reveal())
			wantReason(t, err, handstamp.ReasonRevoked)
			if !errors.Is(err, handstamp.ErrUnauthenticated) {
				t.Errorf("%v is not ErrUnauthenticated", err)
			}
		})
	}
}

func TestCookieLogin(t *testing.T) {
	e := newEngine(t, nil)
	h := e.Require(handstamp.MaxAuthAge(time.Minute))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := handstamp.FromContext(r.Context())
		_, _ = w.Write([]byte(p.User))
	}))
	p, err := e.Prove(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/login", nil)
	if _, err := e.Login(w, r, p); err != nil {
		t.Fatal(err)
	}
	get := func() *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/", nil)
		for _, c := range w.Result().Cookies() {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if got := get(); got.Code != 200 || got.Body.String() != "ada" {
		t.Errorf("with the cookie: %d %s", got.Code, got.Body)
	}
	e.clock.Advance(2 * time.Minute)
	if got := get(); got.Code != 403 {
		t.Errorf("too old a login: %d %s", got.Code, got.Body)
	}
}

func TestRefreshTwiceGivesTheSame(t *testing.T) {
	e := newEngine(t, nil)
	g := e.start(t, "ada", handstamp.ModeHybrid)
	refresh := func() (handstamp.Grant, error) {
		return e.Refresh(context.Background(), handstamp.RefreshRequest{Token: g.RefreshToken})
	}
	a, err := refresh()
	if err != nil {
		t.Fatal(err)
	}
	b, err := refresh()
	if err != nil {
		t.Fatal(err)
	}
	if a.RefreshToken.Reveal() != b.RefreshToken.Reveal() {
		t.Error("the second refresh gave another successor")
	}
	e.clock.Advance(time.Minute)
	_, err = refresh()
	wantReason(t, err, handstamp.ReasonReused)
	_, err = e.VerifyToken(t.Context(), a.AccessToken.Reveal())
	wantReason(t, err, handstamp.ReasonRevoked)
}
