package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// errOver is what a unit's calls answer once it has ended: its layers hang over data that others have changed since.
var errOver = errors.New("memory: the unit of work has ended")

// maxOldest bounds the answer of Oldest.
const maxOldest = 1000

// work is one of the store's views for units: they differ in the type their functions see, and in nothing else.
type work[T any] struct {
	s  *Store
	as func(*tx) T
}

// Do runs fn alone and makes what it wrote visible at once when it returned nil.
func (w work[T]) Do(ctx context.Context, fn func(tx T) error) error {
	return w.s.do(ctx, func(t *tx) error { return fn(w.as(t)) })
}

// tx is a unit of work: layers over the committed data.
type tx struct {
	d    *data
	done bool
	meta meta

	sessions  sessionLayer
	values    valueLayer
	subjects  layer[handstamp.UserID, *handstamp.Subject]
	endedKeys layer[string, uint64]
	events    []revoke.Event
	restarted bool // the log before events is gone

	roles       layer[string, account.Role]
	users       layer[handstamp.UserID, account.User]
	emails      layer[account.Address, handstamp.UserID]
	credentials layer[handstamp.UserID, []account.Credential]
	serviceKeys layer[id.ServiceKey, *handstamp.ServiceKey]
	keyHashes   layer[token.Hash, id.ServiceKey]
	ring        layer[string, *keyring.Record]

	audits    []audit.Event
	forgotten []handstamp.UserID // whose addresses go out of the audit log
	counters  layer[login.BudgetKey, login.Counter]
	oneTimes  layer[token.Hash, login.OneTime]
}

// do runs one unit. A panic in fn leaves by the same door as an error: the layers are dropped and the turn is given on.
func (s *Store) do(ctx context.Context, fn func(*tx) error) error {
	if err := s.turn.take(ctx); err != nil {
		return fmt.Errorf("begin a unit of work: %w", err)
	}
	defer s.turn.give()
	t := s.begin()
	defer func() { t.done = true }()
	if err := fn(t); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("commit a unit of work: %w", err)
	}
	s.commit(t)
	return nil
}

func (s *Store) begin() *tx {
	d := s.data
	return &tx{
		d: d, meta: d.meta,
		sessions:    over(d.sessions),
		values:      over(d.values),
		subjects:    over(d.subjects),
		endedKeys:   over(d.endedKeys),
		roles:       over(d.roles),
		users:       over(d.users),
		emails:      over(d.emails),
		credentials: over(d.credentials),
		serviceKeys: over(d.serviceKeys),
		keyHashes:   over(d.keyHashes),
		ring:        over(d.ring),
		counters:    over(d.counters),
		oneTimes:    over(d.oneTimes),
	}
}

// commit writes the layers down. Nothing in it can fail.
func (s *Store) commit(t *tx) {
	s.mu.Lock()
	t.apply()
	s.mu.Unlock()
	if len(t.events) > 0 || t.restarted {
		s.bell.ring()
	}
}

func (t *tx) apply() {
	d := t.d
	d.meta = t.meta
	d.records.write(t.sessions.over)
	d.writeValues(t.values.over)
	if t.restarted {
		d.events = nil
	}
	d.events = append(d.events, t.events...)
	for u, c := range t.users.over {
		if c.gone {
			d.userIDs = remove(d.userIDs, u)
		} else {
			d.userIDs = insert(d.userIDs, u)
		}
	}
	for name, c := range t.roles.over {
		if c.gone {
			delete(d.table, name)
		} else {
			d.table[name] = permission.NewSet(c.value.Permissions...)
		}
	}
	for _, e := range t.audits {
		at, _ := slices.BinarySearchFunc(d.audits, e.ID, func(e audit.Event, i id.Audit) int { return compareIDs(e.ID, i) })
		d.audits = slices.Insert(d.audits, at, e)
	}
	d.forgetAudits(t.forgotten)
	t.subjects.apply()
	t.endedKeys.apply()
	t.roles.apply()
	t.users.apply()
	t.emails.apply()
	t.credentials.apply()
	t.serviceKeys.apply()
	t.keyHashes.apply()
	t.ring.apply()
	t.counters.apply()
	t.oneTimes.apply()
}

// open says whether the unit may still be used.
func (t *tx) open(ctx context.Context) error {
	if t.done {
		return errOver
	}
	return ctx.Err()
}

func (t *tx) subject(u handstamp.UserID) handstamp.Subject {
	row, _ := t.subjects.get(u)
	return subjectOf(u, row, t.meta)
}

// Subject reads a row. There is no other unit that it would have to be locked against.
func (t *tx) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	if err := t.open(ctx); err != nil {
		return handstamp.Subject{}, fmt.Errorf("read a subject: %w", err)
	}
	return ownedSubject(t.subject(u)), nil
}

