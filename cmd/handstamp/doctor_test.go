package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/config"
)

const doctorSecret = "kJ8vQ2mZ7xR4tW9bN3cL6hF1sD5gA0pYqEuIoKjM"

// healthy is a public server with nothing wrong.
func healthy(t *testing.T, more ...string) []string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	base := []string{
		"HANDSTAMP_PUBLIC_URL=https://id.example.com", "HANDSTAMP_TRUSTED_PROXIES=127.0.0.1/32", "HANDSTAMP_DATA_DIR=" + dir,
		"HANDSTAMP_SECRET=" + doctorSecret, "HANDSTAMP_SIGNUP=closed", "HANDSTAMP_PASSWORD_MIN_LENGTH=15",
	}
	return with(base, more...)
}

// with replaces and adds variables; a name without a value takes one away.
func with(base []string, more ...string) []string {
	env := slices.Clone(base)
	for _, m := range more {
		name, _, has := strings.Cut(m, "=")
		env = slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		if has {
			env = append(env, m)
		}
	}
	return env
}

type report struct {
	Findings    []finding
	LookedAt    []string  `json:"looked_at"`
	NotLookedAt []skipped `json:"not_looked_at"`
}

func (r report) ids() []string {
	ids := []string{}
	for _, f := range r.Findings {
		ids = append(ids, f.ID)
	}
	return ids
}

func (r report) has(id string) bool { return slices.Contains(r.ids(), id) }

func (r report) of(t *testing.T, id string) finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.ID == id {
			return f
		}
	}
	t.Errorf("%s was not found; found were %v", id, r.ids())
	return finding{}
}

// examine runs the command and reads what it says. Its exit code must fit.
func examine(t *testing.T, env []string, c doctorCmd, edit ...func(*app)) report {
	t.Helper()
	var out bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &out, environ: env}
	for _, e := range edit {
		e(a)
	}
	c.JSON = true
	if c.Wait == 0 {
		c.Wait = 5 * time.Second
	}
	err := c.Run(t.Context(), a)
	var r report
	if json.Unmarshal(out.Bytes(), &r) != nil {
		t.Fatalf("doctor with %q: %v\n%s", env, err, out.String())
	}
	counts := slices.ContainsFunc(r.Findings, func(f finding) bool { return !f.Accepted })
	if counts != (err != nil) {
		t.Errorf("%d findings, and the error is %v", len(r.Findings), err)
	}
	known := ailments()
	for _, f := range r.Findings {
		if !slices.ContainsFunc(known, func(a ailment) bool { return a.id == f.ID }) {
			t.Errorf("%s is found and not in the list", f.ID)
		}
		if f.Finding == "" || f.Setting == "" || f.Why == "" || f.Fix == "" || f.Severity.rank() < 0 {
			t.Errorf("a finding that says too little: %+v", f)
		}
	}
	if strings.Contains(out.String(), doctorSecret) {
		t.Errorf("the secret is printed:\n%s", out.String())
	}
	return r
}

// sickness is a configuration that has something, and one beside it that just has not.
type sickness struct {
	id         string
	sick, well []string
}

