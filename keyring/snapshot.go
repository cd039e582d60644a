package keyring

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handstamp/handstamp/jwt"
)

// entry is a record with its opened key.
type entry struct {
	Record
	key   jwt.Key           // Use Signing
	enc   jwt.EncryptionKey // Use Encryption
	err   error             // why the key could not be opened; nil for revoked ones
	first bool              // sealed under the first secret
}

// usable says whether the key may make tokens if its turn has come. Whether
// it can be opened does not matter here: a process that cannot open the key
// whose turn it is says so, instead of signing with another one.
func (e *entry) usable() bool { return !e.revoked() && e.RetireAt.IsZero() }

// trusted says whether the key's tokens are good.
func (e *entry) trusted(now time.Time) bool {
	return !e.revoked() && (e.RemoveAt.IsZero() || now.Before(e.RemoveAt))
}

// snapshot is all keys at one moment. It does not change, so it is read
// without locks.
type snapshot struct {
	entries []entry                  // by use, then serial
	verify  map[string]jwt.VerifyKey // trusted
	spoiled map[string]jwt.VerifyKey // revoked: only good for saying that a token of theirs is genuine
	revoked map[string]uint64        // kid to number of the event
}

// newSnapshot opens the records. A key that cannot be opened does not hide
// the state of the others (one of them may just have been revoked): the
// snapshot is complete without it, and the error tells.
func newSnapshot(records []Record, old *snapshot, v vault, now time.Time) (*snapshot, error) {
	s := &snapshot{verify: map[string]jwt.VerifyKey{}, spoiled: map[string]jwt.VerifyKey{}, revoked: map[string]uint64{}}
	var errs []error
	for _, r := range records {
		e := entry{Record: r}
		if e.revoked() {
			s.revoked[r.ID] = r.RevokedBy
			if e.open(old.find(r.ID), v); e.err == nil {
				s.spoiled[r.ID] = e.verifier()
			}
			e.err = nil // a revoked key that cannot be opened is no fault
		} else if e.open(old.find(r.ID), v); e.err != nil {
			errs = append(errs, e.err)
		} else if e.trusted(now) {
			s.verify[r.ID] = e.verifier()
		}
		s.entries = append(s.entries, e)
	}
	slices.SortFunc(s.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.Use, b.Use), cmp.Compare(a.Serial, b.Serial))
	})
	return s, errors.Join(errs...)
}

// open fills in the key. The opened key of an earlier snapshot is kept: it
// counts the tokens that it encrypted.
func (e *entry) open(old *entry, v vault) {
	if old != nil && old.err == nil && old.verifier().ID() == old.ID && bytes.Equal(old.Sealed, e.Sealed) &&
		old.Algorithm == e.Algorithm && old.Use == e.Use {
		e.key, e.enc, e.first = old.key, old.enc, old.first
		return
	}
	private, first, err := v.open(&e.Record)
	if err != nil {
		e.err = err
		return
	}
	e.first = first
	switch e.Use {
	case Signing:
		e.key, err = jwt.ParsePrivate(private)
	case Encryption:
		e.enc, err = jwt.ParseEncryptionKey(private)
		if old != nil && old.err == nil && old.enc.ID() == e.enc.ID() {
			e.enc = old.enc
		}
	default:
		err = errors.New("unknown use")
	}
	clear(private)
	if k := e.verifier(); err == nil && (k.ID() != e.ID || k.Algorithm() != e.Algorithm) {
		err = errors.New("id or algorithm is not the key's")
	}
	if err != nil {
		e.err = fmt.Errorf("open key %q: %w", e.ID, err)
	}
}

func (e *entry) verifier() jwt.VerifyKey {
	if e.Use == Encryption {
		return e.enc.Verifier()
	}
	return e.key.Verifier()
}

func (s *snapshot) find(kid string) *entry {
	if s == nil {
		return nil
	}
	for i := range s.entries {
		if s.entries[i].ID == kid {
			return &s.entries[i]
		}
	}
	return nil
}

// of returns the entries of one use, by serial.
func (s *snapshot) of(u Use) []entry {
	i := 0
	for i < len(s.entries) && s.entries[i].Use != u {
		i++
	}
	j := i
	for j < len(s.entries) && s.entries[j].Use == u {
		j++
	}
	return s.entries[i:j]
}

// current returns the index of the key that makes tokens, -1 for none. It
// depends on the records and the time only, so all processes that see the
// same records choose the same key and nobody has to be elected.
//
// The turn is that of the last serial whose ActivateAt has come. If that one
// was revoked, the next published one takes over at once, whatever its own
// time: it is what every verifier already has. Never an earlier one, which
// was retired for a reason; but a standby that was revoked before its turn
// takes no turn, or a process that has not yet seen its replacement would
// have no key at that moment. The first key of all also signs for a process
// whose clock is a little behind its maker's.
func current(keys []entry, now time.Time) int {
	turn := -1
	for i := range keys {
		at, revoked := keys[i].ActivateAt, keys[i].RevokedAt
		if !at.IsZero() && !now.Before(at) && (revoked.IsZero() || !revoked.Before(at)) {
			turn = i
		}
	}
	for i := max(turn, 0); i < len(keys); i++ {
		if keys[i].usable() {
			return i
		}
	}
	return -1
}
