package move

import (
	"context"
	"errors"
	"fmt"

	"github.com/handstamp/handstamp/store/transfer"
)

// Why Undo changes nothing.
var (
	// ErrUsed: the target was opened and something has changed there since. What was ended there would live again at the
	// source. The way back is a move in the other direction, into a new database.
	ErrUsed = errors.New("the target was used since the move")
	// ErrNothing: no move of this source was begun.
	ErrNothing = errors.New("there is nothing to undo: the source is open")
	// ErrTarget: the source is closed, so it must be seen whether the target is open: Options.To is needed.
	ErrTarget = errors.New("the source is closed: the target is needed too")
)

// Undo gives the source back to its servers. Before the target was opened that is always safe: nobody has used it. After
// that it is safe only while the target is still what it was at its opening; otherwise Undo answers ErrUsed and changes
// nothing. The target is left closed, as an unfinished copy: a later move may go on with it.
//
// Options.To may be nil where the source was not closed yet.
func Undo(ctx context.Context, opt Options) error {
	m := newMover(opt)
	now, err := m.From.Mark(ctx)
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	m.src = now
	switch {
	case now.Phase == transfer.Open:
		return ErrNothing
	case now.Phase != transfer.Moved:
		return m.reopen(ctx)
	case m.To == nil:
		return ErrTarget
	}
	s, err := Look(ctx, m.From, m.To)
	if err != nil {
		return err
	}
	if s.Refused != nil {
		return s.Refused
	}
	m.src, m.dst = s.From, s.To
	m.report.Log, m.report.Head, m.report.Lease = s.Log, s.Head, s.Lease
	// The target first: from here on neither a server nor another run can use it, and then it stands still.
	if err := m.setTarget(ctx, transfer.Filling); err != nil {
		return err
	}
	if err := m.takeSessions(ctx); err != nil {
		if errors.Is(err, transfer.ErrChanges) {
			err = fmt.Errorf("%w: the sessions are not what they were", ErrUsed)
		}
		if s.Done {
			err = errors.Join(err, m.setTarget(context.WithoutCancel(ctx), transfer.Open))
		}
		return err
	}
	if s.Done {
		if err := m.abandon(ctx); err != nil {
			return errors.Join(err, m.openTarget(context.WithoutCancel(ctx)))
		}
	}
	return m.reopen(ctx)
}

// reopen lets servers in again; the source itself comes last, since an open one is nothing to undo.
func (m *mover) reopen(ctx context.Context) error {
	if err := m.reopenSessions(ctx); err != nil {
		return fmt.Errorf("the sessions: %w", err)
	}
	return m.setSource(ctx, transfer.Open)
}

// abandon makes sure that nobody has used the target, and that nobody who runs on it may say yes any more.
func (m *mover) abandon(ctx context.Context) error {
	m.step(Comparing)
	for _, l := range m.lanes {
		if err := m.unused(ctx, l); err != nil {
			return fmt.Errorf("compare %s: %w", l.t.Name, err)
		}
	}
	m.step(Outlasting)
	return m.Wait(ctx, m.report.Lease+m.report.Lease*12/100)
}

// unused compares a table, but for the audit entry of the move itself.
func (m *mover) unused(ctx context.Context, l *lane) error {
	source := &cursor{r: l.from, t: l.t}
	target := &cursor{r: l.to, t: l.t}
	var extra []transfer.Row
	for !source.over {
		page, err := source.take(ctx)
		if err != nil {
			return err
		}
		for _, r := range page {
			more, same, err := target.upTo(ctx, r)
			if err != nil {
				return err
			}
			if !same {
				return ErrUsed
			}
			extra = append(extra, more...)
		}
		m.progress(l.t.Name, len(page), 0)
	}
	more, err := target.rest(ctx)
	if err != nil {
		return err
	}
	return m.own(ctx, l.t, append(extra, more...))
}

// own answers ErrUsed unless the rows are the audit entry of a move, or none.
func (m *mover) own(ctx context.Context, t transfer.Table, keys []transfer.Row) error {
	if len(keys) == 0 {
		return nil
	}
	if t.Name != transfer.TableAudit || len(keys) > 1 {
		return ErrUsed
	}
	rows, err := m.To.Rows(ctx, t, keys)
	if err != nil {
		return err
	}
	for i, c := range t.Columns {
		if c.Name == "kind" && (len(rows) != 1 || rows[0][i] != string(Kind)) {
			return ErrUsed
		}
	}
	return nil
}
