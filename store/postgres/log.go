package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

// Log is the numbered log for those who follow it.
func (s *Store) Log() revoke.Log { return &eventLog{s} }

type eventLog struct{ s *Store }

const headColumns = unbelievable + `, l.log, l.head, l.tag, l.low, l.low_tag, l.lease, ` + serverNow

func headInto(h *revoke.Head) []any {
	return []any{
		asPrimary(), asText(&h.Log), asNumber(&h.Seq), asText(&h.Tag), asNumber(&h.Low), asText(&h.LowTag), asDuration(&h.Lease), asTime(&h.Now),
	}
}

const selectHead = `SELECT ` + headColumns + ` FROM @log AS l WHERE l.id = 1`

// register may be repeated when its outcome was unknown: the id is random and nobody else's. It is on the disk even where
// the server's commits are not: a crash that forgot a registration would leave a lease that no waiter waits for.
const register = `INSERT INTO @verifiers AS v (id, applied, lag, registered_at, name)
	SELECT $1, $2, $3, $4, $5 FROM (SELECT set_config('lock_timeout', $6, true),
		CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'local', true) END) AS c
	ON CONFLICT (id) DO UPDATE SET applied = greatest(v.applied, $2), lag = $3, registered_at = $4, name = $5`

// Register implements revoke.Log.
func (v *eventLog) Register(ctx context.Context, r revoke.Registration) (revoke.Head, error) {
	args := []any{
		string(r.Verifier), number(r.Applied), number(r.Lag), micros(r.RegisteredAt), said(r.Name), milliseconds(v.s.limits.lock),
	}
	if err := v.s.write(ctx, forLog, statement{query: register, args: args}); err != nil {
		return revoke.Head{}, fmt.Errorf("register verifier: %w", err)
	}
	head, err := v.head(ctx)
	if err != nil {
		return revoke.Head{}, fmt.Errorf("register verifier: %w", err)
	}
	return head, nil
}

func (v *eventLog) head(ctx context.Context) (revoke.Head, error) {
	var h revoke.Head
	found := false
	err := v.s.read(ctx, forLog, statement{query: selectHead, scan: func(r pgx.Rows) error {
		found = true
		return r.Scan(headInto(&h)...)
	}})
	if err == nil && !found {
		err = errNoLog
	}
	if err != nil {
		return revoke.Head{}, fmt.Errorf("read the log's head: %w", err)
	}
	return h, nil
}

// renew is one statement, so it has one snapshot: "place", the events and the row that is updated are of one moment,
// whichever part runs first, and no number in it is of a transaction that has not committed. It is a write, which a
// standby and a primary that was fenced off refuse; that its commit does not wait for the disk loses at most an
// acknowledgement, which is said again.
//
// If the row of the verifier is held by somebody the update waits, and what was read stays as old as it was: the lease
// counts from before the statement was sent, so that is allowed. If it was deleted meanwhile the update finds nothing.
//
// A lag is taken only together with the number it was said with: beside a larger one of a later renewal it would promise
// more than anybody said.
const renew = `WITH place AS MATERIALIZED (
	SELECT l.log, l.head, l.tag, l.low, l.low_tag, l.lease, ` + serverNow + ` AS now, ` + unbelievable + `,
		CASE WHEN l.log <> $2 OR $3 > l.head OR $3 < l.low THEN false
		WHEN $3 = l.head THEN l.tag = $4
		WHEN $3 = l.low THEN l.low_tag = $4
		ELSE EXISTS (SELECT 1 FROM @events AS e WHERE e.seq = $3 AND e.tag = $4) END AS known,
		set_config('synchronous_commit', 'off', true), set_config('lock_timeout', $7, true)
	FROM @log AS l WHERE l.id = 1
), own AS (
	UPDATE @verifiers AS v SET applied = CASE WHEN p.known THEN greatest(v.applied, $3) ELSE v.applied END,
		lag = CASE WHEN p.known AND $3 >= v.applied THEN $5 ELSE v.lag END
	FROM place AS p WHERE v.id = $1 RETURNING v.id
) SELECT p.unbelievable, p.log, p.head, p.tag, p.low, p.low_tag, p.lease, p.now, p.known,
	e.seq, e.tag, e.kind, e.target, e.effect, e.spared, e.until, e.at, e.reason
	FROM place AS p CROSS JOIN own
	LEFT JOIN LATERAL (SELECT * FROM @events AS a WHERE p.known AND a.seq > $3 ORDER BY a.seq LIMIT $6) AS e ON true ORDER BY e.seq`

