package server_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/server"
)

func (w *world) ops(method, path string) (int, string, m) {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.server.Ops().ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	var body m
	_ = json.Unmarshal(rec.Body.Bytes(), &body)
	return rec.Code, rec.Body.String(), body
}

func TestReady(t *testing.T) {
	var down atomic.Bool
	left := time.Second
	w := newWorld(t, settings{
		store: func(s handstamp.Store) handstamp.Store { return downSubjects{downStore{s, &down}} },
		server: func(o *server.Options) {
			o.Health = func() revoke.View { return revoke.View{Applied: 7, LeaseLeft: left} }
		},
	})
	status, _, body := w.ops("GET", "/readyz")
	if status != 200 || body["ready"] != true || body["durability"].(m)["class"] != "volatile" || body["lease"].(m)["left_ms"] != 1000.0 {
		t.Errorf("GET /readyz = %d %v", status, body)
	}
	left = 0
	if status, _, body = w.ops("GET", "/readyz"); status != 503 || body["lease"].(m)["ok"] != false || body["sessions"].(m)["ok"] != true {
		t.Errorf("with a lapsed lease GET /readyz = %d %v", status, body)
	}
	left = time.Second
	down.Store(true)
	status, raw, body := w.ops("GET", "/readyz")
	if status != 503 || body["sessions"].(m)["ok"] != false || body["accounts"].(m)["ok"] != true || strings.Contains(raw, "db.internal") {
		t.Errorf("with a store that is down GET /readyz = %d %s", status, raw)
	}
	if status, _, _ = w.ops("GET", "/healthz"); status != 200 {
		t.Errorf("GET /healthz = %d: the process runs whatever the store does", status)
	}
	w.stranger().get("/healthz").want(200)
}

type downSubjects struct{ downStore }

func (d downSubjects) Sessions() handstamp.Sessions {
	return subjects{downSessions{d.Store.Sessions(), d.down}}
}

type subjects struct{ downSessions }

func (d subjects) Subject(ctx context.Context, u handstamp.UserID) (handstamp.Subject, error) {
	if d.down.Load() {
		return handstamp.Subject{}, context.DeadlineExceeded
	}
	return d.Sessions.Subject(ctx, u)
}

// TestL5_OpsApart: what is for operators is on their own listener, and says nothing on the public one.
func TestL5_OpsApart(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	for _, path := range []string{"/metrics", "/readyz", "/debug/pprof/", "/debug/vars"} {
		admin.get(path).refused(404, "not_found")
	}
	for _, method := range []string{"POST", "TRACE", "DELETE"} {
		if status, _, body := w.ops(method, "/metrics"); status != 405 || body["code"] != "method_not_allowed" {
			t.Errorf("%s /metrics = %d %v", method, status, body)
		}
	}
	if status, _, _ := w.ops("GET", "/v1/session"); status != 404 {
		t.Errorf("the API on the ops listener = %d", status)
	}
}

// TestR3_Cardinality: a client that makes things up makes no new series.
func TestR3_Cardinality(t *testing.T) {
	w := newWorld(t, settings{server: func(o *server.Options) {
		o.Health = func() revoke.View { return revoke.View{Applied: 7, LeaseLeft: 1} }
	}})
	c := w.signUp("ada@example.com", "session", "bearer")
	flood := func(n int) {
		for i := range n {
			s := strconv.Itoa(i)
			c.get("/v1/x" + s)
			c.del("/v1/sessions/ses_" + s)
			c.do("METHOD"+s, "/v1/session", nil)
			w.program("x" + s).get("/v1/check")
			c.get("/v1/check?p" + s)
			c.get("/static/" + s)
			c.get("/v1/admin/users/" + s)
		}
	}
	flood(1)
	_, before, _ := w.ops("GET", "/metrics")
	flood(50)
	_, after, _ := w.ops("GET", "/metrics")
	if strings.Count(before, "\n") != strings.Count(after, "\n") {
		t.Errorf("50 made-up names grew the metrics from %d to %d lines", strings.Count(before, "\n"), strings.Count(after, "\n"))
	}
	for _, want := range []string{
		`handstamp_http_requests_total{method="DELETE",route="/v1/sessions/{id}",status="4xx"} 51`, `handstamp_refusals_total{code="not_found"}`,
		`handstamp_http_requests_total{method="GET",route="none",status="4xx"} 51`, `method="other"`, `handstamp_revocation_applied 7`, "go_goroutines ",
		`handstamp_http_request_seconds_bucket{route="/v1/check",le="+Inf"}`, `handstamp_refusals_total{code="malformed_request"} 51`,
	} {
		if !strings.Contains(after, want) {
			t.Errorf("metrics have no %s", want)
		}
	}
}

// TestIdentitiesNeverCross: many users at once, each is always only themselves.
func TestIdentitiesNeverCross(t *testing.T) {
	w := newWorld(t, settings{})
	var all sync.WaitGroup
	for i := range 8 {
		c := w.signUp("u"+strconv.Itoa(i)+"@example.com", pairs[i%6].mode, pairs[i%6].transport)
		all.Go(func() {
			for range 25 {
				if a := c.get("/v1/session"); a.status != 200 || a.body["user"].(m)["id"] != c.user() {
					t.Errorf("user %s is answered as %s", c.user(), a.raw)
				}
				if a := c.get("/v1/check"); a.header.Get("Handstamp-User") != c.user() {
					t.Errorf("user %s is checked as %v", c.user(), a.header)
				}
			}
		})
	}
	all.Wait()
}

func benchmark(b *testing.B, w *world, path string) {
	b.ReportAllocs()
	for b.Loop() {
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, httptest.NewRequest("GET", w.url+path, nil))
		if rec.Code != 200 {
			b.Fatal(rec.Code)
		}
	}
}
