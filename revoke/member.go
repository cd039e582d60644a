package revoke

import (
	"errors"
	"maps"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp/id"
)

const (
	// spacing is the time between the beginnings of two requests to the log, in the long run; burst is how many may begin
	// one after the other once as many spacings have passed without one. Where little happens, an event is so read,
	// acknowledged, and acknowledged for those that the verifier answers, without a pause in between, and so are a few in
	// a row; a storm of events is read in pages, one each spacing, however many there are.
	spacing = 20 * time.Millisecond
	burst   = 10
	// longestInterval bounds the time between renewals from above; a quarter of the lease does, too, so that three may
	// fail before it lapses. Where nothing rings, an end comes to a verifier after the interval of its node and its own
	// one: twice this, and the requests, must stay below the second that is promised.
	longestInterval = 400 * time.Millisecond
	// pageLimit is how many events one answer may hold.
	pageLimit = 10_000
)

// member is one verifier's part of the protocol as a state machine: no goroutine, no clock and no network of its own. The
// caller takes a request by begin, sends it, and reports the end of it by joined, answered or failed. Its methods need
// outside locking, but state may be loaded at any time.
type member struct {
	name  string
	limit int
	newID func(now time.Time) id.Verifier

	self       id.Verifier
	registered bool
	journal    journal
	set        *Set
	ahead      map[uint64]struct{} // numbers of own commits above what was applied in order
	vouched    uint64              // the highest of them that somebody was told is settled here
	remotes    *remotes
	claims     claims
	fleet      fleetClock
	interval   time.Duration
	period     time.Duration // the fleet's lease
	waiting    promise

	serial uint64 // of requests
	flight uint64 // the request under way; 0 is none
	began  Instant
	spaced time.Duration // monotonic: when the requests so far would be over if each took a spacing
	haste  haste

	state atomic.Pointer[state]
}

// haste says when the next request is due.
type haste uint8

const (
	calm   haste = iota // after the interval
	soon                // two spacings after the last one: others are about to say what it can say for them, too
	atOnce              // when its turn comes
)

// promise is a lease that counts once a later renewal that acknowledged everything up to head was answered. A lease used
// before that is one that nobody else can infer: the verifier's registration still says less than head, so whoever
// waited for head in vain may remove it as dead, and the next event's waiter would not know of the lease.
type promise struct {
	lease lease
	head  uint64
}

func newMember(name string) *member {
	m := &member{
		name: name, limit: pageLimit, newID: id.NewVerifier,
		set: NewSet(), ahead: map[uint64]struct{}{}, remotes: newRemotes(), claims: claims{},
		interval: longestInterval, haste: atOnce,
		began: Instant{Mono: -longestInterval}, spaced: -longestInterval,
	}
	m.state.Store(&state{generation: 1, events: m.set.cur.Load()})
	return m
}

// request is one question to the log: a registration if join is set, else a renewal.
type request struct {
	join         bool
	registration Registration
	renewal      Renewal
	began        Instant
	serial       uint64
}

// outcome is what an answer brought.
type outcome struct {
	events []Event // applied by this answer, in order
	reset  bool    // everything was dropped; copies must be, too
	err    error   // the answer broke the log's contract
}

// due returns how long it is until the next request may begin. There is one at a time.
func (m *member) due(now Instant) time.Duration {
	at, turn := m.began.Mono+m.interval, m.spaced-(burst-1)*spacing
	switch m.haste {
	case soon:
		at = min(at, max(turn, m.began.Mono+2*spacing))
	case atOnce:
		at = turn
	}
	return max(0, at-now.Mono)
}

// hurry makes the next request due when its turn comes. That is all that a wake-up from outside may do.
func (m *member) hurry() { m.haste = atOnce }

// begin returns what to send; now must have been read just before. A request that was under way is given up: its answer
// will be ignored.
func (m *member) begin(now Instant) request {
	m.serial++
	m.flight, m.began, m.haste = m.serial, now, calm
	// No more is saved up than a burst, and no more is owed: a replay does not wait for its turns.
	m.spaced = min(max(m.spaced, now.Mono), now.Mono+(burst-1)*spacing) + spacing
	q := request{began: now, serial: m.serial}
	if !m.registered {
		// Each try has its own id: whether one that failed left a row is unknown, and a row that nobody renews costs one
		// waiter its patience, while an id used twice could cost the truth.
		m.self = m.newID(now.Wall)
		m.publish(func(s *state) { s.verifier = m.self })
		q.join = true
		// Applied is 0: the row must not speak for a log that may have been replaced in the meantime.
		q.registration = Registration{Verifier: m.self, Name: m.name, RegisteredAt: now.Wall}
		return q
	}
	applied := m.journal.applied()
	tag, _ := m.journal.tag(applied)
	q.renewal = Renewal{
		Verifier: m.self, Log: m.journal.log, Applied: applied, Tag: tag, Limit: m.limit,
		Lag: applied - m.remotes.acknowledged(now, applied),
	}
	return q
}

// landed reports whether q is the request under way, and ends it. Answers to any other are late or duplicates.
func (m *member) landed(q request) bool {
	if q.serial == 0 || q.serial != m.flight {
		return false
	}
	m.flight = 0
	return true
}

