package handstamp

import (
	"context"
	"sync"
	"time"
)

// lastSeen keeps, in memory, which sessions were used lately, and hands them to the store in batches: the hot path
// writes nothing. What a crash loses is at most one interval of "last seen".
type lastSeen struct {
	mu      sync.RWMutex
	waiting map[SessionID]time.Time // noted and not yet written
	writing map[SessionID]time.Time // on their way; still counted by latest
}

// maxSeen bounds the memory: sessions beyond it are noted at their next request.
const maxSeen = 100_000

func newLastSeen() *lastSeen { return &lastSeen{waiting: map[SessionID]time.Time{}} }

// seenInterval is how rarely a session's use is written: at most once per min(60 s, idle/20), so that an idle end is
// never more than a twentieth early.
func seenInterval(idle time.Duration) time.Duration {
	if idle == 0 {
		return time.Minute
	}
	return min(time.Minute, idle/20)
}

// note remembers that a session was used, if it is time to write it again, and reports whether it was.
func (l *lastSeen) note(s Session, now time.Time) bool {
	if s.Mode == ModeToken || now.Sub(s.SeenAt) < seenInterval(s.IdleTimeout) {
		return false
	}
	l.mark(s.ID, now)
	return true
}

// mark remembers that a session was used.
func (l *lastSeen) mark(s SessionID, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.waiting[s]; ok || len(l.waiting) < maxSeen {
		l.waiting[s] = now
	}
}

// latest is when a session was last used, as far as store or memory know.
func (l *lastSeen) latest(s SessionID, stored time.Time) time.Time {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, m := range []map[SessionID]time.Time{l.waiting, l.writing} {
		if t, ok := m[s]; ok && t.After(stored) {
			stored = t
		}
	}
	return stored
}

// flush writes what is waiting. What could not be written waits for the next time.
func (l *lastSeen) flush(ctx context.Context, s Sessions) error {
	l.mu.Lock()
	if len(l.waiting) == 0 {
		l.mu.Unlock()
		return nil
	}
	batch := l.waiting
	l.writing, l.waiting = batch, map[SessionID]time.Time{}
	l.mu.Unlock()

	err := s.Touch(ctx, batch)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = nil
	if err == nil {
		return nil
	}
	for sid, t := range batch {
		if later, ok := l.waiting[sid]; !ok || t.After(later) {
			l.waiting[sid] = t
		}
	}
	return err
}
