package storetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

func modelRules() []rule[SessionStore] {
	var all []rule[SessionStore]
	for seed := range uint64(8) {
		all = append(all, rule[SessionStore]{
			fmt.Sprint("seed_", seed), "whatever is done in whatever order, the store answers like a list of records and a few sentences",
			func(t *testing.T, s SessionStore) { runModel(t, s, seed) },
		})
	}
	return all
}

// model is the contract in the plainest way: a list of records, and every rule by going through all of it.
type model struct {
	t        *testing.T
	s        SessionStore
	rnd      *rand.Rand
	minute   int
	sessions map[handstamp.SessionID]handstamp.Session
	subjects map[handstamp.UserID]handstamp.Subject
	all      uint64
	allAt    time.Time
	head     uint64
	values   modelValues
	steps    []string
}

func runModel(t *testing.T, s SessionStore, seed uint64) {
	m := &model{
		t: t, s: s, rnd: rand.New(rand.NewPCG(seed, 7)),
		sessions: map[handstamp.SessionID]handstamp.Session{}, subjects: map[handstamp.UserID]handstamp.Subject{},
	}
	steps := []func() string{
		m.create, m.create, m.replace, m.rotate, m.rotate, m.touch, m.append, m.append, m.subject, m.sweep,
		m.value, m.value, m.value, m.value, m.carry, m.carry,
	}
	for range 220 {
		m.minute += m.rnd.IntN(9)
		m.steps = append(m.steps, fmt.Sprintf("%d: %s", m.minute, steps[m.rnd.IntN(len(steps))]()))
		m.compare()
		if t.Failed() {
			t.Fatalf("after these steps of seed %d:\n%s", seed, strings.Join(m.steps, "\n"))
		}
	}
}

func (m *model) users() []handstamp.UserID { return []handstamp.UserID{ada, bob, "usr_eve"} }

func (m *model) user() handstamp.UserID { return m.users()[m.rnd.IntN(3)] }

// any is one of the sessions that there are or were; false if there never was one.
func (m *model) any() (handstamp.Session, bool) {
	ids := slices.Sorted(maps.Keys(m.sessions))
	if len(ids) == 0 {
		return handstamp.Session{}, false
	}
	return m.sessions[ids[m.rnd.IntN(len(ids))]], true
}

func (m *model) row(u handstamp.UserID) handstamp.Subject {
	sub := m.subjects[u]
	sub.User, sub.AllEnded, sub.AllEndedAt, sub.Head = u, m.all, m.allAt, m.head
	return sub
}

func (m *model) alive(s handstamp.Session, now time.Time) bool {
	sub := m.row(s.User)
	switch {
	case s.EndedBy > 0, sub.Disabled, sub.Deleted, s.Stamp < sub.Ended, s.Stamp < m.all, !s.ExpiresAt.After(now):
		return false
	case s.IdleTimeout > 0 && !s.SeenAt.Add(s.IdleTimeout).After(now):
		return false
	}
	return true
}

// do runs a unit and says how it ended.
func (m *model) do(fn func(tx handstamp.Tx) error) error {
	err := m.s.Work().Do(m.t.Context(), fn)
	if err != nil && !errors.Is(err, handstamp.ErrConflict) {
		m.t.Fatalf("Do = %v", err)
	}
	return err
}

func (m *model) create() string {
	s := session(m.user(), m.minute)
	s.IdleTimeout = []time.Duration{0, 20 * time.Minute, idle}[m.rnd.IntN(3)]
	s.ExpiresAt = at(m.minute + 10 + m.rnd.IntN(300))
	if err := m.do(func(tx handstamp.Tx) error { return putIn(m.t.Context(), tx, s) }); err != nil {
		m.t.Errorf("a new session = %v", err)
	}
	sub := m.row(s.User)
	s.Stamp, s.Version = max(sub.Ended, sub.AllEnded), 1
	m.sessions[s.ID], m.subjects[s.User] = s, sub
	return fmt.Sprintf("create %s of %s", s.ID, s.User)
}

