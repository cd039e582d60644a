package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/store/sqlite"
)

func databaseAilments() []ailment {
	return slices.Concat([]ailment{
		{"database-unusable", high, "database", "no server starts on it", "see what was found"},
		{"schema-pending", medium, "migrate", "no server starts on it while migrate is false",
			"run handstamp migrate before the servers of this version start"},
		{"not-durable", medium, "database", "after a crash a log-out or a spent refresh token may be forgotten: what was ended works again, and a thief's old token is good",
			"give the store durable settings: fsync and synchronous_commit on, appendfsync always"},
		{"lease-differs", high, "revocation.lease", "a server with this configuration refuses to start",
			"set revocation.lease to what the database has, or, while every server is stopped: handstamp migrate --set-lease"},
		{"secret-missing", high, "secret", "a server would make another secret, and then open neither the signing keys nor any refresh token: everybody is logged out, or it does not start",
			"put the secret back from where it is kept apart from the database"},
		{"keys-unreadable", high, "secret", "no value token can be made or checked, and a server does not start",
			"set secret, secret_file or data_dir as the servers have it"},
		{"key-none-active", high, "signing keys", "no value token can be made: logins in the modes token and hybrid fail",
			"start a server: it makes keys; or run handstamp key rotate"},
		{"key-no-standby", medium, "signing keys", "after an emergency revoke tokens are signed with a key that other services do not have yet, and refuse for minutes",
			"start a server, which makes one within a minute; look at its log if it does not"},
		{"key-old", medium, "key.rotate_every", "keys are no longer rotated: one that leaked without anybody noticing forges tokens for ever",
			"look at the servers' logs; run handstamp key rotate"},
		{"no-administrator", medium, "users", "nobody can disable a user or end a session but by the command line, and a server at a terminal offers a link that makes the first administrator",
			"handstamp user add --email ADDRESS --role admin --password-stdin"},
		{"administrator-without-password", low, "users", "the account has every right and nobody who can log in: it is watched by nobody, and a password given to it by mistake or by an intruder opens everything",
			"handstamp user password ADDRESS --password-stdin, or take the role away: handstamp user roles ADDRESS --remove admin"},
		{"member-may-administer", high, "roles", "everybody who signs up is an administrator",
			"handstamp role set member, with the permissions that every visitor may have, or with none"},
		{"service-key-endless", medium, "service keys", "a key that may do everything and never ends is found one day in a backup, an image or a repository",
			"make keys with fewer permissions and an end (handstamp service-key add --expires-in), and delete this one"},
	}, postgresAilments(), tierAilments())
}

// database looks at what is in the database. It opens it as every command does, and only reads.
func (x *examination) database(ctx context.Context, a *app) {
	const part = "the database"
	switch x.cfg.Database.Kind {
	case config.KindMemory:
		x.skip(part, "it is memory, which only the server's own process can see")
		return
	case config.KindSQLite:
		path := x.cfg.Database.Path
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			x.skip(part, "there is none at %s yet", path)
			if !x.cfg.Migrate {
				x.find(ailmentNamed("schema-pending"), "there is no database at %s", path)
			}
			return
		}
		missing, err := sqlite.Pending(ctx, path)
		if !x.schema(ctx, missing, err) {
			return
		}
	case config.KindPostgres:
		if !x.postgres(ctx) {
			return
		}
	}
	x.inDatabase(ctx, a, part)
}

// inDatabase opens the database and looks at what is in it, also where it is sessions in Redis that keep a server from it.
func (x *examination) inDatabase(ctx context.Context, a *app, part string) {
	cfg := *x.cfg
	if x.adrift {
		cfg.Sessions = config.Backend{Kind: config.KindDatabase}
	}
	s, err := openStores(ctx, &cfg, slog.New(slog.DiscardHandler), opening{shared: true})
	if err != nil {
		x.unusable(ctx, err)
		x.skip(part, "it cannot be opened")
		return
	}
	defer func() { _ = s.close() }() // only read from
	x.look(part)
	if err := x.contents(ctx, a, s); err != nil {
		rest := "the rest of " + part
		x.skip(rest, "%s", explain(err))
		sick := ailmentNamed("not-examined")
		sick.severity = high // a server reads the same
		x.findAt(rest, sick, "%s", explain(err))
	}
}

// schema judges how far the database's is behind this binary's, and reports whether it can be read. With migrate on, the
// next server brings it up to date.
func (x *examination) schema(ctx context.Context, missing int, err error) bool {
	if err != nil {
		x.unusable(ctx, err)
		x.skip("what is in the database", "it cannot be used")
		return false
	}
	if missing == 0 {
		return true
	}
	a := ailmentNamed("schema-pending")
	if x.cfg.Migrate {
		a.severity, a.why = low, "the next server of this version changes the schema when it starts: make a backup before"
	}
	x.find(a, "the database lacks %s", count(missing, false, "migration", "migrations"))
	x.skip("what is in the database", "it is older than this version")
	return false
}

// contents looks at what the store's views show.
func (x *examination) contents(ctx context.Context, a *app, s stores) error {
	agreed, err := s.store.Settle(ctx, handstamp.Settings{})
	if err != nil {
		return fmt.Errorf("read the settings of this database: %w", err)
	}
	x.settings(agreed)
	if err := x.signingKeys(ctx, a, s); err != nil {
		return err
	}
	keys, err := x.serviceKeys(ctx, s)
	if err != nil {
		return err
	}
	if err := x.roles(ctx, s); err != nil {
		return err
	}
	return x.administrators(ctx, s, keys)
}

