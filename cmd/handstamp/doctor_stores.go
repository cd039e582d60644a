package main

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp/internal/config"
)

// storeChecks are about where things are kept, and about the way there.
func storeChecks() []configCheck {
	return []configCheck{
		{ailment{"database-memory", high, "database", "a restart loses every account, key and session, and the audit log with them",
			"use sqlite or postgres://…"}, false,
			func(c *config.Config) string {
				return sentence(c.Database.Kind == config.KindMemory, "everything is kept in the memory of one process")
			}},
		{ailment{"sessions-memory", medium, "sessions", "a restart logs everybody out, and a second node knows none of them",
			"use database"}, false,
			func(c *config.Config) string {
				return sentence(c.Sessions.Kind == config.KindMemory && c.Database.Kind != config.KindMemory, "sessions are kept in the memory of one process")
			}},
		{ailment{"accept-loss", medium, "accept_loss", "after a crash a log-out or a spent refresh token may be forgotten: what was ended works again, and a thief's old token is good",
			"give the store durable settings (fsync, synchronous_commit, appendfsync always), and remove accept_loss"}, false,
			func(c *config.Config) string {
				return sentence(c.AcceptLoss != config.LossNone, "hybrid and token are offered although the store may lose what it acknowledged ("+string(c.AcceptLoss)+")")
			}},
		{ailment{"secret-beside-database", low, "secret_file", "one copied directory or backup holds the sealed signing keys and the secret that opens them: who has it signs tokens for anybody",
			"keep the secret elsewhere and name it by secret_file (the content of data_dir/secret, so that nobody is logged out)"}, false,
			func(c *config.Config) string {
				return sentence(len(c.Secret) == 0 && c.Database.Kind == config.KindSQLite && inside(c.DataDir, c.Database.Path),
					"the secret and the database are both in "+c.DataDir)
			}},
		{ailment{"database-plain", high, "database", "who is on the way to the database reads password hashes and session records, and can write an administrator",
			"add sslmode=verify-full and sslrootcert=… to database"}, true,
			func(c *config.Config) string {
				return postgresWay(c, func(host string, t *tls.Config) bool { return t == nil })
			}},
		{ailment{"database-unverified", medium, "database", "who can get between answers as the database, and reads and writes everything",
			"add sslmode=verify-full and sslrootcert=… to database"}, true,
			func(c *config.Config) string {
				return postgresWay(c, func(_ string, t *tls.Config) bool {
					return t != nil && t.InsecureSkipVerify && t.VerifyPeerCertificate == nil
				})
			}},
		{ailment{"pooler-undeclared", medium, "database_pooler", "behind a pooler that changes connections between transactions, LISTEN hears nothing and settings of a session are another's: wake-ups stop, and statements fail",
			"set database_pooler = \"transaction\""}, true,
			func(c *config.Config) string {
				p := onPostgres(c)
				return sentence(p != nil && p.Port == 6432 && c.DatabasePooler == config.PoolerNone, "database is at port 6432, which is PgBouncer's")
			}},
		{ailment{"redis-plain", high, "cache", "who is on the way to Redis reads session records, and can write some",
			"use rediss:// and a certificate that the machine trusts"}, true, nil},
		{ailment{"redis-password", medium, "cache", "whoever reaches that port, from any hole in any program on that network, reads and deletes sessions",
			"make a user for this server (ACL SETUSER) and write rediss://USER:PASSWORD@…, best in cache_file or sessions_file"}, true, nil},
	}
}

// postgres is the database's address as its driver reads it; nil for another store or what the driver does not take.
func onPostgres(c *config.Config) *pgx.ConnConfig {
	if c.Database.Kind != config.KindPostgres {
		return nil
	}
	p, err := pgx.ParseConfig(postgresDSN(c))
	if err != nil {
		return nil
	}
	return p
}

// postgresDSN is the database's URL without the parameters of a pool, which belong to another reader.
func postgresDSN(c *config.Config) string {
	u, err := url.Parse(c.Database.DSN.Reveal())
	if err != nil {
		return ""
	}
	// The rest of the query stays as it was written: the driver does not take + for a space.
	pairs := slices.DeleteFunc(strings.Split(u.RawQuery, "&"), func(p string) bool { return strings.HasPrefix(p, "pool_") })
	u.RawQuery = strings.Join(pairs, "&")
	return u.String()
}

// postgresWay names the hosts off this machine to which the driver would go in a way that is wrong. A list of hosts or
// sslmode=prefer makes several ways, of which the weakest counts.
func postgresWay(c *config.Config, wrong func(host string, t *tls.Config) bool) string {
	p := onPostgres(c)
	if p == nil {
		return ""
	}
	var hosts []string
	add := func(host string, t *tls.Config) {
		if !strings.HasPrefix(host, "/") && !loopbackHost(host) && wrong(host, t) && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	add(p.Host, p.TLSConfig)
	for _, f := range p.Fallbacks {
		add(f.Host, f.TLSConfig)
	}
	return sentence(len(hosts) > 0, "the connection to "+strings.Join(hosts, ", ")+" may be made without TLS, or without looking who answers (sslmode)")
}

// redisWay looks at the addresses of Redis and the way there.
func (x *examination) redisWay(key string, b config.Backend) {
	u, err := url.Parse(b.DSN.Reveal())
	if b.Kind != config.KindRedis || err != nil {
		return
	}
	away := slices.ContainsFunc(redisHosts(u), func(h string) bool {
		host, _, _ := net.SplitHostPort(h)
		return !loopbackHost(host)
	})
	if !away {
		return
	}
	if !redisSecure(u) {
		x.findAt(key, ailmentNamed("redis-plain"), "%s is reached without TLS", b)
	}
	if _, hasPassword := u.User.Password(); !hasPassword && u.Query().Get("cert") == "" {
		x.findAt(key, ailmentNamed("redis-password"), "%s has no password", b)
	}
}

// redisHosts are the addresses of a URL, each with its port.
func redisHosts(u *url.URL) []string {
	hosts := []string{net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379"))}
	for _, more := range u.Query()["addr"] {
		if _, _, err := net.SplitHostPort(more); err != nil {
			more = net.JoinHostPort(strings.Trim(more, "[]"), "6379")
		}
		hosts = append(hosts, more)
	}
	return hosts
}

func redisSecure(u *url.URL) bool { return u.Scheme == "rediss" || u.Scheme == "valkeys" }

// privateHost reports whether a name or address is one of an internal network: a private address, a name of one label,
// or one below the names that are kept for that (RFC 6762, RFC 8375, .internal; and a cluster's own).
func privateHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return !publicAddr(a)
	}
	if !strings.Contains(host, ".") {
		return true
	}
	return slices.ContainsFunc([]string{".local", ".home.arpa", ".internal", ".svc"}, func(end string) bool { return strings.HasSuffix(host, end) })
}
