package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

func recordRules() []rule[SessionStore] {
	return []rule[SessionStore]{
		{"round_trip", "a record comes back as it was put, every field of it, with a version that is one more", roundTrip},
		{"times_are_utc", "times come back in UTC with their microseconds, and no time stays no time", timesAreUTC},
		{"empty_fields", "a record without key, claims, methods, family or idle end comes back so", emptyFields},
		{"found_by_key", "a reference token's hash finds its session, until the session has another one", foundByKey},
		{"absence_matches_nothing", "an empty look-up, a zero hash and unknown ids find nothing, or a missing secret would be somebody's", absence},
		{"create_once", "an id is never used twice: the second creation is a conflict and changes nothing", createOnce},
		{"compare_and_swap", "a record is replaced only in the version it was read in, or one of two writers is lost", compareAndSwap},
		{"replace_needs_a_record", "a record that does not exist is not created by a replacement, or a swept session would be back", replaceAbsent},
		{"tombstone_stays", "an ended session is never replaced, whatever its version, or a late write would bring it back", tombstoneStays},
		{"seen_never_goes_back", "a replacement does not move the last activity back that was noted since the record was read", seenKept},
		{"answers_are_copies", "what a read returns and what a write took can be changed without changing the record", answersAreCopies},
		{"list_order_and_pages", "a list is newest first, and its pages neither repeat nor skip", listPages},
		{"list_filter", "a list has the user's sessions only, or everybody's", listFilter},
		{"live_truth_table", "one rule says what is alive, the same in lists, refreshes, evictions, last-seen and counts", liveTable},
		{"oldest", "all but the newest sessions are given, oldest first, at most 1,000", oldestFirst},
	}
}

func roundTrip(t *testing.T, s SessionStore) {
	want := session(ada, 0)
	unit(t, s, func(tx handstamp.Tx) error { return putIn(t.Context(), tx, want) })
	want.Version = 1
	same(t, "the record by id", find(t, s, want.ID).Session, want)
	f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: want.Key})
	must(t, err)
	same(t, "the record by key", f.Session, want)

	want.Key, want.Mode, want.Transport, want.BrowserSession = hash(), handstamp.ModeSession, handstamp.TransportCookie, false
	want.Methods, want.Claims = []string{"webauthn"}, []byte(`{}`)
	want.AuthAt, want.SeenAt, want.IdleTimeout = at(3), at(4), 90*time.Second+time.Microsecond
	want.ExpiresAt, want.Changed, want.Refresh = at(500), 0, handstamp.Family{Generation: 1<<32 - 1, Nonce: hash()}
	want.IP, want.UserAgent = "198.51.100.1", ""
	unit(t, s, func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), want) })
	want.Version = 2
	same(t, "the record after a replacement", find(t, s, want.ID).Session, want)
}

func timesAreUTC(t *testing.T, s SessionStore) {
	want := session(ada, 0)
	want.Refresh.RotatedAt = time.Time{}
	put(t, s, want)
	got := find(t, s, want.ID).Session
	utc(t, "CreatedAt", got.CreatedAt, want.CreatedAt)
	utc(t, "AuthAt", got.AuthAt, want.AuthAt)
	utc(t, "SeenAt", got.SeenAt, want.SeenAt)
	utc(t, "ExpiresAt", got.ExpiresAt, want.ExpiresAt)
	utc(t, "RotatedAt", got.Refresh.RotatedAt, time.Time{})
	utc(t, "EndedAt of a live session", got.EndedAt, time.Time{})
	utc(t, "EndedAt of a subject", subject(t, s, ada).EndedAt, time.Time{})

	add(t, s, endSession(want, 7), endUser(ada, 8), endAll(9))
	f := find(t, s, want.ID)
	utc(t, "EndedAt of a session", f.Session.EndedAt, at(7))
	utc(t, "EndedAt of a subject", f.Subject.EndedAt, at(8))
	utc(t, "AllEndedAt", f.Subject.AllEndedAt, at(9))
}

func emptyFields(t *testing.T, s SessionStore) {
	want := handstamp.Session{
		ID: id.NewSession(at(0)), User: ada, Mode: handstamp.ModeToken, Transport: handstamp.TransportCookie,
		CreatedAt: at(0), AuthAt: at(0), SeenAt: at(0), ExpiresAt: at(60),
	}
	got := put(t, s, want)
	want.Version = 1
	same(t, "a record with little in it", got, want)
	other := want
	other.ID, other.Version = id.NewSession(at(1)), 0
	put(t, s, other) // two sessions without a key are no collision
}

func foundByKey(t *testing.T, s SessionStore) {
	one, two := begin(t, s, ada, 0), begin(t, s, bob, 1)
	for _, want := range []handstamp.Session{one, two} {
		f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: want.Key})
		must(t, err)
		if f.Session.ID != want.ID || f.Session.User != want.User || f.Subject.User != want.User {
			t.Errorf("Find(key of %s) = session %s of %s with subject %s", want.ID, f.Session.ID, f.Session.User, f.Subject.User)
		}
	}
	old := one.Key
	one.Key = hash()
	one = put(t, s, one)
	_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: old})
	fails(t, "Find(a key that was replaced)", err, handstamp.ErrNotFound)
	f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: one.Key})
	must(t, err)
	same(t, "the record by its new key", f.Session, one)
	one.Key = token.Hash{}
	one = put(t, s, one)
	same(t, "the record without a key", find(t, s, one.ID).Session, one)
}

