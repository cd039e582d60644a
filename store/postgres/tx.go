package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
)

// unit is one transaction. It is the Tx of every view.
//
// Its connection is taken by the first call that needs one, and BEGIN and the limits of waiting go with that call's
// statements. What has no answer that anybody waits for is kept back and goes with the next statement that has one, at
// the latest with COMMIT.
type unit struct {
	s        *Store
	l        *link
	ctx      context.Context // of Do; a call's own may end earlier
	deadline time.Time
	kept     []statement
	over     bool // the transaction has ended; a Tx that was kept does nothing

	// broken is the first failure of the engine. PostgreSQL answers nothing more in a transaction that has failed.
	broken error

	before map[handstamp.UserID]bool // whether users were enabled before this unit wrote their rows
	locked map[string]bool           // what was locked by name
}

// work gives units of work as one consumer sees them.
type work[T any] struct {
	s    *Store
	view func(*unit) T
}

// Do implements handstamp.UnitOfWork.
func (w work[T]) Do(ctx context.Context, fn func(tx T) error) error {
	return w.s.do(ctx, func(u *unit) error { return fn(w.view(u)) })
}

// Work is the engine's view.
func (s *Store) Work() handstamp.UnitOfWork[handstamp.Tx] {
	return work[handstamp.Tx]{s, func(u *unit) handstamp.Tx { return u }}
}

// AccountWork is the view of package account.
func (s *Store) AccountWork() handstamp.UnitOfWork[account.Tx] {
	return work[account.Tx]{s, func(u *unit) account.Tx { return u }}
}

// LoginWork is the view of package login.
func (s *Store) LoginWork() handstamp.UnitOfWork[login.Tx] {
	return work[login.Tx]{s, func(u *unit) login.Tx { return u }}
}

// do runs a unit. It begins again where another transaction got in the way, and where the connection turned out to be
// dead before anything was done.
func (s *Store) do(ctx context.Context, fn func(*unit) error) error {
	return s.doWithin(ctx, s.limits.total, fn)
}

// doWithin is do for a unit that may take another time than others.
func (s *Store) doWithin(ctx context.Context, most time.Duration, fn func(*unit) error) error {
	deadline := time.Now().Add(most)
	if caller, ok := ctx.Deadline(); ok && caller.Before(deadline) {
		deadline = caller // a commit goes on beyond it, for as long as it is given, not for what the unit had left
	}
	for try := 1; ; try++ {
		retry, err := s.once(ctx, deadline, fn)
		if !retry || try == maxTries || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		// Those that got in each other's way must not do so again in step.
		if pause(ctx, time.Duration(rand.IntN(5<<try))*time.Millisecond) != nil { //nolint:gosec // no secret
			return err
		}
	}
}

// once runs a unit once, and says whether it may be run again: nothing of it has happened, and what was in the way may be
// gone.
func (s *Store) once(ctx context.Context, deadline time.Time, fn func(*unit) error) (retry bool, err error) {
	u := &unit{s: s, ctx: ctx, deadline: deadline}
	defer u.abandon() // also when fn panics or ends its goroutine
	if err := fn(u); err != nil {
		return u.mayRetry(), err
	}
	err = u.commit()
	return u.mayRetry(), err
}

// errStale is a connection that was dead when the first statement was sent.
var errStale = errors.New("the connection was dead")

func (u *unit) mayRetry() bool {
	if errors.As(u.broken, new(*unknownError)) {
		return false
	}
	return again(u.broken) || errors.Is(u.broken, errStale)
}

const begin = "BEGIN ISOLATION LEVEL READ COMMITTED"

// setLimits belongs to the transaction, so that it does the same behind a pooler. Who stops in the middle, with a lock
// held, is ended by the server.
const setLimits = `SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true),
	set_config('idle_in_transaction_session_timeout', $3, true)`

func (s *Store) beginning() []statement {
	return []statement{
		{query: begin, what: "begin"},
		{query: setLimits, args: []any{milliseconds(s.limits.lock), milliseconds(s.limits.statement), milliseconds(s.limits.idle)}, what: "begin"},
	}
}

