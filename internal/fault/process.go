package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// startLimit is how long a server may take until it answers. It is no measurement: it only ends a hopeless wait.
const startLimit = 60 * time.Second

// workplace is the directory of one test process, with everything that its servers write.
type workplace struct {
	once  sync.Once
	dir   string
	err   error
	spawn chan func()
	next  atomic.Int64

	watch *os.File // its end ends the janitor's wait
}

//nolint:gochecknoglobals // one directory and one janitor for the whole test process, which is what they belong to
var here workplace

// janitor waits until the test process is gone, however it ended, then ends what it left and removes the directory.
// The first argument is the directory; it holds one file per process group in pids.
const janitor = `cat >/dev/null
for f in "$1"/pids/*; do [ -e "$f" ] && kill -9 -- "-${f##*/}" 2>/dev/null; done
for d in "$1"/disk-*; do [ -d "$d" ] && umount -l "$d" 2>/dev/null; done
n=0; while [ -e "$1" ] && [ $n -lt 50 ]; do rm -rf -- "$1" 2>/dev/null; n=$((n+1)); done`

func (w *workplace) open(t testing.TB) {
	t.Helper()
	w.once.Do(func() { w.err = w.prepare() })
	if w.err != nil {
		t.Fatalf("fault: prepare a directory: %v", w.err)
	}
}

func (w *workplace) prepare() error {
	dir, err := os.MkdirTemp("", "handstamp-fault-")
	if err != nil {
		return err
	}
	// Servers that refuse to run as root run as another user, who must be able to enter.
	if err := errors.Join(os.Chmod(dir, 0o711), os.Mkdir(filepath.Join(dir, "pids"), 0o700)); err != nil { //nolint:gosec // a directory of throwaway servers, which another user must enter
		return err
	}
	w.dir, w.spawn = dir, make(chan func())
	go w.spawner()
	r, p, err := os.Pipe()
	if err != nil {
		return err
	}
	w.watch = p
	cmd := exec.Command("sh", "-c", janitor, "janitor", dir) //nolint:gosec,noctx // a fixed script; it outlives every context on purpose
	cmd.Stdin = r
	cmd.SysProcAttr = detached()
	if err := cmd.Start(); err != nil {
		return err
	}
	return r.Close()
}

// spawner starts all processes on one thread that never ends: Linux sends the signal of a dead parent when the *thread*
// that started the child is gone, and the runtime may end others.
func (w *workplace) spawner() {
	runtime.LockOSThread()
	for fn := range w.spawn {
		fn()
	}
}

// mkdir makes a directory for one server, owned by the account that the server runs as.
func (w *workplace) mkdir(t testing.TB, name string, a account) string {
	t.Helper()
	w.open(t)
	dir := filepath.Join(w.dir, name+"-"+strconv.FormatInt(w.next.Add(1), 10))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatalf("fault: %v", err)
	}
	if err := a.own(dir); err != nil {
		t.Fatalf("fault: %v", err)
	}
	return dir
}

// proc is one process and its log.
type proc struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; to be read after done
}

// start runs a command that ends with this process at the latest. Its outputs go to out.
func start(t testing.TB, cmd *exec.Cmd, a account, out io.Writer) (*proc, error) {
	t.Helper()
	here.open(t)
	cmd.SysProcAttr = attributes(a)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 5 * time.Second // a grandchild may hold the outputs open
	started := make(chan error)
	here.spawn <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, err
	}
	p := &proc{cmd: cmd, done: make(chan struct{})}
	pid := filepath.Join(here.dir, "pids", strconv.Itoa(cmd.Process.Pid))
	if err := os.WriteFile(pid, nil, 0o600); err != nil {
		t.Errorf("fault: %v", err)
	}
	go func() {
		p.err = cmd.Wait()
		_ = os.Remove(pid)
		close(p.done)
	}()
	return p, nil
}

// kill ends the process, its group and its children at once and waits until it is gone. nil is a process that does not
// run.
func (p *proc) kill() {
	if p == nil {
		return
	}
	select {
	case <-p.done: // its number may be another's by now
		return
	default:
	}
	family := descendants(p.cmd.Process.Pid)
	killGroup(p.cmd.Process.Pid)
	for _, pid := range family {
		killGroup(pid)
	}
	<-p.done
	for _, pid := range family {
		awaitGone(pid)
	}
}

// pause stops the process and its children in the middle of whatever they do.
func (p *proc) pause() {
	if !p.running() {
		return
	}
	stopOne(p.cmd.Process.Pid)
	for _, pid := range descendants(p.cmd.Process.Pid) {
		stopOne(pid)
	}
}

// resume lets a paused process go on.
func (p *proc) resume() {
	if !p.running() {
		return
	}
	for _, pid := range descendants(p.cmd.Process.Pid) {
		contOne(pid)
	}
	contOne(p.cmd.Process.Pid)
}

func (p *proc) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// await polls until ready says nil, the process ends, or the limit is over.
func (p *proc) await(ready func() error) error {
	limit := time.After(startLimit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended: %w", errors.Join(p.err, err))
		case <-limit:
			return fmt.Errorf("it does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// given are the ports that this process was given already: a server that is killed must find its own again.
var given sync.Map //nolint:gochecknoglobals // ports belong to the whole process

// FreePort finds a loopback port that nothing listens on, and that no other caller was given, in this test process or in
// another one that runs. It lies below the ports that systems give to outgoing
// connections, so that a server which is killed finds its port again.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 12000 + rand.IntN(20000) //nolint:gosec // not a secret
		if _, taken := given.LoadOrStore(port, true); taken || !reserve(port) {
			continue
		}
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", Loopback(port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("fault: no free port")
	return 0
}

// Loopback is the address of a port of this machine.
func Loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// output keeps the end of what a process wrote.
type output struct {
	mu  sync.Mutex
	buf []byte
}

// outputLimit bounds what is kept of one log.
const outputLimit = 1 << 20

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf = append(o.buf, b...); len(o.buf) > 2*outputLimit {
		o.buf = append(o.buf[:0], o.buf[len(o.buf)-outputLimit:]...)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.buf)
}

// tail is the last lines of the log, for a message.
func (o *output) tail() string {
	s := o.String()
	return s[max(0, len(s)-4000):]
}
