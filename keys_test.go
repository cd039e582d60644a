package handstamp_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
)

// TestClaims: an application's claims are the same in every form, at login, refresh and new secrets, with every algorithm
// and encrypted.
func TestClaims(t *testing.T) {
	type nested struct {
		Name string  `json:"label"`
		List []int64 `json:"list"`
	}
	forms := map[string]func(*keyring.Options){"encrypted": func(o *keyring.Options) { o.Encrypt = true }}
	for _, a := range algorithms() {
		forms[string(a)] = func(o *keyring.Options) { o.Algorithm = a }
	}
	for name, keys := range forms {
		t.Run(name, func(t *testing.T) {
			n := int64(0)
			e := setup{keys: keys, change: func(o *handstamp.Options) {
				o.Claims = func(_ context.Context, s handstamp.Session) (map[string]any, error) {
					n++
					return map[string]any{
						"tenant": "t<1>&é", "count": n, "largest": int64(1)<<53 - 1, "ratio": 0.1, "yes": true,
						"deep": nested{"x", []int64{1, 2}}, "user_copy": s.User, "nothing": nil,
					}, nil
				}
			}}.open(t)
			for _, mode := range modes() {
				n = 0
				g := e.start(t, "ada", mode)
				want := int64(1)
				check := func(g handstamp.Grant) {
					t.Helper()
					if encrypted := strings.Count(g.AccessToken.Reveal(), ".") == 4; encrypted != (name == "encrypted" && mode != handstamp.ModeSession) {
						t.Error("the token has the wrong form")
					}
					for _, rules := range [][]handstamp.Rule{nil, {handstamp.Fresh()}} {
						p, err := e.verify(g, rules...)
						if err != nil {
							t.Fatal(err)
						}
						var tenant, user string
						var count, largest int64
						var ratio float64
						var yes bool
						var deep nested
						if !p.Claim("tenant", &tenant) || !p.Claim("count", &count) || !p.Claim("largest", &largest) || !p.Claim("ratio", &ratio) ||
							!p.Claim("yes", &yes) || !p.Claim("deep", &deep) || !p.Claim("user_copy", &user) {
							t.Fatalf("%s: a claim is missing", mode)
						}
						if tenant != "t<1>&é" || count != want || largest != 1<<53-1 || ratio != 0.1 || !yes || deep.Name != "x" || deep.List[1] != 2 || user != "ada" {
							t.Errorf("%s: %q %d %d %v %v %+v %q", mode, tenant, count, largest, ratio, yes, deep, user)
						}
						if p.Claim("absent", &tenant) || p.Claim("tenant", &count) || p.Claim("sub", &tenant) || p.Claim("roles", &tenant) {
							t.Errorf("%s: a claim that is not there", mode)
						}
					}
				}
				check(g)
				if mode == handstamp.ModeHybrid {
					want++
					g = must[handstamp.Grant](t)(e.refresh(g))
					check(g)
				}
				want++
				check(must[handstamp.Grant](t)(e.Renew(t.Context(), g.Session.ID, e.prove(t, "ada", ""))))
			}
		})
	}
}

// TestA3_ClaimsCannotOverwriteOurs: reserved names, names that promise a secret and values that cannot be written refuse
// the login in every mode, before anything is written, without quoting the value.
func TestA3_ClaimsCannotOverwriteOurs(t *testing.T) {
	bad := map[string]any{}
	for _, name := range []string{
		"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "auth_time", "amr", "roles", "permissions", "grants", "ep", "client_id", "scope",
		"SUB", "Roles", "email", "cnf", "password", "user_password", "api-key", "Client.Secret", "refresh_token", "", "na\x00me", strings.Repeat("n", 300),
	} {
		bad[name] = "hunter2"
	}
	values := map[string]any{
		"nan": math.NaN(), "channel": make(chan int), "huge": uint64(1) << 60, "inside": map[string]any{"password": "hunter2"},
		"struct": struct{ Password string }{"hunter2"}, "utf8": "hunter2\xff",
	}
	for name, value := range values {
		bad[name] = value
	}
	for name, value := range bad {
		if name == "utf8" {
			continue // encoding/json replaces what is not UTF-8; the value is readable then
		}
		e := newEngine(t, func(o *handstamp.Options) {
			o.Claims = func(context.Context, handstamp.Session) (map[string]any, error) {
				return map[string]any{"fine": 1, name: value}, nil
			}
		})
		for _, mode := range modes() {
			_, err := e.Start(t.Context(), e.prove(t, "ada", mode))
			if err == nil || strings.Contains(err.Error(), "hunter2") || verdict(err) != "don't know" {
				t.Errorf("%s: the claim %.20q: %v", mode, name, err)
			}
		}
		if list := must[[]handstamp.Session](t)(e.Sessions(t.Context(), handstamp.SessionFilter{})); len(list) != 0 {
			t.Errorf("%q left a session behind", name)
		}
	}
	boom := errors.New("boom")
	e := newEngine(t, func(o *handstamp.Options) {
		o.Claims = func(context.Context, handstamp.Session) (map[string]any, error) { return nil, boom }
	})
	if _, err := e.Start(t.Context(), e.prove(t, "ada", "")); !errors.Is(err, boom) {
		t.Errorf("a hook that fails: %v", err)
	}
}

