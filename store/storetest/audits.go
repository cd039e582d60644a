package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
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
