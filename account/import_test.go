package account_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/store/sqlite"
)

var byCLI = handstamp.Client{Actor: "cli"}

func (w world) adopt(t testing.TB, batch ...account.Imported) []account.Outcome {
	t.Helper()
	o, err := w.a.Adopt(t.Context(), batch, byCLI)
	if err != nil || len(o) != len(batch) {
		t.Fatalf("Adopt = %+v, %v", o, err)
	}
	return o
}

func ada() account.Imported {
	return account.Imported{
		ID: "42", Email: "ada@example.org", EmailVerified: true, Roles: []string{"editor", "member"},
		CreatedAt: time.Date(2019, 5, 6, 7, 8, 9, 123456789, time.FixedZone("", 3600)), PasswordHash: "$2y$05$x",
	}
}

// What is imported is an account like any other, with what the other system knew of it.
func TestAdopt(t *testing.T) {
	w := newWorld(t)
	got := w.adopt(t, ada(), account.Imported{Email: "bob@example.org"}, account.Imported{ID: "43", Email: "eve@example.org", Disabled: true})
	for i, o := range got {
		if o.Adoption != account.Adopted || o.User == "" || o.Problem != "" {
			t.Errorf("%d: %+v", i, o)
		}
	}
	if got[0].User != "42" || got[2].User != "43" || !got[1].User.Own() {
		t.Errorf("ids %+v", got)
	}
	u, err := w.a.Users().ByEmail(t.Context(), "ada@example.org")
	created := time.Date(2019, 5, 6, 6, 8, 9, 123456000, time.UTC)
	if err != nil || u.ID != "42" || !u.EmailVerified || u.Disabled || !slices.Equal(u.Roles, []string{"editor", "member"}) || !u.CreatedAt.Equal(created) {
		t.Errorf("%+v, %v", u, err)
	}
	sub, err := w.auth.Subject(t.Context(), "42")
	if err != nil || sub.Email != "ada@example.org" || !sub.EmailVerified || !slices.Equal(sub.Grants.Roles, u.Roles) {
		t.Errorf("%+v, %v", sub, err)
	}
	c, err := w.a.Users().Credential(t.Context(), "42", account.MethodPassword)
	if err != nil || c.Data != "$2y$05$x" {
		t.Errorf("%+v, %v", c, err)
	}
	bob, err := w.a.Users().ByID(t.Context(), got[1].User)
	if err != nil || bob.EmailVerified || !slices.Equal(bob.Roles, []string{account.RoleMember}) || bob.CreatedAt.IsZero() {
		t.Errorf("%+v, %v", bob, err)
	}
	if _, err := w.a.Users().Credential(t.Context(), bob.ID, account.MethodPassword); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("bob's credential: %v", err)
	}
	if eve, err := w.a.Users().ByID(t.Context(), "43"); err != nil || !eve.Disabled {
		t.Errorf("%+v, %v", eve, err)
	}
	list, err := w.store.Audit().List(t.Context(), audit.Filter{Kind: audit.UserCreated, Limit: 10})
	if err != nil || len(list) != 3 || list[0].Actor != "cli" || list[0].Detail["by"] != "import" {
		t.Errorf("%+v, %v", list, err)
	}
}

// The same batch again changes nothing, also after people have begun to use their accounts.
func TestAdoptAgain(t *testing.T) {
	w := newWorld(t)
	batch := []account.Imported{ada(), {Email: "bob@example.org", PasswordHash: "h"}}
	first := w.adopt(t, batch...)
	if err := w.store.AccountWork().Do(t.Context(), func(tx account.Tx) error { // a login that made a better hash
		c, err := tx.Credential(t.Context(), "42", account.MethodPassword)
		if err != nil {
			return err
		}
		c.Data = "$argon2id$"
		return tx.PutCredential(t.Context(), c)
	}); err != nil {
		t.Fatal(err)
	}
	for i, o := range w.adopt(t, batch...) {
		if o != (account.Outcome{Adoption: account.Same, User: first[i].User}) {
			t.Errorf("%d: %+v", i, o)
		}
	}
	if c, err := w.a.Users().Credential(t.Context(), "42", account.MethodPassword); err != nil || c.Data != "$argon2id$" {
		t.Errorf("the newer hash was lost: %+v, %v", c, err)
	}
	all, err := w.a.Users().List(t.Context(), account.UserFilter{Limit: 10})
	if err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
}

