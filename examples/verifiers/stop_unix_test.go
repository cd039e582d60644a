//go:build unix

package verifiers_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
)

// TestNodeStopped and TestPythonStopped: a verifier that stood still for longer than its lease answers the request that
// waited in its socket meanwhile, and does not believe what it knew.
func TestNodeStopped(t *testing.T) {
	t.Parallel()
	stopped(t, start(t, "node", "node", "app.mjs"))
}

func TestPythonStopped(t *testing.T) {
	t.Parallel()
	stopped(t, start(t, "python3", "python", "app.py"))
}

func stopped(t *testing.T, w *world) {
	t.Helper()
	for range 3 {
		live, ended := w.logIn(handstamp.ModeHybrid, "ada"), w.logIn(handstamp.ModeHybrid, "ada")
		for _, g := range []handstamp.Grant{live, ended} {
			w.eventually("before", 10*time.Second, text(g), "memory")
		}
		w.must(w.process.Signal(syscall.SIGSTOP))
		answer := make(chan string, 1)
		go func() { answer <- w.says(text(ended), "") }()
		done, err := w.auth.EndSession(t.Context(), ended.Session.ID, handstamp.EndOptions{WaitFleet: true})
		w.must(w.process.Signal(syscall.SIGCONT))
		w.must(err)
		if got := <-answer; got == "memory" || got == "introspection" {
			t.Errorf("accepted after the fleet was waited for: %s, %+v", got, done)
		}
		w.eventually("afterwards", 10*time.Second, text(live), "memory")
	}
}
