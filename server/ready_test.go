package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/server"
)

// TestReadyParts: a part that is needed and down makes the process unready, a spare one makes it slow; neither says where
// it is.
func TestReadyParts(t *testing.T) {
	var database, cache atomic.Bool
	ask := func(down *atomic.Bool) func(context.Context) error {
		return func(context.Context) error {
			if down.Load() {
				return errors.New(cause)
			}
			return nil
		}
	}
	w := newWorld(t, settings{server: func(o *server.Options) {
		o.Health = func() revoke.View { return revoke.View{Log: "LOG", Applied: 7, Low: 3, LeaseLeft: time.Second} }
		o.Parts = []server.Part{
			{Name: "database", Ask: ask(&database), Durability: handstamp.Durability{Class: handstamp.Durable}},
			{Name: "sessions", Ask: ask(&database), Durability: handstamp.Durability{Class: handstamp.Window, Window: 1500 * time.Millisecond}},
			{Name: "cache", Ask: ask(&cache), Spare: true, Info: func() map[string]string { return map[string]string{"breaker": "open"} }},
		}
	}})
	ready := func() (int, m, map[string]m) {
		t.Helper()
		status, raw, body := w.ops("GET", "/readyz")
		if strings.Contains(raw, "db.internal") || strings.Contains(raw, "hunter2") {
			t.Errorf("GET /readyz says where and how: %s", raw)
		}
		parts := map[string]m{}
		for _, p := range body["parts"].([]any) {
			parts[p.(m)["name"].(string)] = p.(m)
		}
		return status, body, parts
	}
	status, body, parts := ready()
	if status != 200 || body["ready"] != true || body["status"] != "ready" || len(parts) != 3 {
		t.Fatalf("GET /readyz = %d %v", status, body)
	}
	if log := body["log"].(m); log["id"] != "LOG" || log["applied"] != 7.0 || log["low"] != 3.0 {
		t.Errorf("log = %v", log)
	}
	if d := parts["sessions"]["durability"].(m); d["class"] != "window" || d["window_seconds"] != 2.0 {
		t.Errorf("durability of sessions = %v, want the window rounded up", d)
	}
	if p := parts["cache"]; p["ok"] != true || p["spare"] != true || p["durability"] != nil || p["info"].(m)["breaker"] != "open" {
		t.Errorf("cache = %v", p)
	}
	if _, ok := body["sessions"].(m)["took_ms"].(float64); !ok || body["cache"].(m)["hits"] == nil {
		t.Errorf("GET /readyz = %v", body)
	}
	cache.Store(true)
	if status, body, parts = ready(); status != 200 || body["ready"] != true || body["status"] != "degraded" || parts["cache"]["ok"] != false || parts["cache"]["detail"] == nil {
		t.Errorf("without the cache GET /readyz = %d %v", status, body)
	}
	database.Store(true)
	if status, body, parts = ready(); status != 503 || body["ready"] != false || body["status"] != "not ready" || parts["database"]["ok"] != false {
		t.Errorf("without the database GET /readyz = %d %v", status, body)
	}
	late := httptest.NewRecorder()
	w.server.Ops().ServeHTTP(late, httptest.NewRequest("GET", "/readyz", nil))
	if late.Code != 503 || late.Header().Get("Retry-After") == "" {
		t.Errorf("without the database GET /readyz = %d with %v, want Retry-After", late.Code, late.Header())
	}
	if !strings.Contains(w.logs.String(), `"part":"database"`) || !strings.Contains(w.logs.String(), "db.internal") {
		t.Error("the log does not say why")
	}
}

// TestReadySaysWhatItMay: the words that a part gives for whoever reads along, and nothing of the error around them.
func TestReadySaysWhatItMay(t *testing.T) {
	w := newWorld(t, settings{server: func(o *server.Options) {
		o.Parts = []server.Part{{Name: "database", Ask: func(context.Context) error {
			return fmt.Errorf("%w: %w", server.Excuse("it was moved away"), errors.New(cause))
		}}}
	}})
	status, raw, body := w.ops("GET", "/readyz")
	if p := body["parts"].([]any)[0].(m); status != 503 || p["ok"] != false || p["detail"] != "it was moved away" || strings.Contains(raw, "db.internal") {
		t.Errorf("GET /readyz = %d %s", status, raw)
	}
}

