package storetest

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

func valueRules() []rule[SessionStore] {
	return []rule[SessionStore]{
		{"round_trip", "a value comes back as it was put, and with it what Find says of its session", valueRoundTrip},
		{"answers_are_copies", "what Get returns and what Put took can be changed without changing the value", valueCopies},
		{"unknown_session", "without a session there is nothing to read (not found) and nowhere to write (a conflict)", valueUnknown},
		{"compare_and_swap", "a value is replaced or deleted only in the version it was read in, or one of two writers is lost", valueSwap},
		{"delete", "a deleted value is not there, its name is free, and its version is nobody's any more", valueDelete},
		{"no_empty_value", "a value without data is no value: to write one is the caller's mistake and changes nothing", valueEmpty},
		{"size_bound", "names and values of a session together fit the limit to the byte, and one more is refused and changes nothing", valueSize},
		{"size_per_session", "what one session has is no other one's, neither by name nor by size", valueApart},
		{"deletes_beyond_the_limit", "deleting never fails for size, or a session that is over the limit could not be cleaned up", valueShrinks},
		{"binary_data", "data is bytes: zeros, every other byte and what is no text come back whole", valueBytes},
		{"names_as_given", "a name is data: what looks alike is another name, and it counts in bytes", valueNames},
		{"cancelled", "a call whose context is over does nothing and says neither yes nor no", valueCancelled},
		{"names_independent", "two hundred writers of two hundred names do not lose one", valueIndependent},
		{"one_winner", "of fifty writers of one version exactly one wins", valueOnce},
		{"counter", "fifty who count in one value, each trying again after a conflict, lose no count", valueCounter},
		{"one_snapshot", "what Get says of a session comes from one snapshot, or a spared session looks ended", valueSnapshot},
		{"dead", "nothing is written for a session that is over, by whatever it is over, and what was there can be read", valueDead},
		{"live_truth_table", "a value is written exactly where the rule for alive says yes", valueLive},
		{"activity", "activity that is not written yet keeps a session from its idle end, and from no other", valueActivity},
		{"ended_midway", "once an end is committed no write goes through any more, and no value changes", valueEnded},
		{"survives", "a refresh, new secrets and a change leave values alone", valueSurvives},
		{"sweep_with_record", "values go with the record that is swept, and are not back with another one", valueSweptRecord},
		{"sweep_over", "values of sessions that do not stand are swept, whatever ended them; idle ones and others keep theirs", valueSweptOver},
		{"sweep_bounded", "a sweep deletes no more values than it was told, and the next ones go on to the end", valueSweptBounded},
		{"carry", "the named values are copied, replace nothing, and nothing else is touched", carries},
		{"carry_absent", "a name or a session that is not there is no error, and makes nothing", carriesAbsent},
		{"carry_in_unit", "a copy is there with the session that the same unit makes, or not at all", carriesInUnit},
		{"carry_over", "nothing is copied from a session that does not stand, whatever ended it", carriesOver},
		{"carry_limit", "a value that does not fit is left out, and the next one that does is copied", carriesLimit},
		{"carry_limit_exact", "exactly the limit is carried, and of one byte more the last value is left out", carriesExactly},
		{"carry_version", "a copy has a version that a writer can go on from, and the two values go their own ways", carriesVersion},
	}
}

// valuesOf is the store's view for values.
func valuesOf(t testing.TB, s SessionStore) handstamp.Values {
	t.Helper()
	return s.Values()
}

// carryIn copies values in a unit.
func carryIn(ctx context.Context, tx handstamp.Tx, from, to handstamp.SessionID, names ...string) error {
	return tx.Carry(ctx, handstamp.Carrying{From: from, To: to, Names: names, Limit: room, Now: at(2)})
}

// room is a limit that no rule about something else reaches.
const room = 1 << 20

// versions are given out by hand here: any number that a name never had will do.
func write(s handstamp.Session, name, data string, from, to uint64) handstamp.DatumWrite {
	return handstamp.DatumWrite{
		Session: s.ID, Value: handstamp.Datum{Name: name, Data: []byte(data), Version: to}, From: from, Limit: room, Now: s.SeenAt,
	}
}

func tryPut(t testing.TB, s SessionStore, w handstamp.DatumWrite) error {
	t.Helper()
	return valuesOf(t, s).Put(t.Context(), w)
}

// set is a write that must succeed.
func set(t testing.TB, s SessionStore, r handstamp.Session, name, data string, from, to uint64) {
	t.Helper()
	if err := tryPut(t, s, write(r, name, data, from, to)); err != nil {
		t.Fatalf("Put(%q, %d bytes, version %d after %d) = %v, want no error", name, len(data), to, from, err)
	}
}

