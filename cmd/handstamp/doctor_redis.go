package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/handstamp/handstamp/internal/config"
)

func tierAilments() []ailment {
	return []ailment{
		{"redis-evicts", high, "Redis: maxmemory-policy", "when memory is full Redis throws sessions away: people are logged out at random",
			"set maxmemory-policy noeviction, and enough maxmemory"},
		{"redis-forgets", medium, "Redis: appendonly, appendfsync", "a restart of Redis forgets the last moments or everything: people are logged out, and a refresh token that was spent is good again",
			"set appendonly yes and appendfsync always, or keep sessions in the database (sessions = \"database\") and Redis as cache"},
		{"redis-open", high, "Redis: protected-mode, users", "every program that reaches the port may do everything",
			"make a user for this server (ACL SETUSER), give the user default no rights, and keep protected-mode on"},
		{"redis-replica", high, "cache", "reads are late and writes fail: the address is a replica",
			"name the primary, or the Sentinels with master=NAME"},
		{"clock-redis", low, "the clocks", "what Redis drops by its own clock goes early or late; logs cannot be laid side by side",
			"run a time service (chrony, systemd-timesyncd) on both machines"},
		{"redis-old", high, "cache", "no server starts on it", "use Redis 7 or newer, or Valkey"},
	}
}

// tiers looks at Redis, where sessions are in it or a copy of them.
func (x *examination) tiers(ctx context.Context) {
	x.tier(ctx, "cache", x.cfg.Cache)
	x.tier(ctx, "sessions", x.cfg.Sessions)
}

func (x *examination) tier(ctx context.Context, key string, b config.Backend) {
	if b.Kind != config.KindRedis {
		return
	}
	x.redisWay(key, b)
	known := len(x.findings)
	starts, unusable := x.reachRedis(ctx, key, b)
	x.eachRedis(ctx, key, b, unusable)
	x.adrift = x.adrift || key == "sessions" && unusable != nil
	explained := slices.ContainsFunc(x.findings[known:], func(f finding) bool {
		return slices.Contains([]string{"redis-evicts", "redis-replica", "redis-old"}, f.ID)
	})
	if unusable != nil && !explained {
		x.unreached(key, starts, unusable)
	}
}

// eachRedis asks each of the servers about itself. Where a server of ours cannot use them, that one is not heard of is
// no news.
func (x *examination) eachRedis(ctx context.Context, key string, b config.Backend, unusable error) {
	u, err := url.Parse(b.DSN.Reveal())
	if err != nil {
		return // who connects has said so
	}
	if u.Query().Get("master") != "" {
		x.skip("Redis of "+key, "the address is of Sentinels, which say nothing about the settings of the servers")
		return
	}
	for _, host := range redisHosts(u) {
		part := "Redis at " + host
		facts, err := x.askRedis(ctx, u, host)
		switch {
		case err == nil:
			x.look(part)
			x.judgeRedis(key, host, facts)
			if facts.kept {
				x.skip("some settings of "+part, "this user may not ask for them (CONFIG GET, ACL WHOAMI, TIME)")
			}
		case unusable == nil:
			x.blind(part, "%s", redisReason(err))
		default:
			x.skip(part, "%s", redisReason(err))
		}
	}
}

// redisFacts is what a server says of itself; a setting that may not be asked for is "".
type redisFacts struct {
	version, role   string
	policy          string
	appends, fsync  string // "1" where a file is appended to; and when it is synced
	user, protected string
	ahead           time.Duration // its clock before ours
	kept            bool          // it does not tell everything
}

