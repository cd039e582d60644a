// Package move takes a running installation from one database to another without logging anybody out: every record with
// its version, the log with its id, numbers and tags. Servers go on using the source until the last step, which keeps
// them waiting for some seconds; there is no moment in which something that was ended is accepted.
//
// It works in phases that each database remembers: copy while the source notes what changes, carry the changes over,
// fence the source, compare both, close the source and outlast every lease, open the target. A move that was killed
// anywhere is run again and comes to the same end.
//
// It never writes a row to a database that servers use, never opens the target while a verifier of the source may still
// say yes, and never closes the source before both are the same row by row.
package move

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/store/transfer"
)

// Kind is the audit entry of a move. It is written to the target: the source is closed when there is something to say.
const Kind audit.Kind = "log.moved"

// Options of a move.
type Options struct {
	From transfer.Source
	To   transfer.Target
	// FromSessions is where sessions and their data are, if not in From, and ToSessions where they are to be, if not in
	// To: Redis. nil is the database. An engine without triggers notes no changes, so what is in FromSessions is compared
	// row by row, over and over while servers use it, and once more under the fence.
	FromSessions transfer.Reader
	ToSessions   transfer.Target
	// Names of the two for people and for the marks in the databases; never with a password.
	FromName, ToName string

	// Confirm is asked when everything is copied and before the source is fenced. An error ends the move; it can be run
	// again. nil is consent.
	Confirm func(ctx context.Context) error
	// Progress is called often, from one goroutine at a time. nil is silence.
	Progress func(Progress)
	// Wait waits; nil is a timer. Tests replace it.
	Wait func(ctx context.Context, d time.Duration) error
	// Now is for the marks and the audit entry, which are for people; nil is time.Now.
	Now func() time.Time
}

// Step is what a move does at the moment.
type Step string

// The steps, in order.
const (
	Copying    Step = "copying"     // the source serves
	CatchingUp Step = "catching up" // the source serves
	Ready      Step = "ready"       // the source serves; Confirm is asked
	Fencing    Step = "fencing"     // the source refuses changes from here on
	Comparing  Step = "comparing"
	Closing    Step = "closing" // the source answers nobody from here on
	Outlasting Step = "waiting for leases"
	Opening    Step = "opening"
	Done       Step = "done"
)

// Progress says where a move is.
type Progress struct {
	Step  Step
	Table string // empty where the step is not about one
	Rows  int64  // read so far in this step
	Wrote int64  // written so far in this step: a row that is there already is not written again
}

// Report is what a move did.
type Report struct {
	Tables []TableReport
	Log    string        // id of the log, which both have
	Head   uint64        // its last number
	Lease  time.Duration // of the fleet
	Paused time.Duration // from the fence to the opening; 0 where an earlier run had fenced
	// Already says that everything was done by an earlier run.
	Already bool
}

// TableReport is one table, the same in both databases.
type TableReport struct {
	Name string
	transfer.Digest
}

// Why a move refuses to begin. Nothing was changed then.
var (
	// ErrNotEmpty: the target holds something that this move did not put there.
	ErrNotEmpty = errors.New("the target is not empty")
	// ErrSame: both are one database, or a file that was copied by hand.
	ErrSame = errors.New("the source and the target are the same database")
	// ErrOther: the target is the unfinished copy of another database.
	ErrOther = errors.New("the target is the unfinished copy of another database")
	// ErrUnfinished: the source is itself the unfinished copy of a move.
	ErrUnfinished = errors.New("the source is an unfinished copy: finish the move to it first")
	// ErrGone: the source was moved to another target before.
	ErrGone = errors.New("the source was moved elsewhere before")
	// ErrBusy: changes come faster than they can be carried over.
	ErrBusy = errors.New("changes come faster than they can be carried over")
	// ErrDiffers: both databases were not the same under the fence. The source serves again.
	ErrDiffers = errors.New("the copy differs from the source")
)

// mover is one run.
type mover struct {
	Options
	run      string
	src, dst transfer.Mark
	lanes    []*lane
	// Marks of what is beside the two databases.
	srcSessions, dstSessions transfer.Mark
	at                       Progress
	fenced                   time.Time
	report                   Report
}

// Run moves everything, or goes on with what an earlier run has begun. When it fails before the source was closed, the
// source serves again, also after it had been fenced, unless the process is killed: then it stays fenced until the next
// run or [Undo].
func Run(ctx context.Context, opt Options) (Report, error) {
	m := newMover(opt)
	if err := m.begin(ctx); err != nil {
		return m.report, err
	}
	if m.report.Already {
		return m.report, m.summary(ctx)
	}
	if m.src.Phase != transfer.Moved {
		if err := m.whileServing(ctx); err != nil {
			return m.report, err
		}
		if err := m.switchOver(ctx); err != nil {
			return m.report, errors.Join(err, m.unfence(ctx))
		}
	}
	return m.report, m.finish(ctx)
}

