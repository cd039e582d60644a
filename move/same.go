package move

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/store/transfer"
)

// Comparing everything takes as long as reading everything, which is too long for a fence. So it is done before, in
// stretches of each table, while servers change some of them: each change that is noted says which stretch is to be
// compared again. What is left for the fence is what changed in the last moments.

// stretch is the part of a table from one key, which is not in it, to another, which is.
type stretch struct {
	after, upto transfer.Row // nil is the beginning and the end
	same        transfer.Digest
	stale       bool
}

// touch notes that a row has changed.
func (l *lane) touch(key transfer.Row) {
	at, _ := slices.BinarySearchFunc(l.stretches, key, func(s *stretch, key transfer.Row) int {
		if s.upto == nil {
			return 1
		}
		return transfer.Compare(l.t, s.upto, key)
	})
	if at < len(l.stretches) {
		l.stretches[at].stale = true
	}
}

// stale says how many stretches are to be compared again while servers use the source. What is not tracked never is
// known to be the same before it is closed.
func (m *mover) stale() (n int) {
	for _, l := range m.lanes {
		for _, s := range l.stretches {
			if s.stale && !l.beside {
				n++
			}
		}
	}
	return n
}

// cut divides every table into stretches of one page of the source, none of which was compared yet. What is not tracked
// is one stretch.
func (m *mover) cut(ctx context.Context) error {
	for _, l := range m.lanes {
		l.stretches = nil
		for after := transfer.Row(nil); ; {
			var page []transfer.Row
			if !l.beside {
				var err error
				if page, err = l.from.Page(ctx, l.t, after, pageRows); err != nil {
					return fmt.Errorf("read %s: %w", l.t.Name, err)
				}
			}
			if len(page) < pageRows {
				l.stretches = append(l.stretches, &stretch{after: after, stale: true})
				break
			}
			last := slices.Clone(l.t.KeyOf(page[len(page)-1]))
			l.stretches = append(l.stretches, &stretch{after: after, upto: last, stale: true})
			after = last
		}
	}
	return nil
}

// compare reads every stretch that is stale on both sides. Those that differ stay stale. With mend, rows of such a
// stretch are compared one by one and copied, and what still differs then is an error: nothing may change meanwhile.
func (m *mover) compare(ctx context.Context, mend bool) error {
	for _, l := range m.lanes {
		for _, s := range l.stretches {
			if !s.stale || l.beside && !mend {
				continue
			}
			equal, err := m.compareOne(ctx, l, s)
			if err == nil && !equal && mend {
				if _, err = m.copyStretch(ctx, l, s.after, s.upto); err == nil {
					equal, err = m.compareOne(ctx, l, s)
				}
			}
			if err != nil {
				return fmt.Errorf("compare %s: %w", l.t.Name, err)
			}
			if !equal && mend {
				return fmt.Errorf("%w in %s", ErrDiffers, l.t.Name)
			}
		}
	}
	return nil
}

// compareOne reads both sides at the same time.
func (m *mover) compareOne(ctx context.Context, l *lane, s *stretch) (equal bool, err error) {
	var wg sync.WaitGroup
	var target transfer.Digest
	var failed error
	wg.Go(func() { target, failed = transfer.SumOf(ctx, l.to, l.t, s.after, s.upto) })
	source, err := transfer.SumOf(ctx, l.from, l.t, s.after, s.upto)
	wg.Wait()
	if err = errors.Join(err, failed); err != nil {
		return false, err
	}
	m.progress(l.t.Name, int(source.Rows), 0)
	s.same, s.stale = source, source != target
	return !s.stale, nil
}

// conclude compares what is left of a source that does not change any more, mends what differs, and adds everything up.
func (m *mover) conclude(ctx context.Context) error {
	m.step(Comparing)
	if err := m.compare(ctx, true); err != nil {
		return err
	}
	m.report.Tables = nil
	for _, l := range m.lanes {
		r := TableReport{Name: l.name}
		for _, s := range l.stretches {
			r.Digest = r.Digest.And(s.same)
		}
		if l.name != "" {
			m.report.Tables = append(m.report.Tables, r)
		}
	}
	log, err := logOf(ctx, m.From)
	m.report.Head = log.head
	return err
}

// refill is for a run that finds the source closed by an earlier one. Nothing can have changed there since, so that the
// copy is complete; it is compared all the same.
func (m *mover) refill(ctx context.Context) error {
	m.step(Copying)
	if err := m.copyAll(ctx); err != nil {
		return err
	}
	if err := m.cut(ctx); err != nil {
		return err
	}
	return m.conclude(ctx)
}

// note writes the audit entry. It is the only row that the target has and the source has not; a run that is killed
// after it and before the opening drops it with the next copy and writes it again.
func (m *mover) note(ctx context.Context) error {
	now := m.dst.At
	var audits transfer.Table
	for _, t := range transfer.Tables() {
		if t.Name == transfer.TableAudit {
			audits = t
		}
	}
	detail := transfer.ObjectText(map[string]string{"from": m.FromName, "to": m.ToName, "head": fmt.Sprint(m.report.Head)})
	values := map[string]any{
		"id": string(id.NewAudit(now)), "at": now.UnixMicro(), "kind": string(Kind), "actor": "cli", "detail": detail,
	}
	row := make(transfer.Row, len(audits.Columns))
	for i, c := range audits.Columns {
		row[i] = ""
		if v, ok := values[c.Name]; ok {
			row[i] = v
		}
	}
	return m.To.Write(ctx, m.dst, audits, []transfer.Row{row}, nil)
}
