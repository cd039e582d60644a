package redis_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/store/sqlite"
	"github.com/handstamp/handstamp/store/transfer"
)

// beside is a store with its sessions as a move sees them.
type beside struct {
	handle
	*redis.Transfer
}

func newBeside(t *testing.T, server *fault.Redis) beside {
	t.Helper()
	h := open(t, server)
	base, err := sqlite.OpenTransfer(t.Context(), h.path, false)
	must(t, err)
	c := dial(t, h.url, redis.Options{})
	t.Cleanup(func() { c.Close(); _ = base.Close() })
	return beside{h, redis.NewTransfer(c, base, h.Store)}
}

// turn moves the mark to a phase of the log of the base.
func (b beside) turn(t *testing.T, p transfer.Phase, log string) transfer.Mark {
	t.Helper()
	from, err := b.Mark(t.Context())
	must(t, err)
	to := transfer.Mark{Phase: p, Log: log, Peer: "elsewhere", Run: "run", At: at(1)}
	if p == transfer.Open {
		to = transfer.Mark{}
	}
	must(t, b.Set(t.Context(), from, to))
	got, err := b.Mark(t.Context())
	must(t, err)
	if got != to {
		t.Fatalf("Mark = %+v, want %+v", got, to)
	}
	return to
}

func logOf(t *testing.T, h handle) string {
	t.Helper()
	head, err := h.Log().Register(t.Context(), revoke.Registration{Verifier: "vrf_log", RegisteredAt: at(0)})
	must(t, err)
	return head.Log
}

// rows reads a table by pages of a size.
func (b beside) rows(t *testing.T, table transfer.Table, size int) []transfer.Row {
	t.Helper()
	var all []transfer.Row
	var last transfer.Row
	for {
		page, err := b.Page(t.Context(), table, last, size)
		must(t, err)
		all = append(all, page...)
		if len(page) < size {
			return all
		}
		last = table.KeyOf(page[len(page)-1])
	}
}

// TestTransfer reads sessions and values of one Redis, writes them into another, and opens that over a database that has
// the log: what is asked of it there is answered as before.
func TestTransfer(t *testing.T) {
	server := fault.SharedRedis(t)
	from := newBeside(t, server)
	var made []handstamp.Session
	for i := range 7 {
		s := begin(t, from.handle, i)
		made = append(made, s)
		for n := range i {
			must(t, from.Values().Put(t.Context(), handstamp.DatumWrite{
				Session: s.ID, Limit: 1 << 14, Now: at(6),
				Value: handstamp.Datum{Name: fmt.Sprint("name", n), Data: []byte{0, 255, ':', byte(n)}, Version: 1<<62 + uint64(n)},
			}))
		}
	}
	appendTo(t, from.handle, event("session", string(made[3].ID), "end"))
	for _, table := range []transfer.Table{transfer.Sessions(), transfer.Data()} {
		want := from.rows(t, table, 1000)
		for _, r := range want {
			must(t, transfer.Check(table, r))
		}
		for _, size := range []int{1, 2, 3, 5} {
			if got := from.rows(t, table, size); !cmp.Equal(got, want) {
				t.Errorf("%s by pages of %d differs (-want +got):\n%s", table.Name, size, cmp.Diff(want, got))
			}
		}
		var keys []transfer.Row
		for _, r := range want {
			keys = append(keys, table.KeyOf(r))
		}
		if got, err := from.Rows(t.Context(), table, keys); err != nil || !cmp.Equal(got, want) {
			t.Errorf("Rows(%s) = %v (-want +got):\n%s", table.Name, err, cmp.Diff(want, got))
		}
	}
	log := logOf(t, from.handle)
	from.turn(t, transfer.Moved, log)

	// A second Redis over the same base stands for the target.
	url := server.URLAt(server.Addr(), server.NextDB())
	base, err := sqlite.OpenTransfer(t.Context(), from.path, false)
	must(t, err)
	c := dial(t, url, redis.Options{})
	t.Cleanup(func() { c.Close(); _ = base.Close() })
	to := beside{openAt(t, from.path, url), redis.NewTransfer(c, base, nil)}
	mark := to.turn(t, transfer.Filling, log)
	sessions, data := from.rows(t, transfer.Sessions(), 3), from.rows(t, transfer.Data(), 3)
	must(t, to.Write(t.Context(), mark, transfer.Data(), data, nil)) // before their sessions: they come with those
	must(t, to.Write(t.Context(), mark, transfer.Sessions(), sessions, nil))
	must(t, to.Write(t.Context(), mark, transfer.Data(), data, nil))
	must(t, to.Write(t.Context(), mark, transfer.Sessions(), sessions, nil)) // and again, as after an interruption
	stale := mark
	stale.Run = "another run"
	if err := to.Write(t.Context(), stale, transfer.Sessions(), nil, []transfer.Row{{string(made[0].ID)}}); !errors.Is(err, transfer.ErrTaken) {
		t.Errorf("Write of another run = %v, want ErrTaken", err)
	}
	to.turn(t, transfer.Open, "")
	for i, s := range made {
		if got, want := alive(t, to.handle, s), i != 3; got != want {
			t.Errorf("session %d lives: %v, want %v", i, got, want)
		}
		f, err := to.Sessions().Find(t.Context(), handstamp.Lookup{Key: s.Key})
		if err != nil || f.Session.ID != s.ID || f.Session.Version < s.Version {
			t.Errorf("session %d by its key = %+v, %v", i, f.Session, err)
		}
		for n := range i {
			d, _, err := to.Values().Get(t.Context(), s.ID, fmt.Sprint("name", n))
			if err != nil || d.Version != 1<<62+uint64(n) || string(d.Data) != string([]byte{0, 255, ':', byte(n)}) {
				t.Errorf("value %d of session %d = %+v, %v", n, i, d, err)
			}
		}
	}
	if got := to.rows(t, transfer.Data(), 2); !cmp.Equal(got, data) {
		t.Errorf("values differ (-want +got):\n%s", cmp.Diff(data, got))
	}
	list, err := to.Sessions().List(t.Context(), handstamp.SessionFilter{User: ada, Limit: 100, Now: at(6)})
	if err != nil || len(list) != 6 {
		t.Errorf("List = %d sessions, %v, want 6", len(list), err)
	}
}

