package sqlite

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// watchEvery is how often a watcher asks whether another process wrote. The engine answers from shared memory, in five
// microseconds; what costs is that an idle process wakes up for it.
const watchEvery = 15 * time.Millisecond

// Watch implements revoke.Log. Commits of this Store wake at once; those of other processes are noticed by the engine's
// data version, which only says that the file changed, so the head is read before anybody is woken.
func (v *eventLog) Watch(ctx context.Context, wake func()) error {
	l, err := v.s.readers.dial(ctx) // its own: the data version is a property of a connection
	if err != nil {
		return fmt.Errorf("watch the log: %w", err)
	}
	defer l.close()
	signal, stop := v.s.signals.subscribe()
	defer stop()
	last, err := place(l, seen{})
	if err != nil {
		return fmt.Errorf("watch the log: %w", err)
	}
	wake() // what was appended before the first look
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, open := <-signal:
			if !open {
				return fmt.Errorf("watch the log: %w", ErrClosed)
			}
			wake()
		case <-ticker.C:
			now, err := place(l, last)
			if err != nil {
				return fmt.Errorf("watch the log: %w", err)
			}
			if now.log != last.log || now.head != last.head {
				wake()
			}
			last = now
		}
	}
}

// seen is what a watcher compares.
type seen struct {
	version int64
	log     string
	head    uint64
}

// place looks where the log is. While nobody has written since the last look, that is where it was.
func place(l *link, last seen) (seen, error) {
	var s seen
	if err := l.row("PRAGMA data_version", nil, &s.version); err != nil || s.version == last.version {
		return last, err
	}
	err := l.row("SELECT log, head FROM handstamp_log WHERE id = 1", nil, asText(&s.log), asNumber(&s.head))
	return s, err
}

// signals wakes watchers in this process. The zero value has none.
type signals struct {
	mu     sync.Mutex
	closed bool
	subs   map[chan struct{}]struct{}
}

func (g *signals) subscribe() (signal <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		close(ch)
		return ch, func() {}
	}
	if g.subs == nil {
		g.subs = make(map[chan struct{}]struct{})
	}
	g.subs[ch] = struct{}{}
	return ch, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.subs, ch)
	}
}

func (g *signals) send() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for ch := range g.subs {
		select {
		case ch <- struct{}{}:
		default: // it is going to look anyway
		}
	}
}

func (g *signals) closeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for ch := range g.subs {
		close(ch)
	}
	g.subs = nil
}
