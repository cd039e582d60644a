package login

import (
	"encoding/binary"
	"testing"
	"time"
)

func keyOf(n uint64) (k BudgetKey) {
	binary.BigEndian.PutUint64(k[:], n)
	return k
}

// TestLocalIsBounded: however long the store is down and however many try, the memory is bounded, and no key that is busy
// is forgotten for the sake of another.
func TestLocalIsBounded(t *testing.T) {
	var l local
	now := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	most, busy := 0, keyOf(1<<60)
	for range 3 {
		if l.allow(now, busy) != 0 {
			t.Fatal("refused at once")
		}
	}
	for n := uint64(0); n < 50_000; n += 2 {
		now = now.Add(processEvery)
		if wait := l.allow(now, keyOf(n), keyOf(n+1)); wait != 0 {
			t.Fatalf("%d: refused for %v", n, wait)
		}
		most = max(most, len(l.of))
		if n%200 == 0 { // one gets through every twenty seconds, and not one more
			first, second := l.allow(now, busy), l.allow(now, busy)
			if first == 0 && second == 0 {
				t.Fatalf("%d: a busy key was forgotten", n)
			}
		}
	}
	if most > maxLocal || most < maxLocal/2 {
		t.Errorf("%d keys at most, want at most %d, and the test to get near that", most, maxLocal)
	}
	l.giveBack(now, make([]debt, 1))
	now = now.Add(2 * forgetAfter)
	if wait := l.allow(now, keyOf(1<<61)); wait != 0 {
		t.Errorf("after the storm: %v", wait)
	}
}

// TestLocalNeverLonger: whatever the clock does, nobody is told to wait for longer than a place takes.
func TestLocalNeverLonger(t *testing.T) {
	var l local
	now := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, step := range []time.Duration{0, 0, 0, 0, time.Second, -time.Second, -time.Hour, 0, 0, 0, 0, time.Hour, 0, 0, 0, 0, -24 * time.Hour, -time.Nanosecond, 0, 0, 0} {
		now = now.Add(step)
		if wait := l.allow(now, keyOf(1), keyOf(2)); wait > localEvery+time.Second {
			t.Errorf("step %d: refused for %v", i, wait)
		}
	}
}

// TestLocalTakesAllOrNone: an attempt that one key refuses costs the other nothing.
func TestLocalTakesAllOrNone(t *testing.T) {
	var l local
	now := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	for range localBurst {
		l.allow(now, keyOf(1))
	}
	for range 100 {
		if l.allow(now, keyOf(2), keyOf(1)) == 0 {
			t.Fatal("not refused")
		}
	}
	for i := range localBurst {
		if wait := l.allow(now, keyOf(2)); wait != 0 {
			t.Errorf("place %d: %v", i, wait)
		}
	}
	debts := l.take(now, keyOf(3), keyOf(2), keyOf(1))
	if len(debts) != 2 || debts[0].key != keyOf(2) || debts[0].n != localBurst || debts[1].key != keyOf(1) || debts[1].n != localBurst {
		t.Errorf("debts = %v", debts)
	}
	if again := l.take(now, keyOf(2), keyOf(1)); len(again) != 0 {
		t.Errorf("taken twice: %v", again)
	}
	if l.allow(now, keyOf(1)) == 0 {
		t.Error("who paid has a new burst")
	}
}
