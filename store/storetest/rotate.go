package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
)

// racers is how many try at once where exactly one may win.
const racers = 50

// rotation is what a refresh of the session writes at a minute.
func rotation(s handstamp.Session, minute int) handstamp.Rotation {
	f := s.Refresh
	f.Generation++
	f.RotatedAt, f.Request, f.IP, f.UserAgent = at(minute), hash(), "203.0.113.9", "Agent/2"
	return handstamp.Rotation{At: at(minute), SeenAt: at(minute), Family: f, Claims: []byte(`{"now":true}`)}
}

func refreshRules() []rule[SessionStore] {
	return []rule[SessionStore]{
		{"rotates", "a refresh writes family, activity and claims, and answers with everything as it is after the change", rotates},
		{"background", "a refresh in the background leaves the last activity, and none moves it back", rotatesInBackground},
		{"jumps_ahead", "after a restore a family may move on by more than one", rotatesAhead},
		{"wrong_generation", "a spent or unheard-of generation changes nothing", rotatesWrong},
		{"dead", "a session that is over is never refreshed, by whatever it is over", rotatesDead},
		{"one_winner", "of fifty refreshes of one token exactly one wins, or two children live", rotatesOnce},
		{"touch", "last-seen moves forward only, of live sessions only, and leaves the version alone", touches},
		{"touch_unknown", "an id without a record is passed over, or one swept session would lose the whole batch", touchesUnknown},
		{"touch_race", "of activities noted at once the latest stays", touchesAtOnce},
		{"sweep_absolute_end", "only what is beyond its absolute end is deleted: tombstones say until then why", sweepsEnded},
		{"sweep_bounded", "a sweep deletes no more than it was told, and the next goes on", sweepsBounded},
	}
}

func rotates(t *testing.T, s SessionStore) {
	before := begin(t, s, ada, 0)
	unit(t, s, func(tx handstamp.Tx) error {
		return tx.PutSubject(t.Context(), handstamp.Subject{
			User: ada, Grants: handstamp.Grants{Roles: []string{"r"}, Permissions: []string{"notes:read"}}, Email: "ada@example.com",
		})
	})
	add(t, s, changeUser(ada, 1))
	r := rotation(before, 5)
	f, err := s.Sessions().Rotate(t.Context(), before.ID, 1, r)
	must(t, err)
	want := before
	want.Refresh, want.SeenAt, want.Claims = r.Family, r.SeenAt, r.Claims
	want.Version = f.Session.Version
	same(t, "the answer's session", f.Session, want)
	same(t, "what Find says after it", find(t, s, before.ID), f)
	if f.Subject.Changed == 0 || f.Subject.Head != f.Subject.Changed || len(f.Subject.Grants.Roles) != 1 {
		t.Errorf("Rotate's subject = %+v, want the row with its numbers and grants", f.Subject)
	}
	utc(t, "RotatedAt", f.Session.Refresh.RotatedAt, at(5))

	r = rotation(f.Session, 6)
	r.Claims = nil
	f, err = s.Sessions().Rotate(t.Context(), before.ID, 2, r)
	must(t, err)
	if f.Session.Refresh.Generation != 3 || len(f.Session.Claims) != 0 {
		t.Errorf("the second refresh = generation %d with claims %q, want 3 and none", f.Session.Refresh.Generation, f.Session.Claims)
	}
}

func rotatesInBackground(t *testing.T, s SessionStore) {
	before := begin(t, s, ada, 0)
	r := rotation(before, 5)
	r.SeenAt = time.Time{}
	f, err := s.Sessions().Rotate(t.Context(), before.ID, 1, r)
	must(t, err)
	utc(t, "SeenAt after a refresh in the background", f.Session.SeenAt, before.SeenAt)
	must(t, s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{before.ID: at(9)}))
	f, err = s.Sessions().Rotate(t.Context(), before.ID, 2, rotation(f.Session, 7))
	must(t, err)
	utc(t, "SeenAt after a refresh from before the last activity", f.Session.SeenAt, at(9))
}

