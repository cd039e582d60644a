package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/login"
)

func loginRules() []rule[Backend] {
	return []rule[Backend]{
		{"counters", "a counter comes back as it was put; one that nobody charged is empty but for its key", counterRules},
		{"counter_race", "fifty attempts at once are fifty counted: the counter is locked from its reading on", counterRace},
		{"one_time", "a one-time token is given once, to who names its kind, expired or not", oneTimeRules},
		{"one_time_race", "of fifty takers of one token exactly one gets it", oneTimeRace},
		{"one_time_rollback", "a token that was taken in a unit that failed can still be taken", oneTimeRollback},
		{"one_time_drop", "dropping the tokens of a kind leaves the others", oneTimeDrop},
		{"swept", "counters and tokens that have run out are swept with the sessions, and no others", loginSweep},
		{"one_transaction", "account, credential, session, counter, token and audit entry are one unit", loginIsOne},
	}
}

// loginUnit is a login's unit that must succeed.
func loginUnit(t testing.TB, b Backend, fn func(tx login.Tx) error) {
	t.Helper()
	if err := b.LoginWork().Do(t.Context(), fn); err != nil {
		t.Fatalf("Do = %v, want no error", err)
	}
}

func counterOf(t testing.TB, b Backend, k login.BudgetKey) login.Counter {
	t.Helper()
	var c login.Counter
	loginUnit(t, b, func(tx login.Tx) error {
		var err error
		c, err = tx.Counter(t.Context(), k)
		return err
	})
	return c
}

func counterRules(t *testing.T, b Backend) {
	one, two := login.BudgetKey(hash()), login.BudgetKey(hash())
	same(t, "a counter that nobody charged", counterOf(t, b, one), login.Counter{Key: one})
	want := login.Counter{Key: one, Failures: 3, LastAt: at(1), Known: true, ExpiresAt: at(90)}
	for _, want := range []login.Counter{want, {Key: one, ExpiresAt: at(91)}, {Key: one, Failures: 1 << 30, LastAt: at(2), ExpiresAt: at(92)}} {
		loginUnit(t, b, func(tx login.Tx) error { return tx.PutCounter(t.Context(), want) })
		got := counterOf(t, b, one)
		same(t, "the counter", got, want)
		utc(t, "LastAt", got.LastAt, want.LastAt)
		utc(t, "ExpiresAt", got.ExpiresAt, want.ExpiresAt)
	}
	same(t, "another counter", counterOf(t, b, two), login.Counter{Key: two})
}

func counterRace(t *testing.T, b Backend) {
	k := login.BudgetKey(hash())
	won := race(t, func(int) error {
		return b.LoginWork().Do(t.Context(), func(tx login.Tx) error {
			c, err := tx.Counter(t.Context(), k)
			if err != nil {
				return err
			}
			c.Failures++
			c.LastAt, c.ExpiresAt = at(1), at(90)
			return tx.PutCounter(t.Context(), c)
		})
	})
	if got := counterOf(t, b, k).Failures; got != racers || len(won) != racers {
		t.Errorf("%d of %d attempts went through and %d are counted", len(won), racers, got)
	}
}

func oneTime(kind string) login.OneTime {
	return login.OneTime{Hash: hash(), Kind: kind, Data: `{"x":"it's"}`, ExpiresAt: at(30)}
}

func putOneTimes(t testing.TB, b Backend, all ...login.OneTime) {
	t.Helper()
	loginUnit(t, b, func(tx login.Tx) error {
		for _, o := range all {
			if err := tx.PutOneTime(t.Context(), o); err != nil {
				return err
			}
		}
		return nil
	})
}

func take(t testing.TB, b Backend, o login.OneTime) (login.OneTime, error) {
	t.Helper()
	var got login.OneTime
	err := b.LoginWork().Do(t.Context(), func(tx login.Tx) error {
		var err error
		got, err = tx.TakeOneTime(t.Context(), o.Kind, o.Hash)
		return err
	})
	return got, err
}

func oneTimeRules(t *testing.T, b Backend) {
	want, other, old := oneTime("setup"), oneTime("setup"), oneTime("setup")
	old.ExpiresAt, old.Data = at(-100_000), ""
	putOneTimes(t, b, want, other, old)
	wrong := want
	wrong.Kind = "reset"
	_, err := take(t, b, wrong)
	fails(t, "TakeOneTime(of another kind)", err, handstamp.ErrNotFound)
	_, err = take(t, b, login.OneTime{Kind: "setup", Hash: hash()})
	fails(t, "TakeOneTime(unknown)", err, handstamp.ErrNotFound)
	_, err = take(t, b, login.OneTime{Kind: "setup"})
	fails(t, "TakeOneTime(no hash)", err, handstamp.ErrNotFound)
	for _, want := range []login.OneTime{want, old} {
		got, err := take(t, b, want)
		must(t, err)
		same(t, "the token", got, want)
		utc(t, "ExpiresAt", got.ExpiresAt, want.ExpiresAt)
		_, err = take(t, b, want)
		fails(t, "TakeOneTime(again)", err, handstamp.ErrNotFound)
	}
	_, err = take(t, b, other)
	must(t, err)
}

