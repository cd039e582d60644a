package revoke

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/handstamp/handstamp/id"
)

// TestAccountOfRemotes: the account says at any moment what going through all remotes would say.
func TestAccountOfRemotes(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		r, plain := newRemotes(), map[id.Verifier]remote{}
		var now Instant
		for step := range 2000 {
			now.Mono += time.Duration(rnd.IntN(3)) * ms
			maps.DeleteFunc(plain, func(_ id.Verifier, x remote) bool { return now.Mono >= x.until })
			// As in an answer, the account is brought up to date first.
			want := uint64(1_000_000)
			for _, x := range plain {
				want = min(want, x.covered)
			}
			if got := r.acknowledged(now, 1_000_000); got != want || len(r.all) != len(plain) {
				t.Fatalf("seed %d, step %d: acknowledged = %d of %d remotes, want %d of %d", seed, step, got, len(r.all), want, len(plain))
			}
			v, n := id.Verifier(fmt.Sprint("vrf_", rnd.IntN(20))), uint64(step/10+rnd.IntN(5))
			x, known := plain[v]
			switch what := rnd.IntN(100); {
			case what == 0:
				r.doubt()
				for v, x := range plain {
					x.covered = 0
					plain[v] = x
				}
			case what < 40:
				if news := r.heard(v, n); news != (known && n > x.covered) {
					t.Fatalf("seed %d, step %d: heard %d of %+v = %v", seed, step, n, x, news)
				}
				if known {
					x.covered = max(x.covered, n)
					plain[v] = x
				}
			default:
				until := now.Mono + time.Duration(1+rnd.IntN(200))*ms
				r.gave(v, n, until)
				if !known {
					x.covered = n
				}
				x.until = max(x.until, until)
				plain[v] = x
			}
		}
	}
}

// TestResetDoubtsRemotes: when the log is another one, what remotes acknowledged of the old one says nothing about events of
// the new one, for as long as their leases last.
func TestResetDoubtsRemotes(t *testing.T) {
	b := newBench(t)
	b.log.append(endOf("ses_1"), endOf("ses_2"), endOf("ses_3"))
	b.renew()
	b.pass(spacing)
	b.renew()
	if _, err := b.m.answer(b.now, Renewal{Verifier: "vrf_r", Log: "log1", Limit: 10}); err != nil {
		t.Fatal(err)
	}
	b.m.reset(Head{Log: "log2", Lease: period})
	b.m.learn([]Event{{Seq: 1, Kind: KindSession, ID: "ses_9", Effect: End}})
	if b.m.vouch(b.now, 1) {
		t.Error("it vouches though a remote holds a lease on the old log")
	}
	b.pass(wholeWait)
	if !b.m.vouch(b.now, 1) {
		t.Error("it does not vouch after the lease ended")
	}
}

// BenchmarkAnswer is the renewal of one remote verifier among many.
func BenchmarkAnswer(b *testing.B) {
	for _, n := range []int{1, 1_000, maxRemotes} {
		b.Run(fmt.Sprint(n, " remotes"), func(b *testing.B) {
			l, m := newFakeLog(), newMember("node")
			var now Instant
			q := m.begin(now)
			h, err := l.Register(b.Context(), q.registration)
			if err != nil {
				b.Fatal(err)
			}
			m.joined(q, h)
			q = m.begin(now)
			a, err := l.Renew(b.Context(), q.renewal)
			if err != nil {
				b.Fatal(err)
			}
			m.answered(q, now, a)
			var all []id.Verifier
			for i := range n {
				all = append(all, id.Verifier(fmt.Sprint("vrf_", i)))
			}
			for i := 0; b.Loop(); i++ {
				if _, err := m.answer(now, Renewal{Verifier: all[i%n], Log: m.journal.log, Limit: 10}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
