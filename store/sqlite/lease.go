package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
)

// SetLease gives the processes on this database another lease, when none of them runs. Registrations may be of processes
// that were killed, so it forgets them all and waits for as long as a lease may still be in use: a process that runs
// registers again by then, and the lease stays as it was (handstamp.ErrConflict). It takes 1.12 times the old lease.
func (s *Store) SetLease(ctx context.Context, lease time.Duration) error {
	registered, err := s.Log().Registered(ctx)
	if err != nil {
		return err
	}
	ids := make([]id.Verifier, 0, len(registered))
	for _, r := range registered {
		ids = append(ids, r.Verifier)
	}
	kept, err := read(ctx, s, func(c *link) (handstamp.Settings, error) { return settingsOf(c.row) })
	if err != nil {
		return fmt.Errorf("read the lease: %w", err)
	}
	if len(ids) > 0 {
		if err := s.Log().Remove(ctx, 1<<62, ids...); err != nil {
			return err
		}
		if err := wait(ctx, kept.Lease+kept.Lease*12/100); err != nil {
			return err
		}
	}
	err = s.do(ctx, func(u *unit) error {
		var running bool
		if err := u.row("SELECT EXISTS (SELECT 1 FROM handstamp_verifiers)", nil, asBool(&running)); err != nil {
			return err
		}
		if running {
			return handstamp.ErrConflict
		}
		return u.change(errNoLog, "UPDATE handstamp_log SET lease = ? WHERE id = 1", lease.Microseconds())
	})
	if err != nil {
		return fmt.Errorf("set the lease: %w", err)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
