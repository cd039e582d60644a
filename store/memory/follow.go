package memory

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// overLog is the base's log. The answers to those who follow it take the records along, so that a read nearly always
// finds them where the head is.
type overLog struct {
	revoke.Log
	o *Overlay
}

// Renew renews in the base and applies to the records what came with the answer.
func (l overLog) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	a, err := l.Log.Renew(ctx, r)
	if err != nil || len(a.Events) == 0 {
		return a, err
	}
	if err := l.o.apply(ctx, a.Events, a.Head.Log); err != nil {
		return revoke.Answer{}, err
	}
	return a, nil
}

// Apply does to the session records what events of the base's log say of them. Whoever follows the base's log by
// another way than [Overlay.Log] calls it with what it reads; the rest of this package needs no help. Events may come
// twice and ahead of their turn.
func (o *Overlay) Apply(events []revoke.Event) {
	// Nothing but the context can fail here.
	_ = o.apply(context.Background(), events, "")
}

// apply moves the place along if the events are of the log of that id and follow on it. Events that are ahead of their
// turn act at once and leave the place: what is missing between may name the same sessions.
func (o *Overlay) apply(ctx context.Context, events []revoke.Event, log string) error {
	o.mu.RLock()
	at := o.place
	o.mu.RUnlock()
	if len(events) == 0 || log == at.log && events[len(events)-1].Seq <= at.seq {
		return nil
	}
	if err := o.turn.take(ctx); err != nil {
		return fmt.Errorf("apply events to sessions: %w", err)
	}
	defer o.turn.give()
	o.hear(events, log)
	return nil
}

