package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
)

// sessions is the view for reads and single statements.
type sessions struct{ s *Store }

// Find takes the record first and the rest second; see [Store.look].
func (v sessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	kind, what := "s", string(l.Session)
	switch {
	case !l.ServiceKey.IsZero():
		return v.s.base.Sessions().Find(ctx, l)
	case !l.Key.IsZero():
		kind, what = "k", hashed(l.Key)
	}
	found, err := v.s.look(ctx, kind, what)
	if err != nil {
		return handstamp.Found{}, err
	}
	return v.s.found(ctx, found, l.SigningKey)
}

// Subject reads the base's row.
func (v sessions) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	return v.s.base.Sessions().Subject(ctx, u)
}

const (
	maxListed = 10_001
	pageSize  = 256
)

// List reads page by page, and drops ids from the index whose records are gone: it is a hint.
func (v sessions) List(ctx context.Context, f handstamp.SessionFilter) ([]handstamp.Session, error) {
	limit, after := f.Limit, f.After
	if limit < 1 || limit > maxListed {
		limit = maxListed
	}
	out := []handstamp.Session{}
	for {
		var l batch
		var err error
		if size := decimal(min(limit, pageSize)); f.User != "" {
			l, err = v.s.batch(ctx, "user", string(f.User), string(after), size)
		} else {
			l, err = v.s.batch(ctx, "mode", "n", string(after), size)
		}
		if err != nil {
			return nil, fmt.Errorf("list sessions: %w", err)
		}
		if l.ids == 0 {
			return out, nil
		}
		after = l.last()
		index := []string{"n", ""}
		if f.User != "" {
			index = []string{"u", string(f.User)}
		}
		v.s.prune(ctx, l.listing, index...)
		for _, r := range l.found {
			one, sub, err := v.s.settled(ctx, &l, r)
			if err != nil {
				return nil, fmt.Errorf("list sessions: %w", err)
			}
			if one.mark != "" && handstamp.Live(one.Session, sub, f.Now) {
				out = append(out, one.Session)
			}
			if len(out) == limit {
				return out, nil
			}
		}
	}
}

// last is the last id of a page.
func (l *listing) last() handstamp.SessionID {
	var last handstamp.SessionID
	if n := len(l.found); n > 0 {
		last = l.found[n-1].ID
	}
	if n := len(l.gone); n > 0 && (last == "" || handstamp.SessionID(l.gone[n-1]) < last) {
		last = handstamp.SessionID(l.gone[n-1])
	}
	return last
}

// prune drops ids without records from an index. Nothing depends on it.
func (s *Store) prune(ctx context.Context, l listing, index ...string) {
	if len(l.gone) > 0 {
		_, _ = s.c.run(ctx, "prune", slices.Concat([]string{l.at.age}, index, l.gone)...)
	}
}

// settled returns a record of a batch and its subject at one number of the log. A record that has gone meanwhile has no
// mark.
func (s *Store) settled(ctx context.Context, b *batch, r record) (record, handstamp.Subject, error) {
	if sub, good := b.judge(r); good {
		return r, sub, nil
	}
	one, err := s.look(ctx, "s", string(r.ID))
	if errors.Is(err, handstamp.ErrNotFound) {
		return record{}, handstamp.Subject{}, nil
	}
	return one.record, one.sub, err
}

