package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
)

// maxCounted is up to where Append counts exactly.
const maxCounted = 10_000

// Append appends in the base. What the events do to sessions is tried first, since it decides whom they spare, how many
// they end and for how long the log must remember them; it is written to Redis after the commit. In the answer an event has
// the Until that it was given.
//
// Without Redis everything can be ended all the same, but nobody can be spared: then the answer says 0 and "more".
func (u *unit) Append(ctx context.Context, events ...revoke.Event) (handstamp.Appended, error) {
	if err := u.open(ctx); err != nil {
		return handstamp.Appended{}, fmt.Errorf("append to the log: %w", err)
	}
	if len(events) == 0 {
		return u.Tx.Append(ctx)
	}
	tried := slices.Clone(events)
	n, more, err := u.try(ctx, tried)
	if err != nil {
		return handstamp.Appended{}, fmt.Errorf("append to the log: %w", err)
	}
	for _, e := range tried {
		if err := u.shadow(ctx, e.Except); err != nil {
			return handstamp.Appended{}, fmt.Errorf("append to the log: %w", err)
		}
	}
	a, err := u.Tx.Append(ctx, tried...)
	if err != nil {
		return handstamp.Appended{}, err
	}
	for i := range a.Events {
		if a.Events[i].Except != tried[i].Except {
			// Something ended the session between the look and the append, such as an end of everybody.
			return handstamp.Appended{}, u.restart(func(ctx context.Context) error { return u.s.catchUp(ctx, 0) })
		}
		a.Events[i].Until = events[i].Until
	}
	u.events = append(u.events, a.Events...)
	a.Sessions, a.More = min(n, maxCounted), more || n > maxCounted
	return a, nil
}

// try tries events. If Redis does not answer, those that spare nobody go on uncounted.
func (u *unit) try(ctx context.Context, events []revoke.Event) (n int, more bool, err error) {
	y := trial{u: u, subjects: make(map[handstamp.UserID]handstamp.Subject)}
	for i := range events {
		if u.deaf && events[i].Except == "" {
			more = true
			continue
		}
		ended, err := y.event(ctx, &events[i])
		if y.redis && ctx.Err() == nil && events[i].Except == "" && u.a.next == nil {
			u.deaf = true
			more, err = true, nil
		}
		if err != nil {
			return 0, false, err
		}
		n += ended
	}
	return n, more, nil
}

