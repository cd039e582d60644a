package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

// maxCounted is up to where Append counts exactly.
const maxCounted = 10_000

// jump is how far the numbers move when the log becomes another one: further than a lost tail of it can have counted.
const jump = 1 << 32

// Append numbers the events and writes their effects, one after the other.
func (t *tx) Append(ctx context.Context, events ...revoke.Event) (handstamp.Appended, error) {
	if err := t.open(ctx); err != nil {
		return handstamp.Appended{}, fmt.Errorf("append to the log: %w", err)
	}
	var a handstamp.Appended
	for _, e := range events {
		n := t.count(e)
		a.Events = append(a.Events, t.append(e))
		a.Sessions += n
	}
	if a.Sessions > maxCounted {
		a.Sessions, a.More = maxCounted, true
	}
	return a, nil
}

// append takes the next number for an event, keeps it and writes its effect.
func (t *tx) append(e revoke.Event) revoke.Event {
	e.Seq, e.Tag = t.meta.head+1, revoke.NewTag()
	if !t.spares(e) {
		e.Except = ""
	}
	t.meta.head, t.meta.tag = e.Seq, e.Tag
	t.events = append(t.events, e)
	switch {
	case e.Kind == revoke.KindSession:
		t.session(id.Session(e.ID), e)
	case e.Kind == revoke.KindUser:
		t.user(handstamp.UserID(e.ID), e)
	case e.Kind == revoke.KindAll && e.Effect == revoke.End:
		t.meta.allEnded, t.meta.allEndedAt = e.Seq, e.At
	case e.Kind == revoke.KindKey && e.Effect == revoke.End:
		t.signingKey(e)
	case e.Kind == revoke.KindServiceKey && e.Effect == revoke.End:
		t.serviceKey(id.ServiceKey(e.ID), e)
	}
	return e
}

// spares says whether the event names a session of its user that is alive before the event.
func (t *tx) spares(e revoke.Event) bool {
	s, ok := t.sessions.get(e.Except)
	u := handstamp.UserID(e.ID)
	return ok && e.Kind == revoke.KindUser && e.Effect == revoke.End && s.User == u && handstamp.Live(*s, t.subject(u), e.At)
}

func (t *tx) session(sid handstamp.SessionID, e revoke.Event) {
	if s, ok := t.sessions.get(sid); ok {
		if after, changed := sessionAfter(*s, e); changed {
			t.sessions.put(sid, &after)
		}
	}
}

// sessionAfter is what an event that names a session makes of its record. The version moves with it: a unit that read
// the record before must not write the number away.
func sessionAfter(s handstamp.Session, e revoke.Event) (handstamp.Session, bool) {
	switch {
	case e.Kind == revoke.KindSession && e.Effect == revoke.End && s.EndedBy == 0:
		s.EndedBy, s.EndedAt, s.EndReason = e.Seq, e.At, e.Reason
	case e.Kind == revoke.KindSession && e.Effect == revoke.Change && s.Changed < e.Seq:
		s.Changed = e.Seq
	case e.Kind == revoke.KindUser && e.Effect == revoke.End && s.Stamp < e.Seq:
		s.Stamp = e.Seq
	default:
		return s, false
	}
	s.Version++
	return s, true
}

func (t *tx) user(u handstamp.UserID, e revoke.Event) {
	row := handstamp.Subject{User: u}
	if kept, ok := t.subjects.get(u); ok {
		row = *kept
	}
	switch e.Effect {
	case revoke.End:
		row.Ended, row.EndedAt, row.EndReason = e.Seq, e.At, e.Reason
		if e.Except != "" {
			t.session(e.Except, e)
		}
	case revoke.Change:
		row.Changed = e.Seq
	}
	t.subjects.put(u, &row)
}

// signingKey keeps the revocation also of a key that the ring does not have: a token may name it all the same.
func (t *tx) signingKey(e revoke.Event) {
	if _, ended := t.endedKeys.get(e.ID); ended {
		return
	}
	t.endedKeys.put(e.ID, e.Seq)
	if k, ok := t.ring.get(e.ID); ok && k.RevokedBy == 0 {
		after := *k
		after.RevokedBy, after.RevokedAt, after.Reason = e.Seq, e.At, e.Reason
		after.Version++
		t.ring.put(e.ID, &after)
	}
}

func (t *tx) serviceKey(kid id.ServiceKey, e revoke.Event) {
	k, ok := t.serviceKeys.get(kid)
	if !ok || k.EndedBy != 0 {
		return
	}
	after := *k
	after.EndedBy, after.EndedAt, after.EndReason = e.Seq, e.At, e.Reason
	after.Version++
	t.serviceKeys.put(kid, &after)
}

// count says how many live sessions an event is about to end: at most one more than is counted exactly.
func (t *tx) count(e revoke.Event) int {
	if e.Effect != revoke.End {
		return 0
	}
	switch e.Kind {
	case revoke.KindSession:
		s, ok := t.sessions.get(id.Session(e.ID))
		if !ok {
			return 0
		}
		return t.countLive([]*handstamp.Session{s}, e.At)
	case revoke.KindUser:
		all := t.d.records.of(handstamp.UserID(e.ID), t.sessions.over)
		if t.spares(e) {
			all = slices.DeleteFunc(all, func(s *handstamp.Session) bool { return s.ID == e.Except })
		}
		return t.countLive(all, e.At)
	case revoke.KindAll:
		return t.countLive(t.d.records.every(t.sessions.over), e.At)
	default:
		return 0
	}
}

// countLive counts what was alive when the unit began, but for the numbers, which count as they are: a unit that
// disables a user and ends their sessions says how many it ended, and a session that two events hit counts once.
func (t *tx) countLive(all []*handstamp.Session, now time.Time) int {
	n := 0
	for _, s := range all {
		sub := t.subject(s.User)
		sub.Disabled, sub.Deleted = false, false
		if before, ok := t.d.subjects[s.User]; ok {
			sub.Disabled, sub.Deleted = before.Disabled, before.Deleted
		}
		if !handstamp.Live(*s, sub, now) {
			continue
		}
		if n++; n > maxCounted {
			break
		}
	}
	return n
}

// restart makes the log another one that has forgotten everything up to a number that the old one never gave.
func (t *tx) restart(now time.Time) {
	t.meta.restoredAt = now
	t.meta.log = newLogID()
	t.meta.head += jump
	t.meta.tag = revoke.NewTag()
	t.meta.low, t.meta.lowTag = t.meta.head, t.meta.tag
	t.events, t.restarted = nil, true
}
