package handstamp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// Verifier answers who sent a request. It is the hot path: this file, read from top to bottom, is everything that
// happens to a request. Nothing on it writes to a store, and what memory cannot decide is looked up.
//
// A Verifier is safe for concurrent use.
type Verifier struct {
	find      finder    // nil without a store
	authority Authority // whom to ask without a store
	log       *revoke.Follower
	near      *near // nil without a memory
	lag       *distribution
	keys      *issuedKeys                     // nil where there are no value tokens
	readKeys  func(ctx context.Context) error // reads the signing keys again
	renewed   *cooldown                       // of readKeys
	roles     *roleTable
	seen      *lastSeen
	guards    *guards
	rules     jwt.Rules // issuer and audience; the time is set for each check
	refuse    bool      // answer 503 under a lapsed lease instead of asking
	quiet     bool      // checks do not count as activity: somebody looks into a credential
	cookies   cookies
	origins   origins
	answers   answers // what is written when the answer is not yes

	stop    context.CancelFunc
	running *sync.WaitGroup
}

// finder is the one look-up: Sessions.Find of the primary.
type finder interface {
	Find(ctx context.Context, l Lookup) (Found, error)
}

// issuedKeys finds keys for a check of the signature, revoked ones among them. Whether one was revoked is asked next.
type issuedKeys struct{ VerifyKeys }

// Key implements jwt.KeySet.
func (k issuedKeys) Key(kid string) (jwt.VerifyKey, bool) { return k.Issued(kid) }

// moment is when a check happens: this process's clocks, which its lease runs by, and the fleet's time, which the ends of
// sessions and tokens are compared with. They are read inside the check: an old reading would trust a lease that has
// lapsed since.
type moment struct {
	clock revoke.Instant
	fleet time.Time
}

func (v *Verifier) moment() moment { return moment{clock: v.log.Now(), fleet: v.now()} }

// leaseFresh reports whether memory may answer at all. A copy that is older than what the log remembers is not fresh
// either, but then the store may be asked, whatever is done under a lapsed lease.
func (v *Verifier) leaseFresh(now moment) bool {
	return v.log.Check(now.clock, revoke.Query{AsOf: math.MaxUint64}).Fresh
}

// Verify finds out who sent the request. It answers a Principal and nil; or an error that is ErrUnauthenticated; or
// another error, which means "could not find out" and is answered with 503. On every error the Principal is zero.
func (v *Verifier) Verify(r *http.Request) (Principal, error) { return v.Check(r) }

// Check is Verify and then the rules. A rule that is not met is an error that is ErrForbidden.
func (v *Verifier) Check(r *http.Request, rules ...Rule) (Principal, error) {
	text, err := v.cookies.credential(r)
	if err != nil {
		return Principal{}, err
	}
	return v.CheckToken(r.Context(), text, rules...)
}

// VerifyToken is the same from a credential's text, for gRPC, command lines and workers.
func (v *Verifier) VerifyToken(ctx context.Context, text string) (Principal, error) {
	return v.CheckToken(ctx, text)
}

// CheckToken is VerifyToken and then the rules.
func (v *Verifier) CheckToken(ctx context.Context, text string, rules ...Rule) (Principal, error) {
	now := v.moment()
	p, asked, err := v.authenticate(ctx, text, now, wantFresh(rules))
	if err != nil {
		return Principal{}, err
	}
	err = obey(p, rules, now.fleet)
	if err == nil {
		return p, nil
	}
	if asked {
		return Principal{}, err
	}
	// What is in memory may say yes, never no: a role that was given a moment ago could turn this into yes.
	if p, _, err = v.authenticate(ctx, text, now, true); err != nil {
		return Principal{}, err
	}
	if err = obey(p, rules, now.fleet); err != nil {
		return Principal{}, err
	}
	return p, nil
}

// authenticate tells the kinds of credentials apart. asked says that the store was asked, so that its answer is final.
func (v *Verifier) authenticate(ctx context.Context, text string, now moment, fresh bool) (p Principal, asked bool, err error) {
	switch kind, ours := token.KindOf(text); {
	case ours && (kind == token.Reference || kind == token.ServiceKey):
		return v.opaque(ctx, kind, text, now, fresh)
	case ours: // any other kind opens nothing but its own door
		return Principal{}, true, denied(ReasonInvalid, "kind")
	case (v.keys != nil || v.authority != nil) && strings.IndexByte(text, '.') > 0:
		return v.value(ctx, text, now, fresh)
	default:
		return Principal{}, true, denied(ReasonInvalid, "form")
	}
}

// opaque finds out about a reference token or a service key: from a copy in memory while the lease is fresh and no event
// hits it, else by a look-up. A mistyped or made-up token is refused by its checksum, and costs nothing.
func (v *Verifier) opaque(ctx context.Context, kind token.Kind, text string, now moment, fresh bool) (Principal, bool, error) {
	key, err := token.Parse(kind, text)
	if err != nil {
		return Principal{}, true, denied(ReasonInvalid, "checksum")
	}
	return v.byQuestion(ctx, question{form: formOf(kind), key: key, text: text}, now, fresh)
}

