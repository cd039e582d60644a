package scenario

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// long says whether the long form was asked for.
func long() bool { return os.Getenv("HANDSTAMP_TORTURE") != "" }

// times picks the number for the form that runs.
func times(short, published int) int {
	if n, err := strconv.Atoi(os.Getenv("HANDSTAMP_TORTURE_ROUNDS")); err == nil {
		return n
	}
	if long() {
		return published
	}
	return short
}

// The ways to keep sessions that several nodes can share.
const (
	onPostgres = "postgres"
	onSQLite   = "sqlite"
	onRedis    = "redis"  // sessions in Redis, accounts in PostgreSQL
	onTiered   = "tiered" // Redis in front of PostgreSQL
)

// setup says what a fleet is.
type setup struct {
	store   string
	nodes   int
	lease   time.Duration     // 0 is the default, 2 s
	durable bool              // the servers sync their disks
	env     map[string]string // further settings of every node, for example HANDSTAMP_REFRESH_GRACE
	disk    *fault.Disk       // where SQLite keeps its file; nil is the system's
	shared  bool              // a database of the test process's server, which is not to be broken
}

// fleet is a running installation.
type fleet struct {
	*fault.History
	t       *testing.T
	setup   setup
	pg      *fault.Postgres
	db      string
	redis   *fault.Redis
	nodes   []*node
	key     string // a service key that may do everything
	public  string // what all nodes call themselves
	serial  atomic.Int64
	created sync.Map // session → *cred
	doubts  doubts
	told    map[string]bool // audit entries of what was judged and forgotten
}

// node is one process of the fleet, each behind proxies of its own.
type node struct {
	*fault.Node
	f      *fleet
	sql    *fault.Proxy // nil on SQLite
	redis  *fault.Proxy // nil without Redis
	ops    string
	client *http.Client
}

const binaryPackage = "github.com/handstamp/handstamp/cmd/handstamp"

// newFleet starts servers and nodes.
func newFleet(t *testing.T, s setup) *fleet {
	t.Helper()
	f := &fleet{t: t, setup: s, told: map[string]bool{}}
	if s.store != onSQLite {
		f.pg = postgresFor(t, s)
		f.db = f.pg.CreateDB(t)
	}
	if s.store == onRedis || s.store == onTiered {
		f.redis = fault.StartRedis(t, fault.RedisOptions{AppendFsync: "always"})
	}
	bin := os.Getenv("HANDSTAMP_BINARY")
	if bin == "" {
		bin = fault.BuildBinary(t, binaryPackage, "handstamp_testclock")
	}
	f.History = fault.NewHistory(t)
	public := "http://" + fault.Loopback(fault.FreePort(t))
	dir := t.TempDir()
	f.public = public
	for i := range s.nodes {
		f.nodes = append(f.nodes, f.newNode(string(rune('a'+i)), bin, public, dir))
	}
	f.nodes[0].Start(t)
	key, err := f.nodes[0].Command("service-key", "add", "scenario", "*")
	if err != nil {
		t.Fatal(err)
	}
	f.key = strings.TrimSpace(key)
	for _, n := range f.nodes[1:] {
		n.Start(t)
	}
	return f
}

func postgresFor(t *testing.T, s setup) *fault.Postgres {
	t.Helper()
	if s.shared {
		return fault.SharedPostgres(t)
	}
	return fault.StartPostgres(t, fault.PostgresOptions{Durable: s.durable})
}

