package handstamp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// origins is the rule by which a browser's unsafe request is let in: not by a secret in the form, but by what the
// browser itself says about where the request comes from (Fetch Metadata, and Origin as in RFC 6454 section 7).
type origins struct {
	public  string          // the origin of PublicURL
	trusted map[string]bool // Options.Origins
	std     *http.CrossOriginProtection
	cookies cookies
}

func newOrigins(o Options, c cookies) (origins, error) {
	public, err := parseOrigin(originOf(o.PublicURL))
	if err != nil {
		return origins{}, err
	}
	rule := origins{public: public, trusted: map[string]bool{}, std: http.NewCrossOriginProtection(), cookies: c}
	for _, text := range o.Origins {
		origin, err := parseOrigin(text)
		if err != nil {
			return origins{}, err
		}
		for _, same := range loopbackTwins(origin) {
			rule.trusted[same] = true
			if err := rule.std.AddTrustedOrigin(same); err != nil {
				return origins{}, fmt.Errorf("handstamp: Options.Origins: %w", err)
			}
		}
	}
	return rule, nil
}

// CheckOrigin applies the origin rules to a request, with or without a credential. It answers nil or an error that is
// ErrOrigin. Safe methods (RFC 9110 section 9.2.1) pass: they must change nothing.
func (v *Verifier) CheckOrigin(r *http.Request) error {
	return v.origins.check(r.Method, r.Header, v.origins.public, r)
}

// CheckHandshake applies the origin rules to a request that opens a WebSocket: it is a GET, but no harmless one, since a
// browser lets any page open it and sends the cookies along. It answers nil or an error that is ErrOrigin.
func (v *Verifier) CheckHandshake(r *http.Request) error {
	return v.origins.check(http.MethodPost, r.Header, v.origins.public, r)
}

// check decides for a method and the headers that a browser sent, against the origin the request was meant for.
func (o origins) check(method string, h http.Header, public string, r *http.Request) error {
	if method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions {
		return nil
	}
	site, origin := h.Values("Sec-Fetch-Site"), h.Values("Origin")
	if len(site) > 1 || len(origin) > 1 {
		return fmt.Errorf("%w: a header was sent twice", ErrOrigin)
	}
	if len(site) == 1 {
		if site[0] == "" { // sent, and not one of the two; http.CrossOriginProtection would take it for absent
			return fmt.Errorf("%w: Sec-Fetch-Site", ErrOrigin)
		}
		probe := &http.Request{Method: method, Header: h, URL: &url.URL{Path: "/"}}
		if err := o.std.Check(probe); err != nil {
			return fmt.Errorf("%w: Sec-Fetch-Site", ErrOrigin)
		}
		return nil
	}
	if len(origin) == 1 {
		if got, err := parseOrigin(origin[0]); err != nil || !sameOrigin(got, public) && !o.trusted[got] {
			return fmt.Errorf("%w: Origin", ErrOrigin)
		}
		return nil
	}
	// Neither header: no browser of the last years, so a program. It passes unless it carries a cookie of ours: then it
	// is a browser that hides where it comes from.
	if o.cookies.carries(r) {
		return fmt.Errorf("%w: a cookie without Origin and Sec-Fetch-Site", ErrOrigin)
	}
	return nil
}

// parseOrigin accepts scheme://host[:port] of http and https and returns its one canonical text (RFC 6454 section 6.2).
func parseOrigin(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Hostname() == "",
		u.User != nil, u.Path != "", u.RawQuery != "", u.ForceQuery, u.Fragment != "", strings.HasSuffix(s, "#"):
		return "", errors.New("handstamp: an origin is scheme://host[:port]")
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	port := u.Port()
	standard := u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443"
	if port != "" && !standard {
		host += ":" + port
	}
	return u.Scheme + "://" + host, nil
}

