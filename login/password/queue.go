package password

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/handstamp/handstamp"
)

// Defaults of [NewQueue].
const (
	waitingPerWorker = 64 // about 3 s of work at 20 hashes a second
	defaultMaxWait   = 3 * time.Second
)

// ErrBusy means that too many hashes are waiting already, or that one waited too long. Nothing was hashed and
// nothing is known about the password. The error is a [*BusyError]; compare with errors.Is.
var ErrBusy = errors.New("too many passwords are being checked")

// BusyError is the [ErrBusy] that [Queue.Do] returns.
type BusyError struct {
	// RetryAfter says after how many seconds to try again, at least 1 (RFC 9110 section 10.2.3).
	RetryAfter int
}

// Error returns a fixed text and the seconds.
func (e *BusyError) Error() string {
	return fmt.Sprintf("%v: try again in %d s", ErrBusy, e.RetryAfter)
}

// Is says that this is [ErrBusy].
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// Queue bounds how many hashes run at once, how many wait, and how long one waits. Hashing is the dearest thing
// an anonymous caller can ask for: without bounds a storm of logins takes the cores from everything else and
// the memory of the machine. Waiting ones are served in the order of their arrival.
//
// A Queue starts no goroutines and needs no closing. It is safe for concurrent use.
type Queue struct {
	workers int
	waiting int
	maxWait time.Duration

	mu      sync.Mutex
	running int
	refused uint64
	waiters list.List // of chan struct{}, closed when the slot is handed over
}

// Load is how a queue stands at one moment, for metrics.
type Load struct {
	Running int    // hashes that are computed
	Waiting int    // hashes that wait for their turn
	Refused uint64 // hashes that were not computed since the queue was made, because too many waited or one waited too long
}

// NewQueue makes a queue with that many hashes at once, that many waiting, and the longest time one waits. A
// value below 1 means the default: one worker less than there are cores but at least 1, 64 waiting per worker,
// 3 s.
func NewQueue(workers, waiting int, maxWait time.Duration) *Queue {
	if workers < 1 {
		workers = max(1, runtime.GOMAXPROCS(0)-1)
	}
	if waiting < 1 {
		waiting = waitingPerWorker * workers
	}
	if maxWait < 1 {
		maxWait = defaultMaxWait
	}
	return &Queue{workers: workers, waiting: waiting, maxWait: maxWait}
}

// Do waits for its turn, runs work on the calling goroutine and returns nil; work is not interrupted. If the
// turn does not come, work does not run and the error is an [ErrBusy], or wraps the cause of ctx if that ended
// first.
func (q *Queue) Do(ctx context.Context, work func()) error {
	if ctx.Err() != nil {
		return left(ctx)
	}
	ctx, back := handstamp.OutsideBudget(ctx) // a crowd before the queue is no slow store
	defer back()
	if err := q.acquire(ctx); err != nil {
		return err
	}
	defer q.release()
	work()
	return nil
}

// Load says how the queue stands.
func (q *Queue) Load() Load {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Load{Running: q.running, Waiting: q.waiters.Len(), Refused: q.refused}
}

func (q *Queue) acquire(ctx context.Context) error {
	q.mu.Lock()
	if q.running < q.workers { // then nobody waits: release hands slots to waiters before it frees one
		q.running++
		q.mu.Unlock()
		return nil
	}
	if q.waiters.Len() >= q.waiting {
		q.refused++
		q.mu.Unlock()
		return q.busy()
	}
	turn := make(chan struct{})
	place := q.waiters.PushBack(turn)
	q.mu.Unlock()

	timeout := time.NewTimer(q.maxWait)
	defer timeout.Stop()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		if !q.leave(place) {
			q.release() // the slot came at the same moment, but nobody wants the answer
		}
		return left(ctx)
	case <-timeout.C:
		if !q.leave(place) {
			return nil // the slot came at the same moment
		}
		q.mu.Lock()
		q.refused++
		q.mu.Unlock()
		return q.busy()
	}
}

// leave gives up a place and reports true; false if the slot was handed over already.
func (q *Queue) leave(place *list.Element) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	turn := place.Value.(chan struct{})
	select {
	case <-turn:
		return false
	default:
		q.waiters.Remove(place)
		return true
	}
}

func (q *Queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.handOver()
}

// handOver gives the slot to whoever waits longest, or frees it. The caller holds mu.
func (q *Queue) handOver() {
	first := q.waiters.Front()
	if first == nil {
		q.running--
		return
	}
	close(q.waiters.Remove(first).(chan struct{}))
}

// busy promises room after the longest wait: by then all who wait at this moment were served or left.
func (q *Queue) busy() error {
	return &BusyError{RetryAfter: int((q.maxWait + time.Second - 1) / time.Second)}
}

func left(ctx context.Context) error {
	return fmt.Errorf("wait for a password hash: %w", context.Cause(ctx))
}
