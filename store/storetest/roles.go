package storetest

import (
	"fmt"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
)

func credentialSwap(t *testing.T, b Backend) {
	u := signUp(t, b, user(1))
	put := func(c account.Credential) error {
		return b.AccountWork().Do(t.Context(), func(tx account.Tx) error { return tx.PutCredential(t.Context(), c) })
	}
	want := account.Credential{User: u.ID, Method: "password", Data: "$argon2id$v=19$m=1$x", CreatedAt: at(1), UpdatedAt: at(2)}
	must(t, put(want))
	fails(t, "PutCredential(a second one)", put(want), handstamp.ErrConflict)
	must(t, put(account.Credential{User: u.ID, Method: "totp", Data: "other", CreatedAt: at(1), UpdatedAt: at(1)}))
	want.Version = 1
	got, err := b.Users().Credential(t.Context(), u.ID, "password")
	must(t, err)
	same(t, "the credential", got, want)
	utc(t, "UpdatedAt", got.UpdatedAt, want.UpdatedAt)
	want.Data, want.UpdatedAt = "changed", at(3)
	must(t, put(want))
	fails(t, "PutCredential(in a version that is over)", put(want), handstamp.ErrConflict)
	want.Version = 2
	accountUnit(t, b, func(tx account.Tx) error {
		got, err := tx.Credential(t.Context(), u.ID, "password")
		same(t, "the credential in a unit", got, want)
		return err
	})
	none := account.Credential{User: u.ID, Method: "webauthn", Data: "x", CreatedAt: at(1), UpdatedAt: at(1), Version: 1}
	fails(t, "PutCredential(version 1 of none)", put(none), handstamp.ErrConflict)
}

func credentialRace(t *testing.T, b Backend) {
	u := signUp(t, b, user(1))
	c := account.Credential{User: u.ID, Method: "password", Data: "first", CreatedAt: at(1), UpdatedAt: at(1)}
	accountUnit(t, b, func(tx account.Tx) error { return tx.PutCredential(t.Context(), c) })
	c.Version = 1
	won := race(t, func(n int) error {
		c := c
		c.Data = fmt.Sprint("racer ", n)
		return b.AccountWork().Do(t.Context(), func(tx account.Tx) error { return tx.PutCredential(t.Context(), c) })
	})
	got, err := b.Users().Credential(t.Context(), u.ID, "password")
	must(t, err)
	if len(won) != 1 || got.Version != 2 || got.Data != fmt.Sprint("racer ", won[0]) {
		t.Errorf("winners %v, then %+v; want one winner and its data in version 2", won, got)
	}
}

func roleRules(t *testing.T, b Backend) {
	put := func(permissions ...string) {
		accountUnit(t, b, func(tx account.Tx) error {
			return tx.PutRole(t.Context(), account.Role{Name: "editor", Permissions: permissions})
		})
	}
	for _, want := range [][]string{{"posts:write", "posts:read"}, {"posts:*"}, nil} {
		put(want...)
		got, err := b.Users().Role(t.Context(), "editor")
		must(t, err)
		if got.Name != "editor" || diff(permission.NewSet(got.Permissions...), permission.NewSet(want...)) != "" {
			t.Errorf("Role = %+v, want %v", got, want)
		}
		table, _, err := b.Roles(t.Context())
		must(t, err)
		set, ok := table["editor"]
		same(t, "the role in the table", set, permission.NewSet(want...))
		if !ok {
			t.Error("the table does not know the role")
		}
		clear(table)
		if again, _, err := b.Roles(t.Context()); err != nil || len(again) == 0 {
			t.Errorf("Roles after an answer was emptied = %v, %v; want the roles: answers are copies", again, err)
		}
	}
	accountUnit(t, b, func(tx account.Tx) error { return tx.DeleteRole(t.Context(), "editor") })
	err := b.AccountWork().Do(t.Context(), func(tx account.Tx) error { return tx.DeleteRole(t.Context(), "editor") })
	fails(t, "DeleteRole of a deleted role", err, handstamp.ErrNotFound)
	_, err = b.Users().Role(t.Context(), "editor")
	fails(t, "Role", err, handstamp.ErrNotFound)
	head := add(t, b, event(revoke.KindRole, "editor", revoke.Change, 1)).Last()
	table, got, err := b.Roles(t.Context())
	must(t, err)
	if _, ok := table["editor"]; ok || got != head {
		t.Errorf("Roles = editor: %v, head %d; want none and %d", ok, got, head)
	}
}

func rolesSeeded(t *testing.T, b Backend) {
	table, head, err := b.Roles(t.Context())
	must(t, err)
	if !table["admin"].Has("any:thing") || head != 0 {
		t.Errorf("admin grants %v at head %d, want everything at 0", table["admin"].List(), head)
	}
	if set, ok := table["member"]; !ok || !set.Empty() {
		t.Errorf("member grants %v (known: %v), want nothing", set.List(), ok)
	}
}

func rolesFound(t *testing.T, b Backend) {
	s := begin(t, b, ada, 0)
	accountUnit(t, b, func(tx account.Tx) error {
		if err := tx.PutRole(t.Context(), account.Role{Name: "editor", Permissions: []string{"posts:write"}}); err != nil {
			return err
		}
		return tx.PutSubject(t.Context(), handstamp.Subject{User: ada, Grants: handstamp.Grants{Roles: []string{"editor", "unknown"}}})
	})
	want := permission.NewSet("posts:write")
	f := find(t, b, s.ID)
	same(t, "the role with Find", f.Roles["editor"], want)
	if f.Roles == nil || !f.Roles["unknown"].Empty() {
		t.Errorf("Find's roles = %v, want nothing of the unknown role", f.Roles)
	}
	f, err := b.Sessions().Rotate(t.Context(), s.ID, 1, rotation(s, 1))
	must(t, err)
	same(t, "the role with Rotate", f.Roles["editor"], want)
	accountUnit(t, b, func(tx account.Tx) error { return tx.PutRole(t.Context(), account.Role{Name: "editor"}) })
	if set := find(t, b, s.ID).Roles["editor"]; !set.Empty() {
		t.Errorf("the emptied role grants %v", set.List())
	}
}
