package login

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/handstamp/handstamp"
)

// TooManyError is the refusal of an attempt before anything about it was looked at. It is neither counted nor does it
// extend the delay.
type TooManyError struct{ RetryAfter time.Duration }

// Error says when the next try counts.
func (e *TooManyError) Error() string {
	return fmt.Sprintf("login: too many attempts; the next one counts in %v", e.RetryAfter)
}

// The delays after a budget is used up: 5 s, doubling, never more than a minute. An owner who is under attack waits a
// minute at most; a guesser gets at most 1,440 tries a day.
const (
	firstDelay = 5 * time.Second
	maxDelay   = time.Minute
	// forgetAfter is how long after the last attempt that counted a budget is as new. By then a guesser would have had
	// more tries by waiting for the delays.
	forgetAfter = time.Hour
	// rememberKnown is how long a network from which an account logged in before keeps a budget of its own.
	rememberKnown = 90 * 24 * time.Hour
)

// delay is how long a budget refuses attempts after its last one that counted.
func delay(failures, limit int) time.Duration {
	if failures < limit {
		return 0
	}
	return min(maxDelay, firstDelay<<min(failures-limit, 10))
}

// charge counts one attempt of a weight against a budget. It answers the counter as it is then; or, when the budget
// refuses, how long still, and the counter unchanged.
func charge(c Counter, weight, limit int, now time.Time) (Counter, time.Duration) {
	if now.Sub(c.LastAt) >= forgetAfter {
		c.Failures = 0
	}
	if c.LastAt.Sub(now) > maxDelay {
		c.LastAt = now.Add(-maxDelay) // the clock was set back: nobody is kept out until it has caught up
	}
	if wait := c.LastAt.Add(delay(c.Failures, limit)).Sub(now); c.Failures >= limit && wait > 0 {
		return c, wait
	}
	c.Failures += weight
	c.LastAt = now
	c.ExpiresAt = now.Add(forgetAfter)
	if c.Known {
		c.ExpiresAt = now.Add(rememberKnown)
	}
	return c, 0
}

// refund takes one attempt back that turned out to be good.
func refund(c Counter) Counter {
	c.Failures = max(0, c.Failures-1)
	return c
}

// budgets are the counters that one attempt is charged to.
type budgets struct {
	account BudgetKey   // tries of strangers at one account
	network BudgetKey   // tries of one network at any account
	pair    BudgetKey   // tries at one account from a network that logged in to it before
	aside   BudgetKey   // attempts at one account beside its budget
	known   bool        // pair is the one that was charged
	charged []BudgetKey // those that this attempt was charged to
	here    bool        // which was done in this process only
	until   time.Time   // with here: when the rest has to be done, by this machine's clock
}

// patience is how long an attempt takes that the store made wait in vain: whoever waits for the answer waited for the
// counting already, and the store that let that run into its time-out would let the rest run into another one.
const patience = 2800 * time.Millisecond

// hurry bounds what is left of such an attempt.
func (b budgets) hurry(ctx context.Context) (context.Context, context.CancelFunc) {
	if !b.here {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, b.until)
}

func (f *Flow) budgets(account string, network netip.Prefix) budgets {
	return budgets{
		account: f.key("account", account),
		network: f.key("network", network.String()),
		pair:    f.key("pair", account, network.String()),
		aside:   f.key("aside", account),
	}
}

// key hides what a counter is for: the table must not be a list of addresses that were tried.
func (f *Flow) key(parts ...string) BudgetKey {
	mac := hmac.New(sha256.New, f.budgetKey)
	for _, p := range parts {
		mac.Write(fmt.Appendf(nil, "%d:%s", len(p), p)) // lengths, so that no two lists of parts are one text
	}
	return BudgetKey(mac.Sum(nil))
}