func (f *fleet) newNode(name, bin, public, dir string) *node {
	f.t.Helper()
	addr, ops := fault.Loopback(fault.FreePort(f.t)), fault.Loopback(fault.FreePort(f.t))
	n := &node{f: f, ops: "http://" + ops}
	env := map[string]string{
		"HANDSTAMP_ADDR": addr, "HANDSTAMP_OPS_ADDR": ops, "HANDSTAMP_PUBLIC_URL": public,
		"HANDSTAMP_DATA_DIR": filepath.Join(dir, "data-"+name), "HANDSTAMP_SECRET": "c2NlbmFyaW9zIHNoYXJlIG9uZSBzZWNyZXQgb2YgdGhlaXIgb3du",
		"HANDSTAMP_PASSWORD_MEMORY_KIB": "64", "HANDSTAMP_PASSWORD_ITERATIONS": "1",
		"HANDSTAMP_LOGIN_MAX_FAILURES": "1000000", "HANDSTAMP_LOG_FORMAT": "text",
		"PATH": os.Getenv("PATH"), "HOME": dir,
	}
	if !f.setup.durable {
		// Servers that do not sync lose what a crash of the machine would take, which no test here causes.
		env["HANDSTAMP_ACCEPT_LOSS"] = "volatile"
	}
	if f.setup.lease != 0 {
		env["HANDSTAMP_REVOCATION_LEASE"] = f.setup.lease.String()
	}
	if f.pg != nil {
		n.sql = fault.NewProxy(f.t, f.pg.Addr())
		env["HANDSTAMP_DATABASE"] = f.pg.DSNAt(n.sql.Addr(), f.db)
	} else {
		file := filepath.Join(dir, "one.db")
		if f.setup.disk != nil {
			file = filepath.Join(f.setup.disk.Dir(), "one.db")
		}
		env["HANDSTAMP_DATABASE"] = "sqlite:" + file
	}
	if f.redis != nil {
		n.redis = fault.NewProxy(f.t, f.redis.Addr())
		env[map[string]string{onRedis: "HANDSTAMP_SESSIONS", onTiered: "HANDSTAMP_CACHE"}[f.setup.store]] = f.redis.URLAt(n.redis.Addr(), 0)
	}
	maps.Copy(env, f.setup.env)
	var list []string
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	n.Node = fault.NewNode(f.t, fault.NodeOptions{Name: name, Binary: bin, Args: []string{"serve"}, Env: list, URL: "http://" + addr, Disk: f.setup.disk, Clock: fault.Loopback(fault.FreePort(f.t))})
	n.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 15 * time.Second}
	f.t.Cleanup(n.client.CloseIdleConnections)
	return n
}

// cred is what a client holds of one session.
type cred struct {
	mode, session, user string

	mu      sync.Mutex
	access  string
	refresh string
}

func (c *cred) now() (access, refresh string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.access, c.refresh
}

// name is what a history calls a token.
func name(token string) string {
	if token == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:6])
}

// answer is a response as a client reads it.
type answer struct {
	status int
	header http.Header
	body   []byte
}

type grant struct {
	User    struct{ ID string }
	Session struct{ ID string }
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Code    string
	Applied string
	Waited  int64 `json:"waited_ms"`
	Out     int   `json:"waited_out"`
	Count   int   `json:"verifiers"`
}

func (a answer) grant() (g grant) {
	_ = json.Unmarshal(a.body, &g) // an answer that is none leaves it empty
	return g
}

