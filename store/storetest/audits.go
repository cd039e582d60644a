package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

func auditRules() []rule[Backend] {
	return []rule[Backend]{
		{"round_trip", "an entry comes back as it was written", auditRoundTrip},
		{"same_transaction", "a unit that fails leaves no entry, and one that commits leaves all of them", auditTransaction},
		{"filters", "entries are found by actor or target, and by kind", auditFilters},
		{"pages", "a list is newest first, and its pages neither repeat nor skip", auditPages},
		{"sweep", "a sweep deletes what is older than it was told, and no more than it was told", auditSweep},
	}
}

func entry(minute int, kind audit.Kind) audit.Event {
	return audit.Event{ID: id.NewAudit(at(minute)), At: at(minute), Kind: kind, Actor: string(ada), Target: string(bob)}
}

func record(t testing.TB, b Backend, all ...audit.Event) {
	t.Helper()
	unit(t, b, func(tx handstamp.Tx) error {
		for _, e := range all {
			if err := tx.Record(t.Context(), e); err != nil {
				return err
			}
		}
		return nil
	})
}

func entries(t testing.TB, b Backend, f audit.Filter) []audit.Event {
	t.Helper()
	all, err := b.Audit().List(t.Context(), f)
	must(t, err)
	return all
}

func auditRoundTrip(t *testing.T, b Backend) {
	if got, err := b.Audit().List(t.Context(), audit.Filter{Limit: 10}); err != nil || got == nil || len(got) != 0 {
		t.Errorf("List of a new store = %v, %v; want an empty slice", got, err)
	}
	want := audit.Event{
		ID: id.NewAudit(at(1)), At: at(1), Kind: "shop.order.cancelled", Actor: "usr_ada", Target: `it's "bob"`, Session: "ses_x",
		IP: "2001:db8::1", UserAgent: "Agent/1", RequestID: "req-1", Detail: map[string]string{"reason": "a\x1fb ü", "": "empty"},
	}
	little := audit.Event{ID: id.NewAudit(at(0)), At: at(0), Kind: audit.LoginFailed}
	record(t, b, want, little)
	got := entries(t, b, audit.Filter{Limit: 10})
	same(t, "the entries", got, []audit.Event{want, little})
	utc(t, "At", got[0].At, want.At)
	got[0].Detail["reason"] = "changed"
	want.Detail["reason"] = "changed too"
	if again := entries(t, b, audit.Filter{Limit: 1}); again[0].Detail["reason"] != "a\x1fb ü" {
		t.Errorf("Detail = %q, want what was written: answers are copies", again[0].Detail["reason"])
	}
}

func auditTransaction(t *testing.T, b Backend) {
	r := begin(t, b, ada, 0)
	end := func(fail error) error {
		return b.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			if err := tx.Record(t.Context(), entry(1, audit.SessionEnded)); err != nil {
				return err
			}
			if _, err := tx.Append(t.Context(), endSession(r, 1)); err != nil {
				return err
			}
			if err := tx.Record(t.Context(), entry(2, audit.RefreshReused)); err != nil {
				return err
			}
			return fail
		})
	}
	fails(t, "the unit", end(errRollback), errRollback)
	if got := entries(t, b, audit.Filter{Limit: 10}); len(got) != 0 || !live(t, b, r, at(1)) {
		t.Errorf("after a rollback there are %d entries and the session is alive: %v; want none and true", len(got), live(t, b, r, at(1)))
	}
	fails(t, "the unit", end(nil), nil)
	if got := entries(t, b, audit.Filter{Limit: 10}); len(got) != 2 || live(t, b, r, at(1)) {
		t.Errorf("after the commit there are %d entries and the session is alive: %v; want 2 and false", len(got), live(t, b, r, at(1)))
	}
}

func auditFilters(t *testing.T, b Backend) {
	byAda, toAda, other := entry(1, audit.LoginOK), entry(2, audit.UserDisabled), entry(3, audit.LoginOK)
	toAda.Actor, toAda.Target = "cli", string(ada)
	other.Actor, other.Target = "", string(bob)
	record(t, b, byAda, toAda, other)
	for _, c := range []struct {
		f    audit.Filter
		want []audit.Event
	}{
		{audit.Filter{}, []audit.Event{other, toAda, byAda}},
		{audit.Filter{User: ada}, []audit.Event{toAda, byAda}},
		{audit.Filter{User: bob}, []audit.Event{other, byAda}},
		{audit.Filter{Kind: audit.LoginOK}, []audit.Event{other, byAda}},
		{audit.Filter{Kind: audit.LoginOK, User: ada}, []audit.Event{byAda}},
		{audit.Filter{Kind: "login"}, nil},
		{audit.Filter{User: "usr_"}, nil},
	} {
		c.f.Limit = 100
		same(t, "the entries", entries(t, b, c.f), c.want)
	}
}

