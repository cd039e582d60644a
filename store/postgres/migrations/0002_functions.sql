-- readable by 1
-- What must take locks in one order and look again after it waited is a function, so that it is one round trip. A function
-- is never changed: another version of it has another number in its name, so that old and new programs run side by side.
-- In READ COMMITTED each statement of a function that is VOLATILE has a snapshot of its own, taken when it begins: what
-- was committed while the statement before it waited for a lock is seen.

-- lock_subject_1 locks a user against every other unit until the transaction ends. A user without a row has nothing that
-- could be locked, so there a number made of the name is; and rows are not made for visitors, of whom there is no end.
-- Who waited for the number looks again: whoever had it may have made the row, and from then on others lock that.
CREATE FUNCTION @lock_subject_1(p_user text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM 1 FROM @subjects AS u WHERE u.user_id = p_user FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		PERFORM pg_advisory_xact_lock(hashtextextended('@subjects:' || p_user, 0));
		PERFORM 1 FROM @subjects AS u WHERE u.user_id = p_user FOR NO KEY UPDATE;
	END IF;
END
$$;

-- append_1 writes events and their effects. Everything that it may have to wait for it locks first: users, then sessions
-- and keys, each kind in the order of the ids, then the counter. From there on it waits for nobody, so that the counter is
-- held for no longer than the work takes and the client needs to say COMMIT.
--
-- Numbers are in the order of the commits: the row of the counter is locked until the transaction has ended, and PostgreSQL
-- takes a transaction out of the list of those that run before it releases its locks. So whoever gets the counter next
-- commits later, and no snapshot holds the later transaction and not the one before it.
--
-- How many sessions an event ends is counted while everybody waits, so no more than so many records are looked at for it,
-- dead ones too: a user, or all of them, may have millions. Where there are more, 2^40 is added to o_ended.
CREATE FUNCTION @append_1(
	p_kinds text[], p_targets text[], p_effects text[], p_spared text[], p_untils bigint[], p_times bigint[],
	p_reasons text[], p_tags text[],
	p_enabled text[],  -- users that this unit disabled, and that count as they were before
	p_disabled text[], -- users that this unit enabled
	p_most bigint,     -- how many records are looked at to count those that an event ends
	p_channel text,
	OUT o_first bigint, OUT o_ended bigint, OUT o_spared text[]
) LANGUAGE plpgsql AS $$
DECLARE
	v_number  bigint;
	v_count   bigint;
	v_looked  bigint := 0;
	v_more    boolean := false;
	v_all     bigint;
	v_target  text;
	v_what    text;
	v_at      bigint;
	v_length  int := cardinality(p_kinds);
BEGIN
	FOR v_target IN SELECT DISTINCT x.target COLLATE "C" AS target FROM unnest(p_targets, p_kinds) AS x (target, kind)
		WHERE x.kind = 'user' ORDER BY 1 LOOP
		PERFORM @lock_subject_1(v_target);
	END LOOP;
	PERFORM 1 FROM @sessions AS s WHERE s.id = ANY (ARRAY(
		SELECT x.target FROM unnest(p_targets, p_kinds) AS x (target, kind) WHERE x.kind = 'session'
		UNION SELECT x.spared FROM unnest(p_spared) AS x (spared) WHERE x.spared <> ''))
		ORDER BY s.id FOR NO KEY UPDATE;
	IF 'key' = ANY (p_kinds) THEN
		PERFORM 1 FROM @keys AS k WHERE k.kid = ANY (p_targets) ORDER BY k.kid FOR UPDATE;
	END IF;
	IF 'service_key' = ANY (p_kinds) THEN
		PERFORM 1 FROM @service_keys AS k WHERE k.id = ANY (p_targets) ORDER BY k.id FOR UPDATE;
	END IF;

	UPDATE @log AS l SET head = l.head + v_length, tag = p_tags[v_length] WHERE l.id = 1
		RETURNING l.head - v_length, l.all_ended INTO v_number, v_all;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'the row of the log is missing' USING ERRCODE = 'no_data_found';
	END IF;
	o_first := v_number + 1;
	o_ended := 0;
	o_spared := p_spared;

	FOR i IN 1 .. v_length LOOP
		v_number := v_number + 1;
		v_target := p_targets[i];
		v_at := p_times[i];
		v_what := p_kinds[i] || '/' || p_effects[i];
		v_count := 0;
		IF v_what <> 'user/end' THEN
			o_spared[i] := ''; -- nothing else spares anybody
		END IF;
		CASE v_what
		WHEN 'session/end' THEN
			SELECT count(*) INTO v_count FROM @sessions AS s LEFT JOIN @subjects AS u ON u.user_id = s.user_id
				WHERE s.id = v_target AND s.ended_by = 0 AND s.stamp >= greatest(u.ended, v_all) AND s.expires_at > v_at
				AND (s.idle = 0 OR s.seen_at + s.idle > v_at)
				AND (CASE WHEN s.user_id = ANY (p_enabled) THEN true WHEN s.user_id = ANY (p_disabled) THEN false
				ELSE NOT coalesce(u.disabled OR u.deleted, false) END);
			UPDATE @sessions AS s SET ended_by = v_number, ended_at = v_at, end_reason = p_reasons[i], look_at = 0,
				version = s.version + 1 WHERE s.id = v_target AND s.ended_by = 0;
		WHEN 'session/change' THEN
			UPDATE @sessions AS s SET changed = v_number, version = s.version + 1 WHERE s.id = v_target;
		WHEN 'user/end' THEN
			-- A session that is over already is not spared: that would bring back what an earlier event has ended.
			PERFORM 1 FROM @sessions AS s LEFT JOIN @subjects AS u ON u.user_id = s.user_id
				WHERE s.id = o_spared[i] AND s.user_id = v_target AND s.ended_by = 0
				AND s.stamp >= greatest(u.ended, v_all) AND s.expires_at > v_at AND (s.idle = 0 OR s.seen_at + s.idle > v_at)
				AND NOT coalesce(u.disabled OR u.deleted, false);
			IF NOT FOUND THEN
				o_spared[i] := '';
			END IF;
			SELECT count(*), count(*) FILTER (WHERE s.stamp >= greatest(u.ended, v_all) AND s.expires_at > v_at
				AND (s.idle = 0 OR s.seen_at + s.idle > v_at)
				AND (CASE WHEN s.user_id = ANY (p_enabled) THEN true WHEN s.user_id = ANY (p_disabled) THEN false
				ELSE NOT coalesce(u.disabled OR u.deleted, false) END))
				INTO v_looked, v_count FROM (
					SELECT a.user_id, a.stamp, a.expires_at, a.idle, a.seen_at FROM @sessions AS a
					WHERE a.user_id = v_target AND a.ended_by = 0 AND a.id <> o_spared[i] ORDER BY a.id DESC LIMIT p_most
				) AS s LEFT JOIN @subjects AS u ON u.user_id = s.user_id;
			INSERT INTO @subjects AS u (user_id, ended, ended_at, end_reason) VALUES (v_target, v_number, v_at, p_reasons[i])
				ON CONFLICT (user_id) DO UPDATE SET ended = v_number, ended_at = v_at, end_reason = p_reasons[i];
			IF o_spared[i] <> '' THEN
				UPDATE @sessions AS s SET stamp = v_number, version = s.version + 1 WHERE s.id = o_spared[i];
			END IF;
		WHEN 'user/change' THEN
			INSERT INTO @subjects AS u (user_id, changed) VALUES (v_target, v_number)
				ON CONFLICT (user_id) DO UPDATE SET changed = v_number;
		WHEN 'key/end' THEN
			INSERT INTO @key_ends AS k (kid, ended_by, ended_at, reason) VALUES (v_target, v_number, v_at, p_reasons[i])
				ON CONFLICT (kid) DO NOTHING;
			UPDATE @keys AS k SET revoked_by = v_number, revoked_at = v_at, reason = p_reasons[i], version = k.version + 1
				WHERE k.kid = v_target AND k.revoked_by = 0;
		WHEN 'service_key/end' THEN
			UPDATE @service_keys AS k SET ended_by = v_number, ended_at = v_at, end_reason = p_reasons[i],
				version = k.version + 1 WHERE k.id = v_target AND k.ended_by = 0;
		WHEN 'all/end' THEN
			SELECT count(*), count(*) FILTER (WHERE s.stamp >= coalesce(u.ended, 0) AND s.expires_at > v_at
				AND (s.idle = 0 OR s.seen_at + s.idle > v_at)
				AND (CASE WHEN s.user_id = ANY (p_enabled) THEN true WHEN s.user_id = ANY (p_disabled) THEN false
				ELSE NOT coalesce(u.disabled OR u.deleted, false) END))
				INTO v_looked, v_count FROM (
					SELECT a.user_id, a.stamp, a.expires_at, a.idle, a.seen_at FROM @sessions AS a
					WHERE a.ended_by = 0 AND a.stamp >= v_all LIMIT p_most
				) AS s LEFT JOIN @subjects AS u ON u.user_id = s.user_id;
			UPDATE @log AS l SET all_ended = v_number, all_ended_at = v_at WHERE l.id = 1;
			v_all := v_number;
		WHEN 'role/change' THEN
			NULL; -- the role itself was written before
		ELSE
			RAISE EXCEPTION 'there is no such event' USING ERRCODE = 'invalid_parameter_value';
		END CASE;
		o_ended := o_ended + v_count;
		v_more := v_more OR v_looked >= p_most;
		v_looked := 0;
	END LOOP;
	IF v_more THEN
		o_ended := o_ended + (1::bigint << 40);
	END IF;

	INSERT INTO @events (seq, tag, kind, target, effect, spared, until, at, reason)
		SELECT o_first + x.nth - 1, x.tag, x.kind, x.target, x.effect, x.spared, x.until, x.at, x.reason
		FROM unnest(p_tags, p_kinds, p_targets, p_effects, o_spared, p_untils, p_times, p_reasons) WITH ORDINALITY
		AS x (tag, kind, target, effect, spared, until, at, reason, nth);
	PERFORM pg_notify(p_channel, '');
END
$$;

-- put_value_1 writes or deletes one value. Names of one session do not get in each other's way, but their sum has a limit,
-- so that writers of one session come one after the other. It answers 0 for done, 1 for a conflict, 2 for too large.
CREATE FUNCTION @put_value_1(
	p_session text, p_name text, p_data bytea, p_version bigint, p_from bigint, p_limit bigint, p_now bigint, p_seen bigint,
	p_wait text -- the longest wait for a lock
) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	v_version bigint;
	v_others  bigint;
BEGIN
	PERFORM set_config('lock_timeout', p_wait, true);
	PERFORM 1 FROM @sessions AS s WHERE s.id = p_session FOR NO KEY UPDATE;
	SELECT coalesce(d.version, 0), (SELECT coalesce(sum(octet_length(o.name) + octet_length(o.data)), 0)
			FROM @data AS o WHERE o.session = s.id AND o.name <> p_name)
		INTO v_version, v_others
		FROM @sessions AS s JOIN @log AS l ON l.id = 1 LEFT JOIN @subjects AS u ON u.user_id = s.user_id
		LEFT JOIN @data AS d ON d.session = s.id AND d.name = p_name
		WHERE s.id = p_session AND s.ended_by = 0 AND s.stamp >= greatest(u.ended, l.all_ended) AND s.expires_at > p_now
		AND NOT coalesce(u.disabled OR u.deleted, false)
		AND (s.idle = 0 OR greatest(s.seen_at, p_seen) + s.idle > p_now);
	IF NOT FOUND OR v_version <> p_from THEN
		RETURN 1;
	END IF;
	IF p_version = 0 THEN
		DELETE FROM @data AS d WHERE d.session = p_session AND d.name = p_name;
		RETURN 0;
	END IF;
	IF v_others + octet_length(p_name) + octet_length(p_data) > p_limit THEN
		RETURN 2;
	END IF;
	INSERT INTO @data AS d (session, name, data, version) VALUES (p_session, p_name, p_data, p_version)
		ON CONFLICT (session, name) DO UPDATE SET data = p_data, version = p_version;
	RETURN 0;
END
$$;

-- carry_values_1 copies values with their versions, each if it fits and nothing is there. A session that is not there has
-- no values and gets none, and one that does not stand gives none.
CREATE FUNCTION @carry_values_1(p_from text, p_to text, p_names text[], p_limit bigint, p_now bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM 1 FROM @sessions AS s WHERE s.id = p_to FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	FOR i IN 1 .. cardinality(p_names) LOOP
		INSERT INTO @data (session, name, data, version)
			SELECT p_to, d.name, d.data, d.version FROM @data AS d
			JOIN @sessions AS s ON s.id = d.session JOIN @log AS l ON l.id = 1
			LEFT JOIN @subjects AS u ON u.user_id = s.user_id
			WHERE d.session = p_from AND d.name = p_names[i] AND s.ended_by = 0
			AND s.stamp >= greatest(u.ended, l.all_ended) AND s.expires_at > p_now
			AND NOT coalesce(u.disabled OR u.deleted, false)
			AND octet_length(d.name) + octet_length(d.data) + (SELECT coalesce(sum(octet_length(o.name) + octet_length(o.data)), 0)
				FROM @data AS o WHERE o.session = p_to) <= p_limit
			ON CONFLICT (session, name) DO NOTHING;
	END LOOP;
END
$$;

-- forget_1 deletes events that have run out, oldest first and without gaps, never the head, and says how many. That low
-- has the tag of the last one makes it a place that a reader can still resume from. It looks before it locks the counter,
-- since mostly there is nothing to do.
CREATE FUNCTION @forget_1(p_now bigint, p_limit bigint, p_wait text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	v_last  bigint;
	v_tag   text;
	v_count bigint;
BEGIN
	SELECT max(x.seq) INTO v_last FROM (SELECT e.seq, bool_and(e.until < p_now) OVER (ORDER BY e.seq) AS over
		FROM (SELECT f.seq, f.until FROM @events AS f WHERE f.seq < (SELECT l.head FROM @log AS l WHERE l.id = 1)
		ORDER BY f.seq LIMIT p_limit) AS e) AS x WHERE x.over;
	IF v_last IS NULL THEN
		RETURN 0;
	END IF;
	PERFORM set_config('lock_timeout', p_wait, true);
	PERFORM 1 FROM @log AS l WHERE l.id = 1 FOR NO KEY UPDATE;
	SELECT e.tag INTO v_tag FROM @events AS e WHERE e.seq = v_last;
	IF NOT FOUND THEN
		RETURN 0; -- another process forgot them meanwhile
	END IF;
	DELETE FROM @events AS e WHERE e.seq <= v_last;
	GET DIAGNOSTICS v_count = ROW_COUNT;
	UPDATE @log AS l SET low = v_last, low_tag = v_tag WHERE l.id = 1;
	RETURN v_count;
END
$$;
