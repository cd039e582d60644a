package revoke

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp/id"
)

const (
	// maxWaiters bounds how many waits for the fleet one process runs at a time.
	maxWaiters = 256
	// patience is how long one request to the log may take while there is no lease to lose.
	patience = 5 * time.Second
	// farewell is how long a closing follower tries to remove its registration.
	farewell = time.Second
)

// ErrTooManyWaiters is what Wait answers when as many waits as one process may run are under way. The event stands; the
// fleet was not waited for.
var ErrTooManyWaiters = errors.New("revoke: too many waits for the fleet at this process")

// FollowOptions are the options of [Follow]. The zero value works.
type FollowOptions struct {
	Clock Clock  // SystemClock() by default
	Name  string // host and process, for people

	// OnEvents is called with the events that were applied, in order and without gaps, after checks obey them. OnReset is
	// called when the log behind the numbers is another one: every copy made before is to be dropped. Both are called by
	// the follower's own goroutine, never during Follow, and hold up renewals while they run. They must not call Close.
	OnEvents func([]Event)
	OnReset  func()

	Logger *slog.Logger // discards by default; one line per change of state
}

// Follower follows a log: it registers, keeps the lease, applies what is new, acknowledges it. All its methods are safe
// for concurrent use; those that a check calls take no lock and allocate nothing.
type Follower struct {
	log   Log
	opt   FollowOptions
	clock Clock

	mu     sync.Mutex // guards member, reaper, gone; never held during a call of the log
	member *member
	reaper reaper
	gone   map[id.Verifier]uint64 // who did not answer a wait, and the number it is below

	moved chan struct{} // closed and replaced, under mu, whenever something was applied

	err     atomic.Pointer[error]
	waiters atomic.Int32
	lister  *lister
	wake    chan struct{}
	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

// Follow registers a verifier, replays the whole log, and follows it until [Follower.Close]. ctx bounds the replay only.
// It fails if the log cannot be read: a process that cannot say what was revoked has nothing to serve.
func Follow(ctx context.Context, log Log, opt FollowOptions) (*Follower, error) {
	if opt.Clock == nil {
		opt.Clock = SystemClock()
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Follower{
		log: log, opt: opt, clock: opt.Clock,
		member: newMember(opt.Name), gone: map[id.Verifier]uint64{},
		lister: newLister(log, opt.Clock),
		wake:   make(chan struct{}, 1),
		moved:  make(chan struct{}),
	}
	if err := f.replay(ctx); err != nil {
		f.leave(context.WithoutCancel(ctx))
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	f.running.Go(func() { f.run(run) })
	f.running.Go(func() { f.watch(run) })
	return f, nil
}

// Close ends the lease, then the goroutines, and waits for them. After it, every verdict is stale.
func (f *Follower) Close() {
	f.closing.Do(func() {
		f.stop()
		f.running.Wait()
		f.leave(context.Background())
	})
	f.running.Wait()
}

// leave gives the lease up and takes back the registration, so that nobody waits for a verifier that is gone. Where
// others may still hold a lease from this one, the registration speaks for them and stays until it is found dead.
func (f *Follower) leave(ctx context.Context) {
	f.mu.Lock()
	f.member.stop()
	v, registered := f.member.self, f.member.registered
	quiet := f.member.remotes.acknowledged(f.clock(), math.MaxUint64) == math.MaxUint64
	f.mu.Unlock()
	if !registered || !quiet {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	_ = f.log.Remove(ctx, math.MaxInt64, v) // else it is found dead later
}

// Now reads both clocks. Every check needs its own reading, taken inside the request.
func (f *Follower) Now() Instant { return f.clock() }

// Check judges a copy from memory, at an instant that was read after the check began.
func (f *Follower) Check(now Instant, q Query) Verdict { return f.member.state.Load().check(now, q) }

// Applied returns the number up to which all events are applied, in order: what a copy may carry as its as_of if the
// record was read after this call.
func (f *Follower) Applied() uint64 { return f.member.state.Load().applied }

// View returns where the follower stands.
func (f *Follower) View() View { return f.member.state.Load().view(f.clock()) }

// RolesChanged reports whether the definition of one of the roles changed after the number since.
func (f *Follower) RolesChanged(roles []string, since uint64) bool {
	return f.member.state.Load().events.rolesChanged(roles, since)
}

// Set returns the set of events that checks consult, to read only.
func (f *Follower) Set() *Set { return f.member.set }

// FleetNow returns the fleet's time: the store's clock, carried on by this machine's monotonic clock, or this machine's
// own where the store has none. It answers false when the time cannot be placed within 5 s; then nothing may be issued, and
// the time is what the store's clock must be if only the wall clock was set, zero before the store was heard of.
func (f *Follower) FleetNow() (now time.Time, ok bool) { return f.member.fleet.now(f.clock()) }

// Learn applies events that this process has just committed, before it answers. They hit from now on; the applied
// number follows when the log is read up to them.
func (f *Follower) Learn(events ...Event) {
	f.mu.Lock()
	f.member.learn(events)
	urgent := f.member.haste == atOnce
	f.mu.Unlock()
	if urgent { // else the log was faster, and told all of it
		f.hurry()
	}
}

// Err returns why renewals do not run, or nil if the last one did.
func (f *Follower) Err() error {
	if p := f.err.Load(); p != nil {
		return *p
	}
	return nil
}

// Wait returns when no check that begins from then on is answered yes from memory, by any registered verifier, against
// the event seq. It is called after the event's commit was confirmed and [Follower.Learn] was told. See the function
// [Wait] for what it promises.
func (f *Follower) Wait(ctx context.Context, seq uint64) (Waited, error) {
	if seq == 0 {
		return Waited{}, nil
	}
	if f.waiters.Add(1) > maxWaiters {
		f.waiters.Add(-1)
		return Waited{}, ErrTooManyWaiters
	}
	defer f.waiters.Add(-1)
	w := newFleetWait(f.clock(), f.member.state.Load().fleet, seq)
	own := func(now Instant) (id.Verifier, bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.member.self, f.member.vouch(now, seq)
	}
	if err := w.run(ctx, f.clock, own, f.lister.read); err != nil {
		return Waited{}, err
	}
	f.mu.Lock()
	for _, v := range w.waitedOut() {
		if v != f.member.self {
			f.gone[v] = max(f.gone[v], seq)
		}
	}
	f.mu.Unlock()
	return w.result(f.clock()), nil
}

func (f *Follower) hurry() {
	select {
	case f.wake <- struct{}{}:
	default: // a wake-up is waiting already
	}
}
