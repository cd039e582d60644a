package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
)

// maxEntries is the largest page of the audit log.
const maxEntries = 1000

// audits is the audit log.
type audits struct{ s *Store }

// List returns entries, newest first.
func (v audits) List(ctx context.Context, f audit.Filter) ([]audit.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list audit entries: %w", err)
	}
	limit := f.Limit
	if limit < 1 || limit > maxEntries {
		limit = maxEntries
	}
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	all := v.s.data.audits
	if f.Before != "" {
		at, _ := slices.BinarySearchFunc(all, f.Before, func(e audit.Event, i id.Audit) int { return compareIDs(e.ID, i) })
		all = all[:at]
	}
	page := []audit.Event{}
	for _, e := range slices.Backward(all) {
		if len(page) == limit {
			break
		}
		if f.Kind != "" && e.Kind != f.Kind || f.User != "" && e.Actor != string(f.User) && e.Target != string(f.User) {
			continue
		}
		page = append(page, ownedEntry(e))
	}
	return page, nil
}

// Sweep deletes old entries, oldest ids first.
func (v audits) Sweep(ctx context.Context, before time.Time, limit int) (int, error) {
	if err := v.s.turn.take(ctx); err != nil {
		return 0, fmt.Errorf("sweep audit entries: %w", err)
	}
	defer v.s.turn.give()
	n := 0
	old := func(e audit.Event) bool {
		if n < limit && e.At.Before(before) {
			n++
			return true
		}
		return false
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	v.s.data.audits = slices.DeleteFunc(v.s.data.audits, old)
	return n, nil
}

// forgetAudits takes the addresses of deleted users out of their entries. It goes through the whole log, which is in memory.
func (d *data) forgetAudits(gone []handstamp.UserID) {
	if len(gone) == 0 {
		return
	}
	for i := range d.audits {
		if e := &d.audits[i]; slices.Contains(gone, handstamp.UserID(e.Whose())) {
			e.IP, e.UserAgent = "", ""
		}
	}
}

func ownedEntry(e audit.Event) audit.Event {
	e.Detail = maps.Clone(e.Detail)
	return e
}
