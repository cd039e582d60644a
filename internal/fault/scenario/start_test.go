package scenario

import (
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// A node that starts while the Redis of its cache is away serves like one that lost it, and uses it when it is back: a
// rolling restart in an outage of what nobody needs takes no node away.
func TestStartsWithoutItsCache(t *testing.T) {
	f := newFleet(t, setup{store: onTiered, nodes: 2, shared: true})
	c := f.nodes[1].start(f.newUser(), "session")
	f.redis.Kill()
	f.nodes[0].kill()()
	a := f.nodes[0]
	if op := a.check(c, false); op.Outcome != fault.Yes {
		t.Errorf("a check without the cache is answered %d %s", op.Status, op.Code)
	}
	if state := a.cacheState(); state.Status != "degraded" || state.OK {
		t.Errorf("/readyz without the cache: %+v", state)
	}
	stop := f.load(seeded(t), 4)
	wait(hurt())
	f.redis.Start(t)
	for began := time.Now(); !a.cacheState().OK; breathe() {
		if time.Since(began) > 5*time.Second {
			t.Fatalf("five seconds after the cache is back a node does not use it: %+v", a.cacheState())
		}
	}
	stop()
	f.finish(rulesFor(f))
}

// cacheState is what a node says of itself and of its cache.
func (n *node) cacheState() (state struct {
	Status string
	OK     bool
}) {
	n.f.t.Helper()
	_, text, err := n.get(n.ops + "/readyz")
	var said struct {
		Status string
		Parts  []struct {
			Name string
			OK   bool
		}
	}
	if err == nil {
		err = decode([]byte(text), &said)
	}
	if err != nil {
		n.f.t.Fatal(err)
	}
	state.Status = said.Status
	for _, part := range said.Parts {
		state.OK = state.OK || part.Name == "cache" && part.OK
	}
	return state
}
