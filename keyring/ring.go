// Package keyring keeps the keys of value tokens for a fleet: it creates,
// publishes, activates, retires and removes them, with a standby key always
// published, so that an emergency finds a key that every verifier has: the
// key after the standby is made before the standby's turn.
//
// It gives lock-free answers on the path of a request ([Ring.Signer],
// [Ring.Key]) and one step of housekeeping ([Ring.Maintain]) that any number
// of processes may run at the same time on one store: which key signs follows
// from the records and the time, so nobody is elected, and every change is
// one record's compare-and-swap.
//
// It never starts a goroutine, never waits for a lock of the store, never
// writes a private key in the clear, and never decides that a key is revoked:
// that is an event of the fleet's log, which marks the record.
//
// The life of a key:
//
//	created    just made; shown in the public set
//	published  shown for long enough to be everywhere; the standby
//	active     makes tokens: exactly one per use
//	retiring   makes none any more; its tokens are good until they run out
//	retired    its tokens have all run out; removed at the next step
//	revoked    from any state, at once and for ever
package keyring

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp/jwt"
)

// ErrNoKey says that there is no key to make tokens with: [Ring.Maintain] has
// not run yet, or every key was revoked since.
var ErrNoKey = errors.New("keyring: no active key")

// maxRounds bounds how often one step plans anew after another process wrote
// first. Four rounds are enough for a step that nobody disturbs.
const maxRounds = 16

// Options of a [Ring]. Secrets is required.
type Options struct {
	Algorithm   jwt.Algorithm // of new signing keys; empty: ES256
	Encrypt     bool          // keep encryption keys too
	RotateEvery time.Duration // planned life as the active key; 0: 720 h; never under PublishFor
	TokenLife   time.Duration // longest life of a token that is made; 0: 1 h

	// Secrets seal private keys in the store: 32 to 1,024 bytes each. The
	// first seals, all open, and what another one sealed is sealed anew by
	// Maintain. To change the secret: add the new one last on all processes,
	// move it first, remove the old one.
	Secrets [][]byte

	Now func() time.Time // the fleet's time; nil: time.Now
}

// Ring is the keys of a fleet as one process sees them. It is a [jwt.KeySet].
// Safe for concurrent use.
type Ring struct {
	store  Store
	policy policy
	vault  vault
	now    func() time.Time

	state   atomic.Pointer[snapshot]
	reads   atomic.Uint64 // tickets: reads begun
	publish sync.Mutex
	shown   uint64     // ticket of the read that state rests on
	step    sync.Mutex // one Maintain or Rotate at a time
}

