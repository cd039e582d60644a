package tiered_test

import (
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/store/storetest"
)

// TestI2_EndedOnEveryNode logs in on one node, checks on both, which the tier answers since the nodes have no memory of
// their own in front of it, ends on one, and checks on the other.
func TestI2_EndedOnEveryNode(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	other := s.again(t)
	storetest.EndedOnEveryNode(t, handstamp.Options{CacheBytes: -1}, s, other)
	if a, b := s.Stats(), other.Stats(); a.Hits < 50 || b.Hits < 50 {
		t.Errorf("the tier answered %d and %d checks: nothing was tried", a.Hits, b.Hits)
	}
}
