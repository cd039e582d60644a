package handstamp

import (
	"context"
	"errors"
	"time"

	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// What a store answers besides success. Any other error means that the store could not find out or that the outcome is
// unknown ("don't know"): the engine answers 503 and touches no cookie.
var (
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("handstamp: not found")
	// ErrConflict: the record is not in the state (version, generation, alive) that the change was made for.
	ErrConflict = errors.New("handstamp: conflict")
	// ErrTaken: another record holds this unique value.
	ErrTaken = errors.New("handstamp: taken")
)

// Store is what Auth needs of a backend. A backend's views for accounts and logins are other methods of its own type.
// Everything is safe for concurrent use, and everything reads and writes the primary.
type Store interface {
	Sessions() Sessions
	Values() Values
	Work() UnitOfWork[Tx]
	Log() revoke.Log
	Audit() audit.Log
	// Roles returns what every role grants, and the log's head as read in the same snapshot. A store without roles
	// returns an empty table.
	Roles(ctx context.Context) (permission.Table, uint64, error)
	// Settle agrees on what every process on this database must have in common; see [Settings].
	Settle(ctx context.Context, want Settings) (Settings, error)
}

// Settings is what all processes on one database must agree on.
type Settings struct {
	// Lease of the fleet. The first to settle sets it; later ones are told what it is, and nothing is changed.
	Lease time.Duration
	// Secrets are fingerprints of the secrets a process has, the first being the one it makes refresh tokens with. Settle
	// keeps the latest list that shares a fingerprint with the one kept before. A list that shares none is refused with
	// ErrConflict and nothing is changed. An empty list (a command that makes no tokens) is always accepted and not kept.
	Secrets []string
	// Durability is the store's own word in the answer; in the question it is ignored.
	Durability Durability
}

// Durability says what a store promises of a write that it acknowledged.
type Durability struct {
	Class  DurabilityClass
	Window time.Duration // what a crash may lose, for the class window
	// Named is set by a store whose very name says that it keeps nothing (memory): asking for it is consent.
	Named bool
}

// DurabilityClass is one of durable, window, volatile. The zero value promises nothing, like volatile.
type DurabilityClass string

// The classes.
const (
	Durable  DurabilityClass = "durable"  // survives the crash of any process and of the machine
	Window   DurabilityClass = "window"   // a crash may lose the last moments
	Volatile DurabilityClass = "volatile" // lost when the process ends
)

// Lookup names one credential to a store. Exactly one of Key, Session and ServiceKey is set.
type Lookup struct {
	Key        token.Hash // hash of a reference token
	Session    SessionID
	ServiceKey token.Hash // hash of a service key

	// SigningKey is the kid whose state is wanted too; empty for none.
	SigningKey string

	// Copy says that a copy will do: who asks holds a fresh lease, judges the answer by the events after
	// Found.Subject.Head, and takes no refusal from it. Without it the primary is read. Only stores with a tier in front
	// look at it, and they too answer ErrNotFound only if the primary says so.
	Copy bool
}

// Found is everything that decides about one credential, read in one snapshot on the primary.
type Found struct {
	Session    Session
	Subject    Subject    // of the session's user; for a service key only AllEnded and Head are set
	ServiceKey ServiceKey // when Lookup.ServiceKey was set

	// Roles are the definitions of at least the roles in Subject.Grants; nil where the store keeps no roles.
	Roles permission.Table
	// SigningKeyEnded is the number of the event that revoked Lookup.SigningKey; 0 while none did.
	SigningKeyEnded uint64

	// Copy says that this is a copy, as Lookup.Copy allowed: not what the primary says now.
	Copy bool
}

// Sessions are reads and single statements. Dead records (tombstones) are found like live ones: the rules are the
// engine's.
type Sessions interface {
	// Find answers ErrNotFound if there is no record for the credential.
	Find(ctx context.Context, l Lookup) (Found, error)
	// Subject reads one user's row without a lock. A user without a row is no error: see [Subject].
	Subject(ctx context.Context, u UserID) (Subject, error)
	// List returns live sessions, newest first (by id, descending).
	List(ctx context.Context, f SessionFilter) ([]Session, error)
	// Rotate moves a family on if it may in one atomic step, see [Rotation.Moves]. Otherwise it changes nothing and answers
	// ErrConflict. It returns what Find would return in the snapshot of the change.
	Rotate(ctx context.Context, s SessionID, from uint32, r Rotation) (Found, error)
	// Touch moves SeenAt forward of sessions that stand at that time ([Standing]: the idle end does not count, since who
	// noted the activity found the session alive, by activity that may not have been written yet); never backwards, and
	// never the record's Version. It may be lost by a crash.
	Touch(ctx context.Context, seen map[SessionID]time.Time) error
	// Sweep deletes at most limit records that are over for good ([Swept]), and whatever else of this store has run out
	// (counters of failed logins, one-time tokens, values of sessions that do not stand any more, see [Standing]). It says
	// how many it deleted.
	Sweep(ctx context.Context, now time.Time, limit int) (int, error)
}

// SessionFilter selects live sessions. The zero value selects those of all users; sessions without a user
// (ModeAnonymous) are only selected by the name that they are kept under.
type SessionFilter struct {
	User  UserID
	After SessionID // the last id of the page before; only older sessions follow
	Limit int       // 1 to 10,001
	Now   time.Time // sessions that are over at this time are left out
}

// Rotation is what a refresh writes.
type Rotation struct {
	At     time.Time // the time of the refresh
	Family Family    // the state after it; its Generation is larger than from, its Nonce the family's as it is
	SeenAt time.Time // new last activity; zero leaves it (a refresh in the background)
	Claims []byte    // the application's claims as of now
	// Unread is set by a refresh that decides without having read the session: nil is one that has.
	Unread *Unread
}

// Unread are the further conditions of a [Rotation] of a session that nobody has read, so that one statement is the whole
// refresh.
type Unread struct {
	// RotatedBy is the latest time of the rotation before. Of a younger one it has to be asked whether the same token is
	// to be given again.
	RotatedBy time.Time
	// Weight is the most that goes into the value token, see [Found.Weight]. Of more it has to be asked whether a token can
	// be made of it at all, before the one that the client has is spent.
	Weight int
}

// Values keeps what [Data] writes: named values of sessions, in a table of their own. A session's new secrets and its
// refreshes leave them alone; they are deleted with the session, and by Sweep when it does not stand any more.
type Values interface {
	// Get reads one value, and the session and its subject in the same snapshot. It answers ErrNotFound if there is no such
	// session; a value that is not there has Version 0. Dead sessions are found like live ones: the rules are the engine's.
	Get(ctx context.Context, s SessionID, name string) (Datum, Found, error)
	// Put writes or deletes one value in one atomic step, if the session is alive ([Live]) at w.Now, and the value's
	// Version is w.From. Otherwise it changes nothing and answers ErrConflict. It answers ErrDataTooLarge, and changes nothing,
	// if the names and values of the session would be more than w.Limit bytes together. Names of one session do not get in
	// each other's way: two writes of different names at once both succeed.
	Put(ctx context.Context, w DatumWrite) error
}

// Datum is one named value of a session, as the application's codec wrote it.
type Datum struct {
	Name    string
	Data    []byte
	Version uint64 // drawn at random by who wrote it, below 2^63; 0 is a value that does not exist
}

// DatumWrite is what [Values] writes.
type DatumWrite struct {
	Session SessionID
	Value   Datum  // as it is to be; Version 0 deletes it
	From    uint64 // the version that it replaces; 0 is none: the name must be free
	Limit   int    // of all names and values of the session, in bytes
	Now     time.Time
	SeenAt  time.Time // activity of the session that is not written yet counts for the idle end, if it is later
}

// Carrying is what Tx.Carry copies: in the order of the names, each value that the session To does not have yet, if From
// stands ([Standing]) at Now as the unit finds it. A value with which To would have more than Limit bytes is left out. A
// name that From does not have, and a session that is not there, are no error.
type Carrying struct {
	From, To SessionID
	Names    []string
	Limit    int // of all names and values of To, in bytes
	Now      time.Time
}

// UnitOfWork runs fn in one transaction: everything is durable when Do returns nil, and nothing has happened otherwise,
// unless the error says that the outcome is unknown. fn may run again after a conflict between transactions and has no
// effect outside tx. fn's error comes back as it is. Do does not nest.
type UnitOfWork[T any] interface {
	Do(ctx context.Context, fn func(tx T) error) error
}

// Tx is what every change of a session needs. Packages account and login extend it.
type Tx interface {
	// Subject reads a user's row and locks it against every other unit until this one ends.
	Subject(ctx context.Context, u UserID) (Subject, error)
	// PutSubject writes Disabled, Deleted, Grants, Email and EmailVerified, and makes the row if there is none. The
	// numbers are not written: Append is what moves them.
	PutSubject(ctx context.Context, s Subject) error
	// PutSession creates a record (Version 0; ErrConflict if the id exists) or replaces one by compare-and-swap on
	// Version (else ErrConflict). The stored Version is one more. A tombstone is never replaced (ErrConflict), and SeenAt
	// never moves back.
	PutSession(ctx context.Context, s Session) error
	// Oldest returns the live sessions of a user at a time, but for the newest keep ones, oldest first; at most 1,000.
	Oldest(ctx context.Context, u UserID, now time.Time, keep int) ([]SessionID, error)
	// Carry copies values from one session to another; see [Carrying].
	Carry(ctx context.Context, c Carrying) error
	// Append is the last call of a unit that ends or changes something. It takes the numbers, writes the events and
	// their effects, see [Appended]. Locks are taken in the order subject, session, log.
	Append(ctx context.Context, e ...revoke.Event) (Appended, error)
	// Record writes an entry of the audit log.
	Record(ctx context.Context, e audit.Event) error
}

// Appended is what Tx.Append did. For each event the store gives it a number and a tag, keeps it in the log, and writes
// its effect on the records it names:
//
//   - session/end: the tombstone (EndedBy, EndedAt, EndReason) if there is none yet; session/change: Session.Changed.
//   - user/end: Subject.Ended, EndedAt, EndReason (the row is made if there is none). If Except names a session of this
//     user that is alive, its Stamp becomes the event's number; otherwise the event is written without Except.
//   - user/change: Subject.Changed (the row is made if there is none).
//   - key/end and service_key/end: the revocation of that key, if there is none yet.
//   - all/end: the log's all_ended.
//   - role/change: none; the role itself was written before.
//
// Each effect on a session's record moves its Version, as Rotate does: a PutSession that was prepared before cannot undo it.
//
// Restoring a database is not an event of this kind: see the Restored method of the backends. It gives the log a new id,
// moves the numbers on by 2^32, forgets everything before, ends everybody's sessions unless they are to be kept, sets
// Subject.RestoredAt, and leaves the registrations: a verifier that still runs holds its lease.
type Appended struct {
	Events []revoke.Event // as they are in the log, with number and tag
	// Sessions is how many live sessions the events ended: exact up to 10,000; More says there were more. What counts is
	// how the subject stood before the unit: disabling a user ends the sessions that were alive until then.
	Sessions int
	More     bool
}

// Last is the number of the last event, 0 if there is none.
func (a Appended) Last() uint64 {
	if len(a.Events) == 0 {
		return 0
	}
	return a.Events[len(a.Events)-1].Seq
}