// Open reads the keys. It writes nothing and starts nothing: the owner calls
// [Ring.Maintain] once before the first token and then about every minute,
// and [Ring.Reload] when an event says that a key changed. It fails with
// [ErrSecret] if a key that is in use cannot be opened.
func Open(ctx context.Context, store Store, opt Options) (*Ring, error) {
	r := &Ring{store: store, now: opt.Now, policy: policy{
		algorithm:   opt.Algorithm,
		encrypt:     opt.Encrypt,
		rotateEvery: opt.RotateEvery,
		retention:   max(opt.TokenLife, minTokenLife) + retireMargin,
		renewAfter:  jwt.RenewEncryptions,
	}}
	if r.now == nil {
		r.now = time.Now
	}
	if r.policy.algorithm == "" {
		r.policy.algorithm = jwt.ES256
	}
	if _, err := jwt.ParseAlgorithm(string(r.policy.algorithm)); err != nil {
		return nil, fmt.Errorf("open keyring: algorithm %q: %w", opt.Algorithm, err)
	}
	if opt.RotateEvery < 0 || opt.TokenLife < 0 {
		return nil, errors.New("keyring: RotateEvery and TokenLife cannot be negative")
	}
	if r.policy.rotateEvery == 0 {
		r.policy.rotateEvery = defaultRotateEvery
	}
	r.policy.rotateEvery = max(r.policy.rotateEvery, PublishFor)
	var err error
	if r.vault, err = newVault(opt.Secrets); err != nil {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	if err := r.Reload(ctx); err != nil {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	return r, nil
}

// clock is the fleet's time as it is stored.
func (r *Ring) clock() time.Time { return r.now().UTC().Truncate(time.Microsecond) }

// Reload reads the keys again. After it returns, every key that was revoked
// before the call neither makes nor checks tokens here. If the store does not
// answer, the keys stay as they are. If some key cannot be opened
// ([ErrSecret]), the others are up to date all the same.
func (r *Ring) Reload(ctx context.Context) error {
	_, err := r.load(ctx)
	return err
}

func (r *Ring) load(ctx context.Context) (*snapshot, error) {
	ticket := r.reads.Add(1)
	records, err := r.store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	r.publish.Lock()
	defer r.publish.Unlock()
	s, err := newSnapshot(records, r.state.Load(), r.vault, r.clock())
	// A read that began earlier may end later, and must not bring back a key
	// that the later one saw revoked.
	if ticket > r.shown {
		r.shown = ticket
		r.state.Store(s)
	}
	return s, err
}

// Maintain does what is due: makes the first key and its standby, plans
// rotations, retires and removes keys, seals anew what an old secret sealed.
// Any number of processes may run it at the same time; a loser of a race
// starts over from what the winner wrote. After an error, or a crash at any
// point, the keys work and the next call does the rest.
func (r *Ring) Maintain(ctx context.Context) error {
	r.step.Lock()
	defer r.step.Unlock()
	if err := r.maintain(ctx, r.clock()); err != nil {
		return fmt.Errorf("maintain keys: %w", err)
	}
	return nil
}

func (r *Ring) maintain(ctx context.Context, now time.Time) error {
	for range maxRounds {
		s, sealedErr := r.load(ctx)
		if s == nil {
			return sealedErr
		}
		changes := r.policy.plan(s, now)
		if len(changes) == 0 {
			return sealedErr
		}
		if err := r.applyAll(ctx, s, changes); err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("other processes keep writing: %w", ErrConflict)
}

// applyAll writes changes until one fails.
func (r *Ring) applyAll(ctx context.Context, s *snapshot, changes []change) error {
	for _, c := range changes {
		if err := r.apply(ctx, s, c); err != nil {
			return err
		}
	}
	return nil
}

// apply writes one change.
func (r *Ring) apply(ctx context.Context, s *snapshot, c change) error {
	switch c.kind {
	case remove:
		if err := r.store.DeleteKey(ctx, c.rec.ID); err != nil {
			return fmt.Errorf("remove key %q: %w", c.rec.ID, err)
		}
		return nil
	case create:
		if err := r.generate(&c.rec); err != nil {
			return err
		}
	default:
		if !c.reseal {
			break
		}
		private, err := s.find(c.rec.ID).marshal()
		if err != nil {
			return err
		}
		if c.rec.Sealed, err = r.vault.seal(&c.rec, private); err != nil {
			return err
		}
		clear(private)
	}
	if err := r.store.PutKey(ctx, c.rec); err != nil {
		return fmt.Errorf("write key %q: %w", c.rec.ID, err)
	}
	return nil
}

// generate fills in id and sealed material.
func (r *Ring) generate(rec *Record) error {
	var e entry
	var err error
	e.Use = rec.Use
	// An id that begins with a dash would be read as a flag where people type it. One of 64 does.
	for rec.ID = "-"; strings.HasPrefix(rec.ID, "-"); rec.ID = e.verifier().ID() {
		if rec.Use == Encryption {
			e.enc, err = jwt.GenerateEncryptionKey()
		} else {
			e.key, err = jwt.Generate(rec.Algorithm)
		}
		if err != nil {
			return err
		}
	}
	private, err := e.marshal()
	if err != nil {
		return err
	}
	rec.Sealed, err = r.vault.seal(rec, private)
	clear(private)
	return err
}

func (e *entry) marshal() ([]byte, error) {
	if e.Use == Encryption {
		return e.enc.MarshalPrivate()
	}
	return e.key.MarshalPrivate()
}

// Rotate brings in the standby before its planned time. If it has been
// published for [PublishFor], and the active key has been active as long, it
// is active when Rotate returns; otherwise it will be at the time returned, on
// all processes, since a key must be known everywhere before it signs. Asking again before that changes nothing and
// gives the same time. With Encrypt both keys rotate, and the later time is
// returned. Tokens of the old keys stay good until they run out: to end those
// too, revoke the key.
func (r *Ring) Rotate(ctx context.Context, now time.Time) (time.Time, error) {
	r.step.Lock()
	defer r.step.Unlock()
	now = now.UTC().Truncate(time.Microsecond)
	var at time.Time
	uses := []Use{Signing}
	if r.policy.encrypt {
		uses = append(uses, Encryption)
	}
	for _, u := range uses {
		t, err := r.rotate(ctx, u, now)
		if err != nil {
			return time.Time{}, fmt.Errorf("rotate keys: %w", err)
		}
		at = latest(at, t)
	}
	// The next standby. If this fails the rotation stands.
	if err := r.maintain(ctx, now); err != nil {
		return at, fmt.Errorf("rotate keys: %w", err)
	}
	return at, nil
}

func (r *Ring) rotate(ctx context.Context, u Use, now time.Time) (time.Time, error) {
	for range maxRounds {
		if err := r.maintain(ctx, now); err != nil {
			return time.Time{}, err
		}
		s := r.state.Load()
		keys := s.of(u)
		cur := current(keys, now)
		standbys := r.policy.standbys(keys[cur+1:], u)
		if cur < 0 || len(standbys) == 0 {
			continue // somebody else revoked or rotated it this moment
		}
		next := &standbys[0].Record
		// One turn in a PublishFor: who asks twice must not use up the key
		// that stands by.
		due := latest(now, keys[cur].ActivateAt.Add(PublishFor))
		at := latest(due, ready(next, now))
		if !at.Before(next.ActivateAt) {
			return next.ActivateAt, nil // planned for then or earlier
		}
		err := r.applyAll(ctx, s, r.policy.planTurns(nil, keys[cur+1:], r.policy.fresh(keys, u, now), due))
		if err == nil {
			return at, nil
		}
		if !errors.Is(err, ErrConflict) {
			return time.Time{}, err
		}
	}
	return time.Time{}, fmt.Errorf("other processes keep writing: %w", ErrConflict)
}
