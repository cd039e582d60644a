package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/jwt"
)

const keysPath = "/.well-known/jwks.json"

const (
	// youngFor is how long a key set needs no look at whether there is a newer one: half of the five minutes for which the
	// server says it may be kept. The next key is published long before it signs.
	youngFor = 150 * time.Second
	// goodFor is how long a key set is used while no newer one can be read.
	goodFor = 24 * time.Hour
	// spareEvery and spareFirst bound the reads that made-up key ids cause, and those that follow a failed one: so many at
	// first, then one in that time.
	spareEvery = 30 * time.Second
	spareFirst = 3
	// maxStrangers bounds how many key ids are remembered as unknown.
	maxStrangers = 128
	// goneFor is how long a key that is no longer published is remembered, so that what it signed can be called revoked:
	// longer than any value token lives.
	goneFor = time.Hour + 5*time.Minute
	maxGone = 64
	// keysTimeout bounds one read.
	keysTimeout = 3 * time.Second
)

// keys are the server's public keys. It implements [handstamp.VerifyKeys]; checks take no lock.
type keys struct {
	client *client
	now    func() time.Time
	turn   chan struct{} // whoever holds its one place reads; the others wait, and look whether they still need to
	cur    atomic.Pointer[published]
	doubts atomic.Uint64 // how often an event about a key was heard

	mu        sync.Mutex
	settled   uint64              // the doubts that the last read that succeeded answers
	failed    error               // of the last read
	wanted    map[string]struct{} // ids that were asked for and are not known
	strangers map[string]struct{} // ids that were not in a set that was read because of them
	spare     float64             // reads that may be made beyond those that are due
	spareAt   time.Time
}

// published is one set as it was read. It does not change.
type published struct {
	set  jwt.PublicSet
	at   time.Time // before it was read
	gone map[string]goneKey
}

// goneKey is a key that was published once.
type goneKey struct {
	key   jwt.VerifyKey
	until time.Time
}

func newKeys(c *client, now func() time.Time) *keys {
	k := &keys{
		client: c, now: now, turn: make(chan struct{}, 1),
		wanted: map[string]struct{}{}, strangers: map[string]struct{}{}, spare: spareFirst, spareAt: now(),
	}
	k.cur.Store(&published{})
	return k
}

// none reports whether the server publishes no key at all.
func (k *keys) none() bool { return len(k.cur.Load().set.Keys()) == 0 }

// doubt makes the next Reload read: an event spoke of a key, or events may have been missed.
func (k *keys) doubt() { k.doubts.Add(1) }

// Issued implements [handstamp.VerifyKeys].
func (k *keys) Issued(kid string) (jwt.VerifyKey, bool) {
	cur, now := k.cur.Load(), k.now()
	if now.Sub(cur.at) < goodFor {
		if key, ok := cur.set.Key(kid); ok {
			return key, true
		}
		if g, ok := cur.gone[kid]; ok && now.Before(g.until) {
			return g.key, true
		}
	}
	k.want(kid)
	return jwt.VerifyKey{}, false
}

func (k *keys) want(kid string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, known := k.strangers[kid]; !known && len(k.wanted) < maxStrangers {
		k.wanted[kid] = struct{}{}
	}
}

// Revoked implements [handstamp.VerifyKeys]. A key that was published and is no longer has signed nothing that is still
// good: one that merely took its leave stays until its last token has expired.
func (k *keys) Revoked(kid string) (by uint64, revoked bool) {
	cur := k.cur.Load()
	if len(cur.gone) == 0 {
		return 0, false
	}
	g, ok := cur.gone[kid]
	return 0, ok && k.now().Before(g.until)
}

// Reload implements [handstamp.VerifyKeys]. It reads the keys if they are half as old as they may be, if an event spoke of
// one, or if somebody named a key that is not known. One read is under way at a time; reads for made-up names and reads
// after a failure are bounded. An error says that the keys at hand may not be all there are.
func (k *keys) Reload(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return fmt.Errorf("wait for the public keys: %w", ctx.Err())
	}
	began, doubts := k.now(), k.doubts.Load()
	if read, err := k.due(began, doubts); !read {
		return err
	}
	set, err := k.fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.failed = fmt.Errorf("read the public keys: %w", err)
		return k.failed
	}
	k.failed, k.settled = nil, doubts
	k.cur.Store(k.cur.Load().follow(set, began))
	k.forgetStrangers(set)
	return nil
}

// due says whether to read, and if not, what to answer.
func (k *keys) due(now time.Time, doubts uint64) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	due := doubts != k.settled || now.Sub(k.cur.Load().at) >= youngFor
	switch {
	case due && k.failed == nil:
		return true, nil
	case !due && len(k.wanted) == 0:
		return false, nil
	}
	k.spare = min(spareFirst, k.spare+float64(now.Sub(k.spareAt))/float64(spareEvery))
	k.spareAt = now
	if k.spare < 1 {
		// After a failure it is not known whether there is such a key, and that is no "no".
		return false, k.failed
	}
	k.spare--
	return true, nil
}

// forgetStrangers sorts what was asked for: what the set does not have is a stranger. Locked by the caller.
func (k *keys) forgetStrangers(set jwt.PublicSet) {
	if len(k.strangers)+len(k.wanted) > maxStrangers {
		clear(k.strangers)
	}
	for kid := range k.wanted {
		if _, ok := set.Key(kid); !ok {
			k.strangers[kid] = struct{}{}
		}
	}
	for kid := range k.strangers {
		if _, ok := set.Key(kid); ok {
			delete(k.strangers, kid)
		}
	}
	clear(k.wanted)
}

// follow is the state after a newer set was read.
func (p *published) follow(set jwt.PublicSet, at time.Time) *published {
	next := &published{set: set, at: at, gone: map[string]goneKey{}}
	for kid, g := range p.gone {
		if _, back := set.Key(kid); !back && at.Before(g.until) {
			next.gone[kid] = g
		}
	}
	for _, old := range p.set.Keys() {
		if _, stays := set.Key(old.ID()); !stays && len(next.gone) < maxGone {
			next.gone[old.ID()] = goneKey{key: jwt.VerifyKey(old), until: at.Add(goneFor)}
		}
	}
	return next
}

// fetch reads the set. It is public, so the service key is not shown for it.
func (k *keys) fetch(ctx context.Context) (jwt.PublicSet, error) {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	said, err := k.client.send(ctx, call{
		pool: k.client.log, path: keysPath, limit: jwt.MaxSetBytes, media: []string{"application/json", "application/jwk-set+json"},
	})
	if err != nil {
		return jwt.PublicSet{}, err
	}
	if said.status != http.StatusOK {
		return jwt.PublicSet{}, said.refusal(keysPath, "none")
	}
	set, err := jwt.ParsePublicSet(said.body)
	if err != nil {
		k.client.leave(said.node)
		return jwt.PublicSet{}, &handstamp.UnavailableError{Err: err}
	}
	if len(set.Keys()) == 0 && !k.none() {
		return jwt.PublicSet{}, errors.New("the server publishes no keys any more: where it encrypts its tokens by now, open the verifier again")
	}
	return set, nil
}
