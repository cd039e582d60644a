package move

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/store/transfer"
)

// Standing is what two databases say of a move between them.
type Standing struct {
	From, To transfer.Mark
	Log      string        // id of the source's log
	Head     uint64        // its last number
	Lease    time.Duration // of its fleet
	Done     bool          // the source was moved to this target, and the target is open
	// Refused says why a move cannot begin or go on; nil if it can.
	Refused error
}

// LookAt is Look where there is no target yet.
func LookAt(ctx context.Context, from transfer.Reader) (Standing, error) {
	s, err := sourceOf(ctx, from)
	if err == nil && s.Refused == nil && s.From.Phase == transfer.Moved {
		s.Refused = fmt.Errorf("%w: to %s", ErrGone, s.From.Peer)
	}
	return s, err
}

func sourceOf(ctx context.Context, from transfer.Reader) (s Standing, err error) {
	if s.From, err = from.Mark(ctx); err != nil {
		return s, fmt.Errorf("the source: %w", err)
	}
	log, err := logOf(ctx, from)
	if err != nil {
		return s, fmt.Errorf("the source: %w", err)
	}
	s.Log, s.Head, s.Lease = log.id, log.head, log.lease
	if s.From.Phase == transfer.Filling {
		s.Refused = ErrUnfinished
	}
	return s, nil
}

// Count says how many rows there are of each kind, and leaves the sums out. Sessions is where the sessions are if they are
// not with the rest, else nil.
func Count(ctx context.Context, from, sessions transfer.Reader) ([]TableReport, error) {
	var all []TableReport
	for _, t := range transfer.Tables() {
		r := TableReport{Name: t.Name}
		c := cursor{r: from, t: t}
		if beside := t.Name == transfer.Sessions().Name || t.Name == transfer.Data().Name; beside && sessions != nil {
			c.r = sessions
		}
		for {
			row, err := c.next(ctx)
			if err != nil {
				return nil, fmt.Errorf("count %s: %w", t.Name, err)
			}
			if row == nil {
				break
			}
			r.Rows += int64(len(c.page))
			c.page = nil
		}
		all = append(all, r)
	}
	return all, nil
}

// Look reads where two databases stand, and changes nothing.
func Look(ctx context.Context, from transfer.Reader, to transfer.Reader) (Standing, error) {
	s, err := sourceOf(ctx, from)
	if err != nil || s.Refused != nil {
		return s, err
	}
	if s.To, err = to.Mark(ctx); err != nil {
		return s, fmt.Errorf("the target: %w", err)
	}
	switch s.To.Phase {
	case transfer.Filling:
		if s.To.Log != s.Log {
			s.Refused = ErrOther
		}
		return s, nil
	case transfer.Open:
	default:
		s.Refused = fmt.Errorf("%w: it is the source of another move", ErrNotEmpty)
		return s, nil
	}
	target, err := logOf(ctx, to)
	if err != nil {
		return s, fmt.Errorf("the target: %w", err)
	}
	if s.From.Phase == transfer.Moved {
		if s.Done = target.id == s.Log; !s.Done {
			s.Refused = fmt.Errorf("%w: to %s", ErrGone, s.From.Peer)
		}
		return s, nil
	}
	if target.id == s.Log {
		s.Refused = ErrSame
		return s, nil
	}
	name, err := filled(ctx, to, target)
	if err != nil {
		return s, fmt.Errorf("the target: %w", err)
	}
	if name != "" {
		s.Refused = fmt.Errorf("%w: there is something in %s; move into a new database", ErrNotEmpty, name)
	}
	return s, nil
}

