package move_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/move"
	"github.com/handstamp/handstamp/store/postgres"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/store/sqlite"
	"github.com/handstamp/handstamp/store/storetest/transfertest"
	"github.com/handstamp/handstamp/store/transfer"
)

// lease is the shortest that there is.
const lease = 500 * time.Millisecond

func secret() []byte { return []byte("a secret for tests that nobody else uses, 0123456789") }

// database is one that servers and moves open, each for themselves.
type database struct {
	store    func(ctx context.Context) (transfertest.Backend, error)
	transfer func(t testing.TB) transfer.Database
	beside   func(t testing.TB) *redis.Transfer // where sessions are, if not there; nil if they are
	base     *database                          // without what is beside it
}

// options are those of a move between two databases.
func options(t testing.TB, from, to database) move.Options {
	t.Helper()
	o := move.Options{From: from.transfer(t), To: to.transfer(t), FromName: "old", ToName: "new", Wait: atOnce}
	if from.beside != nil {
		o.FromSessions = from.beside(t)
	}
	if to.beside != nil {
		o.ToSessions = to.beside(t)
	}
	return o
}

// engines are the databases that the tests move between.
func engines() map[string]func(t testing.TB) database {
	return map[string]func(t testing.TB) database{"postgres": newPostgres, "redis": newRedis, "sqlite": newSQLite}
}

// newRedis is a file with its sessions in Redis.
func newRedis(t testing.TB) database {
	server := fault.SharedRedis(t)
	return overRedis(newSQLite(t), server.URLAt(server.Addr(), server.NextDB()))
}

func overRedis(base database, url string) database {
	over := func(ctx context.Context) (transfertest.Backend, error) {
		b, err := base.store(ctx)
		if err != nil {
			return nil, err
		}
		c, err := redis.Dial(ctx, url, redis.Options{})
		if err != nil {
			return nil, errors.Join(err, b.Close())
		}
		return redis.Over(b.(redis.Base), c)
	}
	return database{store: over, transfer: base.transfer, base: &base, beside: func(t testing.TB) *redis.Transfer {
		c, err := redis.Dial(t.Context(), url, redis.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := over(t.Context())
		if err != nil { // the file is closed
			t.Cleanup(c.Close)
			return redis.NewTransfer(c, base.transfer(t), nil)
		}
		t.Cleanup(func() { c.Close(); _ = s.Close() })
		return redis.NewTransfer(c, base.transfer(t), s.(*redis.Store))
	}}
}

func newPostgres(t testing.TB) database {
	server := fault.SharedPostgres(t)
	dsn := server.DSN(server.CreateDB(t))
	opt := postgres.Options{InsecureFsyncOff: true} // a server of tests; the loss of its machine is no concern here
	open := func(ctx context.Context) (transfertest.Backend, error) { return postgres.Open(ctx, dsn, opt) }
	return database{store: open, transfer: func(t testing.TB) transfer.Database {
		tr, err := postgres.OpenTransfer(t.Context(), dsn, opt, true)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tr.Close() })
		return tr
	}}
}

func newSQLite(t testing.TB) database {
	path := filepath.Join(t.TempDir(), "handstamp.db")
	open := func(ctx context.Context) (transfertest.Backend, error) {
		return sqlite.Open(ctx, path, sqlite.Options{})
	}
	s, err := open(t.Context()) // makes the file
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return database{store: open, transfer: func(t testing.TB) transfer.Database {
		tr, err := sqlite.OpenTransfer(t.Context(), path, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
		})
		return tr
	}}
}

// node is a server on a database.
type node struct {
	*handstamp.Auth
	store transfertest.Backend
	cart  *handstamp.Data[[]string]
}

