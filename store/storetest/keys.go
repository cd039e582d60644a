package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/revoke"
)

func keyRules() []rule[Backend] {
	return []rule[Backend]{
		{"round_trip", "a signing key comes back as it was put, every field of it", signingKeyRoundTrip},
		{"compare_and_swap", "a key is created once and replaced only in the version it was read in", signingKeySwap},
		{"serial", "of two keys of one use and serial the second is a conflict", signingKeySerial},
		{"race", "of fifty processes that make the next key exactly one does", signingKeyRace},
		{"delete", "deleting a key that is not there is no error", signingKeyDelete},
		{"revoked_by_event", "key/end marks the key, once, and whoever read it before may not write it back", signingKeyRevoked},
	}
}

func signingKey(serial uint64) keyring.Record {
	return keyring.Record{
		ID: fmt.Sprint("kid-", serial), Algorithm: "ES256", Use: keyring.Signing, Serial: serial, Sealed: []byte{0, 1, 2, 0xff},
		CreatedAt: at(1), ActivateAt: at(2), RetireAt: at(3), RemoveAt: at(4),
	}
}

func signingKeys(t testing.TB, b Backend) []keyring.Record {
	t.Helper()
	all, err := b.Keys().Keys(t.Context())
	must(t, err)
	slices.SortFunc(all, func(a, b keyring.Record) int { return int(a.Serial) - int(b.Serial) })
	return all
}

func signingKeyRoundTrip(t *testing.T, b Backend) {
	if got := signingKeys(t, b); len(got) != 0 {
		t.Errorf("a new store has %d keys", len(got))
	}
	full, little := signingKey(1), keyring.Record{ID: "enc", Algorithm: "A256GCM", Use: keyring.Encryption, Serial: 2, Sealed: []byte("s"), CreatedAt: at(1)}
	full.RevokedAt, full.RevokedBy, full.Reason = at(5), 1<<40, `it's "leaked"`
	must(t, b.Keys().PutKey(t.Context(), full))
	must(t, b.Keys().PutKey(t.Context(), little))
	full.Sealed[0]++ // what was written is a copy
	got := signingKeys(t, b)
	full.Sealed[0]--
	full.Version, little.Version = 1, 1
	same(t, "the keys", got, []keyring.Record{full, little})
	utc(t, "ActivateAt", got[0].ActivateAt, at(2))
	utc(t, "RevokedAt of a key that was not revoked", got[1].RevokedAt, time.Time{})
	got[0].Sealed[0]++
	same(t, "the keys after an answer was changed", signingKeys(t, b), []keyring.Record{full, little})
}

func signingKeySwap(t *testing.T, b Backend) {
	k := signingKey(1)
	must(t, b.Keys().PutKey(t.Context(), k))
	fails(t, "PutKey(an id that exists)", b.Keys().PutKey(t.Context(), k), keyring.ErrConflict)
	k.Version, k.RetireAt = 1, at(9)
	must(t, b.Keys().PutKey(t.Context(), k))
	fails(t, "PutKey(a version that is over)", b.Keys().PutKey(t.Context(), k), keyring.ErrConflict)
	k.Version = 2
	same(t, "the key", signingKeys(t, b), []keyring.Record{k})
	none := signingKey(2)
	none.Version = 1
	fails(t, "PutKey(version 1 of none)", b.Keys().PutKey(t.Context(), none), keyring.ErrConflict)
}

func signingKeySerial(t *testing.T, b Backend) {
	one, two := signingKey(1), signingKey(1)
	two.ID = "another"
	must(t, b.Keys().PutKey(t.Context(), one))
	fails(t, "PutKey(a serial that is taken)", b.Keys().PutKey(t.Context(), two), keyring.ErrConflict)
	two.Use = keyring.Encryption
	must(t, b.Keys().PutKey(t.Context(), two))
}

func signingKeyRace(t *testing.T, b Backend) {
	won := 0
	for _, err := range raceErrors(func(n int) error {
		k := signingKey(1)
		k.ID = fmt.Sprint("racer-", n)
		return b.Keys().PutKey(t.Context(), k)
	}) {
		if err == nil {
			won++
		} else {
			fails(t, "PutKey of a loser", err, keyring.ErrConflict)
		}
	}
	if all := signingKeys(t, b); won != 1 || len(all) != 1 {
		t.Errorf("%d won and there are %d keys, want 1 and 1", won, len(all))
	}
}

func signingKeyDelete(t *testing.T, b Backend) {
	one, two := signingKey(1), signingKey(2)
	must(t, b.Keys().PutKey(t.Context(), one))
	must(t, b.Keys().PutKey(t.Context(), two))
	for range 2 {
		must(t, b.Keys().DeleteKey(t.Context(), one.ID))
	}
	two.Version = 1
	same(t, "the keys", signingKeys(t, b), []keyring.Record{two})
}

