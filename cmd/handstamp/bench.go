package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/handstamp/handstamp/internal/config"
)

// benchCmd is "handstamp bench".
type benchCmd struct {
	What        string        `arg:"" optional:"" help:"check, login, refresh or hash; all four without a name."`
	For         time.Duration `default:"2s" help:"How long each measurement takes, 100ms to 10m. Before it, it is warmed up for a fifth of that."`
	Concurrency *int          `placeholder:"N" help:"How many calls are under way at a time, 1 to 512; default: as many as there are cores."`
	Target      time.Duration `default:"100ms" help:"How long a hash may take that bench hash proposes, 10ms to 10s."`
	MaxMemory   *int          `placeholder:"MIB" help:"How much memory the hashes at once may take that bench hash tries, in MiB, 64 to 1,048,576; default: 64 for each core, at least 1,024."`
	Stores      bool          `help:"Measure the stores of the configuration. The database must be made for this: no account, no session, and no server was ever started on it."`
	JSON        bool          `name:"json" help:"Print one JSON document."`
}

// Help explains the measurement. It is shown below the flags.
func (benchCmd) Help() string {
	return `Measures how much this machine does, with the configuration as it is: password hashes, checks, logins and refreshes in a second, and how long each takes. Without a name it takes about a minute.

    handstamp bench
    handstamp bench hash --target 200ms
    handstamp bench check --stores --database postgres://handstamp@db/bench

check: from memory, as nearly all are, and by a look-up (fresh=true). login: with a password; the hash is most of it. refresh: each with the token that the one before gave. Each in the process, as a Go program asks, and over HTTP with the server's own handler, as others do.

hash: at the configured costs of argon2id, then at others, and proposes the strongest ones whose hash takes no longer than --target while password.max_concurrent of them run. 100 ms are not noticed by who logs in, and still leave ten logins a second to each core; a guesser with the same machine gets as many. Nothing weaker than the recommendation of OWASP is proposed.

Unless --stores, the store is SQLite in a new directory in data_dir, so on its disk, which is removed at the end; the configured database is not opened. With --stores the accounts that are made are deleted at the end. What stays in the database are ended sessions, the ids of the deleted users, counters of logins and entries of the audit log: drop it when you are done. The measurement ends when another process begins to use it.

The load stays on this machine. Client and server share its cores here, so HTTP does more where they do not; TLS, a proxy and a network do the opposite.

Exit codes: 0 measured, 1 it failed or calls failed, 2 wrong use.`
}

// benchNames are what can be measured, in the order in which it is.
func benchNames() []string { return []string{"hash", "check", "login", "refresh"} }

// bench is one run of the command.
type bench struct {
	opt    benchCmd
	atOnce int // calls under way at a time
	app    *app
	cfg    *config.Config
	rig    *rig // nil where only hashes are measured
	bar    *benchBar
	stop   context.CancelCauseFunc
	report benchReport
}

// Run measures.
func (c *benchCmd) Run(ctx context.Context, a *app) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	cfg, _, err := a.settings()
	if err != nil {
		return err
	}
	names := benchNames()
	if c.What != "" {
		names = []string{c.What}
	}
	b := &bench{opt: *c, atOnce: *c.Concurrency, app: a, cfg: cfg, bar: newBenchBar(a.stderr)}
	if !refreshing(offered(cfg)) {
		if c.What == "refresh" {
			return usage("%v", errNoRefresh)
		}
		if c.What == "" {
			names = slices.DeleteFunc(names, func(name string) bool { return name == "refresh" })
			b.report.note("refresh was left out: %v", errNoRefresh)
		}
	}
	if slices.Contains(names, "hash") {
		if _, err := b.planHashes(); err != nil {
			return err
		}
	}
	defer releaseLater(ctx, a.release)()
	ctx, b.stop = context.WithCancelCause(ctx)
	defer b.stop(nil)
	defer b.bar.hide()
	if c.What != "hash" {
		b.rig = newRig()
		defer func() {
			b.bar.draw("cleaning up")
			err = cleaned(err, b.rig.end(ctx))
		}()
		b.bar.draw("opening the store")
		if err := b.openRig(ctx, b.rig); err != nil {
			return interrupted(ctx, err)
		}
	}
	return b.run(ctx, names)
}

// patience is how long a measurement has to clean up before a signal ends the program.
const patience = 3 * time.Second

