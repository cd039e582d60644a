package scenario

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

const remotePackage = "github.com/handstamp/handstamp/internal/fault/remoted"

// newRemote starts a service without a store, which renews at one of the nodes, through a proxy of its own.
func (f *fleet) newRemote(name string, at *node, env ...string) (*node, *fault.Proxy) {
	f.t.Helper()
	addr := fault.Loopback(fault.FreePort(f.t))
	link := fault.NewProxy(f.t, strings.TrimPrefix(at.URL(), "http://"))
	n := &node{f: f, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 15 * time.Second}}
	f.t.Cleanup(n.client.CloseIdleConnections)
	n.Node = fault.NewNode(f.t, fault.NodeOptions{
		Name: name, Binary: fault.BuildBinary(f.t, remotePackage), URL: "http://" + addr, Ready: "http://" + addr + "/ready",
		Env: append([]string{
			"REMOTED_SERVER=http://" + link.Addr(), "REMOTED_KEY=" + f.key, "REMOTED_ADDR=" + addr,
			"REMOTED_PUBLIC_URL=http://" + addr, "REMOTED_ISSUER=" + f.public,
		}, env...),
	})
	n.Start(f.t)
	return n, link
}

// Ended at a node, last accepted at a service without a store: within a second, whether a stream of events wakes it up or
// not; and when it is cut off, until its lease ends, and then it says that it does not know.
func TestRevocationReachesARemote(t *testing.T) {
	for name, env := range map[string][]string{"with a stream": nil, "without a stream": {"REMOTED_DEAF=1"}} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, setup{store: onPostgres, nodes: 1, shared: true})
			remote, _ := f.newRemote("remote", f.nodes[0], env...)
			f.nodes = append(f.nodes, remote)
			rounds := times(200, 1000)
			if env != nil {
				rounds = times(10, 200)
			}
			measure(t, f, "remote "+name, rounds, time.Second)
			f.Judge(t, fault.Rules{Bound: time.Second})
		})
	}
	// The node that it renews at is the one that is never done with reading its own ends.
	t.Run("in a storm of ends", func(t *testing.T) {
		f := newFleet(t, setup{store: onPostgres, nodes: 1, shared: true})
		remote, _ := f.newRemote("remote", f.nodes[0])
		f.nodes = append(f.nodes, remote)
		stop := f.nodes[0].storm()
		measure(t, f, "remote in a storm", times(10, 200), time.Second)
		stop()
		f.Judge(t, fault.Rules{Bound: time.Second})
	})
	t.Run("cut off", func(t *testing.T) {
		const lease = 2 * time.Second
		f := newFleet(t, setup{store: onPostgres, nodes: 1, shared: true})
		remote, link := f.newRemote("remote", f.nodes[0])
		var all []*cred
		for _, mode := range []string{"session", "hybrid", "token"} {
			c := f.nodes[0].start(f.newUser(), mode)
			all = append(all, c)
			if op := remote.check(c, false); op.Outcome != fault.Yes {
				t.Fatalf("before: %d %s", op.Status, op.Code)
			}
		}
		link.Blackhole()
		for _, c := range all {
			f.nodes[0].end(c, false)
		}
		var each sync.WaitGroup
		for _, c := range all {
			each.Go(func() {
				for began := time.Now(); time.Since(began) < 5*lease; {
					if op := remote.check(c, false); op.Status == http.StatusServiceUnavailable {
						return
					} else if op.Outcome == fault.No {
						t.Errorf("a service that is cut off says no: %d", op.Status)
						return
					}
				}
				t.Error("a service that is cut off never says that it does not know")
			})
		}
		each.Wait()
		link.Heal()
		for _, c := range all {
			until := time.Now().Add(5 * time.Second)
			op := remote.check(c, false)
			for ; op.Outcome != fault.No && time.Now().Before(until); op = remote.check(c, false) {
				breathe()
			}
			if op.Outcome != fault.No {
				t.Errorf("when it is back: %d", op.Status)
			}
		}
		f.Judge(t, fault.Rules{Bound: lease})
	})
}

