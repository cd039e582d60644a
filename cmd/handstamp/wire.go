package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/internal/telemetry"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/login/password"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/server"
)

// secretsOf are the secrets of the configuration, or those in data_dir, where a server makes one if there is none. A
// command makes none: what it needs them for was made with the server's.
func secretsOf(cfg *config.Config, log *slog.Logger, mayMake bool) ([][]byte, error) {
	list := cfg.Secret
	if len(list) == 0 && cfg.Database.Kind == config.KindMemory {
		b := make([]byte, 48) // what it protects goes with the process, and so does it
		rand.Read(b)
		return [][]byte{b}, nil
	}
	if file := filepath.Join(cfg.DataDir, config.SecretFile); len(list) == 0 && !mayMake {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no secret in %s: give secret, secret_file or data_dir as the server has it", file)
		}
	}
	if len(list) == 0 {
		made, created, err := config.EnsureSecret(cfg.DataDir)
		if err != nil {
			return nil, err
		}
		if created {
			log.Info("made a secret", "file", filepath.Join(cfg.DataDir, config.SecretFile))
		}
		list = made
	}
	secrets := make([][]byte, len(list))
	for i, s := range list {
		secrets[i] = []byte(s.Reveal())
	}
	return secrets, nil
}

func openRing(ctx context.Context, cfg *config.Config, s stores, secrets [][]byte, now func() time.Time) (*keyring.Ring, error) {
	ring, err := keyring.Open(ctx, s.keys, keyring.Options{
		Algorithm: jwt.Algorithm(cfg.Token.Algorithm), Encrypt: cfg.Token.Encrypt, RotateEvery: cfg.Key.RotateEvery,
		TokenLife: max(cfg.Token.AccessTTL, cfg.Token.StatelessTTL), Secrets: secrets, Now: now,
	})
	if errors.Is(err, keyring.ErrSecret) { // its text names every key
		return nil, errors.New("the signing keys in this database were sealed under another secret: set secret or data_dir to the one they were made with")
	}
	return ring, err
}

// offered are the modes a client may ask for. The mode session, where it is offered, is what a client gets that asks
// for none.
func offered(cfg *config.Config) []handstamp.Mode {
	var modes []handstamp.Mode
	for _, m := range cfg.Modes {
		if m == config.ModeSession {
			modes = append([]handstamp.Mode{handstamp.ModeSession}, modes...)
		} else {
			modes = append(modes, handstamp.Mode(m))
		}
	}
	return modes
}

// authOptions says to the engine what the configuration says.
func authOptions(cfg *config.Config, log *slog.Logger, now func() time.Time) handstamp.Options {
	sameSite := map[config.SameSite]http.SameSite{
		config.SameSiteStrict: http.SameSiteStrictMode, config.SameSiteLax: http.SameSiteLaxMode, config.SameSiteNone: http.SameSiteNoneMode,
	}
	grace := cfg.Refresh.Grace
	if grace == 0 {
		grace = -1 // for the engine zero is its default
	}
	return handstamp.Options{
		PublicURL: cfg.PublicURL.String(), InsecureHTTP: cfg.InsecureHTTP, Origins: cfg.Origins,
		TrustedProxies: cfg.TrustedProxies, Modes: offered(cfg),
		Cookie: handstamp.CookieOptions{SameSite: sameSite[cfg.Cookie.SameSite], Domain: cfg.Cookie.Domain},
		Session: handstamp.SessionOptions{
			IdleTimeout: cfg.Session.IdleTimeout, AbsoluteTimeout: cfg.Session.AbsoluteTimeout, MaxPerUser: cfg.Session.MaxPerUser,
		},
		Token: handstamp.TokenOptions{
			AccessTTL: cfg.Token.AccessTTL, StatelessTTL: cfg.Token.StatelessTTL, Issuer: cfg.Token.Issuer, Audience: cfg.Token.Audience,
		},
		Refresh: handstamp.RefreshOptions{
			IdleTimeout: cfg.Refresh.IdleTimeout, AbsoluteTimeout: cfg.Refresh.AbsoluteTimeout, Grace: grace,
			ForwardAfterRestore: cfg.Refresh.AfterRestore == config.RestoreForward,
		},
		Lease: cfg.Revocation.Lease, CacheBytes: cacheBytes(cfg), RefuseStale: cfg.Revocation.OnStale == config.StaleRefuse,
		AcceptLoss: lossOf(cfg.AcceptLoss), AuditRetention: cfg.Audit.Retention, Now: now, Logger: log,
	}
}

// cacheBytes is the size of the memory of checks; for the engine zero is its default.
func cacheBytes(cfg *config.Config) int64 {
	if cfg.NearCache.Memory == 0 {
		return -1
	}
	return cfg.NearCache.Memory
}

