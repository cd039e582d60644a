package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/login/password"
	"github.com/handstamp/handstamp/store/memory"
)

// rig is what is measured: the engine on a store of its own, behind the server's own handler on loopback.
type rig struct {
	*engine
	name   string // in the list of verifiers: what this process does, and no other process's
	base   string // where the server is
	client *http.Client
	users  []benchUser
	secret password.Secret // everybody's password
	typed  string
	stored string // its hash

	thrownAway bool
	undo       []func(ctx context.Context) error // what ends the rig, the last first
}

// benchUser is an account that was made to be measured with.
type benchUser struct {
	id    handstamp.UserID
	email account.Address
}

// newRig is a rig that is still to be opened. Ending it is in order at any time.
func newRig() *rig { return &rig{name: "handstamp bench " + rand.Text()} }

// openRig opens what is measured.
func (b *bench) openRig(ctx context.Context, r *rig) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen on loopback: %w", err)
	}
	r.later(func(context.Context) error { _ = listener.Close(); return nil }) // the server may have done so
	r.base = "http://" + listener.Addr().String()
	cfg := benchConfig(b.cfg, &url.URL{Scheme: "http", Host: listener.Addr().String()})
	secret := make([]byte, 48) // what it protects goes with this process
	rand.Read(secret)
	if !b.opt.Stores {
		if err := r.throwAway(cfg); err != nil {
			return err
		}
	} else if err := b.claim(ctx, r, cfg); err != nil {
		return err
	}
	if err := r.open(ctx, b, cfg, secret); err != nil {
		return err
	}
	if err := r.serve(b, cfg, listener); err != nil {
		return err
	}
	return r.enrol(ctx, b.atOnce)
}

// later adds what is to be done at the end.
func (r *rig) later(do func(ctx context.Context) error) { r.undo = append(r.undo, do) }

// end takes down what was opened, and what was made in the stores, also after an interrupt.
func (r *rig) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var errs []error
	for i := len(r.undo) - 1; i >= 0; i-- {
		errs = append(errs, r.undo[i](ctx))
	}
	r.undo = nil
	return errors.Join(errs...)
}

// benchConfig is the configuration with what must not get into the way of a measurement: lives that could end in it, limits
// that are for guessers, and what is only true of the server's own address. What costs something stays as it is.
func benchConfig(is *config.Config, at *url.URL) *config.Config {
	cfg := *is
	cfg.PublicURL, cfg.InsecureHTTP, cfg.Origins, cfg.TrustedProxies, cfg.Cookie.Domain = at, false, nil, nil, ""
	cfg.Token.Issuer, cfg.Token.Audience = at.String(), at.String()
	cfg.Session = config.Session{IdleTimeout: 24 * time.Hour, AbsoluteTimeout: 720 * time.Hour}
	cfg.Token.AccessTTL, cfg.Token.StatelessTTL = time.Hour, time.Hour
	// Clients refresh once in some minutes, which is long after the grace time. Here the next refresh comes at once; with a
	// grace time each would be taken for a possible repetition, which is read and decided, and so costs more.
	cfg.Refresh = config.Refresh{IdleTimeout: 720 * time.Hour, AbsoluteTimeout: 2160 * time.Hour}
	cfg.Login.MaxFailures = 1_000_000 // everybody logs in from one network
	return &cfg
}

// throwAway makes the store that is measured unless --stores: SQLite on the disk of data_dir.
func (r *rig) throwAway(cfg *config.Config) error {
	place, err := existing(cfg.DataDir)
	if err != nil {
		return fmt.Errorf("look for data_dir: %w", err)
	}
	dir, err := os.MkdirTemp(place, "handstamp-bench-")
	if err != nil {
		return fmt.Errorf("make a directory beside data_dir, to measure its disk: %w", err)
	}
	r.later(func(context.Context) error {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove %s, which can be deleted: %w", dir, err)
		}
		return nil
	})
	r.thrownAway = true
	cfg.Database = config.Backend{Kind: config.KindSQLite, Path: filepath.Join(dir, "bench.db")}
	cfg.Sessions, cfg.Cache = config.Backend{Kind: config.KindDatabase}, config.Backend{Kind: config.KindNone}
	return nil
}

// existing is a directory, or the nearest one above it that is there.
func existing(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		info, err := os.Stat(dir)
		if err == nil && info.IsDir() {
			return dir, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", errors.Join(err, errors.New("there is no directory"))
		}
		dir = above
	}
}