// maxEvents is the longest answer to a renewal.
const maxEvents = 10_000

// Renew implements revoke.Log.
func (v *eventLog) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	limit := min(max(r.Limit, 1), maxEvents)
	if !storable([]any{r.Log, string(r.Tag)}) {
		r.Log, r.Tag = "", "" // no log is called so: the answer is a reset
	}
	args := []any{
		string(r.Verifier), r.Log, number(r.Applied), string(r.Tag), number(r.Lag), int64(limit + 1), milliseconds(v.s.limits.lock),
	}
	var a revoke.Answer
	found := false
	err := v.s.write(ctx, forLog, statement{query: renew, args: args, scan: func(row pgx.Rows) error {
		var known bool
		var e revoke.Event
		if !found { // the head is in every row
			found, a = true, revoke.Answer{}
		}
		if err := row.Scan(append(append(headInto(&a.Head), asBool(&known)), eventInto(&e)...)...); err != nil {
			return err
		}
		a.Reset = !known
		switch {
		case e.Seq == 0: // none
		case len(a.Events) == limit:
			a.More = true
		default:
			a.Events = append(a.Events, e)
		}
		return nil
	}})
	if err == nil && !found {
		err = revoke.ErrNotRegistered
	}
	if err != nil {
		return revoke.Answer{}, fmt.Errorf("renew lease: %w", err)
	}
	return a, nil
}

func eventInto(e *revoke.Event) []any {
	return []any{
		asNumber(&e.Seq), asText(&e.Tag), asText(&e.Kind), asText(&e.ID), asText(&e.Effect), asText(&e.Except),
		asTime(&e.Until), asTime(&e.At), asText(&e.Reason),
	}
}

const registered = `SELECT ` + unbelievable + `, v.id, v.applied, v.lag, v.registered_at, v.name
	FROM @log AS l LEFT JOIN @verifiers AS v ON true WHERE l.id = 1 ORDER BY v.id`

// Registered implements revoke.Log.
func (v *eventLog) Registered(ctx context.Context) ([]revoke.Registration, error) {
	var found []revoke.Registration
	err := v.s.read(ctx, forLog, statement{query: registered, scan: func(row pgx.Rows) error {
		var r revoke.Registration
		err := row.Scan(asPrimary(), asText(&r.Verifier), asNumber(&r.Applied), asNumber(&r.Lag), asTime(&r.RegisteredAt), asText(&r.Name))
		if err == nil && r.Verifier != "" {
			found = append(found, r)
		}
		return err
	}})
	if err != nil {
		return nil, fmt.Errorf("list verifiers: %w", err)
	}
	return found, nil
}

// remove locks in the order of the ids, so that two who remove the same ones do not lock each other out.
const remove = `DELETE FROM @verifiers AS v USING (
	SELECT o.id FROM @verifiers AS o WHERE o.id = ANY ($1) AND o.applied < $2 ORDER BY o.id FOR UPDATE) AS x WHERE v.id = x.id`

// Remove implements revoke.Log.
func (v *eventLog) Remove(ctx context.Context, below uint64, ids ...id.Verifier) error {
	if len(ids) == 0 {
		return nil
	}
	if err := v.s.write(ctx, forLog, statement{query: remove, args: []any{list(ids), number(below)}}); err != nil {
		return fmt.Errorf("remove verifiers: %w", err)
	}
	return nil
}

const forget = `SELECT @forget_1(least($1, ` + serverNow + `), $2, $3)`

// Forget implements revoke.Log.
func (v *eventLog) Forget(ctx context.Context, now time.Time, limit int) (int, error) {
	forgot := 0
	for forgot < limit {
		want := min(limit-forgot, sweepBatch)
		n := 0
		err := v.s.write(ctx, forUnit, statement{query: forget, args: []any{micros(now), int64(want), milliseconds(v.s.limits.lock)},
			scan: func(r pgx.Rows) error { return r.Scan(asNumber(&n)) }})
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
