package scenario

import (
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// The primary dies, the standby takes over, and the old primary comes back fenced: as a server that takes no writes.
// A node that is still sent there may answer from memory for a lease, and then it does not know: what such a server says
// of sessions is old news for ever.
func TestStandbyIsPromotedAndTheOldPrimaryReturns(t *testing.T) {
	t.Parallel()
	const lease = 2 * time.Second
	rnd := seeded(t)
	f := newFleet(t, setup{store: onPostgres, nodes: 2, env: map[string]string{"HANDSTAMP_MODES": "session,token,hybrid"}})
	a, b := f.nodes[0], f.nodes[1]
	standby := f.pg.Standby(t)
	f.pg.Configure(t, map[string]string{"synchronous_standby_names": "*"})
	f.pg.CaughtUp(t, standby)

	stop := f.load(rnd, 6)
	wait(500 * time.Millisecond)
	f.pg.Kill()
	standby.Promote(t)
	for _, n := range f.nodes {
		n.sql.SetTarget(standby.Addr())
		n.sql.Reset()
	}
	t.Logf("service was back %v after the promotion", f.recovered().Round(time.Millisecond))
	wait(500 * time.Millisecond)
	stop()

	// Sessions that both servers know: begun on the new primary they would be unknown on the old one.
	var old []*cred
	f.created.Range(func(_, v any) bool {
		c, _ := v.(*cred)
		if a.check(c, false).Outcome == fault.Yes && b.check(c, false).Outcome == fault.Yes {
			old = append(old, c)
		}
		return len(old) < 12
	})
	// The old primary returns, read-only, and b is sent to it.
	f.pg.Start(t)
	f.pg.Configure(t, map[string]string{"default_transaction_read_only": "on", "synchronous_standby_names": ""})
	b.sql.SetTarget(f.pg.Addr())
	b.sql.Reset()
	for _, c := range old {
		a.end(c, false)
	}
	deadline := time.Now().Add(lease + time.Second)
	for time.Now().Before(deadline) {
		for _, c := range old {
			b.check(c, false)
		}
		breathe()
	}
	b.sql.SetTarget(standby.Addr())
	b.sql.Reset()
	f.recovered()
	for _, c := range old {
		if op := b.check(c, false); op.Outcome != fault.No {
			t.Errorf("back at the primary: %d %s", op.Status, op.Code)
		}
	}
	f.finish(fault.Rules{Bound: lease})
}

// A standby that follows is no place to ask whether a session is alive: it may be any time behind.
func TestANodeThatIsSentToAStandby(t *testing.T) {
	t.Parallel()
	const lease = 2 * time.Second
	f := newFleet(t, setup{store: onPostgres, nodes: 2})
	a, b := f.nodes[0], f.nodes[1]
	standby := f.pg.Standby(t)
	var all []*cred
	for _, mode := range []string{"session", "hybrid", "token"} {
		all = append(all, a.start(f.newUser(), mode))
	}
	f.pg.CaughtUp(t, standby)
	standby.Exec(t, "SELECT pg_wal_replay_pause()") // it is behind, and stays so
	b.sql.SetTarget(standby.Addr())
	b.sql.Reset()
	for _, c := range all {
		a.end(c, false)
	}
	deadline := time.Now().Add(lease + time.Second)
	for time.Now().Before(deadline) {
		for _, c := range all {
			b.check(c, false)
		}
		breathe()
	}
	standby.Exec(t, "SELECT pg_wal_replay_resume()")
	b.sql.SetTarget(f.pg.Addr())
	b.sql.Reset()
	f.recovered()
	f.finish(fault.Rules{Bound: lease})
}