// open opens the engine. It leaves no settings and no keys in the database: a server that is started on it later makes its
// own.
func (r *rig) open(ctx context.Context, b *bench, cfg *config.Config, secret []byte) error {
	log, secrets := slog.New(slog.DiscardHandler), [][]byte{secret}
	s, err := openStores(ctx, cfg, log, opening{create: true, secrets: secrets})
	if err != nil {
		return err
	}
	r.later(func(context.Context) error { return s.close() })
	for _, part := range s.parts { // a server does without its cache, but a measurement without it would be one of something else
		if err := part.Ask(ctx); err != nil {
			return fmt.Errorf("ask the %s: %w", part.Name, err)
		}
	}
	agreed, err := s.store.Settle(ctx, handstamp.Settings{})
	if err != nil {
		return fmt.Errorf("read the settings of this database: %w", err)
	}
	agreed.Lease = cfg.Revocation.Lease
	ring, err := openRing(ctx, cfg, stores{keys: memory.New().Keys()}, secrets, b.app.now)
	if err != nil {
		return err
	}
	opt := authOptions(cfg, log, b.app.now)
	opt.Keys, opt.Secrets, opt.AcceptLoss, opt.Name = ring, secrets, handstamp.Volatile, r.name
	auth, err := handstamp.Open(ctx, guest{s.store, agreed}, opt)
	if err != nil {
		return err
	}
	r.later(func(context.Context) error { return auth.Close() })
	if r.engine, err = assemble(cfg, s, auth); err != nil {
		return err
	}
	r.ring, r.secrets = ring, secrets
	return nil
}

// serve puts the server's handler on a port of loopback.
func (r *rig) serve(b *bench, cfg *config.Config, at net.Listener) error {
	log := slog.New(slog.DiscardHandler)
	api, err := r.api(cfg, log, b.app.now)
	if err != nil {
		return err
	}
	write := writeTimeout(cfg)
	limit := newConnLimit(at, maxConnections())
	s := httpServer(entrance{api: api}.handler(write-time.Second), write, log)
	s.ConnState = limit.note
	go func() { _ = s.Serve(limit) }() // its end is Close
	// No proxy of the environment: the load stays on this machine.
	transport := &http.Transport{MaxIdleConnsPerHost: b.atOnce, DisableCompression: true}
	r.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	r.later(func(context.Context) error {
		transport.CloseIdleConnections()
		return s.Close()
	})
	return nil
}

// enrol makes an account for each worker, so that none waits for another one's. They share a password that nobody knows
// and its hash, which is made once.
func (r *rig) enrol(ctx context.Context, n int) error {
	r.typed = rand.Text()
	var err error
	if r.secret, err = password.Prepare(r.typed); err != nil {
		return err
	}
	if r.stored, err = r.hasher.Hash(ctx, r.secret); err != nil {
		return err
	}
	r.later(r.leave)
	for i := range n {
		email, err := account.ParseAddress(fmt.Sprintf("bench-%d@handstamp.invalid", i+1)) // RFC 2606 section 2: nobody's
		if err != nil {
			return err
		}
		u := benchUser{id.NewUser(r.auth.Now()), email}
		err = r.logins.LoginWork().Do(ctx, func(tx login.Tx) error {
			if _, err := r.accounts.CreateIn(ctx, tx, account.NewUser{Email: email}, u.id, benchClient()); err != nil {
				return err
			}
			now := r.auth.Now()
			return tx.PutCredential(ctx, account.Credential{
				User: u.id, Method: account.MethodPassword, Data: r.stored, CreatedAt: now, UpdatedAt: now,
			})
		})
		if err != nil {
			return fmt.Errorf("make an account to measure with: %w", err)
		}
		r.users = append(r.users, u)
	}
	return nil
}

// leave deletes the accounts, which ends their sessions. What is thrown away needs none of that.
func (r *rig) leave(ctx context.Context) error {
	if r.thrownAway {
		return nil
	}
	for _, u := range r.users {
		_, err := r.accounts.Delete(ctx, u.id, handstamp.EndOptions{Reason: "bench", Client: benchClient()})
		if err != nil && !errors.Is(err, handstamp.ErrNotFound) {
			return fmt.Errorf("delete the accounts of the measurement (bench-…@handstamp.invalid, they are left in %s): %w", r.place, err)
		}
	}
	return nil
}

// benchClient is who the audit log says it was.
func benchClient() handstamp.Client { return handstamp.Client{Actor: "bench"} }