func (m *model) replace() string {
	s, ok := m.any()
	if !ok {
		return "nothing to replace"
	}
	kept, stale := s, m.rnd.IntN(3) == 0
	if stale {
		s.Version--
	}
	s.Key, s.UserAgent, s.Refresh = hash(), fmt.Sprint("agent ", m.minute), handstamp.Family{Generation: 1, Nonce: hash()}
	s.SeenAt = at(m.minute - 5)
	err := m.do(func(tx handstamp.Tx) error { return tx.PutSession(m.t.Context(), s) })
	if want := !stale && kept.EndedBy == 0; (err == nil) != want {
		m.t.Errorf("PutSession(stale: %v) of %+v = %v", stale, kept, err)
	}
	if err == nil {
		if kept.SeenAt.After(s.SeenAt) {
			s.SeenAt = kept.SeenAt
		}
		s.Version++
		m.sessions[s.ID] = s
	}
	return fmt.Sprintf("replace %s: %v", s.ID, err)
}

func (m *model) rotate() string {
	s, ok := m.any()
	if !ok {
		return "nothing to refresh"
	}
	from, r := s.Refresh.Generation-uint32(m.rnd.IntN(2)), rotation(s, m.minute)
	if m.rnd.IntN(3) == 0 {
		r.SeenAt = time.Time{}
	}
	fits := true
	if m.rnd.IntN(2) == 0 {
		by := at(m.minute - m.rnd.IntN(20))
		r.Unread, fits = &handstamp.Unread{RotatedBy: by, Weight: 1 << 20}, !s.Refresh.RotatedAt.After(by)
	}
	f, err := m.s.Sessions().Rotate(m.t.Context(), s.ID, from, r)
	if want := from == s.Refresh.Generation && fits && m.alive(s, r.At); (err == nil) != want || err != nil && !errors.Is(err, handstamp.ErrConflict) {
		m.t.Errorf("Rotate(from %d) of %+v = %v", from, s, err)
	}
	if err == nil {
		s.Refresh, s.Claims, s.Version = r.Family, r.Claims, f.Session.Version
		if r.SeenAt.After(s.SeenAt) {
			s.SeenAt = r.SeenAt
		}
		m.sessions[s.ID] = s
		same(m.t, "the refreshed session", f.Session, s)
	}
	return fmt.Sprintf("refresh %s from %d: %v", s.ID, from, err)
}

// idleless0 is the session as one without an idle end.
func idleless0(s handstamp.Session) handstamp.Session {
	s.IdleTimeout = 0
	return s
}

func (m *model) touch() string {
	seen := map[handstamp.SessionID]time.Time{id.NewSession(at(m.minute)): at(m.minute)}
	for range m.rnd.IntN(4) {
		if s, ok := m.any(); ok {
			seen[s.ID] = at(m.minute - m.rnd.IntN(10))
		}
	}
	must(m.t, m.s.Sessions().Touch(m.t.Context(), seen))
	for sid, now := range seen {
		idle := idleless0(m.sessions[sid]) // the idle end does not count
		if s, ok := m.sessions[sid]; ok && m.alive(idle, now) && now.After(s.SeenAt) {
			s.SeenAt = now
			m.sessions[sid] = s
		}
	}
	return fmt.Sprint("touch ", seen)
}

func (m *model) append() string {
	var events []revoke.Event
	for range 1 + m.rnd.IntN(3) {
		s, ok := m.any()
		u := m.user()
		switch n := m.rnd.IntN(8); {
		case n == 0:
			events = append(events, endAll(m.minute))
		case n <= 2:
			events = append(events, endUser(u, m.minute))
		case n <= 4 && ok:
			events = append(events, sparing(endUser(u, m.minute), s))
		case n == 5 && ok:
			events = append(events, endSession(s, m.minute))
		case n == 6 && ok:
			events = append(events, event(revoke.KindSession, string(s.ID), revoke.Change, m.minute))
		default:
			events = append(events, changeUser(u, m.minute))
		}
	}
	roll := m.rnd.IntN(4) == 0
	var got handstamp.Appended
	err := m.s.Work().Do(m.t.Context(), func(tx handstamp.Tx) error {
		var err error
		got, err = addIn(m.t.Context(), tx, events...)
		if roll {
			return cmpErr(err)
		}
		return err
	})
	if roll {
		fails(m.t, "the unit", err, errRollback)
		return "rolled back"
	}
	must(m.t, err)
	want, n := slices.Clone(events), 0
	for i := range want {
		n += m.effect(&want[i])
		want[i].Tag = got.Events[i].Tag
	}
	same(m.t, "the events", got.Events, want)
	if got.Sessions != n || got.More {
		m.t.Errorf("Appended.Sessions = %d, want %d", got.Sessions, n)
	}
	return fmt.Sprintf("append %+v", want)
}

