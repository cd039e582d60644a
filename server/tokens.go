package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/token"
)

// keySetOut is the shape of the key set, for the document.
type keySetOut struct {
	Keys []map[string]string `json:"keys"`
}

// keySet: GET /.well-known/jwks.json. It is the one document that may be cached: the next key is in it long before it
// signs.
func (s *Server) keySet(w http.ResponseWriter, _ *http.Request) error {
	var set jwt.PublicSet
	if s.opt.Keys != nil && !s.opt.HideKeys {
		set = s.opt.Keys.Public(s.auth.Now())
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	return answer(w, http.StatusOK, set)
}

// introspectionOut is RFC 7662 section 2.2. For a token that is not good it is {"active":false} and nothing else.
type introspectionOut struct {
	Active    bool     `json:"active"`
	Subject   string   `json:"sub,omitempty"`
	Session   string   `json:"sid,omitempty"`
	ExpiresAt int64    `json:"exp,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	AsOf      *uint64  `json:"ep,omitempty" doc:"The number of the log up to which this answer is true; left out for a service key."`
	Scope     string   `json:"scope,omitempty" doc:"Permissions, separated by spaces."`
	TokenType string   `json:"token_type,omitempty"`
	Roles     []string `json:"roles,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
}

// introspect: POST /v1/introspect. It asks the store and writes nothing, no last-seen either. A refresh token is never
// active here: who asks wants to know whether to serve a request, and a refresh token opens nothing but the door to the
// next access token.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) error {
	text, err := decodeToken(r)
	if err != nil {
		return err
	}
	in := s.auth.Inspect(r.Context(), text)
	if in.Err != nil && !errors.Is(in.Err, handstamp.ErrUnauthenticated) {
		return in.Err
	}
	if in.Err != nil || in.Principal.IsZero() || strings.TrimSpace(text) != text {
		return answer(w, http.StatusOK, introspectionOut{})
	}
	p := in.Principal
	out := introspectionOut{
		Active: true, Subject: string(p.User), Session: string(p.Session), Roles: p.Roles(),
		Scope: strings.Join(p.Permissions(), " "), TokenType: "Bearer", ClientID: s.auth.Audience(),
	}
	if !p.ExpiresAt.IsZero() {
		out.ExpiresAt = p.ExpiresAt.Unix()
	}
	if asOf := p.AsOf(); p.Form != handstamp.Key {
		out.AsOf = &asOf
	}
	switch {
	case p.Form == handstamp.Value:
		out.IssuedAt = in.Claims.IssuedAt.Unix()
	case p.Form == handstamp.Key:
		out.IssuedAt = in.ServiceKey.CreatedAt.Unix()
	default:
		out.IssuedAt = in.Session.CreatedAt.Unix()
	}
	return answer(w, http.StatusOK, out)
}

// revoke: POST /v1/revoke (RFC 7009). Who holds a credential may end it; nothing else is asked for. The answer does not
// say whether there was anything to end.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	text, err := decodeToken(r)
	if err != nil {
		return err
	}
	opt, err := s.endOptions(r, "revoked by its holder")
	if err != nil {
		return err
	}
	ended, err := s.auth.LogOut(r.Context(), token.NewSecret(text), opt)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, applied(ended, opt))
}
