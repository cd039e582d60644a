package handstamp

import (
	"time"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/token"
)

// UserID names a user: any string of 1 to 128 bytes without control characters that the application chose, or usr_… of
// package account.
type UserID = id.User

// SessionID is the public handle of a session (ses_…). It is no secret and opens nothing.
type SessionID = id.Session

// Mode is how a session's identity is kept.
type Mode string

// The modes. One session record is behind each of them.
const (
	ModeSession Mode = "session" // an opaque reference token; a check looks the record up
	ModeToken   Mode = "token"   // one signed value token; a check needs no look-up; no refresh
	ModeHybrid  Mode = "hybrid"  // a short value token and a rotating refresh token

	// ModeAnonymous is a session without a user; see [Auth.Anonymous]. It logs nobody in and cannot be asked for.
	ModeAnonymous Mode = "anonymous"
)

// Transport is how the client holds its credential. It is fixed at login.
type Transport string

// The transports.
const (
	TransportCookie Transport = "cookie" // HttpOnly cookies; no token is ever in a body
	TransportBearer Transport = "bearer" // tokens in the body; the client sends Authorization: Bearer
)

// Form is which kind of credential a request carried.
type Form uint8

// The forms. The zero value is no form: nobody is authenticated by it.
const (
	Reference Form = iota + 1 // an opaque token that stands for a session, looked up
	Value                     // a signed or encrypted token that speaks for itself
	Key                       // a program's service key; there is no session
)

// Session is the one record behind every form of a login, and the refresh token family at the same time. Stores keep it
// as it is; times are UTC with microseconds. Only the engine changes it.
type Session struct {
	ID             SessionID
	User           UserID
	Key            token.Hash // hash of the reference token; zero in the modes token and hybrid
	Mode           Mode
	Transport      Transport
	BrowserSession bool     // its cookies end with the browser
	Methods        []string // how the user proved who they are: RFC 8176 names ("pwd")
	Claims         []byte   // the application's own claims, a JSON object; nil for none

	CreatedAt   time.Time
	AuthAt      time.Time     // when the user last proved who they are
	SeenAt      time.Time     // last activity that counted; never moves backwards
	IdleTimeout time.Duration // over when nothing counted for so long; 0 is never
	ExpiresAt   time.Time     // absolute end; nothing extends it

	// Stamp is the subject's Ended (or the log's all_ended, if larger) as read with the credential that proved the login.
	// The session is over when either number grows beyond it.
	Stamp uint64
	// Changed is the number of the last event that gave this session new secrets: value tokens made before are stale.
	Changed uint64

	Refresh Family // zero but in the mode hybrid

	IP        string // of the login, for the list of devices
	UserAgent string // of the login, at most 512 bytes

	// The tombstone. EndedBy is the number of the event that ended this one session; 0 while none did.
	EndedBy   uint64
	EndedAt   time.Time
	EndReason string

	Version uint64 // of the record; 0 is a record that does not exist yet
}

// Family is the state of a session's refresh tokens: one row for ever, however often it is refreshed.
type Family struct {
	Generation uint32     // of the one token that is current
	Nonce      token.Hash // hash of the family's nonce
	RotatedAt  time.Time  // when the current generation was made by a refresh; zero before the first, and after new secrets
	Request    token.Hash // hash of the Idempotency-Key of that refresh; zero for none
	IP         string     // from where that refresh came, to notice a repeat from elsewhere
	UserAgent  string
}

// Grants is what a user may do: names of roles, and permissions given to the user directly.
type Grants struct {
	Roles       []string
	Permissions []string
}

// Subject is the engine's one row per user id that ever had a session or an event, whether or not Handstamp keeps that
// user's account. Rows are never deleted. A user without a row is a Subject with only User, AllEnded and Head set.
type Subject struct {
	User      UserID
	Ended     uint64 // number of the last event that ended all sessions of this user
	EndedAt   time.Time
	EndReason string
	Changed   uint64 // number of the last event that made copies of this user's data stale

	AllEnded   uint64 // number of the last event that ended everybody's sessions
	AllEndedAt time.Time
	Head       uint64    // the log's head, read in the same snapshot as the rest
	RestoredAt time.Time // when the log was last told that its database was restored; zero for never

	Disabled bool // may not log in, refresh or be accepted
	Deleted  bool // the account is gone; the row stays so that old credentials stay dead
	Grants   Grants

	// Email is set by package account, so that /v1/check can name a verified address without another look-up.
	Email         string
	EmailVerified bool
}

// stamp is the number a session that begins now must carry.
func (s Subject) stamp() uint64 { return max(s.Ended, s.AllEnded) }

// ServiceKey is a program's credential.
type ServiceKey struct {
	ID          id.ServiceKey
	Hash        token.Hash
	Name        string
	Permissions []string
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero is never
	EndedBy     uint64    // number of the event that ended it; 0 while none did
	EndedAt     time.Time
	EndReason   string
	Version     uint64
}

// Client is who asks for a change and from where: what the audit log says about it.
type Client struct {
	Actor     string // user id, service key id, "cli", or "" for a visitor
	IP        string
	UserAgent string
	RequestID string
}
