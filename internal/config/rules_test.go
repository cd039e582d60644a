package config

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// accepted and refused are texts of one key, each tried by the environment.
type ruleTest struct {
	key      string
	accepted []string
	refused  []string
	with     []string // environment besides
}

func ruleTests() []ruleTest {
	https := []string{"HANDSTAMP_PUBLIC_URL=https://id.example.com"}
	return []ruleTest{
		{key: "addr", accepted: []string{":0", "0.0.0.0:80", "[::]:8080", "localhost:1", "host_1.internal:65535"},
			refused: []string{"8080", "127.0.0.1", ":65536", ":http", "a b:1", "127.1:80", "::1:80", ":", "é:1", "127.0.0.1:8081"}},
		{key: "public_url",
			accepted: []string{"http://localhost", "http://127.0.0.2:1/", "http://[::1]:8080", "http://app.localhost:3000/auth", "https://ID.Example.com:443/a/b.c~d_e-f/", "https://10.0.0.1"},
			refused: []string{"id.example.com", "//id.example.com", "ftp://id.example.com", "https://", "https:///x", "https:id", "http://id.example.com",
				"http://10.0.0.1", "http://0.0.0.0:8080", "http://localhost.example.com", "https://u@id.example.com", "https://u:p@id.example.com",
				"https://id.example.com?", "https://id.example.com?a=b", "https://id.example.com#", "https://id.example.com/#a", "https://id.example.com/a//b",
				"https://id.example.com/a/../b", "https://id.example.com/a;b", "https://id.example.com/%2e%2e", "https://id.example.com/a%2fb", "https://id.example.com/a b", "https://id.example.com:",
				"https://id.example.com:0", "https://id.example.com:65536", "https://é.example", "https://a..b", "https://a.example.", "https://1.2.3", "https://0x7f.1",
				"https://[fe80::1%25eth0]", "https://[::ffff:127.0.0.1]", "https://a_b-.example", "http://127.0.0.1.example.com"}},
		{key: "public_url", with: []string{"HANDSTAMP_INSECURE_HTTP=true"}, accepted: []string{"http://id.example.com", "http://10.0.0.1:8080"}},
		{key: "origins", with: https,
			accepted: []string{"https://a.example", "https://a.example:8443,http://localhost:3000", "http://[::1]:5173", "http://a.example"},
			refused:  []string{"*", "null", "https://*.example.com", "https://a.example/", "https://a.example/x", "a.example", "https://a.example,https://A.EXAMPLE:443", "file:///x", "app://x", "https://a.example?"}},
		{key: "trusted_proxies", accepted: []string{"10.0.0.0/8", "::1,127.0.0.1", "fd00::/8", "0.0.0.0/0"},
			refused: []string{"10.0.0.1/8", "10.0.0.0/33", "proxy.example", "10.0.0", "fe80::1%eth0", "::ffff:10.0.0.0/104", "*"}},
		{key: "database", accepted: []string{"sqlite", "sqlite:a.db", "sqlite:/var/lib/a?b.db", "memory", "postgres://h/d", "postgresql://u:p@h1:1,h2:2/d?sslmode=require", "postgres:///d?host=/run/postgresql"},
			refused: []string{"sqlite:", "sqlite::memory:", "sqlite:file:a?mode=memory", "sqlite://a.db", "sqlite3:a", "postgres", "postgres:h", "mysql://h/d", "Memory", "postgres://u:p#x@h/d", "postgres://u:p/x@h/d", "postgres://u:12/x@h/d", "postgres://u:12?x@h/d", "postgres://u:%zz@h/d"}},
		{key: "sessions", accepted: []string{"database", "memory", "redis://h:1", "rediss://:p@h:1/0"}, refused: []string{"sqlite", "redis", "redis://", "redis:///0", "postgres://h/d"}},
		{key: "cache", accepted: []string{"redis://h:1"}, refused: []string{"memory", "database", "none", "valkey://h"}},
		{key: "near_cache.memory", accepted: []string{"0", "0B", "1KiB", "64KiB", "65536", "1TiB", "100MB", "1 GiB"}, refused: []string{"2TiB", "64mib", "1.5GiB", "-1MiB", "MiB", "99999999999999999999", "8388608TiB"}},
		{key: "modes", accepted: []string{"session", "hybrid,token"}, refused: []string{"none", "session,session", "Session", ","}},
		{key: "session.idle_timeout", accepted: []string{"1s", "1500ms", "24h", "1h30m"}, refused: []string{"999ms", "0", "0s", "-1h", "10", "1d", "forever", "9999999999h"}},
		{key: "session.max_per_user", accepted: []string{"0", "1000000"}, refused: []string{"-1", "1000001", "1.0", "1e3", "0x10", " 1"}},
		{key: "cookie.same_site", with: https, accepted: []string{"none", "lax"}, refused: []string{"Lax", "off"}},
		{key: "cookie.same_site", accepted: []string{"lax"}, refused: []string{"none"}},
		{key: "cookie.domain", with: https, accepted: []string{"example.com", "Example.COM", "id.example.com"},
			refused: []string{".example.com", "com", "10.0.0.1", "other.com", "ple.com", "sub.id.example.com", "https://example.com", "example.com:443", "exa mple.com", "[::1]"}},
		{key: "logout.clear_site_data", accepted: []string{"cache,cookies,storage"}, refused: []string{"storage", "*", "cache,executionContexts", ","}},
		{key: "check.headers", accepted: []string{"Handstamp-User=Remote-User", "handstamp-user=X-User, Handstamp-Roles=X-Roles", "Handstamp-User=Handstamp-Roles,Handstamp-Roles=Handstamp-User"},
			refused: []string{"Handstamp-User", "X-User=Remote-User", "Handstamp-User=", "Handstamp-User=a b", "Handstamp-User=a:b", "Handstamp-User=Set-Cookie", "Handstamp-User=access-control-allow-origin",
				"Handstamp-User=X,Handstamp-Roles=x", "Handstamp-User=Handstamp-Roles", "Handstamp-User=A,Handstamp-User=B", "Handstamp-User=A,handstamp-user=B", "Handstamp-User=É", "Handstamp-User=Remote_User", "Handstamp-User=X!", "Handstamp-User=X.Y", "Handstamp-Email=_"}},
		{key: "token.algorithm", accepted: []string{"ES256", "EdDSA", "RS256", "HS256"}, refused: []string{"none", "es256", "ES384", "HS512"}},
		{key: "token.access_ttl", accepted: []string{"1s", "1h"}, refused: []string{"1h1s", "999ms"}},
		{key: "token.stateless_ttl", accepted: []string{"1s", "1h"}, refused: []string{"1h1s", "0s"}},
		{key: "token.issuer", with: https, accepted: []string{"https://i.example/", "http://localhost:1", "https://i.example:443"}, refused: []string{"http://i.example", "issuer", "https://i.example?x", "urn:a"}},
		{key: "token.issuer", with: []string{"HANDSTAMP_INSECURE_HTTP=true"}, accepted: []string{"http://i.example"}},
		{key: "token.audience", accepted: []string{"api", "urn:a:b", "https://api.example.com/v1?x"}, refused: []string{":a", "a b:c", strings.Repeat("a", 513)}},
		{key: "refresh.grace", accepted: []string{"0", "0s", "60s", "1m"}, refused: []string{"61s", "-1s", "60001ms"}},
		{key: "revocation.lease", accepted: []string{"500ms", "30s"}, refused: []string{"499ms", "30001ms", "0"}},
		{key: "key.rotate_every", accepted: []string{"1s"}, refused: []string{"0s"}},
		{key: "audit.retention", accepted: []string{"1s"}, refused: []string{"0"}},
		{key: "admin.max_auth_age", accepted: []string{"1s"}, refused: []string{"0"}},
		{key: "password.min_length", accepted: []string{"8", "64"}, refused: []string{"7", "65"}},
		{key: "password.memory_kib", accepted: []string{"8", "262144"}, refused: []string{"7", "262145", "4294967296"}},
		{key: "password.iterations", accepted: []string{"1", "53"}, refused: []string{"0", "54", "65"}},
		{key: "password.parallelism", accepted: []string{"16"}, refused: []string{"0", "17", "257"}},
		{key: "password.parallelism", with: []string{"HANDSTAMP_PASSWORD_MEMORY_KIB=15"}, accepted: []string{"1"}, refused: []string{"2"}},
		{key: "password.legacy_hash", accepted: []string{"$2y$12$x", strings.Repeat("x", 512)}, refused: []string{"$2y$12$x y", "\u00fc", strings.Repeat("x", 513), "x\ty"}},
		{key: "password.max_concurrent", accepted: []string{"1", "1024"}, refused: []string{"0"}},
		{key: "signup", accepted: []string{"open", "closed"}, refused: []string{"confirm", "invite"}},
		{key: "login.max_failures", accepted: []string{"1", "1000000"}, refused: []string{"0", "1000001", "-1"}},
		{key: "log.format", accepted: []string{"auto", "text", "json"}, refused: []string{"xml"}},
		{key: "log.level", accepted: []string{"debug", "warn", "error"}, refused: []string{"trace", "INFO", "info+1"}},
		{key: "otel.endpoint", accepted: []string{"", "http://127.0.0.1:4318", "https://otel.example.com/base/", "http://collector:4318"},
			refused: []string{"127.0.0.1:4318", "grpc://127.0.0.1:4317", "https://user:pw@otel.example.com", "https://otel.example.com/v1/traces?key=x"}},
		{key: "otel.sample_ratio", accepted: []string{"0", "1", "0.05", "1e-3", ".5"}, refused: []string{"1.1", "-0.1", "-0", "NaN", "Inf", "5%", "0x1p-2", "1_0", ""}},
		{key: "tls.cert", with: []string{"HANDSTAMP_TLS_KEY=/k"}, accepted: []string{"/c"}, refused: []string{""}},
		{key: "tls.cert", refused: []string{"/c"}},
	}
}

