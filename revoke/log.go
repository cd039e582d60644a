package revoke

import (
	"context"
	"errors"
	"time"

	"github.com/handstamp/handstamp/id"
)

// Registration is one verifier that a waiter must wait for.
type Registration struct {
	Verifier     id.Verifier
	Applied      uint64    // the last number it said it applied; it never goes down under one id
	Lag          uint64    // as in Renewal.Lag, of its last renewal: waiters may count on Applied-Lag only
	RegisteredAt time.Time // by the clock of who registered; for people
	Name         string    // host and process, for people
}

// Head is where a log stands.
type Head struct {
	Log string // random id of the log; another value is another log
	Seq uint64 // the last number given
	Tag Tag    // its tag; empty while Seq is 0
	Low uint64 // the last number the log has forgotten; 0 while it knows all

	LowTag Tag           // the tag of Low; empty while Low is 0
	Lease  time.Duration // the fleet's lease
	// Now is the store's clock at the read, where the store has a clock of its own (a database server). It is zero where
	// the store runs by this machine's clock (SQLite, memory).
	Now time.Time
}

// Renewal is what a verifier says when it renews its lease.
type Renewal struct {
	Verifier id.Verifier
	Log      string // the log it follows
	Applied  uint64 // what it applied: its place in the log, and what it acknowledges
	Tag      Tag    // the tag of Applied as it knows it; empty for 0
	Limit    int    // at most so many events in the answer; 1 to 10,000
	// Lag is how far those that this verifier answers from its own memory may be behind Applied: it acknowledges
	// Applied-Lag for them. It is 0 for every verifier that answers nobody.
	Lag uint64
}

// Answer is what the log says to a renewal. Events are those after Renewal.Applied, in order and without gaps, all read
// in the snapshot that Head was read in.
type Answer struct {
	Head   Head
	Events []Event
	More   bool // there are more events than the limit: apply these and renew again; this answer grants no lease
	// Reset says that the reader's place does not exist in this log (other log id, forgotten number, other tag): it drops
	// every copy and goes on from Head.Low.
	Reset bool
	// Age is how long before the answer the read began that the answer rests on, as the answering side measured it. It is
	// 0 where the log itself answers; a node that answers from its memory must say it.
	Age time.Duration
}

// ErrNotRegistered is what Renew answers when the verifier's row is gone: it renews nothing, and the verifier registers
// under a new id first.
var ErrNotRegistered = errors.New("revoke: this verifier is not registered")

// Log is what a store provides of the numbered log for those who follow it. (Appending is part of a unit of work.)
// Implementations are safe for concurrent use, and read and write the primary only. Any error but ErrNotRegistered
// means "don't know".
type Log interface {
	// Register adds a verifier, durably, and then reads the head: in this order, so that a waiter that looks at the list
	// after its commit misses nobody who could have read an older head.
	Register(ctx context.Context, r Registration) (Head, error)
	// Renew records what the verifier applied and answers with what is new, both in one snapshot. It answers
	// ErrNotRegistered if the verifier's row is gone, and never brings a row back. It records the larger of the recorded
	// and the new Applied, since an abandoned renewal may arrive after its successor; it records nothing when it answers
	// Reset. A store may leave out the write only where nobody else can be waiting for it or remove the row.
	Renew(ctx context.Context, r Renewal) (Answer, error)
	// Registered lists the verifiers.
	Registered(ctx context.Context) ([]Registration, error)
	// Remove deletes registrations whose Applied is still below the number given: a verifier that acknowledged in the
	// meantime stays. Unknown ids are ignored.
	Remove(ctx context.Context, below uint64, ids ...id.Verifier) error
	// Forget deletes at most limit events whose Until is before now, oldest first and without gaps, never the head, and
	// moves Low. It says how many it deleted.
	Forget(ctx context.Context, now time.Time, limit int) (int, error)
	// Watch calls wake whenever somebody may have appended, until ctx ends, and returns the context's error. It wakes
	// only; it renews nothing. A log without an alarm clock may return nil at once: renewals alone meet the bound.
	Watch(ctx context.Context, wake func()) error
}
