package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

// Log is the numbered log for those who follow it.
func (s *Store) Log() revoke.Log { return &eventLog{s} }

type eventLog struct{ s *Store }

const headColumns = `l.log, l.head, l.tag, l.low, l.low_tag, l.lease`

func headInto(h *revoke.Head) []any {
	return []any{asText(&h.Log), asNumber(&h.Seq), asText(&h.Tag), asNumber(&h.Low), asText(&h.LowTag), asDuration(&h.Lease)}
}

const selectHead = `SELECT ` + headColumns + ` FROM handstamp_log AS l WHERE l.id = 1`

func headOf(row rower) (revoke.Head, error) {
	var h revoke.Head
	if err := row(selectHead, nil, headInto(&h)...); err != nil {
		return revoke.Head{}, fmt.Errorf("read the log's head: %w", err)
	}
	return h, nil
}

// register may be repeated when its outcome was unknown: the id is random and nobody else's.
const register = `INSERT INTO handstamp_verifiers (id, applied, lag, registered_at, name) VALUES (?1, ?2, ?3, ?4, ?5)
	ON CONFLICT (id) DO UPDATE SET applied = max(applied, ?2), lag = ?3, registered_at = ?4, name = ?5`

// Register implements revoke.Log.
func (v *eventLog) Register(ctx context.Context, r revoke.Registration) (revoke.Head, error) {
	err := v.s.do(ctx, func(u *unit) error {
		_, err := u.exec(register, string(r.Verifier), number(r.Applied), number(r.Lag), micros(r.RegisteredAt), r.Name)
		return err
	})
	if err != nil {
		return revoke.Head{}, fmt.Errorf("register verifier: %w", err)
	}
	c, err := v.s.readers.take(ctx)
	if err != nil {
		return revoke.Head{}, fmt.Errorf("register verifier: %w", err)
	}
	defer v.s.readers.give(c, true)
	return headOf(c.row)
}

// Renew implements revoke.Log. There is no standby here that could confirm by mistake, so it is a read, and a write only
// when something new was applied: an idle server does not sync its disk twice a second.
func (v *eventLog) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	a, own, err := v.renewal(ctx, r)
	if err != nil {
		return revoke.Answer{}, fmt.Errorf("renew lease: %w", err)
	}
	if a.Reset || r.Applied < own.applied || r.Applied == own.applied && r.Lag == own.lag {
		return a, nil
	}
	err = v.s.do(ctx, func(u *unit) error {
		return u.change(revoke.ErrNotRegistered, acknowledge, string(r.Verifier), number(r.Applied), number(r.Lag))
	})
	if err != nil {
		return revoke.Answer{}, fmt.Errorf("renew lease: %w", err)
	}
	return a, nil
}

// acknowledge takes a lag only together with the number it was said with: beside a larger one of a later renewal it
// would promise more than anybody said.
const acknowledge = `UPDATE handstamp_verifiers SET applied = max(applied, ?2), lag = iif(?2 >= applied, ?3, lag) WHERE id = ?1`

// standing is what is kept of a verifier.
type standing struct{ applied, lag uint64 }

const readStanding = `SELECT applied, lag FROM handstamp_verifiers WHERE id = ?1`

// renewal reads everything in one snapshot.
func (v *eventLog) renewal(ctx context.Context, r revoke.Renewal) (a revoke.Answer, own standing, err error) {
	err = v.s.snapshot(ctx, func(c *link) error {
		err := c.row(readStanding, []any{string(r.Verifier)}, asNumber(&own.applied), asNumber(&own.lag))
		if absent(err) {
			return revoke.ErrNotRegistered
		}
		if err != nil {
			return fmt.Errorf("read own registration: %w", err)
		}
		a, err = answer(ctx, c, r)
		return err
	})
	return a, own, err
}

// snapshot runs reads in one transaction.
func (s *Store) snapshot(ctx context.Context, read func(*link) error) (err error) {
	c, err := s.readers.take(ctx)
	if err != nil {
		return err
	}
	if err := c.script("BEGIN"); err != nil {
		s.readers.give(c, false)
		return fmt.Errorf("begin to read: %w", err)
	}
	defer func() { s.readers.give(c, c.script("ROLLBACK") == nil) }()
	return read(c)
}

// maxEvents is the longest answer to a renewal.
const maxEvents = 10_000

const eventsAfter = `SELECT seq, tag, kind, target, effect, spared, until, at, reason FROM handstamp_events
	WHERE seq > ?1 ORDER BY seq LIMIT ?2`

