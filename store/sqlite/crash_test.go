package sqlite

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

// crashFile tells a child process of this test which database to write to until it is killed.
const crashFile = "HANDSTAMP_TEST_CRASH_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		if err := writeUntilKilled(path); err != nil {
			fmt.Println("error", err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled makes sessions and ends every second one. It prints a line for each write that was acknowledged.
func writeUntilKilled(path string) error {
	s, err := Open(noContext(), path, Options{})
	if err != nil {
		return err
	}
	var line sync.Mutex
	say := func(what string, sid id.Session) {
		line.Lock()
		defer line.Unlock()
		fmt.Println(what, sid)
	}
	failed := make(chan error)
	for range 3 {
		go func() {
			for n := 0; ; n++ {
				rec := session("ada")
				if err := makeWithEntry(s, rec); err != nil {
					failed <- err
					return
				}
				say("made", rec.ID)
				if n%2 == 0 {
					continue
				}
				if err := endWithEntry(s, rec); err != nil {
					failed <- err
					return
				}
				say("ended", rec.ID)
			}
		}()
	}
	return <-failed
}

func makeWithEntry(s *Store, rec handstamp.Session) error {
	ctx := noContext()
	return s.Work().Do(ctx, func(tx handstamp.Tx) error {
		return errors.Join(tx.PutSession(ctx, rec), tx.Record(ctx, entry(audit.LoginOK, rec.ID)))
	})
}

func endWithEntry(s *Store, rec handstamp.Session) error {
	ctx := noContext()
	return s.Work().Do(ctx, func(tx handstamp.Tx) error {
		_, err := tx.Append(ctx, endOf(rec))
		return errors.Join(err, tx.Record(ctx, entry(audit.SessionEnded, rec.ID)))
	})
}

func entry(k audit.Kind, sid id.Session) audit.Event {
	return audit.Event{ID: id.NewAudit(begun), At: begun, Kind: k, Actor: "ada", Session: sid}
}

// A process that is killed at any moment loses nothing that it acknowledged and leaves nothing half-done.
func TestKilledProcessLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handstamp.db")
	random := rand.New(rand.NewPCG(1, 2))
	said := make(map[string]bool) // every line there ever was
	for cycle := range 10 {
		var s *Store
		if cycle%2 == 1 { // beside the child, and it goes on after the child is gone
			s = openTest(t, path)
		}
		for _, line := range killAfter(t, path, 1+random.IntN(60)) {
			said[line] = true
		}
		if s == nil {
			s = openTest(t, path)
		}
		put(t, s, "bob")
		if err := s.Check(t.Context()); err != nil {
			t.Fatalf("cycle %d: %v", cycle, err)
		}
		holds(t, s, said)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killAfter runs a child until it has said so many lines, kills it, and returns all it said.
func killAfter(t *testing.T, path string, lines int) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashFile+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for in := bufio.NewScanner(out); in.Scan(); {
		if strings.HasPrefix(in.Text(), "error") {
			t.Errorf("the child says: %s", in.Text())
		}
		if said = append(said, in.Text()); len(said) == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	return said
}

// holds checks that what was said is there, and that every record has its entry and every entry its record.
func holds(t *testing.T, s *Store, said map[string]bool) {
	t.Helper()
	entries := make(map[string]bool)
	f := audit.Filter{Limit: 1000}
	for {
		page, err := s.Audit().List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			what := "made "
			if e.Kind == audit.SessionEnded {
				what = "ended "
			}
			entries[what+string(e.Session)] = true
			f.Before = e.ID
		}
		if len(page) < f.Limit {
			break
		}
	}
	for line := range said {
		if !entries[line] {
			t.Errorf("acknowledged, but its audit entry is gone: %s", line)
		}
	}
	for line := range entries {
		what, sid, _ := strings.Cut(line, " ")
		found, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: id.Session(sid)})
		if err != nil {
			t.Errorf("%s has an audit entry, and Find = %v", line, err)
		} else if dead := found.Session.EndedBy != 0; dead != (what == "ended") && !entries["ended "+sid] {
			t.Errorf("%s has an audit entry, and its record is ended: %t", line, dead)
		}
	}
	numbersAreWhole(t, s)
}

// numbersAreWhole checks that the log has every number up to its head, once.
func numbersAreWhole(t *testing.T, s *Store) {
	t.Helper()
	h, err := s.Log().Register(t.Context(), registration(string(id.NewVerifier(begun))))
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.readers.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.readers.give(l, true)
	a, err := answer(t.Context(), l, revoke.Renewal{Log: h.Log, Limit: maxEvents})
	if err != nil || uint64(len(a.Events)) != h.Seq || a.Reset {
		t.Errorf("events up to %d = %d of them (reset %t), %v", h.Seq, len(a.Events), a.Reset, err)
	}
	for i, e := range a.Events {
		if e.Seq != uint64(i)+1 {
			t.Fatalf("event %d has number %d", i+1, e.Seq)
		}
	}
}
