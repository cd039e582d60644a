package postgres

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// begun is when everything in these tests happens.
var begun = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)

func registration(name string) revoke.Registration {
	return revoke.Registration{Verifier: id.Verifier(name), RegisteredAt: begun, Name: name}
}

func hashOf(text string) token.Hash { return sha256.Sum256([]byte(text)) }

// session is a live hybrid session of a user.
func session(u handstamp.UserID) handstamp.Session {
	sid := id.NewSession(begun)
	return handstamp.Session{
		ID: sid, User: u, Key: hashOf("key of " + string(sid)), Mode: handstamp.ModeHybrid, Transport: handstamp.TransportCookie,
		Methods: []string{"pwd"}, Claims: []byte(`{"a":1}`), CreatedAt: begun, AuthAt: begun, SeenAt: begun,
		IdleTimeout: time.Hour, ExpiresAt: begun.Add(24 * time.Hour),
		Refresh: handstamp.Family{Generation: 1, Nonce: hashOf("nonce")}, IP: "192.0.2.7", UserAgent: "test",
	}
}

// put makes a live session of a user.
func put(t testing.TB, s *Store, u handstamp.UserID) handstamp.Session {
	t.Helper()
	rec := session(u)
	err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error { return tx.PutSession(t.Context(), rec) })
	if err != nil {
		t.Fatal(err)
	}
	rec.Version = 1
	return rec
}

// ended appends events in a unit of their own.
func ended(t testing.TB, s *Store, events ...revoke.Event) handstamp.Appended {
	t.Helper()
	done, err := appended(t, s, events...)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func appended(t testing.TB, s *Store, events ...revoke.Event) (done handstamp.Appended, err error) {
	t.Helper()
	err = s.Work().Do(t.Context(), func(tx handstamp.Tx) (err error) {
		done, err = tx.Append(t.Context(), events...)
		return err
	})
	return done, err
}

func endOf(s handstamp.Session) revoke.Event {
	return revoke.Event{Kind: revoke.KindSession, ID: string(s.ID), Effect: revoke.End, At: begun.Add(time.Minute),
		Until: begun.Add(time.Minute + revoke.Retention), Reason: "logout"}
}

func endOfUser(u handstamp.UserID) revoke.Event {
	return revoke.Event{Kind: revoke.KindUser, ID: string(u), Effect: revoke.End, At: begun.Add(time.Minute),
		Until: begun.Add(time.Minute + revoke.Retention), Reason: "test"}
}

// rotation is what a refresh of a session writes.
func rotation(s handstamp.Session, to uint32) handstamp.Rotation {
	at := begun.Add(time.Duration(to) * time.Second)
	return handstamp.Rotation{At: at, SeenAt: at, Claims: []byte(`{"a":2}`), Family: handstamp.Family{
		Generation: to, Nonce: s.Refresh.Nonce, RotatedAt: at, Request: hashOf("request"), IP: "192.0.2.8", UserAgent: "refresh"}}
}

// place is a renewal of a verifier that stands at the head of an answer.
func place(v id.Verifier, h revoke.Head) revoke.Renewal {
	return revoke.Renewal{Verifier: v, Log: h.Log, Applied: h.Seq, Tag: h.Tag, Limit: 100}
}

func renewOK(t testing.TB, s *Store, r revoke.Renewal) revoke.Answer {
	t.Helper()
	a, err := s.Log().Renew(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func found(t testing.TB, s *Store, sid handstamp.SessionID) handstamp.Found {
	t.Helper()
	f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: sid})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// until looks again and again until something is so.
func until(t testing.TB, what string, so func() bool) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		if time.Now().After(end) {
			t.Fatalf("it never came to this: %s", what)
		}
		<-tick.C
	}
}