func answer(ctx context.Context, c *link, r revoke.Renewal) (revoke.Answer, error) {
	head, err := headOf(c.row)
	if err != nil {
		return revoke.Answer{}, err
	}
	known, err := knows(c, head, r)
	if err != nil || !known {
		return revoke.Answer{Head: head, Reset: err == nil}, err
	}
	a := revoke.Answer{Head: head}
	if r.Applied == head.Seq {
		return a, nil
	}
	limit := min(max(r.Limit, 1), maxEvents)
	err = c.each(ctx, eventsAfter, []any{number(r.Applied), limit + 1}, func(row scanner) error {
		if len(a.Events) == limit {
			a.More = true
			return nil
		}
		var e revoke.Event
		if err := row.Scan(eventInto(&e)...); err != nil {
			return err
		}
		a.Events = append(a.Events, e)
		return nil
	})
	if err != nil {
		return revoke.Answer{}, fmt.Errorf("read events: %w", err)
	}
	return a, nil
}

func eventInto(e *revoke.Event) []any {
	return []any{
		asNumber(&e.Seq), asText(&e.Tag), asText(&e.Kind), asText(&e.ID), asText(&e.Effect), asText(&e.Except),
		asTime(&e.Until), asTime(&e.At), asText(&e.Reason),
	}
}

// knows reports whether the reader's place exists in this log.
func knows(c *link, head revoke.Head, r revoke.Renewal) (bool, error) {
	switch {
	case r.Log != head.Log, r.Applied > head.Seq, r.Applied < head.Low:
		return false, nil
	case r.Applied == head.Seq:
		return r.Tag == head.Tag, nil
	case r.Applied == head.Low:
		return r.Tag == head.LowTag, nil
	}
	var tag revoke.Tag
	err := c.row("SELECT tag FROM handstamp_events WHERE seq = ?", []any{number(r.Applied)}, asText(&tag))
	if absent(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the tag of an event: %w", err)
	}
	return r.Tag == tag, nil
}

// Registered implements revoke.Log.
func (v *eventLog) Registered(ctx context.Context) ([]revoke.Registration, error) {
	c, err := v.s.readers.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("list verifiers: %w", err)
	}
	defer v.s.readers.give(c, true)
	var found []revoke.Registration
	err = c.each(ctx, "SELECT id, applied, lag, registered_at, name FROM handstamp_verifiers ORDER BY id", nil, func(row scanner) error {
		var r revoke.Registration
		if err := row.Scan(asText(&r.Verifier), asNumber(&r.Applied), asNumber(&r.Lag), asTime(&r.RegisteredAt), asText(&r.Name)); err != nil {
			return err
		}
		found = append(found, r)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list verifiers: %w", err)
	}
	return found, nil
}

// Remove implements revoke.Log.
func (v *eventLog) Remove(ctx context.Context, below uint64, ids ...id.Verifier) error {
	if len(ids) == 0 {
		return nil
	}
	err := v.s.do(ctx, func(u *unit) error {
		for _, verifier := range ids {
			_, err := u.exec("DELETE FROM handstamp_verifiers WHERE id = ? AND applied < ?", string(verifier), number(below))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove verifiers: %w", err)
	}
	return nil
}

// forgettable reads the events from the oldest on; the head is none of them. That low has the tag of the last one makes
// it a place that a reader can still resume from.
const forgettable = `SELECT e.seq, e.tag, e.until FROM handstamp_events AS e
	WHERE e.seq < (SELECT head FROM handstamp_log WHERE id = 1) ORDER BY e.seq LIMIT ?1`

// Forget implements revoke.Log.
func (v *eventLog) Forget(ctx context.Context, now time.Time, limit int) (int, error) {
	forgot := 0
	for forgot < limit {
		want := min(limit-forgot, sweepBatch)
		n, err := v.forget(ctx, now, want)
		if err != nil {
			return forgot, fmt.Errorf("forget events: %w", err)
		}
		forgot += n
		if n < want {
			break
		}
	}
	return forgot, nil
}

func (v *eventLog) forget(ctx context.Context, now time.Time, limit int) (n int, err error) {
	err = v.s.do(ctx, func(u *unit) error {
		var last uint64
		var tag revoke.Tag
		n = 0
		over := false
		err := u.each(forgettable, []any{limit}, func(row scanner) error {
			var e revoke.Event
			if err := row.Scan(asNumber(&e.Seq), asText(&e.Tag), asTime(&e.Until)); err != nil {
				return err
			}
			if over = over || !e.Until.Before(now); !over {
				last, tag = e.Seq, e.Tag
				n++
			}
			return nil
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return errNothing
		}
		if _, err := u.exec("DELETE FROM handstamp_events WHERE seq <= ?", number(last)); err != nil {
			return err
		}
		return u.change(errNoLog, "UPDATE handstamp_log SET low = ?, low_tag = ? WHERE id = 1", number(last), string(tag))
	})
	if errors.Is(err, errNothing) {
		return 0, nil
	}
	return n, err
}
