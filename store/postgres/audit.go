package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp/audit"
)

// Audit reads the audit log.
func (s *Store) Audit() audit.Log { return &auditLog{s} }

type auditLog struct{ s *Store }

const auditColumns = `a.id, a.at, a.kind, a.actor, a.target, a.session, a.ip, a.user_agent, a.request_id, a.detail`

func auditInto(e *audit.Event) []any {
	return []any{
		asText(&e.ID), asTime(&e.At), asText(&e.Kind), asText(&e.Actor), asText(&e.Target), asText(&e.Session),
		asText(&e.IP), asText(&e.UserAgent), asText(&e.RequestID), asMap(&e.Detail),
	}
}

// Entries of a user are those of two indexes, each read from its new end: an OR would sort all of them for every page.
// $1 is the last id of the page before, $2 the limit, $3 the kind, $4 the user.
const (
	auditAll  = `SELECT ` + auditColumns + ` FROM @audit AS a WHERE a.id < $1 ORDER BY a.id DESC LIMIT $2`
	auditKind = `SELECT ` + auditColumns + ` FROM @audit AS a WHERE a.kind = $3 AND a.id < $1 ORDER BY a.id DESC LIMIT $2`
	auditUser = `SELECT ` + auditColumns + ` FROM @audit AS a WHERE a.id = ANY (ARRAY(
		(SELECT b.id FROM @audit AS b WHERE b.actor = $4 AND b.id < $1 AND ($3 = '' OR b.kind = $3) ORDER BY b.id DESC LIMIT $2)
		UNION
		(SELECT b.id FROM @audit AS b WHERE b.target = $4 AND b.id < $1 AND ($3 = '' OR b.kind = $3) ORDER BY b.id DESC LIMIT $2)))
		ORDER BY a.id DESC LIMIT $2`
)

// List implements audit.Log.
func (v *auditLog) List(ctx context.Context, f audit.Filter) ([]audit.Event, error) {
	query, args := auditAll, []any{before(f.Before), int64(min(max(f.Limit, 1), maxPage))}
	switch {
	case f.User != "":
		query, args = auditUser, append(args, string(f.Kind), string(f.User))
	case f.Kind != "":
		query, args = auditKind, append(args, string(f.Kind))
	}
	found := []audit.Event{}
	err := v.s.each(ctx, query, args, func(r pgx.Rows) error {
		var e audit.Event
		if err := r.Scan(auditInto(&e)...); err != nil {
			return err
		}
		found = append(found, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list audit entries: %w", err)
	}
	return found, nil
}

const sweepAudit = `DELETE FROM @audit AS a WHERE a.id = ANY (ARRAY(
	SELECT o.id FROM @audit AS o WHERE o.at < least($1, ` + serverNow + `) ORDER BY o.at LIMIT $2 FOR UPDATE SKIP LOCKED))`

// Sweep implements audit.Log.
func (v *auditLog) Sweep(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := v.s.sweep(ctx, before, limit, sweepAudit)
	if err == nil {
		err = v.s.forgetRest(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("sweep audit entries: %w", err)
	}
	return n, nil
}
