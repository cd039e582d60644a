package handstamptest

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/memory"
)

// NewContext returns a context with the Principal of a user who has these permissions: what a handler behind Require
// finds with handstamp.FromContext. It is for tests of a handler alone, without Auth, cookies or middleware.
//
// Its session is known to no store, so what asks about the session (session data, Alive) is refused: use [New] and
// [Harness.Login] for that. NewContext panics for a user or a permission that cannot be.
func NewContext(ctx context.Context, user handstamp.UserID, perms ...string) context.Context {
	checkPermissions(func(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }, "NewContext", perms)
	p, err := principal(user, perms)
	if err != nil {
		panic(fmt.Sprintf("handstamptest: NewContext(%q): %v", user, err))
	}
	return handstamp.NewContext(ctx, p)
}

// principal lets an Auth of its own say who the user is, and closes it.
func principal(user handstamp.UserID, perms []string) (_ handstamp.Principal, err error) {
	ctx := context.Background()
	a, err := handstamp.Open(ctx, memory.New(), handstamp.Options{
		PublicURL: DefaultPublicURL, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return handstamp.Principal{}, err
	}
	defer func() {
		if closeErr := a.Close(); err == nil {
			err = closeErr
		}
	}()
	proof, err := a.Prove(ctx, user)
	if err != nil {
		return handstamp.Principal{}, err
	}
	proof.Methods, proof.Grants = []string{"pwd"}, &handstamp.Grants{Permissions: perms}
	g, err := a.Start(ctx, proof)
	return g.Principal, err
}
