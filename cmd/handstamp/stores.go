package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/server"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/postgres"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/store/sqlite"
	"github.com/handstamp/handstamp/store/tiered"
)

// backend is what every store offers.
type backend interface {
	handstamp.Store
	account.Store
	login.Store
	Keys() keyring.Store
	Restored(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error)
	Close() error
}

// base is a backend that sessions may be over.
type base interface {
	backend
	Subjects(ctx context.Context, users []handstamp.UserID) ([]handstamp.Subject, error)
}

// database is a base that other processes may use too.
type database interface {
	base
	SetLease(ctx context.Context, lease time.Duration) error
	Moved(ctx context.Context) error
}

// stores are the views of one backend.
type stores struct {
	store    handstamp.Store
	accounts account.Store
	logins   login.Store
	keys     keyring.Store
	restored func(ctx context.Context, keepSessions bool, now time.Time) (revoke.Head, error)
	setLease func(ctx context.Context, lease time.Duration) error // ErrConflict while a server runs; nil where nobody else can
	close    func() error
	place    string // for people
	parts    []server.Part
}

func viewsOf(b backend, place string) stores {
	return stores{store: b, accounts: b, logins: b, keys: b.Keys(), restored: b.Restored, close: b.Close, place: place}
}

// opening says how a command opens the database.
type opening struct {
	create  bool // make one if there is none; otherwise a mistyped path is an error and no empty database
	migrate bool // bring an older one up to date
	serve   bool // for a server: migrate=false also means that none is made
	shared  bool // beside the server's own process: only what others can see is of use, and no tier is needed

	secrets [][]byte // of the fleet: they authenticate what is in the cache
}

// openStores opens the database that the configuration names, and what is in front of it. This is the list of stores.
func openStores(ctx context.Context, cfg *config.Config, log *slog.Logger, how opening) (stores, error) {
	if cfg.Database.Kind == config.KindMemory && how.shared {
		return stores{}, usage("database is memory, which only the server's own process can see: use the administration API of the server, or another database")
	}
	t, err := dialTiers(ctx, cfg, log, how) // first: nothing is made if they are not there
	if err != nil {
		return stores{}, err
	}
	if cfg.Database.Kind == config.KindMemory {
		return t.over(memory.New(), "memory")
	}
	base, place, err := openDatabase(ctx, cfg, log, how)
	if err != nil {
		t.close()
		return stores{}, err
	}
	if cfg.Sessions.Kind == config.KindMemory && !how.shared {
		return viewsOf(memory.Over(base), place+", sessions in memory"), nil
	}
	s, err := t.over(base, place)
	if err != nil {
		t.close()
		return stores{}, errors.Join(err, base.Close())
	}
	s.setLease = base.SetLease
	s.parts = append([]server.Part{{Name: "database", Ask: pingOf(base), Durability: durabilityOf(ctx, base)}}, s.parts...)
	return s, nil
}

// errLeftBehind is what /readyz says of a server whose database was moved away under it. Where to is in the log.
const errLeftBehind = server.Excuse("it was moved by handstamp move: start this server on the database where it is now")

// pingOf reads once from a database, and finds out why that fails if a move is the reason.
func pingOf(b database) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		_, err := b.Sessions().Subject(ctx, "handstamp-ping")
		if err == nil {
			return nil
		}
		if moved := b.Moved(ctx); errors.Is(moved, postgres.ErrMoved) || errors.Is(moved, sqlite.ErrMoved) {
			return fmt.Errorf("%w: %w", errLeftBehind, moved)
		}
		return err
	}
}

// durabilityOf is what a database said of itself when it was opened; nothing where it does not answer now.
func durabilityOf(ctx context.Context, b backend) handstamp.Durability {
	agreed, err := b.Settle(ctx, handstamp.Settings{})
	if err != nil {
		return handstamp.Durability{}
	}
	return agreed.Durability
}

// openDatabase opens what other processes can see.
func openDatabase(ctx context.Context, cfg *config.Config, log *slog.Logger, how opening) (database, string, error) {
	if cfg.Database.Kind == config.KindPostgres {
		opt := postgresOptions(cfg, log)
		opt.SkipMigrations = !how.migrate
		s, err := postgres.Open(ctx, cfg.Database.DSN.Reveal(), opt)
		if err != nil {
			return nil, "", err
		}
		return s, cfg.Database.String(), nil
	}
	s, err := openSQLite(ctx, cfg, log, how)
	if err != nil {
		return nil, "", err
	}
	return s, cfg.Database.Path, nil
}

