package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp/internal/fault"
)

// evil is one kind of fault. It says how to begin, and what it returns ends it.
type evil struct {
	name   string
	stores []string // nil: all
	begin  func(f *fleet, rnd *rand.Rand) (heal func())
}

func (e evil) on(store string) bool {
	for _, s := range e.stores {
		if s == store {
			return true
		}
	}
	return e.stores == nil
}

var (
	overPostgres = []string{onPostgres, onRedis, onTiered}
	overRedis    = []string{onRedis, onTiered}
)

// onOne is a fault of one node, whichever.
func onOne(fn func(n *node) func()) func(*fleet, *rand.Rand) func() {
	return func(f *fleet, rnd *rand.Rand) func() { return fn(f.nodes[rnd.IntN(len(f.nodes))]) }
}

// onPaths breaks the paths to one of the servers: of one node or of all.
func onPaths(which func(n *node) *fault.Proxy, how func(p *fault.Proxy) (heal func())) func(*fleet, *rand.Rand) func() {
	return func(f *fleet, rnd *rand.Rand) func() {
		victims := f.nodes
		if rnd.IntN(2) == 0 {
			i := rnd.IntN(len(f.nodes))
			victims = f.nodes[i : i+1]
		}
		var heals []func()
		for _, n := range victims {
			heals = append(heals, how(which(n)))
		}
		return func() {
			for _, h := range heals {
				h()
			}
		}
	}
}

func toSQL(n *node) *fault.Proxy   { return n.sql }
func toRedis(n *node) *fault.Proxy { return n.redis }

// weathers are what may happen to a path.
func weathers(what string, stores []string, which func(n *node) *fault.Proxy) []evil {
	plain := func(how func(p *fault.Proxy)) func(p *fault.Proxy) func() {
		return func(p *fault.Proxy) func() { how(p); return p.Heal }
	}
	return []evil{
		{"black hole to " + what, stores, onPaths(which, plain((*fault.Proxy).Blackhole))},
		{"half-open to " + what, stores, onPaths(which, plain((*fault.Proxy).HalfOpen))},
		{"cut from " + what, stores, onPaths(which, plain((*fault.Proxy).Cut))},
		{"no wake-ups from " + what, stores, onPaths(which, plain((*fault.Proxy).Mute))},
		{what + " takes 2 s", stores, onPaths(which, plain(func(p *fault.Proxy) { p.Delay(time.Second) }))},
		{what + " takes 200 ms", stores, onPaths(which, plain(func(p *fault.Proxy) { p.Delay(100 * time.Millisecond) }))},
		{"resets from " + what, stores, onPaths(which, func(p *fault.Proxy) func() { return p.ResetEvery(100 * time.Millisecond) })},
	}
}

func evils() []evil {
	all := []evil{
		{"kill a node", nil, onOne((*node).kill)},
		{"stop a node", nil, onOne((*node).stop)},
		{"kill PostgreSQL", overPostgres, func(f *fleet, _ *rand.Rand) func() {
			f.pg.Kill()
			return func() { f.pg.Start(f.t) }
		}},
		{"restart PostgreSQL", overPostgres, func(f *fleet, rnd *rand.Rand) func() {
			f.pg.Stop([]string{"fast", "immediate"}[rnd.IntN(2)])
			return func() { f.pg.Start(f.t) }
		}},
		{"stop PostgreSQL", overPostgres, func(f *fleet, _ *rand.Rand) func() {
			f.pg.Pause()
			return f.pg.Resume
		}},
		{"read-only PostgreSQL", overPostgres, func(f *fleet, _ *rand.Rand) func() {
			f.pg.Configure(f.t, map[string]string{"default_transaction_read_only": "on"})
			return func() { f.pg.Configure(f.t, map[string]string{"default_transaction_read_only": ""}) }
		}},
		{"no connection free", overPostgres, exhaust},
		{"connections ended", overPostgres, func(f *fleet, _ *rand.Rand) func() {
			f.pg.Disconnect(f.t, f.db)
			return func() { f.pg.Disconnect(f.t, f.db) }
		}},
		{"kill Redis", overRedis, func(f *fleet, _ *rand.Rand) func() {
			f.redis.Kill()
			return func() { f.redis.Start(f.t) }
		}},
		{"stop Redis", overRedis, func(f *fleet, _ *rand.Rand) func() {
			f.redis.Pause()
			return f.redis.Resume
		}},
		{"empty Redis", []string{onTiered}, func(f *fleet, _ *rand.Rand) func() {
			f.redis.Flush(f.t)
			return func() {}
		}},
		{"a clock 29 s ahead", nil, clock(29 * time.Second)},
		{"a clock 29 s behind", nil, clock(-29 * time.Second)},
		{"a clock an hour ahead", nil, clock(time.Hour)},
		{"a clock an hour behind", nil, clock(-time.Hour)},
	}
	all = append(all, weathers("PostgreSQL", overPostgres, toSQL)...)
	return append(all, weathers("Redis", overRedis, toRedis)...)
}

