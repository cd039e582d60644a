package scenario

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// tables are those of the nodes that somebody's request may write.
func (f *fleet) tables() []string {
	f.t.Helper()
	return strings.Fields(f.pg.Value(f.t, f.db, `SELECT string_agg(format('%s.%s', schemaname, tablename), ' ' ORDER BY tablename)
		FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'public')`))
}

// failing lets a third of the changes of some table fail.
func failing(f *fleet, rnd *rand.Rand) func() {
	all := f.tables()
	code := []string{"P0001", "40001", "40P01", "53100"}[rnd.IntN(4)]
	x := f.pg.FailStatements(f.t, f.db, fault.Failing{Table: all[rnd.IntN(len(all))], Late: rnd.IntN(2) == 0, Share: 0.3, Code: code})
	return func() { x.Heal(f.t) }
}

// One statement of a unit fails, whichever it is, when it runs or when it is committed: the whole unit has not happened.
// No session without its audit entry, no entry without its change, no new password without the end of the old sessions;
// and the error is nobody's log-out.
func TestStatementsThatFail(t *testing.T) {
	for _, store := range []string{onPostgres, onTiered} {
		if store == onTiered && !long() {
			continue // the same statements
		}
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			rnd := seeded(t)
			f := newFleet(t, setup{store: store, nodes: 2, lease: 500 * time.Millisecond, shared: true})
			for _, table := range f.tables() {
				_, name, _ := strings.Cut(table, ".")
				if !busy[name] && !long() {
					continue
				}
				for _, late := range []bool{false, true} {
					if !long() && late && name != "audit" && name != "sessions" && rnd.IntN(2) == 0 {
						continue
					}
					one := fault.Failing{Table: table, Late: late, Share: 0.5, Code: []string{"P0001", "40001", "53100"}[rnd.IntN(3)]}
					began := time.Now()
					x := f.pg.FailStatements(t, f.db, one)
					stop := f.load(rnd, 4) // begins with new accounts
					wait(hurt() / 4)
					for began := time.Now(); busy[name] && x.Count(t) == 0; breathe() {
						if time.Since(began) > time.Minute {
							t.Fatalf("nothing failed that writes %s", table)
						}
					}
					n := x.Count(t)
					x.Heal(t)
					back := f.recovered()
					stop()
					t.Logf("%s, at the commit %s: %d changes failed in %v; service was back after %v", table, strconv.FormatBool(late), n, time.Since(began), back.Round(time.Millisecond))
				}
			}
			f.finish(rulesFor(f))
		})
	}
}

// busy are the tables that every load writes.
var busy = map[string]bool{
	"audit": true, "counters": true, "credentials": true, "events": true, "log": true, "sessions": true, "subjects": true, "users": true, "verifiers": true,
}
