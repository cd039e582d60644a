package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/handstamp/handstamp"
)

// Why Open refuses a database. Each comes with a sentence that says what to do. Nothing was changed then.
var (
	// ErrConfig: the options or the connection string cannot be used.
	ErrConfig = errors.New("the settings of the database connection are wrong")
	// ErrUnreachable: no server answers, or it lets this user not in.
	ErrUnreachable = errors.New("the database cannot be reached")
	// ErrServer: the server or the database is one that cannot be used: too old, or not in UTF-8.
	ErrServer = errors.New("this PostgreSQL server cannot be used")
	// ErrReadOnly: the server is a standby or takes no writes.
	ErrReadOnly = errors.New("the database cannot be written")
	// ErrRights: the user lacks rights that are needed.
	ErrRights = errors.New("the database user lacks rights")
	// ErrNewer: a newer version of Handstamp has changed the tables in a way that this version cannot work with.
	ErrNewer = errors.New("the database was made by a newer version of Handstamp")
	// ErrOlder: migrations are missing and Options.SkipMigrations forbids them.
	ErrOlder = errors.New("the database must be migrated to this version first")
	// ErrForeign: the schema holds somebody else's tables, or ours with other columns.
	ErrForeign = errors.New("the schema holds other things than Handstamp's tables")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
)

// unknownError is a COMMIT whose answer did not come: the change may have happened or not.
type unknownError struct{ err error }

func (e *unknownError) Error() string {
	return fmt.Sprintf("commit, so the outcome is unknown: %v", e.err)
}

func (e *unknownError) Unwrap() error { return e.err }

// errBusy is what is said when nothing became free in time.
var errBusy = errors.New("no connection to the database became free in time")

// Error codes of PostgreSQL (https://www.postgresql.org/docs/current/errcodes-appendix.html). The text of an error is
// never looked at: it is translated and changes between versions.
const (
	codeUnique        = "23505"
	codePlan          = "0A000" // also: a prepared statement whose table was changed by a migration
	codeReadOnly      = "25006"
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codePrivilege     = "42501"
	codeLockTimeout   = "55P03"
)

// code returns the server's error code, "" for an error that is not the server's.
func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// refused reports whether the server answered with an error and goes on: then the statement, and the COMMIT, has not
// happened. A fatal error may come after the COMMIT was done.
func refused(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && severity(e) == "ERROR"
}

func severity(e *pgconn.PgError) string {
	if e.SeverityUnlocalized != "" {
		return e.SeverityUnlocalized
	}
	return e.Severity
}

// again reports whether a transaction failed because of another one, so that doing it over may succeed. A unique value
// that is taken is one of these: every statement looks first, so a violation says that somebody came in between.
func again(err error) bool {
	if !refused(err) || errors.Is(err, handstamp.ErrConflict) {
		return false
	}
	switch code(err) {
	case codeSerialization, codeDeadlock, codeUnique, codePlan:
		return true
	default:
		return false
	}
}

// lost reports whether the connection is the reason of an error, and not the statement. A statement that the caller gave
// up, or that took too long, may say the same about it.
func lost(err error) bool {
	return err != nil && !refused(err) && !absent(err)
}

// brokeOff reports whether the connection ended by itself: nobody gave up waiting, and no time ran out.
func brokeOff(err error) bool {
	return lost(err) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && !pgconn.Timeout(err)
}

// absent reports whether a query found no row.
func absent(err error) bool { return errors.Is(err, pgx.ErrNoRows) }

// notFound translates the answer of a look-up.
func notFound(err error) error {
	if absent(err) {
		return handstamp.ErrNotFound
	}
	return err
}

// harmless removes from an error of the driver what may hold a value: details name the row that was in the way.
func harmless(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		e.Detail, e.Where, e.InternalQuery = "", "", ""
	}
	return err
}