// hear is apply for who has the turn.
func (o *Overlay) hear(events []revoke.Event, log string) {
	l := over(o.kept.sessions)
	at := o.place
	for _, e := range events {
		hit(&l, e)
		withoutSecrets(&l, o.kept.sessions, e)
		if log != "" && log == at.log && e.Seq == at.seq+1 {
			at.seq, at.tag = e.Seq, e.Tag
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept.write(l.over)
	o.place = at
}

// hit writes an event's effect on the session that it names, if there is one here.
func hit(l *sessionLayer, e revoke.Event) {
	sid := id.Session(e.ID)
	switch {
	case e.Kind == revoke.KindUser && e.Effect == revoke.End && e.Except != "":
		sid = e.Except
	case e.Kind != revoke.KindSession:
		return
	}
	if s, ok := l.get(sid); ok && (e.Kind == revoke.KindSession || s.User == handstamp.UserID(e.ID)) {
		if after, changed := sessionAfter(*s, e); changed {
			l.put(sid, &after)
		}
	}
}

// withoutSecrets takes the secrets out of a record that hears from the log that its session was given new ones: they were
// in a unit that was committed without its process hearing so, and are nowhere. The old ones must not live on, since
// somebody changed a password to be rid of who has them. The session's user logs in again.
func withoutSecrets(l *sessionLayer, before map[handstamp.SessionID]*handstamp.Session, e revoke.Event) {
	sid := id.Session(e.ID)
	was, s := before[sid], l.over[sid].value
	if e.Kind == revoke.KindSession && was != nil && s != nil && s.Changed > was.Changed {
		after := *s
		after.Key, after.Refresh.Nonce = token.Hash{}, token.Hash{}
		l.put(sid, &after)
	}
}

// write puts records for who has the turn.
func (o *Overlay) write(changed map[handstamp.SessionID]change[*handstamp.Session]) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept.write(changed)
}

// follow waits until the records have gone beyond a place: by the unit whose commit has not reached memory yet, or by
// reading the log.
func (o *Overlay) follow(ctx context.Context, from place) error {
	o.mu.RLock()
	moved := o.place != from
	o.mu.RUnlock()
	if moved {
		return nil
	}
	if err := o.turn.take(ctx); err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	defer o.turn.give()
	if o.place != from {
		return nil
	}
	return o.catchUp(ctx)
}

// look returns the record that pick finds and its subject at one number of the log; see [Overlay]. pick is called under a
// lock, perhaps more than once.
func (o *Overlay) look(ctx context.Context, pick func() *handstamp.Session) (*handstamp.Session, handstamp.Subject, error) {
	for range maxReads {
		o.mu.RLock()
		kept, at := pick(), o.place
		o.mu.RUnlock()
		if kept == nil {
			return nil, handstamp.Subject{}, handstamp.ErrNotFound
		}
		sub, err := o.base.Sessions().Subject(ctx, kept.User)
		if err != nil {
			return nil, handstamp.Subject{}, fmt.Errorf("read the subject of a session: %w", err)
		}
		if sub.Head == at.seq {
			return kept, sub, nil
		}
		if err := o.follow(ctx, at); err != nil {
			return nil, handstamp.Subject{}, err
		}
	}
	return o.lookInTurn(ctx, pick)
}

// lookInTurn is look where units of this process come so fast that a read beside them never meets the head.
func (o *Overlay) lookInTurn(
	ctx context.Context, pick func() *handstamp.Session,
) (*handstamp.Session, handstamp.Subject, error) {
	if err := o.turn.take(ctx); err != nil {
		return nil, handstamp.Subject{}, fmt.Errorf("look a session up: %w", err)
	}
	defer o.turn.give()
	kept, sub, err := o.picked(ctx, pick)
	if err == nil && kept == nil {
		err = handstamp.ErrNotFound
	}
	return kept, sub, err
}

// fresh returns a record and its subject at one number of the log, for who has the turn. No record is nil and no error.
func (o *Overlay) fresh(ctx context.Context, sid handstamp.SessionID) (*handstamp.Session, handstamp.Subject, error) {
	return o.picked(ctx, func() *handstamp.Session { return o.kept.sessions[sid] })
}

func (o *Overlay) picked(ctx context.Context, pick func() *handstamp.Session) (*handstamp.Session, handstamp.Subject, error) {
	for range maxFollows {
		s := pick()
		if s == nil {
			return nil, handstamp.Subject{}, nil
		}
		sub, err := o.base.Sessions().Subject(ctx, s.User)
		if err != nil {
			return nil, handstamp.Subject{}, fmt.Errorf("read the subject of a session: %w", err)
		}
		if sub.Head == o.place.seq {
			return s, sub, nil
		}
		if err := o.catchUp(ctx); err != nil {
			return nil, handstamp.Subject{}, err
		}
	}
	return nil, handstamp.Subject{}, errMoving
}

// freshAll is fresh for several records, whose subjects are read at once. Those that are not there are left out.
func (o *Overlay) freshAll(
	ctx context.Context, ids []handstamp.SessionID,
) ([]*handstamp.Session, map[handstamp.UserID]handstamp.Subject, error) {
	for range maxFollows {
		var all []*handstamp.Session
		for _, sid := range ids {
			if s := o.kept.sessions[sid]; s != nil {
				all = append(all, s)
			}
		}
		if len(all) == 0 {
			return nil, nil, nil
		}
		subjects, head, err := o.subjectsOf(ctx, all)
		if err != nil {
			return nil, nil, err
		}
		if head == o.place.seq {
			return all, subjects, nil
		}
		if err := o.catchUp(ctx); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, errMoving
}

// subjectsOf reads the subjects of some sessions at once, and says at which number of the log that was.
func (o *Overlay) subjectsOf(ctx context.Context, all []*handstamp.Session) (map[handstamp.UserID]handstamp.Subject, uint64, error) {
	subjects := make(map[handstamp.UserID]handstamp.Subject)
	for _, s := range all {
		subjects[s.User] = handstamp.Subject{}
	}
	rows, err := o.base.Subjects(ctx, slices.Collect(maps.Keys(subjects)))
	if err != nil {
		return nil, 0, fmt.Errorf("read the subjects of sessions: %w", err)
	}
	head := uint64(0)
	for _, sub := range rows {
		subjects[sub.User], head = sub, sub.Head
	}
	return subjects, head, nil
}

// catchUp reads the log from the place to its head, for who has the turn. To be told events a reader must be
// registered; it is for the moment only, and acknowledges nothing beyond the place it comes from. If the log does not
// know the place, the records cannot know what they have missed: they are dropped, which is no more than their promise.
func (o *Overlay) catchUp(ctx context.Context) (err error) {
	log, now := o.base.Log(), time.Now()
	me := revoke.Registration{
		Verifier: id.NewVerifier(now), Applied: o.place.seq, RegisteredAt: now.UTC().Truncate(time.Microsecond),
		Name: "sessions in memory",
	}
	h, err := log.Register(ctx, me)
	if err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	defer func() {
		// A registration that stays would make waiters wait for it, so it goes also when the caller has given up, who is
		// not kept waiting for that.
		removed := make(chan error, 1)
		go func() { removed <- log.Remove(context.WithoutCancel(ctx), math.MaxInt64, me.Verifier) }()
		gone := error(nil)
		select {
		case gone = <-removed:
		case <-ctx.Done():
			gone = ctx.Err()
		}
		if err == nil && gone != nil {
			err = fmt.Errorf("follow the log: %w", gone)
		}
	}()
	if o.place.log == "" {
		o.start(h) // there are no records yet that could have missed anything
		return nil
	}
	for {
		a, err := log.Renew(ctx, revoke.Renewal{
			Verifier: me.Verifier, Log: o.place.log, Applied: o.place.seq, Tag: o.place.tag, Limit: maxEvents,
		})
		if err != nil {
			return fmt.Errorf("follow the log: %w", err)
		}
		if a.Reset {
			o.start(a.Head)
			return nil
		}
		o.hear(a.Events, a.Head.Log)
		if !a.More {
			return nil
		}
	}
}

// start begins at a head without any records.
func (o *Overlay) start(h revoke.Head) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept, o.place = newRecords(), place{h.Log, h.Seq, h.Tag}
}
