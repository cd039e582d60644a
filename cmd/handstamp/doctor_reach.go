package main

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/store/postgres"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/store/sqlite"
)

// reachAilments are what keeps the doctor, and mostly a server too, from asking. A check that was not done must not look
// like one that found nothing.
func reachAilments() []ailment {
	return []ailment{
		{"database-unreachable", high, "database", "no server starts without it; one that runs answers logins and changes with 503, and checks too when its lease is over",
			"start it, or correct the address, the name, the user or the password in database"},
		{"database-moved", high, "database", "no server starts on it; one that was left running on it answers everything with 503",
			"set database, and sessions if they were moved too, to where they are now; if the move did not finish, run it again"},
		{"sessions-unreachable", high, "sessions", "no server starts without it; one that runs answers logins with 503, and checks too of what is not in its memory",
			"start it, or correct the address, the user or the password in sessions"},
		{"cache-unreachable", medium, "cache", "everything works, and slower: each check that misses memory asks the database, which may not be made for that",
			"start it, correct the address, the user or the password in cache, or take cache out"},
		{"not-examined", medium, "", "what is wrong there stays unseen",
			"see what was found, and run handstamp doctor again"},
	}
}

// blind notes that a part could not be looked at which should have been.
func (x *examination) blind(part, format string, args ...any) {
	x.skip(part, format, args...)
	x.findAt(part, ailmentNamed("not-examined"), format, args...)
}

// unusable says why the database cannot be used, and what mends that.
func (x *examination) unusable(ctx context.Context, err error) {
	a := ailmentNamed("database-unusable")
	switch {
	case errors.Is(err, postgres.ErrUnreachable), errors.Is(err, context.DeadlineExceeded):
		a = ailmentNamed("database-unreachable")
	case errors.Is(err, postgres.ErrMoved), errors.Is(err, sqlite.ErrMoved):
		a = ailmentNamed("database-moved")
	case errors.Is(err, postgres.ErrConfig) && x.pooled(ctx):
		a = ailmentNamed("pooler-undeclared")
		a.severity, a.why = high, "no server starts on it"
	case errors.Is(err, sqlite.ErrDamaged):
		a.fix = "restore a backup, and run handstamp restored then"
	}
	x.find(a, "%s", explain(err))
}

// The codes with which poolers refuse a setting that a connection begins with: PgBouncer's, and PostgreSQL's own for one
// that it does not know.
const (
	codeProtocol      = "08P01"
	codeUnknownObject = "42704"
)

// pooled reports whether an undeclared pooler is in between: it refuses a setting that every PostgreSQL takes.
func (x *examination) pooled(ctx context.Context) bool {
	p := onPostgres(x.cfg)
	if p == nil || x.cfg.DatabasePooler != config.PoolerNone {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, x.wait)
	defer cancel()
	p.RuntimeParams["lock_timeout"] = "1000"
	conn, err := pgx.ConnectConfig(ctx, p)
	if err == nil {
		_ = conn.Close(ctx)
		return false
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == codeProtocol || e.Code == codeUnknownObject)
}

// reachRedis connects as a server does. starts says that a server would start all the same.
func (x *examination) reachRedis(ctx context.Context, key string, b config.Backend) (starts bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, x.wait)
	defer cancel()
	if key == "sessions" {
		c, err := redis.Dial(ctx, b.DSN.Reveal(), redis.Options{})
		if err == nil {
			c.Close()
		}
		return err == nil, err
	}
	if x.cfg.Sessions.Kind != config.KindDatabase {
		return true, nil // no server uses it
	}
	var away error
	c, err := redis.OpenCache(ctx, b.DSN.Reveal(), redis.Options{}, func(_ *redis.Client, why error) {
		if why != nil { // what is told later, from elsewhere, is that it came
			away = why
		}
	})
	if err != nil {
		return false, err
	}
	c.Close()
	return true, away
}

// unreached says why a Redis cannot be used.
func (x *examination) unreached(key string, starts bool, err error) {
	a := ailmentNamed(key + "-unreachable")
	if key == "cache" && !starts {
		a.severity, a.why = high, "no server starts with it: waiting does not mend this, as it does where Redis is only away"
	}
	x.find(a, "%s", explain(err))
}
