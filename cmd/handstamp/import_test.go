package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/handstamp/handstamp/account/importer"
)

// foreignHash is a hash that another system made, from the vectors of package password.
type foreignHash struct{ Format, MadeBy, Password, Hash string }

func foreignHashes(t testing.TB) []foreignHash {
	t.Helper()
	b, err := os.ReadFile("../../login/password/testdata/foreign/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []foreignHash
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// Users with a hash of every kind are imported beside a server that runs, from both formats, and log in there at once
// with the passwords of the system they come from; a wrong password is wrong.
func TestImport_every_kind_of_hash_logs_in(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", "HANDSTAMP_TRUSTED_PROXIES=127.0.0.0/8")
	s.start()
	perFormat := map[string]int{}
	var lines, rows []string
	rows = append(rows, "email,id,password_hash")
	passwords := map[string]string{}
	for n, v := range foreignHashes(t) {
		// bcrypt knows nothing behind its 72 bytes: such a password does not get in (see package password).
		if perFormat[v.Format]++; perFormat[v.Format] > 3 || len(v.Password) > 72 {
			continue
		}
		email := fmt.Sprintf("user-%d@example.org", n)
		passwords[email] = v.Password
		if n%2 == 0 {
			line, err := json.Marshal(map[string]any{"email": email, "id": fmt.Sprint("old/", n), "password_hash": v.Hash, "email_verified": true})
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(line))
		} else {
			rows = append(rows, fmt.Sprintf(`%s,old/%d,"%s"`, email, n, v.Hash))
		}
	}
	if len(perFormat) != 9 || len(lines) < 5 || len(rows) < 5 {
		t.Fatalf("formats %v, %d lines, %d rows", perFormat, len(lines), len(rows))
	}
	s.write("users.jsonl", strings.Join(lines, "\n"))
	s.write("users.csv", strings.Join(rows, "\r\n")+"\r\n")
	for _, file := range []string{"users.jsonl", "users.csv"} {
		if out := s.must("user", "import", file); !strings.Contains(out, " 0 refused, 0 conflicts") {
			t.Fatal(out)
		}
	}
	client := 0
	login := func(email, password string) (int, grant) {
		client++ // every one from a network of its own: this is not about the limits of logins
		from := fmt.Sprintf("10.%d.%d.1", client/250, client%250)
		return s.callFrom(from, "POST", "/v1/login", "", map[string]any{"email": email, "password": password, "transport": "bearer"})
	}
	for email, password := range passwords {
		if status, g := login(email, password+"x"); status != http.StatusUnauthorized {
			t.Errorf("%s with a wrong password: %d %s", email, status, g.Code)
		}
		for _, when := range []string{"first", "second"} { // the second with the hash that the first one wrote
			status, g := login(email, password)
			if status != http.StatusOK || g.User.ID != "old/"+strings.TrimSuffix(strings.TrimPrefix(email, "user-"), "@example.org") {
				t.Errorf("%s, %s login: %d %s, user %q", email, when, status, g.Code, g.User.ID)
			} else if s.check(g.Access) != http.StatusOK {
				t.Errorf("%s: the session does not pass", email)
			}
		}
	}
	var left int
	db := s.database()
	defer func() { _ = db.Close() }()
	if err := db.QueryRow(`SELECT count(*) FROM handstamp_credentials WHERE data NOT LIKE '$argon2id$v=19$m=64,t=1,p=1$%'`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d hashes are as they were: %v", left, err)
	}
}

// write makes a file in the directory of the site.
func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

const manyUsers = 20_000

// writeMany makes a file of 20,000 users.
func (s *site) writeMany() {
	s.t.Helper()
	f, err := os.Create(filepath.Join(s.dir, "many.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for n := range manyUsers {
		// Every other one has no id of its own: a second run must know those by their address.
		id := ""
		if n%2 == 0 {
			id = fmt.Sprintf(`"id":"many-%d",`, n)
		}
		_, _ = fmt.Fprintf(w, `{%s"email":"u%d@example.org","password_hash":"$2y$05$qqIjigueHab2mQlWwfrWO.RUF7ao2GDz4ngJ6Kgi4nJRAuKASOYTe"}`+"\n", id, n)
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		s.t.Fatal(err)
	}
}

// begin starts an import of many users and waits until more than that many are in. The last thousand lines do not come:
// however fast it is, it does not end by itself.
func (s *site) begin(least int, stderr io.Writer) (*exec.Cmd, *output) {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "many.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	cmd, out := exec.Command(s.binary, "user", "import", "--format", "jsonl", "-"), &output{}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, out, stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = cmd.Process.Kill() })
	go func() { _, _ = in.Write(bytes.Join(lines[:manyUsers-1000], nil)) }()
	within(s.t, 60*time.Second, "the first users", func() bool { return s.users() > least })
	return cmd, out
}

// users counts the accounts, their parts and what the log says of them, which must agree; -1 that they do not.
func (s *site) users() int {
	s.t.Helper()
	db := s.database()
	defer func() { _ = db.Close() }()
	var users, hashes, entries int
	err := db.QueryRow(`SELECT (SELECT count(*) FROM handstamp_users), (SELECT count(*) FROM handstamp_credentials),
		(SELECT count(*) FROM handstamp_audit WHERE kind = 'user.created')`).Scan(&users, &hashes, &entries)
	switch {
	case err != nil:
		return 0 // not made yet, or somebody writes
	case users != hashes || users != entries:
		return -1
	}
	return users
}

// Killed in the middle of 20,000 lines and run again: everybody is there, once.
func TestImport_killed_and_resumed(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("20,000 users")
	}
	s := newSite(t, "")
	s.must("migrate")
	s.writeMany()
	runs := 0
	for range 3 {
		before := s.users()
		if before > manyUsers*9/10 {
			break
		}
		cmd, _ := s.begin(before+500, nil)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the import ended before it was killed")
		}
		after := s.users()
		if after <= before || after >= manyUsers || after%100 != 0 {
			t.Fatalf("%d users after the kill, %d before", after, before)
		}
		runs++
	}
	there := s.users()
	out := s.must("user", "import", "many.jsonl")
	want := fmt.Sprintf("%d lines: %d users made, %d there already, 0 refused, 0 conflicts\n", manyUsers, manyUsers-there, there)
	if out != want || s.users() != manyUsers || runs == 0 {
		t.Errorf("after %d kills: %q, want %q; %d users", runs, out, want, s.users())
	}
}