func get(t testing.TB, s SessionStore, r handstamp.Session, name string) handstamp.Datum {
	t.Helper()
	d, f, err := valuesOf(t, s).Get(t.Context(), r.ID, name)
	if err != nil {
		t.Fatalf("Get(%q) = %v, want no error", name, err)
	}
	if d.Name != name || f.Session.ID != r.ID {
		t.Errorf("Get(%s, %q) = %q of %s", r.ID, name, d.Name, f.Session.ID)
	}
	return d
}

// holds checks a value; version 0 is none.
func holds(t testing.TB, s SessionStore, r handstamp.Session, name, data string, version uint64) {
	t.Helper()
	if d := get(t, s, r, name); string(d.Data) != data || d.Version != version {
		t.Errorf("%q = %.40q in version %d, want %.40q in %d", name, d.Data, d.Version, data, version)
	}
}

func lacks(t testing.TB, s SessionStore, r handstamp.Session, name string) {
	t.Helper()
	holds(t, s, r, name, "", 0)
}

func valueRoundTrip(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	unit(t, s, func(tx handstamp.Tx) error {
		return tx.PutSubject(t.Context(), handstamp.Subject{User: ada, Grants: handstamp.Grants{Roles: []string{"admin"}}, Email: "a@example.com"})
	})
	add(t, s, changeUser(ada, 1))
	lacks(t, s, r, "cart")
	set(t, s, r, "cart", `{"apples":3}`, 0, math.MaxInt64)
	d, f, err := valuesOf(t, s).Get(t.Context(), r.ID, "cart")
	must(t, err)
	same(t, "the value", d, handstamp.Datum{Name: "cart", Data: []byte(`{"apples":3}`), Version: math.MaxInt64})
	same(t, "what Get says of the session", f, find(t, s, r.ID))
	set(t, s, r, "cart", "2", math.MaxInt64, 1)
	holds(t, s, r, "cart", "2", 1)
	same(t, "the session's record after its values were written", find(t, s, r.ID).Session, r)
}

func valueCopies(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	w := write(r, "cart", "three apples", 0, 1)
	must(t, tryPut(t, s, w))
	copy(w.Value.Data, "XXXXXXXXXXXX")
	d := get(t, s, r, "cart")
	copy(d.Data, "YYYYYYYYYYYY")
	other := begin(t, s, ada, 1)
	unit(t, s, func(tx handstamp.Tx) error { return carryIn(t.Context(), tx, r.ID, other.ID, "cart") })
	copy(get(t, s, other, "cart").Data, "ZZZZZZZZZZZZ")
	holds(t, s, r, "cart", "three apples", 1)
	holds(t, s, other, "cart", "three apples", 1)
}

func valueUnknown(t *testing.T, s SessionStore) {
	r := session(ada, 0)
	_, _, err := valuesOf(t, s).Get(t.Context(), r.ID, "cart")
	fails(t, "Get(no session)", err, handstamp.ErrNotFound)
	_, _, err = valuesOf(t, s).Get(t.Context(), "", "")
	fails(t, "Get of nothing", err, handstamp.ErrNotFound)
	fails(t, "Put(no session)", tryPut(t, s, write(r, "cart", "x", 0, 1)), handstamp.ErrConflict)
	fails(t, "deleting for no session", tryPut(t, s, write(r, "cart", "", 0, 0)), handstamp.ErrConflict)
	put(t, s, r)
	lacks(t, s, r, "cart")
}

func valueSwap(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	refused := func(what string, w handstamp.DatumWrite) {
		t.Helper()
		fails(t, what, tryPut(t, s, w), handstamp.ErrConflict)
	}
	refused("replacing what is not there", write(r, "cart", "x", 7, 8))
	refused("deleting what is not there", write(r, "cart", "", 7, 0))
	lacks(t, s, r, "cart")
	set(t, s, r, "cart", "one", 0, 1)
	refused("creating what is there", write(r, "cart", "x", 0, 2))
	refused("replacing another version", write(r, "cart", "x", 2, 3))
	refused("replacing a version that none can have", write(r, "cart", "x", math.MaxUint64, 3))
	refused("deleting another version", write(r, "cart", "", 2, 0))
	refused("deleting what should not be there", write(r, "cart", "", 0, 0))
	tooLarge := write(r, "cart", "xxxxxxxxxxxxx", 2, 3)
	tooLarge.Limit = 5
	refused("replacing another version by too much", tooLarge) // who is told that it is too large believes in the version
	holds(t, s, r, "cart", "one", 1)
	set(t, s, r, "cart", "two", 1, 2)
	refused("replacing the version before", write(r, "cart", "x", 1, 3))
	holds(t, s, r, "cart", "two", 2)
}

