package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/store/postgres"
	"github.com/handstamp/handstamp/store/sqlite"
)

// migrateCmd is "handstamp migrate".
type migrateCmd struct {
	Check    bool `help:"Change nothing; fail if something is to be done."`
	SetLease bool `help:"Make revocation.lease the lease of this database. Every server must be stopped. With --check: fail if it is another one."`
}

// Run brings the database to this version.
func (c *migrateCmd) Run(ctx context.Context, a *app) error {
	cfg, _, err := a.settings()
	if err != nil {
		return err
	}
	if cfg.Database.Kind == config.KindMemory {
		return a.say("the database is %s: there is nothing to migrate", cfg.Database)
	}
	place := cfg.Database.Path
	pending := func() (int, error) { return sqlite.Pending(ctx, place) }
	if cfg.Database.Kind == config.KindPostgres {
		place = cfg.Database.String()
		pending = func() (int, error) {
			return postgres.Pending(ctx, cfg.Database.DSN.Reveal(), postgresOptions(cfg, a.logger(cfg)))
		}
	}
	missing, err := pending()
	if err != nil {
		return err
	}
	switch {
	case missing == 0 && !c.SetLease:
		return a.say("%s is up to date", place)
	case missing > 0 && c.Check:
		return fmt.Errorf("%s needs %s: run handstamp migrate", place, count(missing, false, "migration", "migrations"))
	}
	s, _, err := openDatabase(ctx, cfg, a.logger(cfg), opening{create: !c.Check, migrate: !c.Check})
	if err != nil {
		return err
	}
	if c.Check {
		return errors.Join(checkLease(ctx, a, s, place, cfg.Revocation.Lease), s.Close())
	}
	if c.SetLease {
		err = setLease(ctx, a, s, cfg)
	}
	if err == nil || missing > 0 {
		err = errors.Join(err, a.say("%s: done, %s", place, count(missing, false, "migration", "migrations")))
	}
	return errors.Join(err, s.Close())
}

// checkLease fails if --set-lease would change something.
func checkLease(ctx context.Context, a *app, s database, place string, want time.Duration) error {
	agreed, err := s.Settle(ctx, handstamp.Settings{})
	switch {
	case err != nil:
		return fmt.Errorf("read the settings of this database: %w", err)
	case agreed.Lease == want:
		return a.say("%s is up to date, and its lease is %v", place, want)
	case agreed.Lease == 0:
		return fmt.Errorf("%s has no lease yet, and revocation.lease is %v: run handstamp migrate --set-lease, or start a server", place, want)
	default:
		return fmt.Errorf("the lease of %s is %v, and revocation.lease is %v: stop every server and run handstamp migrate --set-lease", place, agreed.Lease, want)
	}
}

// setLease changes what all processes on a database have agreed on.
func setLease(ctx context.Context, a *app, s database, cfg *config.Config) error {
	err := s.SetLease(ctx, cfg.Revocation.Lease)
	if errors.Is(err, handstamp.ErrConflict) {
		return errors.New("a server uses this database: stop it, then set the lease; nothing was changed")
	}
	if err != nil {
		return err
	}
	return a.say("the lease is %v", cfg.Revocation.Lease)
}
