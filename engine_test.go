package handstamp_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/sqlite"
	"github.com/handstamp/handstamp/token"
)

// clock is a time that tests move. Where the lease matters, tests run in a bubble of testing/synctest and use its clock.
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

// testSecret returns what tokens of tests are made with.
func testSecret() []byte { return []byte("a secret for tests that nobody else uses, 0123456789") }

// backing is a store that the engine's tests run on.
type backing struct {
	name string
	open func(t testing.TB) fullStore
}

func backends() []backing {
	return []backing{
		{"memory", func(testing.TB) fullStore { return memory.New() }},
		{"sqlite", func(t testing.TB) fullStore {
			s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "handstamp.db"), sqlite.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return s
		}},
	}
}

// engine is an Auth on a store, behind a hook, with a clock of its own.
type engine struct {
	*handstamp.Auth
	clock *clock
	store *hooked
	ring  *keyring.Ring
}

// setup is what an engine is made of. The zero value is a memory store and a clock that stands still.
type setup struct {
	store  fullStore
	now    func() time.Time
	keys   func(*keyring.Options)
	change func(*handstamp.Options)
}

func newEngine(t testing.TB, change func(*handstamp.Options)) *engine {
	t.Helper()
	return setup{change: change}.open(t)
}

func (s setup) open(t testing.TB) *engine {
	t.Helper()
	e := &engine{clock: newClock()}
	if s.store == nil {
		s.store = memory.New()
	}
	if h, ok := s.store.(*hooked); ok {
		e.store = h
	} else {
		e.store = newHooked(s.store)
	}
	if s.now == nil {
		s.now = e.clock.Now
	}
	keys := keyring.Options{Secrets: [][]byte{testSecret()}, Now: s.now, TokenLife: time.Hour}
	if s.keys != nil {
		s.keys(&keys)
	}
	var err error
	if e.ring, err = keyring.Open(t.Context(), e.store.Keys(), keys); err != nil {
		t.Fatal(err)
	}
	opt := handstamp.Options{
		PublicURL: "https://app.example.com", Secrets: [][]byte{testSecret()}, Keys: e.ring, Now: s.now,
		Logger: slog.New(slog.DiscardHandler),
	}
	if s.change != nil {
		s.change(&opt)
	}
	if e.Auth, err = handstamp.Open(t.Context(), e.store, opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.store.set(nil)
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// inBubble opens an engine that lives by the clock of a synctest bubble.
func inBubble(t testing.TB, change func(*handstamp.Options)) *engine {
	t.Helper()
	return setup{now: time.Now, change: change}.open(t)
}

func (e *engine) prove(t testing.TB, user handstamp.UserID, mode handstamp.Mode) handstamp.Proof {
	t.Helper()
	p, err := e.Prove(context.Background(), user)
	if err != nil {
		t.Fatal(err)
	}
	p.Mode, p.Methods = mode, []string{"pwd"}
	return p
}

func (e *engine) start(t testing.TB, user handstamp.UserID, mode handstamp.Mode) handstamp.Grant {
	t.Helper()
	g, err := e.Start(context.Background(), e.prove(t, user, mode))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// as starts a session with a transport.
func (e *engine) as(t testing.TB, user handstamp.UserID, mode handstamp.Mode, tr handstamp.Transport) handstamp.Grant {
	t.Helper()
	p := e.prove(t, user, mode)
	p.Transport = tr
	g, err := e.Start(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (e *engine) verify(g handstamp.Grant, rules ...handstamp.Rule) (handstamp.Principal, error) {
	return e.CheckToken(context.Background(), g.AccessToken.Reveal(), rules...)
}

func (e *engine) refresh(g handstamp.Grant) (handstamp.Grant, error) {
	return e.Refresh(context.Background(), handstamp.RefreshRequest{Token: g.RefreshToken})
}

func must[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// verdict names what a check answered: "yes", a reason, or "don't know".
func verdict(err error) string {
	if err == nil {
		return "yes"
	}
	if r, ok := handstamp.ReasonOf(err); ok {
		return string(r)
	}
	return "don't know"
}

func wantVerdict(t testing.TB, err error, want string) {
	t.Helper()
	if got := verdict(err); got != want {
		t.Errorf("verdict = %q (%v), want %q", got, err, want)
	}
}

func wantReason(t testing.TB, err error, want handstamp.Reason) {
	t.Helper()
	wantVerdict(t, err, string(want))
}

// withCookies is a request that carries what an answer set.
func withCookies(method, target string, answers ...*httptest.ResponseRecorder) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	for _, w := range answers {
		for _, c := range w.Result().Cookies() {
			r.AddCookie(c)
		}
	}
	return r
}

func modes() []handstamp.Mode {
	return []handstamp.Mode{handstamp.ModeSession, handstamp.ModeToken, handstamp.ModeHybrid}
}

func TestLifeOfASession(t *testing.T) {
	for _, b := range backends() {
		for _, mode := range modes() {
			t.Run(b.name+"/"+string(mode), func(t *testing.T) {
				e := setup{store: b.open(t)}.open(t)
				g := e.start(t, "ada", mode)
				p, err := e.verify(g)
				if err != nil || p.User != "ada" || p.Session != g.Session.ID {
					t.Fatalf("Verify = %+v, %v", p, err)
				}
				if got := strings.Join(p.Methods(), " "); got != "pwd" {
					t.Errorf("methods = %q", got)
				}
				if _, err := e.LogOut(t.Context(), g.AccessToken, handstamp.EndOptions{}); err != nil {
					t.Fatal(err)
				}
				_, err = e.verify(g)
				wantReason(t, err, handstamp.ReasonRevoked)
				if !errors.Is(err, handstamp.ErrUnauthenticated) {
					t.Errorf("%v is not ErrUnauthenticated", err)
				}
			})
		}
	}
}

// TestS5_LogOutEndsEverything: after a log-out the reference, the value token and the refresh token are dead, on the node
// that answered at once, whichever of them it was asked with.
func TestS5_LogOutEndsEverything(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t)}.open(t)
			for _, by := range []string{"access", "refresh", "expired access"} {
				g := e.start(t, "ada", handstamp.ModeHybrid)
				next := must[handstamp.Grant](t)(e.refresh(g))
				credential := next.AccessToken
				switch by {
				case "refresh":
					credential = next.RefreshToken
				case "expired access":
					e.clock.Advance(15 * time.Minute)
				}
				must[handstamp.Ended](t)(e.LogOut(t.Context(), credential, handstamp.EndOptions{}))
				_, err := e.refresh(next)
				wantReason(t, err, handstamp.ReasonRevoked)
				_, err = e.refresh(g) // spent, and of an ended session: revoked, never refresh_reused
				wantReason(t, err, handstamp.ReasonRevoked)
				if by != "expired access" {
					_, err = e.verify(next)
					wantReason(t, err, handstamp.ReasonRevoked)
				}
				// Ending again answers the same.
				again := must[handstamp.Ended](t)(e.LogOut(t.Context(), credential, handstamp.EndOptions{}))
				if again.By == 0 || again.Sessions != 0 {
					t.Errorf("by %s: ending again = %+v", by, again)
				}
			}
			for _, junk := range []string{"", "junk", "hs_s_", "a.b.c", strings.Repeat("x", 10_000)} {
				if _, err := e.LogOut(t.Context(), secretOf(junk), handstamp.EndOptions{}); err != nil {
					t.Errorf("LogOut of %.10q = %v, want nil", junk, err)
				}
			}
		})
	}
}

// algorithms are those that a value token may be signed with.
func algorithms() []jwt.Algorithm {
	return []jwt.Algorithm{jwt.ES256, jwt.EdDSA, jwt.RS256, jwt.HS256}
}

func secretOf(text string) token.Secret { return token.NewSecret(text) }
