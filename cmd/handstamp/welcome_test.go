package main

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/forwardauth"
	"github.com/handstamp/handstamp/internal/config"
)

// What a start warns of is the case. A warning that is not teaches people to read past all of them.
func TestServe_warns_of_what_is_the_case(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	here := "HANDSTAMP_PUBLIC_URL=http://" + l.Addr().String()
	for _, c := range []struct {
		env  []string
		says string // "" for nothing
	}{
		{[]string{here}, ""},
		{[]string{here, "HANDSTAMP_NEAR_CACHE_MEMORY=1MiB"}, ""},
		{[]string{here, "HANDSTAMP_INSECURE_HTTP=true"}, ""},
		{[]string{"HANDSTAMP_PUBLIC_URL=https://id.example.com", "HANDSTAMP_INSECURE_HTTP=true"}, ""},
		{[]string{"HANDSTAMP_PUBLIC_URL=http://id.example.com", "HANDSTAMP_INSECURE_HTTP=true"}, "without encryption"},
		{[]string{"HANDSTAMP_PUBLIC_URL=http://127.0.0.1:1"}, "different ports"},
		{[]string{here, "HANDSTAMP_TLS_CERT=c.pem", "HANDSTAMP_TLS_KEY=k.pem"}, "tls.cert is set but public_url is plain http"},
	} {
		cfg, _, err := config.Load(config.Sources{Environ: c.env, Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		(&app{}).odd(cfg, listeners{public: l}, slog.New(slog.NewTextHandler(&out, nil)))
		if c.says == "" && out.Len() > 0 || !strings.Contains(out.String(), c.says) || strings.Count(out.String(), "\n") > 1 {
			t.Errorf("%v: says %q, want %q", c.env, out.String(), c.says)
		}
	}
}

// A configuration that is accepted starts a server: what package config takes for a header's name is one for the handler
// that sends it.
func TestConfig_takes_no_header_that_no_server_sends(t *testing.T) {
	for c := range 256 {
		name := "Remote" + string([]byte{byte(c)}) + "User"
		cfg, _, err := config.Load(config.Sources{Flags: map[string]string{"check-headers": "Handstamp-User=" + name}, Dir: t.TempDir()})
		if err != nil {
			continue
		}
		if err := sendsHeaders(cfg); err != nil {
			t.Errorf("%q: config accepts it, and no server starts: %v", name, err)
		}
	}
	for _, good := range []string{"Remote-User", "X-User-1"} {
		cfg, _, err := config.Load(config.Sources{Flags: map[string]string{"check-headers": "Handstamp-User=" + good}, Dir: t.TempDir()})
		if err != nil || sendsHeaders(cfg) != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

// sendsHeaders is what a server says to the names.
func sendsHeaders(cfg *config.Config) error {
	_, err := forwardauth.New((*handstamp.Auth)(nil), forwardauth.Options{Headers: cfg.Check.Headers})
	return err
}
