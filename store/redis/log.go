package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/revoke"
)

// eventLog is the base's log. The answers to those who follow it take the records along, so that a read nearly always
// finds them where the head is.
type eventLog struct {
	revoke.Log
	s *Store
}

// Renew renews in the base, and writes to Redis what came with the answer. That Redis does not answer keeps nobody from a
// lease: those who read sessions wait for it themselves.
func (l *eventLog) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	a, err := l.Log.Renew(ctx, r)
	if err != nil || len(a.Events) == 0 {
		return a, err
	}
	l.s.bring(ctx, a)
	return a, nil
}

// How long a follower waits for Redis at most, and how long it leaves it alone after that.
const (
	bringTimeout = 100 * time.Millisecond
	bringPause   = time.Second
)

// bring writes events that a follower heard of, unless this process knows that they are written.
func (s *Store) bring(ctx context.Context, a revoke.Answer) {
	last := a.Events[len(a.Events)-1]
	if !s.followed.due(a.Head.Log, last.Seq) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, bringTimeout)
	defer cancel()
	at, err := s.placeNow(ctx)
	if err == nil && !at.blank() && at.log == a.Head.Log && at.seq < last.Seq {
		if err = s.apply(ctx, a.Events, a.Head.Log); err == nil {
			at.seq = last.Seq
		}
	}
	s.followed.note(at, err)
}

// Forget forgets nothing that the records have not heard of.
func (l *eventLog) Forget(ctx context.Context, now time.Time, limit int) (int, error) {
	if err := l.s.catchUp(ctx, 0); err != nil {
		return 0, fmt.Errorf("forget events: %w", err)
	}
	return l.Log.Forget(ctx, now, limit)
}

// Watch rings with the base's alarm and with Redis': the script that writes what an append did also says so to all who
// listen. It ends as the base's watch ends.
func (l *eventLog) Watch(ctx context.Context, wake func()) error {
	return watch(ctx, l.Log, l.s.c, wake)
}
