package handstamp

import (
	"context"
	"sync/atomic"

	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
)

// roleTable is this process's copy of what each role grants. It is a copy like every other: it says as of which number
// it was read, and is not used for a role that an event has changed since.
type roleTable struct {
	fixed  permission.Table // from Options.Roles; then nothing is read and nothing changes
	weight int              // of all that fixed grants
	copy   atomic.Pointer[roleCopy]
}

type roleCopy struct {
	table      permission.Table
	asOf       uint64
	generation uint64 // of the log at the read: after a reset the numbers are those of another log
}

func newRoleTable(fixed permission.Table) *roleTable {
	t := &roleTable{fixed: fixed}
	if fixed != nil {
		t.copy.Store(&roleCopy{table: fixed})
		for _, granted := range fixed {
			t.weight += weight(granted.List())
		}
	}
	return t
}

func (t *roleTable) load(ctx context.Context, s Store, log *revoke.Follower) error {
	if t.fixed != nil {
		return nil
	}
	generation := log.View().Generation // before the read, so that a reset in between drops what was read
	table, head, err := s.Roles(ctx)
	if err != nil {
		return err
	}
	t.copy.Store(&roleCopy{table: table, asOf: head, generation: generation})
	return nil
}

// drop forgets the copy, after a reset of the log.
func (t *roleTable) drop() {
	if t.fixed == nil {
		t.copy.Store(nil)
	}
}

// current returns the copy if it may be used for these roles; otherwise the store has to be asked. Events are looked at
// first: what is forgotten after that look makes the copy too old, and not unchanged.
func (t *roleTable) current(log *revoke.Follower, now revoke.Instant, roles []string) (*roleCopy, bool) {
	c := t.copy.Load()
	switch {
	case c == nil:
		return nil, false
	case t.fixed != nil:
		return c, true
	case log.RolesChanged(roles, c.asOf):
		return nil, false
	}
	verdict := log.Check(now, revoke.Query{AsOf: c.asOf})
	return c, verdict.Fresh && verdict.Generation == c.generation
}

// of returns the definitions that came with a record.
func (t *roleTable) of(f Found) permission.Table {
	if t.fixed != nil {
		return t.fixed
	}
	return f.Roles
}
