package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// In a build for tests, and in no other, the clock can be moved: a session is over a day later, and a server that is
// started again, or a command beside it, has the same time.
func TestClock_of_test_builds(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds a second binary")
	}
	control := freeAddr(t)
	s := newSite(t, "handstamp_testclock", "HANDSTAMP_TEST_CLOCK_ADDR="+control)
	s.start()
	move := func(query string) string {
		r, err := http.Post("http://"+control+"/?"+query, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		b, _ := io.ReadAll(r.Body)
		return strings.TrimSpace(string(b))
	}
	g := s.signUp("ada@example.com", "session")
	if got := move("by=23h"); got != "23h0m0s" || s.check(g.Access) != http.StatusOK {
		t.Errorf("at %s the check is %d", got, s.check(g.Access))
	}
	if got := move("by=25h"); got != "48h0m0s" {
		t.Errorf("the clock is at %s", got)
	}
	within(t, 5*time.Second, "idle end", func() bool { return s.check(g.Access) == http.StatusUnauthorized })
	if _, out, _ := s.run(g.Access, "inspect"); !strings.Contains(out, "check idle_end") {
		t.Errorf("a command has another time:\n%s", out)
	}
	if r, err := http.Post("http://"+control+"/?by=soon", "", nil); err != nil || r.StatusCode != http.StatusBadRequest {
		t.Errorf("nonsense = %v, %v", r, err)
	}
	code, _, errs := s.run("", "serve", "--addr", freeAddr(t))
	if code == 0 || !strings.Contains(errs, "test clock") {
		t.Errorf("a second control on the same port: exit %d, %s", code, errs)
	}
	s.env = append(s.env, "HANDSTAMP_TEST_CLOCK_OFFSET=1h")
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	s.start()
	if got := move("by=0s"); got != "1h0m0s" {
		t.Errorf("a server that was started again is at %s", got)
	}
	for i, e := range s.env {
		if strings.HasPrefix(e, "HANDSTAMP_TEST_CLOCK_ADDR=") {
			s.env[i] = "HANDSTAMP_TEST_CLOCK_ADDR=0.0.0.0:1"
		}
	}
	if code, _, errs := s.run("", "serve"); code != exitUsage || !strings.Contains(errs, "loopback") {
		t.Errorf("a control for the world: exit %d, %s", code, errs)
	}
}
