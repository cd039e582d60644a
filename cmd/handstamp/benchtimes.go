package main

import (
	"math"
	"math/bits"
	"time"
)

// Durations are counted in steps that widen with them: 64 steps for each power of two, up to two minutes. So it takes
// the same memory whatever it counts, and a percentile is never too low and at most a 64th too high.
const (
	timesBits  = 6
	timesSteps = 1 << timesBits
	timesTop   = 37 // 2^37 ns are 137 s; what takes longer counts as that, but for the maximum
	timesSize  = (timesTop - timesBits + 1) * timesSteps
)

// times is how long many things took. The zero value has counted nothing. It is for one goroutine.
type times struct {
	counts [timesSize]uint64
	count  uint64
	most   time.Duration
}

// add counts one duration.
func (t *times) add(d time.Duration) {
	d = max(d, 0)
	t.counts[stepOf(d)]++
	t.count++
	t.most = max(t.most, d)
}

// join adds what another one counted.
func (t *times) join(other *times) {
	for i, n := range other.counts {
		t.counts[i] += n
	}
	t.count += other.count
	t.most = max(t.most, other.most)
}

// percentile is the duration that a share of all did not exceed (the nearest rank): 0.5 is the median. Without any it is 0.
func (t *times) percentile(share float64) time.Duration {
	if t.count == 0 {
		return 0
	}
	rank := max(1, uint64(math.Ceil(share*float64(t.count))))
	var seen uint64
	for i, n := range t.counts {
		if seen += n; seen >= rank {
			return min(endOf(i), t.most)
		}
	}
	return t.most
}

// stepOf is the step that counts a duration of 0 or more.
func stepOf(d time.Duration) int {
	n := min(uint64(d), 1<<timesTop-1)
	if n < timesSteps {
		return int(n)
	}
	shift := bits.Len64(n) - timesBits - 1
	return (shift+1)*timesSteps + int(n>>shift) - timesSteps
}

// endOf is the longest duration that a step counts.
func endOf(step int) time.Duration {
	if step < timesSteps {
		return time.Duration(step)
	}
	shift := step/timesSteps - 1
	return time.Duration(uint64(step%timesSteps+timesSteps+1)<<shift - 1)
}
