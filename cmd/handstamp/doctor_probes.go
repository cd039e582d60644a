package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/handstamp/handstamp/internal/config"
)

// cookie logs nobody out: without a credential a log-out ends nothing, and its answer clears the cookies with the
// attributes that a login sets them with (RFC 6265 section 5.3: a browser replaces a cookie of the same name, domain and
// path).
func (p *prober) cookie(ctx context.Context) {
	a, err := p.ask(ctx, http.MethodPost, p.path("/v1/logout"), map[string]string{"Origin": p.origin(), "Sec-Fetch-Site": "same-origin"})
	if err != nil {
		p.blind("cookies", "%s", networkReason(err))
		return
	}
	if a.code == "cross_origin" {
		p.find(ailmentNamed("server-own-origin"), "a request of a page of %s is refused as one of another site", p.origin())
	}
	plain, err := p.ask(ctx, http.MethodPost, p.path("/v1/logout"), map[string]string{"Origin": p.origin()})
	switch {
	case err != nil:
		p.blind("cookies without Sec-Fetch-Site", "%s", networkReason(err))
	case plain.code == "cross_origin" && a.code != "cross_origin":
		p.find(ailmentNamed("server-own-origin"), "a request of a page of %s is refused where the browser sends no Sec-Fetch-Site", p.origin())
	}
	if a.status != http.StatusNoContent {
		p.blind("cookies", "a log-out without a credential is answered with %d, and not with 204", a.status)
		return
	}
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) == 0 {
		p.find(ailmentNamed("server-cookie"), "a log-out clears no cookie: Set-Cookie does not arrive")
	}
	for _, c := range cookies {
		p.oneCookie(c)
	}
}

func (p *prober) oneCookie(c *http.Cookie) {
	var bad []string
	if !c.HttpOnly {
		bad = append(bad, "no HttpOnly")
	}
	if p.base.Scheme == "https" {
		if !c.Secure {
			bad = append(bad, "no Secure")
		}
		if !strings.HasPrefix(c.Name, "__Host-") && !strings.HasPrefix(c.Name, "__Secure-") {
			bad = append(bad, "no prefix __Host- or __Secure-")
		}
	}
	if c.SameSite == http.SameSiteDefaultMode || c.SameSite == 0 {
		bad = append(bad, "no SameSite")
	}
	if len(bad) > 0 {
		p.find(ailmentNamed("server-cookie"), "the cookie %s has %s", c.Name, strings.Join(bad, ", "))
	}
}

// crossSite sends what another site's page would make a browser send. It has no credential, so that nothing happens even
// where it is let through.
func (p *prober) crossSite(ctx context.Context) {
	for name, header := range map[string]map[string]string{
		"Origin":         {"Origin": strangeOrigin},
		"Sec-Fetch-Site": {"Origin": strangeOrigin, "Sec-Fetch-Site": "cross-site"},
	} {
		a, err := p.ask(ctx, http.MethodPost, p.path("/v1/logout"), header)
		switch {
		case err != nil:
			p.blind("the refusal of other sites by "+name, "%s", networkReason(err))
		case a.code != "cross_origin":
			p.find(ailmentNamed("server-cross-site"), "a POST with a stranger's %s is answered with %d, and not refused as cross_origin", name, a.status)
		}
	}
}

// forwarded writes headers that only a proxy may write, about a request with a cookie that is none. Who is believed is
// refused by the origin rules, and who is not, for the cookie.
func (p *prober) forwarded(ctx context.Context) {
	if loopbackHost(p.base.Hostname()) {
		p.skip("forwarded headers", "this machine may well be a proxy's")
		return
	}
	cookie := "__Host-handstamp=x; __Secure-handstamp=x; handstamp=x"
	a, err := p.ask(ctx, http.MethodGet, p.path("/v1/check"), map[string]string{
		"X-Forwarded-Method": http.MethodPost, "Origin": strangeOrigin, "Sec-Fetch-Site": "cross-site", "Cookie": cookie,
	})
	switch {
	case err != nil:
		p.blind("forwarded headers", "%s", networkReason(err))
	case a.code == "cross_origin":
		p.find(ailmentNamed("server-forwarded"), "X-Forwarded-Method is believed when this machine writes it")
	}
}

// opsPublic asks for what belongs on the other listener.
func (p *prober) opsPublic(ctx context.Context) {
	for _, path := range []string{"/metrics", "/readyz"} {
		a, err := p.ask(ctx, http.MethodGet, p.path(path), nil)
		ready := strings.Contains(string(a.body), `"durability"`)
		switch {
		case hungUp(err): // a proxy that answers nobody there
		case err != nil:
			p.blind(path+" at the public address", "%s", networkReason(err))
		case path == "/metrics" && strings.Contains(string(a.body), "handstamp_http_requests_total") || path == "/readyz" && ready:
			p.find(ailmentNamed("server-ops-public"), "%s is answered at the public address", path)
		}
	}
}

