package revoke

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/bubbletest"
)

func follow(t *testing.T, l Log, opt FollowOptions) *Follower {
	t.Helper()
	f, err := Follow(t.Context(), l, opt)
	if err != nil {
		t.Fatalf("Follow: %v", err)
	}
	return f
}

func endOf(session string) Event { return Event{Kind: KindSession, ID: session, Effect: End} }

// says asks a follower about a copy of a session made before everything.
func says(f *Follower, session string) Verdict {
	return f.Check(f.Now(), Query{Session: id.Session(session), AsOf: f.View().Low})
}

func TestFollowReplaysBeforeItReturns(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		for range 25_000 { // three pages
			l.append(endOf("ses_old"))
		}
		f := follow(t, l, FollowOptions{Name: "host/1"})
		defer f.Close()
		if v := says(f, "ses_old"); !v.Fresh || v.Ended != 25_000 {
			t.Errorf("right after Follow: %+v, want fresh and ended by 25000", v)
		}
		if v := says(f, "ses_new"); !v.Fresh || v.Hit != (Hit{}) {
			t.Errorf("another session: %+v, want fresh and no hit", v)
		}
		if f.Applied() != 25_000 || f.Err() != nil {
			t.Errorf("Applied = %d, Err = %v", f.Applied(), f.Err())
		}
	})
}

func TestFollowFailsWithoutALog(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.fail = errDown
		if _, err := Follow(t.Context(), l, FollowOptions{}); !errors.Is(err, errDown) {
			t.Errorf("Follow with the log down = %v, want its error", err)
		}
		l.fail, l.stall = nil, true
		start := time.Now()
		if _, err := Follow(t.Context(), l, FollowOptions{}); err == nil || time.Since(start) > patience+farewell {
			t.Errorf("Follow with a log that hangs = %v after %v, want an error in %v", err, time.Since(start), patience)
		}
		l.stall, l.head.Lease = false, 0
		if _, err := Follow(t.Context(), l, FollowOptions{}); err == nil {
			t.Error("Follow of a log without a lease worked")
		}
	})
}

func TestRevocationArrives(t *testing.T) {
	for _, tt := range []struct {
		name  string
		mute  bool
		bound time.Duration
	}{
		{"woken up", false, ms},
		{"by renewals alone", true, longestInterval + spacing},
	} {
		bubbletest.Test(t, func(t *testing.T) {
			l := newFakeLog()
			l.mute = tt.mute
			f := follow(t, l, FollowOptions{})
			defer f.Close()
			time.Sleep(700 * ms)
			l.append(endOf("ses_1"))
			start := time.Now()
			for says(f, "ses_1").Ended == 0 {
				time.Sleep(ms)
			}
			if took := time.Since(start); took > tt.bound {
				t.Errorf("%s: it took %v, want at most %v", tt.name, took, tt.bound)
			}
			time.Sleep(2 * spacing)
			if row, _, _ := l.row(f.View().Verifier); row.Applied != 1 {
				t.Errorf("%s: the registration says %d soon after, want 1", tt.name, row.Applied)
			}
		})
	}
}

func TestIdleRhythm(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		before := l.called("Renew")
		for range 10_000 {
			time.Sleep(ms)
			if !says(f, "ses_1").Fresh {
				t.Fatal("the lease lapsed though the log answers")
			}
		}
		if n := l.called("Renew") - before; n < 24 || n > 26 {
			t.Errorf("%d renewals in 10 s, want 25", n)
		}
		for range 1_000 { // however often it is rung
			f.hurry()
			time.Sleep(ms)
		}
		if n := l.called("Renew") - before - 25; n > 50+burst {
			t.Errorf("%d renewals in a second of ringing, want at most one each 20 ms, and a burst", n)
		}
	})
}

