package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/store/postgres"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/store/sqlite"
	"github.com/handstamp/handstamp/store/transfer"
)

// side is one side of a move as it was asked for.
type side struct {
	flag               string // "from" or "to"
	database, sessions string
	fill               bool // it may be made
	look               bool // nothing is made: if there is none, openedSide.db is nil
}

// openedSide is one side of a move.
type openedSide struct {
	db       transfer.Database
	sessions *redis.Transfer // nil where they are in the database
	name     string          // for people, without passwords
	flags    string          // of a server that is to run here
	close    func() error
}

// openPlace opens one side.
func (a *app) openPlace(ctx context.Context, p side) (openedSide, error) {
	none := openedSide{close: func() error { return nil }}
	if p.database == "" {
		return none, nil
	}
	cfg, err := a.settingsFor(p)
	if err != nil {
		return none, err
	}
	if p.sessions != "" && cfg.Sessions.Kind != config.KindRedis {
		return none, usage("--%s-sessions: name a Redis; without it sessions are in the database", p.flag)
	}
	o := openedSide{name: cfg.Database.String()}
	switch cfg.Database.Kind {
	case config.KindSQLite:
		o.name = "sqlite:" + cfg.Database.Path
		o.db, o.close, err = openMoveSQLite(ctx, cfg.Database.Path, p)
	case config.KindPostgres:
		o.db, o.close, err = openMovePostgres(ctx, cfg, p)
	default:
		return none, usage("--%s: %s is in the memory of a server, where no other process sees it: start a server with the new database instead", p.flag, cfg.Database)
	}
	if err != nil {
		return none, err
	}
	o.flags = "--database " + o.name
	if p.sessions != "" { // also beside a database that is only to be made
		o.flags += " --sessions " + cfg.Sessions.String()
		if err := o.openSessions(ctx, cfg, p); err != nil {
			return none, errors.Join(err, o.close())
		}
	}
	return o, nil
}

// openSessions opens sessions in Redis. Those that are moved away are first brought to the head of the database's log,
// which needs the store over both, as a server has it. A database that an earlier run has closed has none; then the
// sessions are closed as well.
func (o *openedSide) openSessions(ctx context.Context, cfg *config.Config, p side) error {
	c, err := redis.Dial(ctx, cfg.Sessions.DSN.Reveal(), redis.Options{})
	if err != nil {
		return err
	}
	before := o.close
	o.close = func() error { c.Close(); return before() }
	if p.flag == "to" {
		o.sessions = redis.NewTransfer(c, o.db, nil)
		return nil
	}
	m, err := o.db.Mark(ctx)
	if err != nil || m.Phase.Closed() {
		o.sessions = redis.NewTransfer(c, o.db, nil)
		return err
	}
	base, _, err := openDatabase(ctx, cfg, slog.New(slog.DiscardHandler), opening{})
	if err != nil {
		return err
	}
	over, err := redis.Over(base, c)
	if err != nil {
		return errors.Join(err, base.Close())
	}
	o.close = func() error { return errors.Join(over.Close(), before()) }
	o.sessions = redis.NewTransfer(c, o.db, over)
	return nil
}

// settingsFor is the configuration with the database of one side.
func (a *app) settingsFor(p side) (*config.Config, error) {
	flags := map[string]string{}
	for k, v := range a.flags {
		flags[k] = v
	}
	flags["database"], flags["sessions"] = p.database, "database"
	if p.sessions != "" {
		flags["sessions"] = p.sessions
	}
	one := *a
	one.flags = flags
	cfg, _, err := one.settings()
	if wrong, ok := errors.AsType[*configError](err); ok {
		for i, line := range wrong.lines {
			wrong.lines[i] = strings.NewReplacer("database (flag --database)", "--"+p.flag, "sessions (flag --sessions)", "--"+p.flag+"-sessions").Replace(line)
		}
	}
	return cfg, err
}

func openMovePostgres(ctx context.Context, cfg *config.Config, p side) (transfer.Database, func() error, error) {
	dsn, opt := cfg.Database.DSN.Reveal(), postgresOptions(cfg, slog.New(slog.DiscardHandler))
	t, err := postgres.OpenTransfer(ctx, dsn, opt, p.fill)
	if p.look && errors.Is(err, postgres.ErrOlder) {
		_, err := postgres.Pending(ctx, dsn, opt) // refuses what the move would be refused where it makes the tables
		return nil, func() error { return nil }, err
	}
	if err != nil {
		return nil, nil, err
	}
	return t, t.Close, nil
}

func openMoveSQLite(ctx context.Context, path string, p side) (transfer.Database, func() error, error) {
	info, err := os.Stat(path)
	absent := errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0
	switch {
	case absent && p.look:
		return nil, func() error { return nil }, nil
	case absent && !p.fill:
		return nil, nil, fmt.Errorf("there is no database at %s", path)
	}
	t, err := sqlite.OpenTransfer(ctx, path, p.fill)
	if err != nil {
		return nil, nil, err
	}
	return t, t.Close, nil
}
