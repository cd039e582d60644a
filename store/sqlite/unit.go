package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
)

// Subject implements handstamp.Tx. The transaction holds the one write lock, so the row is locked.
func (u *unit) Subject(ctx context.Context, user handstamp.UserID) (handstamp.Subject, error) {
	if err := u.ready(ctx); err != nil {
		return handstamp.Subject{}, err
	}
	return subjectOf(u.row, user)
}

const putSubject = `INSERT INTO handstamp_subjects (user, disabled, deleted, roles, permissions, email, email_verified)
	VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
	ON CONFLICT (user) DO UPDATE SET disabled = ?2, deleted = ?3, roles = ?4, permissions = ?5, email = ?6, email_verified = ?7`

// PutSubject implements handstamp.Tx.
func (u *unit) PutSubject(ctx context.Context, s handstamp.Subject) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	if err := u.remember(s.User); err != nil {
		return fmt.Errorf("read subject: %w", err)
	}
	_, err := u.exec(putSubject, string(s.User), s.Disabled, s.Deleted, list(s.Grants.Roles), list(s.Grants.Permissions),
		s.Email, s.EmailVerified)
	if err != nil {
		return fmt.Errorf("write subject: %w", err)
	}
	return nil
}

// remember keeps whether a user was enabled before this unit wrote their row.
func (u *unit) remember(user handstamp.UserID) error {
	if _, done := u.before[user]; done {
		return nil
	}
	var disabled bool
	err := u.row("SELECT disabled OR deleted FROM handstamp_subjects WHERE user = ?", []any{string(user)}, asBool(&disabled))
	if err != nil && !absent(err) {
		return err
	}
	if u.before == nil {
		u.before = make(map[handstamp.UserID]bool)
	}
	u.before[user] = !disabled
	return nil
}

// PutSession implements handstamp.Tx.
func (u *unit) PutSession(ctx context.Context, s handstamp.Session) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	var err error
	if s.Version == 0 {
		err = u.change(handstamp.ErrConflict, insertSession, sessionValues(&s)...)
	} else {
		err = u.change(handstamp.ErrConflict, updateSession, append(sessionValues(&s), number(s.Version))...)
	}
	if err != nil {
		return fmt.Errorf("write session: %w", err)
	}
	return nil
}

const oldest = `SELECT id FROM (
	SELECT s.id AS id FROM handstamp_log AS l CROSS JOIN handstamp_sessions AS s INDEXED BY handstamp_sessions_user
	LEFT JOIN handstamp_subjects AS u ON u.user = s.user
	WHERE l.id = 1 AND s.user = ?2 AND ` + alive + ` ORDER BY s.id DESC LIMIT -1 OFFSET ?3)
	ORDER BY id LIMIT 1000`

// Oldest implements handstamp.Tx.
func (u *unit) Oldest(ctx context.Context, user handstamp.UserID, now time.Time, keep int) ([]handstamp.SessionID, error) {
	if err := u.ready(ctx); err != nil {
		return nil, err
	}
	var found []handstamp.SessionID
	err := u.each(oldest, []any{micros(now), string(user), max(keep, 0)}, func(r scanner) error {
		var id handstamp.SessionID
		if err := r.Scan(asText(&id)); err != nil {
			return err
		}
		found = append(found, id)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list oldest sessions: %w", err)
	}
	return found, nil
}

// An entry that is written after the deletion of the one whose address it would hold (audit.Event.Whose), such as that of
// the deletion itself or of a login that was under way, holds none.
const record = `INSERT INTO handstamp_audit (id, at, kind, actor, target, session, ip, user_agent, request_id, detail)
	SELECT ?1, ?2, ?3, ?4, ?5, ?6, CASE WHEN gone THEN '' ELSE ?7 END, CASE WHEN gone THEN '' ELSE ?8 END, ?9, ?10
	FROM (SELECT EXISTS (SELECT 1 FROM handstamp_subjects AS u
	WHERE u.user = CASE WHEN ?4 <> '' THEN ?4 ELSE ?5 END AND u.deleted) AS gone)`

// Record implements handstamp.Tx.
func (u *unit) Record(ctx context.Context, e audit.Event) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	detail, err := object(e.Detail)
	if err != nil {
		return err
	}
	err = u.change(handstamp.ErrConflict, record, string(e.ID), micros(e.At), string(e.Kind), e.Actor, e.Target,
		string(e.Session), e.IP, e.UserAgent, e.RequestID, detail)
	if err != nil {
		return fmt.Errorf("write audit entry: %w", err)
	}
	return nil
}