func oneTimeRace(t *testing.T, b Backend) {
	o := oneTime("setup")
	putOneTimes(t, b, o)
	won := race(t, func(int) error {
		_, err := take(t, b, o)
		return err
	})
	if len(won) != 1 {
		t.Errorf("%d takers got the token, want 1", len(won))
	}
}

func oneTimeRollback(t *testing.T, b Backend) {
	o := oneTime("setup")
	putOneTimes(t, b, o)
	err := b.LoginWork().Do(t.Context(), func(tx login.Tx) error {
		if _, err := tx.TakeOneTime(t.Context(), o.Kind, o.Hash); err != nil {
			return err
		}
		_, err := tx.TakeOneTime(t.Context(), o.Kind, o.Hash)
		fails(t, "TakeOneTime(again in the unit)", err, handstamp.ErrNotFound)
		return errRollback
	})
	fails(t, "the unit", err, errRollback)
	_, err = take(t, b, o)
	must(t, err)
}

func oneTimeDrop(t *testing.T, b Backend) {
	one, two, other, fresh := oneTime("setup"), oneTime("setup"), oneTime("reset"), oneTime("setup")
	putOneTimes(t, b, one, two, other)
	loginUnit(t, b, func(tx login.Tx) error {
		if err := tx.DropOneTimes(t.Context(), "setup"); err != nil {
			return err
		}
		return tx.PutOneTime(t.Context(), fresh)
	})
	for _, gone := range []login.OneTime{one, two} {
		_, err := take(t, b, gone)
		fails(t, "TakeOneTime(dropped)", err, handstamp.ErrNotFound)
	}
	for _, kept := range []login.OneTime{other, fresh} {
		_, err := take(t, b, kept)
		must(t, err)
	}
	loginUnit(t, b, func(tx login.Tx) error { return tx.DropOneTimes(t.Context(), "none of these") })
}

func loginSweep(t *testing.T, b Backend) {
	k, kept := login.BudgetKey(hash()), login.BudgetKey(hash())
	old, young := oneTime("setup"), oneTime("setup")
	young.ExpiresAt = at(31)
	putOneTimes(t, b, old, young)
	loginUnit(t, b, func(tx login.Tx) error {
		if err := tx.PutCounter(t.Context(), login.Counter{Key: k, Failures: 1, ExpiresAt: at(30)}); err != nil {
			return err
		}
		return tx.PutCounter(t.Context(), login.Counter{Key: kept, Failures: 1, ExpiresAt: at(31)})
	})
	now, total := at(30).Add(time.Microsecond), 0
	for range 10 {
		n, err := b.Sessions().Sweep(t.Context(), now, 100)
		must(t, err)
		total += n
		if n == 0 {
			break
		}
	}
	if total != 2 {
		t.Errorf("Sweep deleted %d records, want a counter and a token", total)
	}
	if counterOf(t, b, k).Failures != 0 || counterOf(t, b, kept).Failures != 1 {
		t.Error("the counter that ran out is there, or the other one is not")
	}
	_, err := take(t, b, old)
	fails(t, "TakeOneTime(swept)", err, handstamp.ErrNotFound)
	_, err = take(t, b, young)
	must(t, err)
}

func loginIsOne(t *testing.T, b Backend) {
	u, r, o, k := user(1), session("", 1), oneTime("setup"), login.BudgetKey(hash())
	r.User = u.ID
	all := func(tx login.Tx) error {
		if err := putUser(t, tx, u); err != nil {
			return err
		}
		c := account.Credential{User: u.ID, Method: "password", Data: "$x", CreatedAt: at(1), UpdatedAt: at(1)}
		if err := tx.PutCredential(t.Context(), c); err != nil {
			return err
		}
		if err := putIn(t.Context(), tx, r); err != nil {
			return err
		}
		if err := tx.PutCounter(t.Context(), login.Counter{Key: k, Failures: 2, ExpiresAt: at(90)}); err != nil {
			return err
		}
		if err := tx.PutOneTime(t.Context(), o); err != nil {
			return err
		}
		return tx.Record(t.Context(), audit.Event{ID: id.NewAudit(at(1)), At: at(1), Kind: audit.LoginOK, Actor: string(u.ID)})
	}
	there := func() []bool {
		_, noUser := b.Users().ByEmail(t.Context(), u.Email)
		_, noCredential := b.Users().Credential(t.Context(), u.ID, "password")
		_, noSession := b.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
		entries, err := b.Audit().List(t.Context(), audit.Filter{Limit: 10})
		must(t, err)
		return []bool{noUser == nil, noCredential == nil, noSession == nil, counterOf(t, b, k).Failures == 2, len(entries) == 1}
	}
	err := b.LoginWork().Do(t.Context(), func(tx login.Tx) error {
		if err := all(tx); err != nil {
			return err
		}
		return errRollback
	})
	fails(t, "the unit", err, errRollback)
	if got := there(); slices.Contains(got, true) {
		t.Errorf("after the rollback there are account, credential, session, counter, entry: %v", got)
	}
	loginUnit(t, b, all)
	if got := there(); slices.Contains(got, false) {
		t.Errorf("after the commit there are account, credential, session, counter, entry: %v", got)
	}
	_, err = take(t, b, o)
	must(t, err)
}