func serve(t testing.TB, d database) *node {
	t.Helper()
	s, err := d.store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Open(t.Context(), s.Keys(), keyring.Options{Secrets: [][]byte{secret()}, TokenLife: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := handstamp.Open(t.Context(), s, handstamp.Options{
		PublicURL: "https://app.example.com", Secrets: [][]byte{secret()}, Keys: ring, Lease: lease, AcceptLoss: handstamp.Volatile,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{auth, s, handstamp.NewData[[]string](auth, "cart")}
	t.Cleanup(n.stop)
	return n
}

// stop ends a node; what a closed database says to that is nobody's concern.
func (n *node) stop() { _, _ = n.Close(), n.store.Close() }

// client is one login and what is known of it.
type client struct {
	mu    sync.Mutex
	grant handstamp.Grant
	user  handstamp.UserID
	cart  []string
	state state
}

type state int

const (
	good state = iota
	ended
	unsure // somebody was told that nobody knows whether it was ended
)

// crowd are clients that log in, refresh, fill carts and are logged out, until they are stopped.
type crowd struct {
	mu      sync.Mutex
	clients []*client
	wg      sync.WaitGroup
	stopped chan struct{}
	done    map[string]int // what succeeded
	refused map[string]int // what was told that nobody knows
	wrong   []string
}

func newCrowd() *crowd {
	return &crowd{stopped: make(chan struct{}), done: map[string]int{}, refused: map[string]int{}}
}

// on lets workers use a node. Each has users of its own, so that it knows what became of them.
func (c *crowd) on(n *node, workers ...int) {
	for _, w := range workers {
		c.wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 7))
			for {
				select {
				case <-c.stopped:
					return
				default:
				}
				if !c.act(n, r, w) {
					time.Sleep(10 * time.Millisecond) // who is told to come back later does; nothing waits for it
				}
			}
		})
	}
}

func (c *crowd) stop() {
	close(c.stopped)
	c.wg.Wait()
	c.stopped = make(chan struct{})
}

// act does one thing that a client or an operator does, and says whether it was answered.
func (c *crowd) act(n *node, r *rand.Rand, worker int) (answered bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	user := handstamp.UserID(fmt.Sprintf("user-%d-%d", worker, r.IntN(5)))
	mine := c.of(user)
	if len(mine) == 0 || r.IntN(4) == 0 {
		return c.logIn(ctx, n, user, r)
	}
	one := mine[r.IntN(len(mine))]
	switch r.IntN(24) {
	case 0:
		return c.logOut(ctx, n, one)
	case 1:
		return c.logOutAll(ctx, n, user, mine)
	case 2, 3, 4, 5:
		return c.fillCart(ctx, n, one)
	case 6, 7, 8, 9, 10, 11:
		return c.refresh(ctx, n, one)
	default:
		return c.check(n, one)
	}
}

func (c *crowd) of(user handstamp.UserID) (mine []*client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.clients {
		if one.user == user && one.state == good {
			mine = append(mine, one)
		}
	}
	return mine
}

// count notes what became of an attempt. Anything but success and "don't know" is wrong.
func (c *crowd) count(what string, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch verdict(err) {
	case "yes":
		c.done[what]++
		return true
	case "don't know":
		c.refused[what]++
	default:
		c.wrong = append(c.wrong, what+" was answered "+err.Error())
	}
	return false
}

// verdict names what a check answered: "yes", a reason, or "don't know".
func verdict(err error) string {
	if err == nil {
		return "yes"
	}
	if r, ok := handstamp.ReasonOf(err); ok {
		return string(r)
	}
	return "don't know"
}

func (c *crowd) logIn(ctx context.Context, n *node, user handstamp.UserID, r *rand.Rand) bool {
	p, err := n.Prove(ctx, user)
	if err == nil {
		p.Mode = []handstamp.Mode{handstamp.ModeSession, handstamp.ModeToken, handstamp.ModeHybrid, handstamp.ModeHybrid}[r.IntN(4)]
		p.Methods = []string{"pwd"}
		var g handstamp.Grant
		if g, err = n.Start(ctx, p); err == nil {
			c.mu.Lock()
			c.clients = append(c.clients, &client{grant: g, user: user})
			c.mu.Unlock()
		}
	}
	return c.count("log-in", err)
}

// refresh may be told that nobody knows: then the same token must do it the next time.
func (c *crowd) refresh(ctx context.Context, n *node, one *client) bool {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.grant.Session.Mode != handstamp.ModeHybrid {
		return true
	}
	g, err := n.Refresh(ctx, handstamp.RefreshRequest{Token: one.grant.RefreshToken})
	answered := c.count("refresh", err)
	if answered {
		one.grant = g
	}
	return answered
}

func (c *crowd) fillCart(ctx context.Context, n *node, one *client) bool {
	one.mu.Lock()
	defer one.mu.Unlock()
	next := append(slices.Clone(one.cart), fmt.Sprint("item ", len(one.cart)))
	if len(next) > 20 {
		next = nil
	}
	err := n.cart.Set(ctx, one.grant.Session.ID, next)
	answered := c.count("cart", err)
	if answered {
		one.cart = next
	}
	return answered
}

func (c *crowd) logOut(ctx context.Context, n *node, one *client) bool {
	_, err := n.EndSession(ctx, one.grant.Session.ID, handstamp.EndOptions{Reason: "logout"})
	return c.over(c.count("log-out", err), one)
}

