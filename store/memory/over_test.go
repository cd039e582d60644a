package memory_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/storetest"
	"github.com/handstamp/handstamp/token"
)

// TestOver passes every rule but those for two handles (one process has sessions over a base) and for a store that was
// opened again (the sessions are gone then).
func TestOver(t *testing.T) {
	storetest.Run(t, storetest.Maker{Open: func(t testing.TB) storetest.Backend {
		s := memory.Over(memory.New())
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
		return s
	}})
}

func TestOverSessionsOnly(t *testing.T) {
	storetest.RunSessions(t, func(testing.TB) storetest.SessionStore { return memory.Over(memory.New()) })
}

const ada handstamp.UserID = "usr_ada"

func at(minutes int) time.Time {
	return time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC).Add(time.Duration(minutes) * time.Minute)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// begin starts a session as a login does.
func begin(t testing.TB, s storetest.SessionStore, minute int) handstamp.Session {
	t.Helper()
	r := handstamp.Session{
		ID: id.NewSession(at(minute)), User: ada, Key: token.HashOf(token.Generate(token.Reference)), Mode: handstamp.ModeHybrid,
		CreatedAt: at(minute), SeenAt: at(minute), ExpiresAt: at(minute + 600), Refresh: handstamp.Family{Generation: 1},
	}
	must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		sub, err := tx.Subject(t.Context(), ada)
		if err != nil {
			return err
		}
		r.Stamp = max(sub.Ended, sub.AllEnded)
		if err := tx.PutSubject(t.Context(), sub); err != nil {
			return err
		}
		return tx.PutSession(t.Context(), r)
	}))
	r.Version = 1
	return r
}

func find(t testing.TB, s storetest.SessionStore, sid handstamp.SessionID) handstamp.Found {
	t.Helper()
	f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: sid})
	must(t, err)
	return f
}

// appendTo appends as another process does: in the base, which knows of no session here.
func appendTo(t testing.TB, s storetest.SessionStore, events ...revoke.Event) handstamp.Appended {
	t.Helper()
	var a handstamp.Appended
	must(t, s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		if _, err := tx.Subject(t.Context(), ada); err != nil {
			return err
		}
		var err error
		a, err = tx.Append(t.Context(), events...)
		return err
	}))
	return a
}

func event(k revoke.Kind, what string, effect revoke.Effect) revoke.Event {
	return revoke.Event{Kind: k, ID: what, Effect: effect, At: at(5), Until: at(100), Reason: "elsewhere"}
}

// TestOverForeignEvents ends, in the base, what this process holds. Every read must know of it at once, whoever follows
// the log or not, and no answer's head may be beyond what its record has heard of.
func TestOverForeignEvents(t *testing.T) {
	for name, c := range map[string]struct {
		events func(s handstamp.Session) []revoke.Event
		alive  bool
	}{
		"session/end": {func(s handstamp.Session) []revoke.Event {
			return []revoke.Event{event(revoke.KindSession, string(s.ID), revoke.End)}
		}, false},
		"user/end": {func(handstamp.Session) []revoke.Event {
			return []revoke.Event{event(revoke.KindUser, string(ada), revoke.End)}
		}, false},
		"all/end": {func(handstamp.Session) []revoke.Event { return []revoke.Event{event(revoke.KindAll, "", revoke.End)} }, false},
		"session/change": {func(s handstamp.Session) []revoke.Event {
			return []revoke.Event{event(revoke.KindSession, string(s.ID), revoke.Change)}
		}, true},
		"another user": {func(handstamp.Session) []revoke.Event {
			return []revoke.Event{event(revoke.KindUser, "usr_bob", revoke.End)}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			base := memory.New()
			s := memory.Over(base)
			r := begin(t, s, 0)
			a := appendTo(t, base, c.events(r)...)
			f := find(t, s, r.ID)
			if got := handstamp.Live(f.Session, f.Subject, at(6)); got != c.alive || f.Subject.Head != a.Last() {
				t.Errorf("Find = alive: %v at head %d, want %v at %d", got, f.Subject.Head, c.alive, a.Last())
			}
			if name == "session/end" && (f.Session.EndedBy != a.Last() || f.Session.EndReason != "elsewhere") {
				t.Errorf("the tombstone = %+v, want ended by %d", f.Session, a.Last())
			}
			if name == "session/change" && f.Session.Changed != a.Last() {
				t.Errorf("Changed = %d, want %d", f.Session.Changed, a.Last())
			}
			left, err := base.Log().Registered(t.Context())
			must(t, err)
			if len(left) != 0 {
				t.Errorf("%d registrations are left for waiters to wait for", len(left))
			}
		})
	}
}

