package fault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresOptions say how a server is to be. The zero value is a server that does not sync its disk, which is quick and
// still keeps everything when its processes are killed: only a crash of the machine would lose something.
type PostgresOptions struct {
	// Settings go into postgresql.conf, after the defaults of this package. SQL's ALTER SYSTEM wins over them.
	Settings map[string]string
	// Durable switches fsync, full_page_writes and synchronous_commit on.
	Durable bool
	// Password asks clients for a password by SCRAM-SHA-256 instead of trusting everybody on this machine.
	Password bool
	// TLS offers TLS with a certificate for 127.0.0.1 and localhost by Postgres.CA.
	TLS bool
}

// Postgres is a PostgreSQL server of its own. Its methods are for one test at a time, except DSN, CreateDB and what only
// reads.
type Postgres struct {
	CA *CA // who signed the server's certificate; nil without TLS

	bin  string
	dir  string // data directory
	sock string
	port int
	who  account
	opt  PostgresOptions
	log  *output
	proc *proc
	next atomic.Int64
}

const (
	superuser = "postgres"
	// password of the superuser of servers that listen on loopback for the length of a test
	superpass = "fault-" + superuser
)

// StartPostgres starts a server with an empty cluster. It ends with the test. Where PostgreSQL is not installed the test
// is skipped, or fails when the variable CI is set.
func StartPostgres(t testing.TB, opt PostgresOptions) *Postgres {
	t.Helper()
	p := newPostgres(t, opt)
	t.Cleanup(func() { p.remove(t) })
	return p
}

func newPostgres(t testing.TB, opt PostgresOptions) *Postgres {
	t.Helper()
	p := emptyPostgres(t, opt)
	if err := copyTree(clusterTemplate(t, p.bin, p.who), p.dir); err != nil {
		t.Fatalf("fault: copy an empty cluster: %v", err)
	}
	p.settle(t)
	p.launch(t)
	return p
}

// emptyPostgres is a server whose data directory is still to be filled.
func emptyPostgres(t testing.TB, opt PostgresOptions) *Postgres {
	t.Helper()
	p := &Postgres{bin: postgresBin(t), who: unprivileged(t), opt: opt, log: &output{}}
	root := here.mkdir(t, "pg", p.who)
	p.dir, p.sock = filepath.Join(root, "data"), filepath.Join(root, "s")
	if err := errors.Join(os.Mkdir(p.dir, 0o700), os.Mkdir(p.sock, 0o700)); err != nil {
		t.Fatalf("fault: %v", err)
	}
	if opt.TLS {
		p.CA = NewCA(t)
	}
	return p
}

//nolint:gochecknoglobals // initdb takes a second: once for the test process
var template struct {
	sync.Mutex
	dir string
}

// clusterTemplate is the directory of an empty cluster, to be copied.
func clusterTemplate(t testing.TB, bin string, who account) string {
	t.Helper()
	template.Lock()
	defer template.Unlock()
	if template.dir != "" {
		return template.dir
	}
	root := here.mkdir(t, "initdb", who)
	who.write(t, filepath.Join(root, "pw"), superpass)
	dir := filepath.Join(root, "data")
	cmd := exec.Command(filepath.Join(bin, "initdb"), "-D", dir, "-U", superuser, "-E", "UTF8", "--locale=C", //nolint:gosec,noctx // a fixed program
		"--auth=trust", "--pwfile="+filepath.Join(root, "pw"), "--no-sync", "--no-instructions")
	cmd.Env, cmd.Dir = plainEnv(), root
	out := &output{}
	run, err := start(t, cmd, who, out)
	if err == nil {
		<-run.done
		err = run.err
	}
	if err != nil {
		t.Fatalf("fault: initdb: %v\n%s", err, out.tail())
	}
	template.dir = dir
	return dir
}

// plainEnv is what servers get of our environment: nothing that would point them to another server.
func plainEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "PGPASSWORD=" + superpass}
}

func copyTree(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	// CopyFS adds what the umask leaves; the server refuses a directory that others may read.
	return filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		mode := os.FileMode(0o600)
		if err == nil && d.IsDir() {
			mode = 0o700
		}
		return errors.Join(err, os.Chmod(path, mode)) //nolint:gosec // nobody else writes there
	})
}