// byQuestion answers from a copy, or asks.
func (v *Verifier) byQuestion(ctx context.Context, q question, now moment, fresh bool) (Principal, bool, error) {
	if q.copy = !fresh && v.leaseFresh(now); q.copy {
		if c, ok := v.near.get(q.key); ok && c.claims == nil {
			if p, ok := v.fromCopy(c, now); ok {
				v.near.served(c, now)
				return p, false, nil
			}
		}
		if v.near.isUnknown(q.key, now) {
			return Principal{}, true, denied(ReasonInvalid, "unknown")
		}
	}
	v.near.missed()
	c, final, err := v.look(ctx, q, now)
	if err == nil && !final {
		// Somebody else's question, or a tier's answer: a copy like those in memory. Time has passed meanwhile.
		if p, ok := v.fromCopy(c, v.moment()); ok {
			return p, false, nil
		}
		q.copy = false
		c, _, err = v.look(ctx, q, now)
	}
	if err != nil {
		return Principal{}, true, err
	}
	p, err := v.fromAnswer(c, now)
	return p, true, err
}

// fromCopy makes the Principal of a copy if memory may decide about it and says yes; in any other case the store is asked.
func (v *Verifier) fromCopy(c *copied, now moment) (Principal, bool) {
	verdict := v.log.Check(now.clock, c.query())
	if !verdict.Fresh || verdict.Generation != c.generation || verdict.Hit != (revoke.Hit{}) {
		return Principal{}, false
	}
	if c.told != nil {
		return v.fromTold(c, verdict, now)
	}
	roles, ok := v.roles.current(v.log, now.clock, c.found.Subject.Grants.Roles)
	if !ok {
		return Principal{}, false
	}
	p := Principal{ExpiresAt: c.found.ServiceKey.ExpiresAt}
	if c.found.ServiceKey.ID != "" {
		if judgeKey(c.found.ServiceKey, now.fleet) != nil { // a record that was read after its end is newer than the event
			return Principal{}, false
		}
	} else {
		s := c.found.Session
		s.SeenAt = c.lastSeen(v.seen.latest(s.ID, s.SeenAt))
		if judge(s, c.found.Subject, now.fleet) != nil {
			return Principal{}, false
		}
		p.ExpiresAt = s.ends()
		if !v.quiet && v.seen.note(s, now.fleet) {
			c.seen.Store(now.fleet.UnixMicro())
		}
	}
	ends := p.ExpiresAt
	if r := c.ready.Load(); r != nil && r.roles == roles {
		p = r.principal
	} else {
		p = v.principalOf(*c.found, roles.table)
		c.ready.Store(&ready{principal: p, roles: roles})
	}
	p.ExpiresAt, p.asOf = ends, c.clean(verdict.Applied)
	return p, true
}

// fromAnswer judges what the store or the authority said just now. That is final.
func (v *Verifier) fromAnswer(c *copied, now moment) (Principal, error) {
	switch {
	case c.told != nil:
		return c.principal()
	case c.found.ServiceKey.ID != "":
		if err := judgeKey(c.found.ServiceKey, now.fleet); err != nil {
			return Principal{}, err
		}
	default:
		s := c.found.Session
		s.SeenAt = v.seen.latest(s.ID, s.SeenAt)
		if err := judge(s, c.found.Subject, now.fleet); err != nil {
			return Principal{}, err
		}
		if !v.quiet && v.seen.note(s, now.fleet) {
			c.seen.Store(now.fleet.UnixMicro())
		}
		return v.fromRecord(s, *c.found, Reference), nil
	}
	return v.principalOf(*c.found, nil), nil
}

// value checks a signed or encrypted token: signature and claims, then the events since it was made. Under a fresh lease
// that is all, in memory. Otherwise the store is asked.
func (v *Verifier) value(ctx context.Context, text string, now moment, fresh bool) (Principal, bool, error) {
	if v.authority != nil && (v.keys == nil || strings.Count(text, ".") == 4) {
		// Signed with a secret of the servers, or encrypted for them: they are asked, as about an opaque token.
		return v.byQuestion(ctx, question{form: Value, key: sha256.Sum256([]byte(text)), text: text}, now, fresh)
	}
	c, remembered, err := v.genuine(ctx, text, now)
	if err != nil {
		return Principal{}, true, err
	}
	t := c.claims
	if by, revoked := v.keys.Revoked(t.KeyID); revoked {
		return Principal{}, true, &DeniedError{Reason: ReasonRevoked, Check: "signing_key", By: by}
	}
	verdict := v.log.Check(now.clock, c.query())
	if verdict.Ended != 0 { // an event is final; no lease is needed to believe it
		return Principal{}, true, &DeniedError{Reason: ReasonRevoked, Check: "event", By: verdict.Ended}
	}
	if verdict.Fresh && verdict.Generation == c.generation && verdict.Changed == 0 && !fresh {
		if p, ok := v.fromClaims(c, verdict, now); ok {
			if remembered {
				v.near.served(c, now)
			} else {
				v.near.missed()
			}
			return p, false, nil
		}
	} else if v.refuse && !fresh && !v.leaseFresh(now) {
		return Principal{}, true, fmt.Errorf("the lease has lapsed")
	}
	v.near.missed()
	if v.authority != nil {
		return v.valueFromAuthority(ctx, text, now)
	}
	p, err := v.valueFromStore(ctx, t, now)
	return p, true, err
}