func sicknesses() []sickness {
	e := func(s ...string) []string {
		for i := range s {
			s[i] = "HANDSTAMP_" + s[i]
		}
		return s
	}
	return []sickness{
		{"plain-http", e("PUBLIC_URL=http://id.example.com", "INSECURE_HTTP=true"), nil},
		{"insecure-http-left-on", e("INSECURE_HTTP=true"), e("INSECURE_HTTP=false")},
		{"development-open", e("PUBLIC_URL=http://127.0.0.1:8080", "ADDR=0.0.0.0:8080"), e("PUBLIC_URL=http://127.0.0.1:8080", "ADDR=localhost:8080")},
		{"listener-without-tls", e("ADDR=8.8.4.4:8080"), e("ADDR=10.1.2.3:8080")},
		{"ops-open", e("OPS_ADDR=10.0.0.7:8081"), e("OPS_ADDR=[::1]:8081")},
		{"ops-public", e("OPS_ADDR=8.8.4.4:8081"), e("OPS_ADDR=127.0.0.2:8081")},
		{"origin-plain-http", e("ORIGINS=http://app.example.com"), e("ORIGINS=https://app.example.com")},
		{"origin-loopback", e("ORIGINS=https://app.example.com,http://localhost:3000"), e("ORIGINS=https://app.example.com")},
		{"origin-lookalike", e("ORIGINS=https://id.example.com.evil.net"), e("ORIGINS=https://app.example.com,https://other.example.net")},
		{"origin-lookalike", e("ORIGINS=https://notexample.com"), e("ORIGINS=https://example.com")},
		{"trusted-proxies-everyone", e("TRUSTED_PROXIES=0.0.0.0/0"), e("TRUSTED_PROXIES=10.0.0.0/8")},
		{"trusted-proxies-everyone", e("TRUSTED_PROXIES=8.0.0.0/6"), e("TRUSTED_PROXIES=fd00::/8,fc00::/7")},
		{"trusted-proxies-everyone", e("TRUSTED_PROXIES=::/0"), e("TRUSTED_PROXIES=::1/128")},
		{"trusted-proxies-wide", e("TRUSTED_PROXIES=52.0.0.0/10"), e("TRUSTED_PROXIES=104.16.0.0/13,2606:4700::/32")},
		{"trusted-proxies-none", e("TRUSTED_PROXIES"), nil},
		{"check-header-forwarded", e("CHECK_HEADERS=Handstamp-User=X-Forwarded-For"), e("CHECK_HEADERS=Handstamp-User=X-Forwarded-User")},
		{"cookie-domain", e("COOKIE_DOMAIN=example.com"), nil},
		{"cookie-domain-suffix", e("PUBLIC_URL=https://shop.co.uk", "COOKIE_DOMAIN=co.uk"), e("PUBLIC_URL=https://shop.co.uk")},
		{"same-site-none", e("COOKIE_SAME_SITE=none"), e("COOKIE_SAME_SITE=lax")},
		{"algorithm-hs256", e("TOKEN_ALGORITHM=HS256"), e("TOKEN_ALGORITHM=HS256", "MODES=session")},
		{"access-ttl-long", e("TOKEN_ACCESS_TTL=16m"), e("TOKEN_ACCESS_TTL=15m")},
		{"stateless-ttl-long", e("TOKEN_STATELESS_TTL=30m"), e("TOKEN_STATELESS_TTL=30m", "MODES=session,hybrid")},
		{"session-endless", e("SESSION_ABSOLUTE_TIMEOUT=2161h"), e("SESSION_ABSOLUTE_TIMEOUT=2160h")},
		{"refresh-endless", e("REFRESH_ABSOLUTE_TIMEOUT=2161h"), e("REFRESH_ABSOLUTE_TIMEOUT=9000h", "MODES=session")},
		{"idle-endless", e("SESSION_IDLE_TIMEOUT=800h", "SESSION_ABSOLUTE_TIMEOUT=1000h"), e("SESSION_IDLE_TIMEOUT=720h")},
		{"refresh-grace-long", e("REFRESH_GRACE=60s"), e("REFRESH_GRACE=30s")},
		{"refresh-grace-zero", e("REFRESH_GRACE=0"), e("REFRESH_GRACE=1s")},
		{"after-restore-forward", e("REFRESH_AFTER_RESTORE=forward"), e("REFRESH_AFTER_RESTORE=refuse")},
		{"lease-long", e("REVOCATION_LEASE=10s"), e("REVOCATION_LEASE=5s")},
		{"key-rotation-slow", e("KEY_ROTATE_EVERY=8760h"), e("KEY_ROTATE_EVERY=2160h")},
		{"password-short", e("PASSWORD_MIN_LENGTH=14"), e("PASSWORD_MIN_LENGTH=15")},
		{"password-hash-cheap", e("PASSWORD_MEMORY_KIB=4096"), e("PASSWORD_MEMORY_KIB=7168", "PASSWORD_ITERATIONS=5")},
		{"password-hashing-greedy", e("PASSWORD_MAX_CONCURRENT=1024"), e("PASSWORD_MAX_CONCURRENT=1")},
		{"login-failures-many", e("LOGIN_MAX_FAILURES=101"), e("LOGIN_MAX_FAILURES=100")},
		{"signup-undecided", e("SIGNUP"), e("SIGNUP=open")},
		{"unverified-email", e("SIGNUP=open", "CHECK_UNVERIFIED_EMAIL=true"), e("CHECK_UNVERIFIED_EMAIL=true")},
		{"admin-auth-age-long", e("ADMIN_MAX_AUTH_AGE=2h"), e("ADMIN_MAX_AUTH_AGE=1h")},
		{"audit-short", e("AUDIT_RETENTION=719h"), e("AUDIT_RETENTION=720h")},
		{"traces-in-the-clear", e("OTEL_ENDPOINT=http://otel.example.com:4318"), e("OTEL_ENDPOINT=http://collector:4318")},
		{"traces-in-the-clear", e("OTEL_ENDPOINT=http://8.8.8.8:4318"), e("OTEL_ENDPOINT=https://otel.example.com")},
		{"database-memory", e("DATABASE=memory"), nil},
		{"sessions-memory", e("SESSIONS=memory"), e("SESSIONS=database")},
		{"accept-loss", e("ACCEPT_LOSS=window"), e("ACCEPT_LOSS=none")},
		{"secret-beside-database", e("SECRET"), nil},
	}
}

