package server_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/token"
)

// counted is a store that counts what is asked of it.
type counted struct {
	handstamp.Store
	finds, units, touches atomic.Int64
	pass                  token.Hash // whose look-ups are not counted: the caller's own
	hold                  func(context.Context)
}

func (c *counted) Sessions() handstamp.Sessions { return countedSessions{c.Store.Sessions(), c} }
func (c *counted) Work() handstamp.UnitOfWork[handstamp.Tx] {
	return countedWork{c.Store.Work(), c}
}

type countedSessions struct {
	handstamp.Sessions
	c *counted
}

func (s countedSessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	if l.ServiceKey.IsZero() || !l.ServiceKey.Equal(s.c.pass) {
		s.c.finds.Add(1)
		if s.c.hold != nil {
			s.c.hold(ctx)
		}
	}
	return s.Sessions.Find(ctx, l)
}

func (s countedSessions) Touch(ctx context.Context, seen map[handstamp.SessionID]time.Time) error {
	s.c.touches.Add(1)
	return s.Sessions.Touch(ctx, seen)
}

type countedWork struct {
	handstamp.UnitOfWork[handstamp.Tx]
	c *counted
}

func (w countedWork) Do(ctx context.Context, fn func(handstamp.Tx) error) error {
	w.c.units.Add(1)
	return w.UnitOfWork.Do(ctx, fn)
}

func newCounted(t testing.TB, cache int64) (*world, *counted, *client) {
	t.Helper()
	c := &counted{}
	w := newWorld(t, settings{
		store: func(s handstamp.Store) handstamp.Store { c.Store = s; return c },
		auth:  func(o *handstamp.Options) { o.CacheBytes = cache },
	})
	key := w.key("handstamp.introspect")
	var err error
	if c.pass, err = token.Parse(token.ServiceKey, key); err != nil {
		t.Fatal(err)
	}
	return w, c, w.program(key)
}

// garbage is what nobody was given: misspelt, made up, of another kind, cut off, too long.
func garbage(good ...string) []string {
	list := []string{
		"", "x", ".", "..", "a.b.c", "a.b.c.d.e", "hs_s_", "hs_s_x", "hs_k_x", "hs_r_x", "hs_x_y", "\x00", "Bearer x", strings.Repeat("x", 60_000),
		strings.Repeat("a.", 30_000), "hs_s_" + strings.Repeat("0", 60_000), strings.Repeat("A", 4000) + "." + strings.Repeat("A", 4000) + "." + strings.Repeat("A", 80),
		base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"usr_x"}`)) + ".",
		base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"unknown"}`)) + ".e30." + strings.Repeat("A", 86),
	}
	for _, g := range good {
		last := g[len(g)-2]
		if last++; last > 'z' {
			last = 'a'
		}
		list = append(list, " "+g, g+" ", g+"\n", g[:len(g)-1], g+"0", g[:len(g)-2]+string(last)+g[len(g)-1:], strings.ToUpper(g))
	}
	return list
}