func lossOf(l config.Loss) handstamp.DurabilityClass {
	switch l {
	case config.LossWindow:
		return handstamp.Window
	case config.LossVolatile:
		return handstamp.Volatile
	default:
		return ""
	}
}

// engine is everything between the stores and the listeners.
type engine struct {
	stores
	auth      *handstamp.Auth
	ring      *keyring.Ring
	accounts  *account.Accounts
	flow      *login.Flow
	passwords *password.Method
	hasher    *password.Hasher
	secrets   [][]byte
}

// assemble puts the login methods on an Auth. This is the list of methods.
func assemble(cfg *config.Config, s stores, auth *handstamp.Auth) (*engine, error) {
	e := &engine{stores: s, auth: auth, accounts: account.New(auth, s.accounts)}
	var err error
	if e.flow, err = login.New(auth, s.logins, login.Options{MaxFailures: cfg.Login.MaxFailures}); err != nil {
		return nil, err
	}
	policy, err := password.NewPolicy(cfg.Password.MinLength)
	if err != nil {
		return nil, usage("configuration: password.min_length: %v", err)
	}
	hasher, err := password.NewHasher(password.HasherOptions{
		Params: password.Params{
			MemoryKiB: cfg.Password.MemoryKiB, Iterations: cfg.Password.Iterations, Parallelism: cfg.Password.Parallelism,
		},
		Queue:        password.NewQueue(cfg.Password.MaxConcurrent, 0, 0),
		Legacy:       cfg.Password.LegacyHash.Reveal(),
		InsecureCost: true, // the configuration has warned of weak costs; the operator decides
	})
	if errors.Is(err, password.ErrLegacy) {
		return nil, usage("configuration: password.legacy_hash: %s", rule(err))
	}
	if err != nil {
		return nil, usage("configuration: password: %v", err)
	}
	e.hasher, e.passwords = hasher, password.New(e.flow, e.accounts, hasher, policy)
	return e, nil
}

// openEngine opens everything that "serve" needs.
func openEngine(ctx context.Context, cfg *config.Config, log *slog.Logger, now func() time.Time) (e *engine, err error) {
	secrets, err := secretsOf(cfg, log, true)
	if err != nil {
		return nil, err
	}
	s, err := openStores(ctx, cfg, log, opening{create: true, migrate: cfg.Migrate, serve: true, secrets: secrets})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	ring, err := openRing(ctx, cfg, s, secrets, now)
	if err != nil {
		return nil, err
	}
	opt := authOptions(cfg, log, now)
	opt.Keys, opt.Secrets = ring, secrets
	auth, err := handstamp.Open(ctx, s.store, opt)
	if err != nil {
		return nil, err
	}
	if e, err = assemble(cfg, s, auth); err != nil {
		return nil, errors.Join(err, auth.Close())
	}
	e.ring, e.secrets = ring, secrets
	return e, nil
}

// end closes what openEngine opened, the engine before the store.
func (e *engine) end() error { return errors.Join(e.auth.Close(), e.stores.close()) }

// api makes the HTTP API of an engine.
func (e *engine) api(cfg *config.Config, log *slog.Logger, now func() time.Time) (*server.Server, error) {
	var clear []string
	for _, d := range cfg.Logout.ClearSiteData {
		clear = append(clear, string(d))
	}
	return server.New(server.Options{
		Auth: e.auth, Accounts: e.accounts, Passwords: e.passwords, Audit: e.store.Audit(), Keys: e.ring,
		PublicURL: cfg.PublicURL.String(), Secrets: e.secrets, SignUpClosed: cfg.Signup == config.SignupClosed,
		AdminMaxAuthAge: cfg.Admin.MaxAuthAge, ClearSiteData: clear, CheckHeaders: cfg.Check.Headers,
		UnverifiedEmail: cfg.Check.UnverifiedEmail, HideKeys: cfg.Token.Encrypt || cfg.Token.Algorithm == config.HS256, Roles: e.store.Roles,
		Health: e.health, Parts: e.parts, HashQueue: e.hashQueue, Throttle: e.flow.Throttle, OnRoute: telemetry.Route,
		Version: version(), Logger: log, Now: now,
	})
}

// hashQueue says how the queue of password hashes stands.
func (e *engine) hashQueue() server.HashQueue {
	l := e.hasher.Load()
	return server.HashQueue{Running: l.Running, Waiting: l.Waiting, Refused: l.Refused}
}

// health says where this process stands with the log.
func (e *engine) health() revoke.View {
	h := e.auth.Health()
	return revoke.View{Log: h.Log, Applied: h.Applied, Low: h.Low, LeaseLeft: h.LeaseLeft}
}
