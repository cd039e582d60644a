package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
)

// maxCounted is up to where ended sessions are counted exactly.
const maxCounted = 10_000

// maxLooked is how many records are looked at to count them.
const maxLooked = 2*maxCounted + 1

// The statements of Append. ?1 is the event's time, ?2 its number where one is written.
const (
	readHead = `SELECT head FROM handstamp_log WHERE id = 1`
	putEvent = `INSERT INTO handstamp_events (seq, tag, kind, target, effect, spared, until, at, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	moveHead = `UPDATE handstamp_log SET head = ?1, tag = ?2 WHERE id = 1`
	endAll   = `UPDATE handstamp_log SET all_ended = ?2, all_ended_at = ?1 WHERE id = 1`
	// spared is the session that an event names as its exception, if it is one of the user's and alive.
	spared = `SELECT 1 FROM handstamp_sessions AS s JOIN handstamp_log AS l ON l.id = 1
		LEFT JOIN handstamp_subjects AS u ON u.user = s.user WHERE s.id = ?2 AND s.user = ?3 AND ` + alive
	endOne    = `UPDATE handstamp_sessions SET ended_by = ?2, ended_at = ?1, end_reason = ?3, version = version + 1 WHERE id = ?4 AND ended_by = 0`
	changeOne = `UPDATE handstamp_sessions SET changed = ?1, version = version + 1 WHERE id = ?2`
	stampOne  = `UPDATE handstamp_sessions SET stamp = ?1, version = version + 1 WHERE id = ?2`

	countOne = `SELECT count(*) FROM handstamp_sessions AS s JOIN handstamp_log AS l ON l.id = 1
		LEFT JOIN handstamp_subjects AS u ON u.user = s.user WHERE s.id = ?4 AND ` + wasAlive
	// The only writer is held while it is counted, so no more than so many records are looked at, dead ones too: a user, or
	// all of them, may have millions. The second column is how many were looked at.
	countUser = `SELECT count(*) FILTER (WHERE ` + wasAlive + `), count(*)
		FROM (SELECT * FROM handstamp_sessions INDEXED BY handstamp_sessions_user
			WHERE user = ?4 AND ended_by = 0 AND id <> ?5 ORDER BY id DESC LIMIT ?6) AS s
		CROSS JOIN handstamp_log AS l ON l.id = 1 LEFT JOIN handstamp_subjects AS u ON u.user = s.user`
	// Those that an earlier end of everybody stopped are left out by the index and not looked at one by one.
	countAll = `SELECT count(*) FILTER (WHERE ` + wasAlive + `), count(*)
		FROM (SELECT * FROM handstamp_sessions INDEXED BY handstamp_sessions_stamp
			WHERE ended_by = 0 AND stamp >= (SELECT all_ended FROM handstamp_log WHERE id = 1) LIMIT ?4) AS s
		CROSS JOIN handstamp_log AS l ON l.id = 1 LEFT JOIN handstamp_subjects AS u ON u.user = s.user`

	endUser = `INSERT INTO handstamp_subjects (user, ended, ended_at, end_reason) VALUES (?4, ?2, ?1, ?3)
		ON CONFLICT (user) DO UPDATE SET ended = ?2, ended_at = ?1, end_reason = ?3`
	changeUser = `INSERT INTO handstamp_subjects (user, changed) VALUES (?2, ?1) ON CONFLICT (user) DO UPDATE SET changed = ?1`

	endKey       = `INSERT INTO handstamp_key_ends (kid, ended_by, ended_at, reason) VALUES (?4, ?2, ?1, ?3) ON CONFLICT (kid) DO NOTHING`
	endKeyRecord = `UPDATE handstamp_keys SET revoked_by = ?2, revoked_at = ?1, reason = ?3, version = version + 1
		WHERE kid = ?4 AND revoked_by = 0`
	endServiceKey = `UPDATE handstamp_service_keys SET ended_by = ?2, ended_at = ?1, end_reason = ?3, version = version + 1
		WHERE id = ?4 AND ended_by = 0`
)

// Append implements handstamp.Tx. What an event changes raises the record's version, so that a record which was read
// before and is written after conflicts instead of undoing it.
func (u *unit) Append(ctx context.Context, events ...revoke.Event) (handstamp.Appended, error) {
	var done handstamp.Appended
	if err := u.ready(ctx); err != nil || len(events) == 0 {
		return done, err
	}
	var head uint64
	if err := u.row(readHead, nil, asNumber(&head)); err != nil {
		return done, fmt.Errorf("take numbers: %w", err)
	}
	for _, e := range events {
		head++
		e.Seq, e.Tag = head, revoke.NewTag()
		if err := u.apply(&e, &done); err != nil {
			u.fail(err)
			return handstamp.Appended{}, fmt.Errorf("append event %s/%s: %w", e.Kind, e.Effect, err)
		}
		done.Events = append(done.Events, e)
	}
	last := done.Events[len(done.Events)-1]
	if err := u.change(errNoLog, moveHead, number(last.Seq), string(last.Tag)); err != nil {
		return handstamp.Appended{}, fmt.Errorf("take numbers: %w", err)
	}
	u.appended = true
	if done.Sessions > maxCounted {
		done.Sessions, done.More = maxCounted, true
	}
	return done, nil
}

var (
	errNoLog = errors.New("the log's row is missing")
	errEvent = errors.New("there is no such event")
)

// fail makes sure that half an Append is never committed, whatever the caller does with the error.
func (u *unit) fail(err error) {
	if u.broken == nil {
		u.broken = err
	}
}

// apply writes one event's effects and then the event.
func (u *unit) apply(e *revoke.Event, done *handstamp.Appended) error {
	n, err := u.effect(e)
	if err != nil {
		return err
	}
	done.Sessions += n % moreEnded
	done.More = done.More || n >= moreEnded
	_, err = u.exec(putEvent, number(e.Seq), string(e.Tag), string(e.Kind), e.ID, string(e.Effect), string(e.Except),
		micros(e.Until), micros(e.At), e.Reason)
	return err
}

// moreEnded is added to how many live sessions an event ended where not all records were looked at.
const moreEnded = 1 << 30

// effect changes what the event names and says how many live sessions it ended.
func (u *unit) effect(e *revoke.Event) (ended int, err error) {
	if e.Kind != revoke.KindUser || e.Effect != revoke.End {
		e.Except = "" // nothing else spares anybody
	}
	at, seq := micros(e.At), number(e.Seq)
	switch string(e.Kind) + "/" + string(e.Effect) {
	case "session/end":
		return u.endSession(e)
	case "session/change":
		_, err = u.exec(changeOne, seq, e.ID)
	case "user/end":
		return u.endUser(e)
	case "user/change":
		_, err = u.exec(changeUser, seq, e.ID)
	case "key/end":
		if _, err = u.exec(endKey, at, seq, e.Reason, e.ID); err == nil {
			_, err = u.exec(endKeyRecord, at, seq, e.Reason, e.ID)
		}
	case "service_key/end":
		_, err = u.exec(endServiceKey, at, seq, e.Reason, e.ID)
	case "all/end":
		if ended, err = u.countMany(e, countAll, maxLooked); err == nil {
			_, err = u.exec(endAll, at, seq)
		}
	case "role/change":
	default:
		err = errEvent
	}
	return ended, err
}

func (u *unit) endSession(e *revoke.Event) (int, error) {
	ended, err := u.count(e, countOne, e.ID)
	if err != nil {
		return 0, err
	}
	_, err = u.exec(endOne, micros(e.At), number(e.Seq), e.Reason, e.ID)
	return ended, err
}

// endUser re-stamps the session that is spared, if it is alive. Otherwise the event spares nobody: it would bring back
// what an earlier event had ended.
func (u *unit) endUser(e *revoke.Event) (int, error) {
	if e.Except != "" {
		var one int
		err := u.row(spared, []any{micros(e.At), string(e.Except), e.ID}, &one)
		if absent(err) {
			e.Except = ""
		} else if err != nil {
			return 0, err
		}
	}
	ended, err := u.countMany(e, countUser, e.ID, string(e.Except), maxLooked)
	if err != nil {
		return 0, err
	}
	if _, err := u.exec(endUser, micros(e.At), number(e.Seq), e.Reason, e.ID); err != nil {
		return 0, err
	}
	if e.Except != "" {
		_, err = u.exec(stampOne, number(e.Seq), string(e.Except))
	}
	return ended, err
}

// countMany says how many sessions the event is about to end, as far as it looks at them.
func (u *unit) countMany(e *revoke.Event, query string, args ...any) (int, error) {
	var n, looked int
	if err := u.row(query, u.countArgs(e, args), &n, &looked); err != nil {
		return 0, err
	}
	if looked >= maxLooked {
		n += moreEnded
	}
	return n, nil
}

// count says whether the event is about to end its session.
func (u *unit) count(e *revoke.Event, query string, args ...any) (n int, err error) {
	err = u.row(query, u.countArgs(e, args), &n)
	return n, err
}

func (u *unit) countArgs(e *revoke.Event, args []any) []any {
	var enabled, disabled []string
	for user, was := range u.before {
		if was {
			enabled = append(enabled, string(user))
		} else {
			disabled = append(disabled, string(user))
		}
	}
	return append([]any{micros(e.At), list(enabled), list(disabled)}, args...)
}
