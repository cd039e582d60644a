package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
)

// SetLease gives the processes on this database another lease, when none of them runs. Registrations may be of processes
// that were killed, so it appends an event without effect and waits for the fleet as every end does: a process that runs
// acknowledges it, and the lease stays as it was (handstamp.ErrConflict); one that does not holds no lease any more when
// the wait is over, and is forgotten. It takes up to 1.12 times the old lease.
func (s *Store) SetLease(ctx context.Context, lease time.Duration) error {
	registered, err := s.Log().Registered(ctx)
	if err != nil {
		return err
	}
	if len(registered) > 0 {
		if err := s.outlive(ctx); err != nil {
			return err
		}
	}
	err = s.do(ctx, func(u *unit) error {
		var running bool
		// Nobody registers between the look and the write: who does waits for the table.
		const lockVerifiers = `LOCK TABLE @verifiers IN SHARE ROW EXCLUSIVE MODE`
		err := u.row(ctx, []statement{{query: lockVerifiers}}, "SELECT EXISTS (SELECT 1 FROM @verifiers)", nil, asBool(&running))
		if err != nil {
			return err
		}
		if running {
			return handstamp.ErrConflict
		}
		return u.swap(ctx, errNoLog, "UPDATE @log AS l SET lease = $1 WHERE l.id = 1", lease.Microseconds())
	})
	if err != nil {
		return fmt.Errorf("set the lease: %w", err)
	}
	return nil
}

// outlive waits until no process holds a lease, or finds one that runs. No connection is held meanwhile.
func (s *Store) outlive(ctx context.Context) error {
	var kept handstamp.Settings
	if err := s.row(ctx, selectSettings, nil, s.settingsInto(&kept)...); err != nil {
		return fmt.Errorf("read the lease: %w", err)
	}
	now := time.Now()
	var done handstamp.Appended
	err := s.do(ctx, func(u *unit) (err error) {
		done, err = u.Append(ctx, revoke.Event{
			Kind: revoke.KindRole, Effect: revoke.Change, Reason: "is anybody there?", At: now, Until: now.Add(revoke.Retention),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("ask whether anybody runs: %w", err)
	}
	w, err := revoke.Wait(ctx, s.Log(), revoke.Waiting{Seq: done.Last(), Lease: kept.Lease, Clock: revoke.SystemClock()})
	if err != nil {
		return fmt.Errorf("wait for whoever runs: %w", err)
	}
	if w.Verifiers > w.WaitedOut {
		return handstamp.ErrConflict
	}
	return nil
}
