package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp/server"
)

// listening is one event stream as its reader has it.
type listening struct {
	t    testing.TB
	resp *http.Response
	in   *bufio.Reader
	end  context.CancelFunc
}

// sse is one event of a stream.
type sse struct {
	id, name string
	data     m
}

// listen opens a stream. Headers are pairs.
func (c *client) listen(path string, headers ...string) *listening {
	c.w.t.Helper()
	return c.listenAt(c.http, c.w.url+path, headers...)
}

func (c *client) listenAt(by *http.Client, url string, headers ...string) *listening {
	c.w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.w.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		c.w.t.Fatal(err)
	}
	req.Header = c.header.Clone()
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := by.Do(req)
	if err != nil {
		c.w.t.Fatal(err)
	}
	c.w.t.Cleanup(func() { _ = resp.Body.Close() })
	return &listening{t: c.w.t, resp: resp, in: bufio.NewReader(resp.Body), end: cancel}
}

func (l *listening) want(status int) *listening {
	l.t.Helper()
	if l.resp.StatusCode != status {
		body, _ := io.ReadAll(l.resp.Body)
		l.t.Fatalf("the stream = %d %s, want %d", l.resp.StatusCode, body, status)
	}
	return l
}

// bytes reads so many of them.
func (l *listening) bytes(n int) string {
	l.t.Helper()
	b := make([]byte, n)
	if n, err := io.ReadFull(l.in, b); err != nil {
		l.t.Fatalf("the stream ended after %q: %v", b[:n], err)
	}
	return string(b)
}

// next reads one event, passing over what is none.
func (l *listening) next() (sse, error) {
	var e sse
	for {
		line, err := l.in.ReadString('\n')
		if err != nil {
			return sse{}, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.data); err != nil {
				return sse{}, err
			}
		case "":
			if e.name != "" {
				return e, nil
			}
		case "retry":
		default:
			return sse{}, fmt.Errorf("the field %q", field)
		}
	}
}

// until reads events up to one of a name, and returns it.
func (l *listening) until(name string) sse {
	l.t.Helper()
	for {
		e, err := l.next()
		if err != nil {
			l.t.Fatalf("the stream ended before %s: %v", name, err)
		}
		if e.name == name {
			return e
		}
	}
}

// ends reads to the end.
func (l *listening) ends() {
	l.t.Helper()
	for {
		if _, err := l.next(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			l.t.Fatalf("the stream ended with %v, want a clean end", err)
		}
	}
}

// TestStreamFrames: what goes over the line, byte by byte.
func TestStreamFrames(t *testing.T) {
	w := newWorld(t, settings{})
	w.server.BoundStreams(server.StreamBounds{Beat: time.Millisecond})
	c := w.reader()
	log := w.auth.Health().Log
	beat := func(id, head uint64) string {
		return fmt.Sprintf("id: %d\nevent: heartbeat\ndata: {\"log\":%q,\"head\":%d,\"low\":0}\n\n", id, log, head)
	}
	l := c.listen("/v1/revocations").want(200)
	h := l.resp.Header
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff", "Content-Length": "",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	first := "retry: 1000\n\n" + beat(0, 0)
	if got := l.bytes(len(first)); got != first {
		t.Fatalf("the first bytes = %q, want %q", got, first)
	}
	ada := w.end("ada@example.com")
	events := c.get("/v1/revocations").want(200).body["events"].([]any)
	want := ""
	for _, e := range events {
		e := e.(m)
		want += fmt.Sprintf("id: %.0f\nevent: revocation\ndata: {\"seq\":%.0f,\"tag\":%q,\"kind\":%q,\"id\":%q,\"effect\":%q,\"until\":%q}\n\n",
			e["seq"], e["seq"], e["tag"], e["kind"], e["id"], e["effect"], e["until"])
	}
	if !strings.Contains(want, ada.session()) {
		t.Fatal("the end is not among the events")
	}
	rest := ""
	for !strings.HasPrefix(rest, "id: 1\n") { // heartbeats that came before
		line, err := l.in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if rest += line; rest == beat(0, 0) || rest == beat(0, uint64(len(events))) {
			rest = ""
		}
	}
	if rest += l.bytes(len(want) - len(rest)); rest != want {
		t.Errorf("the events = %q, want %q", rest, want)
	}
	n := uint64(len(events))
	if after := beat(n, n); l.bytes(len(after)) != after {
		t.Errorf("what follows is not %q", after)
	}
	// Another reader, which was there before: it goes on where it was, and the header goes before the address.
	for at := range n {
		l := c.listen("/v1/revocations?after=0", "Last-Event-ID", strconv.FormatUint(at, 10)).want(200)
		if e, err := l.next(); err != nil || e.id != strconv.FormatUint(at+1, 10) || e.name != "revocation" {
			t.Errorf("after %d: %v, %v", at, e, err)
		}
		l.end()
	}
	if e, err := c.listen(fmt.Sprintf("/v1/revocations?after=%d", n)).want(200).next(); err != nil || e.name != "heartbeat" || e.id != strconv.FormatUint(n, 10) {
		t.Errorf("after=%d: %v, %v", n, e, err)
	}
}

