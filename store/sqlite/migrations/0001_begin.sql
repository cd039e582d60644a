-- Times are microseconds since 1970 UTC (0 is no time), durations are microseconds, numbers are those of the log,
-- lists are JSON arrays, and absent texts are empty.

-- The numbered log. Its one row is the counter that every number is taken from.
CREATE TABLE handstamp_log (
	id           INTEGER PRIMARY KEY CHECK (id = 1),
	log          TEXT    NOT NULL, -- random id of the log
	head         INTEGER NOT NULL DEFAULT 0,
	tag          TEXT    NOT NULL DEFAULT '',
	low          INTEGER NOT NULL DEFAULT 0,
	low_tag      TEXT    NOT NULL DEFAULT '',
	all_ended    INTEGER NOT NULL DEFAULT 0,
	all_ended_at INTEGER NOT NULL DEFAULT 0,
	restored_at  INTEGER NOT NULL DEFAULT 0,
	lease        INTEGER NOT NULL DEFAULT 0,
	secrets      TEXT    NOT NULL DEFAULT '[]' -- fingerprints
) STRICT;

-- The events after low.
CREATE TABLE handstamp_events (
	seq    INTEGER PRIMARY KEY,
	tag    TEXT    NOT NULL,
	kind   TEXT    NOT NULL,
	target TEXT    NOT NULL,
	effect TEXT    NOT NULL,
	spared TEXT    NOT NULL,
	until  INTEGER NOT NULL,
	at     INTEGER NOT NULL,
	reason TEXT    NOT NULL
) STRICT;

