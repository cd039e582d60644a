package handstamptest

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/keyring"
)

// DefaultPublicURL is Options.PublicURL unless an option says otherwise. It is loopback, so that plain http will do.
const DefaultPublicURL = "http://127.0.0.1"

// Harness is a real Auth on a store in memory, with a clock that a test moves. It is safe for concurrent use and for
// tests that run in parallel; each New makes one that shares nothing with any other.
//
// A call that cannot do what it says ends the test by Fatalf. Like Fatalf itself, such a call belongs into the goroutine
// of a test.
type Harness struct {
	// Auth is what the application under test is given.
	Auth *handstamp.Auth
	// Store is what Auth works on, for applications that need it too, as account.New(h.Auth, h.Store) does.
	Store *Store

	t     testing.TB
	clock *clock
	out   *output
	opt   handstamp.Options
}

// New opens an Auth that offers every mode, and closes it when the test ends. Its clock starts now and stands still. Its
// log goes to the test's output. Each change is given the options before they are used: name PublicURL, Permissions,
// Carry and whatever else the application sets. Options.Now must stay nil.
func New(t testing.TB, change ...func(*handstamp.Options)) *Harness {
	t.Helper()
	h := &Harness{
		t: t, Store: newStore(), out: &output{to: t.Output()},
		clock: &clock{now: time.Now().UTC().Truncate(time.Second)},
	}
	ring, err := keyring.Open(t.Context(), h.Store.Keys(), keyring.Options{Secrets: secrets(), Now: h.clock.Now})
	if err != nil {
		t.Fatalf("handstamptest.New: signing keys: %v", err)
	}
	h.opt = handstamp.Options{
		PublicURL: DefaultPublicURL, Secrets: secrets(), Keys: ring,
		Logger: slog.New(slog.NewTextHandler(h.out, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, fn := range change {
		fn(&h.opt)
	}
	if h.opt.Now != nil {
		t.Fatalf("handstamptest.New: leave Options.Now alone: the clock is the harness's own, and Advance moves it")
	}
	h.opt.Now = h.clock.Now
	h.Auth, err = handstamp.Open(t.Context(), h.Store, h.opt)
	if err != nil {
		t.Fatalf("handstamptest.New: the options are refused: %v", err)
	}
	t.Cleanup(h.close)
	return h
}

// secrets are public and the same everywhere: they protect nothing but what is in the memory of one test.
func secrets() [][]byte {
	return [][]byte{[]byte("handstamptest: this secret is in the source and protects nothing")}
}

func (h *Harness) close() {
	h.Store.down.Store(false) // or what is left to write could not be
	if err := h.Auth.Close(); err != nil {
		h.t.Errorf("handstamptest: close: %v", err)
	}
	h.out.close()
}

// Advance moves the clock by d, which is not negative: sessions end, tokens run out, a login is no longer recent. When it
// returns, memory answers again as if the time had passed by itself, unless the store is down: then the lease has lapsed
// if d was longer than Options.Lease (2 s).
//
// What waits for the clock in the background, such as the context of a Guard, notices within 250 ms of real time: wait for
// its Done.
func (h *Harness) Advance(d time.Duration) {
	h.t.Helper()
	if d < 0 {
		h.t.Fatalf("handstamptest: Advance(%v): time does not go back", d)
	}
	h.clock.advance(d)
	h.settle()
}

// StoreDown takes the store away, or gives it back: while it is down every call of it fails, as when a database cannot
// be reached. A check that has to ask the store is then answered with 503, never with 401. A value token is still answered
// from memory until the lease lapses; Advance by more than Options.Lease (2 s) to get there.
func (h *Harness) StoreDown(down bool) {
	h.t.Helper()
	h.Store.down.Store(down)
	h.settle()
}

// End ends all sessions of a user, as Auth.EndUser does: the next check of any of them, in whatever form, is refused.
func (h *Harness) End(user handstamp.UserID) {
	h.t.Helper()
	if _, err := h.Auth.EndUser(context.Background(), user, handstamp.EndOptions{Reason: "handstamptest"}); err != nil {
		h.t.Fatalf("handstamptest: End(%q): %v%s", user, err, h.hint())
	}
}

// hint says what a test may have forgotten.
func (h *Harness) hint() string {
	if h.Store.down.Load() {
		return " (the store is down: call StoreDown(false) before)"
	}
	return ""
}

// How long and how often settle looks. It is bounded only so that an Auth that the test has closed does not hang it. It
// wakes rarely: a renewal waits for its turn (20 ms) anew with each call, since the clock that says so stands still.
const (
	settleFor   = 5 * time.Second
	settleEvery = 100 * time.Microsecond
	wakeEvery   = 1000 // looks
)

// settle waits until the lease is renewed after the clock jumped. Otherwise it would depend on the machine whether the
// next check is answered from memory or by the store.
func (h *Harness) settle() {
	if h.Store.down.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleFor)
	defer cancel()
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for looked := 0; !h.Auth.Health().LeaseFresh && !h.Store.down.Load(); looked++ {
		if looked%wakeEvery == 0 {
			h.Store.wake()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// clock is a time that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is Options.Now.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// output is a test's output until the test is over: a handler that is left running would panic in it afterwards.
type output struct {
	closed atomic.Bool
	to     io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	if o.closed.Load() {
		return len(p), nil
	}
	return o.to.Write(p)
}

func (o *output) close() { o.closed.Store(true) }
