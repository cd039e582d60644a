package handstamp_test

import (
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

func setRoles(t testing.TB, e *engine, u handstamp.UserID, roles []string) {
	t.Helper()
	must[handstamp.Ended](t)(account.New(e.Auth, e.store).SetRoles(t.Context(), u, roles, handstamp.EndOptions{}))
}
