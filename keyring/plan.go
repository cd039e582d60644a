package keyring

import (
	"slices"
	"time"

	"github.com/handstamp/handstamp/jwt"
)

const (
	// PublishFor is how long a key is published before its planned turn: a
	// verifier's copy of the key set lives 5 minutes, and the process that
	// served it may have read the store as long before.
	PublishFor = 10 * time.Minute

	// ahead is how long before the turn of one key the key after it is made:
	// when the turn comes, that one has been published long enough to take
	// over from a key that is revoked in the first moment of its work. The
	// rest is time for maintenance to run.
	ahead = PublishFor + 5*time.Minute

	// A retired key stays for the longest life of its tokens and this:
	// clocks, and processes that had not yet seen that its turn was over.
	retireMargin = 10 * time.Minute

	// minTokenLife is the least that is waited for. A configured life may
	// have been longer when the last tokens were made.
	minTokenLife = time.Hour

	defaultRotateEvery = 720 * time.Hour
)

// policy is what decides over the life of keys.
type policy struct {
	algorithm   jwt.Algorithm // of new signing keys
	encrypt     bool
	rotateEvery time.Duration
	retention   time.Duration // from RetireAt to RemoveAt
	renewAfter  uint64        // tokens that this process encrypts before the next key is brought in
}

// algorithmOf is what new keys of a use are made for.
func (p policy) algorithmOf(u Use) jwt.Algorithm {
	if u == Encryption {
		return jwt.A256GCM
	}
	return p.algorithm
}

type changeKind int

const (
	create changeKind = iota + 1
	put
	remove
)

// change is one write to the store. Each is complete by itself: whatever
// subset of a plan a crash leaves done, the keys work and the next plan does
// the rest.
type change struct {
	kind   changeKind
	rec    Record // create: without id and material
	reseal bool   // put: seal under the first secret
}

// plan says what is to be written so that the keys are as they should be. It
// reads no clock, no store and no randomness. Applying it may make further
// changes due (the first key needs a standby), so it is asked until it
// returns nothing.
func (p policy) plan(s *snapshot, now time.Time) []change {
	changes := p.planUse(s, Signing, now)
	if p.encrypt {
		return append(changes, p.planUse(s, Encryption, now)...)
	}
	// Encryption was switched off here. Other processes may still use it; if
	// nobody has made a key for two periods, nobody does.
	keys := s.of(Encryption)
	abandoned := len(keys) > 0 && now.After(keys[len(keys)-1].CreatedAt.Add(2*p.rotateEvery))
	cur := current(keys, now)
	for i := range keys {
		changes = p.planKey(changes, &keys[i], i < cur || abandoned, now)
	}
	return changes
}

func (p policy) planUse(s *snapshot, u Use, now time.Time) []change {
	keys := s.of(u)
	fresh := p.fresh(keys, u, now)
	cur := current(keys, now)
	var changes []change
	for i := range keys {
		changes = p.planKey(changes, &keys[i], i < cur, now)
	}
	if cur < 0 {
		// The very first key, or all were revoked at once: it cannot wait to
		// be published.
		fresh.ActivateAt = now
		return append(changes, change{kind: create, rec: fresh})
	}
	active := &keys[cur]
	if now.Before(active.ActivateAt) {
		// It took over from a revoked key. Written down, so that its own
		// successor's time counts from here.
		changes = reschedule(changes, active, now)
	}
	due := active.ActivateAt.Add(p.rotateEvery)
	if active.ActivateAt.After(now) {
		due = now.Add(p.rotateEvery)
	}
	worn := u == Encryption && active.enc.Used() >= p.renewAfter
	if active.Algorithm != fresh.Algorithm || worn {
		due = now
	}
	return p.planTurns(changes, keys[cur+1:], fresh, due)
}

// fresh is the next key of a use, without id, material and turn.
func (p policy) fresh(keys []entry, u Use, now time.Time) Record {
	var serial uint64
	if n := len(keys); n > 0 {
		serial = keys[n-1].Serial
	}
	return Record{Algorithm: p.algorithmOf(u), Use: u, Serial: serial + 1, CreatedAt: now}
}

// planTurns plans the turns of the waiting keys, the first at due or as soon
// after as it may, the others a period apart, and makes the next one, fresh,
// when the last turn is near.
func (p policy) planTurns(changes []change, waiting []entry, fresh Record, due time.Time) []change {
	now := fresh.CreatedAt
	standbys := p.standbys(waiting, fresh.Use)
	for i := range waiting {
		if e := &waiting[i]; e.usable() && e.Algorithm != fresh.Algorithm && e.ActivateAt.Before(due) {
			due = e.ActivateAt // the later serial wins at the same moment
		}
	}
	var last time.Time
	for _, e := range standbys {
		last = e.ActivateAt
		// Only ever earlier: processes with different settings would
		// otherwise push it to and fro.
		if at := latest(due, ready(&e.Record, now)); at.Before(last) {
			last = at
			changes = reschedule(changes, e, at)
		}
		due = last.Add(p.rotateEvery)
	}
	if len(standbys) > 0 && now.Add(ahead).Before(last) {
		return changes
	}
	fresh.ActivateAt = latest(due, now.Add(PublishFor))
	// Before any turn that comes at once: after that write there has to be a
	// standby already.
	return slices.Insert(changes, 0, change{kind: create, rec: fresh})
}

// standbys are the keys that wait for their turn, in its order.
func (p policy) standbys(waiting []entry, u Use) []*entry {
	var out []*entry
	for i := range waiting {
		if e := &waiting[i]; e.usable() && e.Algorithm == p.algorithmOf(u) {
			out = append(out, e)
		}
	}
	return out
}

// planKey does what is due for one key by itself.
func (p policy) planKey(changes []change, e *entry, superseded bool, now time.Time) []change {
	if !e.RemoveAt.IsZero() && !now.Before(e.RemoveAt) {
		return append(changes, change{kind: remove, rec: e.Record})
	}
	c := change{kind: put, rec: e.Record}
	if e.RetireAt.IsZero() && (superseded || e.revoked()) {
		c.rec.RetireAt = now
	}
	if c.rec.RemoveAt.IsZero() && !c.rec.RetireAt.IsZero() {
		// A revoked key's record stays as long: who asks about its tokens
		// is told by which event they ended.
		c.rec.RemoveAt = now.Add(p.retention)
	}
	c.reseal = e.err == nil && !e.revoked() && !e.first
	if c.reseal || !c.rec.RemoveAt.Equal(e.RemoveAt) || !c.rec.RetireAt.Equal(e.RetireAt) {
		return append(changes, c)
	}
	return changes
}

// reschedule moves the turn of a key, in the write that is planned for it
// anyway if there is one.
func reschedule(changes []change, e *entry, at time.Time) []change {
	for i := range changes {
		if changes[i].rec.ID == e.ID && changes[i].kind == put {
			changes[i].rec.ActivateAt = at
			return changes
		}
	}
	c := change{kind: put, rec: e.Record}
	c.rec.ActivateAt = at
	return append(changes, c)
}

// ready is the first moment at which a published key may take its planned
// turn.
func ready(r *Record, now time.Time) time.Time {
	return latest(now, r.CreatedAt.Add(PublishFor))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