// genuine checks a value token's signature and its claims, or remembers that they were good. A key that is not issued any
// more, and the end of the token, are looked at each time.
func (v *Verifier) genuine(ctx context.Context, text string, now moment) (c *copied, remembered bool, err error) {
	var hash token.Hash
	if v.near != nil {
		hash = sha256.Sum256([]byte(text))
		if c, ok := v.near.get(hash); ok && c.claims != nil && c.generation == v.log.View().Generation && now.fleet.Before(c.claims.ExpiresAt) {
			if _, issued := v.keys.Issued(c.claims.KeyID); issued {
				return c, true, nil
			}
		}
	}
	rules := v.rules
	rules.Now = now.fleet
	generation := v.log.View().Generation
	t, err := jwt.Verify(text, v.keys, rules)
	if unknownKey(err) {
		// Another process may have made the key a moment ago. Made-up ids cost one read a second, whatever their number.
		if v.renewed.due(now) {
			v.renewed.doubt.Store(true)
			// Whoever asked may hang up. The answer is everybody's.
			read, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupPatience)
			defer cancel()
			if err := v.readKeys(read); err != nil {
				return nil, false, fmt.Errorf("read the signing keys: %w", err)
			}
			v.renewed.doubt.Store(false)
			t, err = jwt.Verify(text, v.keys, rules)
		} else if v.renewed.doubt.Load() {
			return nil, false, errors.New("the signing keys could not be read, so it is not known whether this is one")
		}
	}
	if err != nil {
		return nil, false, refusedToken(err)
	}
	c = &copied{claims: &t, generation: generation, read: now.clock.Mono}
	if v.authority != nil {
		c.credential = token.NewSecret(text)
	}
	return v.near.put(hash, c, t.AsOf), false, nil
}

// valueFromStore decides about a value token by what the store says now: session, subject, roles and signing key in one
// snapshot.
func (v *Verifier) valueFromStore(ctx context.Context, t *jwt.Claims, now moment) (Principal, error) {
	ask, cancel := context.WithTimeoutCause(ctx, lookupPatience, errPatience)
	defer cancel()
	found, err := v.find.Find(ask, Lookup{Session: id.Session(t.Session), SigningKey: t.KeyID})
	if errors.Is(err, ErrNotFound) {
		return Principal{}, denied(ReasonInvalid, "unknown_session")
	}
	if err != nil {
		return Principal{}, fmt.Errorf("look up the session of a token: %w", err)
	}
	s, sub := found.Session, found.Subject
	if s.ID != id.Session(t.Session) || s.User != id.User(t.Subject) {
		return Principal{}, denied(ReasonInvalid, "other_user")
	}
	if found.SigningKeyEnded != 0 {
		return Principal{}, &DeniedError{Reason: ReasonRevoked, Check: "signing_key", By: found.SigningKeyEnded}
	}
	s.SeenAt = v.seen.latest(s.ID, s.SeenAt)
	if err := judge(s, sub, now.fleet); err != nil {
		return Principal{}, err
	}
	if changed := max(s.Changed, sub.Changed); changed > t.AsOf {
		return Principal{}, &DeniedError{Reason: ReasonStale, Check: "changed", By: changed}
	}
	p := v.fromRecord(s, found, Value)
	p.ExpiresAt, p.more.signingKey = t.ExpiresAt, t.KeyID
	return p, nil
}

func unknownKey(err error) bool {
	e, ok := errors.AsType[*jwt.Error](err)
	return ok && e.Check == jwt.CheckKey
}

// cooldown lets one caller through per second. It goes by the monotonic clock.
type cooldown struct {
	next  atomic.Int64
	doubt atomic.Bool // whoever was let through last has not come back, or failed
}

func (c *cooldown) due(now moment) bool {
	next := c.next.Load()
	mono := now.clock.Mono
	return int64(mono) >= next && c.next.CompareAndSwap(next, int64(mono+time.Second))
}

// refusedToken translates what package jwt says. "expired" is only ever said after the signature matched. An error that is
// no refusal says nothing about the token.
func refusedToken(err error) error {
	e, ok := errors.AsType[*jwt.Error](err)
	switch {
	case !ok:
		return fmt.Errorf("check a value token: %w", err)
	case errors.Is(err, jwt.ErrExpired):
		return denied(ReasonExpired, e.Check)
	default:
		return denied(ReasonInvalid, e.Check)
	}
}
