package server_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
)

// deafLog answers no renewals while it is deaf, so that its reader's lease ends when the clock says so.
type deafLog struct {
	revoke.Log
	deaf *atomic.Bool
}

func (l deafLog) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	if l.deaf.Load() {
		return revoke.Answer{}, errors.New(cause)
	}
	return l.Log.Renew(ctx, r)
}

type deafStore struct {
	handstamp.Store
	deaf *atomic.Bool
}

func (s deafStore) Log() revoke.Log { return deafLog{s.Store.Log(), s.deaf} }

// soon waits until something is so.
func soon(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after 30 s it is not so that %s", what)
		}
	}
}

// applied waits until this world's own verifier has applied the whole log, and returns its head.
func (w *world) applied() uint64 {
	w.t.Helper()
	sub, err := w.store.Sessions().Subject(context.Background(), "nobody")
	if err != nil {
		w.t.Fatal(err)
	}
	soon(w.t, "all is applied", func() bool { return w.auth.Health().Applied >= sub.Head })
	return w.auth.Health().Applied
}

// reader is a program that may read revocations.
func (w *world) reader() *client { return w.program(w.key("handstamp.revocations")) }

func renewal(v id.Verifier, from m) m {
	body := m{"verifier": string(v), "log": "", "applied": 0, "tag": ""}
	for _, name := range []string{"log", "applied", "tag"} {
		if x, ok := from[name]; ok {
			body[name] = x
		}
	}
	return body
}

// end ends a session of a new user and waits until the event is applied here.
func (w *world) end(email string) *client {
	w.t.Helper()
	c := w.signUp(email, "session", "bearer")
	c.post("/v1/logout", nil).want(204)
	w.applied()
	return c
}

// TestLease is the whole talk: a first contact is told where to begin, then gets all events and a lease, then nothing new.
func TestLease(t *testing.T) {
	w := newWorld(t, settings{})
	ada := w.end("ada@example.com")
	w.applied()
	v := id.NewVerifier(w.clock.Now())
	c := w.reader()
	ask := func(from m) *response {
		t.Helper()
		return c.post("/v1/revocations/lease", renewal(v, from)).want(200)
	}
	first := c.post("/v1/revocations/lease", m{"verifier": string(v)}).want(200)
	log := first.body["log"].(string)
	if b := first.body; b["reset"] != true || len(log) < 20 || b["low"] != 0.0 || b["tag"] != "" || b["head"].(float64) < 1 || len(b) != 5 {
		t.Fatalf("the first contact = %s", first.raw)
	}
	a := ask(m{"log": log})
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q", got)
	}
	b := a.body
	events := b["events"].([]any)
	if b["log"] != log || b["low"] != 0.0 || b["more"] != false || b["lease_ms"] != 2000.0 || b["reset"] != nil || float64(len(events)) != b["head"] {
		t.Fatalf("a lease = %s", a.raw)
	}
	if now, err := time.Parse(time.RFC3339Nano, b["now"].(string)); err != nil || !now.Equal(w.clock.Now()) {
		t.Errorf("now = %v, want the fleet's time %v", b["now"], w.clock.Now())
	}
	for i, e := range events {
		if e := e.(m); e["seq"] != float64(i+1) || e["tag"] == "" || e["until"] == "" {
			t.Errorf("event %d = %v", i, e)
		}
	}
	last := events[len(events)-1].(m)
	if last["kind"] != "session" || last["id"] != ada.session() || last["effect"] != "end" || last["tag"] != b["tag"] || last["except"] != nil {
		t.Errorf("the last event = %v, want the end of %s", last, ada.session())
	}
	here := m{"log": log, "applied": b["head"], "tag": b["tag"]}
	if b := ask(here).body; len(b["events"].([]any)) != 0 || b["head"] != here["applied"] {
		t.Errorf("with all of it applied = %v", b)
	}
	other := "A" + log[1:]
	if other == log {
		other = "B" + log[1:]
	}
	for name, from := range map[string]m{
		"another tag": {"log": log, "applied": b["head"], "tag": "AAAAAAAAAAA"}, "another log": {"log": other, "applied": b["head"], "tag": b["tag"]},
	} {
		if b := ask(from).body; b["reset"] != true || b["events"] != nil || b["lease_ms"] != nil {
			t.Errorf("%s = %v, want a reset and no lease", name, b)
		}
	}
	// A number that this node has not come to is not known here: no lease, and no reset either.
	ahead := c.post("/v1/revocations/lease", renewal(v, m{"log": log, "applied": uint64(1 << 52), "tag": "AAAAAAAAAAA"})).refused(503, "unavailable")
	if ahead.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After = %q", ahead.header.Get("Retry-After"))
	}
}

