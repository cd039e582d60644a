package move

import (
	"context"
	"fmt"
	"math"

	"github.com/handstamp/handstamp/store/transfer"
)

const (
	pageRows     = 500     // of one page: one transaction at the target
	fewChanges   = 200     // a pass over so few ends catching up: the fence deals with them in a moment
	fewStretches = 20      // so few are compared again under the fence
	maxPasses    = 100_000 // passes of catching up
	changesRows  = 500     // changes that are carried over together
)

// copyAll makes every table of the target what the source's is, page by page. Rows that are there already are read and
// not written: that is how an interrupted copy goes on.
func (m *mover) copyAll(ctx context.Context) error {
	for _, l := range m.lanes {
		if _, err := m.copyStretch(ctx, l, nil, nil); err != nil {
			return fmt.Errorf("copy %s: %w", l.t.Name, err)
		}
	}
	return nil
}

// copyStretch walks both sides in the order of the keys, above after and up to upto. Each page of the source covers some
// keys, and what the target has among them and the source has not is dropped. It says how many rows it wrote or dropped.
func (m *mover) copyStretch(ctx context.Context, l *lane, after, upto transfer.Row) (wrote int, err error) {
	ahead := &cursor{r: l.to, t: l.t, last: after, upto: upto}
	source := &cursor{r: l.from, t: l.t, last: after, upto: upto}
	for {
		page, err := source.take(ctx)
		if err != nil {
			return wrote, err
		}
		var put, drop []transfer.Row
		for _, r := range page {
			gone, same, err := ahead.upTo(ctx, r)
			if err != nil {
				return wrote, err
			}
			drop = append(drop, gone...)
			if !same {
				put = append(put, r)
			}
		}
		if source.over {
			gone, err := ahead.rest(ctx)
			if err != nil {
				return wrote, err
			}
			drop = append(drop, gone...)
		}
		if err := m.write(ctx, l, put, drop); err != nil {
			return wrote, err
		}
		wrote += len(put) + len(drop)
		m.progress(l.t.Name, len(page), len(put)+len(drop))
		if source.over {
			return wrote, nil
		}
	}
}

// write writes in pieces, since a stretch of the target may hold any number of rows to drop.
func (m *mover) write(ctx context.Context, l *lane, put, drop []transfer.Row) error {
	for len(drop) > pageRows {
		if err := l.to.Write(ctx, m.markOf(l), l.t, nil, drop[:pageRows]); err != nil {
			return err
		}
		drop = drop[pageRows:]
	}
	if len(put)+len(drop) == 0 {
		return nil
	}
	return l.to.Write(ctx, m.markOf(l), l.t, put, drop)
}

// cursor reads a table forward, with one page in memory.
type cursor struct {
	r    transfer.Reader
	t    transfer.Table
	page []transfer.Row
	last transfer.Row // the last key that was read
	upto transfer.Row // nil is the end
	over bool         // there are no more pages
}

// take reads the next page.
func (c *cursor) take(ctx context.Context) ([]transfer.Row, error) {
	page, err := c.r.Page(ctx, c.t, c.last, pageRows)
	if err != nil {
		return nil, err
	}
	c.over = len(page) < pageRows
	for i, r := range page {
		if c.upto != nil && transfer.Compare(c.t, r, c.upto) > 0 {
			page, c.over = page[:i], true
			break
		}
	}
	if len(page) > 0 {
		c.last = c.t.KeyOf(page[len(page)-1])
	}
	return page, nil
}

// next is the first row that was not passed, or nil at the end.
func (c *cursor) next(ctx context.Context) (transfer.Row, error) {
	if len(c.page) == 0 && !c.over {
		page, err := c.take(ctx)
		if err != nil {
			return nil, err
		}
		c.page = page
	}
	if len(c.page) == 0 {
		return nil, nil
	}
	return c.page[0], nil
}

// upTo passes all rows up to the key of a row, and returns the keys of those before it and whether it is there and the
// same.
func (c *cursor) upTo(ctx context.Context, r transfer.Row) (gone []transfer.Row, same bool, err error) {
	for {
		have, err := c.next(ctx)
		if err != nil || have == nil {
			return gone, false, err
		}
		switch order := transfer.Compare(c.t, have, r); {
		case order > 0:
			return gone, false, nil
		case order == 0:
			c.page = c.page[1:]
			return gone, transfer.Equal(have, r), nil
		default:
			gone = append(gone, c.t.KeyOf(have))
			c.page = c.page[1:]
		}
	}
}

// rest passes everything that is left and returns the keys.
func (c *cursor) rest(ctx context.Context) (gone []transfer.Row, err error) {
	for {
		have, err := c.next(ctx)
		if err != nil || have == nil {
			return gone, err
		}
		gone = append(gone, c.t.KeyOf(have))
		c.page = c.page[1:]
	}
}

// catchUp carries changes over until a pass finds few of them, and compares what is not compared yet, until little of
// that is left, or not less than the round before.
func (m *mover) catchUp(ctx context.Context) error {
	m.step(CatchingUp)
	if err := m.copyBeside(ctx); err != nil {
		return err
	}
	for before := math.MaxInt; ; {
		if err := m.follow(ctx); err != nil {
			return err
		}
		stale := m.stale()
		if stale <= fewStretches || stale > before*3/4 {
			return nil
		}
		before = stale
		if err := m.compare(ctx, false); err != nil {
			return err
		}
	}
}

// follow carries changes over until a pass finds few of them.
func (m *mover) follow(ctx context.Context) error {
	for range maxPasses {
		n, err := m.pass(ctx)
		if err != nil {
			return err
		}
		if n <= fewChanges {
			return nil
		}
	}
	return ErrBusy
}

// drain carries over all there are. Under a fence they come to an end.
func (m *mover) drain(ctx context.Context) (int, error) {
	for n := 0; ; {
		k, err := m.pass(ctx)
		if n += k; err != nil || k == 0 {
			return n, err
		}
	}
}

// pass carries over the oldest changes, and says how many there were. A row is read after its change was, so that it is
// the row of that change or of a later one, which is noted as well; the change is forgotten when the target has the row.
func (m *mover) pass(ctx context.Context) (int, error) {
	changes, err := m.From.Changes(ctx, changesRows)
	if err != nil || len(changes) == 0 {
		return 0, err
	}
	for _, l := range m.lanes {
		if l.beside {
			continue
		}
		var keys []transfer.Row
		seen := map[string]bool{}
		for _, c := range changes {
			if c.Table != l.t.Name || seen[c.Key.ID()] {
				continue
			}
			seen[c.Key.ID()] = true
			keys = append(keys, c.Key)
			l.touch(c.Key)
		}
		if err := m.carry(ctx, l, keys); err != nil {
			return 0, fmt.Errorf("carry changes of %s: %w", l.t.Name, err)
		}
	}
	return len(changes), m.From.Forget(ctx, changes)
}

// carry makes rows of the target what the source's are now.
func (m *mover) carry(ctx context.Context, l *lane, keys []transfer.Row) error {
	if len(keys) == 0 {
		return nil
	}
	rows, err := l.from.Rows(ctx, l.t, keys)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, r := range rows {
		there[l.t.KeyOf(r).ID()] = true
	}
	var drop []transfer.Row
	for _, k := range keys {
		if !there[k.ID()] {
			drop = append(drop, k)
		}
	}
	m.progress(l.t.Name, len(keys), len(rows)+len(drop))
	return l.to.Write(ctx, m.markOf(l), l.t, rows, drop)
}
