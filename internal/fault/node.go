package fault

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// NodeOptions say what a node is: any program with an HTTP interface.
type NodeOptions struct {
	// Name is for messages.
	Name string
	// Binary is the program, Args its arguments, Env its whole environment and Dir where it runs; "" is a directory of
	// its own.
	Binary string
	Args   []string
	Env    []string
	Dir    string
	// URL is the node's base address. The node is ready when Ready answers 200; "" is URL + "/healthz".
	URL   string
	Ready string
	// Disk is the one that holds its files, if that is to be filled; nil else.
	Disk *Disk
	// Clock is where a build with the tag handstamp_testclock offers its clock; "" for other builds.
	Clock string
}

// Node is one process of the system under test. Its methods are for one goroutine at a time, except URL, Log and Alive.
type Node struct {
	opt    NodeOptions
	log    *output
	offset time.Duration

	mu   sync.Mutex
	proc *proc
}

// StartNode starts a node and waits until it is ready. It ends with the test, and its log is shown if the test failed.
func StartNode(t testing.TB, opt NodeOptions) *Node {
	t.Helper()
	n := NewNode(t, opt)
	n.Start(t)
	return n
}

// NewNode is StartNode without the start.
func NewNode(t testing.TB, opt NodeOptions) *Node {
	t.Helper()
	n := &Node{opt: opt, log: &output{}}
	if n.opt.Dir == "" {
		n.opt.Dir = here.mkdir(t, "node", account{})
	}
	if n.opt.Ready == "" {
		n.opt.Ready = n.opt.URL + "/healthz"
	}
	t.Cleanup(func() {
		n.Kill()
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", n.opt.Name, n.log.tail())
		}
	})
	return n
}

// Start starts a node that does not run, with the same arguments and ports and the clock where it was, and waits until
// it is ready.
func (n *Node) Start(t testing.TB) {
	t.Helper()
	if err := n.TryStart(t); err != nil {
		t.Fatalf("fault: start %s: %v\n%s", n.opt.Name, err, n.log.tail())
	}
}

// TryStart is Start for a node that may refuse. The error says how it ended; its reason is in Log.
func (n *Node) TryStart(t testing.TB) error {
	t.Helper()
	if n.Alive() {
		return nil
	}
	cmd := exec.Command(n.opt.Binary, n.opt.Args...) //nolint:gosec,noctx // the test says what to run, and ends it
	cmd.Dir, cmd.Env = n.opt.Dir, append([]string{}, n.opt.Env...)
	if n.opt.Clock != "" {
		cmd.Env = append(cmd.Env, "HANDSTAMP_TEST_CLOCK_ADDR="+n.opt.Clock, "HANDSTAMP_TEST_CLOCK_OFFSET="+n.offset.String())
	}
	started := func(bool) {}
	if n.opt.Disk != nil && n.opt.Disk.watcher != nil {
		var err error
		if started, err = n.opt.Disk.watcher.wrap(cmd); err != nil {
			return err
		}
	}
	p, err := start(t, cmd, account{}, n.log)
	started(err == nil)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.proc = p
	n.mu.Unlock()
	return p.await(func() error {
		status, _, err := fetch(http.MethodGet, n.opt.Ready, 2*time.Second)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s answers %d", n.opt.Ready, status)
		}
		return err
	})
}

func (n *Node) process() *proc {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

// URL is the node's base address, without a slash at its end.
func (n *Node) URL() string { return n.opt.URL }

// Name is what messages call it.
func (n *Node) Name() string { return n.opt.Name }

// Dir is where it runs.
func (n *Node) Dir() string { return n.opt.Dir }

// Log is the end of what it wrote, over all its starts.
func (n *Node) Log() string { return n.log.String() }

// Alive says whether the process runs, also when it is stopped.
func (n *Node) Alive() bool { return n.process().running() }

// Stop stops the process where it is, by SIGSTOP: it keeps its connections, and what arrives waits in their buffers.
func (n *Node) Stop() { n.process().pause() }

// Cont lets it go on.
func (n *Node) Cont() { n.process().resume() }

// Kill ends it by SIGKILL.
func (n *Node) Kill() { n.process().kill() }

// Term asks it to end, by SIGTERM, and waits. The error is how it exited, or that it did not.
func (n *Node) Term(limit time.Duration) error {
	p := n.process()
	if !p.running() {
		return nil
	}
	signalOne(p.cmd.Process.Pid, syscall.SIGTERM)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		return fmt.Errorf("%s has not ended %v after SIGTERM", n.opt.Name, limit)
	}
}

// Restart kills it and starts it again.
func (n *Node) Restart(t testing.TB) {
	t.Helper()
	n.Kill()
	n.Start(t)
}

// SetOffset puts the node's clock so far ahead of the machine's, or behind it, now and after each start.
func (n *Node) SetOffset(t testing.TB, d time.Duration) {
	t.Helper()
	n.offset = d
	if !n.Alive() {
		return
	}
	status, body, err := fetch(http.MethodPost, "http://"+n.opt.Clock+"/?offset="+url.QueryEscape(d.String()), startLimit)
	if err != nil || status != http.StatusOK {
		t.Fatalf("fault: move the clock of %s: %d %s %v", n.opt.Name, status, body, err)
	}
}

// Command runs the node's program once with other arguments, in the node's directory and environment. The answer is its
// output; an exit code other than 0 is an error.
func (n *Node) Command(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.opt.Binary, args...) //nolint:gosec // the test says what to run
	cmd.Dir, cmd.Env = n.opt.Dir, n.opt.Env
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", filepath.Base(n.opt.Binary), strings.Join(args, " "), err, errs.String())
	}
	return string(out), nil
}

// fetch asks on a connection of its own, so that none is left open to a process that is about to be killed.
func fetch(method, address string, limit time.Duration) (int, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return 0, "", err
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	return answer.StatusCode, string(b), err
}

//nolint:gochecknoglobals // one build of each program for the whole test process
var built struct {
	sync.Mutex
	path map[string]string
}

// BuildBinary builds a command of the module, once for the test process, and says where it is. The package is an import
// path; the tags are build tags.
func BuildBinary(t testing.TB, pkg string, tags ...string) string {
	t.Helper()
	here.open(t)
	built.Lock()
	defer built.Unlock()
	key := pkg + " " + strings.Join(tags, ",")
	if path, ok := built.path[key]; ok {
		return path
	}
	path := filepath.Join(here.mkdir(t, "bin", account{}), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-tags", strings.Join(tags, ","), "-o", path, pkg) //nolint:gosec,noctx // the test says what to build
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("fault: build %s: %v\n%s", pkg, err, out)
	}
	if built.path == nil {
		built.path = map[string]string{}
	}
	built.path[key] = path
	return path
}