// TestLeaseSaysWhatIsSpared: who reads along must know which session a user's end spares.
func TestLeaseSaysWhatIsSpared(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.signUp("ada@example.com", "session", "bearer")
	c.del("/v1/sessions?keep=current").want(200)
	w.applied()
	list := w.reader().get("/v1/revocations").want(200).body["events"].([]any)
	last := list[len(list)-1].(m)
	if last["kind"] != "user" || last["id"] != c.user() || last["effect"] != "end" || last["except"] != c.session() {
		t.Errorf("the event = %v", last)
	}
}

// TestLeaseAge: how old the node's knowledge is when it answers, never less than it is; and no lease from a node without one.
func TestLeaseAge(t *testing.T) {
	var deaf atomic.Bool
	w := newWorld(t, settings{store: func(s handstamp.Store) handstamp.Store { return deafStore{s, &deaf} }})
	v, c := id.NewVerifier(w.clock.Now()), w.reader()
	log := c.post("/v1/revocations/lease", renewal(v, nil)).want(200).body["log"]
	ask := func() *response { return c.post("/v1/revocations/lease", renewal(v, m{"log": log})) }
	soon(t, "a renewal was refused", func() bool { deaf.Store(true); return w.auth.Health().Err != nil })
	was := ask().want(200).body["age_ms"]
	if was != 0.0 {
		t.Fatalf("age_ms with a clock that stands = %v", was)
	}
	for _, step := range []struct {
		add  time.Duration
		want float64
	}{{1, 1}, {time.Millisecond - 1, 1}, {1, 2}, {500*time.Microsecond - 1, 2}, {1500 * time.Microsecond, 3}} {
		w.clock.add(step.add)
		if got := ask().want(200).body["age_ms"]; got != step.want {
			t.Errorf("age_ms %v later = %v, want %v", step.add, got, step.want)
		}
	}
	w.clock.add(2 * time.Second)
	before := strings.Count(w.logs.String(), `"level":"ERROR"`)
	a := ask().refused(503, "unavailable")
	if a.header.Get("Retry-After") != "1" || strings.Contains(a.raw, "db.internal") {
		t.Errorf("without a lease = %s, Retry-After %q", a.raw, a.header.Get("Retry-After"))
	}
	if after := strings.Count(w.logs.String(), `"level":"ERROR"`); after != before {
		t.Error("a node without a lease logs a fault for each renewal that it refuses: that is two a second for every verifier")
	}
	deaf.Store(false)
	soon(t, "leases are given again", func() bool { return ask().status == 200 })
}

// TestLeaseIsPaged: at most 10,000 events; the rest with the next renewal.
func TestLeaseIsPaged(t *testing.T) {
	w := newWorld(t, settings{})
	const all = 10_003
	err := w.store.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		events := make([]revoke.Event, all)
		for i := range events {
			events[i] = w.auth.Event(revoke.KindSession, string(id.NewSession(w.clock.Now())), revoke.End, "test")
		}
		_, err := tx.Append(t.Context(), events...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "all is applied", func() bool { return w.auth.Health().Applied >= all })
	v, c := id.NewVerifier(w.clock.Now()), w.reader()
	from := m{"log": c.post("/v1/revocations/lease", renewal(v, nil)).want(200).body["log"], "applied": 0}
	for _, want := range []int{10_000, all - 10_000} {
		b := c.post("/v1/revocations/lease", renewal(v, from)).want(200).body
		events := b["events"].([]any)
		if len(events) != want || b["more"] != (want == 10_000) {
			t.Fatalf("%d events, more = %v; want %d", len(events), b["more"], want)
		}
		last := events[len(events)-1].(m)
		from["applied"], from["tag"] = last["seq"], last["tag"]
	}
	list := c.get("/v1/revocations").want(200).body
	if n := len(list["events"].([]any)); n != 10_000 || list["more"] != true {
		t.Errorf("GET: %d events, more = %v", n, list["more"])
	}
	list = c.get("/v1/revocations?after=10000").want(200).body
	if n := len(list["events"].([]any)); n != all-10_000 || list["more"] != nil {
		t.Errorf("GET after 10000: %d events, more = %v", n, list["more"])
	}
}

