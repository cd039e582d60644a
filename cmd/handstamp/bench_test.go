package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/login/password"
)

// A percentile is never too low and at most a 64th too high, whatever was counted.
func TestBench_percentiles(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for name, next := range map[string]func() time.Duration{
		"one value":    func() time.Duration { return 1234567 },
		"nothing":      func() time.Duration { return 0 },
		"before":       func() time.Duration { return -time.Second },
		"nanoseconds":  func() time.Duration { return time.Duration(r.IntN(200)) },
		"a long tail":  func() time.Duration { return time.Duration(1) << r.IntN(37) },
		"microseconds": func() time.Duration { return time.Duration(r.IntN(int(time.Millisecond))) },
		"minutes":      func() time.Duration { return time.Duration(r.Int64N(int64(2 * time.Minute))) },
	} {
		for _, count := range []int{1, 2, 3, 10, 99, 100, 101, 5000} {
			var whole, half times
			var all []time.Duration
			for i := range count {
				d := next()
				all = append(all, max(d, 0))
				if i%2 == 0 {
					whole.add(d)
				} else {
					half.add(d)
				}
			}
			whole.join(&half)
			slices.Sort(all)
			for _, share := range []float64{0.5, 0.9, 0.99, 1} {
				rank := 0
				for float64(rank+1) < share*float64(count) {
					rank++
				}
				want := all[rank]
				if got := whole.percentile(share); got < want || got > want+want/64 {
					t.Errorf("%s, %d of them: %v of them within %v, want %v and a 64th at most", name, count, share, got, want)
				}
			}
			if whole.most != all[count-1] || whole.count != uint64(count) {
				t.Errorf("%s: %d up to %v, want %d up to %v", name, whole.count, whole.most, count, all[count-1])
			}
		}
	}
}

func TestBench_steps_of_percentiles(t *testing.T) {
	t.Parallel()
	if got := (&times{}).percentile(0.5); got != 0 {
		t.Errorf("the median of nothing = %v", got)
	}
	for i := range timesSize {
		if i > 0 && stepOf(endOf(i-1)+1) != i || stepOf(endOf(i)) != i {
			t.Fatalf("step %d ends at %d, which is counted in %d", i, endOf(i), stepOf(endOf(i)))
		}
	}
	if got := stepOf(1 << 62); got != timesSize-1 {
		t.Errorf("centuries are counted in step %d of %d", got, timesSize)
	}
}

func TestBench_proposal(t *testing.T) {
	t.Parallel()
	at := func(takes ...int) []timed {
		var list []timed
		for i, ms := range takes {
			list = append(list, timed{password.Params{MemoryKiB: uint32(i)}, time.Duration(ms) * time.Millisecond})
		}
		return list
	}
	for name, c := range map[string]struct {
		equal, stronger []timed
		is              int // its place in its list
		strong, within  bool
	}{
		"the strongest that fits":           {at(10, 10, 10), at(20, 40, 100, 101), 2, true, true},
		"not the first that does not":       {at(10, 10, 10), at(20, 140, 60, 150), 2, true, true},
		"all fit":                           {at(10, 10, 10), at(20, 40), 1, true, true},
		"only equal ones fit: the first":    {at(90, 50, 70), at(101), 0, false, true},
		"the first equal one does not":      {at(110, 99, 70), at(120), 1, false, true},
		"none was stronger":                 {at(10, 9), nil, 0, false, true},
		"nothing fits: the fastest, though": {at(210, 150, 170), at(300), 1, false, false},
	} {
		p := propose(c.equal, c.stronger, 100*time.Millisecond)
		want := c.equal
		if c.strong {
			want = c.stronger
		}
		if p.timed != want[c.is] || p.within != c.within {
			t.Errorf("%s: %+v, want place %d, within %v", name, p, c.is, c.within)
		}
	}
}

// Nothing is ever proposed that a server refuses or that is weaker than the floor, and stronger is stronger.
func TestBench_costs(t *testing.T) {
	t.Parallel()
	last := password.DefaultParams()
	if equalCosts()[0] != last {
		t.Errorf("the first is %+v, not the default", equalCosts()[0])
	}
	for _, p := range slices.Concat(equalCosts(), strongerCosts()) {
		if p.Validate() != nil || !p.Strong() {
			t.Errorf("%+v: %v, strong: %v", p, p.Validate(), p.Strong())
		}
		_, err := newSettings(t, fmt.Sprintf("[password]\nmemory_kib = %d\niterations = %d\nparallelism = %d\n", p.MemoryKiB, p.Iterations, p.Parallelism))
		if err != nil {
			t.Errorf("%+v is refused in a configuration: %v", p, err)
		}
	}
	for _, p := range strongerCosts() {
		if effort(p) <= effort(last) || p.MemoryKiB < last.MemoryKiB {
			t.Errorf("%+v comes after %+v", p, last)
		}
		last = p
	}
}

