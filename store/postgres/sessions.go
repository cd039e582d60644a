package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/permission"
)

// Sessions reads and changes session records.
func (s *Store) Sessions() handstamp.Sessions { return &sessions{s} }

type sessions struct{ s *Store }

// Each look-up is one statement, so that everything that decides is read in one snapshot. It begins with the log's row, so
// that a server that must not be believed says so also where it finds nothing: a standby that is behind does not know the
// session that began a moment ago.
const (
	findHead = `SELECT ` + sessionColumns + `, ` + subjectColumns + `, ` + rolesOf + `,
		(SELECT k.ended_by FROM @key_ends AS k WHERE k.kid = $2) FROM @log AS l LEFT JOIN @sessions AS s ON `
	findTail      = ` LEFT JOIN @subjects AS u ON u.user_id = s.user_id WHERE l.id = 1`
	findBySession = findHead + `s.id = $1` + findTail
	findByKey     = findHead + `s.key_hash = $1` + findTail

	findServiceKey = `SELECT ` + serviceKeyColumns + `, ` + unbelievable + `, l.all_ended, l.all_ended_at, l.head, l.restored_at,
		(SELECT e.ended_by FROM @key_ends AS e WHERE e.kid = $2)
		FROM @log AS l LEFT JOIN @service_keys AS k ON k.hash = $1 WHERE l.id = 1`
)

// Find implements handstamp.Sessions.
func (v *sessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	var f handstamp.Found
	var err error
	kid := l.SigningKey
	if !storable([]any{kid}) {
		kid = "" // no such key was ever made, so none was revoked
	}
	switch {
	case !l.Key.IsZero():
		f, err = v.find(ctx, findByKey, blob(l.Key), kid)
	case !l.ServiceKey.IsZero():
		f, err = v.findServiceKey(ctx, blob(l.ServiceKey), kid)
	default:
		f, err = v.find(ctx, findBySession, string(l.Session), kid)
	}
	if err != nil {
		return handstamp.Found{}, fmt.Errorf("find credential: %w", notFound(err))
	}
	return f, nil
}

func (v *sessions) find(ctx context.Context, query string, what any, kid string) (handstamp.Found, error) {
	var f handstamp.Found
	var roles string
	into := append(sessionInto(&f.Session), subjectInto(&f.Subject)...)
	into = append(into, asText(&roles), asNumber(&f.SigningKeyEnded))
	if err := v.s.row(ctx, query, []any{what, kid}, into...); err != nil {
		return handstamp.Found{}, err
	}
	if f.Session.ID == "" {
		return handstamp.Found{}, pgx.ErrNoRows
	}
	f.Subject.User = f.Session.User
	var err error
	f.Roles, err = v.s.tables.parse(roles)
	return f, err
}

func (v *sessions) findServiceKey(ctx context.Context, hash any, kid string) (handstamp.Found, error) {
	var f handstamp.Found
	into := append(serviceKeyInto(&f.ServiceKey), asPrimary(), asNumber(&f.Subject.AllEnded), asTime(&f.Subject.AllEndedAt),
		asNumber(&f.Subject.Head), asTime(&f.Subject.RestoredAt), asNumber(&f.SigningKeyEnded))
	if err := v.s.row(ctx, findServiceKey, []any{hash, kid}, into...); err != nil {
		return handstamp.Found{}, err
	}
	if f.ServiceKey.ID == "" {
		return handstamp.Found{}, pgx.ErrNoRows
	}
	f.Roles = permission.Table{}
	return f, nil
}

const readSubject = `SELECT ` + subjectColumns + ` FROM @log AS l LEFT JOIN @subjects AS u ON u.user_id = $1 WHERE l.id = 1`

// Subject implements handstamp.Sessions.
func (v *sessions) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	sub := handstamp.Subject{User: u}
	if err := v.s.row(ctx, readSubject, []any{string(u)}, subjectInto(&sub)...); err != nil {
		return handstamp.Subject{}, fmt.Errorf("read subject: %w", err)
	}
	return sub, nil
}

const readSubjects = `SELECT ` + subjectColumns + `, x.n FROM unnest($1::text[]) WITH ORDINALITY AS x (id, n) CROSS JOIN @log AS l
	LEFT JOIN @subjects AS u ON u.user_id = x.id WHERE l.id = 1 ORDER BY x.n`

