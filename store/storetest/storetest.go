// Package storetest is the contract of a store as tests. The test of a backend is a call of [Run] (or of [RunSessions],
// for a store that keeps sessions only) with a function that opens an empty one:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Maker{Open: func(t testing.TB) storetest.Backend { return open(t) }})
//	}
//
// Each rule has a name and a sentence that says what goes wrong without it; the sentence is printed when the rule is
// broken. The rules use what is public of a store and nothing else. They pass the time and never sleep. All times lie
// in the past, so that a store whose sweep also asks its own clock calls the same records over.
//
// Package storetest never checks speed, and never that a crash loses nothing: only a test that kills a process can.
package storetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
)

// SessionStore is what a session-only store offers: records, and units of work on them.
type SessionStore interface {
	Sessions() handstamp.Sessions
	Values() handstamp.Values
	Work() handstamp.UnitOfWork[handstamp.Tx]
}

// Backend is everything that a full store offers: the engine's view, the views for accounts and logins, and what its
// owner does with it.
type Backend interface {
	handstamp.Store
	account.Store
	login.Store
	// Keys are the signing keys.
	Keys() keyring.Store
	// Restored makes the log another one, as after the database was put back from a backup: it has a new id, its numbers
	// jump by 2^32, and it has forgotten everything up to there. Then it writes one all/end event, unless keepSessions is
	// set. It returns the head after that.
	Restored(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error)
	// Close ends the store's use. Nothing is called after it.
	Close() error
}

// Maker makes the stores that the rules are tried on.
type Maker struct {
	// Open gives a fresh and empty store. It registers what closes it with t.Cleanup.
	Open func(t testing.TB) Backend
	// Again is nil, or gives a second handle on the data of b, as another process has it.
	Again func(t testing.TB, b Backend) Backend
	// Reopen is nil, or closes b and opens its data again.
	Reopen func(t testing.TB, b Backend) Backend
}

// Run checks every rule of a full store.
func Run(t *testing.T, m Maker) {
	t.Helper()
	RunSessions(t, func(t testing.TB) SessionStore { return m.Open(t) })
	for _, a := range fullAreas() {
		runArea(t, a, m.Open)
	}
	if m.Again != nil {
		runArea(t, area[handles]{"two_handles", handleRules()}, func(t testing.TB) handles {
			b := m.Open(t)
			return handles{one: b, two: m.Again(t, b)}
		})
	}
	if m.Reopen != nil {
		runArea(t, area[reopened]{"reopened", reopenRules()}, func(t testing.TB) reopened {
			return reopened{store: m.Open(t), again: func(b Backend) Backend { return m.Reopen(t, b) }}
		})
	}
}

// RunSessions checks the rules of a store that keeps sessions only: [handstamp.Sessions], and units of work with
// [handstamp.Tx].
func RunSessions(t *testing.T, open func(t testing.TB) SessionStore) {
	t.Helper()
	for _, a := range sessionAreas() {
		runArea(t, a, open)
	}
}

// rule is one sentence of the contract and the test of it.
type rule[S any] struct {
	name string
	why  string
	test func(t *testing.T, s S)
}

// area is a group of rules.
type area[S any] struct {
	name  string
	rules []rule[S]
}

func runArea[S any](t *testing.T, a area[S], open func(t testing.TB) S) {
	t.Run(a.name, func(t *testing.T) {
		for _, r := range a.rules {
			t.Run(r.name, func(t *testing.T) {
				defer explain(t, r.why)
				r.test(t, open(t))
			})
		}
	})
}

// explain prints the sentence of a rule that was broken.
func explain(t *testing.T, why string) {
	if t.Failed() {
		t.Logf("the rule: %s", why)
	}
}

// sessionAreas is everything that a session-only store must keep.
func sessionAreas() []area[SessionStore] {
	return []area[SessionStore]{
		{"sessions", recordRules()},
		{"refresh", slices.Concat(refreshRules(), unreadRules())},
		{"events", eventRules()},
		{"values", valueRules()},
		{"anonymous", anonymousRules()},
		{"units", unitRules()},
		{"faults", faultRules()},
		{"model", modelRules()},
	}
}

// fullAreas is what a full store must keep beyond that.
func fullAreas() []area[Backend] {
	return []area[Backend]{
		{"accounts", accountRules()},
		{"keys", keyRules()},
		{"logins", loginRules()},
		{"audit", slices.Concat(auditRules(), deleteRules())},
		{"settings", settleRules()},
		{"log", logRules()},
		{"restored", restoredRules()},
		{"subjects", subjectRules()},
		{"limits", limitRules()},
	}
}
