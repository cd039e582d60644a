package config

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// databaseName is the name of the SQLite file below data_dir.
const databaseName = "handstamp.db"

// derive fills what depends on other keys.
func (l *loader) derive() {
	c := l.config
	if c.Database.Kind == KindSQLite && c.Database.Path == "" {
		c.Database.Path = filepath.Join(c.DataDir, databaseName)
	}
	if c.PublicURL != nil && c.Token.Issuer == "" {
		c.Token.Issuer = c.PublicURL.String()
	}
	if c.PublicURL != nil && c.Token.Audience == "" {
		c.Token.Audience = c.PublicURL.String()
	}
}

// rules applies what joins keys. A rule is left out if one of its keys already
// has a mistake: it would judge a value that nobody wants.
func (l *loader) rules() {
	l.plainHTTPRules()
	l.cookieRules()
	l.listenerRules()
	l.cutRules()
	l.storeRules()
	l.passwordRules()
	l.secretRules()
}

// secretRules judges secrets that are not plainly weak but look like it. Whoever tries things out on his own machine is
// told; a server that others can reach does not start.
func (l *loader) secretRules() {
	if !l.good("secret", "public_url") {
		return
	}
	development := l.config.PlainHTTP() && l.config.Loopback()
	for i, s := range l.config.Secret {
		doubt := secretDoubt(s.Reveal())
		if doubt != "" && len(l.config.Secret) > 1 {
			doubt = "item " + strconv.Itoa(i+1) + " " + doubt
		}
		switch {
		case doubt == "":
		case development:
			l.warn("secret", doubt)
		default:
			l.rule("secret", "is weak: "+doubt)
		}
	}
}

func (l *loader) good(keys ...string) bool {
	for _, k := range keys {
		if l.bad[k] {
			return false
		}
	}
	return true
}

// rule reports a mistake of key and names the place of its value.
func (l *loader) rule(key, text string) {
	l.mistake(key, string(l.config.origins[key]), text)
}

// plainHTTPRules: over plain http anybody on the way reads the credentials. On
// loopback there is no way; elsewhere the operator must say so.
func (l *loader) plainHTTPRules() {
	c := l.config
	if !l.good("public_url", "insecure_http") || c.InsecureHTTP {
		return
	}
	if c.PlainHTTP() && !c.Loopback() {
		l.rule("public_url", "is plain http off loopback: use https (a TLS proxy in front is enough), or set insecure_http = true for a network that you trust")
	}
	if l.explicit("token.issuer") && l.good("token.issuer") {
		if u, bad := parseWebURL(c.Token.Issuer); len(bad) == 0 && u.Scheme == "http" && !isLoopback(u.Hostname()) {
			l.rule("token.issuer", "is plain http off loopback: use https, or set insecure_http = true for a network that you trust")
		}
	}
	for _, o := range c.Origins {
		if u, bad := parseWebURL(o); len(bad) == 0 && u.Scheme == "http" && !isLoopback(u.Hostname()) {
			l.warn("origins", "has the plain-http origin "+o+": whoever can change its pages on the way can call as its users; use https")
		}
	}
}

// explicit reports whether a source, not the default, gave key.
func (l *loader) explicit(key string) bool { return l.config.origins[key] != OriginDefault }

func (l *loader) cookieRules() {
	c := l.config
	if l.good("cookie.same_site", "public_url") && c.Cookie.SameSite == SameSiteNone && c.PlainHTTP() {
		l.rule("cookie.same_site", "is none, which browsers take over https only: use an https public_url, or lax")
	}
	if domain := c.Cookie.Domain; domain != "" && l.good("cookie.domain", "public_url") {
		if host := c.PublicURL.Hostname(); host != domain && !strings.HasSuffix(host, "."+domain) {
			l.rule("cookie.domain", "does not contain the host of public_url, so that browsers would drop the cookie: use that host or a domain above it")
		}
	}
	if l.good("logout.clear_site_data") && !slices.Contains(c.Logout.ClearSiteData, ClearCache) {
		l.rule("logout.clear_site_data", "leaves out cache, which log-out always clears: add it")
	}
}

