package main

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// soon is when a certificate that nobody renewed is a finding. Tools renew 30 days before the end.
const soon = 14 * day

func tlsAilments() []ailment {
	return []ailment{
		{"tls-unusable", high, "tls.cert", "the server does not start with it; one that runs keeps the certificate it has until that ends",
			"give tls.cert the chain and tls.key the key that belongs to its first certificate"},
		{"tls-expired", high, "tls.cert", "browsers and clients refuse the connection: nobody can log in",
			"renew it; the server takes the new files without a restart"},
		{"tls-expires-soon", medium, "tls.cert", "it was not renewed in time; when it ends nobody can log in",
			"look why the renewal failed; the server takes new files without a restart"},
		{"tls-host", high, "tls.cert", "browsers and clients refuse the connection, or people learn to click the warning away",
			"get a certificate for the host of public_url"},
		{"tls-weak-key", medium, "tls.cert", "the key can be computed from the certificate with enough effort, and then everything read and changed on the way",
			"make a new key: ECDSA P-256, or RSA with 2048 bits or more"},
		{"tls-unused", medium, "public_url", "links, cookies and origins are made for plain http: clients that come by https are refused, and cookies have no Secure",
			"give public_url https"},
	}
}

// certificate looks at the server's own certificate.
func (x *examination) certificate() {
	c := x.cfg
	if c.TLS.Cert == "" {
		return
	}
	x.look("the certificate")
	if c.PlainHTTP() {
		x.find(ailmentNamed("tls-unused"), "tls.cert is set, and public_url is %s", c.PublicURL)
	}
	pair, err := readPair(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		x.find(ailmentNamed("tls-unusable"), "%v", err)
		return
	}
	host := ""
	if !c.PlainHTTP() {
		host = c.PublicURL.Hostname()
	}
	x.leaf(pair.Leaf, host)
}

func readPair(cert, key string) (tls.Certificate, error) {
	var pair tls.Certificate
	certPEM, err := os.ReadFile(cert)
	if err != nil {
		return pair, fmt.Errorf("read tls.cert: %w", err)
	}
	keyPEM, err := os.ReadFile(key)
	if err != nil {
		return pair, fmt.Errorf("read tls.key: %w", err)
	}
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return pair, fmt.Errorf("tls.cert and tls.key are no pair of a certificate and its key: %w", err)
	}
	return pair, nil
}

// leaf judges a certificate for a host; an empty host is not compared.
func (x *examination) leaf(cert *x509.Certificate, host string) {
	switch left := cert.NotAfter.Sub(x.now); {
	case left <= 0:
		x.find(ailmentNamed("tls-expired"), "the certificate ended %s", when(cert.NotAfter, x.now))
	case x.now.Before(cert.NotBefore):
		x.find(ailmentNamed("tls-expired"), "the certificate begins only %s", when(cert.NotBefore, x.now))
	case left < soon && left < cert.NotAfter.Sub(cert.NotBefore)/3: // one for a few days is always near its end
		x.find(ailmentNamed("tls-expires-soon"), "the certificate ends %s", when(cert.NotAfter, x.now))
	}
	if host != "" && cert.VerifyHostname(host) != nil {
		x.find(ailmentNamed("tls-host"), "the certificate is not for %s", host)
	}
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			x.find(ailmentNamed("tls-weak-key"), "the certificate has an RSA key of %d bits", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize < 256 {
			x.find(ailmentNamed("tls-weak-key"), "the certificate has an ECDSA key of %d bits", key.Curve.Params().BitSize)
		}
	}
}
