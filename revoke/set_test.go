package revoke

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/handstamp/handstamp/id"
)

func TestHitTruthTable(t *testing.T) {
	const at = 10 // the event's number
	full := Query{Session: "ses_1", User: "ann", SigningKey: "kid1", ServiceKey: "key_1"}
	tests := []struct {
		name string
		e    Event
		q    Query // AsOf is set by the test
		hits bool  // a copy made before the event
		ever bool  // a copy made at the event or after it
	}{
		{"session", Event{Kind: KindSession, ID: "ses_1"}, full, true, false},
		{"another session", Event{Kind: KindSession, ID: "ses_2"}, full, false, false},
		{"session against a service key", Event{Kind: KindSession, ID: "ses_1"}, Query{ServiceKey: "key_1"}, false, false},
		{"user", Event{Kind: KindUser, ID: "ann"}, full, true, false},
		{"another user", Event{Kind: KindUser, ID: "bob"}, full, false, false},
		{"user, sparing another session", Event{Kind: KindUser, ID: "ann", Except: "ses_2"}, full, true, false},
		{"user of a service key, sparing a session", Event{Kind: KindUser, ID: "ann", Except: "ses_1"}, Query{User: "ann", ServiceKey: "key_1"}, true, false},
		{"service key", Event{Kind: KindServiceKey, ID: "key_1"}, full, true, false},
		{"another service key", Event{Kind: KindServiceKey, ID: "key_2"}, full, false, false},
		{"signing key", Event{Kind: KindKey, ID: "kid1"}, full, true, true},
		{"another signing key", Event{Kind: KindKey, ID: "kid2"}, full, false, false},
		{"everybody", Event{Kind: KindAll}, full, true, false},
		{"everybody against nothing", Event{Kind: KindAll}, Query{}, true, false},
		{"role", Event{Kind: KindRole, ID: "admin"}, full, false, false},
		{"empty session id", Event{Kind: KindSession}, Query{User: "ann"}, false, false},
		{"empty user id", Event{Kind: KindUser}, Query{Session: "ses_1"}, false, false},
		{"empty kid", Event{Kind: KindKey}, Query{Session: "ses_1"}, false, false},
	}
	for _, tt := range tests {
		for _, effect := range []Effect{End, Change} {
			for _, asOf := range []uint64{0, at - 1, at, at + 1, 1 << 62} {
				e, q := tt.e, tt.q
				e.Seq, e.Effect, q.AsOf = at, effect, asOf
				var want Hit
				if tt.hits && asOf < at || tt.ever {
					want = Hit{Ended: at}
					if effect == Change {
						want = Hit{Changed: at}
					}
				}
				s := NewSet()
				s.Add(e)
				if got := s.Hit(q); got != want {
					t.Errorf("%s, %s, as of %d: Hit = %+v, want %+v", tt.name, effect, asOf, got, want)
				}
			}
		}
	}
}

func TestHitSparesTheExceptedSessionOnly(t *testing.T) {
	end := func(seq uint64, except id.Session) Event {
		return Event{Seq: seq, Kind: KindUser, ID: "ann", Effect: End, Except: except}
	}
	tests := []struct {
		name   string
		events []Event
		asOf   uint64
		want   map[id.Session]uint64
	}{
		{"one", []Event{end(5, "ses_a")}, 4, map[id.Session]uint64{"ses_a": 0, "ses_b": 5, "": 5}},
		{"an earlier end for everybody", []Event{end(3, ""), end(5, "ses_a")}, 2, map[id.Session]uint64{"ses_a": 3, "ses_b": 5}},
		{"an earlier end that the copy has seen", []Event{end(3, ""), end(5, "ses_a")}, 3, map[id.Session]uint64{"ses_a": 0, "ses_b": 5}},
		{"each spares itself", []Event{end(3, "ses_a"), end(5, "ses_b")}, 2, map[id.Session]uint64{"ses_a": 5, "ses_b": 3, "ses_c": 5}},
		{"the same twice", []Event{end(3, "ses_a"), end(5, "ses_a")}, 2, map[id.Session]uint64{"ses_a": 0, "ses_b": 5}},
		{"another in between", []Event{end(3, "ses_a"), end(4, "ses_b"), end(5, "ses_a")}, 2, map[id.Session]uint64{"ses_a": 4, "ses_b": 5}},
		{"a later end for everybody", []Event{end(3, "ses_a"), end(5, "")}, 2, map[id.Session]uint64{"ses_a": 5, "ses_b": 5}},
	}
	for _, tt := range tests {
		for range len(tt.events) { // the order of arrival decides nothing
			tt.events = append(tt.events[1:], tt.events[0])
			s := NewSet()
			for _, e := range tt.events {
				s.Add(e)
			}
			for session, want := range tt.want {
				if got := s.Hit(Query{User: "ann", Session: session, AsOf: tt.asOf}); got.Ended != want || got.Changed != 0 {
					t.Errorf("%s: session %q as of %d: %+v, want Ended %d", tt.name, session, tt.asOf, got, want)
				}
			}
		}
	}
	// A change spares nobody, and a session's own end is not spared either.
	s := NewSet()
	s.Add(Event{Seq: 6, Kind: KindUser, ID: "ann", Effect: Change, Except: "ses_a"}, Event{Seq: 7, Kind: KindSession, ID: "ses_a", Effect: End, Except: "ses_a"})
	if got := s.Hit(Query{User: "ann", Session: "ses_a"}); got != (Hit{Ended: 7, Changed: 6}) {
		t.Errorf("Hit = %+v, want both events", got)
	}
}

