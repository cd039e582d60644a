package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// openTerminal makes a pseudo-terminal (pts(4)): what a program writes to tty, a person reads from screen.
func openTerminal(t testing.TB) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	var unlock, number int32
	for request, arg := range map[uintptr]*int32{syscall.TIOCSPTLCK: &unlock, syscall.TIOCGPTN: &number} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, screen.Fd(), request, uintptr(unsafe.Pointer(arg))); errno != 0 {
			t.Fatal(errno)
		}
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return screen, tty
}

// atTerminal is a site whose server writes to a terminal.
func atTerminal(t testing.TB, s *site) *site {
	t.Helper()
	s.connect = func(cmd *exec.Cmd) {
		screen, tty := openTerminal(t)
		cmd.Stdout = tty
		shown := s.stdout
		go func() { _, _ = io.Copy(shown, screen) }()
	}
	return s
}

func setupLink(shown string) string {
	link := regexp.MustCompile(`http://[^/]+/setup#(hs_b_[0-9A-Za-z]+)`).FindStringSubmatch(shown)
	if link == nil {
		return ""
	}
	return link[1]
}

// link waits for the link on the terminal: it is written before the server answers, but read beside it.
func (s *site) link() string {
	s.t.Helper()
	within(s.t, 10*time.Second, "the link on the terminal", func() bool { return setupLink(s.stdout.String()) != "" })
	return setupLink(s.stdout.String())
}

// The link that makes the first administrator is in no log, works once, and is not offered again once there is one.
func TestP16_setup_link(t *testing.T) {
	t.Parallel()
	s := atTerminal(t, newSite(t, "", "HANDSTAMP_LOG_LEVEL=debug"))
	s.start()
	secret := s.link()
	if strings.Contains(s.stderr.String(), "hs_b_") {
		t.Error("the link is in the log")
	}
	if code, out, _ := s.run(secret, "inspect"); code != 0 || !strings.Contains(out, "accepted now  yes") {
		t.Errorf("inspect of the link: %d\n%s", code, out)
	}
	body := map[string]any{"token": secret, "email": "root@example.com", "password": goodPassword}
	first, _ := s.call("POST", "/v1/setup", "", body)
	if first != http.StatusCreated {
		t.Fatalf("first use = %d", first)
	}
	body["email"] = "thief@example.com"
	if again, _ := s.call("POST", "/v1/setup", "", body); again < 400 || again >= 500 {
		t.Errorf("second use = %d", again)
	}
	if _, out, _ := s.run(secret, "inspect"); !strings.Contains(out, "accepted now  no") {
		t.Errorf("inspect of the used link:\n%s", out)
	}
	if out := s.must("user", "show", "root@example.com"); !strings.Contains(out, "admin") {
		t.Errorf("the first administrator is\n%s", out)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	s.start()
	within(t, 10*time.Second, "the lines on the terminal", func() bool { return strings.Contains(s.stdout.String(), "operators") })
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if strings.Contains(s.stdout.String(), "/setup#") || strings.Contains(s.stdout.String(), "no administrator") {
		t.Errorf("a link is offered although there is an administrator:\n%s", s.stdout)
	}
}

// An administrator who was made by another way ends the link: it is for the first one only.
func TestP16_setup_link_ends_with_the_first_administrator(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"user add":   {"user", "add", "--email", "boss@example.com", "--role", "admin"},
		"user roles": {"user", "roles", "ada@example.com", "--add", "admin"},
	} {
		t.Run(name, func(t *testing.T) {
			s := atTerminal(t, newSite(t, ""))
			s.start()
			s.signUp("ada@example.com", "session")
			secret := s.link()
			s.must(args...)
			body := map[string]any{"token": secret, "email": "thief@example.com", "password": goodPassword}
			if status, _ := s.call("POST", "/v1/setup", "", body); status < 400 || status >= 500 {
				t.Errorf("use of the link = %d", status)
			}
			if _, out, _ := s.run(secret, "inspect"); !strings.Contains(out, "accepted now  no") {
				t.Errorf("inspect of the link:\n%s", out)
			}
			if code, _, _ := s.run("", "user", "show", "thief@example.com"); code != exitFailure {
				t.Error("the link made an account")
			}
		})
	}
}

