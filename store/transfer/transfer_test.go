package transfer_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/store/transfer"
	"github.com/handstamp/handstamp/token"
)

// TestRowsOfValues: a session and a value are the same after the way through a row.
func TestRowsOfValues(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 123_457_000, time.UTC)
	hash := func() token.Hash { return token.HashOf(token.Generate(token.Reference)) }
	for name, want := range map[string]handstamp.Session{
		"all fields": {
			ID: id.NewSession(now), User: "usr_ada", Key: hash(), Mode: handstamp.ModeHybrid, Transport: handstamp.TransportCookie,
			BrowserSession: true, Methods: []string{"pwd", "<&>"}, Claims: []byte(`{"a": 1}`), CreatedAt: now, AuthAt: now.Add(1000),
			SeenAt: now.Add(2000), IdleTimeout: time.Hour + time.Microsecond, ExpiresAt: now.Add(time.Hour), Stamp: 1 << 62, Changed: 3,
			Refresh: handstamp.Family{Generation: 1<<32 - 1, Nonce: hash(), RotatedAt: now, Request: hash(), IP: "1", UserAgent: "2"},
			IP:      "3", UserAgent: "4", EndedBy: 5, EndedAt: now, EndReason: "6", Version: 7,
		},
		"no fields": {},
	} {
		row := transfer.SessionRow(want)
		if err := transfer.Check(transfer.Sessions(), row); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, err := transfer.SessionOf(row)
		if err != nil || !cmp.Equal(got, want, cmp.Comparer(func(a, b token.Hash) bool { return a == b })) {
			t.Errorf("%s: SessionOf = %v (-want +got):\n%s", name, err, cmp.Diff(want, got))
		}
		for i := range row { // a row that lacks something is none
			if _, err := transfer.SessionOf(row[:i]); err == nil {
				t.Fatalf("%s: a row of %d columns is taken for a session", name, i)
			}
		}
	}
	want := handstamp.Datum{Name: "cart", Data: []byte{0, 255}, Version: 1<<63 - 1}
	row := transfer.DataRow("ses_1", want)
	if err := transfer.Check(transfer.Data(), row); err != nil {
		t.Error(err)
	}
	if s, got, err := transfer.DatumOf(row); err != nil || s != "ses_1" || !cmp.Equal(got, want) {
		t.Errorf("DatumOf = %q %+v, %v", s, got, err)
	}
}

// TestRowID: different rows are different texts, whatever is in them, and different digests.
func TestRowID(t *testing.T) {
	rows := []transfer.Row{
		{"a", "b c"}, {"a b", "c"}, {"ab", "c"}, {"a", "bc"}, {"", "abc"}, {"abc", ""}, {"abc"}, {[]byte("abc"), ""}, {[]byte(nil), "abc"},
		{[]byte{}, "abc"}, {int64(1), ""}, {int64(256), ""}, {int64(-1), ""}, {"1", ""}, {"\x01", ""},
	}
	seen, sums := map[string]int{}, map[string]int{}
	for i, r := range rows {
		if j, twice := seen[r.ID()]; twice {
			t.Errorf("rows %d and %d have one id", i, j)
		}
		var d transfer.Digest
		d.Add(r)
		if j, twice := sums[d.String()]; twice {
			t.Errorf("rows %d and %d have one digest", i, j)
		}
		seen[r.ID()], sums[d.String()] = i, i
		if !transfer.Equal(r, rows[i]) || i > 0 && transfer.Equal(r, rows[i-1]) {
			t.Errorf("Equal is wrong about row %d", i)
		}
	}
}

func TestCompare(t *testing.T) {
	text := transfer.Table{Keys: 2}
	for _, tt := range []struct{ a, b transfer.Row }{
		{transfer.Row{"a", "z"}, transfer.Row{"b", "a"}}, {transfer.Row{"a", ""}, transfer.Row{"a", "a"}},
		{transfer.Row{"Z", ""}, transfer.Row{"a", ""}}, {transfer.Row{"z", ""}, transfer.Row{"ä", ""}},
		{transfer.Row{int64(-1), ""}, transfer.Row{int64(10), ""}}, {transfer.Row{int64(9), ""}, transfer.Row{int64(10), ""}},
		{transfer.Row{[]byte{1, 255}, ""}, transfer.Row{[]byte{2}, ""}},
	} {
		if transfer.Compare(text, tt.a, tt.b) >= 0 || transfer.Compare(text, tt.b, tt.a) <= 0 || transfer.Compare(text, tt.a, tt.a) != 0 {
			t.Errorf("Compare is wrong about %v and %v", tt.a, tt.b)
		}
	}
}

// TestCheck: a row of another table is noticed.
func TestCheck(t *testing.T) {
	for _, table := range transfer.Tables() {
		if len(table.Columns) < table.Keys || table.Keys < 1 || table.Keys > 2 {
			t.Errorf("%s has %d columns as a key", table.Name, table.Keys)
		}
		row := make(transfer.Row, len(table.Columns))
		if transfer.Check(table, row) == nil {
			t.Errorf("%s: a row without values is good", table.Name)
		}
	}
}

// FuzzCanonical: what is read as a list or an object is written the same however often.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"[]", "{}", `["a", "b"]`, `["\u003c", "<"]`, `{"b":"1","a":"2"}`, "[", "null", `[1]`, "\xff", `["\ud800"]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, k := range []transfer.Kind{transfer.List, transfer.Object, transfer.Text} {
			once, err := transfer.Canonical(k, s)
			if err != nil {
				continue
			}
			twice, err := transfer.Canonical(k, once)
			if err != nil || twice != once {
				t.Errorf("Canonical(%q) = %q, and of that %q, %v", s, once, twice, err)
			}
		}
		said := transfer.Said(s)
		if transfer.Said(said) != said || bytes.IndexByte([]byte(said), 0) >= 0 {
			t.Errorf("Said(%q) = %q", s, said)
		}
	})
}
