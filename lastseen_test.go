package handstamp_test

import (
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/bubbletest"
)

// TestS13_LateLastSeenIsWritten: activity that kept a session alive in the memory of one process, while the store could
// not write it, is written once the store can, although the record's idle time passed meanwhile; every process then
// knows. Neither the absolute end moves by that, nor is a session written that ended.
func TestS13_LateLastSeenIsWritten(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			backend := b.open(t)
			bubbletest.Test(t, func(t *testing.T) {
				idle := func(o *handstamp.Options) { o.Session.IdleTimeout, o.Session.AbsoluteTimeout = time.Minute, time.Hour }
				e := setup{store: backend, now: time.Now, change: idle}.open(t)
				used, ended := e.start(t, "ada", handstamp.ModeSession), e.start(t, "bob", handstamp.ModeSession)
				e.store.set(func(op string, call func() error) error {
					if op == "Touch" {
						return errDown
					}
					return call()
				})
				for range 20 {
					time.Sleep(15 * time.Second)
					for _, g := range []handstamp.Grant{used, ended} {
						_, err := e.verify(g)
						wantVerdict(t, err, "yes")
					}
				}
				must[handstamp.Ended](t)(e.EndSession(t.Context(), ended.Session.ID, handstamp.EndOptions{}))
				last := time.Now()
				e.store.set(nil)
				time.Sleep(2 * time.Second) // the next write
				row := must[handstamp.Session](t)(e.Session(t.Context(), used.Session.ID))
				if late := last.Sub(row.SeenAt); late < 0 || late > time.Minute/20 {
					t.Errorf("last seen is %v, %v too early", row.SeenAt, late)
				}
				if !row.ExpiresAt.Equal(used.Session.ExpiresAt) {
					t.Errorf("the absolute end moved to %v", row.ExpiresAt)
				}
				other := setup{store: backend, now: time.Now, change: idle}.open(t) // knows what the store knows
				_, err := other.verify(used)
				wantVerdict(t, err, "yes")
				_, err = other.verify(ended)
				wantReason(t, err, handstamp.ReasonRevoked)
				// Without activity the idle end comes, in both; the absolute end in spite of it.
				time.Sleep(time.Minute)
				for _, v := range []*engine{e, other} {
					_, err = v.verify(used)
					wantReason(t, err, handstamp.ReasonExpired)
				}
			})
		})
	}
}

// TestS12_NothingOutlivesTheAbsoluteEnd, however busy it is, whether or not its activity is written.
func TestS12_NothingOutlivesTheAbsoluteEnd(t *testing.T) {
	for _, down := range []bool{false, true} {
		bubbletest.Test(t, func(t *testing.T) {
			e := inBubble(t, func(o *handstamp.Options) {
				o.Session.IdleTimeout, o.Session.AbsoluteTimeout = time.Minute, 10*time.Minute
			})
			g := e.start(t, "ada", handstamp.ModeSession)
			e.store.set(func(op string, call func() error) error {
				if op == "Touch" && down {
					return errDown
				}
				return call()
			})
			end := g.Session.ExpiresAt
			for time.Until(end) > 15*time.Second {
				time.Sleep(15 * time.Second)
				_, err := e.verify(g)
				wantVerdict(t, err, "yes")
			}
			time.Sleep(time.Until(end) - 1)
			_, err := e.verify(g)
			wantVerdict(t, err, "yes")
			time.Sleep(time.Nanosecond) // the end itself
			_, err = e.verify(g)
			wantReason(t, err, handstamp.ReasonExpired)
		})
	}
}

// TestStanding: each thing that ends a session ends its standing, at the very number and instant; the idle end ends only
// its being alive, and the zero values are not alive.
func TestStanding(t *testing.T) {
	now := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, tc := range map[string]struct {
		change         func(s *handstamp.Session, sub *handstamp.Subject)
		standing, live bool
	}{
		"good":                       {func(*handstamp.Session, *handstamp.Subject) {}, true, true},
		"ended":                      {func(s *handstamp.Session, _ *handstamp.Subject) { s.EndedBy = 1 }, false, false},
		"disabled":                   {func(_ *handstamp.Session, u *handstamp.Subject) { u.Disabled = true }, false, false},
		"deleted":                    {func(_ *handstamp.Session, u *handstamp.Subject) { u.Deleted = true }, false, false},
		"its user ended":             {func(_ *handstamp.Session, u *handstamp.Subject) { u.Ended = 8 }, false, false},
		"its user ended before":      {func(_ *handstamp.Session, u *handstamp.Subject) { u.Ended = 7 }, true, true},
		"everybody ended":            {func(_ *handstamp.Session, u *handstamp.Subject) { u.AllEnded = 8 }, false, false},
		"everybody ended before":     {func(_ *handstamp.Session, u *handstamp.Subject) { u.AllEnded = 7 }, true, true},
		"both, the user's is larger": {func(_ *handstamp.Session, u *handstamp.Subject) { u.Ended, u.AllEnded = 8, 7 }, false, false},
		"both, the other is larger":  {func(_ *handstamp.Session, u *handstamp.Subject) { u.Ended, u.AllEnded = 7, 8 }, false, false},
		"only changed":               {func(_ *handstamp.Session, u *handstamp.Subject) { u.Changed, u.Head = 9, 9 }, true, true},
		"1 ns before the end":        {func(s *handstamp.Session, _ *handstamp.Subject) { s.ExpiresAt = now.Add(1) }, true, true},
		"the end":                    {func(s *handstamp.Session, _ *handstamp.Subject) { s.ExpiresAt = now }, false, false},
		"no end":                     {func(s *handstamp.Session, _ *handstamp.Subject) { s.ExpiresAt = time.Time{} }, false, false},
		"1 ns before the idle end":   {func(s *handstamp.Session, _ *handstamp.Subject) { s.SeenAt = now.Add(1 - time.Minute) }, true, true},
		"the idle end":               {func(s *handstamp.Session, _ *handstamp.Subject) { s.SeenAt = now.Add(-time.Minute) }, true, false},
		"never idle":                 {func(s *handstamp.Session, _ *handstamp.Subject) { s.SeenAt, s.IdleTimeout = time.Time{}, 0 }, true, true},
		"zero":                       {func(s *handstamp.Session, u *handstamp.Subject) { *s, *u = handstamp.Session{}, handstamp.Subject{} }, false, false},
	} {
		s := handstamp.Session{Stamp: 7, SeenAt: now, IdleTimeout: time.Minute, ExpiresAt: now.Add(time.Hour)}
		var sub handstamp.Subject
		tc.change(&s, &sub)
		if got := handstamp.Standing(s, sub, now); got != tc.standing {
			t.Errorf("%s: Standing = %v", name, got)
		}
		if got := handstamp.Live(s, sub, now); got != tc.live {
			t.Errorf("%s: Live = %v", name, got)
		}
	}
}
