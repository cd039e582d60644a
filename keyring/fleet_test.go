package keyring

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp/jwt"
	"pgregory.net/rapid"
)

// issued is a token that a ring made.
type issued struct {
	text, kid string
	exp       time.Time
}

// fleet is several rings on one store, and a verifier that only has a copy of
// the public set, up to 5 minutes old.
type fleet struct {
	c       *clock
	s       *shelf
	rings   []*Ring
	age     []time.Duration // since each ring read
	remote  jwt.PublicSet
	copied  time.Time
	tokens  []issued
	revoked map[string]bool
	urgent  time.Time // until then the remote may lack a key that an emergency made
}

func newFleet(t fataler, n int) *fleet {
	f := &fleet{c: newClock(), s: newShelf(), revoked: map[string]bool{}, age: make([]time.Duration, n)}
	for range n {
		opt := options(f.c)
		opt.Algorithm, opt.RotateEvery = jwt.EdDSA, 2*time.Hour
		f.rings = append(f.rings, maintained(t, f.s, opt))
	}
	for _, r := range f.rings {
		if err := r.Reload(bg()); err != nil {
			t.Fatal(err)
		}
	}
	f.urgent = f.c.now().Add(PublishFor)
	f.fetch(0)
	return f
}

func (f *fleet) fetch(ring int) { f.remote, f.copied = f.rings[ring].Public(f.c.now()), f.c.now() }

