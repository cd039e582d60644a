package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
)

// step is where a test may stop a unit, as a crash does.
func (s *Store) step(u *unit, name string) error {
	if s.steps == nil {
		return nil
	}
	err := s.steps(name)
	u.a.crashed = err != nil
	return err
}

// finish writes to Redis what the base has committed, whether or not the caller still waits for it.
func (s *Store) finish(ctx context.Context, u *unit) error {
	if len(u.kept)+len(u.carries)+len(u.events)+len(u.gone) == 0 {
		return nil
	}
	if err := s.step(u, "committed"); err != nil {
		return err
	}
	if len(u.kept)+len(u.carries)+len(u.gone) == 0 {
		s.tell(ctx, u)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.finishTime(ctx))
	defer cancel()
	if err := s.writeUnit(ctx, u); err != nil {
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
	if err := s.step(u, "written"); err != nil {
		return err
	}
	for _, user := range u.gone {
		if err := s.forgetAddresses(ctx, user); err != nil {
			return fmt.Errorf("%w: %w", errUnknown, err)
		}
	}
	return s.stillStands(ctx, u)
}

// leastFinish is what Redis gets for its part of a unit when the caller's time is up. With the half second that the commit had
// beyond it the answer still comes within 3 s.
const leastFinish = 100 * time.Millisecond

// finishTime is how long Redis may take for its part: two calls, or what the caller has left, if that is less.
func (s *Store) finishTime(ctx context.Context) time.Duration {
	most := 2 * s.c.timeout
	if by, ok := ctx.Deadline(); ok {
		most = min(most, max(time.Until(by), leastFinish))
	}
	return most
}

// tellTimeout is how long the end of something waits for Redis after its commit.
const tellTimeout = 250 * time.Millisecond

// tell writes to Redis what events do to records. An end is an end once the log has it: if Redis does not answer, whoever
// reads next brings the records along.
func (s *Store) tell(ctx context.Context, u *unit) {
	if u.deaf {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(tellTimeout, s.c.timeout))
	defer cancel()
	for range maxTries {
		if written, err := s.tryUnit(ctx, u); written || err != nil {
			return
		}
	}
}

// writeUnit does it in one script, over and over until no record has moved between the look and the write, and until
// there is an answer: what is written is found to be written.
func (s *Store) writeUnit(ctx context.Context, u *unit) error {
	for try := 0; ; try++ {
		written, err := s.tryUnit(ctx, u)
		if written || errors.Is(err, errLost) || errors.Is(err, errAnswer) || errors.Is(err, errRecord) {
			return err
		}
		if err == nil && try >= maxTries {
			err = errMoving
		}
		if ctx.Err() != nil || try >= maxTries {
			return err
		}
		if err != nil && pause(ctx, pauses(try)) != nil {
			return err
		}
	}
}

// tryUnit reports whether everything is written.
func (s *Store) tryUnit(ctx context.Context, u *unit) (bool, error) {
	l, err := s.records(ctx, u.ids())
	if err != nil {
		return false, err
	}
	if l.at.blank() {
		// Without sessions of its own there is nothing that could have heard of it.
		return len(u.kept) == 0, s.catchUp(ctx, 1)
	}
	w := s.c.write(l.at.age)
	w.claimed(u.a.token)
	if err := u.plan(w, &l); err != nil {
		return false, err
	}
	if err := s.step(u, "planned"); err != nil {
		return false, err
	}
	status, err := w.run(ctx)
	return status == done, err
}

// ids are the sessions that the unit has to do with.
func (u *unit) ids() []handstamp.SessionID {
	ids := named(u.events)
	for sid := range u.kept {
		ids = append(ids, sid)
	}
	for _, c := range u.carries {
		ids = append(ids, c.From, c.To)
	}
	return ids
}

// errLost says that Redis lost a session while a unit was about to write it.
var errLost = errors.New("redis: a session is gone")

// plan is what becomes of the records as they are now.
func (u *unit) plan(w *write, l *listing) error {
	put := map[handstamp.SessionID]bool{}
	for sid, k := range u.kept {
		now, there := l.byID(sid)
		var next handstamp.Session
		switch {
		case k.was.mark == "" && there, there && k.written(now):
			continue // by a try whose answer was lost
		case k.was.mark != "" && !there:
			return errLost
		case now.EndedBy != 0:
			next = now.Session // a tombstone is never replaced
		default:
			next = k.over(now)
		}
		next, _ = after(next, u.events)
		w.put(now, next)
		put[sid] = true
	}
	for _, now := range l.found {
		if _, mine := u.kept[now.ID]; mine {
			continue
		}
		if next, changed := now.after(u.events); changed {
			w.put(now, next)
			put[now.ID] = true
		}
	}
	for _, c := range u.carries {
		// Of two logins that both take a visitor's values along, the one whose end came first has them.
		from, there := l.byID(c.From)
		if _, mine := u.kept[c.From]; !there && !mine || from.EndedBy != 0 && !u.ends(from.EndedBy) {
			continue
		}
		if there && !put[c.From] {
			w.require(from)
		}
		w.carry(c)
	}
	w.events(u.events, "")
	return nil
}

// ends says whether an event is one of this unit.
func (u *unit) ends(seq uint64) bool {
	return len(u.events) > 0 && u.events[0].Seq <= seq && seq <= u.events[len(u.events)-1].Seq
}

// written says whether the record has the secrets that this unit gave it: nobody else has them.
func (k *kept) written(now record) bool {
	key := k.put.Key != k.was.Key && k.put.Key.Equal(now.Key)
	return key || k.put.Refresh.Nonce != k.was.Refresh.Nonce && k.put.Refresh.Nonce.Equal(now.Refresh.Nonce)
}

// over is what is put, over the record as it is now. It is another one than was claimed only by events and activity, or
// if the claim has run out.
func (k *kept) over(now record) handstamp.Session {
	next := k.put
	next.SeenAt = later(next.SeenAt, now.SeenAt)
	next.Stamp, next.Changed = max(next.Stamp, now.Stamp), max(next.Changed, now.Changed)
	next.Version = max(next.Version, now.Version+1)
	return next
}

// forgetAddresses takes what tells where a user was and with what out of the records of their sessions, tombstones too:
// those stay after the account, until their absolute end. The version moves, so that nobody writes it back.
func (s *Store) forgetAddresses(ctx context.Context, user handstamp.UserID) error {
	for range maxTries {
		again := false
		for last := handstamp.SessionID(""); ; {
			l, err := s.many(ctx, "user", string(user), string(last), "500")
			if err != nil {
				return err
			}
			if l.ids == 0 {
				break
			}
			last = l.last()
			w := s.c.write(l.at.age)
			w.each()
			for _, r := range l.found {
				next := r.Session
				next.IP, next.UserAgent, next.Refresh.IP, next.Refresh.UserAgent = "", "", "", ""
				if next.IP != r.IP || next.UserAgent != r.UserAgent || next.Refresh.IP != r.Refresh.IP || next.Refresh.UserAgent != r.Refresh.UserAgent {
					next.Version++
					w.put(r, next)
				}
			}
			status, err := w.run(ctx)
			if err != nil {
				return err
			}
			again = again || status != done || len(w.passed) > 0
		}
		if !again {
			return nil
		}
	}
	return errMoving
}

// stillStands reads the subjects of sessions that the unit began once more. What was ended between the unit's commit and
// here ends them too, so they are taken away, and the login is told to begin again.
func (s *Store) stillStands(ctx context.Context, u *unit) error {
	for sid, k := range u.kept {
		before, locked := u.before[k.put.User]
		if k.was.mark != "" || !locked || k.put.IsAnonymous() {
			continue
		}
		for _, e := range u.events {
			if e.Kind == "user" && e.Effect == "end" && e.ID == string(k.put.User) {
				before.Ended = max(before.Ended, e.Seq)
			}
			if e.Kind == "all" && e.Effect == "end" {
				before.AllEnded = max(before.AllEnded, e.Seq)
			}
		}
		begun, _ := after(k.put, u.events)
		sub, err := s.base.Sessions().Subject(ctx, k.put.User)
		if err != nil {
			return nil // whoever looks at the session reads it too
		}
		if !handstamp.Standing(begun, before, begun.CreatedAt) || handstamp.Standing(begun, sub, begun.CreatedAt) {
			continue
		}
		s.takeAway(ctx, sid)
		return handstamp.ErrProofOutdated
	}
	return nil
}

// takeAway deletes a session that nobody has heard of. If it cannot, the session is over all the same.
func (s *Store) takeAway(ctx context.Context, sid handstamp.SessionID) {
	l, err := s.records(ctx, []handstamp.SessionID{sid})
	if err != nil {
		return
	}
	w := s.c.write(l.at.age)
	for _, r := range slices.All(l.found) {
		w.delete(r)
	}
	_, _ = w.run(ctx)
}
