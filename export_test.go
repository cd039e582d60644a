package handstamp

import (
	"net/http"
	"time"

	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// What tests of this package see of its inside.

// Verdict is what decideRefresh answers.
type Verdict = verdict

// The verdicts.
const (
	Rotate = rotate
	Repeat = repeat
	Hold   = hold
	Ahead  = ahead
	Reused = reused
)

// DecideRefresh is the whole rule.
func DecideRefresh(cur Family, generation uint32, request token.Hash, now time.Time, t Transport, grace time.Duration) Verdict {
	return decideRefresh(cur, presented{generation: generation, request: request, now: now}, t, grace)
}

// UnreadWeight is the most that goes into a value token whose session was not read before.
const UnreadWeight = unreadWeight

// Heaviest is what is tried before such a refresh.
func (a *Auth) Heaviest(now time.Time) jwt.Claims { return a.heaviest(now) }

// Claims is what a value token says about a session.
func (a *Auth) Claims(f Found, now time.Time) (jwt.Claims, error) { return a.claimsOf(f, now) }

// Credential finds the credential in a request, for a public URL.
func Credential(publicURL string, r *http.Request) (string, error) {
	return newCookies(Options{PublicURL: publicURL}).credential(r)
}

// Jitter shortens.
func Jitter(d time.Duration) time.Duration { return jitter(d) }

// Guarded counts the connections that are listed, by queue and by name.
func (v *Verifier) Guarded() int {
	v.guards.mu.Lock()
	defer v.guards.mu.Unlock()
	return max(len(v.guards.due), len(v.guards.of))
}

// GuardMoved is the number from which a connection hears events, after the store answered for it at another.
func GuardMoved(asOf, head uint64) uint64 {
	g := &guard{asOf: asOf, place: -1}
	newGuards().move(g, goesOn{asOf: head})
	return g.asOf
}

// GuardsDoubt reports whether an event makes every connection be asked for.
func GuardsDoubt(e revoke.Event) bool {
	g := newGuards()
	g.happened([]revoke.Event{e})
	return g.reset()
}