// originOf cuts the path off a URL.
func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// sameOrigin compares canonical origins. On loopback localhost, 127.0.0.1 and [::1] with the same port are one: people
// type whichever comes to mind, and all of them are this machine.
func sameOrigin(a, b string) bool {
	if a == b {
		return true
	}
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	return errA == nil && errB == nil && ua.Scheme == ub.Scheme && ua.Port() == ub.Port() &&
		loopback(ua.Hostname()) && loopback(ub.Hostname())
}

// loopbackTwins are the origins that are one with a canonical one on loopback, itself among them.
func loopbackTwins(origin string) []string {
	u, err := url.Parse(origin)
	if err != nil || !loopback(u.Hostname()) {
		return []string{origin}
	}
	port := ""
	if u.Port() != "" {
		port = ":" + u.Port()
	}
	twins := []string{origin}
	for _, host := range []string{"localhost", "127.0.0.1", "[::1]"} {
		if twin := u.Scheme + "://" + host + port; twin != origin {
			twins = append(twins, twin)
		}
	}
	return twins
}

// FormField is the name of the hidden field that holds a form token.
const FormField = "handstamp_form"

const (
	formNonceBytes = 16
	formTokenBytes = formNonceBytes + sha256.Size
)

// FormToken returns a token for a hidden field of a server-rendered form (a synchroniser token), for applications that
// want a second wall beside the origin rules. Before a login it is bound to a cookie that FormToken sets; afterwards to
// the session. So a token from before a login is worth nothing after it. Each call returns another text, which keeps it
// from being guessed through compression.
func (a *Auth) FormToken(w http.ResponseWriter, r *http.Request) string {
	binding := a.formBinding(r)
	if binding == "" {
		var b [32]byte
		rand.Read(b[:])
		value := base64.RawURLEncoding.EncodeToString(b[:])
		a.cookies.write(w, a.cookies.form, value, "/", 0)
		// A page may hold several forms: the second token of one request is bound like the first.
		a.cookies.put(r, a.cookies.form, value)
		binding = "cookie:" + value
	}
	var token [formTokenBytes]byte
	rand.Read(token[:formNonceBytes])
	copy(token[formNonceBytes:], formMAC(a.formKeys[0], token[:formNonceBytes], binding))
	return base64.RawURLEncoding.EncodeToString(token[:])
}

// CheckForm applies the origin rules and checks the form token in the field [FormField]. It answers an error that is
// ErrOrigin when either fails. It parses the form; limit the body before.
func (a *Auth) CheckForm(r *http.Request) error {
	if err := a.CheckOrigin(r); err != nil {
		return err
	}
	// Strict: a second spelling of the last character would be a second token.
	token, err := base64.RawURLEncoding.Strict().DecodeString(r.PostFormValue(FormField))
	binding := a.formBinding(r)
	if err != nil || len(token) != formTokenBytes || binding == "" {
		return fmt.Errorf("%w: form token", ErrOrigin)
	}
	for _, key := range a.formKeys {
		if hmac.Equal(token[formNonceBytes:], formMAC(key, token[:formNonceBytes], binding)) {
			return nil
		}
	}
	return fmt.Errorf("%w: form token", ErrOrigin)
}

// formBinding is what a form token is bound to: the session if the request has a good one, else the cookie.
func (a *Auth) formBinding(r *http.Request) string {
	p, ok := FromContext(r.Context())
	if !ok {
		p, _ = a.Verify(r) // "no" and "don't know" alike: then the cookie is what is left
	}
	if p.Session != "" {
		return "session:" + string(p.Session)
	}
	if value, ok, err := a.cookies.find(r, a.cookies.form); ok && err == nil {
		return "cookie:" + value
	}
	return ""
}

func formMAC(key, nonce []byte, binding string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(nonce)
	mac.Write([]byte(binding))
	return mac.Sum(nil)
}

// forwardedHost turns what a trusted proxy says of the original request into an origin, for the check of forwarded
// requests.
func forwardedHost(scheme, host string) string {
	if _, _, err := net.SplitHostPort(host); err != nil && strings.Contains(host, "/") {
		return ""
	}
	origin, err := parseOrigin(scheme + "://" + host)
	if err != nil {
		return ""
	}
	return origin
}