// TestLeaseInput: what is not a renewal is refused, and never taken for one that acknowledges something.
func TestLeaseInput(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.reader()
	v := string(id.NewVerifier(w.clock.Now()))
	const path = "/v1/revocations/lease"
	for name, body := range map[string]string{
		"nothing": ``, "no object": `[]`, "two": `{"verifier":"` + v + `"}{}`, "unknown member": `{"verifier":"` + v + `","x":1}`,
		"twice": `{"verifier":"` + v + `","verifier":"` + v + `"}`, "null": `{"verifier":"` + v + `","applied":null}`,
		"negative": `{"verifier":"` + v + `","applied":-1}`, "fraction": `{"verifier":"` + v + `","applied":1.5}`, "exponent": `{"verifier":"` + v + `","applied":1e3}`,
		"text": `{"verifier":"` + v + `","applied":"1"}`, "too large a number": `{"verifier":"` + v + `","applied":18446744073709551616}`,
		"a list": `{"verifier":["` + v + `"]}`, "other case": `{"Verifier":"` + v + `"}`,
	} {
		if a := c.post(path, body); a.status != 400 || a.body["code"] != "malformed_request" {
			t.Errorf("%s = %d %s", name, a.status, a.raw)
		}
	}
	for name, body := range map[string]m{
		"no verifier": {"applied": 1}, "empty": {"verifier": ""}, "another kind of id": {"verifier": strings.Replace(v, "vrf_", "ses_", 1)},
		"upper case": {"verifier": strings.ToUpper(v)}, "too short": {"verifier": v[:29]}, "too long": {"verifier": v + "0"}, "space": {"verifier": v + " "},
		"long log": {"verifier": v, "log": strings.Repeat("x", 65)}, "long tag": {"verifier": v, "tag": strings.Repeat("x", 65)}, "control": {"verifier": v, "tag": "a\x00"},
	} {
		if a := c.post(path, body); a.status != 422 || a.body["code"] != "invalid_input" || len(a.fields()) != 1 || strings.Contains(a.raw, v) {
			t.Errorf("%s = %d %s", name, a.status, a.raw)
		}
	}
	c.post(path, `{"verifier":"`+v+`"`+strings.Repeat(" ", 60_000)+`}`).want(200)
	c.post(path, `{"verifier":"`+v+`"`+strings.Repeat(" ", 64<<10)+`}`).refused(413, "too_large")
	c.do("POST", path, "verifier="+v, "Content-Type", "application/x-www-form-urlencoded").refused(415, "unsupported_media_type")
	c.post(path+"?applied=1", m{"verifier": v}).refused(400, "malformed_request")
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
		if a := c.do(method, path, nil); a.status != 405 || a.header.Get("Allow") != "OPTIONS, POST" {
			t.Errorf("%s = %d, Allow %q", method, a.status, a.header.Get("Allow"))
		}
	}
	for _, bad := range []string{"-1", "+1", "01", "1.0", "", "x", "18446744073709551616", "1%00"} {
		if a := c.get("/v1/revocations?after=" + bad); a.status != 422 || a.fields()[0] != "after" {
			t.Errorf("after=%s = %d %s", bad, a.status, a.raw)
		}
	}
	c.get("/v1/revocations?after=18446744073709551615").want(200)
	c.get("/v1/revocations?limit=1").refused(400, "malformed_request")
	c.get("/v1/revocations?after=1&after=2").refused(400, "malformed_request")
	for _, method := range []string{"HEAD", "POST", "PUT", "DELETE"} {
		if a := c.do(method, "/v1/revocations", nil); a.status != 405 || a.header.Get("Allow") != "GET, OPTIONS" {
			t.Errorf("%s = %d, Allow %q", method, a.status, a.header.Get("Allow"))
		}
	}
}