// run sends what was kept and then these, in one round trip.
func (u *unit) run(ctx context.Context, now ...statement) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	for _, st := range now {
		if !storable(st.args) {
			return errText // before it breaks the transaction
		}
	}
	ctx, cancel := context.WithDeadline(ctx, u.deadline)
	defer cancel()
	defer context.AfterFunc(u.ctx, cancel)()
	first := u.l == nil
	all := append(u.kept, now...)
	u.kept = nil
	if first {
		l, err := u.s.take(ctx, forUnit)
		if err != nil {
			return u.fail(err)
		}
		u.l = l
		all = append(u.s.beginning(), all...)
	}
	sent, over := toItsEnd(ctx)
	defer over()
	err := u.l.send(sent, all)
	if first && brokeOff(err) && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", errStale, err)
	}
	return u.fail(hungUp(ctx, err))
}

// keep holds statements back that have no answer.
func (u *unit) keep(ctx context.Context, later ...statement) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	for _, st := range later {
		if !storable(st.args) {
			return errText
		}
	}
	u.kept = append(u.kept, later...)
	return nil
}

// fail notes what ends the unit.
func (u *unit) fail(err error) error {
	if err != nil && u.broken == nil && !absent(err) {
		u.broken = err
	}
	return err
}

// ready is asked at the beginning of every call on a unit.
func (u *unit) ready(ctx context.Context) error {
	switch {
	case u.over:
		return errors.New("the unit of work is over")
	case u.broken != nil:
		return u.broken
	case u.ctx.Err() != nil:
		return u.ctx.Err()
	default:
		return ctx.Err()
	}
}

// row reads one row; pgx.ErrNoRows if there is none.
func (u *unit) row(ctx context.Context, before []statement, query string, args []any, into ...any) error {
	found := false
	err := u.run(ctx, append(before, statement{query: query, args: args, scan: func(r pgx.Rows) error {
		found = true
		return r.Scan(into...)
	}})...)
	if err == nil && !found {
		return pgx.ErrNoRows
	}
	return err
}

// change runs a statement and says how many rows it changed.
func (u *unit) change(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = u.run(ctx, statement{query: query, args: args, changed: &n})
	return n, err
}

// swap is change for a statement that must change one row, and says what it means that it did not.
func (u *unit) swap(ctx context.Context, otherwise error, query string, args ...any) error {
	n, err := u.change(ctx, query, args...)
	if err == nil && n == 0 {
		return otherwise
	}
	return err
}

// abandon rolls back what was not committed, and gives the connection back.
func (u *unit) abandon() {
	u.over = true
	if u.l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), u.s.limits.commit)
	defer cancel()
	var err error
	if conn := u.l.conn.Conn(); !conn.IsClosed() && conn.PgConn().TxStatus() != 'I' {
		_, err = conn.Exec(ctx, "ROLLBACK")
	}
	u.end(errors.Join(u.broken, err))
}

func (u *unit) end(err error) {
	u.over = true
	u.l.give(err)
	u.l = nil
}

// commit sends what was kept, and COMMIT behind it. The caller's context does not reach it: who gives up while it is under
// way would not know what came of it.
func (u *unit) commit() error {
	if u.broken != nil {
		return u.broken
	}
	if err := u.ctx.Err(); err != nil {
		return err // nobody waits for it any more
	}
	if len(u.kept) > 0 && u.l == nil {
		if err := u.run(u.ctx); err != nil { // takes the connection
			return err
		}
	}
	if u.l == nil {
		return nil // it asked for nothing
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(u.ctx), later(u.deadline, time.Now().Add(u.s.limits.commit)))
	defer cancel()
	done := false
	err := u.l.send(ctx, append(u.kept, statement{query: "COMMIT", what: "commit", tag: func(tag string) { done = tag == "COMMIT" }}))
	u.kept = nil
	switch {
	case err == nil && done:
		u.end(nil)
		return nil
	case err == nil: // the server answered ROLLBACK
		u.broken = errors.New("the transaction had failed")
	case refused(err):
		u.broken = err
	default:
		u.broken = &unknownError{err}
	}
	return u.broken
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
