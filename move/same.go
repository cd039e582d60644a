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

// compared is what is known of all tables.
type compared map[string][]*stretch

// touch notes that a row has changed.
func (c compared) touch(t transfer.Table, key transfer.Row) {
	all := c[t.Name]
	at, _ := slices.BinarySearchFunc(all, key, func(s *stretch, key transfer.Row) int {
		if s.upto == nil {
			return 1
		}
		return transfer.Compare(t, s.upto, key)
	})
	if at < len(all) {
		all[at].stale = true
	}
}

func (c compared) stale() (n int) {
	for _, all := range c {
		for _, s := range all {
			if s.stale {
				n++
			}
		}
	}
	return n
}

// cut divides every table into stretches of one page of the source, none of which was compared yet.
func (m *mover) cut(ctx context.Context) error {
	m.same = compared{}
	for _, t := range transfer.Tables() {
		var after transfer.Row
		for {
			page, err := m.From.Page(ctx, t, after, pageRows)
			if err != nil {
				return fmt.Errorf("read %s: %w", t.Name, err)
			}
			if len(page) < pageRows {
				m.same[t.Name] = append(m.same[t.Name], &stretch{after: after, stale: true})
				break
			}
			last := slices.Clone(t.KeyOf(page[len(page)-1]))
			m.same[t.Name] = append(m.same[t.Name], &stretch{after: after, upto: last, stale: true})
			after = last
		}
	}
	return nil
}

// compare reads every stretch that is stale on both sides. Those that differ stay stale. With mend, rows of such a
// stretch are compared one by one and copied, and what still differs then is an error: nothing may change meanwhile.
func (m *mover) compare(ctx context.Context, mend bool) error {
	for _, t := range transfer.Tables() {
		for _, s := range m.same[t.Name] {
			if !s.stale {
				continue
			}
			equal, err := m.compareOne(ctx, t, s)
			if err == nil && !equal && mend {
				if err = m.copyStretch(ctx, t, s.after, s.upto); err == nil {
					equal, err = m.compareOne(ctx, t, s)
				}
			}
			if err != nil {
				return fmt.Errorf("compare %s: %w", t.Name, err)
			}
			if !equal && mend {
				return fmt.Errorf("%w in %s", ErrDiffers, t.Name)
			}
		}
	}
	return nil
}

// compareOne reads both sides at the same time.
func (m *mover) compareOne(ctx context.Context, t transfer.Table, s *stretch) (equal bool, err error) {
	var wg sync.WaitGroup
	var target transfer.Digest
	var failed error
	wg.Go(func() { target, failed = transfer.SumOf(ctx, m.To, t, s.after, s.upto) })
	source, err := transfer.SumOf(ctx, m.From, t, s.after, s.upto)
	wg.Wait()
	if err = errors.Join(err, failed); err != nil {
		return false, err
	}
	m.progress(t.Name, int(source.Rows), 0)
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
	for _, t := range transfer.Tables() {
		r := TableReport{Name: t.Name}
		for _, s := range m.same[t.Name] {
			r.Digest = r.Digest.And(s.same)
		}
		m.report.Tables = append(m.report.Tables, r)
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