// Subjects reads rows of several users in one snapshot, in their order. A user without a row is no error, see
// [handstamp.Subject].
func (s *Store) Subjects(ctx context.Context, users []handstamp.UserID) ([]handstamp.Subject, error) {
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = string(u)
	}
	all := make([]handstamp.Subject, 0, len(users))
	err := s.each(ctx, readSubjects, []any{ids}, func(r pgx.Rows) error {
		var n int64
		var sub handstamp.Subject
		if err := r.Scan(append(subjectInto(&sub), asNumber(&n))...); err != nil {
			return err
		}
		sub.User = users[n-1]
		all = append(all, sub)
		return nil
	})
	if err == nil && len(all) != len(users) {
		err = pgx.ErrNoRows // the log's row is gone
	}
	if err != nil {
		return nil, fmt.Errorf("read subjects: %w", err)
	}
	return all, nil
}

const (
	listTail = ` AND s.id < $2 AND ` + alive + ` ORDER BY s.id DESC LIMIT $3`

	listAll = `SELECT ` + sessionColumns + ` FROM @sessions AS s JOIN @log AS l ON l.id = 1
		LEFT JOIN @subjects AS u ON u.user_id = s.user_id WHERE s.mode <> 'anonymous'` + listTail
	listUser = `SELECT ` + sessionColumns + ` FROM @sessions AS s JOIN @log AS l ON l.id = 1
		LEFT JOIN @subjects AS u ON u.user_id = s.user_id WHERE s.user_id = $4` + listTail
)

// maxList is the longest page of sessions: one more than the largest number of sessions a user may have.
const maxList = 10_001

// before is the end of a page that is read downwards: an id, or what sorts after every id.
func before[T ~string](id T) string {
	if id == "" {
		return "\U0010FFFF"
	}
	return string(id)
}

