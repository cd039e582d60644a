package password_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/login/logintest"
	"github.com/handstamp/handstamp/login/password"
)

const (
	rightPassword = "a long walk at 6 o'clock"
	owner         = account.Address("ada@example.org")
)

// cheap are costs for tests.
func cheap() password.Params { return password.Params{MemoryKiB: 64, Iterations: 1, Parallelism: 1} }

func newHasher(t testing.TB, p password.Params) *password.Hasher {
	t.Helper()
	h, err := password.NewHasher(password.HasherOptions{Params: p, InsecureCost: true, Queue: password.NewQueue(2, 1000, time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func policy(t testing.TB) password.Policy {
	t.Helper()
	p, err := password.NewPolicy(0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// bench is a method in a world, with one user.
type bench struct {
	w      logintest.World
	m      *password.Method
	hasher *password.Hasher
	user   account.User
	grant  handstamp.Grant
}

func newBench(t testing.TB, w logintest.World) *bench {
	t.Helper()
	b := &bench{w: w, hasher: newHasher(t, cheap())}
	b.m = password.New(w.Flow, w.Accounts, b.hasher, policy(t))
	var err error
	b.user, b.grant, err = b.m.SignUp(t.Context(), login.SignUp{Email: owner, Password: rightPassword})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) login(typed string) (handstamp.Grant, error) {
	return b.m.Login(context.Background(), owner, typed, handstamp.StartOptions{Client: handstamp.Client{IP: "192.0.2.1"}})
}

func (b *bench) verdict(g handstamp.Grant) string {
	_, err := b.w.Auth.VerifyToken(context.Background(), g.AccessToken.Reveal())
	if err == nil {
		return "yes"
	}
	reason, _ := handstamp.ReasonOf(err)
	return string(reason)
}

func TestMethodKeepsTheContract(t *testing.T) {
	logintest.Run(t, func(t testing.TB, w logintest.World) logintest.Method {
		h := newHasher(t, cheap())
		m := password.New(w.Flow, w.Accounts, h, policy(t))
		user, err := m.Create(t.Context(), account.NewUser{Email: owner}, rightPassword, handstamp.Client{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Create(t.Context(), account.NewUser{Email: "bare@example.org"}, "", handstamp.Client{}); err != nil {
			t.Fatal(err)
		}
		addresses := map[logintest.Who]account.Address{
			logintest.Owner: owner, logintest.Stranger: "nobody@example.org", logintest.Credential: "bare@example.org",
		}
		return logintest.Method{
			Name: "pwd", Owner: user.ID, Work: func() uint64 { return h.Work().KiB },
			Login: func(ctx context.Context, who logintest.Who, right bool, start handstamp.StartOptions) (handstamp.Grant, error) {
				typed := "wrong horse battery staple"
				if right {
					typed = rightPassword
				}
				return m.Login(ctx, addresses[who], typed, start)
			},
		}
	})
}

// TestP10_EveryEarlyExitCostsTheSame: unknown, without a password, disabled and wrong do the same work.
func TestP10_EveryEarlyExitCostsTheSame(t *testing.T) {
	b := newBench(t, logintest.NewWorld(t))
	off, err := b.m.Create(t.Context(), account.NewUser{Email: "off@example.org"}, rightPassword, handstamp.Client{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.w.Accounts.SetDisabled(t.Context(), off.ID, true, handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.m.Create(t.Context(), account.NewUser{Email: "bare@example.org"}, "", handstamp.Client{}); err != nil {
		t.Fatal(err)
	}
	work := func(a account.Address, typed string, want error) uint64 {
		t.Helper()
		before := b.hasher.Work().KiB
		_, err := b.m.Login(t.Context(), a, typed, handstamp.StartOptions{Client: handstamp.Client{IP: string(a[0]) + "::1"}})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", a, err, want)
		}
		return b.hasher.Work().KiB - before
	}
	works := []uint64{
		work(owner, "wrong wrong wrong", login.ErrInvalidCredentials), work("f@example.org", "wrong", login.ErrInvalidCredentials),
		work("off@example.org", "wrong wrong", login.ErrInvalidCredentials), work("off@example.org", rightPassword, handstamp.ErrDisabled),
		work("bare@example.org", "x", login.ErrInvalidCredentials), work(owner, rightPassword, nil),
	}
	if len(slices.Compact(works)) != 1 {
		t.Errorf("work: %v", works)
	}
	before := b.hasher.Work().Hashes
	for _, a := range []account.Address{owner, "nobody@example.org"} {
		_, err := b.m.Login(t.Context(), a, string(make([]byte, 2000)), handstamp.StartOptions{})
		if _, ok := errors.AsType[*login.InputError](err); !ok {
			t.Errorf("a password that nobody can have, %s: %v", a, err)
		}
	}
	if b.hasher.Work().Hashes != before {
		t.Error("a password that nobody can have was hashed for some")
	}
}

// TestP8_CostsRiseAtLogin: a hash of lower cost is replaced at the next login, and never after the password changed.
func TestP8_CostsRiseAtLogin(t *testing.T) {
	b := newBench(t, logintest.NewWorld(t))
	stored := func() string {
		c, err := b.w.Accounts.Users().Credential(t.Context(), b.user.ID, account.MethodPassword)
		if err != nil {
			t.Fatal(err)
		}
		return c.Data
	}
	before := stored()
	dear := password.New(b.w.Flow, b.w.Accounts, newHasher(t, password.Params{MemoryKiB: 128, Iterations: 2, Parallelism: 1}), policy(t))
	for range 2 {
		if _, err := dear.Login(t.Context(), owner, rightPassword, handstamp.StartOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	after := stored()
	if after == before {
		t.Error("the costs did not rise")
	}
	list, err := b.w.Store.Audit().List(t.Context(), audit.Filter{Kind: audit.PasswordRehashed, Limit: 10})
	if err != nil || len(list) != 1 {
		t.Errorf("%d entries, %v", len(list), err)
	}
	if _, err := b.login("wrong"); !errors.Is(err, login.ErrInvalidCredentials) || stored() != after {
		t.Error("a wrong password changed something")
	}
}

// TestS9_ChangePassword: the old password is dead, all other sessions end, this one has new secrets, and a wrong current
// password counts as a failed try.
func TestS9_ChangePassword(t *testing.T) {
	b := newBench(t, logintest.NewWorld(t))
	other, err := b.login(rightPassword)
	if err != nil {
		t.Fatal(err)
	}
	change := func(current, next string) (handstamp.Grant, error) {
		g, _, err := b.m.Change(t.Context(), login.Change{
			User: b.user.ID, Session: b.grant.Session.ID, Current: current, New: next, Client: handstamp.Client{IP: "192.0.2.9"},
		})
		return g, err
	}
	if _, err := change("not it, sorry", "another long walk"); !errors.Is(err, login.ErrInvalidCredentials) { // P7
		t.Errorf("wrong current password: %v", err)
	}
	if _, err := change("", "another long walk"); err == nil {
		t.Error("no current password")
	}
	for _, weak := range []string{"", "short", "password", "ada@example.org", "nul\x00nul\x00nul"} { // P5
		if _, err := change(rightPassword, weak); err == nil {
			t.Errorf("the password %q is accepted", weak)
		}
	}
	g, err := change(rightPassword, "another long walk")
	if err != nil {
		t.Fatal(err)
	}
	if b.verdict(g) != "yes" || b.verdict(other) != "revoked" || b.verdict(b.grant) == "yes" || g.Session.ID != b.grant.Session.ID {
		t.Errorf("new %s, other %s, old %s", b.verdict(g), b.verdict(other), b.verdict(b.grant))
	}
	if _, err := b.login(rightPassword); !errors.Is(err, login.ErrInvalidCredentials) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := b.login("another long walk"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	for range logintest.MaxFailures {
		_, _ = change("wrong wrong wrong", "yet another walk")
	}
	_, err = change("another long walk", "yet another walk")
	if _, ok := errors.AsType[*login.TooManyError](err); !ok {
		t.Errorf("after too many tries: %v", err)
	}
}

// TestD12_OldPasswordNeverWins: logins with the old password that run beside a change of it end without a live session.
func TestD12_OldPasswordNeverWins(t *testing.T) {
	for range 20 {
		b := newBench(t, logintest.NewWorld(t))
		if _, err := b.login(rightPassword); err != nil { // a known network: the budget of strangers is not in the way
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var grants sync.Map
		for i := range logintest.MaxFailures {
			wg.Go(func() {
				if g, err := b.login(rightPassword); err == nil {
					grants.Store(i, g)
				}
			})
		}
		var changed atomic.Bool
		wg.Go(func() {
			if _, err := b.m.Set(context.Background(), b.user.ID, "another long walk", handstamp.EndOptions{}); err == nil {
				changed.Store(true)
			}
		})
		wg.Wait()
		if !changed.Load() {
			t.Fatal("the password did not change")
		}
		grants.Range(func(_, v any) bool {
			if got := b.verdict(v.(handstamp.Grant)); got != "revoked" {
				t.Errorf("a session of the old password is answered %s", got)
			}
			return true
		})
		if live, err := b.w.Auth.Sessions(t.Context(), handstamp.SessionFilter{}); err != nil || len(live) != 0 {
			t.Errorf("%d live sessions, %v", len(live), err)
		}
	}
}

// TestSignUp: an account and its session, once for each address; nothing is left of one that fails.
func TestSignUp(t *testing.T) {
	b := newBench(t, logintest.NewWorld(t))
	if b.verdict(b.grant) != "yes" || !slices.Equal(b.user.Roles, []string{account.RoleMember}) {
		t.Errorf("%+v %s", b.user, b.verdict(b.grant))
	}
	if _, _, err := b.m.SignUp(t.Context(), login.SignUp{Email: owner, Password: rightPassword}); !errors.Is(err, handstamp.ErrTaken) {
		t.Errorf("a taken address: %v", err)
	}
	var wg sync.WaitGroup
	var made atomic.Int32
	for range 20 {
		wg.Go(func() {
			_, _, err := b.m.SignUp(context.Background(), login.SignUp{Email: "race@example.org", Password: rightPassword})
			switch {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, handstamp.ErrTaken):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d accounts", made.Load())
	}
	_, _, err := b.m.SignUp(t.Context(), login.SignUp{Email: "mode@example.org", Password: rightPassword, Start: handstamp.StartOptions{Mode: handstamp.ModeHybrid}})
	if !errors.Is(err, handstamp.ErrMode) {
		t.Errorf("a mode that is not offered: %v", err)
	}
	if _, err := b.w.Accounts.Users().ByEmail(t.Context(), "mode@example.org"); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("an account was left behind: %v", err)
	}
	setup, err := b.w.Flow.NewSetup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.m.SetUp(t.Context(), setup, login.SignUp{Email: owner, Password: rightPassword}); !errors.Is(err, handstamp.ErrTaken) {
		t.Errorf("setting up with a taken address: %v", err)
	}
	admin, _, err := b.m.SetUp(t.Context(), setup, login.SignUp{Email: "root@example.org", Password: rightPassword})
	if err != nil || !slices.Equal(admin.Roles, []string{account.RoleAdmin}) { // the failure did not use the link up
		t.Errorf("%+v %v", admin, err)
	}
	if _, _, err := b.m.SetUp(t.Context(), setup, login.SignUp{Email: "again@example.org", Password: rightPassword}); !errors.Is(err, login.ErrSetup) {
		t.Errorf("the link a second time: %v", err)
	}
}

// store puts a hash where the owner's is, as an import does.
func (b *bench) store(t testing.TB, hash string) {
	t.Helper()
	err := b.w.Flow.Store().LoginWork().Do(t.Context(), func(tx login.Tx) error {
		c, err := tx.Credential(t.Context(), b.user.ID, account.MethodPassword)
		if err != nil {
			return err
		}
		c.Data = hash
		return tx.PutCredential(t.Context(), c)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) stored(t testing.TB) string {
	t.Helper()
	c, err := b.w.Accounts.Users().Credential(t.Context(), b.user.ID, account.MethodPassword)
	if err != nil {
		t.Fatal(err)
	}
	return c.Data
}

// TestP8_ForeignHashesAreReplacedAtLogin: who comes from another system logs in with the password of there, and from
// then on has a hash like everybody.
func TestP8_ForeignHashesAreReplacedAtLogin(t *testing.T) {
	b := newBench(t, logintest.NewWorld(t))
	for i, tc := range []struct{ hash, password string }{
		{"$2y$05$qqIjigueHab2mQlWwfrWO.RUF7ao2GDz4ngJ6Kgi4nJRAuKASOYTe", "correct horse"},
		{"AQAAAAIAAAAyAAAAEOMwvh3+FZxqkdMBz2ekgGhwQ4B6pZWND6zgESBuWiHw", "my password"},
	} {
		b.store(t, tc.hash)
		if _, err := b.login("wrong horse"); !errors.Is(err, login.ErrInvalidCredentials) || b.stored(t) != tc.hash {
			t.Fatalf("a wrong password: %v, %s", err, b.stored(t))
		}
		for range 2 {
			if _, err := b.login(tc.password); err != nil {
				t.Fatal(err)
			}
		}
		after := b.stored(t)
		if !strings.HasPrefix(after, "$argon2id$v=19$m=64,t=1,p=1$") {
			t.Errorf("%s became %s", tc.hash, after)
		}
		list, err := b.w.Store.Audit().List(t.Context(), audit.Filter{Kind: audit.PasswordRehashed, Limit: 10})
		if err != nil || len(list) != i+1 {
			t.Errorf("%d entries, %v", len(list), err)
		}
	}
}

// A hash that nothing can be checked against is a no like any other, with one entry like any other; what the entry is
// called says what is wrong.
func TestP10_UnusableHashIsNoAndIsRecorded(t *testing.T) {
	for hash, kind := range map[string]audit.Kind{
		"": audit.PasswordUnusable, "$2b$31$DO8fsxRWeDYOs0ZwUSBnBOyV1zC6CSKCtXtLaHtSRcUhMN5EM0wmG": audit.PasswordUnusable,
		"5f4dcc3b5aa765d61d8327deb882cf99": audit.PasswordUnusable, "\x00\xff": audit.PasswordUnusable,
		"$2y$05$qqIjigueHab2mQlWwfrWO.RUF7ao2GDz4ngJ6Kgi4nJRAuKASOYTe": audit.LoginFailed,
	} {
		b := newBench(t, logintest.NewWorld(t))
		list := func(f audit.Filter) []audit.Event {
			t.Helper()
			f.Limit = 100
			entries, err := b.w.Store.Audit().List(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			return entries
		}
		b.store(t, hash)
		before := len(list(audit.Filter{}))
		if _, err := b.login("password"); !errors.Is(err, login.ErrInvalidCredentials) || b.stored(t) != hash {
			t.Errorf("%q: %v", hash, err)
		}
		if n := len(list(audit.Filter{})) - before; n != 1 {
			t.Errorf("%q: %d entries", hash, n)
		}
		of := list(audit.Filter{Kind: kind})
		if len(of) != 1 || of[0].Target != string(b.user.ID) || of[0].Detail["method"] != "pwd" {
			t.Errorf("%q: entries %+v", hash, of)
		}
	}
}

// counted counts what is asked of the accounts.
type counted struct {
	account.Store
	asked *atomic.Int64
}

func (c counted) Users() account.Users { return countedUsers{c.Store.Users(), c.asked} }

type countedUsers struct {
	account.Users
	asked *atomic.Int64
}

func (c countedUsers) ByEmail(ctx context.Context, a account.Address) (account.User, error) {
	c.asked.Add(1)
	return c.Users.ByEmail(ctx, a)
}

func (c countedUsers) Credential(ctx context.Context, u handstamp.UserID, method string) (account.Credential, error) {
	c.asked.Add(1)
	return c.Users.Credential(ctx, u, method)
}

// TestP9_SameReads: an address that nobody has costs as many round trips to the store as one whose password is wrong. The
// hashes are equal; over a network one read less would say who has an account.
func TestP9_SameReads(t *testing.T) {
	w := logintest.NewWorld(t)
	b := newBench(t, w)
	var asked atomic.Int64
	m := password.New(w.Flow, account.New(w.Auth, counted{w.Store, &asked}), b.hasher, policy(t))
	cost := map[account.Address][2]uint64{}
	for _, who := range []account.Address{owner, "nobody@example.org"} {
		asked.Store(0)
		before := b.hasher.Work().Hashes
		if _, err := m.Login(t.Context(), who, "wrong wrong wrong", handstamp.StartOptions{}); !errors.Is(err, login.ErrInvalidCredentials) {
			t.Fatalf("%s: %v", who, err)
		}
		cost[who] = [2]uint64{uint64(asked.Load()), b.hasher.Work().Hashes - before}
	}
	if known, unknown := cost[owner], cost["nobody@example.org"]; known != unknown || known[0] == 0 || known[1] != 1 {
		t.Errorf("a wrong password costs %d reads and %d hashes, an unknown address %d and %d", known[0], known[1], unknown[0], unknown[1])
	}
}
