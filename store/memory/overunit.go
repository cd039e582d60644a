package memory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
)

// errSpared says that the base did not spare a session that is alive: the unit must not stand, since the session's
// credentials would be taken for ended everywhere.
var errSpared = errors.New("memory: the base did not spare a session that is alive")

// overWork is one of the overlay's views for units.
type overWork[T any] struct {
	o  *Overlay
	as func(*overTx) T
}

// Do runs fn in a unit of the base. What it does to sessions reaches memory after the base has committed, before anybody
// else has the turn.
func (w overWork[T]) Do(ctx context.Context, fn func(tx T) error) error {
	if err := w.o.turn.take(ctx); err != nil {
		return fmt.Errorf("begin a unit of work: %w", err)
	}
	defer w.o.turn.give()
	if w.o.place.log == "" {
		if err := w.o.catchUp(ctx); err != nil { // the first record must not be older than the place
			return err
		}
	}
	var last *overTx
	err := w.o.base.LoginWork().Do(ctx, func(tx login.Tx) error {
		last = &overTx{
			Tx: tx, o: w.o, sessions: over(w.o.kept.sessions), values: over(w.o.kept.values),
			before: make(map[handstamp.UserID]handstamp.Subject),
		}
		defer func() { last.done = true }()
		return fn(w.as(last))
	})
	if err != nil {
		return err // also when the outcome is not known: what was ended all the same comes back with the log
	}
	w.o.commit(last)
	return nil
}

// commit writes to memory what the base has committed. The place moves only if nobody else's events lie between.
func (o *Overlay) commit(t *overTx) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept.write(t.sessions.over)
	o.kept.writeValues(t.values.over)
	for _, e := range t.events {
		if e.Seq == o.place.seq+1 {
			o.place.seq, o.place.tag = e.Seq, e.Tag
		}
	}
}

// overTx is the base's unit with the sessions taken out of it.
type overTx struct {
	login.Tx
	o        *Overlay
	done     bool
	sessions sessionLayer
	values   valueLayer
	before   map[handstamp.UserID]handstamp.Subject // as they were when the unit first looked
	shadows  map[handstamp.SessionID]bool           // spared in this unit before
	events   []revoke.Event
}

func (t *overTx) open(ctx context.Context) error {
	if t.done {
		return errOver
	}
	return ctx.Err()
}

// Subject reads and locks the base's row.
func (t *overTx) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	sub, err := t.Tx.Subject(ctx, u)
	if _, seen := t.before[u]; err == nil && !seen {
		t.before[u] = sub
	}
	return sub, err
}

// PutSubject writes the base's row, and remembers what was there.
func (t *overTx) PutSubject(ctx context.Context, s handstamp.Subject) error {
	if _, seen := t.before[s.User]; !seen {
		if _, err := t.Subject(ctx, s.User); err != nil {
			return err
		}
	}
	return t.Tx.PutSubject(ctx, s)
}

// PutSession keeps a record aside until the commit.
func (t *overTx) PutSession(ctx context.Context, s handstamp.Session) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("write a session: %w", err)
	}
	return putSession(&t.sessions, t.o.kept.keys, s)
}

// DeleteUser removes the account in the base, and the addresses in its sessions here.
func (t *overTx) DeleteUser(ctx context.Context, u handstamp.UserID) error {
	if err := t.Tx.DeleteUser(ctx, u); err != nil {
		return err
	}
	forgetAddresses(&t.o.kept, &t.sessions, u)
	return nil
}

// Oldest looks at the records here and at the subject in the base.
func (t *overTx) Oldest(
	ctx context.Context, u handstamp.UserID, now time.Time, keep int,
) ([]handstamp.SessionID, error) {
	sub, err := t.Subject(ctx, u)
	if err != nil {
		return nil, err
	}
	return oldest(t.o.kept.of(u, t.sessions.over), sub, now, keep), nil
}

// Append appends in the base. What the events do to sessions is tried first, since it decides whom they spare and how
// many they end, and done with the numbers that the base gave.
func (t *overTx) Append(ctx context.Context, events ...revoke.Event) (handstamp.Appended, error) {
	if err := t.open(ctx); err != nil {
		return handstamp.Appended{}, fmt.Errorf("append to the log: %w", err)
	}
	try := trial{t: t, subjects: make(map[handstamp.UserID]handstamp.Subject)}
	try.sessions = sessionLayer{under: t.sessions.under, over: maps.Clone(t.sessions.over)}
	n, events := 0, slices.Clone(events)
	for i := range events {
		ended, err := try.event(ctx, &events[i])
		if err != nil {
			return handstamp.Appended{}, fmt.Errorf("append to the log: %w", err)
		}
		n += ended
	}
	for _, e := range events {
		if err := t.shadow(ctx, e.Except); err != nil {
			return handstamp.Appended{}, fmt.Errorf("append to the log: %w", err)
		}
	}
	a, err := t.Tx.Append(ctx, events...)
	if err != nil {
		return handstamp.Appended{}, err
	}
	for i, e := range a.Events {
		if e.Except != events[i].Except {
			return handstamp.Appended{}, errSpared
		}
		hit(&t.sessions, e)
	}
	t.events = append(t.events, a.Events...)
	a.Sessions, a.More = min(n, maxCounted), n > maxCounted
	return a, nil
}

