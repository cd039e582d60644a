package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/config"
)

// restoredCmd is "handstamp restored". A database that was put back knows an old state: revocations since then are
// missing, and servers that followed it are ahead. The log becomes another one, which all of them notice.
type restoredCmd struct {
	KeepSessions bool `help:"Do not log everybody out. Sessions that were ended since the backup was made then live again."`
}

// Run tells the log that its database was restored.
func (c *restoredCmd) Run(ctx context.Context, a *app) (err error) {
	cfg, _, err := a.settings()
	if err != nil {
		return err
	}
	s, err := openStores(ctx, cfg, slog.New(slog.DiscardHandler), opening{shared: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.idle(ctx); err != nil {
		return err
	}
	head, err := s.restored(ctx, c.KeepSessions, a.now().UTC())
	if err != nil {
		return err
	}
	switch {
	case c.KeepSessions && cfg.Sessions.Kind == config.KindRedis:
		return a.say("the log goes on as a new one from event %d; sessions were kept as Redis has them", head.Seq)
	case c.KeepSessions:
		return a.say("the log goes on as a new one from event %d; sessions were kept, also those that were ended after the backup was made", head.Seq)
	}
	return a.say("the log goes on as a new one from event %d; everybody has to log in again", head.Seq)
}

// idle is an error while a server uses the database: what such a server did since it found the database as it is would
// be taken for a part of the backup. The verifiers of a backup are not taken for servers: they are asked, and waited for
// as long as their lease may last. To set the lease that is there changes nothing else.
func (s *stores) idle(ctx context.Context) error {
	agreed, err := s.store.Settle(ctx, handstamp.Settings{})
	if err != nil {
		return fmt.Errorf("read the settings of this database: %w", err)
	}
	if agreed.Lease == 0 {
		return nil // no server ever used it
	}
	err = s.setLease(ctx, agreed.Lease)
	if errors.Is(err, handstamp.ErrConflict) {
		return errors.New("a server uses this database: stop it, then run handstamp restored; nothing was changed")
	}
	return err
}
