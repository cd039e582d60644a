package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

func serverAilments() []ailment {
	return []ailment{
		{"server-unreachable", high, "public_url", "clients cannot reach the server either",
			"look at the proxy, the certificate and addr"},
		{"server-certificate", high, "the certificate", "browsers and clients refuse the connection, or people learn to click the warning away",
			"give the proxy, or tls.cert, a certificate for this host from an authority that clients trust"},
		{"server-old-tls", medium, "the proxy", "who is on the way can make both sides speak a version of TLS whose protection is broken",
			"permit TLS 1.2 and 1.3 only"},
		{"server-plain-http", high, "the proxy", "a link or a typed address without https is answered in the clear: whoever is on the way takes the session over",
			"send http to https with a redirect, or close port 80"},
		{"server-hsts", medium, "the proxy", "a browser that is led to http:// goes there, and whoever is on the way takes the session over before any redirect",
			"pass Strict-Transport-Security on: the server sends it where public_url is https"},
		{"server-cacheable", high, "the proxy", "a cache between answers one user with what belongs to another",
			"pass Cache-Control on as the server sends it (no-store), and cache none of its paths but /.well-known/jwks.json and /static/"},
		{"server-nosniff", low, "the proxy", "an old browser runs a refusal that quotes something as a script",
			"pass X-Content-Type-Options on"},
		{"server-cookie", high, "public_url", "the session cookie can be read by scripts, sent in the clear, or planted by another host",
			"set public_url to the address that clients use, and let the proxy pass Set-Cookie on as it is"},
		{"server-cross-site", high, "the proxy", "any page on the web logs users in and out and changes things in their name",
			"let the proxy pass Origin and Sec-Fetch-Site on as they came"},
		{"server-own-origin", high, "public_url", "browsers are refused: nobody can log in on a page",
			"set public_url to the address that browsers show; if the application has another, name it in origins"},
		{"server-cors", high, "the proxy", "scripts of any page read what the server answers to its users",
			"take Access-Control-Allow-Origin out of the proxy; the server answers for origins itself"},
		{"server-forwarded", medium, "trusted_proxies", "a client that is believed about forwarded headers chooses the address that limits and the audit log go by",
			"name the proxies alone, and let them overwrite forwarded headers; if this machine is a proxy, run this somewhere else"},
		{"server-ops-public", high, "the proxy", "everybody reads metrics, or which store is down",
			"let the proxy pass addr on only, never ops_addr"},
		{"server-clock", medium, "the clocks", "sessions and tokens end early or late by the difference; tokens of this server are refused by others, or the other way round",
			"run a time service (chrony, systemd-timesyncd) on both machines"},
		{"server-version", low, "the version", "what this command says is about another version than the one that runs",
			"run the handstamp of the server's version"},
		{"server-not-ready", high, "ops_addr", "logins or revocations fail with 503, or every check asks the database",
			"see what was found, and the server's log"},
		{"server-degraded", medium, "cache", "everything works, and slower: each check asks the database, which may not be made for that",
			"see what was found, and the server's log"},
		{"server-not-durable", medium, "database", "after a crash a log-out or a spent refresh token may be forgotten",
			"give the store durable settings: fsync and synchronous_commit on, appendfsync always"},
	}
}

// prober asks a running server what anybody may ask. Nothing it sends changes anything: the requests that would are made
// so that they must be refused, or that there is nothing to change.
type prober struct {
	*examination
	base   *url.URL
	client *http.Client
}

// maxAnswer bounds what is read of an answer in bytes.
const maxAnswer = 1 << 20

// server looks at the server that clients reach at a URL.
func (x *examination) server(ctx context.Context, at string) {
	if at == "" {
		x.skip("a running server", "no --url was given")
		return
	}
	base, err := url.Parse(strings.TrimSuffix(at, "/"))
	if err != nil {
		x.skip("a running server", "--url is no URL")
		return
	}
	p := &prober{examination: x, base: base, client: &http.Client{
		Timeout:       x.wait,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment, DialContext: x.net.dial,
			TLSClientConfig: &tls.Config{RootCAs: x.net.roots, MinVersion: tls.VersionTLS12},
		},
	}}
	if !p.reach(ctx) {
		return
	}
	x.look("the server at " + base.String())
	for _, probe := range []func(context.Context){
		p.headers, p.cookie, p.crossSite, p.forwarded, p.opsPublic, p.version, p.oldTLS, p.plainHTTP, p.readiness,
	} {
		probe(ctx)
	}
}

// answer is what a probe got.
type answer struct {
	status int
	header http.Header
	body   []byte
	code   string // of a problem
}