// shadow makes the base's row of a session that is to be spared, or makes it alive again in the base if it is there from
// before: it does not hear of activity, and needs no more than to be alive at this event.
func (u *unit) shadow(ctx context.Context, sid handstamp.SessionID) error {
	if sid == "" || u.shadowed[sid] {
		return nil
	}
	s, err := u.session(ctx, sid)
	if err != nil || s == nil {
		return err
	}
	sub, err := u.Subject(ctx, s.User)
	if err != nil {
		return err
	}
	err = u.Tx.PutSession(ctx, handstamp.Session{
		ID: sid, User: s.User, Mode: s.Mode, Transport: s.Transport, CreatedAt: s.CreatedAt, AuthAt: s.AuthAt, SeenAt: s.CreatedAt,
		ExpiresAt: s.ExpiresAt, Stamp: max(sub.Ended, sub.AllEnded), Version: u.a.shadows[sid],
	})
	if errors.Is(err, handstamp.ErrConflict) {
		// It was spared before. Its row's version can be read outside of the unit only.
		return u.restart(func(ctx context.Context) error {
			f, err := u.s.base.Sessions().Find(ctx, handstamp.Lookup{Session: sid})
			if err != nil && !errors.Is(err, handstamp.ErrNotFound) {
				return fmt.Errorf("look for a spared session in the base: %w", err)
			}
			u.a.shadows[sid] = f.Session.Version
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("write a spared session to the base: %w", err)
	}
	u.shadowed[sid] = true
	return nil
}

// trial is what events would do, with numbers that only have the right order.
type trial struct {
	u        *unit
	subjects map[handstamp.UserID]handstamp.Subject
	given    []revoke.Event // tried so far
	all      uint64         // the last all/end in this trial
	redis    bool           // the last error was one of reading sessions
}

// firstTried is beyond every number that a log gives before the trial is over.
const firstTried = 1 << 62

// remembered is for how long the log remembers an event that ends sessions which would live on: a Redis that comes back
// with records from before it, as after a failover or from a snapshot, can then be told. One that comes back older begins
// without sessions. Every process has all of the log in memory, so it cannot remember for as long as sessions live.
const remembered = 24 * time.Hour

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// event tries one event. It takes its exception away if the session is not alive, and says how many live sessions the
// event ends. It makes the log remember the event for as long as a session lives that it hits, and no longer than [remembered].
func (y *trial) event(ctx context.Context, e *revoke.Event) (int, error) {
	tried := *e
	tried.Seq = firstTried + uint64(len(y.given))
	defer func() {
		tried.Except = e.Except
		y.given = append(y.given, tried)
	}()
	user := handstamp.UserID(e.ID)
	if e.Kind != revoke.KindUser || e.Effect != revoke.End {
		e.Except = ""
	}
	if e.Except != "" {
		alive, err := y.alive(ctx, e.Except, user, e.At)
		if err != nil {
			return 0, err
		}
		if !alive {
			e.Except = ""
		}
	}
	hit, err := y.hit(ctx, *e)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, s := range hit {
		if until := earlier(s.ExpiresAt, e.At.Add(remembered)); e.Until.Before(until) {
			e.Until = until
		}
		if n > maxCounted || e.Effect != revoke.End {
			continue
		}
		live, err := y.counts(ctx, s, *e)
		if err != nil {
			return 0, err
		}
		n += live
	}
	return n, y.effect(ctx, *e, tried.Seq)
}

// alive says whether the event may spare the session.
func (y *trial) alive(ctx context.Context, sid handstamp.SessionID, user handstamp.UserID, at time.Time) (bool, error) {
	s, err := y.u.session(ctx, sid)
	if y.redis = err != nil; err != nil || s == nil || s.User != user {
		return false, err
	}
	sub, err := y.subject(ctx, user)
	if err != nil {
		return false, err
	}
	now, _ := after(*s, y.given)
	return handstamp.Live(now, sub, at), nil
}

// hit are the sessions that an event names.
func (y *trial) hit(ctx context.Context, e revoke.Event) ([]handstamp.Session, error) {
	var all []handstamp.Session
	var err error
	switch {
	case e.Kind == revoke.KindSession:
		var one *handstamp.Session
		if one, err = y.u.session(ctx, handstamp.SessionID(e.ID)); one != nil {
			all = []handstamp.Session{*one}
		}
	case e.Kind == revoke.KindUser && e.Effect == revoke.End:
		all, err = y.u.of(ctx, handstamp.UserID(e.ID))
	case e.Kind == revoke.KindAll && e.Effect == revoke.End:
		all, err = y.everyone(ctx)
	}
	y.redis = err != nil
	return all, err
}

// maxUsers is of how many users a unit looks at the rows itself to count whom an end of everybody ends.
const maxUsers = 16

// everyone are the sessions that an end of everybody may end. Where they are of many users the unit is done over after
// their rows were read outside of it: it would hold its locks, and theirs, for as long as that takes.
func (y *trial) everyone(ctx context.Context) ([]handstamp.Session, error) {
	a, s := y.u.a, y.u.s
	if !a.counted {
		var err error
		a.everyone, err = s.everyone(ctx, maxUsers, func(page []record) ([]record, error) {
			all := page[:0]
			for _, r := range page {
				sub, err := y.subject(ctx, r.User)
				if err != nil {
					return nil, err
				}
				now, _ := after(r.Session, slices.Concat(y.u.events, y.given)) // an event of this unit may have spared it
				if stands(now, sub) {
					all = append(all, r)
				}
			}
			return all, nil
		})
		if errors.Is(err, errMany) {
			return nil, y.u.restart(func(ctx context.Context) error { return s.countEveryone(ctx, a) })
		}
		if err != nil {
			return nil, err
		}
	}
	if a.uncounted {
		return nil, errUnknown
	}
	all := make([]handstamp.Session, 0, len(a.everyone))
	for _, r := range a.everyone {
		if _, mine := y.u.kept[r.ID]; !mine {
			now, _ := after(r.Session, y.u.events)
			all = append(all, now)
		}
	}
	for _, k := range y.u.kept {
		now, _ := after(k.put, y.u.events)
		all = append(all, now)
	}
	return all, nil
}

// counts is 1 if the event ends this session and it was alive. What counts is how the subject stood before the unit, but
// for the numbers: disabling a user ends the sessions that were alive until then.
func (y *trial) counts(ctx context.Context, s handstamp.Session, e revoke.Event) (int, error) {
	if s.ID == e.Except {
		return 0, nil
	}
	sub, err := y.subject(ctx, s.User)
	if err != nil {
		return 0, err
	}
	if before, ok := y.u.before[s.User]; ok {
		sub.Disabled, sub.Deleted = before.Disabled, before.Deleted
	}
	if now, _ := after(s, y.given); handstamp.Live(now, sub, e.At) {
		return 1, nil
	}
	return 0, nil
}

// effect does to the subjects of the trial what an event does.
func (y *trial) effect(ctx context.Context, e revoke.Event, seq uint64) error {
	switch {
	case e.Effect != revoke.End:
	case e.Kind == revoke.KindAll:
		y.all = seq
	case e.Kind == revoke.KindUser:
		sub, err := y.subject(ctx, handstamp.UserID(e.ID))
		if err != nil {
			return err
		}
		sub.Ended = seq
		y.subjects[sub.User] = sub
	}
	return nil
}

// subject is a row as the trial has left it. Those that only an end of everybody asks for were read before the unit:
// locking every user for a count would be worse than a count that is a moment old.
func (y *trial) subject(ctx context.Context, user handstamp.UserID) (handstamp.Subject, error) {
	sub, ok := y.subjects[user]
	if !ok {
		_, locked := y.u.before[user]
		read, known := y.u.a.subjects[user]
		if known && !locked {
			sub = read
		} else {
			var err error
			if sub, err = y.u.Subject(ctx, user); err != nil {
				return handstamp.Subject{}, err
			}
		}
		y.subjects[user] = sub
	}
	sub.AllEnded = max(sub.AllEnded, y.all)
	return sub, nil
}

// countEveryone reads everyone before a unit.
func (s *Store) countEveryone(ctx context.Context, a *attempt) error {
	a.counted, a.subjects = true, make(map[handstamp.UserID]handstamp.Subject)
	var err error
	a.everyone, err = s.everyone(ctx, maxCounted+1, func(page []record) ([]record, error) {
		if err := s.know(ctx, a.subjects, page); err != nil {
			return nil, err
		}
		all := page[:0]
		for _, r := range page {
			if stands(r.Session, a.subjects[r.User]) {
				all = append(all, r)
			}
		}
		return all, nil
	})
	if err != nil && ctx.Err() == nil {
		a.everyone, a.subjects, a.uncounted = nil, nil, true
		return nil
	}
	return err
}

// errMany says that sessions are of more users than are to be looked at.
var errMany = errors.New("redis: too many users")

// stands says that no end of its user or of everybody has hit a session.
func stands(s handstamp.Session, sub handstamp.Subject) bool {
	return s.Stamp >= max(sub.Ended, sub.AllEnded)
}

// everyone reads sessions that may be live, no more than are counted, and of no more users than are to be looked at. From
// each page standing takes those that no end has hit.
func (s *Store) everyone(ctx context.Context, users int, standing func(page []record) ([]record, error)) ([]record, error) {
	var all []record
	seen := make(map[handstamp.UserID]bool)
	for _, mode := range []string{"n", "a"} {
		for after := handstamp.SessionID(""); len(all) <= maxCounted; {
			l, err := s.many(ctx, "mode", mode, string(after), "1000")
			if err != nil {
				return nil, err
			}
			if l.ids == 0 {
				break
			}
			after = l.last()
			page := slices.DeleteFunc(l.found, func(r record) bool { return r.EndedBy != 0 })
			for _, r := range page {
				if seen[r.User] = true; len(seen) > users {
					return nil, errMany
				}
			}
			if page, err = standing(page); err != nil {
				return nil, err
			}
			all = append(all, page...)
		}
	}
	return all, nil
}
