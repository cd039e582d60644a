package fault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Sentinels are a primary, a replica and the processes that decide which of them leads.
type Sentinels struct {
	// Name is what the group is called; Primary leads at the start and Replica follows.
	Name             string
	Primary, Replica *Redis

	each []*sentinel
}

type sentinel struct {
	dir  string
	port int
	log  *output
	proc *proc
}

// StartSentinels starts a primary and a replica with these options, and three sentinels that promote the replica when
// the primary is away for half a second.
func StartSentinels(t testing.TB, opt RedisOptions) *Sentinels {
	t.Helper()
	s := &Sentinels{Name: "fault", Primary: StartRedis(t, opt)}
	opt.ReplicaOf = s.Primary
	s.Replica = StartRedis(t, opt)
	s.Replica.InSync(t)
	for range 3 {
		s.each = append(s.each, s.sentinel(t))
	}
	for _, one := range s.each {
		err := one.proc.await(func() error { return one.knows(s.Name, 2) })
		if err != nil {
			t.Fatalf("fault: the sentinels do not find each other: %v\n%s", err, one.log.tail())
		}
	}
	return s
}

func (s *Sentinels) sentinel(t testing.TB) *sentinel {
	t.Helper()
	one := &sentinel{dir: here.mkdir(t, "sentinel", account{}), port: FreePort(t), log: &output{}}
	conf := filepath.Join(one.dir, "sentinel.conf")
	var b strings.Builder
	fmt.Fprintf(&b, "port %d\nbind 127.0.0.1\ndir %s\nprotected-mode no\n", one.port, one.dir)
	fmt.Fprintf(&b, "sentinel monitor %s 127.0.0.1 %d 2\n", s.Name, s.Primary.port)
	fmt.Fprintf(&b, "sentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 3000\n", s.Name, s.Name)
	if p := s.Primary.opt.Password; p != "" {
		fmt.Fprintf(&b, "sentinel auth-pass %s %s\n", s.Name, p)
	}
	account{}.write(t, conf, b.String())
	cmd := exec.Command(find(t, "redis-server", "redis-server"), conf, "--sentinel") //nolint:gosec,noctx // a fixed program, ended by the test
	cmd.Env, cmd.Dir = plainEnv(), one.dir
	var err error
	if one.proc, err = start(t, cmd, account{}, one.log); err != nil {
		t.Fatalf("fault: start a sentinel: %v", err)
	}
	t.Cleanup(func() {
		one.proc.kill()
		_ = os.RemoveAll(one.dir)
	})
	return one
}

// knows says whether a sentinel has heard of so many others and of the replica.
func (s *sentinel) knows(name string, others int) error {
	c, err := dialResp(Loopback(s.port), nil)
	if err != nil {
		return err
	}
	defer c.close()
	for _, what := range []struct {
		list string
		n    int
	}{{"sentinels", others}, {"replicas", 1}} {
		v, err := c.do("SENTINEL", what.list, name)
		if err != nil {
			return err
		}
		if all, _ := v.([]any); len(all) < what.n {
			return fmt.Errorf("%d %s", len(all), what.list)
		}
	}
	return nil
}

// Addrs are the addresses of the sentinels.
func (s *Sentinels) Addrs() []string {
	var all []string
	for _, one := range s.each {
		all = append(all, Loopback(one.port))
	}
	return all
}

// Leader is the address that the sentinels agree on at the moment.
func (s *Sentinels) Leader(t testing.TB) string {
	t.Helper()
	c, err := dialResp(s.Addrs()[0], nil)
	if err != nil {
		t.Fatalf("fault: %v", err)
	}
	defer c.close()
	v, err := c.do("SENTINEL", "get-master-addr-by-name", s.Name)
	if all, ok := v.([]any); err == nil && ok && len(all) == 2 {
		return fmt.Sprint(all[0]) + ":" + fmt.Sprint(all[1])
	}
	t.Fatalf("fault: the sentinels name no leader: %v %v", v, err)
	return ""
}

// RedisCluster is three primaries that share the slots, without replicas.
type RedisCluster struct {
	Nodes []*Redis
}

// StartRedisCluster starts a cluster with these options and waits until every node says that it is complete.
func StartRedisCluster(t testing.TB, opt RedisOptions) *RedisCluster {
	t.Helper()
	const slots, n = 16384, 3
	c := &RedisCluster{}
	for range n {
		o := opt
		o.Args = append([]string{"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000",
			"--cluster-port", strconv.Itoa(FreePort(t)), "--databases", "1"}, opt.Args...)
		c.Nodes = append(c.Nodes, StartRedis(t, o))
	}
	for i, r := range c.Nodes {
		r.Do(t, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		r.Do(t, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(slots*i/n), strconv.Itoa(slots*(i+1)/n-1))
		if i > 0 {
			r.Do(t, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(c.Nodes[0].port), c.busPort(0))
		}
	}
	for _, r := range c.Nodes {
		err := r.proc.await(func() error {
			v, err := r.command("CLUSTER", "INFO")
			if err != nil {
				return err
			}
			if s := fmt.Sprint(v); !strings.Contains(s, "cluster_state:ok") || !strings.Contains(s, "cluster_known_nodes:3") {
				return errors.New("the cluster is not complete")
			}
			return nil
		})
		if err != nil {
			t.Fatalf("fault: the cluster: %v\n%s", err, r.log.tail())
		}
	}
	return c
}

func (c *RedisCluster) busPort(i int) string {
	args := c.Nodes[i].opt.Args
	for k := range args {
		if args[k] == "--cluster-port" {
			return args[k+1]
		}
	}
	return ""
}

// Addrs are the addresses of the nodes.
func (c *RedisCluster) Addrs() []string {
	var all []string
	for _, r := range c.Nodes {
		all = append(all, r.Addr())
	}
	return all
}
