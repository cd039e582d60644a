// Package memory keeps everything in the memory of one process: for tests, for trying out, and ([Over]) for sessions
// that may be lost at a restart over a database of accounts that may not.
//
// It keeps the whole contract of a store: units of work are atomic and one after the other, reads see one snapshot, and
// what it returns shares nothing with what it keeps. It never writes to a disk and never says that it did: its
// durability is volatile. It decides nothing by a clock of its own.
package memory

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
)

// Store is a whole backend in memory. It is safe for concurrent use; make it with [New].
//
// Lock order: turn, mu. Whoever holds turn may read data without mu, since only holders of turn change it (all but the
// registrations of verifiers, which have nothing to do with units). A unit runs while it holds turn alone, so that
// reads go on beside it; only the moment of its commit takes mu.
type Store struct {
	turn turn
	mu   sync.RWMutex
	data *data
	bell bell
}

// New returns an empty store with the roles that exist from the start: admin, which may everything, and member, which
// everybody gets at sign-up and which may nothing until it is given something.
func New() *Store {
	d := newData()
	d.putRole(account.Role{Name: "admin", Permissions: []string{permission.Everything}})
	d.putRole(account.Role{Name: "member"})
	return &Store{turn: newTurn(), data: d}
}

// Close forgets nothing and fails never: what was in memory goes with the process.
func (s *Store) Close() error { return nil }

// Sessions returns the view for reads and single statements on sessions.
func (s *Store) Sessions() handstamp.Sessions { return sessions{s} }

// Work returns the engine's units of work.
func (s *Store) Work() handstamp.UnitOfWork[handstamp.Tx] {
	return work[handstamp.Tx]{s, func(t *tx) handstamp.Tx { return t }}
}

// AccountWork returns the units of work on accounts.
func (s *Store) AccountWork() handstamp.UnitOfWork[account.Tx] {
	return work[account.Tx]{s, func(t *tx) account.Tx { return t }}
}

// LoginWork returns the units of work of logins.
func (s *Store) LoginWork() handstamp.UnitOfWork[login.Tx] {
	return work[login.Tx]{s, func(t *tx) login.Tx { return t }}
}

// Log returns the log as followers see it.
func (s *Store) Log() revoke.Log { return eventLog{s} }

// Audit returns the audit log.
func (s *Store) Audit() audit.Log { return audits{s} }

// Users returns the view for reads of accounts, roles and service keys.
func (s *Store) Users() account.Users { return users{s} }

// Keys returns the signing keys.
func (s *Store) Keys() keyring.Store { return keys{s} }

// Roles returns what every role grants, and the log's head at that moment.
func (s *Store) Roles(ctx context.Context) (permission.Table, uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, fmt.Errorf("read roles: %w", err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.data.table), s.data.meta.head, nil
}

// Settle agrees on the lease and the fingerprints of secrets; see [handstamp.Settings]. Its word on durability is
// volatile.
func (s *Store) Settle(ctx context.Context, want handstamp.Settings) (handstamp.Settings, error) {
	var kept handstamp.Settings
	err := s.do(ctx, func(t *tx) error {
		var err error
		kept, err = t.settle(want)
		return err
	})
	return kept, err
}

// Restored makes the log another one, as after a database was put back from a backup: a new id, numbers that jump by
// 2^32, and nothing known of what was before. Unless keepSessions is set, everybody's sessions end. For a store in
// memory it is a way to test what follows the log. It returns the head after that.
func (s *Store) Restored(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error) {
	var h revoke.Head
	err := s.do(ctx, func(t *tx) error {
		t.restart(now)
		if !keepSessions {
			t.append(revoke.Event{
				Kind: revoke.KindAll, Effect: revoke.End, At: now, Until: now.Add(revoke.Retention), Reason: "restored",
			})
		}
		h = t.meta.headOf()
		return nil
	})
	return h, err
}

// turn lets one writer in at a time. It is a channel and no mutex, so that waiting ends with the context.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil { // a select with two ready cases may take the other one
		return err
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) give() { <-t }

// bell wakes those who watch the log.
type bell struct {
	mu      sync.Mutex
	waiting map[chan struct{}]struct{}
}

// ring never waits: a watcher that has not looked since the last ring is woken once for both.
func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.waiting {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (b *bell) add() chan struct{} {
	c := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == nil {
		b.waiting = make(map[chan struct{}]struct{})
	}
	b.waiting[c] = struct{}{}
	return c
}

func (b *bell) remove(c chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, c)
}

// newLogID draws the id of a log: 130 bits.
func newLogID() string { return rand.Text() }
