package fault

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// RedisOptions say how a server is to be. The zero value keeps nothing over a restart.
type RedisOptions struct {
	// AppendFsync switches the append-only file on: "always", "everysec" or "no". "" is no file at all.
	AppendFsync string
	// Password is asked of the user default, if not empty.
	Password string
	// ACL is the text of an ACL file, one user per line; the user "default" is then as the file says. Where it leaves
	// that user without all rights, Admin and AdminPassword name one who has them, for this package.
	ACL                  string
	Admin, AdminPassword string
	// ReplicaOf makes the server follow another one.
	ReplicaOf *Redis
	// TLS makes the port speak TLS only, with a certificate for 127.0.0.1 and localhost by Redis.CA.
	TLS bool
	// Args are further arguments, for example "--maxmemory-policy", "allkeys-lru".
	Args []string
}

// Redis is a server of its own.
type Redis struct {
	CA *CA // who signed the server's certificate; nil without TLS

	dir  string
	port int
	opt  RedisOptions
	log  *output
	proc *proc
	db   atomic.Int64
	own  atomic.Int64 // commands of this package since the server started
}

// redisDatabases is how many databases a server has: more than a test process has tests.
const redisDatabases = 4096

// StartRedis starts a server. It ends with the test. Where Redis is not installed the test is skipped, or fails when the
// variable CI is set.
func StartRedis(t testing.TB, opt RedisOptions) *Redis {
	t.Helper()
	r := newRedis(t, opt)
	t.Cleanup(func() { r.remove(t) })
	return r
}

func newRedis(t testing.TB, opt RedisOptions) *Redis {
	t.Helper()
	find(t, "redis-server", "redis-server")
	r := &Redis{opt: opt, log: &output{}}
	r.dir = here.mkdir(t, "redis", account{})
	if opt.ReplicaOf != nil && opt.TLS {
		r.CA = opt.ReplicaOf.CA
	}
	if opt.TLS && r.CA == nil {
		r.CA = NewCA(t)
	}
	if opt.TLS {
		cert, key := r.CA.Issue(t, "127.0.0.1", "localhost")
		account{}.write(t, filepath.Join(r.dir, "server.crt"), string(cert))
		account{}.write(t, filepath.Join(r.dir, "server.key"), string(key))
	}
	if opt.ACL != "" {
		account{}.write(t, filepath.Join(r.dir, "users.acl"), strings.TrimSpace(opt.ACL)+"\n")
	}
	r.launch(t)
	return r
}

//nolint:gochecknoglobals // one server for the whole test process, which is its point
var sharedRedis struct {
	sync.Mutex
	r *Redis
}

// SharedRedis is one server for the whole test process. Every test uses a database of its own (NextDB) or a prefix of
// its own, and neither kills the server nor changes its settings.
func SharedRedis(t testing.TB) *Redis {
	t.Helper()
	sharedRedis.Lock()
	defer sharedRedis.Unlock()
	if sharedRedis.r == nil {
		sharedRedis.r = newRedis(t, RedisOptions{})
	}
	return sharedRedis.r
}

func (r *Redis) launch(t testing.TB) {
	t.Helper()
	var err error
	for range 5 {
		r.port = FreePort(t)
		if err = r.run(t); err == nil {
			return
		}
		r.proc.kill()
	}
	t.Fatalf("fault: start redis-server: %v\n%s", err, r.log.tail())
}

// arguments of the server; nothing is read from a file of the system.
func (r *Redis) arguments() []string {
	port := strconv.Itoa(r.port)
	args := []string{
		"--port", port, "--bind", "127.0.0.1", "--dir", r.dir, "--daemonize", "no", "--databases", strconv.Itoa(redisDatabases),
		"--save", "", "--protected-mode", "no", "--loglevel", "notice", "--maxmemory-policy", "noeviction",
		"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
	}
	if r.opt.TLS {
		args = append(args, "--port", "0", "--tls-port", port, "--tls-cert-file", filepath.Join(r.dir, "server.crt"),
			"--tls-key-file", filepath.Join(r.dir, "server.key"), "--tls-ca-cert-file", r.CA.File,
			"--tls-auth-clients", "no", "--tls-replication", "yes")
	}
	if r.opt.AppendFsync != "" {
		args = append(args, "--appendonly", "yes", "--appendfsync", r.opt.AppendFsync)
	}
	if r.opt.Password != "" {
		args = append(args, "--requirepass", r.opt.Password)
	}
	if r.opt.ACL != "" {
		args = append(args, "--aclfile", filepath.Join(r.dir, "users.acl"))
	}
	if m := r.opt.ReplicaOf; m != nil {
		args = append(args, "--replicaof", "127.0.0.1", strconv.Itoa(m.port))
		if m.opt.Password != "" {
			args = append(args, "--masterauth", m.opt.Password)
		}
	}
	return append(args, r.opt.Args...)
}

