package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/internal/fault"
)

// TestMove_check: what the move refuses before it changes anything --check refuses, too, in the same words, and it makes
// nothing.
func TestMove_check(t *testing.T) {
	p, r := fault.SharedPostgres(t), fault.SharedRedis(t)
	evicting := fault.StartRedis(t, fault.RedisOptions{Args: []string{"--maxmemory-policy", "allkeys-lru"}})
	filling := fault.StartRedis(t, fault.RedisOptions{AppendFsync: "always"})
	filling.Do(t, "HSET", "{handstamp:}move", "phase", "filling", "log", "another", "run", "another", "at", "1", "age", "one")
	used := r.URLAt(r.Addr(), r.NextDB())
	other := newWard(t, time.Now(), "HANDSTAMP_SESSIONS="+used, "HANDSTAMP_ACCEPT_LOSS=volatile")
	other.at(time.Now(), func(e *engine, _ *config.Config) { other.login(e, "ada@example.com", handstamp.ModeSession) })
	begun := fault.StartRedis(t, fault.RedisOptions{AppendFsync: "always"})
	begun.Do(t, "HSET", "{handstamp:}at", "e", "age", "s", "7", "t", "tag", "l", "another")
	db := p.CreateDB(t)
	p.ExecIn(t, db, "CREATE ROLE move_guest LOGIN PASSWORD 'move_guest'")
	t.Cleanup(func() { p.ExecIn(t, db, "DROP OWNED BY move_guest", "DROP ROLE move_guest") })
	guest := "postgres://move_guest:move_guest@" + p.Addr() + "/" + db + "?sslmode=disable"

	for _, tt := range []struct{ name, database, sessions, text string }{
		{"a Redis that throws sessions away", "", evicting.URL(), `its maxmemory-policy is "allkeys-lru", so it may throw sessions away`},
		{"no Redis", "", "redis://127.0.0.1:1", "connection refused"},
		{"sessions of another database", "", used, "the target is not empty: there is something in sessions"},
		{"a place of another database without a session", "", begun.URL(), "there are sessions of another database under this prefix"},
		{"sessions of another move", "", filling.URL(), "the target is the unfinished copy of another database"},
		{"a user who may make no schema", guest, "", `the user "move_guest" may not make the schema "handstamp"`},
	} {
		for _, made := range []bool{false, true} { // whether there is an empty target already
			if made && tt.database != "" {
				continue // nobody could make it
			}
			t.Run(fmt.Sprintf("%s, made is %v", tt.name, made), func(t *testing.T) {
				w := newWard(t, time.Now())
				file := filepath.Join(w.dir, "new.db")
				args := []string{"move", "--from", "sqlite", "--to", "sqlite:" + file, "--yes"}
				switch {
				case tt.database != "":
					args[4] = tt.database
				case made:
					w2 := &place{t, with(w.env, "HANDSTAMP_DATABASE=sqlite:"+file)}
					if code, _, errs := w2.run("", "migrate"); code != exitOK {
						t.Fatal(errs)
					}
				}
				if tt.sessions != "" {
					args = append(args, "--to-sessions", tt.sessions)
				}
				code, out, checked := w.run("", append(args, "--check")...)
				if code != exitFailure || out != "" || !strings.Contains(checked, tt.text) {
					t.Errorf("--check: exit %d, want %q\n%s%s", code, tt.text, out, checked)
				}
				if _, err := os.Stat(file); !made && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("--check has made the target: %v", err)
				}
				code, _, moved := w.run("", args...)
				moved = strings.Replace(moved, "open database: ", "look at the database: ", 1)
				if code != exitFailure || moved != checked {
					t.Errorf("the move: exit %d\n%s--check says\n%s", code, moved, checked)
				}
				w.at(time.Now(), func(*engine, *config.Config) {}) // a server still starts on the source
			})
		}
	}
}

// TestMove_check_changes_nothing: a check that has nothing against a move leaves an empty Redis empty.
func TestMove_check_changes_nothing(t *testing.T) {
	r := fault.StartRedis(t, fault.RedisOptions{AppendFsync: "always"})
	w := newWard(t, time.Now())
	if out := w.must("move", "--from", "sqlite", "--to", "sqlite:"+filepath.Join(w.dir, "new.db"), "--to-sessions", r.URL(), "--check"); !strings.Contains(out, "can be moved to ") {
		t.Errorf("--check says\n%s", out)
	}
	if n := r.Do(t, "DBSIZE"); n != int64(0) {
		t.Errorf("there are %v keys", n)
	}
}
