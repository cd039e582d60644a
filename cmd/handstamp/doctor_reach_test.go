package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/store/sqlite"
	"github.com/handstamp/handstamp/store/transfer"
)

// A store that cannot be reached is a finding, with the whole sentence of who tried, and without the password.
func TestDoctor_out_of_reach(t *testing.T) {
	p, r := fault.SharedPostgres(t), fault.StartRedis(t, fault.RedisOptions{Password: "hunter2hunter2"})
	secretly := func(at string) string { // the address with a password that must not be printed
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(u.User.Username(), "CANARY")
		return u.String()
	}
	tests := []struct {
		name, env, id string
		severity      severity
		text          string
	}{
		{"nobody listens", "DATABASE=postgres://handstamp:CANARY@127.0.0.1:1/x", "database-unreachable", high,
			"nothing answers at 127.0.0.1:1: look at the address, the firewall and whether the server runs (connect: connection refused)"},
		{"no such database", "DATABASE=" + secretly(p.DSN("handstamp3")), "database-unreachable", high,
			`there is no database "handstamp3": run CREATE DATABASE, or name another one`},
		{"a URL that the driver does not take", "DATABASE=postgres://handstamp:CANARY@127.0.0.1:1/x?sslmode=nonsense", "database-unusable", high, "the connection string is not valid"},
		{"no sessions", "SESSIONS=redis://:CANARY@127.0.0.1:1", "sessions-unreachable", high,
			"connect at 127.0.0.1:1: connect: connection refused; is it running, and is the address right?"},
		{"a wrong password for the sessions", "SESSIONS=" + secretly(r.URL()), "sessions-unreachable", high, "it refuses the user or the password"},
		{"no cache", "CACHE=redis://:CANARY@127.0.0.1:1", "cache-unreachable", medium,
			"connect at 127.0.0.1:1: connect: connection refused; is it running, and is the address right?"},
		{"a wrong password for the cache", "CACHE=" + secretly(r.URL()), "cache-unreachable", high, "it refuses the user or the password"},
		{"no Sentinels", "CACHE=redis://:CANARY@127.0.0.1:1?master=main", "cache-unreachable", medium, "through the Sentinels"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env := healthy(t, "HANDSTAMP_"+tt.env)
			rep := examine(t, env, doctorCmd{})
			f := rep.of(t, tt.id)
			if f.Severity != tt.severity || !strings.Contains(f.Finding, tt.text) {
				t.Errorf("%+v, want %s and %q", f, tt.severity, tt.text)
			}
			if len(rep.Findings) != 1 || len(rep.NotLookedAt) < 2 {
				t.Errorf("found %+v, not looked at %+v", rep.Findings, rep.NotLookedAt)
			}
			if rep := examine(t, env, doctorCmd{Accept: []string{tt.id}}); !rep.of(t, tt.id).Accepted {
				t.Errorf("%+v", rep.Findings)
			}
			var out bytes.Buffer
			a := &app{stdout: &out, stderr: &out, environ: env}
			if code := a.fail((&doctorCmd{Wait: 5 * time.Second}).Run(t.Context(), a)); code != exitFailure || strings.Contains(out.String(), "Nothing was found") {
				t.Errorf("exit %d\n%s", code, out.String())
			}
			if strings.Contains(out.String(), "CANARY") {
				t.Errorf("the password is printed\n%s", out.String())
			}
		})
	}
}

// Where the sessions are out of reach, the database is looked at all the same.
func TestDoctor_sessions_out_of_reach(t *testing.T) {
	w := newWard(t, time.Now())
	r := w.doctor("HANDSTAMP_SESSIONS=redis://127.0.0.1:1")
	r.of(t, "sessions-unreachable")
	r.of(t, "no-administrator")
}

// A cache that no server uses is not asked for as one would; that it is silent is said all the same.
func TestDoctor_unused_cache(t *testing.T) {
	r := examine(t, healthy(t, "HANDSTAMP_CACHE=redis://127.0.0.1:1", "HANDSTAMP_SESSIONS=memory"), doctorCmd{})
	if f := r.of(t, "not-examined"); f.Setting != "Redis at 127.0.0.1:1" || r.has("cache-unreachable") {
		t.Errorf("%+v", r.Findings)
	}
}

// A database that a move has closed is neither damaged nor away: it is said where it is now.
func TestDoctor_moved(t *testing.T) {
	p := fault.SharedPostgres(t)
	for name, from := range map[string][]string{
		"sqlite":   nil,
		"postgres": {"HANDSTAMP_DATABASE=" + p.DSN(p.CreateDB(t)), "HANDSTAMP_ACCEPT_LOSS=volatile"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWard(t, time.Now(), append(from, "HANDSTAMP_REVOCATION_LEASE=500ms")...)
			at := "sqlite"
			if from != nil {
				at = strings.TrimPrefix(from[0], "HANDSTAMP_DATABASE=")
			}
			to := filepath.Join(w.dir, "new.db")
			w.must("move", "--from", at, "--to", "sqlite:"+to, "--yes")
			r := w.doctor()
			if f := r.of(t, "database-moved"); !strings.Contains(f.Finding, "it was moved to sqlite:"+to+" at ") || strings.Contains(f.Fix, "backup") || r.has("database-unusable") {
				t.Errorf("%+v", r.Findings)
			}
			if r := w.doctor("HANDSTAMP_DATABASE=sqlite:" + to); r.has("database-moved") {
				t.Errorf("where it was moved to: found %+v", r.Findings)
			}
		})
	}
	t.Run("unfinished", func(t *testing.T) {
		w := newWard(t, time.Now())
		db, err := sqlite.OpenTransfer(t.Context(), filepath.Join(w.dir, "handstamp.db"), false)
		if err != nil {
			t.Fatal(err)
		}
		mark := transfer.Mark{Phase: transfer.Filling, Log: "log", Peer: "postgres://elsewhere", Run: "run", At: time.Now()}
		if err := errors.Join(db.Set(t.Context(), transfer.Mark{}, mark), db.Close()); err != nil {
			t.Fatal(err)
		}
		if f := w.doctor().of(t, "database-moved"); !strings.Contains(f.Finding, "began to fill it from postgres://elsewhere at ") || !strings.Contains(f.Fix, "run it again") {
			t.Errorf("%+v", f)
		}
	})
}