// TestLogDown: checks become stale at the end of the lease, and fresh again when the log is back; one line each.
func TestLogDown(t *testing.T) {
	for _, fault := range []func(l *fakeLog, on bool){
		func(l *fakeLog, on bool) {
			if l.fail = nil; on {
				l.fail = errDown
			}
		},
		func(l *fakeLog, on bool) { l.stall = on },
		func(l *fakeLog, on bool) {
			if l.late = 0; on {
				l.late = period + 100*ms // an answer so late that its lease is over
			}
		},
	} {
		bubbletest.Test(t, func(t *testing.T) {
			var lines bytes.Buffer
			l := newFakeLog()
			f := follow(t, l, FollowOptions{Logger: slog.New(slog.NewTextHandler(&lines, nil))})
			time.Sleep(time.Second)
			l.set(func(l *fakeLog) { fault(l, true) })
			time.Sleep(period - longestInterval - 10*ms)
			if !says(f, "ses_1").Fresh {
				t.Error("the lease lapsed before its time")
			}
			time.Sleep(longestInterval + 20*ms)
			for range 100 {
				time.Sleep(97 * ms)
				if v := says(f, "ses_1"); v.Fresh {
					t.Fatalf("fresh though the log gives nothing: %+v", v)
				}
			}
			late := l.late > 0
			if (f.Err() == nil) != late {
				t.Errorf("Err = %v while the log is faulty", f.Err())
			}
			l.set(func(l *fakeLog) { fault(l, false) })
			time.Sleep(patience + time.Second)
			if v := says(f, "ses_1"); !v.Fresh || f.Err() != nil {
				t.Errorf("after the fault: %+v, Err %v", v, f.Err())
			}
			f.Close()
			if n := strings.Count(lines.String(), "\n"); n != 2 && !late {
				t.Errorf("%d lines were logged, want 2:\n%s", n, &lines)
			}
		})
	}
}

func TestResetDropsEverything(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.append(endOf("ses_1"))
		var resets int
		f := follow(t, l, FollowOptions{OnReset: func() { resets++ }})
		defer f.Close()
		before := f.View()
		l.replace("log2", 1<<32)
		l.append(Event{Kind: KindAll, Effect: End})
		time.Sleep(3 * time.Second)
		v := f.View()
		if resets != 1 || v.Log != "log2" || v.Applied != 1<<32+1 || v.Low != 1<<32 || v.Generation == before.Generation {
			t.Errorf("after the restore: %+v, %d resets; before: %+v", v, resets, before)
		}
		if v.Verifier == before.Verifier {
			t.Error("the verifier kept its id over a reset: its registered number would have to go down")
		}
		if got := f.Check(f.Now(), Query{Session: "ses_1", AsOf: before.Applied}); got.Fresh {
			t.Errorf("a copy from before the restore: %+v, want stale", got)
		}
		if got := f.Check(f.Now(), Query{Session: "ses_1", AsOf: 1 << 32}); !got.Fresh || got.Ended != 1<<32+1 {
			t.Errorf("a copy from after it: %+v, want fresh and ended by the restore's event", got)
		}
	})
}

func TestRemovedVerifierRegistersAnew(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		old := f.View().Verifier
		if err := l.Remove(t.Context(), 1, old); err != nil {
			t.Fatal(err)
		}
		time.Sleep(longestInterval + ms)
		if says(f, "ses_1").Fresh {
			t.Error("fresh though the registration is gone")
		}
		time.Sleep(longestInterval + 2*spacing)
		if v := f.View(); v.Verifier == old || !says(f, "ses_1").Fresh {
			t.Errorf("after the next rounds: %+v, want another id and a lease", v)
		}
	})
}

func TestOnEventsInOrder(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.append(endOf("ses_old"))
		var got []uint64
		var f *Follower
		var mu sync.Mutex
		f = follow(t, l, FollowOptions{OnEvents: func(events []Event) {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range events {
				got = append(got, e.Seq)
			}
		}})
		own := l.append(endOf("ses_1"), endOf("ses_2"))
		f.Learn(own[1])
		if v := says(f, "ses_2"); v.Ended != 3 || f.Applied() != 1 {
			t.Errorf("after Learn(3): %+v, Applied %d; want a hit and Applied 1", v, f.Applied())
		}
		time.Sleep(time.Second)
		l.append(endOf("ses_3"))
		time.Sleep(time.Second)
		f.Close()
		if len(got) != 3 || got[0] != 2 || got[1] != 3 || got[2] != 4 {
			t.Errorf("OnEvents got %v, want 2, 3, 4: in order, once, without the replay", got)
		}
	})
}