func rotatesAhead(t *testing.T, s SessionStore) {
	before := begin(t, s, ada, 0)
	r := rotation(before, 5)
	r.Family.Generation = 1<<32 - 1
	f, err := s.Sessions().Rotate(t.Context(), before.ID, 1, r)
	must(t, err)
	same(t, "the family", f.Session.Refresh, r.Family)
}

func rotatesWrong(t *testing.T, s SessionStore) {
	before := begin(t, s, ada, 0)
	f, err := s.Sessions().Rotate(t.Context(), before.ID, 1, rotation(before, 1))
	must(t, err)
	for _, from := range []uint32{0, 1, 3, 1<<32 - 1} {
		_, err := s.Sessions().Rotate(t.Context(), before.ID, from, rotation(before, 2))
		fails(t, fmt.Sprintf("Rotate(from %d) of generation 2", from), err, handstamp.ErrConflict)
	}
	same(t, "the record after that", find(t, s, before.ID).Session, f.Session)
	_, err = s.Sessions().Rotate(t.Context(), id.NewSession(at(0)), 1, rotation(before, 2))
	fails(t, "Rotate(no record)", err, handstamp.ErrConflict)
}

func rotatesDead(t *testing.T, s SessionStore) {
	for _, c := range liveCases() {
		if c.want {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r := c.make(t, s)
			before := find(t, s, r.ID)
			change := rotation(r, 0)
			change.At, change.SeenAt = c.now, c.now
			_, err := s.Sessions().Rotate(t.Context(), r.ID, 1, change)
			fails(t, "Rotate", err, handstamp.ErrConflict)
			same(t, "the record after that", find(t, s, r.ID).Session, before.Session)
			enable(t, s, c.name)
		})
	}
}

func rotatesOnce(t *testing.T, s SessionStore) {
	before := begin(t, s, ada, 0)
	answers := make([]handstamp.Found, racers)
	won := race(t, func(n int) error {
		var err error
		r := rotation(before, 1)
		r.Family.UserAgent = fmt.Sprint("racer ", n)
		answers[n], err = s.Sessions().Rotate(t.Context(), before.ID, 1, r)
		return err
	})
	if len(won) != 1 {
		t.Fatalf("%d of %d refreshes won, want 1", len(won), racers)
	}
	got := find(t, s, before.ID).Session
	same(t, "the record is the winner's", got, answers[won[0]].Session)
	if got.Refresh.Generation != 2 || got.Refresh.UserAgent != fmt.Sprint("racer ", won[0]) {
		t.Errorf("the record has generation %d of %q, want 2 of racer %d", got.Refresh.Generation, got.Refresh.UserAgent, won[0])
	}
}

// race runs fn at once in many goroutines and returns who got no error. Any answer but a conflict, a taken value and a
// missing record is no answer that a loser may get.
func race(t testing.TB, fn func(n int) error) []int {
	t.Helper()
	var won []int
	for n, err := range raceErrors(fn) {
		switch {
		case err == nil:
			won = append(won, n)
		case !errors.Is(err, handstamp.ErrConflict) && !errors.Is(err, handstamp.ErrTaken) && !errors.Is(err, handstamp.ErrNotFound):
			t.Errorf("racer %d = %v, want to win or to be told that another one has", n, err)
		}
	}
	return won
}

// raceErrors runs fn at once in many goroutines.
func raceErrors(fn func(n int) error) []error {
	errs := make([]error, racers)
	var begin, done sync.WaitGroup
	begin.Add(1)
	for n := range racers {
		done.Go(func() {
			begin.Wait()
			errs[n] = fn(n)
		})
	}
	begin.Done()
	done.Wait()
	return errs
}

