package config

import (
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Key describes one key for a command line and for help texts.
type Key struct {
	Name    string // path in the file, such as session.idle_timeout
	Flag    string // such as session-idle-timeout, without dashes in front
	Env     string // such as HANDSTAMP_SESSION_IDLE_TIMEOUT
	Default string // as text; for a derived default a few words
	Help    string // one sentence without a full stop
	Kind    string // text, bool, int, duration, size, url, list, map, number or secret
	Limits  string // range or choices; may be empty
	Secret  bool   // the value is never printed whole
}

// Keys returns every key, in the order of the documentation.
func Keys() []Key {
	all := specs()
	keys := make([]Key, 0, len(all))
	for _, s := range all {
		keys = append(keys, Key{
			Name: s.name, Flag: s.flag(), Env: s.env(), Default: s.defaultText(), Help: s.help,
			Kind: s.kind.name, Limits: s.kind.limits, Secret: s.secret,
		})
	}
	return keys
}

// spec is one line of the table of keys: all that is known about a key.
type spec struct {
	name    string
	initial string // default as text; "" leaves the field as it is
	kind    kind
	help    string

	derived  string // words for a default that depends on other keys or the machine
	optional bool   // an empty text means none; elsewhere it is a mistake
	secret   bool   // holds a secret, whole or in a part
	fileOf   string // the key whose value is read from the file that this one names
}

func (s spec) flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(s.name) }

func (s spec) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.name, ".", "_"))
}

func (s spec) defaultText() string {
	if s.derived != "" {
		return s.derived
	}
	return s.initial
}

const (
	second = time.Second
	hour   = time.Hour
)

// specs returns the table of keys. A key is added by one line here and one field
// in Config.
func specs() []spec {
	return slices.Concat(serverSpecs(), storeSpecs(), webSpecs(), lifeSpecs(), accountSpecs(), traceSpecs())
}

func serverSpecs() []spec {
	return []spec{
		{name: "addr", initial: "127.0.0.1:8080", help: "public listener",
			kind: text(func(c *Config) *string { return &c.Addr }, parseAddr)},
		{name: "ops_addr", initial: "127.0.0.1:8081", help: "listener of metrics and health",
			kind: text(func(c *Config) *string { return &c.OpsAddr }, parseAddr)},
		{name: "public_url", initial: "http://127.0.0.1:8080", help: "address that clients use: links and cookies come from it",
			kind: webURL(publicURL)},
		{name: "tls.cert", optional: true, help: "PEM file with the certificate chain of the public listener",
			kind: text(func(c *Config) *string { return &c.TLS.Cert }, anyText)},
		{name: "tls.key", optional: true, help: "PEM file with the private key of the public listener",
			kind: text(func(c *Config) *string { return &c.TLS.Key }, anyText)},
		{name: "insecure_http", initial: "false", help: "permit a plain-http public_url off loopback",
			kind: boolean(func(c *Config) *bool { return &c.InsecureHTTP })},
		{name: "origins", optional: true, derived: "none", help: "other origins that may call from a browser and be a return_to",
			kind: list(func(c *Config) *[]string { return &c.Origins }, parseOrigin, same)},
		{name: "trusted_proxies", optional: true, derived: "none", help: "networks whose forwarded headers count",
			kind: prefixes(trustedProxies)},
		{name: "data_dir", initial: "./handstamp-data", help: "directory of the SQLite file and of generated secrets",
			kind: text(func(c *Config) *string { return &c.DataDir }, anyText)},
	}
}

func storeSpecs() []spec {
	return []spec{
		{name: "database", initial: "sqlite", secret: true, help: "sqlite[:PATH], postgres://… or memory",
			kind: backend(func(c *Config) *Backend { return &c.Database }, parseDatabase)},
		{name: "database_file", optional: true, fileOf: "database", help: "file that holds the value of database", kind: filePath("database")},
		{name: "database_pooler", initial: "none", help: "what stands between the server and PostgreSQL",
			kind: choice(func(c *Config) *Pooler { return &c.DatabasePooler }, PoolerNone, PoolerTransaction)},
		{name: "accept_loss", initial: "none", help: "weakest durability with which hybrid and token are offered",
			kind: choice(func(c *Config) *Loss { return &c.AcceptLoss }, LossNone, LossWindow, LossVolatile)},
		{name: "migrate", initial: "true", help: "bring the database up to date at start",
			kind: boolean(func(c *Config) *bool { return &c.Migrate })},
		{name: "sessions", initial: "database", secret: true, help: "database, memory or redis://…",
			kind: backend(func(c *Config) *Backend { return &c.Sessions }, parseSessions)},
		{name: "sessions_file", optional: true, fileOf: "sessions", help: "file that holds the value of sessions", kind: filePath("sessions")},
		{name: "cache", optional: true, secret: true, derived: "none", help: "redis://… of a cache in front of the database",
			kind: backend(func(c *Config) *Backend { return &c.Cache }, parseCache)},
		{name: "cache_file", optional: true, fileOf: "cache", help: "file that holds the value of cache", kind: filePath("cache")},
		{name: "near_cache.memory", initial: "64MiB", help: "size of the cache inside the process; 0B is none",
			kind: byteSize(func(c *Config) *int64 { return &c.NearCache.Memory }, 0, 1<<40)},
		{name: "secret", secret: true, derived: "generated into data_dir", help: "signing secrets: the first makes, all verify; several nodes share them",
			kind: secrets()},
		{name: "secret_file", optional: true, fileOf: "secret", help: "file that holds the signing secrets, one in each line", kind: filePath("secret")},
	}
}