func valueDelete(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	set(t, s, r, "cart", "", 0, 0) // nothing to do
	set(t, s, r, "cart", "one", 0, 1)
	set(t, s, r, "other", "stays", 0, 1)
	set(t, s, r, "cart", "", 1, 0)
	lacks(t, s, r, "cart")
	fails(t, "deleting again", tryPut(t, s, write(r, "cart", "", 1, 0)), handstamp.ErrConflict)
	fails(t, "replacing what was deleted", tryPut(t, s, write(r, "cart", "x", 1, 2)), handstamp.ErrConflict)
	lacks(t, s, r, "cart")
	set(t, s, r, "cart", "two", 0, 2)
	fails(t, "replacing what was deleted and is there again", tryPut(t, s, write(r, "cart", "x", 1, 3)), handstamp.ErrConflict)
	holds(t, s, r, "cart", "two", 2)
	holds(t, s, r, "other", "stays", 1)
}

func valueEmpty(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	set(t, s, r, "cart", "one", 0, 1)
	for _, data := range [][]byte{nil, {}} {
		w := write(r, "cart", "", 1, 2)
		w.Value.Data = data
		err := tryPut(t, s, w)
		unknown(t, "Put without data", err)
		w = write(r, "new", "", 0, 2)
		w.Value.Data = data
		unknown(t, "Put without data under a free name", tryPut(t, s, w))
	}
	unknown(t, "Put with a version that is too large", tryPut(t, s, write(r, "new", "x", 0, math.MaxInt64+1)))
	holds(t, s, r, "cart", "one", 1)
	lacks(t, s, r, "new")
}

func valueSize(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	const limit = 16 << 10
	fill := func(name string, n int, from, to uint64) error {
		w := write(r, name, strings.Repeat("x", n), from, to)
		w.Limit = limit
		return tryPut(t, s, w)
	}
	fails(t, "one value and its name, one byte too many", fill("whole", limit-4, 0, 1), handstamp.ErrDataTooLarge)
	lacks(t, s, r, "whole")
	must(t, fill("whole", limit-5, 0, 1))
	fails(t, "another value of one byte", fill("b", 1, 0, 1), handstamp.ErrDataTooLarge)
	fails(t, "one byte more in place", fill("whole", limit-4, 1, 2), handstamp.ErrDataTooLarge)
	holds(t, s, r, "whole", strings.Repeat("x", limit-5), 1)
	must(t, fill("whole", limit-5, 1, 2)) // as large as it was
	must(t, fill("whole", 1000, 2, 3))
	used := 5 + 1000
	for n := range 5 {
		must(t, fill(fmt.Sprint("name", n), 2000, 0, 1))
		used += 5 + 2000
	}
	left := limit - used
	fails(t, "the sixth of several values, one byte too many", fill("last", left-3, 0, 1), handstamp.ErrDataTooLarge)
	lacks(t, s, r, "last")
	must(t, fill("last", left-4, 0, 1))
	fails(t, "one byte more in one of several", fill("name3", 2001, 1, 2), handstamp.ErrDataTooLarge)
	must(t, fill("name3", 1990, 1, 2))
	must(t, fill("name4", 2010, 1, 2))
	fails(t, "one byte more than was given back", fill("name4", 2011, 2, 3), handstamp.ErrDataTooLarge)
	must(t, fill("last", 0, 1, 0))
	must(t, fill("next", left-4, 0, 1))
}

func valueApart(t *testing.T, s SessionStore) {
	one, two := begin(t, s, ada, 0), begin(t, s, ada, 1)
	for _, r := range []handstamp.Session{one, two} {
		w := write(r, "cart", "0123456789", 0, 1)
		w.Limit = 14
		must(t, tryPut(t, s, w))
	}
	set(t, s, one, "cart", "changed", 1, 2)
	holds(t, s, two, "cart", "0123456789", 1)
	set(t, s, one, "cart", "", 2, 0)
	holds(t, s, two, "cart", "0123456789", 1)
}

func valueShrinks(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	set(t, s, r, "one", strings.Repeat("x", 100), 0, 1)
	set(t, s, r, "two", strings.Repeat("x", 100), 0, 1)
	w := write(r, "one", strings.Repeat("x", 50), 1, 2)
	w.Limit = 120
	fails(t, "a smaller value that still is too much", tryPut(t, s, w), handstamp.ErrDataTooLarge)
	w = write(r, "one", "", 1, 0)
	w.Limit = 0
	fails(t, "deleting", tryPut(t, s, w), nil)
	lacks(t, s, r, "one")
}

