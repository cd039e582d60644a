package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

const (
	ada  handstamp.UserID = "usr_ada"
	bob  handstamp.UserID = "usr_bob"
	life                  = 10 * time.Hour // absolute
	idle                  = time.Hour
)

// at is a time in the past with microseconds that are not zero, so many minutes after the start of every rule.
func at(minutes int) time.Time {
	return time.Date(2024, 5, 6, 7, 8, 9, 123_457_000, time.UTC).Add(time.Duration(minutes) * time.Minute)
}

// session is a record with every field set that a new login sets. Ids of later minutes sort after those of earlier ones.
func session(u handstamp.UserID, minute int) handstamp.Session {
	now := at(minute)
	return handstamp.Session{
		ID: id.NewSession(now), User: u, Key: hash(), Mode: handstamp.ModeHybrid, Transport: handstamp.TransportBearer,
		BrowserSession: true, Methods: []string{"pwd", "otp"}, Claims: []byte(`{"tenant":"t1","n":[1,2]}`),
		CreatedAt: now, AuthAt: now.Add(time.Microsecond), SeenAt: now.Add(2 * time.Microsecond), IdleTimeout: idle,
		ExpiresAt: now.Add(life),
		Refresh: handstamp.Family{
			Generation: 1, Nonce: hash(), RotatedAt: now.Add(3 * time.Microsecond), Request: hash(),
			IP: "2001:db8::1", UserAgent: "Agent/1 (refresh)",
		},
		IP: "192.0.2.7", UserAgent: "Agent/1 (login)",
	}
}

func hash() token.Hash { return token.HashOf(token.Generate(token.Reference)) }

// begin makes a user's row and a session as a login does, and returns the record as it is stored.
func begin(t testing.TB, s SessionStore, u handstamp.UserID, minute int) handstamp.Session {
	t.Helper()
	return put(t, s, session(u, minute))
}

// put writes a record, with the stamp that a login at this moment carries if it is a new one.
func put(t testing.TB, s SessionStore, r handstamp.Session) handstamp.Session {
	t.Helper()
	unit(t, s, func(tx handstamp.Tx) error { return putIn(t.Context(), tx, r) })
	return find(t, s, r.ID).Session
}

func putIn(ctx context.Context, tx handstamp.Tx, r handstamp.Session) error {
	sub, err := tx.Subject(ctx, r.User)
	if err != nil {
		return fmt.Errorf("lock the subject: %w", err)
	}
	if err := tx.PutSubject(ctx, sub); err != nil {
		return fmt.Errorf("write the subject: %w", err)
	}
	if r.Version == 0 {
		r.Stamp = max(sub.Ended, sub.AllEnded)
	}
	return tx.PutSession(ctx, r)
}

// unit is a unit of work that must succeed.
func unit(t testing.TB, s SessionStore, fn func(tx handstamp.Tx) error) {
	t.Helper()
	if err := s.Work().Do(t.Context(), fn); err != nil {
		t.Fatalf("Do = %v, want no error", err)
	}
}

// find reads a session that must be there.
func find(t testing.TB, s SessionStore, sid handstamp.SessionID) handstamp.Found {
	t.Helper()
	f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: sid})
	if err != nil {
		t.Fatalf("Find(%s) = %v, want the record", sid, err)
	}
	return f
}

func subject(t testing.TB, s SessionStore, u handstamp.UserID) handstamp.Subject {
	t.Helper()
	sub, err := s.Sessions().Subject(t.Context(), u)
	if err != nil {
		t.Fatalf("Subject(%q) = %v, want no error", u, err)
	}
	return sub
}

func list(t testing.TB, s SessionStore, f handstamp.SessionFilter) []handstamp.Session {
	t.Helper()
	all, err := s.Sessions().List(t.Context(), f)
	if err != nil {
		t.Fatalf("List(%+v) = %v, want no error", f, err)
	}
	return all
}

// live says whether a list of the user's sessions at a time has this one.
func live(t testing.TB, s SessionStore, r handstamp.Session, now time.Time) bool {
	t.Helper()
	for _, one := range list(t, s, handstamp.SessionFilter{User: r.User, Limit: 100, Now: now}) {
		if one.ID == r.ID {
			return true
		}
	}
	return false
}

// ids are the ids of sessions, in their order.
func ids(all []handstamp.Session) []handstamp.SessionID {
	out := []handstamp.SessionID{}
	for _, s := range all {
		out = append(out, s.ID)
	}
	return out
}

// add appends events in a unit of their own, locking the users that they name first.
func add(t testing.TB, s SessionStore, events ...revoke.Event) handstamp.Appended {
	t.Helper()
	var a handstamp.Appended
	unit(t, s, func(tx handstamp.Tx) error {
		var err error
		a, err = addIn(t.Context(), tx, events...)
		return err
	})
	return a
}

func addIn(ctx context.Context, tx handstamp.Tx, events ...revoke.Event) (handstamp.Appended, error) {
	for _, e := range events {
		if e.Kind == revoke.KindUser {
			if _, err := tx.Subject(ctx, handstamp.UserID(e.ID)); err != nil {
				return handstamp.Appended{}, err
			}
		}
	}
	return tx.Append(ctx, events...)
}

// event is an event at a minute, to be forgotten an hour after.
func event(k revoke.Kind, what string, effect revoke.Effect, minute int) revoke.Event {
	return revoke.Event{
		Kind: k, ID: what, Effect: effect, At: at(minute), Until: at(minute).Add(time.Hour), Reason: "reason " + string(k),
	}
}

func endSession(s handstamp.Session, minute int) revoke.Event {
	return event(revoke.KindSession, string(s.ID), revoke.End, minute)
}

func endUser(u handstamp.UserID, minute int) revoke.Event {
	return event(revoke.KindUser, string(u), revoke.End, minute)
}

func changeUser(u handstamp.UserID, minute int) revoke.Event {
	return event(revoke.KindUser, string(u), revoke.Change, minute)
}

func endAll(minute int) revoke.Event { return event(revoke.KindAll, "", revoke.End, minute) }

func sparing(e revoke.Event, s handstamp.Session) revoke.Event {
	e.Except = s.ID
	return e
}

// same compares with what a database may not keep apart left out: nil and empty, and the identity of time zones. That
// times come back in UTC is a rule of its own.
func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := diff(got, want); d != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, d)
	}
}

func diff(got, want any) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b permission.Set) bool { return cmp.Equal(a.List(), b.List()) }),
		cmp.Comparer(func(a, b token.Hash) bool { return a == b })) // Equal says that absence matches nothing
}

// fails checks an error by errors.Is.
func fails(t testing.TB, what string, got, want error) {
	t.Helper()
	if !cmp.Equal(got, want, cmpopts.EquateErrors()) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// must ends the test when a step that is no part of the rule fails.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

// utc checks that times are in UTC and have lost nothing.
func utc(t testing.TB, what string, got, want time.Time) {
	t.Helper()
	if !got.Equal(want) || got.Location() != time.UTC || got.IsZero() != want.IsZero() {
		t.Errorf("%s = %v, want %v in UTC", what, got, want)
	}
}
