package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/token"
)

// Options are the options of [OpenWith]. The zero value works.
type Options struct {
	// Verifier is what the check itself goes by; see [handstamp.OpenVerifier] for what it takes. PublicURL is where browsers
	// reach this service: cookies and the origin rules come from it. Its default, and that of Token.Issuer and
	// Token.Audience, is the server's address: set them where the server's own public_url is another one.
	Verifier handstamp.Options
	// InsecureHTTP permits plain http to a server that is not on loopback. Whoever is on the way then reads the service key
	// and can answer anything.
	InsecureHTTP bool
	// Transport carries the requests, where the server's certificate is signed by an authority of its own or this service
	// has to show one. It must not follow redirects and must not keep answers. Default: HTTP/1.1 over TLS 1.2 or newer, with
	// the system's roots and the proxies of the environment. HTTP/1.1 since a request that is given up closes its
	// connection, so that a silently dead one is not used again.
	Transport http.RoundTripper
}

// Open opens a Verifier on a Handstamp server: serverURL is the server's public_url, or several of its nodes' addresses
// separated by commas, and serviceKey is a service key with the permissions handstamp.revocations and handstamp.introspect.
// It fails, and says what to configure, if the server does not answer, refuses the key, or does not grant a lease within
// 15 s; ctx may shorten that, and does not end the Verifier. Close the Verifier when done. It is safe for concurrent use.
func Open(ctx context.Context, serverURL, serviceKey string) (*handstamp.Verifier, error) {
	return OpenWith(ctx, serverURL, serviceKey, Options{})
}

// OpenWith is [Open] with options.
func OpenWith(ctx context.Context, serverURL, serviceKey string, opt Options) (*handstamp.Verifier, error) {
	nodes, err := parseNodes(serverURL, opt.InsecureHTTP)
	if err != nil {
		return nil, err
	}
	key, err := newSecret(serviceKey)
	if err != nil {
		return nil, err
	}
	v := opt.Verifier
	v.Token.Issuer = cmp.Or(v.Token.Issuer, nodes[0])
	v.Token.Audience = cmp.Or(v.Token.Audience, v.Token.Issuer)
	if v.PublicURL == "" {
		v.PublicURL, v.InsecureHTTP = nodes[0], v.InsecureHTTP || opt.InsecureHTTP
	}
	// A server that answers and never grants a lease must not keep the caller for ever.
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	c := newClient(nodes, key, opt.Transport)
	src, err := source(ctx, c)
	if err != nil {
		c.close()
		return nil, err
	}
	verifier, err := handstamp.OpenVerifier(ctx, src, v)
	if err != nil {
		c.close()
		return nil, err
	}
	return verifier, nil
}

// source makes the parts of a Verifier, after a look at what the service key may do: a permission that is missing is found
// now and not by the first request that needs it.
func source(ctx context.Context, c *client) (handstamp.Source, error) {
	who := &authority{client: c}
	self, err := who.Introspect(ctx, c.key.reveal())
	if err != nil {
		return handstamp.Source{}, fmt.Errorf("open a remote verifier: %w", err)
	}
	if !self.Active || self.Session != "" {
		return handstamp.Source{}, errors.New("open a remote verifier: the server does not know the service key that it was asked with")
	}
	ring := newKeys(c, time.Now)
	if err := ring.Reload(ctx); err != nil {
		return handstamp.Source{}, fmt.Errorf("open a remote verifier: %w", err)
	}
	src := handstamp.Source{Log: &log{client: c, keys: ring}, Authority: who}
	if !ring.none() { // with HS256 or encrypted tokens no key leaves the fleet, and every token is asked about
		src.Keys = ring
	}
	return src, nil
}

// openTimeout bounds how long opening takes where the caller's context does not.
const openTimeout = 15 * time.Second

// parseNodes reads the addresses of a server's nodes.
func parseNodes(list string, insecure bool) ([]string, error) {
	var nodes []string
	for text := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
			// The text is not repeated: somebody may have put a secret into it.
			return nil, errors.New("remote: the server's address is not scheme://host[:port][/path], or several of them separated by commas")
		case u.Scheme == "http" && !insecure && !loopback(u.Hostname()):
			return nil, errors.New("remote: the server's address is plain http, which is for loopback: use https, or set InsecureHTTP on a network you trust")
		}
		u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
		if node := u.String(); !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	return nodes, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// secret is the service key. It is behind a function since formatting a struct that holds it would otherwise print it:
// package fmt asks no method of an unexported field.
type secret func() string

func newSecret(text string) (secret, error) {
	switch {
	case text == "":
		return nil, errors.New("remote: a service key is needed, with the permissions handstamp.revocations and handstamp.introspect")
	case strings.TrimSpace(text) != text:
		return nil, errors.New("remote: there is white space around the service key, perhaps the end of the line it was read from")
	}
	if _, err := token.Parse(token.ServiceKey, text); err != nil {
		return nil, errors.New("remote: that is no service key: one begins with hs_k_, and it is whole (the checksum at its end fits)")
	}
	return func() string { return text }, nil
}

func (s secret) reveal() string { return s() }

// String hides the key.
func (s secret) String() string { return "REDACTED" }

// GoString hides the key.
func (s secret) GoString() string { return "REDACTED" }