func webSpecs() []spec {
	return []spec{
		{name: "modes", initial: "session,token,hybrid", help: "modes that a client may ask for",
			kind: choices(func(c *Config) *[]Mode { return &c.Modes }, ModeSession, ModeToken, ModeHybrid)},
		{name: "session.idle_timeout", initial: "24h", help: "a session without activity ends after this",
			kind: duration(sessionIdle, second, 0)},
		{name: "session.absolute_timeout", initial: "720h", help: "every session ends after this",
			kind: duration(sessionAbsolute, second, 0)},
		{name: "session.max_per_user", initial: "0", help: "sessions of one user, the oldest goes first; 0 is no limit",
			kind: number(func(c *Config) *int { return &c.Session.MaxPerUser }, 0, 1_000_000)},
		{name: "cookie.same_site", initial: "strict", help: "SameSite attribute of the cookies",
			kind: choice(func(c *Config) *SameSite { return &c.Cookie.SameSite }, SameSiteStrict, SameSiteLax, SameSiteNone)},
		{name: "cookie.domain", optional: true, derived: "none", help: "share the cookies with the subdomains of this domain",
			kind: text(func(c *Config) *string { return &c.Cookie.Domain }, parseDomain)},
		{name: "logout.clear_site_data", initial: "cache", help: "what log-out makes the browser forget",
			kind: choices(func(c *Config) *[]ClearSiteData { return &c.Logout.ClearSiteData }, ClearCache, ClearStorage, ClearCookies)},
		{name: "check.headers", optional: true, derived: "none", help: "other names for the headers of a check's answer",
			kind: headers(func(c *Config) *map[string]string { return &c.Check.Headers })},
		{name: "check.unverified_email", initial: "false", help: "send Handstamp-Email for addresses that nobody verified",
			kind: boolean(func(c *Config) *bool { return &c.Check.UnverifiedEmail })},
		{name: "admin.max_auth_age", initial: "10m", help: "a user's login must be younger for administrative writes",
			kind: duration(func(c *Config) *time.Duration { return &c.Admin.MaxAuthAge }, second, 0)},
		{name: "audit.retention", initial: "8760h", help: "how long audit records are kept",
			kind: duration(func(c *Config) *time.Duration { return &c.Audit.Retention }, second, 0)},
	}
}

func lifeSpecs() []spec {
	return []spec{
		{name: "token.algorithm", initial: "ES256", help: "signature of value tokens",
			kind: choice(func(c *Config) *Algorithm { return &c.Token.Algorithm }, ES256, EdDSA, RS256, HS256)},
		// The revocation log forgets an event after one hour and five minutes, so
		// a token must not be able to outlive the event that ends it.
		{name: "token.access_ttl", initial: "10m", help: "life of the value token of mode hybrid",
			kind: duration(accessTTL, second, hour)},
		{name: "token.stateless_ttl", initial: "15m", help: "life of the value token of mode token",
			kind: duration(func(c *Config) *time.Duration { return &c.Token.StatelessTTL }, second, hour)},
		{name: "token.issuer", optional: true, derived: "public_url", help: "issuer of value tokens, equal on all nodes",
			kind: text(func(c *Config) *string { return &c.Token.Issuer }, parseIssuer)},
		{name: "token.audience", optional: true, derived: "public_url", help: "audience of value tokens, equal on all nodes",
			kind: text(func(c *Config) *string { return &c.Token.Audience }, parseAudience)},
		{name: "token.encrypt", initial: "false", help: "encrypt value tokens",
			kind: boolean(func(c *Config) *bool { return &c.Token.Encrypt })},
		{name: "refresh.idle_timeout", initial: "720h", help: "a refresh token that is not used ends after this",
			kind: duration(refreshIdle, second, 0)},
		{name: "refresh.absolute_timeout", initial: "2160h", help: "every session of mode hybrid ends after this",
			kind: duration(refreshAbsolute, second, 0)},
		{name: "refresh.grace", initial: "20s", help: "how long the token before the last is answered with the last",
			kind: duration(func(c *Config) *time.Duration { return &c.Refresh.Grace }, 0, 60*second)},
		{name: "refresh.after_restore", initial: "refuse", help: "answer to a refresh token that is newer than a restored database",
			kind: choice(func(c *Config) *AfterRestore { return &c.Refresh.AfterRestore }, RestoreRefuse, RestoreForward)},
		{name: "revocation.lease", initial: "2s", help: "how long a verifier answers from memory without news; one value for the fleet",
			kind: duration(func(c *Config) *time.Duration { return &c.Revocation.Lease }, 500*time.Millisecond, 30*second)},
		{name: "revocation.on_stale", initial: "lookup", help: "value tokens while the log of revocations was not heard for a lease: ask the store about them, or answer 503",
			kind: choice(func(c *Config) *OnStale { return &c.Revocation.OnStale }, StaleLookup, StaleRefuse)},
		{name: "key.rotate_every", initial: "720h", help: "a new signing key is made after this",
			kind: duration(func(c *Config) *time.Duration { return &c.Key.RotateEvery }, second, 0)},
	}
}

