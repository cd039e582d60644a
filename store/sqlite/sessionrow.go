package sqlite

import "github.com/handstamp/handstamp"

// sessionColumns are what sessionInto reads, in order.
const sessionColumns = `s.id, s.user, s.key_hash, s.mode, s.transport, s.browser_session, s.methods, s.claims,
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

// insertSession takes the values of sessionValues, but for the version.
const insertSession = `INSERT INTO handstamp_sessions (id, user, key_hash, mode, transport, browser_session, methods, claims,
	created_at, auth_at, seen_at, idle, expires_at, stamp, changed,
	generation, nonce_hash, rotated_at, request_hash, refresh_ip, refresh_agent,
	ip, user_agent, ended_by, ended_at, end_reason, version)
	VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, 1)
	ON CONFLICT (id) DO NOTHING`

// updateSession takes the values of sessionValues and the version that is replaced. The last activity moves only
// forward: it was perhaps written by Touch, which does not count as a version.
const updateSession = `UPDATE handstamp_sessions SET user = ?2, key_hash = ?3, mode = ?4, transport = ?5, browser_session = ?6,
	methods = ?7, claims = ?8, created_at = ?9, auth_at = ?10, seen_at = max(seen_at, ?11), idle = ?12, expires_at = ?13,
	stamp = ?14, changed = ?15, generation = ?16, nonce_hash = ?17, rotated_at = ?18, request_hash = ?19, refresh_ip = ?20,
	refresh_agent = ?21, ip = ?22, user_agent = ?23, ended_by = ?24, ended_at = ?25, end_reason = ?26, version = version + 1
	WHERE id = ?1 AND version = ?27 AND ended_by = 0`

func sessionValues(s *handstamp.Session) []any {
	return []any{
		string(s.ID), string(s.User), blob(s.Key), string(s.Mode), string(s.Transport), s.BrowserSession,
		list(s.Methods), raw(s.Claims),
		micros(s.CreatedAt), micros(s.AuthAt), micros(s.SeenAt), s.IdleTimeout.Microseconds(), micros(s.ExpiresAt),
		number(s.Stamp), number(s.Changed),
		int64(s.Refresh.Generation), blob(s.Refresh.Nonce), micros(s.Refresh.RotatedAt), blob(s.Refresh.Request),
		s.Refresh.IP, s.Refresh.UserAgent,
		s.IP, s.UserAgent, number(s.EndedBy), micros(s.EndedAt), s.EndReason,
	}
}

// alive is handstamp.Live as SQL: s is the session, u its subject (of a left join), l the log; ?1 is the time.
const (
	alive   = going + ` AND ` + enabled
	enabled = `coalesce(u.disabled, 0) = 0 AND coalesce(u.deleted, 0) = 0`
	going   = lasting + ` AND (s.idle = 0 OR s.seen_at + s.idle > ?1)`
	// lasting is the same without the idle end; with enabled it is handstamp.Standing.
	lasting = `s.ended_by = 0 AND s.stamp >= max(coalesce(u.ended, 0), l.all_ended) AND s.expires_at > ?1`

	// wasAlive takes the users that this unit disabled (?2) and those it enabled (?3) for what they were before, so that
	// a unit that disables a user and ends their sessions says how many it ended.
	wasAlive = going + ` AND (CASE WHEN s.user IN (SELECT value FROM json_each(?2)) THEN 1
	WHEN s.user IN (SELECT value FROM json_each(?3)) THEN 0 ELSE ` + enabled + ` END)`
)

// subjectColumns are what subjectInto reads, in order; u may be the absent side of a join.
const subjectColumns = `u.ended, u.ended_at, u.end_reason, u.changed, l.all_ended, l.all_ended_at, l.head, l.restored_at,
	u.disabled, u.deleted, u.roles, u.permissions, u.email, u.email_verified`

func subjectInto(u *handstamp.Subject) []any {
	return []any{
		asNumber(&u.Ended), asTime(&u.EndedAt), asText(&u.EndReason), asNumber(&u.Changed),
		asNumber(&u.AllEnded), asTime(&u.AllEndedAt), asNumber(&u.Head), asTime(&u.RestoredAt),
		asBool(&u.Disabled), asBool(&u.Deleted), asList(&u.Grants.Roles), asList(&u.Grants.Permissions),
		asText(&u.Email), asBool(&u.EmailVerified),
	}
}

// rolesOf is a JSON object of the definitions of the roles that subject u has.
const rolesOf = `(SELECT json_group_object(r.name, json(r.permissions)) FROM handstamp_roles AS r
	WHERE r.name IN (SELECT value FROM json_each(u.roles)))`

// weight is handstamp.Found.Weight, and counts more: lists and definitions as JSON, and each character that is escaped
// there as six bytes. u may be absent.
const weight = `(SELECT length(CAST(j.t AS BLOB)) + 4 * (length(j.t) - length(replace(j.t, '\', '')))
	FROM (SELECT s.methods || coalesce(u.roles || u.permissions || ` + rolesOf + `, '') AS t) AS j)`
