package scenario

import (
	"context"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// costs says what one of many equal calls costs on the servers: how often each statement and each command ran for a call.
// What runs by itself meanwhile, a few times in a second, is far less than once for a call and does not count.
func (f *fleet) costs(calls int, call func()) (statements, commands map[string]float64) {
	f.t.Helper()
	read := func() (sql, redis map[string]int64) {
		sql = f.pg.StatementsByText(f.t, f.db)
		if f.redis != nil {
			redis = f.redis.CommandsByName(f.t)
		}
		return sql, redis
	}
	sql, redis := read()
	for range calls {
		call()
	}
	sqlAfter, redisAfter := read()
	perCall := func(before, after map[string]int64) map[string]float64 {
		all := map[string]float64{}
		for text, n := range after {
			if d := float64(n-before[text]) / float64(calls); d >= 0.5 {
				all[text] = d
			}
		}
		return all
	}
	return perCall(sql, sqlAfter), perCall(redis, redisAfter)
}

func sum(m map[string]float64) (n float64) {
	for _, v := range m {
		n += v
	}
	return n
}

var write = regexp.MustCompile(`(?i)\b(insert|update|delete|truncate|merge)\b`)

// A check that is answered from memory costs the servers nothing; a refresh costs the database one statement; and an
// introspection writes nothing.
func TestCosts(t *testing.T) {
	for _, store := range []string{onPostgres, onRedis, onTiered} {
		t.Run(store, func(t *testing.T) {
			f := newFleet(t, setup{store: store, nodes: 1, shared: true})
			n := f.nodes[0]
			for _, mode := range []string{"session", "hybrid", "token"} {
				c := n.start(f.newUser(), mode)
				if c == nil || n.check(c, false).Outcome != fault.Yes { // from here on it is in memory
					t.Fatal("no session")
				}
				const calls = 300
				sql, redis := f.costs(calls, func() { n.check(c, false) })
				if len(sql) > 0 || len(redis) > 0 {
					t.Errorf("a check of mode %s from memory costs %v %v", mode, sql, redis)
				}
				access, _ := c.now()
				sql, _ = f.costs(calls, func() {
					if a := n.call(context.Background(), http.MethodPost, "/v1/introspect", f.key, map[string]any{"token": access}); a.status != http.StatusOK {
						t.Fatalf("an introspection is answered %d %s", a.status, a.body)
					}
				})
				for text := range sql {
					if write.MatchString(text) {
						t.Errorf("an introspection of mode %s writes: %s", mode, text)
					}
				}
				if mode != "hybrid" {
					continue
				}
				const refreshes = 100
				clients := []*cred{c} // one refresh each: a second one within the grace is read first
				for len(clients) < refreshes {
					clients = append(clients, n.start(f.newUser(), mode))
				}
				sql, redis = f.costs(refreshes, func() {
					c, clients = clients[0], clients[1:]
					if op := n.refresh(c); op.Outcome != fault.Yes {
						t.Fatalf("a refresh is answered %d %s", op.Status, op.Code)
					}
				})
				t.Logf("a refresh costs %.1f statements, %.1f commands of Redis: %v", sum(sql), sum(redis), redis)
				if sum(sql) > 1 { // with sessions in Redis it is the one that reads the user
					t.Errorf("a refresh costs %.1f statements: %v", sum(sql), sql)
				}
			}
			f.finish(fault.Rules{Bound: time.Second})
		})
	}
}
