package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// builds are the binaries that tests run, built once, the way users build theirs.
type builds struct {
	mu   sync.Mutex
	dir  string
	done map[string]string
}

var binaries builds

// binary builds the program with the tags given.
func (b *builds) binary(t testing.TB, tags string) string {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if path, ok := b.done[tags]; ok {
		return path
	}
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "handstamp-test-")
		if err != nil {
			t.Fatal(err)
		}
		b.dir, b.done = dir, map[string]string{}
	}
	path := filepath.Join(b.dir, "handstamp-"+tags)
	cmd := exec.Command("go", "build", "-tags", tags, "-o", path, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	b.done[tags] = path
	return path
}

func (b *builds) remove() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// site is an installation in a directory of its own, and the server on it, if one runs.
type site struct {
	t      testing.TB
	binary string
	dir    string
	addr   string
	ops    string
	env    []string
	args   []string // of serve

	connect func(*exec.Cmd) // says where the outputs of serve go instead, if not nil

	cmd    *exec.Cmd
	exited chan error
	stdout *output
	stderr *output
}

// cheap makes password hashing cheap: these tests are about processes, not about passwords.
func cheap() []string {
	return []string{"HANDSTAMP_PASSWORD_MEMORY_KIB=64", "HANDSTAMP_PASSWORD_ITERATIONS=1", "HANDSTAMP_LOGIN_MAX_FAILURES=1000000"}
}

func newSite(t testing.TB, tags string, env ...string) *site {
	t.Helper()
	s := &site{t: t, binary: binaries.binary(t, tags), dir: t.TempDir(), addr: freeAddr(t), ops: freeAddr(t)}
	s.env = append(cheap(), "PATH="+os.Getenv("PATH"), "HOME="+s.dir,
		"HANDSTAMP_ADDR="+s.addr, "HANDSTAMP_OPS_ADDR="+s.ops, "HANDSTAMP_PUBLIC_URL=http://"+s.addr)
	s.env = append(s.env, env...)
	t.Cleanup(s.kill)
	return s
}

// freeAddr finds a loopback port that is free at the moment.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// output is what a process wrote so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start runs the server and waits until it answers. It says how long that took.
func (s *site) start() time.Duration {
	s.t.Helper()
	began := time.Now()
	s.spawn()
	for {
		r, err := http.Get("http://" + s.addr + "/healthz")
		if err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return time.Since(began)
			}
		}
		select {
		case err := <-s.exited:
			s.exited <- err
			s.t.Fatalf("the server ended: %v\n%s", err, s.stderr)
		case <-time.After(2 * time.Millisecond):
		}
		if time.Since(began) > 10*time.Second {
			s.t.Fatalf("the server does not answer\n%s", s.stderr)
		}
	}
}

func (s *site) spawn() {
	s.t.Helper()
	s.cmd = exec.Command(s.binary, append([]string{"serve"}, s.args...)...)
	s.cmd.Dir, s.cmd.Env = s.dir, s.env
	s.stdout, s.stderr = &output{}, &output{}
	s.cmd.Stdout, s.cmd.Stderr = s.stdout, s.stderr
	if s.connect != nil {
		s.connect(s.cmd)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited, cmd := make(chan error, 1), s.cmd
	s.exited = exited
	go func() { exited <- cmd.Wait() }()
}

// kill ends the server as a crash does.
func (s *site) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
	s.cmd = nil
}

// stop ends the server by SIGTERM and says how it exited.
func (s *site) stop() error {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case err := <-s.exited:
		s.cmd = nil
		return err
	case <-time.After(20 * time.Second):
		s.t.Fatal("the server does not stop")
		return nil
	}
}

// run runs a command on the installation. Its exit code and both outputs are the answer.
func (s *site) run(stdin string, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = s.dir, s.env, strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// must is run for a command that has to work.
func (s *site) must(args ...string) string {
	s.t.Helper()
	code, stdout, stderr := s.run("", args...)
	if code != 0 {
		s.t.Fatalf("handstamp %s: exit %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// database opens the database beside the server.
func (s *site) database() *sql.DB {
	s.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(s.dir, "handstamp-data", "handstamp.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	return db
}

// grant is what a login answers.
type grant struct {
	User    struct{ ID string }
	Session struct{ ID string }
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Code    string
}

// call makes a request. A status of 0 means that no answer came, so that nothing is known.
func (s *site) call(method, path, token string, body any) (int, grant) {
	return s.callFrom("", method, path, token, body)
}

// callFrom is call through a proxy that says where the client is.
func (s *site) callFrom(from, method, path, token string, body any) (int, grant) {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			s.t.Error(err)
		}
		text = bytes.NewReader(b)
	}
	r, err := http.NewRequest(method, "http://"+s.addr+path, text)
	if err != nil {
		s.t.Error(err)
		return 0, grant{}
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if from != "" {
		r.Header.Set("X-Forwarded-For", from)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, grant{}
	}
	defer func() { _ = answer.Body.Close() }()
	var g grant
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, grant{}
	}
	if len(b) > 0 && json.Unmarshal(b, &g) != nil {
		s.t.Errorf("%s %s: %q is no JSON", method, path, b)
	}
	return answer.StatusCode, g
}

const goodPassword = "correct-horse-battery-9"

// signUp makes an account and must work.
func (s *site) signUp(email, mode string) grant {
	s.t.Helper()
	status, g := s.call("POST", "/v1/signup", "", map[string]any{"email": email, "password": goodPassword, "mode": mode, "transport": "bearer"})
	if status != http.StatusCreated {
		s.t.Fatalf("sign-up: status %d, code %s\n%s", status, g.Code, s.stderr)
	}
	return g
}

func (s *site) check(token string) int {
	status, _ := s.call("GET", "/v1/check", token, nil)
	return status
}

// within polls until a condition holds and says how long that took.
func within(t testing.TB, limit time.Duration, what string, condition func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !condition() {
		if time.Since(began) > limit {
			t.Fatalf("%s: not within %v", what, limit)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}
