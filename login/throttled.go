package login

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
)

// errBegins ends a unit in which delays begin, before it is known whom that is about.
var errBegins = errors.New("delays begin")

// beginning finds out in which transaction delays begin, for the one entry that the audit log gets then: who goes on
// guessing is refused, and at the end of each delay counted, and neither writes another one. The entry is in that very
// transaction, so that of many processes one writes it. It names the user who was tried last, whom nobody has looked for
// when attempts are counted, and a look-up inside of a transaction would hold its locks, and wait for a second connection
// while it has one. So the transaction in which delays would begin is given up, the user is looked for, and it is done over:
// two round trips more, once for all the attempts that it takes to get there.
type beginning struct {
	attempt Attempt
	client  handstamp.Client
	asked   bool             // whether the user was looked for
	user    handstamp.UserID // empty if there is none
}

// watched is a transaction that remembers the counters it began with and those it leaves.
type watched struct {
	Tx
	now           time.Time
	before, after map[BudgetKey]int
}

func watch(tx Tx, now time.Time) *watched {
	return &watched{Tx: tx, now: now, before: map[BudgetKey]int{}, after: map[BudgetKey]int{}}
}

// Counter implements Tx.
func (w *watched) Counter(ctx context.Context, k BudgetKey) (Counter, error) {
	c, err := w.Tx.Counter(ctx, k)
	if _, seen := w.before[k]; err == nil && !seen {
		w.before[k] = c.Failures
		if w.now.Sub(c.LastAt) >= forgetAfter {
			w.before[k] = 0
		}
	}
	return c, err
}

// PutCounter implements Tx.
func (w *watched) PutCounter(ctx context.Context, c Counter) error {
	w.after[c.Key] = c.Failures
	return w.Tx.PutCounter(ctx, c)
}

// begun names the budgets that let attempts through without delay before this transaction, and do not after it.
func (w *watched) begun(f *Flow, b budgets) []string {
	all := []struct {
		name string
		budget
	}{{"account", budget{b.account, f.maxFailures}}, {"network", budget{b.network, f.maxFailures}}, {"aside", budget{b.aside, maxAside}}}
	if b.known {
		all = all[:1]
		all[0].name, all[0].budget = "known_network", budget{b.pair, f.maxFailures}
	}
	var names []string
	for _, l := range all {
		if after, written := w.after[l.key]; written && w.before[l.key] < l.limit && after >= l.limit {
			names = append(names, l.name)
		}
	}
	return names
}

// note is called last in the transaction, and writes the entry if delays begin in it.
func (s *beginning) note(ctx context.Context, f *Flow, w *watched, b budgets) error {
	names := w.begun(f, b)
	if len(names) == 0 {
		return nil
	}
	if !s.asked {
		return errBegins
	}
	return w.Record(ctx, f.auth.AuditEntry(s.client, audit.Event{
		Kind: audit.LoginThrottled, Target: string(s.user),
		Detail: map[string]string{"method": s.attempt.Method, "limit": strings.Join(names, " ")},
	}))
}

// do runs a transaction that calls note.
func (s *beginning) do(ctx context.Context, store Store, fn func(tx Tx) error) error {
	err := store.LoginWork().Do(ctx, fn)
	if !errors.Is(err, errBegins) {
		return err
	}
	u, err := s.attempt.Find(ctx)
	if err != nil && !errors.Is(err, handstamp.ErrNotFound) {
		return fmt.Errorf("find the account: %w", err)
	}
	s.asked, s.user = true, u
	return store.LoginWork().Do(ctx, fn)
}
