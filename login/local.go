package login

import (
	"maps"
	"sync"
	"time"
)

// Attempts are counted in the store, where every process sees them. When the store cannot be asked, this process counts by
// itself, more strictly. Refusing all attempts instead would be safe as well, but the store that fails to count for a moment
// is there again by the time a password is checked, more often than not; letting all through would make an outage the time
// to guess passwords, and whoever can bring the store to its knees could bring one about.
//
// What an attacker gains. Each process lets three attempts at an account through, then one every twenty seconds: 4,320 a day
// instead of the store's 1,440, for each process, while the outage lasts. That is nothing against a password that the policy
// allows. The same holds for each network. Who owns many networks and tries many accounts gets ten attempts a second out of
// one process, all accounts together; the store has no such bound, so there an outage is no gain. A lock that is fought over
// is an outage, too, and that somebody can bring about, by many attempts at one account at once: he gains the three and the
// one every twenty seconds, and pays, since what was counted here is charged to the store with the next attempt that it
// counts. A process that ends in between takes its few with it.
//
// What an owner loses. Nothing by trying: an attempt that came to no answer because a store was away, or whose word was
// right and whose session could not begin, is taken back, here and, with the next attempt, there. Somebody who takes every
// turn of an account here keeps its owner out of this process until the store is back, which knows the networks that the
// owner logged in from before. The owner loses nothing by that: without the store there is no session to begin. Nobody is
// told to wait longer than twenty seconds.
const (
	localBurst = 3
	localEvery = 20 * time.Second
	// processBurst and processEvery bound what this process lets through, all accounts and networks together. It bounds the
	// memory as well: a key is busy for a minute at most, so that there are never more than 1,400 of them.
	processBurst = 100
	processEvery = 100 * time.Millisecond
	// maxLocal is how many keys are remembered: those that are busy, and those that owe the store something.
	maxLocal = 10_000
)

// local counts attempts in the memory of this process. The zero value is ready. It is safe for concurrent use.
type local struct {
	mu      sync.Mutex
	process time.Time // when the burst of the process is whole again
	of      map[BudgetKey]*tally
	counted Throttle
}

// tally is what is known of one budget.
type tally struct {
	full time.Time // when its burst is whole again
	debt
}

// debt is what was let through here and is not in the store; less than nothing is what the store counted and should not
// have.
type debt struct {
	key    BudgetKey
	n      int
	lastAt time.Time
}

// gcra returns when a burst is whole again after one more, or how long it is until there is one more (generic cell rate
// algorithm). A clock that was set back keeps nobody out for longer than the burst.
func gcra(full, now time.Time, every time.Duration, burst int) (next time.Time, wait time.Duration) {
	most := time.Duration(burst) * every
	if full.Before(now) || full.Sub(now) > most {
		full = now
	}
	next = full.Add(every)
	return next, next.Sub(now) - most
}

// allow counts one attempt against all keys and the process, or against none of them. It answers how long to wait; more
// than 0 is a refusal.
func (l *local) allow(now time.Time, keys ...BudgetKey) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	process, wait := gcra(l.process, now, processEvery, processBurst)
	next := make([]time.Time, len(keys))
	for i, k := range keys {
		var full time.Time
		if t := l.of[k]; t != nil {
			full = t.full
		}
		var until time.Duration
		next[i], until = gcra(full, now, localEvery, localBurst)
		wait = max(wait, until)
	}
	if wait > 0 {
		l.counted.Refused++
		return wait
	}
	l.counted.Passed++
	l.process = process
	for i, k := range keys {
		t := l.tally(now, k)
		t.full = next[i]
		t.owe(1, now)
	}
	return 0
}

// tally returns the one of a key, and makes room for it.
func (l *local) tally(now time.Time, k BudgetKey) *tally {
	if t := l.of[k]; t != nil {
		return t
	}
	if l.of == nil {
		l.of = map[BudgetKey]*tally{}
	}
	if len(l.of) >= maxLocal {
		l.makeRoom(now)
	}
	t := &tally{debt: debt{key: k}}
	l.of[k] = t
	return t
}

// makeRoom forgets what the store would have forgotten, too, and then what some keys owe, rather than that a busy one
// begins anew. It makes room for many at once, since it looks at all.
func (l *local) makeRoom(now time.Time) {
	maps.DeleteFunc(l.of, func(_ BudgetKey, t *tally) bool { return !t.full.After(now) && t.forgiven(now) })
	for k, t := range l.of {
		if len(l.of) < maxLocal*9/10 {
			return
		}
		if !t.full.After(now) {
			delete(l.of, k)
		}
	}
}

func (d *debt) owe(n int, at time.Time) {
	d.n += n
	if at.After(d.lastAt) {
		d.lastAt = at
	}
}

// forgiven reports whether the store would not remember it any more either.
func (d *debt) forgiven(now time.Time) bool { return d.n == 0 || now.Sub(d.lastAt) >= forgetAfter }

// take hands over what keys owe, in their order. Of two callers one gets it; [local.giveBack] undoes it.
func (l *local) take(now time.Time, keys ...BudgetKey) []debt {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []debt
	for _, k := range keys {
		t := l.of[k]
		if t == nil {
			continue
		}
		if !t.forgiven(now) {
			all = append(all, t.debt)
		}
		t.debt = debt{key: k}
		if !t.full.After(now) {
			delete(l.of, k)
		}
	}
	return all
}

// giveBack is for what could not be charged, or of which it is not known: rather twice than never.
func (l *local) giveBack(now time.Time, debts []debt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range debts {
		l.tally(now, d.key).owe(d.n, d.lastAt)
	}
}

// refund takes one attempt back from what it was charged to. here says that it was charged by allow; the store owes one
// otherwise.
func (l *local) refund(now time.Time, here bool, keys ...BudgetKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if here {
		l.process = l.process.Add(-processEvery)
	}
	for _, k := range keys {
		t := l.tally(now, k)
		t.owe(-1, now)
		if here {
			t.full = t.full.Add(-localEvery)
		}
	}
}

// cleared is told of an attempt that was counted here and turned out to be good: the account owes nothing any more, and
// the network one less.
func (l *local) cleared(account, network BudgetKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.of[account]; t != nil {
		t.debt = debt{key: account}
	}
	if t := l.of[network]; t != nil && t.n > 0 {
		t.n--
	}
}

func (l *local) stats() Throttle {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counted
}
