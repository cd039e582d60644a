package handstamptest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
)

// Store is a store in memory that can be taken down, see [Harness.StoreDown]. It has the views that memory.Store has:
// accounts, logins and signing keys among them. It is safe for concurrent use.
type Store struct {
	*memory.Store
	down atomic.Bool

	mu      sync.Mutex
	waiting map[*func()]struct{} // what wakes those who watch the log
}

func newStore() *Store {
	return &Store{Store: memory.New(), waiting: map[*func()]struct{}{}}
}

// errDown is what every call answers while the store is down. It is none of the answers that mean no.
var errDown = errors.New("the store is down: handstamptest.Harness.StoreDown(true)")

func (s *Store) up() error {
	if s.down.Load() {
		return errDown
	}
	return nil
}

func ask[T any](s *Store, call func() (T, error)) (T, error) {
	if err := s.up(); err != nil {
		var none T
		return none, err
	}
	return call()
}

func (s *Store) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for fn := range s.waiting {
		(*fn)()
	}
}

// Sessions returns the view for reads and single statements on sessions.
func (s *Store) Sessions() handstamp.Sessions { return sessions{s.Store.Sessions(), s} }

// Values returns the view for the named values of sessions.
func (s *Store) Values() handstamp.Values { return values{s.Store.Values(), s} }

// Work returns the engine's units of work.
func (s *Store) Work() handstamp.UnitOfWork[handstamp.Tx] {
	return work[handstamp.Tx]{s.Store.Work(), s}
}

// AccountWork returns the units of work on accounts.
func (s *Store) AccountWork() handstamp.UnitOfWork[account.Tx] {
	return work[account.Tx]{s.Store.AccountWork(), s}
}

// LoginWork returns the units of work of logins.
func (s *Store) LoginWork() handstamp.UnitOfWork[login.Tx] {
	return work[login.Tx]{s.Store.LoginWork(), s}
}

// Log returns the log as followers see it.
func (s *Store) Log() revoke.Log { return eventLog{s.Store.Log(), s} }

// Audit returns the audit log.
func (s *Store) Audit() audit.Log { return audits{s.Store.Audit(), s} }

// Users returns the view for reads of accounts, roles and service keys.
func (s *Store) Users() account.Users { return users{s.Store.Users(), s} }

// Keys returns the signing keys.
func (s *Store) Keys() keyring.Store { return keys{s.Store.Keys(), s} }

// Roles returns what every role grants, and the log's head at that moment.
func (s *Store) Roles(ctx context.Context) (permission.Table, uint64, error) {
	if err := s.up(); err != nil {
		return nil, 0, err
	}
	return s.Store.Roles(ctx)
}

// Settle agrees on the settings of all processes.
func (s *Store) Settle(ctx context.Context, want handstamp.Settings) (handstamp.Settings, error) {
	return ask(s, func() (handstamp.Settings, error) { return s.Store.Settle(ctx, want) })
}

// Restored makes the log another one, as after a database was put back from a backup.
func (s *Store) Restored(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error) {
	return ask(s, func() (revoke.Head, error) { return s.Store.Restored(ctx, keepSessions, now) })
}

type work[T any] struct {
	inner handstamp.UnitOfWork[T]
	s     *Store
}

// Do refuses at the end, too: a unit that is under way when a database goes away is not committed.
func (w work[T]) Do(ctx context.Context, fn func(tx T) error) error {
	if err := w.s.up(); err != nil {
		return err
	}
	return w.inner.Do(ctx, func(tx T) error {
		if err := fn(tx); err != nil {
			return err
		}
		return w.s.up()
	})
}

type sessions struct {
	inner handstamp.Sessions
	s     *Store
}

func (v sessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	return ask(v.s, func() (handstamp.Found, error) { return v.inner.Find(ctx, l) })
}

func (v sessions) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	return ask(v.s, func() (handstamp.Subject, error) { return v.inner.Subject(ctx, u) })
}

func (v sessions) List(ctx context.Context, f handstamp.SessionFilter) ([]handstamp.Session, error) {
	return ask(v.s, func() ([]handstamp.Session, error) { return v.inner.List(ctx, f) })
}

func (v sessions) Rotate(ctx context.Context, sid handstamp.SessionID, from uint32, r handstamp.Rotation) (handstamp.Found, error) {
	return ask(v.s, func() (handstamp.Found, error) { return v.inner.Rotate(ctx, sid, from, r) })
}

func (v sessions) Touch(ctx context.Context, seen map[handstamp.SessionID]time.Time) error {
	if err := v.s.up(); err != nil {
		return err
	}
	return v.inner.Touch(ctx, seen)
}

func (v sessions) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	return ask(v.s, func() (int, error) { return v.inner.Sweep(ctx, now, limit) })
}

type values struct {
	inner handstamp.Values
	s     *Store
}

func (v values) Get(ctx context.Context, sid handstamp.SessionID, name string) (handstamp.Datum, handstamp.Found, error) {
	if err := v.s.up(); err != nil {
		return handstamp.Datum{}, handstamp.Found{}, err
	}
	return v.inner.Get(ctx, sid, name)
}

func (v values) Put(ctx context.Context, w handstamp.DatumWrite) error {
	if err := v.s.up(); err != nil {
		return err
	}
	return v.inner.Put(ctx, w)
}

type audits struct {
	inner audit.Log
	s     *Store
}

func (v audits) List(ctx context.Context, f audit.Filter) ([]audit.Event, error) {
	return ask(v.s, func() ([]audit.Event, error) { return v.inner.List(ctx, f) })
}

func (v audits) Sweep(ctx context.Context, before time.Time, limit int) (int, error) {
	return ask(v.s, func() (int, error) { return v.inner.Sweep(ctx, before, limit) })
}

type eventLog struct {
	inner revoke.Log
	s     *Store
}

func (v eventLog) Register(ctx context.Context, r revoke.Registration) (revoke.Head, error) {
	return ask(v.s, func() (revoke.Head, error) { return v.inner.Register(ctx, r) })
}

func (v eventLog) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	return ask(v.s, func() (revoke.Answer, error) { return v.inner.Renew(ctx, r) })
}

func (v eventLog) Registered(ctx context.Context) ([]revoke.Registration, error) {
	return ask(v.s, func() ([]revoke.Registration, error) { return v.inner.Registered(ctx) })
}

func (v eventLog) Remove(ctx context.Context, below uint64, ids ...id.Verifier) error {
	if err := v.s.up(); err != nil {
		return err
	}
	return v.inner.Remove(ctx, below, ids...)
}

func (v eventLog) Forget(ctx context.Context, now time.Time, limit int) (int, error) {
	return ask(v.s, func() (int, error) { return v.inner.Forget(ctx, now, limit) })
}

// Watch also wakes when the clock was moved.
func (v eventLog) Watch(ctx context.Context, wake func()) error {
	v.s.mu.Lock()
	v.s.waiting[&wake] = struct{}{}
	v.s.mu.Unlock()
	defer func() {
		v.s.mu.Lock()
		defer v.s.mu.Unlock()
		delete(v.s.waiting, &wake)
	}()
	return v.inner.Watch(ctx, wake)
}
