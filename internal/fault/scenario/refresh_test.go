package scenario

import (
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// Fifty tabs show the same refresh token to two nodes at the same moment: they get the same successor, all of them, and
// nobody is taken for a thief.
func TestFiftyRefreshesOfOneToken(t *testing.T) {
	for _, store := range []string{onPostgres, onSQLite, onRedis, onTiered} {
		t.Run(store, func(t *testing.T) {
			f := newFleet(t, setup{store: store, nodes: 2, shared: true})
			const tabs, generations = 50, 10
			var c *cred
			unknown := 0
			for round := range times(100, 1000) {
				if round%generations == 0 {
					if c = f.nodes[0].start(f.newUser(), "hybrid"); c == nil {
						t.Fatal("no session")
					}
				}
				_, token := c.now()
				gate := make(chan struct{})
				answers := make([]fault.Op, tabs)
				var all sync.WaitGroup
				for i := range tabs {
					all.Go(func() {
						<-gate
						answers[i] = f.nodes[i%2].refreshWith(c, token)
					})
				}
				close(gate)
				all.Wait()
				for _, op := range answers {
					switch op.Outcome {
					case fault.No:
						t.Fatalf("a tab is refused: %d %s", op.Status, op.Code)
					case fault.Unknown:
						unknown++
					}
				}
				if _, next := c.now(); next == token {
					t.Fatal("no tab got a successor")
				}
			}
			if unknown > 0 {
				t.Logf("%d answers were 503", unknown)
			}
			f.finish(fault.Rules{Bound: time.Second})
		})
	}
}
