package tiered

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
)

// sessions is the database's view, with look-ups that a copy may answer taken out of it.
type sessions struct {
	handstamp.Sessions
	s *Store
}

// Find answers from the tier if a copy will do and there is a good one. Otherwise the database answers, and if a copy would
// have done, its answer is kept.
func (v sessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	key, ours := keyOf(l)
	log := v.s.log.Load()
	if !ours || log == nil {
		return v.Sessions.Find(ctx, l)
	}
	if f, ok := v.s.find(ctx, key, *log); ok {
		return f, nil
	}
	// The log's id is from before the read: an answer of a newer log is kept under the old id, where nobody finds it.
	f, err := v.Sessions.Find(ctx, l)
	if err == nil {
		v.s.keep(ctx, key, *log, f)
	}
	return f, err
}

// keyOf is what a copy is found by; false if the tier does not answer such a question.
func keyOf(l handstamp.Lookup) (string, bool) {
	switch {
	case !l.Copy || l.SigningKey != "":
		return "", false
	case !l.Key.IsZero():
		return "r" + hex.EncodeToString(l.Key[:]), true
	case !l.ServiceKey.IsZero():
		return "p" + hex.EncodeToString(l.ServiceKey[:]), true
	default:
		return "", false // by id only the record is asked for
	}
}

// find looks into the tier.
func (s *Store) find(ctx context.Context, key, log string) (handstamp.Found, bool) {
	var b []byte
	if !s.call(ctx, func(ctx context.Context) (err error) {
		b, err = s.cache.Get(ctx, key)
		return err
	}) {
		return handstamp.Found{}, false
	}
	if b == nil {
		s.misses.Add(1)
		return handstamp.Found{}, false
	}
	f, of, err := s.seal.open(key, b)
	if err != nil || of != log || s.outOfDate(f) {
		s.stale.Add(1)
		return handstamp.Found{}, false
	}
	s.hits.Add(1)
	f.Copy = true
	return f, true
}

// outOfDate says whether something that this process heard of happened to a copy. Whoever asked would find out too, and ask
// the database then; but the copy would stay as it is.
func (s *Store) outOfDate(f handstamp.Found) bool {
	asOf := f.Subject.Head
	hit := s.events.Hit(revoke.Query{Session: f.Session.ID, User: f.Session.User, ServiceKey: f.ServiceKey.ID, AsOf: asOf})
	return hit != (revoke.Hit{}) || asOf < s.low.Load() || s.events.RolesChanged(f.Subject.Grants.Roles, asOf)
}

// longest is for how long a copy is kept at most, however long its session lives.
const longest = time.Hour

// keep puts the database's answer into the tier, if it could be a yes.
func (s *Store) keep(ctx context.Context, key, log string, f handstamp.Found) {
	owner, ends := string(f.Session.ID), f.Session.ExpiresAt
	version := f.Session.Version
	if k := f.ServiceKey; k.ID != "" {
		if k.EndedBy != 0 {
			return
		}
		owner, ends, version = string(k.ID), k.ExpiresAt, k.Version
	} else if !handstamp.Standing(f.Session, f.Subject, time.Time{}) { // whatever the time
		return
	}
	keepFor := longest
	if !ends.IsZero() {
		keepFor = min(longest, time.Until(ends)) // how long it is kept decides nothing
	}
	if keepFor < time.Second {
		return
	}
	e := Entry{Key: key, Owner: owner, AsOf: f.Subject.Head, Version: version, Value: s.seal.close(key, log, f), KeepFor: keepFor}
	s.call(ctx, func(ctx context.Context) error { return s.cache.Put(ctx, e) })
}

// learn takes what a follower was told: which log this is, and what happened.
func (s *Store) learn(h revoke.Head, events []revoke.Event, reset bool) {
	s.learns.Lock()
	defer s.learns.Unlock()
	if known := s.log.Load(); reset || known == nil || *known != h.Log {
		s.events.Reset()
		s.low.Store(h.Low)
		s.log.Store(&h.Log)
	}
	if h.Low > s.low.Load() {
		s.low.Store(h.Low)
		s.events.Forget(h.Low)
	}
	s.events.Add(events...)
}

// touched are the sessions and service keys that events name, as owners of copies.
func touched(events []revoke.Event) []string {
	var owners []string
	for _, e := range events {
		if e.Kind == revoke.KindSession || e.Kind == revoke.KindServiceKey {
			owners = append(owners, e.ID)
		}
		if e.Except != "" {
			owners = append(owners, string(e.Except))
		}
	}
	return owners
}
