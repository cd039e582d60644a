// Package config turns Handstamp's configuration file, environment and command
// line flags into one checked [Config].
//
// It gives: one table of keys ([Keys]) from which the names of flags,
// environment variables and file entries, the defaults, the ranges and the help
// texts come; [Load], which applies flags over environment over file over
// defaults and reports every mistake in one go; the place each value came from
// ([Config.Origin], [Config.Entries]); and [EnsureSecret], which makes the
// signing secret of an installation that did not set one.
//
// It never opens a store, a listener or a network connection, never decides
// whether a kind of store is part of this build, never reads the process's
// environment or arguments itself, and never prints, logs or puts into an error
// a value that it was given: a mistake names the key and the place, so that a
// secret pasted into the wrong key does not end up in a log.
package config

import (
	"log/slog"
	"net/netip"
	"net/url"
	"time"
)

// Config is a whole, checked configuration. It is made by [Load] only: the zero
// value is no usable configuration (every limit is 0, every choice is empty).
// It is safe for concurrent reading and is not changed after Load, except that
// the program puts the result of [EnsureSecret] into Secret.
//
// Printing a Config with any verb of fmt or by slog does not show a secret.
type Config struct {
	Addr           string         // public listener, host:port; an empty host is every interface
	OpsAddr        string         // listener of metrics and health, host:port
	PublicURL      *url.URL       // scheme, host (lower case, no default port) and base path without a final slash
	TLS            TLS            // certificate of the public listener
	InsecureHTTP   bool           // permits a plain-http PublicURL off loopback
	Origins        []string       // scheme://host[:port] as a browser sends it in Origin
	TrustedProxies []netip.Prefix // whose forwarded headers count; masked
	DataDir        string         // directory of the SQLite file and of generated secrets
	Database       Backend        // KindSQLite, KindPostgres or KindMemory
	DatabasePooler Pooler         // what stands between us and PostgreSQL
	AcceptLoss     Loss           // weakest durability with which hybrid and token are offered
	Migrate        bool           // bring the database up to date at start
	Sessions       Backend        // KindDatabase, KindMemory or KindRedis
	Cache          Backend        // KindNone or KindRedis
	NearCache      NearCache      // the Verifier's own cache
	Secret         []Secret       // the first makes, all verify; empty: call EnsureSecret
	Modes          []Mode         // modes a client may ask for; never empty
	Session        Session
	Cookie         Cookie
	Logout         Logout
	Check          Check
	Admin          Admin
	Audit          Audit
	Token          Token
	Refresh        Refresh
	Revocation     Revocation
	Key            KeyRotation
	Password       Password
	Signup         Signup // who may make an account
	Login          Login
	Log            Log
	OTel           OTel

	file    string // path of the configuration file that was read
	origins map[string]Origin
	files   map[string]string // key of a secret → path it was read from
}

// TLS names the files of the public listener's certificate. Both are set or
// both are empty.
type TLS struct {
	Cert string // path of the PEM certificate chain
	Key  string // path of the PEM private key
}

// NearCache sizes the Verifier's own cache.
type NearCache struct {
	Memory int64 // bytes
}

// Session holds the two ends of a session of mode "session".
type Session struct {
	IdleTimeout     time.Duration // at least 1 s, never longer than AbsoluteTimeout
	AbsoluteTimeout time.Duration // at least 1 s
	MaxPerUser      int           // 0: no limit
}

// Cookie holds the attributes of the session cookie that can be chosen.
type Cookie struct {
	SameSite SameSite
	Domain   string // lower case, without a leading dot; empty: host-only
}

// Logout holds what log-out does in the browser.
type Logout struct {
	ClearSiteData []ClearSiteData // directives of Clear-Site-Data; "cache" is one of them
}

// Check holds the answer of the check endpoint.
type Check struct {
	Headers         map[string]string // header we would send → header sent instead; canonical form
	UnverifiedEmail bool              // also send an address that nobody verified
}

// Admin holds the rule of the administration calls.
type Admin struct {
	MaxAuthAge time.Duration // a user's login must be younger for a write
}

// Audit holds the rule of the audit log.
type Audit struct {
	Retention time.Duration // how long records are kept
}

// Token holds what value tokens are made of.
type Token struct {
	Algorithm    Algorithm
	AccessTTL    time.Duration // 1 s to 1 h, never longer than Refresh.AbsoluteTimeout
	StatelessTTL time.Duration // 1 s to 1 h; life of a token of mode "token"
	Issuer       string        // iss, compared byte for byte
	Audience     string        // aud and client_id
	Encrypt      bool          // issue JWE instead of JWS
}

