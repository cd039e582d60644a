package move

import (
	"context"

	"github.com/handstamp/handstamp/store/transfer"
)

// lane is one table on its way from one place to another.
type lane struct {
	name string
	t    transfer.Table
	from transfer.Reader
	to   transfer.Target
	// beside: changes at from are not noted. toBeside: the mark to write with is that of Options.ToSessions.
	beside, toBeside bool

	stretches []*stretch
}

// plan says what goes where. Over sessions in Redis a database has rows of some sessions too, which are good for nothing
// without those in Redis: they go along where sessions stay beside the database, and stay behind where they do not.
func (o Options) plan() []*lane {
	var lanes []*lane
	for _, t := range transfer.Tables() {
		own := &lane{name: t.Name, t: t, from: o.From, to: o.To}
		if t.Name != transfer.TableSessions && t.Name != transfer.TableData || o.FromSessions == nil && o.ToSessions == nil {
			lanes = append(lanes, own)
			continue
		}
		main := &lane{name: t.Name, t: t, from: o.From, to: o.To, beside: o.FromSessions != nil, toBeside: o.ToSessions != nil}
		if main.beside {
			main.from = o.FromSessions
		}
		if main.toBeside {
			main.to = o.ToSessions
		}
		switch {
		case main.beside && main.toBeside:
			own.name += " (database)"
			lanes = append(lanes, own)
		case main.toBeside:
			own.name, own.from, own.beside = "", nothing{}, true // what an earlier run has written there goes
			lanes = append(lanes, own)
		}
		lanes = append(lanes, main)
	}
	return lanes
}

// nothing is a source without rows.
type nothing struct{}

// Mark answers that it is open.
func (nothing) Mark(context.Context) (transfer.Mark, error) { return transfer.Mark{}, nil }

// Page returns no rows.
func (nothing) Page(context.Context, transfer.Table, transfer.Row, int) ([]transfer.Row, error) {
	return nil, nil
}

// Rows returns no rows.
func (nothing) Rows(context.Context, transfer.Table, []transfer.Row) ([]transfer.Row, error) {
	return nil, nil
}

// Set does nothing.
func (nothing) Set(context.Context, transfer.Mark, transfer.Mark) error { return nil }

// markOf is the mark that a lane writes with.
func (m *mover) markOf(l *lane) transfer.Mark {
	if l.toBeside {
		return m.dstSessions
	}
	return m.dst
}

// takeSessions closes the place that sessions are to be in to everybody but this run, and gives the one that they are in
// back to servers if an earlier run has closed it and no more.
func (m *mover) takeSessions(ctx context.Context) (err error) {
	if m.ToSessions != nil {
		if m.dstSessions, err = m.ToSessions.Mark(ctx); err != nil {
			return err
		}
		if m.dstSessions.Phase == transfer.Filling && m.dstSessions.Log != m.report.Log {
			return ErrOther
		}
		to := m.mark(transfer.Filling, m.report.Log, m.FromName)
		if err := m.ToSessions.Set(ctx, m.dstSessions, to); err != nil {
			return err
		}
		m.dstSessions = to
	}
	if m.FromSessions != nil {
		if m.srcSessions, err = m.FromSessions.Mark(ctx); err != nil {
			return err
		}
	}
	return nil
}

// closeSessions keeps servers out of the sessions beside the source, once it is fenced.
func (m *mover) closeSessions(ctx context.Context) error {
	if m.FromSessions == nil {
		return nil
	}
	to := m.mark(transfer.Moved, m.report.Log, m.ToName)
	if err := m.FromSessions.Set(ctx, m.srcSessions, to); err != nil {
		return err
	}
	m.srcSessions = to
	return nil
}

// reopenSessions lets servers in again.
func (m *mover) reopenSessions(ctx context.Context) error {
	if m.FromSessions == nil {
		return nil
	}
	now, err := m.FromSessions.Mark(ctx)
	if err != nil || now.Phase == transfer.Open {
		return err
	}
	if err := m.FromSessions.Set(ctx, now, transfer.Mark{}); err != nil {
		return err
	}
	m.srcSessions = transfer.Mark{}
	return nil
}

// copyBeside compares what is not tracked row by row until there is little to write, or not less than the time before.
func (m *mover) copyBeside(ctx context.Context) error {
	for _, l := range m.lanes {
		if !l.beside {
			continue
		}
		for before := -1; ; {
			wrote, err := m.copyStretch(ctx, l, nil, nil)
			if err != nil {
				return err
			}
			if wrote <= fewChanges || before >= 0 && wrote > before*3/4 {
				break
			}
			before = wrote
		}
	}
	return nil
}