// TestStreamInput: a place that is none is refused before there is a stream.
func TestStreamInput(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.reader()
	for _, bad := range []string{"-1", "x", "01", "18446744073709551616"} {
		req := c.do("GET", "/v1/revocations", nil, "Accept", "text/event-stream", "Last-Event-ID", bad)
		if req.refused(422, "invalid_input"); req.fields()[0] != "Last-Event-ID" {
			t.Errorf("Last-Event-ID: %s = %s", bad, req.raw)
		}
	}
	c.do("GET", "/v1/revocations?after=x", nil, "Accept", "text/event-stream").refused(422, "invalid_input")
	for accept, want := range map[string]bool{
		"text/event-stream": true, "Text/Event-Stream": true, "text/event-stream;charset=utf-8": true, "application/json, text/event-stream": true,
		"text/event-stream;q=0.5, */*": true, "*/*": false, "text/event-stream; q=0": false, "": false,
	} {
		r := httptest.NewRequest("GET", "/v1/revocations?after=1", nil)
		r.Header.Set("Accept", accept)
		if got := w.server.Streams(r); got != want {
			t.Errorf("Streams with Accept: %s = %v", accept, got)
		}
	}
	for _, other := range []*http.Request{
		httptest.NewRequest("POST", "/v1/revocations", nil), httptest.NewRequest("GET", "/v1/revocations/lease", nil), httptest.NewRequest("GET", "/v1/check", nil),
	} {
		other.Header.Set("Accept", "text/event-stream")
		if w.server.Streams(other) {
			t.Errorf("Streams(%s %s)", other.Method, other.URL)
		}
	}
	if n := w.server.StreamCount(); n != 0 {
		t.Errorf("%d streams", n)
	}
	below := newWorld(t, settings{prefix: "/auth"})
	for path, want := range map[string]bool{"/auth/v1/revocations": true, "/v1/revocations": false, "/auth/v1/revocations/": false} {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Accept", "text/event-stream")
		if got := below.server.Streams(r); got != want {
			t.Errorf("below /auth: Streams(%s) = %v", path, got)
		}
	}
}

