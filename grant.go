package handstamp

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/token"
)

// Grant is what a login or a refresh gives to the client.
type Grant struct {
	Session      Session
	Principal    Principal
	AccessToken  token.Secret // a reference token in ModeSession, a value token otherwise
	RefreshToken token.Secret // ModeHybrid only
	// AccessExpiresAt is when the access token stops, if nothing stops it before.
	AccessExpiresAt time.Time
	// RefreshExpiresAt is when the refresh token stops if it is not used; zero but in ModeHybrid.
	RefreshExpiresAt time.Time
}

// ends is when a session stops by itself, as things stand.
func (s Session) ends() time.Time {
	if idle := s.IdleExpiresAt(); !idle.IsZero() && idle.Before(s.ExpiresAt) {
		return idle
	}
	return s.ExpiresAt
}

// IdleExpiresAt is when the session stops if nothing counts as activity any more; zero if it has no idle end.
func (s Session) IdleExpiresAt() time.Time {
	if s.IdleTimeout == 0 {
		return time.Time{}
	}
	return s.SeenAt.Add(s.IdleTimeout)
}

// grant makes the credentials of a session from one read of its record, its subject and its roles.
func (a *Auth) grant(found Found, sec secrets, now time.Time) (Grant, error) {
	s := found.Session
	g := Grant{Session: s, Principal: a.fromRecord(s, found, Reference), AccessToken: sec.reference, AccessExpiresAt: s.ends()}
	if s.Mode == ModeSession {
		return g, nil
	}
	c, err := a.claimsOf(found, now)
	if err != nil {
		return Grant{}, err
	}
	if g.AccessToken, err = a.mint(c, s.Transport, now); err != nil {
		return Grant{}, err
	}
	g.Principal.Form, g.Principal.ExpiresAt, g.AccessExpiresAt = Value, c.ExpiresAt, c.ExpiresAt
	if s.Mode == ModeToken {
		return g, nil
	}
	sid, err := id.SessionBytes(s.ID)
	if err != nil {
		return Grant{}, fmt.Errorf("the session's id: %w", err)
	}
	g.RefreshExpiresAt = s.ends()
	g.RefreshToken, err = a.minter.Mint(token.RefreshToken{Session: sid, Generation: s.Refresh.Generation, Nonce: sec.nonce})
	return g, err
}

// claimsOf is what a value token says about a session. AsOf is the log's head in the very read that the rest comes from.
func (a *Auth) claimsOf(found Found, now time.Time) (jwt.Claims, error) {
	s, sub := found.Session, found.Subject
	exp := s.ends()
	if s.Mode == ModeHybrid {
		if end := now.Add(jitter(a.opt.Token.AccessTTL)); end.Before(exp) {
			exp = end
		}
	}
	table := a.roles.of(found)
	c := jwt.Claims{
		Issuer: a.opt.Token.Issuer, Subject: string(s.User), Audience: []string{a.opt.Token.Audience}, ClientID: a.opt.Token.Audience,
		ExpiresAt: exp, IssuedAt: now, NotBefore: now, ID: newTokenID(), Session: string(s.ID), AuthTime: s.AuthAt,
		Methods: s.Methods, Roles: sub.Grants.Roles, Grants: sub.Grants.Permissions,
		Permissions: table.Grants(sub.Grants.Roles).Union(permission.NewSet(sub.Grants.Permissions...)).List(),
		AsOf:        sub.Head,
	}
	if len(s.Claims) > 0 {
		if err := json.Unmarshal(s.Claims, &c.Custom); err != nil {
			return jwt.Claims{}, fmt.Errorf("read the claims of the application: %w", err)
		}
	}
	return c, nil
}

func newTokenID() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// mint signs or encrypts. What would not reach the server again is not issued.
func (a *Auth) mint(c jwt.Claims, t Transport, now time.Time) (token.Secret, error) {
	text, err := a.opt.Keys.Seal(c, now)
	if err == nil && t == TransportCookie {
		err = c.CheckSize(text, maxValueCookieBytes)
	}
	if size, ok := errors.AsType[*jwt.SizeError](err); ok {
		return token.Secret{}, fmt.Errorf("%w: the claim %q takes the most room (%d of at most %d bytes in all)",
			ErrTooLarge, size.Claim, size.Bytes, size.Limit)
	}
	if err != nil {
		return token.Secret{}, fmt.Errorf("make the value token: %w", err)
	}
	return token.NewSecret(text), nil
}

// tryToMint finds out whether a session's value token can be made, before anything is written: a credential that turns out
// too large afterwards would have cost the client the one before.
func (a *Auth) tryToMint(found Found, now time.Time) error {
	if found.Session.Mode == ModeSession {
		return nil
	}
	c, err := a.claimsOf(found, now)
	if err != nil {
		return err
	}
	_, err = a.mint(c, found.Session.Transport, now)
	return err
}
