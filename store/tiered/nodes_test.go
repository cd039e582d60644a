package tiered_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
)

// node is a process of the application, without a memory of its own in front of the tier.
func node(t *testing.T, s handle) *handstamp.Auth {
	t.Helper()
	a, err := handstamp.Open(t.Context(), s, handstamp.Options{
		PublicURL: "https://app.example.com", Lease: 500 * time.Millisecond, CacheBytes: -1,
	})
	must(t, err)
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return a
}

// TestI2_EndedOnEveryNode logs in on one node, checks on both, which the tier answers, ends on one, and checks on the other.
func TestI2_EndedOnEveryNode(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	stores := []handle{s, s.again(t)}
	nodes := []*handstamp.Auth{node(t, stores[0]), node(t, stores[1])}
	for round := range 20 {
		here, there := nodes[round%2], nodes[1-round%2]
		user := handstamp.UserID(fmt.Sprint("user-", round))
		var grants []handstamp.Grant
		for range 2 {
			p, err := here.Prove(t.Context(), user)
			must(t, err)
			p.Transport = handstamp.TransportBearer
			g, err := here.Start(t.Context(), p)
			must(t, err)
			grants = append(grants, g)
		}
		check := func(a *handstamp.Auth, g handstamp.Grant, want bool) {
			t.Helper()
			p, err := a.VerifyToken(t.Context(), g.AccessToken.Reveal())
			if want && (err != nil || p.User != user) {
				t.Errorf("round %d: VerifyToken = %v, %v; want %s", round, p.User, err, user)
			}
			if !want && !errors.Is(err, handstamp.ErrUnauthenticated) {
				t.Errorf("round %d: VerifyToken = %v, %v; want to be refused", round, p.User, err)
			}
		}
		for range 3 {
			for _, g := range grants {
				check(here, g, true)
				check(there, g, true)
			}
		}
		_, err := here.EndUser(t.Context(), user, handstamp.EndOptions{Except: grants[0].Session.ID, WaitFleet: true})
		must(t, err)
		for _, a := range nodes {
			check(a, grants[0], true)
			check(a, grants[1], false)
		}
		_, err = there.EndSession(t.Context(), grants[0].Session.ID, handstamp.EndOptions{WaitFleet: true})
		must(t, err)
		for _, a := range nodes {
			check(a, grants[0], false)
			check(a, grants[1], false)
		}
	}
	if a, b := stores[0].Stats(), stores[1].Stats(); a.Hits < 50 || b.Hits < 50 {
		t.Errorf("the tier answered %d and %d checks: nothing was tried", a.Hits, b.Hits)
	}
}
