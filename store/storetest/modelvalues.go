package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/handstamp/handstamp"
)

// modelValues is the contract of values: a map for each session, and every rule by going through all of it.
type modelValues struct {
	of   map[handstamp.SessionID]map[string]handstamp.Datum
	next uint64 // versions that were given out
}

func (v *modelValues) put(sid handstamp.SessionID, d handstamp.Datum) {
	if v.of == nil {
		v.of = map[handstamp.SessionID]map[string]handstamp.Datum{}
	}
	if v.of[sid] == nil {
		v.of[sid] = map[string]handstamp.Datum{}
	}
	if v.of[sid][d.Name] = d; d.Version == 0 {
		delete(v.of[sid], d.Name)
	}
}

// modelRoom is reached now and then.
const modelRoom = 20

func (m *model) name() string { return []string{"a", "bb", "cart"}[m.rnd.IntN(3)] }

// value writes or deletes a value, sometimes in a version that it does not have.
func (m *model) value() string {
	s, ok := m.any()
	if !ok {
		return "no session to write a value for"
	}
	name := m.name()
	kept := m.values.of[s.ID][name]
	w := write(s, name, "", kept.Version, 0)
	w.Now, w.Limit = at(m.minute), modelRoom
	if stale := m.rnd.IntN(4) == 0; stale {
		w.From = uint64(m.rnd.IntN(50))
	}
	if early := m.rnd.IntN(3) == 0; early { // activity that is not written yet
		w.SeenAt = at(m.minute - m.rnd.IntN(90))
	}
	if deletes := m.rnd.IntN(5) == 0; !deletes {
		m.values.next++
		w.Value.Version, w.Value.Data = m.values.next, fmt.Appendf(nil, "%0*d", 1+m.rnd.IntN(18), m.minute)
	}
	size := 0
	for n, d := range m.values.of[s.ID] {
		if n != name {
			size += len(n) + len(d.Data)
		}
	}
	seen := s
	if w.SeenAt.After(s.SeenAt) {
		seen.SeenAt = w.SeenAt
	}
	var want error
	switch {
	case w.From != kept.Version || !m.alive(seen, w.Now):
		want = handstamp.ErrConflict
	case w.Value.Version != 0 && size+len(name)+len(w.Value.Data) > modelRoom:
		want = handstamp.ErrDataTooLarge
	default:
		m.values.put(s.ID, w.Value)
	}
	fails(m.t, "Put", tryPut(m.t, m.s, w), want)
	return fmt.Sprintf("write %+v after %d of %s: %v", w.Value, w.From, s.ID, want)
}

// carry copies values, sometimes in a unit that is rolled back. Which version a copy has is the store's business.
func (m *model) carry() string {
	from, ok := m.any()
	to, _ := m.any()
	if !ok {
		return "no session to carry from"
	}
	names := []string{m.name(), m.name()}
	roll := m.rnd.IntN(3) == 0
	err := m.s.Work().Do(m.t.Context(), func(tx handstamp.Tx) error {
		err := tx.Carry(m.t.Context(), handstamp.Carrying{From: from.ID, To: to.ID, Names: names, Limit: modelRoom, Now: at(m.minute)})
		if roll {
			return cmpErr(err)
		}
		return err
	})
	if roll {
		fails(m.t, "the unit", err, errRollback)
		return "carry rolled back"
	}
	must(m.t, err)
	for _, name := range names {
		d, ok := m.values.of[from.ID][name]
		_, there := m.values.of[to.ID][name]
		_, kept := m.sessions[to.ID]
		size := len(name) + len(d.Data)
		for n, o := range m.values.of[to.ID] {
			size += len(n) + len(o.Data)
		}
		if ok && kept && !there && size <= modelRoom && m.alive(idleless0(from), at(m.minute)) {
			d.Version = get(m.t, m.s, to, name).Version
			m.values.put(to.ID, d)
		}
	}
	return fmt.Sprintf("carry %v from %s to %s", names, from.ID, to.ID)
}

// sweptValues forgets what a sweep at this minute has deleted, and says how much that was: it may delete what a session
// has that does not stand.
func (m *model) sweptValues() int {
	n := 0
	for _, sid := range slices.Sorted(maps.Keys(m.values.of)) {
		s, ok := m.sessions[sid]
		if !ok { // they went with the record
			delete(m.values.of, sid)
			continue
		}
		for name := range m.values.of[sid] {
			if !m.alive(idleless0(s), at(m.minute)) && get(m.t, m.s, s, name).Version == 0 {
				delete(m.values.of[sid], name)
				n++
			}
		}
	}
	return n
}

// compareValues looks at some sessions.
func (m *model) compareValues() {
	for range 6 {
		s, ok := m.any()
		if !ok {
			return
		}
		name := m.name()
		want := m.values.of[s.ID][name]
		want.Name = name
		d, f, err := valuesOf(m.t, m.s).Get(m.t.Context(), s.ID, name)
		if errors.Is(err, handstamp.ErrNotFound) {
			m.t.Errorf("Get(%s, %q) finds no session", s.ID, name)
			return
		}
		must(m.t, err)
		same(m.t, "a value", d, want)
		same(m.t, "what Get says of its session", f, find(m.t, m.s, s.ID))
	}
}
