package password

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// HasherOptions are the settings of [NewHasher]. The zero value is the safe default.
type HasherOptions struct {
	// Params are the costs of hashes that are made; zero means DefaultParams.
	Params Params
	// Queue bounds the work; nil means NewQueue with its defaults. Share one queue per process.
	Queue *Queue
	// Random gives the salts; nil means crypto/rand.
	Random io.Reader
	// Legacy is a stored hash of another system like those of the accounts that were imported ($2y$12$… of anything, if
	// those are of bcrypt with cost 12). With it every check also costs as much as one of it, so that accounts that have
	// not logged in since the import cannot be told by time from those that do not exist. Leave it empty, and logins
	// cheaper, when there are none or when it is no secret who has an account.
	Legacy string
	// InsecureCost permits Params that are not Strong. It is for tests.
	InsecureCost bool
}

// Work is how much a [Hasher] has done since it was made.
type Work struct {
	// Hashes is the number of runs of argon2id, and of other functions for hashes made elsewhere.
	Hashes uint64
	// KiB is the memory that argon2 filled, in KiB, summed over all passes: the cost of a run, whatever the
	// machine. (argon2 rounds the memory of a hash down to four blocks per lane; this counts what is filled.)
	KiB uint64
}

// Hasher makes and checks password hashes, each in its turn in the queue, so that the memory of the process for
// hashing is bounded by workers times the memory of one hash (at most 256 MiB for stored hashes made elsewhere).
//
// It also keeps accounts from being told apart by time. All of these take one turn and cost at least as much as
// a check at the current costs: Verify of a right or wrong password, Verify of a stored hash that is cheaper
// than the current costs (after it, a second run spends the difference, in lanes and memory like the current
// costs), Verify of a stored hash that cannot be used, and Equalise. Only a stored hash that is dearer than the
// current costs takes longer, until the login that replaces it: so lowering the costs shows, for a while,
// which accounts exist and have not logged in since. The same holds for hashes of other systems. A whole run at the
// current costs follows the check of each, because how dear bcrypt is beside argon2id depends on the machine: such
// an account takes longer than one that does not exist, never less, and as long with HasherOptions.Legacy.
//
// Make one with [NewHasher]. A Hasher is safe for concurrent use and starts no goroutines.
type Hasher struct {
	params Params
	queue  *Queue
	random io.Reader
	dummy  *argon2id
	legacy storedHash // nil without HasherOptions.Legacy

	hashes atomic.Uint64
	kib    atomic.Uint64
}

// NewHasher makes a hasher. It returns an error if the costs are out of bounds, or weaker than all choices of
// [Params.Strong] without InsecureCost, or if no randomness can be read; one that wraps [ErrLegacy], if Legacy is not a
// hash of another system that [Inspect] accepts.
func NewHasher(opt HasherOptions) (*Hasher, error) {
	if opt.Params == (Params{}) {
		opt.Params = DefaultParams()
	}
	if err := opt.Params.Validate(); err != nil {
		return nil, err
	}
	if !opt.InsecureCost && !opt.Params.Strong() {
		return nil, errors.New("the argon2id costs are weaker than 19456 KiB with 2 iterations")
	}
	if opt.Queue == nil {
		opt.Queue = NewQueue(0, 0, 0)
	}
	var legacy storedHash
	if opt.Legacy != "" {
		var err error
		if legacy, err = parseLegacy(opt.Legacy); err != nil {
			return nil, err
		}
	}
	// The dummy's tag is random, not the hash of anything, so no password matches it.
	noise, err := randomBytes(opt.Random, saltBytes+tagBytes)
	if err != nil {
		return nil, err
	}
	dummy := &argon2id{params: opt.Params, salt: noise[:saltBytes], tag: noise[saltBytes:]}
	return &Hasher{params: opt.Params, queue: opt.Queue, random: opt.Random, dummy: dummy, legacy: legacy}, nil
}

// ErrLegacy says that HasherOptions.Legacy cannot be used.
var ErrLegacy = errors.New("the sample of imported hashes cannot be used")

func parseLegacy(text string) (storedHash, error) {
	h, err := parseStored(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLegacy, err)
	}
	if h.effort() != (effort{}) {
		return nil, fmt.Errorf("%w: it is one of argon2, whose cost is made up for without it", ErrLegacy)
	}
	return h, nil
}