// shadow makes the base's row of a session that is to be spared, or makes it alive again in the base if it is there
// from before: it does not hear of activity, and needs no more than to be alive at this event.
func (t *overTx) shadow(ctx context.Context, sid handstamp.SessionID) error {
	if sid == "" || t.shadows[sid] {
		return nil
	}
	s, _ := t.sessions.get(sid)
	sub, err := t.Subject(ctx, s.User)
	if err != nil {
		return err
	}
	row := handstamp.Session{
		ID: sid, User: s.User, Mode: s.Mode, Transport: s.Transport, CreatedAt: s.CreatedAt, AuthAt: s.AuthAt, SeenAt: s.CreatedAt,
		ExpiresAt: s.ExpiresAt, Stamp: max(sub.Ended, sub.AllEnded),
	}
	f, err := t.o.base.Sessions().Find(ctx, handstamp.Lookup{Session: sid})
	switch {
	case err == nil:
		row.Version = f.Session.Version // nobody else writes it: this process has the turn
	case !errors.Is(err, handstamp.ErrNotFound):
		return fmt.Errorf("look for a spared session in the base: %w", err)
	}
	if err := t.Tx.PutSession(ctx, row); err != nil {
		return fmt.Errorf("write a spared session to the base: %w", err)
	}
	if t.shadows == nil {
		t.shadows = make(map[handstamp.SessionID]bool)
	}
	t.shadows[sid] = true
	return nil
}

// trial is what events would do, with numbers that only have the right order.
type trial struct {
	t        *overTx
	sessions sessionLayer
	subjects map[handstamp.UserID]handstamp.Subject
	all      uint64 // the last all/end in this trial
	given    uint64 // numbers given so far
}

// tried is beyond every number that a log gives before the trial is over.
const tried = 1 << 62

// event tries one event. It takes its exception away if the session is not alive, and says how many live sessions the
// event ends.
func (y *trial) event(ctx context.Context, e *revoke.Event) (int, error) {
	y.given++
	e.Seq = tried + y.given
	defer func() { e.Seq = 0 }()
	u := handstamp.UserID(e.ID)
	spared, ok := y.sessions.get(e.Except)
	if !ok || e.Kind != revoke.KindUser || e.Effect != revoke.End || spared.User != u {
		e.Except = ""
	}
	if e.Except != "" {
		sub, err := y.subject(ctx, u)
		if err != nil {
			return 0, err
		}
		if !handstamp.Live(*spared, sub, e.At) {
			e.Except = ""
		}
	}
	n, err := y.count(ctx, *e)
	if err != nil {
		return 0, err
	}
	hit(&y.sessions, *e)
	switch {
	case e.Effect != revoke.End:
	case e.Kind == revoke.KindAll:
		y.all = e.Seq
	case e.Kind == revoke.KindUser:
		sub, err := y.subject(ctx, u)
		if err != nil {
			return 0, err
		}
		sub.Ended = e.Seq
		y.subjects[u] = sub
	}
	return n, nil
}

// subject is a row as the trial has left it. Rows that the unit has not locked are read outside of it: only an end of
// everybody asks for them, and locking every user for a count would be worse than a count that is a moment old.
func (y *trial) subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	sub, ok := y.subjects[u]
	if !ok {
		var err error
		if _, locked := y.t.before[u]; locked {
			sub, err = y.t.Tx.Subject(ctx, u)
		} else {
			sub, err = y.t.o.base.Sessions().Subject(ctx, u)
		}
		if err != nil {
			return handstamp.Subject{}, err
		}
		y.subjects[u] = sub
	}
	sub.AllEnded = max(sub.AllEnded, y.all)
	return sub, nil
}

func (y *trial) count(ctx context.Context, e revoke.Event) (int, error) {
	if e.Effect != revoke.End {
		return 0, nil
	}
	var all []*handstamp.Session
	switch e.Kind {
	case revoke.KindSession:
		if s, ok := y.sessions.get(id.Session(e.ID)); ok {
			all = []*handstamp.Session{s}
		}
	case revoke.KindUser:
		all = y.t.o.kept.of(handstamp.UserID(e.ID), y.sessions.over)
	case revoke.KindAll:
		all = y.t.o.kept.every(y.sessions.over)
	}
	n := 0
	for _, s := range all {
		if n > maxCounted {
			break
		}
		sub, err := y.subject(ctx, s.User)
		if err != nil {
			return 0, err
		}
		if before, ok := y.t.before[s.User]; ok { // as in countLive
			sub.Disabled, sub.Deleted = before.Disabled, before.Deleted
		}
		if s.ID != e.Except && handstamp.Live(*s, sub, e.At) {
			n++
		}
	}
	return n, nil
}
