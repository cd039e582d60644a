package ratelimit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/ratelimit"
)

func TestLimiter(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	l := ratelimit.New(time.Second, 3)
	for i := range 3 {
		if wait := l.Allow("ada", now); wait != 0 {
			t.Fatalf("%d of the burst: wait %v", i, wait)
		}
	}
	if wait := l.Allow("ada", now); wait != time.Second {
		t.Errorf("beyond the burst: wait %v, want 1s", wait)
	}
	if wait := l.Allow("bob", now); wait != 0 {
		t.Errorf("somebody else: wait %v", wait)
	}
	now = now.Add(time.Second)
	if wait := l.Allow("ada", now); wait != 0 {
		t.Errorf("a second later: wait %v", wait)
	}
	if wait := l.Allow("ada", now); wait != time.Second {
		t.Errorf("and again: wait %v", wait)
	}
	now = now.Add(-time.Hour)
	if wait := l.Allow("ada", now); wait != 0 {
		t.Errorf("the clock was set back: wait %v", wait)
	}
}

// TestLimiterIsBounded: keys that are idle make room, and a table full of busy ones refuses nobody.
func TestLimiterIsBounded(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	l := ratelimit.New(time.Second, 1)
	for i := range 100_001 {
		if wait := l.Allow(fmt.Sprint(i), now); wait != 0 {
			t.Fatalf("key %d: wait %v", i, wait)
		}
	}
	now = now.Add(2 * time.Second)
	if wait := l.Allow("late", now); wait != 0 {
		t.Fatalf("after the others: wait %v", wait)
	}
	if wait := l.Allow("late", now); wait == 0 {
		t.Error("a key that found room has no limit")
	}
}