// Hash waits its turn and returns the hash of the password for storing, a PHC string of at most 128 bytes. The
// empty password is an error. Other errors are those of [Queue.Do], and a failing source of randomness.
func (h *Hasher) Hash(ctx context.Context, password Secret) (string, error) {
	var phc string
	var failed error
	err := h.queue.Do(ctx, func() {
		h.count(effortOf(h.params))
		phc, failed = Hash(h.params, password, h.random)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return "", err
	}
	return phc, nil
}

// Verify waits its turn and checks the password against a stored hash of any format that [Inspect] lists. A wrong
// password is the zero Verdict and no error. An error that wraps [ErrUnusableHash] means that the stored hash is
// damaged or of no such format: the same work was done, the password counts as wrong, and somebody should be told.
// Other errors are those of [Queue.Do]; nothing is known then. The zero Secret is never right and costs the same.
func (h *Hasher) Verify(ctx context.Context, stored string, password Secret) (Verdict, error) {
	var verdict Verdict
	parsed, unusable := parseStored(stored)
	err := h.queue.Do(ctx, func() {
		if unusable != nil {
			h.spend(password)
			return
		}
		h.count(parsed.effort())
		verdict = judge(parsed, password, h.params)
		h.topUp(parsed.effort(), password)
		if parsed.effort() != (effort{}) {
			h.spendLegacy(password)
		}
	})
	if err != nil {
		return Verdict{}, err
	}
	return verdict, unusable
}

// Equalise does the work of a check and says nothing. Every login that ends before Verify calls it instead:
// unknown address, account without a password, disabled account, password that [Prepare] refused (with the zero
// Secret; the length of the password is nothing beside the memory). Errors are those of [Queue.Do] and are to
// be answered like those of Verify, or a full queue would tell the accounts apart.
func (h *Hasher) Equalise(ctx context.Context, password Secret) error {
	return h.queue.Do(ctx, func() { h.spend(password) })
}

// Work returns what was done so far: for metrics, and for tests that two answers took equal work.
func (h *Hasher) Work() Work {
	return Work{Hashes: h.hashes.Load(), KiB: h.kib.Load()}
}

// Load says how the queue of hashes stands, for metrics.
func (h *Hasher) Load() Load { return h.queue.Load() }

// spend runs one check at the current costs against the dummy.
func (h *Hasher) spend(password Secret) {
	h.count(h.dummy.effort())
	h.dummy.verify(password)
	h.spendLegacy(password)
}

// spendLegacy does what a check of an imported hash takes besides, if there is a sample of them. The answer is not
// looked at: the sample is nobody's password.
func (h *Hasher) spendLegacy(password Secret) {
	if h.legacy == nil {
		return
	}
	h.count(effort{})
	h.legacy.verify(password)
}

// topUp spends what a check at this effort is short of one at the current costs.
func (h *Hasher) topUp(done effort, password Secret) {
	rest, needed := remainder(h.params, done)
	if !needed {
		return
	}
	h.count(effortOf(rest))
	(&argon2id{params: rest, salt: h.dummy.salt, tag: h.dummy.tag}).verify(password)
}

func (h *Hasher) count(e effort) {
	h.hashes.Add(1)
	h.kib.Add(e.total)
}

// effort is the cost of one hash in KiB blocks filled: in all, and one after another when each lane has a core.
// The time of a hash lies between the two, by how many cores are free, so a run is as dear as another only if
// both are.
type effort struct {
	total uint64
	depth uint64
}

// effortOf counts what argon2 fills: the memory is rounded down to four blocks per lane (RFC 9106 section 3.2).
func effortOf(p Params) effort {
	lanes := uint64(p.Parallelism)
	perLane := uint64(p.MemoryKiB) / (4 * lanes) * 4
	depth := perLane * uint64(p.Iterations)
	return effort{total: depth * lanes, depth: depth}
}

// remainder returns the costs of a second run that brings what was done up to the effort of full, and false if
// nothing is missing. It has the lanes of full and never more memory, so the bound on memory holds.
func remainder(full Params, done effort) (Params, bool) {
	target, lanes := effortOf(full), uint64(full.Parallelism)
	var missing uint64 // depth that a run with these lanes must still reach
	if target.depth > done.depth {
		missing = target.depth - done.depth
	}
	if target.total > done.total {
		missing = max(missing, ceilDiv(target.total-done.total, lanes))
	}
	if missing == 0 {
		return Params{}, false
	}
	perLane := target.depth / uint64(full.Iterations)
	iterations := ceilDiv(missing, perLane)
	memory := max(8, ceilDiv(ceilDiv(missing, iterations), 4)*4) * lanes
	return Params{MemoryKiB: uint32(memory), Iterations: uint32(iterations), Parallelism: full.Parallelism}, true
}

func ceilDiv(a, b uint64) uint64 { return (a + b - 1) / b }