// An interrupt ends the import between two batches; it says how many are in and that the same command goes on.
func TestImport_interrupted(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("20,000 users")
	}
	s := newSite(t, "")
	s.must("migrate")
	s.writeMany()
	stderr := &output{}
	cmd, out := s.begin(300, stderr)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	n := s.users()
	says := fmt.Sprintf("handstamp: it was interrupted: %d users are in, and the same command goes on from there\n", n)
	if cmd.ProcessState.ExitCode() != exitFailure || stderr.String() != says || n < 300 || n >= manyUsers || n%100 != 0 || !strings.Contains(out.String(), fmt.Sprint(n, " users made")) {
		t.Errorf("%v, %d users\n%s%s", cmd.ProcessState, n, out, stderr)
	}
	if s.must("user", "import", "many.jsonl"); s.users() != manyUsers {
		t.Errorf("%d users at the end", s.users())
	}
}

// Somebody who gives the users by hand, or by a program that waits, can still interrupt; what was read and not written
// yet is not in.
func TestImport_interrupted_while_it_waits(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.must("migrate")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd, out, stderr := exec.CommandContext(ctx, s.binary, "user", "import", "--format", "jsonl", "--json", "-"), &output{}, &output{}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, out, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "x\n{\"email\":\"a@example.org\"}\n"); err != nil {
		t.Fatal(err)
	}
	within(t, 30*time.Second, "the first line", func() bool { return strings.Contains(stderr.String(), "line 1: ") })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	var report importReport
	if err := json.Unmarshal([]byte(out.String()), &report); err != nil || report.Complete || report.Created != 0 || report.Refused != 1 || report.Error == "" {
		t.Errorf("%+v, %v", report, err)
	}
	if cmd.ProcessState.ExitCode() != exitFailure || !strings.Contains(stderr.String(), "it was interrupted: 0 users are in") {
		t.Errorf("%v\n%s", cmd.ProcessState, stderr)
	}
}

func TestProgressText(t *testing.T) {
	for _, tc := range []struct {
		p     importer.Progress
		total int64
		took  time.Duration
		want  string
	}{
		{importer.Progress{}, 0, 0, "0 B  0 lines"},
		{importer.Progress{Lines: 100, Bytes: 1500}, 0, 2 * time.Second, "1.5 kB  100 lines  50 lines/s"},
		{importer.Progress{Lines: 100, Bytes: 0}, 1000, 0, "[........................]   0 %  0 B of 1.0 kB"},
		{importer.Progress{Lines: 100, Bytes: 2_500_000}, 5_000_000, time.Second, "[############............]  50 %  2.5 MB of 5.0 MB  100 lines/s"},
		{importer.Progress{Lines: 100, Bytes: 5_000_000_000}, 5_000_000_000, 10 * time.Second, "[########################] 100 %  5.0 GB of 5.0 GB  10 lines/s"},
		{importer.Progress{Lines: 100, Bytes: 7000}, 5000, 10 * time.Second, "[########################] 100 %  5.0 kB of 5.0 kB  10 lines/s"}, // it grew meanwhile
	} {
		if got := progressText(tc.p, tc.total, tc.took); got != tc.want || len(got) > lineWidth {
			t.Errorf("%+v: %q, want %q", tc.p, got, tc.want)
		}
	}
}

// The line is drawn ten times in a second at most, and cleared for what is written in between.
func TestProgressBar(t *testing.T) {
	var screen strings.Builder
	now := time.Unix(1_800_000_000, 0)
	b := &progressBar{statusLine: statusLine{w: &screen, width: 40}, total: 1000, now: func() time.Time { return now }, began: now}
	b.hide()
	b.update(importer.Progress{Bytes: 100})
	now = now.Add(50 * time.Millisecond)
	b.update(importer.Progress{Bytes: 200})
	now = now.Add(50 * time.Millisecond)
	b.update(importer.Progress{Bytes: 300})
	b.hide()
	b.hide()
	b.update(importer.Progress{Bytes: 400})
	lines := strings.Split(screen.String(), "\r")
	if len(lines) != 6 || !strings.Contains(lines[1], " 10 %") || !strings.Contains(lines[2], " 30 %") || strings.TrimSpace(lines[3]) != "" || lines[4] != "" || !strings.Contains(lines[5], " 40 %") {
		t.Errorf("%q", lines)
	}
	for _, line := range lines[1:4] {
		if len(line) != 40 {
			t.Errorf("%q has %d characters", line, len(line))
		}
	}
	(&progressBar{}).update(importer.Progress{}) // where nobody looks
}
