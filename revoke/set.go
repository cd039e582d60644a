package revoke

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/handstamp/handstamp/id"
)

// Query asks what events say of one copy of a credential or record. Empty fields match nothing.
type Query struct {
	Session    id.Session
	User       id.User
	SigningKey string // the kid that signed a value token
	ServiceKey id.ServiceKey
	AsOf       uint64 // every event up to this number was seen by who made the copy
}

// Hit is what the events say of a copy: the highest number of an event of each effect that hits it, 0 for none.
type Hit struct {
	Ended   uint64 // the credential is over
	Changed uint64 // the copy is out of date
}

// Set holds the recent events, indexed by whom they hit. Readers never wait for anything; writers wait for each other.
// The zero value is not usable; see [NewSet].
type Set struct {
	mu  sync.Mutex // writers
	cur atomic.Pointer[snapshot]
}

// NewSet returns an empty set.
func NewSet() *Set {
	s := &Set{}
	s.cur.Store(&snapshot{})
	return s
}

// Add adds events, in any order; one that the set knows or has forgotten changes nothing.
func (s *Set) Add(events ...Event) {
	refs := make([]*Event, len(events))
	for i := range events {
		refs[i] = new(events[i])
	}
	s.add(refs)
}

func (s *Set) add(events []*Event) *snapshot {
	return s.change(func(cur *snapshot) *snapshot { return cur.with(events) })
}

// Forget drops the events up to and including low. A copy with AsOf >= low is judged as before; of an older one the set
// no longer says anything. A signing key's event stays, since it hits whatever AsOf says.
func (s *Set) Forget(low uint64) { s.forget(low) }

func (s *Set) forget(low uint64) *snapshot {
	return s.change(func(cur *snapshot) *snapshot { return cur.without(low) })
}

// Reset drops everything.
func (s *Set) Reset() { s.reset() }

func (s *Set) reset() *snapshot {
	return s.change(func(*snapshot) *snapshot { return &snapshot{} })
}

func (s *Set) change(f func(*snapshot) *snapshot) *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := f(s.cur.Load())
	s.cur.Store(next)
	return next
}

// Hit says which events hit the copy. It allocates nothing.
func (s *Set) Hit(q Query) Hit { return s.cur.Load().hit(q) }

// RolesChanged reports whether the definition of one of the roles changed after the number since.
func (s *Set) RolesChanged(roles []string, since uint64) bool {
	return s.cur.Load().rolesChanged(roles, since)
}

// Find returns the events that the set keeps of one id, in order: its last change, its last end, and its last end that
// spares somebody else. Earlier ones decide nothing and may be missing.
func (s *Set) Find(kind Kind, name string) []Event {
	cur := s.cur.Load()
	x := cur.all
	switch c := classOf(kind); {
	case kind == KindKey:
		x = cur.keys[name]
	case c < classes:
		x = cur.find(c, name)
	case kind != KindAll:
		return nil
	}
	var found []Event
	for _, e := range []*Event{x.end, x.other, x.change} {
		if e != nil && (e.Seq > cur.low || kind == KindKey) {
			found = append(found, *e)
		}
	}
	slices.SortFunc(found, func(a, b Event) int { return cmp.Compare(a.Seq, b.Seq) })
	return found
}

// entry is what must be kept of the events of one id.
type entry struct {
	end    *Event // the last end
	other  *Event // the last end whose Except differs from that of end: it decides for the session that end spares
	change *Event // the last change
}

func (x entry) with(e *Event) entry {
	switch {
	case e.Effect != End:
		// An effect that a later version invented is taken for a change: it makes the copy be read again, and whoever
		// understands the effect decides.
		if x.change == nil || e.Seq >= x.change.Seq {
			x.change = e
		}
	case x.end == nil || e.Seq >= x.end.Seq:
		if x.end != nil && x.end.Except != e.Except {
			x.other = x.end
		}
		x.end = e
	case e.Except != x.end.Except && (x.other == nil || e.Seq >= x.other.Seq):
		x.other = e
	}
	return x
}

func (x entry) without(low uint64) entry {
	for _, e := range []**Event{&x.end, &x.other, &x.change} {
		if *e != nil && (*e).Seq <= low {
			*e = nil
		}
	}
	return x
}

// after returns the numbers of the last end and the last change after asOf for everybody but the spared session.
func (x entry) after(asOf uint64, session id.Session) Hit {
	end := x.end
	if end != nil && end.Except != "" && end.Except == session {
		end = x.other
	}
	return Hit{Ended: later(end, asOf), Changed: later(x.change, asOf)}
}

func later(e *Event, asOf uint64) uint64 {
	if e == nil || e.Seq <= asOf {
		return 0
	}
	return e.Seq
}

func (h Hit) or(o Hit) Hit {
	return Hit{Ended: max(h.Ended, o.Ended), Changed: max(h.Changed, o.Changed)}
}

// class is an index of the kinds of events that are looked up by id and forgotten.
type class int

const (
	sessions class = iota
	users
	serviceKeys
	roles
	classes // all others
)

