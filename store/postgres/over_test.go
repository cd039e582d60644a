package postgres_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/store/postgres"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/store/storetest"
	"github.com/handstamp/handstamp/store/tiered"
)

// The stores that stand on another one are tried on this one too: its readers and writers do not wait for each other, as
// those of SQLite do, so that what is done in Redis after a commit meets what other units commit at the same time.

// onTop is a store that stands on a schema of a database, and where its data is.
type onTop struct {
	storetest.Backend
	schema, url string
}

// making makes stores on this one, each with a schema and a database of Redis of its own.
func making(t *testing.T, opt redis.Options, build func(t testing.TB, base *postgres.Store, c *redis.Client) storetest.Backend) storetest.Maker {
	server, r := fault.SharedPostgres(t), fault.SharedRedis(t)
	dsn := server.DSN(server.CreateDB(t))
	var next atomic.Int64
	at := func(t testing.TB, schema, url string) storetest.Backend {
		t.Helper()
		base := openWith(t, dsn, postgres.Options{Schema: schema})
		c, err := redis.Dial(t.Context(), url, opt)
		if err != nil {
			t.Fatal(err)
		}
		b := build(t, base.Store, c)
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
		})
		return onTop{b, schema, url}
	}
	again := func(t testing.TB, b storetest.Backend) storetest.Backend {
		t.Helper()
		return at(t, b.(onTop).schema, b.(onTop).url)
	}
	return storetest.Maker{
		Open: func(t testing.TB) storetest.Backend {
			t.Helper()
			return at(t, fmt.Sprint("rule_", next.Add(1)), r.URLAt(r.Addr(), r.NextDB()))
		},
		Again: again,
		Reopen: func(t testing.TB, b storetest.Backend) storetest.Backend {
			t.Helper()
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			return again(t, b)
		},
	}
}

func underRedis(t *testing.T) storetest.Maker {
	return making(t, redis.Options{Timeout: 10 * time.Second}, func(t testing.TB, base *postgres.Store, c *redis.Client) storetest.Backend {
		t.Helper()
		s, err := redis.Over(base, c)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func underTier(t *testing.T) storetest.Maker {
	secrets := tiered.Options{Secrets: [][]byte{[]byte("a secret that the whole fleet has")}}
	return making(t, redis.Options{Cache: true}, func(_ testing.TB, base *postgres.Store, c *redis.Client) storetest.Backend {
		return tiered.New(base, redis.NewCache(c), secrets)
	})
}

// TestStoreUnderRedis passes every rule with the sessions in Redis.
func TestStoreUnderRedis(t *testing.T) { storetest.Run(t, underRedis(t)) }

// TestStoreUnderTier passes every rule behind a shared cache.
func TestStoreUnderTier(t *testing.T) { storetest.Run(t, underTier(t)) }

// TestI2_EndedOnEveryNode logs in on one node, checks on both, ends on one, and checks on the other.
func TestI2_EndedOnEveryNode(t *testing.T) {
	for name, made := range map[string]struct {
		by  func(*testing.T) storetest.Maker
		opt handstamp.Options
	}{
		"under Redis": {underRedis, handstamp.Options{}},
		"under tier":  {underTier, handstamp.Options{CacheBytes: -1}}, // so that the tier answers
	} {
		t.Run(name, func(t *testing.T) {
			m := made.by(t)
			s := m.Open(t)
			storetest.EndedOnEveryNode(t, made.opt, s, m.Again(t, s))
		})
	}
}
