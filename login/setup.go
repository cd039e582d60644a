package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/token"
)

// SetupLife is how long the one-time link for the first administrator works.
const SetupLife = 30 * time.Minute

const setupKind = "setup"

// ErrSetup is the one answer to a setup token that is unknown, used, expired or malformed.
var ErrSetup = errors.New("login: this link was used, has run out, or is not complete")

// NewSetup makes the token of the one-time link and voids any before it. Only its hash is kept.
func (f *Flow) NewSetup(ctx context.Context) (token.Secret, error) {
	secret := token.Generate(token.Setup)
	err := f.store.LoginWork().Do(ctx, func(tx Tx) error {
		if err := tx.DropOneTimes(ctx, setupKind); err != nil {
			return fmt.Errorf("void older links: %w", err)
		}
		return tx.PutOneTime(ctx, OneTime{Hash: token.HashOf(secret), Kind: setupKind, ExpiresAt: f.auth.Now().Add(SetupLife)})
	})
	if err != nil {
		return token.Secret{}, err
	}
	return secret, nil
}

// errLooked ends a unit that only looked.
var errLooked = errors.New("looked")

// CheckSetup says whether a setup token would be taken now, without using it up: nothing else is answered to who has none.
func (f *Flow) CheckSetup(ctx context.Context, secret token.Secret) error {
	err := f.store.LoginWork().Do(ctx, func(tx Tx) error {
		if err := f.TakeSetup(ctx, tx, secret, handstamp.Client{}); err != nil {
			return err
		}
		return errLooked // and nothing was taken
	})
	if errors.Is(err, errLooked) {
		return nil
	}
	return err
}

// TakeSetup uses a setup token up, in the unit that makes the administrator: if that fails the token is as before.
func (f *Flow) TakeSetup(ctx context.Context, tx Tx, secret token.Secret, c handstamp.Client) error {
	hash, err := token.Parse(token.Setup, secret.Reveal())
	if err != nil {
		return ErrSetup
	}
	t, err := tx.TakeOneTime(ctx, setupKind, hash)
	if errors.Is(err, handstamp.ErrNotFound) || err == nil && !f.auth.Now().Before(t.ExpiresAt) {
		return ErrSetup
	}
	if err != nil {
		return fmt.Errorf("take the setup token: %w", err)
	}
	return tx.Record(ctx, f.auth.AuditEntry(c, audit.Event{Kind: audit.SetupLinkUsed}))
}
