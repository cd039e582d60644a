package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/internal/fault"
)

// bedside is an examination of the servers that a configuration names, without what else it says.
func bedside(t *testing.T, env ...string) *examination {
	t.Helper()
	cfg, _, err := config.Load(config.Sources{Environ: healthy(t, env...)})
	if err != nil {
		t.Fatal(err)
	}
	return &examination{cfg: cfg, now: time.Now(), wait: 5 * time.Second}
}

func (x *examination) report() report { return report{x.findings, x.looked, x.skipped} }

// The settings of a real PostgreSQL are read as they are. Nothing is written there, and the password is not printed.
func TestDoctor_postgres(t *testing.T) {
	p := fault.SharedPostgres(t) // with fsync=off
	dsn := p.DSN(p.CreateDB(t))
	look := func(dsn string) report {
		x := bedside(t, "HANDSTAMP_DATABASE="+dsn)
		x.postgres(context.Background())
		return x.report()
	}
	r := look(dsn)
	r.of(t, "postgres-fsync")
	r.of(t, "postgres-superuser")
	for _, id := range []string{"postgres-read-only", "postgres-old", "postgres-synchronous-commit", "postgres-connections", "clock-database"} {
		if r.has(id) {
			t.Errorf("%s is found: %+v", id, r.of(t, id))
		}
	}
	join := "?"
	if strings.Contains(dsn, "?") {
		join = "&"
	}
	look(dsn+join+"options=-c%20synchronous_commit%3Doff&pool_max_conns=3").of(t, "postgres-synchronous-commit")
	look(dsn+join+"options=-c%20default_transaction_read_only%3Don").of(t, "postgres-read-only")
}

func TestDoctor_judges_postgres(t *testing.T) {
	good := postgresFacts{version: 150004, fsync: "on", fullPages: "on", commit: "on", connections: 100, inUse: 20, reservation: 3}
	tests := []struct {
		id    string
		edit  func(*postgresFacts)
		ahead time.Duration
	}{
		{"", func(*postgresFacts) {}, 4 * time.Second},
		{"clock-database", func(*postgresFacts) {}, 6 * time.Second},
		{"clock-database", func(*postgresFacts) {}, -time.Hour},
		{"postgres-old", func(f *postgresFacts) { f.version = 120017 }, 0},
		{"", func(f *postgresFacts) { f.version = 130000 }, 0},
		{"postgres-fsync", func(f *postgresFacts) { f.fsync = "off" }, 0},
		{"postgres-fsync", func(f *postgresFacts) { f.fullPages = "off" }, 0},
		{"postgres-synchronous-commit", func(f *postgresFacts) { f.commit = "off" }, 0},
		{"", func(f *postgresFacts) { f.commit = "remote_apply" }, 0},
		{"postgres-read-only", func(f *postgresFacts) { f.readOnly = true }, 0},
		{"postgres-superuser", func(f *postgresFacts) { f.superuser = true }, 0},
		{"postgres-connections", func(f *postgresFacts) { f.inUse = 95 }, 0},
	}
	for _, tt := range tests {
		f := good
		tt.edit(&f)
		x := &examination{cfg: &config.Config{}}
		x.judgePostgres(f, tt.ahead)
		r := x.report()
		if tt.id != "" {
			r.of(t, tt.id)
		} else if len(r.Findings) > 0 {
			t.Errorf("%+v: found %v", f, r.ids())
		}
	}
}

