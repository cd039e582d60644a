package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/token"
)

// refreshed is a store, and whether sessions are read before they are refreshed: they are if the application is asked.
type refreshed struct {
	backing
	read func(o *handstamp.Options)
}

func refreshing() (all []refreshed) {
	asked := func(o *handstamp.Options) {
		o.Claims = func(context.Context, handstamp.Session) (map[string]any, error) { return nil, nil }
	}
	for _, b := range backends() {
		all = append(all, refreshed{backing{b.name + ", unread", b.open}, nil}, refreshed{backing{b.name + ", read", b.open}, asked})
	}
	return all
}

// calls counts what a refresh asks of the store.
func (e *engine) calls(fn func()) map[string]int {
	n := map[string]int{}
	e.store.set(func(op string, call func() error) error {
		if !strings.HasPrefix(op, "log.") { // renewals come by themselves
			n[op]++
		}
		return call()
	})
	defer e.store.set(nil)
	fn()
	return n
}

// TestRefreshIsOneStatement: the usual refresh asks the store once. What that one question cannot decide is read first.
func TestRefreshIsOneStatement(t *testing.T) {
	one, two, three := map[string]int{"Rotate": 1}, map[string]int{"Find": 1, "Rotate": 1}, map[string]int{"Rotate": 2, "Find": 1}
	for _, c := range []struct {
		name   string
		cost   map[string]int
		change func(o *handstamp.Options)
		before func(e *engine, g handstamp.Grant) handstamp.Grant
	}{
		{name: "usual", cost: one},
		{name: "without a grace", cost: one, change: func(o *handstamp.Options) { o.Refresh.Grace = -1 }},
		{name: "roles that are known here", cost: one, before: func(e *engine, g handstamp.Grant) handstamp.Grant {
			e.grantRole(t, "ada", "editor", 4)
			return g
		}},
		{name: "again after the grace", cost: one, before: func(e *engine, g handstamp.Grant) handstamp.Grant {
			g = must[handstamp.Grant](t)(e.refresh(g))
			e.clock.Advance(20 * time.Second)
			return g
		}},
		{name: "again within the grace", cost: three, before: func(e *engine, g handstamp.Grant) handstamp.Grant {
			g = must[handstamp.Grant](t)(e.refresh(g))
			e.clock.Advance(20*time.Second - 1)
			return g
		}},
		{name: "roles that grant very much", cost: three, before: func(e *engine, g handstamp.Grant) handstamp.Grant {
			e.grantRole(t, "ada", "editor", 100)
			return g
		}},
		{name: "an application that has claims", cost: two, change: func(o *handstamp.Options) {
			o.Claims = func(context.Context, handstamp.Session) (map[string]any, error) { return nil, nil }
		}},
		{name: "an application that has users", cost: two, change: func(o *handstamp.Options) {
			o.Permissions = func(context.Context, handstamp.UserID) (handstamp.Grants, error) { return handstamp.Grants{}, nil }
		}},
		{name: "an issuer that leaves no room in a cookie", cost: two, change: func(o *handstamp.Options) {
			o.Token.Issuer = "https://" + strings.Repeat("a", 900) + ".example.com"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEngine(t, c.change)
			g := e.start(t, "ada", handstamp.ModeHybrid)
			if c.before != nil {
				g = c.before(e, g)
			}
			var next handstamp.Grant
			cost := e.calls(func() { next = must[handstamp.Grant](t)(e.refresh(g)) })
			if !maps.Equal(cost, c.cost) {
				t.Errorf("the refresh asked the store %v, want %v", cost, c.cost)
			}
			if next.Session.Refresh.Generation != g.Session.Refresh.Generation+1 || next.AccessToken.IsZero() {
				t.Errorf("the refresh gave generation %d after %d", next.Session.Refresh.Generation, g.Session.Refresh.Generation)
			}
			_, err := e.verify(next)
			wantVerdict(t, err, "yes")
		})
	}
}

