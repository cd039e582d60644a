package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/token"
)

// errPeek ends a unit of work that only looks.
var errPeek = errors.New("nothing is to be changed")

// inspectSetup looks whether a link for the first administrator still works. The unit uses the token up and is then
// undone: nobody can find out more by looking than by using it.
func (t *tool) inspectSetup(ctx context.Context, in *inspection, text string) error {
	in.Kind = "a setup token (hs_b_): its link makes the first administrator, once"
	if in.Check != "" {
		return nil
	}
	hasAdmin, err := t.accounts.HasAdmin(ctx)
	if err != nil {
		return fmt.Errorf("look for an administrator: %w", err)
	}
	err = t.logins.LoginWork().Do(ctx, func(tx login.Tx) error {
		if hasAdmin {
			return login.ErrSetup
		}
		if err := t.flow.TakeSetup(ctx, tx, token.NewSecret(text), cliClient()); err != nil {
			return err
		}
		return errPeek
	})
	switch {
	case errors.Is(err, login.ErrSetup):
		in.Accepted = false
		in.refuse(&handstamp.DeniedError{Reason: handstamp.ReasonInvalid, Check: "setup"})
	case !errors.Is(err, errPeek):
		return fmt.Errorf("look at the link: %w", err)
	default:
		in.Meaning = "it was not used yet"
	}
	return nil
}

// refreshWords completes what is said about a refresh token.
func (in *inspection) refreshWords(found handstamp.Inspection) {
	in.Kind = "a refresh token (hs_r_): it buys the next access token of a session, and opens nothing else"
	current := found.Session.Refresh.Generation
	switch {
	case in.Accepted && found.Generation == current:
		in.Meaning = "it is the current one of its session"
	case in.Accepted:
		in.Meaning = "it was used a moment ago: within refresh.grace it gets the same successor again"
	case in.Check == "generation" && found.Generation+1 == current:
		in.Meaning += "; only a retry with the Idempotency-Key of its refresh still gets the same successor"
	}
}

// serviceKeyWords completes what is said about a service key.
func (in *inspection) serviceKeyWords(found handstamp.Inspection) {
	in.Kind = "a service key (hs_k_): the credential of a program"
	if !found.Genuine {
		return
	}
	v := viewServiceKey(found.ServiceKey)
	in.ServiceKey = &v
	switch {
	case in.Code == string(handstamp.ReasonExpired):
		in.Meaning = "the service key has run out"
	case in.Code != "":
		in.Meaning, in.Reason = "the service key was deleted", found.ServiceKey.EndReason
	}
}
