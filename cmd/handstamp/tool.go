package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/revoke"
)

// tool is what a command works with: the same engine as the server's, on the same database, for a moment.
type tool struct {
	*engine
	cfg    *config.Config
	lease  time.Duration
	closed bool
}

// need says what a command needs besides the database.
type need struct {
	create  bool // it may make the database
	secrets bool // signing keys and refresh tokens
}

// still keeps the signing keys as they are. A command beside a server makes and rotates none just because it ran.
type still struct{ *keyring.Ring }

// Maintain does nothing.
func (still) Maintain(context.Context) error { return nil }

// guest is the store as a command sees it: it takes what the servers on the database have agreed on, and settles nothing
// for them. Else the lease of the first command ever run would be the fleet's.
type guest struct {
	handstamp.Store
	agreed handstamp.Settings
}

// Settle answers what was agreed on. Secrets that are none of the fleet's are refused as they are for a server.
func (g guest) Settle(_ context.Context, want handstamp.Settings) (handstamp.Settings, error) {
	foreign := len(g.agreed.Secrets) > 0 && len(want.Secrets) > 0
	for _, s := range want.Secrets {
		foreign = foreign && !slices.Contains(g.agreed.Secrets, s)
	}
	if foreign {
		return handstamp.Settings{}, handstamp.ErrConflict
	}
	return g.agreed, nil
}

// Log is the log, with a lease also where no server has set one yet.
func (g guest) Log() revoke.Log { return guestLog{g.Store.Log(), g.agreed.Lease} }

type guestLog struct {
	revoke.Log
	lease time.Duration
}

// Register implements revoke.Log.
func (l guestLog) Register(ctx context.Context, r revoke.Registration) (revoke.Head, error) {
	h, err := l.Log.Register(ctx, r)
	h.Lease = cmp.Or(h.Lease, l.lease)
	return h, err
}

// Renew implements revoke.Log.
func (l guestLog) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	a, err := l.Log.Renew(ctx, r)
	a.Head.Lease = cmp.Or(a.Head.Lease, l.lease)
	return a, err
}

// openTool opens the database for a command. It follows the log like a server, but offers no login and adopts what the
// servers on this database have agreed on: an operator in a hurry is not refused because a flag of the server's is
// missing on his command line.
func (a *app) openTool(ctx context.Context, n need) (t *tool, err error) {
	cfg, _, err := a.settings()
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler) // what matters is in the errors
	s, err := openStores(ctx, cfg, log, opening{create: n.create, shared: true})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	opt := authOptions(cfg, log, a.now)
	opt.Modes, opt.AcceptLoss = []handstamp.Mode{handstamp.ModeSession}, handstamp.Volatile
	agreed, err := s.store.Settle(ctx, handstamp.Settings{})
	if err != nil {
		return nil, fmt.Errorf("read the settings of this database: %w", err)
	}
	if agreed.Lease != 0 {
		opt.Lease = agreed.Lease
	}
	agreed.Lease = opt.Lease
	t = &tool{cfg: cfg, lease: opt.Lease}
	var ring *keyring.Ring
	if n.secrets {
		secrets, err := secretsOf(cfg, log, false)
		if err != nil {
			return nil, err
		}
		if ring, err = openRing(ctx, cfg, s, secrets, a.now); err != nil {
			return nil, err
		}
		opt.Keys, opt.Secrets = still{ring}, secrets
	}
	auth, err := handstamp.Open(ctx, guest{s.store, agreed}, opt)
	if err != nil {
		return nil, err
	}
	if t.engine, err = assemble(cfg, s, auth); err != nil {
		return nil, errors.Join(err, auth.Close())
	}
	t.ring = ring
	return t, nil
}

// end closes the tool. What went well stays well: the answer was given.
func (t *tool) end() {
	if !t.closed {
		_ = t.auth.Close()
	}
	_ = t.stores.close()
}

// cliClient is who the audit log says it was.
func cliClient() handstamp.Client { return handstamp.Client{Actor: "cli"} }

func cliEnd(reason string) handstamp.EndOptions {
	return handstamp.EndOptions{Reason: reason, Client: cliClient()}
}

// outcome is what a command ended or changed, for programs.
type outcome struct {
	Revoked   int    `json:"revoked"`
	More      bool   `json:"more,omitempty"`
	Event     uint64 `json:"event"`
	Applied   string `json:"applied"`
	Verifiers *int   `json:"verifiers,omitempty"`
	WaitedOut *int   `json:"waited_out,omitempty"`
	WaitedMS  *int64 `json:"waited_ms,omitempty"`
}

