package transfertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/transfer"
	"github.com/handstamp/handstamp/token"
)

func testPages(t *testing.T, m Maker) {
	p := m.New(t)
	fillBackend(t, p.Backend)
	for _, table := range transfer.Tables() {
		want := all(t, p.Transfer, table, 1_000)
		if len(want) == 0 {
			t.Errorf("%s is empty: the test fills every table", table.Name)
		}
		for i, r := range want {
			if err := transfer.Check(table, r); err != nil {
				t.Error(err)
			}
			if i > 0 && transfer.Compare(table, want[i-1], r) >= 0 {
				t.Errorf("%s: row %d does not come after the one before it", table.Name, i)
			}
		}
		for _, page := range []int{1, 2} {
			if got := all(t, p.Transfer, table, page); !cmp.Equal(got, want) {
				t.Errorf("%s by pages of %d differs (-want +got):\n%s", table.Name, page, cmp.Diff(want, got))
			}
		}
		var keys []transfer.Row
		for _, r := range want {
			keys = append(keys, slices.Clone(table.KeyOf(r)))
		}
		got, err := p.Transfer.Rows(t.Context(), table, keys)
		if err != nil {
			t.Fatalf("Rows(%s) = %v", table.Name, err)
		}
		slices.SortFunc(got, func(a, b transfer.Row) int { return transfer.Compare(table, a, b) })
		if !cmp.Equal(got, want) {
			t.Errorf("Rows(%s) differs (-want +got):\n%s", table.Name, cmp.Diff(want, got))
		}
	}
}

// view is what all the reads of a backend say.
type view struct {
	Found    map[string]handstamp.Found
	Subjects []handstamp.Subject
	Users    any
	Creds    any
	Services []handstamp.ServiceKey
	Keys     []keyring.Record
	Audit    []audit.Event
	Roles    permission.Table
	Settings handstamp.Settings
	Head     revoke.Head
	Events   []revoke.Event
	Values   []handstamp.Datum
	OneTime  login.OneTime
	Counter  login.Counter
}

// look reads everything that a backend says about what fillBackend made.
func look(t testing.TB, b Backend, made things) view {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	v := view{Found: map[string]handstamp.Found{}}
	for name, l := range map[string]handstamp.Lookup{
		"live": {Session: made.live.ID, SigningKey: "nobody's"}, "ended": {Key: made.ended.Key, SigningKey: "sig1"},
		"spared": {Key: made.spared.Key}, "visitor": {Session: made.visitor.ID},
		"service": {ServiceKey: made.service.Hash}, "ended service": {ServiceKey: made.endedService.Hash},
	} {
		v.Found[name], err = b.Sessions().Find(ctx, l)
		must(err)
	}
	users := []any{}
	creds := []any{}
	for _, u := range []handstamp.UserID{ada, bob, odd} {
		sub, err := b.Sessions().Subject(ctx, u)
		must(err)
		v.Subjects = append(v.Subjects, sub)
		user, err := b.Users().ByID(ctx, u)
		must(err)
		cred, err := b.Users().Credential(ctx, u, "password")
		must(err)
		users, creds = append(users, user), append(creds, cred)
	}
	v.Users, v.Creds = users, creds
	v.Services, err = b.Users().ServiceKeys(ctx, "", 10)
	must(err)
	v.Keys, err = b.Keys().Keys(ctx)
	must(err)
	slices.SortFunc(v.Keys, func(a, b keyring.Record) int { return int(a.Serial) - int(b.Serial) })
	v.Audit, err = b.Audit().List(ctx, audit.Filter{Limit: 100})
	must(err)
	v.Roles, _, err = b.Roles(ctx)
	must(err)
	v.Settings, err = b.Settle(ctx, handstamp.Settings{})
	must(err)
	v.Settings.Durability = handstamp.Durability{}
	for i, name := range []string{"cart", "draft"} {
		d, _, err := b.Values().Get(ctx, made.visitor.ID, name)
		must(err)
		if d.Version == 0 {
			t.Errorf("value %d is missing", i)
		}
		v.Values = append(v.Values, d)
	}
	lookLog(t, b, &v)
	return v
}

// lookLog follows the log from its oldest place.
func lookLog(t testing.TB, b Backend, v *view) {
	t.Helper()
	me := revoke.Registration{Verifier: "vrf_test", RegisteredAt: at(0), Name: "test"}
	head, err := b.Log().Register(t.Context(), me)
	if err != nil {
		t.Fatal(err)
	}
	a, err := b.Log().Renew(t.Context(), revoke.Renewal{
		Verifier: me.Verifier, Log: head.Log, Applied: head.Low, Tag: head.LowTag, Limit: 100,
	})
	if err != nil || a.Reset {
		t.Fatalf("Renew = %+v, %v", a, err)
	}
	head.Now = time.Time{}
	v.Head, v.Events = head, a.Events
	if err := b.Log().Remove(t.Context(), 1<<62, me.Verifier); err != nil {
		t.Fatal(err)
	}
}

func diff(a, b any) string {
	return cmp.Diff(a, b, cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b permission.Set) bool { return cmp.Equal(a.List(), b.List()) }),
		cmp.Comparer(func(a, b token.Hash) bool { return a == b }))
}

