package fault

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// A port that one test process was given is not given to another one.
func TestPortsAreKeptFromOtherProcesses(t *testing.T) {
	if text := os.Getenv("FAULT_TEST_PORT"); text != "" {
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		if reserve(port) {
			t.Fatal("it was given twice")
		}
		return
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestPortsAreKeptFromOtherProcesses$")
	cmd.Env = append(os.Environ(), "FAULT_TEST_PORT="+strconv.Itoa(FreePort(t)))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
