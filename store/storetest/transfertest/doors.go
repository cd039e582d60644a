package transfertest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/transfer"
)

// reads is every way to ask for something that decides about an identity, or that a login goes by.
func reads(made things) []write {
	return []write{
		{"Find by id", func(ctx context.Context, b Backend) error {
			_, err := b.Sessions().Find(ctx, handstamp.Lookup{Session: made.live.ID})
			return err
		}},
		{"Find by key", func(ctx context.Context, b Backend) error {
			_, err := b.Sessions().Find(ctx, handstamp.Lookup{Key: made.spared.Key})
			return err
		}},
		{"Find by a key that nobody has", func(ctx context.Context, b Backend) error {
			_, err := b.Sessions().Find(ctx, handstamp.Lookup{Key: hashOf("nobody's")})
			if errors.Is(err, handstamp.ErrNotFound) && ctx.Value(open{}) != nil {
				return nil
			}
			return err
		}},
		{"Find a service key", func(ctx context.Context, b Backend) error {
			_, err := b.Sessions().Find(ctx, handstamp.Lookup{ServiceKey: made.service.Hash})
			return err
		}},
		{"Subject", func(ctx context.Context, b Backend) error { _, err := b.Sessions().Subject(ctx, ada); return err }},
		{"List", func(ctx context.Context, b Backend) error {
			_, err := b.Sessions().List(ctx, handstamp.SessionFilter{Limit: 10, Now: at(6)})
			return err
		}},
		{"Values.Get", func(ctx context.Context, b Backend) error {
			_, _, err := b.Values().Get(ctx, made.visitor.ID, "cart")
			return err
		}},
		{"Roles", func(ctx context.Context, b Backend) error { _, _, err := b.Roles(ctx); return err }},
		{"Settle", func(ctx context.Context, b Backend) error { _, err := b.Settle(ctx, handstamp.Settings{}); return err }},
		{"ByEmail", func(ctx context.Context, b Backend) error {
			_, err := b.Users().ByEmail(ctx, "u0@example.com")
			return err
		}},
		{"Credential", func(ctx context.Context, b Backend) error {
			_, err := b.Users().Credential(ctx, ada, "password")
			return err
		}},
		{"Role", func(ctx context.Context, b Backend) error { _, err := b.Users().Role(ctx, "editor"); return err }},
		{"Keys", func(ctx context.Context, b Backend) error { _, err := b.Keys().Keys(ctx); return err }},
		{"Audit.List", func(ctx context.Context, b Backend) error {
			_, err := b.Audit().List(ctx, audit.Filter{Limit: 1})
			return err
		}},
		{"Renew", func(ctx context.Context, b Backend) error {
			_, err := b.Log().Renew(ctx, revoke.Renewal{Verifier: "vrf_old", Limit: 10})
			return err
		}},
		{"Register", func(ctx context.Context, b Backend) error {
			_, err := b.Log().Register(ctx, revoke.Registration{Verifier: "vrf_new", RegisteredAt: at(1)})
			return err
		}},
		{"Registered", func(ctx context.Context, b Backend) error { _, err := b.Log().Registered(ctx); return err }},
	}
}

// open is the key of a context in which "not found" is a good answer.
type open struct{}

func opened(ctx context.Context) context.Context { return context.WithValue(ctx, open{}, true) }

// short is the time that a statement gets which is to fail: a backend may make it wait for as long as its caller does.
const short = 3 * time.Second

func refused(t *testing.T, p Pair, w write) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	if err := w.run(ctx, p.Backend); !unknown(err) {
		t.Errorf("%s = %v, want an error that says that nobody knows", w.name, err)
	}
}

// register makes the verifier that reads renews.
func register(t testing.TB, b Backend) {
	t.Helper()
	if _, err := b.Log().Register(t.Context(), revoke.Registration{Verifier: "vrf_old", RegisteredAt: at(1)}); err != nil {
		t.Fatal(err)
	}
}

