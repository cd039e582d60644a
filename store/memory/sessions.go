package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/permission"
)

// maxListed is the largest page of sessions.
const maxListed = 10_001

// sessions is the view for reads and single statements.
type sessions struct{ s *Store }

// Find reads one snapshot. What it copies out of it, it copies after it let go of the lock: the values behind the
// pointers never change.
func (v sessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	if err := ctx.Err(); err != nil {
		return handstamp.Found{}, fmt.Errorf("find a credential: %w", err)
	}
	if !l.ServiceKey.IsZero() {
		return v.findServiceKey(l)
	}
	d := v.s.data
	v.s.mu.RLock()
	kept := d.records.find(l)
	if kept == nil {
		v.s.mu.RUnlock()
		return handstamp.Found{}, handstamp.ErrNotFound
	}
	row, m := d.subjects[kept.User], d.meta
	ended := d.endedKeys[l.SigningKey]
	roles := definitions(d.table, row)
	v.s.mu.RUnlock()
	return handstamp.Found{
		Session:         ownedSession(*kept),
		Subject:         ownedSubject(subjectOf(kept.User, row, m)),
		Roles:           roles,
		SigningKeyEnded: ended,
	}, nil
}

// find looks a record up by key or id. Absence matches nothing: a zero key is the key of no session.
func (r *records) find(l handstamp.Lookup) *handstamp.Session {
	sid := l.Session
	if !l.Key.IsZero() {
		sid = r.keys[l.Key]
	}
	return r.sessions[sid]
}

// definitions picks the roles of one subject. It never is nil: that would say that the store keeps no roles.
func definitions(t permission.Table, row *handstamp.Subject) permission.Table {
	some := permission.Table{}
	if row == nil {
		return some
	}
	for _, n := range row.Grants.Roles {
		if set, ok := t[n]; ok {
			some[n] = set
		}
	}
	return some
}

func (v sessions) findServiceKey(l handstamp.Lookup) (handstamp.Found, error) {
	d := v.s.data
	v.s.mu.RLock()
	kid, found := d.keyHashes[l.ServiceKey]
	k, m, ended := d.serviceKeys[kid], d.meta, d.endedKeys[l.SigningKey]
	v.s.mu.RUnlock()
	if !found {
		return handstamp.Found{}, handstamp.ErrNotFound
	}
	return handstamp.Found{ServiceKey: ownedKey(*k), Subject: subjectOf("", nil, m), SigningKeyEnded: ended}, nil
}

// Subject reads a row.
func (v sessions) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	if err := ctx.Err(); err != nil {
		return handstamp.Subject{}, fmt.Errorf("read a subject: %w", err)
	}
	v.s.mu.RLock()
	sub := subjectOf(u, v.s.data.subjects[u], v.s.data.meta)
	v.s.mu.RUnlock()
	return ownedSubject(sub), nil
}

// Subjects reads rows of several users in one snapshot, in their order.
func (s *Store) Subjects(ctx context.Context, users []handstamp.UserID) ([]handstamp.Subject, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read subjects: %w", err)
	}
	all := make([]handstamp.Subject, len(users))
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i, u := range users {
		all[i] = ownedSubject(subjectOf(u, s.data.subjects[u], s.data.meta))
	}
	return all, nil
}

// List returns live sessions, newest first.
func (v sessions) List(ctx context.Context, f handstamp.SessionFilter) ([]handstamp.Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	d := v.s.data
	return d.records.list(f, func(u handstamp.UserID) handstamp.Subject {
		return subjectOf(u, d.subjects[u], d.meta)
	}), nil
}

// list walks from the newest id before f.After to the oldest.
func (r *records) list(f handstamp.SessionFilter, subject func(handstamp.UserID) handstamp.Subject) []handstamp.Session {
	ids, limit := r.before(f.User, f.After), f.Limit
	if limit < 1 || limit > maxListed {
		limit = maxListed
	}
	page := make([]handstamp.Session, 0, min(limit, len(ids)))
	for _, sid := range slices.Backward(ids) {
		if len(page) == limit {
			break
		}
		if s := r.sessions[sid]; listed(f, s) && handstamp.Live(*s, subject(s.User), f.Now) {
			page = append(page, ownedSession(*s))
		}
	}
	return page
}

