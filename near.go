package handstamp

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/maypok86/otter/v2"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// near is a Verifier's memory: copies of what the store said of opaque credentials, and of value tokens whose signature was
// found good, by the hash of the credential. It is bounded in bytes. It decides nothing: whether a copy may be used is
// asked at every check, by the events since its as_of. A copy may say yes, never no.
//
// A nil near is a Verifier without a memory. Everything works the same, only slower.
type near struct {
	copies  *otter.Cache[token.Hash, *copied]
	unknown *otter.Cache[token.Hash, time.Duration] // until when on the monotonic clock
	flights flights

	hits, misses, joined, refused atomic.Uint64
	ages                          *distribution
}

// copied is one copy. What it is of does not change; as_of moves up while no event hits it.
type copied struct {
	found  *Found        // of an opaque credential at a store
	told   *Introspected // the same at an authority
	claims *jwt.Claims   // of a value token
	size   uint32

	credential token.Secret // what an authority is asked about again
	form       Form         // of what an authority told

	generation uint64        // of the log before the read: after a reset numbers are those of another log
	read       time.Duration // monotonic, before the read
	asOf       atomic.Uint64
	seen       atomic.Int64 // microseconds since 1970: activity of the session that was noted by checks which it answered
	ready      atomic.Pointer[ready]
}

// ready is a Principal made of a copy with one table of roles. It is shared by the checks that it answers.
type ready struct {
	principal Principal
	roles     *roleCopy
}

// clean notes that no event up to applied hits the copy, so that the next check compares one number.
func (c *copied) clean(applied uint64) (asOf uint64) {
	for {
		asOf := c.asOf.Load()
		if applied <= asOf {
			return asOf
		}
		if c.asOf.CompareAndSwap(asOf, applied) {
			return applied
		}
	}
}

// query asks what the events say of the copy.
func (c *copied) query() revoke.Query {
	q := revoke.Query{AsOf: c.asOf.Load()}
	switch {
	case c.claims != nil:
		q.Session, q.User, q.SigningKey = id.Session(c.claims.Session), id.User(c.claims.Subject), c.claims.KeyID
	case c.told != nil && c.told.Session == "":
		q.ServiceKey = id.ServiceKey(c.told.User)
	case c.told != nil:
		q.Session, q.User = c.told.Session, c.told.User
	case c.found.ServiceKey.ID != "":
		q.ServiceKey = c.found.ServiceKey.ID
	default:
		q.Session, q.User = c.found.Session.ID, c.found.Session.User
	}
	return q
}

const (
	defaultCacheBytes = 64 << 20
	// unknownFor is how long "never heard of this secret", said by the store itself, is believed. Nobody can present 256
	// random bits before they were made.
	unknownFor = 5 * time.Second
	// maxUnknown bounds who floods with made-up secrets. They have no place among the copies.
	maxUnknown = 10_000
)

// newNear makes a memory of so many bytes; none for a negative number.
func newNear(bytes int64) *near {
	if bytes < 0 || bytes == 0 && !cacheByDefault {
		return nil
	}
	if bytes == 0 {
		bytes = defaultCacheBytes
	}
	return &near{
		copies: otter.Must(&otter.Options[token.Hash, *copied]{
			MaximumWeight: uint64(bytes),
			Weigher:       func(_ token.Hash, c *copied) uint32 { return c.size },
		}),
		unknown: otter.Must(&otter.Options[token.Hash, time.Duration]{MaximumSize: maxUnknown}),
		flights: flights{of: map[flightKey]*flight{}},
		ages:    newAges(),
	}
}

func (n *near) get(key token.Hash) (*copied, bool) {
	if n == nil {
		return nil, false
	}
	return n.copies.GetIfPresent(key)
}

// put keeps a copy that was read at a moment, under the generation that the log had before the read.
func (n *near) put(key token.Hash, c *copied, asOf uint64) *copied {
	c.asOf.Store(asOf)
	if n != nil {
		c.size = c.weigh()
		n.copies.Set(key, c)
	}
	return c
}

func (n *near) drop(key token.Hash) {
	if n != nil {
		n.copies.Invalidate(key)
	}
}

// served counts a check that a copy answered.
func (n *near) served(c *copied, now moment) {
	if n != nil {
		n.hits.Add(1)
		n.ages.add(now.clock.Mono - c.read)
	}
}

func (n *near) missed() {
	if n != nil {
		n.misses.Add(1)
	}
}

// neverHeard notes that the store does not know a secret, and isUnknown whether it said so a moment ago.
func (n *near) neverHeard(key token.Hash, asked time.Duration) {
	if n != nil {
		n.unknown.Set(key, asked+unknownFor)
	}
}

func (n *near) isUnknown(key token.Hash, now moment) bool {
	if n == nil {
		return false
	}
	until, ok := n.unknown.GetIfPresent(key)
	if !ok || now.clock.Mono >= until || until-now.clock.Mono > unknownFor {
		return false
	}
	n.refused.Add(1)
	return true
}

