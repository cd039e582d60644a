package revoke

import (
	"time"

	"github.com/handstamp/handstamp/id"
)

// lease is permission to answer from memory: for length, counted from the moment before the question was sent whose
// answer says what was there to know. Counted from the answer's arrival instead, a process that was stopped would
// believe an old answer.
type lease struct {
	from   Instant
	length time.Duration // 0 is none
}

// left returns how much of the lease is left at now, by whichever clock says less. A clock that went back, or a clock
// read before the lease began, leaves nothing.
func (l lease) left(now Instant) time.Duration {
	passed, ok := now.since(l.from)
	if !ok {
		return 0
	}
	return max(0, l.length-passed)
}

// state is what one check needs, in one immutable value that is loaded once: set, place and lease belong together.
type state struct {
	verifier   id.Verifier
	generation uint64
	log        string
	applied    uint64
	low        uint64
	events     *snapshot
	lease      lease
	fleet      time.Duration // the fleet's lease; 0 before the first registration
}

func (s *state) check(now Instant, q Query) Verdict {
	return Verdict{
		Fresh:      q.AsOf >= s.low && s.lease.left(now) > 0,
		Hit:        s.events.hit(q),
		Generation: s.generation,
		Applied:    s.applied,
	}
}

// Verdict is what memory says of a copy. The zero value permits nothing.
type Verdict struct {
	// Fresh says that memory may decide: the lease is fresh, and no event that could hit the copy has been forgotten.
	// Without it only the store may say yes. A hit is true in either case.
	Fresh bool
	Hit
	// Generation changes with every reset. Copies made under another one are dropped.
	Generation uint64
	// Applied is up to where the events were applied, in order, that this was judged by: a copy that is fresh and not hit
	// is as good as one that was read at this number.
	Applied uint64
}

// View is where a verifier stands, for people and metrics, and for who stamps copies.
type View struct {
	Verifier   id.Verifier // changes when the verifier has to register anew
	Log        string
	Applied    uint64 // applied in order: what a copy read after this moment may carry as its as_of
	Low        uint64
	Generation uint64
	Lease      time.Duration // the fleet's lease
	LeaseLeft  time.Duration // 0 when memory may not decide
}

func (s *state) view(now Instant) View {
	return View{
		Verifier: s.verifier, Log: s.log, Applied: s.applied, Low: s.low, Generation: s.generation,
		Lease: s.fleet, LeaseLeft: s.lease.left(now),
	}
}
