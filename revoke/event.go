package revoke

import (
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/handstamp/handstamp/id"
)

// Kind says what an event speaks of.
type Kind string

// The kinds of events.
const (
	KindSession    Kind = "session"     // one session; Event.ID is its id
	KindUser       Kind = "user"        // all sessions of one user; Event.ID is the user's id
	KindRole       Kind = "role"        // the definition of a role; Event.ID is its name
	KindKey        Kind = "key"         // a signing key; Event.ID is its kid
	KindServiceKey Kind = "service_key" // a program's credential; Event.ID is its id
	KindAll        Kind = "all"         // everybody; Event.ID is empty
)

// Effect says what an event does to the credentials it hits.
type Effect string

// The effects.
const (
	End    Effect = "end"    // the credential is over
	Change Effect = "change" // a copy made before is out of date: read again, or refresh
)

// Tag is a random mark of one event. A reader that resumes says number and tag, so that it notices when the log behind
// the number is another one, as after a restore.
type Tag string

// NewTag draws a tag: 64 bits, base64url.
func NewTag() Tag {
	var b [8]byte
	rand.Read(b[:])
	return Tag(base64.RawURLEncoding.EncodeToString(b[:]))
}

// Event is one entry of the log. Seq is given by the log, in the order of the commits; everything else by who appends.
type Event struct {
	Seq    uint64     `json:"seq"`
	Tag    Tag        `json:"tag"`
	Kind   Kind       `json:"kind"`
	ID     string     `json:"id"`
	Effect Effect     `json:"effect"`
	Except id.Session `json:"except,omitempty"` // the one session that a user event spares
	Until  time.Time  `json:"until"`            // the log may forget the event after this time

	// At and Reason stay inside: lists, "inspect" and tombstones show them.
	At     time.Time `json:"-"`
	Reason string    `json:"-"`
}

// Retention is how long an event must be remembered where every session record lives in the log's own database: the
// longest life of a value token (1 h) and leeway. Then everything the event could hit has ended by itself, or is decided
// by the record.
const Retention = time.Hour + 5*time.Minute
