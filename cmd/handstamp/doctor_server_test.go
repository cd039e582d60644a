package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/config"
)

// behind is a real server of ours behind a proxy that a test breaks.
type behind struct {
	env      []string                                                       // of the server
	proxy    func(api http.Handler, w http.ResponseWriter, r *http.Request) // what stands in front; nil: nothing
	plain    http.Handler                                                   // what answers at port 80; nil: nobody
	host     string                                                         // of the certificate; "": the right one
	ends     time.Duration                                                  // of the certificate, from now; 0: in a year
	oldTLS   bool                                                           // also speaks TLS 1.1
	strange  bool                                                           // nobody trusts the certificate's maker
	ops      func(ops http.Handler, w http.ResponseWriter, r *http.Request) // what stands before the operators' listener
	examined func(x *examination)                                           // how the doctor looks
}

const frontHost = "id.example.com"

func certificateFor(t *testing.T, host string, ends time.Time) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: ends.Add(-2 * 365 * day), NotAfter: ends, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, leaf
}

// look starts everything, and has the doctor look at it.
func (f behind) look(t *testing.T) report {
	t.Helper()
	env := with(append(cheap(), "HANDSTAMP_DATA_DIR="+t.TempDir(), "HANDSTAMP_PUBLIC_URL=https://"+frontHost), f.env...)
	a := &app{environ: env}
	cfg, _, err := a.settings()
	if err != nil {
		t.Fatal(err)
	}
	e, err := openEngine(t.Context(), cfg, discard(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.end() }()
	api, err := e.api(cfg, discard(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	handler, ops := http.Handler(api), api.Ops()
	if f.proxy != nil {
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.proxy(api, w, r) })
	}
	if f.ops != nil {
		inner := ops
		ops = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.ops(inner, w, r) })
	}
	x := &examination{cfg: cfg, now: time.Now(), wait: 5 * time.Second}
	x.net = f.serve(t, handler, ops, cfg)
	if f.examined != nil {
		f.examined(x)
	}
	x.server(context.Background(), "https://"+frontHost)
	return report{x.findings, x.looked, x.skipped}
}

// serve gives each of the addresses to what answers there.
func (f behind) serve(t *testing.T, handler, ops http.Handler, cfg *config.Config) network {
	host, ends := f.host, f.ends
	if host == "" {
		host = frontHost
	}
	if ends == 0 {
		ends = 365 * day
	}
	pair, root := certificateFor(t, host, time.Now().Add(ends))
	public := httptest.NewUnstartedServer(handler)
	public.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if f.oldTLS {
		public.TLS.MinVersion = tls.VersionTLS10
	}
	public.Config.ErrorLog = silent()
	public.StartTLS()
	t.Cleanup(public.Close)
	inner := httptest.NewServer(ops)
	t.Cleanup(inner.Close)
	at := map[string]string{frontHost + ":443": public.Listener.Addr().String(), cfg.OpsAddr: inner.Listener.Addr().String()}
	if f.plain != nil {
		plain := httptest.NewServer(f.plain)
		t.Cleanup(plain.Close)
		at[frontHost+":80"] = plain.Listener.Addr().String()
	}
	n := network{roots: x509.NewCertPool(), dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		real, ok := at[addr]
		if !ok {
			return nil, errors.New("nobody listens there")
		}
		return new(net.Dialer).DialContext(ctx, network, real)
	}}
	if !f.strange {
		n.roots.AddCert(root)
	}
	return n
}

// dropping is a proxy that takes a header out of answers.
func dropping(name string) func(http.Handler, http.ResponseWriter, *http.Request) {
	return changing(func(h http.Header) { h.Del(name) })
}

// changing is a proxy that changes the headers of answers.
func changing(change func(http.Header)) func(http.Handler, http.ResponseWriter, *http.Request) {
	return func(api http.Handler, w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		api.ServeHTTP(rec, r)
		change(rec.Header())
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	}
}

// request is a proxy that changes requests.
func request(change func(*http.Request)) func(http.Handler, http.ResponseWriter, *http.Request) {
	return func(api http.Handler, w http.ResponseWriter, r *http.Request) {
		change(r)
		api.ServeHTTP(w, r)
	}
}

