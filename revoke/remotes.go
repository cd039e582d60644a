package revoke

import (
	"errors"
	"math"
	"time"

	"github.com/handstamp/handstamp/id"
)

// ErrNoLease is what a node answers when it is asked for a lease and holds none itself. It means "don't know".
var ErrNoLease = errors.New("revoke: this node holds no lease itself")

// ErrTooManyRemotes is what a node answers when it answers as many verifiers as it can keep account of.
var ErrTooManyRemotes = errors.New("revoke: too many remote verifiers at this node")

// errBehind is what a node answers while it has to read the log before it can answer: the verifier that asks has applied
// more than the node, as one that comes from another node may have, or the node has vouched for a commit of its own that it
// has yet to read back. It means "don't know".
var errBehind = errors.New("revoke: this node has to read the log first")

// maxRemotes bounds the memory that callers with ever new ids can make a node spend.
const maxRemotes = 10_000

// remotes is the account that a node keeps of the verifiers whose renewals it answers from its own memory. The log does
// not know them; the node acknowledges for them. What a renewal costs does not grow with how many there are.
type remotes struct {
	all     map[id.Verifier]remote
	covered map[uint64]int // how many have covered what: a few numbers near the head, and those of the silent ones
	first   time.Duration  // monotonic: before it no account ends
}

// remote is one verifier that may hold a lease given by this node.
type remote struct {
	covered uint64        // under every lease of this node that it may hold, it has applied at least this
	until   time.Duration // monotonic: then the last lease it was given has ended on any clock
}

func newRemotes() *remotes {
	return &remotes{all: map[id.Verifier]remote{}, covered: map[uint64]int{}}
}

// acknowledged returns how much of applied this node may acknowledge: no event that a remote may still be ignorant of
// under a lease given here.
func (r *remotes) acknowledged(now Instant, applied uint64) uint64 {
	if now.Mono >= r.first {
		r.sweep(now)
	}
	for n := range r.covered {
		applied = min(applied, n)
	}
	return applied
}

// sweep ends the accounts whose time has come.
func (r *remotes) sweep(now Instant) {
	r.first = math.MaxInt64
	for v, x := range r.all {
		if now.Mono < x.until {
			r.first = min(r.first, x.until)
			continue
		}
		delete(r.all, v)
		r.count(x.covered, -1)
	}
}

func (r *remotes) count(covered uint64, by int) {
	if r.covered[covered] += by; r.covered[covered] == 0 {
		delete(r.covered, covered)
	}
}

// heard notes that a verifier says it has applied n. It reports whether that was news.
func (r *remotes) heard(v id.Verifier, n uint64) bool {
	x, ok := r.all[v]
	if !ok || n <= x.covered {
		return false
	}
	r.count(x.covered, -1)
	r.count(n, 1)
	x.covered = n
	r.all[v] = x
	return true
}

// gave notes, before it is sent, an answer that lets v hold a lease once it has applied head.
func (r *remotes) gave(v id.Verifier, head uint64, until time.Duration) {
	x, ok := r.all[v]
	if !ok {
		x.covered = head // the first answer holds all of it; it holds no other lease of ours
		r.count(head, 1)
	}
	x.until = max(x.until, until)
	r.all[v] = x
	r.first = min(r.first, x.until)
}

// full says whether v has no account and there is no room for one.
func (r *remotes) full(v id.Verifier) bool {
	_, known := r.all[v]
	return !known && len(r.all) >= maxRemotes
}

// doubt forgets what the remotes have covered, for the numbers mean something else now. Their leases last.
func (r *remotes) doubt() {
	clear(r.covered)
	for v, x := range r.all {
		x.covered = 0
		r.all[v] = x
		r.count(0, 1)
	}
}

// claims are what verifiers say they have applied that this node has not read.
type claims map[id.Verifier]claim

type claim struct {
	seq  uint64
	made time.Duration // monotonic
}

// refuted reports whether there is no such event. Whoever comes from another node may be ahead of this one, but not of a
// question to the log that was sent after it said so, and that this node's lease rests on: the log was put back, as by a
// restore that nobody declared.
func (c claims) refuted(v id.Verifier, seq uint64, now, asOf Instant) bool {
	x, ok := c[v]
	if ok && x.seq == seq {
		return asOf.Mono > x.made
	}
	if !ok && len(c) >= maxRemotes {
		clear(c) // they will say it again
	}
	c[v] = claim{seq, now.Mono}
	return false
}

// answer answers another verifier's renewal from memory. Everything is counted from the moment before this node's own
// question was sent: the age tells the remote how old the knowledge is, and the account ends when a lease from that
// moment has ended on any clock.
func (m *member) answer(now Instant, r Renewal) (Answer, error) {
	s := m.state.Load()
	age, ok := now.since(s.lease.from)
	if !ok || s.lease.left(now) <= 0 {
		return Answer{}, ErrNoLease
	}
	a := Answer{Age: age, Head: Head{
		Log: m.journal.log, Seq: m.journal.applied(), Low: m.journal.low, LowTag: m.journal.lowTag, Lease: m.period,
	}}
	a.Head.Tag, _ = m.journal.tag(a.Head.Seq)
	a.Head.Now = m.fleet.forOthers(now)
	held := m.remotes.acknowledged(now, a.Head.Seq) // forgets those whose leases have ended
	// An own commit that is only known ahead of its turn is in no answer yet. Where somebody was told that it is settled
	// here, nobody may get a lease without it.
	if m.vouched > a.Head.Seq {
		m.haste = atOnce
		return Answer{}, errBehind
	}
	if r.Log == a.Head.Log && r.Applied > a.Head.Seq {
		if m.claims.refuted(r.Verifier, r.Applied, now, s.lease.from) {
			a.Reset = true
			return a, nil
		}
		m.haste = atOnce
		return Answer{}, errBehind
	}
	delete(m.claims, r.Verifier)
	events, more, ok := m.journal.after(r.Applied, r.Tag, min(max(r.Limit, 1), pageLimit))
	if !ok || r.Log != m.journal.log {
		a.Reset = true
		return a, nil
	}
	if m.remotes.heard(r.Verifier, r.Applied) && m.remotes.acknowledged(now, a.Head.Seq) > held {
		m.haste = atOnce // it was the last that others waited for
	}
	a.Events, a.More = events, more
	if more {
		return a, nil
	}
	if m.remotes.full(r.Verifier) {
		return Answer{}, ErrTooManyRemotes
	}
	m.remotes.gave(r.Verifier, a.Head.Seq, s.lease.from.Mono+margin(m.period))
	return a, nil
}
