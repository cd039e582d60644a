package postgres

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/token"
)

// strange are texts that PostgreSQL keeps in no table.
func strange() []string {
	return []string{"\x00", "a\x00b", "\xff", "caf\xe9", "\xed\xa0\x80", "\xc0\x80"}
}

// TestStrangeTextsAreNotFound: a look-up of what cannot be there says so. It is no fault of the server that somebody sent
// a strange byte.
func TestStrangeTextsAreNotFound(t *testing.T) {
	s, _, _ := newTest(t)
	ctx := t.Context()
	rec := put(t, s, "usr_ada")
	for _, x := range strange() {
		for what, call := range map[string]func() error{
			"Find(session)": func() error {
				_, err := s.Sessions().Find(ctx, handstamp.Lookup{Session: handstamp.SessionID(x)})
				return err
			},
			"Get(session)": func() error { _, _, err := s.Values().Get(ctx, handstamp.SessionID(x), "x"); return err },
			"ByID":         func() error { _, err := s.Users().ByID(ctx, handstamp.UserID(x)); return err },
			"ByEmail":      func() error { _, err := s.Users().ByEmail(ctx, account.Address(x)); return err },
			"Credential":   func() error { _, err := s.Users().Credential(ctx, "usr_ada", x); return err },
			"Role":         func() error { _, err := s.Users().Role(ctx, x); return err },
			"DeleteRole": func() error {
				return s.AccountWork().Do(ctx, func(tx account.Tx) error { return tx.DeleteRole(ctx, x) })
			},
		} {
			if err := call(); !errors.Is(err, handstamp.ErrNotFound) {
				t.Errorf("%s of %q = %v, want ErrNotFound", what, x, err)
			}
		}
		if f, err := s.Sessions().Find(ctx, handstamp.Lookup{Key: rec.Key, SigningKey: x}); err != nil || f.SigningKeyEnded != 0 || f.Session.ID != rec.ID {
			t.Errorf("Find beside the signing key %q = %v", x, err)
		}
		if got, err := s.Users().List(ctx, account.UserFilter{Query: x, Limit: 10}); err != nil || got == nil || len(got) != 0 {
			t.Errorf("List(%q) = %v, %v; want an empty slice", x, got, err)
		}
		if got, err := s.Audit().List(ctx, audit.Filter{Kind: audit.Kind(x), Limit: 10}); err != nil || got == nil || len(got) != 0 {
			t.Errorf("Audit of %q = %v, %v; want an empty slice", x, got, err)
		}
		if got, err := s.Sessions().List(ctx, handstamp.SessionFilter{User: handstamp.UserID(x), Limit: 10, Now: begun}); err != nil || got == nil || len(got) != 0 {
			t.Errorf("List of %q = %v, %v; want an empty slice", x, got, err)
		}
		if err := s.Keys().DeleteKey(ctx, x); err != nil {
			t.Errorf("DeleteKey(%q) = %v, want no error", x, err)
		}
	}
}

// TestStrangeTextsAreRefused: a write under such a name is refused before it is tried, as what it is, and ends no unit.
func TestStrangeTextsAreRefused(t *testing.T) {
	s, _, _ := newTest(t)
	ctx := t.Context()
	for _, x := range strange() {
		err := s.LoginWork().Do(ctx, func(tx login.Tx) error {
			bad := session(handstamp.UserID(x))
			for what, err := range map[string]error{
				"PutSession":    tx.PutSession(ctx, bad),
				"PutRole":       tx.PutRole(ctx, account.Role{Name: x}),
				"PutRole(p)":    tx.PutRole(ctx, account.Role{Name: "r", Permissions: []string{"ok", x}}),
				"PutUser":       tx.PutUser(ctx, account.User{ID: "usr_x", Email: account.Address(x)}),
				"PutCredential": tx.PutCredential(ctx, account.Credential{User: "usr_x", Method: x}),
				"PutServiceKey": tx.PutServiceKey(ctx, handstamp.ServiceKey{ID: "key_x", Name: x}),
				"PutOneTime":    tx.PutOneTime(ctx, login.OneTime{Kind: x, Data: "x"}),
			} {
				if !errors.Is(err, id.ErrInvalid) {
					t.Errorf("%s of %q = %v, want ErrInvalid", what, x, err)
				}
			}
			return tx.PutSession(ctx, session("usr_good"))
		})
		if err != nil {
			t.Errorf("the unit after refusals = %v", err)
		}
		if err := s.Keys().PutKey(ctx, keyring.Record{ID: x, Use: keyring.Signing, Serial: 1}); !errors.Is(err, id.ErrInvalid) {
			t.Errorf("PutKey(%q) = %v, want ErrInvalid", x, err)
		}
	}
	if n, err := s.Sessions().List(ctx, handstamp.SessionFilter{User: "usr_good", Limit: 100, Now: begun}); err != nil || len(n) != len(strange()) {
		t.Errorf("%d good sessions are there, %v; want %d", len(n), err, len(strange()))
	}
}

