package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
)

// unit is one transaction. It is the Tx of every view.
type unit struct {
	s    *Store
	l    *link
	ctx  context.Context // of Do; a call's own may end earlier
	over bool            // the transaction has ended; a Tx that was kept does nothing

	// broken is the first failure of the engine. After some (disk full, I/O error) it has rolled back by itself, and what
	// followed would be committed one by one; so nothing follows.
	broken error

	appended bool                      // the log changed: watchers are woken
	before   map[handstamp.UserID]bool // of the users whose rows this unit wrote: enabled before it
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

// do runs a unit. It begins again where another process held a lock in the middle of it, which in WAL mode only a recovery
// or a schema change does. All waiting for other processes, in line and at the lock, ends at one deadline: who calls has
// somebody waiting too, and each wait with a time of its own would add up.
func (s *Store) do(ctx context.Context, fn func(*unit) error) error {
	deadline := time.Now().Add(s.busy)
	for {
		err := s.once(ctx, deadline, fn)
		if !busy(err) || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		if pause(ctx, busyPause) != nil {
			return err
		}
	}
}

// errLocked is what those in line are told who have waited long enough, while the first of them still waits for another
// process.
var errLocked = errors.New("another process holds the lock")

// takeWriter waits in line. Behind other writes of this process it waits for as long as ctx does: they get on. Behind one
// that does not, since another process holds the lock, it gives up at the deadline.
func (s *Store) takeWriter(ctx context.Context, deadline time.Time) (*link, error) {
	inLine, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	timer := time.AfterFunc(time.Until(deadline), func() { s.giveUp(inLine, leave) })
	defer timer.Stop()
	l, err := s.writer.take(inLine)
	if err != nil && errors.Is(context.Cause(inLine), errLocked) {
		return nil, errLocked
	}
	return l, err
}

// giveUp leaves the line as soon as another process holds the lock.
func (s *Store) giveUp(inLine context.Context, leave context.CancelCauseFunc) {
	switch {
	case inLine.Err() != nil: // it is over already
	case s.locked.Load():
		leave(errLocked)
	default:
		time.AfterFunc(10*busySlice, func() { s.giveUp(inLine, leave) })
	}
}

// begin takes the lock.
func (s *Store) begin(ctx context.Context, l *link, deadline time.Time) error {
	return whileBusy(ctx, deadline, func() error {
		err := l.script("BEGIN IMMEDIATE")
		s.locked.Store(busy(err))
		return err
	})
}

func (s *Store) once(ctx context.Context, deadline time.Time, fn func(*unit) error) error {
	l, err := s.takeWriter(ctx, deadline)
	if err != nil {
		return fmt.Errorf("wait for the writer: %w", err)
	}
	if s.stopped.Load() {
		s.writer.give(l, true)
		return errStopped
	}
	if err := s.begin(ctx, l, deadline); err != nil {
		s.writer.give(l, false)
		return fmt.Errorf("begin: %w", readOnly(err))
	}
	u := &unit{s: s, l: l, ctx: ctx}
	defer u.abandon() // also when fn panics or ends its goroutine
	if err := fn(u); err != nil {
		return err
	}
	return u.commit()
}

// abandon rolls back what was not committed, and gives the connection back.
func (u *unit) abandon() {
	if u.over {
		return
	}
	u.over = true
	// The engine may have rolled back already; the error then says so, and a new connection is certainly clean.
	err := u.l.script("ROLLBACK")
	u.s.writer.give(u.l, err == nil)
}

func (u *unit) commit() error {
	if u.broken != nil {
		return u.broken
	}
	if err := u.ctx.Err(); err != nil {
		return err // nobody waits for it any more
	}
	u.over = true
	err := u.l.script("COMMIT")
	if err == nil {
		u.s.writer.give(u.l, true)
		if u.appended {
			u.s.signals.send()
		}
		return nil
	}
	if p := primary(err); p == codeIO || p == codeCorrupt {
		u.s.stopped.Store(true)
		u.s.log.Error("sqlite: a commit failed; writes are refused until the store is opened again", "error", err)
	}
	_ = u.l.script("ROLLBACK")
	u.s.writer.give(u.l, false)
	return &unknownError{err}
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

// exec runs a statement of the unit. An answer of the engine that says something about the data (a unique value that is
// taken) leaves the unit usable; every other failure ends it.
func (u *unit) exec(query string, args ...any) (int64, error) {
	n, err := u.l.exec(query, args...)
	return n, u.note(err)
}

func (u *unit) row(query string, args []any, into ...any) error {
	return u.note(u.l.row(query, args, into...))
}

func (u *unit) each(query string, args []any, scan func(scanner) error) error {
	return u.note(u.l.each(u.ctx, query, args, scan))
}

func (u *unit) note(err error) error {
	if err != nil && !absent(err) && primary(err) != codeConstraint {
		u.broken = err
	}
	return err
}

// change runs a statement that must change exactly one row, and says what it means that it did not.
func (u *unit) change(otherwise error, query string, args ...any) error {
	n, err := u.exec(query, args...)
	switch {
	case duplicate(err):
		return handstamp.ErrTaken
	case exists(err):
		return handstamp.ErrConflict
	case err != nil:
		return err
	case n == 0:
		return otherwise
	default:
		return nil
	}
}
