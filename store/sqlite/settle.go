package sqlite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

const selectSettings = `SELECT lease, secrets FROM handstamp_log WHERE id = 1`

func settingsOf(row rower) (handstamp.Settings, error) {
	kept := handstamp.Settings{Durability: handstamp.Durability{Class: handstamp.Durable}}
	err := row(selectSettings, nil, asDuration(&kept.Lease), asList(&kept.Secrets))
	return kept, err
}

// Settle implements handstamp.Store. It writes only if something is new.
func (s *Store) Settle(ctx context.Context, want handstamp.Settings) (handstamp.Settings, error) {
	want.Lease = want.Lease.Truncate(time.Microsecond) // as it is stored
	agreed, err := read(ctx, s, func(c *link) (handstamp.Settings, error) {
		kept, err := settingsOf(c.row)
		if err != nil {
			return kept, err
		}
		agreed, changed, err := kept.Agree(want)
		if err == nil && changed {
			err = errStale
		}
		return agreed, err
	})
	if errors.Is(err, errStale) {
		agreed, err = s.settle(ctx, want)
	}
	if err != nil {
		return handstamp.Settings{}, fmt.Errorf("settle what all processes share: %w", err)
	}
	return agreed, nil
}

// errStale says that there is something to write.
var errStale = errors.New("something changes")

func (s *Store) settle(ctx context.Context, want handstamp.Settings) (agreed handstamp.Settings, err error) {
	err = s.do(ctx, func(u *unit) error {
		kept, err := settingsOf(u.row)
		if err != nil {
			return err
		}
		var changed bool
		if agreed, changed, err = kept.Agree(want); err != nil || !changed {
			return err
		}
		return u.change(errNoLog, "UPDATE handstamp_log SET lease = ?, secrets = ? WHERE id = 1",
			agreed.Lease.Microseconds(), list(agreed.Secrets))
	})
	return agreed, err
}

// jump is how far the numbers go at a restore: farther than a lost log can have come.
const jump = 1 << 32

var errNumbers = errors.New("the log has run out of numbers")

// Restored makes the log another one, as must be done after the database was put back from a backup and before it is
// used: readers that know more recent events than this database notice by the new id and start again, and nothing they
// copied counts. The log gets a new id, its numbers jump by 2^32, and it has forgotten everything up to there. Then one
// all/end event ends every session, since the backup may have brought back some that were ended after it was made;
// keepSessions leaves that out. Verifiers stay registered: one that holds a lease of the log as it was may use it up, so
// who waits for the fleet must still wait for it. An entry of the audit log says so. It returns the head after that.
func (s *Store) Restored(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error) {
	var head revoke.Head
	err := s.do(ctx, func(u *unit) error {
		before, err := headOf(u.row)
		if err != nil {
			return err
		}
		if before.Seq > math.MaxInt64-2*jump {
			return errNumbers
		}
		if err := u.restart(before.Seq+jump, now); err != nil {
			return err
		}
		err = u.Record(ctx, audit.Event{ID: id.NewAudit(now), At: now, Kind: audit.Restored, Actor: "system",
			Detail: map[string]string{"keep_sessions": strconv.FormatBool(keepSessions), "head_before": strconv.FormatUint(before.Seq, 10)}})
		if err != nil {
			return err
		}
		if !keepSessions {
			all := revoke.Event{Kind: revoke.KindAll, Effect: revoke.End, At: now, Until: now.Add(revoke.Retention), Reason: "restored"}
			if _, err := u.Append(ctx, all); err != nil {
				return err
			}
		}
		head, err = headOf(u.row)
		return err
	})
	if err != nil {
		return revoke.Head{}, fmt.Errorf("restart the log: %w", err)
	}
	return head, nil
}

// restart gives the log a new id at a number up to which it has forgotten everything.
func (u *unit) restart(at uint64, now time.Time) error {
	u.appended = true
	if err := u.change(errNoLog, `UPDATE handstamp_log SET log = ?1, head = ?2, tag = ?3, low = ?2, low_tag = ?3, restored_at = ?4
		WHERE id = 1`,
		rand.Text(), number(at), string(revoke.NewTag()), micros(now)); err != nil {
		return err
	}
	_, err := u.exec("DELETE FROM handstamp_events")
	return err
}
