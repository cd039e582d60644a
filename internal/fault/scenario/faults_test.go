package scenario

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp/internal/fault"
)

// evil is one kind of fault. It says how to begin, and what it returns ends it.
type evil struct {
	name   string
	part   part     // what is broken
	stores []string // nil: all
	begin  func(f *fleet, rnd *rand.Rand) (heal func())
}

// part is what is broken. Faults of different parts may come together; they are healed in this order, since a node does
// not start without its servers.
type part int

const (
	thePaths part = iota
	thePostgres
	theRedis
	theNode
)

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
		{name: "black hole to " + what, stores: stores, begin: onPaths(which, plain((*fault.Proxy).Blackhole))},
		{name: "half-open to " + what, stores: stores, begin: onPaths(which, plain((*fault.Proxy).HalfOpen))},
		{name: "cut from " + what, stores: stores, begin: onPaths(which, plain((*fault.Proxy).Cut))},
		{name: "no wake-ups from " + what, stores: stores, begin: onPaths(which, plain((*fault.Proxy).Mute))},
		{name: what + " takes 2 s", stores: stores, begin: onPaths(which, plain(func(p *fault.Proxy) { p.Delay(time.Second) }))},
		// No call of a store takes too long, and several one after the other do.
		{name: what + " takes 700 ms", stores: stores, begin: onPaths(which, plain(func(p *fault.Proxy) { p.Delay(350 * time.Millisecond) }))},
		{name: what + " takes 200 ms", stores: stores, begin: onPaths(which, plain(func(p *fault.Proxy) { p.Delay(100 * time.Millisecond) }))},
		{name: "resets from " + what, stores: stores, begin: onPaths(which, func(p *fault.Proxy) func() { return p.ResetEvery(100 * time.Millisecond) })},
	}
}

func evils() []evil {
	all := []evil{
		{name: "kill a node", part: theNode, begin: onOne((*node).kill)},
		{name: "stop a node", part: theNode, begin: onOne((*node).stop)},
		{name: "kill PostgreSQL", part: thePostgres, stores: overPostgres, begin: func(f *fleet, _ *rand.Rand) func() {
			f.pg.Kill()
			return func() { f.pg.Start(f.t) }
		}},
		{name: "restart PostgreSQL", part: thePostgres, stores: overPostgres, begin: func(f *fleet, rnd *rand.Rand) func() {
			f.pg.Stop([]string{"fast", "immediate"}[rnd.IntN(2)])
			return func() { f.pg.Start(f.t) }
		}},
		{name: "stop PostgreSQL", part: thePostgres, stores: overPostgres, begin: func(f *fleet, _ *rand.Rand) func() {
			f.pg.Pause()
			return f.pg.Resume
		}},
		{name: "read-only PostgreSQL", part: thePostgres, stores: overPostgres, begin: func(f *fleet, _ *rand.Rand) func() {
			f.pg.Configure(f.t, map[string]string{"default_transaction_read_only": "on"})
			return func() { f.pg.Configure(f.t, map[string]string{"default_transaction_read_only": ""}) }
		}},
		{name: "no connection free", part: thePostgres, stores: overPostgres, begin: exhaust},
		{name: "connections ended", part: thePostgres, stores: overPostgres, begin: func(f *fleet, _ *rand.Rand) func() {
			f.pg.Disconnect(f.t, f.db)
			return func() { f.pg.Disconnect(f.t, f.db) }
		}},
		{name: "statements fail", part: thePostgres, stores: overPostgres, begin: failing},
		{name: "full disk", part: thePostgres, stores: []string{onSQLite}, begin: func(f *fleet, _ *rand.Rand) func() {
			if f.setup.disk == nil {
				return func() {}
			}
			f.setup.disk.Fill(f.t)
			return func() { f.setup.disk.Free(f.t) }
		}},
		{name: "kill Redis", part: theRedis, stores: overRedis, begin: func(f *fleet, _ *rand.Rand) func() {
			f.redis.Kill()
			return func() { f.redis.Start(f.t) }
		}},
		{name: "stop Redis", part: theRedis, stores: overRedis, begin: func(f *fleet, _ *rand.Rand) func() {
			f.redis.Pause()
			return f.redis.Resume
		}},
		{name: "empty Redis", part: theRedis, stores: []string{onTiered}, begin: func(f *fleet, _ *rand.Rand) func() {
			f.redis.Flush(f.t)
			return func() {}
		}},
		{name: "a clock 29 s ahead", part: theNode, stores: overPostgres, begin: clock(29 * time.Second)},
		{name: "a clock 29 s behind", part: theNode, stores: overPostgres, begin: clock(-29 * time.Second)},
		{name: "a clock an hour ahead", part: theNode, stores: overPostgres, begin: clock(time.Hour)},
		{name: "a clock an hour behind", part: theNode, stores: overPostgres, begin: clock(-time.Hour)},
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

// elsewhere says whether the short form plays a fault in another test: what does not touch Redis on PostgreSQL alone, what
// is slow with the longer delay, and what TestKills plays ten times on the same store.
func elsewhere(store string, e evil) bool {
	return store != onPostgres && e.on(onPostgres) && !slices.Contains([]string{"kill a node", "kill PostgreSQL"}, e.name) ||
		strings.HasSuffix(e.name, " takes 200 ms") ||
		slices.ContainsFunc(kills, func(k kill) bool { return k.store == store && k.what == e.name })
}

// Whatever breaks: nothing acknowledged is lost, nothing ended is accepted, nobody is logged out, nobody is taken for
// somebody else, and service is back five seconds after the fault.
func TestFaults(t *testing.T) {
	stores := []string{onPostgres, onRedis, onTiered, onSQLite}
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			rnd := seeded(t)
			for _, e := range evils() {
				if !e.on(store) || !long() && elsewhere(store, e) {
					continue
				}
				if os.Getenv("HANDSTAMP_FAULT") != "" && os.Getenv("HANDSTAMP_FAULT") != e.name {
					continue
				}
				t.Run(e.name, func(t *testing.T) {
					f := newFleet(t, setup{store: store, nodes: 2, lease: 500 * time.Millisecond, disk: diskFor(t, store)}) // shorter than the fault
					for range times(1, 10) {
						f.suffer(e, rnd, hurt())
					}
					f.finish(rulesFor(f))
				})
			}
		})
	}
}

// hurt is how long a fault lasts.
func hurt() time.Duration {
	if long() {
		return 4 * time.Second
	}
	return time.Second
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

// rulesFor: another node answers from memory for a second after it missed an event, or for a lease if it is cut off.
func rulesFor(f *fleet) fault.Rules {
	return fault.Rules{Bound: max(time.Second, cmp.Or(f.setup.lease, 2*time.Second))}
}

// kill is one part that is killed again and again.
type kill struct{ store, what string }

var kills = []kill{
	{onPostgres, "kill a node"}, {onPostgres, "kill PostgreSQL"}, {onRedis, "kill Redis"}, {onTiered, "kill Redis"}, {onSQLite, "kill a node"},
}

// Killed again and again under load: whatever was acknowledged is there, whatever was ended stays ended, and for each of it
// there is its audit entry, and for nothing else.
func TestKills(t *testing.T) {
	for _, c := range kills {
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
