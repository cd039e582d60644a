package handstamp

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// guards are the connections that end with their sessions, by what can end them. See newGuards.
type guards struct {
	mu     sync.Mutex
	of     map[guardKey]map[*guard]struct{}
	due    guardQueue
	closed bool
	asking bool // all must be asked for: what was heard so far is worth nothing
	wake   chan struct{}
}

// guardKey names what an event can hit.
type guardKey struct {
	kind revoke.Kind
	id   string
}

// guard is one connection.
type guard struct {
	end        context.CancelCauseFunc
	user       UserID
	session    SessionID
	signingKey string
	asOf       uint64        // events up to this number were seen by who found the principal out
	due        time.Time     // when the store must be asked whether the session goes on; zero is never
	idle       time.Duration // of the session; 0 is none or not known
	marked     time.Time     // when activity was noted last
	program    *ServiceKey   // of a service key that was looked up; then there is no session
	credential token.Secret  // to ask an authority about; without a store
	place      int           // in the queue; -1 is not there
}

func newGuards() *guards {
	return &guards{of: map[guardKey]map[*guard]struct{}{}, wake: make(chan struct{}, 1)}
}

func (g *guard) keys() []guardKey {
	if g.session == "" {
		return []guardKey{{revoke.KindServiceKey, string(g.user)}}
	}
	keys := []guardKey{{revoke.KindSession, string(g.session)}, {revoke.KindUser, string(g.user)}}
	if g.signingKey != "" {
		keys = append(keys, guardKey{revoke.KindKey, g.signingKey})
	}
	return keys
}

func (g *guard) query() revoke.Query {
	if g.session == "" {
		return revoke.Query{ServiceKey: id.ServiceKey(g.user), AsOf: g.asOf}
	}
	return revoke.Query{Session: g.session, User: g.user, SigningKey: g.signingKey, AsOf: g.asOf}
}

func (s *guards) add(g *guard) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	for _, k := range g.keys() {
		if s.of[k] == nil {
			s.of[k] = map[*guard]struct{}{}
		}
		s.of[k][g] = struct{}{}
	}
	heap.Push(&s.due, g)
	if g.place == 0 { // the first to be due
		s.hurry()
	}
	return true
}

func (s *guards) remove(g *guard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.place < 0 {
		return
	}
	heap.Remove(&s.due, g.place)
	for _, k := range g.keys() {
		if delete(s.of[k], g); len(s.of[k]) == 0 {
			delete(s.of, k)
		}
	}
}

func (s *guards) hurry() {
	select {
	case s.wake <- struct{}{}:
	default: // one is waiting already
	}
}

// happened ends the connections that events hit. It returns before anybody is told that the event took effect.
func (s *guards) happened(events []revoke.Event) {
	for _, e := range events {
		switch known := heard(e.Kind) && (e.Effect == revoke.End || e.Effect == revoke.Change); {
		case !known:
			s.doubt() // a later version invented it; whom it hits only the store can say
			continue
		case e.Effect != revoke.End:
			continue // a change ends nobody
		}
		for _, g := range s.hitBy(e) {
			g.end(&DeniedError{Reason: ReasonRevoked, Check: "event", By: e.Seq, Since: e.At})
		}
	}
}

// heard reports whether this version knows whom events of a kind hit.
func heard(k revoke.Kind) bool {
	switch k {
	case revoke.KindSession, revoke.KindUser, revoke.KindRole, revoke.KindKey, revoke.KindServiceKey, revoke.KindAll:
		return true
	}
	return false
}

func (s *guards) hitBy(e revoke.Event) []*guard {
	s.mu.Lock()
	defer s.mu.Unlock()
	var hit []*guard
	if e.Kind == revoke.KindAll {
		for _, g := range s.due {
			if g.session != "" && e.Seq > g.asOf {
				hit = append(hit, g)
			}
		}
		return hit
	}
	for g := range s.of[guardKey{e.Kind, e.ID}] {
		// Who stole a signing key writes as_of himself: its end hits whatever that says.
		if spared := e.Except != "" && e.Except == g.session; !spared && (e.Seq > g.asOf || e.Kind == revoke.KindKey) {
			hit = append(hit, g)
		}
	}
	return hit
}

// active notes activity of a session, and reports whether it is time to write it again.
func (s *guards) active(sid SessionID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for g := range s.of[guardKey{revoke.KindSession, string(sid)}] {
		if now.Sub(g.marked) >= seenInterval(g.idle) {
			g.marked = now
			return true
		}
		return false // connections of one session share the answer of any
	}
	return false
}

// take returns the connections whose session must be asked for: those that are due, or all of them.
func (s *guards) take(now time.Time, all bool) []*guard {
	s.mu.Lock()
	defer s.mu.Unlock()
	var taken []*guard
	for _, g := range s.due {
		if all || !g.due.IsZero() && !now.Before(g.due) {
			taken = append(taken, g)
		}
	}
	return taken
}

// doubt makes every connection be asked for: the log behind the numbers is another one.
func (s *guards) doubt() {
	s.mu.Lock()
	s.asking = true
	s.mu.Unlock()
	s.hurry()
}

// reset reports whether there was doubt, once.
func (s *guards) reset() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.asking
	s.asking = false
	return was
}

// next is when the earliest connection is due; ok is false if there is no connection at all.
func (s *guards) next() (due time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.due) == 0 {
		return time.Time{}, false
	}
	return s.due[0].due, true
}

// goesOn is what the store or the authority said of a session that goes on.
type goesOn struct {
	asOf uint64
	due  time.Time
	idle time.Duration
}

// move sets what was said of a session that goes on.
func (s *guards) move(g *guard, said goesOn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.asOf = said.asOf // also down: a log that went back numbers anew, and a lower number only hears more
	if g.place < 0 {
		return
	}
	g.due, g.idle = said.due, said.idle
	heap.Fix(&s.due, g.place)
}

// wasDue reports whether a connection's session was known to end by now.
func (s *guards) wasDue(g *guard, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !g.due.IsZero() && !now.Before(g.due)
}

func (s *guards) close() {
	s.mu.Lock()
	s.closed = true
	all := append([]*guard(nil), s.due...)
	s.mu.Unlock()
	for _, g := range all {
		g.end(guardsClosed())
	}
}

// guardQueue is a heap by due; those without come last.
type guardQueue []*guard

func (q guardQueue) Len() int { return len(q) }

func (q guardQueue) Less(i, j int) bool {
	a, b := q[i].due, q[j].due
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}

func (q guardQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements heap.Interface.
func (q *guardQueue) Push(x any) {
	g := x.(*guard)
	g.place = len(*q)
	*q = append(*q, g)
}

// Pop implements heap.Interface.
func (q *guardQueue) Pop() any {
	old := *q
	g := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	g.place = -1
	return g
}