// LookBeside adds to what [Look] or [LookAt] said whether the sessions can be moved to a place beside the target. It
// changes nothing.
func LookBeside(ctx context.Context, s Standing, sessions transfer.Reader) (Standing, error) {
	if s.Refused != nil || s.Done {
		return s, nil
	}
	mark, err := sessions.Mark(ctx)
	if err != nil {
		return s, fmt.Errorf("the sessions: %w", err)
	}
	switch {
	case mark.Phase == transfer.Filling && mark.Log != s.Log:
		s.Refused = fmt.Errorf("the sessions: %w", ErrOther)
	case mark.Phase == transfer.Open && s.To.Phase == transfer.Open: // otherwise they may be what an earlier run put there
		for _, t := range []transfer.Table{transfer.Sessions(), transfer.Data()} {
			rows, err := sessions.Page(ctx, t, nil, 1)
			if err != nil {
				return s, fmt.Errorf("the sessions: %w", err)
			}
			if len(rows) > 0 {
				s.Refused = fmt.Errorf("the sessions: %w: there is something in %s; move into an empty place, or name another prefix", ErrNotEmpty, t.Name)
				break
			}
		}
	}
	return s, nil
}

// logRow is what a move needs of the row of the log.
type logRow struct {
	id    string
	head  uint64
	lease time.Duration
}

var errNoLog = errors.New("the log's row is missing")

func logOf(ctx context.Context, r transfer.Reader) (logRow, error) {
	rows, err := r.Page(ctx, transfer.Log(), nil, 2)
	if err != nil {
		return logRow{}, err
	}
	if len(rows) != 1 {
		return logRow{}, errNoLog
	}
	var l logRow
	for i, c := range transfer.Log().Columns {
		switch v := rows[0][i]; c.Name {
		case "log":
			l.id, _ = v.(string)
		case "head":
			n, _ := v.(int64)
			l.head = uint64(n)
		case "lease":
			n, _ := v.(int64)
			l.lease = time.Duration(n) * time.Microsecond
		}
	}
	return l, nil
}

// filled names a table of an open database that says that somebody has used it. A new one has a log without an event,
// and roles.
func filled(ctx context.Context, r transfer.Reader, log logRow) (string, error) {
	if log.head != 0 {
		return transfer.TableLog, nil
	}
	for _, t := range transfer.Tables() {
		if t.Name == transfer.TableLog || t.Name == transfer.TableRoles {
			continue
		}
		rows, err := r.Page(ctx, t, nil, 1)
		if err != nil {
			return "", err
		}
		if len(rows) > 0 {
			return t.Name, nil
		}
	}
	return "", nil
}

// begin looks at both databases, and closes the target to everybody but this run.
func (m *mover) begin(ctx context.Context) error {
	s, err := Look(ctx, m.From, m.To)
	if err == nil && m.ToSessions != nil {
		s, err = LookBeside(ctx, s, m.ToSessions)
	}
	if err != nil {
		return err
	}
	if s.Refused != nil {
		return s.Refused
	}
	m.src, m.dst = s.From, s.To
	m.report.Log, m.report.Head, m.report.Lease, m.report.Already = s.Log, s.Head, s.Lease, s.Done
	if s.Done {
		return nil
	}
	if err := m.takeSessions(ctx); err != nil {
		return fmt.Errorf("the sessions: %w", err)
	}
	if err := m.setTarget(ctx, transfer.Filling); err != nil {
		return err
	}
	// The source gets this run's mark too, so that an earlier run, or an Undo, that still lives stops at its next step.
	// Fenced becomes Tracked: servers need not wait for what comes now.
	if s.From.Phase == transfer.Moved {
		return m.setSource(ctx, transfer.Moved)
	}
	return errors.Join(m.setSource(ctx, transfer.Tracked), m.reopenSessions(ctx))
}

// summary says what there is after a move that was done before.
func (m *mover) summary(ctx context.Context) error {
	m.report.Tables = nil
	for _, l := range m.lanes {
		if l.name == "" {
			continue
		}
		d, err := transfer.Sum(ctx, l.to, l.t)
		if err != nil {
			return err
		}
		m.report.Tables = append(m.report.Tables, TableReport{l.name, d})
	}
	return nil
}