func (n *near) stats() CacheStats {
	if n == nil {
		return CacheStats{Age: newAges().read()}
	}
	return CacheStats{
		Hits: n.hits.Load(), Misses: n.misses.Load(), Joined: n.joined.Load(), Unknown: n.refused.Load(),
		Entries: n.copies.EstimatedSize(), Bytes: n.copies.WeightedSize(), Age: n.ages.read(),
	}
}

// entryOverhead is what a copy costs besides what it refers to: its place in the cache, the structs, and the Principal that
// is made of it. Measured by TestCacheIsBoundedInBytes.
const entryOverhead = 1250

// weigh estimates the bytes that a copy holds.
func (c *copied) weigh() uint32 {
	n := entryOverhead + len(c.credential.Reveal())
	lists := func(all ...[]string) {
		for _, list := range all {
			for _, s := range list {
				n += int(unsafe.Sizeof(s)) + len(s)
			}
		}
	}
	switch {
	case c.found != nil:
		s, sub := &c.found.Session, &c.found.Subject
		n += len(s.ID) + len(s.User) + len(s.Claims) + len(s.IP) + len(s.UserAgent) + len(s.EndReason) + len(sub.Email) + len(sub.EndReason)
		n += len(s.Refresh.IP) + len(s.Refresh.UserAgent)
		lists(s.Methods, sub.Grants.Roles, sub.Grants.Permissions, c.found.ServiceKey.Permissions)
	case c.told != nil:
		n += len(c.told.User) + len(c.told.Session)
		lists(c.told.Methods, c.told.Roles, c.told.Permissions)
	case c.claims != nil:
		t := c.claims
		n += len(t.Issuer) + len(t.Subject) + len(t.ClientID) + len(t.ID) + len(t.Session) + len(t.KeyID)
		lists(t.Audience, t.Methods, t.Roles, t.Permissions, t.Grants)
		n += weighAny(t.Custom)
	}
	return uint32(min(n, 1<<30))
}

func weighAny(v any) int {
	const word = 16
	switch v := v.(type) {
	case string:
		return word + len(v)
	case []any:
		n := 3 * word
		for _, x := range v {
			n += word + weighAny(x)
		}
		return n
	case map[string]any:
		n := 6 * word
		for name, x := range v {
			n += 4*word + len(name) + weighAny(x)
		}
		return n
	}
	return word
}

// flights are the questions to the store that are under way, so that many checks of one credential ask once.
type flights struct {
	mu sync.Mutex
	of map[flightKey]*flight
}

// flightKey names a question. Questions that a copy may answer are others than those that only the primary may.
type flightKey struct {
	key  token.Hash
	copy bool
}

// flight is one question. What it found may be read when done is closed.
type flight struct {
	begun bool
	began time.Duration // when it is begun
	done  chan struct{}
	found *copied
	err   error

	ctx  context.Context // of whoever asked first, without its end: others wait for the same answer
	next *flight         // begins when this one is over; of those who came too late for this one
}

// lookupPatience is how long one question may take, and how long anybody waits for one. Nobody who asks waits for the end of
// another's context.
const lookupPatience = 2500 * time.Millisecond

// errPatience is what a question ends with that was not answered in time: it is not known what the answer is.
var errPatience = errors.New("the store did not answer in time")

// ask asks, or shares a question: one that began after asked, or any that is under way if a copy will do, since then who
// asks judges the answer by the events that he knows. All others wait for the one under way and share the next. It reports
// whether the question began after asked.
func (n *near) ask(ctx context.Context, k flightKey, asked time.Duration, run func(*flight)) (f *flight, after bool, err error) {
	n.flights.mu.Lock()
	f, under := n.flights.of[k]
	switch {
	case !under:
		f, after = newFlight(ctx), true
		n.flights.of[k] = f
		go n.fly(k, f, run)
	case !f.begun || f.began > asked:
		after = true
	case k.copy:
	default:
		if f.next == nil {
			f.next = newFlight(ctx)
		}
		f, after = f.next, true
	}
	n.flights.mu.Unlock()
	if under {
		n.joined.Add(1)
	}
	patience := time.NewTimer(lookupPatience) // of this caller, who may have to wait for the question before his own
	defer patience.Stop()
	select {
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case <-patience.C:
		return nil, false, errPatience
	case <-f.done:
		return f, after, f.err
	}
}

func newFlight(ctx context.Context) *flight {
	return &flight{done: make(chan struct{}), ctx: context.WithoutCancel(ctx)}
}

// begin notes when a question begins.
func (n *near) begin(f *flight, at time.Duration) {
	if n == nil {
		return
	}
	n.flights.mu.Lock()
	defer n.flights.mu.Unlock()
	f.begun, f.began = true, at
}

// fly asks, and goes on with those who came too late.
func (n *near) fly(k flightKey, f *flight, run func(*flight)) {
	for f != nil {
		run(f)
		n.flights.mu.Lock()
		next := f.next
		if next != nil {
			n.flights.of[k] = next
		} else {
			delete(n.flights.of, k)
		}
		n.flights.mu.Unlock()
		close(f.done)
		f = next
	}
}