// TestStrangeDescriptionsAreKept: what only describes is kept as well as can be: no login fails for a browser's name.
func TestStrangeDescriptionsAreKept(t *testing.T) {
	s, _, _ := newTest(t)
	ctx := t.Context()
	for _, x := range strange() {
		rec := session("usr_ada")
		rec.UserAgent, rec.IP, rec.Refresh.UserAgent = "agent "+x, x, x
		entry := audit.Event{ID: id.NewAudit(begun), At: begun, Kind: "k", Actor: x, UserAgent: x, RequestID: x, Detail: map[string]string{x: x}}
		err := s.Work().Do(ctx, func(tx handstamp.Tx) error {
			if err := tx.PutSession(ctx, rec); err != nil {
				return err
			}
			end := endOf(rec)
			end.Reason = x
			if err := tx.Record(ctx, entry); err != nil {
				return err
			}
			_, err := tx.Append(ctx, end)
			return err
		})
		if err != nil {
			t.Errorf("a login from %q = %v", x, err)
			continue
		}
		if f := found(t, s, rec.ID); f.Session.UserAgent[:6] != "agent " || f.Session.EndReason == "" {
			t.Errorf("UserAgent = %q, reason %q", f.Session.UserAgent, f.Session.EndReason)
		}
		rec2 := put(t, s, "usr_ada")
		r := rotation(rec2, 2)
		r.Family.UserAgent = x
		if _, err := s.Sessions().Rotate(ctx, rec2.ID, 1, r); err != nil {
			t.Errorf("Rotate from %q = %v", x, err)
		}
	}
	all, err := s.Audit().List(ctx, audit.Filter{Limit: 100})
	if err != nil || len(all) != len(strange()) {
		t.Errorf("%d entries, %v; want %d", len(all), err, len(strange()))
	}
	for _, e := range all {
		if len(e.Detail) != 1 || e.UserAgent == "" {
			t.Errorf("entry %+v", e)
		}
	}
}

// TestNumbersThatDoNotFit: numbers beyond what a column holds are larger than any that was given.
func TestNumbersThatDoNotFit(t *testing.T) {
	s, _, _ := newTest(t)
	ctx := t.Context()
	rec := put(t, s, "usr_ada")
	rec.Version = math.MaxUint64
	err := s.Work().Do(ctx, func(tx handstamp.Tx) error { return tx.PutSession(ctx, rec) })
	if !errors.Is(err, handstamp.ErrConflict) {
		t.Errorf("PutSession(version 2^64-1) = %v, want ErrConflict", err)
	}
	err = s.Values().Put(ctx, handstamp.DatumWrite{Session: rec.ID, From: math.MaxUint64, Limit: 100, Now: begun,
		Value: handstamp.Datum{Name: "x", Data: []byte("x"), Version: 1}})
	if !errors.Is(err, handstamp.ErrConflict) {
		t.Errorf("Put(from version 2^64-1) = %v, want ErrConflict", err)
	}
	err = s.Values().Put(ctx, handstamp.DatumWrite{Session: rec.ID, Limit: 100, Now: begun,
		Value: handstamp.Datum{Name: "x", Data: []byte("x"), Version: math.MaxUint64}})
	if err == nil || errors.Is(err, handstamp.ErrConflict) {
		t.Errorf("Put(version 2^64-1) = %v, want an error of its own", err)
	}
}

