//go:build !linux

package fault

import (
	"errors"
	"os/exec"
	"sync/atomic"
	"testing"
)

var errLinux = errors.New("it is done on Linux only")

func mountMemory(string, string) error { return errLinux }

func unmount(string) error { return nil }

func isFull(error) bool { return false }

type watcher struct{ full atomic.Bool }

func newWatcher(testing.TB) (*watcher, error) { return nil, errLinux }

func (w *watcher) wrap(*exec.Cmd) (func(bool), error) { return nil, errLinux }