// TestOverForeignEventsElsewhere asks everything but Find, each as the first to hear of the event.
func TestOverForeignEventsElsewhere(t *testing.T) {
	for name, alive := range map[string]func(s *memory.Overlay, r handstamp.Session) bool{
		"List": func(s *memory.Overlay, _ handstamp.Session) bool {
			all, err := s.Sessions().List(t.Context(), handstamp.SessionFilter{Limit: 10, Now: at(6)})
			must(t, err)
			return len(all) > 0
		},
		"Rotate": func(s *memory.Overlay, r handstamp.Session) bool {
			_, err := s.Sessions().Rotate(t.Context(), r.ID, 1, handstamp.Rotation{At: at(6), Family: handstamp.Family{Generation: 2, Nonce: r.Refresh.Nonce}})
			if err != nil && !errors.Is(err, handstamp.ErrConflict) {
				t.Errorf("Rotate = %v", err)
			}
			return err == nil
		},
		"Touch": func(s *memory.Overlay, r handstamp.Session) bool {
			must(t, s.Sessions().Touch(t.Context(), map[handstamp.SessionID]time.Time{r.ID: at(6)}))
			return find(t, s, r.ID).Session.SeenAt.Equal(at(6))
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := memory.New()
			s := memory.Over(base)
			r := begin(t, s, 0)
			appendTo(t, base, event(revoke.KindSession, string(r.ID), revoke.End))
			if alive(s, r) {
				t.Error("the session is alive though another process ended it")
			}
		})
	}
}

// TestOverApply gives events to an overlay twice and in both orders: by its log, and by Apply.
func TestOverApply(t *testing.T) {
	base := &counting{Store: memory.New()}
	s := memory.Over(base)
	r := begin(t, s, 0)
	base.registers = 0
	h, err := s.Log().Register(t.Context(), revoke.Registration{Verifier: "vrf_x"})
	must(t, err)
	a := appendTo(t, base, event(revoke.KindSession, string(r.ID), revoke.Change), event(revoke.KindSession, string(r.ID), revoke.End))
	s.Apply(a.Events[1:]) // ahead of its turn
	s.Apply(a.Events)
	s.Apply(a.Events)
	renewal := revoke.Renewal{Verifier: "vrf_x", Log: h.Log, Applied: h.Seq, Tag: h.Tag, Limit: 10}
	for range 2 {
		got, err := s.Log().Renew(t.Context(), renewal)
		must(t, err)
		if len(got.Events) != 2 {
			t.Errorf("Renew = %d events, want 2", len(got.Events))
		}
	}
	f := find(t, s, r.ID)
	if f.Session.EndedBy != 2 || f.Session.Changed != 1 || f.Subject.Head != 2 {
		t.Errorf("Find = %+v, want ended by 2 and changed by 1", f.Session)
	}
	if base.registers != 1 {
		t.Errorf("%d verifiers were registered, want the follower only: its renewals bring the records along", base.registers)
	}
}

// counting is a base that counts registrations.
type counting struct {
	*memory.Store
	registers int
}

func (c *counting) Log() revoke.Log { return countingLog{c.Store.Log(), c} }

type countingLog struct {
	revoke.Log
	c *counting
}

func (l countingLog) Register(ctx context.Context, r revoke.Registration) (revoke.Head, error) {
	l.c.registers++
	return l.Log.Register(ctx, r)
}

