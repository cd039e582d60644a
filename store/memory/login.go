package memory

import (
	"context"
	"fmt"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/token"
)

// Counter reads the counter of a budget.
func (t *tx) Counter(ctx context.Context, k login.BudgetKey) (login.Counter, error) {
	if err := t.open(ctx); err != nil {
		return login.Counter{}, fmt.Errorf("read a counter: %w", err)
	}
	c, _ := t.counters.get(k)
	c.Key = k
	return c, nil
}

// PutCounter writes a counter.
func (t *tx) PutCounter(ctx context.Context, c login.Counter) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("write a counter: %w", err)
	}
	t.counters.put(c.Key, c)
	return nil
}

// PutOneTime keeps a one-time token.
func (t *tx) PutOneTime(ctx context.Context, o login.OneTime) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("write a one-time token: %w", err)
	}
	t.oneTimes.put(o.Hash, o)
	return nil
}

// TakeOneTime removes and returns a token.
func (t *tx) TakeOneTime(ctx context.Context, kind string, h token.Hash) (login.OneTime, error) {
	if err := t.open(ctx); err != nil {
		return login.OneTime{}, fmt.Errorf("take a one-time token: %w", err)
	}
	o, ok := t.oneTimes.get(h)
	if !ok || o.Kind != kind {
		return login.OneTime{}, handstamp.ErrNotFound
	}
	t.oneTimes.drop(h)
	return o, nil
}

// DropOneTimes removes all tokens of a kind.
func (t *tx) DropOneTimes(ctx context.Context, kind string) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("drop one-time tokens: %w", err)
	}
	for h, c := range t.oneTimes.over {
		if !c.gone && c.value.Kind == kind {
			t.oneTimes.drop(h)
		}
	}
	for h := range t.d.oneTimes {
		if o, ok := t.oneTimes.get(h); ok && o.Kind == kind {
			t.oneTimes.drop(h)
		}
	}
	return nil
}