func TestLoad_rules(t *testing.T) {
	byName := map[string]Key{}
	for _, k := range Keys() {
		byName[k.Name] = k
	}
	tested := map[string]bool{}
	for _, tt := range ruleTests() {
		tested[tt.key] = true
		for _, text := range tt.accepted {
			src := Sources{Environ: append(slices.Clone(tt.with), byName[tt.key].Env+"="+text), ReadFile: files{}.read}
			if _, _, err := Load(src); err != nil {
				t.Errorf("%s = %q with %v: %v, want it accepted", tt.key, text, tt.with, err)
			}
		}
		for _, text := range tt.refused {
			for _, m := range mistakesOf(t, Sources{Environ: append(slices.Clone(tt.with), byName[tt.key].Env+"="+text)}) {
				if m.Text == "" || strings.Contains(m.String(), "\n") || m.Where == "" {
					t.Errorf("%s = %q: %q, want one line with its place", tt.key, text, m)
				}
			}
		}
	}
	for _, k := range Keys() {
		if free := k.Kind == "bool" || strings.HasSuffix(k.Name, "_file") || k.Kind == "secret"; !free && !tested[k.Name] &&
			!slices.Contains([]string{"ops_addr", "tls.key", "data_dir", "session.absolute_timeout", "refresh.idle_timeout",
				"refresh.absolute_timeout", "database_pooler", "accept_loss", "refresh.after_restore", "revocation.on_stale"}, k.Name) {
			t.Errorf("no rule of %s is tested", k.Name)
		}
	}
}