// settle writes the configuration of a data directory and hands it to its account.
func (p *Postgres) settle(t testing.TB) {
	t.Helper()
	s := map[string]string{
		"listen_addresses":           "127.0.0.1",
		"unix_socket_directories":    p.sock,
		"shared_buffers":             "16MB",
		"max_connections":            "100",
		"wal_level":                  "replica",
		"hot_standby":                "on",
		"wal_keep_size":              "256MB",
		"fsync":                      "off",
		"full_page_writes":           "off",
		"log_line_prefix":            "%m [%p] %a ",
		"shared_preload_libraries":   "pg_stat_statements",
		"pg_stat_statements.max":     "5000",
		"pg_stat_statements.save":    "off",
		"max_prepared_transactions":  "0",
		"restart_after_crash":        "on",
		"jit":                        "off",
		"max_wal_size":               "256MB",
		"autovacuum_naptime":         "10s",
		"unix_socket_permissions":    "0777",
		"timezone":                   "UTC",
		"log_timezone":               "UTC",
		"default_text_search_config": "pg_catalog.simple",
	}
	if p.opt.Durable {
		s["fsync"], s["full_page_writes"], s["synchronous_commit"] = "on", "on", "on"
	}
	if p.opt.TLS {
		cert, key := p.CA.Issue(t, "127.0.0.1", "localhost")
		p.who.write(t, filepath.Join(p.dir, "server.crt"), string(cert))
		p.who.write(t, filepath.Join(p.dir, "server.key"), string(key))
		s["ssl"] = "on"
	}
	maps.Copy(s, p.opt.Settings)
	var conf strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&conf, "%s = '%s'\n", name, strings.ReplaceAll(s[name], "'", "''"))
	}
	p.who.write(t, filepath.Join(p.dir, "postgresql.conf"), conf.String())
	method := "trust"
	if p.opt.Password {
		method = "scram-sha-256"
	}
	p.who.write(t, filepath.Join(p.dir, "pg_hba.conf"), strings.NewReplacer("METHOD", method).Replace(
		"local all all METHOD\nhost all all 127.0.0.1/32 METHOD\nhost replication all 127.0.0.1/32 METHOD\n"))
	if err := errors.Join(p.who.own(p.dir), p.who.own(p.sock)); err != nil {
		t.Fatalf("fault: %v", err)
	}
}

// launch starts a server for the first time: on any port that is free.
func (p *Postgres) launch(t testing.TB) {
	t.Helper()
	var err error
	for range 5 {
		p.port = FreePort(t)
		if err = p.run(t); err == nil {
			return
		}
		p.proc.kill()
		if !strings.Contains(p.log.String(), "in use") { // another process was quicker
			break
		}
	}
	t.Fatalf("fault: start postgres: %v\n%s", err, p.log.tail())
}

func (p *Postgres) run(t testing.TB) error {
	t.Helper()
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), "-D", p.dir, "-p", fmt.Sprint(p.port)) //nolint:gosec,noctx // a fixed program, ended by the test
	cmd.Env, cmd.Dir = plainEnv(), p.dir
	var err error
	if p.proc, err = start(t, cmd, p.who, p.log); err != nil {
		return err
	}
	return p.proc.await(p.answers)
}

// answers asks the server for one row.
func (p *Postgres) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, p.DSN(superuser)+"&application_name=fault")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	return c.Ping(ctx)
}

// Start brings the same data directory back on the same port and waits until it answers, the recovery included.
func (p *Postgres) Start(t testing.TB) {
	t.Helper()
	if p.proc.running() {
		return
	}
	if err := p.run(t); err != nil {
		t.Fatalf("fault: start postgres again: %v\n%s", err, p.log.tail())
	}
}

// Kill ends the server and all its children by SIGKILL, as the kernel does when memory is short.
func (p *Postgres) Kill() { p.proc.kill() }

// Stop ends the server as an operator does and waits until it is gone. The mode is "smart" (waits for clients), "fast"
// (ends their transactions) or "immediate" (leaves without a checkpoint).
func (p *Postgres) Stop(mode string) {
	if !p.proc.running() {
		return
	}
	s := map[string]syscall.Signal{"smart": syscall.SIGTERM, "fast": syscall.SIGINT, "immediate": syscall.SIGQUIT}[mode]
	if s == 0 {
		panic("fault: no such mode: " + mode)
	}
	signalOne(p.proc.cmd.Process.Pid, s)
	<-p.proc.done
}

// Pause stops all processes of the server where they are; connections stay open and get no answer.
func (p *Postgres) Pause() { p.proc.pause() }

// Resume lets them go on.
func (p *Postgres) Resume() { p.proc.resume() }

func (p *Postgres) remove(t testing.TB) {
	p.proc.kill()
	if t.Failed() {
		t.Logf("the end of the log of PostgreSQL on port %d:\n%s", p.port, p.log.tail())
	}
	_ = os.RemoveAll(filepath.Dir(p.dir))
}

// Port is where the server listens on 127.0.0.1. It stays the same over restarts.
func (p *Postgres) Port() int { return p.port }

// Addr is the same as host and port.
func (p *Postgres) Addr() string { return Loopback(p.port) }

// Dir is the data directory.
func (p *Postgres) Dir() string { return p.dir }

// Bin is the directory of the server's programs.
func (p *Postgres) Bin() string { return p.bin }

// Log is the end of what the server wrote.
func (p *Postgres) Log() string { return p.log.String() }

// DSN is the address of a database for the superuser.
func (p *Postgres) DSN(db string) string { return p.DSNAt(p.Addr(), db) }

// DSNAt is DSN by way of another address, for example a Proxy's.
func (p *Postgres) DSNAt(addr, db string) string {
	mode := "disable"
	if p.opt.TLS {
		mode = "require"
	}
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=%s", superuser, superpass, addr, db, mode)
}
