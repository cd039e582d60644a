package postgres

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"
)

// Pooler names what stands between this program and PostgreSQL.
type Pooler string

// The poolers.
const (
	// Direct is a connection to PostgreSQL itself, or through something that keeps one server connection for each of the
	// program's.
	Direct Pooler = ""
	// Transaction is PgBouncer in the mode transaction, or what works like it: each transaction may be on another server
	// connection. Nothing of a connection is used then: no named prepared statements, no settings, no LISTEN.
	Transaction Pooler = "transaction"
)

// Options of [Open] and [New]. The zero value is right for nearly everybody.
type Options struct {
	// Schema is where the tables are; "handstamp" if empty. It holds nothing else. Small letters, digits and "_".
	Schema string
	// SkipMigrations leaves the tables as they are. Open then answers [ErrOlder] if they are older than this version.
	SkipMigrations bool
	// Pooler says what the connections go through.
	Pooler Pooler
	// MaxConns is how many connections [Open] keeps at most, 4 to 1,000. 0 is pool_max_conns of the connection string, or
	// 10. Units of work get at most half of them, and one is always kept for the log, so that logins and revocations in a
	// crowd keep no check and no renewal waiting. One more is used for LISTEN. [New] takes the number of its pool.
	MaxConns int
	// InsecureFsyncOff says that the loss of a server that runs with fsync=off is accepted: then that setting does not
	// count for the durability that [Store.Settle] states. For servers that only tests use.
	InsecureFsyncOff bool
	// Logger gets what an operator should know (a server that may lose writes, a listener that was cut off). nil is silence.
	Logger *slog.Logger

	limits limits
}

// limits are how long things may take.
type limits struct {
	lock      time.Duration // waiting for a lock
	statement time.Duration // one statement, as the server measures it
	idle      time.Duration // between two statements of a unit, then the server ends it
	acquire   time.Duration // waiting for a connection
	total     time.Duration // a call in all, but for a COMMIT that is under way
	commit    time.Duration // a COMMIT gets at least this much
	ping      time.Duration // a connection that may be dead
	open      time.Duration // Open, in all
}

// defaults: who asked over HTTP hears of it in less than 3 s.
func defaults() limits {
	return limits{
		lock: time.Second, statement: 2 * time.Second, idle: 2 * time.Second, acquire: 2 * time.Second,
		total: 2500 * time.Millisecond, commit: 500 * time.Millisecond, ping: 500 * time.Millisecond, open: 30 * time.Second,
	}
}

// The bounds and defaults of Options.
const (
	defaultSchema = "handstamp"
	defaultConns  = 10
	minConns      = 4
	maxConns      = 1000
)

// schemaNames leaves room for the name of the channel within the 63 bytes of a name.
var schemaNames = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,49}$`)

func (o Options) complete() (Options, error) {
	if o.Schema == "" {
		o.Schema = defaultSchema
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.limits == (limits{}) {
		o.limits = defaults()
	}
	switch {
	case !schemaNames.MatchString(o.Schema), strings.HasPrefix(o.Schema, "pg_"), o.Schema == "public", o.Schema == "information_schema":
		return o, fmt.Errorf("%w: the schema must be one of its own, named by up to 50 small letters, digits and _, such as handstamp", ErrConfig)
	case o.Pooler != Direct && o.Pooler != Transaction:
		return o, fmt.Errorf("%w: the pooler must be empty or transaction", ErrConfig)
	case o.MaxConns != 0 && (o.MaxConns < minConns || o.MaxConns > maxConns):
		return o, fmt.Errorf("%w: want %d to %d connections", ErrConfig, minConns, maxConns)
	}
	return o, nil
}

// qualify puts the schema where a statement has "@".
func (o Options) qualify(statement string) string {
	return strings.ReplaceAll(statement, "@", `"`+o.Schema+`".`)
}

// channel is what is notified of every append.
func (o Options) channel() string { return o.Schema + "_log" }
