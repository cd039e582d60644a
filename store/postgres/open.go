package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
)

// Store is an open database. It is safe for concurrent use.
type Store struct {
	pool   *pgxpool.Pool
	own    bool // the pool is ours: it is closed with the store
	opt    Options
	limits limits
	log    *slog.Logger

	units gate // units of work
	work  gate // everything but the log

	born    time.Time    // the times of suspect and health count from here
	suspect atomic.Int64 // connections that have not worked since then may be dead
	closed  context.Context
	close   context.CancelFunc
	closing sync.Once
	burials sync.WaitGroup // connections that were given up

	durability handstamp.Durability
	statements sync.Map // by their text with "@"
	tables     tableCache
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

// Open connects to the server that a connection string names (a URL, or names and values), makes the schema if there is
// none, and migrates it. Several processes may do so at once.
//
// It answers [ErrConfig], [ErrUnreachable], [ErrServer], [ErrReadOnly], [ErrRights], [ErrNewer], [ErrOlder] or
// [ErrForeign], wrapped with a sentence that says what to do and holds no password, and has changed nothing then.
func Open(ctx context.Context, dsn string, opt Options) (*Store, error) {
	s, err := open(ctx, dsn, opt)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, dsn string, opt Options) (*Store, error) {
	opt, err := opt.complete()
	if err != nil {
		return nil, err
	}
	config, err := configOf(dsn, opt)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, describe(err)
	}
	s := newStore(pool, opt)
	s.own = true
	if err := s.prime(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// New uses a pool of the application. [Store.Close] leaves it open. It needs at least 4 connections, and behind PgBouncer
// the pool must be configured for it (pgx.QueryExecModeExec). Give it a ConnectTimeout and a PingTimeout of 2 s or less:
// while the network swallows everything, each connection that is being made or asked takes a place of the pool for as long.
// Errors are those of [Open].
func New(ctx context.Context, pool *pgxpool.Pool, opt Options) (*Store, error) {
	opt, err := opt.complete()
	if err == nil {
		err = suits(pool.Config(), opt)
	}
	if err != nil {
		return nil, fmt.Errorf("use the pool: %w", err)
	}
	s := newStore(pool, opt)
	if err := s.prime(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("use the pool: %w", err), s.Close())
	}
	return s, nil
}

// suits says whether an application's pool can be used.
func suits(config *pgxpool.Config, opt Options) error {
	mode := config.ConnConfig.DefaultQueryExecMode
	switch {
	case config.MaxConns < minConns:
		return fmt.Errorf("%w: the pool has %d connections: want at least %d (MaxConns)", ErrConfig, config.MaxConns, minConns)
	case mode == pgx.QueryExecModeSimpleProtocol:
		return fmt.Errorf("%w: the pool uses the simple protocol: set DefaultQueryExecMode to QueryExecModeExec", ErrConfig)
	case opt.Pooler == Transaction && mode != pgx.QueryExecModeExec && mode != pgx.QueryExecModeCacheDescribe:
		return fmt.Errorf("%w: behind a pooler the pool must not prepare statements: set DefaultQueryExecMode to QueryExecModeExec", ErrConfig)
	}
	return nil
}

func newStore(pool *pgxpool.Pool, opt Options) *Store {
	size := int(pool.Config().MaxConns)
	s := &Store{
		pool: pool, opt: opt, limits: opt.limits, log: opt.Logger, born: time.Now(),
		units: make(gate, max(1, size/2)), work: make(gate, size-1),
	}
	s.closed, s.close = context.WithCancel(context.Background())
	return s
}

// prime looks at the server, and makes the tables ready.
func (s *Store) prime(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.limits.open)
	defer cancel()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return describe(err)
	}
	defer conn.Release()
	facts, err := s.opt.prepare(ctx, conn.Conn())
	if err != nil {
		return err
	}
	s.durability = facts.durability(s.opt)
	if s.durability.Class != handstamp.Durable {
		s.log.Warn("postgres: the server's settings do not make writes durable", "durability", string(s.durability.Class),
			"synchronous_commit", facts.synchronousCommit, "fsync", facts.fsync, "full_page_writes", facts.fullPageWrites)
	}
	return nil
}

// sql puts the schema into a statement.
func (s *Store) sql(query string) string {
	if text, ok := s.statements.Load(query); ok {
		return text.(string) //nolint:forcetypeassert // only texts are stored
	}
	text := s.opt.qualify(query)
	s.statements.Store(query, text)
	return text
}

// Close ends the store's use, and waits for what is running if the pool is its own. Calls after it answer [ErrClosed];
// closing again does nothing.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.close()
		if s.own {
			s.pool.Close()
		}
		s.burials.Wait()
	})
	return nil
}