// listed says whether a list is of sessions like this one: those without a user are in no list of all users.
func listed(f handstamp.SessionFilter, s *handstamp.Session) bool {
	return f.User != "" || s.Mode != handstamp.ModeAnonymous
}

// before returns the ids of a user's sessions, or of all, that are older than one, in ascending order.
func (r *records) before(u handstamp.UserID, after handstamp.SessionID) []handstamp.SessionID {
	ids := r.ids
	if u != "" {
		ids = r.ofUser[u]
	}
	if after == "" {
		return ids
	}
	at, _ := slices.BinarySearch(ids, after)
	return ids[:at]
}

// newest returns the next records of a list, newest first: few enough to be copied under a lock.
func (r *records) newest(u handstamp.UserID, after handstamp.SessionID) []*handstamp.Session {
	ids := r.before(u, after)
	ids = ids[max(0, len(ids)-256):]
	page := make([]*handstamp.Session, 0, len(ids))
	for _, sid := range slices.Backward(ids) {
		page = append(page, r.sessions[sid])
	}
	return page
}

// Rotate is one unit of its own.
func (v sessions) Rotate(
	ctx context.Context, sid handstamp.SessionID, from uint32, r handstamp.Rotation,
) (handstamp.Found, error) {
	var f handstamp.Found
	err := v.s.do(ctx, func(t *tx) error {
		kept, ok := t.sessions.get(sid)
		if !ok {
			return handstamp.ErrConflict
		}
		sub := t.subject(kept.User)
		f = handstamp.Found{Session: *kept, Subject: ownedSubject(sub), Roles: definitions(t.d.table, &sub)}
		if !r.Moves(f, from) {
			return handstamp.ErrConflict
		}
		after := rotated(*kept, r)
		t.sessions.put(sid, &after)
		f.Session = ownedSession(after)
		return nil
	})
	return f, err
}

// rotated is the record after a refresh. The version moves: whoever read the record before and writes it back would
// write the spent generation back with it.
func rotated(s handstamp.Session, r handstamp.Rotation) handstamp.Session {
	s.Refresh = r.Family
	s.SeenAt = later(s.SeenAt, r.SeenAt)
	s.Claims = slices.Clone(r.Claims)
	s.Version++
	return s
}

// Touch moves SeenAt of live sessions forward, and nothing else.
func (v sessions) Touch(ctx context.Context, seen map[handstamp.SessionID]time.Time) error {
	return v.s.do(ctx, func(t *tx) error {
		for sid, at := range seen {
			s, ok := t.sessions.get(sid)
			if ok && s.SeenAt.Before(at) && handstamp.Standing(*s, t.subject(s.User), at) {
				after := *s
				after.SeenAt = at
				t.sessions.put(sid, &after)
			}
		}
		return nil
	})
}

// Sweep deletes what has run out, sessions first.
func (v sessions) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	n := 0
	err := v.s.do(ctx, func(t *tx) error {
		n = t.d.records.sweep(&t.sessions, now, limit)
		n += t.sweepValues(now, limit-n)
		for k, c := range t.d.counters {
			if n >= limit {
				return nil
			}
			if c.ExpiresAt.Before(now) {
				t.counters.drop(k)
				n++
			}
		}
		for h, o := range t.d.oneTimes {
			if n >= limit {
				return nil
			}
			if o.ExpiresAt.Before(now) {
				t.oneTimes.drop(h)
				n++
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// sweep drops records that nothing can bring back, oldest first: those ran out first, nearly always.
func (r *records) sweep(l *sessionLayer, now time.Time, limit int) int {
	n := 0
	for _, sid := range r.ids {
		if n >= limit {
			break
		}
		if handstamp.Swept(*r.sessions[sid], now) {
			l.drop(sid)
			n++
		}
	}
	return n
}
