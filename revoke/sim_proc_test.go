package revoke

import (
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/id"
)

var errSimTimeout = errors.New("no answer")

// proc is one process that verifies.
type proc struct {
	w     *world
	name  string
	clock simClock
	m     *member
	reap  reaper
	ids   []id.Verifier
	node  *proc // whom a remote verifier asks; nil: the log itself
	alive bool

	paused    bool
	suspended bool // paused by a sleeping machine, which the monotonic clock does not see
	since     time.Duration
	inbox     []func()
	cut       bool // no message leaves or arrives
	armed     int
	tick      Instant // a cached clock, for the mutant that uses one
}

func (w *world) start(name string, node *proc) *proc {
	p := &proc{w: w, name: name, node: node, alive: true, m: newMember(name)}
	p.clock = simClock{
		rate: w.rate(), offset: w.between(0, time.Hour), step: w.between(-time.Minute, time.Minute), frozen: 0,
	}
	p.m.limit = w.page
	p.m.began.Mono = p.read().Mono - longestInterval
	p.m.newID = func(time.Time) id.Verifier {
		v := id.Verifier(fmt.Sprintf("%s-%d", name, len(p.ids)))
		p.ids = append(p.ids, v)
		return v
	}
	w.procs = append(w.procs, p)
	if w.mutant == "coarse_clock" {
		p.ticking()
	}
	if w.mutant == "push" && node != nil {
		p.pushed()
	}
	p.arm()
	return p
}

func (p *proc) read() Instant { return p.clock.read(p.w.now) }

// do runs something in the process: at once, or when it runs again.
func (p *proc) do(what func()) {
	switch {
	case !p.alive:
	case p.paused:
		p.inbox = append(p.inbox, what)
	default:
		what()
		p.check()
	}
}

func (p *proc) pause(d time.Duration, suspend bool) {
	if p.paused || !p.alive {
		return
	}
	p.paused, p.suspended, p.since = true, suspend, p.w.now
	p.w.tell("%s: stops for %v (suspended: %v)", p.name, d, suspend)
	p.w.after(d, func() {
		p.paused = false
		if p.suspended {
			p.clock.frozen += p.w.now - p.since
		}
		p.check() // the worst case: a check is served before anything that waits in the inbox
		inbox := p.inbox
		p.inbox = nil
		if p.w.chance(.5) {
			p.w.r.Shuffle(len(inbox), func(i, j int) { inbox[i], inbox[j] = inbox[j], inbox[i] })
		}
		for _, what := range inbox {
			p.do(what)
		}
		p.arm()
	})
}

// check is a check of every credential that a finished wait said is over.
func (p *proc) check() {
	if p.paused || !p.alive || p.w.violated != "" {
		return
	}
	now := p.read()
	s := p.m.state.Load()
	switch p.w.mutant {
	case "coarse_clock":
		now = p.tick
	case "mono_only":
		now.Wall = s.lease.from.Wall
	case "wall_only":
		now.Mono = s.lease.from.Mono
	}
	for _, e := range p.w.ended {
		v := s.check(now, queryFor(e))
		p.w.stats.checks++
		if v.Fresh {
			p.w.stats.fresh++
		}
		if v.Fresh && v.Ended == 0 {
			p.w.violated = fmt.Sprintf("at %v %s accepts what event %d ended", p.w.now, p.name, e.Seq)
		}
	}
	// Nothing that was applied in order may be missing, or an as_of would speak of events that nobody saw.
	for _, e := range p.w.log.events {
		if p.w.mutant == "" && s.log == p.w.log.id && e.Seq <= s.applied && s.events.hit(queryFor(e)).Ended < e.Seq {
			p.w.violated = fmt.Sprintf("at %v %s claims to have applied event %d", p.w.now, p.name, e.Seq)
		}
	}
}

func queryFor(e Event) Query { return Query{Session: id.Session(e.ID), AsOf: e.Seq - 1} }

func (p *proc) ticking() {
	if !p.paused {
		p.tick = p.read()
	}
	p.w.after(100*ms, p.ticking)
}

// arm sets the timer for the next request.
func (p *proc) arm() {
	p.armed++
	no := p.armed
	p.w.after(time.Duration(float64(p.m.due(p.read()))/p.clock.rate)+time.Microsecond, func() {
		p.do(func() {
			if no == p.armed && p.m.flight == 0 {
				p.ask()
			}
		})
	})
}

func (p *proc) ask() {
	q := p.m.begin(p.read())
	p.w.tell("%s: asks %d as %s at %d-%d (rate %v)", p.name, q.serial, p.m.self, q.renewal.Applied, q.renewal.Lag, p.clock.rate)
	if p.w.mutant == "flat_acks" {
		q.renewal.Lag = 0
	}
	p.w.after(period/2, func() {
		p.do(func() {
			if p.m.flight == q.serial {
				p.m.failed(q, errSimTimeout)
				p.arm()
			}
		})
	})
	transmit := func() {
		if !p.cut {
			p.w.send(func() { p.serve(q) })
		}
	}
	if p.w.chance(.05) { // stopped between deciding what to send and sending it
		p.pause(p.w.between(50*ms, 4*time.Second), false)
	}
	p.do(transmit)
}

