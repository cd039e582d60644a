package postgres

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/token"
)

// lockCounter locks a budget by a number made of its key, since there may be no row. The key is a MAC under a secret of
// the application: two that share the number are as unlikely as two that share the key.
func (u *unit) lockCounter(k login.BudgetKey) []statement {
	if !u.first("counter:" + string(k[:])) {
		return nil
	}
	n := int64(binary.BigEndian.Uint64(k[:8]))
	return []statement{{query: "SELECT pg_advisory_xact_lock($1)", args: []any{n}, what: "lock counter"}}
}

// Counter implements login.Tx.
func (u *unit) Counter(ctx context.Context, k login.BudgetKey) (login.Counter, error) {
	c := login.Counter{Key: k}
	const query = `SELECT c.failures, c.last_at, c.known, c.expires_at FROM @counters AS c WHERE c.key = $1`
	err := u.row(ctx, u.lockCounter(k), query, []any{k[:]}, asNumber(&c.Failures), asTime(&c.LastAt), asBool(&c.Known), asTime(&c.ExpiresAt))
	if err != nil && !absent(err) {
		return login.Counter{}, fmt.Errorf("read counter: %w", err)
	}
	return c, nil
}

const putCounter = `INSERT INTO @counters (key, failures, last_at, known, expires_at) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (key) DO UPDATE SET failures = $2, last_at = $3, known = $4, expires_at = $5`

// PutCounter implements login.Tx.
func (u *unit) PutCounter(ctx context.Context, c login.Counter) error {
	return u.keep(ctx, append(u.lockCounter(c.Key), statement{query: putCounter, what: "write counter",
		args: []any{c.Key[:], int64(c.Failures), micros(c.LastAt), c.Known, micros(c.ExpiresAt)}})...)
}

// PutOneTime implements login.Tx.
func (u *unit) PutOneTime(ctx context.Context, t login.OneTime) error {
	return u.keep(ctx, statement{what: "write one-time token", args: []any{t.Hash[:], t.Kind, t.Data, micros(t.ExpiresAt)},
		query: `INSERT INTO @one_times (hash, kind, data, expires_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (hash) DO UPDATE SET kind = $2, data = $3, expires_at = $4`})
}

// TakeOneTime implements login.Tx.
func (u *unit) TakeOneTime(ctx context.Context, kind string, h token.Hash) (login.OneTime, error) {
	t := login.OneTime{Hash: h, Kind: kind}
	const query = `DELETE FROM @one_times AS t WHERE t.hash = $1 AND t.kind = $2 RETURNING t.data, t.expires_at`
	if err := u.row(ctx, nil, query, []any{h[:], kind}, asText(&t.Data), asTime(&t.ExpiresAt)); err != nil {
		return login.OneTime{}, fmt.Errorf("take one-time token: %w", notFound(err))
	}
	return t, nil
}

// DropOneTimes implements login.Tx.
func (u *unit) DropOneTimes(ctx context.Context, kind string) error {
	return u.keep(ctx, statement{query: "DELETE FROM @one_times AS t WHERE t.kind = $1", args: []any{kind}, what: "drop one-time tokens"})
}