func signingKeyRevoked(t *testing.T, b Backend) {
	k := signingKey(1)
	must(t, b.Keys().PutKey(t.Context(), k))
	must(t, b.Keys().PutKey(t.Context(), signingKey(2)))
	s := begin(t, b, ada, 0)
	ended := func(kid string) uint64 {
		f, err := b.Sessions().Find(t.Context(), handstamp.Lookup{Session: s.ID, SigningKey: kid})
		must(t, err)
		return f.SigningKeyEnded
	}
	if n := ended(k.ID); n != 0 {
		t.Errorf("SigningKeyEnded of a good key = %d, want 0", n)
	}
	a := add(t, b, event(revoke.KindKey, k.ID, revoke.End, 7))
	add(t, b, event(revoke.KindKey, k.ID, revoke.End, 8))
	got := signingKeys(t, b)
	if got[0].RevokedBy != a.Last() || got[0].Reason != "reason key" || got[1].RevokedBy != 0 {
		t.Errorf("the keys = %+v, want the first one revoked by %d", got, a.Last())
	}
	utc(t, "RevokedAt", got[0].RevokedAt, at(7))
	if n := ended(k.ID); n != a.Last() {
		t.Errorf("SigningKeyEnded = %d, want %d", n, a.Last())
	}
	if n := ended("kid-2"); n != 0 {
		t.Errorf("SigningKeyEnded of the other key = %d, want 0", n)
	}
	k.Version = 1
	fails(t, "PutKey(read before the revocation)", b.Keys().PutKey(t.Context(), k), keyring.ErrConflict)
	if !live(t, b, s, at(8)) {
		t.Error("a key that ended took a session with it")
	}
}

func serviceKey(n int) handstamp.ServiceKey {
	return handstamp.ServiceKey{
		ID: id.NewServiceKey(at(n)), Hash: hash(), Name: fmt.Sprint("key's ", n), Permissions: []string{"b:x", "a:y"}, CreatedAt: at(n), ExpiresAt: at(n + 100),
	}
}

func serviceKeyRules(t *testing.T, b Backend) {
	k, other := serviceKey(1), serviceKey(2)
	other.ExpiresAt, other.Permissions = time.Time{}, nil
	accountUnit(t, b, func(tx account.Tx) error {
		if err := tx.PutServiceKey(t.Context(), k); err != nil {
			return err
		}
		return tx.PutServiceKey(t.Context(), other)
	})
	k.Version, other.Version = 1, 1
	find := func(k handstamp.ServiceKey) handstamp.Found {
		f, err := b.Sessions().Find(t.Context(), handstamp.Lookup{ServiceKey: k.Hash})
		must(t, err)
		return f
	}
	same(t, "the key", find(k).ServiceKey, k)
	same(t, "the key with little in it", find(other).ServiceKey, other)
	utc(t, "ExpiresAt", find(k).ServiceKey.ExpiresAt, k.ExpiresAt)
	utc(t, "ExpiresAt of a key without end", find(other).ServiceKey.ExpiresAt, time.Time{})
	_, err := b.Sessions().Find(t.Context(), handstamp.Lookup{Key: k.Hash})
	fails(t, "Find(a service key's hash as a session's)", err, handstamp.ErrNotFound)
	a := add(t, b, event(revoke.KindServiceKey, string(k.ID), revoke.End, 5), endAll(6))
	add(t, b, event(revoke.KindServiceKey, string(k.ID), revoke.End, 7))
	f := find(k)
	if f.ServiceKey.EndedBy != a.Events[0].Seq || f.ServiceKey.EndReason != "reason service_key" {
		t.Errorf("the ended key = %+v, want ended by %d", f.ServiceKey, a.Events[0].Seq)
	}
	utc(t, "EndedAt", f.ServiceKey.EndedAt, at(5))
	if f.Subject.AllEnded != a.Last() || f.Subject.Head != a.Last()+1 || f.Session.ID != "" {
		t.Errorf("Find = %+v, want AllEnded %d and Head %d", f, a.Last(), a.Last()+1)
	}
	if other := find(other).ServiceKey; other.EndedBy != 0 {
		t.Errorf("the other key was ended by %d", other.EndedBy)
	}
}

func serviceKeyPages(t *testing.T, b Backend) {
	var want []id.ServiceKey
	accountUnit(t, b, func(tx account.Tx) error {
		want = nil
		for n := range 6 {
			k := serviceKey(n)
			want = append(want, k.ID)
			if err := tx.PutServiceKey(t.Context(), k); err != nil {
				return err
			}
		}
		return nil
	})
	add(t, b, event(revoke.KindServiceKey, string(want[3]), revoke.End, 9))
	want = slices.Delete(want, 3, 4)
	var got []id.ServiceKey
	for range 10 {
		after := id.ServiceKey("")
		if len(got) > 0 {
			after = got[len(got)-1]
		}
		page, err := b.Users().ServiceKeys(t.Context(), after, 2)
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, k := range page {
			got = append(got, k.ID)
		}
	}
	same(t, "all pages together", got, want)
}