// advance moves the time; no ring goes longer than 2 minutes without
// maintenance and the remote copy no longer than 5.
func (f *fleet) advance(t *rapid.T, d time.Duration) {
	f.c.add(d)
	for i, r := range f.rings {
		if f.age[i] += d; f.age[i] > 2*time.Minute {
			f.age[i] = 0
			if err := r.Maintain(bg()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if f.c.now().Sub(f.copied) > 5*time.Minute {
		f.fetch(rapid.IntRange(0, len(f.rings)-1).Draw(t, "asked"))
	}
}

func (f *fleet) sign(t *rapid.T, i int) {
	now := f.c.now()
	k, err := f.rings[i].Signer(now)
	if err != nil {
		t.Fatal(err)
	}
	life := time.Duration(rapid.IntRange(1, 15).Draw(t, "minutes")) * time.Minute
	text, err := jwt.Sign(k, claims(now, life))
	if err != nil {
		t.Fatal(err)
	}
	f.tokens = append(f.tokens, issued{text, k.ID(), now.Add(life)})
}

func (f *fleet) revoke(t *rapid.T) {
	list := f.rings[0].List()
	i := list[rapid.IntRange(0, len(list)-1).Draw(t, "victim")]
	if _, ok := f.s.records[i.ID]; !ok || f.revoked[i.ID] {
		return
	}
	f.s.revoke(i.ID, f.c.now(), 1)
	f.revoked[i.ID] = true
	f.urgent = f.c.now().Add(PublishFor + 5*time.Minute)
	for j, r := range f.rings {
		if err := r.Reload(bg()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Signer(f.c.now()); errors.Is(err, ErrNoKey) {
			f.age[j] = 0
			if err := r.Maintain(bg()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// check is what must hold at every moment.
func (f *fleet) check(t *rapid.T) {
	now := f.c.now()
	var alive []issued
	for _, tok := range f.tokens {
		if !now.Before(tok.exp) {
			continue
		}
		alive = append(alive, tok)
		for i, r := range f.rings {
			err := verify(tok.text, r, now)
			if f.revoked[tok.kid] != (err != nil) {
				t.Fatalf("ring %d: a token of %s (revoked %v): %v", i, tok.kid, f.revoked[tok.kid], err)
			}
		}
		if err := verify(tok.text, f.remote, now); err != nil && !f.revoked[tok.kid] && now.After(f.urgent) {
			t.Fatalf("a verifier with a copy of %v: %v", now.Sub(f.copied), err)
		}
	}
	f.tokens = alive
}

// standingBy says what is wrong with the keys of a ring that is up to date:
// one makes tokens and one stands by, two if a turn is near.
func standingBy(r *Ring, now time.Time) string {
	active, waiting, near := 0, 0, 0
	for _, i := range r.List() {
		switch {
		case i.Use != Signing:
		case i.State == Active:
			active++
		case i.State == Created || i.State == Published:
			if waiting++; !now.Add(ahead).Before(i.ActivateAt) {
				near++
			}
		}
	}
	if active != 1 || waiting != near+1 {
		return states(r)
	}
	return ""
}

// agree brings all rings up to date: then they have one signer and, once
// maintained, a standby.
func (f *fleet) agree(t *rapid.T) {
	for _, r := range f.rings {
		if err := r.Maintain(bg()); err != nil {
			t.Fatal(err)
		}
	}
	signers := map[string]bool{}
	for i, r := range f.rings {
		f.age[i] = 0
		if err := r.Reload(bg()); err != nil {
			t.Fatal(err)
		}
		k, err := r.Signer(f.c.now())
		if err != nil {
			t.Fatal(err)
		}
		signers[k.ID()] = true
		if text := standingBy(r, f.c.now()); text != "" {
			t.Fatalf("states %q", text)
		}
	}
	if len(signers) != 1 {
		t.Fatalf("%d signers", len(signers))
	}
}

// TestJ9_Fleet: whatever three processes do, in whatever order, there is one
// signer, and no good token is ever refused by any of them, nor by a verifier
// with an old copy of the public set.
func TestJ9_Fleet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFleet(t, 3)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, len(f.rings)-1).Draw(t, "ring")
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2:
				f.advance(t, time.Duration(rapid.IntRange(1, 110).Draw(t, "seconds"))*time.Second)
			case 3:
				for range rapid.IntRange(1, 90).Draw(t, "minutes") {
					f.advance(t, time.Minute)
					f.check(t)
				}
			case 4:
				if _, err := f.rings[i].Rotate(bg(), f.c.now()); err != nil {
					t.Fatal(err)
				}
			case 5:
				f.fetch(i)
			case 6:
				if rapid.IntRange(0, 3).Draw(t, "emergency") == 0 {
					f.revoke(t)
				}
			case 7:
				f.agree(t)
			default:
				f.sign(t, i)
			}
			f.check(t)
		}
		f.agree(t)
	})
}

// TestJ9_Concurrent: processes at the same moment make one active key and its
// standby, whoever wins.
func TestJ9_Concurrent(t *testing.T) {
	c, s := newClock(), newShelf()
	var rings []*Ring
	for range 6 {
		rings = append(rings, open(t, s, options(c)))
	}
	all := func(f func(r *Ring) error) {
		t.Helper()
		var wg sync.WaitGroup
		for _, r := range rings {
			wg.Go(func() {
				if err := f(r); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	for round := range 20 {
		all(func(r *Ring) error { return r.Maintain(bg()) })
		if round%2 == 1 {
			all(func(r *Ring) error {
				_, err := r.Rotate(bg(), c.now())
				return err
			})
		}
		all(func(r *Ring) error { return r.Reload(bg()) })
		kid := signer(t, rings[0], c.now())
		for i, r := range rings {
			if text := standingBy(r, c.now()); text != "" || signer(t, r, c.now()) != kid {
				t.Fatalf("round %d ring %d: %q", round, i, states(r))
			}
		}
		serials := map[string]bool{}
		for _, r := range s.records {
			id := fmt.Sprint(r.Use, r.Serial)
			if serials[id] {
				t.Fatalf("serial %s twice", id)
			}
			serials[id] = true
		}
		c.add(7 * time.Minute)
	}
}

// TestJ9_Crash stops a process at every write it makes in two days of
// rotations, before and after the effect. The next process carries on, and
// every token stays good.
func TestJ9_Crash(t *testing.T) {
	crash := errors.New("crash")
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			c, s := newClock(), newShelf()
			s.fail = func(write int, done bool) error {
				if write == n && done == after {
					return crash
				}
				return nil
			}
			opt := options(c)
			opt.RotateEvery, opt.Encrypt, opt.Algorithm = 12*time.Hour, true, jwt.EdDSA
			r := open(t, s, opt)
			crashed := false
			step := func(f func() error) {
				t.Helper()
				if err := f(); errors.Is(err, crash) {
					crashed = true
					r = open(t, s, opt)
					if err := r.Maintain(bg()); err != nil {
						t.Fatalf("after a crash at write %d (%v): %v", n, after, err)
					}
				} else if err != nil {
					t.Fatalf("write %d: %v", n, err)
				}
			}
			var tokens []issued
			for hour := range 48 {
				step(func() error { return r.Maintain(bg()) })
				if hour%9 == 5 {
					step(func() error { _, err := r.Rotate(bg(), c.now()); return err })
				}
				if hour == 20 {
					s.revoke(signer(t, r, c.now()), c.now(), 1)
					tokens = nil
					step(func() error { return r.Maintain(bg()) })
				}
				k := mustSigner(t, r, c)
				text, err := jwt.Sign(k, claims(c.now(), time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				tokens = append(tokens, issued{text: text, exp: c.now().Add(time.Hour)})
				c.add(time.Hour - time.Second)
				for _, tok := range tokens {
					if c.now().Before(tok.exp) {
						if err := verify(tok.text, r, c.now()); err != nil {
							t.Fatalf("write %d (%v), hour %d: %v", n, after, hour, err)
						}
					}
				}
				c.add(time.Second)
				for _, u := range []Use{Signing, Encryption} {
					if got := statesOf(r, u); !strings.HasSuffix(got, " created") && !strings.HasSuffix(got, " published") && strings.Count(got, "active") != 1 {
						t.Fatalf("write %d (%v), hour %d: %q", n, after, hour, got)
					}
				}
			}
			if !crashed {
				if n < 20 {
					t.Errorf("only %d writes in two days", n-1)
				}
				break
			}
		}
	}
}