// TestStreamReset: who missed what the log has forgotten, or whose log is another one by now, is told so, and then gets what
// there still is. Who begins at the beginning missed nothing; who is further than this node is waited for.
func TestStreamReset(t *testing.T) {
	w := newWorld(t, settings{})
	w.server.BoundStreams(server.StreamBounds{Beat: 5 * time.Millisecond})
	c := w.reader()
	for i := range 3 {
		w.end(fmt.Sprintf("u%d@example.com", i))
	}
	head := w.applied()
	if _, err := w.store.Log().Forget(t.Context(), w.clock.Now().Add(2*time.Hour), 2); err != nil {
		t.Fatal(err)
	}
	soon(t, "the events are forgotten here", func() bool { return w.auth.Health().Low == 2 })
	begin := c.listen("/v1/revocations").want(200)
	if e, err := begin.next(); err != nil || e.name != "revocation" || e.id != "3" {
		t.Errorf("from the beginning: %v, %v", e, err)
	}
	for _, at := range []string{"0", "1"} {
		l := c.listen("/v1/revocations", "Last-Event-ID", at).want(200)
		e, err := l.next()
		if err != nil || e.name != "reset" || e.id != "2" || e.data["reset"] != true || e.data["low"] != 2.0 || e.data["head"] != float64(head) ||
			e.data["log"] != w.auth.Health().Log || e.data["tag"] == "" {
			t.Fatalf("after %s: %v, %v", at, e, err)
		}
		if e, err = l.next(); err != nil || e.name != "revocation" || e.id != "3" {
			t.Errorf("then: %v, %v", e, err)
		}
	}
	if e, err := c.listen("/v1/revocations", "Last-Event-ID", "2").want(200).next(); err != nil || e.name != "revocation" || e.id != "3" {
		t.Errorf("after low itself: %v, %v", e, err)
	}
	ahead := c.listen("/v1/revocations", "Last-Event-ID", strconv.FormatUint(head+1, 10)).want(200)
	if e := ahead.until("heartbeat"); e.id != strconv.FormatUint(head+1, 10) || e.data["head"] != float64(head) {
		t.Errorf("ahead of this node: %v", e)
	}
	before := w.auth.Health().Log
	w.restore()
	for name, l := range map[string]*listening{"a stream under way": begin, "one that was ahead": ahead} {
		e := l.until("reset")
		if e.data["log"] == before || e.data["low"].(float64) < 1<<32 || e.id != strconv.FormatFloat(e.data["low"].(float64), 'f', 0, 64) {
			t.Errorf("%s in another log: %v", name, e)
		}
		if next, err := l.next(); err != nil || next.name == "reset" {
			t.Errorf("%s: then %v, %v", name, next, err)
		}
	}
	if e, err := c.listen("/v1/revocations", "Last-Event-ID", strconv.FormatUint(head, 10)).want(200).next(); err != nil || e.name != "reset" {
		t.Errorf("coming back to another log: %v, %v", e, err)
	}
}

// TestStreamEndsWithItsCaller: when the key or the session of the caller ends, or what they may do is taken away.
func TestStreamEndsWithItsCaller(t *testing.T) {
	w := newWorld(t, settings{})
	admin := w.admin()
	t.Run("a service key", func(t *testing.T) {
		made := admin.post("/v1/admin/service-keys", m{"name": "x", "permissions": []string{"handstamp.revocations"}}).want(201).body
		c := w.program(made["key"].(string))
		l := c.listen("/v1/revocations").want(200)
		admin.del("/v1/admin/service-keys/" + made["id"].(string)).want(204)
		l.ends()
		c.listen("/v1/revocations").want(401)
	})
	t.Run("a session", func(t *testing.T) {
		c := w.signUp("ada@example.com", "session", "bearer")
		w.give(c.user(), "admin")
		l := c.listen("/v1/revocations").want(200)
		c.post("/v1/logout", nil).want(204)
		l.ends()
	})
	t.Run("a role is taken away", func(t *testing.T) {
		c := w.signUp("bob@example.com", "session", "bearer")
		w.give(c.user(), "admin")
		l := c.listen("/v1/revocations").want(200)
		w.give(c.user(), "member")
		l.ends()
		c.listen("/v1/revocations").want(403)
	})
	t.Run("a role means less", func(t *testing.T) {
		admin.put("/v1/admin/roles/watcher", m{"permissions": []string{"handstamp.revocations"}}).want(200)
		c := w.signUp("eve@example.com", "session", "bearer")
		w.give(c.user(), "watcher")
		l := c.listen("/v1/revocations").want(200)
		other := admin.listen("/v1/revocations").want(200)
		admin.put("/v1/admin/roles/watcher", m{"permissions": []string{"posts:read"}}).want(200)
		l.ends()
		w.end("mallory@example.com")
		other.until("revocation") // who may still read reads on
	})
	t.Run("the engine is closed", func(t *testing.T) {
		w := newWorld(t, settings{})
		l := w.reader().listen("/v1/revocations").want(200)
		if err := w.auth.Close(); err != nil {
			t.Fatal(err)
		}
		l.ends()
	})
}

