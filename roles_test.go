package handstamp_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/permission"
)

func setRoles(t testing.TB, e *engine, u handstamp.UserID, roles []string) {
	t.Helper()
	must[handstamp.Ended](t)(account.New(e.Auth, e.store).SetRoles(t.Context(), u, roles, handstamp.EndOptions{}))
}

func define(t testing.TB, e *engine, role string, permissions ...string) {
	t.Helper()
	must[handstamp.Ended](t)(account.New(e.Auth, e.store).PutRole(t.Context(), account.Role{Name: role, Permissions: permissions}, handstamp.EndOptions{}))
}

// TestA4_RoleDefinitions: what a role grants changes for every token already out, on this node at once and on another by
// the log, under a fresh lease and a lapsed one; and nobody is logged out.
func TestA4_RoleDefinitions(t *testing.T) {
	for _, b := range backends() {
		for _, mode := range modes() {
			t.Run(b.name+"/"+string(mode), func(t *testing.T) {
				bubbletest.Test(t, func(t *testing.T) {
					inner := b.open(t)
					node := func() *engine { return setup{store: newHooked(inner), now: time.Now}.open(t) }
					first, second, cut := node(), node(), node()
					define(t, first, "editor", "posts:read")
					setRoles(t, first, "ada", []string{"editor"})
					g := first.start(t, "ada", mode)
					check := func(n *engine, p string, want string) {
						t.Helper()
						_, err := n.verify(g, handstamp.Permission(p))
						wantVerdict(t, err, want)
						_, err = n.verify(g)
						wantVerdict(t, err, "yes")
					}
					time.Sleep(time.Second)
					cut.cutLog()
					check(second, "posts:read", "yes")
					define(t, first, "editor", "posts:write")
					check(first, "posts:write", "yes")
					check(first, "posts:read", "forbidden")
					check(cut, "posts:write", "yes")
					check(cut, "posts:read", "forbidden")
					check(second, "posts:write", "yes") // "no" is never said from memory
					time.Sleep(time.Second)
					check(second, "posts:read", "forbidden")
					if p := must[handstamp.Principal](t)(second.verify(g)); !slices.Equal(p.Permissions(), []string{"posts:write"}) {
						t.Errorf("permissions %v", p.Permissions())
					}
					must[handstamp.Ended](t)(account.New(first.Auth, first.store).DeleteRole(t.Context(), "editor", handstamp.EndOptions{}))
					check(first, "posts:write", "forbidden")
					time.Sleep(time.Second)
					check(second, "posts:write", "forbidden")
				})
			})
		}
	}
}

// TestRoleCopyIsACopy: the copy of the role table is not used when it could not be read again for longer than the log
// remembers, nor after the log became another one.
func TestRoleCopyIsACopy(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := setup{now: time.Now, change: func(o *handstamp.Options) { o.Token.StatelessTTL = time.Hour }}.open(t)
		define(t, e, "editor", "posts:read", "posts:write")
		setRoles(t, e, "ada", []string{"editor"})
		time.Sleep(time.Second)
		e.store.set(func(op string, call func() error) error {
			if op == "Roles" {
				return errDown // the table is never read again
			}
			return call()
		})
		define(t, e, "editor", "posts:read")
		for range 9 { // the event about the role is forgotten on the way
			time.Sleep(10 * time.Minute)
			define(t, e, "another", "x:y")
			g := e.start(t, "ada", handstamp.ModeToken)
			_, err := e.verify(g, handstamp.Permission("posts:write"))
			wantVerdict(t, err, "forbidden")
			if p := must[handstamp.Principal](t)(e.verify(g)); p.May("posts:write") {
				t.Fatal("a permission that was taken away is back")
			}
		}
		if e.Health().Low == 0 {
			t.Error("the log forgot nothing: this test shows nothing")
		}
		define(t, e, "editor", "posts:read", "posts:write")
		must[any](t)(e.store.Restored(t.Context(), true, time.Now()))
		time.Sleep(2 * time.Second)
		g := e.start(t, "ada", handstamp.ModeToken)
		_, err := e.verify(g, handstamp.Permission("posts:write"))
		wantVerdict(t, err, "yes")
	})
}

