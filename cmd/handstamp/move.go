package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/move"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/store/transfer"
)

// moveCmd is "handstamp move".
type moveCmd struct {
	From         string `placeholder:"DSN" required:"" help:"The database that servers use now: sqlite, sqlite:PATH or postgres://..."`
	To           string `placeholder:"DSN" help:"The new one. It is made if there is none; it must be empty."`
	FromSessions string `placeholder:"URL" help:"Where sessions are now, if they are not in the database: redis://..."`
	ToSessions   string `placeholder:"URL" help:"Where sessions are to be, if not in the database: redis://..."`
	Check        bool   `help:"Say whether the move can begin and what it would move, and change nothing."`
	Undo         bool   `help:"Take a move back, while nobody has used the target."`
	Yes          bool   `help:"Do not ask before the switch."`
	JSON         bool   `name:"json" help:"Print the report as JSON."`
}

// Help explains the move. It is shown below the flags.
func (moveCmd) Help() string {
	return `Moves everything to another database while servers go on using the old one: accounts, credentials, roles, keys, sessions with their data, the log and the audit log. Nobody is logged out: cookies, tokens and refresh tokens stay good, and what was ended stays ended.

    handstamp move --from sqlite --to postgres://handstamp@db/handstamp --check
    handstamp move --from sqlite --to postgres://handstamp@db/handstamp

It copies first, then carries over what changed meanwhile, and then asks before it switches. The switch takes some seconds: logins, refreshes and changes are answered 503 from its beginning, checks from its end, until a server runs on the new database. Cookies are not touched. So have the servers with the new database ready to start.

Whatever interrupts it, run the same command again: it goes on. Until the switch is done, or as long as no server has used the new database, --undo gives the old one back to its servers. Servers that are left on the old database after the switch answer 503, and none starts on it.

Sessions in Redis: --from-sessions and --to-sessions say where they are and where they are to be. Without both they stay in that Redis, and servers on the new database find them there. While sessions are moved out of Redis, refreshes and look-ups are answered 503 from the beginning of the switch.

Run it with the same version of Handstamp as the servers, and give the new servers the same secret. The lease stays what it is.

Exit codes: 0 moved (with --check: it can begin), 1 it failed or cannot begin, 2 wrong use.`
}

// Run moves.
func (c *moveCmd) Run(ctx context.Context, a *app) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	from, err := a.openPlace(ctx, side{flag: "from", database: c.From, sessions: c.FromSessions})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	to, err := a.openPlace(ctx, side{flag: "to", database: c.To, sessions: c.ToSessions, fill: !c.Check && !c.Undo, look: c.Check})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	bar := newMoveBar(a.stderr, a.now)
	defer bar.hide()
	opt := move.Options{
		From: from.db, FromName: from.name, ToName: to.name, Now: a.now, Progress: bar.update,
		Confirm: func(ctx context.Context) error {
			bar.hide()
			return c.confirm(ctx, a, from.name)
		},
	}
	if to.db != nil {
		opt.To = to.db
	}
	if from.sessions != nil {
		opt.FromSessions = from.sessions
	}
	if to.sessions != nil {
		opt.ToSessions = to.sessions
	}
	switch {
	case c.Check:
		return c.look(ctx, a, from, to)
	case c.Undo:
		err = move.Undo(ctx, opt)
		bar.hide()
		if err == nil {
			err = a.say("%s is open again: start the servers with it, and none with the other one", from.name)
		}
		return c.undone(err)
	}
	// The first signal ends the move where it is, the next one the program.
	defer context.AfterFunc(ctx, a.release)()
	report, err := move.Run(ctx, opt)
	bar.hide()
	return c.tell(ctx, a, from, to, report, err)
}

// check finds wrong use.
func (c *moveCmd) check() error {
	switch {
	case c.To == "" && !c.Undo:
		return usage("--to is missing: name the new database")
	case c.Undo && c.JSON:
		return usage("--undo makes no report: leave --json out")
	case c.Check && c.Undo:
		return usage("--check and --undo do not go together")
	case (c.FromSessions != "" || c.ToSessions != "") && c.To == "":
		return usage("--from-sessions and --to-sessions need --to")
	}
	return nil
}

