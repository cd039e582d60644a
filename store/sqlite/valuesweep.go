package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
)

// The sweep of values. Nothing in the table of values says that a session is over: one number may end everybody's. So the
// sweep looks at sessions that have values, by their ids, a bounded number each time, and goes on there the next time.
const (
	readSwept  = `SELECT after FROM handstamp_sweep WHERE id = 1`
	writeSwept = `UPDATE handstamp_sweep SET after = ?1 WHERE id = 1`

	// owners steps through the sessions that have values, after ?2 and up to ?3, ?4 at most: each step enters the index
	// once, however many values a session has. It says of each whether it is over.
	owners = `WITH RECURSIVE owner (id, n) AS (
		SELECT (SELECT min(session) FROM handstamp_data WHERE session > ?2), 1
		UNION ALL
		SELECT (SELECT min(d.session) FROM handstamp_data AS d WHERE d.session > queue.id), queue.n + 1 FROM owner AS queue
		WHERE queue.id < ?3 AND queue.n < ?4)
		SELECT queue.id, NOT coalesce(` + lasting + ` AND ` + enabled + `, 0) FROM owner AS queue CROSS JOIN handstamp_log AS l
		LEFT JOIN handstamp_sessions AS s ON s.id = queue.id
		LEFT JOIN handstamp_subjects AS u ON u.user = s.user WHERE l.id = 1 AND queue.id <= ?3`

	// sweepValues deletes at most ?3 values of a session if it is over by now: it may have been spared or enabled since.
	sweepValues = `DELETE FROM handstamp_data WHERE session = ?2
		AND name IN (SELECT d.name FROM handstamp_data AS d WHERE d.session = ?2 LIMIT ?3)
		AND NOT EXISTS (SELECT 1 FROM handstamp_sessions AS s JOIN handstamp_log AS l ON l.id = 1
		LEFT JOIN handstamp_subjects AS u ON u.user = s.user WHERE s.id = ?2 AND ` + lasting + ` AND ` + enabled + `)`
)

// How many sessions one sweep looks at, and of how many one transaction deletes the values: 16 KiB each.
const (
	sweepOwners      = 10_000
	sweepOwnersBatch = 100
)

// sweepData looks at some sessions and deletes at most limit values of those that are over.
func (s *Store) sweepData(ctx context.Context, now time.Time, limit, window int) (int, error) {
	if limit <= 0 {
		return 0, nil
	}
	from, to, over, err := s.overOwners(ctx, now, window)
	if err != nil {
		return 0, fmt.Errorf("look for session data: %w", err)
	}
	deleted := 0
	for batch := range slices.Chunk(over, sweepOwnersBatch) {
		var n int
		err := s.do(ctx, func(u *unit) (err error) {
			n, err = u.sweepData(batch, now, limit-deleted)
			return err
		})
		if err != nil && !errors.Is(err, errNothing) {
			return deleted, fmt.Errorf("delete session data: %w", err)
		}
		if deleted += n; deleted >= limit {
			return deleted, nil // the next sweep looks again from where this one did
		}
	}
	if to == from {
		return deleted, nil
	}
	err = s.do(ctx, func(u *unit) error {
		_, err := u.exec(writeSwept, string(to))
		return err
	})
	return deleted, err
}

func (u *unit) sweepData(over []handstamp.SessionID, now time.Time, limit int) (int, error) {
	n := 0
	for _, id := range over {
		if n >= limit {
			break
		}
		deleted, err := u.exec(sweepValues, micros(now), string(id), limit-n)
		if err != nil {
			return 0, err
		}
		n += int(deleted)
	}
	if n == 0 {
		return 0, errNothing
	}
	return n, nil
}

// overOwners looks at the next sessions that have values, and from the beginning again once it is through. It returns
// those that are over, and where this look began and the next one does.
func (s *Store) overOwners(
	ctx context.Context, now time.Time, window int,
) (from, to handstamp.SessionID, over []handstamp.SessionID, err error) {
	err = s.snapshot(ctx, func(c *link) error {
		over = nil
		if err := c.row(readSwept, nil, asText(&from)); err != nil {
			return err
		}
		seen, last := 0, from
		look := func(after, until string) error {
			return c.each(ctx, owners, []any{micros(now), after, until, window - seen}, func(r scanner) error {
				var dead bool
				if err := r.Scan(asText(&last), asBool(&dead)); err != nil {
					return err
				}
				if seen++; dead {
					over = append(over, last)
				}
				return nil
			})
		}
		if err := look(string(from), before(handstamp.SessionID(""))); err != nil {
			return err
		}
		if from != "" && seen < window {
			if err := look("", string(from)); err != nil {
				return err
			}
		}
		if to = last; seen < window {
			to = "" // all of them were looked at
		}
		return nil
	})
	return from, to, over, err
}
