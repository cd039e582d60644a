package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/handstamp/handstamp/internal/config"
)

// noAdmin is what is said instead of the link where nobody sits at a terminal.
const noAdmin = "There is no administrator yet. Make one: handstamp user add --email ADDRESS --role admin --password-stdin; " +
	"or start the server once in a terminal, which shows a link that makes one."

// welcome says that the server is up: one record in the log, and for people a few lines on standard output with where to
// go next. The link that makes the first administrator goes to a terminal only: what is written to a pipe or a file is
// kept, copied and read by many, and whoever reads the link first is the administrator.
func (a *app) welcome(ctx context.Context, cfg *config.Config, e *engine, l listeners, log *slog.Logger) error {
	modes := make([]string, 0, len(cfg.Modes))
	for _, m := range offered(cfg) {
		modes = append(modes, string(m))
	}
	attrs := []any{
		"version", version(), "public_url", cfg.PublicURL.String(), "addr", l.public.Addr().String(), "ops_addr", l.ops.Addr().String(),
		"store", string(cfg.Database.Kind), "sessions", string(cfg.Sessions.Kind), "durability", durability(e.auth.Durability()),
		"data", e.place, "modes", strings.Join(modes, ","), "tls", cfg.TLS.Cert != "",
	}
	if cfg.InsecureHTTP {
		attrs = append(attrs, "insecure_http", true)
	}
	log.Info("handstamp is up", attrs...)
	a.odd(cfg, l, log)
	hasAdmin, err := e.accounts.HasAdmin(ctx)
	if err != nil {
		return fmt.Errorf("look for an administrator: %w", err)
	}
	if cfg.Log.Format == config.LogJSON && !isTerminal(a.stdout) {
		if !hasAdmin {
			log.Info(noAdmin)
		}
		return nil
	}
	return a.greet(ctx, cfg, e, l, hasAdmin)
}

// odd notes what works and is probably not meant.
func (a *app) odd(cfg *config.Config, l listeners, log *slog.Logger) {
	if cfg.PlainHTTP() && !cfg.Loopback() {
		log.Warn("insecure_http: clients reach this server without encryption; whoever is on the way can read their credentials")
	}
	_, port, err := net.SplitHostPort(l.public.Addr().String())
	if err == nil && cfg.Loopback() && cfg.PlainHTTP() && cfg.TLS.Cert == "" && port != portOf(cfg) {
		log.Warn("addr and public_url name different ports: browsers are refused unless a proxy stands between", "addr", l.public.Addr().String(), "public_url", cfg.PublicURL.String())
	}
	if cfg.TLS.Cert != "" && cfg.PlainHTTP() {
		log.Warn("tls.cert is set but public_url is plain http: clients will not find the server there", "public_url", cfg.PublicURL.String())
	}
}

func portOf(cfg *config.Config) string {
	if p := cfg.PublicURL.Port(); p != "" {
		return p
	}
	return "80"
}

func (a *app) greet(ctx context.Context, cfg *config.Config, e *engine, l listeners, hasAdmin bool) error {
	mode := ""
	switch {
	case cfg.PlainHTTP() && cfg.Loopback():
		mode = " (development: plain http on this machine only)"
	case cfg.PlainHTTP():
		mode = " (insecure_http: without encryption)"
	}
	base := cfg.PublicURL.String()
	lines := []string{
		fmt.Sprintf("Handstamp %s is up at %s%s", version(), base, mode),
		fmt.Sprintf("  data        %s (%s)", e.place, durability(e.auth.Durability())),
		fmt.Sprintf("  try         curl -i %s/v1/signup -H 'Content-Type: application/json' -d '{\"email\":\"ada@example.com\",\"password\":\"choose a long one\"}'", base),
		fmt.Sprintf("  API         %s/openapi.json", base),
		fmt.Sprintf("  operators   http://%s/readyz", l.ops.Addr()),
	}
	switch {
	case hasAdmin:
	case !isTerminal(a.stdout):
		lines = append(lines, "", noAdmin)
	default:
		link, err := e.flow.NewSetup(ctx)
		if err != nil {
			return fmt.Errorf("make the link for the first administrator: %w", err)
		}
		lines = append(lines, "", "There is no administrator yet. This link makes one; it works once, for 30 minutes:",
			"  "+base+"/setup#"+link.Reveal(), "")
	}
	_, _ = fmt.Fprintln(a.stdout, strings.Join(lines, "\n")) // a server whose terminal is gone serves all the same
	return nil
}