// effect does to the model what an event does, and says how many live sessions it ended.
func (m *model) effect(e *revoke.Event) int {
	now := e.At
	spared := m.sessions[e.Except]
	if e.Kind != revoke.KindUser || spared.User != handstamp.UserID(e.ID) || !m.alive(spared, now) {
		e.Except = ""
	}
	before := map[handstamp.SessionID]bool{}
	for sid, s := range m.sessions {
		before[sid] = m.alive(s, now)
	}
	m.head++
	e.Seq = m.head
	s, isSession := m.sessions[id.Session(e.ID)]
	sub := m.row(handstamp.UserID(e.ID))
	switch {
	case e.Kind == revoke.KindAll:
		m.all, m.allAt = e.Seq, e.At
	case e.Kind == revoke.KindSession && isSession && e.Effect == revoke.Change:
		s.Changed = e.Seq
		m.sessions[s.ID] = s
	case e.Kind == revoke.KindSession && isSession && s.EndedBy == 0:
		s.EndedBy, s.EndedAt, s.EndReason = e.Seq, e.At, e.Reason
		m.sessions[s.ID] = s
	case e.Kind == revoke.KindUser && e.Effect == revoke.Change:
		sub.Changed = e.Seq
		m.subjects[sub.User] = sub
	case e.Kind == revoke.KindUser:
		sub.Ended, sub.EndedAt, sub.EndReason = e.Seq, e.At, e.Reason
		m.subjects[sub.User] = sub
		if e.Except != "" {
			spared.Stamp = e.Seq
			m.sessions[spared.ID] = spared
		}
	}
	n := 0
	for sid, s := range m.sessions {
		if before[sid] && !m.alive(s, now) {
			n++
		}
	}
	return n
}

func (m *model) subject() string {
	sub := m.row(m.user())
	sub.Disabled, sub.Grants.Roles = m.rnd.IntN(4) == 0, []string{fmt.Sprint("role", m.minute)}
	must(m.t, m.do(func(tx handstamp.Tx) error { return tx.PutSubject(m.t.Context(), sub) }))
	m.subjects[sub.User] = sub
	return fmt.Sprintf("subject %+v", sub)
}

func (m *model) sweep() string {
	limit, want, now := 1+m.rnd.IntN(4), 0, at(m.minute)
	for _, s := range m.sessions {
		if s.ExpiresAt.Before(now) {
			want++
		}
	}
	got, err := m.s.Sessions().Sweep(m.t.Context(), now, limit)
	must(m.t, err)
	if got < min(want, limit) || got > limit {
		m.t.Errorf("Sweep(limit %d) = %d, and %d were beyond their end", limit, got, want)
	}
	for sid, s := range m.sessions { // which of them went is the store's choice
		_, err := m.s.Sessions().Find(m.t.Context(), handstamp.Lookup{Session: sid})
		if errors.Is(err, handstamp.ErrNotFound) && s.ExpiresAt.Before(now) {
			delete(m.sessions, sid)
			got--
		}
	}
	if got -= m.sweptValues(); got < 0 { // it may have counted what only the store knows of
		m.t.Errorf("%d more are gone than Sweep said", -got)
	}
	return fmt.Sprint("sweep ", limit)
}

// compare reads everything there is, but of the values. The version is taken over: how often it moves is the store's business.
func (m *model) compare() {
	for sid, want := range m.sessions {
		f := find(m.t, m.s, sid)
		want.Version = f.Session.Version
		m.sessions[sid] = want
		same(m.t, "a session", f.Session, want)
		same(m.t, "its subject", f.Subject, m.row(want.User))
	}
	now := at(m.minute)
	var want []handstamp.Session
	for _, s := range m.sessions {
		if m.alive(s, now) {
			want = append(want, s)
		}
	}
	slices.SortFunc(want, func(a, b handstamp.Session) int { return strings.Compare(string(b.ID), string(a.ID)) })
	same(m.t, "the list", list(m.t, m.s, handstamp.SessionFilter{Limit: 1000, Now: now}), want)
	m.compareValues()
	u, keep := m.user(), m.rnd.IntN(3)
	mine := ids(slices.DeleteFunc(want, func(s handstamp.Session) bool { return s.User != u }))
	slices.Reverse(mine)
	must(m.t, m.do(func(tx handstamp.Tx) error {
		got, err := tx.Oldest(m.t.Context(), u, now, keep)
		same(m.t, "the oldest", got, mine[:max(0, len(mine)-keep)])
		return err
	}))
}
