package revoke

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/handstamp/handstamp/id"
)

// The simulator runs the package's own member, remotes, fleetWait and reaper in virtual time: processes with clocks that
// run at different rates and jump, that stop, are suspended and die; messages that are late, buffered, doubled or lost;
// nodes that are cut off; logs that are restored. It looks for one thing only: a check that begins after a wait for the
// fleet returned, and that a registered verifier would answer yes from memory.

const (
	ms     = time.Millisecond
	period = 2 * time.Second // the fleet's lease
)

type world struct {
	r      *rand.Rand
	mutant string
	now    time.Duration // true time, which nobody in the world can read
	queue  timeline
	serial int

	log      *simLog
	procs    []*proc
	ended    []Event // a wait for each of these has returned
	commits  int
	violated string

	slow  bool // messages may take seconds
	lossy bool
	page  int // events per answer
	stats *simStats
	trace func(format string, args ...any) // nil: no trace
}

// tell writes a line of the trace.
func (w *world) tell(format string, args ...any) {
	if w.trace != nil {
		w.trace("%12v "+format, append([]any{w.now}, args...)...)
	}
}

type simStats struct{ checks, fresh, waits, waitedOut, events, removed, resets int }

type moment struct {
	at time.Duration
	no int
	do func()
}

type timeline []moment

func (t timeline) Len() int { return len(t) }
func (t timeline) Less(i, j int) bool {
	return t[i].at < t[j].at || t[i].at == t[j].at && t[i].no < t[j].no
}
func (t timeline) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *timeline) Push(x any)   { *t = append(*t, x.(moment)) }
func (t *timeline) Pop() any {
	old := *t
	x := old[len(old)-1]
	old[len(old)-1] = moment{}
	*t = old[:len(old)-1]
	return x
}

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.queue, moment{w.now + d, w.serial, do})
}

func (w *world) run(until time.Duration) {
	for len(w.queue) > 0 && w.violated == "" {
		m := heap.Pop(&w.queue).(moment)
		if m.at > until {
			return
		}
		w.now = m.at
		m.do()
	}
}

func (w *world) chance(p float64) bool { return w.r.Float64() < p }

// between draws a time from lo to hi.
func (w *world) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.r.Int64N(int64(hi-lo)+1))
}

func (w *world) delay() time.Duration {
	if w.slow && w.chance(.2) {
		return w.between(200*ms, 3*time.Second)
	}
	return [...]time.Duration{ms, 2 * ms, 10 * ms, 50 * ms}[w.r.IntN(4)]
}

// send carries a message: it arrives late, twice, or never.
func (w *world) send(arrive func()) {
	if w.lossy && w.chance(.05) {
		return
	}
	w.after(w.delay(), arrive)
	if w.chance(.03) {
		w.after(w.delay()+w.delay(), arrive)
	}
}

// rate draws how fast a clock runs: the extremes are the dangerous ones.
func (w *world) rate() float64 { return [...]float64{.95, 1, 1.05}[w.r.IntN(3)] }

// simClock is a process's pair of clocks.
type simClock struct {
	rate   float64
	offset time.Duration // of the monotonic clock
	step   time.Duration // of the wall clock
	frozen time.Duration // true time that the monotonic clock did not see
}

func (c *simClock) read(t time.Duration) Instant {
	epoch := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	return Instant{
		Mono: c.offset + time.Duration(float64(t-c.frozen)*c.rate),
		Wall: epoch.Add(c.step + time.Duration(float64(t)*c.rate)),
	}
}

// simLog is the log and the table of verifiers: each call happens at one moment, as a statement in a database does.
type simLog struct {
	w      *world
	id     string
	low    uint64
	lowTag Tag
	events []Event
	rows   map[id.Verifier]*Registration
	tags   int
	down   bool
}

func (l *simLog) head() Head {
	h := Head{Log: l.id, Seq: l.low, Tag: l.lowTag, Low: l.low, LowTag: l.lowTag, Lease: period}
	if n := len(l.events); n > 0 {
		h.Seq, h.Tag = l.events[n-1].Seq, l.events[n-1].Tag
	}
	return h
}

