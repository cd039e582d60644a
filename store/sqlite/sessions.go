package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/permission"
)

// Sessions reads and changes session records.
func (s *Store) Sessions() handstamp.Sessions { return &sessions{s} }

type sessions struct{ s *Store }

// Each look-up is one statement, so that everything that decides is read in one snapshot.
const (
	findTail = `, (SELECT k.ended_by FROM handstamp_key_ends AS k WHERE k.kid = ?2)
		FROM handstamp_sessions AS s JOIN handstamp_log AS l ON l.id = 1
		LEFT JOIN handstamp_subjects AS u ON u.user = s.user WHERE `
	findBySession = `SELECT ` + sessionColumns + `, ` + subjectColumns + `, ` + rolesOf + findTail + `s.id = ?1`
	findByKey     = `SELECT ` + sessionColumns + `, ` + subjectColumns + `, ` + rolesOf + findTail + `s.key_hash = ?1`

	findServiceKey = `SELECT ` + serviceKeyColumns + `, l.all_ended, l.all_ended_at, l.head, l.restored_at,
		(SELECT e.ended_by FROM handstamp_key_ends AS e WHERE e.kid = ?2)
		FROM handstamp_service_keys AS k JOIN handstamp_log AS l ON l.id = 1 WHERE k.hash = ?1`
)

// Find implements handstamp.Sessions.
func (v *sessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	c, err := v.s.readers.take(ctx)
	if err != nil {
		return handstamp.Found{}, fmt.Errorf("find credential: %w", err)
	}
	defer v.s.readers.give(c, true)
	var f handstamp.Found
	switch {
	case !l.Key.IsZero():
		f, err = v.s.find(c.row, findByKey, blob(l.Key), l.SigningKey)
	case !l.ServiceKey.IsZero():
		f, err = v.s.findServiceKey(c.row, blob(l.ServiceKey), l.SigningKey)
	default:
		f, err = v.s.find(c.row, findBySession, string(l.Session), l.SigningKey)
	}
	if err != nil {
		return handstamp.Found{}, fmt.Errorf("find credential: %w", notFound(err))
	}
	return f, nil
}

// rower runs a query that gives one row, on a link or in a unit.
type rower func(query string, args []any, into ...any) error

func (s *Store) find(row rower, query string, what any, kid string) (handstamp.Found, error) {
	var f handstamp.Found
	var roles string
	into := append(sessionInto(&f.Session), subjectInto(&f.Subject)...)
	into = append(into, asText(&roles), asNumber(&f.SigningKeyEnded))
	if err := row(query, []any{what, kid}, into...); err != nil {
		return handstamp.Found{}, err
	}
	f.Subject.User = f.Session.User
	var err error
	f.Roles, err = s.tables.parse(roles)
	return f, err
}

func (s *Store) findServiceKey(row rower, hash any, kid string) (handstamp.Found, error) {
	var f handstamp.Found
	into := append(serviceKeyInto(&f.ServiceKey), asNumber(&f.Subject.AllEnded), asTime(&f.Subject.AllEndedAt),
		asNumber(&f.Subject.Head), asTime(&f.Subject.RestoredAt), asNumber(&f.SigningKeyEnded))
	if err := row(findServiceKey, []any{hash, kid}, into...); err != nil {
		return handstamp.Found{}, err
	}
	f.Roles = permission.Table{}
	return f, nil
}

// notFound translates the answer of a look-up.
func notFound(err error) error {
	if absent(err) {
		return handstamp.ErrNotFound
	}
	return err
}

const readSubject = `SELECT ` + subjectColumns + ` FROM handstamp_log AS l
	LEFT JOIN handstamp_subjects AS u ON u.user = ?1 WHERE l.id = 1`

// Subject implements handstamp.Sessions.
func (v *sessions) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	c, err := v.s.readers.take(ctx)
	if err != nil {
		return handstamp.Subject{}, fmt.Errorf("read subject: %w", err)
	}
	defer v.s.readers.give(c, true)
	return subjectOf(c.row, u)
}