func classOf(k Kind) class {
	switch k {
	case KindSession:
		return sessions
	case KindUser:
		return users
	case KindServiceKey:
		return serviceKeys
	case KindRole:
		return roles
	}
	return classes
}

// snapshot is one immutable state of a set. Its layers are searched from the newest to the oldest, and the first entry
// found is complete: an addition starts from what older layers say. Each layer is several times larger than the next
// newer one, so an addition copies little and a look-up asks few.
type snapshot struct {
	low    uint64 // forgotten up to here
	top    uint64 // the highest number of an event in layers and all: copies from then on need no look-up
	layers []layer
	all    entry
	keys   map[string]entry // never forgotten: a few per life of an installation

	swept uint64 // up to where forgotten events have left the layers
}

type layer [classes]map[string]entry

func (l layer) size() int {
	n := 0
	for _, m := range l {
		n += len(m)
	}
	return n
}

func (s *snapshot) find(c class, name string) entry {
	for i := len(s.layers) - 1; i >= 0; i-- {
		if x, ok := s.layers[i][c][name]; ok {
			return x
		}
	}
	return entry{}
}

func (s *snapshot) hit(q Query) Hit {
	var h Hit
	if len(s.keys) > 0 && q.SigningKey != "" {
		// Who stole a signing key writes as_of himself, so no as_of outlives the key's end.
		h = s.keys[q.SigningKey].after(0, "")
	}
	if q.AsOf >= s.top {
		return h
	}
	h = h.or(s.all.after(q.AsOf, ""))
	if q.Session != "" {
		h = h.or(s.find(sessions, string(q.Session)).after(q.AsOf, ""))
	}
	if q.User != "" {
		h = h.or(s.find(users, string(q.User)).after(q.AsOf, q.Session))
	}
	if q.ServiceKey != "" {
		h = h.or(s.find(serviceKeys, string(q.ServiceKey)).after(q.AsOf, ""))
	}
	return h
}

func (s *snapshot) rolesChanged(names []string, since uint64) bool {
	if since >= s.top {
		return false
	}
	for _, name := range names {
		x := s.find(roles, name)
		if later(x.change, since) > 0 || later(x.end, since) > 0 {
			return true
		}
	}
	return false
}

func (s *snapshot) with(events []*Event) *snapshot {
	next := *s
	var added layer
	for _, e := range events {
		c := classOf(e.Kind)
		switch {
		case e.Kind == KindKey:
			next.keys = maps.Clone(next.keys)
			if next.keys == nil {
				next.keys = map[string]entry{}
			}
			next.keys[e.ID] = next.keys[e.ID].with(e)
			continue
		case e.Seq <= s.low:
			continue
		case e.Kind == KindAll:
			next.all = next.all.with(e)
		case c == classes:
			// A kind that a later version invented: whom it hits is not known here, so every copy is read again.
			unknown := *e
			unknown.Effect = Change
			next.all = next.all.with(&unknown)
		default:
			added.add(c, e, s)
		}
		next.top = max(next.top, e.Seq)
	}
	if added.size() > 0 {
		next.layers = push(s.layers, added)
	}
	return &next
}

func (l *layer) add(c class, e *Event, older *snapshot) {
	if l[c] == nil {
		l[c] = map[string]entry{}
	}
	x, ok := l[c][e.ID]
	if !ok {
		x = older.find(c, e.ID)
	}
	l[c][e.ID] = x.with(e)
}

// growth is by how much a layer is larger than the next newer one, at least.
const growth = 4

// push adds a layer and merges layers that have become too small for their place. It changes none that it was given.
func push(layers []layer, l layer) []layer {
	keep := len(layers)
	for keep > 0 && layers[keep-1].size() < growth*l.size() {
		keep--
		l = merge(layers[keep], l)
	}
	return append(slices.Clone(layers[:keep]), l)
}

func merge(older, newer layer) layer {
	var out layer
	for c := range out {
		out[c] = make(map[string]entry, len(older[c])+len(newer[c]))
		maps.Copy(out[c], older[c])
		maps.Copy(out[c], newer[c])
	}
	return out
}

// without forgets. The layers are rebuilt once a good part of them may be forgotten, so that forgetting one event at a
// time does not copy everything each time; what waits for that decides nothing, since no copy older than low may be used.
func (s *snapshot) without(low uint64) *snapshot {
	if low <= s.low {
		return s
	}
	next := *s
	next.low = low
	size := 0
	for _, l := range s.layers {
		size += l.size()
	}
	if low-s.swept <= uint64(size)/2 {
		return &next
	}
	next.swept = low
	next.all = s.all.without(low)
	next.layers = nil
	var kept layer
	for _, l := range s.layers { // from the oldest: newer entries replace older ones
		for c, m := range l {
			for name, x := range m {
				if x = x.without(low); x == (entry{}) {
					delete(kept[c], name)
				} else {
					kept.put(class(c), name, x)
				}
			}
		}
	}
	if kept.size() > 0 {
		next.layers = []layer{kept}
	}
	return &next
}

func (l *layer) put(c class, name string, x entry) {
	if l[c] == nil {
		l[c] = map[string]entry{}
	}
	l[c][name] = x
}
