package memory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
)

// Base is the store under [Over]: a database that keeps everything but the session records. Its reads must go on while
// one of its units runs, and must see what is committed.
type Base interface {
	handstamp.Store
	account.Store
	login.Store
	Keys() keyring.Store
	Restored(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error)
	Close() error
	// Subjects answers for each of the users what Sessions().Subject would, in their order and all in one snapshot.
	Subjects(ctx context.Context, users []handstamp.UserID) ([]handstamp.Subject, error)
}

// Overlay keeps session records and their values in the memory of this process and everything else in a [Base]: subjects
// with their numbers, the log, accounts, the audit log and keys. Sessions are lost when the process ends; nothing else is.
// It is safe for concurrent use; make it with [Over]. Only one process may have sessions over one base; others (a command
// line) may use the base itself, and what they end is ended here.
//
// How the two stay one:
//
//   - A unit runs in the base's transaction. What it does to sessions is kept aside and reaches memory when the base has
//     committed; if the base says anything else, it never does.
//   - Records know up to which number of the log they have followed it (place). A read takes the record first and the
//     subject from the base second. If the head that came with the subject is beyond the place, somebody appended what
//     the record may not have heard of: the log is read up to there, and the read is done over. So the head in an answer
//     never is beyond what the record in it has heard of, which is what every copy of it relies on.
//   - A user/end event can spare a session only if the base has a record of it. So a spared session, and no other, also
//     has a row in the base: without key and claims, good for nothing but this.
//
// A unit's function reads through its transaction. It must not call Sessions: a read there may have to wait for the log,
// and so for the unit that it is part of.
//
// Lock order: turn, then the base's locks, then mu. mu is never held across a call of the base.
type Overlay struct {
	base Base
	turn turn // held by whoever changes records

	mu    sync.RWMutex
	kept  records
	place place
	swept handstamp.SessionID // whose values a sweep looked at last; of who has the turn
}

// place is up to where records have followed the base's log. The zero value has not begun.
type place struct {
	log string
	seq uint64
	tag revoke.Tag
}

// maxReads bounds how often a read is done over because the log moved on under it, before it asks for the turn.
const maxReads = 4

// maxFollows bounds how often who has the turn follows other processes: each time they have made progress.
const maxFollows = 1000

// errMoving says that other processes append faster than they can be followed: it is not known what the answer is.
var errMoving = errors.New("memory: the log moves faster than it can be followed")

// Over returns a store with its session records in memory and everything else in base. It touches nothing yet.
func Over(base Base) *Overlay {
	return &Overlay{base: base, turn: newTurn(), kept: newRecords()}
}

// Close closes the base. The sessions are gone with the process.
func (o *Overlay) Close() error { return o.base.Close() }

// Sessions returns the view for reads and single statements on sessions.
func (o *Overlay) Sessions() handstamp.Sessions { return overSessions{o} }

// Work returns the engine's units of work.
func (o *Overlay) Work() handstamp.UnitOfWork[handstamp.Tx] {
	return overWork[handstamp.Tx]{o, func(t *overTx) handstamp.Tx { return t }}
}

// AccountWork returns the units of work on accounts.
func (o *Overlay) AccountWork() handstamp.UnitOfWork[account.Tx] {
	return overWork[account.Tx]{o, func(t *overTx) account.Tx { return t }}
}

// LoginWork returns the units of work of logins.
func (o *Overlay) LoginWork() handstamp.UnitOfWork[login.Tx] {
	return overWork[login.Tx]{o, func(t *overTx) login.Tx { return t }}
}

// Log returns the base's log. Whoever follows it through here takes the records along.
func (o *Overlay) Log() revoke.Log { return overLog{o.base.Log(), o} }

// Audit returns the base's audit log.
func (o *Overlay) Audit() audit.Log { return o.base.Audit() }

// Users returns the base's accounts.
func (o *Overlay) Users() account.Users { return o.base.Users() }

// Keys returns the base's signing keys.
func (o *Overlay) Keys() keyring.Store { return o.base.Keys() }