// TestGivenAMomentAgo: a permission that was given on another node a moment ago turns a "no" from memory into a yes; so
// does a new login that satisfies a step-up.
func TestGivenAMomentAgo(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		inner := setup{}.open(t).store.fullStore
		first := setup{store: newHooked(inner), now: time.Now}.open(t)
		second := setup{store: newHooked(inner), now: time.Now}.open(t)
		g := first.start(t, "ada", handstamp.ModeToken)
		time.Sleep(time.Second)
		define(t, first, "member", "posts:read")
		setRoles(t, first, "ada", []string{"member"})
		_, err := second.verify(g, handstamp.Permission("posts:read"))
		wantReason(t, err, handstamp.ReasonStale) // the token says less than is true: refresh it
		g = first.start(t, "ada", handstamp.ModeToken)
		_, err = second.verify(g, handstamp.Permission("posts:read"))
		wantVerdict(t, err, "yes")
	})
}

// TestRolesAskedForDuringLogin: roles that were asked for before they changed are never written over the change: the login
// is refused as outdated and done again by who runs it.
func TestRolesAskedForDuringLogin(t *testing.T) {
	for _, b := range backends() {
		for _, given := range []bool{false, true} { // by Options.Permissions, or with the proof
			roles := "admin"
			var during func()
			e := setup{store: b.open(t), change: func(o *handstamp.Options) {
				if given {
					return
				}
				o.Permissions = func(context.Context, handstamp.UserID) (handstamp.Grants, error) {
					g := handstamp.Grants{Roles: []string{roles}}
					if fn := during; fn != nil {
						during = nil
						fn()
					}
					return g, nil
				}
			}}.open(t)
			take := func() {
				roles = "member"
				if given {
					setRoles(t, e, "ada", []string{"member"})
				} else {
					must[handstamp.Ended](t)(e.Changed(t.Context(), "ada", handstamp.EndOptions{}))
				}
			}
			setRoles(t, e, "ada", []string{"admin"})
			p := e.prove(t, "ada", handstamp.ModeSession)
			if given {
				p.Grants = &handstamp.Grants{Roles: []string{"admin"}} // asked for now
				take()
			} else {
				during = take
			}
			_, err := e.Start(t.Context(), p)
			if !errors.Is(err, handstamp.ErrProofOutdated) || verdict(err) != "don't know" {
				t.Errorf("%s given=%v: Start = %v", b.name, given, err)
			}
			sub := must[handstamp.Subject](t)(e.Subject(t.Context(), "ada"))
			if !slices.Equal(sub.Grants.Roles, []string{"member"}) {
				t.Errorf("%s given=%v: roles %v came back", b.name, given, sub.Grants.Roles)
			}
		}
	}
}

// TestRefreshAsksForRoles: a refresh brings the roles of today, also when it is delivered again; Changed does at once; both
// are in the audit log.
func TestRefreshAsksForRoles(t *testing.T) {
	roles := []string{"a"}
	e := newEngine(t, func(o *handstamp.Options) {
		o.Roles = permission.Table{"a": permission.NewSet("a:a"), "b": permission.NewSet("b:b")}
		o.Permissions = func(context.Context, handstamp.UserID) (handstamp.Grants, error) {
			return handstamp.Grants{Roles: roles, Permissions: []string{"own:thing"}}, nil
		}
	})
	g := e.start(t, "ada", handstamp.ModeHybrid)
	roles = []string{"b"}
	e.clock.Advance(time.Second)
	_, err := e.verify(g, handstamp.Permission("b:b"))
	wantReason(t, err, handstamp.ReasonForbidden) // nobody has said so yet
	next := must[handstamp.Grant](t)(e.refresh(g))
	for _, p := range []string{"b:b", "own:thing"} {
		_, err = e.verify(next, handstamp.Permission(p))
		wantVerdict(t, err, "yes")
	}
	_, err = e.verify(g) // the old value token says something that is no longer true
	wantReason(t, err, handstamp.ReasonStale)
	roles = []string{"a", "b"}
	e.clock.Advance(time.Second)
	again := must[handstamp.Grant](t)(e.refresh(g))
	if again.RefreshToken.Reveal() != next.RefreshToken.Reveal() || !slices.Equal(again.Principal.Roles(), roles) {
		t.Errorf("delivered again with %v", again.Principal.Roles())
	}
	roles = nil
	e.clock.Advance(time.Second)
	must[handstamp.Ended](t)(e.Changed(t.Context(), "ada", handstamp.EndOptions{Client: handstamp.Client{Actor: "root"}}))
	_, err = e.verify(again)
	wantReason(t, err, handstamp.ReasonStale)
	list := e.audited(t, audit.RolesChanged)
	if len(list) != 4 || list[0].Actor != "root" || list[0].Detail["roles"] != "" || list[1].Detail["roles"] != "a b" {
		t.Errorf("audit: %+v", list)
	}
}