// serve is what happens when the request arrives: at the log, or at the node that a remote verifier asks.
func (p *proc) serve(q request) {
	if p.node == nil {
		if p.w.log.down {
			return
		}
		if q.join {
			h := p.w.log.register(q.registration)
			p.reply(func() { p.arrived(q, p.m.joined(q, h)) })
			return
		}
		a, err := p.w.log.renew(q.renewal)
		p.reply(func() { p.take(q, a, err) })
		return
	}
	node := p.node
	node.do(func() {
		if node.cut {
			return
		}
		vouched := node.m.vouched
		if p.w.mutant == "answers_after_vouching" {
			node.m.vouched = 0
		}
		a, err := node.m.answer(node.read(), q.renewal)
		node.m.vouched = vouched
		node.arm()
		if q.join && err == nil {
			p.reply(func() { p.arrived(q, p.m.joined(q, a.Head)) })
			return
		}
		p.reply(func() { p.take(q, a, err) })
	})
}

func (p *proc) reply(receive func()) {
	p.w.send(func() {
		if !p.cut {
			p.do(receive)
		}
	})
}

// take hands an answer to the member, or to what is left of it under a mutant.
func (p *proc) take(q request, a Answer, err error) {
	if err != nil {
		p.m.failed(q, err)
		p.arm()
		return
	}
	live := p.m.flight == q.serial
	defer func() {
		s := p.m.state.Load()
		p.w.tell("%s: takes answer %d (awaited: %v): applied %d, lease left %v", p.name, q.serial, live, s.applied, s.lease.left(p.read()))
	}()
	switch p.w.mutant {
	case "lease_from_receipt":
		q.began = p.read()
	case "chain_no_age":
		a.Age = 0
	case "more_grants":
		if n := len(a.Events); a.More {
			a.More, a.Head.Seq, a.Head.Tag = false, a.Events[n-1].Seq, a.Events[n-1].Tag
		}
	case "skipped_reset":
		if a.Reset {
			a = Answer{Head: a.Head}
			a.Head.Log = p.m.journal.log
		}
	}
	out := p.m.answered(q, p.read(), a)
	if p.w.mutant == "lease_before_ack" && live && !out.reset && !a.More {
		p.m.publish(func(s *state) { s.lease = lease{from: q.began, length: a.Head.Lease - margin(a.Age)} })
	}
	p.arrived(q, out)
}

func (p *proc) arrived(_ request, out outcome) {
	now := p.read()
	if out.reset {
		p.reap.reset()
	}
	p.reap.learn(now, p.m.journal.applied())
	if below, due := p.reap.due(now, p.m.period); due && p.m.registered && p.node == nil && !p.cut {
		self := p.m.self
		log := p.w.log.id
		p.w.send(func() {
			ids := dead(p.w.log.list(), below, self)
			p.w.after(p.w.delay(), func() {
				if p.w.log.id == log {
					p.w.log.remove(below, ids)
				}
			})
		})
		p.reap.looked()
	}
	p.arm()
}

// pushed is the mutant in which a node sends its knowledge to a remote verifier, and its arrival renews the lease.
func (p *proc) pushed() {
	p.w.after(500*ms, p.pushed)
	if p.node.paused || p.node.cut || p.cut || p.m.journal.log == "" {
		return
	}
	j := &p.m.journal
	tag, _ := j.tag(j.applied())
	a, err := p.node.m.answer(p.node.read(), Renewal{Verifier: p.m.self, Log: j.log, Applied: j.applied(), Tag: tag, Limit: p.w.page})
	if err != nil || a.Reset || a.More {
		return
	}
	p.reply(func() {
		if _, err := p.m.journal.extend(a.Events); err != nil || a.Head.Log != p.m.journal.log {
			return
		}
		p.m.set.Add(a.Events...)
		p.m.publish(func(s *state) {
			s.applied, s.events = p.m.journal.applied(), p.m.set.cur.Load()
			s.lease = lease{from: p.read(), length: period}
		})
	})
}

// learn applies the process's own commit.
func (p *proc) learn(e Event) {
	p.m.learn([]Event{e})
	p.w.tell("%s: learns %d", p.name, e.Seq)
	if p.w.mutant == "ahead_moves_applied" && p.m.journal.log == p.w.log.id && e.Seq > p.m.journal.applied() {
		p.m.journal = journal{log: p.m.journal.log, low: e.Seq, lowTag: e.Tag}
		p.m.publish(func(s *state) { s.applied = e.Seq })
	}
	p.arm()
}

// die ends the process; politely, it takes its registration back, unless it still speaks for others.
func (p *proc) die(politely bool) {
	if politely && !p.paused && !p.cut && p.node == nil && p.m.registered {
		p.m.stop()
		if p.m.remotes.acknowledged(p.read(), 1<<62) == 1<<62 {
			v := p.m.self
			p.w.send(func() { p.w.log.remove(1<<62, []id.Verifier{v}) })
		}
	}
	p.alive, p.inbox = false, nil
	p.w.tell("%s: dies", p.name)
}
