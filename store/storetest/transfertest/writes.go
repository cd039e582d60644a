package transfertest

import (
	"context"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
)

// write is a statement of a store that changes something, on what fillBackend made.
type write struct {
	name string
	run  func(ctx context.Context, b Backend) error
}

// inUnit makes a write of a call on a unit.
func inUnit(name string, fn func(ctx context.Context, tx login.Tx) error) write {
	return write{name, func(ctx context.Context, b Backend) error {
		return b.LoginWork().Do(ctx, func(tx login.Tx) error { return fn(ctx, tx) })
	}}
}

func appending(name string, e revoke.Event) write {
	return inUnit(name, func(ctx context.Context, tx login.Tx) error {
		_, err := tx.Append(ctx, e)
		return err
	})
}

// writes is every way to change a row that is moved. They may run one after the other.
func writes(made things) []write {
	fresh := sessionOf(ada, 20)
	list := []write{
		inUnit("PutSession, new", func(ctx context.Context, tx login.Tx) error { return tx.PutSession(ctx, fresh) }),
		inUnit("PutSession", func(ctx context.Context, tx login.Tx) error {
			again := fresh
			again.Version, again.IP = 1, "192.0.2.77"
			return tx.PutSession(ctx, again)
		}),
		inUnit("PutSubject", func(ctx context.Context, tx login.Tx) error {
			return tx.PutSubject(ctx, handstamp.Subject{User: "usr_new", Email: "n@example.com"})
		}),
		inUnit("Carry", func(ctx context.Context, tx login.Tx) error {
			return tx.Carry(ctx, handstamp.Carrying{From: made.visitor.ID, To: fresh.ID, Names: []string{"cart"}, Limit: 1 << 14, Now: at(5)})
		}),
		inUnit("PutUser, new", func(ctx context.Context, tx login.Tx) error {
			return tx.PutUser(ctx, account.User{ID: "usr_new", Email: "n@example.com", CreatedAt: at(1)})
		}),
		inUnit("PutUser", func(ctx context.Context, tx login.Tx) error {
			return tx.PutUser(ctx, account.User{ID: "usr_new", Email: "m@example.com", CreatedAt: at(1), Version: 1})
		}),
		inUnit("PutCredential", func(ctx context.Context, tx login.Tx) error {
			return tx.PutCredential(ctx, account.Credential{User: "usr_new", Method: "password", Data: "x"})
		}),
		inUnit("DeleteUser", func(ctx context.Context, tx login.Tx) error { return tx.DeleteUser(ctx, ada) }),
		inUnit("PutRole", func(ctx context.Context, tx login.Tx) error { return tx.PutRole(ctx, account.Role{Name: "new"}) }),
		inUnit("DeleteRole", func(ctx context.Context, tx login.Tx) error { return tx.DeleteRole(ctx, "editor") }),
		inUnit("PutServiceKey", func(ctx context.Context, tx login.Tx) error {
			return tx.PutServiceKey(ctx, handstamp.ServiceKey{ID: id.NewServiceKey(at(7)), Hash: hashOf("new service"), Name: "new"})
		}),
		inUnit("PutCounter", func(ctx context.Context, tx login.Tx) error {
			return tx.PutCounter(ctx, login.Counter{Key: login.BudgetKey(hashOf("new budget")), Failures: 1, ExpiresAt: at(8)})
		}),
		inUnit("PutOneTime", func(ctx context.Context, tx login.Tx) error {
			return tx.PutOneTime(ctx, login.OneTime{Hash: hashOf("new once"), Kind: "k", ExpiresAt: at(8)})
		}),
		inUnit("TakeOneTime", func(ctx context.Context, tx login.Tx) error {
			_, err := tx.TakeOneTime(ctx, made.oneTime.Kind, made.oneTime.Hash)
			return err
		}),
		inUnit("DropOneTimes", func(ctx context.Context, tx login.Tx) error { return tx.DropOneTimes(ctx, "k") }),
		inUnit("Record", func(ctx context.Context, tx login.Tx) error { return tx.Record(ctx, entry(30, audit.RoleDefined, ada)) }),
	}
	return append(append(list, appends(made)...), plainWrites(made)...)
}

func appends(made things) []write {
	return []write{
		appending("Append session/change", event(revoke.KindSession, string(made.spared.ID), revoke.Change, 21)),
		appending("Append user/change", event(revoke.KindUser, string(bob), revoke.Change, 21)),
		appending("Append session/end", event(revoke.KindSession, string(made.live.ID), revoke.End, 22)),
		appending("Append user/end", event(revoke.KindUser, string(ada), revoke.End, 22)),
		appending("Append key/end", event(revoke.KindKey, "sig2", revoke.End, 22)),
		appending("Append service_key/end", event(revoke.KindServiceKey, string(made.service.ID), revoke.End, 22)),
	}
}

// plainWrites are those that are no units.
func plainWrites(made things) []write {
	return []write{
		{"Rotate", func(ctx context.Context, b Backend) error {
			_, err := b.Sessions().Rotate(ctx, made.spared.ID, 7, handstamp.Rotation{At: at(7), Family: handstamp.Family{Generation: 8, Nonce: made.spared.Refresh.Nonce}})
			return err
		}},
		{"Touch", func(ctx context.Context, b Backend) error {
			return b.Sessions().Touch(ctx, map[handstamp.SessionID]time.Time{made.spared.ID: at(40)})
		}},
		{"Values.Put", func(ctx context.Context, b Backend) error {
			return b.Values().Put(ctx, handstamp.DatumWrite{
				Session: made.visitor.ID, Limit: 1 << 14, Now: at(8), Value: handstamp.Datum{Name: "new", Data: []byte("x"), Version: 5},
			})
		}},
		{"Values.Put, deleting", func(ctx context.Context, b Backend) error {
			return b.Values().Put(ctx, handstamp.DatumWrite{
				Session: made.visitor.ID, Limit: 1 << 14, Now: at(8), Value: handstamp.Datum{Name: "new"}, From: 5,
			})
		}},
		{"PutKey", func(ctx context.Context, b Backend) error {
			return b.Keys().PutKey(ctx, keyring.Record{ID: "sig9", Algorithm: jwt.ES256, Use: keyring.Signing, Serial: 9, Sealed: []byte{9}})
		}},
		{"DeleteKey", func(ctx context.Context, b Backend) error { return b.Keys().DeleteKey(ctx, "sig1") }},
		{"Settle", func(ctx context.Context, b Backend) error {
			_, err := b.Settle(ctx, handstamp.Settings{Secrets: []string{"f3", "f1"}})
			return err
		}},
		{"Forget", func(ctx context.Context, b Backend) error {
			_, err := b.Log().Forget(ctx, at(9000), 1)
			return err
		}},
		{"Audit.Sweep", func(ctx context.Context, b Backend) error {
			_, err := b.Audit().Sweep(ctx, at(2), 10)
			return err
		}},
		appending("Append all/end", event(revoke.KindAll, "", revoke.End, 23)),
		{"Sweep", func(ctx context.Context, b Backend) error {
			_, err := b.Sessions().Sweep(ctx, at(100_000), 1_000)
			return err
		}},
	}
}