func (p *prober) ask(ctx context.Context, method, target string, header map[string]string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("User-Agent", "handstamp-doctor")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return answer{}, err
	}
	var problem struct{ Code string }
	_ = json.Unmarshal(body, &problem) // what is no problem has no code
	return answer{res.StatusCode, res.Header, body, problem.Code}, nil
}

func (p *prober) path(path string) string { return p.base.String() + path }

// origin is what a browser sends in Origin for a page of the server.
func (p *prober) origin() string { return p.base.Scheme + "://" + p.base.Host }

// reach looks whether a server of ours answers, and how far its clock is off.
func (p *prober) reach(ctx context.Context) bool {
	began := time.Now()
	a, err := p.ask(ctx, http.MethodGet, p.path("/healthz"), nil)
	if err != nil {
		if bad := certificateReason(err); bad != "" {
			p.find(ailmentNamed("server-certificate"), "%s: %s", p.base, bad)
		} else {
			p.find(ailmentNamed("server-unreachable"), "%s does not answer: %s", p.base, networkReason(err))
		}
		p.skip("the rest of the server", "it cannot be reached")
		return false
	}
	var said struct{ Status string }
	if json.Unmarshal(a.body, &said) != nil || a.status != http.StatusOK || said.Status != "ok" {
		p.find(ailmentNamed("server-unreachable"), "%s/healthz answers %d, and not as handstamp does", p.base, a.status)
		p.skip("the rest of the server", "what answers is no handstamp")
		return false
	}
	// Date has whole seconds; half the round trip and one second are not the clock's fault.
	if date, err := http.ParseTime(a.header.Get("Date")); err == nil {
		if ahead := date.Sub(began.Add(time.Since(began) / 2)); ahead.Abs() > skew+time.Second {
			p.find(ailmentNamed("server-clock"), "its clock is %v %s this machine's", ahead.Abs().Round(time.Second), aheadOrBehind(ahead))
		}
	}
	return true
}

// certificateReason says what is wrong with a certificate; "" if that was not it.
func certificateReason(err error) string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		return ""
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the certificate is for another host than " + e.Host
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return "the certificate ended " + e.Cert.NotAfter.UTC().Format(time.RFC3339) + ", or has not begun"
	}
	return "no authority that this machine trusts has signed the certificate"
}

// networkReason is an error of the network without the URL around it.
func networkReason(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return "no answer in time"
	}
	return err.Error()
}

// headers looks at a refusal, which is an answer about who asks like any other.
func (p *prober) headers(ctx context.Context) {
	a, err := p.ask(ctx, http.MethodGet, p.path("/v1/session"), map[string]string{"Origin": strangeOrigin})
	switch {
	case err != nil:
		p.blind("the headers of answers", "%s", networkReason(err))
		return
	case a.code == "":
		p.blind("the headers of answers", "/v1/session answers %d, and not as handstamp does", a.status)
		return
	}
	if !slices.Contains(directives(a.header.Values("Cache-Control")), "no-store") {
		p.find(ailmentNamed("server-cacheable"), "Cache-Control is %q, and not no-store", strings.Join(a.header.Values("Cache-Control"), ", "))
	}
	if !strings.EqualFold(a.header.Get("X-Content-Type-Options"), "nosniff") {
		p.find(ailmentNamed("server-nosniff"), "X-Content-Type-Options is %q", a.header.Get("X-Content-Type-Options"))
	}
	if p.base.Scheme == "https" && maxAge(a.header.Get("Strict-Transport-Security")) < 365*24*3600 {
		p.find(ailmentNamed("server-hsts"), "Strict-Transport-Security is %q, and not for a year or longer", a.header.Get("Strict-Transport-Security"))
	}
	if allowed := a.header.Get("Access-Control-Allow-Origin"); allowed != "" {
		p.find(ailmentNamed("server-cors"), "a stranger's page is answered with Access-Control-Allow-Origin: %s", allowed)
	}
}

// directives are the parts of a header between commas, in small letters.
func directives(values []string) []string {
	var all []string
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		all = append(all, strings.ToLower(strings.TrimSpace(part)))
	}
	return all
}

// maxAge is that directive of a header, in seconds; 0 if there is none.
func maxAge(header string) int64 {
	for part := range strings.SplitSeq(header, ";") {
		if text, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(part)), "max-age="); ok {
			n, err := strconv.ParseInt(strings.Trim(text, `"`), 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// strangeOrigin is a page that nobody has (RFC 2606 section 2).
const strangeOrigin = "https://doctor.invalid"
