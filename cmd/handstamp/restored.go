package main

import (
	"context"
	"errors"
	"log/slog"
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
	head, err := s.restored(ctx, c.KeepSessions, a.now().UTC())
	if err != nil {
		return err
	}
	if c.KeepSessions {
		return a.say("the log goes on as a new one from event %d; sessions were kept, also those that were ended after the backup was made", head.Seq)
	}
	return a.say("the log goes on as a new one from event %d; everybody has to log in again", head.Seq)
}