// Roles returns the base's roles.
func (o *Overlay) Roles(ctx context.Context) (permission.Table, uint64, error) {
	return o.base.Roles(ctx)
}

// Settle agrees with the base's other processes. What it says of durability is the sessions': they are volatile, however
// durable the accounts are.
func (o *Overlay) Settle(ctx context.Context, want handstamp.Settings) (handstamp.Settings, error) {
	got, err := o.base.Settle(ctx, want)
	got.Durability = handstamp.Durability{Class: handstamp.Volatile, Named: true}
	return got, err
}

// Restored makes the base's log another one. With keepSessions the records of this process live on, since they have
// followed the log up to its last event. (Done by another process, it drops them: they cannot know what they missed.)
func (o *Overlay) Restored(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error) {
	if err := o.turn.take(ctx); err != nil {
		return revoke.Head{}, fmt.Errorf("restore: %w", err)
	}
	defer o.turn.give()
	if err := o.catchUp(ctx); err != nil {
		return revoke.Head{}, err
	}
	h, err := o.base.Restored(ctx, keepSessions, now)
	if err != nil {
		return revoke.Head{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.place = place{h.Log, h.Seq, h.Tag}
	return h, nil
}

// overSessions is the view for reads and single statements.
type overSessions struct{ o *Overlay }

// Find takes the record first and the rest second; see [Overlay].
func (v overSessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	if err := ctx.Err(); err != nil {
		return handstamp.Found{}, fmt.Errorf("find a credential: %w", err)
	}
	if !l.ServiceKey.IsZero() {
		return v.o.base.Sessions().Find(ctx, l)
	}
	kept, sub, err := v.o.look(ctx, func() *handstamp.Session { return v.o.kept.find(l) })
	if err != nil {
		return handstamp.Found{}, err
	}
	return v.o.found(ctx, *kept, sub, l.SigningKey)
}

// found completes an answer. Roles and the key's state are read after the head, and so are no older than it says.
func (o *Overlay) found(
	ctx context.Context, s handstamp.Session, sub handstamp.Subject, signingKey string,
) (handstamp.Found, error) {
	f := handstamp.Found{Session: ownedSession(s), Subject: sub, Roles: permission.Table{}}
	if len(sub.Grants.Roles) > 0 {
		table, _, err := o.base.Roles(ctx)
		if err != nil {
			return handstamp.Found{}, fmt.Errorf("read roles: %w", err)
		}
		f.Roles = definitions(table, &sub)
	}
	if signingKey == "" {
		return f, nil
	}
	all, err := o.base.Keys().Keys(ctx)
	if err != nil {
		return handstamp.Found{}, fmt.Errorf("read the state of a signing key: %w", err)
	}
	for _, k := range all {
		if k.ID == signingKey {
			f.SigningKeyEnded = k.RevokedBy
		}
	}
	return f, nil
}

// Subject reads the base's row.
func (v overSessions) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	return v.o.base.Sessions().Subject(ctx, u)
}

// List reads records page by page, so that mu is free while subjects are read, and begins again if the log moved on.
func (v overSessions) List(ctx context.Context, f handstamp.SessionFilter) ([]handstamp.Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	for range maxReads {
		v.o.mu.RLock()
		at := v.o.place
		v.o.mu.RUnlock()
		all, still, err := v.list(ctx, f, at)
		if err != nil {
			return nil, fmt.Errorf("list sessions: %w", err)
		}
		if still {
			return all, nil
		}
		if err := v.o.follow(ctx, at); err != nil {
			return nil, err
		}
	}
	return v.listInTurn(ctx, f)
}

// listInTurn is to List what lookInTurn is to look.
func (v overSessions) listInTurn(ctx context.Context, f handstamp.SessionFilter) ([]handstamp.Session, error) {
	if err := v.o.turn.take(ctx); err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	defer v.o.turn.give()
	for range maxFollows {
		all, still, err := v.list(ctx, f, v.o.place)
		if err != nil {
			return nil, fmt.Errorf("list sessions: %w", err)
		}
		if still {
			return all, nil
		}
		if err := v.o.catchUp(ctx); err != nil {
			return nil, err
		}
	}
	return nil, errMoving
}

// list reports whether the log stood still at the place while it read.
func (v overSessions) list(
	ctx context.Context, f handstamp.SessionFilter, at place,
) ([]handstamp.Session, bool, error) {
	limit, after := f.Limit, f.After
	if limit < 1 || limit > maxListed {
		limit = maxListed
	}
	out := []handstamp.Session{}
	for {
		v.o.mu.RLock()
		page := v.o.kept.newest(f.User, after)
		v.o.mu.RUnlock()
		if len(page) == 0 {
			return out, true, nil
		}
		after = page[len(page)-1].ID
		subjects, head, err := v.o.subjectsOf(ctx, page)
		if err != nil || head != at.seq {
			return nil, false, err
		}
		for _, s := range page {
			if listed(f, s) && handstamp.Live(*s, subjects[s.User], f.Now) {
				out = append(out, ownedSession(*s))
			}
			if len(out) == limit {
				return out, true, nil
			}
		}
	}
}

// Rotate decides under the turn, by a subject that is read from the base just before.
func (v overSessions) Rotate(
	ctx context.Context, sid handstamp.SessionID, from uint32, r handstamp.Rotation,
) (handstamp.Found, error) {
	if err := v.o.turn.take(ctx); err != nil {
		return handstamp.Found{}, fmt.Errorf("refresh: %w", err)
	}
	defer v.o.turn.give()
	kept, sub, err := v.o.fresh(ctx, sid)
	if err != nil {
		return handstamp.Found{}, err
	}
	if kept == nil {
		return handstamp.Found{}, handstamp.ErrConflict
	}
	f, err := v.o.found(ctx, *kept, sub, "")
	if err != nil {
		return handstamp.Found{}, err // before anything was written: whoever asks again finds the same generation
	}
	if !r.Moves(f, from) {
		return handstamp.Found{}, handstamp.ErrConflict
	}
	after := rotated(*kept, r)
	f.Session = ownedSession(after)
	v.o.write(map[handstamp.SessionID]change[*handstamp.Session]{sid: {value: &after}})
	return f, nil
}

// touchBatch is how many sessions are touched by one look at their subjects.
const touchBatch = 500

// Touch moves SeenAt of live sessions forward.
func (v overSessions) Touch(ctx context.Context, seen map[handstamp.SessionID]time.Time) error {
	if err := v.o.turn.take(ctx); err != nil {
		return fmt.Errorf("note activity: %w", err)
	}
	defer v.o.turn.give()
	for ids := range slices.Chunk(slices.Collect(maps.Keys(seen)), touchBatch) {
		if err := v.o.touch(ctx, ids, seen); err != nil {
			return fmt.Errorf("note activity: %w", err)
		}
	}
	return nil
}

// touch does so for some of them, in one step.
func (o *Overlay) touch(ctx context.Context, ids []handstamp.SessionID, seen map[handstamp.SessionID]time.Time) error {
	all, subjects, err := o.freshAll(ctx, ids)
	if err != nil {
		return err
	}
	touched := make(map[handstamp.SessionID]change[*handstamp.Session])
	for _, s := range all {
		if at := seen[s.ID]; s.SeenAt.Before(at) && handstamp.Standing(*s, subjects[s.User], at) {
			after := *s
			after.SeenAt = at
			touched[s.ID] = change[*handstamp.Session]{value: &after}
		}
	}
	o.write(touched)
	return nil
}

// Sweep deletes records here first, and what has run out in the base with what is left of the limit.
func (v overSessions) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	if err := v.o.turn.take(ctx); err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	defer v.o.turn.give()
	l := over(v.o.kept.sessions)
	n := v.o.kept.sweep(&l, now, limit)
	v.o.write(l.over)
	values, err := v.o.sweepValues(ctx, now, limit-n)
	if n += values; err != nil || n >= limit {
		return n, err
	}
	more, err := v.o.base.Sessions().Sweep(ctx, now, limit-n)
	return n + more, err
}
