package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// unreadRules are those of refreshes whose session nobody has read: what the engine would have seen is a condition.
func unreadRules() []rule[SessionStore] {
	return []rule[SessionStore]{
		{"other_nonce", "a token of a family that new secrets have replaced moves nothing, or it would be put back in its place", rotatesOtherNonce},
		{"unread", "an unread session is refreshed like one that was read", rotatesUnread},
		{"unread_young", "a rotation that is younger than the grace is asked about first, or tabs that refresh at once lose their token", rotatesYoung},
		{"unread_heavy", "what may be too much for a value token is asked about first, or the client's token is spent for nothing", rotatesHeavy},
		{"unread_once", "of fifty refreshes of one unread token exactly one wins", rotatesUnreadOnce},
	}
}

// unread is rotation without having read the session.
func unread(s handstamp.Session, minute int, by time.Time, weight int) handstamp.Rotation {
	r := rotation(s, minute)
	r.Unread = &handstamp.Unread{RotatedBy: by, Weight: weight}
	return r
}

func rotatesOtherNonce(t *testing.T, s SessionStore) {
	before := begin(t, s, ada, 0)
	for _, nonce := range [][32]byte{hash(), {}} {
		r := rotation(before, 1)
		r.Family.Nonce = nonce
		_, err := s.Sessions().Rotate(t.Context(), before.ID, 1, r)
		fails(t, "Rotate with another nonce", err, handstamp.ErrConflict)
	}
	same(t, "the record after that", find(t, s, before.ID).Session, before)
	bare := session(bob, 0)
	bare.Refresh = handstamp.Family{}
	bare = put(t, s, bare)
	for _, nonce := range [][32]byte{hash(), {}} {
		_, err := s.Sessions().Rotate(t.Context(), bare.ID, 0, handstamp.Rotation{At: at(1), Family: handstamp.Family{Generation: 1, Nonce: nonce}})
		fails(t, "Rotate of a session without a family", err, handstamp.ErrConflict)
	}
	same(t, "the record without a family after that", find(t, s, bare.ID).Session, bare)
}

func rotatesUnread(t *testing.T, s SessionStore) {
	before := begin(t, s, ada, 0)
	r := unread(before, 5, at(1), 1000)
	r.Claims = nil
	f, err := s.Sessions().Rotate(t.Context(), before.ID, 1, r)
	must(t, err)
	want := before
	want.Refresh, want.SeenAt, want.Claims, want.Version = r.Family, r.SeenAt, nil, f.Session.Version
	same(t, "the answer's session", f.Session, want)
	same(t, "what Find says after it", find(t, s, before.ID), f)
	for _, c := range liveCases() {
		t.Run(c.name, func(t *testing.T) {
			r := c.make(t, s)
			change := unread(r, 0, at(700), 1000)
			change.At, change.SeenAt = c.now, c.now
			_, err := s.Sessions().Rotate(t.Context(), r.ID, 1, change)
			if c.want {
				must(t, err)
			} else {
				fails(t, "Rotate", err, handstamp.ErrConflict)
			}
			enable(t, s, c.name)
		})
	}
}

func rotatesYoung(t *testing.T, s SessionStore) {
	before := begin(t, s, ada, 0)
	f, err := s.Sessions().Rotate(t.Context(), before.ID, 1, unread(before, 5, at(1), 1000))
	must(t, err)
	_, err = s.Sessions().Rotate(t.Context(), before.ID, 2, unread(f.Session, 6, at(5).Add(-time.Microsecond), 1000))
	fails(t, "Rotate a moment too early", err, handstamp.ErrConflict)
	same(t, "the record after that", find(t, s, before.ID), f)
	_, err = s.Sessions().Rotate(t.Context(), before.ID, 2, unread(f.Session, 6, at(5), 1000))
	must(t, err)
}

func rotatesHeavy(t *testing.T, s SessionStore) {
	one := session(ada, 0)
	one.Methods = []string{strings.Repeat("\U0001F600", 20), `"quoted"`}
	one = put(t, s, one)
	weigh := func(name string, change func(g *handstamp.Grants)) {
		unit(t, s, func(tx handstamp.Tx) error {
			sub := handstamp.Subject{User: ada}
			change(&sub.Grants)
			return tx.PutSubject(t.Context(), sub)
		})
		f := find(t, s, one.ID)
		weight := f.Weight()
		_, err := s.Sessions().Rotate(t.Context(), one.ID, f.Session.Refresh.Generation, unread(f.Session, 1, at(9), weight-1))
		fails(t, fmt.Sprintf("Rotate of %s that weighs %d with a limit below it", name, weight), err, handstamp.ErrConflict)
		same(t, "the record after that", find(t, s, one.ID), f)
		_, err = s.Sessions().Rotate(t.Context(), one.ID, f.Session.Refresh.Generation, unread(f.Session, 1, at(9), 2*weight+16))
		must(t, err)
	}
	weigh("methods alone", func(*handstamp.Grants) {})
	weigh("wide names", func(g *handstamp.Grants) {
		g.Roles, g.Permissions = []string{strings.Repeat("\U0001F600", 50)}, []string{strings.Repeat("\u00e9", 50), "a\tb", `"`}
	})
	weigh("permissions", func(g *handstamp.Grants) { g.Permissions = []string{"notes:read", strings.Repeat("p", 100)} })
	weigh("roles", func(g *handstamp.Grants) { g.Roles = []string{"unknown", strings.Repeat("r", 100)} })
	b, ok := s.(Backend)
	if !ok {
		return // its roles are its base's
	}
	accountUnit(t, b, func(tx account.Tx) error {
		return tx.PutRole(t.Context(), account.Role{Name: "wide", Permissions: []string{strings.Repeat("w", 120), strings.Repeat("v", 120)}})
	})
	weigh("what a role grants", func(g *handstamp.Grants) { g.Roles = []string{"wide"} })
}

func rotatesUnreadOnce(t *testing.T, s SessionStore) {
	before := begin(t, s, ada, 0)
	won := race(t, func(int) error {
		_, err := s.Sessions().Rotate(t.Context(), before.ID, 1, unread(before, 1, at(1), 1000))
		return err
	})
	if len(won) != 1 || find(t, s, before.ID).Session.Refresh.Generation != 2 {
		t.Errorf("%d of %d refreshes won, want 1", len(won), racers)
	}
}