func TestForgottenCopiesAreStale(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.append(endOf("ses_1"), endOf("ses_2"), endOf("ses_3"))
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		if _, err := l.Forget(t.Context(), time.Time{}, 2); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for asOf, fresh := range map[uint64]bool{0: false, 1: false, 2: true, 3: true} {
			if got := f.Check(f.Now(), Query{Session: "ses_3", AsOf: asOf}); got.Fresh != fresh {
				t.Errorf("as of %d: %+v, want fresh %v", asOf, got, fresh)
			}
		}
		if f.View().Low != 2 {
			t.Errorf("Low = %d, want 2", f.View().Low)
		}
	})
}

func TestCloseEndsTheLease(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		f := follow(t, l, FollowOptions{})
		f.Close()
		f.Close()
		if says(f, "ses_1").Fresh {
			t.Error("fresh after Close")
		}
		if len(l.rows) != 0 {
			t.Errorf("the registration stayed: %+v", l.rows)
		}
	})
}

// TestCloseSpeaksForRemotes: who holds a lease from a node that closes is waited for through its registration.
func TestCloseSpeaksForRemotes(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		f := follow(t, l, FollowOptions{})
		a, err := f.Answer(Renewal{Verifier: "vrf_r", Log: "log1", Limit: 10})
		if err != nil || a.Reset || a.Head.Lease != period {
			t.Fatalf("Answer = %+v, %v", a, err)
		}
		f.Close()
		if len(l.rows) != 1 {
			t.Error("the registration is gone while a remote may hold a lease")
		}
		if _, err := f.Answer(Renewal{Verifier: "vrf_r", Log: "log1", Limit: 10}); !errors.Is(err, ErrNoLease) {
			t.Errorf("Answer after Close = %v, want ErrNoLease", err)
		}
	})
}

// TestOneRequestThatHangs does not cost the lease.
func TestOneRequestThatHangs(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		time.Sleep(450 * ms)
		l.set(func(l *fakeLog) { l.stall = true })
		time.Sleep(100 * ms)
		l.set(func(l *fakeLog) { l.stall = false }) // the request that began meanwhile hangs on
		for range 3_000 {
			if time.Sleep(ms); !says(f, "ses_1").Fresh {
				t.Fatal("the lease lapsed")
			}
		}
	})
}

// TestDeadVerifiersAreRemoved by any other that lives, once an event has passed them by for longer than any lease.
func TestDeadVerifiersAreRemoved(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.rows["vrf_dead"] = Registration{Verifier: "vrf_dead"}
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		time.Sleep(time.Minute)
		if _, _, n := l.row(""); n != 2 {
			t.Fatal("without an event nobody can be called dead")
		}
		l.append(endOf("ses_1"))
		time.Sleep(period)
		if _, _, n := l.row(""); n != 2 {
			t.Error("removed before its lease had ended on every clock")
		}
		time.Sleep(2 * period)
		if _, there, n := l.row("vrf_dead"); there || n != 1 {
			t.Errorf("%d registrations, the dead one among them: %v; want the living one", n, there)
		}
	})
}

func TestCheckAllocatesNothing(t *testing.T) {
	f := follow(t, newFakeLog(), FollowOptions{})
	defer f.Close()
	q := Query{Session: "ses_1", User: "ann", SigningKey: "kid1"}
	if n := testing.AllocsPerRun(100, func() { f.Check(f.Now(), q) }); n != 0 {
		t.Errorf("Check allocates %v times, want 0", n)
	}
}

func BenchmarkCheck(b *testing.B) {
	f, err := Follow(context.Background(), newFakeLog(), FollowOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	q := Query{Session: "ses_1", User: "ann", SigningKey: "kid1"}
	b.ReportAllocs()
	for b.Loop() {
		f.Check(f.Now(), q)
	}
}
