package fault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

func mountMemory(dir, options string) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, options)
}

// unmount takes the file system away from the tree at once, also while a process that is about to end has it open.
func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }

const shakyPackage = "github.com/handstamp/handstamp/internal/fault/shaky"

// watcher answers for the kernel when processes write to a place in a file.
type watcher struct {
	shaky string
	full  atomic.Bool
}

// newWatcher says whether this kernel and this container let a process be watched: one is tried.
func newWatcher(t testing.TB) (*watcher, error) {
	t.Helper()
	w := &watcher{shaky: BuildBinary(t, shakyPackage)}
	truth, err := exec.LookPath("true")
	if err != nil {
		return nil, err
	}
	log := &output{}
	cmd := exec.Command(truth) //nolint:gosec,noctx // it ends at once
	started, err := w.wrap(cmd)
	if err != nil {
		return nil, err
	}
	p, err := start(t, cmd, account{}, log)
	started(err == nil)
	if err != nil {
		return nil, err
	}
	if <-p.done; p.err != nil {
		return nil, fmt.Errorf("%w: %s", p.err, log.tail())
	}
	return w, nil
}

// wrap lets a command that is about to be started run under the watcher. The function that is returned is to be called
// when it was started, or was not.
func (w *watcher) wrap(cmd *exec.Cmd) (started func(ok bool), err error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	child := os.NewFile(uintptr(pair[1]), "shaky")
	cmd.Args = append([]string{w.shaky, cmd.Path}, cmd.Args[1:]...)
	cmd.Path, cmd.ExtraFiles = w.shaky, []*os.File{child}
	return func(ok bool) {
		_ = child.Close()
		if !ok {
			_ = syscall.Close(pair[0])
			return
		}
		go w.serve(pair[0])
	}, nil
}

// serve takes the listener from the socket, and answers for as long as the process lives.
func (w *watcher) serve(socket int) {
	buf, rights := make([]byte, 1), make([]byte, syscall.CmsgSpace(4))
	_, n, _, _, err := syscall.Recvmsg(socket, buf, rights, syscall.MSG_CMSG_CLOEXEC)
	_ = syscall.Close(socket)
	if err != nil || n == 0 {
		return // it ended before it sent one
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return
	}
	defer func() { _ = syscall.Close(fds[0]) }()
	for w.answer(fds[0]) {
	}
}

// From linux/seccomp.h: what the kernel asks, what it is answered, and how.
type (
	notification struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	reply struct {
		id    uint64
		value int64
		error int32
		flags uint32
	}
	pollFD struct {
		fd              int32
		events, revents int16
	}
)

const (
	receive    = 3<<30 | 80<<16 | '!'<<8
	send       = 3<<30 | 24<<16 | '!'<<8 | 1
	flagGoOn   = 1 // the kernel does what was asked for
	pollIn     = 1
	pollHangUp = 0x10
)

// answer waits for one write and answers it. It says whether there may be more.
func (w *watcher) answer(fd int) bool {
	p := pollFD{fd: int32(fd), events: pollIn}
	patience := syscall.NsecToTimespec(int64(time.Minute))
	_, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&patience)), 0, 0, 0) //nolint:gosec // the kernel writes there
	switch {
	case errno == syscall.EINTR:
		return true
	case errno != 0, p.revents&pollIn == 0 && p.revents&pollHangUp != 0:
		return false
	case p.revents&pollIn == 0:
		return true
	}
	var asked notification
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), receive, uintptr(unsafe.Pointer(&asked))); errno != 0 { //nolint:gosec // the same
		return errno == syscall.EINTR || errno == syscall.ENOENT // a signal came first, and it will ask again
	}
	said := reply{id: asked.id, flags: flagGoOn}
	if w.full.Load() {
		said.flags, said.error = 0, -int32(syscall.ENOSPC)
	}
	_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), send, uintptr(unsafe.Pointer(&said))) //nolint:gosec // the same
	runtime.KeepAlive(&said)
	return errno == 0 || errno == syscall.EINTR || errno == syscall.ENOENT
}