-- The verifiers that a waiter waits for.
CREATE TABLE handstamp_verifiers (
	id            TEXT    PRIMARY KEY NOT NULL,
	applied       INTEGER NOT NULL,
	lag           INTEGER NOT NULL,
	registered_at INTEGER NOT NULL,
	name          TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per user id that ever had a session or an event. Rows are never deleted.
CREATE TABLE handstamp_subjects (
	user           TEXT    PRIMARY KEY NOT NULL,
	ended          INTEGER NOT NULL DEFAULT 0,
	ended_at       INTEGER NOT NULL DEFAULT 0,
	end_reason     TEXT    NOT NULL DEFAULT '',
	changed        INTEGER NOT NULL DEFAULT 0,
	disabled       INTEGER NOT NULL DEFAULT 0,
	deleted        INTEGER NOT NULL DEFAULT 0,
	roles          TEXT    NOT NULL DEFAULT '[]',
	permissions    TEXT    NOT NULL DEFAULT '[]',
	email          TEXT    NOT NULL DEFAULT '',
	email_verified INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- One row per login, until its absolute end. The hashes are SHA-256 of secrets that are nowhere in this database.
CREATE TABLE handstamp_sessions (
	id              TEXT    PRIMARY KEY NOT NULL,
	user            TEXT    NOT NULL,
	key_hash        BLOB,
	mode            TEXT    NOT NULL,
	transport       TEXT    NOT NULL,
	browser_session INTEGER NOT NULL,
	methods         TEXT    NOT NULL,
	claims          BLOB,
	created_at      INTEGER NOT NULL,
	auth_at         INTEGER NOT NULL,
	seen_at         INTEGER NOT NULL,
	idle            INTEGER NOT NULL,
	expires_at      INTEGER NOT NULL,
	stamp           INTEGER NOT NULL,
	changed         INTEGER NOT NULL,
	generation      INTEGER NOT NULL,
	nonce_hash      BLOB,
	rotated_at      INTEGER NOT NULL,
	request_hash    BLOB,
	refresh_ip      TEXT    NOT NULL,
	refresh_agent   TEXT    NOT NULL,
	ip              TEXT    NOT NULL,
	user_agent      TEXT    NOT NULL,
	ended_by        INTEGER NOT NULL,
	ended_at        INTEGER NOT NULL,
	end_reason      TEXT    NOT NULL,
	version         INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX handstamp_sessions_key ON handstamp_sessions (key_hash) WHERE key_hash IS NOT NULL;
CREATE INDEX handstamp_sessions_user ON handstamp_sessions (user, ended_by, id);
CREATE INDEX handstamp_sessions_stamp ON handstamp_sessions (stamp, expires_at) WHERE ended_by = 0;
CREATE INDEX handstamp_sessions_expires ON handstamp_sessions (expires_at);

-- Revoked signing keys, also those whose record is gone.
CREATE TABLE handstamp_key_ends (
	kid      TEXT    PRIMARY KEY NOT NULL,
	ended_by INTEGER NOT NULL,
	ended_at INTEGER NOT NULL,
	reason   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Signing and encryption keys. The private halves are sealed by who writes them.
CREATE TABLE handstamp_keys (
	kid         TEXT    PRIMARY KEY NOT NULL,
	algorithm   TEXT    NOT NULL,
	use         TEXT    NOT NULL,
	serial      INTEGER NOT NULL,
	sealed      BLOB    NOT NULL,
	created_at  INTEGER NOT NULL,
	activate_at INTEGER NOT NULL,
	retire_at   INTEGER NOT NULL,
	remove_at   INTEGER NOT NULL,
	revoked_at  INTEGER NOT NULL,
	revoked_by  INTEGER NOT NULL,
	reason      TEXT    NOT NULL,
	version     INTEGER NOT NULL,
	UNIQUE (use, serial)
) STRICT;

CREATE TABLE handstamp_service_keys (
	id          TEXT    PRIMARY KEY NOT NULL,
	hash        BLOB    NOT NULL UNIQUE,
	name        TEXT    NOT NULL,
	permissions TEXT    NOT NULL,
	created_at  INTEGER NOT NULL,
	expires_at  INTEGER NOT NULL,
	ended_by    INTEGER NOT NULL,
	ended_at    INTEGER NOT NULL,
	end_reason  TEXT    NOT NULL,
	version     INTEGER NOT NULL
) STRICT;

CREATE TABLE handstamp_users (
	id             TEXT    PRIMARY KEY NOT NULL,
	email          TEXT    NOT NULL UNIQUE,
	email_verified INTEGER NOT NULL,
	created_at     INTEGER NOT NULL,
	version        INTEGER NOT NULL
) STRICT;

CREATE TABLE handstamp_credentials (
	user       TEXT    NOT NULL,
	method     TEXT    NOT NULL,
	data       TEXT    NOT NULL,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL,
	version    INTEGER NOT NULL,
	PRIMARY KEY (user, method)
) STRICT, WITHOUT ROWID;

CREATE TABLE handstamp_roles (
	name        TEXT PRIMARY KEY NOT NULL,
	permissions TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Counters of failed attempts, by a MAC of what they count.
CREATE TABLE handstamp_counters (
	key        BLOB    PRIMARY KEY NOT NULL,
	failures   INTEGER NOT NULL,
	last_at    INTEGER NOT NULL,
	known      INTEGER NOT NULL,
	expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX handstamp_counters_expires ON handstamp_counters (expires_at);

-- Secrets that work once, by their hash.
CREATE TABLE handstamp_one_times (
	hash       BLOB    PRIMARY KEY NOT NULL,
	kind       TEXT    NOT NULL,
	data       TEXT    NOT NULL,
	expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX handstamp_one_times_expires ON handstamp_one_times (expires_at);
CREATE INDEX handstamp_one_times_kind ON handstamp_one_times (kind);

CREATE TABLE handstamp_audit (
	id         TEXT    PRIMARY KEY NOT NULL,
	at         INTEGER NOT NULL,
	kind       TEXT    NOT NULL,
	actor      TEXT    NOT NULL,
	target     TEXT    NOT NULL,
	session    TEXT    NOT NULL,
	ip         TEXT    NOT NULL,
	user_agent TEXT    NOT NULL,
	request_id TEXT    NOT NULL,
	detail     TEXT    NOT NULL -- a JSON object of texts
) STRICT;

CREATE INDEX handstamp_audit_at ON handstamp_audit (at);
CREATE INDEX handstamp_audit_actor ON handstamp_audit (actor, id);
CREATE INDEX handstamp_audit_target ON handstamp_audit (target, id);
CREATE INDEX handstamp_audit_kind ON handstamp_audit (kind, id);