// A pooler that nobody declared is no damage, wherever it listens.
func TestDoctor_pooler(t *testing.T) {
	p := fault.SharedPostgres(t)
	b := fault.StartPgBouncer(t, p, fault.PgBouncerOptions{})
	env := healthy(t, "HANDSTAMP_DATABASE="+b.DSN(p.CreateDB(t)))
	r := examine(t, env, doctorCmd{})
	f := r.of(t, "pooler-undeclared")
	if f.Severity != high || f.Setting != "database_pooler" || !strings.Contains(f.Fix, `database_pooler = "transaction"`) || r.has("database-unusable") {
		t.Errorf("%+v", r.Findings)
	}
	r = examine(t, with(env, "HANDSTAMP_DATABASE_POOLER=transaction"), doctorCmd{})
	if r.has("pooler-undeclared") || !r.has("schema-pending") {
		t.Errorf("declared: found %+v", r.Findings)
	}
	// Other settings that cannot be used are not a pooler's fault.
	r = examine(t, healthy(t, "HANDSTAMP_DATABASE="+p.DSN("postgres")+"&pool_max_conns=2"), doctorCmd{})
	if f := r.of(t, "database-unusable"); r.has("pooler-undeclared") || !strings.Contains(f.Finding, "pool_max_conns") || strings.Contains(f.Fix, "backup") {
		t.Errorf("%+v", r.Findings)
	}
}

// A server that does not tell of itself what it is asked is a finding, and what is in the database is looked at.
func TestDoctor_mute_postgres(t *testing.T) {
	p := fault.SharedPostgres(t)
	db := p.CreateDB(t)
	p.ExecIn(t, db, "CREATE ROLE doctor_mute LOGIN PASSWORD 'doctor_mute'", "GRANT CREATE ON DATABASE "+db+" TO doctor_mute", "REVOKE SELECT ON pg_roles FROM PUBLIC")
	t.Cleanup(func() { p.ExecIn(t, db, "DROP OWNED BY doctor_mute", "DROP ROLE doctor_mute") })
	r := examine(t, healthy(t, "HANDSTAMP_DATABASE=postgres://doctor_mute:doctor_mute@"+p.Addr()+"/"+db+"?sslmode=disable"), doctorCmd{})
	if f := r.of(t, "not-examined"); f.Setting != "the database server" || !strings.Contains(f.Finding, "permission denied") {
		t.Errorf("%+v", f)
	}
	r.of(t, "schema-pending")
}

// What breaks off in the middle is a finding, and so is what nobody could look at.
func TestDoctor_not_examined(t *testing.T) {
	w := newWard(t, time.Now())
	w.admin()
	w.sql("UPDATE handstamp_roles SET permissions = 'nonsense'")
	if f := w.doctor().of(t, "not-examined"); f.Severity != high || f.Setting != "the rest of the database" {
		t.Errorf("%+v", f)
	}

	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, nil)
	r := examine(t, healthy(t, "HANDSTAMP_DATABASE=sqlite:"+filepath.Join(file, "x.db")), doctorCmd{})
	if f := r.of(t, "not-examined"); f.Setting != "the modes of files" || !r.has("database-unusable") {
		t.Errorf("%+v", r.Findings)
	}

	r = examine(t, healthy(t, "HANDSTAMP_MIGRATE=false"), doctorCmd{})
	if f := r.of(t, "schema-pending"); f.Severity != medium {
		t.Errorf("%+v", f)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := (&doctorCmd{Wait: time.Second}).Run(ctx, &app{stdout: &out, stderr: &out, environ: healthy(t)}); !errors.Is(err, context.Canceled) || out.Len() > 0 {
		t.Errorf("interrupted: %v\n%s", err, out.String())
	}
}

// A server that answers some questions and hangs up at others was not looked at.
func TestDoctor_server_hangs_up(t *testing.T) {
	for path, part := range map[string]string{
		"/v1/session": "the headers of answers", "/v1/logout": "cookies", "/v1/check": "forwarded headers", "/openapi.json": "the version",
		"/metrics": "", // which a proxy may well do there
	} {
		r := behind{proxy: func(api http.Handler, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == path {
				panic(http.ErrAbortHandler)
			}
			api.ServeHTTP(w, r)
		}}.look(t)
		if part == "" && len(r.Findings) == 0 {
			continue
		}
		if f := r.of(t, "not-examined"); f.Setting != part {
			t.Errorf("%s: %+v", path, r.Findings)
		}
	}
	n := 0
	r := behind{proxy: func(api http.Handler, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/logout" {
			if n++; n > 2 {
				panic(http.ErrAbortHandler)
			}
		}
		api.ServeHTTP(w, r)
	}}.look(t)
	if f := r.of(t, "not-examined"); !strings.HasPrefix(f.Setting, "the refusal of other sites by ") {
		t.Errorf("%+v", r.Findings)
	}
}
