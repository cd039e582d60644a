package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/login/password"
)

// equalCosts are the five equal choices of the OWASP Password Storage Cheat Sheet, the default first. Nothing weaker is
// ever proposed.
func equalCosts() []password.Params {
	return []password.Params{
		password.DefaultParams(),
		{MemoryKiB: 47104, Iterations: 1, Parallelism: 1}, {MemoryKiB: 12288, Iterations: 3, Parallelism: 1},
		{MemoryKiB: 9216, Iterations: 4, Parallelism: 1}, {MemoryKiB: 7168, Iterations: 5, Parallelism: 1},
	}
}

// strongerCosts are stronger than those, each one than the one before: more memory times passes, and no less memory, up to
// the dearest that is accepted. One lane each: logins at once keep the cores busy, and a guesser has as many cores as lanes.
func strongerCosts() []password.Params {
	return []password.Params{
		{MemoryKiB: 32768, Iterations: 2, Parallelism: 1}, {MemoryKiB: 47104, Iterations: 2, Parallelism: 1},
		{MemoryKiB: 65536, Iterations: 2, Parallelism: 1}, {MemoryKiB: 65536, Iterations: 3, Parallelism: 1},
		{MemoryKiB: 131072, Iterations: 2, Parallelism: 1}, {MemoryKiB: 131072, Iterations: 3, Parallelism: 1},
		{MemoryKiB: 262144, Iterations: 2, Parallelism: 1}, {MemoryKiB: 262144, Iterations: 3, Parallelism: 1},
		{MemoryKiB: 262144, Iterations: 4, Parallelism: 1},
	}
}

// timed is how long one hash of some costs takes.
type timed struct {
	costs password.Params
	takes time.Duration // the median, with password.max_concurrent at once
}

// proposal is what bench hash proposes.
type proposal struct {
	timed
	within bool // it takes no longer than the target; false if nothing that is strong enough does
}

// propose chooses the strongest costs whose hash takes no longer than the target. Of the equal ones that is the first that
// fits, and if none does the fastest: slower logins are better than hashes that are cheap to guess.
func propose(equal, stronger []timed, target time.Duration) proposal {
	for _, t := range slices.Backward(stronger) {
		if t.takes <= target {
			return proposal{t, true}
		}
	}
	for _, t := range equal {
		if t.takes <= target {
			return proposal{t, true}
		}
	}
	fastest := slices.MinFunc(equal, func(a, b timed) int { return int(a.takes - b.takes) })
	return proposal{fastest, false}
}

// hashing is what bench hash measured.
type hashing struct {
	configured *measured
	current    password.Params
	atOnce     int
	equals     []password.Params // of equalCosts, those that fit
	tried      []*measured       // with the costs of the same place
	costs      []password.Params
	proposal   proposal
	most       int64 // KiB that all hashes at once may take
	left       bool  // stronger costs were left out, for what they take of memory
}

// inAll is the memory that hashes of some costs take at once, in KiB.
func (h *hashing) inAll(p password.Params) int64 { return int64(p.MemoryKiB) * int64(h.atOnce) }

func (h *hashing) fits(p password.Params) bool { return h.inAll(p) <= h.most }

// planHashes says which hashes are measured: none that take more memory than this machine is to be burdened with.
func (b *bench) planHashes() (*hashing, error) {
	h := &hashing{current: costsOf(b.cfg), atOnce: b.cfg.Password.MaxConcurrent, most: int64(*b.opt.MaxMemory) << 10}
	h.equals = slices.DeleteFunc(equalCosts(), func(p password.Params) bool { return !h.fits(p) })
	if !h.fits(h.current) || len(h.equals) == 0 {
		return nil, usage("password.max_concurrent is %d, and so many hashes take more memory than --max-memory: raise it if this machine has that much, or lower password.max_concurrent", h.atOnce)
	}
	return h, nil
}

// hash measures hashes at the configured costs and at others, and proposes some.
func (b *bench) hash(ctx context.Context) (h *hashing, err error) {
	if h, err = b.planHashes(); err != nil {
		return nil, err
	}
	if h.configured, err = b.hashes(ctx, h.current, b.opt.For); err != nil {
		return nil, err
	}
	// The proposal needs medians only.
	short := b.opt.For / 4
	equal, stronger := []timed{}, []timed{}
	for _, p := range h.equals {
		t, err := h.try(ctx, b, p, short)
		if err != nil {
			return nil, err
		}
		equal = append(equal, t)
	}
	for _, p := range strongerCosts() {
		if !h.fits(p) {
			h.left = true
			break
		}
		t, err := h.try(ctx, b, p, short)
		if err != nil {
			return nil, err
		}
		if stronger = append(stronger, t); t.takes > b.opt.Target {
			break // the others take longer
		}
	}
	h.proposal = propose(equal, stronger, b.opt.Target)
	return h, nil
}

func (h *hashing) try(ctx context.Context, b *bench, p password.Params, length time.Duration) (timed, error) {
	m := h.configured
	if p != h.current {
		var err error
		if m, err = b.hashes(ctx, p, length); err != nil {
			return timed{}, err
		}
	}
	h.tried, h.costs = append(h.tried, m), append(h.costs, p)
	return timed{p, m.times.percentile(0.5)}, m.failed() // what failed has no time to go by
}

func costsOf(cfg *config.Config) password.Params {
	return password.Params{MemoryKiB: cfg.Password.MemoryKiB, Iterations: cfg.Password.Iterations, Parallelism: cfg.Password.Parallelism}
}

// leastHashes are made by each worker, also where the time is over before: a median of fewer says nothing.
const leastHashes = 5

// hashes measures checks of a password at some costs, as many at once as a server makes.
func (b *bench) hashes(ctx context.Context, p password.Params, length time.Duration) (*measured, error) {
	atOnce := b.cfg.Password.MaxConcurrent
	b.bar.show(fmt.Sprintf("hash: %d KiB, %d passes, %d at once", p.MemoryKiB, p.Iterations, atOnce), length)
	hasher, err := password.NewHasher(password.HasherOptions{
		Params: p, Queue: password.NewQueue(atOnce, 0, 0), InsecureCost: true, // what is configured is measured, whatever it is
	})
	if err != nil {
		return nil, usage("configuration: password: %v", err)
	}
	secret, err := password.Prepare(benchPassword)
	if err != nil {
		return nil, err
	}
	stored, err := hasher.Hash(ctx, secret)
	if err != nil {
		return nil, err
	}
	return measure(ctx, trial{
		name: "hash", over: overProcess, atOnce: atOnce, length: length, least: leastHashes,
		worker: func(int) func(context.Context) error {
			return func(ctx context.Context) error { return verified(hasher.Verify(ctx, stored, secret)) }
		},
	})
}

// verified is an error unless the password was right.
func verified(v password.Verdict, err error) error {
	if err == nil && !v.OK {
		err = errors.New("the right password was refused")
	}
	return err
}

// benchPassword is what the password of bench hash is: it opens nothing. The accounts of a measurement have a random one.
const benchPassword = "a password to measure with"
