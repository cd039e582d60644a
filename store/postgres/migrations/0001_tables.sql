-- readable by 1
-- "@" stands for the schema. Times are microseconds since 1970 UTC (0 is no time), durations are microseconds, numbers
-- are those of the log, and absent texts are empty. Texts are compared and sorted byte by byte (COLLATE "C"), whatever
-- the language of the database is: two ids that look alike are two ids, and pages go by ids.

-- The numbered log. Its one row is the counter that every number is taken from. The space that is left free in each page
-- lets a row that is written often be written in the same page, without touching an index.
CREATE TABLE @log (
	id           bigint PRIMARY KEY CHECK (id = 1),
	log          text   COLLATE "C" NOT NULL, -- random id of the log
	head         bigint NOT NULL DEFAULT 0,
	tag          text   COLLATE "C" NOT NULL DEFAULT '',
	low          bigint NOT NULL DEFAULT 0,
	low_tag      text   COLLATE "C" NOT NULL DEFAULT '',
	all_ended    bigint NOT NULL DEFAULT 0,
	all_ended_at bigint NOT NULL DEFAULT 0,
	restored_at  bigint NOT NULL DEFAULT 0,
	lease        bigint NOT NULL DEFAULT 0,
	secrets      text[] COLLATE "C" NOT NULL DEFAULT '{}' -- fingerprints
) WITH (fillfactor = 10);

-- The events after low.
CREATE TABLE @events (
	seq    bigint PRIMARY KEY,
	tag    text   COLLATE "C" NOT NULL,
	kind   text   COLLATE "C" NOT NULL,
	target text   COLLATE "C" NOT NULL,
	effect text   COLLATE "C" NOT NULL,
	spared text   COLLATE "C" NOT NULL,
	until  bigint NOT NULL,
	at     bigint NOT NULL,
	reason text   COLLATE "C" NOT NULL
);

-- The verifiers that a waiter waits for.
CREATE TABLE @verifiers (
	id            text   COLLATE "C" PRIMARY KEY,
	applied       bigint NOT NULL,
	lag           bigint NOT NULL,
	registered_at bigint NOT NULL,
	name          text   COLLATE "C" NOT NULL
) WITH (fillfactor = 20);

-- One row per user id that ever had a session or an event. Rows are never deleted.
CREATE TABLE @subjects (
	user_id        text    COLLATE "C" PRIMARY KEY,
	ended          bigint  NOT NULL DEFAULT 0,
	ended_at       bigint  NOT NULL DEFAULT 0,
	end_reason     text    COLLATE "C" NOT NULL DEFAULT '',
	changed        bigint  NOT NULL DEFAULT 0,
	disabled       boolean NOT NULL DEFAULT false,
	deleted        boolean NOT NULL DEFAULT false,
	roles          text[]  COLLATE "C" NOT NULL DEFAULT '{}',
	permissions    text[]  COLLATE "C" NOT NULL DEFAULT '{}',
	email          text    COLLATE "C" NOT NULL DEFAULT '',
	email_verified boolean NOT NULL DEFAULT false
) WITH (fillfactor = 90);

-- One row per login, until its absolute end. The hashes are SHA-256 of secrets that are nowhere in this database. What a
-- refresh or an activity writes is in no index, so that they write one page.
CREATE TABLE @sessions (
	id              text    COLLATE "C" PRIMARY KEY,
	user_id         text    COLLATE "C" NOT NULL,
	key_hash        bytea,
	mode            text    COLLATE "C" NOT NULL,
	transport       text    COLLATE "C" NOT NULL,
	browser_session boolean NOT NULL,
	methods         text[]  COLLATE "C" NOT NULL,
	claims          bytea,
	created_at      bigint  NOT NULL,
	auth_at         bigint  NOT NULL,
	seen_at         bigint  NOT NULL,
	idle            bigint  NOT NULL,
	expires_at      bigint  NOT NULL,
	stamp           bigint  NOT NULL,
	changed         bigint  NOT NULL,
	generation      bigint  NOT NULL,
	nonce_hash      bytea,
	rotated_at      bigint  NOT NULL,
	request_hash    bytea,
	refresh_ip      text    COLLATE "C" NOT NULL,
	refresh_agent   text    COLLATE "C" NOT NULL,
	ip              text    COLLATE "C" NOT NULL,
	user_agent      text    COLLATE "C" NOT NULL,
	ended_by        bigint  NOT NULL,
	ended_at        bigint  NOT NULL,
	end_reason      text    COLLATE "C" NOT NULL,
	version         bigint  NOT NULL,
	look_at         bigint  NOT NULL -- without a user: when the sweep looks whether it is over; not before its idle end
) WITH (fillfactor = 85);

CREATE UNIQUE INDEX sessions_key ON @sessions (key_hash);
CREATE INDEX sessions_user ON @sessions (user_id, ended_by, id);
CREATE INDEX sessions_stamp ON @sessions (stamp, expires_at) WHERE ended_by = 0;
CREATE INDEX sessions_expires ON @sessions (expires_at);
CREATE INDEX sessions_visitors ON @sessions (look_at) WHERE mode = 'anonymous';