// TestDoctor_configuration: every check finds what it is for, and not what is just beside it.
func TestDoctor_configuration(t *testing.T) {
	if r := examine(t, healthy(t), doctorCmd{}); len(r.Findings) != 0 {
		t.Fatalf("a configuration without a fault has %v", r.ids())
	}
	tested := map[string]bool{"configuration-warning": true} // in TestDoctor_warnings
	for _, s := range sicknesses() {
		tested[s.id] = true
		if r := examine(t, healthy(t, s.sick...), doctorCmd{}); !r.has(s.id) {
			t.Errorf("%v: %s is not found, but %v", s.sick, s.id, r.ids())
		}
		if r := examine(t, healthy(t, s.well...), doctorCmd{}); r.has(s.id) {
			t.Errorf("%v: %s is found", s.well, s.id)
		}
	}
	stores := map[string]bool{}
	for _, s := range storeSicknesses() {
		stores[s.id] = true
	}
	for _, c := range configChecks() {
		if !tested[c.id] && !stores[c.id] {
			t.Errorf("no configuration has %s", c.id)
		}
	}
}

// storeSicknesses are about addresses: they are judged without going there.
func storeSicknesses() []struct{ id, key, sick, well string } {
	return []struct{ id, key, sick, well string }{
		{"database-plain", "database", "postgres://u:pw@db.example.com/hs?sslmode=disable", "postgres://u:pw@db.example.com/hs?sslmode=verify-full"},
		{"database-plain", "database", "postgres://u:pw@db.example.com/hs", "postgres://u:pw@127.0.0.1/hs"},
		{"database-plain", "database", "postgres://u:pw@localhost,db2/hs?sslmode=prefer", "postgres://u:pw@/hs?host=/run/postgresql"},
		{"database-unverified", "database", "postgres://u:pw@db.example.com/hs?sslmode=require", "postgres://u:pw@db.example.com/hs?sslmode=verify-ca"},
		{"pooler-undeclared", "database", "postgres://u:pw@127.0.0.1:6432/hs", "postgres://u:pw@127.0.0.1:5432/hs"},
		{"redis-plain", "cache", "redis://u:pw@cache.example.com", "rediss://u:pw@cache.example.com"},
		{"redis-plain", "sessions", "redis://u:pw@127.0.0.1:1?addr=cache2:2", "redis://u:pw@127.0.0.1:1?addr=[::1]:2"},
		{"redis-password", "cache", "rediss://cache.example.com", "rediss://u:pw@cache.example.com"},
		{"redis-password", "cache", "rediss://u@cache.example.com", "rediss://cache.example.com?cert=/c&key=/k"},
	}
}

func TestDoctor_addresses(t *testing.T) {
	find := func(key, value string) report {
		cfg, _, err := config.Load(config.Sources{
			Environ:  healthy(t, "HANDSTAMP_"+strings.ToUpper(key)+"="+value),
			ReadFile: func(string) ([]byte, error) { return nil, os.ErrNotExist },
		})
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		x := &examination{cfg: cfg, now: time.Now()}
		x.configuration(nil)
		x.redisWay("cache", cfg.Cache)
		x.redisWay("sessions", cfg.Sessions)
		for _, f := range x.findings {
			if strings.Contains(f.Finding, "pw") {
				t.Errorf("%s: the password is printed: %s", value, f.Finding)
			}
		}
		return report{Findings: x.findings}
	}
	for _, s := range storeSicknesses() {
		if r := find(s.key, s.sick); !r.has(s.id) {
			t.Errorf("%s: %s is not found, but %v", s.sick, s.id, r.ids())
		}
		if r := find(s.key, s.well); r.has(s.id) {
			t.Errorf("%s: %s is found", s.well, s.id)
		}
	}
}

// In development nothing is asked of a server that nobody else reaches.
func TestDoctor_development(t *testing.T) {
	if r := examine(t, []string{"HANDSTAMP_DATA_DIR=" + filepath.Join(t.TempDir(), "none")}, doctorCmd{}); len(r.Findings) != 0 {
		t.Errorf("found %v", r.ids())
	}
}

func TestDoctor_warnings(t *testing.T) {
	r := examine(t, healthy(t, "HANDSTAMP_SESSION_IDLE_TIMEOUT=800h", "HANDSTAMP_SESSION_ABSOLUTE_TIMEOUT=10h"), doctorCmd{})
	if f := r.of(t, "configuration-warning"); f.Setting != "session.idle_timeout" {
		t.Errorf("%+v", f)
	}
	r = examine(t, healthy(t, "HANDSTAMP_SECRET"), doctorCmd{}, func(a *app) { a.flags = map[string]string{"secret": doctorSecret} })
	if f := r.of(t, "secret-on-command-line"); f.Setting != "secret" {
		t.Errorf("%+v", f)
	}
}