func TestDoctor_server(t *testing.T) {
	redirect := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+frontHost+r.URL.Path, http.StatusPermanentRedirect)
	})
	tests := []struct {
		name   string
		id     string // "": nothing
		behind behind
	}{
		{"as it should be", "", behind{}},
		{"with a redirect from http", "", behind{plain: redirect}},
		{"http is answered", "server-plain-http", behind{plain: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })}},
		{"no HSTS", "server-hsts", behind{proxy: dropping("Strict-Transport-Security")}},
		{"HSTS for a day", "server-hsts", behind{proxy: changing(func(h http.Header) { h.Set("Strict-Transport-Security", "max-age=86400") })}},
		{"no nosniff", "server-nosniff", behind{proxy: dropping("X-Content-Type-Options")}},
		{"no no-store", "server-cacheable", behind{proxy: changing(func(h http.Header) { h.Set("Cache-Control", "public, max-age=60") })}},
		{"CORS for all", "server-cors", behind{proxy: changing(func(h http.Header) { h.Set("Access-Control-Allow-Origin", "*") })}},
		{"Set-Cookie is lost", "server-cookie", behind{proxy: dropping("Set-Cookie")}},
		{"cookies without Secure", "server-cookie", behind{proxy: changing(func(h http.Header) {
			for i, c := range h["Set-Cookie"] {
				h["Set-Cookie"][i] = strings.ReplaceAll(c, "; Secure", "")
			}
		})}},
		{"cookies without HttpOnly", "server-cookie", behind{proxy: changing(func(h http.Header) {
			for i, c := range h["Set-Cookie"] {
				h["Set-Cookie"][i] = strings.ReplaceAll(c, "; HttpOnly", "")
			}
		})}},
		{"made for plain http", "server-cookie", behind{env: []string{"HANDSTAMP_PUBLIC_URL=http://" + frontHost, "HANDSTAMP_INSECURE_HTTP=true"}}},
		{"Origin and Sec-Fetch-Site are lost", "server-cross-site", behind{proxy: request(func(r *http.Request) { r.Header.Del("Origin"); r.Header.Del("Sec-Fetch-Site") })}},
		{"Origin is rewritten", "server-cross-site", behind{proxy: request(func(r *http.Request) {
			if r.Header.Get("Sec-Fetch-Site") == "" {
				r.Header.Set("Origin", "https://"+frontHost)
			}
		})}},
		{"another public_url", "server-own-origin", behind{env: []string{"HANDSTAMP_PUBLIC_URL=https://other.example.com"}}},
		{"everybody is trusted", "server-forwarded", behind{env: []string{"HANDSTAMP_TRUSTED_PROXIES=0.0.0.0/0"}}},
		{"another network is trusted", "", behind{env: []string{"HANDSTAMP_TRUSTED_PROXIES=10.0.0.0/8"}}},
		{"old TLS", "server-old-tls", behind{oldTLS: true}},
		{"a strange certificate", "server-certificate", behind{strange: true}},
		{"a certificate for another host", "server-certificate", behind{host: "other.example.com"}},
		{"an expired certificate", "server-certificate", behind{ends: -time.Hour}},
		{"something else answers", "server-unreachable", behind{proxy: func(_ http.Handler, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }}},
		{"a clock that is off", "server-clock", behind{proxy: changing(func(h http.Header) {
			h.Set("Date", time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat))
		})}},
		{"another version", "server-version", behind{proxy: func(api http.Handler, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/openapi.json" {
				_, _ = w.Write([]byte(`{"info":{"version":"v9.9.9"}}`))
				return
			}
			api.ServeHTTP(w, r)
		}}},
		{"metrics are public", "server-ops-public", behind{proxy: func(api http.Handler, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/metrics" {
				_, _ = w.Write([]byte("handstamp_http_requests_total 1\n"))
				return
			}
			api.ServeHTTP(w, r)
		}}},
		{"not ready", "server-not-ready", behind{ops: func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"ready":false,"sessions":{"ok":true},"cache":{"ok":false,"detail":"the store does not answer"},"durability":{"class":"durable"}}`))
		}}},
		{"a cache is down", "server-degraded", behind{ops: func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"ready":true,"status":"degraded","parts":[{"name":"database","ok":true},{"name":"cache","ok":false,"spare":true}],"durability":{"class":"durable"}}`))
		}}},
		{"not durable", "server-not-durable", behind{env: []string{"HANDSTAMP_DATABASE=memory", "HANDSTAMP_ACCEPT_LOSS=volatile"}}},
	}
	tested := map[string]bool{}
	for _, tt := range tests {
		tested[tt.id] = true
		t.Run(tt.name, func(t *testing.T) {
			r := tt.behind.look(t)
			if tt.id != "" {
				r.of(t, tt.id)
			} else if len(r.Findings) > 0 {
				t.Errorf("found %+v", r.Findings)
			}
			if tt.id == "server-not-ready" && !strings.Contains(r.of(t, tt.id).Finding, "cache: the store does not answer") {
				t.Errorf("%+v", r.Findings)
			}
		})
	}
	for _, a := range serverAilments() {
		if !tested[a.id] {
			t.Errorf("no server has %s", a.id)
		}
	}
}