func (l *loader) listenerRules() {
	c := l.config
	if l.good("tls.cert", "tls.key") && (c.TLS.Cert == "") != (c.TLS.Key == "") {
		set, missing := "tls.cert", "tls.key"
		if c.TLS.Cert == "" {
			set, missing = missing, set
		}
		l.rule(set, "is given without "+missing+": give both or none")
	}
	if l.good("addr", "ops_addr") && c.Addr == c.OpsAddr && !strings.HasSuffix(c.Addr, ":0") {
		l.rule("ops_addr", "is the same as addr: metrics and profiles must not be public; use another port")
	}
	if l.good("public_url", "tls.cert", "trusted_proxies") && !c.PlainHTTP() && c.TLS.Cert == "" && len(c.TrustedProxies) == 0 {
		l.warn("trusted_proxies", "is empty, but an https public_url without tls.cert means that a TLS proxy stands in front: "+
			"all clients then have the address of that proxy, and the failed logins of one slow down all; name the proxy, such as 127.0.0.1/32")
	}
	for _, p := range c.TrustedProxies {
		if p.Bits() == 0 {
			l.warn("trusted_proxies", "trusts every address ("+p.String()+"), so that any client can choose its own address: name your proxies")
		}
	}
}

// cutRules shortens what could never be reached because something else ends
// first. A deployment that only shortens the absolute end keeps working.
func (l *loader) cutRules() {
	c := l.config
	l.cut("session.idle_timeout", &c.Session.IdleTimeout, "session.absolute_timeout", c.Session.AbsoluteTimeout)
	l.cut("refresh.idle_timeout", &c.Refresh.IdleTimeout, "refresh.absolute_timeout", c.Refresh.AbsoluteTimeout)
	l.cut("token.access_ttl", &c.Token.AccessTTL, "refresh.absolute_timeout", c.Refresh.AbsoluteTimeout)
}

func (l *loader) cut(key string, field *time.Duration, endKey string, end time.Duration) {
	if l.good(key, endKey) && *field > end {
		l.warn(key, "is cut from "+showDuration(*field)+" to "+showDuration(end)+", since "+endKey+" ends it then")
		*field = end
	}
}

func (l *loader) storeRules() {
	c := l.config
	if l.good("cache", "sessions") && c.Cache.Kind != KindNone && c.Sessions.Kind != KindDatabase {
		l.warn("cache", "has no effect: the sessions are not in the database")
	}
	if l.good("database", "database_pooler") && c.DatabasePooler != PoolerNone && c.Database.Kind != KindPostgres {
		l.warn("database_pooler", "has no effect: database is not postgres")
	}
}

// weakArgon is the least product of memory (KiB) and passes of the settings that
// the OWASP Password Storage Cheat Sheet holds equal (7,168 KiB with 5 passes).
const (
	weakArgon    = 7168 * 5
	weakArgonKiB = 7168
	// maxArgon is the most that a stored hash may cost to check: memory in KiB times passes.
	maxArgon = 1 << 20
)

func (l *loader) passwordRules() {
	p := l.config.Password
	if !l.good("password.memory_kib", "password.iterations", "password.parallelism") {
		return
	}
	if p.MemoryKiB < 8*uint32(p.Parallelism) {
		// RFC 9106 section 3.1.
		l.rule("password.memory_kib", "is less than 8 KiB for each of password.parallelism lanes: raise it or lower password.parallelism")
		return
	}
	if uint64(p.MemoryKiB)*uint64(p.Iterations) > maxArgon {
		l.rule("password.memory_kib", "times password.iterations is more than 1048576, which takes seconds for each login: lower one of them")
		return
	}
	if p.MemoryKiB < weakArgonKiB || uint64(p.MemoryKiB)*uint64(p.Iterations) < weakArgon {
		l.warn("password.memory_kib", "makes password hashes that are cheap to guess: use at least 19456 with password.iterations = 2")
	}
}