func postgresOptions(cfg *config.Config, log *slog.Logger) postgres.Options {
	opt := postgres.Options{Logger: log}
	if cfg.DatabasePooler == config.PoolerTransaction {
		opt.Pooler = postgres.Transaction
	}
	return opt
}

func openSQLite(ctx context.Context, cfg *config.Config, log *slog.Logger, how opening) (*sqlite.Store, error) {
	path := cfg.Database.Path
	_, err := os.Stat(path)
	absent := errors.Is(err, fs.ErrNotExist)
	if absent && how.create && !how.migrate && how.serve {
		return nil, fmt.Errorf("there is no database at %s, and migrate is false: make one with handstamp migrate", path)
	}
	if absent && !how.create {
		return nil, fmt.Errorf("there is no database at %s: look at data_dir and database (handstamp config), or make one with handstamp migrate", path)
	}
	if absent && filepath.Dir(path) == filepath.Clean(cfg.DataDir) {
		if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
			return nil, fmt.Errorf("make data_dir: %w", err)
		}
	}
	return sqlite.Open(ctx, path, sqlite.Options{SkipMigrations: !how.migrate && !absent, Logger: log})
}

// tiers are what is in front of the database.
type tiers struct {
	sessions *redis.Client // keeps the sessions; nil if the database does
	cache    *redis.Cache  // keeps copies; nil without
	at       string        // where the sessions are, for people
	secrets  [][]byte
}

func dialTiers(ctx context.Context, cfg *config.Config, log *slog.Logger, how opening) (t tiers, err error) {
	t.secrets = how.secrets
	switch {
	case cfg.Sessions.Kind == config.KindRedis:
		t.at = ", sessions in " + cfg.Sessions.String()
		t.sessions, err = dialRedis(ctx, cfg.Sessions, redis.Options{}, log)
	case cfg.Cache.Kind == config.KindRedis && cfg.Sessions.Kind == config.KindDatabase && !how.shared:
		t.at = ", copies in " + cfg.Cache.String()
		t.cache, err = openCache(ctx, cfg.Cache, log)
	}
	return t, err
}

func dialRedis(ctx context.Context, at config.Backend, opt redis.Options, log *slog.Logger) (*redis.Client, error) {
	c, err := redis.Dial(ctx, at.DSN.Reveal(), opt)
	if err != nil {
		return nil, err
	}
	log.Info("connected to Redis", "place", at.String(), "durability", string(c.Durability().Class), "why", c.Note())
	return c, nil
}

// openCache goes on without a cache that is away: it costs speed, and a node that does not start costs more.
func openCache(ctx context.Context, at config.Backend, log *slog.Logger) (*redis.Cache, error) {
	return redis.OpenCache(ctx, at.DSN.Reveal(), redis.Options{}, func(c *redis.Client, away error) {
		if away != nil {
			log.Warn("the cache cannot be reached; the database is asked instead until it can", "place", at.String(), "error", away)
			return
		}
		log.Info("connected to Redis", "place", at.String(), "durability", string(c.Durability().Class), "why", c.Note())
	})
}

func (t tiers) close() {
	if t.sessions != nil {
		t.sessions.Close()
	}
	if t.cache != nil {
		t.cache.Close()
	}
}

// over puts the tiers over a database.
func (t tiers) over(base base, place string) (stores, error) {
	switch {
	case t.sessions != nil:
		s, err := redis.Over(base, t.sessions)
		if err != nil {
			return stores{}, err
		}
		v := viewsOf(s, place+t.at)
		v.parts = []server.Part{{Name: "sessions", Ask: t.sessions.Ready, Durability: t.sessions.Durability()}}
		return v, nil
	case t.cache != nil:
		s := tiered.New(base, t.cache, tiered.Options{Secrets: t.secrets})
		v := viewsOf(s, place+t.at)
		v.parts = []server.Part{{Name: "cache", Ask: t.cache.Ready, Spare: true, Info: func() map[string]string { return tierInfo(s.Stats()) }}}
		return v, nil
	}
	return viewsOf(base, place), nil
}

// tierInfo is what /readyz says of the shared cache.
func tierInfo(s tiered.Stats) map[string]string {
	return map[string]string{
		"breaker": string(s.State), "hits": fmt.Sprint(s.Hits), "misses": fmt.Sprint(s.Misses), "stale": fmt.Sprint(s.Stale), "errors": fmt.Sprint(s.Errors),
	}
}