func (r *Redis) run(t testing.TB) error {
	t.Helper()
	cmd := exec.Command(find(t, "redis-server", "redis-server"), r.arguments()...) //nolint:gosec,noctx // a fixed program, ended by the test
	cmd.Env, cmd.Dir = plainEnv(), r.dir
	var err error
	if r.proc, err = start(t, cmd, account{}, r.log); err != nil {
		return err
	}
	r.own.Store(0)
	return r.proc.await(func() error {
		_, err := r.command("PING")
		return err
	})
}

// command runs one command on a connection of its own.
func (r *Redis) command(args ...string) (any, error) {
	c, err := dialResp(r.Addr(), r.CA)
	if err != nil {
		return nil, err
	}
	defer c.close()
	auth := []string{"AUTH", r.opt.Password}
	if r.opt.Admin != "" {
		auth = []string{"AUTH", r.opt.Admin, r.opt.AdminPassword}
	}
	if auth[len(auth)-1] != "" {
		r.own.Add(1)
		if _, err := c.do(auth...); err != nil {
			return nil, err
		}
	}
	r.own.Add(1)
	return c.do(args...)
}

// Do runs one command in database 0: a string, an int64, nil or a list of these.
func (r *Redis) Do(t testing.TB, args ...string) any {
	t.Helper()
	v, err := r.command(args...)
	if err != nil {
		t.Fatalf("fault: redis %s: %v", args[0], err)
	}
	return v
}

// Start brings a killed server back on the same port, with the data that its settings kept.
func (r *Redis) Start(t testing.TB) {
	t.Helper()
	if r.proc.running() {
		return
	}
	if err := r.run(t); err != nil {
		t.Fatalf("fault: start redis-server again: %v\n%s", err, r.log.tail())
	}
}

// Kill ends the server by SIGKILL.
func (r *Redis) Kill() { r.proc.kill() }

// Pause stops the server where it is; connections stay open and get no answer.
func (r *Redis) Pause() { r.proc.pause() }

// Resume lets it go on.
func (r *Redis) Resume() { r.proc.resume() }

// Flush empties all databases.
func (r *Redis) Flush(t testing.TB) {
	t.Helper()
	r.Do(t, "FLUSHALL")
}

// Promote makes a replica a primary.
func (r *Redis) Promote(t testing.TB) {
	t.Helper()
	r.Do(t, "REPLICAOF", "NO", "ONE")
}

// InSync waits until a replica has what its primary has.
func (r *Redis) InSync(t testing.TB) {
	t.Helper()
	err := r.proc.await(func() error {
		v, err := r.command("INFO", "replication")
		if err != nil {
			return err
		}
		if s := fmt.Sprint(v); !strings.Contains(s, "master_link_status:up") || !strings.Contains(s, "master_sync_in_progress:0") {
			return errors.New("the replica has no copy yet")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("fault: the replica: %v", err)
	}
}

// Addr is where the server listens. It stays the same over restarts.
func (r *Redis) Addr() string { return Loopback(r.port) }

// Port is the port of Addr.
func (r *Redis) Port() int { return r.port }

// Dir is where the server keeps its files.
func (r *Redis) Dir() string { return r.dir }

// Log is the end of what the server wrote.
func (r *Redis) Log() string { return r.log.String() }

// URL is the address of database 0: redis://127.0.0.1:port, or rediss:// with TLS.
func (r *Redis) URL() string { return r.URLAt(r.Addr(), 0) }

// URLAt is the address of a database by way of another address, for example a Proxy's.
func (r *Redis) URLAt(addr string, db int) string {
	u := url.URL{Scheme: "redis", Host: addr}
	if r.opt.TLS {
		u.Scheme = "rediss"
	}
	if r.opt.Password != "" {
		u.User = url.UserPassword("", r.opt.Password)
	}
	if db != 0 {
		u.Path = "/" + strconv.Itoa(db)
	}
	return u.String()
}

// NextDB is the number of a database that no other test of this process was given, from 1 on.
func (r *Redis) NextDB() int { return 1 + int(r.db.Add(1)-1)%(redisDatabases-1) }

// Commands counts the commands that clients ran since the server started, without those of this package. A script counts
// once for itself and once for each command in it.
func (r *Redis) Commands(t testing.TB) int64 {
	t.Helper()
	own := r.own.Load() + 1 // the question itself is not among its own answer; a password is
	if r.opt.Password != "" || r.opt.AdminPassword != "" {
		own++
	}
	var n int64
	for _, calls := range r.CommandsByName(t) {
		n += calls
	}
	return n - (own - 1)
}

// CommandsByName is the count of each command since the server started, those of this package included.
func (r *Redis) CommandsByName(t testing.TB) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	for line := range strings.Lines(fmt.Sprint(r.Do(t, "INFO", "commandstats"))) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		calls, _, _ := strings.Cut(rest, ",")
		n, err := strconv.ParseInt(calls, 10, 64)
		if err != nil {
			t.Fatalf("fault: INFO commandstats: %q", line)
		}
		all[name] = n
	}
	return all
}

func (r *Redis) remove(t testing.TB) {
	r.proc.kill()
	if t.Failed() {
		t.Logf("the end of the log of Redis on port %d:\n%s", r.port, r.log.tail())
	}
	_ = os.RemoveAll(r.dir)
}
