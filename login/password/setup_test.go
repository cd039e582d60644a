package password_test

import (
	"errors"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/login/logintest"
)

// TestP16_SetupEndsWithTheFirstAdministrator: whoever makes an administrator by another way ends the link, and
// nothing was made by it.
func TestP16_SetupEndsWithTheFirstAdministrator(t *testing.T) {
	b := newBench(t, logintest.NewWorld(t))
	setup, err := b.w.Flow.NewSetup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.w.Accounts.Create(t.Context(), account.NewUser{Email: "boss@example.org", Roles: []string{account.RoleAdmin}}, handstamp.Client{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.m.SetUp(t.Context(), setup, login.SignUp{Email: "root@example.org", Password: rightPassword}); !errors.Is(err, login.ErrSetup) {
		t.Errorf("the link beside an administrator: %v", err)
	}
	if _, err := b.w.Accounts.Users().ByEmail(t.Context(), "root@example.org"); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("an account was made: %v", err)
	}
}