// Of a sandboxed page and of a wildcard the operator learns why they are refused.
func TestLoad_says_why_null_is_no_origin(t *testing.T) {
	for _, text := range []string{"null", "*", "https://*.example.com"} {
		got := mistakesOf(t, Sources{Environ: []string{"HANDSTAMP_ORIGINS=" + text}})
		if len(got) != 1 || !strings.Contains(got[0].Text, "would let any page in") {
			t.Errorf("origins = %s: %v, want the reason", text, got)
		}
	}
}

// Whoever gives a header a name with an underscore learns by the key and the place that no server would start with it.
func TestLoad_says_which_header_names_there_are(t *testing.T) {
	for _, src := range []Sources{
		{Environ: []string{"HANDSTAMP_CHECK_HEADERS=Handstamp-User=Remote_User"}},
		fromFile("[check.headers]\nHandstamp-User = \"Remote_User\"\n"),
	} {
		got := mistakesOf(t, src)
		if len(got) != 1 || got[0].Key != "check.headers" || got[0].Where == "" || !strings.Contains(got[0].Text, "letters, digits and -") || strings.Contains(got[0].String(), "Remote_User") {
			t.Errorf("%v, want one mistake of check.headers that says what a name is made of", got)
		}
	}
}

func TestLoad_normal_forms(t *testing.T) {
	c := mustLoad(t, fromFile(`public_url = "HTTPS://ID.Example.com:0443/auth/"
origins = ["HTTPS://A.example:443", "http://LOCALHOST:80", "http://[0:0::1]:5173"]
cookie.domain = "EXAMPLE.com"
near_cache.memory = 131072
`))
	if got := c.PublicURL.String(); got != "https://id.example.com/auth" {
		t.Errorf("public_url = %q", got)
	}
	if c.PublicOrigin() != "https://id.example.com" || c.BasePath() != "/auth" || c.PlainHTTP() || c.Loopback() {
		t.Errorf("origin %q, base path %q, plain %v, loopback %v", c.PublicOrigin(), c.BasePath(), c.PlainHTTP(), c.Loopback())
	}
	if c.Token.Issuer != "https://id.example.com/auth" || c.Token.Audience != c.Token.Issuer {
		t.Errorf("issuer %q, audience %q, want public_url", c.Token.Issuer, c.Token.Audience)
	}
	if want := []string{"https://a.example", "http://localhost", "http://[::1]:5173"}; !slices.Equal(c.Origins, want) {
		t.Errorf("origins = %q, want %q", c.Origins, want)
	}
	if c.Cookie.Domain != "example.com" || c.NearCache.Memory != 128<<10 {
		t.Errorf("domain %q, memory %d", c.Cookie.Domain, c.NearCache.Memory)
	}
	if d := mustLoad(t, Sources{}); !d.PlainHTTP() || !d.Loopback() || d.BasePath() != "" || d.Refresh.Grace != 20*time.Second {
		t.Errorf("defaults: %v %v %q %v", d.PlainHTTP(), d.Loopback(), d.BasePath(), d.Refresh.Grace)
	}
}

