package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// configOf makes the configuration of a pool of our own. The error of the parser is not passed on: it quotes the
// connection string, and with it the password.
func configOf(dsn string, opt Options) (*pgxpool.Config, error) {
	if strings.TrimSpace(dsn) == "" {
		return nil, fmt.Errorf("%w: the connection string is empty: write postgres://USER:PASSWORD@HOST/NAME", ErrConfig)
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("%w: the connection string is not valid: write postgres://USER:PASSWORD@HOST/NAME, with special "+
			"characters of the password percent-encoded, and only parameters that PostgreSQL knows", ErrConfig)
	}
	switch {
	case opt.MaxConns > 0:
		config.MaxConns = int32(opt.MaxConns)
	case !strings.Contains(dsn, "pool_max_conns"):
		config.MaxConns = defaultConns
	case config.MaxConns < minConns || config.MaxConns > maxConns:
		return nil, fmt.Errorf("%w: pool_max_conns: want %d to %d", ErrConfig, minConns, maxConns)
	}
	if config.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		return nil, fmt.Errorf("%w: default_query_exec_mode=simple_protocol is not supported: leave it out", ErrConfig)
	}
	// A connection that is suspect is asked by the store; asking every one that was idle for a second would make a check
	// two round trips.
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	config.MaxConnLifetimeJitter = config.MaxConnLifetime / 10
	return config, opt.adapt(config.ConnConfig)
}

// adapt sets what each connection of our own is opened with.
func (o Options) adapt(c *pgx.ConnConfig) error {
	if c.ConnectTimeout == 0 || c.ConnectTimeout > time.Minute { // 2 minutes is what the parser sets where nothing is said
		c.ConnectTimeout = o.limits.acquire
	}
	dialer := &net.Dialer{Timeout: c.ConnectTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3,
	}}
	c.DialFunc = dialer.DialContext
	if c.ValidateConnect == nil {
		c.ValidateConnect = onlyPrimary
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "handstamp"
	}
	c.RuntimeParams["client_encoding"] = "UTF8"
	if o.Pooler == Transaction {
		c.DefaultQueryExecMode = pgx.QueryExecModeExec
		c.StatementCacheCapacity, c.DescriptionCacheCapacity = 0, 0
		for name := range c.RuntimeParams {
			if name != "application_name" && name != "client_encoding" { // those PgBouncer keeps for each of its clients
				return fmt.Errorf("%w: behind a pooler the connection string may set nothing for a connection: leave out %s, or set it with ALTER ROLE", ErrConfig, name)
			}
		}
		return nil
	}
	c.RuntimeParams["default_transaction_isolation"] = "read committed"
	c.RuntimeParams["lock_timeout"] = milliseconds(o.limits.lock)
	c.RuntimeParams["statement_timeout"] = milliseconds(o.limits.statement)
	return nil
}

// onlyPrimary refuses a connection to a server that takes no writes. With several hosts in the connection string the
// driver goes on to the next one.
func onlyPrimary(ctx context.Context, c *pgconn.PgConn) error {
	result := c.ExecParams(ctx, "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'", nil, nil, nil, nil).Read()
	if result.Err != nil {
		return result.Err
	}
	if len(result.Rows) != 1 || len(result.Rows[0]) != 2 {
		return errColumn
	}
	return writable(string(result.Rows[0][0]) == "t", string(result.Rows[0][1]) == "t")
}

// Why a server takes no writes.
var (
	errStandby = fmt.Errorf("%w: this server is a standby: name the primary, or all servers separated by commas", ErrReadOnly)
	errNoWrite = fmt.Errorf("%w: default_transaction_read_only is on: turn it off for this user and database", ErrReadOnly)
)

func writable(standby, readOnly bool) error {
	switch {
	case standby:
		return errStandby
	case readOnly:
		return errNoWrite
	default:
		return nil
	}
}

// connectErrors are the server's reasons not to let a program in, with what to do.
func connectErrors(e *pgconn.PgError, user, database string) error {
	switch e.Code {
	case "28P01":
		return fmt.Errorf("%w: the password of the user %q was refused: correct it, or set it with ALTER ROLE", ErrUnreachable, user)
	case "28000":
		return fmt.Errorf("%w: the server does not let the user %q in to the database %q: create the role, or look at pg_hba.conf", ErrUnreachable, user, database)
	case "3D000":
		return fmt.Errorf("%w: there is no database %q: run CREATE DATABASE, or name another one", ErrUnreachable, database)
	case "53300":
		return fmt.Errorf("%w: the server has no connection left: raise its max_connections, or lower pool_max_conns", ErrUnreachable)
	case "57P03":
		return fmt.Errorf("%w: the server is starting or stopping: try again in a moment", ErrUnreachable)
	case "42704", "08P01":
		if strings.Contains(e.Message, "startup parameter") { // PgBouncer's own words, which are not translated
			return fmt.Errorf("%w: a pooler refuses settings of connections: set database_pooler to transaction", ErrConfig)
		}
		if e.Code == "42704" {
			return fmt.Errorf("%w: the server does not know a parameter of the connection string: look at what stands behind its ?", ErrConfig)
		}
	}
	return fmt.Errorf("%w: the server refuses the connection (SQLSTATE %s)", ErrUnreachable, e.Code)
}

// describe says in words why there is no connection. Errors that are none of connecting stay as they are.
func describe(err error) error {
	c, ok := errors.AsType[*pgconn.ConnectError](err)
	switch {
	case !ok:
		return err
	case errors.Is(err, errStandby):
		return errStandby
	case errors.Is(err, errNoWrite):
		return errNoWrite
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return connectErrors(e, c.Config.User, c.Config.Database)
	}
	return fmt.Errorf("%w: nothing answers at %s: look at the address, the firewall and whether the server runs%s",
		ErrUnreachable, addresses(c.Config), because(err))
}

// addresses are the servers that were tried.
func addresses(c *pgconn.Config) string {
	all := []string{address(c.Host, c.Port)}
	for _, f := range c.Fallbacks {
		if a := address(f.Host, f.Port); a != all[len(all)-1] {
			all = append(all, a)
		}
	}
	return strings.Join(all, ", ")
}

func address(host string, port uint16) string {
	if strings.HasPrefix(host, "/") {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// because names the operating system's or TLS's reason, which holds no secret.
func because(err error) string {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Err != nil {
		return " (" + e.Err.Error() + ")"
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return " (" + e.Err + ")"
	}
	if strings.Contains(err.Error(), "tls") {
		return " (the TLS handshake failed: look at sslmode and sslrootcert)"
	}
	return ""
}
