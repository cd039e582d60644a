//go:build race && !go1.27

package bubbletest

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// turn is held by the bubble that runs: what it sets is the whole process's.
var turn sync.Mutex

// Test is [synctest.Test] with one P, and one bubble at a time.
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	turn.Lock()
	defer turn.Unlock()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, f)
}
