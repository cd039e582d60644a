package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	driver "modernc.org/sqlite"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
)

// Options of [Open]. The zero value is right for nearly everybody.
type Options struct {
	// SkipMigrations leaves the tables as they are. Open then answers [ErrOlder] if they are older than this version.
	SkipMigrations bool
	// BusyTimeout is how long a write waits in all, in line and for the lock, while another process holds it; then the
	// write fails, and nothing has happened. 0 is 2 s: who asked over HTTP hears of it in less than 3. [Open] waits 5 s or
	// longer, since several processes may start together and migrate.
	BusyTimeout time.Duration
	// Readers is how many reads run at the same time, 1 to 64. 0 is twice the number of processors, at least 4 and at
	// most 16. Each costs up to 4 MiB of memory.
	Readers int
	// Logger gets what an operator should know (a file that others can read, a commit that failed). nil is silence.
	Logger *slog.Logger
}

// The bounds and defaults of Options.
const (
	defaultBusyTimeout = 2 * time.Second
	leastOpenTimeout   = 5 * time.Second
	maxReaders         = 64
)

// Store is an open database. It is safe for concurrent use.
type Store struct {
	writer  *pool // of one: SQLite has one writer at a time, and waiting here is fair and obeys the context
	readers *pool

	path    string
	busy    time.Duration
	locked  atomic.Bool // another process held the lock when a write last asked for it
	log     *slog.Logger
	stopped atomic.Bool // a commit failed with an I/O error; see errStopped

	signals signals
	tables  tableCache
	closing sync.Once
}

// The consumers' interfaces.
var (
	_ handstamp.Store    = (*Store)(nil)
	_ handstamp.Sessions = (*sessions)(nil)
	_ account.Store      = (*Store)(nil)
	_ account.Users      = (*users)(nil)
	_ login.Store        = (*Store)(nil)
	_ login.Tx           = (*unit)(nil)
	_ revoke.Log         = (*eventLog)(nil)
	_ audit.Log          = (*auditLog)(nil)
	_ keyring.Store      = (*keys)(nil)
)