func (x *examination) settings(agreed handstamp.Settings) {
	if agreed.Lease != 0 && agreed.Lease != x.cfg.Revocation.Lease {
		x.find(ailmentNamed("lease-differs"), "revocation.lease is %v, and the database was settled with %v", x.cfg.Revocation.Lease, agreed.Lease)
	}
	d := agreed.Durability
	if d.Class == handstamp.Durable || d.Named {
		return
	}
	sick := ailmentNamed("not-durable")
	if d.Class != handstamp.Window {
		sick.severity = high
	}
	x.find(sick, "%s", durability(d))
}

// signingKeys looks at the keys as a server would see them. It makes none.
func (x *examination) signingKeys(ctx context.Context, a *app, s stores) error {
	records, err := s.keys.Keys(ctx)
	if err != nil {
		return fmt.Errorf("read the signing keys: %w", err)
	}
	if len(records) == 0 {
		return nil // no server was ever started on it
	}
	secrets, err := secretsOf(x.cfg, slog.New(slog.DiscardHandler), false)
	if err != nil {
		x.find(ailmentNamed("secret-missing"), "%v", err)
		return nil
	}
	ring, err := openRing(ctx, x.cfg, s, secrets, a.now)
	if err != nil {
		x.find(ailmentNamed("keys-unreadable"), "%v", err)
		return nil
	}
	if offers(x.cfg, config.ModeToken, config.ModeHybrid) {
		x.keyStates(ring.List())
	}
	return nil
}

func (x *examination) keyStates(keys []keyring.Info) {
	var active, standby *keyring.Info
	for i, k := range keys {
		if k.Use != keyring.Signing || k.Unusable {
			continue
		}
		switch k.State {
		case keyring.Active:
			active = &keys[i]
		case keyring.Created, keyring.Published:
			standby = &keys[i]
		}
	}
	if active == nil {
		x.find(ailmentNamed("key-none-active"), "none of %s signs", count(len(keys), false, "key", "keys"))
		return
	}
	if standby == nil {
		x.find(ailmentNamed("key-no-standby"), "there is no next key beside %s", active.ID)
	}
	if age := x.now.Sub(active.ActivateAt); age > 2*max(x.cfg.Key.RotateEvery, keyring.PublishFor) {
		x.find(ailmentNamed("key-old"), "the key %s signs since %s", active.ID, when(active.ActivateAt, x.now))
	}
}

// powerful are the permissions with which everything else can be had.
func powerful() []string { return []string{"handstamp.admin", "handstamp.start"} }

// serviceKeys looks for keys that may do everything and never end. It answers whether one may administer.
func (x *examination) serviceKeys(ctx context.Context, s stores) (administers bool, err error) {
	var after id.ServiceKey
	for {
		list, err := s.accounts.Users().ServiceKeys(ctx, after, page)
		if err != nil {
			return false, fmt.Errorf("list service keys: %w", err)
		}
		for _, k := range list {
			strong := slices.ContainsFunc(k.Permissions, func(p string) bool { return p == "*" || slices.Contains(powerful(), p) })
			over := !k.ExpiresAt.IsZero() && !x.now.Before(k.ExpiresAt)
			administers = administers || strong && !over
			if strong && k.ExpiresAt.IsZero() {
				x.find(ailmentNamed("service-key-endless"), "the service key %s (%s) has %s and no end", k.ID, short(k.Name), strings.Join(k.Permissions, " "))
			}
		}
		if len(list) < page {
			return administers, nil
		}
		after = list[len(list)-1].ID
	}
}

// page is how many records are read at once.
const page = 1000

// roles looks at what everybody gets who signs up.
func (x *examination) roles(ctx context.Context, s stores) error {
	table, _, err := s.store.Roles(ctx)
	if err != nil {
		return fmt.Errorf("read the roles: %w", err)
	}
	granted := table.Grants([]string{account.RoleMember})
	for _, p := range powerful() {
		if granted.Has(p) {
			x.find(ailmentNamed("member-may-administer"), "the role %s, which everybody gets at sign-up, grants %s", account.RoleMember, strings.Join(granted.List(), " "))
			break
		}
	}
	return nil
}

// administrators looks at who may do everything. A server that is only tried out has none.
func (x *examination) administrators(ctx context.Context, s stores, keys bool) error {
	users := s.accounts.Users()
	f := account.UserFilter{Limit: page}
	able := keys
	for {
		list, err := users.List(ctx, f)
		if err != nil {
			return fmt.Errorf("list users: %w", err)
		}
		for _, u := range list {
			if !slices.Contains(u.Roles, account.RoleAdmin) || u.Disabled {
				continue
			}
			_, err := users.Credential(ctx, u.ID, account.MethodPassword)
			switch {
			case errors.Is(err, handstamp.ErrNotFound):
				x.find(ailmentNamed("administrator-without-password"), "%s has the role %s and no password", u.Email, account.RoleAdmin)
			case err != nil:
				return fmt.Errorf("read a credential: %w", err)
			default:
				able = true
			}
		}
		if len(list) < f.Limit {
			break
		}
		f.After = list[len(list)-1].ID
	}
	if !able && !development(x.cfg) {
		x.find(ailmentNamed("no-administrator"), "no account with the role %s can log in, and no service key may administer", account.RoleAdmin)
	}
	return nil
}

// skew is the difference between two clocks that is a finding: rules that compare times of two machines allow 30 s.
const skew = 5 * time.Second
