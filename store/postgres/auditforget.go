package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp"
)

// When a user is deleted their addresses go out of the audit log (audit.Event.Whose says out of which entries). The unit that
// deletes the user does that for the oldest forgetBatch entries, which is all of them for nearly everybody, and before it
// takes the log's counter. An account that was guessed at for months has more than a unit has time for, so for those it
// leaves a note, and the sweep does the rest in steps as long as that one. The note is a row among the one-time tokens, of a
// kind that no token has, so that it is committed with the deletion, moves with the data, and needs no table.
const (
	forgetBatch = 1_000
	forgetKind  = "handstamp/audit.forget"
	forgetNotes = 100 // notes that one sweep looks at

	// forgetStep does it for the next $3 entries after $2 that name the user $1. Each index is entered once and read for as
	// many entries as a step has; rows are locked in the order of their ids, so that two sweeps do not wait for each other.
	forgetStep = `WITH step AS MATERIALIZED (
			(SELECT b.id FROM @audit AS b WHERE b.actor = $1 AND b.id > $2 ORDER BY b.id LIMIT $3)
			UNION
			(SELECT b.id FROM @audit AS b WHERE b.target = $1 AND b.id > $2 ORDER BY b.id LIMIT $3)
			ORDER BY id LIMIT $3
		), cleared AS (
			UPDATE @audit AS a SET ip = '', user_agent = '' WHERE a.id = ANY (ARRAY(
				SELECT l.id FROM @audit AS l WHERE l.id = ANY (ARRAY(SELECT step.id FROM step))
				AND l.actor IN ($1, '') AND (l.ip <> '' OR l.user_agent <> '') ORDER BY l.id FOR UPDATE))
		) `
	// forgetFirst is for the unit: it leaves the note if there may be more.
	forgetFirst = forgetStep + `INSERT INTO @one_times (hash, kind, data, expires_at)
		SELECT $4::bytea, $5::text, $1::text, $6::bigint FROM step HAVING count(*) = $3 ON CONFLICT (hash) DO NOTHING`
	// forgetNext answers which entry was the last; none if that was all.
	forgetNext = forgetStep + `SELECT CASE WHEN count(*) = $3 THEN max(step.id) ELSE '' END FROM step`

	listForgetNotes = `SELECT t.data FROM @one_times AS t WHERE t.kind = $1 LIMIT $2`
	dropForgetNote  = `DELETE FROM @one_times AS t WHERE t.hash = $1`

	// forgetNever is 9999-12-31: the sweep of tokens leaves a note alone.
	forgetNever = 253_402_214_400_000_000
)

// forgetAudit is the part of a deletion that its unit does.
func forgetAudit(user handstamp.UserID) statement {
	return statement{query: forgetFirst, what: "clear addresses of audit entries", args: []any{
		string(user), "", int64(forgetBatch), forgetNote(user), forgetKind, int64(forgetNever),
	}}
}

func forgetNote(user handstamp.UserID) []byte {
	sum := sha256.Sum256([]byte(forgetKind + " " + string(user)))
	return sum[:]
}

// forgetRest goes on where units that deleted somebody left a note. A sweep that is interrupted begins anew the next time:
// to read entries that have no address any more is no work.
func (s *Store) forgetRest(ctx context.Context) error {
	var users []handstamp.UserID
	err := s.each(ctx, listForgetNotes, []any{forgetKind, int64(forgetNotes)}, func(r pgx.Rows) error {
		var user handstamp.UserID
		if err := r.Scan(asText(&user)); err != nil {
			return err
		}
		users = append(users, user)
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for deleted users: %w", err)
	}
	for _, user := range users {
		for after, more := "", true; more; more = after != "" {
			err := s.write(ctx, forUnit, statement{query: forgetNext, args: []any{string(user), after, int64(forgetBatch)},
				scan: func(r pgx.Rows) error { return r.Scan(asText(&after)) }})
			if err != nil {
				return fmt.Errorf("clear addresses of a deleted user: %w", err)
			}
		}
		if err := s.write(ctx, forUnit, statement{query: dropForgetNote, args: []any{forgetNote(user)}}); err != nil {
			return fmt.Errorf("drop the note of a deleted user: %w", err)
		}
	}
	return nil
}
