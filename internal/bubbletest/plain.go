//go:build !race || go1.27

package bubbletest

import (
	"testing"
	"testing/synctest"
)

// Test is [synctest.Test].
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