func auditPages(t *testing.T, b Backend) {
	var want []audit.Event
	for minute := range 9 {
		kind := audit.LoginOK
		if minute%2 == 1 {
			kind = audit.LoginFailed
		}
		want = append(want, entry(minute, kind))
	}
	record(t, b, want...)
	slices.Reverse(want)
	odd := slices.DeleteFunc(slices.Clone(want), func(e audit.Event) bool { return e.Kind == audit.LoginOK })
	for _, c := range []struct {
		f    audit.Filter
		want []audit.Event
	}{{audit.Filter{Limit: 4}, want}, {audit.Filter{Limit: 1}, want}, {audit.Filter{Limit: 3, Kind: audit.LoginFailed}, odd}} {
		var got []audit.Event
		for range 20 {
			page := entries(t, b, c.f)
			if len(page) > c.f.Limit {
				t.Errorf("List with a limit of %d = %d entries", c.f.Limit, len(page))
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			c.f.Before = page[len(page)-1].ID
		}
		same(t, "all pages together", got, c.want)
	}
}

func auditSweep(t *testing.T, b Backend) {
	var all []audit.Event
	for minute := range 5 {
		all = append(all, entry(minute, audit.LoginOK))
	}
	record(t, b, all...)
	for _, c := range []struct {
		before      time.Time
		limit, want int
	}{{at(0), 10, 0}, {at(3), 2, 2}, {at(3), 2, 1}, {at(3), 2, 0}} {
		n, err := b.Audit().Sweep(t.Context(), c.before, c.limit)
		must(t, err)
		if n != c.want {
			t.Errorf("Sweep(before %v, limit %d) = %d, want %d", c.before, c.limit, n, c.want)
		}
	}
	same(t, "what is left", entries(t, b, audit.Filter{Limit: 10}), []audit.Event{all[4], all[3]})
}

func settleRules() []rule[Backend] {
	return []rule[Backend]{
		{"lease_first_wins", "the first lease is the fleet's; later ones are told what it is and change nothing", settleLease},
		{"lease_race", "of fifty that settle at once all are told one lease", settleRace},
		{"secrets_share", "a list that shares a secret with the one before replaces it, so that secrets can be rotated", settleSecrets},
		{"secrets_foreign", "a list that shares none is a conflict and changes nothing, the lease neither", settleForeign},
		{"secrets_none", "a command without secrets is always welcome and leaves the list", settleNone},
		{"durability", "the store says itself what it promises, whatever it was asked with", settleDurability},
	}
}

func settle(t testing.TB, b Backend, lease time.Duration, secrets ...string) handstamp.Settings {
	t.Helper()
	got, err := b.Settle(t.Context(), handstamp.Settings{Lease: lease, Secrets: secrets})
	if err != nil {
		t.Fatalf("Settle(%v, %q) = %v, want no error", lease, secrets, err)
	}
	return got
}

func settleLease(t *testing.T, b Backend) {
	for _, asked := range []time.Duration{2 * time.Second, 5 * time.Second, 2 * time.Second} {
		if got := settle(t, b, asked, "a").Lease; got != 2*time.Second {
			t.Errorf("Settle(%v) = %v, want the first lease", asked, got)
		}
	}
	h, err := b.Log().Register(t.Context(), revoke.Registration{Verifier: id.NewVerifier(at(0)), RegisteredAt: at(0)})
	must(t, err)
	if h.Lease != 2*time.Second {
		t.Errorf("the head's lease = %v, want 2s", h.Lease)
	}
}

func settleRace(t *testing.T, b Backend) {
	got := make([]time.Duration, racers)
	won := race(t, func(n int) error {
		s, err := b.Settle(t.Context(), handstamp.Settings{Lease: time.Duration(n+1) * time.Second, Secrets: []string{"a"}})
		got[n] = s.Lease
		return err
	})
	if len(won) != racers || len(slices.Compact(got)) != 1 || got[0] == 0 {
		t.Errorf("%d settled, on the leases %v; want all, on one", len(won), slices.Compact(got))
	}
}

func settleSecrets(t *testing.T, b Backend) {
	settle(t, b, time.Second, "a")
	settle(t, b, time.Second, "b", "a")
	settle(t, b, time.Second, "b")
	_, err := b.Settle(t.Context(), handstamp.Settings{Lease: time.Second, Secrets: []string{"a"}})
	fails(t, "Settle(a secret that was rotated out)", err, handstamp.ErrConflict)
	settle(t, b, time.Second, "c", "b")
}

func settleForeign(t *testing.T, b Backend) {
	settle(t, b, 0, "a", "b")
	_, err := b.Settle(t.Context(), handstamp.Settings{Lease: 7 * time.Second, Secrets: []string{"x", "y"}})
	fails(t, "Settle(foreign secrets)", err, handstamp.ErrConflict)
	settle(t, b, 0, "b")
	_, err = b.Settle(t.Context(), handstamp.Settings{Secrets: []string{"x"}})
	fails(t, "Settle(foreign secrets, again)", err, handstamp.ErrConflict)
	if got := settle(t, b, 3*time.Second, "b").Lease; got != 3*time.Second {
		t.Errorf("Settle = a lease of %v, want 3s: a conflict left its own, or no lease settled one", got)
	}
}

func settleNone(t *testing.T, b Backend) {
	settle(t, b, 0)
	settle(t, b, time.Second, "a")
	settle(t, b, 0)
	if got := settle(t, b, 0).Lease; got != time.Second {
		t.Errorf("Settle without a lease = %v, want 1s", got)
	}
	_, err := b.Settle(t.Context(), handstamp.Settings{Lease: time.Second, Secrets: []string{"x"}})
	fails(t, "Settle(foreign secrets)", err, handstamp.ErrConflict)
}

func settleDurability(t *testing.T, b Backend) {
	lie := handstamp.Durability{Class: "eternal", Window: time.Hour}
	got, err := b.Settle(t.Context(), handstamp.Settings{Lease: time.Second, Secrets: []string{"a"}, Durability: lie})
	must(t, err)
	switch got.Durability.Class {
	case handstamp.Durable, handstamp.Window, handstamp.Volatile:
	default:
		t.Errorf("Durability = %+v, want one of the three classes", got.Durability)
	}
	if (got.Durability.Class == handstamp.Window) != (got.Durability.Window > 0) {
		t.Errorf("Durability = %+v: a window belongs to the class window", got.Durability)
	}
}
