package server

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/token"
)

// keySetOut is the shape of the key set, for the document.
type keySetOut struct {
	Keys []map[string]string `json:"keys"`
}

// keySet: GET /.well-known/jwks.json. It is the one document that may be cached: the next key is in it long before it
// signs. It is made from memory, and who asks again for what has not changed is told no more than that.
func (s *Server) keySet(w http.ResponseWriter, r *http.Request) error {
	var set jwt.PublicSet
	if s.opt.Keys != nil && !s.opt.HideKeys {
		set = s.opt.Keys.Public(s.auth.Now())
	}
	body, err := json.Marshal(set)
	if err != nil {
		return fmt.Errorf("write the key set: %w", err)
	}
	body = append(body, '\n')
	sum := sha256.Sum256(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("ETag", tag)
	if named(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the status is out; an error here is the client's connection
	return nil
}

// named reports whether a tag is in the lists of If-None-Match, by the weak comparison of RFC 9110 section 13.1.2.
func named(lists []string, tag string) bool {
	for _, list := range lists {
		for one := range strings.SplitSeq(list, ",") {
			one = strings.Trim(one, " \t")
			if one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// introspectionOut is RFC 7662 section 2.2. For a token that is not good it is {"active":false} and nothing else.
type introspectionOut struct {
	Active    bool     `json:"active"`
	Subject   string   `json:"sub,omitempty"`
	Session   string   `json:"sid,omitempty"`
	ExpiresAt int64    `json:"exp,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty" doc:"When the user last proved who they are; left out for a service key."`
	Methods   []string `json:"amr,omitempty" doc:"How: RFC 8176 names."`
	AsOf      *uint64  `json:"ep,omitempty" doc:"The number of the log up to which this answer is true; left out for a service key."`
	Scope     *string  `json:"scope,omitempty" doc:"Permissions, separated by spaces; empty for who has none."`
	TokenType string   `json:"token_type,omitempty"`
	Roles     []string `json:"roles,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
}

// maxAsking is how many questions about credentials of one caller are answered at a time; maxRevoking how many calls of one
// network that end what they hold. One caller cannot take all that a store can do.
const (
	maxAsking   = 256
	maxRevoking = 64
)

// introspect: POST /v1/introspect. It asks the store and writes nothing, no last-seen either. A refresh token is never
// active here: who asks wants to know whether to serve a request, and a refresh token opens nothing but the door to the
// next access token.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) error {
	text, err := decodeToken(r)
	if err != nil {
		return err
	}
	if !couldOpen(text) {
		return answer(w, http.StatusOK, introspectionOut{})
	}
	leave, err := s.asking.enter(string(who(r).User))
	if err != nil {
		return err
	}
	defer leave()
	in, err := s.auth.Introspect(r.Context(), text)
	if err != nil {
		return err
	}
	if !in.Active {
		return answer(w, http.StatusOK, introspectionOut{})
	}
	out := introspectionOut{
		Active: true, Subject: string(in.User), Session: string(in.Session), Roles: in.Roles, IssuedAt: in.IssuedAt.Unix(),
		Scope: new(strings.Join(in.Permissions, " ")), TokenType: "Bearer", ClientID: s.auth.Audience(),
	}
	if !in.ExpiresAt.IsZero() {
		out.ExpiresAt = in.ExpiresAt.Unix()
	}
	if in.Session != "" {
		out.AsOf = &in.AsOf
	}
	if !in.AuthTime.IsZero() {
		out.AuthTime, out.Methods = in.AuthTime.Unix(), in.Methods
	}
	return answer(w, http.StatusOK, out)
}

// maxTokenBytes is more than any credential that is issued here: a value token has 8 KiB at most.
const maxTokenBytes = 10 << 10

// couldOpen tells what may be a credential of a request from what is none, before anything is looked at that costs more:
// other kinds of tokens of ours, what is longer than any, and what has something around it. What is left is refused by its
// checksum or its signature, before a store is asked.
func couldOpen(text string) bool {
	if len(text) > maxTokenBytes || strings.TrimSpace(text) != text {
		return false
	}
	if kind, ours := token.KindOf(text); ours {
		return kind == token.Reference || kind == token.ServiceKey
	}
	return strings.IndexByte(text, '.') > 0
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
	if len(text) > maxTokenBytes {
		return answer(w, http.StatusOK, applied(handstamp.Ended{}, opt))
	}
	leave, err := s.revoking.enter(networkOf(opt.Client))
	if err != nil {
		return err
	}
	defer leave()
	ended, err := s.auth.LogOut(r.Context(), token.NewSecret(text), opt)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, applied(ended, opt))
}

// crowd bounds how many calls of one caller are under way at a time. It is safe for concurrent use, and remembers nobody
// who has left.
type crowd struct {
	limit int

	mu sync.Mutex
	of map[string]int
}

func newCrowd(limit int) *crowd { return &crowd{limit: limit, of: map[string]int{}} }

// enter takes one of a caller's places; leave gives it back.
func (c *crowd) enter(caller string) (leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[caller] >= c.limit {
		return nil, soon(time.Second, "Too many calls like this one are under way for you. Ask again.", nil)
	}
	c.of[caller]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.of[caller]--; c.of[caller] == 0 {
			delete(c.of, caller)
		}
	}, nil
}

// networkOf is the part of a client's address that is counted.
func networkOf(c handstamp.Client) string {
	addr, err := netip.ParseAddr(c.IP)
	if err != nil {
		return ""
	}
	return handstamp.Network(addr).String()
}
