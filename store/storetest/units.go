package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

func unitRules() []rule[SessionStore] {
	return []rule[SessionStore]{
		{"error_comes_back", "the function's error comes back as it is, so that its caller can tell it from the store's", unitError},
		{"rollback", "nothing of a unit that failed has happened", unitRollback},
		{"panic", "a panic leaves nothing of the unit and no lock behind, and goes on", unitPanic},
		{"cancelled_before", "a unit whose context is over does nothing and says so", unitCancelledBefore},
		{"cancelled_inside", "a unit whose context ends inside is there as a whole or not at all, as its answer says", unitCancelledInside},
		{"reads_cancelled", "a read whose context is over is an error, and none that means no", readsCancelled},
		{"no_dirty_reads", "nobody sees what a unit wrote before it is committed", unitHidden},
		{"own_writes", "a unit sees what it wrote, numbers of its events included", unitOwnWrites},
		{"serialised", "two units that read and write one subject come one after the other: no update is lost", unitsSerialised},
		{"overtaking", "numbers are in the order of the commits: who sees one sees all before it", unitsOvertaking},
		{"no_gaps", "a unit that failed takes no number that a reader could wait for or skip", unitGaps},
		{"ended_unit", "a unit that has ended cannot write any more", unitEnded},
	}
}

// everything writes with each call of a unit: a session, a subject, a copy of a value, an event and an entry.
func everything(ctx context.Context, tx handstamp.Tx, begun, ended handstamp.Session) (handstamp.Appended, error) {
	sub, err := tx.Subject(ctx, ada)
	if err != nil {
		return handstamp.Appended{}, err
	}
	sub.Grants.Roles = []string{"written"}
	if err := tx.PutSubject(ctx, sub); err != nil {
		return handstamp.Appended{}, err
	}
	if _, err := tx.Oldest(ctx, ada, at(1), 0); err != nil {
		return handstamp.Appended{}, err
	}
	begun.Stamp = max(sub.Ended, sub.AllEnded)
	if err := tx.PutSession(ctx, begun); err != nil {
		return handstamp.Appended{}, err
	}
	if err := carryIn(ctx, tx, ended.ID, begun.ID, "cart"); err != nil {
		return handstamp.Appended{}, err
	}
	if err := tx.Record(ctx, audit.Event{ID: id.NewAudit(at(1)), At: at(1), Kind: audit.LoginOK}); err != nil {
		return handstamp.Appended{}, err
	}
	return tx.Append(ctx, sparing(endUser(ada, 1), begun), endSession(ended, 1), changeUser(bob, 1), event(revoke.KindKey, "kid", revoke.End, 1))
}

// state is what can be read of two users and two sessions.
type state struct {
	Ada, Bob     handstamp.Subject
	Begun, Ended handstamp.Found
	List         []handstamp.Session
	Carts        [2]handstamp.Datum // of the session that began and of the one that ended
}

func read(t testing.TB, s SessionStore, begun, ended handstamp.Session) state {
	t.Helper()
	out := state{Ada: subject(t, s, ada), Bob: subject(t, s, bob), List: list(t, s, handstamp.SessionFilter{Limit: 100, Now: at(1)})}
	for n, f := range []struct {
		to  *handstamp.Found
		sid handstamp.SessionID
	}{{&out.Begun, begun.ID}, {&out.Ended, ended.ID}} {
		got, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: f.sid, SigningKey: "kid"})
		if err != nil && !errors.Is(err, handstamp.ErrNotFound) {
			t.Fatalf("Find = %v", err)
		}
		*f.to = got
		out.Carts[n], _, err = valuesOf(t, s).Get(t.Context(), f.sid, "cart")
		if err != nil && !errors.Is(err, handstamp.ErrNotFound) {
			t.Fatalf("Get = %v", err)
		}
	}
	return out
}

func unitError(t *testing.T, s SessionStore) {
	err := s.Work().Do(t.Context(), func(handstamp.Tx) error { return errRollback })
	if err != errRollback { //nolint:errorlint // the very same value is what the rule asks for
		t.Errorf("Do = %#v, want the very error that was returned", err)
	}
	wrapped := fmt.Errorf("wrapped: %w", handstamp.ErrConflict)
	calls := 0
	err = s.Work().Do(t.Context(), func(handstamp.Tx) error { calls++; return wrapped })
	if err != wrapped || calls != 1 { //nolint:errorlint // as above
		t.Errorf("Do = %#v after %d calls, want the very error after one: the function's conflict is not the store's", err, calls)
	}
}

func unitRollback(t *testing.T, s SessionStore) {
	begun, ended := session(ada, 1), begin(t, s, ada, 0)
	before := read(t, s, begun, ended)
	err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		_, err := everything(t.Context(), tx, begun, ended)
		return cmpErr(err)
	})
	fails(t, "the unit", err, errRollback)
	same(t, "the store after it", read(t, s, begun, ended), before)
	unit(t, s, func(tx handstamp.Tx) error {
		_, err := everything(t.Context(), tx, begun, ended)
		return err
	})
	if diff(read(t, s, begun, ended), before) == "" {
		t.Error("the same unit without the error changed nothing")
	}
}

