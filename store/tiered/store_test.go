package tiered_test

import (
	"context"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/store/storetest"
	"github.com/handstamp/handstamp/store/tiered"
)

func (v countedSessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	v.c.finds++
	return v.Sessions.Find(ctx, l)
}

// TestStore passes every rule, over SQLite, with two processes and with a process that comes back.
func TestStore(t *testing.T) {
	r := fault.SharedRedis(t)
	storetest.Run(t, storetest.Maker{
		Open:  func(t testing.TB) storetest.Backend { return open(t, r) },
		Again: func(t testing.TB, b storetest.Backend) storetest.Backend { return b.(handle).again(t) },
		Reopen: func(t testing.TB, b storetest.Backend) storetest.Backend {
			must(t, b.Close())
			return b.(handle).again(t)
		},
	})
}

// TestStoreOverMemory has a database that knows of nothing but its own process.
func TestStoreOverMemory(t *testing.T) {
	r := fault.SharedRedis(t)
	storetest.RunSessions(t, func(t testing.TB) storetest.SessionStore {
		c, err := redis.Dial(t.Context(), r.URLAt(r.Addr(), r.NextDB()), redis.Options{Cache: true})
		must(t, err)
		s := tiered.New(memory.New(), redis.NewCache(c), secrets())
		t.Cleanup(func() { must(t, s.Close()) })
		return s
	})
}