// grantRole gives a user a role with so many permissions.
func (e *engine) grantRole(t testing.TB, user handstamp.UserID, role string, n int) {
	t.Helper()
	permissions := make([]string, n)
	for i := range permissions {
		permissions[i] = fmt.Sprintf("documents:publish-%d", i)
	}
	err := e.store.AccountWork().Do(t.Context(), func(tx account.Tx) error {
		if err := tx.PutRole(t.Context(), account.Role{Name: role, Permissions: permissions}); err != nil {
			return err
		}
		sub, err := tx.Subject(t.Context(), user)
		if err != nil {
			return err
		}
		sub.Grants.Roles = []string{role}
		return tx.PutSubject(t.Context(), sub)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRefreshThatCannotBeMintedSpendsNothing: roles that have become too much for any token, and keys that cannot be used,
// are noticed before the refresh token is spent: after the grace it would be taken for stolen.
func TestRefreshThatCannotBeMintedSpendsNothing(t *testing.T) {
	e := newEngine(t, nil)
	g := e.start(t, "ada", handstamp.ModeHybrid)
	e.grantRole(t, "ada", "editor", 1000)
	_, err := e.refresh(g)
	if !errors.Is(err, handstamp.ErrTooLarge) {
		t.Errorf("Refresh = %v, want ErrTooLarge", err)
	}
	e.clock.Advance(time.Hour)
	e.grantRole(t, "ada", "editor", 1)
	must[handstamp.Grant](t)(e.refresh(g))

	away := errors.New("no key")
	keys := &unusable{}
	e = newEngine(t, func(o *handstamp.Options) { keys.Keys, o.Keys = o.Keys, keys })
	g = e.start(t, "ada", handstamp.ModeHybrid)
	keys.err = away
	if _, err := e.refresh(g); !errors.Is(err, away) {
		t.Errorf("Refresh = %v, want that there is no key", err)
	}
	e.clock.Advance(time.Hour)
	keys.err = nil
	must[handstamp.Grant](t)(e.refresh(g))
}

// unusable are keys that may be away.
type unusable struct {
	handstamp.Keys
	err error
}

func (u *unusable) Seal(c jwt.Claims, now time.Time) (string, error) {
	if u.err != nil {
		return "", u.err
	}
	return u.Keys.Seal(c, now)
}

// TestRefreshSpendsNothingForFixedRoles: the store does not know what roles of the program grant.
func TestRefreshSpendsNothingForFixedRoles(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			many := make([]string, 400)
			for i := range many {
				many[i] = fmt.Sprintf("documents:publish-%d", i)
			}
			table := permission.Table{"viewer": permission.NewSet("a:b"), "editor": permission.NewSet(many...)}
			e := setup{store: b.open(t), change: func(o *handstamp.Options) { o.Roles = table }}.open(t)
			g := e.start(t, "ada", handstamp.ModeHybrid)
			e.given(t, "ada", "editor")
			_, err := e.refresh(g)
			if !errors.Is(err, handstamp.ErrTooLarge) {
				t.Errorf("Refresh = %v, want ErrTooLarge", err)
			}
			e.given(t, "ada", "viewer")
			e.clock.Advance(time.Hour)
			cost := e.calls(func() { must[handstamp.Grant](t)(e.refresh(g)) })
			if !maps.Equal(cost, map[string]int{"Find": 1, "Rotate": 1}) {
				t.Errorf("with roles that may be too much the store was asked %v", cost)
			}
		})
	}
	e := newEngine(t, func(o *handstamp.Options) { o.Roles = permission.Table{"viewer": permission.NewSet("a:b")} })
	g := e.start(t, "ada", handstamp.ModeHybrid)
	if cost := e.calls(func() { must[handstamp.Grant](t)(e.refresh(g)) }); !maps.Equal(cost, map[string]int{"Rotate": 1}) {
		t.Errorf("with few roles the store was asked %v", cost)
	}
}