// PutSubject writes everything but the numbers.
func (t *tx) PutSubject(ctx context.Context, s handstamp.Subject) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("write a subject: %w", err)
	}
	row := handstamp.Subject{User: s.User}
	if kept, ok := t.subjects.get(s.User); ok {
		row = *kept
	}
	row.Disabled, row.Deleted, row.Grants = s.Disabled, s.Deleted, ownedGrants(s.Grants)
	row.Email, row.EmailVerified = s.Email, s.EmailVerified
	t.subjects.put(s.User, &row)
	return nil
}

// PutSession creates a record, or replaces one of the version it was read with that is no tombstone.
func (t *tx) PutSession(ctx context.Context, s handstamp.Session) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("write a session: %w", err)
	}
	return putSession(&t.sessions, t.d.keys, s)
}

// putSession is PutSession on a layer of records.
func putSession(
	l *sessionLayer, keys map[token.Hash]handstamp.SessionID, s handstamp.Session,
) error {
	kept, found := l.get(s.ID)
	if found != (s.Version > 0) || found && (kept.Version != s.Version || kept.EndedBy != 0) {
		return handstamp.ErrConflict
	}
	if holder, taken := keys[s.Key]; taken && holder != s.ID {
		if other, ok := l.get(holder); ok && other.Key == s.Key {
			return handstamp.ErrTaken
		}
	}
	s = ownedSession(s)
	if found {
		s.SeenAt = later(s.SeenAt, kept.SeenAt) // Touch moves it without the version, and it never goes back
	}
	s.Version++
	l.put(s.ID, &s)
	return nil
}

// forgetAddresses takes what tells where a user was and with what out of the records of their sessions, tombstones too:
// those stay after the account, until their absolute end. The version moves, so that nobody writes it back.
func forgetAddresses(r *records, l *sessionLayer, u handstamp.UserID) {
	for _, s := range r.of(u, l.over) {
		after := *s
		after.IP, after.UserAgent, after.Refresh.IP, after.Refresh.UserAgent = "", "", "", ""
		after.Version++
		l.put(s.ID, &after)
	}
}

// Oldest returns the ids of live sessions of a user that are beyond the newest keep.
func (t *tx) Oldest(
	ctx context.Context, u handstamp.UserID, now time.Time, keep int,
) ([]handstamp.SessionID, error) {
	if err := t.open(ctx); err != nil {
		return nil, fmt.Errorf("list the oldest sessions: %w", err)
	}
	return oldest(t.d.records.of(u, t.sessions.over), t.subject(u), now, keep), nil
}

func oldest(all []*handstamp.Session, sub handstamp.Subject, now time.Time, keep int) []handstamp.SessionID {
	live := make([]handstamp.SessionID, 0, len(all))
	for _, s := range all {
		if handstamp.Live(*s, sub, now) {
			live = append(live, s.ID)
		}
	}
	return live[:min(max(len(live)-max(keep, 0), 0), maxOldest)]
}

// of returns a user's records as a unit with these changes sees them, oldest first.
func (r *records) of(
	u handstamp.UserID, changed map[handstamp.SessionID]change[*handstamp.Session],
) []*handstamp.Session {
	ids := r.ofUser[u]
	all := make([]*handstamp.Session, 0, len(ids))
	for _, sid := range ids {
		if _, ok := changed[sid]; !ok {
			all = append(all, r.sessions[sid])
		}
	}
	return merge(all, changed, func(s *handstamp.Session) bool { return s.User == u })
}

// every returns all records as a unit with these changes sees them, oldest first.
func (r *records) every(changed map[handstamp.SessionID]change[*handstamp.Session]) []*handstamp.Session {
	all := make([]*handstamp.Session, 0, len(r.ids))
	for _, sid := range r.ids {
		if _, ok := changed[sid]; !ok {
			all = append(all, r.sessions[sid])
		}
	}
	return merge(all, changed, func(*handstamp.Session) bool { return true })
}

func merge(
	all []*handstamp.Session, changed map[handstamp.SessionID]change[*handstamp.Session],
	wanted func(*handstamp.Session) bool,
) []*handstamp.Session {
	before := len(all)
	for _, c := range changed {
		if !c.gone && wanted(c.value) {
			all = append(all, c.value)
		}
	}
	if len(all) > before {
		slices.SortFunc(all, func(a, b *handstamp.Session) int { return compareIDs(a.ID, b.ID) })
	}
	return all
}

func compareIDs[T ~string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Record keeps an entry of the audit log until the commit, without the address of somebody who is deleted.
func (t *tx) Record(ctx context.Context, e audit.Event) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("write an audit entry: %w", err)
	}
	if row, ok := t.subjects.get(handstamp.UserID(e.Whose())); ok && row.Deleted {
		e.IP, e.UserAgent = "", ""
	}
	t.audits = append(t.audits, ownedEntry(e))
	return nil
}
