package keyring

import (
	"context"
	"errors"
	"time"

	"github.com/handstamp/handstamp/jwt"
)

// Use says what a key is for. The zero value is no use.
type Use string

// The uses, named as in JWK (RFC 7517 section 4.2).
const (
	Signing    Use = "sig"
	Encryption Use = "enc"
)

// Record is a key as a store keeps it. Times are UTC in whole microseconds;
// the zero time means "not yet decided" and must come back as the zero time.
type Record struct {
	ID        string        // kid, at most 128 bytes; unique
	Algorithm jwt.Algorithm // of the signatures, or A256GCM
	Use       Use

	// Serial orders the keys of one use: each new key takes the next number,
	// from 1. (Use, Serial) is unique: of two processes that create the same
	// successor at the same moment one gets [ErrConflict]. It never changes.
	Serial uint64

	Sealed []byte // private material under the ring's secrets; at most 16 KiB

	CreatedAt  time.Time // published from here on
	ActivateAt time.Time // makes tokens from here on, unless a later serial does
	RetireAt   time.Time // makes no tokens from here on
	RemoveAt   time.Time // checks no tokens from here on and may be deleted

	RevokedAt time.Time // not zero: neither makes nor checks tokens
	RevokedBy uint64    // number of the event that revoked it; 0 = not revoked
	Reason    string    // why it was revoked, for people

	// Version counts the writes of the record, from 1. It belongs to the
	// store.
	Version uint64
}

// revoked says whether either mark of a revocation is there.
func (r *Record) revoked() bool { return r.RevokedBy != 0 || !r.RevokedAt.IsZero() }

// ErrConflict says that a record was written by somebody else meanwhile, or
// that an id or serial is taken.
var ErrConflict = errors.New("keyring: record was changed by another writer")

// Store keeps the keys of a fleet. Every call is durable when it returns nil
// and reads or writes the system of record, never a replica or a cache. An
// error that is not [ErrConflict] means that the outcome is unknown. Safe for
// concurrent use by many processes.
//
// Keys are revoked by another way, together with the event that says so: it
// sets RevokedAt, RevokedBy and Reason in the event's transaction and raises
// Version, so that a writer who did not see it gets ErrConflict.
type Store interface {
	// Keys returns all records as of one moment, in any order; none is not an
	// error. There are a handful.
	Keys(ctx context.Context) ([]Record, error)

	// PutKey writes one record. With Version 0 it creates it: ErrConflict if
	// the ID, or the pair (Use, Serial), is there already. Otherwise it
	// replaces the stored record if that still has this Version, and raises
	// it by one: ErrConflict if it has another or is gone. It stores a copy
	// of Sealed.
	PutKey(ctx context.Context, r Record) error

	// DeleteKey removes a record for good. Deleting one that is not there is
	// not an error.
	DeleteKey(ctx context.Context, kid string) error
}