// settle waits for the fleet where that was asked for. The command's own verifier leaves first, so that it is neither
// waited for nor counted: nobody asks it anything.
func (t *tool) settle(ctx context.Context, wait bool, ended ...handstamp.Ended) (outcome, error) {
	out := outcome{Applied: "log"}
	for _, e := range ended {
		out.Revoked, out.More, out.Event = out.Revoked+e.Sessions, out.More || e.More, max(out.Event, e.By)
	}
	if !wait {
		return out, nil
	}
	t.closed = true
	if err := t.auth.Close(); err != nil {
		return out, fmt.Errorf("it is done, but the fleet was not waited for: %w", err)
	}
	w, err := revoke.Wait(ctx, t.store.Log(), revoke.Waiting{Seq: out.Event, Lease: t.lease, Clock: revoke.SystemClock()})
	if err != nil {
		return out, fmt.Errorf("it is done, but the fleet was not waited for: %w", err)
	}
	ms := w.Took.Milliseconds()
	out.Applied, out.Verifiers, out.WaitedOut, out.WaitedMS = "fleet", &w.Verifiers, &w.WaitedOut, &ms
	return out, nil
}

// words says an outcome to a person, after what was done.
func (o outcome) words(what string) string {
	var b strings.Builder
	b.WriteString(what)
	if o.Event > 0 {
		fmt.Fprintf(&b, " (event %d)", o.Event)
	}
	switch {
	case o.Verifiers == nil:
	case *o.Verifiers == 0:
		b.WriteString("; no server runs on this database")
	default:
		fmt.Fprintf(&b, "; applied by %d of %d verifiers in %d ms", *o.Verifiers-*o.WaitedOut, *o.Verifiers, *o.WaitedMS)
		if *o.WaitedOut > 0 {
			fmt.Fprintf(&b, ", and %d can no longer answer from memory", *o.WaitedOut)
		}
	}
	return b.String()
}

// count writes a number of things in words.
func count(n int, more bool, one, many string) string {
	switch {
	case more:
		return fmt.Sprintf("more than %d %s", n, many)
	case n == 1:
		return "1 " + one
	default:
		return fmt.Sprintf("%d %s", n, many)
	}
}

// user finds the account that is meant: by id or by address. Ids of imported users may look like anything.
func (t *tool) user(ctx context.Context, named string) (account.User, error) {
	address, noAddress := account.ParseAddress(named)
	if strings.Contains(named, "@") && noAddress == nil {
		user, err := t.accounts.Users().ByEmail(ctx, address)
		if !errors.Is(err, handstamp.ErrNotFound) {
			return user, err
		}
	}
	u, noID := id.ParseUser(named)
	if noID == nil {
		user, err := t.accounts.Users().ByID(ctx, u)
		if !errors.Is(err, handstamp.ErrNotFound) {
			return user, err
		}
	}
	switch {
	case strings.Contains(named, "@"):
	case noID == nil:
		return account.User{}, errors.New("there is no user with this id: see handstamp user list")
	default:
		return account.User{}, usage("%q is neither an address nor the id of an account", short(named))
	}
	if noAddress != nil {
		return account.User{}, usage("this is no address: %s", rule(noAddress))
	}
	return account.User{}, errors.New("there is no user with this address: see handstamp user list")
}

// anyUser finds the user id that is meant: an account by its address, or any id, also one that no account knows.
func (t *tool) anyUser(ctx context.Context, named string) (handstamp.UserID, error) {
	if address, err := account.ParseAddress(named); err == nil && strings.Contains(named, "@") {
		user, err := t.accounts.Users().ByEmail(ctx, address)
		if err == nil {
			return user.ID, nil
		}
		if !errors.Is(err, handstamp.ErrNotFound) {
			return "", err
		}
	}
	u, err := id.ParseUser(named)
	if err != nil {
		return "", usage("this is no user: %s", rule(err))
	}
	if !strings.Contains(named, "@") {
		return u, nil
	}
	// An application may use addresses as its user ids. One that nobody has ever seen is a slip of the hand, and "0
	// sessions ended" would be a comforting answer to it.
	sub, err := t.auth.Subject(ctx, u)
	if err != nil {
		return "", err
	}
	list, err := t.auth.Sessions(ctx, handstamp.SessionFilter{User: u, Limit: 1})
	if err != nil {
		return "", err
	}
	if sub.Ended == 0 && sub.Changed == 0 && len(list) == 0 {
		return "", errors.New("there is no user with this address: see handstamp user list")
	}
	return u, nil
}

// notFound says in words what was not found.
func notFound(err error, text string) error {
	if errors.Is(err, handstamp.ErrNotFound) {
		return errors.New(text)
	}
	return err
}

// short cuts what is quoted in a message.
func short(s string) string {
	if len(s) > 60 {
		return hideTokens(s[:57], nil) + "..."
	}
	return hideTokens(s, nil)
}
