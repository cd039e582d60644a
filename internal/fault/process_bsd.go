//go:build unix && !linux

package fault

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// attributes gives a process a group of its own and another account when asked. The janitor ends it after a crash.
func attributes(a account) *syscall.SysProcAttr {
	s := &syscall.SysProcAttr{Setpgid: true}
	if a.other {
		s.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return s
}

// descendants are the processes that a process started, and those that they started.
func descendants(pid int) []int {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output() //nolint:noctx // it answers at once
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var child, parent int
		if n, _ := fmt.Sscan(lines.Text(), &child, &parent); n == 2 {
			children[parent] = append(children[parent], child)
		}
	}
	return walk(children, pid)
}

// zombie says whether a process has ended and only waits to be read by its parent.
func zombie(pid int) bool {
	out, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output() //nolint:noctx // it answers at once
	return err != nil || strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}
