package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/handstamp/handstamp"
)

// leastVersion is the first with EVALSHA_RO and with PEXPIRE and SET as the scripts use them. Valkey says the version of
// Redis that it is like.
const leastVersion = 7

// What a crash may lose where the server itself sets no bound.
const (
	everysecWindow = time.Second      // appendfsync everysec
	systemWindow   = 30 * time.Second // appendfsync no: Linux writes back what is 30 s old
	replicaWindow  = 10 * time.Second // a failover to a replica: min-replicas-max-lag as it comes
)

// info is what INFO says: names and values.
type info map[string]string

func readInfo(text string) info {
	out := make(info)
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			out[name] = value
		}
	}
	return out
}

// look asks every primary whether it can be used, and states the weakest durability of them.
func (c *Client) look(ctx context.Context, k kind) error {
	nodes := map[string]rueidis.Client{c.hosts: c.conn}
	if k == cluster {
		nodes = c.conn.Nodes()
	}
	primaries := 0
	for _, node := range nodes {
		text, err := node.Do(ctx, node.B().Info().Build()).ToString()
		if err != nil {
			return c.early("ask what it is (INFO)", err)
		}
		said := readInfo(text)
		if k == cluster && said["role"] == "slave" {
			continue
		}
		if err := usable(said, k, c.cache); err != nil {
			return fmt.Errorf("Redis at %s: %w", c.hosts, err)
		}
		conf, err := config(ctx, node)
		if err != nil {
			return c.explain("ask for its configuration", err)
		}
		d, note := promised(said, conf, k)
		if primaries == 0 || weaker(d, c.durability) {
			c.durability, c.note = d, note
		}
		primaries++
	}
	if primaries == 0 {
		return fmt.Errorf("Redis at %s: none of its nodes is a primary", c.hosts)
	}
	return nil
}

// early explains an error of a server that may be starting: it answers nothing but that it is loading.
func (c *Client) early(what string, err error) error {
	said := c.explain(what, err)
	if loading, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(loading.Error(), "LOADING") {
		return &awayError{said}
	}
	return said
}

// usable says what is wrong with a server.
func usable(said info, k kind, cache bool) error {
	major, _, _ := strings.Cut(said["redis_version"], ".")
	version, err := strconv.Atoi(major)
	switch {
	case err != nil:
		return errors.New("it does not say its version in INFO; is it a Redis or Valkey server?")
	case version < leastVersion:
		return fmt.Errorf("it is version %s: want Redis %d.0 or later, or Valkey", said["redis_version"], leastVersion)
	case said["redis_mode"] == "sentinel":
		return errors.New("it is a Sentinel: name the primary that it watches by ?master=NAME")
	case said["redis_mode"] == "cluster" && k != cluster:
		return errors.New("it is a node of a Cluster: add ?cluster=true to the URL")
	case said["redis_mode"] != "cluster" && k == cluster:
		return errors.New("it is no node of a Cluster: leave cluster=true away")
	case said["role"] != "master":
		return errors.New("it is a replica: give the address of the primary, or of the Sentinels with ?master=NAME")
	}
	// noeviction is the only policy under which what was written stays. That no limit is set today is no promise.
	if policy := said["maxmemory_policy"]; policy != "noeviction" && !cache {
		return fmt.Errorf("its maxmemory-policy is %q, so it may throw sessions away: set it to noeviction (CONFIG SET maxmemory-policy noeviction, and in its configuration file)", policy)
	}
	return nil
}

// config is what CONFIG GET says of durability; nil where this user may not ask.
func config(ctx context.Context, node rueidis.Client) (map[string]string, error) {
	cmd := node.B().ConfigGet().Parameter("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "save", "min-replicas-to-write", "min-replicas-max-lag").Build()
	conf, err := node.Do(ctx, cmd).AsStrMap()
	if _, refused := rueidis.IsRedisErr(err); refused {
		return nil, nil // NOPERM, or a provider that has renamed the command
	}
	return conf, err
}

// promised is what a server's configuration promises, and why. conf is nil if it does not tell.
func promised(said info, conf map[string]string, k kind) (handstamp.Durability, string) {
	appending, sync := said["aof_enabled"] == "1", conf["appendfsync"]
	if conf != nil {
		appending = conf["appendonly"] == "yes"
	}
	failover := k != single || said["connected_slaves"] != "0"
	window := func(d time.Duration) handstamp.Durability {
		return handstamp.Durability{Class: handstamp.Window, Window: d}
	}
	switch {
	case !appending && conf == nil && said["aof_enabled"] == "":
		return handstamp.Durability{Class: handstamp.Volatile}, "the server does not tell how it keeps data (CONFIG is forbidden): let the user +config|get"
	case !appending:
		return handstamp.Durability{Class: handstamp.Volatile}, "appendonly is off: a crash loses what was written since the last snapshot"
	case conf == nil:
		return window(systemWindow), "appendonly is on, but CONFIG is forbidden, so it is not known how often it syncs: let the user +config|get"
	case conf["no-appendfsync-on-rewrite"] == "yes":
		return window(max(systemWindow, lagOf(conf))), "no-appendfsync-on-rewrite is yes: while the file is written anew the system decides when data reaches the disk, whatever appendfsync says"
	case sync == "always" && failover:
		lag := lagOf(conf)
		return window(lag), "appendfsync is always, but a failover to a replica may lose what it had not received"
	case sync == "always":
		return handstamp.Durability{Class: handstamp.Durable}, "appendfsync is always"
	case sync == "everysec" && failover:
		return window(max(everysecWindow, lagOf(conf))), "appendfsync is everysec, and a failover to a replica may lose what it had not received"
	case sync == "everysec":
		return window(everysecWindow), "appendfsync is everysec"
	default:
		return window(systemWindow), "appendfsync is " + strconv.Quote(sync) + ": the system decides when data reaches the disk"
	}
}

// lagOf is how far a replica may be behind while the primary still takes writes, where it is told to look at that.
func lagOf(conf map[string]string) time.Duration {
	lag, err := strconv.Atoi(conf["min-replicas-max-lag"])
	if n, _ := strconv.Atoi(conf["min-replicas-to-write"]); err != nil || n < 1 || lag < 1 {
		return replicaWindow
	}
	return time.Duration(lag) * time.Second
}

// weaker orders promises.
func weaker(a, b handstamp.Durability) bool {
	if a.Class != b.Class {
		return rank(a.Class) < rank(b.Class)
	}
	return a.Window > b.Window
}

func rank(c handstamp.DurabilityClass) int {
	switch c {
	case handstamp.Durable:
		return 2
	case handstamp.Window:
		return 1
	default:
		return 0
	}
}
