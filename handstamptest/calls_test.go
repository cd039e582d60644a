package handstamptest_test

import (
	"context"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/handstamptest"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
)

func second[T any](_ T, err error) error { return err }

// everyCall calls everything that a store does.
func everyCall(ctx context.Context, h *handstamptest.Harness, u handstamp.UserID) map[string]error {
	s, now := h.Store, h.Auth.Now()
	_, _, rolesErr := s.Roles(ctx)
	_, _, getErr := s.Values().Get(ctx, "ses_none", "cart")
	return map[string]error{
		"Roles":       rolesErr,
		"Values.Get":  getErr,
		"Values.Put":  s.Values().Put(ctx, handstamp.DatumWrite{Session: "ses_none", Value: handstamp.Datum{Name: "cart"}, Now: now}),
		"Settle":      second(s.Settle(ctx, handstamp.Settings{})),
		"Restored":    second(s.Restored(ctx, false, now)),
		"Find":        second(s.Sessions().Find(ctx, handstamp.Lookup{Session: "ses_none"})),
		"Subject":     second(s.Sessions().Subject(ctx, u)),
		"List":        second(s.Sessions().List(ctx, handstamp.SessionFilter{Limit: 1, Now: now})),
		"Rotate":      second(s.Sessions().Rotate(ctx, "ses_none", 1, handstamp.Rotation{At: now})),
		"Touch":       s.Sessions().Touch(ctx, map[handstamp.SessionID]time.Time{}),
		"Sweep":       second(s.Sessions().Sweep(ctx, now, 1)),
		"Work":        s.Work().Do(ctx, func(handstamp.Tx) error { return nil }),
		"AccountWork": s.AccountWork().Do(ctx, func(account.Tx) error { return nil }),
		"LoginWork":   s.LoginWork().Do(ctx, func(login.Tx) error { return nil }),
		"Register":    second(s.Log().Register(ctx, revoke.Registration{})),
		"Renew":       second(s.Log().Renew(ctx, revoke.Renewal{})),
		"Registered":  second(s.Log().Registered(ctx)),
		"Remove":      s.Log().Remove(ctx, 0),
		"Forget":      second(s.Log().Forget(ctx, now, 1)),
		"Audit.List":  second(s.Audit().List(ctx, audit.Filter{Limit: 1})),
		"Audit.Sweep": second(s.Audit().Sweep(ctx, now, 1)),
		"ByID":        second(s.Users().ByID(ctx, u)),
		"ByEmail":     second(s.Users().ByEmail(ctx, "ada@example.com")),
		"Users.List":  second(s.Users().List(ctx, account.UserFilter{Limit: 1})),
		"Credential":  second(s.Users().Credential(ctx, u, account.MethodPassword)),
		"Role":        second(s.Users().Role(ctx, "admin")),
		"ServiceKeys": second(s.Users().ServiceKeys(ctx, "", 1)),
		"Keys":        second(s.Keys().Keys(ctx)),
		"PutKey":      s.Keys().PutKey(ctx, keyring.Record{}),
		"DeleteKey":   s.Keys().DeleteKey(ctx, "none"),
	}
}
