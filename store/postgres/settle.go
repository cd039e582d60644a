package postgres

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

const (
	selectSettings = `SELECT l.lease, l.secrets FROM @log AS l WHERE l.id = 1`
	lockLog        = `SELECT 1 FROM @log AS l WHERE l.id = 1 FOR NO KEY UPDATE`
)

func (s *Store) settingsInto(kept *handstamp.Settings) []any {
	kept.Durability = s.durability
	return []any{asDuration(&kept.Lease), asList(&kept.Secrets)}
}

// Settle implements handstamp.Store. It writes only if something is new. The durability that it states is what the
// server's settings (fsync, full_page_writes, synchronous_commit) were when the store was opened.
func (s *Store) Settle(ctx context.Context, want handstamp.Settings) (handstamp.Settings, error) {
	want.Lease = want.Lease.Truncate(time.Microsecond) // as it is stored
	agreed, err := s.settled(ctx, want)
	if errors.Is(err, errUnsettled) {
		agreed, err = s.settle(ctx, want)
	}
	if err != nil {
		return handstamp.Settings{}, fmt.Errorf("settle what all processes share: %w", err)
	}
	return agreed, nil
}

// errUnsettled says that there is something to write.
var errUnsettled = errors.New("something changes")

func (s *Store) settled(ctx context.Context, want handstamp.Settings) (handstamp.Settings, error) {
	var kept handstamp.Settings
	if err := s.row(ctx, selectSettings, nil, s.settingsInto(&kept)...); err != nil {
		return kept, err
	}
	agreed, changed, err := kept.Agree(want)
	if err == nil && changed {
		err = errUnsettled
	}
	return agreed, err
}

func (s *Store) settle(ctx context.Context, want handstamp.Settings) (agreed handstamp.Settings, err error) {
	err = s.do(ctx, func(u *unit) error {
		var kept handstamp.Settings
		if err := u.row(ctx, []statement{{query: lockLog}}, selectSettings, nil, s.settingsInto(&kept)...); err != nil {
			return err
		}
		var changed bool
		if agreed, changed, err = kept.Agree(want); err != nil || !changed {
			return err
		}
		return u.swap(ctx, errNoLog, "UPDATE @log AS l SET lease = $1, secrets = $2 WHERE l.id = 1",
			agreed.Lease.Microseconds(), list(agreed.Secrets))
	})
	return agreed, err
}

// jump is how far the numbers go at a restore: farther than a lost log can have come.
const jump = 1 << 32

var errNumbers = errors.New("the log has run out of numbers")

// restoreTime is how long [Store.Restored] may take: it deletes the whole log.
const restoreTime = 2 * time.Minute

// Restored makes the log another one, as must be done after the database was put back from a backup or a standby was made
// the primary that had not received everything, and before it is used: readers that know more recent events than this
// database notice by the new id and start again, and nothing they copied counts. The log gets a new id, its numbers jump
// by 2^32, and it has forgotten everything up to there. Then one all/end event ends every session, since the database may
// have brought back some that were ended after it was copied; keepSessions leaves that out. Verifiers stay registered: one
// that holds a lease of the log as it was may use it up, so who waits for the fleet must still wait for it. An entry of
// the audit log says so. It returns the head after that.
func (s *Store) Restored(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error) {
	var head revoke.Head
	err := s.doWithin(ctx, restoreTime, func(u *unit) error {
		var before revoke.Head
		if err := u.row(ctx, []statement{{query: lockLog}}, selectHead, nil, headInto(&before)...); err != nil {
			return err
		}
		if before.Seq > math.MaxInt64-2*jump {
			return errNumbers
		}
		if err := u.restart(ctx, before.Seq+jump, now); err != nil {
			return err
		}
		err := u.Record(ctx, audit.Event{ID: id.NewAudit(now), At: now, Kind: audit.Restored, Actor: "system",
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
		head = revoke.Head{}
		return u.row(ctx, nil, selectHead, nil, headInto(&head)...)
	})
	if err != nil {
		return revoke.Head{}, fmt.Errorf("restart the log: %w", err)
	}
	return head, nil
}

// restart gives the log a new id at a number up to which it has forgotten everything.
func (u *unit) restart(ctx context.Context, at uint64, now time.Time) error {
	err := u.swap(ctx, errNoLog, `UPDATE @log AS l SET log = $1, head = $2, tag = $3, low = $2, low_tag = $3, restored_at = $4 WHERE l.id = 1`,
		rand.Text(), number(at), string(revoke.NewTag()), micros(now))
	if err != nil {
		return err
	}
	return u.keep(ctx, statement{query: "SELECT set_config('statement_timeout', $1, true)", args: []any{milliseconds(restoreTime)}},
		statement{query: "DELETE FROM @events"}, statement{query: "SELECT pg_notify($1, '')", args: []any{u.s.opt.channel()}})
}