// Rotate judges record and subject at one number of the log, and writes only if neither the record nor the place has
// moved since: what was ended in between, by whatever, is judged again. What ends the session after the subject was read
// and is not in Redis yet ends what comes of this refresh too, since the answer says from which number it is.
func (v sessions) Rotate(
	ctx context.Context, sid handstamp.SessionID, from uint32, r handstamp.Rotation,
) (handstamp.Found, error) {
	for try := range maxTries {
		l, err := v.s.look(ctx, "s", string(sid))
		if errors.Is(err, handstamp.ErrNotFound) {
			return handstamp.Found{}, handstamp.ErrConflict
		}
		if err != nil {
			return handstamp.Found{}, fmt.Errorf("refresh: %w", err)
		}
		f, err := v.s.found(ctx, l, "")
		if err != nil {
			return handstamp.Found{}, err // before anything was written: whoever asks again finds the same generation
		}
		if !r.Moves(f, from) {
			return handstamp.Found{}, handstamp.ErrConflict
		}
		was := l.record
		f.Session = rotated(l.record.Session, r)
		w := v.s.c.write(l.at.age)
		w.only(l.at.seq)
		w.guarded()
		w.put(was, f.Session)
		got, err := w.run(ctx)
		if err != nil {
			return handstamp.Found{}, fmt.Errorf("refresh: %w", err)
		}
		if got == done {
			return f, nil
		}
		if got == busy {
			if err := pause(ctx, pauses(try)); err != nil {
				return handstamp.Found{}, err
			}
		}
	}
	return handstamp.Found{}, errMoving
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

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// touchBatch is how many sessions one script touches: more would keep everybody else waiting.
const touchBatch = 200

// Touch moves SeenAt of sessions forward. Records that moved on meanwhile are tried again.
func (v sessions) Touch(ctx context.Context, seen map[handstamp.SessionID]time.Time) error {
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(seen)), touchBatch) {
		for try := 0; len(ids) > 0; try++ {
			if try == maxTries {
				return errMoving
			}
			passed, err := v.touch(ctx, ids, seen)
			if err != nil {
				return fmt.Errorf("note activity: %w", err)
			}
			ids = passed
		}
	}
	return nil
}

// touch returns the sessions that are to be tried again.
func (v sessions) touch(
	ctx context.Context, ids []handstamp.SessionID, seen map[handstamp.SessionID]time.Time,
) ([]handstamp.SessionID, error) {
	l, err := v.s.batch(ctx, idsOf(ids)...)
	if err != nil || l.at.blank() {
		return nil, err
	}
	w := v.s.c.write(l.at.age)
	w.each()
	for _, r := range l.found {
		at := seen[r.ID]
		if !r.SeenAt.Before(at) {
			continue
		}
		one, sub, err := v.s.settled(ctx, &l, r)
		if err != nil {
			return nil, err
		}
		if one.mark != "" && one.SeenAt.Before(at) && handstamp.Standing(one.Session, sub, at) {
			after := one.Session
			after.SeenAt = at
			w.put(one, after)
		}
	}
	status, err := w.run(ctx)
	if err != nil {
		return nil, err
	}
	if status != done {
		return ids, nil
	}
	again := make([]handstamp.SessionID, len(w.passed))
	for i, sid := range w.passed {
		again[i] = handstamp.SessionID(sid)
	}
	return again, nil
}

// Sweep deletes records here first, then values, and what has run out in the base with what is left of the limit. What
// the server's clock does not call over stays.
func (v sessions) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	n, err := v.s.sweepRecords(ctx, now, limit)
	if err != nil {
		return n, fmt.Errorf("sweep: %w", err)
	}
	values, err := v.s.sweepValues(ctx, now, limit-n)
	if n += values; err != nil || n >= limit {
		return n, err
	}
	more, err := v.s.base.Sessions().Sweep(ctx, now, limit-n)
	return n + more, err
}

func (s *Store) sweepRecords(ctx context.Context, now time.Time, limit int) (int, error) {
	n := 0
	for n < limit {
		l, err := s.many(ctx, "over", decimal(now.UnixMicro()), decimal(min(limit-n, pageSize)))
		if err != nil {
			return n, err
		}
		s.prune(ctx, l, "x", "")
		w, deletes := s.c.write(l.at.age), 0
		w.each()
		for _, r := range l.found {
			if handstamp.Swept(r.Session, now) && handstamp.Swept(r.Session, l.now) {
				w.delete(r)
				deletes++
			}
		}
		got, err := w.run(ctx)
		if err != nil {
			return n, err
		}
		if got == done {
			n += deletes - len(w.passed)
		}
		if deletes == 0 && len(l.gone) == 0 || got != done {
			break
		}
	}
	return n, nil
}
