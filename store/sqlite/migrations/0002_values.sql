-- Named values of sessions, at most 16 KiB for each session. They are not in the session's row, since that one is read at
-- every request and written at every refresh. The table has row ids: values may be much longer than their names, and the
-- index of the names alone is what says which sessions have values. A session that is deleted takes its values along.
CREATE TABLE handstamp_data (
	session TEXT    NOT NULL REFERENCES handstamp_sessions (id) ON DELETE CASCADE,
	name    TEXT    NOT NULL,
	data    BLOB    NOT NULL,
	version INTEGER NOT NULL, -- drawn at random by who wrote the value
	PRIMARY KEY (session, name)
) STRICT;

-- Up to which session the sweep has looked for values of sessions that are over; empty for the beginning.
CREATE TABLE handstamp_sweep (
	id    INTEGER PRIMARY KEY CHECK (id = 1),
	after TEXT    NOT NULL
) STRICT;

INSERT INTO handstamp_sweep (id, after) VALUES (1, '');

-- Sessions without a user go as soon as they are over: those that ended at once, the others after their idle end.
CREATE INDEX handstamp_sessions_visitors ON handstamp_sessions (CASE WHEN ended_by <> 0 THEN 0 ELSE seen_at + idle END)
	WHERE mode = 'anonymous';
