//go:build unix

package fault

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

func walk(children map[int][]int, pid int) []int {
	var all []int
	for _, c := range children[pid] {
		all = append(append(all, c), walk(children, c)...)
	}
	return all
}

// detached is a process that survives the signals of the terminal.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// killGroup ends a process and its group. Who is gone already is no error.
func killGroup(pid int) {
	_ = syscall.Kill(pid, syscall.SIGKILL)
	_ = syscall.Kill(-pid, syscall.SIGKILL)
}

func stopOne(pid int) { _ = syscall.Kill(pid, syscall.SIGSTOP) }
func contOne(pid int) { _ = syscall.Kill(pid, syscall.SIGCONT) }

func signalOne(pid int, s syscall.Signal) { _ = syscall.Kill(pid, s) }

// reserve keeps a port from the other test processes of this machine, for as long as this one lives.
func reserve(port int) bool {
	dir := filepath.Join(os.TempDir(), "handstamp-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return true // then the port is only probably free
	}
	fd, err := syscall.Open(filepath.Join(dir, strconv.Itoa(port)), syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return true
	}
	if err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = syscall.Close(fd)
		return false
	}
	return true // the file stays open, so that the lock ends with the process
}

// awaitGone waits until a process that was killed is gone: it holds its locks until then.
func awaitGone(pid int) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 5000 {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) {
			return
		}
		<-tick.C
	}
}
