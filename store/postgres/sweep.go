package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp"
)

// serverNow is the server's clock. What is deleted is over by it and by the caller's: of two clocks one may be an hour
// ahead.
const serverNow = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`

// Each deletes the oldest rows that have run out, by an index. Rows that somebody holds are left for the next time.
const (
	sweepSessions = `DELETE FROM @sessions AS s WHERE s.id = ANY (ARRAY(
		SELECT o.id FROM @sessions AS o WHERE o.expires_at < least($1, ` + serverNow + `) ORDER BY o.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))`
	sweepCounters = `DELETE FROM @counters AS c WHERE c.key = ANY (ARRAY(
		SELECT o.key FROM @counters AS o WHERE o.expires_at < least($1, ` + serverNow + `) ORDER BY o.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))`
	sweepOneTimes = `DELETE FROM @one_times AS t WHERE t.hash = ANY (ARRAY(
		SELECT o.hash FROM @one_times AS o WHERE o.expires_at < least($1, ` + serverNow + `) ORDER BY o.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))`

	// sweepVisitors is handstamp.Swept for sessions without a user. It looks at those whose time to look has come, deletes
	// at most $2 that are over, and writes down for the others when to look again. 300 s are the five minutes that activity
	// may be late.
	sweepVisitors = `WITH due AS MATERIALIZED (
		SELECT s.id, s.ended_by <> 0 OR s.idle <> 0 AND s.seen_at + s.idle < least($1, ` + serverNow + `) - 300000000 AS over,
			CASE WHEN s.idle = 0 THEN 9223372036854775807 ELSE s.seen_at + s.idle END AS next
		FROM @sessions AS s WHERE s.mode = 'anonymous' AND s.look_at < least($1, ` + serverNow + `) - 300000000
		ORDER BY s.look_at LIMIT 1000 FOR UPDATE SKIP LOCKED
	), gone AS (
		DELETE FROM @sessions AS s WHERE s.id = ANY (ARRAY(SELECT due.id FROM due WHERE due.over LIMIT $2)) RETURNING s.id
	), kept AS (
		UPDATE @sessions AS s SET look_at = due.next FROM due WHERE s.id = due.id AND NOT due.over RETURNING s.id
	) SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM gone), (SELECT count(*) FROM kept)`
)

// Bounds of a sweep.
const (
	sweepBatch = 1_000 // rows that one statement deletes
	sweepLooks = 50    // statements that one sweep looks at visitors with
)

// Sweep implements handstamp.Sessions.
func (v *sessions) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	n, err := v.sweep(ctx, now, limit)
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	return n, nil
}

func (v *sessions) sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	n, err := v.s.sweep(ctx, now, limit, sweepSessions)
	if err != nil {
		return 0, err
	}
	visitors, err := v.sweepVisitors(ctx, now, limit-n)
	if err != nil {
		return 0, err
	}
	n += visitors
	rest, err := v.s.sweep(ctx, now, limit-n, sweepCounters, sweepOneTimes)
	if err != nil {
		return 0, err
	}
	n += rest
	values, err := v.s.sweepData(ctx, now, limit-n, sweepOwners)
	return n + values, err
}

func (s *Store) sweep(ctx context.Context, before time.Time, limit int, queries ...string) (int, error) {
	deleted := 0
	for _, query := range queries {
		for deleted < limit {
			want := min(limit-deleted, sweepBatch)
			var n int64
			err := s.write(ctx, forUnit, statement{query: query, args: []any{micros(before), int64(want)}, changed: &n})
			if err != nil {
				return deleted, err
			}
			deleted += int(n)
			if int(n) < want {
				break
			}
		}
	}
	return deleted, nil
}

func (v *sessions) sweepVisitors(ctx context.Context, now time.Time, limit int) (int, error) {
	deleted := 0
	for range sweepLooks {
		if deleted >= limit {
			break
		}
		var due, gone, kept int
		err := v.s.write(ctx, forUnit, statement{query: sweepVisitors, args: []any{micros(now), int64(limit - deleted)},
			scan: func(r pgx.Rows) error { return r.Scan(asNumber(&due), asNumber(&gone), asNumber(&kept)) }})
		if err != nil {
			return deleted, err
		}
		if deleted += gone; gone+kept == 0 || due < sweepBatch {
			break
		}
	}
	return deleted, nil
}

// The sweep of values. Nothing in the table of values says that a session is over: one number may end everybody's. So the
// sweep looks at sessions that have values, by their ids, a bounded number each time, and goes on there the next time.
const (
	// owners steps through the sessions that have values, after $2 and up to $3, $4 at most: each step enters the index
	// once, however many values a session has. It says of each whether it is over.
	owners = `WITH RECURSIVE owner (id, n) AS (
		SELECT (SELECT min(d.session) FROM @data AS d WHERE d.session > $2), 1::bigint
		UNION ALL
		SELECT (SELECT min(d.session) FROM @data AS d WHERE d.session > o.id), o.n + 1 FROM owner AS o
		WHERE o.id < $3 AND o.n < $4)
		SELECT o.id, NOT coalesce(` + lasting + ` AND ` + enabled + `, false) FROM owner AS o JOIN @log AS l ON l.id = 1
		LEFT JOIN @sessions AS s ON s.id = o.id
		LEFT JOIN @subjects AS u ON u.user_id = s.user_id WHERE o.id <= $3 ORDER BY o.id`

	// sweepValues deletes at most $3 values of some sessions, of those that are over by now: they may have been spared or
	// enabled since. A row that a writer holds is left for the next time.
	sweepValues = `DELETE FROM @data AS d USING (
		SELECT v.session, v.name FROM @data AS v WHERE v.session = ANY ($2) AND NOT EXISTS (
			SELECT 1 FROM @sessions AS s JOIN @log AS l ON l.id = 1 LEFT JOIN @subjects AS u ON u.user_id = s.user_id
			WHERE s.id = v.session AND s.expires_at > least($1, ` + serverNow + `) AND ` + unended + ` AND ` + enabled + `)
		ORDER BY v.session, v.name LIMIT $3 FOR UPDATE SKIP LOCKED) AS x WHERE d.session = x.session AND d.name = x.name`

	readSwept  = `SELECT w.after FROM @sweep AS w WHERE w.id = 1`
	writeSwept = `UPDATE @sweep AS w SET after = $1 FROM (SELECT set_config('synchronous_commit', 'off', true)) AS c WHERE w.id = 1`
)

// How many sessions one sweep looks at.
const sweepOwners = 10_000

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
	for len(over) > 0 && deleted < limit {
		batch := over[:min(len(over), sweepBatch)]
		want := min(limit-deleted, sweepBatch)
		var n int64
		err := s.write(ctx, forUnit, statement{query: sweepValues, args: []any{micros(now), list(batch), int64(want)}, changed: &n})
		if err != nil {
			return deleted, fmt.Errorf("delete session data: %w", err)
		}
		deleted += int(n)
		if int(n) < want { // all of this batch
			over = over[len(batch):]
		}
	}
	if deleted >= limit || to == from {
		return deleted, nil // the next sweep looks again from where this one did
	}
	if err := s.write(ctx, forUnit, statement{query: writeSwept, args: []any{string(to)}}); err != nil {
		return deleted, fmt.Errorf("note how far the sweep came: %w", err)
	}
	return deleted, nil
}

// overOwners looks at the next sessions that have values, and from the beginning again once it is through. It returns
// those that are over, and where this look began and the next one does.
func (s *Store) overOwners(
	ctx context.Context, now time.Time, window int,
) (from, to handstamp.SessionID, over []handstamp.SessionID, err error) {
	if err := s.row(ctx, readSwept, nil, asText(&from)); err != nil {
		return from, to, nil, err
	}
	seen, last := 0, from
	look := func(after, until string) error {
		return s.each(ctx, owners, []any{micros(now), after, until, int64(window - seen)}, func(r pgx.Rows) error {
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
		return from, to, nil, err
	}
	if from != "" && seen < window {
		if err := look("", string(from)); err != nil {
			return from, to, nil, err
		}
	}
	if to = last; seen < window {
		to = "" // all of them were looked at
	}
	return from, to, over, nil
}
