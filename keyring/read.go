package keyring

import (
	"fmt"
	"time"

	"github.com/handstamp/handstamp/jwt"
)

// Signer returns the active signing key. It is the same key on every process
// that has read the same records. It fails with [ErrNoKey] if there is none,
// and with [ErrSecret] if this process cannot open it; it never falls back to
// another key. It takes no lock and allocates nothing.
func (r *Ring) Signer(now time.Time) (jwt.Key, error) {
	e, err := r.active(Signing, now)
	if err != nil {
		return jwt.Key{}, err
	}
	return e.key, nil
}

// EncryptionKey returns the active encryption key, as [Ring.Signer] does the
// signing key. It fails with [ErrNoKey] without Options.Encrypt.
func (r *Ring) EncryptionKey(now time.Time) (jwt.EncryptionKey, error) {
	if !r.policy.encrypt {
		return jwt.EncryptionKey{}, ErrNoKey
	}
	e, err := r.active(Encryption, now)
	if err != nil {
		return jwt.EncryptionKey{}, err
	}
	return e.enc, nil
}

func (r *Ring) active(u Use, now time.Time) (*entry, error) {
	keys := r.state.Load().of(u)
	i := current(keys, now)
	if i < 0 {
		return nil, ErrNoKey
	}
	if keys[i].err != nil {
		return nil, fmt.Errorf("use active key: %w", keys[i].err)
	}
	return &keys[i], nil
}

// Key implements [jwt.KeySet]: the key with this id, signing or encryption,
// if its tokens can be good. A revoked, removed or unknown key is absent. It
// takes no lock, asks no store and allocates nothing.
func (r *Ring) Key(kid string) (jwt.VerifyKey, bool) {
	k, ok := r.state.Load().verify[kid]
	return k, ok
}

// Issued finds a key like [Ring.Key], but also one that was revoked: with it
// a token's signature can be found genuine before the token is called
// revoked. Whoever uses it must ask [Ring.Revoked] about the key.
func (r *Ring) Issued(kid string) (jwt.VerifyKey, bool) {
	s := r.state.Load()
	if k, ok := s.verify[kid]; ok {
		return k, true
	}
	k, ok := s.spoiled[kid]
	return k, ok
}

// Revoked says whether the key was revoked, and by the event of which number.
// A revoked key's record is kept until all its tokens would have run out.
func (r *Ring) Revoked(kid string) (by uint64, revoked bool) {
	by, revoked = r.state.Load().revoked[kid]
	return by, revoked
}

// Public returns the set to publish: the public halves of the standby, active
// and retiring signing keys, never of a revoked one. HS256 keys have no
// public half. With Options.Encrypt it is empty: a client's tokens cannot be
// read by others, so nobody is invited to try.
func (r *Ring) Public(now time.Time) jwt.PublicSet {
	if r.policy.encrypt {
		return jwt.PublicSet{}
	}
	var keys []jwt.PublicKey
	for _, e := range r.state.Load().of(Signing) {
		if k, ok := e.key.Public(); ok && e.trusted(now) {
			keys = append(keys, k)
		}
	}
	return jwt.NewPublicSet(keys...)
}

// State is where a key is in its life; see the package's text. The zero value
// is no state.
type State string

// The states.
const (
	Created   State = "created"
	Published State = "published"
	Active    State = "active"
	Retiring  State = "retiring"
	Retired   State = "retired"
	Revoked   State = "revoked"
)

// Info is what may be told about a key: no secret.
type Info struct {
	ID         string        `json:"id"`
	Algorithm  jwt.Algorithm `json:"algorithm"`
	Use        Use           `json:"use"`
	State      State         `json:"state"`
	CreatedAt  time.Time     `json:"created_at"`
	ActivateAt time.Time     `json:"activate_at"`         // planned, for a standby
	RetireAt   time.Time     `json:"retire_at,omitzero"`  // zero: not retired
	RemoveAt   time.Time     `json:"remove_at,omitzero"`  // zero: not retired
	RevokedAt  time.Time     `json:"revoked_at,omitzero"` // zero: not revoked
	RevokedBy  uint64        `json:"revoked_by,omitzero"` // number of the event; 0: not revoked
	Reason     string        `json:"reason,omitzero"`
	Unusable   bool          `json:"unusable,omitzero"` // this process has no secret that opens it
}

// List returns all keys, signing keys last, each use by age.
func (r *Ring) List() []Info {
	now := r.clock()
	var out []Info
	for _, u := range []Use{Encryption, Signing} {
		keys := r.state.Load().of(u)
		cur := current(keys, now)
		for i := range keys {
			e := &keys[i]
			out = append(out, Info{
				ID: e.ID, Algorithm: e.Algorithm, Use: e.Use, State: e.stateAt(i, cur, now),
				CreatedAt: e.CreatedAt, ActivateAt: e.ActivateAt, RetireAt: e.RetireAt, RemoveAt: e.RemoveAt,
				RevokedAt: e.RevokedAt, RevokedBy: e.RevokedBy, Reason: e.Reason, Unusable: e.err != nil,
			})
		}
	}
	return out
}

// stateAt names the state of the i-th key of a use whose current one is cur.
func (e *entry) stateAt(i, cur int, now time.Time) State {
	switch {
	case e.revoked():
		return Revoked
	case !e.trusted(now):
		return Retired
	case i == cur:
		return Active
	case i < cur || !e.RetireAt.IsZero():
		return Retiring
	case now.Before(e.CreatedAt.Add(PublishFor)):
		return Created
	default:
		return Published
	}
}
