package redis

import (
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
)

func TestPromised(t *testing.T) {
	durable := handstamp.Durability{Class: handstamp.Durable}
	volatile := handstamp.Durability{Class: handstamp.Volatile}
	window := func(d time.Duration) handstamp.Durability {
		return handstamp.Durability{Class: handstamp.Window, Window: d}
	}
	alone, replicated := info{"aof_enabled": "1", "connected_slaves": "0"}, info{"aof_enabled": "1", "connected_slaves": "1"}
	conf := func(pairs ...string) map[string]string {
		m := map[string]string{"appendonly": "yes", "min-replicas-to-write": "0", "min-replicas-max-lag": "10"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for name, tc := range map[string]struct {
		said info
		conf map[string]string
		kind kind
		want handstamp.Durability
	}{
		"always, alone":                  {alone, conf("appendfsync", "always"), single, durable},
		"always, with a replica":         {replicated, conf("appendfsync", "always"), single, window(replicaWindow)},
		"always, Sentinel":               {alone, conf("appendfsync", "always"), sentinel, window(replicaWindow)},
		"always, Cluster":                {alone, conf("appendfsync", "always"), cluster, window(replicaWindow)},
		"always, bounded lag":            {replicated, conf("appendfsync", "always", "min-replicas-to-write", "1", "min-replicas-max-lag", "3"), sentinel, window(3 * time.Second)},
		"everysec":                       {alone, conf("appendfsync", "everysec"), single, window(time.Second)},
		"everysec, with a replica":       {replicated, conf("appendfsync", "everysec"), single, window(replicaWindow)},
		"no":                             {alone, conf("appendfsync", "no"), single, window(systemWindow)},
		"unheard of":                     {alone, conf("appendfsync", "often"), single, window(systemWindow)},
		"not while rewriting":            {alone, conf("appendfsync", "always", "no-appendfsync-on-rewrite", "yes"), single, window(systemWindow)},
		"not while rewriting, sometimes": {replicated, conf("appendfsync", "everysec", "no-appendfsync-on-rewrite", "yes"), single, window(systemWindow)},
		"also while rewriting":           {alone, conf("appendfsync", "always", "no-appendfsync-on-rewrite", "no"), single, durable},
		"off":                            {alone, conf("appendonly", "no", "appendfsync", "always"), single, volatile},
		"snapshots only":                 {info{"aof_enabled": "0", "connected_slaves": "0"}, conf("appendonly", "no", "save", "60 1"), single, volatile},
		"CONFIG forbidden, on":           {alone, nil, single, window(systemWindow)},
		"CONFIG forbidden, off":          {info{"aof_enabled": "0", "connected_slaves": "0"}, nil, single, volatile},
		"CONFIG forbidden, not a word":   {info{}, nil, single, volatile},
		"nothing known":                  {info{}, map[string]string{}, single, volatile},
	} {
		got, note := promised(tc.said, tc.conf, tc.kind)
		if got != tc.want || note == "" || strings.Contains(note, "\n") {
			t.Errorf("%s: %+v (%s), want %+v and a sentence", name, got, note, tc.want)
		}
	}
}

func TestUsable(t *testing.T) {
	good := func(pairs ...string) info {
		m := info{"redis_version": "7.0.15", "redis_mode": "standalone", "role": "master", "maxmemory_policy": "noeviction"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for name, tc := range map[string]struct {
		said  info
		kind  kind
		cache bool
		want  string
	}{
		"good":                    {good(), single, false, ""},
		"Valkey":                  {good("redis_version", "7.2.4", "server_name", "valkey"), single, false, ""},
		"Cluster":                 {good("redis_mode", "cluster"), cluster, false, ""},
		"an evicting cache":       {good("maxmemory_policy", "allkeys-lru"), single, true, ""},
		"too old":                 {good("redis_version", "6.2.14"), single, false, "7.0"},
		"no version":              {info{}, single, false, "version"},
		"a Sentinel":              {good("redis_mode", "sentinel"), single, false, "master=NAME"},
		"a node of a Cluster":     {good("redis_mode", "cluster"), single, false, "cluster=true"},
		"no node of a Cluster":    {good(), cluster, false, "no node of a Cluster"},
		"a replica":               {good("role", "slave"), single, false, "replica"},
		"evicts":                  {good("maxmemory_policy", "allkeys-lru"), single, false, "noeviction"},
		"evicts what has a TTL":   {good("maxmemory_policy", "volatile-lru"), single, false, "noeviction"},
		"does not say its policy": {good("maxmemory_policy", ""), single, false, "noeviction"},
	} {
		err := usable(tc.said, tc.kind, tc.cache)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