// TestRevocationsNeedThePermission: nobody reads who was ended, or gets a lease, without it.
func TestRevocationsNeedThePermission(t *testing.T) {
	w := newWorld(t, settings{})
	user := w.signUp("ada@example.com", "session", "bearer")
	body := m{"verifier": string(id.NewVerifier(w.clock.Now()))}
	for name, tc := range map[string]struct {
		c      *client
		status int
		code   string
	}{
		"nobody": {w.program(""), 401, "missing_credential"}, "a user": {user, 403, "forbidden"},
		"a program with less": {w.program(w.key("handstamp.introspect")), 403, "forbidden"},
	} {
		tc.c.post("/v1/revocations/lease", body).refused(tc.status, tc.code)
		tc.c.get("/v1/revocations").refused(tc.status, tc.code)
		if a := tc.c.do("GET", "/v1/revocations", nil, "Accept", "text/event-stream"); a.status != tc.status {
			t.Errorf("%s: the stream = %d", name, a.status)
		}
	}
	w.admin().get("/v1/revocations").want(200) // * matches every permission
}

// TestRevocationsList is what a program without leases reads.
func TestRevocationsList(t *testing.T) {
	w := newWorld(t, settings{})
	w.end("ada@example.com")
	head := w.applied()
	c := w.reader()
	all := c.get("/v1/revocations").want(200)
	if got := all.header.Values("Vary"); !strings.Contains(strings.Join(got, ","), "Accept") {
		t.Errorf("Vary = %q", got)
	}
	events := all.body["events"].([]any)
	if uint64(len(events)) != head || all.body["low"] != 0.0 || all.body["log"] == "" {
		t.Fatalf("GET /v1/revocations = %s", all.raw)
	}
	for after := range head + 2 {
		b := c.get(fmt.Sprintf("/v1/revocations?after=%d", after)).want(200).body
		if got := uint64(len(b["events"].([]any))); got != max(head, after)-after {
			t.Errorf("after=%d: %d events, want %d", after, got, max(head, after)-after)
		}
	}
	for accept, want := range map[string]string{
		"*/*": "application/json", "application/json": "application/json", "text/*": "application/json", "text/event-streams": "application/json",
		"text/event-stream;q=0": "application/json", "application/json, text/event-stream;q=0.0": "application/json", "text/event-stream;q=x": "application/json",
	} {
		if got := c.do("GET", "/v1/revocations", nil, "Accept", accept).want(200).header.Get("Content-Type"); got != want {
			t.Errorf("Accept: %s = %s", accept, got)
		}
	}
	// What the log forgot is not there, and low says so.
	if _, err := w.store.Log().Forget(t.Context(), w.clock.Now().Add(2*time.Hour), 1); err != nil {
		t.Fatal(err)
	}
	if head > 1 {
		soon(t, "it is forgotten here", func() bool { return c.get("/v1/revocations").want(200).body["low"] == 1.0 })
		b := c.get("/v1/revocations").want(200).body
		if first := b["events"].([]any)[0].(m); first["seq"] != 2.0 {
			t.Errorf("the first event after low = %v", first)
		}
	}
}

// TestLeasesAtOnce: many verifiers renew at the same time; each gets every event once.
func TestLeasesAtOnce(t *testing.T) {
	w := newWorld(t, settings{})
	key := w.key("handstamp.revocations")
	const verifiers, ends = 20, 10
	var all sync.WaitGroup
	for range verifiers {
		c, v := w.program(key), id.NewVerifier(w.clock.Now())
		all.Go(func() {
			from, seen := m{}, 0
			for seen < ends {
				a := c.post("/v1/revocations/lease", renewal(v, from))
				switch {
				case a.status == 503: // an own commit that is not read back yet
				case a.status != 200:
					t.Errorf("renewal = %d %s", a.status, a.raw)
					return
				case a.body["reset"] == true:
					from = m{"log": a.body["log"], "applied": a.body["low"], "tag": a.body["tag"]}
				default:
					for _, e := range a.body["events"].([]any) {
						e := e.(m)
						if e["seq"].(float64) != float64(from["applied"].(float64))+1 {
							t.Errorf("event %v after %v", e["seq"], from["applied"])
						}
						from["applied"], from["tag"] = e["seq"], e["tag"]
						if e["kind"] == "session" {
							seen++
						}
					}
				}
			}
		})
	}
	for i := range ends {
		c := w.signUp(fmt.Sprintf("u%d@example.com", i), "session", "bearer")
		c.post("/v1/logout", nil).want(204)
	}
	all.Wait()
}

// restore makes the log another one.
func (w *world) restore() {
	w.t.Helper()
	if _, err := w.store.(*memory.Store).Restored(context.Background(), true, w.clock.Now()); err != nil {
		w.t.Fatal(err)
	}
}
