package remote

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

func revealed() string { return token.Generate(token.ServiceKey).Reveal() }

// leaser answers renewals after delays and with ages that a test chooses.
type leaser struct {
	mu        sync.Mutex
	out, back time.Duration // how long question and answer are on their way
	age       time.Duration // of what the answer rests on, when it is made
	lease     time.Duration
	refuse    int       // so many answers are 503
	rested    time.Time // of the last answer: the moment of the read behind it
}

func (l *leaser) RoundTrip(r *http.Request) (*http.Response, error) {
	var q renewalOut
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return nil, err
	}
	l.mu.Lock()
	out, back, age, lease, refuse := l.out, l.back, l.age, l.lease, l.refuse > 0
	l.refuse--
	l.mu.Unlock()
	time.Sleep(out)
	w := &answerWriter{header: http.Header{"Content-Type": {"application/json"}}}
	switch {
	case refuse:
		w.status = http.StatusServiceUnavailable
	case q.Log != "L":
		_, _ = w.WriteString(`{"reset":true,"log":"L","low":0,"tag":"","head":0}`)
	default:
		l.mu.Lock()
		l.rested = time.Now().Add(-age)
		l.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{
			"log": "L", "head": 0, "tag": "", "low": 0, "now": time.Now().UTC(), "age_ms": int64((age + time.Millisecond - 1) / time.Millisecond),
			"lease_ms": lease.Milliseconds(), "more": false, "events": []any{},
		})
	}
	time.Sleep(back)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.response(r), nil
}

func logOf(t http.RoundTripper) *log {
	key, err := newSecret(exampleKey)
	if err != nil {
		panic(err)
	}
	c := newClient([]string{"https://auth.test"}, key, t)
	return &log{client: c, keys: newKeys(c, time.Now)}
}

// TestLeaseNeverOutlastsItsKnowledge: whatever the network and the node's own age do, memory is trusted for at most one
// lease after the moment of the read that the answer rests on, and after the moment the question was asked.
func TestLeaseNeverOutlastsItsKnowledge(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ms := func(name string, most int) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(rt, name)) * time.Millisecond
		}
		l := &leaser{
			out: ms("out", 900), back: ms("back", 900), age: time.Duration(rapid.Int64Range(0, int64(2100*time.Millisecond)).Draw(rt, "age")),
			lease: ms("lease", 1500) + 500*time.Millisecond,
		}
		bubbletest.Test(t, func(t *testing.T) {
			remote := logOf(l)
			clock := revoke.SystemClock()
			h, err := remote.Register(t.Context(), revoke.Registration{Verifier: id.NewVerifier(time.Now())})
			if err != nil {
				rt.Fatal(err)
			}
			asked, sent := clock(), time.Now()
			a, err := remote.Renew(t.Context(), revoke.Renewal{Verifier: id.NewVerifier(time.Now()), Log: h.Log, Tag: h.LowTag})
			if err != nil {
				rt.Fatal(err)
			}
			// The lease as the follower makes it of the answer: t0 + lease - 1.12 age.
			left := a.Head.Lease - a.Age*112/100 - (clock().Mono - asked.Mono)
			l.mu.Lock()
			defer l.mu.Unlock()
			if end := time.Now().Add(left); left > 0 && (end.After(l.rested.Add(l.lease)) || end.After(sent.Add(l.lease))) {
				rt.Fatalf("memory is trusted until %v after the read, %v after the question; the lease is %v", end.Sub(l.rested), end.Sub(sent), l.lease)
			}
		})
	})
}

// TestFollower: a follower of a node that is slow or refuses now and then has a lease only where the answer leaves some.
func TestFollower(t *testing.T) {
	for name, c := range map[string]struct {
		leaser *leaser
		fresh  bool
	}{
		"at once":          {&leaser{lease: 2 * time.Second}, true},
		"slow":             {&leaser{lease: 2 * time.Second, out: 300 * time.Millisecond, back: 300 * time.Millisecond}, true},
		"old":              {&leaser{lease: 2 * time.Second, age: 1500 * time.Millisecond}, true},
		"too old":          {&leaser{lease: 2 * time.Second, age: 1800 * time.Millisecond}, false},
		"old and slow":     {&leaser{lease: 2 * time.Second, age: 1500 * time.Millisecond, back: 330 * time.Millisecond}, false},
		"refuses at first": {&leaser{lease: 2 * time.Second, refuse: 8}, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubbletest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), openTimeout)
				defer cancel()
				f, err := revoke.Follow(ctx, followed{logOf(c.leaser)}, revoke.FollowOptions{})
				if err != nil && c.fresh {
					t.Fatal(err)
				}
				if err != nil {
					return // no answer left a lease
				}
				defer f.Close()
				if left := f.View().LeaseLeft; (left > 0) != c.fresh {
					t.Errorf("a lease of %v", left)
				}
			})
		})
	}
}

// followed is a log without an alarm clock.
type followed struct{ *log }

func (followed) Watch(context.Context, func()) error { return nil }

// TestNodeMoves: the next question goes to the next node when one does not answer, or cannot.
func TestNodeMoves(t *testing.T) {
	var asked []string
	key, _ := newSecret(exampleKey)
	c := newClient([]string{"https://a", "https://b", "https://c"}, key, roundTrip(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.Host)
		w := &answerWriter{header: http.Header{"Content-Type": {"application/json"}}}
		switch r.URL.Host {
		case "a":
			return nil, errors.New("connection refused")
		case "b":
			w.status = 503
		default:
			_, _ = w.WriteString(`{"active":false}`)
		}
		return w.response(r), nil
	}))
	who := &authority{client: c}
	for range 4 {
		_, _ = who.Introspect(t.Context(), "hs_s_x")
	}
	if got := strings.Join(asked, " "); got != "a b c c c" {
		t.Errorf("asked %s", got)
	}
}

type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestCallerWhoGoes: somebody who hangs up says nothing about the node.
func TestCallerWhoGoes(t *testing.T) {
	key, _ := newSecret(exampleKey)
	c := newClient([]string{"https://a", "https://b"}, key, roundTrip(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&authority{client: c}).Introspect(ctx, "hs_s_x"); err == nil || c.at.Load() != 0 {
		t.Errorf("%v, node %d", err, c.at.Load())
	}
}

var _ handstamp.Authority = (*authority)(nil)
var _ handstamp.VerifyKeys = (*keys)(nil)
var _ revoke.Log = (*log)(nil)