// call sends one request. No answer is status 0.
func (n *node) call(ctx context.Context, method, path, bearer string, body any) answer {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		in = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, n.URL()+path, in)
	if err != nil {
		panic(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := n.client.Do(r)
	if err != nil {
		return answer{}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answer{}
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: b}
}

// get reads from any listener of the node.
func (n *node) get(address string) (int, string, error) {
	resp, err := n.client.Get(address)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// done records what was answered.
func (f *fleet) done(op *fault.Op, a answer, outcome fault.Outcome) {
	g := a.grant()
	f.Done(op, func(op *fault.Op) {
		op.Outcome, op.Status, op.Code = outcome, a.status, g.Code
		op.RetryAfter = a.header.Get("Retry-After") != ""
		for _, c := range a.header.Values("Set-Cookie") {
			op.CookieCleared = op.CookieCleared || strings.Contains(c, "Max-Age=0")
		}
		switch op.Kind {
		case fault.Check:
			op.SaidUser, op.SaidSession = a.header.Get("Handstamp-User"), a.header.Get("Handstamp-Session")
		case fault.Start:
			op.Session, op.Token = g.Session.ID, name(g.Refresh)
		case fault.Refresh:
			op.SaidUser, op.SaidSession, op.Successor = g.User.ID, g.Session.ID, name(g.Refresh)
		}
	})
}

func decode(b []byte, v any) error { return json.Unmarshal(b, v) }

// newUser is a user that only this test knows.
func (f *fleet) newUser() string { return fmt.Sprintf("user-%d", f.serial.Add(1)) }

// start begins a session of an application's user by the service key. nil is one that was not acknowledged.
func (n *node) start(user, mode string) *cred {
	op := n.f.Invoke(fault.Op{Kind: fault.Start, Node: n.Name(), User: user, Form: mode, Entry: loginOK})
	a := n.call(context.Background(), http.MethodPost, "/v1/admin/sessions", n.f.key,
		map[string]any{"user": user, "methods": []string{"pwd"}, "mode": mode, "transport": "bearer"})
	outcome := fault.Unknown
	switch a.status {
	case http.StatusCreated:
		outcome = fault.Yes
	case http.StatusTooManyRequests:
		outcome = fault.No
	}
	n.f.done(op, a, outcome)
	if outcome != fault.Yes {
		return nil
	}
	g := a.grant()
	c := &cred{mode: mode, session: g.Session.ID, user: user, access: g.Access, refresh: g.Refresh}
	n.f.created.Store(c.session, c)
	return c
}

// check shows the access token as a reverse proxy does. final says that it belongs to the last look.
func (n *node) check(c *cred, final bool) fault.Op {
	access, _ := c.now()
	op := n.f.Invoke(fault.Op{Kind: fault.Check, Node: n.Name(), Session: c.session, User: c.user, Form: c.mode, Final: final})
	a := n.call(context.Background(), http.MethodGet, "/v1/check", access, nil)
	outcome := fault.Unknown
	switch a.status {
	case http.StatusOK:
		outcome = fault.Yes
	case http.StatusUnauthorized:
		outcome = fault.No
	}
	n.f.done(op, a, outcome)
	return *op
}

// refresh shows a refresh token and takes what is answered, unless another goroutine took a later one.
func (n *node) refresh(c *cred) fault.Op {
	_, token := c.now()
	return n.refreshWith(c, token)
}

func (n *node) refreshWith(c *cred, token string) fault.Op {
	op := n.f.Invoke(fault.Op{Kind: fault.Refresh, Node: n.Name(), Session: c.session, User: c.user, Form: c.mode, Token: name(token)})
	a := n.call(context.Background(), http.MethodPost, "/v1/refresh", "", map[string]any{"refresh_token": token})
	outcome := fault.Unknown
	switch a.status {
	case http.StatusOK:
		outcome = fault.Yes
		g := a.grant()
		c.mu.Lock()
		if c.refresh == token {
			c.access, c.refresh = g.Access, g.Refresh
		}
		c.mu.Unlock()
	case http.StatusUnauthorized:
		outcome = fault.No
	}
	n.f.done(op, a, outcome)
	return *op
}

// end ends one session by the administration.
func (n *node) end(c *cred, fleetwide bool) (fault.Op, grant) {
	op := n.f.Invoke(fault.Op{Kind: fault.End, Node: n.Name(), Session: c.session, User: c.user, Fleet: fleetwide, Entry: sessionEnded})
	return n.ending(op, "/v1/admin/sessions/"+c.session, http.MethodDelete, n.f.key)
}

// logout ends one session by its own credential.
func (n *node) logout(c *cred) fault.Op {
	access, _ := c.now()
	op, _ := n.ending(n.f.Invoke(fault.Op{Kind: fault.End, Node: n.Name(), Session: c.session, User: c.user, Note: "log-out", Entry: sessionEnded}), "/v1/logout", http.MethodPost, access)
	return op
}

// endUser ends all sessions of a user.
func (n *node) endUser(user string, fleetwide bool) (fault.Op, grant) {
	op := n.f.Invoke(fault.Op{Kind: fault.End, Node: n.Name(), User: user, Fleet: fleetwide, Entry: userEnded})
	return n.ending(op, "/v1/admin/users/"+url.PathEscape(user)+"/sessions", http.MethodDelete, n.f.key)
}

func (n *node) ending(op *fault.Op, path, method, bearer string) (fault.Op, grant) {
	if op.Fleet {
		path += "?wait=fleet"
	}
	a := n.call(context.Background(), method, path, bearer, nil)
	outcome := fault.Unknown
	switch {
	case a.status == http.StatusOK, a.status == http.StatusNoContent:
		outcome = fault.Yes
	case a.status >= 400 && a.status < 500:
		outcome = fault.No
		n.f.t.Errorf("an end of %s at %s is refused: %d %s", op.Session+op.User, n.Name(), a.status, a.body)
	}
	n.f.done(op, a, outcome)
	return *op, a.grant()
}

// kill ends the process and records for how long its silence is excused.
func (n *node) kill() (back func()) {
	over := n.f.Fault("kill", n.Name())
	n.Kill()
	n.client.CloseIdleConnections()
	return func() {
		n.Start(n.f.t)
		n.client.CloseIdleConnections()
		over()
	}
}

// stop stops the process; the function that is returned lets it go on.
func (n *node) stop() (back func()) {
	over := n.f.Fault("stop", n.Name())
	n.Stop()
	return func() {
		n.Cont()
		over()
	}
}

// works says whether a node does everything again: begins a session, looks it up and ends it.
func (n *node) works() error {
	c := n.start(n.f.newUser(), "hybrid")
	if c == nil {
		return fmt.Errorf("%s begins no session", n.Name())
	}
	if op := n.check(c, false); op.Outcome != fault.Yes {
		return fmt.Errorf("%s answers a check with %d %s", n.Name(), op.Status, op.Code)
	}
	if op := n.refresh(c); op.Outcome != fault.Yes {
		return fmt.Errorf("%s answers a refresh with %d %s", n.Name(), op.Status, op.Code)
	}
	if op, _ := n.end(c, false); op.Outcome != fault.Yes {
		return fmt.Errorf("%s answers an end with %d %s", n.Name(), op.Status, op.Code)
	}
	return nil
}

// recovered waits until every node works again, and fails when that takes longer than service may be away after a fault.
func (f *fleet) recovered() time.Duration {
	f.t.Helper()
	const limit = 5 * time.Second
	began := time.Now()
	for _, n := range f.nodes {
		tick := time.NewTicker(10 * time.Millisecond)
		for {
			err := n.works()
			if err == nil {
				break
			}
			if time.Since(began) > 6*limit {
				f.t.Fatalf("after the fault: %v", err)
			}
			<-tick.C
		}
		tick.Stop()
	}
	took := time.Since(began)
	if took > limit {
		f.t.Errorf("service was back %v after the fault's end", took)
	}
	return took
}

// look looks for every session that was acknowledged, once at each node, or at one of them in turn if there are many.
func (f *fleet) look() {
	f.t.Helper()
	i := 0
	f.created.Range(func(_, v any) bool {
		c, _ := v.(*cred)
		i++
		n := f.nodes[i%len(f.nodes)]
		op := n.check(c, true)
		if op.Outcome == fault.No && op.Code == "expired" || op.Code == "stale_token" {
			// The value token ran out or was overtaken: the session is asked for by a refresh.
			if _, refresh := c.now(); refresh != "" && n.refresh(c).Outcome == fault.Yes {
				n.check(c, true)
			}
		}
		return true
	})
}
