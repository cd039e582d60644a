package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
)

// EndedOnEveryNode opens a process of an application on each of two stores, which are two handles on the same data. It
// logs in on one, checks on both, ends on one, and checks on both again, by turns: what was ended with
// [handstamp.EndOptions].WaitFleet is over everywhere when the call returns, and what was spared is not. opt is what the
// processes have besides; its zero value is good.
func EndedOnEveryNode(t *testing.T, opt handstamp.Options, one, two handstamp.Store) {
	t.Helper()
	opt.PublicURL, opt.Lease = cmp.Or(opt.PublicURL, "https://app.example.com"), cmp.Or(opt.Lease, 500*time.Millisecond)
	n := nodes{openNode(t, one, opt), openNode(t, two, opt)}
	for round := range 20 {
		here, there := n[round%2], n[1-round%2]
		user := handstamp.UserID(fmt.Sprint("user-", round))
		spared, ended := logIn(t, here, user), logIn(t, here, user)
		for range 3 {
			n.check(t, spared, true)
			n.check(t, ended, true)
		}
		_, err := here.EndUser(t.Context(), user, handstamp.EndOptions{Except: spared.Session.ID, WaitFleet: true})
		must(t, err)
		n.check(t, spared, true)
		n.check(t, ended, false)
		_, err = there.EndSession(t.Context(), spared.Session.ID, handstamp.EndOptions{WaitFleet: true})
		must(t, err)
		n.check(t, spared, false)
		n.check(t, ended, false)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

// nodes are processes of one application.
type nodes [2]*handstamp.Auth

func openNode(t *testing.T, s handstamp.Store, opt handstamp.Options) *handstamp.Auth {
	t.Helper()
	a, err := handstamp.Open(t.Context(), s, opt)
	must(t, err)
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return a
}

func logIn(t *testing.T, a *handstamp.Auth, u handstamp.UserID) handstamp.Grant {
	t.Helper()
	p, err := a.Prove(t.Context(), u)
	must(t, err)
	p.Transport = handstamp.TransportBearer
	g, err := a.Start(t.Context(), p)
	must(t, err)
	return g
}

// check has every node check the access token.
func (n nodes) check(t *testing.T, g handstamp.Grant, want bool) {
	t.Helper()
	for i, a := range n {
		p, err := a.VerifyToken(t.Context(), g.AccessToken.Reveal())
		if want && (err != nil || p.User != g.Session.User) {
			t.Errorf("node %d: VerifyToken = %v, %v; want %s", i, p.User, err, g.Session.User)
		}
		if !want && !errors.Is(err, handstamp.ErrUnauthenticated) {
			t.Errorf("node %d: VerifyToken = %v, %v; want to be refused", i, p.User, err)
		}
	}
}
