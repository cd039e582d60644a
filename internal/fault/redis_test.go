package fault

import (
	"fmt"
	"testing"
	"time"
)

func TestRedisKeepsWhatItsSettingsSay(t *testing.T) {
	t.Parallel()
	for _, fsync := range []string{"always", ""} {
		r := StartRedis(t, RedisOptions{AppendFsync: fsync, Password: "fault-pass"})
		r.Do(t, "SET", "k", "v")
		r.Kill()
		if _, err := r.command("PING"); err == nil {
			t.Fatal("a killed server answers")
		}
		r.Start(t)
		want := any("v")
		if fsync == "" {
			want = nil
		}
		if got := r.Do(t, "GET", "k"); got != want {
			t.Errorf("appendfsync %q: after a kill %v, want %v", fsync, got, want)
		}
		r.Do(t, "SET", "k", "w")
		r.Flush(t)
		if got := r.Do(t, "GET", "k"); got != nil {
			t.Errorf("after a flush: %v", got)
		}
		if _, err := dialAnd(r, "GET", "k"); err == nil {
			t.Error("no password is asked")
		}
	}
}

func dialAnd(r *Redis, args ...string) (any, error) {
	c, err := dialResp(r.Addr(), r.CA)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.do(args...)
}

func TestRedisPause(t *testing.T) {
	t.Parallel()
	r := StartRedis(t, RedisOptions{TLS: true})
	c, err := dialResp(r.Addr(), r.CA)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, err := c.do("PING"); err != nil {
		t.Fatal(err)
	}
	r.Pause()
	if _, err := fmt.Fprint(c.conn, "*1\r\n$4\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = c.conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
	if v, err := c.read(); err == nil {
		t.Errorf("a paused server answers %v", v)
	}
	r.Resume()
	r.Do(t, "PING")
}

func TestRedisCountsCommands(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"", "fault-pass"} {
		r := StartRedis(t, RedisOptions{Password: password})
		c, err := dialResp(r.Addr(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		if password != "" {
			if _, err := c.do("AUTH", password); err != nil {
				t.Fatal(err)
			}
		}
		before := r.Commands(t)
		for range 5 {
			if _, err := c.do("SET", "k", "v"); err != nil {
				t.Fatal(err)
			}
		}
		if got := r.Commands(t) - before; got != 5 {
			t.Errorf("%d commands were counted, 5 were run", got)
		}
		if got := r.Commands(t) - before; got != 5 {
			t.Errorf("counting was counted: %d", got)
		}
	}
	if a, b := SharedRedis(t).NextDB(), SharedRedis(t).NextDB(); a == b || a < 1 {
		t.Errorf("databases %d and %d", a, b)
	}
}

func TestRedisReplica(t *testing.T) {
	t.Parallel()
	p := StartRedis(t, RedisOptions{Password: "fault-pass"})
	p.Do(t, "SET", "k", "v")
	s := StartRedis(t, RedisOptions{Password: "fault-pass", ReplicaOf: p})
	s.InSync(t)
	if got := s.Do(t, "GET", "k"); got != "v" {
		t.Errorf("on the replica: %v", got)
	}
	p.Kill()
	s.Promote(t)
	s.Do(t, "SET", "k", "w")
}

func TestRedisACL(t *testing.T) {
	t.Parallel()
	r := StartRedis(t, RedisOptions{ACL: "user default off\nuser root on >rootpw allcommands allkeys allchannels\nuser app on >apppw +get ~app:*", Admin: "root", AdminPassword: "rootpw"})
	if _, err := dialAnd(r, "PING"); err == nil {
		t.Error("the user default is not off")
	}
	r.Do(t, "SET", "app:k", "v")
}

func TestRedisSentinelsPromote(t *testing.T) {
	t.Parallel()
	s := StartSentinels(t, RedisOptions{})
	if got := s.Leader(t); got != s.Primary.Addr() {
		t.Errorf("the leader is %s", got)
	}
	s.Primary.Kill()
	if err := s.Replica.proc.await(func() error {
		if s.Leader(t) == s.Replica.Addr() {
			return nil
		}
		return fmt.Errorf("not promoted")
	}); err != nil {
		t.Error(err)
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	c := StartRedisCluster(t, RedisOptions{})
	moved := 0
	for _, r := range c.Nodes {
		if _, err := r.command("SET", "k", "v"); err != nil {
			moved++
		}
	}
	if moved != 2 {
		t.Errorf("%d of 3 nodes send the client elsewhere", moved)
	}
}
