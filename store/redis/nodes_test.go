package redis_test

import (
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/store/storetest"
)

// TestI2_EndedOnEveryNode logs in on one node, checks on both, ends on one, and checks on the other.
func TestI2_EndedOnEveryNode(t *testing.T) {
	s := open(t, fault.SharedRedis(t))
	storetest.EndedOnEveryNode(t, handstamp.Options{}, s, s.again(t))
}
