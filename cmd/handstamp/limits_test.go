package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/bubbletest"
)

// halfRequest sends the beginning of a request whose body never comes.
func halfRequest(t testing.TB, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST /v1/login HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n", addr)
	if err != nil {
		t.Fatal(err)
	}
	// The server asks for the body once a handler reads it: the request is under way.
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "100") {
		t.Fatalf("answer %q, %v", line, err)
	}
	return conn
}

func TestR1_header_limit(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.start()
	for _, c := range []struct{ bytes, least, most int }{{11 << 10, 200, 431}, {17 << 10, 431, 431}, {1 << 20, 431, 431}} {
		r, _ := http.NewRequest("GET", "http://"+s.addr+"/healthz", nil)
		r.Header.Set("X-Fill", strings.Repeat("x", c.bytes))
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			continue // the server closed the connection while the header was still coming
		}
		_ = answer.Body.Close()
		if answer.StatusCode < c.least || answer.StatusCode > c.most {
			t.Errorf("a header of %d bytes = %d", c.bytes, answer.StatusCode)
		}
		if c.bytes < 12<<10 && answer.StatusCode != http.StatusOK {
			t.Errorf("a header of %d bytes = %d, want 200", c.bytes, answer.StatusCode)
		}
	}
}

func TestR1_timeouts_are_set(t *testing.T) {
	srv := httpServer(http.NotFoundHandler(), leastWriteTimeout, discard())
	for name, got := range map[string][2]time.Duration{
		"read header": {srv.ReadHeaderTimeout, 5 * time.Second}, "read": {srv.ReadTimeout, 10 * time.Second},
		"write": {srv.WriteTimeout, 15 * time.Second}, "idle": {srv.IdleTimeout, 60 * time.Second},
	} {
		if got[0] != got[1] {
			t.Errorf("%s timeout = %v, want %v", name, got[0], got[1])
		}
	}
}

// Work for a request ends before its connection does.
func TestR1_requests_have_a_deadline(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		began := time.Now()
		var left time.Duration
		h := withDeadline(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			left = time.Since(began)
		}), 14*time.Second)
		r, _ := http.NewRequest("GET", "/", nil)
		h.ServeHTTP(nil, r)
		if left != 14*time.Second {
			t.Errorf("ended after %v", left)
		}
	})
}

func TestR1_connections(t *testing.T) {
	for files, want := range map[uint64]int{0: 64, 192: 64, 256: 128, 1024: 896, 1 << 20: 10_000} {
		if got := connectionsFor(files); got != want {
			t.Errorf("connectionsFor(%d) = %d, want %d", files, got, want)
		}
	}
}

// A crowd of idle connections does not keep out who asks; a crowd of busy ones makes it wait.
func TestR1_idle_connections_make_room(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limit := newConnLimit(inner, 2)
	hold := make(chan struct{})
	srv := &http.Server{ConnState: limit.note, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-hold
		}
	})}
	go func() { _ = srv.Serve(limit) }()
	t.Cleanup(func() { _ = srv.Close() })
	ask := func(path string) (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		return c, bufio.NewReader(c)
	}
	answer := func(r *bufio.Reader) error {
		a, err := http.ReadResponse(r, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, a.Body)
		}
		return err
	}
	first, r1 := ask("/")
	if err := answer(r1); err != nil {
		t.Fatal(err)
	}
	_, r2 := ask("/hold")
	within(t, 5*time.Second, "the first is idle", func() bool { limit.mu.Lock(); defer limit.mu.Unlock(); return limit.idle.Len() == 1 })
	_, r3 := ask("/hold") // the third connection of two: the idle one goes
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the idle connection was not closed")
	}
	_, r4 := ask("/") // nobody is idle: this one waits until somebody is
	within(t, 5*time.Second, "the fourth waits", func() bool { limit.mu.Lock(); defer limit.mu.Unlock(); return limit.waiting })
	close(hold)
	for _, r := range []*bufio.Reader{r2, r3, r4} {
		if err := answer(r); err != nil {
			t.Error(err)
		}
	}
}

// A crowd of idle connections does not keep probes and metrics out either.
func TestR1_idle_probes_make_room(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.start()
	probe := func(path string) error {
		c, err := net.Dial("tcp", s.ops)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = c.Close() })
		// Less than the idle time, after which places are free by themselves.
		if err := c.SetDeadline(time.Now().Add(idleTimeout / 2)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
			return err
		}
		a, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && a.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", a.StatusCode)
		}
		return err
	}
	for range maxOpsConnections {
		if err := probe("/healthz"); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if err := probe(path); err != nil {
			t.Errorf("%s among idle connections: %v", path, err)
		}
	}
}
