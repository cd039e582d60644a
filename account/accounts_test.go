package account_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/token"
)

type world struct {
	auth  *handstamp.Auth
	store *memory.Store
	a     *account.Accounts
}

func newWorld(t testing.TB) world {
	t.Helper()
	w := world{store: memory.New()}
	now := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	var err error
	w.auth, err = handstamp.Open(t.Context(), w.store, handstamp.Options{
		PublicURL: "https://app.example.com", Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.auth.Close(); err != nil {
			t.Error(err)
		}
	})
	w.a = account.New(w.auth, w.store)
	return w
}

func (w world) user(t testing.TB, email account.Address, roles ...string) account.User {
	t.Helper()
	u, err := w.a.Create(t.Context(), account.NewUser{Email: email, Roles: roles}, handstamp.Client{Actor: "cli"})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (w world) start(t testing.TB, u handstamp.UserID) handstamp.Grant {
	t.Helper()
	p, err := w.auth.Prove(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	g, err := w.auth.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (w world) verdict(g handstamp.Grant) string {
	_, err := w.auth.VerifyToken(context.Background(), g.AccessToken.Reveal())
	if err == nil {
		return "yes"
	}
	reason, _ := handstamp.ReasonOf(err)
	return string(reason)
}

// TestL1_EveryChangeIsAudited: who did what to whom, in the transaction of the change.
func TestL1_EveryChangeIsAudited(t *testing.T) {
	w := newWorld(t)
	u := w.user(t, "ada@example.org")
	by := handstamp.EndOptions{Client: handstamp.Client{Actor: "root", IP: "192.0.2.1", UserAgent: "A", RequestID: "r1"}}
	steps := map[audit.Kind]func() error{
		audit.RolesChanged: func() error { _, err := w.a.SetRoles(t.Context(), u.ID, []string{"editor"}, by); return err },
		audit.UserChanged:  func() error { _, err := w.a.SetEmail(t.Context(), u.ID, "countess@example.org", by); return err },
		audit.UserDisabled: func() error { _, err := w.a.SetDisabled(t.Context(), u.ID, true, by); return err },
		audit.UserEnabled:  func() error { _, err := w.a.SetDisabled(t.Context(), u.ID, false, by); return err },
		audit.RoleDefined: func() error {
			_, err := w.a.PutRole(t.Context(), account.Role{Name: "editor", Permissions: []string{"posts:*"}}, by)
			return err
		},
		audit.RoleDeleted: func() error {
			_, err := w.a.DeleteRole(t.Context(), "editor", by)
			return err
		},
		audit.UserDeleted: func() error { _, err := w.a.Delete(t.Context(), u.ID, by); return err },
	}
	for _, k := range []audit.Kind{audit.RolesChanged, audit.UserChanged, audit.UserDisabled, audit.UserEnabled, audit.RoleDefined, audit.RoleDeleted, audit.UserDeleted} {
		if err := steps[k](); err != nil {
			t.Fatalf("%s: %v", k, err)
		}
		list, err := w.store.Audit().List(t.Context(), audit.Filter{Kind: k, Limit: 10})
		if err != nil || len(list) != 1 {
			t.Fatalf("%s: %v, %v", k, list, err)
		}
		e := list[0]
		if e.Actor != "root" || e.IP != "192.0.2.1" || e.UserAgent != "A" || e.RequestID != "r1" || e.At.IsZero() || e.Target != string(u.ID) && e.Target != "editor" {
			t.Errorf("%s: %+v", k, e)
		}
	}
}

// TestS8_DisableAndDelete: all sessions end at once, none comes back, no new one begins; the address is free after a
// deletion, the id never is.
func TestS8_DisableAndDelete(t *testing.T) {
	w := newWorld(t)
	u := w.user(t, "ada@example.org")
	g := w.start(t, u.ID)
	ended, err := w.a.SetDisabled(t.Context(), u.ID, true, handstamp.EndOptions{})
	if err != nil || ended.Sessions != 1 || w.verdict(g) != "revoked" {
		t.Errorf("%+v %v, %s", ended, err, w.verdict(g))
	}
	p, err := w.auth.Prove(t.Context(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.auth.Start(t.Context(), p); !errors.Is(err, handstamp.ErrDisabled) {
		t.Errorf("Start of a disabled user: %v", err)
	}
	if _, err := w.a.SetDisabled(t.Context(), u.ID, false, handstamp.EndOptions{}); err != nil || w.verdict(g) != "revoked" {
		t.Errorf("after enabling: %v, %s", err, w.verdict(g))
	}
	g = w.start(t, u.ID)
	if _, err := w.a.Delete(t.Context(), u.ID, handstamp.EndOptions{}); err != nil || w.verdict(g) != "revoked" {
		t.Errorf("%v, %s", err, w.verdict(g))
	}
	for name, err := range map[string]error{
		"delete": second(w.a.Delete(t.Context(), u.ID, handstamp.EndOptions{})), "disable": second(w.a.SetDisabled(t.Context(), u.ID, true, handstamp.EndOptions{})),
		"roles": second(w.a.SetRoles(t.Context(), u.ID, nil, handstamp.EndOptions{})), "email": second(w.a.SetEmail(t.Context(), u.ID, "x@example.org", handstamp.EndOptions{})),
	} {
		if !errors.Is(err, handstamp.ErrNotFound) {
			t.Errorf("%s of a deleted user: %v", name, err)
		}
	}
	sub, err := w.auth.Subject(t.Context(), u.ID)
	if err != nil || !sub.Deleted || sub.Email != "" || len(sub.Grants.Roles) != 0 {
		t.Errorf("the row that stays: %+v, %v", sub, err)
	}
	p, err = w.auth.Prove(t.Context(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.auth.Start(t.Context(), p); !errors.Is(err, handstamp.ErrDisabled) {
		t.Errorf("Start of a deleted user: %v", err)
	}
	if again := w.user(t, "ada@example.org"); again.ID == u.ID {
		t.Error("an id was given twice")
	}
}

func second[T any](_ T, err error) error { return err }

// TestOneAddressOneAccount: of many who take the same address at once one gets it, also by a change.
func TestOneAddressOneAccount(t *testing.T) {
	w := newWorld(t)
	other := w.user(t, "bob@example.org")
	var wg sync.WaitGroup
	var won atomic.Int32
	for i := range 20 {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				_, err = w.a.Create(context.Background(), account.NewUser{Email: "ada@example.org"}, handstamp.Client{})
			} else {
				_, err = w.a.SetEmail(context.Background(), other.ID, "ada@example.org", handstamp.EndOptions{})
			}
			switch {
			case err == nil && i%2 == 0:
				won.Add(1)
			case err != nil && !errors.Is(err, handstamp.ErrTaken):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	u, err := w.a.Users().ByEmail(t.Context(), "ada@example.org")
	if err != nil || (u.ID == other.ID) != (won.Load() == 0) || won.Load() > 1 {
		t.Errorf("%+v %v, %d winners", u, err, won.Load())
	}
}

func TestRoles(t *testing.T) {
	w := newWorld(t)
	mine := []string{"posts:write", "posts:read", "posts:write"}
	before := slices.Clone(mine)
	if _, err := w.a.PutRole(t.Context(), account.Role{Name: "editor", Permissions: mine}, handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(mine, before) {
		t.Error("PutRole changed the caller's slice")
	}
	r, err := w.a.Users().Role(t.Context(), "editor")
	if err != nil || !slices.Equal(r.Permissions, []string{"posts:read", "posts:write"}) {
		t.Errorf("%+v %v", r, err)
	}
	long := strings.Repeat("x", 129)
	for name, err := range map[string]error{
		"admin loses everything": second(w.a.PutRole(t.Context(), account.Role{Name: "admin"}, handstamp.EndOptions{})),
		"no pattern":             second(w.a.PutRole(t.Context(), account.Role{Name: "r", Permissions: []string{"*:read"}}, handstamp.EndOptions{})),
		"bad name":               second(w.a.PutRole(t.Context(), account.Role{Name: "a b"}, handstamp.EndOptions{})),
		"long name":              second(w.a.PutRole(t.Context(), account.Role{Name: long}, handstamp.EndOptions{})),
		"too many":               second(w.a.PutRole(t.Context(), account.Role{Name: "r", Permissions: make([]string, 1001)}, handstamp.EndOptions{})),
		"admin stays":            second(w.a.DeleteRole(t.Context(), "admin", handstamp.EndOptions{})),
		"member stays":           second(w.a.DeleteRole(t.Context(), "member", handstamp.EndOptions{})),
		"role of a user":         second(w.a.SetRoles(t.Context(), "42", []string{"a b"}, handstamp.EndOptions{})),
		"role twice":             second(w.a.SetRoles(t.Context(), "42", []string{"a", "a"}, handstamp.EndOptions{})),
		"too many roles":         second(w.a.SetRoles(t.Context(), "42", make([]string, 101), handstamp.EndOptions{})),
		"no user":                second(w.a.SetRoles(t.Context(), "", []string{"a"}, handstamp.EndOptions{})),
	} {
		if !errors.Is(err, account.ErrInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.a.DeleteRole(t.Context(), "nobody has it", handstamp.EndOptions{}); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("an unknown role: %v", err)
	}
	if has, err := w.a.HasAdmin(t.Context()); has || err != nil {
		t.Errorf("HasAdmin = %v, %v", has, err)
	}
	w.user(t, "root@example.org", account.RoleAdmin)
	if has, err := w.a.HasAdmin(t.Context()); !has || err != nil {
		t.Errorf("HasAdmin = %v, %v", has, err)
	}
}

func TestServiceKeys(t *testing.T) {
	w := newWorld(t)
	now := w.auth.Now()
	k, secret, err := w.a.AddServiceKey(t.Context(), account.NewServiceKey{Name: "ci", Permissions: []string{"posts:*"}}, handstamp.Client{})
	if err != nil || k.Hash != token.HashOf(secret) || !k.ExpiresAt.IsZero() {
		t.Fatalf("%+v %v", k, err)
	}
	for name, n := range map[string]account.NewServiceKey{
		"no name": {}, "long name": {Name: strings.Repeat("n", 201)}, "bad permission": {Name: "n", Permissions: []string{"a b"}},
		"expired": {Name: "n", ExpiresAt: now}, "long expired": {Name: "n", ExpiresAt: now.Add(-time.Hour)},
	} {
		if _, s, err := w.a.AddServiceKey(t.Context(), n, handstamp.Client{}); !errors.Is(err, account.ErrInput) || !s.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
	}
	list, err := w.a.Users().ServiceKeys(t.Context(), "", 10)
	if err != nil || len(list) != 1 || list[0].ID != k.ID {
		t.Errorf("%+v %v", list, err)
	}
	if _, err := w.auth.EndServiceKey(t.Context(), k.ID, handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	if list, err := w.a.Users().ServiceKeys(t.Context(), "", 10); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
}

// counted counts the units of work on accounts, and fails those that come after the last that is left.
type counted struct {
	*memory.Store
	done *atomic.Int32
}

func (c counted) AccountWork() handstamp.UnitOfWork[account.Tx] {
	return countedWork{c.Store.AccountWork(), c.done}
}

type countedWork struct {
	handstamp.UnitOfWork[account.Tx]
	done *atomic.Int32
}

func (c countedWork) Do(ctx context.Context, fn func(account.Tx) error) error {
	c.done.Add(1)
	return c.UnitOfWork.Do(ctx, fn)
}

// TestChangeIsOneUnit: an address and a disabled account are changed together or not at all, with an audit entry and an
// event for each.
func TestChangeIsOneUnit(t *testing.T) {
	w := newWorld(t)
	w.user(t, "taken@example.org")
	u := w.user(t, "ada@example.org")
	g := w.start(t, u.ID)
	var units atomic.Int32
	a := account.New(w.auth, counted{w.store, &units})
	by := handstamp.EndOptions{Client: handstamp.Client{Actor: "root"}, WaitFleet: true}
	entries := func(k audit.Kind) int {
		t.Helper()
		list, err := w.store.Audit().List(t.Context(), audit.Filter{Kind: k, User: u.ID, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	is := func(email account.Address, disabled bool, changes, ends int) {
		t.Helper()
		got, err := w.a.Users().ByID(t.Context(), u.ID)
		if err != nil || got.Email != email || got.Disabled != disabled {
			t.Errorf("%+v %v, want %s and disabled %v", got, err, email, disabled)
		}
		sub, err := w.auth.Subject(t.Context(), u.ID)
		if err != nil || sub.Email != string(email) || sub.Disabled != disabled {
			t.Errorf("the engine's row: %+v, %v", sub, err)
		}
		if c, e := entries(audit.UserChanged), entries(audit.UserDisabled); c != changes || e != ends {
			t.Errorf("%d and %d audit entries, want %d and %d", c, e, changes, ends)
		}
	}
	if _, err := a.Change(t.Context(), u.ID, account.Change{Email: new(account.Address("taken@example.org")), Disabled: new(true)}, by); !errors.Is(err, handstamp.ErrTaken) {
		t.Errorf("a taken address: %v", err)
	}
	is("ada@example.org", false, 0, 0)
	if got := w.verdict(g); got != "yes" {
		t.Errorf("after a change that was refused the session is %s", got)
	}
	units.Store(0)
	ended, err := a.Change(t.Context(), u.ID, account.Change{Email: new(account.Address("countess@example.org")), Disabled: new(true)}, by)
	if err != nil || ended.Sessions != 1 || ended.Verifiers != 1 || units.Load() != 1 || w.verdict(g) != "revoked" {
		t.Errorf("%+v %v in %d units, session %s", ended, err, units.Load(), w.verdict(g))
	}
	is("countess@example.org", true, 1, 1)
	sub, err := w.auth.Subject(t.Context(), u.ID)
	if err != nil || sub.Ended == 0 || sub.Changed == 0 || ended.By != max(sub.Ended, sub.Changed) {
		t.Errorf("%+v %v, and what was waited for is %d", sub, err, ended.By)
	}
	if _, err := a.Change(t.Context(), u.ID, account.Change{Disabled: new(false)}, by); err != nil {
		t.Error(err)
	}
	is("countess@example.org", false, 1, 1)
	if _, err := a.Change(t.Context(), u.ID, account.Change{}, by); !errors.Is(err, account.ErrInput) {
		t.Errorf("a change of nothing: %v", err)
	}
	if _, err := a.Change(t.Context(), "42", account.Change{Disabled: new(true)}, by); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("a user that no account knows: %v", err)
	}
}