// TestIntrospectionCosts: one that is good is looked up and nothing is written, not even later; garbage is not looked up.
func TestIntrospectionCosts(t *testing.T) {
	w, c, caller := newCounted(t, 0)
	var good []string
	for _, mode := range []string{"session", "token", "hybrid"} {
		u := w.signUp(mode+"@example.com", mode, "bearer")
		good = append(good, u.token("access_token"))
		if refresh := u.token("refresh_token"); refresh != "" {
			defer func() {
				if c.finds.Store(0); caller.post("/v1/introspect", m{"token": refresh}).want(200).body["active"] != false || c.finds.Load() != 0 {
					t.Errorf("a refresh token is looked up %d times", c.finds.Load())
				}
			}()
		}
	}
	good = append(good, w.key("posts:read"))
	w.clock.add(5 * time.Minute) // far enough for last-seen to be worth a write
	soon(t, "the lease is fresh", func() bool { return w.auth.Health().LeaseLeft > 0 })
	c.units.Store(0)
	c.touches.Store(0)
	for _, text := range good {
		c.finds.Store(0)
		a := caller.post("/v1/introspect", m{"token": text}).want(200)
		if a.body["active"] != true {
			t.Errorf("introspect(%.6s) = %s", text, a.raw)
		}
		if got := a.header.Get("Cache-Control"); got != "no-store" || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("Cache-Control = %q, Content-Type = %q", got, a.header.Get("Content-Type"))
		}
		if n := c.finds.Load(); n < 1 || n > 2 {
			t.Errorf("introspect(%.6s) looks %d times", text, n)
		}
	}
	c.finds.Store(0)
	for _, text := range garbage(good...) {
		for _, a := range []*response{
			caller.post("/v1/introspect", m{"token": text}), caller.do("POST", "/v1/introspect", url.Values{"token": {text}}, "Accept", "application/token-introspection+jwt"),
		} {
			if a.want(200); strings.TrimSpace(a.raw) != `{"active":false}` || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("introspect(%.20q) = %s", text, a.raw)
			}
		}
	}
	if n := c.finds.Load(); n != 0 {
		t.Errorf("garbage is looked up %d times", n)
	}
	if err := w.auth.Close(); err != nil { // which writes what waits to be written
		t.Fatal(err)
	}
	if c.units.Load() != 0 || c.touches.Load() != 0 {
		t.Errorf("introspection wrote: %d units, %d touches", c.units.Load(), c.touches.Load())
	}
}

// TestRevocationCosts: garbage is neither looked up nor written, nor waited for; ending again writes nothing.
func TestRevocationCosts(t *testing.T) {
	w, c, _ := newCounted(t, 0)
	user := w.signUp("ada@example.com", "hybrid", "bearer")
	anybody := w.program("")
	c.finds.Store(0)
	c.units.Store(0)
	for _, text := range garbage(user.token("access_token"), user.token("refresh_token")) {
		for _, query := range []string{"", "?wait=fleet"} {
			anybody.post("/v1/revoke"+query, m{"token": text}).want(200)
			anybody.do("POST", "/v1/revoke"+query, url.Values{"token": {text}, "token_type_hint": {"x"}}).want(200)
		}
	}
	if c.finds.Load() != 0 || c.units.Load() != 0 {
		t.Errorf("garbage costs %d look-ups and %d writes", c.finds.Load(), c.units.Load())
	}
	user.get("/v1/session").want(200)
	c.finds.Store(0)
	for range 3 {
		anybody.post("/v1/revoke", m{"token": user.token("refresh_token")}).want(200)
	}
	if c.units.Load() != 1 || c.finds.Load() > 6 {
		t.Errorf("ending three times costs %d look-ups and %d writes", c.finds.Load(), c.units.Load())
	}
	user.get("/v1/session").refused(401, "revoked")
}

// TestOneCallerIsBounded: of one caller so many questions are under way, and no more; others are answered, and what costs
// nothing is answered always.
func TestOneCallerIsBounded(t *testing.T) {
	w, c, caller := newCounted(t, -1) // a look-up that many share would give up after a while
	const limit = 4
	w.server.BoundCalls(limit, limit)
	user := w.signUp("ada@example.com", "hybrid", "bearer")
	access, refresh := user.token("access_token"), user.token("refresh_token")
	type gate struct{ begun, release chan struct{} }
	var at atomic.Pointer[gate]
	c.hold = func(context.Context) {
		if g := at.Load(); g != nil {
			g.begun <- struct{}{}
			<-g.release
		}
	}
	anybody := w.program("")
	for name, tc := range map[string]struct {
		call, free func() *response
	}{
		"introspection": {
			// Each asks about another one, so that they do not share one look-up.
			func() *response {
				return caller.post("/v1/introspect", m{"token": token.Generate(token.Reference).Reveal()})
			},
			func() *response { return caller.post("/v1/introspect", m{"token": "garbage"}) },
		},
		"revocation": {
			func() *response { return anybody.post("/v1/revoke", m{"token": refresh}) },
			func() *response { return anybody.post("/v1/revoke", m{"token": strings.Repeat("x", 20_000)}) },
		},
	} {
		g := &gate{make(chan struct{}, 100), make(chan struct{})}
		at.Store(g)
		var all sync.WaitGroup
		for range limit {
			all.Go(func() {
				if a := tc.call(); a.status != 200 {
					t.Errorf("%s = %d %s", name, a.status, a.raw)
				}
			})
		}
		for range limit {
			<-g.begun
		}
		if got := tc.call().refused(503, "unavailable").header.Get("Retry-After"); got != "1" {
			t.Errorf("%s: Retry-After = %q", name, got)
		}
		tc.free().want(200)
		at.Store(nil)
		close(g.release)
		all.Wait()
		tc.call().want(200)
	}
	w.program(w.key("handstamp.introspect")).post("/v1/introspect", m{"token": access}).want(200)
}

