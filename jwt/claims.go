package jwt

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Claims is what a value token says. Times are whole seconds in a token:
// fractions are cut off, so that a token never lives longer than asked for.
// Absent times are the zero time, absent lists are nil.
type Claims struct {
	Issuer    string    // iss; required
	Subject   string    // sub: the user's id; required
	Audience  []string  // aud; required, at least one, none empty
	ClientID  string    // client_id; required by RFC 9068 section 2.2 to make a token
	ExpiresAt time.Time // exp: the first instant at which the token is over; required
	IssuedAt  time.Time // iat; required
	NotBefore time.Time // nbf
	ID        string    // jti; required to make a token
	Session   string    // sid: the session's id
	AuthTime  time.Time // auth_time: when the user last proved who they are
	Methods   []string  // amr (RFC 8176): how

	Roles       []string // roles
	Permissions []string // permissions: all, as computed when the token was made
	Grants      []string // grants: permissions given to the user directly, not by a role

	// AsOf is ep: the number of the last event that was known when the
	// claims were read; below 2^53.
	AsOf uint64

	// Custom holds an application's own claims, by name. When a token is
	// made the values are what encoding/json can write; when it is read they
	// are of the types that encoding/json reads into an any. A name may not
	// be one of the above or registered, nor sound like a secret:
	// [ErrReservedClaim]. Claims can be read by whoever holds a signed token.
	Custom map[string]any

	// KeyID is the kid of the key that the token was checked with. It is set
	// when a token is read and ignored when one is made.
	KeyID string
}

// CheckCustom says whether an application's claims may be put into a token:
// names and values as [Claims] has it. The error is [ErrReservedClaim] or
// [ErrClaim] and names the claim, never its value.
func CheckCustom(custom map[string]any) error {
	w := writer{}
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		w.custom(name, custom[name])
	}
	return w.err
}

// encode writes the claims as JSON, always in the same order.
func (c *Claims) encode() ([]byte, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	w := writer{buf: make([]byte, 0, 512)}
	w.text("iss", c.Issuer)
	w.text("sub", c.Subject)
	if len(c.Audience) == 1 {
		w.text("aud", c.Audience[0])
	} else {
		w.texts("aud", c.Audience)
	}
	w.text("client_id", c.ClientID)
	w.time("exp", c.ExpiresAt)
	w.time("iat", c.IssuedAt)
	w.time("nbf", c.NotBefore)
	w.text("jti", c.ID)
	w.text("sid", c.Session)
	w.time("auth_time", c.AuthTime)
	w.texts("amr", c.Methods)
	w.list("roles", c.Roles)
	w.list("permissions", c.Permissions)
	w.texts("grants", c.Grants)
	w.number("ep", c.AsOf)
	for _, name := range slices.Sorted(maps.Keys(c.Custom)) {
		w.custom(name, c.Custom[name])
	}
	if w.err != nil {
		return nil, w.err
	}
	return append(w.buf, '}'), nil
}

// complete refuses claims that lack what RFC 9068 section 2.2 requires.
func (c *Claims) complete() error {
	missing := ""
	switch {
	case c.Issuer == "":
		missing = "iss"
	case c.Subject == "":
		missing = "sub"
	case len(c.Audience) == 0 || slices.Contains(c.Audience, ""):
		missing = "aud"
	case c.ClientID == "":
		missing = "client_id"
	case c.ExpiresAt.IsZero():
		missing = "exp"
	case c.IssuedAt.IsZero():
		missing = "iat"
	case c.ID == "":
		missing = "jti"
	default:
		return nil
	}
	return fmt.Errorf("claim %q is missing: %w", missing, ErrClaim)
}

// tooLong names the claim that takes the most room.
func (c *Claims) tooLong(n, limit int) error {
	e := &SizeError{Bytes: n, Limit: limit}
	largest := 0
	count := func(name string, bytes int) {
		if bytes > largest {
			e.Claim, largest = name, bytes
		}
	}
	list := func(name string, s []string) {
		sum := 0
		for _, x := range s {
			sum += len(x) + len(`"",`)
		}
		count(name, sum)
	}
	count("iss", len(c.Issuer))
	count("sub", len(c.Subject))
	list("aud", c.Audience)
	count("client_id", len(c.ClientID))
	count("jti", len(c.ID))
	count("sid", len(c.Session))
	list("amr", c.Methods)
	list("roles", c.Roles)
	list("permissions", c.Permissions)
	list("grants", c.Grants)
	for _, name := range slices.Sorted(maps.Keys(c.Custom)) {
		b, _ := json.Marshal(c.Custom[name]) // encode has written it once
		count(name, len(name)+len(b))
	}
	return e
}

// CheckSize fails with a [*SizeError] if the token made of these claims is
// longer than limit bytes. Where a token must fit into less than
// [MaxTokenBytes] (a cookie), the caller checks it with this.
func (c Claims) CheckSize(token string, limit int) error {
	if len(token) <= limit {
		return nil
	}
	return c.tooLong(len(token), limit)
}

// writer appends members to a JSON object. The first error stays; absent
// values are left out.
type writer struct {
	buf []byte
	err error
}

