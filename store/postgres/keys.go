package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp/keyring"
)

// Keys keeps the signing and encryption keys.
func (s *Store) Keys() keyring.Store { return &keys{s} }

type keys struct{ s *Store }

const selectKeys = `SELECT k.kid, k.algorithm, k.use, k.serial, k.sealed, k.created_at, k.activate_at, k.retire_at, k.remove_at,
	k.revoked_at, k.revoked_by, k.reason, k.version, ` + unbelievable + `
	FROM @log AS l LEFT JOIN @keys AS k ON true WHERE l.id = 1 ORDER BY k.use, k.serial`

// Keys implements keyring.Store.
func (v *keys) Keys(ctx context.Context) ([]keyring.Record, error) {
	var found []keyring.Record
	err := v.s.each(ctx, selectKeys, nil, func(r pgx.Rows) error {
		var k keyring.Record
		err := r.Scan(asText(&k.ID), asText(&k.Algorithm), asText(&k.Use), asNumber(&k.Serial), asBytes(&k.Sealed),
			asTime(&k.CreatedAt), asTime(&k.ActivateAt), asTime(&k.RetireAt), asTime(&k.RemoveAt),
			asTime(&k.RevokedAt), asNumber(&k.RevokedBy), asText(&k.Reason), asNumber(&k.Version), asPrimary())
		if err == nil && k.ID != "" {
			found = append(found, k)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return found, nil
}

const (
	insertKey = `INSERT INTO @keys (kid, algorithm, use, serial, sealed, created_at, activate_at, retire_at, remove_at,
		revoked_at, revoked_by, reason, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1) ON CONFLICT DO NOTHING`
	updateKey = `UPDATE @keys AS k SET algorithm = $2, use = $3, serial = $4, sealed = $5, created_at = $6, activate_at = $7,
		retire_at = $8, remove_at = $9, revoked_at = $10, revoked_by = $11, reason = $12, version = k.version + 1
		WHERE k.kid = $1 AND k.version = $13`
)

// PutKey implements keyring.Store.
func (v *keys) PutKey(ctx context.Context, r keyring.Record) error {
	args := []any{
		r.ID, string(r.Algorithm), string(r.Use), number(r.Serial), append([]byte{}, r.Sealed...),
		micros(r.CreatedAt), micros(r.ActivateAt), micros(r.RetireAt), micros(r.RemoveAt),
		micros(r.RevokedAt), number(r.RevokedBy), said(r.Reason),
	}
	query := insertKey
	if r.Version != 0 {
		query, args = updateKey, append(args, number(r.Version))
	}
	var n int64
	err := v.s.write(ctx, forUnit, statement{query: query, args: args, changed: &n, taken: keyring.ErrConflict})
	if err == nil && n == 0 {
		err = keyring.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}

// DeleteKey implements keyring.Store. That the key was revoked is remembered elsewhere, for ever.
func (v *keys) DeleteKey(ctx context.Context, kid string) error {
	if !storable([]any{kid}) {
		return nil // there is none
	}
	if err := v.s.write(ctx, forUnit, statement{query: "DELETE FROM @keys AS k WHERE k.kid = $1", args: []any{kid}}); err != nil {
		return fmt.Errorf("delete key: %w", err)
	}
	return nil
}
