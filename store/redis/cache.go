package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// Entry is one copy in a cache. It is the Entry of package store/tiered, which describes it.
type Entry = struct {
	Key, Owner string
	AsOf       uint64
	Version    uint64
	Value      []byte
	KeepFor    time.Duration
}

// Cache keeps copies for package store/tiered: it is that package's Cache. It decides nothing about them. It is safe for
// concurrent use; make it with [NewCache] or [OpenCache].
type Cache struct {
	client atomic.Pointer[Client] // nil until there is a connection
	away   atomic.Pointer[error]  // then why there was none at the last try
	here   chan struct{}          // closed then
	stop   context.CancelFunc
	tries  sync.WaitGroup
}

// NewCache uses a server as a cache. Whether it evicts keys does not matter here; see Options.Cache.
func NewCache(c *Client) *Cache {
	k := &Cache{here: make(chan struct{}), stop: func() {}}
	k.arrive(c)
	return k
}

// againAfter is how long [OpenCache] pauses before it looks again for a server that was away.
const againAfter = time.Second

// OpenCache connects like [Dial], with Options.Cache, but does without a server that cannot be reached for now: no session
// depends on a cache, so a process that starts while it is away must start. It is looked for until [Cache.Close]; until it is
// found every call is an error. told is called with the client when there is one, and before that, once, with why there is
// none. What no waiting can mend (a URL that is none, a wrong password, a server that is too old) is an error as ever.
func OpenCache(ctx context.Context, url string, opt Options, told func(c *Client, away error)) (*Cache, error) {
	opt.Cache = true
	c, err := Dial(ctx, url, opt)
	if err == nil {
		told(c, nil)
		return NewCache(c), nil
	}
	if !errors.As(err, new(*awayError)) {
		return nil, err
	}
	told(nil, err)
	first := err
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	k := &Cache{here: make(chan struct{}), stop: stop}
	k.away.Store(&first)
	k.tries.Go(func() {
		for pause(ctx, againAfter) == nil {
			c, err := Dial(ctx, url, opt)
			if err == nil {
				k.arrive(c)
				told(c, nil)
				return
			}
			k.away.Store(&err) // it may be there, and not be one that can be used
		}
	})
	return k, nil
}

func (k *Cache) arrive(c *Client) {
	k.client.Store(c)
	close(k.here)
}

// errNotHere is what calls of a cache are told that was not found yet.
var errNotHere = errors.New("Redis was not reached since this process began")

func (k *Cache) get() (*Client, error) {
	if c := k.client.Load(); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("%w: %w", errNotHere, *k.away.Load())
}

// Get returns a copy, nil if there is none.
func (k *Cache) Get(ctx context.Context, key string) ([]byte, error) {
	c, err := k.get()
	if err != nil {
		return nil, err
	}
	b, err := c.conn.Do(ctx, c.conn.B().Get().Key(c.root+"c:"+key).Build()).AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	if err != nil {
		return nil, c.explain("read a copy", err)
	}
	return b, nil
}

// Put keeps a copy, unless a newer one is there or something newer was noted of its owner.
func (k *Cache) Put(ctx context.Context, e Entry) error {
	if e.AsOf >= maxNumber || e.KeepFor < time.Millisecond {
		return nil
	}
	c, err := k.get()
	if err != nil {
		return err
	}
	_, err = c.run(ctx, "keep", e.Key, e.Owner, decimal(e.AsOf), decimal(min(e.Version, maxNumber)),
		decimal(e.KeepFor.Milliseconds()), string(e.Value))
	return err
}

// noteFor is for how long what was noted of an owner keeps older copies away: longer than any is on its way.
const noteFor = time.Hour

// Note drops the copies of owners that are older than a number, and wakes who listens.
func (k *Cache) Note(ctx context.Context, number uint64, owners ...string) error {
	if number >= maxNumber {
		return nil
	}
	c, err := k.get()
	if err != nil {
		return err
	}
	_, err = c.run(ctx, "note", append([]string{decimal(number), decimal(noteFor.Milliseconds())}, owners...)...)
	return err
}

// Listen calls wake whenever something was noted by anybody, until ctx ends.
func (k *Cache) Listen(ctx context.Context, wake func()) {
	select {
	case <-ctx.Done():
	case <-k.here:
		k.client.Load().listen(ctx, wake)
	}
}

// Ready says whether the server answers.
func (k *Cache) Ready(ctx context.Context) error {
	c, err := k.get()
	if err != nil {
		return err
	}
	return c.Ready(ctx)
}

// Close ends the connection, or the search for one.
func (k *Cache) Close() {
	k.stop()
	k.tries.Wait()
	if c := k.client.Load(); c != nil {
		c.Close()
	}
}
