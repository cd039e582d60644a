package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
)

// Why Open refuses a file, besides what the operating system says. The file is then as it was.
var (
	// ErrDamaged: the file is no SQLite database, or one whose pages contradict each other.
	ErrDamaged = errors.New("the database is damaged or is no SQLite database")
	// ErrNewer: a newer version of Handstamp has changed the tables.
	ErrNewer = errors.New("the database was made by a newer version of Handstamp")
	// ErrForeign: somebody else's tables have the names of ours.
	ErrForeign = errors.New("the database holds other tables under the names of Handstamp's")
	// ErrOlder: migrations are missing and Options.SkipMigrations forbids them.
	ErrOlder = errors.New("the database must be migrated to this version first")
	// ErrReadOnly: the file may be read, but not written.
	ErrReadOnly = errors.New("the database cannot be written: the file, its directory or its file system is read-only")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
)

// errStopped is what every write is told after a commit failed with an I/O error. What the operating system says about
// a file after a failed fsync cannot be believed: the pages count as clean, and the next fsync succeeds without having
// written them. So nothing is acknowledged until the file is opened again and read from the disk.
var errStopped = errors.New("a commit failed with an I/O error, so nothing is written until the store is opened again")

// unknownError is a COMMIT that failed: the change may or may not be found when the file is opened again.
type unknownError struct{ err error }

func (e *unknownError) Error() string {
	return fmt.Sprintf("commit, so the outcome is unknown: %v", e.err)
}

func (e *unknownError) Unwrap() error { return e.err }

// Primary result codes of SQLite (https://www.sqlite.org/rescode.html); an extended code has one in its low byte.
const (
	codeError      = 1
	codeBusy       = 5
	codeLocked     = 6
	codeReadOnly   = 8
	codeIO         = 10
	codeCorrupt    = 11
	codeFull       = 13
	codeCantOpen   = 14
	codeConstraint = 19
	codeNotADB     = 26

	codeConstraintPrimaryKey = codeConstraint | 6<<8
	codeConstraintUnique     = codeConstraint | 8<<8
)

// code returns the engine's extended result code, 0 for an error that is not the engine's. The text of an error is
// never looked at: it changes between versions.
func code(err error) int {
	var coded interface {
		error
		Code() int
	}
	if errors.As(err, &coded) {
		return coded.Code()
	}
	return 0
}

func primary(err error) int { return code(err) & 0xff }

// busy reports whether another process held the lock: nothing has happened and it may be tried again.
func busy(err error) bool {
	var unknown *unknownError
	if errors.As(err, &unknown) {
		return false
	}
	p := primary(err)
	return p == codeBusy || p == codeLocked
}

// absent reports whether a query found no row.
func absent(err error) bool { return errors.Is(err, sql.ErrNoRows) }

// duplicate reports whether a unique value (not a primary key) is held by another record.
func duplicate(err error) bool { return code(err) == codeConstraintUnique }

// exists reports whether the primary key is taken.
func exists(err error) bool { return code(err) == codeConstraintPrimaryKey }
