package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/keyring"
)

// Keys keeps the signing and encryption keys.
func (s *Store) Keys() keyring.Store { return &keys{s} }

type keys struct{ s *Store }

const selectKeys = `SELECT kid, algorithm, use, serial, sealed, created_at, activate_at, retire_at, remove_at,
	revoked_at, revoked_by, reason, version FROM handstamp_keys ORDER BY use, serial`

// Keys implements keyring.Store.
func (v *keys) Keys(ctx context.Context) ([]keyring.Record, error) {
	return read(ctx, v.s, func(c *link) ([]keyring.Record, error) {
		var found []keyring.Record
		err := c.each(ctx, selectKeys, nil, func(r scanner) error {
			var k keyring.Record
			err := r.Scan(asText(&k.ID), asText(&k.Algorithm), asText(&k.Use), asNumber(&k.Serial), asBytes(&k.Sealed),
				asTime(&k.CreatedAt), asTime(&k.ActivateAt), asTime(&k.RetireAt), asTime(&k.RemoveAt),
				asTime(&k.RevokedAt), asNumber(&k.RevokedBy), asText(&k.Reason), asNumber(&k.Version))
			if err != nil {
				return err
			}
			found = append(found, k)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read keys: %w", err)
		}
		return found, nil
	})
}

const (
	insertKey = `INSERT INTO handstamp_keys (kid, algorithm, use, serial, sealed, created_at, activate_at, retire_at, remove_at,
		revoked_at, revoked_by, reason, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 1)`
	updateKey = `UPDATE handstamp_keys SET algorithm = ?2, use = ?3, serial = ?4, sealed = ?5, created_at = ?6, activate_at = ?7,
		retire_at = ?8, remove_at = ?9, revoked_at = ?10, revoked_by = ?11, reason = ?12, version = version + 1
		WHERE kid = ?1 AND version = ?13`
)

// PutKey implements keyring.Store.
func (v *keys) PutKey(ctx context.Context, r keyring.Record) error {
	args := []any{
		r.ID, string(r.Algorithm), string(r.Use), number(r.Serial), append([]byte{}, r.Sealed...),
		micros(r.CreatedAt), micros(r.ActivateAt), micros(r.RetireAt), micros(r.RemoveAt),
		micros(r.RevokedAt), number(r.RevokedBy), r.Reason,
	}
	query := insertKey
	if r.Version != 0 {
		query, args = updateKey, append(args, number(r.Version))
	}
	err := v.s.do(ctx, func(u *unit) error {
		err := u.change(keyring.ErrConflict, query, args...)
		if errors.Is(err, handstamp.ErrConflict) || errors.Is(err, handstamp.ErrTaken) {
			return keyring.ErrConflict
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}

// DeleteKey implements keyring.Store. That the key was revoked is remembered elsewhere, for ever.
func (v *keys) DeleteKey(ctx context.Context, kid string) error {
	err := v.s.do(ctx, func(u *unit) error {
		_, err := u.exec("DELETE FROM handstamp_keys WHERE kid = ?", kid)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete key: %w", err)
	}
	return nil
}
