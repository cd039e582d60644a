package handstamp

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/token"
)

// legacy is the credential of another system that a login takes the place of.
type legacy struct {
	hash   [sha256.Size]byte
	issued time.Time
	judged bool // by startAdopted, the one door for it
}

func (l legacy) isSet() bool { return l.hash != [sha256.Size]byte{} }

// Replacing says which credential of the system before proved the user: the text of its cookie or token, and when it was
// issued (the zero time if that is not known). Only a hash of the text is kept. [Auth.Adopt] wants it; an exchange of old
// tokens for new ones passes it to [Auth.Start], and the same rules hold. It needs Options.Secrets.
func (p Proof) Replacing(credential string, issued time.Time) Proof {
	p.legacy = legacy{hash: sha256.Sum256([]byte(credential)), issued: issued}
	return p
}

// Adopt lets users stay logged in who were logged in before an application came to Handstamp. A request without a
// credential of ours is shown to prove, which looks for the session or token of the system before. If that is good, it
// answers a Proof (from [Auth.Prove], then [Proof.Replacing]); the request goes on as that user, and the answer sets our
// cookie. prove answers an error that is ErrUnauthenticated for a request without an old credential, or with one that is
// not good: such a request goes on as a visitor's. Any other error means that it could not be found out: 503.
//
// The old credential opens one session and no second one. Asked for again, as by parallel requests or after a lost
// answer, it gets the same session with the same secrets; once that session ended or has other secrets, nothing. It
// opens nothing either when all sessions of the user (or everybody's) were ended after it was issued; without the time of
// its issue, when they ever were. A session that began this way proved its user when the old credential was issued: a
// rule like [MaxAuthAge] asks for a login.
//
// How a session ended is remembered until its absolute end, which is not shortened for these sessions. Before that has
// passed since the switch, take Adopt out again or let prove refuse, lest an old credential that still lives opens a
// second session. Sessions are of ModeSession or ModeHybrid.
//
// It is remembered by what keeps the sessions. Those in memory forget it when the process ends, and those in Redis when that
// loses its data: an old credential then opens its session once more, with the same secrets, also after a log-out. With such
// stores end the old credential in the system before when it was adopted, as a log-out there would.
//
// Put Adopt before Require and Optional. It needs Options.Secrets, and panics without: sessions would be adopted anew
// after each restart. It writes cookies; a client that sends the old token as a header exchanges it at
// a handler of yours, by Prove, Replacing and Start.
func (a *Auth) Adopt(prove func(*http.Request) (Proof, error)) func(http.Handler) http.Handler {
	if len(a.adoptKeys) == 0 {
		panic("handstamp: Adopt needs Options.Secrets")
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if a.carriesOurs(r) {
				next.ServeHTTP(w, r)
				return
			}
			g, err := a.adopt(w, r, prove)
			switch {
			case err == nil:
				r = r.Clone(r.Context())
				a.cookies.put(r, a.cookies.session, g.AccessToken.Reveal())
			case !notAdopted(err):
				a.Deny(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// carriesOurs reports whether a request has a credential that only Handstamp can judge.
func (a *Auth) carriesOurs(r *http.Request) bool {
	text, ok, err := bearer(r)
	if err != nil || ok && a.isOurs(text) {
		return true
	}
	for _, name := range []string{a.cookies.session, a.cookies.refresh} {
		if _, ok, err := a.cookies.find(r, name); ok || err != nil {
			return true
		}
	}
	return false
}

// isOurs reports whether a token is one that Handstamp made, good or over.
func (a *Auth) isOurs(text string) bool {
	_, prefixed := token.KindOf(text)
	_, _, genuine := a.genuine(text)
	return prefixed || genuine
}

// notAdopted tells a visitor from an outage.
func notAdopted(err error) bool {
	return errors.Is(err, ErrUnauthenticated) || errors.Is(err, ErrDisabled) || errors.Is(err, ErrOrigin)
}

func (a *Auth) adopt(w http.ResponseWriter, r *http.Request, prove func(*http.Request) (Proof, error)) (Grant, error) {
	for try := 0; ; try++ {
		p, err := prove(r)
		if notAdopted(err) {
			return Grant{}, err
		}
		if err != nil { // whatever it says, it is about the old system and no answer to this request
			return Grant{}, &UnavailableError{Err: fmt.Errorf("look at the old credential: %v", err)} //nolint:errorlint // so that nothing it wraps is taken for an answer
		}
		if p.user == "" || !p.legacy.isSet() || p.Transport == TransportBearer {
			return Grant{}, errors.New("handstamp: Adopt: the Proof comes from Prove and then Replacing, and its transport is a cookie")
		}
		p.Transport = TransportCookie
		g, err := a.LoginWith(w, r, p.StartOptions, func(o StartOptions) (Grant, error) {
			p.StartOptions = o
			return a.startAdopted(r.Context(), p)
		})
		if errors.Is(err, ErrProofOutdated) && try == 0 {
			continue // what was proved may have ended meanwhile: it is looked at again
		}
		return g, err
	}
}

// startAdopted begins the one session that an old credential opens, or gives it once more.
func (a *Auth) startAdopted(ctx context.Context, p Proof) (Grant, error) {
	if len(a.adoptKeys) == 0 {
		return Grant{}, errors.New("handstamp: Proof.Replacing needs Options.Secrets")
	}
	p.Mode, p.Transport = cmp.Or(p.Mode, a.opt.Modes[0]), p.transport(a.opt)
	if p.Mode == ModeToken { // its record is gone minutes after a log-out, and the old credential would log in again
		return Grant{}, errors.New("handstamp: Proof.Replacing is for ModeSession and ModeHybrid")
	}
	for try := 0; ; try++ {
		g, err := a.adoptedBefore(ctx, p)
		if !errors.Is(err, ErrNotFound) {
			return g, err
		}
		if p.stamp != 0 && !a.issuedAt(p.legacy).After(p.endedAt) {
			return Grant{}, denied(ReasonRevoked, "ended_since_issued")
		}
		p.provedAt, p.legacy.judged = a.issuedAt(p.legacy), true
		g, err = a.start(ctx, p)
		if errors.Is(err, ErrConflict) && try == 0 {
			continue // another request with the same credential was faster
		}
		return g, err
	}
}

// issuedAt is when an old credential proved its user. One that does not say did so before anything else.
func (a *Auth) issuedAt(l legacy) time.Time {
	if l.issued.Unix() <= 0 || l.issued.After(a.now()) {
		return time.Unix(1, 0).UTC()
	}
	return l.issued.UTC()
}

// adoptedBefore gives the session that an old credential opened before, as long as it still has the secrets that it began
// with. ErrNotFound if there is none.
func (a *Auth) adoptedBefore(ctx context.Context, p Proof) (Grant, error) {
	found, err := a.store.Sessions().Find(ctx, Lookup{Session: adoptedID(p.legacy)})
	if err != nil {
		return Grant{}, fmt.Errorf("find the adopted session: %w", err)
	}
	now, err := a.issueTime()
	if err != nil {
		return Grant{}, err
	}
	is := found.Session
	is.SeenAt = a.seen.latest(is.ID, is.SeenAt)
	if err := judge(is, found.Subject, now); err != nil {
		return Grant{}, err
	}
	for _, key := range a.adoptKeys {
		s := Session{Mode: p.Mode, Transport: p.Transport}
		sec := adopted(&s, key, p.legacy)
		same := is.User == p.user && is.Mode == s.Mode && is.Transport == s.Transport
		if same && is.Key == s.Key && is.Refresh.Nonce == s.Refresh.Nonce && is.Refresh.Generation == 0 {
			return a.grant(found, sec, now)
		}
	}
	return Grant{}, denied(ReasonRevoked, "adopted_and_renewed")
}

// adoptedID is the id of the session that an old credential opens. No key is in it, so that it stays the same when the
// secret is rotated: one credential never opens two sessions. It is a UUID of version 7 (RFC 9562 section 5.7) like any
// other, but for its time: in lists, and for who is evicted first, an adopted session is older than every other.
func adoptedID(l legacy) SessionID {
	sum := sha256.Sum256(append([]byte(adoptLabel+"/id"), l.hash[:]...))
	var uuid [16]byte
	copy(uuid[6:], sum[:])
	uuid[6], uuid[8] = uuid[6]&0x0f|0x70, uuid[8]&0x3f|0x80
	return id.SessionFromBytes(uuid)
}

// adopted gives a session its id, and the secrets that follow from an old credential under a key that only processes with
// our secret have. What the client holds them in is part of it: nothing that was made for a cookie is put into a body.
func adopted(s *Session, key []byte, l legacy) secrets {
	derive := func(label string) [sha256.Size]byte {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(label + "/" + string(s.Transport)))
		mac.Write(l.hash[:])
		return [sha256.Size]byte(mac.Sum(nil))
	}
	s.ID = adoptedID(l)
	var sec secrets
	switch s.Mode {
	case ModeSession:
		sec.reference = token.Derived(token.Reference, derive("reference"))
		s.Key = token.HashOf(sec.reference)
	case ModeHybrid:
		sec.nonce = token.DerivedNonce(derive("nonce"))
		s.Refresh = Family{Nonce: sec.nonce.Hash()}
	}
	return sec
}
