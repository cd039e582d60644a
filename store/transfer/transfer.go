// Package transfer is what a backend offers so that everything in it can be moved to another one while it is in use: its
// tables as neutral rows in the order of their keys, a note of what changes while they are read, a fence against every
// change, and a name under which nobody finds what has gone elsewhere.
//
// It never judges what it carries: records of sessions that ended years ago are rows like others, and a row arrives as
// it was, with its version and the numbers of the log. It never reads a secret: private keys are sealed bytes and
// credentials are hashes. Package move decides when what is done; whoever uses this package without it can lose a
// revocation.
package transfer

import (
	"context"
	"errors"
	"time"
)

// Phase is where a database stands with a move. Each one but Open outlives the process that made it.
type Phase string

// The phases.
const (
	// Open is a database that nobody moves: servers use it.
	Open Phase = ""
	// Tracked: servers use it, and it notes the key of every row that changes ([Source.Changes]).
	Tracked Phase = "tracked"
	// Fenced: it also refuses every change of a row that is moved, with an error that is neither "not found" nor a
	// conflict. Reads go on, and so do the leases of verifiers, since nothing can end that they would not have heard of.
	Fenced Phase = "fenced"
	// Moved: no read and no change by a server succeeds any more, nor does opening it, until the phase is another one.
	Moved Phase = "moved"
	// Filling: it is being written by a move, and closed to servers as in Moved.
	Filling Phase = "filling"
)

// Closed reports whether servers are kept out.
func (p Phase) Closed() bool { return p == Moved || p == Filling }

// Mark is what a database keeps about a move, in the same transaction as what the phase does.
type Mark struct {
	Phase Phase
	Log   string    // id of the log that is moved; empty while the phase is Open
	Peer  string    // the other database, for people; never with a password
	Run   string    // random id of the process that set it: a later one takes over, and the earlier one finds out
	At    time.Time // by the clock of who set it, for people
}

// Errors of a backend's transfer. Any other error means that the outcome is unknown.
var (
	// ErrTaken: the database does not carry the mark that the caller goes by. Nothing was changed.
	ErrTaken = errors.New("transfer: another move has taken over")
	// ErrChanges: a fenced database was to be closed, and there are changes that nobody has read. Nothing was changed.
	ErrChanges = errors.New("transfer: there are changes that were not carried over")
	// ErrSchema: the tables are of another version than this program's. Nothing was changed.
	ErrSchema = errors.New("transfer: the tables are of another version")
)

// Change is a row that was written or deleted while the database was tracked. It names the row and does not say what
// became of it: whoever reads the row later than the change sees at least that.
type Change struct {
	N     int64 // names the change
	Table string
	Key   Row
}

// Reader reads a database in every phase.
type Reader interface {
	// Mark reads where the database stands.
	Mark(ctx context.Context) (Mark, error)
	// Page returns the first rows of a table after a key in ascending order, at most limit of them (1 to 10,000); after
	// may be nil for the beginning. Fewer than limit rows are the last ones.
	Page(ctx context.Context, t Table, after Row, limit int) ([]Row, error)
	// Rows returns those of the rows named by keys that exist, in any order; at most 1,000 keys.
	Rows(ctx context.Context, t Table, keys []Row) ([]Row, error)
	// Set moves from one mark to another, with everything that its phase does, in one transaction. It answers ErrTaken if
	// the mark is not from, ErrChanges where from is Fenced, to is Moved and Changes would not be empty, and ErrSchema if
	// somebody has migrated the tables meanwhile. Leaving the phases Tracked and Fenced forgets all changes, but for the
	// way from one of them to the other.
	Set(ctx context.Context, from, to Mark) error
}

// Source is a database that may be moved away.
type Source interface {
	Reader
	// Changes returns noted changes, the oldest first, at most limit. They are complete: a change is noted in the
	// transaction that makes it.
	Changes(ctx context.Context, limit int) ([]Change, error)
	// Forget deletes the changes given.
	Forget(ctx context.Context, done []Change) error
}

// Target is a database that may be filled.
type Target interface {
	Reader
	// Write puts rows, also over those that are there, and deletes those named by drop, in one transaction. It answers
	// ErrTaken, and has written nothing, unless the mark is m and its phase Filling. A row whose unique value another
	// row of the target holds replaces that one: the source has no two such rows, so that one is out of date there.
	Write(ctx context.Context, m Mark, t Table, put, drop []Row) error
}

// Database is both.
type Database interface {
	Source
	Target
}