// Refresh holds the life of a session of mode "hybrid".
type Refresh struct {
	IdleTimeout     time.Duration // at least 1 s, never longer than AbsoluteTimeout
	AbsoluteTimeout time.Duration // at least 1 s
	Grace           time.Duration // 0 to 60 s: the token before the last is answered with the last
	AfterRestore    AfterRestore
}

// Revocation holds how long a verifier answers from memory.
type Revocation struct {
	Lease   time.Duration // 500 ms to 30 s
	OnStale OnStale
}

// KeyRotation holds the rule of the signing keys.
type KeyRotation struct {
	RotateEvery time.Duration // at least 1 s
}

// Password holds the rules of passwords and the argon2id parameters (RFC 9106).
type Password struct {
	MinLength     int    // characters, 8 to 256
	MemoryKiB     uint32 // KiB, at least 8 for each lane (RFC 9106 section 3.1)
	Iterations    uint32 // passes over the memory
	Parallelism   uint8  // lanes
	MaxConcurrent int    // hashes computed at the same time
	// LegacyHash is a stored hash like those of users that were imported; empty for none. It is a Secret since people
	// will give a real one.
	LegacyHash Secret
}

// Login holds the limit of failed tries.
type Login struct {
	MaxFailures int // 1 to 1,000,000, per account and per network
}

// Log holds the form of the log.
type Log struct {
	Format LogFormat
	Level  slog.Level
}

// OTel says where traces of requests go.
type OTel struct {
	Endpoint    *url.URL // base URL of an OTLP receiver over HTTP; nil: no traces
	SampleRatio float64  // 0 to 1
}

// Mode is how an identity is kept.
type Mode string

// The modes.
const (
	ModeSession Mode = "session" // an opaque reference
	ModeToken   Mode = "token"   // one signed value token
	ModeHybrid  Mode = "hybrid"  // a short value token and a refresh token
)

// Pooler is what stands between the server and PostgreSQL.
type Pooler string

// The poolers.
const (
	PoolerNone        Pooler = "none"
	PoolerTransaction Pooler = "transaction" // no LISTEN, no named statements, no settings of a session
)

// Loss is a durability of a store that the operator accepts.
type Loss string

// The losses, from none to all.
const (
	LossNone     Loss = "none"     // durable stores only
	LossWindow   Loss = "window"   // the last n seconds may be lost
	LossVolatile Loss = "volatile" // everything may be lost
)

// SameSite is the cookie attribute of that name (RFC 6265bis section 4.1.2.7).
type SameSite string

// The values of SameSite.
const (
	SameSiteStrict SameSite = "strict"
	SameSiteLax    SameSite = "lax"
	SameSiteNone   SameSite = "none" // needs an https public URL
)

// ClearSiteData is one directive of the Clear-Site-Data header.
type ClearSiteData string

// The directives.
const (
	ClearCache   ClearSiteData = "cache"
	ClearStorage ClearSiteData = "storage"
	ClearCookies ClearSiteData = "cookies"
)

// Algorithm signs value tokens (RFC 7518 section 3.1, RFC 8037).
type Algorithm string

// The algorithms.
const (
	ES256 Algorithm = "ES256"
	EdDSA Algorithm = "EdDSA"
	RS256 Algorithm = "RS256"
	HS256 Algorithm = "HS256" // the key never leaves the fleet
)

// AfterRestore is what a refresh token from after a restored backup gets.
type AfterRestore string

// The answers after a restore.
const (
	RestoreRefuse  AfterRestore = "refuse"
	RestoreForward AfterRestore = "forward"
)

// OnStale is what a verifier without a fresh lease does.
type OnStale string

// The answers without a lease.
const (
	StaleLookup OnStale = "lookup" // ask the store
	StaleRefuse OnStale = "refuse" // answer 503
)

// Signup is who may make an account.
type Signup string

// The rules of sign-up.
const (
	SignupOpen   Signup = "open"
	SignupClosed Signup = "closed"
)

// LogFormat is the form of a log line.
type LogFormat string

// The formats.
const (
	LogAuto LogFormat = "auto" // text on a terminal, else JSON: decided where the terminal is known
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// PlainHTTP reports whether clients reach this server by plain http, so that
// cookies can have neither Secure nor a name prefix.
func (c *Config) PlainHTTP() bool { return c.PublicURL.Scheme == "http" }

// Loopback reports whether PublicURL names this machine only.
func (c *Config) Loopback() bool { return isLoopback(c.PublicURL.Hostname()) }

// PublicOrigin returns scheme://host[:port] of PublicURL as a browser sends it
// in the Origin header.
func (c *Config) PublicOrigin() string { return c.PublicURL.Scheme + "://" + c.PublicURL.Host }

// BasePath returns the path of PublicURL without a final slash; "" is the root.
func (c *Config) BasePath() string { return c.PublicURL.Path }