// Whoever reads the link first is the administrator, and what goes to a pipe, a file or a log is read by others: there
// is none then, not even its hash in the database.
func TestP16_setup_link_only_on_a_terminal(t *testing.T) {
	t.Parallel()
	for name, to := range map[string]func(dir string, cmd *exec.Cmd) (string, error){
		"pipe": nil,
		"file": func(dir string, cmd *exec.Cmd) (string, error) {
			f, err := os.Create(filepath.Join(dir, "out"))
			cmd.Stdout = f
			return filepath.Join(dir, "out"), err
		},
		"device": func(_ string, cmd *exec.Cmd) (string, error) {
			f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			cmd.Stdout = f
			return "", err
		},
		// A person sees the log then, and the lines for people go elsewhere.
		"only the log on a terminal": func(_ string, cmd *exec.Cmd) (string, error) {
			screen, tty := openTerminal(t)
			cmd.Stderr = tty
			go func() { _, _ = io.Copy(io.Discard, screen) }()
			return "", nil
		},
	} {
		for _, format := range []string{"auto", "text", "json"} {
			t.Run(name+" "+format, func(t *testing.T) {
				env := []string{"HANDSTAMP_LOG_LEVEL=debug"}
				if format != "auto" {
					env = append(env, "HANDSTAMP_LOG_FORMAT="+format)
				}
				s := newSite(t, "", env...)
				file := ""
				s.connect = func(cmd *exec.Cmd) {
					if to != nil {
						var err error
						if file, err = to(s.dir, cmd); err != nil {
							t.Fatal(err)
						}
					}
				}
				s.start()
				if err := s.stop(); err != nil {
					t.Error(err)
				}
				said := s.stdout.String() + s.stderr.String()
				if file != "" {
					b, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					said += string(b)
				}
				if strings.Contains(said, "hs_b_") || strings.Contains(said, "setup#") {
					t.Errorf("the link is in\n%s", said)
				}
				if name == "pipe" || name == "file" {
					if strings.Count(said, "There is no administrator yet. Make one: handstamp user add --email") != 1 {
						t.Errorf("it is not said once how to make an administrator:\n%s", said)
					}
				}
				if rows := oneTimes(t, s); rows != 0 {
					t.Errorf("%d links are in the database", rows)
				}
			})
		}
	}
}

// With JSON there is nothing else in the log.
func TestP16_no_setup_link_with_json_log(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", "HANDSTAMP_LOG_FORMAT=json", "HANDSTAMP_LOG_LEVEL=debug")
	s.start()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if out := s.stdout.String(); out != "" {
		t.Errorf("lines for people among the JSON:\n%s", out)
	}
	for line := range strings.Lines(s.stderr.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is no JSON: %q", line)
		}
	}
}

// The link is made when the port is taken: a server that cannot start does not void the link of the one that runs.
func TestP16_second_server_voids_no_link(t *testing.T) {
	t.Parallel()
	s := atTerminal(t, newSite(t, ""))
	s.start()
	secret := s.link()
	screen, tty := openTerminal(t)
	go func() { _, _ = io.Copy(io.Discard, screen) }()
	cmd := exec.Command(s.binary, "serve")
	cmd.Dir, cmd.Env, cmd.Stdout = s.dir, s.env, tty
	if err := cmd.Run(); err == nil {
		t.Fatal("a second server started at the same port")
	}
	if _, found, _ := s.run(secret, "inspect"); !strings.Contains(found, "accepted now  yes") {
		t.Errorf("the running server's link is void:\n%s", found)
	}
}

// oneTimes counts the links that are kept.
func oneTimes(t testing.TB, s *site) int {
	t.Helper()
	db := s.database()
	defer func() { _ = db.Close() }()
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM handstamp_one_times`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// At a terminal an import shows how far it is, in a line that is gone at the end; elsewhere there is no such line.
func TestImport_shows_progress_on_a_terminal_only(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	var file strings.Builder
	for n := range 500 {
		fmt.Fprintf(&file, "{\"email\":\"u%d@example.org\"}\n", n)
	}
	s.write("users.jsonl", file.String()+"x\n")
	s.must("migrate")
	code, _, quiet := s.run("", "user", "import", "users.jsonl", "--dry-run")
	if code != exitFailure || !strings.Contains(quiet, "line 501: ") || strings.Contains(quiet, "%") || strings.Contains(quiet, "\r") {
		t.Errorf("exit %d, and to a pipe\n%q", code, quiet)
	}
	screen, tty := openTerminal(t)
	shown := &output{}
	go func() { _, _ = io.Copy(shown, screen) }()
	cmd, out := exec.Command(s.binary, "user", "import", "users.jsonl"), &output{}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, out, tty
	_ = cmd.Run()
	within(t, 10*time.Second, "the last line", func() bool { return strings.Contains(shown.String(), "handstamp: 1 line was refused") })
	text := shown.String()
	if cmd.ProcessState.ExitCode() != exitFailure || !strings.Contains(text, " lines/s") || !regexp.MustCompile(`\[#+\.*\] +\d+ %  [0-9.]+ kB of 14\.4 kB`).MatchString(text) {
		t.Errorf("%v: on the terminal\n%q", cmd.ProcessState, text)
	}
	if !strings.Contains(text, " \rline 501: it is not one JSON object") {
		t.Errorf("a problem does not stand in a line of its own:\n%q", text)
	}
	if out.String() != "501 lines: 500 users made, 0 there already, 1 refused, 0 conflicts\n" {
		t.Errorf("the answer is %q", out)
	}
}