func unitPanic(t *testing.T, s SessionStore) {
	begun, ended := session(ada, 1), begin(t, s, ada, 0)
	before := read(t, s, begun, ended)
	func() {
		defer func() {
			if got := recover(); got != "storetest: a panic in a unit" {
				t.Errorf("recovered %v, want the panic of the unit", got)
			}
		}()
		_ = s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			if _, err := everything(t.Context(), tx, begun, ended); err != nil {
				return err
			}
			panic("storetest: a panic in a unit")
		})
	}()
	same(t, "the store after it", read(t, s, begun, ended), before)
	unit(t, s, func(tx handstamp.Tx) error {
		_, err := everything(t.Context(), tx, begun, ended)
		return err
	})
}

// unknown checks an error that must mean "don't know".
func unknown(t testing.TB, what string, err error) {
	t.Helper()
	for _, no := range []error{nil, handstamp.ErrNotFound, handstamp.ErrConflict, handstamp.ErrTaken} {
		if errors.Is(err, no) {
			t.Errorf("%s = %v, want an error that says that it is not known", what, err)
		}
	}
}

func unitCancelledBefore(t *testing.T, s SessionStore) {
	begun, ended := session(ada, 1), begin(t, s, ada, 0)
	before := read(t, s, begun, ended)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Work().Do(ctx, func(tx handstamp.Tx) error {
		_, err := everything(ctx, tx, begun, ended)
		return err
	})
	unknown(t, "Do with a cancelled context", err)
	_, err = s.Sessions().Rotate(ctx, ended.ID, 1, rotation(ended, 1))
	unknown(t, "Rotate with a cancelled context", err)
	same(t, "the store after it", read(t, s, begun, ended), before)
}

func unitCancelledInside(t *testing.T, s SessionStore) {
	begun, ended := session(ada, 1), begin(t, s, ada, 0)
	before := read(t, s, begun, ended)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Work().Do(ctx, func(tx handstamp.Tx) error {
		_, err := everything(ctx, tx, begun, ended)
		cancel()
		return err
	})
	after := read(t, s, begun, ended)
	if err == nil {
		if after.Begun.Session.ID != begun.ID || after.Ended.Session.EndedBy == 0 || after.Bob.Changed == 0 {
			t.Errorf("Do = nil, and the store is as after half of it: %+v", after)
		}
		return
	}
	unknown(t, "Do with a context that was cancelled inside", err)
	whole := after.Begun.Session.ID == begun.ID && after.Ended.Session.EndedBy != 0 && after.Bob.Changed != 0
	if d := diff(after, before); d != "" && !whole {
		t.Errorf("the unit happened in part (-before +after):\n%s", d)
	}
}

func readsCancelled(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Sessions().Find(ctx, handstamp.Lookup{Session: r.ID})
	unknown(t, "Find", err)
	_, err = s.Sessions().Find(ctx, handstamp.Lookup{Key: hash()})
	unknown(t, "Find of an unknown key", err)
	_, err = s.Sessions().Subject(ctx, ada)
	unknown(t, "Subject", err)
	_, err = s.Sessions().List(ctx, handstamp.SessionFilter{Limit: 10, Now: at(1)})
	unknown(t, "List", err)
	_, err = s.Sessions().Sweep(ctx, at(9999), 10)
	unknown(t, "Sweep", err)
	find(t, s, r.ID)
}

func unitHidden(t *testing.T, s SessionStore) {
	begun, ended := session(ada, 1), begin(t, s, ada, 0)
	before := read(t, s, begun, ended)
	unit(t, s, func(tx handstamp.Tx) error {
		if _, err := everything(t.Context(), tx, begun, ended); err != nil {
			return err
		}
		// A store may let readers wait for the unit; then these end by their time, and have seen nothing either.
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var reader sync.WaitGroup
		reader.Go(func() {
			if f, err := s.Sessions().Find(ctx, handstamp.Lookup{Session: ended.ID, SigningKey: "kid"}); err == nil {
				same(t, "the ended session from outside", f, before.Ended)
			}
			if f, err := s.Sessions().Find(ctx, handstamp.Lookup{Key: begun.Key}); err == nil {
				t.Errorf("a session that has not begun is found from outside: %+v", f.Session)
			}
			if sub, err := s.Sessions().Subject(ctx, ada); err == nil {
				same(t, "the subject from outside", sub, before.Ada)
			}
			if all, err := s.Sessions().List(ctx, handstamp.SessionFilter{Limit: 100, Now: at(1)}); err == nil {
				same(t, "the list from outside", all, before.List)
			}
		})
		reader.Wait()
		return nil
	})
}

