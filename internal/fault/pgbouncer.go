package fault

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PgBouncerOptions say how a pooler is to be.
type PgBouncerOptions struct {
	// PoolSize is how many server connections a database has; 0 means 10.
	PoolSize int
	// Settings go into the section [pgbouncer], after the defaults of this package.
	Settings map[string]string
}

// PgBouncer is a pooler in transaction mode before a Postgres: each transaction may run on another server connection, so
// that LISTEN, named prepared statements and settings of a session do not work.
type PgBouncer struct {
	server *Postgres
	dir    string
	port   int
	who    account
	log    *output
	proc   *proc
}

// StartPgBouncer starts a pooler. It ends with the test.
func StartPgBouncer(t testing.TB, p *Postgres, opt PgBouncerOptions) *PgBouncer {
	t.Helper()
	find(t, "pgbouncer", "pgbouncer")
	b := &PgBouncer{server: p, who: unprivileged(t), log: &output{}}
	b.dir = here.mkdir(t, "pgbouncer", b.who)
	t.Cleanup(func() {
		b.proc.kill()
		if t.Failed() {
			t.Logf("the end of the log of PgBouncer on port %d:\n%s", b.port, b.log.tail())
		}
		_ = os.RemoveAll(b.dir)
	})
	var err error
	for range 5 {
		b.port = FreePort(t)
		b.settle(t, opt)
		if err = b.run(t); err == nil {
			return b
		}
		b.proc.kill()
	}
	t.Fatalf("fault: start pgbouncer: %v\n%s", err, b.log.tail())
	return nil
}

func (b *PgBouncer) settle(t testing.TB, opt PgBouncerOptions) {
	t.Helper()
	size := opt.PoolSize
	if size == 0 {
		size = 10
	}
	s := map[string]string{
		"listen_addr": "127.0.0.1", "listen_port": fmt.Sprint(b.port), "unix_socket_dir": "",
		"auth_type": "trust", "auth_file": filepath.Join(b.dir, "userlist.txt"), "pool_mode": "transaction",
		"default_pool_size": fmt.Sprint(size), "max_client_conn": "500", "admin_users": superuser,
		"server_login_retry": "0.2", "log_connections": "0", "log_disconnections": "0",
	}
	maps.Copy(s, opt.Settings)
	var ini strings.Builder
	fmt.Fprintf(&ini, "[databases]\n* = host=127.0.0.1 port=%d\n[pgbouncer]\n", b.server.port)
	for _, name := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&ini, "%s = %s\n", name, s[name])
	}
	b.who.write(t, filepath.Join(b.dir, "pgbouncer.ini"), ini.String())
	b.who.write(t, filepath.Join(b.dir, "userlist.txt"), fmt.Sprintf("%q %q\n", superuser, superpass))
}

func (b *PgBouncer) run(t testing.TB) error {
	t.Helper()
	cmd := exec.Command(find(t, "pgbouncer", "pgbouncer"), filepath.Join(b.dir, "pgbouncer.ini")) //nolint:gosec,noctx // a fixed program, ended by the test
	cmd.Env, cmd.Dir = plainEnv(), b.dir
	var err error
	if b.proc, err = start(t, cmd, b.who, b.log); err != nil {
		return err
	}
	return b.proc.await(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c, err := pgx.Connect(ctx, b.DSN("pgbouncer")+"&default_query_exec_mode=simple_protocol")
		if err != nil {
			return err
		}
		return c.Close(ctx)
	})
}

// Start brings a killed pooler back on the same port.
func (b *PgBouncer) Start(t testing.TB) {
	t.Helper()
	if b.proc.running() {
		return
	}
	if err := b.run(t); err != nil {
		t.Fatalf("fault: start pgbouncer again: %v\n%s", err, b.log.tail())
	}
}

// Kill ends the pooler by SIGKILL.
func (b *PgBouncer) Kill() { b.proc.kill() }

// Pause stops the pooler where it is.
func (b *PgBouncer) Pause() { b.proc.pause() }

// Resume lets it go on.
func (b *PgBouncer) Resume() { b.proc.resume() }

// Addr is where the pooler listens.
func (b *PgBouncer) Addr() string { return Loopback(b.port) }

// DSN is the address of a database of the server by way of the pooler.
func (b *PgBouncer) DSN(db string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", superuser, superpass, b.Addr(), db)
}
