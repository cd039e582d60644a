package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// unread says how many bytes wait in a pipe: none after a write means that somebody reads it.
func unread(t testing.TB, pipe *os.File) int {
	t.Helper()
	var n int32
	raw, err := pipe.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	})
	if err != nil || errno != 0 {
		t.Fatal(err, errno)
	}
	return int(n)
}

// Whoever started a command that reads standard input by mistake, or gives it by a program that hangs, ends it by a
// signal: exit 1 and one line.
func TestStdin_signals_end_every_read(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.write("users.csv", "email\na@example.org\n")
	for _, args := range [][]string{
		{"inspect"},
		{"inspect", "-", "--json"},
		{"user", "add", "--email", "ada@example.org", "--password-stdin"},
		{"user", "password", "ada@example.org", "--password-stdin"},
		{"user", "import", "users.csv", "--firebase-signer-key-file", "-"},
	} {
		for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(strings.Join(args, " ")+" "+sig.String(), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				ours, err := pipeInto(ctx, t, s, args)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(ours.in, "x"); err != nil {
					t.Fatal(err)
				}
				within(t, 30*time.Second, "it reads", func() bool { return unread(t, ours.theirs) == 0 })
				if err := ours.cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				_ = ours.cmd.Wait()
				if code := ours.cmd.ProcessState.ExitCode(); code != exitFailure || ours.said.String() != "handstamp: it was interrupted\n" {
					t.Errorf("%v\n%s", ours.cmd.ProcessState, ours.said)
				}
			})
		}
	}
}

// piped is a command whose standard input stays open.
type piped struct {
	cmd        *exec.Cmd
	in, theirs *os.File
	said       *output // both outputs
}

func pipeInto(ctx context.Context, t testing.TB, s *site, args []string) (piped, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return piped{}, err
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	p := piped{cmd: exec.CommandContext(ctx, s.binary, args...), in: w, theirs: r, said: &output{}}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = s.dir, s.env, r, p.said, p.said
	return p, p.cmd.Start()
}

// question is a command that asks a person at a terminal.
type question struct {
	cmd    *exec.Cmd
	screen *os.File
	shown  *output
}

// askAt runs a command at a terminal up to its question.
func askAt(ctx context.Context, t testing.TB, s *site, args ...string) question {
	t.Helper()
	screen, tty := openTerminal(t)
	q := question{cmd: exec.CommandContext(ctx, s.binary, args...), screen: screen, shown: &output{}}
	q.cmd.Dir, q.cmd.Env, q.cmd.Stdin, q.cmd.Stdout, q.cmd.Stderr = s.dir, s.env, tty, tty, tty
	if err := q.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(q.shown, screen) }()
	within(t, 30*time.Second, "the question", func() bool { return strings.Contains(q.shown.String(), "Type yes to go on: ") })
	return q
}

// A question at a terminal ends by one signal, and then nothing was done.
func TestStdin_signals_end_a_question(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		for name, c := range map[string]struct {
			args []string
			says string
		}{
			"user delete":    {[]string{"user", "delete", "ada@example.com"}, "handstamp: it was interrupted\r\n"},
			"session revoke": {[]string{"session", "revoke", "--all"}, "handstamp: it was interrupted\r\n"},
			"move": {[]string{"move", "--from", "sqlite", "--to", "sqlite:new.db"},
				"handstamp: it was interrupted; servers go on with the old database"},
		} {
			t.Run(name+" "+sig.String(), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, "")
				s.must("user", "add", "--email", "ada@example.com")
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				q := askAt(ctx, t, s, c.args...)
				if err := q.cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				_ = q.cmd.Wait()
				if code := q.cmd.ProcessState.ExitCode(); code != exitFailure {
					t.Errorf("%v", q.cmd.ProcessState)
				}
				within(t, 10*time.Second, "the last line", func() bool { return strings.Contains(q.shown.String(), ": \r\n"+c.says) })
				s.must("user", "show", "ada@example.com")
				if out := s.must("audit", "list"); strings.Contains(out, "ended") || strings.Contains(out, "deleted") {
					t.Errorf("something was done:\n%s", out)
				}
			})
		}
	}
}

// Only the word itself is consent.
func TestStdin_a_question_is_answered(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]int{"yes\n": exitOK, " yes \n": exitOK, "no\n": exitFailure, "\n": exitFailure, "yes please\n": exitFailure, "\x04": exitFailure} {
		s := newSite(t, "")
		s.must("user", "add", "--email", "ada@example.com")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		q := askAt(ctx, t, s, "user", "delete", "ada@example.com")
		if _, err := io.WriteString(q.screen, answer); err != nil {
			t.Fatal(err)
		}
		_ = q.cmd.Wait()
		cancel()
		if code := q.cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("the answer %q: exit %d\n%s", answer, code, q.shown)
		}
		if code, _, _ := s.run("", "user", "show", "ada@example.com"); (code != exitOK) != (want == exitOK) {
			t.Errorf("the answer %q: show afterwards exits %d", answer, code)
		}
	}
}