// Nobody there, an address of this machine, and a listener that cannot be reached are said, and are no finding of another kind.
func TestDoctor_server_out_of_reach(t *testing.T) {
	closed := func(x *examination) {
		x.net.dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }
	}
	r := behind{examined: closed}.look(t)
	if got := r.ids(); !slices.Equal(got, []string{"server-unreachable"}) {
		t.Errorf("found %v", got)
	}
	r = behind{examined: func(x *examination) {
		inner := x.net.dial
		x.net.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == x.cfg.OpsAddr {
				return nil, errors.New("refused")
			}
			return inner(ctx, network, addr)
		}
	}}.look(t)
	if len(r.Findings) > 0 || !slices.ContainsFunc(r.NotLookedAt, func(s skipped) bool { return s.Part == "readiness" }) {
		t.Errorf("found %v, not looked at %v", r.ids(), r.NotLookedAt)
	}
}

// What the doctor asks changes nothing: nobody is logged out, nothing is counted, nothing is written into the audit log.
func TestDoctor_server_changes_nothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.start()
	g := s.signUp("ada@example.com", "session")
	before := s.must("audit", "list", "--json")
	code, out, errs := s.runDoctor("--url", "http://"+s.addr)
	if code != exitFailure || !strings.Contains(out, `"password-hash-cheap"`) || strings.Contains(out, `"server-`) || !strings.Contains(out, "the server's readiness") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if got := s.check(g.Access); got != http.StatusOK {
		t.Errorf("check = %d afterwards", got)
	}
	if code, out, errs := s.run("", "doctor", "--ready"); code != exitOK || out != "" || errs != "" {
		t.Errorf("--ready: exit %d\n%s%s", code, out, errs)
	}
	if after := s.must("audit", "list", "--json"); after != before {
		t.Errorf("the audit log was\n%s and is\n%s", before, after)
	}
}

// What a container's probe asks: nobody there, somebody else there, not ready, ready.
func TestDoctor_ready(t *testing.T) {
	answer := ""
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
	ask := func() error {
		c := doctorCmd{Ready: true, Wait: 5 * time.Second}
		return c.Run(t.Context(), &app{environ: healthy(t, "HANDSTAMP_OPS_ADDR="+h.Listener.Addr().String())})
	}
	for body, want := range map[string]string{
		`{"ready":true,"status":"degraded"}`:                      "",
		`{"ready":false,"sessions":{"ok":false,"detail":"gone"}}`: "not ready: sessions: gone",
		`{"status":"ok"}`: "what answers at ops_addr is no handstamp", "hello": "what answers at ops_addr is no handstamp",
	} {
		answer = body
		if err := ask(); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
	h.Close()
	if err := ask(); err == nil || !strings.HasPrefix(err.Error(), "no server answers at ops_addr") {
		t.Errorf("nobody there: %v", err)
	}
}