// TestOverGap brings later events first: by Apply, and by an append of this process. What is missing between must be
// heard of all the same.
func TestOverGap(t *testing.T) {
	for name, later := range map[string]func(s, base storetest.SessionStore, e revoke.Event){
		"Apply": func(s, base storetest.SessionStore, e revoke.Event) {
			s.(*memory.Overlay).Apply(appendTo(t, base, e).Events)
		},
		"Append": func(s, _ storetest.SessionStore, e revoke.Event) { appendTo(t, s, e) },
		"Renew": func(s, base storetest.SessionStore, e revoke.Event) {
			h, err := s.(*memory.Overlay).Log().Register(t.Context(), revoke.Registration{Verifier: "vrf_x"})
			must(t, err)
			appendTo(t, base, e)
			_, err = s.(*memory.Overlay).Log().Renew(t.Context(), revoke.Renewal{
				Verifier: "vrf_x", Log: h.Log, Applied: h.Seq, Tag: h.Tag, Limit: 10,
			})
			must(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := memory.New()
			s := memory.Over(base)
			one, two := begin(t, s, 0), begin(t, s, 1)
			appendTo(t, base, event(revoke.KindSession, string(one.ID), revoke.End))
			later(s, base, event(revoke.KindSession, string(two.ID), revoke.End))
			for _, r := range []handstamp.Session{one, two} {
				if f := find(t, s, r.ID); handstamp.Live(f.Session, f.Subject, at(6)) || f.Subject.Head != 2 {
					t.Errorf("the session is alive at head %d: %+v", f.Subject.Head, f.Session)
				}
			}
		})
	}
}

// TestOverRestoredElsewhere lets another process restore the base: what the log forgot with it may have ended sessions
// here, so they are over.
func TestOverRestoredElsewhere(t *testing.T) {
	base := memory.New()
	s := memory.Over(base)
	r := begin(t, s, 0)
	_, err := base.Restored(t.Context(), true, at(5))
	must(t, err)
	if _, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID}); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("Find = %v, want ErrNotFound", err)
	}
	next := begin(t, s, 6)
	if f := find(t, s, next.ID); !handstamp.Live(f.Session, f.Subject, at(7)) {
		t.Error("a session that began after that is over")
	}
}

// TestOverForgotten lets the log forget what this process has not read.
func TestOverForgotten(t *testing.T) {
	base := memory.New()
	s := memory.Over(base)
	r := begin(t, s, 0)
	appendTo(t, base, event(revoke.KindSession, string(r.ID), revoke.End), event(revoke.KindUser, "usr_bob", revoke.Change))
	n, err := base.Log().Forget(t.Context(), at(1000), 10)
	must(t, err)
	if n != 1 {
		t.Fatalf("Forget = %d, want 1", n)
	}
	if f, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID}); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("Find = %+v, %v; want ErrNotFound", f.Session, err)
	}
}

// errUnknown is what a commit answers whose outcome is not known.
var errUnknown = errors.New("the connection broke")

// doubtful is a base whose commits answer errUnknown, after they happened or instead of it.
type doubtful struct {
	*memory.Store
	happens, broken bool
}

func (d *doubtful) LoginWork() handstamp.UnitOfWork[login.Tx] { return d }

func (d *doubtful) Do(ctx context.Context, fn func(tx login.Tx) error) error {
	err := d.Store.LoginWork().Do(ctx, func(tx login.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		if d.broken && !d.happens {
			return errUnknown
		}
		return nil
	})
	if err == nil && d.broken {
		return errUnknown
	}
	return err
}

