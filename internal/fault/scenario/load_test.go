package scenario

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// client is one program that uses the fleet, and never does two things at once.
type client struct {
	f     *fleet
	rand  *rand.Rand
	user  string
	alive []*cred
	over  []*cred
}

// load runs clients, two of whom are people with passwords, until the function that is returned is called.
func (f *fleet) load(rnd *rand.Rand, clients int) (stop func()) {
	done := make(chan struct{})
	var all sync.WaitGroup
	run := func(step func()) {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					step()
				}
			}
		})
	}
	const people = 2
	for range clients - people {
		c := &client{f: f, rand: rand.New(rand.NewPCG(rnd.Uint64(), 2)), user: f.newUser()}
		run(c.step)
	}
	for range people {
		run(f.person(rnd).step)
	}
	return func() { close(done); all.Wait() }
}

func (c *client) node() *node { return c.f.nodes[c.rand.IntN(len(c.f.nodes))] }

// step does one thing at one node.
func (c *client) step() {
	n := c.node()
	if len(c.alive) == 0 || len(c.alive) < 5 && c.rand.IntN(10) == 0 {
		if one := n.start(c.user, []string{"session", "token", "hybrid", "hybrid"}[c.rand.IntN(4)]); one != nil {
			c.alive = append(c.alive, one)
		}
		c.pause()
		return
	}
	i := c.rand.IntN(len(c.alive))
	one := c.alive[i]
	switch p := c.rand.IntN(100); {
	case p < 60:
		n.check(one, false)
	case p < 85:
		if _, token := one.now(); token != "" {
			n.refresh(one)
		}
	case p < 93 && len(c.over) > 0:
		n.check(c.over[c.rand.IntN(len(c.over))], false)
	case p < 95:
		n.endUser(c.user, false)
		c.over, c.alive = append(c.over, c.alive...), nil
	case p < 98:
		n.end(one, false)
		c.bury(i)
	default:
		n.logout(one)
		c.bury(i)
	}
	c.pause()
}

// bury: the session was to be ended, whatever was answered.
func (c *client) bury(i int) {
	c.over = append(c.over, c.alive[i])
	c.alive = append(c.alive[:i], c.alive[i+1:]...)
	if len(c.over) > 20 {
		c.over = c.over[1:]
	}
}

// breathe keeps a loop that gets no answer from being nothing but that.
func breathe() { <-time.After(5 * time.Millisecond) }

// pause is what lies between two clicks: without it a fault that is answered at once fills the history with noise.
func (c *client) pause() {
	timer := time.NewTimer(time.Duration(c.rand.IntN(10)) * time.Millisecond)
	defer timer.Stop()
	<-timer.C
}

// finish looks for everything that was acknowledged, judges all answers and reads the logs, that of the audit too.
func (f *fleet) finish(r fault.Rules) {
	f.t.Helper()
	f.settle()
	f.look()
	f.Judge(f.t, r)
	f.judgeTrail()
	var yes, no, unknown int
	for _, op := range f.Ops() {
		switch {
		case op.Kind == fault.Nemesis:
		case op.Outcome == fault.Yes:
			yes++
		case op.Outcome == fault.No:
			no++
		default:
			unknown++
		}
	}
	f.t.Logf("%d operations: %d yes, %d no, %d unknown", yes+no+unknown, yes, no, unknown)
	for _, n := range f.nodes {
		log := n.Log()
		if strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
			f.t.Errorf("%s panicked:\n%s", n.Name(), log)
		}
		f.created.Range(func(_, v any) bool {
			c, _ := v.(*cred)
			for _, secret := range []string{c.access, c.refresh, f.key} {
				if secret != "" && strings.Contains(log, secret) {
					f.t.Errorf("a secret is in the log of %s", n.Name())
					return false
				}
			}
			return true
		})
	}
}
