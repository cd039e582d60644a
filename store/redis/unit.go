package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
)

var (
	// errOver is what a unit's calls answer once it has ended.
	errOver = errors.New("redis: the unit of work has ended")
	// errAgain ends a run of a unit that is done over after something else.
	errAgain = errors.New("redis: the unit of work is done over")
	// errUnknown says that the base has committed a unit, and that it is not known whether Redis has what it did to
	// sessions. What it ended is ended all the same.
	errUnknown = errors.New("redis: the unit of work is committed, but not known to be in Redis")
)

// claimTime is for how long a unit keeps others away from the sessions that it writes, should it never come back: longer
// than any unit takes.
const claimTime = 5 * time.Second

// maxRuns bounds how often a unit is done over for this package's own reasons.
const maxRuns = 10

// work is one of the store's views for units.
type work[T any] struct {
	s  *Store
	as func(*unit) T
}

// attempt is what the runs of one unit have in common.
type attempt struct {
	token     string                                 // claims are made in its name
	claims    map[handstamp.SessionID]bool           // made so far, in whatever run
	shadows   map[handstamp.SessionID]uint64         // versions of rows in the base, of sessions that were spared before
	everyone  []record                               // sessions that may be live, for an end of everybody
	counted   bool                                   // everyone was read
	subjects  map[handstamp.UserID]handstamp.Subject // of everyone
	next      func(ctx context.Context) error        // what is to be done before the next run
	uncounted bool                                   // Redis did not say who everyone is
	crashed   bool                                   // a test has stopped it half way
}

// Do runs fn in a unit of the base. What it does to sessions reaches Redis after the base has committed.
func (w work[T]) Do(ctx context.Context, fn func(tx T) error) error {
	a := &attempt{token: rand.Text(), claims: map[handstamp.SessionID]bool{}, shadows: map[handstamp.SessionID]uint64{}}
	defer w.s.release(ctx, a)
	if !w.s.begun.Load() { // or the first unit of a new fleet would run twice
		w.s.begun.Store(true)
		_ = w.s.catchUp(ctx, 1) // whoever needs it tries again
	}
	for range maxRuns {
		var last *unit
		err := w.s.base.LoginWork().Do(ctx, func(tx login.Tx) error {
			last = &unit{
				Tx: tx, s: w.s, a: a, kept: map[handstamp.SessionID]*kept{}, before: map[handstamp.UserID]handstamp.Subject{},
				shadowed: map[handstamp.SessionID]bool{},
			}
			a.next = nil
			defer func() { last.over = true }()
			err := fn(w.as(last))
			if a.next != nil {
				return errAgain // whatever fn has made of it
			}
			return err
		})
		if errors.Is(err, errAgain) && a.next != nil {
			if err := a.next(ctx); err != nil {
				return fmt.Errorf("run a unit of work: %w", err)
			}
			continue
		}
		if err != nil {
			return err // also when the outcome is not known: what was ended all the same comes back with the log
		}
		return w.s.finish(ctx, last)
	}
	return errMoving
}

// release gives back claims that no write has given back.
func (s *Store) release(ctx context.Context, a *attempt) {
	if len(a.claims) == 0 || a.crashed {
		return
	}
	args := []string{a.token}
	for sid := range a.claims {
		args = append(args, string(sid))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.finishTime(ctx))
	defer cancel()
	_, _ = s.c.run(ctx, "release", args...) // they run out by themselves
}

// kept is a session that a unit writes.
type kept struct {
	was record // as it was claimed; without a mark if it is new
	put handstamp.Session
}

// unit is the base's unit with the sessions taken out of it.
type unit struct {
	login.Tx
	s *Store
	a *attempt

	over     bool
	kept     map[handstamp.SessionID]*kept
	carries  []handstamp.Carrying
	events   []revoke.Event
	gone     []handstamp.UserID                     // whose accounts were deleted
	before   map[handstamp.UserID]handstamp.Subject // as they were when the unit first looked
	shadowed map[handstamp.SessionID]bool           // spared in this run before
	deaf     bool                                   // Redis did not answer a question of this run
	need     uint64                                 // what records must have heard of to be judged by the subjects that were read
}

