package handstamp

import (
	"context"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/id"
)

// Proof says that somebody has proved to be a user: what every way of logging in ends with. It comes from [Auth.Prove],
// which must be called before the credential is checked; the fields are set after. The numbers inside are why: a login
// that waited while the password changed must not begin a session with the old password.
type Proof struct {
	// Methods are how the user proved it: RFC 8176 names, "pwd" for a password.
	Methods []string
	// Grants, if set, are written as the user's roles, unless Options.Permissions says what they are.
	Grants *Grants

	StartOptions

	user     UserID
	stamp    uint64
	changed  uint64
	known    Grants // what the store said of the user's roles
	provedAt time.Time
	endedAt  time.Time // when the last of the ends that stamp stands for happened; zero for none
	legacy   legacy
}

// StartOptions is how a session is to be kept. The zero value is the default of the Auth.
type StartOptions struct {
	Mode           Mode      // "" is the first of Options.Modes
	Transport      Transport // "" is cookie for ModeSession and bearer otherwise
	BrowserSession bool      // cookies end with the browser instead of with the session
	Client         Client    // for the audit log and the list of devices

	replaces  SessionID
	replacing UserID
	carries   bool      // replaces is alive
	visitor   SessionID // the anonymous session that ends with the login
	left      *bool     // set when it did
}

// User is whom the proof is about.
func (p Proof) User() UserID { return p.user }

// Prove reads the numbers that a login must carry. Call it before you read what the credential is checked against (the row
// with the hash), not only before you compare, and before you ask for roles: a hash that was read before Prove may be one
// that was replaced before Prove, and the numbers cannot show that. It does not say that the user exists or is enabled.
func (a *Auth) Prove(ctx context.Context, u UserID) (Proof, error) {
	if _, err := id.ParseUser(string(u)); err != nil {
		return Proof{}, err
	}
	sub, err := a.store.Sessions().Subject(ctx, u)
	if err != nil {
		return Proof{}, fmt.Errorf("read the subject: %w", err)
	}
	p := Proof{user: u, stamp: sub.stamp(), changed: sub.Changed, known: sub.Grants, provedAt: a.now()}
	for _, at := range []time.Time{sub.EndedAt, sub.AllEndedAt} {
		if at.After(p.endedAt) {
			p.endedAt = at
		}
	}
	return p, nil
}
