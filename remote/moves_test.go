package remote_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/bubbletest"
)

// TestMoves: whatever happens between a Verifier and the nodes (it is moved from one to another behind one address or by its
// own choice, cut off, answered late, restarted), no check that begins after somebody waited for the fleet is answered yes,
// a wait ends in time, and no live session is called over. A seed that fails is printed; HANDSTAMP_SEED runs it alone.
func TestMoves(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 5
	}
	first := uint64(1)
	if s, err := strconv.ParseUint(os.Getenv("HANDSTAMP_SEED"), 10, 64); err == nil {
		first, seeds = s, 1
	}
	for seed := first; seed < first+seeds; seed++ {
		bubbletest.Test(t, func(t *testing.T) { moves(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func moves(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	f := newFleet(t, 2, func(o *handstamp.Options) { o.Lease = 500 * time.Millisecond })
	all := []*handstamp.Verifier{f.remote(public), f.remote("https://a.test,https://b.test"), f.remote("https://b.test")}
	hosts := []string{"auth.example.com", "a.test", "b.test"}
	live := f.logIn(handstamp.ModeHybrid, "stays")
	trouble := func() {
		f.net.set(func(n *network) {
			host := hosts[r.IntN(len(hosts))]
			n.hosts["auth.example.com"] = f.nodes[r.IntN(2)].server
			n.cut[host] = r.IntN(3) == 0
			n.refused[host] = r.IntN(4) == 0
			n.slow[host] = time.Duration(r.IntN(3)*r.IntN(200)) * time.Millisecond
			n.silent = r.IntN(3) == 0
		})
		f.nodes[r.IntN(2)].store.down.Store(r.IntN(5) == 0)
	}
	for range 12 {
		var grants []handstamp.Grant
		for _, mode := range modes() {
			f.nodes[0].store.down.Store(false)
			grants = append(grants, f.logIn(mode, handstamp.UserID("u"+strconv.Itoa(r.IntN(3)))))
		}
		for range r.IntN(4) {
			trouble()
			for _, v := range all {
				for _, g := range append(grants, live) {
					if got := says(v, text(g)); got != "yes" && got != "don't know" {
						t.Fatalf("a live session: %s", got)
					}
				}
			}
			time.Sleep(time.Duration(r.IntN(700)) * time.Millisecond)
		}
		end := f.nodes[r.IntN(2)]
		end.store.down.Store(false)
		began := time.Now()
		var err error
		switch g := grants[r.IntN(len(grants))]; r.IntN(3) {
		case 0:
			grants = []handstamp.Grant{g}
			_, err = end.auth.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{WaitFleet: true})
		case 1:
			grants = ofUser(grants, g.Session.User)
			_, err = end.auth.EndUser(t.Context(), g.Session.User, handstamp.EndOptions{WaitFleet: true})
		default:
			_, err = end.auth.EndAll(t.Context(), handstamp.EndOptions{WaitFleet: true})
			live = handstamp.Grant{}
		}
		must(t, err)
		if took := time.Since(began); took > 560*time.Millisecond+500*time.Millisecond {
			t.Errorf("the fleet was waited for for %v", took)
		}
		for range 3 {
			for _, v := range all {
				for _, g := range grants {
					if got := says(v, text(g)); got == "yes" {
						t.Fatal("accepted after the fleet was waited for")
					}
				}
			}
			trouble()
		}
		if live.Session.ID == "" {
			f.nodes[0].store.down.Store(false)
			live = f.logIn(handstamp.ModeHybrid, "stays")
		}
	}
	f.net.set(func(n *network) { clear(n.cut); clear(n.refused); clear(n.slow) })
	for _, n := range f.nodes {
		n.store.down.Store(false)
	}
	for _, v := range all {
		eventually(t, 5*time.Second, v, text(live), "yes")
	}
}

func ofUser(grants []handstamp.Grant, u handstamp.UserID) []handstamp.Grant {
	var out []handstamp.Grant
	for _, g := range grants {
		if g.Session.User == u {
			out = append(out, g)
		}
	}
	return out
}
