package transfertest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// at is a time in the past with microseconds.
func at(minutes int) time.Time {
	return time.Date(2024, 5, 6, 7, 8, 9, 123_457_000, time.UTC).Add(time.Duration(minutes) * time.Minute)
}

func hashOf(text string) token.Hash { return sha256.Sum256([]byte(text)) }

const (
	ada handstamp.UserID = "usr_ada"
	bob handstamp.UserID = "usr_bob"
	odd handstamp.UserID = "Ünïcode \"user\" 'with' <quotes> & spaces, 日本語" // ids of other systems look like anything
)

// things are what Fill made, by the handles that a test asks for them with.
type things struct {
	live, ended, visitor, spared handstamp.Session
	service, endedService        handstamp.ServiceKey
	oneTime                      login.OneTime
	counter                      login.Counter
}

func sessionOf(u handstamp.UserID, minute int) handstamp.Session {
	now := at(minute)
	sid := id.NewSession(now)
	return handstamp.Session{
		ID: sid, User: u, Key: hashOf("key of " + string(sid)), Mode: handstamp.ModeHybrid, Transport: handstamp.TransportBearer,
		BrowserSession: true, Methods: []string{"pwd", "otp"}, Claims: []byte(`{"tenant": "t1",  "n":[1,2]}`),
		CreatedAt: now, AuthAt: now.Add(time.Microsecond), SeenAt: now.Add(2 * time.Microsecond), IdleTimeout: time.Hour,
		ExpiresAt: now.Add(10 * time.Hour),
		Refresh: handstamp.Family{
			Generation: 7, Nonce: hashOf("nonce"), RotatedAt: now.Add(3 * time.Microsecond), Request: hashOf("request"),
			IP: "2001:db8::1", UserAgent: "Agent/1 <refresh> & \"more\"",
		},
		IP: "192.0.2.7", UserAgent: "Agent/1 (login)",
	}
}

