package config

import (
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goodSecret is a random text of the right length.
const goodSecret = "Zs0t9oXy4q2mJr7VbPkE1uHcWn8LgAdT5fQiR3xK6wYz"

// files is a file system of texts.
type files map[string]string

func (f files) read(name string) ([]byte, error) {
	if text, ok := f[name]; ok {
		return []byte(text), nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// fromFile are sources with text as the configuration file.
func fromFile(text string) Sources {
	return Sources{ReadFile: files{"handstamp.toml": text}.read, Cores: 4}
}

func mustLoad(t *testing.T, src Sources) *Config {
	t.Helper()
	if src.ReadFile == nil {
		src.ReadFile = files{}.read
	}
	c, _, err := Load(src)
	if err != nil {
		t.Fatalf("Load = %v, want a configuration", err)
	}
	return c
}

func mistakesOf(t *testing.T, src Sources) []Mistake {
	t.Helper()
	if src.ReadFile == nil {
		src.ReadFile = files{}.read
	}
	c, _, err := Load(src)
	if err == nil {
		t.Fatalf("Load = nil error, want mistakes")
	}
	if c != nil {
		t.Errorf("Load returned a configuration and mistakes")
	}
	list, ok := errors.AsType[*MistakesError](err)
	if !ok {
		t.Fatalf("Load = %T, want *MistakesError", err)
	}
	return list.Mistakes
}

func entry(t *testing.T, c *Config, key string) Entry {
	t.Helper()
	for _, e := range c.Entries() {
		if e.Key == key {
			return e
		}
	}
	t.Fatalf("Entries has no %s", key)
	return Entry{}
}

// wantDefaults are the promised defaults, written out so that a change of the
// table of keys is a change of this list.
func wantDefaults() map[string]string {
	return map[string]string{
		"addr": "127.0.0.1:8080", "ops_addr": "127.0.0.1:8081", "public_url": "http://127.0.0.1:8080",
		"tls.cert": "", "tls.key": "", "insecure_http": "false", "origins": "", "trusted_proxies": "",
		"data_dir": "./handstamp-data", "database": "sqlite", "database_file": "", "database_pooler": "none",
		"accept_loss": "none", "migrate": "true", "sessions": "database", "sessions_file": "", "cache": "", "cache_file": "",
		"near_cache.memory": "64MiB", "secret": "generated into data_dir", "secret_file": "",
		"modes": "session,token,hybrid", "session.idle_timeout": "24h", "session.absolute_timeout": "720h",
		"session.max_per_user": "0", "cookie.same_site": "strict", "cookie.domain": "",
		"logout.clear_site_data": "cache", "check.headers": "", "check.unverified_email": "false",
		"admin.max_auth_age": "10m", "audit.retention": "8760h", "token.algorithm": "ES256", "token.access_ttl": "10m",
		"token.stateless_ttl": "15m", "token.issuer": "http://127.0.0.1:8080", "token.audience": "http://127.0.0.1:8080",
		"token.encrypt": "false", "refresh.idle_timeout": "720h", "refresh.absolute_timeout": "2160h",
		"refresh.grace": "20s", "refresh.after_restore": "refuse", "revocation.lease": "2s", "revocation.on_stale": "lookup",
		"key.rotate_every": "720h", "password.min_length": "8", "password.memory_kib": "19456", "password.iterations": "2",
		"password.parallelism": "1", "password.max_concurrent": "3", "password.legacy_hash": "", "password.legacy_hash_file": "", "signup": "open", "login.max_failures": "10",
		"log.format": "auto", "log.level": "info", "otel.endpoint": "", "otel.sample_ratio": "1",
	}
}

func TestLoad_defaults(t *testing.T) {
	c, warnings, err := Load(Sources{ReadFile: files{}.read, Cores: 4})
	if err != nil || len(warnings) > 0 {
		t.Fatalf("Load() = %v, %v, want neither mistakes nor warnings", err, warnings)
	}
	got := map[string]string{}
	for _, e := range c.Entries() {
		got[e.Key] = e.Value
		if e.Origin != OriginDefault {
			t.Errorf("Origin(%s) = %q, want default", e.Key, e.Origin)
		}
	}
	if diff := cmp.Diff(wantDefaults(), got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if len(c.Secret) != 0 {
		t.Errorf("Secret is set without a source")
	}
	if want := filepath.Join("handstamp-data", "handstamp.db"); c.Database.Path != want {
		t.Errorf("Database.Path = %q, want %q", c.Database.Path, want)
	}
	for cores, want := range map[int]int{1: 1, 2: 1, 8: 7} {
		if got := mustLoad(t, Sources{Cores: cores}).Password.MaxConcurrent; got != want {
			t.Errorf("MaxConcurrent with %d cores = %d, want %d", cores, got, want)
		}
	}
}

// sample is another value of a key: text is what a flag and the environment
// give, toml what the file says, want what is printed.
type sample struct{ text, toml, want string }

func samples() map[string]sample {
	quoted := func(s string) sample { return sample{s, `"` + s + `"`, s} }
	bare := func(s string) sample { return sample{s, s, s} }
	return map[string]sample{
		"addr": quoted(":9000"), "ops_addr": quoted("[::1]:9001"), "public_url": quoted("https://id.example.com/auth"),
		"tls.cert": quoted("/etc/cert.pem"), "tls.key": quoted("/etc/key.pem"), "insecure_http": bare("true"),
		"origins":         {"https://a.example, https://b.example:8443", `["https://a.example", "https://b.example:8443"]`, "https://a.example,https://b.example:8443"},
		"trusted_proxies": {"10.0.0.0/8,192.0.2.7", `["10.0.0.0/8", "192.0.2.7"]`, "10.0.0.0/8,192.0.2.7/32"},
		"data_dir":        quoted("/var/lib/handstamp"),
		"database":        {"postgres://u:pw@db/hs", `"postgres://u:pw@db/hs"`, "postgres://u:REDACTED@db/hs"},
		"database_file":   quoted("/run/database"), "database_pooler": quoted("transaction"), "accept_loss": quoted("window"),
		"migrate":  bare("false"),
		"sessions": {"redis://:pw@r:6379/0", `"redis://:pw@r:6379/0"`, "redis://REDACTED@r:6379/0"}, "sessions_file": quoted("/run/sessions"),
		"cache": quoted("rediss://r:6379"), "cache_file": quoted("/run/cache"), "near_cache.memory": quoted("1GiB"),
		"secret":      {goodSecret, `["` + goodSecret + `"]`, "REDACTED"},
		"secret_file": quoted("/run/secret"), "modes": {"hybrid,session", `["hybrid", "session"]`, "hybrid,session"},
		"session.idle_timeout": quoted("1h30m"), "session.absolute_timeout": quoted("48h"), "session.max_per_user": bare("5"),
		"cookie.same_site": quoted("lax"), "cookie.domain": quoted("example.com"),
		"logout.clear_site_data": {"cache,storage", `["cache", "storage"]`, "cache,storage"},
		"check.headers": {"Handstamp-User=Remote-User, handstamp-email=remote-email",
			"{ Handstamp-User = \"Remote-User\", handstamp-email = \"remote-email\" }", "Handstamp-Email=Remote-Email,Handstamp-User=Remote-User"},
		"check.unverified_email": bare("true"), "admin.max_auth_age": quoted("5m"), "audit.retention": quoted("720h"),
		"token.algorithm": quoted("EdDSA"), "token.access_ttl": quoted("1h"), "token.stateless_ttl": quoted("1s"),
		"token.issuer": quoted("https://issuer.example.com/"), "token.audience": quoted("urn:example:api"), "token.encrypt": bare("true"),
		"refresh.idle_timeout": quoted("24h"), "refresh.absolute_timeout": quoted("1000h"), "refresh.grace": quoted("0s"),
		"refresh.after_restore": quoted("forward"), "revocation.lease": quoted("500ms"), "revocation.on_stale": quoted("refuse"),
		"key.rotate_every": quoted("24h"), "password.min_length": bare("12"), "password.memory_kib": bare("65536"),
		"password.iterations": bare("3"), "password.parallelism": bare("4"), "password.max_concurrent": bare("2"),
		"password.legacy_hash":      {"$2y$12$abc", `"$2y$12$abc"`, "REDACTED"},
		"password.legacy_hash_file": quoted("/run/legacy"),
		"signup":                    quoted("closed"), "login.max_failures": bare("1000000"), "log.format": quoted("json"), "log.level": quoted("debug"),
		"otel.endpoint": quoted("https://otel.example.com:4318/base"), "otel.sample_ratio": bare("0.25"),
	}
}

// base are settings without which a sample breaks a rule that joins keys.
func base() []string {
	return []string{"HANDSTAMP_PUBLIC_URL=https://id.example.com", "HANDSTAMP_TLS_CERT=/c", "HANDSTAMP_TLS_KEY=/k"}
}

func contents(text string) files {
	return files{"handstamp.toml": text, "/run/secret": goodSecret + "\n", "/run/database": "postgres://u:pw@db/hs\n",
		"/run/sessions": "redis://r:1", "/run/cache": "redis://r:1\r\n", "/run/legacy": "$2y$12$abc\n"}
}

func TestLoad_every_key_from_every_source(t *testing.T) {
	for _, k := range Keys() {
		s, ok := samples()[k.Name]
		if !ok {
			t.Errorf("%s has no sample", k.Name)
			continue
		}
		check := func(c *Config, want Origin) {
			t.Helper()
			if e := entry(t, c, k.Name); e.Value != s.want || e.Origin != want || c.Origin(k.Name) != want {
				t.Errorf("%s = %q from %q, want %q from %q", k.Name, e.Value, e.Origin, s.want, want)
			}
		}
		without := slices.DeleteFunc(base(), func(e string) bool { return strings.HasPrefix(e, k.Env+"=") })
		check(mustLoad(t, Sources{Environ: append(without, k.Env+"="+s.text), ReadFile: contents("").read}), Origin("environment "+k.Env))
		for _, name := range []string{k.Flag, "--" + k.Flag, k.Name} {
			check(mustLoad(t, Sources{Environ: without, Flags: map[string]string{name: s.text}, ReadFile: contents("").read}), Origin("flag --"+k.Flag))
		}
		dotted := k.Name + " = " + s.toml + "\n"
		spelled := []string{dotted}
		if section, name, found := strings.Cut(k.Name, "."); found {
			spelled = append(spelled, "["+section+"]\n"+name+" = "+s.toml+"\n")
		}
		for _, text := range spelled {
			check(mustLoad(t, Sources{Environ: without, ReadFile: contents(text).read}), "file handstamp.toml")
		}
	}
	if len(samples()) != len(Keys()) {
		t.Errorf("%d samples for %d keys", len(samples()), len(Keys()))
	}
}

func TestKeys_names(t *testing.T) {
	seen := map[string]string{envConfig: "config", "config": "config"}
	for _, k := range Keys() {
		for _, name := range []string{k.Env, k.Flag} {
			if other := seen[name]; other != "" {
				t.Errorf("%s and %s share the name %s", other, k.Name, name)
			}
			seen[name] = k.Name
		}
		if k.Help == "" || k.Kind == "" || strings.HasSuffix(k.Help, ".") {
			t.Errorf("%s: help %q and kind %q, want both, without a full stop", k.Name, k.Help, k.Kind)
		}
	}
	if seen["HANDSTAMP_SESSION_IDLE_TIMEOUT"] != "session.idle_timeout" || seen["session-idle-timeout"] != "session.idle_timeout" {
		t.Errorf("session.idle_timeout has another flag or variable")
	}
}

func TestLoad_precedence(t *testing.T) {
	const key = "admin.max_auth_age"
	env := []string{"HANDSTAMP_ADMIN_MAX_AUTH_AGE=2m", "HANDSTAMP_ADMIN_MAX_AUTH_AGE=9m"}
	flags := map[string]string{"admin-max-auth-age": "3m"}
	file := files{"handstamp.toml": "[admin]\nmax_auth_age = \"1m\"\n"}
	tests := []struct {
		name   string
		src    Sources
		want   string
		origin Origin
	}{
		{"default", Sources{}, "10m", "default"},
		{"file over default", Sources{ReadFile: file.read}, "1m", "file handstamp.toml"},
		{"environment over file, the first of two counts", Sources{ReadFile: file.read, Environ: env}, "2m", "environment HANDSTAMP_ADMIN_MAX_AUTH_AGE"},
		{"environment over default", Sources{Environ: env}, "2m", "environment HANDSTAMP_ADMIN_MAX_AUTH_AGE"},
		{"flag over all", Sources{ReadFile: file.read, Environ: env, Flags: flags}, "3m", "flag --admin-max-auth-age"},
		{"flag over file", Sources{ReadFile: file.read, Flags: flags}, "3m", "flag --admin-max-auth-age"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if e := entry(t, mustLoad(t, tt.src), key); e.Value != tt.want || e.Origin != tt.origin {
				t.Errorf("%s = %q from %q, want %q from %q", key, e.Value, e.Origin, tt.want, tt.origin)
			}
		})
	}
}

func TestLoad_which_file(t *testing.T) {
	all := files{"/a.toml": `addr = ":1"`, "/b.toml": `addr = ":2"`, filepath.Join("/dir", "handstamp.toml"): `addr = ":3"`}
	env := []string{"HANDSTAMP_CONFIG=/b.toml"}
	tests := []struct {
		name string
		src  Sources
		want string
	}{
		{"named by a flag", Sources{File: "/a.toml", Environ: env, Dir: "/dir"}, ":1"},
		{"named by the environment", Sources{Environ: env, Dir: "/dir"}, ":2"},
		{"found", Sources{Dir: "/dir"}, ":3"},
		{"none", Sources{Dir: "/other"}, "127.0.0.1:8080"},
	}
	for _, tt := range tests {
		tt.src.ReadFile = all.read
		if got := mustLoad(t, tt.src).Addr; got != tt.want {
			t.Errorf("%s: addr = %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := mistakesOf(t, Sources{File: "/none.toml"}); len(got) != 1 || !strings.HasPrefix(got[0].String(), "/none.toml: cannot be read") {
		t.Errorf("a named file that is absent: %v", got)
	}
	denied := func(string) ([]byte, error) { return nil, &fs.PathError{Op: "open", Err: fs.ErrPermission} }
	if got := mistakesOf(t, Sources{ReadFile: denied}); len(got) != 1 || !strings.Contains(got[0].Text, "permission denied") {
		t.Errorf("a file that is there but closed: %v, want a mistake", got)
	}
}

func TestLoad_every_mistake_at_once(t *testing.T) {
	src := Sources{
		ReadFile: files{"handstamp.toml": `adr = ":1"
migrate = "perhaps"
session = 3
tls.cert = "/cert"
[refresh]
grace = 20
graze = "1s"
idle_timeout = "10"
[nosuch]
a = 1
`}.read,
		Environ: []string{"PATH=/bin", "HANDSTAMP_LOGIN_MAX_FAILURES=0", "HANDSTAMP_SECRT=x", "HANDSTAMP_COOKIE_SAME_SITE=none", "HANDSTAMP_SIGNUP=confirm"},
		Flags:   map[string]string{"revocation-lease": "499ms", "verbose": "1", "modes": "session,session,other"},
	}
	var got []string
	for _, m := range mistakesOf(t, src) {
		got = append(got, strings.SplitAfterN(m.String(), ": ", 2)[0]+strings.SplitN(m.Text, ":", 2)[0])
	}
	want := []string{
		"environment HANDSTAMP_SECRT: is not a known variable",
		"adr (handstamp.toml line 1): is not a known key",
		"session (handstamp.toml line 3): is a section",
		"refresh.grace (handstamp.toml line 6): has the wrong type",
		"refresh.graze (handstamp.toml line 7): is not a known key",
		"nosuch (handstamp.toml line 9): is not a known key",
		"flag --verbose: is not a known flag",
		"migrate (handstamp.toml line 2): must be true or false",
		"refresh.idle_timeout (handstamp.toml line 8): must be a duration with a unit, such as 30s, 10m or 24h (at least 1s)",
		"signup (environment HANDSTAMP_SIGNUP): is confirm, which needs mail, and mail is not configured",
		"login.max_failures (environment HANDSTAMP_LOGIN_MAX_FAILURES): must be a whole number from 1 to 1,000,000",
		"modes (flag --modes): item 2 is given twice",
		"modes (flag --modes): item 3 must be session, token or hybrid",
		"revocation.lease (flag --revocation-lease): is out of range",
		"cookie.same_site (environment HANDSTAMP_COOKIE_SAME_SITE): is none, which browsers take over https only",
		"tls.cert (file handstamp.toml): is given without tls.key",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
	_, _, err := Load(src)
	if lines := strings.Split(err.Error(), "\n"); len(lines) != len(want) {
		t.Errorf("Error() has %d lines, want one for each of %d mistakes", len(lines), len(want))
	}
}

func TestLoad_suggests_the_nearest_name(t *testing.T) {
	src := fromFile("session_idle_timeout = \"1h\"\n[session]\nidle_timout = \"1h\"\n")
	src.Environ = []string{"HANDSTAMP_SESION_IDLE_TIMEOUT=1h", "HANDSTAMP_=1", "HANDSTAMP_COMPLETELY_DIFFERENT=1"}
	src.Flags = map[string]string{"session-idel-timeout": "1h"}
	text := (&MistakesError{Mistakes: mistakesOf(t, src)}).Error()
	for _, want := range []string{
		"session_idle_timeout (handstamp.toml line 1): is not a known key: did you mean session.idle_timeout?",
		"session.idle_timout (handstamp.toml line 3): is not a known key: did you mean session.idle_timeout?",
		"environment HANDSTAMP_SESION_IDLE_TIMEOUT: is not a known variable: did you mean HANDSTAMP_SESSION_IDLE_TIMEOUT?",
		"environment HANDSTAMP_COMPLETELY_DIFFERENT: is not a known variable: remove it",
		"flag --session-idel-timeout: is not a known flag: did you mean session-idle-timeout?",
	} {
		if !strings.Contains(text, want+"\n") && !strings.HasSuffix(text, want) {
			t.Errorf("no line %q in:\n%s", want, text)
		}
	}
}

func TestLoad_bad_file(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"syntax", "addr = \":1\"\nmigrate =\n", "handstamp.toml: line 2"},
		{"key twice", "addr = \":1\"\naddr = \":2\"\n", "handstamp.toml: line 2"},
		{"not UTF-8", "addr = \"\xff\"\n", "handstamp.toml: line 1"},
		{"too large", strings.Repeat("#\n", maxConfigFile), "handstamp.toml: is larger"},
		{"array of tables", "[[session]]\nidle_timeout = \"1h\"\n", "session (handstamp.toml line 1): is a section"},
		{"inline table", "session = { idle = \"1h\" }\n", "session.idle (handstamp.toml line 1): is not a known key"},
		{"float", "login.max_failures = 1.5\n", "login.max_failures (handstamp.toml line 1): has the wrong type"},
		{"date", "audit.retention = 2026-01-01\n", "audit.retention (handstamp.toml line 1): has the wrong type"},
		{"mixed array", "modes = [\"session\", 1]\n", "modes (handstamp.toml line 1): has the wrong type"},
		{"table for a text", "[addr]\na = \"b\"\n", "addr (handstamp.toml line 1): has the wrong type"},
		{"array for a text", "addr = [\":1\"]\n", "addr (handstamp.toml line 1): has the wrong type"},
		{"empty", "addr = \"\"\n", "addr (handstamp.toml line 1): is empty"},
		{"empty array", "modes = []\n", "modes (handstamp.toml line 1): is empty"},
		{"control character", "data_dir = \"a\\nb\"\n", "data_dir (handstamp.toml line 1): has a control character"},
	}
	for _, tt := range tests {
		got := mistakesOf(t, fromFile(tt.text))
		if len(got) != 1 || !strings.HasPrefix(got[0].String(), tt.want) {
			t.Errorf("%s: %v, want one that starts with %q", tt.name, got, tt.want)
		}
	}
	// A file that cannot be read hides no mistake of another source.
	src := fromFile("=")
	src.Environ = []string{"HANDSTAMP_ADDR=x", "HANDSTAMP_PUBLIC_URL=http://id.example.com"}
	if got := mistakesOf(t, src); len(got) != 2 {
		t.Errorf("broken file and bad variable: %v, want two mistakes and no rule that the file may satisfy", got)
	}
}

func TestLoad_empty_means_none_where_none_is_possible(t *testing.T) {
	file := fromFile("origins = [\"https://a.example\"]\ncookie.domain = \"example.com\"\ncache = \"redis://r\"\n" +
		"public_url = \"https://id.example.com\"\n[check.headers]\nHandstamp-User = \"X-User\"\n")
	file.Environ = []string{"HANDSTAMP_ORIGINS=", "HANDSTAMP_COOKIE_DOMAIN=", "HANDSTAMP_CACHE=", "HANDSTAMP_CHECK_HEADERS="}
	c := mustLoad(t, file)
	if len(c.Origins) != 0 || c.Cookie.Domain != "" || c.Cache.Kind != KindNone || c.Cache.String() != "" || len(c.Check.Headers) != 0 {
		t.Errorf("empty variables left %v, %q, %v, %v", c.Origins, c.Cookie.Domain, c.Cache, c.Check.Headers)
	}
	for _, name := range []string{"HANDSTAMP_SECRET", "HANDSTAMP_ADDR", "HANDSTAMP_DATABASE", "HANDSTAMP_MODES", "HANDSTAMP_MIGRATE", "HANDSTAMP_CONFIG"} {
		if got := mistakesOf(t, Sources{Environ: []string{name + "="}}); len(got) != 1 || !strings.HasPrefix(got[0].Text, "is empty") {
			t.Errorf("%s empty: %v, want one mistake", name, got)
		}
	}
}

func TestLoad_cuts_what_ends_later_than_the_end(t *testing.T) {
	c, warnings, err := Load(fromFile("session.absolute_timeout = \"1h\"\nrefresh.absolute_timeout = \"5m\"\ntoken.access_ttl = \"6m\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"session.idle_timeout: is cut from 24h to 1h, since session.absolute_timeout ends it then",
		"refresh.idle_timeout: is cut from 720h to 5m, since refresh.absolute_timeout ends it then",
		"token.access_ttl: is cut from 6m to 5m, since refresh.absolute_timeout ends it then",
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if c.Session.IdleTimeout != c.Session.AbsoluteTimeout || c.Refresh.IdleTimeout != c.Refresh.AbsoluteTimeout || c.Token.AccessTTL != c.Refresh.AbsoluteTimeout {
		t.Errorf("not cut: %+v %+v %+v", c.Session, c.Refresh, c.Token)
	}
	if e := entry(t, c, "token.access_ttl"); e.Value != "5m" {
		t.Errorf("token.access_ttl prints %q, want the effective 5m", e.Value)
	}
}

// TestLoad_flags_do_not_change_with_map_order loads the same mistakes often:
// their order must not depend on the order of a map.
func TestLoad_flags_do_not_change_with_map_order(t *testing.T) {
	flags := map[string]string{}
	for k := range samples() {
		flags[k] = "\x01"
	}
	maps.Copy(flags, map[string]string{"x1": "", "x2": "", "x3": ""})
	first := mistakesOf(t, Sources{Flags: flags})
	for range 5 {
		if diff := cmp.Diff(first, mistakesOf(t, Sources{Flags: flags})); diff != "" {
			t.Fatalf("another order (-first +then):\n%s", diff)
		}
	}
}