// TestOverUnknownCommit loses the answer of the base's commit. Nothing that began in the unit is there; what it ended is
// over if, and only if, the base has it.
func TestOverUnknownCommit(t *testing.T) {
	for _, happens := range []bool{true, false} {
		base := &doubtful{Store: memory.New(), happens: happens}
		s := memory.Over(base)
		old, spared := begin(t, s, 0), begin(t, s, 1)
		base.broken = true
		r := handstamp.Session{ID: id.NewSession(at(2)), User: ada, ExpiresAt: at(100)}
		changed := spared
		changed.UserAgent, changed.Key = "of the unit", token.HashOf(token.Generate(token.Reference))
		err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
			if _, err := tx.Subject(t.Context(), ada); err != nil {
				return err
			}
			if err := tx.PutSession(t.Context(), r); err != nil {
				return err
			}
			if err := tx.PutSession(t.Context(), changed); err != nil {
				return err
			}
			e := event(revoke.KindUser, string(ada), revoke.End)
			e.Except = spared.ID
			_, err := tx.Append(t.Context(), e, event(revoke.KindSession, string(spared.ID), revoke.Change))
			return err
		})
		if !errors.Is(err, errUnknown) {
			t.Fatalf("Do = %v, want the base's error", err)
		}
		base.broken = false
		if _, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: r.ID}); !errors.Is(err, handstamp.ErrNotFound) {
			t.Errorf("happened: %v: Find(a session of the unit) = %v, want ErrNotFound", happens, err)
		}
		if f := find(t, s, old.ID); handstamp.Live(f.Session, f.Subject, at(6)) == happens {
			t.Errorf("happened: %v: the session that was ended is alive: %v", happens, !happens)
		}
		f := find(t, s, spared.ID)
		if !handstamp.Live(f.Session, f.Subject, at(6)) || f.Session.UserAgent != "" {
			t.Errorf("happened: %v: the spared session = %+v, want it alive and as it was", happens, f.Session)
		}
		if f.Session.Key.Equal(spared.Key) == happens || f.Session.Key.IsZero() != happens {
			t.Errorf("happened: %v: the secrets of the session that was given new ones = %v", happens, f.Session.Key)
		}
	}
}

// TestOverHead reads while units end and spare: a record whose head is beyond what it has heard of would be taken for
// clean by every copy of it.
func TestOverHead(t *testing.T) {
	base := memory.New()
	s := memory.Over(base)
	kept := begin(t, s, 0)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for n := range 200 {
			gone, from := begin(t, s, n), storetest.SessionStore(s)
			if n%2 == 0 {
				from = base
			}
			e := event(revoke.KindUser, string(ada), revoke.End)
			e.Except = kept.ID
			appendTo(t, s, e)
			appendTo(t, from, event(revoke.KindSession, string(gone.ID), revoke.End))
		}
	}()
	for {
		f := find(t, s, kept.ID)
		if f.Session.Stamp != f.Subject.Ended || !handstamp.Live(f.Session, f.Subject, at(6)) {
			t.Fatalf("stamp %d, ended %d, head %d: want the spared session alive", f.Session.Stamp, f.Subject.Ended, f.Subject.Head)
		}
		select {
		case <-over:
			return
		default:
		}
	}
}

// TestOverHasNoSessionsInBase looks at the base for what a process that has only the base would find.
func TestOverHasNoSessionsInBase(t *testing.T) {
	base := memory.New()
	s := memory.Over(base)
	r := begin(t, s, 0)
	all, err := base.Sessions().List(t.Context(), handstamp.SessionFilter{Limit: 10, Now: at(1)})
	must(t, err)
	if len(all) != 0 {
		t.Errorf("the base has %d sessions, want none", len(all))
	}
	e := event(revoke.KindUser, string(ada), revoke.End)
	e.Except = r.ID
	if a := appendTo(t, s, e); a.Events[0].Except != r.ID {
		t.Errorf("the event = %+v, want the exception in it: verifiers would end the session otherwise", a.Events[0])
	}
	if _, err := base.Sessions().Find(t.Context(), handstamp.Lookup{Key: r.Key}); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("Find(the session's key) in the base = %v, want ErrNotFound", err)
	}
}

func TestOverDurability(t *testing.T) {
	got, err := memory.Over(memory.New()).Settle(t.Context(), handstamp.Settings{Lease: time.Second})
	must(t, err)
	if got.Durability.Class != handstamp.Volatile || !got.Durability.Named || got.Lease != time.Second {
		t.Errorf("Settle = %+v, want a lease of 1s, volatile by name", got)
	}
}

// TestOverBatches: one question for many sessions, also while it has the turn that logins and refreshes wait for.
func TestOverBatches(t *testing.T) {
	storetest.Batches(t, memory.New(), func(b storetest.Base) storetest.SessionStore { return memory.Over(b) })
}