func (u *unit) open(ctx context.Context) error {
	if u.over {
		return errOver
	}
	return ctx.Err()
}

// restart ends this run; the unit is done over after next.
func (u *unit) restart(next func(ctx context.Context) error) error {
	u.a.next = next
	return errAgain
}

// Subject reads and locks the base's row.
func (u *unit) Subject(ctx context.Context, user handstamp.UserID) (handstamp.Subject, error) {
	sub, err := u.Tx.Subject(ctx, user)
	if err != nil {
		return sub, err
	}
	if _, seen := u.before[user]; !seen {
		u.before[user] = sub
	}
	if len(u.events) == 0 {
		u.need = max(u.need, sub.Head)
	}
	return sub, nil
}

// PutSubject writes the base's row, and remembers what was there.
func (u *unit) PutSubject(ctx context.Context, sub handstamp.Subject) error {
	if _, seen := u.before[sub.User]; !seen {
		if _, err := u.Subject(ctx, sub.User); err != nil {
			return err
		}
	}
	return u.Tx.PutSubject(ctx, sub)
}

// heard waits for the records to have heard of what the subjects of this unit say. If it takes long, the process that is to
// write it has died: then the unit is done over, since the log can only be read outside of it.
func (u *unit) heard(ctx context.Context, at place, try int) (bool, error) {
	switch {
	case at.seq >= u.need, at.blank(): // where there are no records there is nothing to hear
		return true, nil
	case try >= maxPauses:
		need := u.need
		return false, u.restart(func(ctx context.Context) error { return u.s.catchUp(ctx, need) })
	default:
		return false, pause(ctx, pauses(try))
	}
}

// PutSession claims a session, and keeps aside what is to become of it.
func (u *unit) PutSession(ctx context.Context, put handstamp.Session) error {
	if err := u.open(ctx); err != nil {
		return fmt.Errorf("write a session: %w", err)
	}
	put.Methods, put.Claims = slices.Clone(put.Methods), slices.Clone(put.Claims)
	if k, again := u.kept[put.ID]; again {
		now, _ := after(k.put, u.events)
		if now.Version != put.Version || now.EndedBy != 0 {
			return handstamp.ErrConflict
		}
		put.SeenAt = later(put.SeenAt, now.SeenAt)
		put.Version++
		k.put = put
		return nil
	}
	was, err := u.claim(ctx, put)
	if err != nil {
		return err
	}
	if (was.mark != "") != (put.Version > 0) || was.mark != "" && (was.Version != put.Version || was.EndedBy != 0) {
		return handstamp.ErrConflict
	}
	put.SeenAt = later(put.SeenAt, was.SeenAt) // Touch moves it without the version, and it never goes back
	put.Version++
	u.kept[put.ID] = &kept{was, put}
	return nil
}

// claim keeps others away from a session until the unit is through, and reads it.
func (u *unit) claim(ctx context.Context, put handstamp.Session) (record, error) {
	u.a.claims[put.ID] = true
	for try := 0; ; try++ {
		a, err := u.s.c.run(ctx, "claim", u.a.token, decimal(claimTime.Milliseconds()), string(put.ID), hashed(put.Key))
		if err != nil {
			return record{}, fmt.Errorf("write a session: %w", err)
		}
		switch {
		case len(a) == 0:
			return record{}, errAnswer
		case a[0].text == "blank":
			return record{}, u.restart(func(ctx context.Context) error { return u.s.catchUp(ctx, 0) })
		case a[0].text == "busy":
			return record{}, handstamp.ErrConflict
		case a[0].text == "taken":
			return record{}, handstamp.ErrTaken
		case len(a) != 6:
			return record{}, errAnswer
		}
		at, err := placeOf(a[1:])
		if err != nil {
			return record{}, err
		}
		if good, err := u.heard(ctx, at, try); err != nil {
			return record{}, err
		} else if !good {
			continue
		}
		if !a[5].there {
			return record{}, nil
		}
		return read(a[5].text)
	}
}