// given is a login that says which roles the user has.
func (e *engine) given(t testing.TB, user handstamp.UserID, roles ...string) {
	t.Helper()
	p := e.prove(t, user, handstamp.ModeSession)
	p.Grants = &handstamp.Grants{Roles: roles}
	must[handstamp.Grant](t)(e.Start(t.Context(), p))
}

// TestRefreshSpendsNothingForNames: an application may call its roles what it likes. What a name takes in a token is
// counted in bytes as they are written there, and what cannot be written is no reason to spend the client's token.
func TestRefreshSpendsNothingForNames(t *testing.T) {
	for _, b := range backends() {
		for name, role := range map[string]string{
			"wide": strings.Repeat("\U0001F600", 480), "control": strings.Repeat("\x01", 500), "quotes": strings.Repeat(`"`, 500), "no text": "\xff",
		} {
			t.Run(b.name+"/"+name, func(t *testing.T) {
				e := setup{store: b.open(t), change: func(o *handstamp.Options) {
					o.Token.Issuer = "https://" + strings.Repeat("a", 200) + ".example.com"
				}}.open(t)
				g := e.as(t, "ada", handstamp.ModeHybrid, handstamp.TransportCookie)
				e.given(t, "ada", role)
				_, err := e.refresh(g)
				f := must[handstamp.Found](t)(e.store.Sessions().Find(t.Context(), handstamp.Lookup{Session: g.Session.ID}))
				if was := g.Session.Refresh.Generation; err != nil && f.Session.Refresh.Generation != was {
					t.Errorf("Refresh = %v, and the family moved from %d to %d", err, was, f.Session.Refresh.Generation)
				}
			})
		}
	}
}

// TestLastGeneration: numbers that have run out end a family; they do not begin again, or the first token would be good.
func TestLastGeneration(t *testing.T) {
	for _, b := range refreshing() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t), change: b.read}.open(t)
			first := e.start(t, "ada", handstamp.ModeHybrid)
			minter := must[token.Minter](t)(token.NewMinter([][]byte{testSecret()}))
			last := must[token.RefreshToken](t)(minter.Open(first.RefreshToken.Reveal()))
			last.Generation = math.MaxUint32
			family := handstamp.Family{Generation: last.Generation, Nonce: first.Session.Refresh.Nonce, RotatedAt: e.clock.Now()}
			must[handstamp.Found](t)(e.store.Sessions().Rotate(t.Context(), first.Session.ID, first.Session.Refresh.Generation,
				handstamp.Rotation{At: e.clock.Now(), Family: family}))
			e.clock.Advance(time.Hour)
			_, err := e.refresh(handstamp.Grant{RefreshToken: must[token.Secret](t)(minter.Mint(last))})
			wantReason(t, err, handstamp.ReasonExpired)
			_, err = e.refresh(first)
			wantReason(t, err, handstamp.ReasonReused)
		})
	}
}

// TestUnreadIsRefused: what decideRefresh would not rotate is not rotated without reading either.
func TestUnreadIsRefused(t *testing.T) {
	e := newEngine(t, nil)
	g := e.start(t, "ada", handstamp.ModeHybrid)
	must[handstamp.Ended](t)(e.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{}))
	_, err := e.refresh(g)
	wantReason(t, err, handstamp.ReasonRevoked)

	old := e.start(t, "ada", handstamp.ModeHybrid)
	must[handstamp.Grant](t)(e.refresh(old))
	e.clock.Advance(time.Minute)
	_, err = e.refresh(old)
	wantReason(t, err, handstamp.ReasonReused)

	late := e.start(t, "ada", handstamp.ModeHybrid)
	e.clock.Advance(721 * time.Hour)
	_, err = e.refresh(late)
	wantReason(t, err, handstamp.ReasonExpired)
}

