package handstamp_test

import (
	"context"
	"sync"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
)

// fullStore is everything that a backend offers.
type fullStore interface {
	handstamp.Store
	account.Store
	login.Store
	Keys() keyring.Store
	Restored(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error)
	Close() error
}

// hook stands between the engine and a store: it may refuse a call, let it happen and say that it failed, hold it up, or
// count it.
type hook func(op string, call func() error) error

// hooked is a store whose every call goes through a hook.
type hooked struct {
	fullStore
	mu    sync.Mutex
	hook  hook
	clock func() time.Time       // the store's own clock, if it is to have one
	found func(*handstamp.Found) // changes what Find answers
}

func newHooked(s fullStore) *hooked { return &hooked{fullStore: s} }

// set puts a hook in place; nil takes it away.
func (h *hooked) set(fn hook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = fn
}

func (h *hooked) via(op string, call func() error) error {
	h.mu.Lock()
	fn := h.hook
	h.mu.Unlock()
	if fn == nil {
		return call()
	}
	return fn(op, call)
}

func through[T any](h *hooked, op string, call func() (T, error)) (T, error) {
	var out T
	err := h.via(op, func() (err error) {
		out, err = call()
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return out, nil
}

func (h *hooked) Sessions() handstamp.Sessions { return hookedSessions{h.fullStore.Sessions(), h} }
func (h *hooked) Values() handstamp.Values     { return hookedValues{h.fullStore.Values(), h} }
func (h *hooked) Log() revoke.Log              { return hookedLog{h.fullStore.Log(), h} }

func (h *hooked) Work() handstamp.UnitOfWork[handstamp.Tx] {
	return hookedWork[handstamp.Tx]{h.fullStore.Work(), h, func(tx handstamp.Tx) handstamp.Tx { return hookedTx{tx, h} }}
}

func (h *hooked) AccountWork() handstamp.UnitOfWork[account.Tx] {
	return hookedWork[account.Tx]{h.fullStore.AccountWork(), h, func(tx account.Tx) account.Tx { return hookedAccountTx{tx, hookedTx{tx, h}} }}
}

func (h *hooked) LoginWork() handstamp.UnitOfWork[login.Tx] {
	return hookedWork[login.Tx]{h.fullStore.LoginWork(), h, func(tx login.Tx) login.Tx { return hookedLoginTx{tx, hookedTx{tx, h}} }}
}

func (h *hooked) Roles(ctx context.Context) (table permission.Table, head uint64, err error) {
	err = h.via("Roles", func() (err error) {
		table, head, err = h.fullStore.Roles(ctx)
		return err
	})
	return table, head, err
}

type hookedSessions struct {
	handstamp.Sessions
	h *hooked
}

func (s hookedSessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	return through(s.h, "Find", func() (handstamp.Found, error) {
		f, err := s.Sessions.Find(ctx, l)
		if err == nil && s.h.found != nil {
			s.h.found(&f)
		}
		return f, err
	})
}

func (s hookedSessions) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	return through(s.h, "Subject", func() (handstamp.Subject, error) { return s.Sessions.Subject(ctx, u) })
}

func (s hookedSessions) List(ctx context.Context, f handstamp.SessionFilter) ([]handstamp.Session, error) {
	return through(s.h, "List", func() ([]handstamp.Session, error) { return s.Sessions.List(ctx, f) })
}

func (s hookedSessions) Rotate(ctx context.Context, sid handstamp.SessionID, from uint32, r handstamp.Rotation) (handstamp.Found, error) {
	return through(s.h, "Rotate", func() (handstamp.Found, error) { return s.Sessions.Rotate(ctx, sid, from, r) })
}

func (s hookedSessions) Touch(ctx context.Context, seen map[handstamp.SessionID]time.Time) error {
	return s.h.via("Touch", func() error { return s.Sessions.Touch(ctx, seen) })
}

type hookedWork[T any] struct {
	inner handstamp.UnitOfWork[T]
	h     *hooked
	wrap  func(T) T
}

func (w hookedWork[T]) Do(ctx context.Context, fn func(tx T) error) error {
	return w.h.via("Do", func() error {
		return w.inner.Do(ctx, func(tx T) error { return fn(w.wrap(tx)) })
	})
}

type hookedTx struct {
	handstamp.Tx
	h *hooked
}

func (t hookedTx) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	return through(t.h, "tx.Subject", func() (handstamp.Subject, error) { return t.Tx.Subject(ctx, u) })
}

