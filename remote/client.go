package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp"
)

// client sends requests to one of the server's nodes, and reads answers with limits. Two pools of connections keep a crowd
// of questions about credentials from holding up renewals.
type client struct {
	nodes []string
	at    atomic.Uint32 // which of them is asked
	key   secret
	log   *http.Client // renewals, the stream, the keys
	ask   *http.Client // introspection
	swept atomic.Int64 // when idle connections were closed last, in nanoseconds since 1970
}

// How long connections may take, and how many there may be for questions about credentials.
const (
	dialTimeout  = 2 * time.Second
	idleTimeout  = 90 * time.Second
	maxQuestions = 128
)

func newClient(nodes []string, key secret, transport http.RoundTripper) *client {
	pool := func() *http.Client {
		t := transport
		if t == nil {
			t = newTransport()
		}
		return &http.Client{
			Transport: t,
			// A redirect would carry the service key to wherever the answer says.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &client{nodes: nodes, key: key, log: pool(), ask: pool()}
}

func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		MaxConnsPerHost: maxQuestions, MaxIdleConnsPerHost: maxQuestions, IdleConnTimeout: idleTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // a small answer could become a large one
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return t
}

func (c *client) close() {
	c.log.CloseIdleConnections()
	c.ask.CloseIdleConnections()
}

// call is one request. Its zero fields are absent.
type call struct {
	pool   *http.Client
	path   string
	body   []byte // JSON; then the method is POST
	secret bool   // send the service key
	limit  int64  // bytes that the answer may have
	media  []string
}

// answer is what came back: with status 200, a body of one of the media types asked for.
type answer struct {
	node   uint32 // of which it came
	status int
	header http.Header
	body   []byte
}

// send asks the node whose turn it is. An error is an *handstamp.UnavailableError: nobody answered, or not to the end, or
// not what was asked for. Then the next question goes to the next node.
func (c *client) send(ctx context.Context, q call) (answer, error) {
	at := c.at.Load()
	a, err := c.exchange(ctx, c.nodes[at%uint32(len(c.nodes))], q)
	a.node = at
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // else it says nothing of the node
			c.leave(at)
			c.sweep(q.pool)
		}
		return answer{}, &handstamp.UnavailableError{Err: err}
	}
	if a.status >= http.StatusInternalServerError {
		c.leave(at)
	}
	return a, nil
}

// leave moves on from a node, once however many requests found out at the same time.
func (c *client) leave(at uint32) { c.at.CompareAndSwap(at, at+1) }

// sweep closes idle connections once a connection failed, at most once a second: others may be as dead, and each would cost
// as long to find out. An overloaded server is not asked for new handshakes all the time.
func (c *client) sweep(pool *http.Client) {
	now, last := time.Now().UnixNano(), c.swept.Load()
	if now-last >= int64(time.Second) && c.swept.CompareAndSwap(last, now) {
		pool.CloseIdleConnections()
	}
}

func (c *client) exchange(ctx context.Context, node string, q call) (answer, error) {
	req, err := c.request(ctx, node, q)
	if err != nil {
		return answer{}, err
	}
	resp, err := q.pool.Do(req)
	if err != nil {
		return answer{}, err // names method and address, and no header
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end, or is of no use
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, q.limit+1)); err != nil {
		return answer{}, fmt.Errorf("read the answer of %s: %w", q.path, err)
	}
	if int64(len(a.body)) > q.limit {
		return answer{}, fmt.Errorf("the answer of %s has more than %d bytes", q.path, q.limit)
	}
	return a, a.check(q)
}

func (c *client) request(ctx context.Context, node string, q call) (*http.Request, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if q.body != nil {
		method, body = http.MethodPost, bytes.NewReader(q.body)
	}
	req, err := http.NewRequestWithContext(ctx, method, node+q.path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", strings.Join(q.media, ", "))
	req.Header.Set("Cache-Control", "no-cache")
	req.Header.Set("User-Agent", "handstamp-remote")
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
		// Whatever is posted here may be posted twice. With this entry, which is not sent, package net/http does so where the
		// server closes an idle connection at the moment it is used.
		req.Header["Idempotency-Key"] = nil
	}
	if q.secret {
		req.Header.Set("Authorization", "Bearer "+c.key.reveal())
	}
	return req, nil
}

// check refuses what is not the server's own word.
func (a *answer) check(q call) error {
	if a.status >= 300 && a.status < 400 {
		return fmt.Errorf("%s is answered by a redirect: configure the address that the server itself has", q.path)
	}
	if a.status != http.StatusOK {
		return nil
	}
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || !contains(q.media, media) {
		return fmt.Errorf("%s is answered with another media type: it is not a Handstamp server that answers there", q.path)
	}
	// Whoever keeps answers says so (RFC 9111 section 5.1). What a lease or a decision rests on must be of now.
	if q.secret && a.header.Get("Age") != "" {
		return fmt.Errorf("%s is answered from a cache, which it must never be", q.path)
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}

// refusal is the error for a status that is not 200. None of them says anything about a user's credential.
func (a *answer) refusal(path, permission string) error {
	var err error
	switch a.status {
	case http.StatusUnauthorized:
		err = fmt.Errorf("the server refuses the service key (401): give one that is not revoked and not expired (handstamp service-key add)")
	case http.StatusForbidden:
		err = fmt.Errorf("the service key may not do this (403): give one with the permission %s", permission)
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		err = fmt.Errorf("there is no %s at this address (%d): configure the server's public_url, with its path", path, a.status)
	case http.StatusServiceUnavailable:
		err = errors.New("the server cannot say now (503)")
	default:
		err = fmt.Errorf("the server answers %s with status %d", path, a.status)
	}
	return &handstamp.UnavailableError{RetryAfter: retryAfter(a.header), Err: err}
}

// maxRetryAfter bounds what is believed of the header Retry-After.
const maxRetryAfter = time.Minute

func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(min(n, 3600))*time.Second, maxRetryAfter)
}

// pause waits, or answers the context's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
