package revoke

import (
	"sync/atomic"
	"time"
)

// maxSkew is how well the fleet's time must be known before anything is issued by it.
const maxSkew = 5 * time.Second

// fleetClock carries the store's clock on by this machine's monotonic clock, so that nodes whose wall clocks differ agree
// about now. It is safe for concurrent use by many readers and one writer.
type fleetClock struct{ last atomic.Pointer[reading] }

// reading is what a renewal said of the store's clock.
type reading struct {
	at    Instant       // when the answer arrived
	store time.Time     // the store's clock at that moment, in the middle of what it may be; zero: it has none of its own
	off   time.Duration // by how much it may be off
}

// note takes the store's clock as it was at some moment between sent and arrived. It keeps the better of this and the
// last reading.
func (c *fleetClock) note(sent, arrived Instant, store time.Time) {
	if store.IsZero() {
		c.last.Store(&reading{at: arrived})
		return
	}
	took, ok := arrived.since(sent)
	if !ok {
		return
	}
	r := &reading{at: arrived, store: store.Add((arrived.Mono - sent.Mono) / 2), off: took / 2}
	if old := c.last.Load(); old == nil || old.store.IsZero() || r.off <= old.doubt(arrived) {
		c.last.Store(r)
	}
}

// doubt returns by how much the reading, carried on to now, may be off: clock rates by 5 %, and all that the two clocks
// disagree about, since that is a suspend or a step.
func (r *reading) doubt(now Instant) time.Duration {
	mono, wall := now.Mono-r.at.Mono, now.Wall.Sub(r.at.Wall)
	return r.off + mono/20 + (wall - mono).Abs()
}

// now returns the fleet's time. ok is false when it cannot be placed within 5 s. Then it is the store's clock as the monotonic
// one carries it on, which is right if the wall clock was set, and behind if the machine was suspended.
func (c *fleetClock) now(now Instant) (t time.Time, ok bool) {
	r := c.last.Load()
	switch {
	case r == nil:
		return time.Time{}, false
	case r.store.IsZero():
		return now.Wall, true
	case r.doubt(now) > maxSkew:
		return r.store.Add(now.Mono - r.at.Mono), false
	}
	return r.store.Add(now.Mono - r.at.Mono), true
}

// forOthers is the fleet's time for an answer to a remote verifier; zero where it is not known.
func (c *fleetClock) forOthers(now Instant) time.Time {
	t, ok := c.now(now)
	if !ok {
		return time.Time{}
	}
	return t
}
