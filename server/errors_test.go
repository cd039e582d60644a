package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
)

// TestNotAwaited: what ended has ended, also where the fleet was not waited for. The answer says so:
// by then the caller's own credential may be dead, and asking again is answered with 401.
func TestNotAwaited(t *testing.T) {
	p := problemOf(fmt.Errorf("end a session: %w", handstamp.ErrNotAwaited))
	if p.Status != 503 || p.Code != "unavailable" || p.RetryAfter <= 0 || !strings.Contains(p.Detail, "durable") {
		t.Errorf("problemOf = %+v, want 503 with Retry-After that says what was done", p)
	}
}