// TestMaxAuthAge (S12): a login that is too old is told to log in again; new secrets satisfy it.
func TestS12_MaxAuthAge(t *testing.T) {
	for _, mode := range modes() {
		e := newEngine(t, nil)
		g := e.start(t, "ada", mode)
		rule := handstamp.MaxAuthAge(5 * time.Minute)
		e.clock.Advance(5*time.Minute - time.Second)
		_, err := e.verify(g, rule)
		wantVerdict(t, err, "yes")
		e.clock.Advance(time.Second)
		_, err = e.verify(g, rule)
		wantReason(t, err, handstamp.ReasonStepUp)
		if !errors.Is(err, handstamp.ErrForbidden) || errors.Is(err, handstamp.ErrUnauthenticated) {
			t.Errorf("%v is not ErrForbidden", err)
		}
		_, err = e.verify(must[handstamp.Grant](t)(e.Renew(t.Context(), g.Session.ID, e.prove(t, "ada", ""))), rule)
		wantVerdict(t, err, "yes")
		_, err = e.verify(g, handstamp.Rule{})
		if err == nil {
			t.Error("the zero Rule is met")
		}
	}
}

// TestServiceKeys: a program's credential has its own permissions, no session, and dies by its own event and its own end
// only.
func TestServiceKeys(t *testing.T) {
	for _, b := range backends() {
		e := setup{store: b.open(t)}.open(t)
		accounts := account.New(e.Auth, e.store)
		k, secret, err := accounts.AddServiceKey(t.Context(), account.NewServiceKey{Name: "ci", Permissions: []string{"posts:*"}, ExpiresAt: e.clock.Now().Add(time.Hour)}, handstamp.Client{})
		if err != nil {
			t.Fatal(err)
		}
		check := func(rules ...handstamp.Rule) (handstamp.Principal, error) {
			return e.CheckToken(t.Context(), secret.Reveal(), rules...)
		}
		p, err := check(handstamp.Permission("posts:write"), handstamp.MaxAuthAge(time.Second), handstamp.Fresh())
		if err != nil || p.User != handstamp.UserID(k.ID) || p.Session != "" || p.Form != handstamp.Key {
			t.Errorf("%+v, %v", p, err)
		}
		_, err = check(handstamp.Permission("users:read"))
		wantReason(t, err, handstamp.ReasonForbidden)
		must[handstamp.Ended](t)(e.EndAll(t.Context(), handstamp.EndOptions{}))
		_, err = check()
		wantVerdict(t, err, "yes")
		e.clock.Advance(time.Hour)
		_, err = check()
		wantReason(t, err, handstamp.ReasonExpired)
		must[handstamp.Ended](t)(e.EndServiceKey(t.Context(), k.ID, handstamp.EndOptions{}))
		_, err = check()
		wantReason(t, err, handstamp.ReasonRevoked)
		if _, err := e.Start(t.Context(), handstamp.Proof{}); err == nil {
			t.Error("a session for a zero Proof")
		}
	}
}