func unitOwnWrites(t *testing.T, s SessionStore) {
	begun, ended := session(ada, 1), begin(t, s, ada, 0)
	unit(t, s, func(tx handstamp.Tx) error {
		a, err := everything(t.Context(), tx, begun, ended)
		if err != nil {
			return err
		}
		sub, err := tx.Subject(t.Context(), ada)
		if err != nil {
			return err
		}
		if sub.Ended != a.Events[0].Seq || sub.Head != a.Last() || !slices.Equal(sub.Grants.Roles, []string{"written"}) {
			t.Errorf("the subject in its unit = %+v, want Ended %d, Head %d", sub, a.Events[0].Seq, a.Last())
		}
		oldest, err := tx.Oldest(t.Context(), ada, at(1), 0)
		same(t, "the live sessions in the unit", oldest, []handstamp.SessionID{begun.ID})
		return err
	})
}

func unitsSerialised(t *testing.T, s SessionStore) {
	const writers = 20
	unit(t, s, func(tx handstamp.Tx) error { return tx.PutSubject(t.Context(), handstamp.Subject{User: ada}) })
	race(t, func(n int) error {
		if n >= writers {
			return nil
		}
		return s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			sub, err := tx.Subject(t.Context(), ada)
			if err != nil {
				return err
			}
			sub.Grants.Roles = append(sub.Grants.Roles, fmt.Sprint("r", n))
			return tx.PutSubject(t.Context(), sub)
		})
	})
	roles := subject(t, s, ada).Grants.Roles
	slices.Sort(roles)
	if got := len(slices.Compact(roles)); got != writers {
		t.Errorf("%d of %d writes are there", got, writers)
	}
}

// overtake lets units of many users, short ones and long ones, some of them failing, commit at once. It returns the
// number that each user was told, and calls seen all the while with the numbers that were acknowledged so far.
func overtake(t *testing.T, s SessionStore, seen func(map[handstamp.UserID]uint64)) map[handstamp.UserID]uint64 {
	var mu sync.Mutex
	told := map[handstamp.UserID]uint64{}
	over := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			mu.Lock()
			now := maps.Clone(told)
			mu.Unlock()
			seen(now)
			select {
			case <-over:
				return
			default:
			}
		}
	})
	for n, err := range raceErrors(func(n int) error {
		u, number := handstamp.UserID(fmt.Sprint("user-", n)), uint64(0)
		err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			for range n % 4 {
				if err := tx.Record(t.Context(), audit.Event{ID: id.NewAudit(at(1)), At: at(1), Kind: audit.LoginOK}); err != nil {
					return err
				}
			}
			a, err := addIn(t.Context(), tx, endUser(u, 1))
			number = a.Last()
			if n%5 == 4 {
				return cmpErr(err)
			}
			return err
		})
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			told[u] = number
		}
		return err
	}) {
		if err != nil && !(n%5 == 4 && errors.Is(err, errRollback)) {
			t.Errorf("unit %d = %v", n, err)
		}
	}
	close(over)
	reader.Wait()
	return told
}

func unitsOvertaking(t *testing.T, s SessionStore) {
	told := overtake(t, s, func(told map[handstamp.UserID]uint64) {
		for u, n := range told {
			if sub := subject(t, s, u); sub.Ended != n || sub.Head < n {
				t.Errorf("%s: ended by %d at head %d, though %d was acknowledged", u, sub.Ended, sub.Head, n)
			}
		}
	})
	numbers := slices.Sorted(maps.Values(told))
	for n, got := range numbers {
		if got != uint64(n+1) {
			t.Fatalf("the numbers that were given are %v, want 1 to %d", numbers, len(numbers))
		}
	}
	if head := subject(t, s, ada).Head; head != uint64(len(numbers)) {
		t.Errorf("Head = %d, want %d", head, len(numbers))
	}
}

func unitGaps(t *testing.T, s SessionStore) {
	for n := range 6 {
		err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			a, err := addIn(t.Context(), tx, endUser(ada, 1), endUser(bob, 1))
			if want := uint64(n/2*2) + 2; a.Last() != want {
				t.Errorf("a unit after %d commits of two took %d, want %d", n/2, a.Last(), want)
			}
			if n%2 == 0 {
				return cmpErr(err)
			}
			return err
		})
		if n%2 == 0 {
			fails(t, "the unit", err, errRollback)
		} else {
			must(t, err)
		}
		if head, want := subject(t, s, ada).Head, uint64((n+1)/2*2); head != want {
			t.Errorf("Head = %d, want %d", head, want)
		}
	}
}

func unitEnded(t *testing.T, s SessionStore) {
	var kept handstamp.Tx
	unit(t, s, func(tx handstamp.Tx) error { kept = tx; return nil })
	r := session(ada, 1)
	if err := kept.PutSession(t.Context(), r); err == nil {
		t.Error("PutSession after the unit = nil, want an error")
	}
	if _, err := kept.Append(t.Context(), endUser(ada, 1)); err == nil {
		t.Error("Append after the unit = nil, want an error")
	}
	if head := subject(t, s, ada).Head; head != 0 {
		t.Errorf("Head = %d, want 0", head)
	}
	_, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID})
	fails(t, "Find", err, handstamp.ErrNotFound)
}