func accountSpecs() []spec {
	return []spec{
		{name: "password.min_length", initial: "8", help: "shortest password in characters",
			kind: number(func(c *Config) *int { return &c.Password.MinLength }, 8, 64)},
		{name: "password.memory_kib", initial: "19456", help: "argon2id memory in KiB",
			kind: number(func(c *Config) *uint32 { return &c.Password.MemoryKiB }, 8, 256<<10)},
		{name: "password.iterations", initial: "2", help: "argon2id passes",
			kind: number(func(c *Config) *uint32 { return &c.Password.Iterations }, 1, 64)},
		{name: "password.parallelism", initial: "1", help: "argon2id lanes",
			kind: number(func(c *Config) *uint8 { return &c.Password.Parallelism }, 1, 16)},
		{name: "password.max_concurrent", derived: "cores - 1, at least 1", help: "password hashes computed at the same time",
			kind: number(func(c *Config) *int { return &c.Password.MaxConcurrent }, 1, 1024)},
		{name: "password.legacy_hash", optional: true, secret: true, derived: "none", kind: legacyHash(),
			help: "a stored hash like those of imported users: logins then take as long for everybody, imported, new or unknown"},
		{name: "password.legacy_hash_file", optional: true, fileOf: "password.legacy_hash", help: "file that holds the value of password.legacy_hash",
			kind: filePath("password.legacy_hash")},
		{name: "signup", initial: "open", help: "who may make an account", kind: signup()},
		{name: "login.max_failures", initial: "10", help: "failed tries per account and per network before delays begin",
			kind: number(func(c *Config) *int { return &c.Login.MaxFailures }, 1, 1_000_000)},
		{name: "log.format", initial: "auto", derived: "text on a terminal, else json", help: "form of the log",
			kind: choice(func(c *Config) *LogFormat { return &c.Log.Format }, LogAuto, LogText, LogJSON)},
		{name: "log.level", initial: "info", help: "least level that is logged",
			kind: level(logLevel)},
	}
}

func traceSpecs() []spec {
	return []spec{
		{name: "otel.endpoint", optional: true, derived: "none, no traces", help: "base URL of an OTLP receiver over HTTP: traces of requests go to /v1/traces below it",
			kind: webURL(func(c *Config) **url.URL { return &c.OTel.Endpoint })},
		{name: "otel.sample_ratio", initial: "1", help: "share of the requests that are traced, unless a trusted proxy has decided",
			kind: ratio(func(c *Config) *float64 { return &c.OTel.SampleRatio })},
	}
}

// Fields that are named here and in the rules, or whose type would make a line of
// the table too long.
func publicURL(c *Config) **url.URL            { return &c.PublicURL }
func trustedProxies(c *Config) *[]netip.Prefix { return &c.TrustedProxies }
func sessionIdle(c *Config) *time.Duration     { return &c.Session.IdleTimeout }
func sessionAbsolute(c *Config) *time.Duration { return &c.Session.AbsoluteTimeout }
func accessTTL(c *Config) *time.Duration       { return &c.Token.AccessTTL }
func refreshIdle(c *Config) *time.Duration     { return &c.Refresh.IdleTimeout }
func refreshAbsolute(c *Config) *time.Duration { return &c.Refresh.AbsoluteTimeout }
func logLevel(c *Config) *slog.Level           { return &c.Log.Level }
func anyText(s string) (string, problems)      { return s, nil }

func signup() kind {
	k := choice(func(c *Config) *Signup { return &c.Signup }, SignupOpen, SignupClosed)
	inner := k.set
	k.set = func(c *Config, v value) problems {
		if v.text == "confirm" {
			return problems{"is confirm, which needs mail, and mail is not configured: write open or closed"}
		}
		return inner(c, v)
	}
	return k
}