// serveAlone serves a world's API with an http.Server of its own.
func (w *world) serveAlone(change func(*http.Server)) (*http.Server, string) {
	w.t.Helper()
	l, err := new(net.ListenConfig).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	srv := &http.Server{Handler: w.server, ErrorLog: w.http.Config.ErrorLog}
	srv.RegisterOnShutdown(w.server.EndStreams)
	if change != nil {
		change(srv)
	}
	go func() { _ = srv.Serve(l) }()
	w.t.Cleanup(func() { _ = srv.Close() })
	return srv, "http://" + l.Addr().String()
}

// TestStreamOutlivesTimeouts: the time that a server gives to requests and answers is not the time of streams.
func TestStreamOutlivesTimeouts(t *testing.T) {
	w := newWorld(t, settings{})
	w.server.BoundStreams(server.StreamBounds{Beat: 10 * time.Millisecond})
	_, url := w.serveAlone(func(s *http.Server) {
		s.ReadTimeout, s.WriteTimeout, s.ReadHeaderTimeout = 100*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
	})
	began := time.Now()
	l := w.reader().listenAt(http.DefaultClient, url+"/v1/revocations").want(200)
	for time.Since(began) < 500*time.Millisecond {
		l.until("heartbeat")
	}
}

// TestStreamOverHTTP2 has what HTTP/1 has.
func TestStreamOverHTTP2(t *testing.T) {
	w := newWorld(t, settings{})
	w.server.BoundStreams(server.StreamBounds{Beat: 10 * time.Millisecond})
	two := httptest.NewUnstartedServer(w.server)
	two.EnableHTTP2 = true
	two.Config.ReadTimeout, two.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	two.StartTLS()
	defer two.Close()
	began := time.Now()
	l := w.reader().listenAt(two.Client(), two.URL+"/v1/revocations").want(200)
	if l.resp.ProtoMajor != 2 {
		t.Fatalf("HTTP/%d", l.resp.ProtoMajor)
	}
	for time.Since(began) < 500*time.Millisecond {
		l.until("heartbeat")
	}
	ada := w.end("ada@example.com")
	for l.until("revocation").data["id"] != ada.session() {
	}
	w.server.EndStreams()
	l.ends()
}

// TestStreamsDoNotHoldUpShutdown: streams end when the server is to end, and none begins after that.
func TestStreamsDoNotHoldUpShutdown(t *testing.T) {
	w := newWorld(t, settings{})
	srv, url := w.serveAlone(nil)
	c := w.reader()
	l := c.listenAt(http.DefaultClient, url+"/v1/revocations").want(200)
	l.until("heartbeat")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
	l.ends()
	a := c.listen("/v1/revocations").want(503)
	if a.resp.Header.Get("Retry-After") != "5" {
		t.Errorf("Retry-After = %q", a.resp.Header.Get("Retry-After"))
	}
	c.get("/v1/revocations").want(200)
}

// TestStreamLife: a stream ends by itself, cleanly, and its reader comes back to where it was.
func TestStreamLife(t *testing.T) {
	w := newWorld(t, settings{})
	w.server.BoundStreams(server.StreamBounds{Beat: time.Millisecond, Life: 50 * time.Millisecond})
	w.end("ada@example.com")
	c := w.reader()
	l := c.listen("/v1/revocations").want(200)
	at := l.until("heartbeat").id
	l.ends()
	again := c.listen("/v1/revocations", "Last-Event-ID", at).want(200)
	if e, err := again.next(); err != nil || e.name != "heartbeat" || e.id != at {
		t.Errorf("back at %s: %v, %v", at, e, err)
	}
	soon(t, "all places are free", func() bool { return w.server.StreamCount() == 0 })
}

// TestStreamsAreBounded: who finds no place is told to come again, and places are given back.
func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t, settings{})
	w.server.BoundStreams(server.StreamBounds{Limit: 3, Beat: 5 * time.Millisecond})
	c := w.reader()
	var open []*listening
	for range 3 {
		open = append(open, c.listen("/v1/revocations").want(200))
	}
	full := c.listen("/v1/revocations").want(503)
	var p m
	if err := json.NewDecoder(full.resp.Body).Decode(&p); err != nil || p["code"] != "unavailable" || full.resp.Header.Get("Retry-After") != "5" {
		t.Errorf("the fourth = %v, %v", p, err)
	}
	if got := full.resp.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type = %q", got)
	}
	c.get("/v1/revocations").want(200)
	open[0].end()
	soon(t, "the place is free", func() bool { return w.server.StreamCount() == 2 })
	c.listen("/v1/revocations").want(200)
}