// The lines of the proposal say what is true of it.
func TestBench_proposed_lines(t *testing.T) {
	t.Parallel()
	costs := func(kib, passes uint32) password.Params {
		return password.Params{MemoryKiB: kib, Iterations: passes, Parallelism: 1}
	}
	for name, c := range map[string]struct {
		h           hashing
		says, notes string
	}{
		"stronger": {hashing{current: costs(19456, 2), proposal: proposal{timed{costs(65536, 2), 1}, true}},
			"at most 100ms (--target)\n\n[password]\nmemory_kib = 65536\niterations = 2\nparallelism = 1\n\nHashes that are there", "It costs less"},
		"cheaper":   {hashing{current: costs(65536, 2), proposal: proposal{timed{costs(19456, 2), 1}, true}}, "It costs less than what is configured.", "what is configured.\n"},
		"as it is":  {hashing{current: costs(19456, 2), proposal: proposal{timed{costs(19456, 2), 1}, true}}, "It is what is configured.", "Hashes that are there"},
		"too slow":  {hashing{proposal: proposal{timed{costs(7168, 5), 1}, false}}, "none is done in 100ms", "the strongest"},
		"no memory": {hashing{proposal: proposal{timed{costs(7168, 5), 1}, true}, left: true}, "more memory than --max-memory", "none"},
	} {
		got := strings.Join(c.h.proposed(benchCmd{Target: 100 * time.Millisecond}), "\n")
		if !strings.Contains(got, c.says) || strings.Contains(got, c.notes) {
			t.Errorf("%s:\n%s\nwant %q and not %q", name, got, c.says, c.notes)
		}
	}
}

func TestBench_share_of_the_hash(t *testing.T) {
	t.Parallel()
	if got := hashShare(30*time.Millisecond, 40*time.Millisecond); !strings.HasSuffix(got, "about 75 % of a login") {
		t.Error(got)
	}
	if got := hashShare(41*time.Millisecond, 40*time.Millisecond); !strings.HasSuffix(got, "too little to be seen") {
		t.Error(got)
	}
}

// Calls that fail are counted, with the first error, and are no part of the rate; a worker that only fails gives up.
func TestBench_counts_errors(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	broken := errors.New("it is broken")
	s := trial{name: "check", form: "token", over: overHTTP, from: fromStore, atOnce: 1, length: 10 * time.Second}
	s.worker = func(int) func(context.Context) error {
		return func(context.Context) error {
			if calls.Add(1)%2 == 1 {
				return nil
			}
			return broken
		}
	}
	m := drive(t.Context(), s)
	if m.errors != enoughErrors || m.times.count != enoughErrors || calls.Load() != 2*enoughErrors || !errors.Is(m.first, broken) {
		t.Errorf("%d errors, %d calls that succeeded of %d: %v", m.errors, m.times.count, calls.Load(), m.first)
	}
	if m.failed() == nil || !strings.Contains(m.failed().Error(), "check of the form token over HTTP by a look-up: 100 of 200 calls failed, the first with: it is broken") {
		t.Error(m.failed())
	}
	good := drive(t.Context(), trial{atOnce: 3, least: 7, worker: func(int) func(context.Context) error {
		return func(context.Context) error { return nil }
	}})
	if good.failed() != nil || good.times.count != 21 {
		t.Errorf("%d calls of three workers, want 7 of each: %v", good.times.count, good.failed())
	}
	r := benchReport{steps: []*measured{good, m}}
	if err := r.failed(); err == nil || !strings.Contains(err.Error(), "100 of 200") {
		t.Error(err)
	}
	r.hash = &hashing{configured: m}
	if err := r.failed(); err == nil || !strings.Contains(err.Error(), "in 2 measurements") {
		t.Error(err)
	}
}