// TestUnknownKindsChangeEverybody: a verifier that does not know whom an event hits must not go on as if it hit nobody.
func TestUnknownKindsChangeEverybody(t *testing.T) {
	s := NewSet()
	s.Add(Event{Seq: 5, Kind: "device", ID: "x", Effect: End}, Event{Seq: 6, Kind: KindSession, ID: "ses_1", Effect: "freeze"})
	for q, want := range map[Query]Hit{
		{Session: "ses_1", AsOf: 4}: {Changed: 6},
		{Session: "ses_2", AsOf: 4}: {Changed: 5},
		{Session: "ses_2", AsOf: 5}: {},
	} {
		if got := s.Hit(q); got != want {
			t.Errorf("Hit(%+v) = %+v, want %+v", q, got, want)
		}
	}
}

func TestRolesChanged(t *testing.T) {
	s := NewSet()
	s.Add(Event{Seq: 3, Kind: KindRole, ID: "admin", Effect: Change}, Event{Seq: 5, Kind: KindRole, ID: "editor", Effect: End})
	tests := []struct {
		roles []string
		since uint64
		want  bool
	}{
		{[]string{"admin"}, 2, true}, {[]string{"admin"}, 3, false}, {[]string{"member", "editor"}, 4, true},
		{[]string{"editor"}, 5, false}, {[]string{"member"}, 0, false}, {nil, 0, false},
	}
	for _, tt := range tests {
		if got := s.RolesChanged(tt.roles, tt.since); got != tt.want {
			t.Errorf("RolesChanged(%v, %d) = %v, want %v", tt.roles, tt.since, got, tt.want)
		}
	}
}

// naive is the set as a plain list.
type naive []Event

func (n naive) hit(q Query) Hit {
	var h Hit
	for _, e := range n {
		var hits bool
		switch e.Kind {
		case KindSession:
			hits = e.Seq > q.AsOf && q.Session != "" && e.ID == string(q.Session)
		case KindUser:
			spared := e.Effect == End && e.Except != "" && e.Except == q.Session
			hits = e.Seq > q.AsOf && q.User != "" && e.ID == string(q.User) && !spared
		case KindServiceKey:
			hits = e.Seq > q.AsOf && q.ServiceKey != "" && e.ID == string(q.ServiceKey)
		case KindKey:
			hits = q.SigningKey != "" && e.ID == q.SigningKey
		case KindAll:
			hits = e.Seq > q.AsOf
		}
		if hits && e.Effect == End {
			h.Ended = max(h.Ended, e.Seq)
		} else if hits {
			h.Changed = max(h.Changed, e.Seq)
		}
	}
	return h
}

func (n naive) rolesChanged(names []string, since uint64) bool {
	return slices.ContainsFunc(n, func(e Event) bool {
		return e.Kind == KindRole && e.Seq > since && slices.Contains(names, e.ID)
	})
}

// TestSetAgreesWithList adds events in and out of turn, twice, and forgets: for every copy not older than what was
// forgotten, the set must say what the plain list of all events says.
func TestSetAgreesWithList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
		s, all := NewSet(), naive{}
		var head, low uint64
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				low = max(low, min(head, rapid.Uint64Range(0, head).Draw(t, "low")))
				s.Forget(low)
			case 1:
				if len(all) > 0 {
					s.Add(all[rapid.IntRange(0, len(all)-1).Draw(t, "again")])
				}
			default:
				var batch []Event
				for range rapid.IntRange(1, 12).Draw(t, "batch") {
					head++
					batch = append(batch, Event{
						Seq:    head,
						Kind:   Kind(draw("kind", "session", "user", "user", "user", "role", "key", "service_key", "all")),
						ID:     draw("id", "a", "b", "c"),
						Effect: Effect(draw("effect", "end", "end", "change")),
						Except: id.Session(draw("except", "", "a", "b")),
					})
				}
				all = append(all, batch...)
				shuffled := rapid.Permutation(batch).Draw(t, "order")
				if rapid.Bool().Draw(t, "at once") {
					s.Add(shuffled...)
				} else {
					for _, e := range shuffled {
						s.Add(e)
					}
				}
			}
			q := Query{
				Session: id.Session(draw("session", "", "a", "b", "c")), User: id.User(draw("user", "", "a", "b", "c")),
				SigningKey: draw("kid", "", "a", "b"), ServiceKey: id.ServiceKey(draw("service", "", "a")),
				AsOf: rapid.Uint64Range(low, head+1).Draw(t, "as of"),
			}
			if got, want := s.Hit(q), all.hit(q); got != want {
				t.Fatalf("Hit(%+v) = %+v, want %+v; low %d, events %+v", q, got, want, low, all)
			}
			names := []string{draw("role", "a", "b", "c"), "d"}
			if got, want := s.RolesChanged(names, q.AsOf), all.rolesChanged(names, q.AsOf); got != want {
				t.Fatalf("RolesChanged(%v, %d) = %v, want %v", names, q.AsOf, got, want)
			}
		}
	})
}

