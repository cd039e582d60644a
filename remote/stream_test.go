package remote_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/bubbletest"
)

const (
	leasePath  = "/v1/revocations/lease"
	streamPath = "/v1/revocations"
)

// streams puts another stream in the place of the server's own.
func (f *fleet) streams(stream http.HandlerFunc) {
	f.net.set(func(n *network) {
		n.hosts["auth.example.com"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == streamPath {
				w.Header().Set("Content-Type", "text/event-stream")
				w.WriteHeader(200)
				stream(w, r)
				return
			}
			f.nodes[0].server.ServeHTTP(w, r)
		})
	})
}

// TestHeartbeatsRenewNothing: what merely arrives keeps no lease: a Verifier that hears every heartbeat and whose renewals
// are lost comes to know nothing. Heartbeats cause no renewals either.
func TestHeartbeatsRenewNothing(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		f.streams(func(w http.ResponseWriter, r *http.Request) {
			for n := 0; r.Context().Err() == nil; n++ {
				_, _ = io.WriteString(w, "id: 5\nevent: heartbeat\ndata: {\"head\":5}\n\n")
				time.Sleep(10 * time.Millisecond)
			}
		})
		v := f.remote(public)
		g := f.logIn(handstamp.ModeToken, "ada")
		before := f.net.count(leasePath)
		time.Sleep(10 * time.Second)
		if n := f.net.count(leasePath) - before; n > 30 {
			t.Errorf("%d renewals in 10 s of heartbeats", n)
		}
		want(t, "before", says(v, text(g)), "yes")
		whole := f.net.hosts["auth.example.com"]
		f.net.set(func(n *network) {
			n.hosts["auth.example.com"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == streamPath {
					whole.ServeHTTP(w, r)
					return
				}
				http.Error(w, "no", http.StatusBadGateway)
			})
		})
		time.Sleep(2 * time.Second)
		want(t, "heartbeats alone", says(v, text(g)), "don't know")
	})
}

// TestSilentStream: a stream that says nothing for 2 s is opened again, ever more rarely while that does not help.
func TestSilentStream(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		f.streams(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		v := f.remote(public)
		time.Sleep(2500 * time.Millisecond)
		if n := f.net.count(streamPath); n != 2 {
			t.Errorf("%d streams in 2.5 s, want 2", n)
		}
		time.Sleep(10 * time.Minute)
		if n := f.net.count(streamPath); n < 10 || n > 60 {
			t.Errorf("%d streams in 10 min", n)
		}
		g := f.logIn(handstamp.ModeToken, "ada")
		want(t, "polling", says(v, text(g)), "yes")
		_, err := f.nodes[0].auth.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{})
		must(t, err)
		eventually(t, bound, v, text(g), "revoked")
	})
}

// TestStreamComesBack: after the network was gone for long, the stream is back and fast again.
func TestStreamComesBack(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		v := f.remote(public)
		f.net.set(func(n *network) { n.refused["auth.example.com"] = true })
		f.nodes[0].server.EndStreams() // and none begins any more at this node
		second := f.add("b.test")
		time.Sleep(10 * time.Minute)
		f.net.set(func(n *network) { delete(n.refused, "auth.example.com"); n.hosts["auth.example.com"] = second.server })
		time.Sleep(time.Minute)
		for range 20 {
			g := f.logIn(handstamp.ModeToken, "ada")
			time.Sleep(337 * time.Millisecond)
			_, err := second.auth.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{})
			must(t, err)
			if took := eventually(t, bound, v, text(g), "revoked"); took > streamBound {
				t.Errorf("it took %v", took)
			}
		}
	})
}

// TestLyingStream: nothing that a stream says is believed. It may make a Verifier ask, and that not without measure.
func TestLyingStream(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		f.streams(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "id: 99999999999999999999\nevent: revocation\ndata: {\"seq\":18446744073709551615,\"kind\":\"all\",\"effect\":\"end\"}\n\n"+
					"event: reset\ndata: x\n\n"+strings.Repeat("x", 100)+"\n\n:\n\n")
				time.Sleep(time.Millisecond)
			}
		})
		v := f.remote(public)
		g := f.logIn(handstamp.ModeHybrid, "ada")
		before := f.net.count(leasePath)
		for range 100 {
			want(t, "lied to", says(v, text(g)), "yes")
			time.Sleep(100 * time.Millisecond)
		}
		if n := f.net.count(leasePath) - before; n > 520 { // 20 ms apart, and a few at once
			t.Errorf("%d renewals in 10 s", n)
		}
		f.streams(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil { // a line without end
					return
				}
			}
		})
		time.Sleep(time.Minute)
		want(t, "a line without end", says(v, text(g)), "yes")
	})
}

// TestChase: a renewal that does not bring what the stream spoke of, since another node has answered it, is repeated soon, and
// not for ever.
func TestChase(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		told := make(chan struct{})
		f.streams(func(w http.ResponseWriter, r *http.Request) {
			for tell := told; r.Context().Err() == nil; {
				select {
				case <-tell:
					_, _ = io.WriteString(w, "id: 1000\nevent: revocation\ndata: {}\n\n")
					tell = nil
				case <-time.After(500 * time.Millisecond):
					_, _ = io.WriteString(w, "event: heartbeat\ndata: {}\n\n")
				case <-r.Context().Done():
				}
			}
		})
		_ = f.remote(public)
		time.Sleep(time.Second)
		before := f.net.count(leasePath)
		close(told)
		time.Sleep(500 * time.Millisecond)
		if n := f.net.count(leasePath) - before; n < 12 {
			t.Errorf("%d renewals in the first half of a second", n)
		}
		time.Sleep(500 * time.Millisecond)
		before = f.net.count(leasePath)
		time.Sleep(10 * time.Second)
		if n := f.net.count(leasePath) - before; n > 25 {
			t.Errorf("%d renewals in 10 s after that", n)
		}
	})
}
