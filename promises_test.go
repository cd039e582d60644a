package handstamp_test

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/store/sqlite"
	"github.com/handstamp/handstamp/token"
)

// TestE14_AbsenceNeverMatches: no credential, an empty one and a zero hash are nobody's, also where a record has none: the
// modes token and hybrid keep no reference token.
func TestE14_AbsenceNeverMatches(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t)}.open(t)
			for _, m := range modes() {
				e.start(t, "ada", m)
			}
			for _, text := range []string{"", " ", "null", "undefined", "[]", "{}", "0", "false", "hs_s_", "hs_r_", "hs_k_", "hs_b_", "..", "Bearer"} {
				if p, err := e.VerifyToken(t.Context(), text); err == nil || !p.IsZero() {
					t.Errorf("%q is %v", text, p.User)
				}
				_, err := e.Refresh(t.Context(), handstamp.RefreshRequest{Token: token.NewSecret(text)})
				wantReason(t, err, handstamp.ReasonInvalid)
			}
			if _, err := e.store.Sessions().Find(t.Context(), handstamp.Lookup{}); err == nil {
				t.Error("a look-up of nothing found something")
			}
			if _, err := e.store.Sessions().Find(t.Context(), handstamp.Lookup{Key: token.Hash{}, Session: ""}); err == nil {
				t.Error("the zero hash found a session that has no reference token")
			}
		})
	}
}

// TestR4_SecretsAreComparedByHash: what is compared is a hash, in constant time, and two absences are not equal.
func TestR4_SecretsAreComparedByHash(t *testing.T) {
	a, b := token.HashOf(token.Generate(token.Reference)), token.HashOf(token.Generate(token.Reference))
	for _, tt := range []struct {
		name string
		x, y token.Hash
		want bool
	}{
		{"itself", a, a, true},
		{"another", a, b, false},
		{"nothing", a, token.Hash{}, false},
		{"nothing and nothing", token.Hash{}, token.Hash{}, false},
	} {
		if got := tt.x.Equal(tt.y); got != tt.want {
			t.Errorf("%s: Equal = %v, want %v", tt.name, got, tt.want)
		}
	}
	for i := range a { // each byte decides
		c := a
		c[i] ^= 1
		if a.Equal(c) {
			t.Fatalf("byte %d does not count", i)
		}
	}
}

// TestJ19_SpentAndEndedSurviveARestart: everything that was said is still so when every process has ended and the store
// was closed and opened again.
func TestJ19_SpentAndEndedSurviveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handstamp.db")
	open := func(t *testing.T) *engine {
		s, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return setup{store: s}.open(t)
	}
	var spent, ended, revoked, others, alive handstamp.Grant
	t.Run("before", func(t *testing.T) {
		e := open(t)
		spent = e.start(t, "ada", handstamp.ModeHybrid)
		must[handstamp.Grant](t)(e.refresh(spent))
		ended = e.start(t, "ada", handstamp.ModeToken)
		must[handstamp.Ended](t)(e.LogOut(t.Context(), ended.AccessToken, handstamp.EndOptions{}))
		revoked = e.start(t, "bob", handstamp.ModeHybrid)
		others = e.start(t, "bob", handstamp.ModeSession)
		must[handstamp.Ended](t)(e.EndUser(t.Context(), "bob", handstamp.EndOptions{}))
		alive = e.start(t, "bob", handstamp.ModeSession)
	})
	t.Run("after", func(t *testing.T) {
		e := open(t)
		_, err := e.verify(ended)
		wantReason(t, err, handstamp.ReasonRevoked)
		_, err = e.verify(revoked)
		wantReason(t, err, handstamp.ReasonRevoked)
		_, err = e.refresh(revoked)
		wantReason(t, err, handstamp.ReasonRevoked)
		_, err = e.verify(others)
		wantReason(t, err, handstamp.ReasonRevoked)
		if _, err := e.verify(alive); err != nil {
			t.Errorf("what lived before the restart: %v", err)
		}
		e.clock.Advance(time.Minute) // past the grace
		_, err = e.refresh(spent)
		wantReason(t, err, handstamp.ReasonReused)
	})
}