func (x *examination) askRedis(ctx context.Context, u *url.URL, host string) (f redisFacts, err error) {
	ctx, cancel := context.WithTimeout(ctx, x.wait)
	defer cancel()
	opt := rueidis.ClientOption{
		InitAddress: []string{host}, ForceSingleClient: true, DisableCache: true, DisableRetry: true, AlwaysRESP2: true,
		ClientName: "handstamp-doctor", Username: u.User.Username(), Dialer: net.Dialer{Timeout: x.wait}, ConnWriteTimeout: x.wait,
	}
	opt.Password, _ = u.User.Password()
	if redisSecure(u) {
		if opt.TLSConfig, err = redisTLS(u, host); err != nil {
			return f, err
		}
	}
	client, err := rueidis.NewClient(opt)
	if err != nil {
		return f, err
	}
	defer client.Close()
	info, err := client.Do(ctx, client.B().Info().Section("server", "replication", "memory", "persistence").Build()).ToString()
	if err != nil {
		return f, err
	}
	f.version, f.role = field(info, "redis_version"), field(info, "role")
	// Managed services forbid some of the rest.
	told := func(err error) error {
		_, refused := rueidis.IsRedisErr(err)
		if f.kept = f.kept || refused; refused {
			return nil
		}
		return err
	}
	f.policy, f.appends = field(info, "maxmemory_policy"), field(info, "aof_enabled")
	settings, err := client.Do(ctx, client.B().ConfigGet().Parameter("appendfsync", "protected-mode").Build()).AsStrMap()
	if err := told(err); err != nil {
		return f, err
	}
	f.fsync, f.protected = settings["appendfsync"], settings["protected-mode"]
	f.user, err = client.Do(ctx, client.B().AclWhoami().Build()).ToString()
	if err := told(err); err != nil {
		return f, err
	}
	began := time.Now()
	at, err := client.Do(ctx, client.B().Time().Build()).AsStrSlice()
	if err := told(err); err != nil {
		return f, err
	}
	if len(at) == 2 {
		s, _ := strconv.ParseInt(at[0], 10, 64)
		us, _ := strconv.ParseInt(at[1], 10, 64)
		f.ahead = time.Unix(s, us*1000).Sub(began.Add(time.Since(began) / 2))
	}
	return f, nil
}

// redisTLS is the way to a server as its URL says it.
func redisTLS(u *url.URL, host string) (*tls.Config, error) {
	q := u.Query()
	name, _, _ := net.SplitHostPort(host)
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	if n := q.Get("server_name"); n != "" {
		c.ServerName = n
	}
	if file := q.Get("ca"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read ca: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("ca holds no certificate")
		}
	}
	if q.Get("cert") != "" {
		pair, err := tls.LoadX509KeyPair(q.Get("cert"), q.Get("key"))
		if err != nil {
			return nil, fmt.Errorf("read cert and key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// redisReason is why a server could not be asked: what it answered, or that it did not.
func redisReason(err error) string {
	if e, ok := rueidis.IsRedisErr(err); ok {
		return "it answers: " + e.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "it did not answer in time"
	}
	return err.Error()
}

// field is one line of INFO.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (x *examination) judgeRedis(key, host string, f redisFacts) {
	if major, _, _ := strings.Cut(f.version, "."); major != "" && len(major) == 1 && major < "7" {
		x.findAt(key, ailmentNamed("redis-old"), "%s is version %s", host, f.version)
	}
	if f.role == "slave" {
		x.findAt(key, ailmentNamed("redis-replica"), "%s is a replica", host)
	}
	// A copy may be lost, and in a cache that is full some must be; a session may not.
	if key == "sessions" && f.policy != "" && f.policy != "noeviction" {
		x.find(ailmentNamed("redis-evicts"), "%s has maxmemory-policy %s", host, f.policy)
	}
	switch {
	case key != "sessions":
	case f.appends == "0":
		a := ailmentNamed("redis-forgets")
		a.severity = high
		x.find(a, "%s has appendonly no", host)
	case f.appends == "1" && f.fsync != "" && f.fsync != "always":
		x.find(ailmentNamed("redis-forgets"), "%s has appendfsync %s", host, f.fsync)
	}
	if f.user == "default" && f.protected == "no" {
		name, _, _ := net.SplitHostPort(host)
		if !loopbackHost(name) {
			x.find(ailmentNamed("redis-open"), "%s: this server is the user default there, and protected-mode is off", host)
		}
	}
	if f.ahead.Abs() > skew {
		x.findAt("the clocks", ailmentNamed("clock-redis"), "the clock of %s is %v %s this machine's", host, f.ahead.Abs().Round(100*time.Millisecond), aheadOrBehind(f.ahead))
	}
}
