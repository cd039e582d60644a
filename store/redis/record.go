package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// record is a session as it is kept, and the mark of that.
type record struct {
	handstamp.Session
	mark string // empty for one that is not there
}

func (r record) after(events []revoke.Event) (handstamp.Session, bool) {
	return after(r.Session, events)
}

// newest is the largest number in the record: what it has heard of the log for certain.
func newest(s handstamp.Session) uint64 { return max(s.Stamp, s.Changed, s.EndedBy) }

func newMark() string {
	var b [markBytes]byte
	rand.Read(b[:])
	return string(b[:])
}

// hashed is a token's hash in a key's name; empty for none, which finds nothing.
func hashed(h token.Hash) string {
	if h.IsZero() {
		return ""
	}
	return hex.EncodeToString(h[:])
}

// set is the index of ids that a session is in: those of users, or those of visitors.
func set(s handstamp.Session) string {
	if s.IsAnonymous() {
		return "a"
	}
	return "n"
}

// sweptAt is the time after which [handstamp.Swept] says yes, in microseconds.
func sweptAt(s handstamp.Session) int64 {
	at := s.ExpiresAt
	if s.IsAnonymous() && s.EndedBy != 0 {
		return 0
	}
	if s.IsAnonymous() && s.IdleTimeout != 0 {
		if idle := s.SeenAt.Add(s.IdleTimeout + 5*time.Minute); idle.Before(at) {
			at = idle
		}
	}
	return at.UnixMicro()
}

// broom is for how long Redis keeps a record that nobody sweeps: its whole life and a day from when it is written, since
// the server's clock has nothing to do with the fleet's time.
func broom(s handstamp.Session) time.Duration {
	return min(max(s.ExpiresAt.Sub(s.CreatedAt), 0)+24*time.Hour, 10*365*24*time.Hour)
}

// listing is what the script "many" answers: records, and ids whose records are gone.
type listing struct {
	at    place
	now   time.Time // the server's clock
	found []record
	gone  []string
	ids   int // how many ids there were
}

func (l *listing) byID(sid handstamp.SessionID) (record, bool) {
	for _, r := range l.found {
		if r.ID == sid {
			return r, true
		}
	}
	return record{}, false
}

func (s *Store) many(ctx context.Context, args ...string) (listing, error) {
	a, err := s.c.run(ctx, "many", args...)
	if err != nil {
		return listing{}, err
	}
	var l listing
	if l.at, err = placeOf(a); err != nil || l.at.blank() {
		return l, err
	}
	if len(a) < 5 || len(a)%2 == 0 {
		return listing{}, errAnswer
	}
	micros, err := parseInt(a[4].text)
	if err != nil {
		return listing{}, errAnswer
	}
	l.now, l.ids = time.UnixMicro(micros).UTC(), (len(a)-5)/2
	for i := 5; i < len(a); i += 2 {
		if !a[i+1].there {
			l.gone = append(l.gone, a[i].text)
			continue
		}
		r, err := read(a[i+1].text)
		if err != nil || string(r.ID) != a[i].text {
			return listing{}, errRecord
		}
		l.found = append(l.found, r)
	}
	return l, nil
}

func read(text string) (record, error) {
	mark, s, err := unpack(text)
	return record{s, mark}, err
}

// records reads sessions by their ids.
func (s *Store) records(ctx context.Context, ids []handstamp.SessionID) (listing, error) {
	return s.many(ctx, idsOf(ids)...)
}

// idsOf are the arguments of "many" for records by id, each once.
func idsOf(ids []handstamp.SessionID) []string {
	args := make([]string, 0, len(ids)+1)
	args = append(args, "ids")
	known := make(map[handstamp.SessionID]bool, len(ids))
	for _, sid := range ids {
		if !known[sid] {
			known[sid] = true
			args = append(args, string(sid))
		}
	}
	return args
}
