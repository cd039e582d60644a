package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
)

// values is the view for the named values of sessions.
type values struct{ s *Store }

// Values returns the view for the named values of sessions.
func (s *Store) Values() handstamp.Values { return values{s} }

// Get reads one snapshot.
func (v values) Get(ctx context.Context, sid handstamp.SessionID, name string) (handstamp.Datum, handstamp.Found, error) {
	if err := ctx.Err(); err != nil {
		return handstamp.Datum{}, handstamp.Found{}, fmt.Errorf("read a value: %w", err)
	}
	d := v.s.data
	v.s.mu.RLock()
	kept := d.sessions[sid]
	if kept == nil {
		v.s.mu.RUnlock()
		return handstamp.Datum{}, handstamp.Found{}, handstamp.ErrNotFound
	}
	all, row, m := d.values[sid], d.subjects[kept.User], d.meta
	roles := definitions(d.table, row)
	v.s.mu.RUnlock()
	return valueOf(all, name), handstamp.Found{
		Session: ownedSession(*kept),
		Subject: ownedSubject(subjectOf(kept.User, row, m)),
		Roles:   roles,
	}, nil
}

// Put is one unit of its own.
func (v values) Put(ctx context.Context, w handstamp.DatumWrite) error {
	if err := checkWrite(w); err != nil {
		return err
	}
	return v.s.do(ctx, func(t *tx) error {
		s, ok := t.sessions.get(w.Session)
		if !ok {
			return handstamp.ErrConflict
		}
		all, _ := t.values.get(w.Session)
		after, err := written(all, *s, t.subject(s.User), w)
		if err != nil {
			return err
		}
		t.values.put(w.Session, after)
		return nil
	})
}

// errValue says that the caller is wrong: no codec writes nothing, and no version is that large.
var errValue = errors.New("memory: a value needs data, and a version below 2^63")

func checkWrite(w handstamp.DatumWrite) error {
	if w.Value.Version > math.MaxInt64 || w.Value.Version != 0 && len(w.Value.Data) == 0 {
		return errValue
	}
	return nil
}

// written is what a write makes of a session's values, which stay as they are: a reader may have them.
func written(
	all []handstamp.Datum, s handstamp.Session, sub handstamp.Subject, w handstamp.DatumWrite,
) ([]handstamp.Datum, error) {
	s.SeenAt = later(s.SeenAt, w.SeenAt)
	at, found := placeOf(all, w.Value.Name)
	var now uint64
	if found {
		now = all[at].Version
	}
	if now != w.From || !handstamp.Live(s, sub, w.Now) {
		return nil, handstamp.ErrConflict
	}
	after := slices.Clone(all)
	switch {
	case w.Value.Version != 0:
		after = with(after, handstamp.Datum{
			Name: w.Value.Name, Data: bytes.Clone(w.Value.Data), Version: w.Value.Version,
		})
		if size(after) > w.Limit {
			return nil, handstamp.ErrDataTooLarge
		}
	case found:
		after = slices.Delete(after, at, at+1)
	}
	return after, nil
}

// placeOf is where a name is, or belongs, among values in the order of their names.
func placeOf(all []handstamp.Datum, name string) (int, bool) {
	return slices.BinarySearchFunc(all, name, func(v handstamp.Datum, name string) int { return strings.Compare(v.Name, name) })
}

// with puts a value into a list that nobody else has.
func with(all []handstamp.Datum, v handstamp.Datum) []handstamp.Datum {
	at, found := placeOf(all, v.Name)
	if found {
		all[at] = v
		return all
	}
	return slices.Insert(all, at, v)
}

func size(all []handstamp.Datum) int {
	n := 0
	for _, v := range all {
		n += len(v.Name) + len(v.Data)
	}
	return n
}

// valueOf is a value that shares nothing with what is kept.
func valueOf(all []handstamp.Datum, name string) handstamp.Datum {
	at, found := placeOf(all, name)
	if !found {
		return handstamp.Datum{Name: name}
	}
	v := all[at]
	v.Data = bytes.Clone(v.Data)
	return v
}

// Carry copies values from one session to another.
func (t *tx) Carry(ctx context.Context, c handstamp.Carrying) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("carry values: %w", err)
	}
	if from, ok := t.sessions.get(c.From); ok && handstamp.Standing(*from, t.subject(from.User), c.Now) {
		carry(&t.sessions, &t.values, c)
	}
	return nil
}

type (
	sessionLayer = layer[handstamp.SessionID, *handstamp.Session]
	valueLayer   = layer[handstamp.SessionID, []handstamp.Datum]
)

// carry copies what is not there yet and fits. Its caller knows that the session it is taken from stands.
func carry(sessions *sessionLayer, values *valueLayer, c handstamp.Carrying) {
	if _, ok := sessions.get(c.To); !ok {
		return
	}
	source, _ := values.get(c.From)
	all, _ := values.get(c.To)
	after := slices.Clone(all)
	size := 0
	for _, d := range after {
		size += len(d.Name) + len(d.Data)
	}
	for _, name := range c.Names {
		at, found := placeOf(source, name)
		_, there := placeOf(after, name)
		if more := len(name); found && !there && size+more+len(source[at].Data) <= c.Limit {
			after, size = with(after, source[at]), size+more+len(source[at].Data)
		}
	}
	values.put(c.To, after)
}

// writeValues puts what a unit changed. What a session that is gone had went with it.
func (r *records) writeValues(changed map[handstamp.SessionID]change[[]handstamp.Datum]) {
	for sid, c := range changed {
		if c.gone || len(c.value) == 0 || r.sessions[sid] == nil {
			delete(r.values, sid)
		} else {
			r.values[sid] = c.value
		}
	}
}

// sweepValues drops values of sessions that do not stand, at most limit of them.
func (t *tx) sweepValues(now time.Time, limit int) int {
	n := 0
	for sid, all := range t.d.values {
		if n >= limit {
			break
		}
		s, ok := t.sessions.get(sid)
		if !ok || handstamp.Standing(*s, t.subject(s.User), now) { // those of a session that is gone go with it
			continue
		}
		gone := min(len(all), limit-n)
		t.values.put(sid, all[gone:])
		n += gone
	}
	return n
}