-- Named values of sessions, at most 16 KiB for each session. They are not in the session's row, since that one is read at
-- every request and written at every refresh. A session that is deleted takes its values along.
CREATE TABLE @data (
	session text   COLLATE "C" NOT NULL REFERENCES @sessions (id) ON DELETE CASCADE,
	name    text   COLLATE "C" NOT NULL,
	data    bytea  NOT NULL,
	version bigint NOT NULL, -- drawn at random by who wrote the value
	PRIMARY KEY (session, name)
);

-- Up to which session the sweep has looked for values of sessions that are over; empty for the beginning.
CREATE TABLE @sweep (
	id    bigint PRIMARY KEY CHECK (id = 1),
	after text   COLLATE "C" NOT NULL
) WITH (fillfactor = 10);

INSERT INTO @sweep (id, after) VALUES (1, '');

-- Revoked signing keys, also those whose record is gone.
CREATE TABLE @key_ends (
	kid      text   COLLATE "C" PRIMARY KEY,
	ended_by bigint NOT NULL,
	ended_at bigint NOT NULL,
	reason   text   COLLATE "C" NOT NULL
);

-- Signing and encryption keys. The private halves are sealed by who writes them.
CREATE TABLE @keys (
	kid         text   COLLATE "C" PRIMARY KEY,
	algorithm   text   COLLATE "C" NOT NULL,
	use         text   COLLATE "C" NOT NULL,
	serial      bigint NOT NULL,
	sealed      bytea  NOT NULL,
	created_at  bigint NOT NULL,
	activate_at bigint NOT NULL,
	retire_at   bigint NOT NULL,
	remove_at   bigint NOT NULL,
	revoked_at  bigint NOT NULL,
	revoked_by  bigint NOT NULL,
	reason      text   COLLATE "C" NOT NULL,
	version     bigint NOT NULL,
	UNIQUE (use, serial)
);

CREATE TABLE @service_keys (
	id          text   COLLATE "C" PRIMARY KEY,
	hash        bytea  NOT NULL UNIQUE,
	name        text   COLLATE "C" NOT NULL,
	permissions text[] COLLATE "C" NOT NULL,
	created_at  bigint NOT NULL,
	expires_at  bigint NOT NULL,
	ended_by    bigint NOT NULL,
	ended_at    bigint NOT NULL,
	end_reason  text   COLLATE "C" NOT NULL,
	version     bigint NOT NULL
);

CREATE TABLE @users (
	id             text    COLLATE "C" PRIMARY KEY,
	email          text    COLLATE "C" NOT NULL UNIQUE,
	email_verified boolean NOT NULL,
	created_at     bigint  NOT NULL,
	version        bigint  NOT NULL
);

CREATE TABLE @credentials (
	user_id    text   COLLATE "C" NOT NULL,
	method     text   COLLATE "C" NOT NULL,
	data       text   COLLATE "C" NOT NULL,
	created_at bigint NOT NULL,
	updated_at bigint NOT NULL,
	version    bigint NOT NULL,
	PRIMARY KEY (user_id, method)
);

CREATE TABLE @roles (
	name        text   COLLATE "C" PRIMARY KEY,
	permissions text[] COLLATE "C" NOT NULL
);

-- A member may do nothing but be somebody.
INSERT INTO @roles VALUES ('admin', '{*}'), ('member', '{}');

-- Counters of failed attempts, by a MAC of what they count.
CREATE TABLE @counters (
	key        bytea   PRIMARY KEY,
	failures   bigint  NOT NULL,
	last_at    bigint  NOT NULL,
	known      boolean NOT NULL,
	expires_at bigint  NOT NULL
);

CREATE INDEX counters_expires ON @counters (expires_at);

-- Secrets that work once, by their hash.
CREATE TABLE @one_times (
	hash       bytea  PRIMARY KEY,
	kind       text   COLLATE "C" NOT NULL,
	data       text   COLLATE "C" NOT NULL,
	expires_at bigint NOT NULL
);

CREATE INDEX one_times_expires ON @one_times (expires_at);
CREATE INDEX one_times_kind ON @one_times (kind);

CREATE TABLE @audit (
	id         text   COLLATE "C" PRIMARY KEY,
	at         bigint NOT NULL,
	kind       text   COLLATE "C" NOT NULL,
	actor      text   COLLATE "C" NOT NULL,
	target     text   COLLATE "C" NOT NULL,
	session    text   COLLATE "C" NOT NULL,
	ip         text   COLLATE "C" NOT NULL,
	user_agent text   COLLATE "C" NOT NULL,
	request_id text   COLLATE "C" NOT NULL,
	detail     text   COLLATE "C" NOT NULL -- a JSON object of texts
);

CREATE INDEX audit_at ON @audit (at);
CREATE INDEX audit_actor ON @audit (actor, id);
CREATE INDEX audit_target ON @audit (target, id);
CREATE INDEX audit_kind ON @audit (kind, id);
