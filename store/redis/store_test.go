package redis_test

import (
	"path/filepath"
	"testing"

	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/store/storetest"
)

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

// TestStoreOverMemory has a base that knows of nothing but its own process.
func TestStoreOverMemory(t *testing.T) {
	r := fault.SharedRedis(t)
	storetest.RunSessions(t, func(t testing.TB) storetest.SessionStore {
		s, err := redis.Over(memory.New(), dial(t, r.URLAt(r.Addr(), r.NextDB()), redis.Options{Timeout: patience}))
		must(t, err)
		t.Cleanup(func() { must(t, s.Close()) })
		return s
	})
}

// TestBatches: one question of the database for many sessions.
func TestBatches(t *testing.T) {
	r := fault.SharedRedis(t)
	base := openBase(t, filepath.Join(t.TempDir(), "handstamp.db"))
	storetest.Batches(t, base, func(b storetest.Base) storetest.SessionStore {
		s, err := redis.Over(b, dial(t, r.URLAt(r.Addr(), r.NextDB()), redis.Options{Timeout: patience}))
		must(t, err)
		t.Cleanup(func() { must(t, s.Close()) })
		return s
	})
}
