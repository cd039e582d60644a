package scenario

import (
	"os"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// Everything at once: a random schedule of faults under load, for as long as HANDSTAMP_TORTURE_TIME says. The seed that
// is printed runs the same schedule again; a schedule that found something becomes a test of its own.
func TestTorture(t *testing.T) {
	d := 5 * time.Second
	if long() {
		d = 10 * time.Minute
	}
	if text := os.Getenv("HANDSTAMP_TORTURE_TIME"); text != "" {
		var err error
		if d, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	rnd := seeded(t)
	end := time.Now().Add(d)
	for time.Now().Before(end) {
		store := []string{onPostgres, onRedis, onTiered, onSQLite}[rnd.IntN(4)]
		t.Run(store, func(t *testing.T) {
			f := newFleet(t, setup{store: store, nodes: 2 + rnd.IntN(2)})
			var possible []evil
			for _, e := range evils() {
				if e.on(store) {
					possible = append(possible, e)
				}
			}
			stop := f.load(rnd, 8)
			// A fleet is judged after a minute: histories grow, and so does what checking them takes.
			for until := min(time.Until(end), time.Minute); until > 0; {
				began := time.Now()
				var heals []func()
				for range 1 + rnd.IntN(2) {
					e := possible[rnd.IntN(len(possible))]
					t.Logf("%v: %s", f.Now().Round(time.Millisecond), e.name)
					heals = append(heals, e.begin(f, rnd))
					wait(time.Duration(rnd.IntN(1500)) * time.Millisecond)
				}
				for i := range heals {
					heals[len(heals)-1-i]()
				}
				f.recovered()
				wait(time.Duration(rnd.IntN(500)) * time.Millisecond)
				until -= time.Since(began)
				if t.Failed() {
					break
				}
			}
			stop()
			f.finish(fault.Rules{Bound: 2 * time.Second})
		})
		if t.Failed() {
			return
		}
	}
}