func (t hookedTx) PutSubject(ctx context.Context, s handstamp.Subject) error {
	return t.h.via("tx.PutSubject", func() error { return t.Tx.PutSubject(ctx, s) })
}

func (t hookedTx) PutSession(ctx context.Context, s handstamp.Session) error {
	return t.h.via("tx.PutSession", func() error { return t.Tx.PutSession(ctx, s) })
}

func (t hookedTx) Oldest(ctx context.Context, u handstamp.UserID, now time.Time, keep int) ([]handstamp.SessionID, error) {
	return through(t.h, "tx.Oldest", func() ([]handstamp.SessionID, error) { return t.Tx.Oldest(ctx, u, now, keep) })
}

func (t hookedTx) Append(ctx context.Context, e ...revoke.Event) (handstamp.Appended, error) {
	return through(t.h, "tx.Append", func() (handstamp.Appended, error) { return t.Tx.Append(ctx, e...) })
}

func (t hookedTx) Record(ctx context.Context, e audit.Event) error {
	return t.h.via("tx.Record", func() error { return t.Tx.Record(ctx, e) })
}

// hookedAccountTx and hookedLoginTx send the engine's part through the hook. Two embedded values have the same methods,
// so these say which one counts.
type hookedAccountTx struct {
	account.Tx
	engine hookedTx
}

func (t hookedAccountTx) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	return t.engine.Subject(ctx, u)
}
func (t hookedAccountTx) PutSubject(ctx context.Context, s handstamp.Subject) error {
	return t.engine.PutSubject(ctx, s)
}
func (t hookedAccountTx) Append(ctx context.Context, e ...revoke.Event) (handstamp.Appended, error) {
	return t.engine.Append(ctx, e...)
}
func (t hookedAccountTx) Record(ctx context.Context, e audit.Event) error {
	return t.engine.Record(ctx, e)
}

type hookedLoginTx struct {
	login.Tx
	engine hookedTx
}

func (t hookedLoginTx) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	return t.engine.Subject(ctx, u)
}
func (t hookedLoginTx) PutSubject(ctx context.Context, s handstamp.Subject) error {
	return t.engine.PutSubject(ctx, s)
}
func (t hookedLoginTx) PutSession(ctx context.Context, s handstamp.Session) error {
	return t.engine.PutSession(ctx, s)
}
func (t hookedLoginTx) Append(ctx context.Context, e ...revoke.Event) (handstamp.Appended, error) {
	return t.engine.Append(ctx, e...)
}
func (t hookedLoginTx) Record(ctx context.Context, e audit.Event) error {
	return t.engine.Record(ctx, e)
}
func (t hookedLoginTx) Counter(ctx context.Context, k login.BudgetKey) (login.Counter, error) {
	return through(t.engine.h, "tx.Counter", func() (login.Counter, error) { return t.Tx.Counter(ctx, k) })
}

type hookedLog struct {
	revoke.Log
	h *hooked
}

func (l hookedLog) Register(ctx context.Context, r revoke.Registration) (revoke.Head, error) {
	return through(l.h, "log.Register", func() (revoke.Head, error) { return l.Log.Register(ctx, r) })
}

func (l hookedLog) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	a, err := through(l.h, "log.Renew", func() (revoke.Answer, error) { return l.Log.Renew(ctx, r) })
	if l.h.clock != nil && err == nil {
		a.Head.Now = l.h.clock()
	}
	return a, err
}

func (l hookedLog) Registered(ctx context.Context) ([]revoke.Registration, error) {
	return through(l.h, "log.Registered", func() ([]revoke.Registration, error) { return l.Log.Registered(ctx) })
}

func (l hookedLog) Remove(ctx context.Context, below uint64, ids ...id.Verifier) error {
	return l.h.via("log.Remove", func() error { return l.Log.Remove(ctx, below, ids...) })
}

type hookedValues struct {
	handstamp.Values
	h *hooked
}

func (v hookedValues) Get(ctx context.Context, s handstamp.SessionID, name string) (d handstamp.Datum, f handstamp.Found, err error) {
	err = v.h.via("Get", func() (err error) {
		d, f, err = v.Values.Get(ctx, s, name)
		return err
	})
	return d, f, err
}

func (v hookedValues) Put(ctx context.Context, w handstamp.DatumWrite) error {
	return v.h.via("Put", func() error { return v.Values.Put(ctx, w) })
}