func touches(t *testing.T, s SessionStore) {
	one, two := begin(t, s, ada, 0), begin(t, s, bob, 1)
	gone := begin(t, s, "usr_gone", 2)
	add(t, s, endUser("usr_gone", 3))
	must(t, s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{one.ID: at(10), two.ID: at(11), gone.ID: at(12)}))
	want := one
	want.SeenAt = at(10)
	same(t, "a record after last-seen", find(t, s, one.ID).Session, want)
	utc(t, "SeenAt", find(t, s, one.ID).Session.SeenAt, at(10))
	utc(t, "SeenAt of the other one", find(t, s, two.ID).Session.SeenAt, at(11))
	utc(t, "SeenAt of a session that is over", find(t, s, gone.ID).Session.SeenAt, gone.SeenAt)
	must(t, s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{one.ID: at(9)}))
	utc(t, "SeenAt after an older activity", find(t, s, one.ID).Session.SeenAt, at(10))
	// Activity that was only in the memory of who noted it kept the session alive: its idle end does not stop this.
	must(t, s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{two.ID: at(200)}))
	utc(t, "SeenAt after more than one idle time", find(t, s, two.ID).Session.SeenAt, at(200))
	one.UserAgent = "a writer who read it before"
	put(t, s, one)
}

func touchesUnknown(t *testing.T, s SessionStore) {
	one := begin(t, s, ada, 0)
	must(t, s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{id.NewSession(at(0)): at(4), one.ID: at(5), "": at(5)}))
	utc(t, "SeenAt of the known one", find(t, s, one.ID).Session.SeenAt, at(5))
	must(t, s.Sessions().Touch(t.Context(), nil))
	if got := list(t, s, handstamp.SessionFilter{Limit: 10, Now: at(6)}); len(got) != 1 {
		t.Errorf("there are %d sessions after that, want 1", len(got))
	}
}

func touchesAtOnce(t *testing.T, s SessionStore) {
	one := begin(t, s, ada, 0)
	race(t, func(n int) error {
		return s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{one.ID: at(1).Add(time.Duration(n) * time.Second)})
	})
	utc(t, "SeenAt", find(t, s, one.ID).Session.SeenAt, at(1).Add((racers-1)*time.Second))
}

func sweepsEnded(t *testing.T, s SessionStore) {
	tomb, idled, alive := begin(t, s, ada, 0), begin(t, s, ada, 1), begin(t, s, ada, 2)
	add(t, s, endSession(tomb, 3))
	end := tomb.ExpiresAt
	sweep(t, s, end, 100, 0) // the end itself: not before it
	same(t, "the reason of a tombstone before its absolute end", find(t, s, tomb.ID).Session.EndReason, "reason session")
	find(t, s, idled.ID)
	sweep(t, s, end.Add(time.Microsecond), 100, 1)
	_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: tomb.ID})
	fails(t, "Find(a session beyond its absolute end, swept)", err, handstamp.ErrNotFound)
	_, err = s.Sessions().Find(t.Context(), handstamp.Lookup{Key: tomb.Key})
	fails(t, "Find(its key)", err, handstamp.ErrNotFound)
	find(t, s, idled.ID)
	find(t, s, alive.ID)
	if subject(t, s, ada).User != ada {
		t.Error("the subject went with its session")
	}
	again := session(ada, 4)
	again.Key = tomb.Key
	put(t, s, again) // nothing of the swept one is left that it could collide with
}

func sweepsBounded(t *testing.T, s SessionStore) {
	unit(t, s, func(tx handstamp.Tx) error {
		for minute := range 12 {
			if err := putIn(t.Context(), tx, session(ada, minute)); err != nil {
				return err
			}
		}
		return nil
	})
	stays := begin(t, s, bob, 700)
	now := at(700)
	sweep(t, s, now, 5, 5)
	sweep(t, s, now, 5, 5)
	sweep(t, s, now, 5, 2)
	sweep(t, s, now, 5, 0)
	same(t, "what is left", ids(list(t, s, handstamp.SessionFilter{Limit: 100, Now: now})), []handstamp.SessionID{stays.ID})
}

func sweep(t testing.TB, s SessionStore, now time.Time, limit, want int) {
	t.Helper()
	got, err := s.Sessions().Sweep(t.Context(), now, limit)
	must(t, err)
	if got != want {
		t.Errorf("Sweep(limit %d) = %d, want %d", limit, got, want)
	}
}
