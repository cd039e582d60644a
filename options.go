package handstamp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/permission"
)

// Options says how sessions live and where. The zero value of every field but PublicURL is the safe default.
type Options struct {
	// PublicURL is where browsers reach the application, such as https://app.example.com. Cookies, origins and links come
	// from it, never from a header. Plain http is for loopback only, unless InsecureHTTP.
	PublicURL    string
	InsecureHTTP bool
	// Origins are other origins (scheme://host[:port]) that may call from a browser.
	Origins []string
	// RefreshPath is the path below which the refresh cookie is sent; default: the path of PublicURL + /v1/refresh.
	RefreshPath string
	Cookie      CookieOptions
	// TrustedProxies are the networks whose forwarded headers count. None by default.
	TrustedProxies []netip.Prefix

	// Modes a login may ask for; the first is the default. Empty offers what Keys and Secrets make possible.
	Modes   []Mode
	Session SessionOptions
	Token   TokenOptions
	Refresh RefreshOptions
	// Anonymous is for sessions without a user.
	Anonymous AnonymousOptions
	// Carry are the names of session data that a login takes along from the anonymous session of the same browser, and from
	// the same user's session that it replaces. All other data stays behind and ends with its session.
	Carry []string
	// Secrets are 32 to 1,024 bytes each: the first makes refresh tokens and form tokens, all verify. Needed for
	// ModeHybrid. Several processes on one database share at least one.
	Secrets [][]byte
	// Keys sign and verify value tokens; package keyring has them. Needed for ModeToken and ModeHybrid.
	Keys Keys

	// Permissions says what a user may do, where the application keeps that. It is asked at every login, at every refresh, a
	// repeated one too, and by Changed; never by a check, and not by Renew. No lock is held meanwhile, but the login or
	// refresh waits for it. Its answer replaces the user's roles; if it differs, value tokens with the old ones are stale. A
	// change that nobody tells Changed of is seen at the next of these, so in ModeSession at the next login. An error stops
	// the login or refresh and leaves session and refresh token as they were: ErrDisabled is answered 403, any other 503.
	Permissions func(ctx context.Context, u UserID) (Grants, error)
	// Roles is what each role grants, where that is fixed in the program. Nil takes the store's table.
	Roles permission.Table
	// Claims adds the application's own claims, the same in every form. It is asked at login, at refresh and at new
	// secrets. It cannot overwrite Handstamp's claims, and names like "password" are refused.
	Claims func(ctx context.Context, s Session) (map[string]any, error)

	// LoginURL is where browsers that need to log in are sent, with ?return_to=…; empty sends nobody.
	LoginURL string
	// OnDenied writes the answer of Require and Optional when it is not yes. The default redirects page loads to LoginURL
	// and answers everything else with problem+json (RFC 9457).
	OnDenied func(w http.ResponseWriter, r *http.Request, err error)

	// Lease is how long a check may answer from memory after it last heard from the log; 500 ms to 30 s, default 2 s. One
	// value for all processes on a database.
	Lease time.Duration
	// CacheBytes bounds the memory of checks: copies of looked-up sessions and of value tokens whose signature was found
	// good; default 64 MiB, negative is none. Without it the answers are the same, only slower.
	CacheBytes int64
	// RefuseStale answers 503 to value tokens while the lease has lapsed, instead of asking the store about them. Reference
	// tokens are looked up in either case.
	RefuseStale bool
	// AcceptLoss offers value tokens although the store may lose a revocation in a crash: "window" or "volatile".
	AcceptLoss DurabilityClass
	// AuditRetention is how long entries of the audit log are kept; default 365 days.
	AuditRetention time.Duration

	// Now is the clock; default time.Now. Tests pass their own.
	Now func() time.Time
	// Logger receives what happens in the background; default slog.Default().
	Logger *slog.Logger
	// Name tells processes apart for people, in the list of verifiers; default: host and process id.
	Name string
}

// SessionOptions is for ModeSession.
type SessionOptions struct {
	IdleTimeout     time.Duration // default 24 h
	AbsoluteTimeout time.Duration // default 720 h
	MaxPerUser      int           // live sessions of one user, of every mode; the oldest goes first; 0 is no limit
}

// TokenOptions is for value tokens.
type TokenOptions struct {
	AccessTTL    time.Duration // life of a value token in ModeHybrid; default 10 min, at most 1 h
	StatelessTTL time.Duration // life of a value token and its session in ModeToken; default 15 min, at most 1 h
	Issuer       string        // default PublicURL
	Audience     string        // default PublicURL
}

// RefreshOptions is for ModeHybrid.
type RefreshOptions struct {
	IdleTimeout     time.Duration // default 720 h
	AbsoluteTimeout time.Duration // default 2160 h
	// Grace is how long the token before the current one still gets the same successor; default 20 s, at most 60 s.
	// Negative is none: then a lost answer costs a login.
	Grace time.Duration
	// ForwardAfterRestore lets a session whose client is ahead of a restored database go on, for one hour.
	ForwardAfterRestore bool
}

// AnonymousOptions is for sessions without a user, see [Auth.Anonymous].
type AnonymousOptions struct {
	IdleTimeout     time.Duration // default 1 h
	AbsoluteTimeout time.Duration // default 720 h
	MaxPerNetwork   int           // live ones of one network (an IPv4 address, an IPv6 /64); default 1,000
}

// CookieOptions are the cookie's attributes that may be chosen.
type CookieOptions struct {
	SameSite http.SameSite // default Strict
	Domain   string        // default none; with a domain the cookie is shared with every sub-domain
}

