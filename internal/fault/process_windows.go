package fault

import (
	"os"
	"syscall"
)

// Windows has neither the servers nor the signals: tests that need them are skipped for want of the servers. What is
// here lets packages compile.

func attributes(account) *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
func detached() *syscall.SysProcAttr          { return &syscall.SysProcAttr{} }
func descendants(int) []int                   { return nil }
func stopOne(int)                             {}
func contOne(int)                             {}
func awaitGone(int)                           {}
func reserve(int) bool                        { return true }
func zombie(int) bool                         { return true }

func signalOne(pid int, _ syscall.Signal) { killGroup(pid) }

func killGroup(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}