// count charges an attempt before anything is looked up or hashed, in a transaction of its own: of many attempts at once
// no more than the budget get through. A known pair of account and network is charged to its own budget only, so that
// the failures of strangers never keep the owner out. What was counted here while the store could not count is charged
// first, whether or not there is something left after that. Where delays begin with that, it is in the audit log.
func (f *Flow) count(ctx context.Context, a Attempt, c handstamp.Client) (budgets, error) {
	b := f.budgets(a.Account, networkOf(c))
	delays := beginning{attempt: a, client: c}
	began, now := time.Now(), f.auth.Now()
	own, debts := f.local.take(now, b.pair), f.local.take(now, b.account, b.network, b.aside)
	var wait time.Duration
	paid := false
	chargeOne := func(tx Tx) error {
		wait, paid, b.known, b.charged = 0, false, false, nil
		if err := pay(ctx, tx, now, own); err != nil {
			return err
		}
		pair, err := tx.Counter(ctx, b.pair)
		if err != nil {
			return fmt.Errorf("read a counter: %w", err)
		}
		if pair.Known && now.Before(pair.ExpiresAt) {
			b.known, b.charged = true, []BudgetKey{b.pair}
			wait, err = chargeAll(ctx, tx, 1, now, budget{b.pair, f.maxFailures})
			return err
		}
		if err := pay(ctx, tx, now, debts); err != nil {
			return err
		}
		paid = true
		wait, err = f.countStranger(ctx, tx, &b, pair, now)
		return err
	}
	err := delays.do(ctx, f.store, func(tx Tx) error {
		w := watch(tx, now)
		if err := chargeOne(w); err != nil {
			return err
		}
		return delays.note(ctx, f, w, b)
	})
	if err != nil {
		f.local.giveBack(now, own)
	}
	if err != nil || !paid {
		f.local.giveBack(now, debts)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return budgets{}, err // nobody waits for the answer; that says nothing about the store
	case err != nil:
		b.known, b.here, b.until, b.charged = false, true, began.Add(patience), []BudgetKey{b.account, b.network}
		wait = f.local.allow(now, b.account, b.network)
	}
	if wait > 0 {
		return budgets{}, &TooManyError{RetryAfter: wait}
	}
	return b, nil
}

// undecided takes an attempt back that came to no answer because a store was away: it told nothing to who tried, and when
// the store is back its outage has kept nobody out for longer. Whoever hangs up has asked, and gets nothing back.
func (f *Flow) undecided(ctx context.Context, b budgets) {
	if !errors.Is(context.Cause(ctx), context.Canceled) {
		f.takeBack(b)
	}
}

// takeBack is told of an attempt whose credential was right, or was never looked at. The store hears of it with the next
// attempt that this process counts there: now it may be away.
func (f *Flow) takeBack(b budgets) { f.local.refund(f.auth.Now(), b.here, b.charged...) }

// pay charges what was counted in this process's memory to the store, and takes back what the store should not have counted.
func pay(ctx context.Context, tx Tx, now time.Time, debts []debt) error {
	for _, d := range debts {
		c, err := tx.Counter(ctx, d.key)
		if err != nil {
			return fmt.Errorf("read a counter: %w", err)
		}
		if now.Sub(c.LastAt) >= forgetAfter {
			c.Failures = 0
		}
		if d.n < 0 && c.Failures == 0 {
			continue // it has forgotten what is taken back
		}
		c.Failures = max(0, c.Failures+d.n)
		if d.n > 0 {
			if d.lastAt.After(c.LastAt) {
				c.LastAt = d.lastAt
			}
			c.ExpiresAt = c.LastAt.Add(forgetAfter)
		}
		if err := tx.PutCounter(ctx, c); err != nil {
			return fmt.Errorf("write a counter: %w", err)
		}
	}
	return nil
}

// Throttle is what a Flow counted in its own memory because the store of the counters did not answer.
type Throttle struct {
	Passed  uint64 // attempts that were let through to the check
	Refused uint64 // attempts that were refused
}

// Throttle says what was counted in this process's memory since it began, for metrics. Anything but zeros says that the
// store of the counters did not answer.
func (f *Flow) Throttle() Throttle { return f.local.stats() }

// maxAside is how many attempts at one account, in an hour of them, are let through beside its budget.
const maxAside = 30

// countStranger charges an attempt from a network that did not log in to the account before. While somebody uses the
// account's budget up, he takes each of its turns: the owner, from a new network, would always come second. So a network
// that has not tried for a minute gets one attempt beside the account's budget. What a crowd of networks gains by that
// is bounded.
func (f *Flow) countStranger(ctx context.Context, tx Tx, b *budgets, pair Counter, now time.Time) (time.Duration, error) {
	b.charged = []BudgetKey{b.account, b.network}
	wait, err := chargeAll(ctx, tx, 1, now, budget{b.account, f.maxFailures}, budget{b.network, f.maxFailures})
	if err != nil {
		return 0, err
	}
	if rested := now.Sub(pair.LastAt) >= maxDelay; wait > 0 && rested {
		aside, err := chargeAll(ctx, tx, 1, now, budget{b.aside, maxAside}, budget{b.network, f.maxFailures})
		if err != nil || aside > 0 {
			return wait, err
		}
		wait, b.charged = 0, []BudgetKey{b.aside, b.network}
	}
	if wait > 0 {
		return min(wait, max(time.Second, maxDelay-now.Sub(pair.LastAt))), nil
	}
	// A network that was known, and is no more, does not become it again by trying.
	pair.Known, pair.LastAt, pair.ExpiresAt = false, now, now.Add(forgetAfter)
	if err := tx.PutCounter(ctx, pair); err != nil {
		return 0, fmt.Errorf("write a counter: %w", err)
	}
	return 0, nil
}

