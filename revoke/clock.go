package revoke

import "time"

// Instant is one reading of a process's two clocks. A lease is fresh only if both say so: the monotonic clock is blind to
// a suspended machine, the wall clock can be set.
type Instant struct {
	Mono time.Duration // monotonic, since any fixed moment of the process
	Wall time.Time     // the wall clock, stripped of a monotonic reading (Round(0)); anything else blinds it to a suspend
}

// Clock reads both clocks at one moment. It must read them when it is called: a cached tick lets a process that was
// stopped believe, for one check, that no time has passed.
type Clock func() Instant

// SystemClock returns the clock of this process.
func SystemClock() Clock {
	start := time.Now()
	return func() Instant {
		now := time.Now()
		return Instant{Mono: now.Sub(start), Wall: now.Round(0)}
	}
}

// since returns how much time passed from t to now, at least: the larger of what the two clocks say. ok is false if either
// of them went back, so that nothing can be said.
func (now Instant) since(t Instant) (passed time.Duration, ok bool) {
	mono, wall := now.Mono-t.Mono, now.Wall.Sub(t.Wall)
	return max(mono, wall), mono >= 0 && wall >= 0
}

// margin stretches a duration measured on one machine so that no other machine's clock calls it shorter. Rates may be off
// by 5 % each: 1.05/0.95 is 1.105.
func margin(d time.Duration) time.Duration { return d * 112 / 100 }
