package fault

import (
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// missing ends the test because a server is not installed. In continuous integration (the variable CI is set) that is a
// failure: a test that is always skipped there is no test.
func missing(t testing.TB, what, pkg string) {
	t.Helper()
	const say = "fault: %s is missing; install the package %s (scripts/need does)"
	if os.Getenv("CI") != "" {
		t.Fatalf(say, what, pkg)
	}
	t.Skipf(say, what, pkg)
}

// find looks a command up in PATH and where Debian keeps what is not meant to be typed.
func find(t testing.TB, command, pkg string) string {
	t.Helper()
	if path, err := exec.LookPath(command); err == nil {
		return path
	}
	path := "/usr/sbin/" + command
	if _, err := os.Stat(path); err == nil {
		return path
	}
	missing(t, command, pkg)
	return ""
}

// postgresBin is the directory with initdb and postgres: of PATH, else the newest version that is installed.
func postgresBin(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		return filepath.Dir(path)
	}
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well formed
	if len(all) == 0 {
		missing(t, "postgres", "postgresql")
	}
	version := func(path string) float64 {
		v, _ := strconv.ParseFloat(strings.Split(path, "/")[4], 64) // an odd name is version 0
		return v
	}
	sort.Slice(all, func(i, j int) bool { return version(all[i]) > version(all[j]) })
	return filepath.Dir(all[0])
}