// Subjects reads rows of several users in one snapshot, in their order. A user without a row is no error, see
// [handstamp.Subject].
func (s *Store) Subjects(ctx context.Context, users []handstamp.UserID) ([]handstamp.Subject, error) {
	all := make([]handstamp.Subject, 0, len(users))
	err := s.snapshot(ctx, func(c *link) error {
		for _, u := range users {
			sub, err := subjectOf(c.row, u)
			if err != nil {
				return err
			}
			all = append(all, sub)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read subjects: %w", err)
	}
	return all, nil
}

func subjectOf(row rower, u handstamp.UserID) (handstamp.Subject, error) {
	sub := handstamp.Subject{User: u}
	if err := row(readSubject, []any{string(u)}, subjectInto(&sub)...); err != nil {
		return handstamp.Subject{}, fmt.Errorf("read subject: %w", err)
	}
	return sub, nil
}

const (
	listTail = ` AND s.id < ?2 AND ` + alive + ` ORDER BY s.id DESC LIMIT ?3`

	listAll = `SELECT ` + sessionColumns + ` FROM handstamp_log AS l CROSS JOIN handstamp_sessions AS s
		LEFT JOIN handstamp_subjects AS u ON u.user = s.user WHERE l.id = 1 AND s.mode <> 'anonymous'` + listTail
	listUser = `SELECT ` + sessionColumns + ` FROM handstamp_log AS l
		CROSS JOIN handstamp_sessions AS s INDEXED BY handstamp_sessions_user
		LEFT JOIN handstamp_subjects AS u ON u.user = s.user WHERE l.id = 1 AND s.user = ?4` + listTail
)

// maxList is the longest page of sessions: one more than the largest number of sessions a user may have.
const maxList = 10_001

// before is the end of a page that is read downwards: an id, or what sorts after every id. (A condition that may be
// switched off would keep the engine from entering the index at the right place.)
func before[T ~string](id T) string {
	if id == "" {
		return "\U0010FFFF"
	}
	return string(id)
}

// List implements handstamp.Sessions.
func (v *sessions) List(ctx context.Context, f handstamp.SessionFilter) ([]handstamp.Session, error) {
	c, err := v.s.readers.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	defer v.s.readers.give(c, true)
	query, args := listAll, []any{micros(f.Now), before(f.After), min(max(f.Limit, 1), maxList)}
	if f.User != "" {
		query, args = listUser, append(args, string(f.User))
	}
	found := []handstamp.Session{}
	err = c.each(ctx, query, args, func(r scanner) error {
		var s handstamp.Session
		if err := r.Scan(sessionInto(&s)...); err != nil {
			return err
		}
		found = append(found, s)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return found, nil
}

// rotate moves a family on in one statement, by handstamp.Rotation.Moves; ?12 is set if the session was not read before.
const rotate = `UPDATE handstamp_sessions AS s SET generation = ?4, rotated_at = ?6, request_hash = ?7,
	refresh_ip = ?8, refresh_agent = ?9, seen_at = max(s.seen_at, ?10), claims = ?11, version = s.version + 1
	WHERE s.id = ?2 AND s.generation = ?3 AND s.nonce_hash = ?5 AND EXISTS (
		SELECT 1 FROM handstamp_log AS l LEFT JOIN handstamp_subjects AS u ON u.user = s.user
		WHERE l.id = 1 AND ` + alive + ` AND (?12 IS NULL OR s.rotated_at <= ?12 AND ` + weight + ` <= ?13))`

// Rotate implements handstamp.Sessions.
func (v *sessions) Rotate(ctx context.Context, id handstamp.SessionID, from uint32, r handstamp.Rotation) (handstamp.Found, error) {
	var unread, heaviest any
	if r.Unread != nil {
		unread, heaviest = micros(r.Unread.RotatedBy), r.Unread.Weight
	}
	var f handstamp.Found
	err := v.s.do(ctx, func(u *unit) error {
		err := u.change(handstamp.ErrConflict, rotate, micros(r.At), string(id), int64(from), int64(r.Family.Generation),
			blob(r.Family.Nonce), micros(r.Family.RotatedAt), blob(r.Family.Request), r.Family.IP, r.Family.UserAgent,
			micros(r.SeenAt), raw(r.Claims), unread, heaviest)
		if err != nil {
			return err
		}
		f, err = v.s.find(u.row, findBySession, string(id), "")
		return err
	})
	if err != nil {
		return handstamp.Found{}, fmt.Errorf("rotate refresh token: %w", err)
	}
	return f, nil
}

const touch = `UPDATE handstamp_sessions AS s SET seen_at = ?1 WHERE s.id = ?2 AND s.seen_at < ?1 AND EXISTS (
	SELECT 1 FROM handstamp_log AS l LEFT JOIN handstamp_subjects AS u ON u.user = s.user WHERE l.id = 1 AND ` + lasting + ` AND ` + enabled + `)`

// touchBatch is how many sessions one transaction touches: more would keep a revocation waiting.
const touchBatch = 500

// Touch implements handstamp.Sessions. It goes through the one writer, so it is durable too: a second connection with
// weaker settings would save little, since calls are batched, and would be one more that could be used by mistake.
func (v *sessions) Touch(ctx context.Context, seen map[handstamp.SessionID]time.Time) error {
	for batch := range slices.Chunk(slices.Sorted(maps.Keys(seen)), touchBatch) {
		err := v.s.do(ctx, func(u *unit) error {
			for _, id := range batch {
				if _, err := u.exec(touch, micros(seen[id]), string(id)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("touch sessions: %w", err)
		}
	}
	return nil
}

// Each deletes the oldest rows that have run out, by an index.
const (
	sweepSessions = `DELETE FROM handstamp_sessions WHERE rowid IN (
		SELECT rowid FROM handstamp_sessions WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)`
	// sweepVisitors is handstamp.Swept for sessions without a user; 300 s are the five minutes that activity may be late.
	sweepVisitors = `DELETE FROM handstamp_sessions WHERE rowid IN (
		SELECT rowid FROM handstamp_sessions WHERE mode = 'anonymous' AND CASE WHEN ended_by <> 0 THEN 0 ELSE seen_at + idle END < ?1 - 300000000
		ORDER BY CASE WHEN ended_by <> 0 THEN 0 ELSE seen_at + idle END LIMIT ?2)`
	sweepCounters = `DELETE FROM handstamp_counters WHERE key IN (
		SELECT key FROM handstamp_counters WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)`
	sweepOneTimes = `DELETE FROM handstamp_one_times WHERE hash IN (
		SELECT hash FROM handstamp_one_times WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)`
)

// Sweep implements handstamp.Sessions.
func (v *sessions) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	n, err := v.s.sweep(ctx, now, limit, sweepSessions, sweepVisitors, sweepCounters, sweepOneTimes)
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	values, err := v.s.sweepData(ctx, now, limit-n, sweepOwners)
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	return n + values, nil
}

// sweepBatch bounds one transaction of a sweep.
const sweepBatch = 1_000

// errNothing ends a unit that found nothing to do without a commit.
var errNothing = errors.New("nothing to do")

func (s *Store) sweep(ctx context.Context, before time.Time, limit int, queries ...string) (int, error) {
	deleted := 0
	for _, query := range queries {
		for deleted < limit {
			want := min(limit-deleted, sweepBatch)
			var n int64
			err := s.do(ctx, func(u *unit) (err error) {
				if n, err = u.exec(query, micros(before), want); err == nil && n == 0 {
					return errNothing
				}
				return err
			})
			if err != nil && !errors.Is(err, errNothing) {
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

const readRoles = `SELECT l.head, (SELECT json_group_object(r.name, json(r.permissions)) FROM handstamp_roles AS r)
	FROM handstamp_log AS l WHERE l.id = 1`

// Roles implements handstamp.Store.
func (s *Store) Roles(ctx context.Context) (permission.Table, uint64, error) {
	c, err := s.readers.take(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("read roles: %w", err)
	}
	defer s.readers.give(c, true)
	var head uint64
	var roles string
	if err := c.row(readRoles, nil, asNumber(&head), asText(&roles)); err != nil {
		return nil, 0, fmt.Errorf("read roles: %w", err)
	}
	table, err := parseTable(roles)
	return table, head, err
}
