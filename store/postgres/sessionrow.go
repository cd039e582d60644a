package postgres

import "github.com/handstamp/handstamp"

// sessionColumns are what sessionInto reads, in order.
const sessionColumns = `s.id, s.user_id, s.key_hash, s.mode, s.transport, s.browser_session, s.methods, s.claims,
	s.created_at, s.auth_at, s.seen_at, s.idle, s.expires_at, s.stamp, s.changed,
	s.generation, s.nonce_hash, s.rotated_at, s.request_hash, s.refresh_ip, s.refresh_agent,
	s.ip, s.user_agent, s.ended_by, s.ended_at, s.end_reason, s.version`

func sessionInto(s *handstamp.Session) []any {
	return []any{
		asText(&s.ID), asText(&s.User), asHash(&s.Key), asText(&s.Mode), asText(&s.Transport), asBool(&s.BrowserSession),
		asList(&s.Methods), asBytes(&s.Claims),
		asTime(&s.CreatedAt), asTime(&s.AuthAt), asTime(&s.SeenAt), asDuration(&s.IdleTimeout), asTime(&s.ExpiresAt),
		asNumber(&s.Stamp), asNumber(&s.Changed),
		asNumber(&s.Refresh.Generation), asHash(&s.Refresh.Nonce), asTime(&s.Refresh.RotatedAt), asHash(&s.Refresh.Request),
		asText(&s.Refresh.IP), asText(&s.Refresh.UserAgent),
		asText(&s.IP), asText(&s.UserAgent), asNumber(&s.EndedBy), asTime(&s.EndedAt), asText(&s.EndReason), asNumber(&s.Version),
	}
}

// lookAt is when the sweep looks at a session without a user for the first time: not before its idle end. Activity moves
// that end and not this time, since a column that is in no index is written without touching one.
const lookAt = `CASE WHEN $24::bigint <> 0 THEN 0 WHEN $12::bigint = 0 THEN 9223372036854775807 ELSE $11::bigint + $12::bigint END`

// insertSession takes the values of sessionValues, but for the version.
const insertSession = `INSERT INTO @sessions (id, user_id, key_hash, mode, transport, browser_session, methods, claims,
	created_at, auth_at, seen_at, idle, expires_at, stamp, changed,
	generation, nonce_hash, rotated_at, request_hash, refresh_ip, refresh_agent,
	ip, user_agent, ended_by, ended_at, end_reason, version, look_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
	1, ` + lookAt + `) ON CONFLICT DO NOTHING`

// updateSession takes the values of sessionValues and the version that is replaced. The last activity moves only
// forward: it was perhaps written by Touch, which does not count as a version.
const updateSession = `UPDATE @sessions AS s SET user_id = $2, key_hash = $3, mode = $4, transport = $5, browser_session = $6,
	methods = $7, claims = $8, created_at = $9, auth_at = $10, seen_at = greatest(s.seen_at, $11), idle = $12, expires_at = $13,
	stamp = $14, changed = $15, generation = $16, nonce_hash = $17, rotated_at = $18, request_hash = $19, refresh_ip = $20,
	refresh_agent = $21, ip = $22, user_agent = $23, ended_by = $24, ended_at = $25, end_reason = $26, version = s.version + 1,
	look_at = ` + lookAt + `
	WHERE s.id = $1 AND s.version = $27 AND s.ended_by = 0
	AND NOT EXISTS (SELECT 1 FROM @sessions AS o WHERE o.key_hash = $3 AND o.id <> $1)`

func sessionValues(s *handstamp.Session) []any {
	return []any{
		string(s.ID), string(s.User), blob(s.Key), string(s.Mode), string(s.Transport), s.BrowserSession,
		list(s.Methods), s.Claims,
		micros(s.CreatedAt), micros(s.AuthAt), micros(s.SeenAt), s.IdleTimeout.Microseconds(), micros(s.ExpiresAt),
		number(s.Stamp), number(s.Changed),
		int64(s.Refresh.Generation), blob(s.Refresh.Nonce), micros(s.Refresh.RotatedAt), blob(s.Refresh.Request),
		said(s.Refresh.IP), said(s.Refresh.UserAgent),
		said(s.IP), said(s.UserAgent), number(s.EndedBy), micros(s.EndedAt), said(s.EndReason),
	}
}

// alive is handstamp.Live as SQL: s is the session, u its subject (of a left join), l the log; $1 is the time. greatest
// takes no notice of NULL, the number of a subject without a row.
const (
	alive   = going + ` AND ` + enabled
	enabled = `NOT coalesce(u.disabled OR u.deleted, false)`
	going   = lasting + ` AND (s.idle = 0 OR s.seen_at + s.idle > $1)`
	// lasting is the same without the idle end; with enabled it is handstamp.Standing.
	lasting = unended + ` AND s.expires_at > $1`
	// unended is the same without the absolute end.
	unended = `s.ended_by = 0 AND s.stamp >= greatest(u.ended, l.all_ended)`
)

// unbelievable is what asPrimary reads: whether this server is a standby, or one that takes no writes, as an old primary
// that was fenced off does. Neither hears what is ended at the primary, and connections that were open before do not notice.
const unbelievable = `(pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on') AS unbelievable`

// subjectColumns are what subjectInto reads, in order; u may be the absent side of a join.
const subjectColumns = unbelievable + `, u.ended, u.ended_at, u.end_reason, u.changed, l.all_ended, l.all_ended_at, l.head,
	l.restored_at, u.disabled, u.deleted, u.roles, u.permissions, u.email, u.email_verified`

func subjectInto(u *handstamp.Subject) []any {
	return []any{
		asPrimary(), asNumber(&u.Ended), asTime(&u.EndedAt), asText(&u.EndReason), asNumber(&u.Changed),
		asNumber(&u.AllEnded), asTime(&u.AllEndedAt), asNumber(&u.Head), asTime(&u.RestoredAt),
		asBool(&u.Disabled), asBool(&u.Deleted), asList(&u.Grants.Roles), asList(&u.Grants.Permissions),
		asText(&u.Email), asBool(&u.EmailVerified),
	}
}

// rolesOf is a JSON object of the definitions of the roles that subject u has, in one order, since it is what parsed
// tables are kept by.
const rolesOf = `(SELECT json_object_agg(r.name, to_json(r.permissions) ORDER BY r.name) FROM @roles AS r
	WHERE r.name = ANY (u.roles))::text`

// weight is handstamp.Found.Weight, and counts more: lists, and definitions as rolesOf has read them, as JSON, and each
// character that is escaped there as six bytes.
const weight = `(SELECT octet_length(j.t) + 4 * (length(j.t) - length(replace(j.t, '\', '')))
	FROM (SELECT concat(to_json(s.methods), to_json(s.roles), to_json(s.permissions), s.definitions) AS t) AS j)`