func testRoundTrip(t *testing.T, m Maker) {
	from, to := m.New(t), m.New(t)
	made := fillBackend(t, from.Backend)
	want := look(t, from.Backend, made)
	fill(t, from.Transfer, to.Transfer, set(t, to.Transfer, transfer.Filling))
	for _, table := range transfer.Tables() {
		a, err := transfer.Sum(t.Context(), from.Transfer, table)
		if err != nil {
			t.Fatal(err)
		}
		b, err := transfer.Sum(t.Context(), to.Transfer, table)
		if err != nil {
			t.Fatal(err)
		}
		if a != b || a.Rows == 0 {
			t.Errorf("%s: %d rows and another sum, want the %d rows that were copied", table.Name, b.Rows, a.Rows)
		}
	}
	set(t, to.Transfer, transfer.Open)
	got := look(t, to.Backend, made)
	if d := diff(want, got); d != "" {
		t.Errorf("the copy answers otherwise (-source +copy):\n%s", d)
	}
	do(t, to.Backend, func(ctx context.Context, tx login.Tx) error {
		c, err := tx.Counter(ctx, made.counter.Key)
		if err != nil {
			return err
		}
		one, err := tx.TakeOneTime(ctx, made.oneTime.Kind, made.oneTime.Hash)
		if err != nil {
			return err
		}
		if c != made.counter || one != made.oneTime {
			t.Errorf("counter and one-time token are %+v and %+v, want %+v and %+v", c, one, made.counter, made.oneTime)
		}
		done, err := tx.Append(ctx, event(revoke.KindAll, "", revoke.End, 8))
		if err == nil && done.Last() != want.Head.Seq+1 {
			t.Errorf("the next number is %d, want %d", done.Last(), want.Head.Seq+1)
		}
		return err
	})
}

func changes(t testing.TB, db transfer.Source) []transfer.Change {
	t.Helper()
	found, err := db.Changes(t.Context(), 1_000)
	if err != nil {
		t.Fatalf("Changes = %v", err)
	}
	return found
}

func testChanges(t *testing.T, m Maker) {
	p := m.New(t)
	made := fillBackend(t, p.Backend)
	set(t, p.Transfer, transfer.Tracked)
	for _, w := range writes(made) {
		before := map[string]map[string]transfer.Row{}
		for _, table := range transfer.Tables() {
			before[table.Name] = index(t, p.Transfer, table)
		}
		if err := w.run(t.Context(), p.Backend); err != nil {
			t.Fatalf("%s = %v", w.name, err)
		}
		noted := map[string]bool{}
		found := changes(t, p.Transfer)
		for _, c := range found {
			noted[c.Table+" "+c.Key.ID()] = true
		}
		for _, table := range transfer.Tables() {
			after := index(t, p.Transfer, table)
			for key := range union(before[table.Name], after) {
				if a, b := before[table.Name][key], after[key]; (a == nil || b == nil || !transfer.Equal(a, b)) && !noted[table.Name+" "+key] {
					t.Errorf("%s changed a row of %s and it was not noted", w.name, table.Name)
				}
			}
		}
		if len(found) == 0 {
			t.Errorf("%s changed nothing that was noted", w.name)
		}
		if err := p.Transfer.Forget(t.Context(), found); err != nil {
			t.Fatalf("Forget = %v", err)
		}
	}
}

func index(t testing.TB, r transfer.Reader, table transfer.Table) map[string]transfer.Row {
	t.Helper()
	rows := map[string]transfer.Row{}
	for _, r := range all(t, r, table, 1_000) {
		rows[table.KeyOf(r).ID()] = r
	}
	return rows
}

func union(a, b map[string]transfer.Row) map[string]bool {
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	return keys
}

func testForget(t *testing.T, m Maker) {
	p := m.New(t)
	made := fillBackend(t, p.Backend)
	set(t, p.Transfer, transfer.Tracked)
	touch := func(minute int) {
		seen := map[handstamp.SessionID]time.Time{made.spared.ID: at(minute)}
		if err := p.Backend.Sessions().Touch(t.Context(), seen); err != nil {
			t.Fatal(err)
		}
	}
	touch(10)
	first := changes(t, p.Transfer)
	touch(11)
	if err := p.Transfer.Forget(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	left := changes(t, p.Transfer)
	if len(first) != 1 || len(left) != 1 || left[0].N == first[0].N || left[0].Key[0] != string(made.spared.ID) {
		t.Errorf("changes are %v, and %v after the first was forgotten", first, left)
	}
	set(t, p.Transfer, transfer.Fenced)
	if again := changes(t, p.Transfer); !cmp.Equal(again, left) {
		t.Errorf("changes under the fence are %v, want those from before it: %v", again, left)
	}
	set(t, p.Transfer, transfer.Tracked)
	set(t, p.Transfer, transfer.Open)
	set(t, p.Transfer, transfer.Tracked)
	if again := changes(t, p.Transfer); len(again) != 0 {
		t.Errorf("changes after a new beginning are %v, want none", again)
	}
}

// unknown reports whether an error says "don't know": it is none of those that the engine takes for an answer.
func unknown(err error) bool {
	for _, answer := range []error{
		nil, handstamp.ErrNotFound, handstamp.ErrConflict, handstamp.ErrTaken, handstamp.ErrDataTooLarge, keyring.ErrConflict,
		revoke.ErrNotRegistered,
	} {
		if errors.Is(err, answer) {
			return false
		}
	}
	return true
}