// The same promise as for nodes, for services that renew at nodes: stopped, killed, cut off, and moved from node to node
// while a revoke waits for the fleet.
func TestWaitForTheFleetWithRemotes(t *testing.T) {
	const lease = 500 * time.Millisecond
	const limit = lease*112/100 + 500*time.Millisecond
	rnd := seeded(t)
	f := newFleet(t, setup{store: onPostgres, nodes: 2, shared: true, lease: lease})
	var remotes []*node
	var links []*fault.Proxy
	for i, name := range []string{"remote-a", "remote-b"} {
		n, link := f.newRemote(name, f.nodes[i])
		remotes, links = append(remotes, n), append(links, link)
	}
	var awake, row, all []time.Duration
	for round := range 2 * times(30, 200) { // nothing is broken
		rested := round < times(30, 200)
		if rested {
			wait(150 * time.Millisecond)
		}
		c := f.nodes[0].start(f.newUser(), "hybrid")
		for _, n := range remotes {
			n.check(c, false)
		}
		op, _ := f.nodes[0].end(c, true)
		if took := op.Return - op.Invoke; rested {
			awake = append(awake, took)
		} else {
			row = append(row, took)
		}
		for _, n := range remotes {
			n.check(c, false)
		}
	}
	percentiles(t, "wait=fleet with remotes, all awake", awake)
	percentiles(t, "wait=fleet with remotes, one after the other", row)
	for range times(30, 200) {
		c := f.nodes[0].start(f.newUser(), []string{"session", "hybrid", "token"}[rnd.IntN(3)])
		if c == nil {
			t.Fatal("no session")
		}
		for _, n := range remotes {
			if op := n.check(c, false); op.Outcome != fault.Yes {
				t.Errorf("before: %d %s", op.Status, op.Code)
			}
		}
		var heal []func()
		for i, n := range remotes {
			switch rnd.IntN(6) {
			case 0:
				heal = append(heal, n.stop())
			case 1:
				heal = append(heal, n.kill())
			case 2:
				links[i].Blackhole()
				heal = append(heal, links[i].Heal)
			case 3:
				links[i].SetTarget(strings.TrimPrefix(f.nodes[rnd.IntN(2)].URL(), "http://"))
				links[i].Reset()
			}
		}
		if rnd.IntN(4) == 0 {
			heal = append([]func(){f.nodes[1].stop()}, heal...) // first: a service cannot start without its node
		}
		op, g := f.nodes[0].end(c, true)
		took := op.Return - op.Invoke
		all = append(all, took)
		if op.Outcome != fault.Yes || g.Applied != "fleet" {
			t.Errorf("the end is answered %d %q", op.Status, g.Applied)
		}
		if took > limit {
			t.Errorf("answered after %v, limit %v", took, limit)
		}
		var checks sync.WaitGroup
		for _, n := range append(remotes, f.nodes...) { // these begin after the answer
			checks.Go(func() { n.check(c, false) })
		}
		for _, h := range heal {
			h()
		}
		checks.Wait()
		for _, n := range append(remotes, f.nodes...) {
			awaitYes(t, f, n)
		}
		if t.Failed() {
			break
		}
	}
	percentiles(t, "wait=fleet with remotes", all)
	f.finish(fault.Rules{Bound: lease})
}

// awaitYes waits until a process answers about a new session again.
func awaitYes(t *testing.T, f *fleet, n *node) {
	t.Helper()
	until := time.Now().Add(15 * time.Second)
	c := f.nodes[0].start(f.newUser(), "session")
	for ; c == nil && time.Now().Before(until); c = f.nodes[0].start(f.newUser(), "session") {
		breathe()
	}
	for time.Now().Before(until) {
		if c != nil && n.check(c, false).Outcome == fault.Yes {
			return
		}
		breathe()
	}
	t.Errorf("%s is not back", n.Name())
}