// Carry keeps aside what is to be carried, if the session it is taken from stands.
func (u *unit) Carry(ctx context.Context, c handstamp.Carrying) error {
	if err := u.open(ctx); err != nil {
		return fmt.Errorf("carry values: %w", err)
	}
	from, err := u.session(ctx, c.From)
	if err != nil {
		return fmt.Errorf("carry values: %w", err)
	}
	if from == nil {
		return nil
	}
	sub, err := u.Subject(ctx, from.User)
	if err != nil {
		return fmt.Errorf("carry values: %w", err)
	}
	if handstamp.Standing(*from, sub, c.Now) {
		c.Names = slices.Clone(c.Names)
		u.carries = append(u.carries, c)
	}
	return nil
}

// DeleteUser removes the account in the base, and the addresses in its sessions after the commit.
func (u *unit) DeleteUser(ctx context.Context, user handstamp.UserID) error {
	if err := u.Tx.DeleteUser(ctx, user); err != nil {
		return err
	}
	u.gone = append(u.gone, user)
	return nil
}

// session is a session as this unit sees it; nil if there is none.
func (u *unit) session(ctx context.Context, sid handstamp.SessionID) (*handstamp.Session, error) {
	if k, ok := u.kept[sid]; ok {
		now, _ := after(k.put, u.events)
		return &now, nil
	}
	for try := 0; ; try++ {
		l, err := u.s.records(ctx, []handstamp.SessionID{sid})
		if err != nil {
			return nil, err
		}
		good, err := u.heard(ctx, l.at, try)
		if err != nil {
			return nil, err
		}
		if !good {
			continue
		}
		r, ok := l.byID(sid)
		if !ok {
			return nil, nil
		}
		now, _ := after(r.Session, u.events)
		return &now, nil
	}
}

// of returns a user's sessions as this unit sees them, oldest first.
func (u *unit) of(ctx context.Context, user handstamp.UserID) ([]handstamp.Session, error) {
	all := map[handstamp.SessionID]handstamp.Session{}
	last, try := handstamp.SessionID(""), 0
	for {
		l, err := u.s.many(ctx, "user", string(user), string(last), "1000")
		if err != nil {
			return nil, err
		}
		good, err := u.heard(ctx, l.at, try)
		if err != nil {
			return nil, err
		}
		if !good {
			try++
			continue
		}
		if l.ids == 0 {
			break
		}
		last = l.last()
		for _, r := range l.found {
			all[r.ID], _ = after(r.Session, u.events)
		}
	}
	for sid, k := range u.kept {
		if k.put.User == user {
			all[sid], _ = after(k.put, u.events)
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b handstamp.Session) int {
		return strings.Compare(string(a.ID), string(b.ID))
	}), nil
}

// maxOldest bounds the answer of Oldest.
const maxOldest = 1000

// Oldest looks at the records in Redis and at the subject in the base.
func (u *unit) Oldest(
	ctx context.Context, user handstamp.UserID, now time.Time, keep int,
) ([]handstamp.SessionID, error) {
	if err := u.open(ctx); err != nil {
		return nil, fmt.Errorf("list the oldest sessions: %w", err)
	}
	sub, err := u.Subject(ctx, user)
	if err != nil {
		return nil, err
	}
	all, err := u.of(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("list the oldest sessions: %w", err)
	}
	live := make([]handstamp.SessionID, 0, len(all))
	for _, s := range all {
		if handstamp.Live(s, sub, now) {
			live = append(live, s.ID)
		}
	}
	return live[:min(max(len(live)-max(keep, 0), 0), maxOldest)], nil
}
