package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
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

// Store keeps session records and their values in Redis and everything else in a [Base]: subjects with their numbers, the
// log, accounts, the audit log and keys. Any number of processes may do so with one base and one prefix. It is safe for
// concurrent use; make it with [Over].
//
// How the two stay one:
//
//   - Redis knows the place of all records together: up to which number of the base's log they have heard of what happens
//     to them. A script that writes what an event does to a record moves the place in the same step. An event that comes
//     ahead of its turn acts at once, and the place waits for what is missing between.
//   - A read takes record and place first, and the subject from the base second. If the base's head is beyond the place,
//     somebody has committed what the record may not have heard of: most often the process that did is about to write it;
//     if it does not, because it died in between, the reader takes it from the log and writes it. Only then it answers.
//   - A unit runs in the base's transaction. What it does to sessions is kept aside and goes to Redis when the base has
//     committed. A session that a unit creates or replaces is claimed first, so that nobody else does so meanwhile. A claim
//     runs out after some seconds; then who comes second wins, as if it had come later.
//   - A change outside of a unit (refresh, value) is one script that does nothing if the record or the place is not the one
//     that it was judged by.
//   - A user/end event can spare a session only if the base has a record of it. So a spared session, and no other, also
//     has a row in the base: without key and claims, good for nothing but this.
//   - When the place does not exist in the log (Redis was put back from a backup that is older than what the log
//     remembers, or the log is another one), or Redis lost its data, a new age begins: without any session.
//
// The base's log is told to remember events for as long as a session lives that they hit, so that a Redis that comes back
// with older data can still be brought along.
//
// A unit's function reads through its transaction; it must not call Sessions or Values. It may run again.
type Store struct {
	base  Base
	c     *Client
	steps func(step string) error // nil but in tests: called between the steps of a unit

	following chan struct{} // of one: who reads the log for the records
	begun     atomic.Bool   // Redis had a place
	followed  followed
	swept     cursor // whose values a sweep looked at last
}

// The consumers' interfaces.
var (
	_ handstamp.Store = (*Store)(nil)
	_ account.Store   = (*Store)(nil)
	_ login.Store     = (*Store)(nil)
	_ login.Tx        = (*unit)(nil)
	_ revoke.Log      = (*eventLog)(nil)
)

// Over returns a store with its sessions in Redis and everything else in base. It writes nothing yet. Closing it closes
// both.
func Over(base Base, c *Client) (*Store, error) {
	if base == nil || c == nil {
		return nil, errors.New("open sessions in Redis: want a base and a client")
	}
	if c.cache {
		return nil, errors.New("open sessions in Redis: the client is for a cache; dial without Options.Cache")
	}
	return &Store{base: base, c: c, following: make(chan struct{}, 1)}, nil
}

// Close ends the connection and closes the base.
func (s *Store) Close() error {
	s.c.Close()
	return s.base.Close()
}

// Sessions returns the view for reads and single statements on sessions.
func (s *Store) Sessions() handstamp.Sessions { return sessions{s} }

// Values returns the view for the named values of sessions.
func (s *Store) Values() handstamp.Values { return values{s} }

// Work returns the engine's units of work.
func (s *Store) Work() handstamp.UnitOfWork[handstamp.Tx] {
	return work[handstamp.Tx]{s, func(u *unit) handstamp.Tx { return u }}
}

// AccountWork returns the units of work on accounts.
func (s *Store) AccountWork() handstamp.UnitOfWork[account.Tx] {
	return work[account.Tx]{s, func(u *unit) account.Tx { return u }}
}

// LoginWork returns the units of work of logins.
func (s *Store) LoginWork() handstamp.UnitOfWork[login.Tx] {
	return work[login.Tx]{s, func(u *unit) login.Tx { return u }}
}

// Log returns the base's log. Whoever follows it through here takes the records along, and is woken by Redis too.
func (s *Store) Log() revoke.Log { return &eventLog{s.base.Log(), s} }

// Audit returns the base's audit log.
func (s *Store) Audit() audit.Log { return s.base.Audit() }

// Users returns the base's accounts.
func (s *Store) Users() account.Users { return s.base.Users() }

// Keys returns the base's signing keys.
func (s *Store) Keys() keyring.Store { return s.base.Keys() }

// Roles returns the base's roles.
func (s *Store) Roles(ctx context.Context) (permission.Table, uint64, error) {
	return s.base.Roles(ctx)
}

// Settle agrees with the base's other processes. What it says of durability is the weaker of the base's and of what the
// Redis server's own configuration promises for the sessions.
func (s *Store) Settle(ctx context.Context, want handstamp.Settings) (handstamp.Settings, error) {
	got, err := s.base.Settle(ctx, want)
	if err != nil {
		return handstamp.Settings{}, err
	}
	if d := s.c.durability; weaker(d, got.Durability) {
		got.Durability = d
	}
	return got, nil
}

// broughtAlong brings the records to the end of the log, unless they are beyond it. It answers where they are, and where the
// log ends.
func (s *Store) broughtAlong(ctx context.Context) (at place, end uint64, err error) {
	if at, err = s.placeNow(ctx); err != nil {
		return place{}, 0, err
	}
	head, err := s.headNow(ctx)
	if err != nil {
		return place{}, 0, err
	}
	if !at.blank() && at.log == head.Log && at.seq > head.Seq {
		return at, head.Seq, nil
	}
	if err := s.catchUp(ctx, 0); err != nil {
		return place{}, 0, err
	}
	at, err = s.placeNow(ctx)
	return at, at.seq, err
}

// headNow asks where the log ends: whoever registers is told.
func (s *Store) headNow(ctx context.Context) (revoke.Head, error) {
	now := time.Now()
	me := revoke.Registration{Verifier: id.NewVerifier(now), RegisteredAt: now.UTC().Truncate(time.Microsecond), Name: "sessions in Redis"}
	head, err := s.base.Log().Register(ctx, me)
	if err != nil {
		return revoke.Head{}, fmt.Errorf("ask where the log ends: %w", err)
	}
	if err := s.base.Log().Remove(context.WithoutCancel(ctx), math.MaxInt64, me.Verifier); err != nil {
		return revoke.Head{}, fmt.Errorf("ask where the log ends: %w", err)
	}
	return head, nil
}

// jump is how far a log's numbers move when it becomes another one; see handstamp.Appended.
const jump = 1 << 32

// Restored makes the base's log another one. With keepSessions the records live on, since they are brought to the end of
// the log as it was first, and then on to where the other one begins. Where the base was put back, and they were not, they
// are beyond its end: what they heard of since, they keep. (Done on the base alone, it drops them: they cannot know what
// they missed.)
func (s *Store) Restored(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error) {
	var before place
	var end uint64 // of the log as it was
	if keepSessions {
		var err error
		if before, end, err = s.broughtAlong(ctx); err != nil {
			return revoke.Head{}, fmt.Errorf("restore: %w", err)
		}
	}
	h, err := s.base.Restored(ctx, keepSessions, now)
	if err != nil || !keepSessions {
		return h, err // without them: the first who reads finds another log, and begins anew
	}
	if before.blank() || end+jump != h.Seq {
		return h, nil // somebody appended meanwhile what the records have not heard of: they begin anew too
	}
	_, err = s.c.run(ctx, "relog", before.age, decimal(before.seq), decimal(h.Seq), string(h.Tag), h.Log)
	if err != nil {
		return revoke.Head{}, fmt.Errorf("restore: the log is another one, and everybody must log in again: %w", err)
	}
	return h, nil
}