// TestJ9_RotationUnderLoad: logins, refreshes and checks go on while keys rotate: nobody is refused.
func TestJ9_RotationUnderLoad(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		e := setup{keys: func(o *keyring.Options) { o.Encrypt, o.RotateEvery = encrypt, 10*time.Minute }}.open(t)
		var stop atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for !stop.Load() {
					p, err := e.Prove(context.Background(), "ada")
					if err != nil {
						t.Error(err)
						return
					}
					p.Mode = handstamp.ModeHybrid
					g, err := e.Start(context.Background(), p)
					if err != nil {
						t.Errorf("Start: %v", err)
						return
					}
					for range 5 {
						if _, err := e.verify(g); err != nil {
							if !e.clock.Now().Before(g.AccessExpiresAt) {
								break // the clock of this test moved on
							}
							t.Errorf("Verify: %v", err)
							return
						}
						if g, err = e.refresh(g); err != nil {
							t.Errorf("Refresh: %v", err)
							return
						}
					}
				}
			})
		}
		signers := map[string]bool{}
		for range 20 {
			e.clock.Advance(5 * time.Second)
			if _, err := e.ring.Rotate(t.Context(), e.clock.Now()); err != nil {
				t.Error(err)
			}
			e.clock.Advance(keyring.PublishFor)
			if err := e.ring.Maintain(t.Context()); err != nil {
				t.Error(err)
			}
			for _, k := range e.ring.List() {
				if k.State == keyring.Active {
					signers[k.ID] = true
				}
			}
		}
		stop.Store(true)
		wg.Wait()
		if len(signers) < 15 {
			t.Errorf("%d keys in 20 rotations", len(signers))
		}
	}
}

// TestF41_EndKey: a revoked key's tokens are refused on every node, new ones are signed by the standby that was published
// before, and who has a refresh token goes on.
func TestF41_EndKey(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			bubbletest.Test(t, func(t *testing.T) {
				inner := b.open(t)
				node := func() *engine { return setup{store: newHooked(inner), now: time.Now}.open(t) }
				first, second := node(), node()
				s := scene{e: first}
				reference, hybrid, value := first.start(t, "ada", handstamp.ModeSession), first.start(t, "ada", handstamp.ModeHybrid), first.start(t, "ada", handstamp.ModeToken)
				old := s.kid(t)
				time.Sleep(time.Second)
				must[handstamp.Ended](t)(first.EndKey(t.Context(), old, handstamp.EndOptions{WaitFleet: true}))
				for _, n := range []*engine{first, second} {
					for _, g := range []handstamp.Grant{hybrid, value} {
						_, err := n.verify(g)
						wantReason(t, err, handstamp.ReasonRevoked)
					}
					_, err := n.verify(reference)
					wantVerdict(t, err, "yes")
				}
				if s.kid(t) == old {
					t.Error("the revoked key still signs")
				}
				for _, n := range []*engine{first, second} {
					next := must[handstamp.Grant](t)(n.refresh(hybrid))
					for _, m := range []*engine{first, second} {
						_, err := m.verify(next)
						wantVerdict(t, err, "yes")
					}
				}
			})
		})
	}
}

// TestJ10_UnknownKeyIDs: made-up key ids are refused and cost at most one read of the keys per second.
func TestJ10_UnknownKeyIDs(t *testing.T) {
	e := newEngine(t, nil)
	foreign, err := jwt.Generate(jwt.ES256)
	if err != nil {
		t.Fatal(err)
	}
	good := jwt.Claims{
		Issuer: publicURL, Subject: "ada", Audience: []string{publicURL}, ClientID: publicURL, ID: "x",
		ExpiresAt: e.clock.Now().Add(time.Minute), IssuedAt: e.clock.Now(), AsOf: 1,
	}
	text, err := jwt.Sign(foreign, good)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		_, err := e.VerifyToken(t.Context(), text)
		wantReason(t, err, handstamp.ReasonInvalid)
	}
}

// TestWaitFleet: after an end that waited for the fleet no node accepts, and a node that hears nothing costs 1.12 leases.
func TestWaitFleet(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		inner := setup{}.open(t).store.fullStore
		node := func() *engine { return setup{store: newHooked(inner), now: time.Now}.open(t) }
		first, second, cut := node(), node(), node()
		time.Sleep(time.Second)
		for _, dead := range []bool{false, true} {
			g := first.start(t, "ada", handstamp.ModeToken)
			time.Sleep(time.Second)
			if dead {
				cut.store.set(func(op string, call func() error) error {
					if strings.HasPrefix(op, "log.") {
						return errDown
					}
					return call()
				})
			}
			begun := time.Now()
			ended := must[handstamp.Ended](t)(first.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{WaitFleet: true}))
			for _, n := range []*engine{first, second, cut} {
				_, err := n.verify(g)
				wantReason(t, err, handstamp.ReasonRevoked)
			}
			if took := time.Since(begun); took > 2240*time.Millisecond || !dead && took > 250*time.Millisecond {
				t.Errorf("dead=%v: took %v", dead, took)
			}
			if (ended.WaitedOut > 0) != dead || ended.Verifiers < 3 {
				t.Errorf("dead=%v: %+v", dead, ended)
			}
		}
	})
}

// reloading are keys that read their store only while whoever waits for them is there.
type reloading struct{ handstamp.Keys }

func (k reloading) Reload(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return k.Keys.Reload(ctx)
}

// TestUnknownKeyOfWhoHangsUp: the one caller in a second who makes the keys be read may be gone. The others' tokens are
// refused as before, and not left in doubt.
func TestUnknownKeyOfWhoHangsUp(t *testing.T) {
	e := newEngine(t, func(o *handstamp.Options) { o.Keys = reloading{o.Keys} })
	other := newEngine(t, nil) // its keys are unknown here
	text := other.start(t, "ada", handstamp.ModeToken).AccessToken.Reveal()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ctx := range []context.Context{gone, t.Context(), gone, t.Context()} {
		_, err := e.VerifyToken(ctx, text)
		wantReason(t, err, handstamp.ReasonInvalid)
	}
}
