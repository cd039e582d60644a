//go:build unix

package fault

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
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

//nolint:gochecknoglobals // a lock on a byte of it belongs to the whole process, and ends with it
var portLocks struct {
	sync.Once
	fd  int
	err error
}

// reserve keeps a port from the other test processes of this machine, for as long as this one lives: it locks one byte of
// a file that they all know. It says false for a port that another one holds.
func reserve(port int) bool {
	portLocks.Do(func() {
		path := filepath.Join(os.TempDir(), "handstamp-ports-"+strconv.Itoa(os.Getuid())+".lock")
		portLocks.fd, portLocks.err = syscall.Open(path, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	})
	if portLocks.err != nil {
		return true // then it is only probably free
	}
	err := syscall.FcntlFlock(uintptr(portLocks.fd), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK, Start: int64(port), Len: 1})
	return !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EACCES)
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