// TestReadyAsksAtOnce: all parts together take no longer than the slowest, and no longer than a second.
func TestReadyAsksAtOnce(t *testing.T) {
	meet := make(chan struct{})
	w := newWorld(t, settings{server: func(o *server.Options) {
		o.Parts = []server.Part{
			{Name: "a", Ask: func(ctx context.Context) error { // only comes through if the others are asked meanwhile
				select {
				case meet <- struct{}{}:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}},
			{Name: "b", Ask: func(ctx context.Context) error {
				select {
				case <-meet:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}},
			{Name: "c", Spare: true, Ask: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		}
	}})
	if status, raw, body := w.ops("GET", "/readyz"); status != 200 || body["status"] != "degraded" {
		t.Errorf("GET /readyz = %d %s", status, raw)
	}
}

func TestPartsAreChecked(t *testing.T) {
	w := newWorld(t, settings{})
	ask := func(context.Context) error { return nil }
	for name, parts := range map[string][]server.Part{
		"no name": {{Ask: ask}}, "no question": {{Name: "a"}}, "twice": {{Name: "a", Ask: ask}, {Name: "a", Ask: ask}},
		"a name that is no label": {{Name: "a b", Ask: ask}}, "one of ours": {{Name: "sessions_read", Ask: ask}},
	} {
		opt := server.Options{Auth: w.auth, Accounts: w.accounts, PublicURL: w.url, Parts: parts}
		if _, err := server.New(opt); err == nil || !strings.Contains(err.Error(), "Parts") {
			t.Errorf("%s: %v", name, err)
		}
	}
	opt := server.Options{Auth: w.auth, Accounts: w.accounts, PublicURL: w.url, Parts: []server.Part{{Name: "sessions", Ask: ask}}}
	if _, err := server.New(opt); err != nil {
		t.Error(err)
	}
}

// TestReadings: what is counted elsewhere is printed under its name.
func TestReadings(t *testing.T) {
	w := newWorld(t, settings{server: func(o *server.Options) {
		o.Health = func() revoke.View { return revoke.View{Applied: 7, Low: 3, LeaseLeft: 1500 * time.Millisecond} }
		o.HashQueue = func() server.HashQueue { return server.HashQueue{Running: 1, Waiting: 2, Refused: 3} }
		o.Throttle = func() login.Throttle { return login.Throttle{Passed: 4, Refused: 5} }
		o.Parts = []server.Part{
			{Name: "database", Ask: func(context.Context) error { return nil }},
			{Name: "cache", Ask: func(context.Context) error { return errors.New("x") }, Spare: true},
		}
	}})
	c := w.signUp("ada@example.com", "session", "bearer")
	for range 3 {
		c.get("/v1/session").want(200)
	}
	c.post("/v1/logout", nil).want(204)
	w.applied()
	_, got, _ := w.ops("GET", "/metrics")
	s := w.auth.Stats()
	lag, age := uint64(0), uint64(0)
	for _, n := range s.Lag.Counts {
		lag += n
	}
	for _, n := range s.Cache.Age.Counts {
		age += n
	}
	for _, want := range []string{
		"handstamp_revocation_applied 7", "handstamp_revocation_low 3", "handstamp_revocation_lease_left_seconds 1.5",
		`handstamp_hash_queue{state="running"} 1`, `handstamp_hash_queue{state="waiting"} 2`, "handstamp_hash_refused_total 3",
		"handstamp_login_local_attempts_total 4", "handstamp_login_local_refused_total 5",
		`handstamp_store_up{store="database"} 1`, `handstamp_store_up{store="cache"} 0`, `handstamp_store_up{store="sessions_read"} 1`,
		`handstamp_store_seconds{store="database"} `, "handstamp_waiters 0", "handstamp_revocation_streams 0",
		fmt.Sprintf("handstamp_revocation_lag_seconds_count %d\n", lag), `handstamp_revocation_lag_seconds_bucket{le="0.25"} `,
		fmt.Sprintf("handstamp_copies_served_age_seconds_count %d\n", age), `handstamp_copies_served_age_seconds_bucket{le="+Inf"} `,
		fmt.Sprintf("handstamp_cache_hits_total %d\n", s.Cache.Hits), fmt.Sprintf("handstamp_cache_misses_total %d\n", s.Cache.Misses),
		"handstamp_cache_joined_total ", "handstamp_cache_unknown_total ", "handstamp_cache_entries ", "handstamp_cache_bytes ",
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("the metrics have no %q", want)
		}
	}
	bare := newWorld(t, settings{})
	_, got, _ = bare.ops("GET", "/metrics")
	for _, name := range []string{"hash_queue", "hash_refused", "login_local", "revocation_applied"} {
		if strings.Contains(got, "handstamp_"+name) {
			t.Errorf("the metrics have %s, which nobody gave", name)
		}
	}
}
