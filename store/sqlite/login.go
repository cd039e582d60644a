package sqlite

import (
	"context"
	"fmt"

	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/token"
)

// Counter implements login.Tx.
func (u *unit) Counter(ctx context.Context, k login.BudgetKey) (login.Counter, error) {
	if err := u.ready(ctx); err != nil {
		return login.Counter{}, err
	}
	c := login.Counter{Key: k}
	err := u.row("SELECT failures, last_at, known, expires_at FROM handstamp_counters WHERE key = ?", []any{k[:]},
		asNumber(&c.Failures), asTime(&c.LastAt), asBool(&c.Known), asTime(&c.ExpiresAt))
	if err != nil && !absent(err) {
		return login.Counter{}, fmt.Errorf("read counter: %w", err)
	}
	return c, nil
}

// PutCounter implements login.Tx.
func (u *unit) PutCounter(ctx context.Context, c login.Counter) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	_, err := u.exec(`INSERT INTO handstamp_counters (key, failures, last_at, known, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
		ON CONFLICT (key) DO UPDATE SET failures = ?2, last_at = ?3, known = ?4, expires_at = ?5`,
		c.Key[:], c.Failures, micros(c.LastAt), c.Known, micros(c.ExpiresAt))
	if err != nil {
		return fmt.Errorf("write counter: %w", err)
	}
	return nil
}

// PutOneTime implements login.Tx.
func (u *unit) PutOneTime(ctx context.Context, t login.OneTime) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	_, err := u.exec(`INSERT INTO handstamp_one_times (hash, kind, data, expires_at) VALUES (?1, ?2, ?3, ?4)
		ON CONFLICT (hash) DO UPDATE SET kind = ?2, data = ?3, expires_at = ?4`,
		t.Hash[:], t.Kind, t.Data, micros(t.ExpiresAt))
	if err != nil {
		return fmt.Errorf("write one-time token: %w", err)
	}
	return nil
}

// TakeOneTime implements login.Tx.
func (u *unit) TakeOneTime(ctx context.Context, kind string, h token.Hash) (login.OneTime, error) {
	if err := u.ready(ctx); err != nil {
		return login.OneTime{}, err
	}
	t := login.OneTime{Hash: h, Kind: kind}
	err := u.row("DELETE FROM handstamp_one_times WHERE hash = ? AND kind = ? RETURNING data, expires_at", []any{h[:], kind},
		asText(&t.Data), asTime(&t.ExpiresAt))
	if err != nil {
		return login.OneTime{}, fmt.Errorf("take one-time token: %w", notFound(err))
	}
	return t, nil
}

// DropOneTimes implements login.Tx.
func (u *unit) DropOneTimes(ctx context.Context, kind string) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	if _, err := u.exec("DELETE FROM handstamp_one_times WHERE kind = ?", kind); err != nil {
		return fmt.Errorf("drop one-time tokens: %w", err)
	}
	return nil
}