// confirm asks before the switch.
func (c *moveCmd) confirm(ctx context.Context, a *app, from string) error {
	return a.confirm(ctx, c.Yes, fmt.Sprintf("Everything is copied. Switch now? Servers on %s will answer 503 until servers run on the new database.", from))
}

// look says what a move would do.
func (c *moveCmd) look(ctx context.Context, a *app, from, to openedSide) error {
	s := move.Standing{}
	var err error
	if to.db == nil {
		s, err = move.LookAt(ctx, from.db)
	} else {
		s, err = move.Look(ctx, from.db, to.db)
	}
	if err == nil && to.sessions != nil {
		s, err = move.LookBeside(ctx, s, to.sessions)
		if err == nil && s.Refused == nil && !s.Done {
			if err = to.sessions.Fits(ctx, s.Log); err != nil {
				err = fmt.Errorf("the sessions: %w; nothing was changed", err)
			}
		}
	}
	if err != nil {
		return err
	}
	if s.Refused != nil {
		return fmt.Errorf("%w; nothing was changed", s.Refused)
	}
	var beside transfer.Reader
	if from.sessions != nil {
		beside = from.sessions
	}
	tables, err := move.Count(ctx, from.db, beside)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(moveReport(from, to, move.Report{Log: s.Log, Head: s.Head, Lease: s.Lease, Tables: tables, Already: s.Done}, nil))
	}
	if s.Done {
		return a.say("%s was moved to %s before: there is nothing to do", from.name, to.name)
	}
	if err := a.printTable([]string{"TABLE", "ROWS"}, rowsOf(tables)); err != nil {
		return err
	}
	verb := "can be moved"
	if s.From.Phase != transfer.Open {
		verb = "is being moved, and running the command without --check goes on: it can be moved"
	}
	return a.say("%s %s to %s; the switch takes %v and the time to read everything once", from.name, verb, to.name, outlast(s.Lease))
}

// outlast is how long the switch waits for leases.
func outlast(lease time.Duration) time.Duration {
	return (lease + lease*12/100).Round(10 * time.Millisecond)
}

// undone says why an undo was refused.
func (c *moveCmd) undone(err error) error {
	switch {
	case errors.Is(err, move.ErrUsed):
		return fmt.Errorf("%w: what was ended there would live again. Nothing was changed. To go back, move the other way into a new database", err)
	case errors.Is(err, move.ErrTarget):
		return usage("%s: give --to as well", err)
	}
	return err
}

// tell says what became of a move.
func (c *moveCmd) tell(ctx context.Context, a *app, from, to openedSide, r move.Report, failed error) error {
	if failed != nil {
		failed = c.failed(ctx, from, failed)
	}
	if c.JSON {
		return errors.Join(a.printJSON(moveReport(from, to, r, failed)), failed)
	}
	if failed != nil {
		return failed
	}
	if r.Already {
		return a.say("%s was moved to %s before: there is nothing to do", from.name, to.name)
	}
	if err := a.printTable([]string{"TABLE", "ROWS"}, rowsOf(r.Tables)); err != nil {
		return err
	}
	return a.say("moved %s to %s, both the same row by row. Now start the servers with %s, and stop those that still run on the old one: they answer 503",
		from.name, to.name, to.flags)
}

// failed says where a move that failed has left things.
func (c *moveCmd) failed(ctx context.Context, from openedSide, err error) error {
	for _, why := range []error{move.ErrNotEmpty, move.ErrOther, move.ErrUnfinished, move.ErrGone, move.ErrSame, redis.ErrForeign} {
		if errors.Is(err, why) {
			return fmt.Errorf("%w; nothing was changed", err)
		}
	}
	if ctx.Err() != nil {
		err = errors.New("it was interrupted")
	}
	left := "it is not known where it stands"
	looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if m, unknown := from.db.Mark(looking); unknown == nil {
		switch m.Phase {
		case transfer.Open:
			left = "servers go on with the old database"
		case transfer.Tracked:
			left = "servers go on with the old database, which notes what changes until the move goes on or is undone"
		case transfer.Fenced:
			left = "the old database still refuses changes"
		case transfer.Moved, transfer.Filling:
			left = "the old database is closed, and the new one is not open yet"
		}
	}
	return fmt.Errorf("%w; %s: run the same command again to go on, or with --undo to go back", err, left)
}