// TestSlowReader: who does not read is dropped, and nobody else waits for it.
func TestSlowReader(t *testing.T) {
	w := newWorld(t, settings{})
	w.server.BoundStreams(server.StreamBounds{Beat: 100 * time.Microsecond, Patience: 100 * time.Millisecond})
	_, url := w.serveAlone(func(s *http.Server) {
		s.ConnState = func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				_ = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
			}
		}
	})
	key := w.key("handstamp.revocations")
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprintf(conn, "GET /v1/revocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n\r\n", key)
	soon(t, "the stream is there", func() bool { return w.server.StreamCount() == 1 })
	brisk := w.program(key).listen("/v1/revocations").want(200)
	soon(t, "the slow reader is gone", func() bool { brisk.until("heartbeat"); return w.server.StreamCount() == 1 })
	ada := w.end("ada@example.com")
	for brisk.until("revocation").data["id"] != ada.session() {
	}
}

// TestManyStreams: two hundred at once hear of an end; when their readers are gone, nothing of them is left.
func TestManyStreams(t *testing.T) {
	w := newWorld(t, settings{})
	w.server.BoundStreams(server.StreamBounds{Beat: 20 * time.Millisecond})
	const many = 200
	c := w.reader()
	by := &http.Client{Transport: w.http.Client().Transport.(*http.Transport).Clone()}
	c.get("/v1/revocations").want(200)
	before := runtime.NumGoroutine()
	var open []*listening
	for range many {
		open = append(open, c.listenAt(by, w.url+"/v1/revocations").want(200))
	}
	if n := w.server.StreamCount(); n != many {
		t.Fatalf("%d streams", n)
	}
	_, metrics, _ := w.ops("GET", "/metrics")
	if !strings.Contains(metrics, fmt.Sprintf("\nhandstamp_revocation_streams %d\n", many)) {
		t.Error("the metrics do not count the streams")
	}
	ada := w.signUp("ada@example.com", "session", "bearer")
	ada.post("/v1/logout", nil).want(204)
	var all sync.WaitGroup
	for _, l := range open {
		all.Go(func() {
			for {
				e, err := l.next()
				if err != nil {
					t.Errorf("a stream ended: %v", err)
					return
				}
				if e.data["id"] == ada.session() {
					return
				}
			}
		})
	}
	all.Wait()
	for _, l := range open {
		l.end()
	}
	by.CloseIdleConnections()
	soon(t, "no stream is left", func() bool { return w.server.StreamCount() == 0 })
	soon(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+10 })
}

// TestNoFlush: behind something that collects answers there is no stream, and it says so instead of being silent for ever.
func TestNoFlush(t *testing.T) {
	w := newWorld(t, settings{app: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(struct{ http.ResponseWriter }{rw}, r)
		})
	}})
	c := w.reader()
	c.do("GET", "/v1/revocations", nil, "Accept", "text/event-stream").refused(503, "unavailable")
	if !strings.Contains(w.logs.String(), "begin an event stream") {
		t.Error("the log does not say why")
	}
	c.get("/v1/revocations").want(200)
}

// TestStreamIsNoRequestTime: how long a stream was open says nothing about how long requests take.
func TestStreamIsNoRequestTime(t *testing.T) {
	w := newWorld(t, settings{})
	c := w.reader()
	l := c.listen("/v1/revocations").want(200)
	w.server.EndStreams()
	l.ends()
	_, metrics, _ := w.ops("GET", "/metrics")
	if strings.Contains(metrics, `handstamp_http_request_seconds_count{route="/v1/revocations"}`) {
		t.Error("a stream is among the times of requests")
	}
	if !strings.Contains(metrics, `handstamp_http_requests_total{method="GET",route="/v1/revocations",status="2xx"} 1`) {
		t.Error("a stream is not among the requests")
	}
}