func TestDoctor_redis(t *testing.T) {
	look := func(key string, args ...string) report {
		s := fault.StartRedis(t, fault.RedisOptions{Args: args})
		x := bedside(t, "HANDSTAMP_"+strings.ToUpper(key)+"="+s.URL())
		x.tiers(context.Background())
		return x.report()
	}
	if r := look("sessions", "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"); len(r.Findings) > 0 || len(r.LookedAt) != 1 {
		t.Errorf("%+v", r)
	}
	if r := look("cache", "--appendonly", "no", "--maxmemory-policy", "allkeys-lru"); len(r.Findings) > 0 {
		t.Errorf("a copy may be lost: %+v", r)
	}
	look("sessions", "--maxmemory-policy", "allkeys-lru").of(t, "redis-evicts")
	if f := look("sessions", "--appendonly", "yes", "--appendfsync", "everysec").of(t, "redis-forgets"); f.Severity != medium {
		t.Errorf("%+v", f)
	}
	if f := look("sessions", "--appendonly", "no").of(t, "redis-forgets"); f.Severity != high {
		t.Errorf("%+v", f)
	}
	look("cache", "--replicaof", "127.0.0.1", "1").of(t, "redis-replica")
	for _, id := range []string{"redis-evicts", "redis-replica"} { // a server refuses these; that is no finding of its own
		args := map[string][]string{"redis-evicts": {"--maxmemory-policy", "allkeys-lru", "--appendonly", "yes", "--appendfsync", "always"}, "redis-replica": {"--replicaof", "127.0.0.1", "1", "--appendonly", "yes", "--appendfsync", "always"}}[id]
		if r := look("sessions", args...); len(r.Findings) != 1 || !r.has(id) {
			t.Errorf("%s: found %v", id, r.ids())
		}
	}
}

func TestDoctor_judges_redis(t *testing.T) {
	good := redisFacts{version: "7.0.15", role: "master", policy: "noeviction", appends: "1", fsync: "always", user: "handstamp", protected: "yes"}
	tests := []struct {
		id   string
		host string
		edit func(*redisFacts)
	}{
		{"", "redis.internal:6379", func(*redisFacts) {}},
		{"", "redis.internal:6379", func(f *redisFacts) { f.fsync, f.policy, f.protected, f.user = "", "", "", "" }}, // it may not be asked
		{"redis-open", "redis.internal:6379", func(f *redisFacts) { f.user, f.protected = "default", "no" }},
		{"", "127.0.0.1:6379", func(f *redisFacts) { f.user, f.protected = "default", "no" }},
		{"redis-old", "redis.internal:6379", func(f *redisFacts) { f.version = "6.2.1" }},
		{"", "redis.internal:6379", func(f *redisFacts) { f.version = "10.0.0" }},
		{"clock-redis", "redis.internal:6379", func(f *redisFacts) { f.ahead = -time.Minute }},
	}
	for _, tt := range tests {
		f := good
		tt.edit(&f)
		x := &examination{cfg: &config.Config{}}
		x.judgeRedis("sessions", tt.host, f)
		r := x.report()
		if tt.id != "" {
			r.of(t, tt.id)
		} else if len(r.Findings) > 0 {
			t.Errorf("%+v: found %v", f, r.ids())
		}
	}
}

// What is in a database on PostgreSQL is looked at like what is in a file, and only read.
func TestDoctor_postgres_contents(t *testing.T) {
	p := fault.SharedPostgres(t)
	dsn := p.DSN(p.CreateDB(t))
	w := newWard(t, time.Now(), "HANDSTAMP_DATABASE="+dsn, "HANDSTAMP_ACCEPT_LOSS=volatile")
	r := w.doctor()
	r.of(t, "no-administrator")
	r.of(t, "not-durable")
	if r.has("schema-pending") || r.has("lease-differs") || r.has("keys-unreadable") || r.has("key-no-standby") {
		t.Errorf("found %+v", r.Findings)
	}
	w.admin()
	if r := w.doctor("HANDSTAMP_REVOCATION_LEASE=3s"); r.has("no-administrator") || !r.has("lease-differs") {
		t.Errorf("found %v", r.ids())
	}
	empty := p.DSN(p.CreateDB(t))
	w.doctor("HANDSTAMP_DATABASE="+empty).of(t, "schema-pending")
	w.doctor("HANDSTAMP_DATABASE="+empty).of(t, "schema-pending") // still: nothing was made
}
