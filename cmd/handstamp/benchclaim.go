package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/store/transfer"
)

// claim makes sure that the configured stores are nobody's, and stay so. First they are only looked at. Then this process
// enters the list of verifiers, and looks again: of two that come at the same time at least one sees the other. A server
// that is started later cannot be kept out, so it is watched for, and the measurement ends when one comes.
func (b *bench) claim(ctx context.Context, r *rig, cfg *config.Config) error {
	if cfg.Database.Kind == config.KindMemory {
		return nil // this process's own
	}
	if cfg.Cache.Kind == config.KindRedis && b.app.flags["cache"] == "" {
		return usage("--stores: the cache %s is in the configuration, so servers may use it, and nobody can see whether they do: name one made for this with --cache", cfg.Cache)
	}
	base, place, err := openDatabase(ctx, cfg, slog.New(slog.DiscardHandler), opening{create: true})
	if err != nil {
		return err
	}
	r.later(func(context.Context) error { return base.Close() })
	if err := unused(ctx, base, place, r.name); err != nil {
		return err
	}
	own := revoke.Registration{Verifier: id.NewVerifier(b.app.now()), RegisteredAt: b.app.now().UTC(), Name: r.name}
	r.later(func(ctx context.Context) error { return base.Log().Remove(ctx, math.MaxInt64, own.Verifier) })
	head, err := base.Log().Register(ctx, own)
	if err != nil {
		return fmt.Errorf("enter the list of verifiers: %w", err)
	}
	if err := unused(ctx, base, place, r.name); err != nil {
		return err
	}
	if err := freeRedis(ctx, cfg, head.Log); err != nil {
		return err
	}
	r.later(b.watch(ctx, base, place, r.name))
	return nil
}

// unused is an error if a database is, or ever was, somebody's: it has accounts or sessions, a server has settled there
// what all processes agree on, or another process follows its log.
func unused(ctx context.Context, s database, place, own string) error {
	agreed, err := s.Settle(ctx, handstamp.Settings{})
	if err != nil {
		return fmt.Errorf("read the settings of this database: %w", err)
	}
	users, err := s.Users().List(ctx, account.UserFilter{Limit: 1})
	if err != nil {
		return fmt.Errorf("look for accounts: %w", err)
	}
	sessions, err := s.Sessions().List(ctx, handstamp.SessionFilter{Limit: 1, Now: time.Unix(0, 0)}) // also those whose time is over
	if err != nil {
		return fmt.Errorf("look for sessions: %w", err)
	}
	others, err := strangers(ctx, s, own)
	if err != nil {
		return err
	}
	why := ""
	switch {
	case len(users) > 0:
		why = "holds accounts"
	case agreed.Lease != 0 || len(agreed.Secrets) > 0:
		why = "has been used by a server"
	case len(sessions) > 0:
		why = "holds sessions"
	case others:
		why = "is used by another process, or was until it was killed a moment ago"
	default:
		return nil
	}
	return fmt.Errorf("%s %s, and --stores puts load and accounts into a database: make one for this (handstamp migrate), and name it with --database; nothing was changed", place, why)
}

// strangers reports whether processes follow the log that go by another name than this one's.
func strangers(ctx context.Context, s handstamp.Store, own string) (bool, error) {
	list, err := s.Log().Registered(ctx)
	if err != nil {
		return false, fmt.Errorf("list the verifiers: %w", err)
	}
	return slices.ContainsFunc(list, func(r revoke.Registration) bool { return r.Name != own }), nil
}

// sameLog is as much of a database as it takes to ask whether sessions in Redis belong to its log.
type sameLog struct{ transfer.Reader }

// Page says nothing of how far the log is.
func (sameLog) Page(context.Context, transfer.Table, transfer.Row, int) ([]transfer.Row, error) {
	return nil, nil
}

// freeRedis refuses sessions in Redis that belong to another database: a store that finds them drops them.
func freeRedis(ctx context.Context, cfg *config.Config, log string) error {
	if cfg.Sessions.Kind != config.KindRedis {
		return nil
	}
	c, err := dialRedis(ctx, cfg.Sessions, redis.Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer c.Close()
	err = redis.NewTransfer(c, sameLog{}, nil).Fits(ctx, log)
	if errors.Is(err, redis.ErrForeign) {
		return fmt.Errorf("%s holds the sessions of another database: name an empty Redis, or another prefix, with --sessions; nothing was changed", cfg.Sessions)
	}
	return err
}

// watchEvery is how long a server may use the database before it is noticed.
const watchEvery = 500 * time.Millisecond

// watch ends the measurement when another process begins to use the database. It returns what ends the watch.
func (b *bench) watch(ctx context.Context, s database, place, own string) func(context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(watchEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			others, err := strangers(ctx, s, own)
			agreed, settled := s.Settle(ctx, handstamp.Settings{})
			if others && err == nil || settled == nil && agreed.Lease != 0 {
				b.stop(fmt.Errorf("%s: %w, so the measurement was ended, and its accounts deleted: measure on a database that nothing else uses", place, errTaken))
			}
		}
	}()
	return func(context.Context) error {
		stop()
		<-done
		return nil
	}
}
