// Package transfertest is the contract of a backend's transfer as tests: that its rows are everything it keeps, that it
// notes every change, that its fence holds against each statement of a store, and that a closed database answers nobody.
// The test of a backend is a call of [Run].
//
// It never tests a move as a whole: package move does.
package transfertest

import (
	"context"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/store/transfer"
)

// Backend is the store whose data is transferred.
type Backend interface {
	handstamp.Store
	account.Store
	login.Store
	Keys() keyring.Store
	Close() error
}

// Pair is one database in its two views.
type Pair struct {
	Backend  Backend
	Transfer transfer.Database
	// Open opens the database as a server does that starts now. nil where there is no such thing.
	Open func(ctx context.Context) (Backend, error)
}

// Maker makes empty databases.
type Maker struct {
	// New registers what closes the pair with t.Cleanup.
	New func(t testing.TB) Pair
	// Unclosable is why a closed database of this kind still answers reads; empty where it does not.
	Unclosable string
}

// rule is one sentence of the contract and the test of it.
type rule struct {
	name string
	why  string
	test func(t *testing.T, m Maker)
}

// Run checks every rule.
func Run(t *testing.T, m Maker) {
	t.Helper()
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("the rule: %s", r.why)
				}
			}()
			r.test(t, m)
		})
	}
}

func rules() []rule {
	return []rule{
		{"pages", "pages are in the order of the keys, and nothing is left out or comes twice", testPages},
		{"round_trip", "what is read and written elsewhere is the same installation there: every view answers the same", testRoundTrip},
		{"changes", "every statement of a store notes the rows that it changed", testChanges},
		{"changes_forgotten", "a change is there until it is forgotten, and a later one of the same row stays", testForget},
		{"fence", "no statement of a store gets past the fence, and none is told that something is not there", testFence},
		{"fence_serves", "under the fence reads and renewals go on, and after it everything does", testFenceServes},
		{"closed", "a closed database answers nobody, also those who used it before and have statements prepared", testClosed},
		{"closed_start", "no server starts on a closed database", testClosedStart},
		{"marks", "who goes by another mark changes nothing: two runs at once would write over each other", testMarks},
		{"unread_changes", "a fenced database is not closed over changes that nobody carried over", testUnread},
		{"unique", "a unique value that went from one row to another arrives, whichever row comes first", testUnique},
	}
}

// all reads a whole table.
func all(t testing.TB, r transfer.Reader, table transfer.Table, page int) []transfer.Row {
	t.Helper()
	var rows []transfer.Row
	var last transfer.Row
	for {
		p, err := r.Page(t.Context(), table, last, page)
		if err != nil {
			t.Fatalf("Page(%s) = %v", table.Name, err)
		}
		rows = append(rows, p...)
		if len(p) < page {
			return rows
		}
		last = table.KeyOf(p[len(p)-1])
	}
}

// set moves a database from the mark it has to a phase.
func set(t testing.TB, db transfer.Database, p transfer.Phase) transfer.Mark {
	t.Helper()
	from, err := db.Mark(t.Context())
	if err != nil {
		t.Fatalf("Mark = %v", err)
	}
	to := transfer.Mark{Phase: p, Log: "log", Peer: "it's elsewhere", Run: "run", At: at(0)}
	if p == transfer.Open {
		to = transfer.Mark{}
	}
	if err := db.Set(t.Context(), from, to); err != nil {
		t.Fatalf("Set(%q) = %v", p, err)
	}
	got, err := db.Mark(t.Context())
	if err != nil || got != to {
		t.Fatalf("Mark after Set = %+v, %v, want %+v", got, err, to)
	}
	return to
}

// fill copies everything from one database to another that is Filling.
func fill(t testing.TB, from transfer.Reader, to transfer.Target, m transfer.Mark) {
	t.Helper()
	for _, table := range transfer.Tables() {
		var drop []transfer.Row
		for _, r := range all(t, to, table, 100) {
			drop = append(drop, table.KeyOf(r))
		}
		if err := to.Write(t.Context(), m, table, all(t, from, table, 100), drop); err != nil {
			t.Fatalf("Write(%s) = %v", table.Name, err)
		}
	}
}
