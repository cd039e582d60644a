package config

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
)

// Kind is a kind of store. Whether this build has it is decided where stores
// are opened.
type Kind string

// The kinds.
const (
	KindNone     Kind = ""         // not set
	KindSQLite   Kind = "sqlite"   // a file, Backend.Path
	KindPostgres Kind = "postgres" // Backend.DSN
	KindMemory   Kind = "memory"   // lost at restart
	KindDatabase Kind = "database" // sessions in the same store as the accounts
	KindRedis    Kind = "redis"    // Redis or Valkey, Backend.DSN
)

// Backend says which store to open and where it is. Printing it hides the
// password of its URL.
type Backend struct {
	Kind Kind
	Path string // KindSQLite: path of the file
	DSN  Secret // KindPostgres, KindRedis: the whole URL as it was given

	shown string
}

// String returns the setting as it was written, with passwords REDACTED.
func (b Backend) String() string { return b.shown }

// Format writes String for every verb.
func (b Backend) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, b.shown) }

// LogValue returns String.
func (b Backend) LogValue() slog.Value { return slog.StringValue(b.shown) }

// MarshalText returns String.
func (b Backend) MarshalText() ([]byte, error) { return []byte(b.shown), nil }

//nolint:gosec // a form to fill in, no credential
const databaseHint = "must be sqlite, sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME or memory"

func parseDatabase(text string) (Backend, problems) {
	path, isPath := strings.CutPrefix(text, "sqlite:")
	switch {
	case text == "sqlite":
		return Backend{Kind: KindSQLite, shown: text}, nil // the path is derived from data_dir
	case text == "memory":
		return Backend{Kind: KindMemory, shown: text}, nil
	case isPath && strings.HasPrefix(path, "//"):
		return Backend{}, problems{"has a path that starts with two slashes: write sqlite:PATH, such as sqlite:/var/lib/handstamp/handstamp.db"}
	case isPath && (path == "" || strings.HasPrefix(path, ":") || strings.HasPrefix(path, "file:")):
		return Backend{}, problems{"needs the plain path of a file after sqlite: (for a store without a file write memory)"}
	case isPath:
		return Backend{Kind: KindSQLite, Path: path, shown: text}, nil
	case hasScheme(text, "postgres", "postgresql"):
		return parseDSN(KindPostgres, text)
	}
	return Backend{}, problems{databaseHint}
}

func parseSessions(text string) (Backend, problems) {
	switch {
	case text == "database":
		return Backend{Kind: KindDatabase, shown: text}, nil
	case text == "memory":
		return Backend{Kind: KindMemory, shown: text}, nil
	case hasScheme(text, "redis", "rediss"):
		return parseDSN(KindRedis, text)
	}
	return Backend{}, problems{"must be database, memory, redis://HOST:PORT or rediss://HOST:PORT"}
}

func parseCache(text string) (Backend, problems) {
	if hasScheme(text, "redis", "rediss") {
		return parseDSN(KindRedis, text)
	}
	return Backend{}, problems{"must be redis://HOST:PORT or rediss://HOST:PORT; leave it out for no cache"}
}

func hasScheme(text string, schemes ...string) bool {
	for _, s := range schemes {
		if strings.HasPrefix(text, s+"://") {
			return true
		}
	}
	return false
}

// parseDSN checks that text is a URL. The error of url.Parse is not passed on:
// it quotes the URL, and with it the password.
func parseDSN(kind Kind, text string) (Backend, problems) {
	u, err := url.Parse(text)
	if err != nil {
		return Backend{}, problems{"is not a valid URL: percent-encode special characters of the user name and the password (%40 for @, %2F for /, %3F for ?, %23 for #)"}
	}
	_, rest, _ := strings.Cut(text, "://")
	if end := strings.IndexAny(rest, "/?#"); strings.Contains(text, "#") || end >= 0 && strings.Contains(rest[end:], "@") {
		// The authority ends at the first of "/?#", so an "@" behind it is most
		// likely the end of a password that was cut in two, one half of which
		// would be taken for a host or a path, and shown.
		return Backend{}, problems{"has @ or # behind the host: percent-encode special characters of the password (%40 for @, %2F for /, %3F for ?, %23 for #)"}
	}
	if kind == KindRedis && u.Host == "" {
		return Backend{}, problems{"names no host: write redis://HOST:PORT"}
	}
	return Backend{Kind: kind, DSN: NewSecret(text), shown: showDSN(kind, u)}, nil
}

// showDSN writes u without its secrets: the password, query parameters that may
// hold one and, for Redis, the user name, since people write the password there.
func showDSN(kind Kind, u *url.URL) string {
	shown := u.Scheme + "://"
	if u.User != nil {
		_, hasPassword := u.User.Password()
		switch {
		case kind == KindRedis:
			shown += redacted + "@"
		case hasPassword:
			shown += url.User(u.User.Username()).String() + ":" + redacted + "@"
		default:
			shown += u.User.String() + "@"
		}
	}
	shown += u.Host + u.EscapedPath()
	if u.RawQuery != "" {
		shown += "?" + showQuery(u.RawQuery)
	}
	return shown
}

// plainParameter reports whether name is a parameter of PostgreSQL's or Redis's
// URLs whose value is no secret. The value of any other is hidden.
func plainParameter(name string) bool {
	switch name {
	case "sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation", "passfile", "host", "port", "user", "dbname",
		"application_name", "connect_timeout", "target_session_attrs", "search_path", "timezone", "statement_timeout",
		"pool_max_conns", "pool_min_conns", "pool_max_conn_lifetime", "pool_max_conn_idle_time",
		"default_query_exec_mode", "statement_cache_capacity", "db", "protocol", "client_name", "addr",
		"dial_timeout", "write_timeout", "max_retries", "master_set", "client_cache", "skip_verify":
		return true
	}
	return false
}

func showQuery(raw string) string {
	pairs := strings.Split(raw, "&")
	for i, p := range pairs {
		name, _, _ := strings.Cut(p, "=")
		switch {
		case !plainName(name):
			pairs[i] = redacted
		case !plainParameter(name):
			pairs[i] = name + "=" + redacted
		}
	}
	return strings.Join(pairs, "&")
}

// plainName tells the name of a parameter from the rest of a secret that was cut
// in two at an "&".
func plainName(name string) bool {
	for _, r := range name {
		if (r < 'a' || r > 'z') && r != '_' {
			return false
		}
	}
	return name != ""
}
