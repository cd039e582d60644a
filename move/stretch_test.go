package move

import (
	"slices"
	"testing"

	"github.com/handstamp/handstamp/store/transfer"
)

// TestTouch: a change makes the stretch stale that its row is in, and no other, also where there is no such row.
func TestTouch(t *testing.T) {
	for key, want := range map[string]int{"a": 0, "b": 0, "ba": 1, "d": 1, "da": 2, "z": 2} {
		l := &lane{t: transfer.Sessions(), stretches: []*stretch{
			{upto: transfer.Row{"b"}}, {after: transfer.Row{"b"}, upto: transfer.Row{"d"}}, {after: transfer.Row{"d"}},
		}}
		l.touch(transfer.Row{key})
		var stale []int
		for i, s := range l.stretches {
			if s.stale {
				stale = append(stale, i)
			}
		}
		if !slices.Equal(stale, []int{want}) {
			t.Errorf("a change of %q makes %v stale, want %d", key, stale, want)
		}
	}
}

// TestPlan: what is beside the databases goes where it is to be, and everything goes somewhere once.
func TestPlan(t *testing.T) {
	type side struct{ transfer.Database }
	beside, elsewhere := side{}, side{}
	for _, tt := range []struct {
		name     string
		opt      Options
		sessions []string // names of the lanes of sessions
		tracked  int      // lanes of which changes are noted
	}{
		{"in the databases", Options{}, []string{"sessions"}, len(transfer.Tables())},
		{"out of Redis", Options{FromSessions: beside}, []string{"sessions"}, len(transfer.Tables()) - 2},
		{"into Redis", Options{ToSessions: beside}, []string{"", "sessions"}, len(transfer.Tables())},
		{"from Redis to Redis", Options{FromSessions: beside, ToSessions: elsewhere}, []string{"sessions (database)", "sessions"}, len(transfer.Tables())},
	} {
		var sessions []string
		tracked := 0
		for _, l := range tt.opt.plan() {
			if l.t.Name == transfer.TableSessions {
				sessions = append(sessions, l.name)
			}
			if !l.beside {
				tracked++
			}
		}
		if !slices.Equal(sessions, tt.sessions) || tracked != tt.tracked {
			t.Errorf("%s: lanes of sessions %q and %d that are tracked, want %q and %d", tt.name, sessions, tracked, tt.sessions, tt.tracked)
		}
	}
}
