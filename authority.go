package handstamp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// VerifyKeys find the keys that signatures are checked with.
type VerifyKeys interface {
	// Issued finds a key by its id, also one that was revoked: what a revoked key signed is called revoked, which can only
	// be said once its signature was found good. It must not block.
	Issued(kid string) (jwt.VerifyKey, bool)
	// Revoked reports whether a key was revoked, and by which event (0 where that is not known).
	Revoked(kid string) (by uint64, revoked bool)
	// Reload reads the keys again: after an event about one, and when a token names a key that is not known. It bounds by
	// itself how often it asks anybody.
	Reload(ctx context.Context) error
}

// Authority is whom a [Verifier] without a store asks: a Handstamp server. Package remote implements it over HTTP.
type Authority interface {
	// Introspect says what a credential is worth now. The answer is read from the server's store after the call began. Active
	// is false for a credential that is not accepted, whatever the reason; an error means that it could not be found out.
	Introspect(ctx context.Context, credential string) (Introspected, error)
}

// Introspected is what an [Authority] says of one credential (RFC 7662 section 2.2). The zero value is a credential that is
// not accepted.
type Introspected struct {
	Active      bool
	User        UserID
	Session     SessionID // empty for a service key
	ExpiresAt   time.Time // when the credential stops if nothing stops it before; zero is never
	IssuedAt    time.Time // when it was made; zero where that is not known
	AuthTime    time.Time // when the user last proved who they are; zero where that is not known
	Methods     []string
	Roles       []string
	Permissions []string // everything that is granted now
	AsOf        uint64   // the number of the log up to which this is true
}

// Introspect implements [Authority] for who holds the store: it says what a credential that opens requests is worth now, by
// one look-up, and writes nothing. Looking at a session is no activity of its user. A refresh token or any other kind is
// never active: it opens nothing but its own door.
func (a *Auth) Introspect(ctx context.Context, credential string) (Introspected, error) {
	looking := *a.Verifier
	looking.quiet = true
	p, issued, err := looking.introspect(ctx, credential, looking.moment())
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return Introspected{}, nil
	case err != nil:
		return Introspected{}, err
	}
	return Introspected{
		Active: true, User: p.User, Session: p.Session, ExpiresAt: p.ExpiresAt, IssuedAt: issued, AuthTime: p.AuthTime,
		Methods: p.Methods(), Roles: p.Roles(), Permissions: p.Permissions(), AsOf: p.AsOf(),
	}, nil
}

func (v *Verifier) introspect(ctx context.Context, text string, now moment) (p Principal, issued time.Time, err error) {
	kind, ours := token.KindOf(text)
	switch {
	case ours && (kind == token.Reference || kind == token.ServiceKey):
		key, err := token.Parse(kind, text)
		if err != nil {
			return Principal{}, time.Time{}, denied(ReasonInvalid, "checksum")
		}
		c, _, err := v.look(ctx, question{form: formOf(kind), key: key, text: text}, now)
		if err != nil {
			return Principal{}, time.Time{}, err
		}
		issued = c.found.Session.CreatedAt
		if kind == token.ServiceKey {
			issued = c.found.ServiceKey.CreatedAt
		}
		p, err = v.fromAnswer(c, now)
		return p, issued, err
	case ours || v.keys == nil || strings.IndexByte(text, '.') < 0:
		return Principal{}, time.Time{}, denied(ReasonInvalid, "kind")
	}
	c, _, err := v.genuine(ctx, text, now)
	if err != nil {
		return Principal{}, time.Time{}, err
	}
	if by, revoked := v.keys.Revoked(c.claims.KeyID); revoked {
		return Principal{}, time.Time{}, &DeniedError{Reason: ReasonRevoked, Check: "signing_key", By: by}
	}
	if ended := v.log.Check(now.clock, c.query()).Ended; ended != 0 { // known here already
		return Principal{}, time.Time{}, &DeniedError{Reason: ReasonRevoked, Check: "event", By: ended}
	}
	p, err = v.valueFromStore(ctx, c.claims, now)
	return p, c.claims.IssuedAt, err
}

// Source is where a Verifier without a store gets what it needs.
type Source struct {
	Log       revoke.Log // renewals at a server; Registered, Remove and Forget are never called with anything to do
	Authority Authority
	Keys      VerifyKeys // nil where no value token can be checked here: they are introspected like the rest
}

// OpenVerifier makes a Verifier that has no store: it checks value tokens by their signature and by the events that the log
// tells, and asks the authority for everything else. It is the same Verifier as an Auth's, with the same cache, and with
// Guard. It knows no roles of its own: permissions are those of the token or of the authority's answer, and are asked for
// again when a role changed. Of the options it takes PublicURL, InsecureHTTP, Origins, Cookie, TrustedProxies, Token.Issuer,
// Token.Audience, LoginURL, OnDenied, RefuseStale, CacheBytes, Now, Logger and Name. Close it when done.
//
// What it checks is no activity of the user: the idle end of a session moves by what the servers themselves see.
func OpenVerifier(ctx context.Context, src Source, opt Options) (*Verifier, error) {
	if src.Log == nil || src.Authority == nil {
		return nil, errors.New("handstamp: OpenVerifier needs Source.Log and Source.Authority")
	}
	opt.Modes = []Mode{ModeSession} // nothing is issued here, so nothing that issuing needs is asked for
	opt.Lease = 0
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	v := newVerifier(opt)
	v.authority = src.Authority
	v.rules.ExpiryLeeway = expiryLeeway
	if src.Keys != nil {
		v.keys, v.readKeys = &issuedKeys{src.Keys}, src.Keys.Reload
		if err := src.Keys.Reload(ctx); err != nil {
			return nil, fmt.Errorf("handstamp: read the public keys: %w", err)
		}
	}
	if v.origins, err = newOrigins(opt, v.cookies); err != nil {
		return nil, err
	}
	reload := make(chan struct{}, 1)
	hooks := followHooks{events: func(events []revoke.Event) { v.happened(events); wakeForKeys(events, reload) }, reset: v.guards.doubt}
	if err := v.follow(ctx, src.Log, opt, hooks); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stop = stop
	v.running.Go(func() { v.watchGuards(run) })
	v.running.Go(func() { v.watchKeys(run, reload, opt) })
	return v, nil
}

// Close stops what OpenVerifier started. After it every check asks the authority. An Auth's own Close does this for its
// Verifier.
func (v *Verifier) Close() error {
	v.stop()
	v.running.Wait()
	v.log.Close()
	return nil
}

func wakeForKeys(events []revoke.Event, reload chan<- struct{}) {
	for _, e := range events {
		if e.Kind != revoke.KindKey {
			continue
		}
		select {
		case reload <- struct{}{}:
		default: // one is waiting already
		}
		return
	}
}

// expiryLeeway is for how long after its end a value token is still taken where there is no store to compare clocks with.
const expiryLeeway = 30 * time.Second

// keysEvery is how often a Verifier without a store looks whether its keys are due to be read again.
const keysEvery = 30 * time.Second

// watchKeys keeps the keys young, so that the next one is known before it signs.
func (v *Verifier) watchKeys(ctx context.Context, reload <-chan struct{}, opt Options) {
	if v.readKeys == nil {
		return
	}
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-reload:
		case <-tick.C:
		}
		ask, cancel := context.WithTimeout(ctx, taskTimeout)
		if err := v.readKeys(ask); err != nil && ctx.Err() == nil {
			opt.Logger.ErrorContext(ctx, "the public keys could not be read again; those at hand go on", "error", err)
		}
		cancel()
	}
}