func testFence(t *testing.T, m Maker) {
	p := m.New(t)
	set(t, p.Transfer, transfer.Open)
	for _, w := range writes(fillBackend(t, p.Backend)) {
		set(t, p.Transfer, transfer.Tracked)
		set(t, p.Transfer, transfer.Fenced)
		refused(t, p, w)
		set(t, p.Transfer, transfer.Open)
		if err := w.run(t.Context(), p.Backend); err != nil { // what comes next may build on it
			t.Fatalf("%s = %v without a fence", w.name, err)
		}
	}
}

func testFenceServes(t *testing.T, m Maker) {
	p := m.New(t)
	made := fillBackend(t, p.Backend)
	register(t, p.Backend)
	set(t, p.Transfer, transfer.Tracked)
	set(t, p.Transfer, transfer.Fenced)
	for _, r := range reads(made) {
		if err := r.run(opened(t.Context()), p.Backend); err != nil {
			t.Errorf("%s = %v under the fence, want an answer", r.name, err)
		}
	}
	want := map[string][]transfer.Row{}
	for _, table := range transfer.Tables() {
		want[table.Name] = all(t, p.Transfer, table, 1_000)
	}
	for _, w := range writes(made) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_ = w.run(ctx, p.Backend)
		cancel()
	}
	for _, table := range transfer.Tables() {
		if got := all(t, p.Transfer, table, 1_000); !cmp.Equal(got, want[table.Name]) {
			t.Errorf("%s changed under the fence (-before +after):\n%s", table.Name, cmp.Diff(want[table.Name], got))
		}
	}
	set(t, p.Transfer, transfer.Open)
	for _, w := range writes(made) {
		if err := w.run(t.Context(), p.Backend); err != nil {
			t.Errorf("%s = %v after the fence, want no error", w.name, err)
		}
	}
}

func testClosed(t *testing.T, m Maker) {
	if m.Unclosable != "" {
		t.Skip(m.Unclosable)
	}
	for _, phase := range []transfer.Phase{transfer.Moved, transfer.Filling} {
		p := m.New(t)
		made := fillBackend(t, p.Backend)
		register(t, p.Backend)
		for _, r := range reads(made) { // so that their statements are prepared
			if err := r.run(opened(t.Context()), p.Backend); err != nil {
				t.Fatalf("%s = %v", r.name, err)
			}
		}
		whether(t, p, false)
		set(t, p.Transfer, phase)
		for _, r := range append(reads(made), writes(made)...) {
			refused(t, p, r)
		}
		whether(t, p, true)
		want := all(t, p.Transfer, transfer.Sessions(), 10)
		set(t, p.Transfer, transfer.Open)
		if got := all(t, p.Transfer, transfer.Sessions(), 10); !cmp.Equal(got, want) {
			t.Error("sessions changed while the database was closed")
		}
		for _, r := range append(reads(made), writes(made)...) {
			if err := r.run(opened(t.Context()), p.Backend); err != nil {
				t.Errorf("%s = %v after the database was opened again", r.name, err)
			}
		}
	}
}

// whether checks that a store that was left behind can say that it was.
func whether(t *testing.T, p Pair, moved bool) {
	t.Helper()
	b, can := p.Backend.(interface {
		Moved(ctx context.Context) error
	})
	if !can {
		return
	}
	if err := b.Moved(t.Context()); (err != nil) != moved || moved && !strings.Contains(err.Error(), "move") {
		t.Errorf("Moved = %v, want %v", err, moved)
	}
}

