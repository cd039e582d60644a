package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/jwt"
)

// valueView is what a value token says. Verified says whether we made it; if not, anybody may have written it.
type valueView struct {
	Verified  bool           `json:"verified"`
	Encrypted bool           `json:"encrypted"`
	Algorithm string         `json:"alg"`
	Type      string         `json:"typ"`
	KeyID     string         `json:"kid"`
	Issuer    string         `json:"iss,omitempty"`
	Subject   string         `json:"sub,omitempty"`
	Audience  []string       `json:"aud,omitempty"`
	Session   string         `json:"sid,omitempty"`
	ID        string         `json:"jti,omitempty"`
	IssuedAt  stamp          `json:"iat"`
	ExpiresAt stamp          `json:"exp"`
	AuthTime  stamp          `json:"auth_time"`
	Methods   []string       `json:"amr,omitempty"`
	Roles     []string       `json:"roles,omitempty"`
	AsOf      uint64         `json:"ep"`
	Custom    map[string]any `json:"custom,omitempty"`
}

func viewValue(h jwt.Header, c jwt.Claims, verified bool) *valueView {
	v := &valueView{
		Verified: verified, Encrypted: h.Encrypted, Algorithm: h.Algorithm, Type: h.Type, KeyID: h.KeyID,
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, Session: c.Session, ID: c.ID,
		IssuedAt: stamp(c.IssuedAt), ExpiresAt: stamp(c.ExpiresAt), AuthTime: stamp(c.AuthTime),
		Methods: c.Methods, Roles: c.Roles, AsOf: c.AsOf, Custom: c.Custom,
	}
	if h.Encrypted { // somebody had a reason to hide them
		v.Custom = map[string]any{}
		for name := range c.Custom {
			v.Custom[name] = "REDACTED"
		}
	}
	return v
}

// rows are the lines about a value token for a person.
func (v *valueView) rows(now time.Time) [][]string {
	said := "what it says (verified)"
	if !v.Verified {
		said = "what it says (NOT verified: anybody may have written this)"
	}
	form := "signed"
	if v.Encrypted {
		form = "encrypted"
	}
	rows := [][]string{{"form", fmt.Sprintf("%s, alg %s, typ %s, kid %s", form, v.Algorithm, v.Type, v.KeyID)}, {said, ""}}
	for _, r := range [][2]string{
		{"  iss", v.Issuer}, {"  aud", strings.Join(v.Audience, " ")}, {"  sub", v.Subject}, {"  sid", v.Session},
		{"  iat", when(time.Time(v.IssuedAt), now)}, {"  exp", when(time.Time(v.ExpiresAt), now)},
		{"  auth_time", when(time.Time(v.AuthTime), now)}, {"  amr", strings.Join(v.Methods, " ")},
		{"  roles", strings.Join(v.Roles, " ")},
	} {
		if r[1] != "" {
			rows = append(rows, []string{r[0], r[1]})
		}
	}
	if v.Issuer != "" {
		rows = append(rows, []string{"  ep", fmt.Sprintf("%d (no event after this number was known when it was made)", v.AsOf)})
	}
	for _, name := range slices.Sorted(maps.Keys(v.Custom)) {
		rows = append(rows, []string{"  " + name, fmt.Sprint(v.Custom[name])})
	}
	return rows
}

// valueWords completes what is said about a value token.
func (t *tool) valueWords(in *inspection, found handstamp.Inspection, text string) {
	in.Kind = "a value token: it speaks for itself, by its signature"
	head, _, err := jwt.InspectUnverified(text)
	if err != nil && head.Algorithm == "" {
		return // no token at all: there is nothing to show
	}
	if head.Encrypted {
		in.Kind = "an encrypted value token: it speaks for itself, to servers that have its key"
	}
	in.Value = viewValue(head, found.Claims, found.Genuine)
	if by, revoked := t.ring.Revoked(head.KeyID); revoked {
		// Who has the key can sign anything, so a signature by it proves nothing.
		in.Value.Verified = false
		in.Accepted = false
		in.refuse(&handstamp.DeniedError{Reason: handstamp.ReasonRevoked, Check: "signing_key", By: by, Since: t.keyEnded(head.KeyID)})
		return
	}
	if in.Check != jwt.CheckExpiry {
		return
	}
	end := stamp(found.Claims.ExpiresAt)
	in.Since = &end
	switch {
	case found.Session.ID == "":
	case !handstamp.Live(found.Session, found.Subject, t.auth.Now()):
		in.Meaning += "; its session is over, too"
	case found.Session.Mode == handstamp.ModeHybrid:
		in.Meaning += "; its session lives, so a refresh makes the next one"
	}
}

func (t *tool) keyEnded(kid string) time.Time {
	for _, k := range t.ring.List() {
		if k.ID == kid {
			return k.RevokedAt
		}
	}
	return time.Time{}
}
