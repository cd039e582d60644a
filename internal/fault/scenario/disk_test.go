package scenario

import (
	"net/http"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// smallDisk is room for what a fleet on SQLite writes in a test, several times over.
const smallDisk = 64 << 20

// diskFor is a disk of its own for a fleet on SQLite, where one may be had.
func diskFor(t *testing.T, store string) *fault.Disk {
	t.Helper()
	if store != onSQLite {
		return nil
	}
	d, err := fault.TryDisk(t, smallDisk)
	if err != nil {
		t.Logf("no disk is filled: %v", err)
		return nil
	}
	return d
}

// The disk under SQLite is full: what cannot be written is answered 503, what is known is answered from memory or by
// reading, nobody is logged out and nobody comes back. When there is space again the nodes write again by themselves, and
// one that died meanwhile finds everything that it acknowledged.
func TestDiskFull(t *testing.T) {
	for name, made := range map[string]func(t *testing.T) (*fault.Disk, error){
		"a full file system":            func(t *testing.T) (*fault.Disk, error) { return fault.MountDisk(t, smallDisk) },
		"a kernel that says it is full": func(t *testing.T) (*fault.Disk, error) { return fault.WatchDisk(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk, err := made(t)
			if err != nil {
				t.Skipf("not here: %v", err) // no container forbids both
			}
			fillUp(t, disk)
		})
	}
}

func fillUp(t *testing.T, disk *fault.Disk) {
	rnd := seeded(t)
	f := newFleet(t, setup{store: onSQLite, nodes: 2, disk: disk})
	for round := range times(2, 50) {
		stop := f.load(rnd, 4)
		wait(200 * time.Millisecond)
		var live, over, leaving []*cred
		for _, mode := range []string{"session", "hybrid", "token"} {
			for _, list := range []*[]*cred{&live, &over, &leaving} {
				c := f.nodes[0].start(f.newUser(), mode)
				if c == nil {
					t.Fatal("no session")
				}
				*list = append(*list, c)
			}
		}
		for _, c := range over {
			f.nodes[1].end(c, false)
		}
		f.setup.disk.Fill(t)
		f.untilFull()
		var kept int // log-outs that could not be written
		for began := time.Now(); time.Since(began) < hurt(); breathe() {
			for _, n := range f.nodes {
				for _, c := range live {
					if op := n.check(c, false); op.Status != http.StatusOK {
						t.Errorf("on a full disk a live session is answered %d %s", op.Status, op.Code)
					}
				}
				for _, c := range over {
					n.check(c, false)
				}
			}
			for _, c := range leaving {
				if op := f.nodes[round%2].logout(c); op.Outcome == fault.Unknown {
					kept++
				}
			}
		}
		back := func() {}
		if round%2 == 1 {
			back = f.nodes[rnd.IntN(2)].kill()
		}
		f.setup.disk.Free(t)
		back()
		t.Logf("%d log-outs were answered 503; service was back after %v", kept, f.recovered().Round(time.Millisecond))
		for _, c := range leaving {
			f.nodes[1].logout(c)
		}
		stop()
		if t.Failed() {
			break
		}
	}
	f.finish(rulesFor(f))
}

// untilFull writes until the fleet says that it cannot: the engine first uses up what its files have room for.
func (f *fleet) untilFull() {
	f.t.Helper()
	for range 50_000 {
		for _, n := range f.nodes {
			if n.start(f.newUser(), "session") == nil {
				return
			}
		}
	}
	f.t.Fatal("the disk is full, and everything is written")
}
