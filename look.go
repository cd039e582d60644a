package handstamp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// question is one look-up of an opaque credential.
type question struct {
	form Form
	key  token.Hash
	text string // for an authority; a store is only asked by the hash
	copy bool   // a copy will do
	pass bool   // the answer is not kept
}

// formOf is the form of an opaque credential.
func formOf(k token.Kind) Form {
	if k == token.ServiceKey {
		return Key
	}
	return Reference
}

// errOther is a store or authority that answers about somebody else. That must not open the door.
var errOther = errors.New("look up a credential: the answer is about another record")

// look asks the store or the authority about an opaque credential and keeps the answer. final says that the answer is the
// primary's own and was read after the check began; otherwise it is a copy.
func (v *Verifier) look(ctx context.Context, q question, now moment) (c *copied, final bool, err error) {
	run := func(f *flight) {
		ctx, cancel := context.WithTimeoutCause(f.ctx, lookupPatience, errPatience)
		defer cancel()
		v.askStore(ctx, q, f)
	}
	if v.near == nil {
		f := &flight{ctx: ctx}
		if run(f); f.err != nil {
			return nil, false, f.err
		}
		return f.found, f.found.fromPrimary(), nil
	}
	f, after, err := v.near.ask(ctx, flightKey{q.key, q.copy}, now.clock.Mono, run)
	if err != nil {
		return nil, false, err
	}
	return f.found, after && f.found.fromPrimary(), nil
}

func (c *copied) fromPrimary() bool { return c.told != nil || !c.found.Copy }

// askStore asks, and keeps what may be kept.
func (v *Verifier) askStore(ctx context.Context, q question, f *flight) {
	// The log's generation before the read says which log its numbers are of.
	generation, began := v.log.View().Generation, v.log.Now().Mono
	v.near.begin(f, began)
	if v.authority != nil {
		f.found, f.err = v.askAuthority(ctx, q, generation, began)
		return
	}
	l := Lookup{Key: q.key, Copy: q.copy}
	if q.form == Key {
		l = Lookup{ServiceKey: q.key, Copy: q.copy}
	}
	found, err := v.find.Find(ctx, l)
	s := found.Session
	switch {
	case errors.Is(err, ErrNotFound):
		v.near.drop(q.key)
		v.near.neverHeard(q.key, began)
		f.err = denied(ReasonInvalid, "unknown")
	case err != nil:
		f.err = fmt.Errorf("look up a credential: %w", err)
	case q.form == Key && !found.ServiceKey.Hash.Equal(q.key),
		q.form == Reference && (!s.Key.Equal(q.key) || s.Mode != ModeSession):
		f.err = errOther
	default:
		f.err = nil
		f.found = v.near.put(q.key, &copied{found: &found, generation: generation, read: began}, found.Subject.Head)
	}
}

func (v *Verifier) askAuthority(ctx context.Context, q question, generation uint64, began time.Duration) (*copied, error) {
	told, err := v.authority.Introspect(ctx, q.text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask about a credential: %w", err)
	case !told.Active:
		if !q.pass {
			v.near.drop(q.key)
		}
		return nil, denied(ReasonInvalid, "introspection")
	case told.User == "" || (told.Session == "") != (q.form == Key):
		return nil, errOther
	}
	c := &copied{told: &told, generation: generation, read: began, credential: token.NewSecret(q.text), form: q.form}
	if q.pass {
		c.asOf.Store(told.AsOf)
		return c, nil
	}
	return v.near.put(q.key, c, told.AsOf), nil
}

// valueFromAuthority asks what a value token is worth that memory may not decide about. Many checks at once ask once; the
// answer is kept nowhere, since the signature is what is remembered of such a token.
func (v *Verifier) valueFromAuthority(ctx context.Context, text string, now moment) (Principal, bool, error) {
	c, _, err := v.look(ctx, question{form: Value, key: sha256.Sum256([]byte(text)), text: text, pass: true}, now)
	if err != nil {
		return Principal{}, true, err
	}
	p, err := c.principal()
	return p, true, err
}

// fromTold makes the Principal of an authority's answer, if memory may still use it: no role of it changed, and it has not
// stopped.
func (v *Verifier) fromTold(c *copied, verdict revoke.Verdict, now moment) (Principal, bool) {
	if v.log.RolesChanged(c.told.Roles, c.asOf.Load()) || !c.told.ExpiresAt.IsZero() && !now.fleet.Before(c.told.ExpiresAt) {
		return Principal{}, false
	}
	r := c.ready.Load()
	if r == nil {
		p, err := c.principal()
		if err != nil {
			return Principal{}, false
		}
		r = &ready{principal: p}
		c.ready.Store(r)
	}
	p := r.principal
	p.asOf = c.clean(verdict.Applied)
	return p, true
}

// principal is of what an authority said just now.
func (c *copied) principal() (Principal, error) {
	t := c.told
	if !t.Active {
		return Principal{}, denied(ReasonInvalid, "introspection")
	}
	return Principal{
		User: t.User, Session: t.Session, Form: c.form, AuthTime: t.AuthTime, ExpiresAt: t.ExpiresAt, asOf: t.AsOf,
		more: &principalMore{
			roles: t.Roles, methods: t.Methods, grants: permission.NewSet(t.Permissions...), credential: c.credential,
		},
	}, nil
}

// lastSeen is when the session was used last, as far as the copy or others here know.
func (c *copied) lastSeen(known time.Time) time.Time {
	if seen := c.seen.Load(); seen > known.UnixMicro() {
		return time.UnixMicro(seen).UTC()
	}
	return known
}
