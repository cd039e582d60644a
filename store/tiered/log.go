package tiered

import (
	"context"
	"sync"

	"github.com/handstamp/handstamp/revoke"
)

// eventLog is the database's log.
type eventLog struct {
	revoke.Log
	s *Store
}

// Register registers in the database, and learns which log this is.
func (l *eventLog) Register(ctx context.Context, r revoke.Registration) (revoke.Head, error) {
	h, err := l.Log.Register(ctx, r)
	if err == nil {
		l.s.learn(h, nil, false)
	}
	return h, err
}

// Renew renews in the database, and learns what came with the answer.
func (l *eventLog) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	a, err := l.Log.Renew(ctx, r)
	if err == nil {
		l.s.learn(a.Head, a.Events, a.Reset)
	}
	return a, err
}

// Watch rings with the database's alarm and with the cache's. It ends as the database's watch ends.
func (l *eventLog) Watch(ctx context.Context, wake func()) error {
	var mu sync.Mutex
	ring := func() {
		mu.Lock()
		defer mu.Unlock()
		wake()
	}
	ctx, cancel := context.WithCancel(ctx)
	var listening sync.WaitGroup
	listening.Go(func() { l.s.cache.Listen(ctx, ring) })
	defer listening.Wait()
	defer cancel()
	err := l.Log.Watch(ctx, ring)
	if err == nil {
		<-ctx.Done() // a log without an alarm of its own
		return ctx.Err()
	}
	return err
}
