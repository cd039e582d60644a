package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
)

const lockSubject = `SELECT @lock_subject_1($1)`

// lock is what locks a user in this unit; nothing if it is locked already.
func (u *unit) lock(user handstamp.UserID) []statement {
	if !u.first("subject:" + string(user)) {
		return nil
	}
	return []statement{{query: lockSubject, args: []any{string(user)}, what: "lock subject"}}
}

// first says whether this is the first time that the unit locks something.
func (u *unit) first(name string) bool {
	if u.locked[name] {
		return false
	}
	if u.locked == nil {
		u.locked = make(map[string]bool)
	}
	u.locked[name] = true
	return true
}

// Subject implements handstamp.Tx. The row is read by a statement that begins after the lock is held, so it is the newest
// and its head belongs to it.
func (u *unit) Subject(ctx context.Context, user handstamp.UserID) (handstamp.Subject, error) {
	sub := handstamp.Subject{User: user}
	if err := u.row(ctx, u.lock(user), readSubject, []any{string(user)}, subjectInto(&sub)...); err != nil {
		return handstamp.Subject{}, fmt.Errorf("read subject: %w", err)
	}
	if _, known := u.before[user]; !known {
		u.remember(user, !sub.Disabled && !sub.Deleted)
	}
	return sub, nil
}

// remember keeps whether a user was enabled before this unit wrote their row.
func (u *unit) remember(user handstamp.UserID, enabled bool) {
	if u.before == nil {
		u.before = make(map[handstamp.UserID]bool)
	}
	u.before[user] = enabled
}

const putSubject = `INSERT INTO @subjects AS u (user_id, disabled, deleted, roles, permissions, email, email_verified)
	VALUES ($1, $2, $3, $4, $5, $6, $7)
	ON CONFLICT (user_id) DO UPDATE SET disabled = $2, deleted = $3, roles = $4, permissions = $5, email = $6, email_verified = $7`

// PutSubject implements handstamp.Tx.
func (u *unit) PutSubject(ctx context.Context, s handstamp.Subject) error {
	if _, known := u.before[s.User]; !known {
		if _, err := u.Subject(ctx, s.User); err != nil {
			return err
		}
	}
	return u.keep(ctx, statement{query: putSubject, what: "write subject", args: []any{
		string(s.User), s.Disabled, s.Deleted, list(s.Grants.Roles), list(s.Grants.Permissions), s.Email, s.EmailVerified,
	}})
}

// PutSession implements handstamp.Tx.
func (u *unit) PutSession(ctx context.Context, s handstamp.Session) error {
	values, query := sessionValues(&s), insertSession
	if s.Version != 0 {
		query, values = updateSession, append(values, number(s.Version))
	}
	n, err := u.change(ctx, query, values...)
	if err == nil && n == 0 {
		err = u.whySession(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("write session: %w", err)
	}
	return nil
}

// whySession says why nothing was written: the record is not the one that the change was made for, or another one has the
// key.
func (u *unit) whySession(ctx context.Context, s handstamp.Session) error {
	const query = `SELECT EXISTS (SELECT 1 FROM @sessions AS s WHERE s.id = $1 AND ($2::bigint = 0 OR s.version = $2 AND s.ended_by = 0))`
	var there bool
	if err := u.row(ctx, nil, query, []any{string(s.ID), number(s.Version)}, asBool(&there)); err != nil {
		return err
	}
	if there == (s.Version == 0) {
		return handstamp.ErrConflict
	}
	return handstamp.ErrTaken
}

const oldest = `SELECT o.id FROM (SELECT s.id FROM @sessions AS s JOIN @log AS l ON l.id = 1
	LEFT JOIN @subjects AS u ON u.user_id = s.user_id
	WHERE s.user_id = $2 AND ` + alive + ` ORDER BY s.id DESC OFFSET $3) AS o ORDER BY o.id LIMIT 1000`

// Oldest implements handstamp.Tx.
func (u *unit) Oldest(ctx context.Context, user handstamp.UserID, now time.Time, keep int) ([]handstamp.SessionID, error) {
	var found []handstamp.SessionID
	err := u.run(ctx, statement{query: oldest, args: []any{micros(now), string(user), int64(max(keep, 0))}, scan: func(r pgx.Rows) error {
		var id handstamp.SessionID
		if err := r.Scan(asText(&id)); err != nil {
			return err
		}
		found = append(found, id)
		return nil
	}})
	if err != nil {
		return nil, fmt.Errorf("list oldest sessions: %w", err)
	}
	return found, nil
}

// An entry that is written after the deletion of the one whose address it would hold (audit.Event.Whose), such as that of
// the deletion itself or of a login that was under way, holds none.
const record = `INSERT INTO @audit (id, at, kind, actor, target, session, ip, user_agent, request_id, detail)
	SELECT $1::text, $2::bigint, $3::text, $4::text, $5::text, $6::text, CASE WHEN g.gone THEN '' ELSE $7::text END,
	CASE WHEN g.gone THEN '' ELSE $8::text END, $9::text, $10::text FROM (SELECT EXISTS (SELECT 1 FROM @subjects AS u
	WHERE u.user_id = CASE WHEN $4::text <> '' THEN $4::text ELSE $5::text END AND u.deleted) AS gone) AS g`

// Record implements handstamp.Tx. The entry goes with the next statement; that its id is there already is heard of then.
func (u *unit) Record(ctx context.Context, e audit.Event) error {
	detail, err := object(e.Detail)
	if err != nil {
		return err
	}
	return u.keep(ctx, statement{query: record, what: "write audit entry", taken: handstamp.ErrConflict, args: []any{
		string(e.ID), micros(e.At), said(string(e.Kind)), said(e.Actor), said(e.Target), said(string(e.Session)), said(e.IP),
		said(e.UserAgent), said(e.RequestID), detail,
	}})
}