func clock(d time.Duration) func(*fleet, *rand.Rand) func() {
	return onOne(func(n *node) func() {
		n.SetOffset(n.f.t, d)
		return func() { n.SetOffset(n.f.t, 0) }
	})
}

// exhaust takes every connection that the server has, those of the nodes too, which then find none.
func exhaust(f *fleet, _ *rand.Rand) func() {
	var all []*pgx.Conn
	for range 3 {
		for {
			c, err := pgx.Connect(context.Background(), f.pg.DSN("postgres"))
			if err != nil {
				break
			}
			all = append(all, c)
		}
		if len(all) == 0 {
			break
		}
		// The last place is used to end the nodes' connections; what they leave is taken in the next turn.
		_, _ = all[len(all)-1].Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", f.db)
	}
	return func() {
		for _, c := range all {
			_ = c.Close(context.Background())
		}
	}
}

// wait lets time pass in which the load goes on.
func wait(d time.Duration) { <-time.After(d) }

// Whatever breaks: nothing acknowledged is lost, nothing ended is accepted, nobody is logged out, nobody is taken for
// somebody else, and service is back five seconds after the fault.
func TestFaults(t *testing.T) {
	stores := []string{onPostgres, onRedis, onTiered}
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			rnd := seeded(t)
			for _, e := range evils() {
				if !e.on(store) || os.Getenv("HANDSTAMP_FAULT") != "" && os.Getenv("HANDSTAMP_FAULT") != e.name {
					continue
				}
				t.Run(e.name, func(t *testing.T) {
					f := newFleet(t, setup{store: store, nodes: 2})
					for range times(1, 10) {
						f.suffer(e, rnd, 1500*time.Millisecond)
					}
					f.finish(rulesFor(f))
				})
			}
		})
	}
}

// suffer runs one fault under load.
func (f *fleet) suffer(e evil, rnd *rand.Rand, d time.Duration) {
	stop := f.load(rnd, 6)
	wait(200 * time.Millisecond)
	heal := e.begin(f, rnd)
	wait(d)
	heal()
	back := f.recovered()
	stop()
	f.t.Logf("%s: service was back after %v", e.name, back.Round(time.Millisecond))
}

// rulesFor: other nodes may answer from memory for a lease.
func rulesFor(*fleet) fault.Rules { return fault.Rules{Bound: 2 * time.Second} }

// Killed again and again under load: whatever was acknowledged is there, whatever was ended stays ended.
func TestKills(t *testing.T) {
	for _, c := range []struct{ store, what string }{
		{onPostgres, "kill a node"}, {onPostgres, "kill PostgreSQL"}, {onRedis, "kill Redis"}, {onTiered, "kill Redis"}, {onSQLite, "kill a node"},
	} {
		t.Run(fmt.Sprintf("%s on %s", c.what, c.store), func(t *testing.T) {
			t.Parallel()
			rnd := seeded(t)
			f := newFleet(t, setup{store: c.store, nodes: 2, durable: long()})
			for _, e := range evils() {
				if e.name != c.what {
					continue
				}
				stop := f.load(rnd, 6)
				for range times(10, 100) {
					wait(time.Duration(20+rnd.IntN(280)) * time.Millisecond)
					heal := e.begin(f, rnd)
					wait(time.Duration(rnd.IntN(200)) * time.Millisecond)
					heal()
					f.recovered()
				}
				stop()
			}
			f.finish(rulesFor(f))
		})
	}
}