func (l *simLog) append(e Event) Event {
	l.tags++
	e.Seq, e.Tag = l.head().Seq+1, Tag(fmt.Sprintf("t%d", l.tags))
	l.events = append(l.events, e)
	return e
}

func (l *simLog) register(r Registration) Head {
	row := r
	insert := func() {
		if _, ok := l.rows[r.Verifier]; !ok { // a doubled message inserts nothing twice
			l.rows[r.Verifier] = &row
			l.w.tell("log: %s registered", r.Verifier)
		}
	}
	if l.w.mutant == "register_after_read" {
		l.w.after(l.w.delay()+300*ms, insert)
	} else {
		insert()
	}
	return l.head()
}

func (l *simLog) renew(r Renewal) (a Answer, err error) {
	defer func() {
		l.w.tell("log: %s renews at %d-%d: head %d, %d events, more %v, reset %v, %v",
			r.Verifier, r.Applied, r.Lag, a.Head.Seq, len(a.Events), a.More, a.Reset, err)
	}()
	row, ok := l.rows[r.Verifier]
	if !ok {
		if l.w.mutant != "row_gone_renews" && l.w.mutant != "register_after_read" {
			return Answer{}, ErrNotRegistered
		}
		row = &Registration{}
	}
	a = Answer{Head: l.head()}
	tag, known := l.lowTag, r.Applied == l.low
	if r.Applied > l.low && r.Applied <= a.Head.Seq {
		tag, known = l.events[r.Applied-l.low-1].Tag, true
	}
	if r.Log != l.id || !known || tag != r.Tag {
		if l.w.mutant != "skipped_reset" {
			a.Reset = true
			return a, nil
		}
		a.Head.Log, a.Head.Low = r.Log, 0
		a.Head.Seq, a.Head.Tag = max(a.Head.Seq, r.Applied), r.Tag
	}
	if row.Applied <= r.Applied || l.w.mutant == "row_goes_down" {
		row.Applied, row.Lag = r.Applied, r.Lag
	}
	for _, e := range l.events {
		if e.Seq <= r.Applied {
			continue
		}
		if len(a.Events) == r.Limit {
			a.More = true
			break
		}
		a.Events = append(a.Events, e)
	}
	return a, nil
}

func (l *simLog) list() []Registration {
	var list []Registration
	for _, p := range l.w.procs { // by the order of processes: a map's own order would not replay
		for _, v := range p.ids {
			if row, ok := l.rows[v]; ok {
				list = append(list, *row)
			}
		}
	}
	return list
}

func (l *simLog) remove(below uint64, ids []id.Verifier) {
	for _, v := range ids {
		if row, ok := l.rows[v]; ok && row.Applied < below {
			delete(l.rows, v)
			l.w.tell("log: %s removed, below %d", v, below)
			l.w.stats.removed++
		}
	}
}

// restore takes the log away for longer than any lease, and brings it back as it was some events ago, under another id.
// The numbers go on far away, as after `handstamp restored`, or start again where the backup ends.
func (l *simLog) restore() {
	l.down = true
	l.w.tell("log: down")
	l.w.after(period*118/100, func() {
		l.down = false
		l.id += "'"
		l.w.stats.resets++
		defer func() { l.w.tell("log: restored, from %d to %d", l.low, l.head().Seq) }()
		l.rows = map[id.Verifier]*Registration{}
		if l.w.chance(.5) {
			l.low = l.head().Seq + 1<<32
			l.lowTag, l.events = Tag("low"+l.id), nil
			l.append(Event{Kind: KindAll, Effect: End})
			return
		}
		l.events = l.events[:l.w.r.IntN(len(l.events)+1)]
		last := l.head().Seq
		var kept []Event
		for _, e := range l.w.ended {
			if e.Seq <= last {
				kept = append(kept, e)
			}
		}
		l.w.ended = kept // what the backup does not hold is lost with it
	})
}