func absence(t *testing.T, s SessionStore) {
	r := session(ada, 0)
	r.Key = token.Hash{}
	put(t, s, r)
	for name, l := range map[string]handstamp.Lookup{
		"nothing":                 {},
		"a signing key alone":     {SigningKey: "k1"},
		"an unknown session":      {Session: id.NewSession(at(0))},
		"an unknown key":          {Key: hash()},
		"an unknown service key":  {ServiceKey: hash()},
		"a session's id in upper": {Session: "SES_" + r.ID[4:]},
	} {
		_, err := s.Sessions().Find(t.Context(), l)
		fails(t, "Find("+name+")", err, handstamp.ErrNotFound)
	}
	if got := list(t, s, handstamp.SessionFilter{User: bob, Limit: 10, Now: at(1)}); len(got) != 0 {
		t.Errorf("List(a user without sessions) = %d sessions, want none", len(got))
	}
}

func createOnce(t *testing.T, s SessionStore) {
	want := begin(t, s, ada, 0)
	again := session(bob, 0)
	again.ID = want.ID
	err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return putIn(t.Context(), tx, again) })
	fails(t, "PutSession(an id that exists, version 0)", err, handstamp.ErrConflict)
	same(t, "the record after that", find(t, s, want.ID).Session, want)
	_, err = s.Sessions().Find(t.Context(), handstamp.Lookup{Key: again.Key})
	fails(t, "Find(the key of the refused record)", err, handstamp.ErrNotFound)
}

func compareAndSwap(t *testing.T, s SessionStore) {
	first := begin(t, s, ada, 0)
	winner, loser := first, first
	winner.UserAgent, loser.UserAgent = "winner", "loser"
	want := put(t, s, winner)
	for _, version := range []uint64{first.Version, first.Version + 2, 1 << 40} {
		loser.Version = version
		err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), loser) })
		fails(t, "PutSession(another version)", err, handstamp.ErrConflict)
	}
	same(t, "the record after the losers", find(t, s, first.ID).Session, want)
	if want.Version != first.Version+1 {
		t.Errorf("Version after a replacement = %d, want %d", want.Version, first.Version+1)
	}
	// Every other writer of the record but last-seen counts as a writer too.
	read := want
	f, err := s.Sessions().Rotate(t.Context(), read.ID, 1, rotation(read, 2))
	must(t, err)
	err = s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), read) })
	fails(t, "PutSession(a record read before a refresh)", err, handstamp.ErrConflict)
	add(t, s, event(revoke.KindSession, string(read.ID), revoke.Change, 3))
	err = s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), f.Session) })
	fails(t, "PutSession(a record read before session/change)", err, handstamp.ErrConflict)
	read = find(t, s, read.ID).Session
	add(t, s, sparing(endUser(ada, 4), read))
	err = s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), read) })
	fails(t, "PutSession(a record read before it was spared)", err, handstamp.ErrConflict)
}

func replaceAbsent(t *testing.T, s SessionStore) {
	r := session(ada, 0)
	r.Version = 1
	err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return putIn(t.Context(), tx, r) })
	fails(t, "PutSession(version 1 of no record)", err, handstamp.ErrConflict)
	_, err = s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
	fails(t, "Find(that record)", err, handstamp.ErrNotFound)
}

func tombstoneStays(t *testing.T, s SessionStore) {
	before := begin(t, s, ada, 0)
	add(t, s, endSession(before, 1))
	dead := find(t, s, before.ID).Session
	for _, version := range []uint64{0, before.Version, dead.Version, dead.Version + 1} {
		r := before
		r.Version = version
		err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), r) })
		fails(t, "PutSession(over a tombstone)", err, handstamp.ErrConflict)
		r = dead
		r.Version, r.EndedBy, r.EndedAt, r.EndReason = version, 0, time.Time{}, ""
		err = s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), r) })
		fails(t, "PutSession(without the tombstone it was read with)", err, handstamp.ErrConflict)
	}
	same(t, "the tombstone", find(t, s, before.ID).Session, dead)
}

func seenKept(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	must(t, s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{r.ID: at(20)}))
	r.UserAgent = "other"
	got := put(t, s, r)
	utc(t, "SeenAt after a record from before the last activity was written", got.SeenAt, at(20))
}