// joined takes the answer to a registration. It grants no lease: nothing has been read since.
func (m *member) joined(q request, h Head) outcome {
	if !m.landed(q) {
		return outcome{}
	}
	m.registered, m.haste = true, atOnce
	m.setPeriod(h.Lease)
	switch {
	case m.journal.log == "":
		m.journal = startAt(h)
		m.publish(func(s *state) { s.log, s.applied, s.low = h.Log, h.Low, h.Low })
	case m.journal.log != h.Log:
		m.reset(h)
		return outcome{reset: true}
	}
	return outcome{}
}

// failed takes the failure of a request. The lease runs on: a failure says nothing about the log.
func (m *member) failed(q request, err error) {
	if !m.landed(q) || !errors.Is(err, ErrNotRegistered) {
		return
	}
	m.registered = false
	m.dropLease()
}

// answered takes the answer to a renewal, received at now.
func (m *member) answered(q request, now Instant, a Answer) outcome {
	if !m.landed(q) {
		return outcome{}
	}
	h := a.Head
	m.setPeriod(h.Lease)
	m.fleet.note(q.began, now, h.Now)
	if a.Reset || h.Log != m.journal.log || h.Seq < m.journal.applied() {
		return m.restart(h)
	}
	added, err := m.journal.extend(a.Events)
	applied := m.journal.applied()
	tag, _ := m.journal.tag(applied)
	if h.Low > applied || h.Seq < applied || h.Seq == applied && h.Tag != tag {
		return m.restart(h)
	}
	m.set.add(added)
	events := m.set.forget(h.Low)
	m.journal.forget(h.Low)
	maps.DeleteFunc(m.ahead, func(n uint64, _ struct{}) bool { return n <= applied })
	complete := err == nil && !a.More && applied == h.Seq
	granted := m.grant(q, a, complete)
	if err == nil && (len(added) > 0 || !complete) {
		m.haste = max(m.haste, m.owing(now, applied, complete))
	}
	m.publish(func(s *state) {
		s.applied, s.low, s.events = applied, m.journal.low, events
		if granted.length > 0 {
			s.lease = granted
		}
	})
	return outcome{events: values(added), err: err}
}

// owing returns how soon an answer that brought something is to be acknowledged. While remotes that know it from here
// have not said so, and can, the acknowledgement would be worth nothing to who waits for it: theirs is on its way.
func (m *member) owing(now Instant, applied uint64, complete bool) haste {
	if complete && m.remotes.acknowledged(now, applied) < applied && m.state.Load().lease.left(now) > 0 {
		return soon
	}
	return atOnce
}

// grant returns the lease that may be used from here on, if any: that of the answer itself, if the renewal acknowledged
// everything there is, else one that waited for this acknowledgement.
func (m *member) grant(q request, a Answer, complete bool) lease {
	var granted lease
	if q.renewal.Applied >= m.waiting.head {
		granted, m.waiting = m.waiting.lease, promise{}
	}
	if !complete {
		return granted
	}
	l := lease{from: q.began, length: max(0, a.Head.Lease-margin(a.Age))}
	if q.renewal.Applied == a.Head.Seq {
		m.waiting = promise{}
		return l
	}
	m.waiting = promise{lease: l, head: a.Head.Seq}
	return granted
}

// restart drops everything and registers anew: under one id the registered number never goes down.
func (m *member) restart(h Head) outcome {
	m.reset(h)
	m.registered = false
	return outcome{reset: true}
}

// reset drops everything and goes on from where the log begins.
func (m *member) reset(h Head) {
	m.journal = startAt(h)
	m.ahead, m.vouched = map[uint64]struct{}{}, 0
	m.remotes.doubt()
	m.waiting = promise{}
	events := m.set.reset()
	m.publish(func(s *state) {
		s.generation++
		s.log, s.applied, s.low = h.Log, h.Low, h.Low
		s.events, s.lease = events, lease{}
	})
}

// learn applies events ahead of their turn: the process's own commits. They hit at once, but what lies between is not
// known, so neither the applied number nor any as_of moves.
func (m *member) learn(events []Event) {
	var refs []*Event
	for i := range events {
		refs = append(refs, new(events[i]))
		if events[i].Seq > m.journal.applied() {
			m.ahead[events[i].Seq] = struct{}{}
		}
	}
	next := m.set.add(refs)
	m.publish(func(s *state) { s.events = next })
	if len(m.ahead) > 0 {
		m.haste = atOnce
	}
}

// vouch reports whether event n hits here and at every remote that this process answers. Who is told so relies on it: from
// then on nobody is answered who might get a lease without n.
func (m *member) vouch(now Instant, n uint64) bool {
	_, learned := m.ahead[n]
	if !learned && n > m.journal.applied() || m.remotes.acknowledged(now, n) < n {
		return false
	}
	m.vouched = max(m.vouched, n)
	return true
}

// stop gives up the lease for good: nothing is answered from memory any more.
func (m *member) stop() {
	m.flight = 0
	m.dropLease()
}

func (m *member) dropLease() {
	m.waiting = promise{}
	m.publish(func(s *state) { s.lease = lease{} })
}

func (m *member) setPeriod(period time.Duration) {
	if period == m.period {
		return
	}
	m.period = period
	if period > 0 {
		m.interval = max(spacing, min(longestInterval, period/4))
	}
	m.publish(func(s *state) { s.fleet = period })
}

func (m *member) publish(change func(*state)) {
	next := *m.state.Load()
	change(&next)
	m.state.Store(&next)
}

func values(refs []*Event) []Event {
	out := make([]Event, len(refs))
	for i, e := range refs {
		out[i] = *e
	}
	return out
}