func valueBytes(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	every := make([]byte, 256)
	for n := range every {
		every[n] = byte(n)
	}
	for n, data := range []string{
		"\x00", "\x00\x00after zeros", "ends in a zero\x00", "\xff\xfe\xfd", "\xc3\x28", "\xed\xa0\x80", " ", "\r\n", "'", "null", "[]", `\x41`,
		string(every), strings.Repeat(string(every), 63), strings.Repeat("\x00", 16<<10), strings.Repeat("日本語", 5000),
	} {
		name := fmt.Sprint("value", n)
		set(t, s, r, name, data, 0, 1)
		if got := get(t, s, r, name).Data; !bytes.Equal(got, []byte(data)) {
			t.Errorf("%d bytes %.20q came back as %d bytes %.20q", len(data), data, len(got), got)
		}
		w := write(r, name, data, 1, 2)
		set(t, s, r, name, "", 1, 0)
		w.From, w.Value.Version = 0, 2
		must(t, tryPut(t, s, w))
		set(t, s, r, name, "", 2, 0)
	}
	binary := write(r, "x", "\x00\xff\x00\xff", 0, 1) // the size of bytes that are no text
	binary.Limit = 4
	fails(t, "five bytes where four are the limit", tryPut(t, s, binary), handstamp.ErrDataTooLarge)
	binary.Limit = 5
	must(t, tryPut(t, s, binary))
	other := write(r, "y", "1", 0, 1)
	other.Limit = 6
	fails(t, "seven bytes where six are the limit", tryPut(t, s, other), handstamp.ErrDataTooLarge)
}

func valueNames(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	names := append(awkward(), "cart", "Cart", "CART", "cart ", " cart", "ca", "cart.0", "cart%", "cart_", "c*", "", ".", "..", strings.Repeat("n", 64))
	for n, name := range names {
		set(t, s, r, name, fmt.Sprint("value ", n), 0, uint64(n+1))
	}
	for n, name := range names {
		holds(t, s, r, name, fmt.Sprint("value ", n), uint64(n+1))
	}
	other := begin(t, s, ada, 1)
	unit(t, s, func(tx handstamp.Tx) error { return carryIn(t.Context(), tx, r.ID, other.ID, names...) })
	for n, name := range names {
		set(t, s, r, name, "", uint64(n+1), 0)
		holds(t, s, other, name, fmt.Sprint("value ", n), uint64(n+1))
	}
	w := write(r, "é", "x", 0, 1)
	w.Limit = 2
	fails(t, "a name of two bytes, one byte and a limit of two", tryPut(t, s, w), handstamp.ErrDataTooLarge)
	w.Limit = 3
	must(t, tryPut(t, s, w))
	w = write(r, "x", "y", 0, 1)
	w.Limit = 4
	fails(t, "beside it two more and a limit of four", tryPut(t, s, w), handstamp.ErrDataTooLarge)
}

func valueCancelled(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	set(t, s, r, "cart", "one", 0, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := valuesOf(t, s).Get(ctx, r.ID, "cart")
	unknown(t, "Get", err)
	_, _, err = valuesOf(t, s).Get(ctx, id.NewSession(at(0)), "cart")
	unknown(t, "Get(no session)", err)
	unknown(t, "Put", valuesOf(t, s).Put(ctx, write(r, "cart", "two", 1, 2)))
	unknown(t, "Put(another version)", valuesOf(t, s).Put(ctx, write(r, "cart", "two", 7, 2)))
	err = s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return carryIn(ctx, tx, r.ID, r.ID, "cart") })
	unknown(t, "Carry", err)
	holds(t, s, r, "cart", "one", 1)
}

func valueSurvives(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	set(t, s, r, "cart", "one", 0, 1)
	f, err := s.Sessions().Rotate(t.Context(), r.ID, 1, rotation(r, 1))
	must(t, err)
	next := f.Session
	next.Key, next.Refresh = hash(), handstamp.Family{Generation: 1, Nonce: hash()}
	unit(t, s, func(tx handstamp.Tx) error {
		if err := tx.PutSession(t.Context(), next); err != nil {
			return err
		}
		_, err := tx.Append(t.Context(), event(revoke.KindSession, string(r.ID), revoke.Change, 2))
		return err
	})
	add(t, s, sparing(endUser(ada, 3), r))
	must(t, s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{r.ID: at(4)}))
	holds(t, s, r, "cart", "one", 1)
	w := write(r, "cart", "two", 1, 2)
	w.Now = at(5)
	must(t, tryPut(t, s, w))
	holds(t, s, r, "cart", "two", 2)
	if f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: next.Key}); err != nil || f.Session.ID != r.ID {
		t.Errorf("Find(the new key) = %s, %v", f.Session.ID, err)
	}
}
