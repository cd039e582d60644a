package login

import (
	"testing"
	"time"
)

// TestP11_Delays: none below the limit, then 5 s that double up to a minute, however many failures there are.
func TestP11_Delays(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		0: 0, 9: 0, 10: 5 * time.Second, 11: 10 * time.Second, 12: 20 * time.Second, 13: 40 * time.Second, 14: time.Minute, 15: time.Minute, 100: time.Minute, 1 << 30: time.Minute,
	} {
		if got := delay(failures, 10); got != want {
			t.Errorf("after %d: %v, want %v", failures, got, want)
		}
	}
}

// TestP11_Charge is the whole rule of a budget: what is counted, what is refused for how long, and when it is forgotten.
func TestP11_Charge(t *testing.T) {
	const limit, hour, days = 10, time.Hour, 90 * 24 * time.Hour
	now := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, tc := range map[string]struct {
		failures int
		ago      time.Duration // since the last one that counted
		known    bool
		weight   int
		want     int           // failures afterwards
		wait     time.Duration // more than 0: refused
	}{
		"the first":                 {0, 0, false, 1, 1, 0},
		"below the limit":           {limit - 1, 0, false, 1, limit, 0},
		"at the limit":              {limit, 0, false, 1, limit, 5 * time.Second},
		"1 ns early":                {limit, 5*time.Second - 1, false, 1, limit, 1},
		"after the delay":           {limit, 5 * time.Second, false, 1, limit + 1, 0},
		"one more, early":           {limit + 1, 5 * time.Second, false, 1, limit + 1, 5 * time.Second},
		"by weight":                 {5, 0, false, 10, 15, 0},
		"far beyond":                {1000, 0, false, 1, 1000, time.Minute},
		"not forgotten yet":         {1000, hour - 1, false, 1, 1001, 0},
		"forgotten":                 {1000, hour, false, 1, 1, 0},
		"known, at the limit":       {limit, 0, true, 1, limit, 5 * time.Second},
		"known":                     {1, 0, true, 1, 2, 0},
		"the clock was set back":    {limit, -time.Hour, false, 1, limit + 1, 0},
		"set back by a little":      {limit, -time.Minute, false, 1, limit, time.Minute + 5*time.Second},
		"set back by a little more": {limit, -time.Minute - 1, false, 1, limit + 1, 0},
	} {
		c := Counter{Failures: tc.failures, LastAt: now.Add(-tc.ago), Known: tc.known, ExpiresAt: now.Add(-1)}
		got, wait := charge(c, tc.weight, limit, now)
		if got.Failures != tc.want || wait != tc.wait || got.Known != tc.known {
			t.Errorf("%s: %d failures, refused for %v; want %d, %v", name, got.Failures, wait, tc.want, tc.wait)
		}
		life := map[bool]time.Duration{false: hour, true: days}[tc.known]
		if counted := tc.wait == 0; counted && (!got.LastAt.Equal(now) || !got.ExpiresAt.Equal(now.Add(life))) || !counted && got != c {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for failures, want := range map[int]int{0: 0, 1: 0, 2: 1, 100: 99} {
		if got := refund(Counter{Failures: failures}); got.Failures != want {
			t.Errorf("refund of %d = %d", failures, got.Failures)
		}
	}
}