func (w *writer) name(name string) {
	if len(w.buf) == 0 {
		w.buf = append(w.buf, '{')
	} else {
		w.buf = append(w.buf, ',')
	}
	w.string(name)
	w.buf = append(w.buf, ':')
}

func (w *writer) text(name, s string) {
	if s == "" {
		return
	}
	if !utf8.ValidString(s) {
		w.fail(name, "is not UTF-8")
	}
	w.name(name)
	w.string(s)
}

// texts writes a list that is left out when it is empty.
func (w *writer) texts(name string, list []string) {
	if len(list) > 0 {
		w.list(name, list)
	}
}

// list writes a list that is there also when it is empty: nobody has to guess what its absence means.
func (w *writer) list(name string, list []string) {
	w.name(name)
	w.buf = append(w.buf, '[')
	for i, s := range list {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		if !utf8.ValidString(s) {
			w.fail(name, "is not UTF-8")
		}
		w.string(s)
	}
	w.buf = append(w.buf, ']')
}

func (w *writer) time(name string, t time.Time) {
	if t.IsZero() {
		return
	}
	if t.Unix() < 0 {
		w.fail(name, "is before 1970")
		return
	}
	w.number(name, uint64(t.Unix()))
}

func (w *writer) number(name string, n uint64) {
	if n > maxInteger {
		w.fail(name, "is 2^53 or more")
		return
	}
	w.name(name)
	w.buf = strconv.AppendUint(w.buf, n, 10)
}

// custom writes an application's claim and reads it back with the strict
// reader, so that a token is never made that [Verify] would refuse.
func (w *writer) custom(name string, v any) {
	if err := checkName(name); err != nil {
		w.keep(err)
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		w.fail(name, "cannot be written as JSON") // the cause may quote the value
		return
	}
	r, err := newReader(string(b))
	if err != nil {
		w.fail(name, "is not UTF-8")
		return
	}
	back, err := r.value()
	if err != nil || !r.end() {
		w.fail(name, "holds duplicate names, too deep nesting, or a number of 2^53 or more")
		return
	}
	if inner := secretName(back); inner != "" {
		w.keep(fmt.Errorf("name %q inside claim %q: %w", inner, name, ErrReservedClaim))
		return
	}
	w.name(name)
	w.buf = append(w.buf, b...)
}

// string appends a JSON string. Escaped are only what RFC 8259 section 7
// says.
func (w *writer) string(s string) {
	const hex = "0123456789abcdef"
	w.buf = append(w.buf, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			w.buf = append(w.buf, '\\', c)
		case c < 0x20:
			w.buf = append(w.buf, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			w.buf = append(w.buf, c)
		}
	}
	w.buf = append(w.buf, '"')
}

func (w *writer) fail(name, why string) {
	w.keep(fmt.Errorf("claim %q %s: %w", name, why, ErrClaim))
}

func (w *writer) keep(err error) {
	if w.err == nil {
		w.err = err
	}
}

// decodeClaims reads a payload. It allocates one copy of the text, of which
// the strings are parts, and the lists.
func decodeClaims(payload []byte) (Claims, error) {
	var c Claims
	r, err := newReader(string(payload))
	if err != nil {
		return Claims{}, errClaims
	}
	if err := r.object(func(name string) error { return c.member(r, name) }); err != nil || !r.end() {
		return Claims{}, errClaims
	}
	if c.Issuer == "" || c.Subject == "" || len(c.Audience) == 0 || c.ExpiresAt.IsZero() || c.IssuedAt.IsZero() {
		return Claims{}, errClaims
	}
	return c, nil
}

// member reads the value of one claim.
func (c *Claims) member(r *reader, name string) (err error) {
	var n int64
	switch name {
	case "iss":
		c.Issuer, err = r.text()
	case "sub":
		c.Subject, err = r.text()
	case "aud":
		if r.peek() == '[' {
			c.Audience, err = r.texts()
			break
		}
		c.Audience = make([]string, 1)
		c.Audience[0], err = r.text()
	case "client_id":
		c.ClientID, err = r.text()
	case "exp":
		c.ExpiresAt, err = r.date()
	case "iat":
		c.IssuedAt, err = r.date()
	case "nbf":
		c.NotBefore, err = r.date()
	case "jti":
		c.ID, err = r.text()
	case "sid":
		c.Session, err = r.text()
	case "auth_time":
		c.AuthTime, err = r.date()
	case "amr":
		c.Methods, err = r.texts()
	case "roles":
		c.Roles, err = r.texts()
	case "permissions":
		c.Permissions, err = r.texts()
	case "grants":
		c.Grants, err = r.texts()
	case "ep":
		n, err = r.natural()
		c.AsOf = uint64(n)
	default:
		var v any
		if v, err = r.value(); err == nil {
			if c.Custom == nil {
				c.Custom = map[string]any{}
			}
			c.Custom[name] = v
		}
	}
	return err
}

// date reads a NumericDate (RFC 7519 section 2), whole seconds only.
func (r *reader) date() (time.Time, error) {
	n, err := r.natural()
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(n, 0).UTC(), nil
}