// Keys sign and verify value tokens. Package keyring implements it.
type Keys interface {
	VerifyKeys
	// Seal signs, or encrypts, with the active key. now decides which key that is.
	Seal(c jwt.Claims, now time.Time) (string, error)
	// Maintain does what is due: create, publish, activate, retire, remove.
	Maintain(ctx context.Context) error
}

const maxTokenLife = time.Hour // the log remembers for an hour and five minutes what a value token must know

// withDefaults fills what is zero and reports every mistake at once.
func (o Options) withDefaults() (Options, error) {
	o.Session.IdleTimeout = cmp.Or(o.Session.IdleTimeout, 24*time.Hour)
	o.Session.AbsoluteTimeout = cmp.Or(o.Session.AbsoluteTimeout, 720*time.Hour)
	o.Token.AccessTTL = cmp.Or(o.Token.AccessTTL, 10*time.Minute)
	o.Token.StatelessTTL = cmp.Or(o.Token.StatelessTTL, 15*time.Minute)
	o.Token.Issuer = cmp.Or(o.Token.Issuer, o.PublicURL)
	o.Token.Audience = cmp.Or(o.Token.Audience, o.PublicURL)
	o.Refresh.IdleTimeout = cmp.Or(o.Refresh.IdleTimeout, 720*time.Hour)
	o.Refresh.AbsoluteTimeout = cmp.Or(o.Refresh.AbsoluteTimeout, 2160*time.Hour)
	o.Refresh.Grace = max(0, cmp.Or(o.Refresh.Grace, 20*time.Second))
	o.Anonymous.IdleTimeout = cmp.Or(o.Anonymous.IdleTimeout, time.Hour)
	o.Anonymous.AbsoluteTimeout = cmp.Or(o.Anonymous.AbsoluteTimeout, 720*time.Hour)
	o.Anonymous.MaxPerNetwork = cmp.Or(o.Anonymous.MaxPerNetwork, 1000)
	o.Lease = cmp.Or(o.Lease, 2*time.Second)
	o.AuditRetention = cmp.Or(o.AuditRetention, 365*24*time.Hour)
	o.Cookie.SameSite = cmp.Or(o.Cookie.SameSite, http.SameSiteStrictMode)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if len(o.Modes) == 0 {
		o.Modes = o.possibleModes()
	}
	return o, o.validate()
}

func (o Options) possibleModes() []Mode {
	modes := []Mode{ModeSession}
	if o.Keys != nil {
		modes = append(modes, ModeToken)
		if len(o.Secrets) > 0 {
			modes = append(modes, ModeHybrid)
		}
	}
	return modes
}

func (o Options) validate() error {
	var errs []error
	bad := func(when bool, format string, args ...any) {
		if when {
			errs = append(errs, fmt.Errorf("handstamp: Options."+format, args...))
		}
	}
	for _, m := range o.Modes {
		known := m == ModeSession || m == ModeToken || m == ModeHybrid
		bad(!known, "Modes: unknown mode %q", m)
		bad((m == ModeToken || m == ModeHybrid) && o.Keys == nil, "Keys is needed for the mode %s", m)
		bad(m == ModeHybrid && len(o.Secrets) == 0, "Secrets is needed for the mode %s", m)
	}
	for i, s := range o.Secrets {
		bad(len(s) < 32 || len(s) > 1024, "Secrets[%d] needs 32 to 1,024 bytes", i)
	}
	for name, d := range map[string]time.Duration{
		"Session.IdleTimeout": o.Session.IdleTimeout, "Session.AbsoluteTimeout": o.Session.AbsoluteTimeout,
		"Refresh.IdleTimeout": o.Refresh.IdleTimeout, "Refresh.AbsoluteTimeout": o.Refresh.AbsoluteTimeout,
		"Anonymous.IdleTimeout": o.Anonymous.IdleTimeout, "Anonymous.AbsoluteTimeout": o.Anonymous.AbsoluteTimeout,
		"Token.AccessTTL": o.Token.AccessTTL, "Token.StatelessTTL": o.Token.StatelessTTL, "AuditRetention": o.AuditRetention,
	} {
		bad(d < time.Second, "%s is at least 1 s", name)
	}
	bad(o.Token.AccessTTL > maxTokenLife, "Token.AccessTTL is at most 1 h")
	bad(o.Token.StatelessTTL > maxTokenLife, "Token.StatelessTTL is at most 1 h")
	bad(o.Refresh.Grace > time.Minute, "Refresh.Grace is at most 60 s")
	bad(o.Lease < 500*time.Millisecond || o.Lease > 30*time.Second, "Lease is 500 ms to 30 s")
	bad(o.Session.MaxPerUser < 0, "Session.MaxPerUser is 0 or more")
	bad(o.Anonymous.MaxPerNetwork < 1, "Anonymous.MaxPerNetwork is 1 or more")
	for _, name := range o.Carry {
		bad(checkDataName(name) != nil, "Carry: %q is no name of session data: %s", name, dataNameRule)
	}
	errs = append(errs, o.validateURLs()...)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func (o Options) validateURLs() []error {
	var errs []error
	u, err := url.Parse(o.PublicURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return []error{errors.New("handstamp: Options.PublicURL is needed: where browsers reach the application, such as https://app.example.com")}
	case u.Scheme == "http" && !o.InsecureHTTP && !loopback(u.Hostname()):
		errs = append(errs, errors.New("handstamp: Options.PublicURL: plain http is for loopback; use https, or set InsecureHTTP on a network you trust"))
	}
	for _, origin := range o.Origins {
		if _, err := parseOrigin(origin); err != nil {
			errs = append(errs, fmt.Errorf("handstamp: Options.Origins: %q is not scheme://host[:port]", origin))
		}
	}
	return errs
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