// What is interrupted is no measurement, and the calls that it cut off are no errors.
func TestBench_interrupted_step(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	var calls atomic.Int64
	m, err := measure(ctx, trial{atOnce: 1, length: time.Hour, worker: func(int) func(context.Context) error {
		return func(ctx context.Context) error {
			if calls.Add(1) == 3 {
				cancel(errTaken)
			}
			return ctx.Err()
		}
	}})
	if m != nil || !errors.Is(err, errTaken) || calls.Load() != 3 {
		t.Errorf("%+v, %v after %d calls", m, err, calls.Load())
	}
	cut := drive(ctx, trial{atOnce: 2, least: 1, worker: func(int) func(context.Context) error {
		return func(ctx context.Context) error { return ctx.Err() }
	}})
	if cut.errors != 0 || cut.times.count != 0 {
		t.Errorf("%d errors, %d calls that succeeded", cut.errors, cut.times.count)
	}
	if got := interrupted(ctx, context.Canceled); !errors.Is(got, errTaken) {
		t.Error(got)
	}
	by, stop := context.WithCancelCause(t.Context())
	stop(errors.New("a signal"))
	if got := interrupted(by, errors.New("read: closed")); !errors.Is(got, context.Canceled) {
		t.Error(got)
	}
}

// A second signal ends the program only once there was time to clean up.
func TestBench_second_signal(t *testing.T) {
	t.Parallel()
	bubbletest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var released atomic.Bool
		stop := releaseLater(ctx, func() { released.Store(true) })
		defer stop()
		time.Sleep(time.Hour)
		cancel()
		time.Sleep(patience - 1)
		if released.Load() {
			t.Error("the signals were given back before there was time to clean up")
		}
		time.Sleep(2 * time.Nanosecond)
		if synctest.Wait(); !released.Load() {
			t.Error("the signals were never given back")
		}
	})
}

// Nothing ends in a measurement, whatever is configured; what costs something is as it is configured.
func TestBench_configuration(t *testing.T) {
	t.Parallel()
	is, err := newSettings(t, `public_url = "https://id.example.com"
trusted_proxies = ["127.0.0.0/8"]
[session]
idle_timeout = "1s"
absolute_timeout = "1s"
max_per_user = 1
[token]
access_ttl = "1s"
stateless_ttl = "1s"
algorithm = "EdDSA"
encrypt = true
[refresh]
idle_timeout = "1s"
absolute_timeout = "1s"
grace = "60s"
[login]
max_failures = 1
[password]
memory_kib = 65536
`)
	if err != nil {
		t.Fatal(err)
	}
	got := benchConfig(is, &url.URL{Scheme: "http", Host: "127.0.0.1:1"})
	for name, d := range map[string]time.Duration{
		"session idle": got.Session.IdleTimeout, "session absolute": got.Session.AbsoluteTimeout, "access": got.Token.AccessTTL, "stateless": got.Token.StatelessTTL,
		"refresh idle": got.Refresh.IdleTimeout, "refresh absolute": got.Refresh.AbsoluteTimeout,
	} {
		if d < 2*mostFor {
			t.Errorf("%s is %v, and a measurement takes up to %v", name, d, mostFor)
		}
	}
	if got.Session.MaxPerUser != 0 || got.Login.MaxFailures != 1_000_000 || got.Refresh.Grace != 0 || len(got.TrustedProxies) != 0 || got.PublicURL.Host != "127.0.0.1:1" || got.Token.Issuer != "http://127.0.0.1:1" {
		t.Errorf("%+v", got)
	}
	if !got.Token.Encrypt || got.Token.Algorithm != config.EdDSA || got.Password.MemoryKiB != 65536 {
		t.Errorf("%+v", got)
	}
	if is.Login.MaxFailures != 1 || is.PublicURL.Host != "id.example.com" {
		t.Errorf("the configuration itself was changed: %+v", is)
	}
}

// What is left behind is said beside how it ended.
func TestBench_says_what_is_left(t *testing.T) {
	t.Parallel()
	left := errors.New("the accounts are left")
	if err := cleaned(context.Canceled, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, err := range []error{nil, context.Canceled, errors.New("it failed")} {
		if got := cleaned(err, left); got == nil || !strings.Contains(explain(got), "the accounts are left") || err != nil && !strings.HasPrefix(explain(got), "it ") {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestBench_times_in_words(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0 ns", 999: "999 ns", 1500: "1.50 µs", 12345678: "12.3 ms", 999 * time.Millisecond: "999 ms", 61 * time.Second: "61.0 s",
	} {
		if got := took(d); got != want {
			t.Errorf("%d = %q, want %q", d, got, want)
		}
	}
	for f, want := range map[float64]string{0: "0.00", 9.994: "9.99", 9.996: "10.0", 99.96: "100", 1234567.8: "1234568"} {
		if got := threeDigits(f); got != want {
			t.Errorf("%v = %q, want %q", f, got, want)
		}
	}
}

// newSettings reads a configuration file.
func newSettings(t *testing.T, toml string) (*config.Config, error) {
	t.Helper()
	file := t.TempDir() + "/handstamp.toml"
	writeFile(t, file, []byte(toml))
	cfg, _, err := (&app{file: file}).settings()
	return cfg, err
}