func newMover(opt Options) *mover {
	if opt.Confirm == nil {
		opt.Confirm = func(context.Context) error { return nil }
	}
	if opt.Progress == nil {
		opt.Progress = func(Progress) {}
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Wait == nil {
		opt.Wait = wait
	}
	return &mover{Options: opt, run: rand.Text(), lanes: opt.plan()}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// step begins a step.
func (m *mover) step(s Step) {
	m.at = Progress{Step: s}
	m.Progress(m.at)
}

func (m *mover) progress(table string, rows, wrote int) {
	m.at.Table = table
	m.at.Rows += int64(rows)
	m.at.Wrote += int64(wrote)
	m.Progress(m.at)
}

// mark is a mark of this run.
func (m *mover) mark(p transfer.Phase, log, peer string) transfer.Mark {
	if p == transfer.Open {
		return transfer.Mark{}
	}
	return transfer.Mark{Phase: p, Log: log, Peer: peer, Run: m.run, At: m.Now().UTC().Truncate(time.Microsecond)}
}

// setSource and setTarget move a database on, and remember the mark.
func (m *mover) setSource(ctx context.Context, p transfer.Phase) error {
	to := m.mark(p, m.report.Log, m.ToName)
	if err := m.From.Set(ctx, m.src, to); err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	m.src = to
	return nil
}

func (m *mover) setTarget(ctx context.Context, p transfer.Phase) error {
	to := m.mark(p, m.report.Log, m.FromName)
	if err := m.To.Set(ctx, m.dst, to); err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	m.dst = to
	return nil
}

// whileServing copies everything and carries changes over until there are few, and asks.
func (m *mover) whileServing(ctx context.Context) error {
	m.step(Copying)
	if err := m.copyAll(ctx); err != nil {
		return err
	}
	if err := m.cut(ctx); err != nil {
		return err
	}
	if err := m.catchUp(ctx); err != nil {
		return err
	}
	m.step(Ready)
	if err := m.Confirm(ctx); err != nil {
		return err
	}
	return m.catchUp(ctx)
}

// switchOver stops the source and makes sure that the target is the same.
func (m *mover) switchOver(ctx context.Context) error {
	m.step(Fencing)
	if err := m.setSource(ctx, transfer.Fenced); err != nil {
		return err
	}
	m.fenced = time.Now()
	if _, err := m.drain(ctx); err != nil {
		return err
	}
	if err := m.closeSessions(ctx); err != nil {
		return fmt.Errorf("the sessions of the source: %w", err)
	}
	if err := m.conclude(ctx); err != nil {
		return err
	}
	m.step(Closing)
	return m.setSource(ctx, transfer.Moved)
}

// unfence lets servers go on when the switch did not come to its point of no return.
func (m *mover) unfence(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	now, err := m.From.Mark(ctx)
	if err != nil || now.Phase != transfer.Fenced || now.Run != m.run {
		return err
	}
	m.src = now
	return errors.Join(m.reopenSessions(ctx), m.setSource(ctx, transfer.Tracked))
}

// finish outlasts what the source has promised, and opens the target. The source is closed and stays so.
func (m *mover) finish(ctx context.Context) error {
	m.step(Outlasting)
	if err := m.Wait(ctx, m.report.Lease+m.report.Lease*12/100); err != nil {
		return err
	}
	if m.fenced.IsZero() { // an earlier run closed the source; what it compared is not known here
		if err := m.refill(ctx); err != nil {
			return err
		}
	}
	m.step(Opening)
	if err := m.note(ctx); err != nil {
		return err
	}
	if err := m.openTarget(ctx); err != nil {
		return err
	}
	if !m.fenced.IsZero() {
		m.report.Paused = time.Since(m.fenced)
	}
	m.step(Done)
	return nil
}

// openTarget opens what is beside the target first: servers come when the target itself is open.
func (m *mover) openTarget(ctx context.Context) error {
	if m.ToSessions != nil {
		if err := m.ToSessions.Set(ctx, m.dstSessions, transfer.Mark{}); err != nil {
			return fmt.Errorf("the sessions of the target: %w", err)
		}
		m.dstSessions = transfer.Mark{}
	}
	return m.setTarget(ctx, transfer.Open)
}
