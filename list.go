package handstamp

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Sessions lists live sessions, newest first. Limit is 1 to 1,000; 0 is 100. Now is filled in.
func (a *Auth) Sessions(ctx context.Context, f SessionFilter) ([]Session, error) {
	f.Now = a.now()
	if f.Limit <= 0 {
		f.Limit = 100
	}
	f.Limit = min(f.Limit, 1000)
	list, err := a.store.Sessions().List(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	for i := range list {
		list[i].SeenAt = a.seen.latest(list[i].ID, list[i].SeenAt)
	}
	return list, nil
}

// Session reads one session's record, live or ended. ErrNotFound if there is none.
func (a *Auth) Session(ctx context.Context, s SessionID) (Session, error) {
	found, err := a.store.Sessions().Find(ctx, Lookup{Session: s})
	if err != nil {
		return Session{}, fmt.Errorf("find the session: %w", err)
	}
	found.Session.SeenAt = a.seen.latest(s, found.Session.SeenAt)
	return found.Session, nil
}

// Subject reads the engine's row of one user.
func (a *Auth) Subject(ctx context.Context, u UserID) (Subject, error) {
	sub, err := a.store.Sessions().Subject(ctx, u)
	if err != nil {
		return Subject{}, fmt.Errorf("read the subject: %w", err)
	}
	return sub, nil
}

// Modes are what a login may ask for; the first is the default. The caller owns the slice.
func (a *Auth) Modes() []Mode { return slices.Clone(a.opt.Modes) }

// Audience is what value tokens are made for.
func (a *Auth) Audience() string { return a.opt.Token.Audience }

// Durability is what the store promises of a write that it acknowledged.
func (a *Auth) Durability() Durability { return a.settled.Durability }

// CheckForwarded applies the origin rules to a request that a trusted proxy asks about (forward-auth): the proxy's own
// request is harmless, the one it forwards may not be. It looks at the original method, and only where the credential is
// a cookie; a browser sends those by itself. From anybody but a trusted proxy the headers say nothing and nothing is
// checked: whoever asks about his own credential may.
func (a *Auth) CheckForwarded(r *http.Request) error {
	method := forwardedMethod(r)
	if method == "" || !a.FromTrustedProxy(r) {
		return nil
	}
	if _, ok, err := bearer(r); ok || err != nil || !a.cookies.carries(r) {
		return nil
	}
	public := a.origins.public
	if host := firstHeader(r, "X-Forwarded-Host", "X-Original-Host"); host != "" {
		scheme := firstHeader(r, "X-Forwarded-Proto", "X-Forwarded-Scheme")
		if scheme == "" {
			scheme, _, _ = strings.Cut(public, ":")
		}
		if public = forwardedHost(scheme, host); public == "" {
			return fmt.Errorf("%w: forwarded host", ErrOrigin)
		}
	}
	return a.origins.check(method, r.Header, public, r)
}

// forwardedMethod is the original method. A proxy sets one of the headers and may pass the other on from the client, so
// one that is unsafe decides.
func forwardedMethod(r *http.Request) string {
	method := ""
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method"} {
		for _, m := range r.Header.Values(name) {
			m = strings.ToUpper(m)
			if method == "" || m != http.MethodGet && m != http.MethodHead && m != http.MethodOptions {
				method = m
			}
		}
	}
	return method
}

func firstHeader(r *http.Request, names ...string) string {
	for _, n := range names {
		if v := r.Header.Get(n); v != "" {
			return v
		}
	}
	return ""
}

// FromTrustedProxy reports whether a request comes from one of Options.TrustedProxies, whose forwarded headers count.
func (a *Auth) FromTrustedProxy(r *http.Request) bool {
	direct := &http.Request{RemoteAddr: r.RemoteAddr}
	return contains(a.opt.TrustedProxies, ClientAddr(direct, nil))
}
