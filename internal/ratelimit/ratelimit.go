// Package ratelimit bounds how often something may be done for a key, in the memory of one process. It counts nothing in
// a store and is no throttle of logins: those are counted where every process sees them.
package ratelimit

import (
	"maps"
	"sync"
	"time"
)

// Limiter lets a burst through for each key, and then one each interval: the generic cell rate algorithm. Its memory is
// bounded; when it is full of keys that are busy, it lets through rather than refuse somebody for what others do. It is
// safe for concurrent use.
type Limiter struct {
	interval time.Duration
	burst    int

	mu   sync.Mutex
	full map[string]time.Time // when the key's burst is whole again
}

// maxKeys bounds the memory: about 10 MB.
const maxKeys = 100_000

// New makes a Limiter. Interval is more than 0, burst at least 1.
func New(interval time.Duration, burst int) *Limiter {
	return &Limiter{interval: interval, burst: burst, full: map[string]time.Time{}}
}

// Allow takes one of the key's places at now. It answers 0, or how long until the next place.
func (l *Limiter) Allow(key string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.full[key]
	if at.Before(now) || at.Sub(now) > time.Duration(l.burst)*l.interval { // idle, or the clock was set back
		at = now
	}
	next := at.Add(l.interval)
	if wait := next.Sub(now) - time.Duration(l.burst)*l.interval; wait > 0 {
		return wait
	}
	if len(l.full) >= maxKeys {
		maps.DeleteFunc(l.full, func(_ string, at time.Time) bool { return !at.After(now) })
	}
	if _, known := l.full[key]; known || len(l.full) < maxKeys {
		l.full[key] = next
	}
	return 0
}
