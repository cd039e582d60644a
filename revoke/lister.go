package revoke

import (
	"context"
	"time"
)

// lister reads the registrations for many waiters at a time: one that queued behind a read takes that read's result if
// it began after the waiter asked. Reads begin a firstPoll apart at least, so that however many wait, a process asks the
// database 250 times a second at most.
type lister struct {
	log   Log
	clock Clock
	turn  chan struct{} // holds one token

	last  time.Duration // monotonic: when the last read began
	began time.Duration // of the last good one
	list  []Registration
}

func newLister(log Log, clock Clock) *lister {
	l := &lister{log: log, clock: clock, turn: make(chan struct{}, 1), last: -firstPoll, began: -1}
	l.turn <- struct{}{}
	return l
}

// read returns registrations that were read after it was called.
func (l *lister) read(ctx context.Context) ([]Registration, error) {
	asked := l.clock().Mono
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.turn:
	}
	defer func() { l.turn <- struct{}{} }()
	if l.began > asked {
		return l.list, nil
	}
	if early := min(l.last+firstPoll-l.clock().Mono, firstPoll); early > 0 {
		if err := pause(ctx, early); err != nil {
			return nil, err
		}
	}
	began := l.clock().Mono
	l.last = began
	list, err := l.log.Registered(ctx)
	if err != nil {
		return nil, err
	}
	l.began, l.list = began, list
	return list, nil
}
