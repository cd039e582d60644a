// Command shaky runs another program whose writes to places in files (pwrite64, by which SQLite writes everything) are
// decided about by somebody else: whoever holds the other end of the socket that is file 3 is sent the kernel's listener
// for them (seccomp_unotify(2)). It needs no rights. It is for tests.
package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

func main() {
	runtime.LockOSThread() // the filter is the thread's, and what is executed inherits it from this one
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "shaky:", err)
		os.Exit(1)
	}
}

func run() error {
	const socket = 3
	if len(os.Args) < 2 {
		return fmt.Errorf("want a program and its arguments")
	}
	listener, err := listen()
	if err != nil {
		return fmt.Errorf("ask for the writes: %w", err)
	}
	if err := syscall.Sendmsg(socket, []byte{0}, syscall.UnixRights(listener), nil, 0); err != nil {
		return fmt.Errorf("pass the listener on: %w", err)
	}
	_, _ = syscall.Close(socket), syscall.Close(listener)
	return fmt.Errorf("run %s: %w", os.Args[1], syscall.Exec(os.Args[1], os.Args[1:], os.Environ())) //nolint:gosec // the test says what to run
}

// From linux/seccomp.h, linux/prctl.h and linux/filter.h.
const (
	setNoNewPrivs  = 38
	setModeFilter  = 1
	newListener    = 1 << 3
	retUserNotif   = 0x7fc00000
	retAllow       = 0x7fff0000
	loadWord       = 0x20 // BPF_LD | BPF_W | BPF_ABS
	jumpEqual      = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
	answerConstant = 0x06 // BPF_RET | BPF_K
)

// listen installs a filter that lets every system call pass but pwrite64, about which the listener is asked.
func listen() (int, error) {
	number, ok := map[string]uintptr{"amd64": 317, "arm64": 277, "386": 354, "arm": 383}[runtime.GOARCH]
	if !ok {
		return 0, fmt.Errorf("not on %s", runtime.GOARCH)
	}
	program := []syscall.SockFilter{
		{Code: loadWord, K: 0}, // the number of the call
		{Code: jumpEqual, K: syscall.SYS_PWRITE64, Jf: 1},
		{Code: answerConstant, K: retUserNotif},
		{Code: answerConstant, K: retAllow},
	}
	filter := syscall.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, setNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
		return 0, errno
	}
	fd, _, errno := syscall.RawSyscall(number, setModeFilter, newListener, uintptr(unsafe.Pointer(&filter))) //nolint:gosec // the kernel reads a filter there
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}
