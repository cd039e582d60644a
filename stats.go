package handstamp

import (
	"sync/atomic"
	"time"
)

// Stats is what a Verifier counted since it was opened, for metrics.
type Stats struct {
	Cache   CacheStats
	Lag     Distribution // from the commit of an event to its effect here; only of those heard under a fresh lease
	Waiters int          // waits for the fleet that are under way
}

// CacheStats is what happened to checks that a copy may answer. All are zero without a cache.
type CacheStats struct {
	Hits    uint64 // answered from memory
	Misses  uint64 // asked the store, or checked a signature
	Joined  uint64 // of the misses, those that shared a question which was under way
	Unknown uint64 // refused from memory, since the store said a moment ago that it never heard of the secret
	Entries int
	Bytes   uint64       // estimated
	Age     Distribution // of the copies that were served: since they were read
}

// Distribution is a histogram of durations. Counts[i] is of those up to Bounds[i] and above the bound before; the last count,
// one more than there are bounds, is of those above all.
type Distribution struct {
	Bounds []time.Duration
	Counts []uint64
	Sum    time.Duration
}

// distribution counts durations without a lock.
type distribution struct {
	bounds []time.Duration
	counts []atomic.Uint64
	sum    atomic.Int64
}

func newDistribution(bounds ...time.Duration) *distribution {
	return &distribution{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

func (d *distribution) add(x time.Duration) {
	x = max(x, 0)
	i := 0
	for i < len(d.bounds) && x > d.bounds[i] {
		i++
	}
	d.counts[i].Add(1)
	d.sum.Add(int64(x))
}

func (d *distribution) read() Distribution {
	out := Distribution{Bounds: d.bounds, Counts: make([]uint64, len(d.counts)), Sum: time.Duration(d.sum.Load())}
	for i := range d.counts {
		out.Counts[i] = d.counts[i].Load()
	}
	return out
}

func newLag() *distribution {
	const ms = time.Millisecond
	return newDistribution(ms, 2*ms, 5*ms, 10*ms, 20*ms, 50*ms, 100*ms, 250*ms, 500*ms, time.Second, 2*time.Second, 5*time.Second)
}

func newAges() *distribution {
	return newDistribution(10*time.Millisecond, 100*time.Millisecond, time.Second, 10*time.Second, time.Minute, 10*time.Minute, time.Hour)
}

// Stats says what was counted. It asks nobody.
func (v *Verifier) Stats() Stats {
	return Stats{Cache: v.near.stats(), Lag: v.lag.read(), Waiters: v.log.Waiters()}
}