func TestForgetBoundsMemory(t *testing.T) {
	s := NewSet()
	const window, total = 1_000, 30_000
	for n := uint64(1); n <= total; n++ {
		s.Add(Event{Seq: n, Kind: KindSession, ID: fmt.Sprint("ses_", n), Effect: End})
		if n > window {
			s.Forget(n - window)
		}
		cur := s.cur.Load()
		size := 0
		for _, l := range cur.layers {
			size += l.size()
		}
		if size > 2*window+window/2 || len(cur.layers) > 12 {
			t.Fatalf("after event %d: %d entries in %d layers for a window of %d", n, size, len(cur.layers), window)
		}
	}
	if got := s.Hit(Query{Session: id.Session(fmt.Sprint("ses_", total-window+1)), AsOf: total - window}); got.Ended == 0 {
		t.Error("the oldest event of the window was forgotten")
	}
	s.Forget(total + 5)
	if got := s.Find(KindSession, fmt.Sprint("ses_", total)); got != nil {
		t.Errorf("Find after everything was forgotten = %v", got)
	}
}

// TestForgetKeepsSigningKeys: who stole a key writes any as_of, so its end must outlive the log's memory.
func TestForgetKeepsSigningKeys(t *testing.T) {
	s := NewSet()
	s.Add(Event{Seq: 3, Kind: KindKey, ID: "kid1", Effect: End}, Event{Seq: 4, Kind: KindSession, ID: "ses_1", Effect: End})
	s.Forget(100)
	if got := s.Hit(Query{SigningKey: "kid1", AsOf: 1 << 60}); got.Ended != 3 {
		t.Errorf("Hit of an ended key after Forget = %+v, want Ended 3", got)
	}
	if got := len(s.Find(KindKey, "kid1")); got != 1 {
		t.Errorf("Find finds %d events of the key, want 1", got)
	}
	s.Reset()
	if got := s.Hit(Query{SigningKey: "kid1", Session: "ses_1"}); got != (Hit{}) {
		t.Errorf("Hit after Reset = %+v, want none", got)
	}
}

func TestFind(t *testing.T) {
	s := NewSet()
	s.Add(
		Event{Seq: 2, Kind: KindUser, ID: "ann", Effect: End, Reason: "first"},
		Event{Seq: 3, Kind: KindUser, ID: "ann", Effect: Change},
		Event{Seq: 4, Kind: KindUser, ID: "ann", Effect: End, Except: "ses_1", Reason: "password"},
		Event{Seq: 5, Kind: KindAll, Effect: Change},
	)
	if got := s.Find(KindUser, "ann"); len(got) != 3 || got[0].Reason != "first" || got[2].Except != "ses_1" {
		t.Errorf("Find(user) = %+v, want events 2, 3, 4", got)
	}
	if got := s.Find(KindAll, ""); len(got) != 1 || got[0].Seq != 5 {
		t.Errorf("Find(all) = %+v, want event 5", got)
	}
	if got := s.Find(KindSession, "ann"); got != nil {
		t.Errorf("Find(session) = %+v, want nothing", got)
	}
	if got := s.Find("device", "ann"); got != nil {
		t.Errorf("Find of an unknown kind = %+v, want nothing", got)
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	s, q := bigSet(10_000)
	if n := testing.AllocsPerRun(100, func() { s.Hit(q) }); n != 0 {
		t.Errorf("Hit allocates %v times, want 0", n)
	}
}

func bigSet(n uint64) (*Set, Query) {
	s := NewSet()
	for i := uint64(1); i <= n; i += 10 {
		var batch []Event
		for j := range uint64(10) {
			batch = append(batch, Event{Seq: i + j, Kind: KindSession, ID: fmt.Sprint("ses_", i+j), Effect: End})
		}
		s.Add(batch...)
	}
	s.Add(Event{Seq: n + 1, Kind: KindKey, ID: "kid0", Effect: End})
	return s, Query{Session: "ses_01h2xcejqtf2nbrexx3vqjhp41", User: "usr_01h2xcejqtf2nbrexx3vqjhp41", SigningKey: "kid1"}
}

func BenchmarkHit(b *testing.B) {
	for _, n := range []uint64{0, 1_000, 100_000} {
		s, q := bigSet(n)
		b.Run(fmt.Sprintf("events=%d/behind", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Hit(q)
			}
		})
		q.AsOf = n
		b.Run(fmt.Sprintf("events=%d/current", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Hit(q)
			}
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	s := NewSet()
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		s.Add(Event{Seq: n, Kind: KindSession, ID: fmt.Sprint("ses_", n), Effect: End})
	}
}