func TestDoctor_accept(t *testing.T) {
	env := healthy(t, "HANDSTAMP_SIGNUP", "HANDSTAMP_COOKIE_DOMAIN=example.com")
	r := examine(t, env, doctorCmd{Accept: []string{"signup-undecided", "cookie-domain"}})
	if !r.of(t, "signup-undecided").Accepted || !r.of(t, "cookie-domain").Accepted {
		t.Errorf("%+v", r.Findings)
	}
	r = examine(t, env, doctorCmd{Accept: []string{"signup-undecided"}})
	if r.Findings[0].ID != "cookie-domain" || r.Findings[0].Accepted {
		t.Errorf("the worst does not come first: %v", r.ids())
	}
}

// What is written wrongly is exit 2, and so is a configuration that cannot be used.
func TestDoctor_wrong_use(t *testing.T) {
	for _, c := range []doctorCmd{
		{Accept: []string{"no-such-finding"}}, {URL: "id.example.com"}, {URL: "https://u:CANARY@id.example.com"}, {URL: "ftp://id"},
		{URL: "https://id.example.com/?token=CANARY"}, {Wait: -time.Second},
	} {
		if c.Wait == 0 {
			c.Wait = time.Second
		}
		var out bytes.Buffer
		a := &app{stdout: &out, stderr: &out, environ: healthy(t)}
		err := c.Run(t.Context(), a)
		if _, wrong := errors.AsType[*usageError](err); !wrong || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out, environ: []string{"HANDSTAMP_ADDR=nonsense"}}
	if code := a.fail((&doctorCmd{Wait: time.Second}).Run(t.Context(), a)); code != exitUsage {
		t.Errorf("exit %d for a configuration that cannot be used\n%s", code, out.String())
	}
}

// Names of findings are used in scripts: they are unique, and say something.
func TestDoctor_list(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range ailments() {
		if seen[a.id] || a.severity.rank() < 0 || a.why == "" || a.fix == "" {
			t.Errorf("%+v", a)
		}
		seen[a.id] = true
		if strings.ContainsAny(a.id, " _") || a.id != strings.ToLower(a.id) {
			t.Errorf("%s is no name for a command line", a.id)
		}
	}
}

// For people the same is said in lines.
func TestDoctor_text(t *testing.T) {
	var out, errs bytes.Buffer
	a := &app{stdout: &out, stderr: &errs, environ: healthy(t, "HANDSTAMP_COOKIE_DOMAIN=example.com", "HANDSTAMP_SIGNUP")}
	code := a.fail((&doctorCmd{Wait: time.Second, Accept: []string{"signup-undecided"}}).Run(t.Context(), a))
	for _, want := range []string{
		"MEDIUM  cookie-domain  (cookie.domain)\n  found  cookies are shared with every host below example.com\n  why    the session cookie goes to every subdomain",
		"accepted  signup-undecided  (signup)\n", "Looked at: the configuration, files.\n", "Not looked at: a running server: no --url was given.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if code != exitFailure || errs.String() != "handstamp: 1 finding (0 high, 1 medium, 0 low)\n" {
		t.Errorf("exit %d, %q", code, errs.String())
	}
	out.Reset()
	a.environ = healthy(t)
	if code := a.fail((&doctorCmd{Wait: time.Second}).Run(t.Context(), a)); code != exitOK || !strings.HasPrefix(out.String(), "Nothing was found.\n") {
		t.Errorf("exit %d\n%s", code, out.String())
	}
}

// runDoctor runs the command as a process beside the server of a site.
func (s *site) runDoctor(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	return s.run("", append([]string{"doctor", "--json"}, args...)...)
}

func silent() *log.Logger { return log.New(io.Discard, "", 0) }

// The configuration that deploy/systemd starts from has nothing wrong.
func TestDoctor_sample(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	writeFile(t, secret, []byte(doctorSecret+"\n"))
	env := []string{"HANDSTAMP_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "HANDSTAMP_SECRET_FILE=" + secret, "HANDSTAMP_LOG_FORMAT=json"}
	text, err := os.ReadFile("../../deploy/systemd/handstamp.toml")
	if err != nil {
		t.Fatal(err)
	}
	sample := filepath.Join(t.TempDir(), "handstamp.toml") // the mode of a checkout is the umask's
	writeFile(t, sample, text)
	r := examine(t, env, doctorCmd{}, func(a *app) { a.file = sample })
	if len(r.Findings) > 0 {
		t.Errorf("found %+v", r.Findings)
	}
}
