package password

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/handstamp/handstamp/internal/bubbletest"
)

func diff(before, after Work) Work {
	return Work{Hashes: after.Hashes - before.Hashes, KiB: after.KiB - before.KiB}
}

func newHasher(t testing.TB, p Params) *Hasher {
	t.Helper()
	h, err := NewHasher(HasherOptions{Params: p, InsecureCost: true})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// hashAt makes a stored hash at any costs.
func hashAt(t testing.TB, p Params, password string) string {
	t.Helper()
	s, err := Hash(p, prepare(t, password), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHasherRoundTrip(t *testing.T) {
	h, err := NewHasher(HasherOptions{})
	if err != nil {
		t.Fatal(err)
	}
	phc, err := h.Hash(t.Context(), prepare(t, "correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if len(phc) > 128 {
		t.Errorf("%d bytes", len(phc))
	}
	if got, err := h.Verify(t.Context(), phc, prepare(t, "correct horse")); err != nil || got != (Verdict{OK: true}) {
		t.Errorf("right password: %+v, %v", got, err)
	}
	if got, err := h.Verify(t.Context(), phc, prepare(t, "wrong horse")); err != nil || got != (Verdict{}) {
		t.Errorf("wrong password: %+v, %v", got, err)
	}
	if w := h.Work(); w != (Work{Hashes: 3, KiB: 3 * 2 * 19456}) {
		t.Errorf("work %+v", w)
	}
}

func TestP8_WeakCostsNeedTheWord(t *testing.T) {
	if h, err := NewHasher(HasherOptions{Params: cheap}); err == nil || h != nil {
		t.Error("weak costs accepted")
	}
	if h, err := NewHasher(HasherOptions{Params: Params{MemoryKiB: 1 << 30, Iterations: 1, Parallelism: 1}, InsecureCost: true}); err == nil || h != nil {
		t.Error("costs out of bounds accepted")
	}
}

// Other costs than the current ones, cheaper or dearer, are replaced after the right password, and only then.
func TestP8_RehashOnOtherCosts(t *testing.T) {
	current := Params{MemoryKiB: 256, Iterations: 2, Parallelism: 2}
	h := newHasher(t, current)
	for _, tc := range []struct {
		stored Params
		want   bool
	}{
		{current, false},
		{Params{MemoryKiB: 128, Iterations: 2, Parallelism: 2}, true},
		{Params{MemoryKiB: 256, Iterations: 1, Parallelism: 2}, true},
		{Params{MemoryKiB: 256, Iterations: 2, Parallelism: 1}, true},
		{Params{MemoryKiB: 512, Iterations: 3, Parallelism: 2}, true},
	} {
		phc := hashAt(t, tc.stored, "correct horse")
		if got, err := h.Verify(t.Context(), phc, prepare(t, "correct horse")); err != nil || got != (Verdict{OK: true, Rehash: tc.want}) {
			t.Errorf("%+v: right password: %+v, %v", tc.stored, got, err)
		}
		if got, err := h.Verify(t.Context(), phc, prepare(t, "wrong horse")); err != nil || got != (Verdict{}) {
			t.Errorf("%+v: wrong password: %+v, %v", tc.stored, got, err)
		}
	}
	short := &argon2id{params: current, salt: []byte("8 bytes!")}
	short.tag = short.derive(prepare(t, "correct horse"), tagBytes)
	if got, err := h.Verify(t.Context(), short.String(), prepare(t, "correct horse")); err != nil || got != (Verdict{OK: true, Rehash: true}) {
		t.Errorf("short salt: %+v, %v", got, err)
	}
}

// Every way out of a login takes one hash of the same cost.
func TestP10_EveryExitTakesEqualWork(t *testing.T) {
	h := newHasher(t, cheap)
	ctx, phc := t.Context(), hashAt(t, cheap, "correct horse")
	verify := func(phc string, p Secret) func() error {
		return func() error { _, err := h.Verify(ctx, phc, p); return err }
	}
	want := Work{Hashes: 1, KiB: 2 * 64}
	for name, exit := range map[string]func() error{
		"right password":               verify(phc, prepare(t, "correct horse")),
		"wrong password":               verify(phc, prepare(t, "wrong horse")),
		"empty password":               verify(phc, prepare(t, "")),
		"refused password":             verify(phc, Secret{}),
		"damaged hash":                 verify("$argon2id$v=19$m=64", prepare(t, "correct horse")),
		"foreign hash":                 verify("$6$abcdefghijklmnop$JQ1Zr0Yc3nq0mO6l4yXb1cPqQ5eJ2tq", prepare(t, "correct horse")),
		"no hash":                      verify("", prepare(t, "correct horse")),
		"unknown address":              func() error { return h.Equalise(ctx, prepare(t, "correct horse")) },
		"unknown and refused password": func() error { return h.Equalise(ctx, Secret{}) },
	} {
		before := h.Work()
		if err := exit(); err != nil && !errors.Is(err, ErrUnusableHash) {
			t.Errorf("%s: %v", name, err)
		}
		if got := diff(before, h.Work()); got != want {
			t.Errorf("%s: work %+v, want %+v", name, got, want)
		}
	}
}

// A stored hash that is cheaper than the current costs is topped up to them, closely and never less.
func TestP10_CheaperHashesAreToppedUp(t *testing.T) {
	current := Params{MemoryKiB: 1024, Iterations: 2, Parallelism: 1}
	h, full := newHasher(t, current), effortOf(current).total
	for _, stored := range []Params{
		{8, 1, 1}, {64, 1, 1}, {512, 2, 1}, {1024, 1, 1}, {1020, 2, 1}, {100, 20, 1}, {512, 2, 4}, {2044, 1, 1},
	} {
		phc := hashAt(t, stored, "correct horse")
		for _, tried := range []string{"correct horse", "wrong horse"} {
			before := h.Work()
			if _, err := h.Verify(t.Context(), phc, prepare(t, tried)); err != nil {
				t.Fatal(err)
			}
			got := diff(before, h.Work())
			// Hashes with several lanes are topped up in time as on as many cores, which is more in all.
			most := full + 8 + uint64(stored.Parallelism-1)*full
			if got.Hashes != 2 || got.KiB < full || got.KiB > most {
				t.Errorf("%+v, %s: work %+v, want 2 hashes of %d to %d KiB", stored, tried, got, full, most)
			}
		}
	}
	for _, stored := range []Params{current, {1024, 3, 1}, {4096, 1, 1}, {8192, 2, 2}} {
		before := h.Work()
		if _, err := h.Verify(t.Context(), hashAt(t, stored, "correct horse"), prepare(t, "wrong horse")); err != nil {
			t.Fatal(err)
		}
		if got := diff(before, h.Work()); got.Hashes != 1 || got.KiB != effortOf(stored).total {
			t.Errorf("%+v: work %+v, want its own hash only", stored, got)
		}
	}
}

// For all pairs of costs: both runs together reach the current effort in all and in depth, with no more memory,
// and the second run overshoots by no more than rounding.
func TestP10_RemainderProperty(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	random := func() Params {
		for {
			p := Params{MemoryKiB: 8 + rnd.Uint32N(1<<(4+rnd.Uint32N(15))), Iterations: 1 + rnd.Uint32N(12), Parallelism: uint8(1 + rnd.Uint32N(16))}
			if p.Validate() == nil {
				return p
			}
		}
	}
	for range 200_000 {
		full, stored := random(), random()
		done, target := effortOf(stored), effortOf(full)
		rest, needed := remainder(full, done)
		if !needed {
			if done.total < target.total || done.depth < target.depth {
				t.Fatalf("%+v is not topped up to %+v", stored, full)
			}
			continue
		}
		more := effortOf(rest)
		if done.total+more.total < target.total || done.depth+more.depth < target.depth {
			t.Fatalf("%+v with %+v is less than %+v", stored, rest, full)
		}
		if rest.Parallelism != full.Parallelism || rest.MemoryKiB > full.MemoryKiB || rest.Iterations > full.Iterations || rest.Validate() != nil {
			t.Fatalf("%+v to %+v with %+v", stored, full, rest)
		}
		if more.total > target.total {
			t.Fatalf("%+v to %+v: the second run is dearer than a whole one", stored, full)
		}
	}
	if _, needed := remainder(DefaultParams(), effort{}); !needed {
		t.Error("an effort that cannot be told is not topped up")
	}
}

func TestHasherBusyAndCancelled(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		q := NewQueue(1, 1, 0)
		h, err := NewHasher(HasherOptions{Params: cheap, Queue: q, InsecureCost: true})
		if err != nil {
			t.Fatal(err)
		}
		phc, secret := hashAt(t, cheap, "correct horse"), prepare(t, "correct horse")
		ctx, cancel := context.WithCancel(t.Context())
		calls := map[string]func(context.Context) error{
			"Hash":     func(ctx context.Context) error { s, err := h.Hash(ctx, secret); return answer(s != "", err) },
			"Verify":   func(ctx context.Context) error { v, err := h.Verify(ctx, phc, secret); return answer(v.OK, err) },
			"damaged":  func(ctx context.Context) error { v, err := h.Verify(ctx, "x", secret); return answer(v.OK, err) },
			"Equalise": func(ctx context.Context) error { return h.Equalise(ctx, secret) },
		}
		hold := make(chan struct{})
		go func() { _ = q.Do(t.Context(), func() { <-hold }) }()
		synctest.Wait()
		for name, call := range calls {
			if err := call(t.Context()); !errors.Is(err, ErrBusy) { // waits 3 s of the bubble's time
				t.Errorf("%s in a full queue: %v, want ErrBusy", name, err)
			}
		}
		cancel()
		for name, call := range calls {
			if err := call(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("%s cancelled: %v", name, err)
			}
		}
		close(hold)
		if w := h.Work(); w != (Work{}) {
			t.Errorf("work %+v, want none", w)
		}
	})
}

func answer(yes bool, err error) error {
	if yes && err != nil {
		return fmt.Errorf("an answer beside an error")
	}
	return err
}

func TestHasherIsSafeForConcurrentUse(t *testing.T) {
	h, err := NewHasher(HasherOptions{Params: cheap, InsecureCost: true, Queue: NewQueue(2, 1000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	phc := hashAt(t, cheap, "correct horse")
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			word := []string{"correct horse", "wrong horse"}[i%2]
			if got, err := h.Verify(t.Context(), phc, prepare(t, word)); err != nil || got.OK != (i%2 == 0) {
				t.Errorf("Verify = %+v, %v", got, err)
			}
		})
	}
	all.Wait()
	if w := h.Work(); w.Hashes != 64 {
		t.Errorf("work %+v", w)
	}
}