func testClosedStart(t *testing.T, m Maker) {
	p := m.New(t)
	if p.Open == nil {
		t.Skip("nobody starts on this store: it is in the memory of one process")
	}
	for _, phase := range []transfer.Phase{transfer.Tracked, transfer.Fenced} {
		set(t, p.Transfer, phase)
		b, err := p.Open(t.Context())
		if err != nil {
			t.Errorf("a server does not start in the phase %s: %v", phase, err)
			continue
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, phase := range []transfer.Phase{transfer.Moved, transfer.Filling} {
		set(t, p.Transfer, phase)
		if b, err := p.Open(t.Context()); err == nil {
			t.Errorf("a server starts in the phase %s", phase)
			_ = b.Close()
		}
	}
}

func testMarks(t *testing.T, m Maker) {
	p := m.New(t)
	fillBackend(t, p.Backend)
	mark := set(t, p.Transfer, transfer.Filling)
	rows := all(t, p.Transfer, transfer.Sessions(), 10)
	for _, stale := range []transfer.Mark{
		{}, {Phase: transfer.Filling, Log: mark.Log, Run: "another run"}, {Phase: transfer.Filling, Log: "another log", Run: mark.Run},
		{Phase: transfer.Tracked, Log: mark.Log, Run: mark.Run},
	} {
		if err := p.Transfer.Set(t.Context(), stale, transfer.Mark{}); !errors.Is(err, transfer.ErrTaken) {
			t.Errorf("Set from %+v = %v, want ErrTaken", stale, err)
		}
		err := p.Transfer.Write(t.Context(), stale, transfer.Sessions(), nil, []transfer.Row{rows[0][:1]})
		if !errors.Is(err, transfer.ErrTaken) {
			t.Errorf("Write with %+v = %v, want ErrTaken", stale, err)
		}
	}
	set(t, p.Transfer, transfer.Open)
	if err := p.Transfer.Write(t.Context(), mark, transfer.Sessions(), nil, []transfer.Row{rows[0][:1]}); !errors.Is(err, transfer.ErrTaken) {
		t.Errorf("Write to an open database = %v, want ErrTaken", err)
	}
	if err := p.Transfer.Write(t.Context(), transfer.Mark{}, transfer.Sessions(), nil, []transfer.Row{rows[0][:1]}); !errors.Is(err, transfer.ErrTaken) {
		t.Errorf("Write to an open database by its own mark = %v, want ErrTaken", err)
	}
	if got := all(t, p.Transfer, transfer.Sessions(), 10); !cmp.Equal(got, rows) {
		t.Error("a write that was refused has changed something")
	}
}

func testUnread(t *testing.T, m Maker) {
	p := m.New(t)
	made := fillBackend(t, p.Backend)
	set(t, p.Transfer, transfer.Tracked)
	err := p.Backend.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{made.spared.ID: at(10)})
	if err != nil {
		t.Fatal(err)
	}
	fenced := set(t, p.Transfer, transfer.Fenced)
	moved := fenced
	moved.Phase = transfer.Moved
	if err := p.Transfer.Set(t.Context(), fenced, moved); !errors.Is(err, transfer.ErrChanges) {
		t.Errorf("Set = %v, want ErrChanges", err)
	}
	if err := p.Transfer.Forget(t.Context(), changes(t, p.Transfer)); err != nil {
		t.Fatal(err)
	}
	if err := p.Transfer.Set(t.Context(), fenced, moved); err != nil {
		t.Errorf("Set = %v after the changes were carried over", err)
	}
}

// testUnique lets addresses change hands between two reads.
func testUnique(t *testing.T, m Maker) {
	from, to := m.New(t), m.New(t)
	fillBackend(t, from.Backend)
	mark := set(t, to.Transfer, transfer.Filling)
	fill(t, from.Transfer, to.Transfer, mark)
	put := func(u handstamp.UserID, email string, version uint64) {
		do(t, from.Backend, func(ctx context.Context, tx login.Tx) error {
			return tx.PutUser(ctx, account.User{ID: u, Email: account.Address(email), CreatedAt: at(1), Version: version})
		})
	}
	put(ada, "elsewhere@example.com", 1)
	put(bob, "u0@example.com", 1)
	put(ada, "u1@example.com", 2)
	for _, table := range transfer.Tables() {
		if table.Name != "users" {
			continue
		}
		want := all(t, from.Transfer, table, 10)
		for i := range want { // one by one, in the order that conflicts, and once more for what was taken away
			if err := to.Transfer.Write(t.Context(), mark, table, want[len(want)-1-i:len(want)-i], nil); err != nil {
				t.Fatalf("Write = %v", err)
			}
		}
		if err := to.Transfer.Write(t.Context(), mark, table, want, nil); err != nil {
			t.Fatalf("Write = %v", err)
		}
		if got := all(t, to.Transfer, table, 10); !cmp.Equal(got, want) {
			t.Errorf("users differ (-want +got):\n%s", cmp.Diff(want, got))
		}
	}
}
