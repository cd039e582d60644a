package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// bcrypt looks at 72 bytes. A longer password would be a shorter one than its owner believes, and everything that begins
// like it would open the account.
const (
	minPasswordBytes = 8
	maxPasswordBytes = 72
)

// hasher makes and checks the hashes of the table.
type hasher struct {
	cost    int
	nobody  string // the hash that stands in where there is no user
	compare func(hash, password []byte) error
}

func newHasher(cost int, compare func(hash, password []byte) error) (hasher, error) {
	nobody, err := bcrypt.GenerateFromPassword([]byte(rand.Text()), cost)
	if err != nil {
		return hasher{}, fmt.Errorf("make the hash of nobody: %w", err)
	}
	if compare == nil {
		compare = bcrypt.CompareHashAndPassword
	}
	return hasher{cost: cost, nobody: string(nobody), compare: compare}, nil
}

func (h hasher) hash(password string) (string, error) {
	b, err := bcrypt.GenerateFromPassword([]byte(password), h.cost)
	if err != nil {
		return "", fmt.Errorf("hash the password: %w", err)
	}
	return string(b), nil
}

// right says whether a password is the one of a stored hash, "" being that of nobody. Whatever the answer, one comparison
// was made: how long it takes says nothing about who has an account.
func (h hasher) right(stored, typed string) (bool, error) {
	possible := stored != "" && len(typed) <= maxPasswordBytes
	if stored == "" {
		stored = h.nobody
	}
	err := h.compare([]byte(stored), []byte(typed[:min(len(typed), maxPasswordBytes)]))
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, fmt.Errorf("compare with the stored hash: %w", err) // a broken row is no wrong password
	}
	return err == nil && possible, nil
}

// attempts slows guessing down: so many tries in a window, counted for each address that is tried and for each network
// that tries. It is the memory of one process; several share a table.
type attempts struct {
	mu    sync.Mutex
	tries map[string]tries
}

type tries struct {
	n     int
	until time.Time
}

// limit is how many tries in a window something has.
type limit struct {
	of  string
	max int
}

const (
	triesWindow  = 5 * time.Minute
	maxTriesKept = 100_000
)

func newAttempts() *attempts { return &attempts{tries: map[string]tries{}} }

// take counts a try before the password is looked at, so that a thousand at once are a thousand. It answers how long to
// wait, or 0.
func (a *attempts) take(now time.Time, limits ...limit) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.tries) > maxTriesKept {
		maps.DeleteFunc(a.tries, func(_ string, t tries) bool { return !now.Before(t.until) })
	}
	var wait time.Duration
	for _, l := range limits {
		t := a.tries[l.of]
		if !now.Before(t.until) {
			t = tries{until: now.Add(triesWindow)}
		}
		if t.n >= l.max {
			wait = max(wait, t.until.Sub(now))
		}
		t.n++
		a.tries[l.of] = t
	}
	return wait
}

// forget is for a password that was right.
func (a *attempts) forget(l limit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tries, l.of)
}