// List implements handstamp.Sessions.
func (v *sessions) List(ctx context.Context, f handstamp.SessionFilter) ([]handstamp.Session, error) {
	query, args := listAll, []any{micros(f.Now), before(f.After), int64(min(max(f.Limit, 1), maxList))}
	if f.User != "" {
		query, args = listUser, append(args, string(f.User))
	}
	found := []handstamp.Session{}
	err := v.s.each(ctx, query, args, func(r pgx.Rows) error {
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

// rotate moves a family on in one statement, by handstamp.Rotation.Moves; $13 is set if the session was not read before.
// What decides, and what is answered, is what "read" read in one snapshot; "seen" is that and what it comes to. If somebody
// changed the session since, the version is another one, and nothing is written: the update would otherwise go on with the
// new row of the session and the old rows of everything else, and a number of the new row would vouch for what the old ones
// have missed. Then it is looked at again.
const rotate = `WITH read AS MATERIALIZED (
	SELECT s.id, s.version, s.rotated_at, s.methods, s.generation = $3 AND s.nonce_hash = $5 AND ` + alive + ` AS moves,
	set_config('lock_timeout', $12, true), ` + subjectColumns + `, ` + rolesOf + ` AS definitions
	FROM @sessions AS s JOIN @log AS l ON l.id = 1 LEFT JOIN @subjects AS u ON u.user_id = s.user_id WHERE s.id = $2
), seen AS MATERIALIZED (
	SELECT s.*, coalesce(s.moves AND ($13::bigint IS NULL OR s.rotated_at <= $13 AND ` + weight + ` <= $14::bigint), false) AS good FROM read AS s
), moved AS (
	UPDATE @sessions AS s SET generation = $4, rotated_at = $6, request_hash = $7,
	refresh_ip = $8, refresh_agent = $9, seen_at = greatest(s.seen_at, $10), claims = $11, version = s.version + 1
	FROM seen WHERE s.id = seen.id AND s.version = seen.version AND seen.good RETURNING ` + sessionColumns + `
) SELECT seen.good, s.*, seen.unbelievable, seen.ended, seen.ended_at, seen.end_reason, seen.changed, seen.all_ended,
	seen.all_ended_at, seen.head, seen.restored_at, seen.disabled, seen.deleted, seen.roles, seen.permissions, seen.email,
	seen.email_verified, seen.definitions FROM seen LEFT JOIN moved AS s ON true`

// errContended is said when the session was changed by somebody else each time.
var errContended = errors.New("others kept changing the session")

// Rotate implements handstamp.Sessions.
func (v *sessions) Rotate(ctx context.Context, id handstamp.SessionID, from uint32, r handstamp.Rotation) (handstamp.Found, error) {
	args := []any{
		micros(r.At), string(id), int64(from), int64(r.Family.Generation), blob(r.Family.Nonce), micros(r.Family.RotatedAt),
		blob(r.Family.Request), said(r.Family.IP), said(r.Family.UserAgent), micros(r.SeenAt), r.Claims, milliseconds(v.s.limits.lock), nil, nil,
	}
	if r.Unread != nil {
		args[12], args[13] = micros(r.Unread.RotatedBy), int64(r.Unread.Weight)
	}
	err := errContended
	var f handstamp.Found
	for range maxTries {
		if f, err = v.rotate(ctx, args); !errors.Is(err, errContended) {
			break
		}
	}
	if err != nil {
		return handstamp.Found{}, fmt.Errorf("rotate refresh token: %w", err)
	}
	return f, nil
}

func (v *sessions) rotate(ctx context.Context, args []any) (handstamp.Found, error) {
	var f handstamp.Found
	var good bool
	var roles string
	into := append([]any{asBool(&good)}, append(sessionInto(&f.Session), subjectInto(&f.Subject)...)...)
	into = append(into, asText(&roles))
	err := v.s.write(ctx, forRead, statement{query: rotate, args: args, scan: func(r pgx.Rows) error { return r.Scan(into...) }})
	switch {
	case err != nil:
		return handstamp.Found{}, err
	case !good:
		return handstamp.Found{}, handstamp.ErrConflict
	case f.Session.ID == "":
		return handstamp.Found{}, errContended
	}
	f.Subject.User = f.Session.User
	f.Roles, err = v.s.tables.parse(roles)
	return f, err
}

// The statements of Touch. The first writes what nobody holds and returns the rest, so that it never waits for one
// session while it holds another: units lock sessions in an order of their own.
const (
	touch = `WITH due AS MATERIALIZED (
		SELECT s.id, t.at FROM unnest($1::text[], $2::bigint[]) AS t (id, at) JOIN @sessions AS s ON s.id = t.id
		JOIN @log AS l ON l.id = 1 LEFT JOIN @subjects AS u ON u.user_id = s.user_id WHERE ` + touchable + `
	), free AS MATERIALIZED (
		SELECT s.id FROM @sessions AS s WHERE s.id = ANY (ARRAY(SELECT due.id FROM due)) FOR NO KEY UPDATE SKIP LOCKED
	), done AS (
		UPDATE @sessions AS s SET seen_at = greatest(s.seen_at, due.at) FROM due JOIN free ON free.id = due.id
		WHERE s.id = due.id AND s.ended_by = 0 RETURNING s.id, set_config('synchronous_commit', 'off', true)
	) SELECT due.id FROM due WHERE NOT EXISTS (SELECT 1 FROM free WHERE free.id = due.id) AND (SELECT count(*) FROM done) >= 0`

	touchOne = `UPDATE @sessions AS s SET seen_at = greatest(s.seen_at, t.at) FROM (
		SELECT $1::text AS id, $2::bigint AS at, set_config('lock_timeout', $3, true), set_config('synchronous_commit', 'off', true)) AS t
		WHERE s.id = t.id AND EXISTS (SELECT 1 FROM @log AS l LEFT JOIN @subjects AS u ON u.user_id = s.user_id
		WHERE l.id = 1 AND ` + touchable + `)`

	touchable = `s.seen_at < t.at AND ` + unended + ` AND s.expires_at > t.at AND ` + enabled
)

// touchBatch is how many sessions one statement touches.
const touchBatch = 1000

// Touch implements handstamp.Sessions. It does not wait for the disk.
func (v *sessions) Touch(ctx context.Context, seen map[handstamp.SessionID]time.Time) error {
	for batch := range slices.Chunk(slices.Sorted(maps.Keys(seen)), touchBatch) {
		if err := v.touch(ctx, batch, seen); err != nil {
			return fmt.Errorf("touch sessions: %w", err)
		}
	}
	return nil
}

func (v *sessions) touch(ctx context.Context, batch []handstamp.SessionID, seen map[handstamp.SessionID]time.Time) error {
	times := make([]int64, len(batch))
	for i, id := range batch {
		times[i] = micros(seen[id])
	}
	var held []handstamp.SessionID
	err := v.s.write(ctx, forRead, statement{query: touch, args: []any{list(batch), times}, scan: func(r pgx.Rows) error {
		var id handstamp.SessionID
		if err := r.Scan(asText(&id)); err != nil {
			return err
		}
		held = append(held, id)
		return nil
	}})
	for _, id := range held {
		if err != nil {
			return err
		}
		err = v.s.write(ctx, forRead, statement{query: touchOne, args: []any{string(id), micros(seen[id]), milliseconds(v.s.limits.lock)}})
	}
	return err
}

const readRoles = `SELECT ` + unbelievable + `, l.head, (SELECT json_object_agg(r.name, to_json(r.permissions)) FROM @roles AS r)::text
	FROM @log AS l WHERE l.id = 1`

// Roles implements handstamp.Store.
func (s *Store) Roles(ctx context.Context) (permission.Table, uint64, error) {
	var head uint64
	var roles string
	if err := s.row(ctx, readRoles, nil, asPrimary(), asNumber(&head), asText(&roles)); err != nil {
		return nil, 0, fmt.Errorf("read roles: %w", err)
	}
	table, err := parseTable(roles)
	return table, head, err
}