// TestJ17_ForgedWithALeakedSecret: who has the secret and knows a session's id can make a token of its generation with a
// good MAC. The nonce is all that stands against it, and the session goes on.
func TestJ17_ForgedWithALeakedSecret(t *testing.T) {
	for _, b := range refreshing() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t), change: b.read}.open(t)
			g := e.start(t, "ada", handstamp.ModeHybrid)
			minter := must[token.Minter](t)(token.NewMinter([][]byte{testSecret()}))
			sid := must[[16]byte](t)(id.SessionBytes(g.Session.ID))
			for _, generation := range []uint32{0, 1, 2, 100} {
				forged := must[token.Secret](t)(minter.Mint(token.RefreshToken{Session: sid, Generation: generation, Nonce: token.NewNonce()}))
				_, err := e.refresh(handstamp.Grant{RefreshToken: forged})
				wantReason(t, err, handstamp.ReasonRevoked)
			}
			if n := len(e.audited(t, audit.RefreshForeign)); n != 1 {
				t.Errorf("%d entries in the audit log, want 1", n)
			}
			must[handstamp.Grant](t)(e.refresh(g))
		})
	}
}

// TestHeaviest: no content that weighs at most what goes unread makes a longer token than the one that is tried.
func TestHeaviest(t *testing.T) {
	for name, change := range map[string]func(o *keyring.Options){
		"signed": nil, "RS256": func(o *keyring.Options) { o.Algorithm = jwt.RS256 }, "encrypted": func(o *keyring.Options) { o.Encrypt = true },
	} {
		t.Run(name, func(t *testing.T) {
			e := setup{keys: change}.open(t)
			now := e.clock.Now()
			limit := len(must[string](t)(e.ring.Seal(e.Heaviest(now), now)))
			if limit > 3<<10 {
				t.Errorf("the heaviest token has %d bytes: nothing of a cookie would go unread", limit)
			}
			random, longest := rand.New(rand.NewPCG(1, 2)), 0
			for range 3000 {
				f := heavy(random, now)
				text := must[string](t)(e.ring.Seal(must[jwt.Claims](t)(e.Claims(f, now)), now))
				if longest = max(longest, len(text)); len(text) > limit {
					t.Fatalf("a token of weight %d has %d bytes, the heaviest %d: %+v", f.Weight(), len(text), limit, f)
				}
			}
			t.Logf("longest %d, heaviest %d", longest, limit)
		})
	}
}

// heavy draws a session, a subject and roles that weigh at most UnreadWeight, mostly close to it.
func heavy(r *rand.Rand, now time.Time) handstamp.Found {
	name := func() string { return strings.Repeat("n", 1+r.IntN(1+r.IntN(128))) }
	f := handstamp.Found{
		Session: handstamp.Session{
			ID: id.NewSession(now), User: handstamp.UserID(strings.Repeat(`"`, 128)), Mode: handstamp.ModeHybrid, AuthAt: now,
			SeenAt: now, CreatedAt: now, ExpiresAt: now.Add(1000 * time.Hour),
		},
		Subject: handstamp.Subject{Head: 1<<53 - 1}, Roles: permission.Table{},
	}
	for {
		next := f
		next.Subject.Grants.Roles = append([]string(nil), f.Subject.Grants.Roles...)
		next.Subject.Grants.Permissions = append([]string(nil), f.Subject.Grants.Permissions...)
		next.Roles = maps.Clone(f.Roles)
		switch role := name() + fmt.Sprint(len(f.Roles)); r.IntN(4) {
		case 0:
			next.Session.Methods = append([]string{name()}, f.Session.Methods...)
		case 1:
			next.Subject.Grants.Roles = append(next.Subject.Grants.Roles, role)
			next.Roles[role] = permission.NewSet(name()+":a", name()+":b")
		default:
			next.Subject.Grants.Permissions = append(next.Subject.Grants.Permissions, name()+fmt.Sprint(r.IntN(1000)))
		}
		if next.Weight() > handstamp.UnreadWeight {
			return f
		}
		f = next
	}
}