// hungUp reports whether the other side ended the connection instead of answering.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// version compares what runs with what looks at it.
func (p *prober) version(ctx context.Context) {
	a, err := p.ask(ctx, http.MethodGet, p.path("/openapi.json"), nil)
	var document struct {
		Info struct{ Version string }
	}
	switch {
	case err != nil:
		p.blind("the version", "%s", networkReason(err))
		return
	case json.Unmarshal(a.body, &document) != nil || document.Info.Version == "":
		p.skip("the version", "/openapi.json does not say it")
		return
	}
	if document.Info.Version != version() {
		p.find(ailmentNamed("server-version"), "the server is %s, and this is %s", document.Info.Version, version())
	}
}

// oldTLS tries to shake hands as before TLS 1.2 (RFC 8996).
func (p *prober) oldTLS(ctx context.Context) {
	if p.base.Scheme != "https" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	dial := p.net.dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(p.base.Hostname(), portNumber(p.base)))
	if err != nil {
		p.blind("the versions of TLS", "%s", networkReason(err))
		return
	}
	defer func() { _ = conn.Close() }()
	old := tls.Client(conn, &tls.Config{ServerName: p.base.Hostname(), RootCAs: p.net.roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}) //nolint:gosec // to see it refused
	if old.HandshakeContext(ctx) == nil {
		p.find(ailmentNamed("server-old-tls"), "%s speaks TLS 1.1 or older", p.base.Host)
	}
}

func portNumber(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// plainHTTP asks the same host without TLS.
func (p *prober) plainHTTP(ctx context.Context) {
	if p.base.Scheme != "https" || p.base.Port() != "" && p.base.Port() != "443" {
		return // which port would it be?
	}
	a, err := p.ask(ctx, http.MethodGet, "http://"+p.base.Hostname()+p.base.Path+"/healthz", nil)
	if err == nil && a.status < 300 {
		p.find(ailmentNamed("server-plain-http"), "http://%s is answered with %d, and not sent to https", p.base.Hostname(), a.status)
	}
}

// opsURL is where the operators' listener of a configuration is reached from this machine.
func opsURL(cfg *config.Config) string {
	host, port, err := net.SplitHostPort(cfg.OpsAddr)
	if err != nil || host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// readyState is what /readyz says, as far as it is judged here.
type readyState struct {
	Ready      *bool
	Status     string
	Durability struct{ Class string }
	parts      []string // those that are not well
}

func readState(body []byte) (s readyState, ok bool) {
	if json.Unmarshal(body, &s) != nil || s.Ready == nil {
		return s, false
	}
	s.parts = unwell(body)
	return s, true
}

// readiness asks the operators' listener of the configuration, if it can be reached from here.
func (p *prober) readiness(ctx context.Context) {
	at := opsURL(p.cfg)
	a, err := p.ask(ctx, http.MethodGet, at+"/readyz", nil)
	if err != nil {
		p.skip("readiness", "ops_addr (%s) cannot be reached from here", at)
		return
	}
	said, ok := readState(a.body)
	if !ok {
		p.skip("readiness", "%s does not answer as handstamp does", at)
		return
	}
	p.look("the server's readiness")
	switch {
	case !*said.Ready:
		p.find(ailmentNamed("server-not-ready"), "/readyz says %s", strings.Join(said.parts, ", "))
	case len(said.parts) > 0:
		p.find(ailmentNamed("server-degraded"), "/readyz says %s", strings.Join(said.parts, ", "))
	}
	if c := said.Durability.Class; c != "durable" && c != "" && !development(p.cfg) {
		p.find(ailmentNamed("server-not-durable"), "/readyz says that the store is %s", c)
	}
}

// unwell names the parts of a /readyz that are not well, whatever parts this version has.
func unwell(body []byte) []string {
	type state struct {
		Name   string
		OK     *bool
		Detail string
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return nil
	}
	var bad []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		var one state
		var many []state
		if json.Unmarshal(members[name], &one) == nil {
			one.Name = name
			many = []state{one}
		} else if json.Unmarshal(members[name], &many) != nil {
			continue
		}
		for _, s := range many {
			if s.OK != nil && !*s.OK {
				bad = append(bad, strings.TrimSuffix(s.Name+": "+s.Detail, ": "))
			}
		}
	}
	return bad
}

// ready is what probes ask: whether the server at ops_addr is ready. There is no shell in a container to ask with.
func (c *doctorCmd) ready(ctx context.Context, cfg *config.Config) error {
	x := &examination{cfg: cfg, wait: c.Wait}
	p := &prober{examination: x, client: &http.Client{Timeout: c.Wait}}
	a, err := p.ask(ctx, http.MethodGet, opsURL(cfg)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("no server answers at ops_addr: %s", networkReason(err))
	}
	said, ok := readState(a.body)
	switch {
	case !ok:
		return errors.New("what answers at ops_addr is no handstamp")
	case !*said.Ready:
		return fmt.Errorf("not ready: %s", strings.Join(said.parts, ", "))
	}
	return nil
}
