package tiered

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
)

// Base is the database behind the tier.
type Base interface {
	handstamp.Store
	account.Store
	login.Store
	Keys() keyring.Store
	Restored(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error)
	Close() error
}

// Entry is one copy as a cache keeps it. It is a name for a type without one, so that a cache need not know this package.
type Entry = struct {
	// Key is what the copy is found by: a hash of the credential. Owner is whose it is; an owner has one copy at most.
	Key, Owner string
	AsOf       uint64 // the number of the log up to which the copy has seen everything
	Version    uint64 // of the record, among copies of one number
	Value      []byte
	KeepFor    time.Duration
}

// Cache keeps copies for all processes. It may lose them at any time. It is safe for concurrent use; Redis and Valkey are
// in package store/redis.
type Cache interface {
	// Get returns the copy under a key, nil if there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put keeps a copy, unless the owner has a newer one or something newer was noted of the owner.
	Put(ctx context.Context, e Entry) error
	// Note drops the copies of owners that are older than a number, keeps older ones away that come late, and wakes those
	// who listen, in all processes.
	Note(ctx context.Context, number uint64, owners ...string) error
	// Listen calls wake whenever something was noted, until ctx ends.
	Listen(ctx context.Context, wake func())
	// Close ends the cache's use.
	Close()
}

// Options of [New]. The zero value works, and believes only what this process has written itself.
type Options struct {
	// Secrets are the fleet's, as Auth has them: the first authenticates what this process writes, all of them what it
	// believes. So whoever can write to the cache cannot make a session. Without any, a random one takes their place.
	Secrets [][]byte
	// Timeout bounds one call of the cache; 5 ms to 1 s. 0 is 75 ms.
	Timeout time.Duration
}

// Store is a database with a tier in front. It is safe for concurrent use; make it with [New].
type Store struct {
	base    Base
	cache   Cache
	seal    *sealer
	breaker breaker
	timeout time.Duration

	log    atomic.Pointer[string] // the id of the log that this process follows
	events *revoke.Set            // what this process heard of it: which copies are out of date
	low    atomic.Uint64
	learns sync.Mutex

	hits, misses, stale, failures atomic.Uint64
}

// The consumers' interfaces.
var (
	_ handstamp.Store = (*Store)(nil)
	_ account.Store   = (*Store)(nil)
	_ login.Store     = (*Store)(nil)
	_ login.Tx        = (*unit)(nil)
	_ revoke.Log      = (*eventLog)(nil)
)

// The default and the bounds of Options.Timeout: an answer that takes longer is no faster than the database's.
const (
	defaultTimeout = 75 * time.Millisecond
	leastTimeout   = 5 * time.Millisecond
	maxTimeout     = time.Second
)

// New puts a cache in front of a database. The tier answers nothing before somebody follows [Store.Log]: only then it is
// known which log copies belong to. Closing the store closes both.
func New(base Base, cache Cache, opt Options) *Store {
	if opt.Timeout == 0 {
		opt.Timeout = defaultTimeout
	}
	return &Store{
		base: base, cache: cache, seal: newSealer(opt.Secrets), events: revoke.NewSet(),
		timeout: min(max(opt.Timeout, leastTimeout), maxTimeout),
	}
}

// Close closes the cache and the database.
func (s *Store) Close() error {
	s.cache.Close()
	return s.base.Close()
}

// Sessions returns the view for reads and single statements on sessions.
func (s *Store) Sessions() handstamp.Sessions { return sessions{s.base.Sessions(), s} }

// Values returns the database's view for the named values of sessions.
func (s *Store) Values() handstamp.Values { return s.base.Values() }

// Log returns the database's log. Whoever follows it through here tells the tier which copies are out of date, and is
// woken by the cache too.
func (s *Store) Log() revoke.Log { return &eventLog{s.base.Log(), s} }

// Audit returns the database's audit log.
func (s *Store) Audit() audit.Log { return s.base.Audit() }

// Users returns the database's accounts.
func (s *Store) Users() account.Users { return s.base.Users() }

// Keys returns the database's signing keys.
func (s *Store) Keys() keyring.Store { return s.base.Keys() }

// Roles returns the database's roles.
func (s *Store) Roles(ctx context.Context) (permission.Table, uint64, error) {
	return s.base.Roles(ctx)
}

// Settle agrees with the database's other processes. The tier loses nothing that the database has, so what that says of
// durability holds.
func (s *Store) Settle(ctx context.Context, want handstamp.Settings) (handstamp.Settings, error) {
	return s.base.Settle(ctx, want)
}

// Restored makes the database's log another one. No copy is of that one.
func (s *Store) Restored(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error) {
	h, err := s.base.Restored(ctx, keepSessions, now)
	s.log.Store(nil) // until somebody has followed the log again
	return h, err
}

// Stats is what the tier did since the start, and how its cache is.
type Stats struct {
	Hits   uint64 // look-ups that a copy answered
	Misses uint64 // that found none
	Stale  uint64 // that found one which could not be used: out of date, of another log, or not written by the fleet
	Errors uint64 // calls that the cache did not answer, in time or at all
	Opened uint64 // how often it was left alone after that
	State  State  // how it is at the moment
}

// Stats returns the numbers for metrics.
func (s *Store) Stats() Stats {
	state, opened := s.breaker.look(time.Now())
	return Stats{
		Hits: s.hits.Load(), Misses: s.misses.Load(), Stale: s.stale.Load(), Errors: s.failures.Load(), Opened: opened, State: state,
	}
}