// releaseLater lets the first signal end the measurement, and a later one the program. Not one that comes with the first:
// some senders signal a process and its group, and what was made is to be removed.
func releaseLater(ctx context.Context, release func()) (stop func() bool) {
	return context.AfterFunc(ctx, func() { time.AfterFunc(patience, release) })
}

// errTaken says that another process began to use the database that is measured.
var errTaken = errors.New("another process began to use it")

// interrupted is why a measurement ended: since somebody else uses the database, by a signal, or by its own error.
func interrupted(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTaken):
		return cause
	case cause != nil:
		return context.Canceled
	}
	return err
}

// cleaned adds what could not be cleaned up to how a measurement ended.
func cleaned(err, left error) error {
	if left == nil {
		return err
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("it was interrupted") // of an error that is Canceled nothing else is printed
	}
	return errors.Join(err, left)
}

// The bounds of what can be asked for.
const (
	leastFor, mostFor       = 100 * time.Millisecond, 10 * time.Minute
	leastTarget, mostTarget = 10 * time.Millisecond, 10 * time.Second
	mostConcurrency         = 512
	leastMemory, mostMemory = 64, 1 << 20 // MiB
)

// check finds wrong use, and fills in what depends on the machine.
func (c *benchCmd) check() error {
	if c.Concurrency == nil {
		c.Concurrency = new(min(runtime.GOMAXPROCS(0), mostConcurrency))
	}
	if c.MaxMemory == nil {
		c.MaxMemory = new(min(max(1024, 64*runtime.GOMAXPROCS(0)), mostMemory))
	}
	switch {
	case c.What != "" && !slices.Contains(benchNames(), c.What):
		return usage("%q is nothing that bench measures: name check, login, refresh or hash, or none for all four", short(c.What))
	case c.For < leastFor || c.For > mostFor:
		return usage("--for is 100ms to 10m")
	case *c.Concurrency < 1 || *c.Concurrency > mostConcurrency:
		return usage("--concurrency is 1 to %d", mostConcurrency)
	case c.Target < leastTarget || c.Target > mostTarget:
		return usage("--target is 10ms to 10s")
	case *c.MaxMemory < leastMemory || *c.MaxMemory > mostMemory:
		return usage("--max-memory is 64 to 1,048,576 MiB")
	}
	return nil
}

// run measures one after the other, and says what came of it.
func (b *bench) run(ctx context.Context, names []string) error {
	b.report.head(b)
	if err := b.print(b.report.top); err != nil {
		return err
	}
	for _, name := range names {
		if err := b.one(ctx, name); err != nil {
			return interrupted(ctx, err)
		}
	}
	b.bar.hide()
	if b.opt.JSON {
		if err := b.app.printJSON(b.report.document(b.opt.Target)); err != nil {
			return err
		}
	}
	return b.report.failed()
}

// one measures what has a name.
func (b *bench) one(ctx context.Context, name string) error {
	modes := offered(b.cfg)
	switch name {
	case "hash":
		h, err := b.hash(ctx)
		if err != nil {
			return err
		}
		b.report.hash = h
		return b.print(func(a *app) error { return b.report.printHash(a, b.opt) })
	case "check":
		for _, mode := range modes {
			steps, err := b.checks(ctx, mode)
			if err != nil {
				return err
			}
			if err := b.steps(ctx, steps); err != nil {
				return err
			}
		}
	case "login":
		if err := b.steps(ctx, b.logins(modes)); err != nil {
			return err
		}
	case "refresh":
		steps, err := b.refreshes(ctx)
		if err != nil {
			return err
		}
		if err := b.steps(ctx, steps); err != nil {
			return err
		}
	}
	return b.print(func(a *app) error { return b.report.printSteps(a, name) })
}

// steps measures steps one after the other.
func (b *bench) steps(ctx context.Context, steps []trial) error {
	for n, s := range steps {
		b.bar.show(fmt.Sprintf("%s (%d of %d)", s, n+1, len(steps)), s.length)
		m, err := measure(ctx, s)
		if err != nil {
			return err
		}
		b.report.steps = append(b.report.steps, m)
	}
	return nil
}

// print writes a part of the answer for people, as soon as it is known.
func (b *bench) print(part func(a *app) error) error {
	if b.opt.JSON {
		return nil
	}
	b.bar.hide()
	return part(b.app)
}
