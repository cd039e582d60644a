package sqlite

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/handstamp/handstamp"
)

// When a user is deleted their addresses go out of the audit log (audit.Event.Whose says out of which entries). The unit that
// deletes the user does that for the oldest forgetBatch entries, which is all of them for nearly everybody. It holds the lock
// of the one writer, so that for more it leaves a note instead, and the sweep does the rest in steps as long as that one. The
// note is a row among the one-time tokens, of a kind that no token has, so that it is committed with the deletion, moves with
// the data, and needs no table.
const (
	forgetBatch = 1_000
	forgetKind  = "handstamp/audit.forget"
	forgetNotes = 100 // notes that one sweep looks at

	// forgetUntil is the last of the next ?3 entries after ?2 that name the user ?1; none if there are fewer. Each index is
	// entered once and read for as many entries as a step has.
	forgetUntil = `SELECT id FROM (
		SELECT id FROM (SELECT b.id AS id FROM handstamp_audit AS b INDEXED BY handstamp_audit_actor
			WHERE b.actor = ?1 AND b.id > ?2 ORDER BY b.id LIMIT ?3)
		UNION
		SELECT id FROM (SELECT b.id AS id FROM handstamp_audit AS b INDEXED BY handstamp_audit_target
			WHERE b.target = ?1 AND b.id > ?2 ORDER BY b.id LIMIT ?3))
		ORDER BY id LIMIT 1 OFFSET ?3 - 1`

	forgetEntries = `UPDATE handstamp_audit SET ip = '', user_agent = '' WHERE id IN (
		SELECT b.id FROM handstamp_audit AS b INDEXED BY handstamp_audit_actor WHERE b.actor = ?1 AND b.id > ?2 AND b.id <= ?3
		UNION
		SELECT b.id FROM handstamp_audit AS b INDEXED BY handstamp_audit_target WHERE b.target = ?1 AND b.id > ?2 AND b.id <= ?3)
		AND actor IN (?1, '') AND (ip <> '' OR user_agent <> '')`

	putForgetNote   = `INSERT INTO handstamp_one_times (hash, kind, data, expires_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (hash) DO NOTHING`
	listForgetNotes = `SELECT data FROM handstamp_one_times WHERE kind = ?1 LIMIT ?2`
	dropForgetNote  = `DELETE FROM handstamp_one_times WHERE hash = ?1`

	// forgetNever is 9999-12-31: the sweep of tokens leaves a note alone.
	forgetNever = 253_402_214_400_000_000
)

// forgetAudit is the part of a deletion that its unit does.
func (u *unit) forgetAudit(user handstamp.UserID) error {
	last, err := u.forgetStep(user, "")
	if err != nil || last == "" {
		return err
	}
	note := forgetNote(user)
	_, err = u.exec(putForgetNote, note[:], forgetKind, string(user), int64(forgetNever))
	return err
}

func forgetNote(user handstamp.UserID) [sha256.Size]byte {
	return sha256.Sum256([]byte(forgetKind + " " + string(user)))
}

// forgetStep takes a user's addresses out of the next entries after one, and says which was the last; none if that was all.
func (u *unit) forgetStep(user handstamp.UserID, after string) (last string, err error) {
	until := before("")
	err = u.row(forgetUntil, []any{string(user), after, forgetBatch}, asText(&last))
	switch {
	case err == nil:
		until = last
	case !absent(err):
		return "", err
	}
	_, err = u.exec(forgetEntries, string(user), after, until)
	return last, err
}

// forgetRest goes on where units that deleted somebody left a note. A sweep that is interrupted begins anew the next time:
// to read entries that have no address any more is no work.
func (s *Store) forgetRest(ctx context.Context) error {
	users, err := read(ctx, s, func(c *link) (all []handstamp.UserID, err error) {
		err = c.each(ctx, listForgetNotes, []any{forgetKind, forgetNotes}, func(r scanner) error {
			var user handstamp.UserID
			if err := r.Scan(asText(&user)); err != nil {
				return err
			}
			all = append(all, user)
			return nil
		})
		return all, err
	})
	if err != nil {
		return fmt.Errorf("look for deleted users: %w", err)
	}
	for _, user := range users {
		for after, more := "", true; more; {
			var last string
			err := s.do(ctx, func(u *unit) (err error) {
				if last, err = u.forgetStep(user, after); err != nil || last != "" {
					return err
				}
				note := forgetNote(user)
				_, err = u.exec(dropForgetNote, note[:])
				return err
			})
			if err != nil {
				return fmt.Errorf("clear addresses of a deleted user: %w", err)
			}
			after, more = last, last != ""
		}
	}
	return nil
}
