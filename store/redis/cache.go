package redis

import (
	"context"
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
// concurrent use; make it with [NewCache].
type Cache struct{ c *Client }

// NewCache uses a server as a cache. Whether it evicts keys does not matter here; see Options.Cache.
func NewCache(c *Client) *Cache { return &Cache{c} }

// Get returns a copy, nil if there is none.
func (k *Cache) Get(ctx context.Context, key string) ([]byte, error) {
	b, err := k.c.conn.Do(ctx, k.c.conn.B().Get().Key(k.c.root+"c:"+key).Build()).AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	if err != nil {
		return nil, k.c.explain("read a copy", err)
	}
	return b, nil
}

// Put keeps a copy, unless a newer one is there or something newer was noted of its owner.
func (k *Cache) Put(ctx context.Context, e Entry) error {
	if e.AsOf >= maxNumber || e.KeepFor < time.Millisecond {
		return nil
	}
	_, err := k.c.run(ctx, "keep", e.Key, e.Owner, decimal(e.AsOf), decimal(min(e.Version, maxNumber)),
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
	_, err := k.c.run(ctx, "note", append([]string{decimal(number), decimal(noteFor.Milliseconds())}, owners...)...)
	return err
}

// Listen calls wake whenever something was noted by anybody, until ctx ends.
func (k *Cache) Listen(ctx context.Context, wake func()) { k.c.listen(ctx, wake) }

// Ready says whether the server answers.
func (k *Cache) Ready(ctx context.Context) error { return k.c.Ready(ctx) }

// Close ends the connection.
func (k *Cache) Close() { k.c.Close() }
