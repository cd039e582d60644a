package redis

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]struct {
		hosts          string
		user, password string
		db             int
		tls            bool
		kind           kind
		prefix         string
	}{
		"redis://localhost":                               {hosts: "localhost:6379", kind: single},
		"valkey://10.0.0.1:7000/3":                        {hosts: "10.0.0.1:7000", db: 3, kind: single},
		"redis://:p%40ss%2F@h:1/0":                        {hosts: "h:1", password: "p@ss/", kind: single},
		"redis://u:p@h":                                   {hosts: "h:6379", user: "u", password: "p", kind: single},
		"redis://[::1]:7":                                 {hosts: "[::1]:7", kind: single},
		"redis://[::1]":                                   {hosts: "[::1]:6379", kind: single},
		"rediss://h?server_name=x&prefix=a:":              {hosts: "h:6379", tls: true, kind: single, prefix: "a:"},
		"valkeys://h/1":                                   {hosts: "h:6379", tls: true, db: 1, kind: single},
		"redis://a:1?addr=b:2&addr=c&master=m/1":          {hosts: "a:1, b:2, c:6379", kind: sentinel},
		"redis://u:p@a?master=m&sentinel_password=secret": {hosts: "a:6379", user: "u", password: "p", kind: sentinel},
		"redis://a:1?addr=b:2&cluster=true":               {hosts: "a:1, b:2", kind: cluster},
		"redis://a:1?cluster=false":                       {hosts: "a:1", kind: single},
	} {
		a, err := parseURL(text)
		if err != nil {
			t.Errorf("parseURL(%s) = %v", text, err)
			continue
		}
		o := a.option
		if a.hosts != want.hosts || a.kind != want.kind || a.prefix != want.prefix || o.Username != want.user || o.Password != want.password ||
			o.SelectDB != want.db || (o.TLSConfig != nil) != want.tls {
			t.Errorf("parseURL(%s) = %s, kind %d, prefix %q, user %q, password %q, db %d, TLS %v; want %+v",
				text, a.hosts, a.kind, a.prefix, o.Username, o.Password, o.SelectDB, o.TLSConfig != nil, want)
		}
		if o.TLSConfig != nil && (o.TLSConfig.InsecureSkipVerify || o.TLSConfig.ServerName == "") {
			t.Errorf("parseURL(%s): nobody's certificate is checked", text)
		}
		if !o.DisableCache || o.SendToReplicas != nil || o.ReplicaOnly {
			t.Errorf("parseURL(%s): replicas or a cache of the driver could answer", text)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"", "localhost", "localhost:6379", "http://:hunter2@h", "redis:", "redis:hunter2@h", "redis://", "redis://:hunter2@", "redis://h:0",
		"redis://h:99999", "redis://h:x", "redis://h/x", "redis://h/-1", "redis://h/1/2", "redis://h/70000", "redis://h#1", "redis://@h",
		"redis://h?skip_verify=true", "redis://h?Master=x", "redis://h?master=", "redis://h?master=a&master=b", "redis://h?master=m&cluster=true",
		"redis://h?cluster=x", "redis://h/1?cluster=true", "redis://h?addr=b:2", "redis://h?addr=b:2:3&cluster=true", "redis://h?addr=&master=m",
		"redis://h?sentinel_password=hunter2", "redis://h?ca=x", "redis://h?cert=x", "redis://h?server_name=x", "rediss://h?ca=/nowhere",
		"rediss://h?ca=" + url.QueryEscape(empty), "rediss://h?cert=x", "rediss://h?cert=/nowhere&key=/nowhere", "redis://:hunter2%@h",
		"redis://:hunter2@h?%zz", "redis://:hunter2\x7f@h", "unix:///run/redis.sock",
	} {
		a, err := parseURL(text)
		if err == nil {
			t.Errorf("parseURL(%q) = %s, want an error", text, a.hosts)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
			t.Errorf("parseURL(%q) = %v: want one line without the password", text, err)
		}
	}
}

func TestPrefixes(t *testing.T) {
	for prefix, good := range map[string]bool{
		"": true, "a": true, "app:prod/2.x_-": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "{a}": false, "a b": false,
		"é": false, "a*": false, "a\n": false,
	} {
		if o, err := (Options{Prefix: prefix}).complete(); (err == nil) != good || err == nil && o.Prefix == "" {
			t.Errorf("the prefix %q: %v, want good: %v", prefix, err, good)
		}
	}
	for _, o := range []Options{{Timeout: -1}, {Timeout: 1}, {Timeout: 1 << 40}} {
		if _, err := o.complete(); err == nil {
			t.Errorf("Timeout %v is accepted", o.Timeout)
		}
	}
}

// FuzzParseURL: whatever the text is, an error never repeats a part of it that could be a password, and what is accepted
// checks certificates.
func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"redis://u:p@h:1/2?prefix=x", "rediss://[::1]?server_name=x", "redis://a?addr=b&cluster=true", "redis://a?master=m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "ca=") || strings.Contains(text, "cert=") || strings.Contains(text, "key=") {
			return // these read files
		}
		a, err := parseURL(text)
		if err != nil {
			return
		}
		if slices.Contains(a.option.InitAddress, "") || a.kind < single || a.option.TLSConfig != nil && a.option.TLSConfig.InsecureSkipVerify {
			t.Errorf("parseURL(%q) = %+v", text, a)
		}
	})
}