// do is a unit of a login that must succeed: it has every call that there is.
func do(t testing.TB, b Backend, fn func(ctx context.Context, tx login.Tx) error) {
	t.Helper()
	if err := b.LoginWork().Do(t.Context(), func(tx login.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatalf("Do = %v", err)
	}
}

func event(k revoke.Kind, what string, effect revoke.Effect, minute int) revoke.Event {
	return revoke.Event{
		Kind: k, ID: what, Effect: effect, At: at(minute), Until: at(minute).Add(time.Hour), Reason: "reason <" + string(k) + ">",
	}
}

func entry(minute int, k audit.Kind, u handstamp.UserID) audit.Event {
	return audit.Event{
		ID: id.NewAudit(at(minute)), At: at(minute), Kind: k, Actor: "cli", Target: string(u), IP: "192.0.2.9", UserAgent: "ua",
		RequestID: "r1", Detail: map[string]string{"z": "1", "a": "<2>"},
	}
}

// Fill writes at least one record of every kind to an empty backend, by its public interface.
func fillBackend(t testing.TB, b Backend) things {
	t.Helper()
	made := things{
		live: sessionOf(ada, 1), ended: sessionOf(ada, 2), spared: sessionOf(bob, 3), visitor: sessionOf("", 4),
		service: handstamp.ServiceKey{
			ID: id.NewServiceKey(at(0)), Hash: hashOf("service"), Name: "backup", Permissions: []string{"a:read", "b:*"},
			CreatedAt: at(0), ExpiresAt: at(9000),
		},
		endedService: handstamp.ServiceKey{ID: id.NewServiceKey(at(1)), Hash: hashOf("ended service"), Name: "old", CreatedAt: at(1)},
		oneTime:      login.OneTime{Hash: hashOf("once"), Kind: "setup", Data: `{"a":1}`, ExpiresAt: at(900)},
		counter:      login.Counter{Key: login.BudgetKey(hashOf("budget")), Failures: 3, LastAt: at(2), Known: true, ExpiresAt: at(99)},
	}
	made.visitor.User, made.visitor.Mode, made.visitor.Refresh = handstamp.UserID("anonymous"), handstamp.ModeAnonymous, handstamp.Family{}
	made.visitor.Claims, made.visitor.Methods, made.visitor.IdleTimeout = nil, nil, 0
	made.live.Key = token.Hash{}
	fillSettings(t, b)
	do(t, b, func(ctx context.Context, tx login.Tx) error { return fillUnit(ctx, tx, made) })
	fillKeys(t, b)
	for i, name := range []string{"cart", "draft"} {
		err := b.Values().Put(t.Context(), handstamp.DatumWrite{
			Session: made.visitor.ID, Limit: 1 << 14, Now: at(5),
			Value: handstamp.Datum{Name: name, Data: []byte{0, 255, byte(i)}, Version: 1<<63 - 1 - uint64(i)},
		})
		if err != nil {
			t.Fatalf("Put = %v", err)
		}
	}
	do(t, b, func(ctx context.Context, tx login.Tx) error {
		end := event(revoke.KindUser, string(bob), revoke.End, 6)
		end.Except = made.spared.ID
		_, err := tx.Append(ctx, event(revoke.KindSession, string(made.ended.ID), revoke.End, 6), end,
			event(revoke.KindUser, string(ada), revoke.Change, 6), event(revoke.KindRole, "editor", revoke.Change, 6),
			event(revoke.KindKey, "sig1", revoke.End, 6), event(revoke.KindKey, "nobody's", revoke.End, 6),
			event(revoke.KindServiceKey, string(made.endedService.ID), revoke.End, 6))
		return err
	})
	if _, err := b.Log().Forget(t.Context(), at(9000), 2); err != nil {
		t.Fatalf("Forget = %v", err)
	}
	return made
}

func fillSettings(t testing.TB, b Backend) {
	t.Helper()
	if _, err := b.Settle(t.Context(), handstamp.Settings{Lease: 700 * time.Millisecond, Secrets: []string{"f1", "f2"}}); err != nil {
		t.Fatalf("Settle = %v", err)
	}
}

func fillUnit(ctx context.Context, tx login.Tx, made things) error {
	for i, u := range []handstamp.UserID{ada, bob, odd} {
		sub, err := tx.Subject(ctx, u)
		if err != nil {
			return err
		}
		sub.Grants = handstamp.Grants{Roles: []string{"member", "editor"}, Permissions: []string{"x:y"}}
		sub.Email, sub.EmailVerified, sub.Disabled = fmt.Sprintf("u%d@example.com", i), i == 0, u == odd
		if err := tx.PutSubject(ctx, sub); err != nil {
			return err
		}
		err = tx.PutUser(ctx, account.User{ID: u, Email: account.Address(sub.Email), EmailVerified: i == 0, CreatedAt: at(i)})
		if err != nil {
			return err
		}
		err = tx.PutCredential(ctx, account.Credential{
			User: u, Method: account.MethodPassword, Data: "$argon2id$" + string(u), CreatedAt: at(i), UpdatedAt: at(i + 1),
		})
		if err != nil {
			return err
		}
		if err := tx.Record(ctx, entry(i, audit.UserCreated, u)); err != nil {
			return err
		}
	}
	for _, s := range []handstamp.Session{made.live, made.ended, made.spared, made.visitor} {
		if err := tx.PutSession(ctx, s); err != nil {
			return err
		}
	}
	if err := tx.PutRole(ctx, account.Role{Name: "editor", Permissions: []string{"posts:write", "posts:read"}}); err != nil {
		return err
	}
	for _, k := range []handstamp.ServiceKey{made.service, made.endedService} {
		if err := tx.PutServiceKey(ctx, k); err != nil {
			return err
		}
	}
	if err := tx.PutCounter(ctx, made.counter); err != nil {
		return err
	}
	return tx.PutOneTime(ctx, made.oneTime)
}

func fillKeys(t testing.TB, b Backend) {
	t.Helper()
	for i, kid := range []string{"sig1", "sig2"} {
		err := b.Keys().PutKey(t.Context(), keyring.Record{
			ID: kid, Algorithm: jwt.ES256, Use: keyring.Signing, Serial: uint64(i) + 1, Sealed: []byte{0, 1, 2, byte(i)},
			CreatedAt: at(0), ActivateAt: at(1), RetireAt: at(100),
		})
		if err != nil {
			t.Fatalf("PutKey = %v", err)
		}
	}
}