// budget is a counter and how much it lets through before delays begin.
type budget struct {
	key   BudgetKey
	limit int
}

// chargeAll charges all budgets or none.
func chargeAll(ctx context.Context, tx Tx, weight int, now time.Time, all ...budget) (time.Duration, error) {
	charged := make([]Counter, 0, len(all))
	for _, b := range all {
		c, err := tx.Counter(ctx, b.key)
		if err != nil {
			return 0, fmt.Errorf("read a counter: %w", err)
		}
		c, wait := charge(c, weight, b.limit, now)
		if wait > 0 {
			return wait, nil
		}
		charged = append(charged, c)
	}
	for _, c := range charged {
		if err := tx.PutCounter(ctx, c); err != nil {
			return 0, fmt.Errorf("write a counter: %w", err)
		}
	}
	return 0, nil
}

// clear is the other end of count, in the transaction of the login that was good: the account's counter is cleared, the
// network gets its one try back (not more: somebody with an account of his own could clear it for his guesses at
// others), and the pair is known from then on.
func (f *Flow) clear(ctx context.Context, tx Tx, b budgets) error {
	now := f.auth.Now()
	pair, err := tx.Counter(ctx, b.pair)
	if err != nil {
		return fmt.Errorf("read a counter: %w", err)
	}
	pair.Known, pair.Failures, pair.LastAt, pair.ExpiresAt = true, 0, now, now.Add(rememberKnown)
	puts := []Counter{pair}
	if !b.known {
		network, err := tx.Counter(ctx, b.network)
		if err != nil {
			return fmt.Errorf("read a counter: %w", err)
		}
		if !b.here { // otherwise it was never charged
			network = refund(network)
		}
		puts = append(puts, network, Counter{Key: b.account, LastAt: now, ExpiresAt: now.Add(forgetAfter)})
	}
	for _, c := range puts {
		if err := tx.PutCounter(ctx, c); err != nil {
			return fmt.Errorf("write a counter: %w", err)
		}
	}
	return nil
}

// Welcome makes the network of a client one that logged in to the account before: a sign-up begins a session, too. It
// belongs into the transaction of the sign-up.
func (f *Flow) Welcome(ctx context.Context, tx Tx, account string, c handstamp.Client) error {
	now := f.auth.Now()
	pair := Counter{Key: f.budgets(account, networkOf(c)).pair, Known: true, LastAt: now, ExpiresAt: now.Add(rememberKnown)}
	if err := tx.PutCounter(ctx, pair); err != nil {
		return fmt.Errorf("write a counter: %w", err)
	}
	return nil
}

// A sign-up is counted per network, by weight: one for an account that is made, more for an address that turns out to be
// taken, since that answer is what somebody who collects addresses is after.
const (
	signUpLimit = 1000
	takenWeight = 10
)

// CountSignUp charges one sign-up to the network of a client. It answers a *TooManyError when the network has had enough
// for now.
func (f *Flow) CountSignUp(ctx context.Context, c handstamp.Client, taken bool) error {
	weight := 1
	if taken {
		weight = takenWeight
	}
	key, now := f.key("signup", networkOf(c).String()), f.auth.Now()
	var wait time.Duration
	err := f.store.LoginWork().Do(ctx, func(tx Tx) (err error) {
		wait, err = chargeAll(ctx, tx, weight, now, budget{key, signUpLimit})
		return err
	})
	if err != nil {
		return err
	}
	if wait > 0 {
		return &TooManyError{RetryAfter: wait}
	}
	return nil
}

// networkOf is the part of a client's address that is counted. Clients without an address share one budget.
func networkOf(c handstamp.Client) netip.Prefix {
	addr, err := netip.ParseAddr(c.IP)
	if err != nil {
		return netip.Prefix{}
	}
	return handstamp.Network(addr)
}
