package revoke

import (
	"context"
	"time"
)

// lister reads the registrations for many waiters at a time: one that queued behind a read takes that read's result if
// it began after the waiter asked, so a hundred waiters cost the database little more than one.
type lister struct {
	log   Log
	clock Clock
	turn  chan struct{} // holds one token

	began time.Duration // monotonic: when the last good read began
	list  []Registration
}

func newLister(log Log, clock Clock) *lister {
	l := &lister{log: log, clock: clock, turn: make(chan struct{}, 1), began: -1}
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
	began := l.clock().Mono
	list, err := l.log.Registered(ctx)
	if err != nil {
		return nil, err
	}
	l.began, l.list = began, list
	return list, nil
}