// What does not agree is named by its field, changes nothing, and keeps nobody else of the batch from an account.
func TestAdoptConflicts(t *testing.T) {
	w := newWorld(t)
	w.adopt(t, ada(), account.Imported{ID: "7", Email: "gone@example.org"}, account.Imported{ID: "8", Email: "plain@example.org"})
	if _, err := w.a.Delete(t.Context(), "7", handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	but := func(change func(*account.Imported)) account.Imported { i := ada(); change(&i); return i }
	for i, tc := range []struct {
		in    account.Imported
		field string
	}{
		{but(func(i *account.Imported) { i.Email = "other@example.org" }), "email"},
		{but(func(i *account.Imported) { i.ID = "44" }), "email"},
		{but(func(i *account.Imported) { i.Disabled = true }), "disabled"},
		{but(func(i *account.Imported) { i.Roles = []string{"editor"} }), "roles"},
		{but(func(i *account.Imported) { i.CreatedAt = i.CreatedAt.Add(time.Second) }), "created_at"},
		{but(func(i *account.Imported) { i.PasswordHash = "another" }), "password_hash"},
		{account.Imported{ID: "8", Email: "plain@example.org", EmailVerified: true}, "email_verified"},
		{account.Imported{ID: "8", Email: "plain@example.org", PasswordHash: "h"}, "password_hash"},
		{account.Imported{ID: "7", Email: "gone@example.org"}, "id"},
		{account.Imported{ID: "a\nb", Email: "x@example.org"}, "id"},
		{account.Imported{ID: "cli", Email: "x@example.org"}, "id"},
		{account.Imported{ID: "handstamp-nobody", Email: "x@example.org"}, "id"},
		{account.Imported{ID: handstamp.UserID(strings.Repeat("x", 129)), Email: "x@example.org"}, "id"},
		{account.Imported{}, "email"},
		{account.Imported{Email: "X@example.org"}, "email"},
		{account.Imported{Email: "x@example.org", Roles: []string{"a b"}}, "roles"},
	} {
		before, err := w.a.Users().List(t.Context(), account.UserFilter{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		if o, err := w.a.Compare(t.Context(), tc.in); err != nil || o.Adoption != account.Conflict || o.Field != tc.field || o.Problem == "" {
			t.Errorf("Compare(%+v) = %+v, %v, want a conflict about %s", tc.in, o, err, tc.field)
		}
		fine := account.Imported{ID: handstamp.UserID("fine-" + string(rune('a'+i))), Email: account.Address("fine" + string(rune('a'+i)) + "@example.org")}
		got := w.adopt(t, tc.in, fine)
		if got[0].Adoption != account.Conflict || got[0].Field != tc.field || got[1].Adoption != account.Adopted {
			t.Errorf("Adopt(%+v) = %+v, want a conflict about %s", tc.in, got, tc.field)
		}
		after, err := w.a.Users().List(t.Context(), account.UserFilter{Limit: 100})
		if err != nil || len(after) != len(before)+1 {
			t.Errorf("%d accounts became %d, %v", len(before), len(after), err)
		}
	}
	if o := w.adopt(t, ada()); o[0].Adoption != account.Same {
		t.Errorf("the account was changed: %+v", o)
	}
}

// Two of one batch that are one account: the first is made, the second is told. Silence would be half an import.
func TestAdoptTwinsInABatch(t *testing.T) {
	w := newWorld(t)
	got := w.adopt(t, account.Imported{ID: "1", Email: "a@example.org"}, account.Imported{ID: "2", Email: "a@example.org"},
		account.Imported{ID: "3", Email: "c@example.org"}, account.Imported{ID: "3", Email: "c@example.org"})
	for i, want := range []account.Adoption{account.Adopted, account.Conflict, account.Adopted, account.Same} {
		if got[i].Adoption != want {
			t.Errorf("%d: %+v, want %s", i, got[i], want)
		}
	}
	if _, err := w.a.Adopt(t.Context(), make([]account.Imported, account.MaxAdopted+1), byCLI); !errors.Is(err, account.ErrInput) {
		t.Errorf("too many: %v", err)
	}
}

// TestS8_AdoptingEndsTheSessionsOfTheDisabled: an application that had its own users may have sessions of them: of who
// comes disabled they end, and of the others they go on and know the roles at once.
func TestS8_AdoptingEndsTheSessionsOfTheDisabled(t *testing.T) {
	w := newWorld(t)
	off, on := w.start(t, "off"), w.start(t, "on")
	if w.verdict(off) != "yes" || w.verdict(on) != "yes" {
		t.Fatal("not logged in")
	}
	w.adopt(t, account.Imported{ID: "off", Email: "off@example.org", Disabled: true}, account.Imported{ID: "on", Email: "on@example.org", Roles: []string{account.RoleAdmin}})
	if v := w.verdict(off); v == "yes" {
		t.Error("the session of a disabled account lives")
	}
	if sub, err := w.auth.Subject(t.Context(), "off"); err != nil || sub.Ended == 0 {
		t.Errorf("no event that tells the fleet: %+v, %v", sub, err)
	}
	p, err := w.auth.VerifyToken(t.Context(), on.AccessToken.Reveal())
	if err != nil || !slices.Equal(p.Roles(), []string{account.RoleAdmin}) {
		t.Errorf("roles %v, %v", p.Roles(), err)
	}
	if sub, err := w.auth.Subject(t.Context(), "on"); err != nil || sub.Changed == 0 {
		t.Errorf("no event: %+v, %v", sub, err)
	}
	w.adopt(t, account.Imported{ID: "new", Email: "new@example.org"})
	if sub, err := w.auth.Subject(t.Context(), "new"); err != nil || sub.Changed != 0 {
		t.Errorf("an event for somebody nobody knew: %+v, %v", sub, err)
	}
}

// Roles that an application gave before there was an account stay, unless the import names others.
func TestAdoptKeepsRolesGivenBefore(t *testing.T) {
	w := newWorld(t)
	for _, u := range []handstamp.UserID{"kept", "named"} {
		if _, err := w.a.SetRoles(t.Context(), u, []string{"editor"}, handstamp.EndOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.adopt(t, account.Imported{ID: "kept", Email: "k@example.org"}, account.Imported{ID: "named", Email: "n@example.org", Roles: []string{"author"}})
	for id, want := range map[handstamp.UserID]string{"kept": "editor", "named": "author"} {
		if u, err := w.a.Users().ByID(t.Context(), id); err != nil || !slices.Equal(u.Roles, []string{want}) {
			t.Errorf("%s: %+v, %v", id, u, err)
		}
	}
}

// failing is a store that cannot write.
type failing struct {
	account.Store
	err error
}

func (f failing) AccountWork() handstamp.UnitOfWork[account.Tx] { return f }

func (f failing) Do(context.Context, func(account.Tx) error) error { return f.err }

// What is not known is an error, never an outcome.
func TestAdoptWithoutAStore(t *testing.T) {
	w := newWorld(t)
	for _, down := range []error{errors.New("disk is full"), handstamp.ErrConflict} {
		a := account.New(w.auth, failing{w.store, down})
		if o, err := a.Adopt(t.Context(), []account.Imported{ada()}, byCLI); !errors.Is(err, down) || o != nil {
			t.Errorf("Adopt = %+v, %v", o, err)
		}
	}
	if _, err := w.a.Users().ByID(t.Context(), "42"); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// The same on a database: the times, roles and constraints that come back are those of a real one.
func TestAdoptOnSQLite(t *testing.T) {
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "handstamp.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	auth, err := handstamp.Open(t.Context(), store, handstamp.Options{PublicURL: "https://app.example.com", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = auth.Close() }()
	a := account.New(auth, store)
	batch := []account.Imported{
		ada(), {Email: "bob@example.org", PasswordHash: "h"}, {ID: "43", Email: "eve@example.org", Disabled: true}, {ID: "44", Email: "ada@example.org"},
	}
	for _, want := range [][]account.Adoption{
		{account.Adopted, account.Adopted, account.Adopted, account.Conflict},
		{account.Same, account.Same, account.Same, account.Conflict},
	} {
		got, err := a.Adopt(t.Context(), batch, byCLI)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if got[i].Adoption != want[i] {
				t.Errorf("%d: %+v, want %s", i, got[i], want[i])
			}
		}
	}
}
