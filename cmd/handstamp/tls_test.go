package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/config"
)

// writePair writes a certificate for loopback with the name given, and its key.
func writePair(t *testing.T, dir, name string, ends time.Time) config.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: ends.Add(-48 * time.Hour), NotAfter: ends,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	writeFile(t, files.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	writeFile(t, files.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	return files
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCertPair_reload(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	files := writePair(t, dir, "first", now.Add(24*time.Hour))
	p, err := loadPair(files, discard())
	if err != nil {
		t.Fatal(err)
	}
	name := func() string { return p.current.Load().Leaf.Subject.CommonName }
	steps := []struct {
		what    string
		prepare func()
		changed bool
		bad     bool
		want    string
	}{
		{"nothing new", func() {}, false, false, "first"},
		{"a new pair", func() { writePair(t, dir, "second", now.Add(24*time.Hour)) }, true, false, "second"},
		{"a cut certificate", func() { writeFile(t, files.Cert, []byte("-----BEGIN CERT")) }, false, true, "second"},
		{"the same again", func() {}, false, false, "second"},
		{"an expired one", func() { writePair(t, dir, "expired", now.Add(-time.Hour)) }, false, true, "second"},
		{"a key of another pair", func() {
			other := writePair(t, t.TempDir(), "other", now.Add(24*time.Hour))
			b, _ := os.ReadFile(other.Key)
			writeFile(t, files.Key, b)
		}, false, true, "second"},
		{"no file", func() { _ = os.Remove(files.Key) }, false, true, "second"},
		{"a third pair", func() { writePair(t, dir, "third", now.Add(24*time.Hour)) }, true, false, "third"},
	}
	for _, s := range steps {
		s.prepare()
		changed, err := p.reload(now)
		if changed != s.changed || (err != nil) != s.bad || name() != s.want {
			t.Errorf("%s: changed %v, error %v, certificate %s", s.what, changed, err, name())
		}
	}
}

func TestServe_tls_reload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := writePair(t, dir, "first", time.Now().Add(24*time.Hour))
	s := newSite(t, "", "HANDSTAMP_TLS_CERT="+files.Cert, "HANDSTAMP_TLS_KEY="+files.Key)
	for i, e := range s.env {
		if strings.HasPrefix(e, "HANDSTAMP_PUBLIC_URL=") {
			s.env[i] = "HANDSTAMP_PUBLIC_URL=https://" + s.addr
		}
	}
	s.spawn()
	name := func() string {
		c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			return ""
		}
		defer func() { _ = c.Close() }()
		if c.ConnectionState().NegotiatedProtocol != "h2" {
			t.Error("no HTTP/2")
		}
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	within(t, 10*time.Second, "the first certificate", func() bool { return name() == "first" })
	writeFile(t, files.Cert, []byte("garbage"))
	within(t, 10*time.Second, "the complaint", func() bool { return strings.Contains(s.stderr.String(), "the old one stays") })
	if got := name(); got != "first" {
		t.Errorf("after a broken file the certificate is %q", got)
	}
	writePair(t, dir, "second", time.Now().Add(24*time.Hour))
	within(t, 10*time.Second, "the second certificate", func() bool { return name() == "second" })
	if c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		_ = c.Close()
		t.Error("TLS 1.1 is spoken")
	}
	if err := s.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}