// TestTakenKeys: a key that another record has is told from a record that is there, and its unit goes on.
func TestTakenKeys(t *testing.T) {
	s, _, _ := newTest(t)
	ctx := t.Context()
	one, two := put(t, s, "usr_ada"), put(t, s, "usr_ada")
	err := s.AccountWork().Do(ctx, func(tx account.Tx) error {
		fresh := session("usr_ada")
		fresh.Key = one.Key
		if err := tx.PutSession(ctx, fresh); !errors.Is(err, handstamp.ErrTaken) {
			t.Errorf("PutSession(another's key) = %v, want ErrTaken", err)
		}
		again := one
		again.Version, again.Key = 0, hashOf("its own")
		if err := tx.PutSession(ctx, again); !errors.Is(err, handstamp.ErrConflict) {
			t.Errorf("PutSession(the same id) = %v, want ErrConflict", err)
		}
		moved := two
		moved.Key = one.Key
		if err := tx.PutSession(ctx, moved); !errors.Is(err, handstamp.ErrTaken) {
			t.Errorf("PutSession(over another's key) = %v, want ErrTaken", err)
		}
		k := handstamp.ServiceKey{ID: "key_1", Hash: hashOf("k"), Name: "k"}
		if err := tx.PutServiceKey(ctx, k); err != nil {
			return err
		}
		if err := tx.PutServiceKey(ctx, k); !errors.Is(err, handstamp.ErrConflict) {
			t.Errorf("PutServiceKey(the same) = %v, want ErrConflict", err)
		}
		k.ID = "key_2"
		if err := tx.PutServiceKey(ctx, k); !errors.Is(err, handstamp.ErrTaken) {
			t.Errorf("PutServiceKey(the same hash) = %v, want ErrTaken", err)
		}
		two.UserAgent = "kept"
		return tx.PutSession(ctx, two)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := found(t, s, two.ID).Session.UserAgent; got != "kept" {
		t.Errorf("UserAgent = %q, want what the unit wrote at last", got)
	}
	entry := audit.Event{ID: id.NewAudit(begun), At: begun, Kind: "k"}
	record := func(tx handstamp.Tx) error { return tx.Record(ctx, entry) }
	if err := s.Work().Do(ctx, record); err != nil {
		t.Fatal(err)
	}
	if err := s.Work().Do(ctx, record); !errors.Is(err, handstamp.ErrConflict) {
		t.Errorf("Record(the same id) = %v, want ErrConflict", err)
	}
}

// TestTakenAtOnce: of two units that take one address at once the one that loses is told that it is taken.
func TestTakenAtOnce(t *testing.T) {
	s, server, db := newTest(t)
	ctx := t.Context()
	for _, u := range []handstamp.UserID{"usr_1", "usr_2"} {
		err := s.AccountWork().Do(ctx, func(tx account.Tx) error {
			return tx.PutUser(ctx, account.User{ID: u, Email: account.Address(u + "@example.com"), CreatedAt: begun})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	change := func(tx account.Tx, u handstamp.UserID) error {
		return tx.PutUser(ctx, account.User{ID: u, Email: "new@example.com", CreatedAt: begun, Version: 1})
	}
	over := make(chan error, 1)
	err := s.AccountWork().Do(ctx, func(tx account.Tx) error {
		if err := change(tx, "usr_1"); err != nil {
			return err
		}
		go func() {
			over <- s.AccountWork().Do(ctx, func(tx account.Tx) error { return change(tx, "usr_2") })
		}()
		waiting(t, server, db, "users")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-over; !errors.Is(err, handstamp.ErrTaken) {
		t.Errorf("PutUser of the second = %v, want ErrTaken", err)
	}
}

// TestErrorsSayNoValues: the server's error names the row that was in the way; ours does not.
func TestErrorsSayNoValues(t *testing.T) {
	s, server, db := newTest(t)
	server.ExecIn(t, db, `ALTER TABLE handstamp.one_times ADD CONSTRAINT never CHECK (data <> 'top-secret')`)
	err := s.LoginWork().Do(t.Context(), func(tx login.Tx) error {
		err := tx.PutOneTime(t.Context(), login.OneTime{Hash: token.Hash{1}, Kind: "k", Data: "top-secret", ExpiresAt: begun.Add(time.Hour)})
		if err != nil {
			return err
		}
		_, err = tx.Subject(t.Context(), "usr_ada")
		return err
	})
	if code(err) != "23514" {
		t.Fatalf("Do = %v, want the violation", err)
	}
	leaks(t, err, "top-secret")
}

// leaks looks for a text in an error and in every error that it wraps, with all their fields.
func leaks(t *testing.T, err error, secret string) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		for e := err; e != nil; e = errors.Unwrap(e) {
			if text := fmt.Sprintf(verb, e); strings.Contains(text, secret) {
				t.Errorf("the error says %s", text)
			}
		}
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && strings.Contains(fmt.Sprintf("%+v", *e), secret) {
		t.Errorf("the server's error says %+v", *e)
	}
}
