package revoke

import (
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/bubbletest"
)

func TestFleetClock(t *testing.T) {
	wall := time.Unix(1_900_000_000, 0)
	store := wall.Add(30 * time.Second) // this machine is 30 s behind
	at := func(mono, off time.Duration) Instant {
		return Instant{Mono: time.Hour + mono, Wall: wall.Add(mono + off)}
	}
	var c fleetClock
	if _, ok := c.now(at(0, 0)); ok {
		t.Error("the fleet's time is known before anything was read")
	}
	c.note(at(0, 0), at(200*ms, 0), store) // read somewhere in these 200 ms
	tests := []struct {
		name string
		now  Instant
		want time.Time
		ok   bool
	}{
		{"at once", at(200*ms, 0), store.Add(100 * ms), true},
		{"carried on", at(10*time.Second+200*ms, 0), store.Add(10*time.Second + 100*ms), true},
		{"too long ago: 5 % of it is more than 5 s", at(101*time.Second, 0), store.Add(101*time.Second - 100*ms), false},
		{"a small step of the wall clock", at(200*ms, 4*time.Second), store.Add(100 * ms), true},
		{"a suspend, or a step forward", at(200*ms, 6*time.Second), store.Add(100 * ms), false},
		{"a step back", at(200*ms, -6*time.Second), store.Add(100 * ms), false},
	}
	for _, tt := range tests {
		if got, ok := c.now(tt.now); ok != tt.ok || !got.Equal(tt.want) {
			t.Errorf("%s: %v, %v, want %v, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
	// A reading that took long is worse than the one there is, until that has aged.
	c.note(at(time.Second, 0), at(4*time.Second, 0), store)
	if got, _ := c.now(at(4*time.Second, 0)); !got.Equal(store.Add(3900 * ms)) {
		t.Errorf("a worse reading replaced a better one: %v", got)
	}
	c.note(at(60*time.Second, 0), at(63*time.Second, 0), store)
	if got, _ := c.now(at(63*time.Second, 0)); !got.Equal(store.Add(1500 * ms)) {
		t.Errorf("an old reading was kept: %v", got)
	}
	// The store's own clock is gone: this machine's is the fleet's.
	c.note(at(0, 0), at(0, 0), time.Time{})
	if got, ok := c.now(at(time.Second, 0)); !ok || !got.Equal(wall.Add(time.Second)) {
		t.Errorf("without a store's clock: %v, %v, want this machine's", got, ok)
	}
}

func TestFleetNow(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.clock = func() time.Time { return time.Now().Add(-time.Hour) }
		f := follow(t, l, FollowOptions{})
		defer f.Close()
		time.Sleep(10 * time.Second)
		if got, ok := f.FleetNow(); !ok || time.Since(got)-time.Hour > 10*ms {
			t.Errorf("FleetNow = %v, %v, want the store's clock, an hour behind", got, ok)
		}
		l.set(func(l *fakeLog) { l.fail = errDown })
		time.Sleep(90 * time.Second)
		if _, ok := f.FleetNow(); !ok {
			t.Error("FleetNow is given up while it is known within 5 s")
		}
		time.Sleep(20 * time.Second)
		if _, ok := f.FleetNow(); ok {
			t.Error("FleetNow is claimed though the log has been down for long")
		}
	})
}

func TestSystemClock(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		clock := SystemClock()
		a := clock()
		time.Sleep(3 * time.Second)
		b := clock()
		if b.Mono-a.Mono != 3*time.Second || b.Wall.Sub(a.Wall) != 3*time.Second {
			t.Errorf("3 s are %v and %v", b.Mono-a.Mono, b.Wall.Sub(a.Wall))
		}
	})
	if now := SystemClock()(); now.Wall != now.Wall.Round(0) {
		t.Error("the wall clock carries a monotonic reading: it would not see a suspend")
	}
}
