package memory

import (
	"context"
	"fmt"
	"slices"

	"github.com/handstamp/handstamp/keyring"
)

// keys is the ring of signing keys.
type keys struct{ s *Store }

// Keys returns all records.
func (v keys) Keys(ctx context.Context) ([]keyring.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	all := make([]keyring.Record, 0, len(v.s.data.ring))
	for _, r := range v.s.data.ring {
		all = append(all, ownedRecord(*r))
	}
	return all, nil
}

// PutKey writes a record.
func (v keys) PutKey(ctx context.Context, r keyring.Record) error {
	return v.s.do(ctx, func(t *tx) error {
		kept, found := t.ring.get(r.ID)
		if found != (r.Version > 0) || found && kept.Version != r.Version {
			return keyring.ErrConflict
		}
		for kid, other := range t.d.ring {
			if kid != r.ID && other.Use == r.Use && other.Serial == r.Serial {
				return keyring.ErrConflict
			}
		}
		r = ownedRecord(r)
		r.Version++
		t.ring.put(r.ID, &r)
		return nil
	})
}

// DeleteKey removes a record. That the key was revoked is not forgotten with it.
func (v keys) DeleteKey(ctx context.Context, kid string) error {
	return v.s.do(ctx, func(t *tx) error {
		t.ring.drop(kid)
		return nil
	})
}

func ownedRecord(r keyring.Record) keyring.Record {
	r.Sealed = slices.Clone(r.Sealed)
	return r
}