func (c *crowd) logOutAll(ctx context.Context, n *node, user handstamp.UserID, mine []*client) bool {
	_, err := n.EndUser(ctx, user, handstamp.EndOptions{Reason: "everywhere"})
	return c.over(c.count("log-out everywhere", err), mine...)
}

func (c *crowd) over(certain bool, all ...*client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range all {
		if one.state = ended; !certain {
			one.state = unsure
		}
	}
	return certain
}

// check asks a node about a client's access token. While the database is moved, "don't know" is an answer too.
func (c *crowd) check(n *node, one *client) bool {
	one.mu.Lock()
	token := one.grant.AccessToken.Reveal()
	one.mu.Unlock()
	_, err := n.CheckToken(context.Background(), token)
	return c.count("check", err)
}

// settled checks every client against a node on the target.
func (c *crowd) settled(t *testing.T, n *node) {
	t.Helper()
	for _, w := range c.wrong {
		t.Error(w)
	}
	counts := map[state]int{}
	for _, one := range c.clients {
		counts[one.state]++
		_, err := n.CheckToken(t.Context(), one.grant.AccessToken.Reveal())
		what := fmt.Sprintf("%s of %s (%s)", one.grant.Session.ID, one.user, one.grant.Session.Mode)
		switch {
		case one.state == good && err != nil:
			t.Errorf("%s was good and is answered %v", what, err)
		case one.state == ended && verdict(err) != "revoked":
			t.Errorf("%s was ended and is answered %q", what, verdict(err))
		}
		if one.grant.Session.Mode == handstamp.ModeHybrid {
			again, err := n.Refresh(t.Context(), handstamp.RefreshRequest{Token: one.grant.RefreshToken})
			switch {
			case one.state == good && (err != nil || again.Session.ID != one.grant.Session.ID):
				t.Errorf("%s was good and its refresh is answered %v", what, err)
			case one.state == ended && verdict(err) != "revoked":
				t.Errorf("%s was ended and its refresh is answered %q", what, verdict(err))
			}
		}
		if one.state == good {
			items, _, err := n.cart.Get(t.Context(), one.grant.Session.ID)
			if err != nil || !slices.Equal(items, one.cart) {
				t.Errorf("the cart of %s is %v, %v, want %v", what, items, err, one.cart)
			}
		}
	}
	t.Logf("%d good, %d ended, %d unsure; succeeded %v, told that nobody knows %v", counts[good], counts[ended], counts[unsure], c.done, c.refused)
	if counts[good] == 0 || counts[ended] == 0 {
		t.Error("the crowd did too little")
	}
}

// never checks that a node which was left behind says yes to nobody and no to nobody.
func (c *crowd) never(t *testing.T, n *node, when string) {
	t.Helper()
	c.mu.Lock()
	clients := slices.Clone(c.clients[max(0, len(c.clients)-100):])
	c.mu.Unlock()
	for _, one := range clients {
		one.mu.Lock()
		access, refresh := one.grant.AccessToken, one.grant.RefreshToken
		one.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := n.CheckToken(ctx, access.Reveal())
		if got := verdict(err); got != "don't know" && (one.state == good || got != "revoked") { // what was ended stays ended
			t.Errorf("%s, the node that was left behind answers %q to a check of %s", when, got, one.grant.Session.Mode)
		}
		if one.grant.Session.Mode == handstamp.ModeHybrid {
			if _, err := n.Refresh(ctx, handstamp.RefreshRequest{Token: refresh}); verdict(err) != "don't know" && (one.state == good || verdict(err) != "revoked") {
				t.Errorf("%s, the node that was left behind answers %v to a refresh", when, err)
			}
		}
		cancel()
	}
	if _, err := n.EndUser(t.Context(), "user-0-0", handstamp.EndOptions{}); err == nil || errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("%s, the node that was left behind ends sessions: %v", when, err)
	}
	if _, err := n.Prove(t.Context(), "user-0-0"); verdict(err) != "don't know" {
		t.Errorf("%s, the node that was left behind begins a log-in: %v", when, err)
	}
}

// pairs are all ways from one engine to another, in order.
func pairs() [][2]string {
	var names []string
	for name := range engines() {
		names = append(names, name)
	}
	slices.Sort(names)
	var all [][2]string
	for _, a := range names {
		for _, b := range names {
			all = append(all, [2]string{a, b})
		}
	}
	return all
}

func pairName(p [2]string) string { return strings.Join(p[:], "_to_") }

// pcg is a schedule.
func pcg(a, b uint64) *rand.Rand { return rand.New(rand.NewPCG(a, b)) }