// TestS15_MemoryNeverOutlivesARevocation: a process that is cut off from the log answers from memory for one lease at the
// most. After that it asks the store, and knows.
func TestS15_MemoryNeverOutlivesARevocation(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := inBubble(t, nil)
		g := e.start(t, "ada", handstamp.ModeToken)
		time.Sleep(time.Second) // in the bubble: renewals run
		if _, err := e.verify(g); err != nil {
			t.Fatal(err)
		}
		other := setup{store: e.store.fullStore, now: time.Now}.open(t) // another process, that is not cut off
		e.store.set(func(op string, call func() error) error {
			if strings.HasPrefix(op, "log.") {
				return errDown
			}
			return call()
		})
		must[handstamp.Ended](t)(other.EndUser(t.Context(), "ada", handstamp.EndOptions{}))
		began := time.Now()
		for {
			_, err := e.verify(g)
			if err != nil {
				wantReason(t, err, handstamp.ReasonRevoked)
				break
			}
			if time.Since(began) > 2*time.Second {
				t.Fatalf("still accepted %v after the revocation", time.Since(began))
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// TestReplacedSecretsAreNotHandedOut: of two step-ups of one session the first reads its record back after the second one
// replaced its secrets. A value token made then would outlive them.
func TestReplacedSecretsAreNotHandedOut(t *testing.T) {
	for _, m := range modes() {
		t.Run(string(m), func(t *testing.T) {
			e := newEngine(t, nil)
			g := e.start(t, "ada", m)
			first := must[*handstamp.Renewing](t)(e.PrepareRenew(t.Context(), g.Session.ID, e.prove(t, "ada", "")))
			must[handstamp.Appended](t)(handstamp.Do(t.Context(), e.Auth, e.store.Work(), func(tx handstamp.Tx) (handstamp.Appended, error) {
				return first.In(t.Context(), tx)
			}))
			second := must[handstamp.Grant](t)(e.Renew(t.Context(), g.Session.ID, e.prove(t, "ada", "")))
			_, err := first.Grant(t.Context())
			wantReason(t, err, handstamp.ReasonRevoked)
			if _, err := e.verify(second); err != nil {
				t.Errorf("the secrets that hold: %v", err)
			}
		})
	}
}

// TestS13_ReuseLosesToALogOut: a log-out between the look-up of a spent token and the end of its session is what the
// answer says, and no theft is recorded.
func TestS13_ReuseLosesToALogOut(t *testing.T) {
	e := newEngine(t, nil)
	g := e.start(t, "ada", handstamp.ModeHybrid)
	must[handstamp.Grant](t)(e.refresh(g))
	e.clock.Advance(time.Minute)
	var once sync.Once
	e.store.set(func(op string, call func() error) error {
		err := call()
		if op == "find" || op == "Find" || strings.HasSuffix(op, "Find") {
			once.Do(func() {
				e.store.set(nil)
				must[handstamp.Ended](t)(e.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{}))
			})
		}
		return err
	})
	_, err := e.refresh(g)
	wantReason(t, err, handstamp.ReasonRevoked)
	if n := len(e.audited(t, audit.RefreshReused)); n != 0 {
		t.Errorf("%d thefts in the audit log", n)
	}
}

// TestInspectDatesWhatDecided: a stale token says by which event, and since when.
func TestInspectDatesWhatDecided(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t)}.open(t)
			g := e.start(t, "ada", handstamp.ModeToken)
			e.clock.Advance(time.Minute)
			changed := must[handstamp.Ended](t)(e.Changed(t.Context(), "ada", handstamp.EndOptions{}))
			e.clock.Advance(time.Minute)
			in := e.Inspect(t.Context(), g.AccessToken.Reveal())
			d, ok := errors.AsType[*handstamp.DeniedError](in.Err)
			if !ok || d.Reason != handstamp.ReasonStale || d.By != changed.By || !d.Since.Equal(e.clock.Now().Add(-time.Minute)) {
				t.Errorf("Inspect = %+v, want stale by event %d, a minute ago", in.Err, changed.By)
			}
		})
	}
}
