package memory

import (
	"cmp"
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

// data is what is committed. The values behind its pointers and slices of records are never changed in place: a write
// puts another value, so that a reader may copy one after it let go of the lock.
type data struct {
	meta meta
	records
	subjects  map[handstamp.UserID]*handstamp.Subject
	events    []revoke.Event // the numbers meta.low+1 to meta.head, without gaps
	endedKeys map[string]uint64
	verifiers map[id.Verifier]revoke.Registration

	roles map[string]account.Role
	table permission.Table

	users       map[handstamp.UserID]account.User
	userIDs     []handstamp.UserID // ascending
	emails      map[account.Address]handstamp.UserID
	credentials map[handstamp.UserID][]account.Credential
	serviceKeys map[id.ServiceKey]*handstamp.ServiceKey
	keyHashes   map[token.Hash]id.ServiceKey
	ring        map[string]*keyring.Record

	audits   []audit.Event // ascending by id
	counters map[login.BudgetKey]login.Counter
	oneTimes map[token.Hash]login.OneTime
}

// meta is the one row about the log and the fleet.
type meta struct {
	log        string
	head       uint64
	tag        revoke.Tag
	low        uint64
	lowTag     revoke.Tag
	allEnded   uint64
	allEndedAt time.Time
	restoredAt time.Time
	lease      time.Duration
	secrets    []string // never changed in place
}

func (m meta) headOf() revoke.Head {
	return revoke.Head{Log: m.log, Seq: m.head, Tag: m.tag, Low: m.low, LowTag: m.lowTag, Lease: m.lease}
}

func newData() *data {
	return &data{
		meta:        meta{log: newLogID()},
		records:     newRecords(),
		subjects:    make(map[handstamp.UserID]*handstamp.Subject),
		endedKeys:   make(map[string]uint64),
		verifiers:   make(map[id.Verifier]revoke.Registration),
		roles:       make(map[string]account.Role),
		table:       make(permission.Table),
		users:       make(map[handstamp.UserID]account.User),
		emails:      make(map[account.Address]handstamp.UserID),
		credentials: make(map[handstamp.UserID][]account.Credential),
		serviceKeys: make(map[id.ServiceKey]*handstamp.ServiceKey),
		keyHashes:   make(map[token.Hash]id.ServiceKey),
		ring:        make(map[string]*keyring.Record),
		counters:    make(map[login.BudgetKey]login.Counter),
		oneTimes:    make(map[token.Hash]login.OneTime),
	}
}

func (d *data) putRole(r account.Role) {
	d.roles[r.Name] = r
	d.table[r.Name] = permission.NewSet(r.Permissions...)
}

// subjectOf puts together a user's row, if there is one, and the numbers of the log.
func subjectOf(u handstamp.UserID, row *handstamp.Subject, m meta) handstamp.Subject {
	var s handstamp.Subject
	if row != nil {
		s = *row
	}
	s.User, s.AllEnded, s.AllEndedAt, s.Head, s.RestoredAt = u, m.allEnded, m.allEndedAt, m.head, m.restoredAt
	return s
}

// ownedSubject is a subject that shares nothing with the row it was read from.
func ownedSubject(s handstamp.Subject) handstamp.Subject {
	s.Grants = ownedGrants(s.Grants)
	return s
}

func ownedGrants(g handstamp.Grants) handstamp.Grants {
	return handstamp.Grants{Roles: slices.Clone(g.Roles), Permissions: slices.Clone(g.Permissions)}
}

func ownedSession(s handstamp.Session) handstamp.Session {
	s.Methods, s.Claims = slices.Clone(s.Methods), slices.Clone(s.Claims)
	return s
}

func ownedKey(k handstamp.ServiceKey) handstamp.ServiceKey {
	k.Permissions = slices.Clone(k.Permissions)
	return k
}

// records are sessions and their indexes. Ids sort by the time they were made, so a new one nearly always goes to the
// end of the sorted lists.
type records struct {
	sessions map[handstamp.SessionID]*handstamp.Session
	keys     map[token.Hash]handstamp.SessionID
	ids      []handstamp.SessionID                      // ascending
	ofUser   map[handstamp.UserID][]handstamp.SessionID // ascending

	// values are those of the sessions that have any, in the order of their names.
	values map[handstamp.SessionID][]handstamp.Datum
}

func newRecords() records {
	return records{
		sessions: make(map[handstamp.SessionID]*handstamp.Session),
		keys:     make(map[token.Hash]handstamp.SessionID),
		ofUser:   make(map[handstamp.UserID][]handstamp.SessionID),
		values:   make(map[handstamp.SessionID][]handstamp.Datum),
	}
}

// write puts what a unit changed, indexes included.
func (r *records) write(changed map[handstamp.SessionID]change[*handstamp.Session]) {
	gone := false
	for sid, c := range changed {
		old := r.sessions[sid]
		if c.gone {
			gone = gone || old != nil
			r.unlink(sid, old)
			delete(r.sessions, sid)
			delete(r.values, sid)
			continue
		}
		if old == nil || old.User != c.value.User {
			r.unlink(sid, old)
			r.ofUser[c.value.User] = insert(r.ofUser[c.value.User], sid)
		}
		if old == nil {
			r.ids = insert(r.ids, sid)
		} else if old.Key != c.value.Key {
			r.unlock(old)
		}
		if !c.value.Key.IsZero() {
			r.keys[c.value.Key] = sid
		}
		r.sessions[sid] = c.value
	}
	if gone {
		r.ids = slices.DeleteFunc(r.ids, func(sid handstamp.SessionID) bool { return r.sessions[sid] == nil })
	}
}

// unlink takes a session out of the indexes by key and user. No session is nothing to do.
func (r *records) unlink(sid handstamp.SessionID, old *handstamp.Session) {
	if old == nil {
		return
	}
	r.unlock(old)
	left := remove(r.ofUser[old.User], sid)
	if len(left) == 0 {
		delete(r.ofUser, old.User)
		return
	}
	r.ofUser[old.User] = left
}

// unlock takes away a session's key, unless the key has gone to another one.
func (r *records) unlock(old *handstamp.Session) {
	if r.keys[old.Key] == old.ID {
		delete(r.keys, old.Key)
	}
}

func insert[T cmp.Ordered](sorted []T, v T) []T {
	at, found := slices.BinarySearch(sorted, v)
	if found {
		return sorted
	}
	return slices.Insert(sorted, at, v)
}

func remove[T cmp.Ordered](sorted []T, v T) []T {
	at, found := slices.BinarySearch(sorted, v)
	if !found {
		return sorted
	}
	return slices.Delete(sorted, at, at+1)
}