// Open opens the database at path, creates it (mode 0600, its directory 0700) if there is none, and migrates it. path
// is a file's name; there are no URIs, and no database in memory (see package store/memory for one).
//
// It answers [ErrDamaged], [ErrNewer], [ErrForeign], [ErrOlder] or [ErrReadOnly], wrapped with a sentence for people,
// and has not changed the file then.
func Open(ctx context.Context, path string, opt Options) (*Store, error) {
	s, err := open(ctx, path, opt, plain)
	if err != nil {
		return nil, fmt.Errorf("open database %q: %w", path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string, opt Options, dial dialer) (*Store, error) {
	opt, err := opt.complete()
	if err != nil {
		return nil, err
	}
	name, err := fileName(path)
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, name, opt); err != nil {
		return nil, err
	}
	s := &Store{path: name, busy: opt.BusyTimeout, log: opt.Logger}
	if s.writer, err = connect(dial, name, writing, 1); err != nil {
		return nil, err
	}
	if s.readers, err = connect(dial, name, reading(opt.BusyTimeout), opt.Readers); err != nil {
		return nil, errors.Join(err, s.writer.db.Close())
	}
	if err := s.prime(ctx, opt); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// prime makes a database that was found good ready for use.
func (s *Store) prime(ctx context.Context, opt Options) error {
	if err := s.useWAL(ctx, opt); err != nil {
		return err
	}
	l, err := s.writer.take(ctx)
	if err != nil {
		return err
	}
	err = s.migrate(ctx, l, opt)
	s.writer.give(l, true)
	if err != nil {
		return err
	}
	r, err := s.readers.take(ctx)
	if err != nil {
		return err
	}
	s.readers.give(r, true)
	return nil
}

func (o Options) complete() (Options, error) {
	if o.BusyTimeout == 0 {
		o.BusyTimeout = defaultBusyTimeout
	}
	if o.Readers == 0 {
		o.Readers = min(max(4, 2*runtime.GOMAXPROCS(0)), 16)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.BusyTimeout < 0 || o.Readers < 1 || o.Readers > maxReaders {
		return o, fmt.Errorf("want a BusyTimeout that is not negative and 1 to %d Readers", maxReaders)
	}
	return o, nil
}

func fileName(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("the path is empty")
	case strings.HasPrefix(path, ":memory:"), strings.HasPrefix(path, "file:"):
		return "", errors.New("want the name of a file; for a store in memory use package store/memory")
	case strings.ContainsRune(path, 0):
		return "", errors.New("the path has a NUL byte")
	}
	return filepath.Abs(path)
}

// openTimeout is how long opening waits for another process.
func (o Options) openTimeout() time.Duration { return max(o.BusyTimeout, leastOpenTimeout) }

// busySlice is how long the engine itself waits for another process's lock. Longer waits are made of such slices, so
// that a caller's deadline is obeyed in between. They are short because the engine asks less and less often: beside a
// process that writes all the time, a slow asker finds the lock taken every time.
const busySlice = 10 * time.Millisecond

// settings are the pragmas of a connection: all of them are set, and those of want are read back.
type settings struct {
	set  []string
	want []pragma
}

// hardening is set on every connection, since the file may come from a backup or from another program's hands:
//
//   - trusted_schema off: views and triggers in the file call no function with side effects.
//   - cell_size_check on: a damaged page is noticed when it is read, not believed.
//   - foreign_keys on: an application's own constraints hold if it shares the connection's file.
//   - temp_store in memory: sorting writes no personal data into temporary files.
//   - mmap_size 0: an I/O error is an error, not a SIGBUS that ends the process.
func hardening() []string {
	return []string{"trusted_schema(0)", "cell_size_check(1)", "foreign_keys(1)", "temp_store(2)", "mmap_size(0)", "cache_size(-4096)"}
}

// writing is the one connection that changes anything. synchronous FULL syncs the log of every commit, which is what
// "durable" means; fullfsync does the same where fsync alone stops at the drive's cache (macOS). secure_delete
// overwrites what is deleted, so that a deleted user's password hash does not stay in a free page. journal_size_limit
// gives the space of a long burst back.
func writing() settings {
	return settings{
		set: append(hardening(), "busy_timeout("+milliseconds(busySlice)+")", "synchronous(2)", "fullfsync(1)",
			"checkpoint_fullfsync(1)", "secure_delete(1)", "journal_size_limit(67108864)", "wal_autocheckpoint(1000)"),
		want: []pragma{{"synchronous", "2"}, {"fullfsync", "1"}, {"foreign_keys", "1"}, {"trusted_schema", "0"},
			{"cell_size_check", "1"}, {"secure_delete", "1"}},
	}
}

// reading is a connection that cannot write, whatever statement it is given.
func reading(busy time.Duration) func() settings {
	return func() settings {
		return settings{
			set:  append(hardening(), "busy_timeout("+milliseconds(busy)+")", "query_only(1)", "synchronous(2)"),
			want: []pragma{{"query_only", "1"}, {"synchronous", "2"}, {"journal_mode", "wal"}, {"trusted_schema", "0"}},
		}
	}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }

// dialer makes the driver's connector; tests put faults there.
type dialer func(dsn string) (connector, error)

func plain(dsn string) (connector, error) { return driver.NewConnector(dsn) }

func connect(dial dialer, name string, kind func() settings, size int) (*pool, error) {
	set := kind()
	c, err := dial(dsn(name, "rw", set.set))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return newPool(c, set.want, size), nil
}

// dsn names the file for the driver. The mode never is "rwc": what creates the file sets its permissions. _defensive
// refuses statements that could destroy the file's structure, _dqs=0 takes a misspelt column for an error and not for
// text, and _error_rc keeps the message of another operation out of an error.
func dsn(name, mode string, pragmas []string) string {
	u := filepath.ToSlash(name)
	if !strings.HasPrefix(u, "/") {
		u = "/" + u // a drive letter
	}
	q := url.Values{"mode": {mode}, "_defensive": {"1"}, "_dqs": {"0"}, "_error_rc": {"1"}, "_pragma": pragmas}
	return "file://" + (&url.URL{Path: u}).EscapedPath() + "?" + q.Encode()
}

// Close waits for what is running, writes the log of commits back into the file and closes it. Calls after it answer
// [ErrClosed]; closing again does nothing.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		s.signals.closeAll()
		err = errors.Join(s.readers.shut(nil), s.writer.shut(func(l *link) {
			// Another process that still reads keeps the log of commits alive; then that process writes it back.
			if err := l.script("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
				s.log.Warn("sqlite: checkpoint at close", "error", err)
			}
		}))
	})
	return err
}
