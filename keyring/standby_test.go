package keyring

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/handstamp/handstamp/jwt"
	"pgregory.net/rapid"
)

// tick is how often a server runs Maintain.
const tick = 30 * time.Second

// readyForRevocation says what is missing of an active key of a use and another one that
// verifiers know and that would make tokens if the active one were revoked
// this moment.
func readyForRevocation(r *Ring, u Use, now time.Time) error {
	keys := r.state.Load().of(u)
	cur := current(keys, now)
	if cur < 0 {
		return fmt.Errorf("no active key: %q", statesOf(r, u))
	}
	without := append([]entry(nil), keys...)
	without[cur].RevokedAt, without[cur].RevokedBy = now, 1
	next := current(without, now)
	if next < 0 {
		return fmt.Errorf("nothing takes over from the active key: %q", statesOf(r, u))
	}
	if e := &keys[next]; !e.trusted(now) || now.Before(e.CreatedAt.Add(PublishFor)) {
		return fmt.Errorf("what takes over is not known everywhere yet: %q", statesOf(r, u))
	}
	return nil
}

// TestJ9_StandbyAtEveryMoment: in planned rotations there is at every moment,
// also between two steps of maintenance and in the microsecond of a turn, an
// active key and another one that every verifier has and that signs if the
// active one is revoked.
func TestJ9_StandbyAtEveryMoment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, s := newClock(), newShelf()
		opt := options(c)
		opt.Algorithm, opt.Encrypt = jwt.EdDSA, rapid.Bool().Draw(t, "encrypt")
		opt.RotateEvery = time.Duration(rapid.Int64Range(int64(PublishFor), int64(3*time.Hour)).Draw(t, "period"))
		uses := []Use{Signing}
		if opt.Encrypt {
			uses = append(uses, Encryption)
		}
		c.add(time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "start")))
		r := maintained(t, s, opt)
		began := c.now()
		emergency := began.Add(time.Duration(rapid.Int64Range(int64(PublishFor), int64(8*time.Hour)).Draw(t, "emergency")))
		last := began
		moment := func(at time.Time) {
			c.add(at.Sub(c.now()))
			if at.Sub(began) < PublishFor { // nobody can be earlier than that
				return
			}
			for _, u := range uses {
				if err := readyForRevocation(r, u, at); err != nil {
					t.Fatalf("%v after the start, %v after maintenance: %v", at.Sub(began), at.Sub(last), err)
				}
			}
		}
		for last.Before(emergency) {
			next := last.Add(tick)
			for _, turn := range r.List() { // the interesting moments
				for _, off := range []time.Duration{-time.Microsecond, 0, time.Microsecond} {
					if at := turn.ActivateAt.Add(off); at.After(last) && at.Before(next) && !at.Before(c.now()) {
						moment(at)
					}
				}
			}
			moment(next.Add(-time.Microsecond))
			moment(next)
			last = next
			if err := r.Maintain(bg()); err != nil {
				t.Fatal(err)
			}
			moment(next)
		}
		// The emergency itself, at any moment up to the next step: tokens are
		// made before Maintain has run.
		c.add(time.Duration(rapid.Int64Range(0, int64(tick)-1).Draw(t, "within")))
		for _, u := range uses {
			keys := r.state.Load().of(u)
			s.revoke(keys[current(keys, c.now())].ID, c.now(), 1)
		}
		if err := r.Reload(bg()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Seal(claims(c.now(), time.Minute), c.now()); err != nil {
			t.Fatalf("after the emergency: %v", err)
		}
		if _, err := r.Signer(c.now()); err != nil {
			t.Fatalf("after the emergency: %v", err)
		}
		if err := r.Maintain(bg()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestJ9_StandbyIsMadeBeforeTheTurn: a rotation that was asked for, or a key
// that is used up, brings in the standby only when there is another one: a
// crash between two writes leaves no moment without.
func TestJ9_StandbyIsMadeBeforeTheTurn(t *testing.T) {
	c := newClock()
	s := &watched{shelf: newShelf()}
	opt := options(c)
	opt.Encrypt = true
	r := maintained(t, s, opt)
	r.policy.renewAfter = 1
	c.add(time.Hour)
	s.look = func() {
		other := open(t, s.shelf, opt)
		for _, u := range []Use{Signing, Encryption} {
			keys := other.state.Load().of(u)
			cur := current(keys, c.now())
			if cur < 0 || len(other.policy.standbys(keys[cur+1:], u)) == 0 {
				t.Errorf("after write %d: %q", s.writes, statesOf(other, u))
			}
		}
	}
	writes := s.writes
	if _, err := r.Rotate(bg(), c.now()); err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour)
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Seal(claims(c.now(), time.Minute), c.now()); err != nil {
		t.Fatal(err)
	}
	before, _ := r.EncryptionKey(c.now())
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	if after, _ := r.EncryptionKey(c.now()); after.ID() == before.ID() {
		t.Error("a used-up key was not replaced")
	}
	if s.writes-writes < 6 {
		t.Errorf("looked at %d writes only", s.writes-writes)
	}
}

// watched is a store that is looked at after every write.
type watched struct {
	*shelf
	look func()
}

func (w *watched) PutKey(ctx context.Context, r Record) error {
	err := w.shelf.PutKey(ctx, r)
	if w.look != nil {
		w.look()
	}
	return err
}
