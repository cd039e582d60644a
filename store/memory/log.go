package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

// maxEvents is the largest answer to a renewal.
const maxEvents = 10_000

// eventLog is the log as followers see it. Registrations are guarded by mu alone: a verifier that renews must not wait
// for a unit of work.
type eventLog struct{ s *Store }

// Register adds a verifier and then reads the head.
func (v eventLog) Register(ctx context.Context, r revoke.Registration) (revoke.Head, error) {
	if err := ctx.Err(); err != nil {
		return revoke.Head{}, fmt.Errorf("register a verifier: %w", err)
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	r.Applied = max(r.Applied, v.s.data.verifiers[r.Verifier].Applied) // it never goes down under one id
	v.s.data.verifiers[r.Verifier] = r
	return v.s.data.meta.headOf(), nil
}

// Renew answers with what is new. A reset acknowledges nothing: the number that came with it is a number of another
// log, and a waiter would take it for one of this.
func (v eventLog) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	if err := ctx.Err(); err != nil {
		return revoke.Answer{}, fmt.Errorf("renew a lease: %w", err)
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	d := v.s.data
	reg, ok := d.verifiers[r.Verifier]
	if !ok {
		return revoke.Answer{}, revoke.ErrNotRegistered
	}
	a := revoke.Answer{Head: d.meta.headOf()}
	if !d.knows(r) {
		a.Reset = true
		return a, nil
	}
	if r.Applied >= reg.Applied {
		// An abandoned renewal that arrives after its successor says nothing, its lag neither: beside the larger number
		// it would promise more than anybody said.
		reg.Applied, reg.Lag = r.Applied, r.Lag
		d.verifiers[r.Verifier] = reg
	}
	after := d.events[r.Applied-d.meta.low:]
	limit := r.Limit
	if limit < 1 || limit > maxEvents {
		limit = maxEvents
	}
	if len(after) > limit {
		after, a.More = after[:limit], true
	}
	a.Events = slices.Clone(after)
	return a, nil
}

// knows says whether the place a reader is at exists in this log.
func (d *data) knows(r revoke.Renewal) bool {
	m := d.meta
	if r.Log != m.log || r.Applied < m.low || r.Applied > m.head {
		return false
	}
	want := m.lowTag
	if r.Applied > m.low {
		want = d.events[r.Applied-m.low-1].Tag
	}
	return r.Tag == want
}

// Registered lists the verifiers, by id.
func (v eventLog) Registered(ctx context.Context) ([]revoke.Registration, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list verifiers: %w", err)
	}
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	all := make([]revoke.Registration, 0, len(v.s.data.verifiers))
	for _, r := range v.s.data.verifiers {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b revoke.Registration) int { return compareIDs(a.Verifier, b.Verifier) })
	return all, nil
}

// Remove deletes registrations that are still behind.
func (v eventLog) Remove(ctx context.Context, below uint64, ids ...id.Verifier) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("remove verifiers: %w", err)
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	for _, i := range ids {
		if r, ok := v.s.data.verifiers[i]; ok && r.Applied < below {
			delete(v.s.data.verifiers, i)
		}
	}
	return nil
}

// Forget deletes from the oldest on, up to the first event that must stay.
func (v eventLog) Forget(ctx context.Context, now time.Time, limit int) (int, error) {
	if err := v.s.turn.take(ctx); err != nil {
		return 0, fmt.Errorf("forget events: %w", err)
	}
	defer v.s.turn.give()
	d, n := v.s.data, 0
	for n < limit && n < len(d.events)-1 && d.events[n].Until.Before(now) {
		n++
	}
	if n == 0 {
		return 0, nil
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	d.meta.low, d.meta.lowTag = d.events[n-1].Seq, d.events[n-1].Tag
	d.events = slices.Clone(d.events[n:]) // a clone, so that the forgotten ones are given back
	return n, nil
}

// Watch rings once at the start, for what was appended between the caller's last look and the bell, and then with every
// commit that appended.
func (v eventLog) Watch(ctx context.Context, wake func()) error {
	c := v.s.bell.add()
	defer v.s.bell.remove(c)
	wake()
	for {
		select {
		case <-c:
			wake()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle is Settle inside a unit.
func (t *tx) settle(want handstamp.Settings) (handstamp.Settings, error) {
	kept := handstamp.Settings{
		Lease: t.meta.lease, Secrets: t.meta.secrets, Durability: handstamp.Durability{Class: handstamp.Volatile, Named: true},
	}
	agreed, _, err := kept.Agree(want)
	if err != nil {
		return handstamp.Settings{}, err
	}
	t.meta.lease, t.meta.secrets = agreed.Lease, agreed.Secrets
	agreed.Secrets = slices.Clone(agreed.Secrets)
	return agreed, nil
}