func answersAreCopies(t *testing.T, s SessionStore) {
	r := session(ada, 0)
	grants := handstamp.Grants{Roles: []string{"admin"}, Permissions: []string{"notes:read"}}
	unit(t, s, func(tx handstamp.Tx) error {
		if err := tx.PutSubject(t.Context(), handstamp.Subject{User: ada, Grants: grants}); err != nil {
			return err
		}
		return tx.PutSession(t.Context(), r)
	})
	spoil := func(r handstamp.Session) { r.Methods[0], r.Claims[0] = "x", 'x' }
	spoilGrants := func(g handstamp.Grants) { g.Roles[0], g.Permissions[0] = "x", "x" }
	want := session(ada, 0)
	spoil(r)
	spoilGrants(grants)
	f := find(t, s, r.ID)
	spoil(f.Session)
	spoilGrants(f.Subject.Grants)
	clear(f.Roles)
	spoil(list(t, s, handstamp.SessionFilter{User: ada, Limit: 1, Now: at(1)})[0])
	spoilGrants(subject(t, s, ada).Grants)
	unit(t, s, func(tx handstamp.Tx) error {
		sub, err := tx.Subject(t.Context(), ada)
		if err == nil {
			spoilGrants(sub.Grants)
		}
		return err
	})
	change := rotation(f.Session, 2)
	change.Claims = slices.Clone(want.Claims)
	rotated, err := s.Sessions().Rotate(t.Context(), r.ID, 1, change)
	must(t, err)
	change.Claims[0] = 'x'
	spoil(rotated.Session)
	spoilGrants(rotated.Subject.Grants)
	f = find(t, s, r.ID)
	same(t, "Methods", f.Session.Methods, want.Methods)
	same(t, "Claims", f.Session.Claims, want.Claims)
	same(t, "Grants", f.Subject.Grants, handstamp.Grants{Roles: []string{"admin"}, Permissions: []string{"notes:read"}})
}

func listPages(t *testing.T, s SessionStore) {
	var want []handstamp.SessionID
	unit(t, s, func(tx handstamp.Tx) error {
		want = nil
		for minute := range 25 {
			u := ada
			if minute%3 == 0 {
				u = bob
			}
			r := session(u, minute)
			if err := putIn(t.Context(), tx, r); err != nil {
				return err
			}
			want = append(want, r.ID)
		}
		return nil
	})
	slices.Reverse(want)
	for _, limit := range []int{1, 7, 25, 26, 10_001} {
		var got []handstamp.SessionID
		f := handstamp.SessionFilter{Limit: limit, Now: at(30)}
		for range 100 {
			page := ids(list(t, s, f))
			if len(page) > limit {
				t.Fatalf("List with a limit of %d = %d sessions", limit, len(page))
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			f.After = page[len(page)-1]
		}
		same(t, "all pages together", got, want)
	}
	if got := list(t, s, handstamp.SessionFilter{Limit: 5, Now: at(30), After: want[len(want)-1]}); len(got) != 0 {
		t.Errorf("List(after the oldest) = %d sessions, want none", len(got))
	}
	between := id.NewSession(at(10).Add(30 * time.Second)) // the id of a session that was swept since the page before
	same(t, "a page after an id that is gone", ids(list(t, s, handstamp.SessionFilter{Limit: 100, Now: at(30), After: between})), want[14:])
}

func listFilter(t *testing.T, s SessionStore) {
	one, two, other := begin(t, s, ada, 0), begin(t, s, ada, 1), begin(t, s, bob, 2)
	same(t, "ada's sessions", list(t, s, handstamp.SessionFilter{User: ada, Limit: 10, Now: at(3)}), []handstamp.Session{two, one})
	same(t, "everybody's", list(t, s, handstamp.SessionFilter{Limit: 10, Now: at(3)}), []handstamp.Session{other, two, one})
	same(t, "ada's after the newer", list(t, s, handstamp.SessionFilter{User: ada, Limit: 10, Now: at(3), After: two.ID}), []handstamp.Session{one})
	same(t, "ada's after one of bob's", ids(list(t, s, handstamp.SessionFilter{User: ada, Limit: 1, Now: at(3), After: other.ID})), []handstamp.SessionID{two.ID})
}

func oldestFirst(t *testing.T, s SessionStore) {
	all := []handstamp.Session{begin(t, s, ada, 0), begin(t, s, ada, 1), begin(t, s, ada, 2), begin(t, s, ada, 3)}
	begin(t, s, bob, 0)
	add(t, s, endSession(all[1], 4))
	for keep, want := range map[int][]handstamp.SessionID{
		0: {all[0].ID, all[2].ID, all[3].ID}, 1: {all[0].ID, all[2].ID}, 2: {all[0].ID}, 3: {}, 9: {},
	} {
		unit(t, s, func(tx handstamp.Tx) error {
			got, err := tx.Oldest(t.Context(), ada, at(5), keep)
			same(t, "Oldest", got, want)
			return err
		})
	}
	unit(t, s, func(tx handstamp.Tx) error {
		r := session(ada, 5)
		if err := putIn(t.Context(), tx, r); err != nil {
			return err
		}
		got, err := tx.Oldest(t.Context(), ada, at(5), 1)
		same(t, "Oldest with a session that began in the unit", got, []handstamp.SessionID{all[0].ID, all[2].ID, all[3].ID})
		return err
	})
	unit(t, s, func(tx handstamp.Tx) error {
		got, err := tx.Oldest(t.Context(), "usr_nobody", at(5), 0)
		same(t, "Oldest of nobody", got, []handstamp.SessionID{})
		return err
	})
}
