package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/rueidis"
)

// How long connecting and looking around takes at most, whatever the caller's deadline.
const dialTimeout = 10 * time.Second

// baseOption is what every connection has. Client-side caching is off: what is cached, and by which rules, is decided
// elsewhere. Sentinels are asked again every few seconds, since a missed message of theirs would leave a client with the
// old primary for ever.
func baseOption() rueidis.ClientOption {
	return rueidis.ClientOption{
		ClientName: "handstamp", DisableCache: true, ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10, RingScaleEachConn: 10,
		Sentinel:      rueidis.SentinelOption{TopologyRefreshInterval: 5 * time.Second, ClientName: "handstamp"},
		ClusterOption: rueidis.ClusterOption{ShardsRefreshInterval: 5 * time.Second},
	}
}

// Dial connects to what the URL names and looks whether it can be used: 7.0 or later, a primary, and no eviction. It
// changes nothing there. The URL is
//
//	redis://[user[:password]@]host[:port][/db][?parameters]
//
// or valkey://, or rediss:// and valkeys:// for TLS. Parameters: addr=host:port (more addresses), master=NAME (the addresses
// are Sentinels; sentinel_user=, sentinel_password=), cluster=true, prefix=TEXT, and for TLS ca=FILE, cert=FILE, key=FILE,
// server_name=NAME. A user of the server with few rights needs ~{handstamp:}* &{handstamp:}* (or what the prefix is) +@read
// +@write +@scripting +@pubsub +@connection +info +time, and +config|get to be told how durable it is. Errors are one line that says what to do, and never hold the password.
func Dial(ctx context.Context, url string, opt Options) (*Client, error) {
	c, err := dial(ctx, url, opt)
	if err != nil {
		return nil, fmt.Errorf("open Redis: %w", err)
	}
	return c, nil
}

func dial(ctx context.Context, url string, opt Options) (*Client, error) {
	a, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	if opt.Prefix == "" {
		opt.Prefix = a.prefix
	}
	if opt, err = opt.complete(); err != nil {
		return nil, err
	}
	if opt.TLS != nil && a.option.TLSConfig != nil {
		a.option.TLSConfig, a.option.Sentinel.TLSConfig = opt.TLS, opt.TLS
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c := &Client{root: "{" + opt.Prefix + "}", timeout: opt.Timeout, hosts: a.hosts, cache: opt.Cache}
	c.place = []string{c.root + "at"}
	if c.scripts, err = loadScripts(); err != nil {
		return nil, fmt.Errorf("read the scripts: %w", err)
	}
	if c.conn, err = connect(ctx, a, opt.Timeout); err != nil {
		return nil, c.unreachable(ctx, a, err)
	}
	if err := c.look(ctx, a.kind); err != nil {
		c.conn.Close()
		return nil, err
	}
	return c, nil
}

func (o Options) complete() (Options, error) {
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	good := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:/", r)
	}
	if len(o.Prefix) > maxPrefix || strings.ContainsFunc(o.Prefix, func(r rune) bool { return !good(r) }) {
		return o, fmt.Errorf("want a prefix of 1 to %d letters, digits and - _ . : /", maxPrefix)
	}
	if o.Timeout < leastTimeout || o.Timeout > maxTimeout {
		return o, fmt.Errorf("want a Timeout of %v to %v", leastTimeout, maxTimeout)
	}
	return o, nil
}

// connect makes the connection, and gives up with the context: the driver itself only knows a time for each attempt.
func connect(ctx context.Context, a address, timeout time.Duration) (rueidis.Client, error) {
	a.option.Dialer.Timeout, a.option.Sentinel.Dialer.Timeout = 5*time.Second, 5*time.Second
	// A server that takes longer than this for anything is given up and dialled again; half-open connections end so too.
	a.option.ConnWriteTimeout = max(2*timeout, 2*time.Second)
	type result struct {
		conn rueidis.Client
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := rueidis.NewClient(a.option)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		return r.conn, nil
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				r.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// awayError is why a server cannot be used that may be there later just as it is named.
type awayError struct{ error }

func (e *awayError) Unwrap() error { return e.error }

// unreachable says why there is no connection.
func (c *Client) unreachable(ctx context.Context, a address, err error) error {
	what := "connect"
	if a.kind == sentinel {
		what = "find the primary " + strconv.Quote(a.option.Sentinel.MasterSet) + " through the Sentinels"
	}
	if said, ok := rueidis.IsRedisErr(err); ok && strings.Contains(said.Error(), "No such master") {
		return fmt.Errorf("%s at %s: they do not know it", what, c.hosts)
	}
	if network, ok := errors.AsType[*net.OpError](err); ok && network.Op == "dial" {
		return &awayError{fmt.Errorf("%s at %s: %w; is it running, and is the address right?", what, c.hosts, network.Err)}
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%s at %s: %w; name its authority by ca= in the URL", what, c.hosts, err)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Errorf("%s at %s: it does not speak TLS there: is it redis:// or another port?", what, c.hosts)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
		return &awayError{fmt.Errorf("%s at %s: it hung up; if it wants TLS, begin with rediss://", what, c.hosts)} // or is a proxy's
	}
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return &awayError{fmt.Errorf("%s at %s: no answer in time; is the address right, does it speak TLS exactly if the URL says so, and does a firewall let it through?", what, c.hosts)}
	}
	return c.explain(what, err)
}