// TestTransferClosed: closed sessions answer nobody, neither yes nor no, and go on where they were when they are opened.
func TestTransferClosed(t *testing.T) {
	b := newBeside(t, fault.SharedRedis(t))
	s := begin(t, b.handle, 1)
	log := logOf(t, b.handle)
	for range 2 {
		b.turn(t, transfer.Moved, log)
		for name, call := range map[string]func() error{
			"Find": func() error {
				_, err := b.Sessions().Find(t.Context(), handstamp.Lookup{Session: s.ID})
				return err
			},
			"Find of nobody": func() error {
				_, err := b.Sessions().Find(t.Context(), handstamp.Lookup{Session: "ses_nobody"})
				return err
			},
			"List": func() error {
				_, err := b.Sessions().List(t.Context(), handstamp.SessionFilter{User: ada, Limit: 1, Now: at(2)})
				return err
			},
			"Rotate": func() error {
				_, err := b.Sessions().Rotate(t.Context(), s.ID, 1, handstamp.Rotation{At: at(2), Family: handstamp.Family{Generation: 2, Nonce: s.Refresh.Nonce}})
				return err
			},
			"Touch":  func() error { return b.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{s.ID: at(3)}) },
			"log-in": func() error { return login(t, b.handle, session(ada, 3)) },
		} {
			err := call()
			if err == nil || errors.Is(err, handstamp.ErrNotFound) || errors.Is(err, handstamp.ErrConflict) {
				t.Errorf("%s of closed sessions = %v, want an error that says that nobody knows", name, err)
			}
		}
		b.turn(t, transfer.Open, "")
		if !alive(t, b.handle, s) {
			t.Error("the session does not live any more")
		}
	}
}

// TestTransferForeign: sessions over another database are not written over.
func TestTransferForeign(t *testing.T) {
	b := newBeside(t, fault.SharedRedis(t))
	begin(t, b.handle, 1)
	err := b.Set(t.Context(), transfer.Mark{}, transfer.Mark{Phase: transfer.Filling, Log: "another log", Run: "run", At: at(1)})
	if !errors.Is(err, redis.ErrForeign) {
		t.Errorf("Set = %v, want ErrForeign", err)
	}
}