func TestLoad_backends(t *testing.T) {
	tests := []struct {
		text string
		kind Kind
		path string
		dsn  string
	}{
		{"sqlite:/x/y.db", KindSQLite, "/x/y.db", ""},
		{"memory", KindMemory, "", ""},
		{"postgres://u:p@h/d?sslmode=require", KindPostgres, "", "postgres://u:p@h/d?sslmode=require"},
	}
	for _, tt := range tests {
		b := mustLoad(t, Sources{Environ: []string{"HANDSTAMP_DATABASE=" + tt.text}}).Database
		if b.Kind != tt.kind || b.Path != tt.path || b.DSN.Reveal() != tt.dsn {
			t.Errorf("%s = %s, %q, %q, want %s, %q, %q", tt.text, b.Kind, b.Path, b.DSN.Reveal(), tt.kind, tt.path, tt.dsn)
		}
	}
}

func TestLoad_warnings(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"plain origin", "public_url = \"https://id.example.com\"\ntrusted_proxies = [\"127.0.0.1/32\"]\norigins = [\"http://a.example\"]\n", "origins: has the plain-http origin"},
		{"every proxy", "trusted_proxies = [\"::/0\"]\n", "trusted_proxies: trusts every address"},
		{"pooler of nothing", "database_pooler = \"transaction\"\n", "database_pooler: has no effect"},
		{"cheap hashes", "password.memory_kib = 7168\n", "password.memory_kib: makes password hashes that are cheap"},
		{"little memory", "password.memory_kib = 1024\npassword.iterations = 64\n", "password.memory_kib: makes password hashes that are cheap"},
	}
	for _, tt := range tests {
		_, warnings, err := Load(fromFile(tt.file))
		if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0].String(), tt.want) {
			t.Errorf("%s: %v, %v, want one warning that starts with %q", tt.name, warnings, err, tt.want)
		}
	}
}

// FuzzParseWebURL: what was taken once is its own normal form.
func FuzzParseWebURL(f *testing.F) {
	for _, tt := range ruleTests() {
		if tt.key == "public_url" || tt.key == "origins" {
			for _, s := range append(tt.accepted, tt.refused...) {
				f.Add(s)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, bad := parseWebURL(text)
		if len(bad) > 0 {
			return
		}
		again, bad := parseWebURL(u.String())
		if len(bad) > 0 || again.String() != u.String() {
			t.Fatalf("parseWebURL(%q) = %q, which is taken as %v, %v", text, u, again, bad)
		}
		std, err := url.Parse(u.String())
		if err != nil || std.User != nil || std.Host != u.Host || strings.ContainsAny(u.String(), " ;,\\\"'<>%@?#\r\n") {
			t.Fatalf("parseWebURL(%q) = %q, which another reader may take for something else", text, u)
		}
		if o, bad := parseOrigin(text); len(bad) == 0 && (o != u.Scheme+"://"+u.Host || u.Path != "") {
			t.Fatalf("parseOrigin(%q) = %q beside %q", text, o, u)
		}
	})
}