// TestIntrospectionSaysHowAndWhen the user proved who they are: a service asks for it before what needs a recent login.
func TestIntrospectionSaysHowAndWhen(t *testing.T) {
	w := newWorld(t, settings{})
	caller := w.program(w.key("handstamp.introspect"))
	for _, mode := range []string{"session", "token", "hybrid"} {
		c := w.signUp(mode+"@example.com", mode, "bearer")
		at := w.clock.Now().Unix()
		w.clock.add(time.Minute)
		a := caller.post("/v1/introspect", m{"token": c.token("access_token")}).want(200)
		if a.body["auth_time"] != float64(at) || fmt.Sprint(a.body["amr"]) != "[pwd]" {
			t.Errorf("in mode %s: auth_time = %v, want %d; amr = %v", mode, a.body["auth_time"], at, a.body["amr"])
		}
	}
	key := caller.post("/v1/introspect", m{"token": w.key("posts:read")}).want(200)
	if key.body["auth_time"] != nil || key.body["amr"] != nil {
		t.Errorf("a service key = %s", key.raw)
	}
}

// TestKeySetIsCached: who has the keys is told that they are the same, until they are not.
func TestKeySetIsCached(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.program("")
	const path = "/.well-known/jwks.json"
	first := c.get(path).want(200)
	tag := first.header.Get("ETag")
	if len(tag) < 10 || first.header.Get("Cache-Control") != "public, max-age=300" {
		t.Fatalf("ETag = %q, Cache-Control = %q", tag, first.header.Get("Cache-Control"))
	}
	for _, same := range []string{tag, "W/" + tag, `"x", ` + tag, `"x",` + tag + `,"y"`, "*"} {
		a := c.do("GET", path, nil, "If-None-Match", same).want(304)
		if a.raw != "" || a.header.Get("ETag") != tag || a.header.Get("Cache-Control") != "public, max-age=300" || a.header.Get("Content-Type") != "" {
			t.Errorf("If-None-Match: %s = %q %v", same, a.raw, a.header)
		}
	}
	for _, other := range []string{`"x"`, strings.Trim(tag, `"`), `""`, "", "W/*"} {
		if a := c.do("GET", path, nil, "If-None-Match", other).want(200); a.raw != first.raw {
			t.Errorf("If-None-Match: %s = %s", other, a.raw)
		}
	}
	if a := c.do("HEAD", path, nil).want(200); a.header.Get("ETag") != tag || a.raw != "" {
		t.Errorf("HEAD = %v", a.header)
	}
	w.program(w.key("handstamp.admin")).post("/v1/admin/keys/rotate", nil).want(201)
	w.clock.add(24 * time.Hour)
	changed := c.do("GET", path, nil, "If-None-Match", tag)
	if again := c.get(path).want(200); again.raw == first.raw && changed.status != 304 || again.raw != first.raw && (changed.status != 200 || changed.header.Get("ETag") == tag) {
		t.Errorf("after a rotation = %d %s", changed.status, changed.raw)
	}
}

func BenchmarkKeySet(b *testing.B) {
	w := newWorld(b, settings{})
	benchmark(b, w, "/.well-known/jwks.json")
}
