package fault

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be a node as well: a program that answers "ok".
func TestMain(m *testing.M) {
	if addr := os.Getenv("FAULT_TEST_NODE"); addr != "" {
		_, _ = os.Stderr.WriteString("a node on " + addr + "\n")
		if len(os.Args) > 1 && os.Args[1] == "refuse" {
			os.Exit(3)
		}
		panic(http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("ok"))
		})))
	}
	os.Exit(m.Run())
}

func selfNode(t *testing.T, args ...string) *Node {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addr := Loopback(FreePort(t))
	return NewNode(t, NodeOptions{Name: "one", Binary: exe, Args: args, Env: []string{"FAULT_TEST_NODE=" + addr}, URL: "http://" + addr})
}

func TestNode(t *testing.T) {
	t.Parallel()
	n := selfNode(t)
	n.Start(t)
	answers := func() bool {
		status, _, err := fetch(http.MethodGet, n.URL(), 200*time.Millisecond)
		return err == nil && status == http.StatusOK
	}
	if !answers() {
		t.Error("a node that was started does not answer")
	}
	n.Stop()
	if answers() {
		t.Error("a stopped node answers")
	}
	n.Cont()
	if _, _, err := fetch(http.MethodGet, n.URL(), startLimit); err != nil {
		t.Errorf("after going on: %v", err)
	}
	n.Stop()
	n.Kill()
	if n.Alive() {
		t.Error("a killed node lives")
	}
	n.Start(t)
	n.Restart(t)
	if err := n.Term(startLimit); err == nil {
		t.Error("ended by a signal, and says nothing of it")
	}
	if got := strings.Count(n.Log(), "a node on"); got != 3 {
		t.Errorf("%d starts in the log:\n%s", got, n.Log())
	}
}

func TestNodeThatRefuses(t *testing.T) {
	t.Parallel()
	n := selfNode(t, "refuse")
	if err := n.TryStart(t); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
}
