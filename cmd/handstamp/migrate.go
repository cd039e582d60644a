package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/store/sqlite"
)

// migrateCmd is "handstamp migrate".
type migrateCmd struct {
	Check bool `help:"Change nothing; fail if something is to be done."`
}

// Run brings the database to this version.
func (c *migrateCmd) Run(ctx context.Context, a *app) error {
	cfg, _, err := a.settings()
	if err != nil {
		return err
	}
	if cfg.Database.Kind != config.KindSQLite {
		return a.say("the database is %s: there is nothing to migrate", cfg.Database)
	}
	path := cfg.Database.Path
	missing, err := sqlite.Pending(ctx, path)
	if err != nil {
		return err
	}
	switch {
	case missing == 0:
		return a.say("%s is up to date", path)
	case c.Check:
		return fmt.Errorf("%s needs %s: run handstamp migrate", path, count(missing, false, "migration", "migrations"))
	}
	s, err := openSQLite(ctx, cfg, a.logger(cfg), opening{create: true, migrate: true})
	if err != nil {
		return err
	}
	return errors.Join(a.say("%s: done, %s", path, count(missing, false, "migration", "migrations")), s.Close())
}
