package handstamptest

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync"
	"testing"

	"github.com/handstamp/handstamp"
)

// Client returns the browser of a user who is logged in with these permissions, for a server of net/http/httptest: it
// keeps cookies, follows redirects, says with each request that it comes from the application's own pages, and trusts the
// certificate of a TLS test server. With "" as the user it is the browser of a visitor.
//
// Whatever port a test server has, the client takes it for Options.PublicURL: so cookies that are only sent over https, or
// to one host, get there. A request that has a header about its origin keeps it.
//
// The client is safe for concurrent use; its connections are closed when t ends.
func (h *Harness) Client(t testing.TB, user handstamp.UserID, perms ...string) *http.Client {
	t.Helper()
	public, _ := url.Parse(h.opt.PublicURL) // was validated by Open
	std, err := cookiejar.New(nil)
	if err != nil {
		t.Fatalf("handstamptest: Client(%q): %v", user, err)
	}
	j := &jar{std: std, public: public}
	if user != "" {
		j.std.SetCookies(j.seen(&url.URL{Path: "/"}), h.login(t, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), user, perms))
	}
	tr := &transport{h: h, plain: &http.Transport{}, isApp: j.isApp}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Jar: j, Transport: tr}
}

// jar keeps the cookies of a browser for which the application under test is at its public URL.
type jar struct {
	std    *cookiejar.Jar
	public *url.URL
}

// Cookies implements http.CookieJar.
func (j *jar) Cookies(u *url.URL) []*http.Cookie { return j.std.Cookies(j.seen(u)) }

// SetCookies implements http.CookieJar.
func (j *jar) SetCookies(u *url.URL, cookies []*http.Cookie) { j.std.SetCookies(j.seen(u), cookies) }

// isApp reports whether an address is the application's: a test server is on loopback.
func (j *jar) isApp(u *url.URL) bool {
	return u.Host == "" || u.Hostname() == j.public.Hostname() || loopback(u.Hostname())
}

// seen is an address as the browser sees it.
func (j *jar) seen(u *url.URL) *url.URL {
	if !j.isApp(u) {
		return u
	}
	at := *u
	at.Scheme, at.Host = j.public.Scheme, j.public.Host
	return &at
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// transport sends what a browser sends.
type transport struct {
	h     *Harness
	plain *http.Transport
	isApp func(*url.URL) bool

	mu   sync.Mutex
	test *http.Transport // trusts test servers; nil until one with TLS is asked
}

// RoundTrip implements http.RoundTripper.
func (tr *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !tr.isApp(r.URL) {
		return tr.plain.RoundTrip(r)
	}
	r = r.Clone(r.Context()) // a RoundTripper must not change the request
	tr.h.fromOwnPage(r)
	if r.URL.Scheme == "https" {
		return tr.trusting().RoundTrip(r)
	}
	return tr.plain.RoundTrip(r)
}

// trusting trusts the one certificate that all servers of net/http/httptest share.
func (tr *transport) trusting() *http.Transport {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.test != nil {
		return tr.test
	}
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	tr.test = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	return tr.test
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (tr *transport) CloseIdleConnections() {
	tr.plain.CloseIdleConnections()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.test != nil {
		tr.test.CloseIdleConnections()
	}
}
