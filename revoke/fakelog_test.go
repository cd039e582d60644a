package revoke

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/handstamp/handstamp/id"
)

var errDown = errors.New("the log is down")

// fakeLog is a log in memory, with faults to switch on.
type fakeLog struct {
	mu     sync.Mutex
	head   Head
	events []Event
	rows   map[id.Verifier]Registration
	wakes  map[int]func()
	nextID int
	clock  func() time.Time // the store's clock; nil: it has none
	fail   error            // every call fails
	stall  bool             // every call hangs until its context ends
	late   time.Duration    // the answer of Renew is made at once and arrives that late, whatever the context says
	mute   bool             // Watch rings nobody
	calls  map[string]int
}

func newFakeLog() *fakeLog {
	return &fakeLog{
		head: Head{Log: "log1", Lease: period}, rows: map[id.Verifier]Registration{},
		wakes: map[int]func(){}, calls: map[string]int{},
	}
}

// enter applies the faults, and takes the lock if there is none.
func (l *fakeLog) enter(ctx context.Context, call string) error {
	l.mu.Lock()
	l.calls[call]++
	fail, stall := l.fail, l.stall
	l.mu.Unlock()
	if stall {
		<-ctx.Done()
		return ctx.Err()
	}
	if fail != nil {
		return fail
	}
	l.mu.Lock()
	return nil
}

func (l *fakeLog) set(change func(l *fakeLog)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *fakeLog) called(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[name]
}

// row returns a registration and how many there are.
func (l *fakeLog) row(v id.Verifier) (r Registration, ok bool, total int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok = l.rows[v]
	return r, ok, len(l.rows)
}

func (l *fakeLog) append(events ...Event) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range events {
		l.head.Seq++
		l.head.Tag = Tag(fmt.Sprintf("%s/%d", l.head.Log, l.head.Seq))
		events[i].Seq, events[i].Tag = l.head.Seq, l.head.Tag
	}
	l.events = append(l.events, events...)
	if !l.mute {
		for _, wake := range l.wakes {
			wake()
		}
	}
	return events
}

// replace is a restore: another log, whose numbers begin at low.
func (l *fakeLog) replace(name string, low uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head = Head{Log: name, Seq: low, Tag: "low", Low: low, LowTag: "low", Lease: period}
	l.events = nil
}

func (l *fakeLog) now() time.Time {
	if l.clock == nil {
		return time.Time{}
	}
	return l.clock()
}

func (l *fakeLog) Register(ctx context.Context, r Registration) (Head, error) {
	if err := l.enter(ctx, "Register"); err != nil {
		return Head{}, err
	}
	defer l.mu.Unlock()
	if _, ok := l.rows[r.Verifier]; ok {
		return Head{}, fmt.Errorf("verifier %s exists", r.Verifier)
	}
	l.rows[r.Verifier] = r
	h := l.head
	h.Now = l.now()
	return h, nil
}

func (l *fakeLog) Renew(ctx context.Context, r Renewal) (Answer, error) {
	if err := l.enter(ctx, "Renew"); err != nil {
		return Answer{}, err
	}
	a, err := l.renew(r)
	late := l.late
	l.mu.Unlock()
	time.Sleep(late)
	return a, err
}

func (l *fakeLog) renew(r Renewal) (Answer, error) {
	row, ok := l.rows[r.Verifier]
	if !ok {
		return Answer{}, ErrNotRegistered
	}
	a := Answer{Head: l.head}
	a.Head.Now = l.now()
	tag := l.head.LowTag
	switch {
	case r.Log != l.head.Log, r.Applied < l.head.Low, r.Applied > l.head.Seq:
		a.Reset = true
		return a, nil
	case r.Applied > l.head.Low:
		tag = l.events[r.Applied-l.head.Low-1].Tag
	}
	if tag != r.Tag {
		a.Reset = true
		return a, nil
	}
	if row.Applied <= r.Applied {
		row.Applied, row.Lag = r.Applied, r.Lag
	}
	l.rows[r.Verifier] = row
	rest := l.events[r.Applied-l.head.Low:]
	if len(rest) > r.Limit {
		rest, a.More = rest[:r.Limit], true
	}
	a.Events = slices.Clone(rest)
	return a, nil
}

func (l *fakeLog) Registered(ctx context.Context) ([]Registration, error) {
	if err := l.enter(ctx, "Registered"); err != nil {
		return nil, err
	}
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.rows)), nil
}

func (l *fakeLog) Remove(ctx context.Context, below uint64, ids ...id.Verifier) error {
	if err := l.enter(ctx, "Remove"); err != nil {
		return err
	}
	defer l.mu.Unlock()
	for _, v := range ids {
		if l.rows[v].Applied < below {
			delete(l.rows, v)
		}
	}
	return nil
}

func (l *fakeLog) Forget(_ context.Context, _ time.Time, limit int) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(limit, len(l.events)-1)
	if n <= 0 {
		return 0, nil
	}
	l.head.Low, l.head.LowTag = l.events[n-1].Seq, l.events[n-1].Tag
	l.events = l.events[n:]
	return n, nil
}

func (l *fakeLog) Watch(ctx context.Context, wake func()) error {
	l.mu.Lock()
	l.calls["Watch"]++
	l.nextID++
	no := l.nextID
	l.wakes[no] = wake
	fail := l.fail
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.wakes, no)
	}()
	if fail != nil {
		return fail
	}
	<-ctx.Done()
	return ctx.Err()
}
