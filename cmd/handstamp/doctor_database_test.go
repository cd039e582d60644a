package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/keyring"
)

// ward is an installation that was run before.
type ward struct {
	*place
	dir string
}

func newWard(t *testing.T, started time.Time, more ...string) *ward {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	env := with(append(cheap(), healthy(t, "HANDSTAMP_SECRET", "HANDSTAMP_DATA_DIR="+dir)...), "HANDSTAMP_PASSWORD_MEMORY_KIB=7168",
		"HANDSTAMP_PASSWORD_ITERATIONS=5", "HANDSTAMP_LOGIN_MAX_FAILURES=10")
	env = with(env, more...)
	w := &ward{&place{t, env}, dir}
	w.at(started, func(*engine, *config.Config) {})
	// The secret is kept elsewhere, so that this is no finding.
	file := filepath.Join(t.TempDir(), "secret")
	b, err := os.ReadFile(filepath.Join(dir, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, b)
	w.env = append(w.env, "HANDSTAMP_SECRET_FILE="+file)
	return w
}

func (w *ward) must(args ...string) string {
	w.t.Helper()
	code, out, errs := w.run("", args...)
	if code != 0 {
		w.t.Fatalf("handstamp %v: exit %d\n%s", args, code, errs)
	}
	return out
}

func (w *ward) admin() {
	w.t.Helper()
	code, _, errs := w.run(goodPassword+"-and-longer\n", "user", "add", "--email", "root@example.com", "--role", "admin", "--password-stdin")
	if code != 0 {
		w.t.Fatal(errs)
	}
}

func (w *ward) doctor(more ...string) report {
	w.t.Helper()
	return examine(w.t, with(w.env, more...), doctorCmd{})
}

func (w *ward) sql(statement string) {
	w.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(w.dir, "handstamp.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec(statement); err != nil {
		w.t.Fatal(err)
	}
}

func TestDoctor_database(t *testing.T) {
	tests := []struct {
		id string // "": nothing
		do func(w *ward) report
	}{
		{"", func(w *ward) report { w.admin(); return w.doctor() }},
		{"no-administrator", func(w *ward) report { return w.doctor() }},
		{"", func(w *ward) report {
			w.must("service-key", "add", "operator", "handstamp.admin", "--expires-in", "720h")
			return w.doctor()
		}},
		{"administrator-without-password", func(w *ward) report {
			w.admin()
			w.must("user", "add", "--email", "ghost@example.com", "--role", "admin")
			return w.doctor()
		}},
		{"", func(w *ward) report { // who is disabled cannot be used, whatever he lacks
			w.admin()
			w.must("user", "add", "--email", "ghost@example.com", "--role", "admin")
			w.must("user", "disable", "ghost@example.com")
			return w.doctor()
		}},
		{"member-may-administer", func(w *ward) report { w.admin(); w.must("role", "set", "member", "handstamp.start"); return w.doctor() }},
		{"", func(w *ward) report { w.admin(); w.must("role", "set", "member", "posts:write"); return w.doctor() }},
		{"service-key-endless", func(w *ward) report { w.admin(); w.must("service-key", "add", "robot", "*"); return w.doctor() }},
		{"", func(w *ward) report {
			w.admin()
			w.must("service-key", "add", "robot", "posts:read")
			return w.doctor()
		}},
		{"lease-differs", func(w *ward) report { w.admin(); return w.doctor("HANDSTAMP_REVOCATION_LEASE=3s") }},
		{"secret-missing", func(w *ward) report {
			w.admin()
			if err := os.Remove(filepath.Join(w.dir, "secret")); err != nil {
				t.Fatal(err)
			}
			return w.doctor("HANDSTAMP_SECRET_FILE")
		}},
		{"keys-unreadable", func(w *ward) report {
			w.admin()
			return w.doctor("HANDSTAMP_SECRET_FILE", "HANDSTAMP_SECRET="+doctorSecret)
		}},
		{"key-no-standby", func(w *ward) report {
			w.admin()
			w.sql("DELETE FROM handstamp_keys WHERE serial > (SELECT min(serial) FROM handstamp_keys)")
			return w.doctor()
		}},
		{"key-none-active", func(w *ward) report {
			w.admin()
			w.sql("UPDATE handstamp_keys SET revoked_at = created_at, revoked_by = 1")
			return w.doctor()
		}},
		{"", func(w *ward) report { // and who signs nothing needs no key
			w.admin()
			w.sql("UPDATE handstamp_keys SET revoked_at = created_at, revoked_by = 1")
			return w.doctor("HANDSTAMP_MODES=session")
		}},
		{"schema-pending", func(w *ward) report {
			path := filepath.Join(w.dir, "empty.db")
			writeFile(t, path, nil)
			r := w.doctor("HANDSTAMP_DATABASE=sqlite:"+path, "HANDSTAMP_MIGRATE=false")
			if r.of(t, "schema-pending").Severity != medium || w.doctor("HANDSTAMP_DATABASE=sqlite:"+path).of(t, "schema-pending").Severity != low {
				t.Errorf("%+v", r.Findings)
			}
			return r
		}},
		{"database-unusable", func(w *ward) report {
			path := filepath.Join(w.dir, "garbage.db")
			writeFile(t, path, []byte(strings.Repeat("no database at all ", 1000)))
			return w.doctor("HANDSTAMP_DATABASE=sqlite:" + path)
		}},
	}
	tested := map[string]bool{}
	for _, tt := range tests {
		tested[tt.id] = true
		r := tt.do(newWard(t, time.Now()))
		if tt.id != "" {
			r.of(t, tt.id)
		} else if len(r.Findings) > 0 {
			t.Errorf("found %+v", r.Findings)
		}
	}
	w := newWard(t, time.Now().Add(-100*day))
	w.admin()
	w.doctor().of(t, "key-old")
	for _, a := range databaseAilments() {
		switch {
		case tested[a.id] || a.id == "key-old" || a.id == "not-durable":
		case strings.HasPrefix(a.id, "postgres-") || strings.HasPrefix(a.id, "redis-") || strings.HasPrefix(a.id, "clock-"): // on real servers
		default:
			t.Errorf("no database has %s", a.id)
		}
	}
}

func TestDoctor_durability(t *testing.T) {
	for class, want := range map[handstamp.Durability]severity{
		{Class: handstamp.Durable}:                     "",
		{Class: handstamp.Window, Window: time.Second}: medium,
		{Class: handstamp.Volatile}:                    high,
		{Class: handstamp.Volatile, Named: true}:       "",
		{}:                                             high,
	} {
		x := &examination{cfg: &config.Config{}}
		x.settings(handstamp.Settings{Durability: class})
		if len(x.findings) == 0 && want != "" || len(x.findings) > 0 && x.findings[0].Severity != want {
			t.Errorf("%+v: %+v", class, x.findings)
		}
	}
}

// The doctor changes nothing: no database, no secret, no directory, no key, no verifier, no byte of the file.
func TestDoctor_changes_nothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	r := examine(t, healthy(t, "HANDSTAMP_DATA_DIR="+dir, "HANDSTAMP_SECRET"), doctorCmd{})
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("data_dir was made; found %v", r.ids())
	}

	w := newWard(t, time.Now())
	w.admin()
	file := filepath.Join(w.dir, "handstamp.db")
	sum := func() [sha256.Size]byte {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(b)
	}
	before, files := sum(), names(t, w.dir)
	w.doctor()
	if sum() != before || names(t, w.dir) != files {
		t.Errorf("the database was changed, or there are other files: %s, before %s", names(t, w.dir), files)
	}
	w.at(time.Now(), func(e *engine, _ *config.Config) {
		keys, ctx := e.ring.List(), context.Background()
		w.doctor()
		if err := e.ring.Reload(ctx); err != nil || len(e.ring.List()) != len(keys) {
			t.Errorf("keys: %v, %v", e.ring.List(), err)
		}
		if list, err := e.store.Log().Registered(ctx); err != nil || len(list) != 1 {
			t.Errorf("%d verifiers are registered beside the server's: %v", len(list)-1, err)
		}
		if k := keys[len(keys)-1]; k.Use != keyring.Signing {
			t.Errorf("%+v", k)
		}
	})
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}
