package scenario

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// raceStores are the ways to keep sessions whose races differ.
func raceStores(t *testing.T, fn func(t *testing.T, f *fleet)) {
	for _, store := range []string{onPostgres, onSQLite, onRedis, onTiered} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, setup{store: store, nodes: 2, shared: true})
			fn(t, f)
			f.finish(fault.Rules{Bound: time.Second})
		})
	}
}

// together runs functions from one moment on.
func together(fns ...func()) {
	gate := make(chan struct{})
	var all sync.WaitGroup
	for _, fn := range fns {
		all.Go(func() { <-gate; fn() })
	}
	close(gate)
	all.Wait()
}

// A log-out on one node and refreshes on both: whoever comes first, the session is over afterwards, and no refresh brings
// it back.
func TestLogOutAgainstRefresh(t *testing.T) {
	raceStores(t, func(t *testing.T, f *fleet) {
		a, b := f.nodes[0], f.nodes[1]
		for round := range times(30, 500) {
			c := a.start(f.newUser(), "hybrid")
			if c == nil {
				t.Fatal("no session")
			}
			_, token := c.now()
			ender := f.nodes[round%2]
			together(func() { a.refreshWith(c, token) }, func() { b.refreshWith(c, token) }, func() { ender.logout(c) }, func() { b.refreshWith(c, token) })
			for _, n := range f.nodes {
				if op := n.refresh(c); op.Outcome != fault.No {
					t.Errorf("a refresh after the log-out: %d %s", op.Status, op.Code)
				}
			}
			if op := ender.check(c, false); op.Outcome != fault.No {
				t.Errorf("a check after the log-out: %d %s", op.Status, op.Code)
			}
		}
	})
}

// A user is disabled while sessions of his refresh: none goes on, and none comes back when he is enabled again.
func TestDisableAgainstRefresh(t *testing.T) {
	raceStores(t, func(t *testing.T, f *fleet) {
		a, b := f.nodes[0], f.nodes[1]
		for round := range times(15, 200) {
			user, password := f.signUp(a, round)
			var all []*cred
			for i := range 4 {
				c := f.nodes[i%2].login(f, user, password)
				if c == nil {
					t.Fatal("no login")
				}
				all = append(all, c)
			}
			var fns []func()
			for i, c := range all {
				fns = append(fns, func() { f.nodes[i%2].refresh(c) })
			}
			fns = append(fns, func() { a.disable(user.id, true) })
			together(fns...)
			for i, c := range all {
				if op := f.nodes[(i+1)%2].refresh(c); op.Outcome != fault.No {
					t.Errorf("a refresh of a disabled user: %d %s", op.Status, op.Code)
				}
				if op := a.check(c, false); op.Outcome != fault.No {
					t.Errorf("a check of a disabled user: %d %s", op.Status, op.Code)
				}
			}
			if a := b.call(context.Background(), http.MethodPost, "/v1/login", "", map[string]any{"email": user.email, "password": password, "mode": "hybrid"}); a.status != http.StatusForbidden {
				t.Errorf("a login of a disabled user: %d %s", a.status, a.body)
			}
			a.disable(user.id, false)
			for i, c := range all {
				if op := f.nodes[i%2].refresh(c); op.Outcome != fault.No {
					t.Errorf("a refresh after the user was enabled again: %d %s", op.Status, op.Code)
				}
			}
		}
	})
}

// All sessions of a user are ended again and again while he logs in on both nodes: a login that was acknowledged before
// is over, and one that begins after the last end lives.
func TestRevokeAllAgainstAStormOfLogins(t *testing.T) {
	raceStores(t, func(t *testing.T, f *fleet) {
		for range times(5, 100) {
			user := f.newUser()
			var fns []func()
			for i := range 16 {
				fns = append(fns, func() {
					for range 3 {
						n := f.nodes[i%2]
						if c := n.start(user, []string{"session", "token", "hybrid"}[i%3]); c != nil {
							n.check(c, false)
							f.nodes[(i+1)%2].check(c, false)
						}
					}
				})
			}
			for i := range 2 {
				fns = append(fns, func() {
					for range 4 {
						f.nodes[i].endUser(user, i == 0)
					}
				})
			}
			together(fns...)
			last, _ := f.nodes[0].endUser(user, true)
			if last.Outcome != fault.Yes {
				t.Fatalf("the last end: %d %s", last.Status, last.Code)
			}
			if c := f.nodes[1].start(user, "session"); c == nil || f.nodes[0].check(c, false).Outcome != fault.Yes {
				t.Error("a login after the last end is not good")
			}
		}
	})
}

type account struct{ id, email string }

// signUp makes an account.
func (f *fleet) signUp(n *node, round int) (account, string) {
	f.t.Helper()
	email, password := fmt.Sprintf("user-%d@example.com", round), "a long enough passphrase"
	a := n.call(context.Background(), http.MethodPost, "/v1/admin/users", f.key, map[string]any{"email": email, "password": password})
	g := struct{ ID string }{}
	if a.status != http.StatusCreated || decode(a.body, &g) != nil || g.ID == "" {
		f.t.Fatalf("make an account: %d %s", a.status, a.body)
	}
	return account{g.ID, email}, password
}

// login logs a user in by password, for mode hybrid.
func (n *node) login(f *fleet, user account, password string) *cred {
	op := f.Invoke(fault.Op{Kind: fault.Start, Node: n.Name(), User: user.id, Form: "hybrid", Note: "login", Entry: loginOK})
	a := n.call(context.Background(), http.MethodPost, "/v1/login", "", map[string]any{"email": user.email, "password": password, "mode": "hybrid", "transport": "bearer"})
	outcome := fault.Unknown
	switch a.status {
	case http.StatusOK:
		outcome = fault.Yes
	case http.StatusUnauthorized, http.StatusTooManyRequests:
		outcome = fault.No
	}
	f.done(op, a, outcome)
	if outcome != fault.Yes {
		return nil
	}
	g := a.grant()
	c := &cred{mode: "hybrid", session: g.Session.ID, user: user.id, access: g.Access, refresh: g.Refresh}
	f.created.Store(c.session, c)
	return c
}

// disable disables a user, which ends his sessions, or enables him again, which begins none.
func (n *node) disable(user string, disabled bool) {
	op := fault.Op{Kind: "enable", Node: n.Name(), User: user, Entry: userEnabled}
	if disabled {
		op.Kind, op.Entry = fault.End, userDisabled
	}
	one := n.f.Invoke(op)
	a := n.call(context.Background(), http.MethodPatch, "/v1/admin/users/"+user, n.f.key, map[string]any{"disabled": disabled})
	outcome := fault.Unknown
	if a.status == http.StatusOK {
		outcome = fault.Yes
	} else {
		n.f.t.Errorf("change a user: %d %s", a.status, a.body)
	}
	n.f.done(one, a, outcome)
}
