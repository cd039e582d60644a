package fault

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// What a test process leaves when it is killed is ended and removed.
func TestNothingOutlivesAKilledTestProcess(t *testing.T) {
	if os.Getenv("FAULT_TEST_LEAVE") != "" {
		leave(t)
	}
	t.Parallel()
	find(t, "redis-server", "redis-server")
	postgresBin(t)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestNothingOutlivesAKilledTestProcess$")
	cmd.Env = append(os.Environ(), "FAULT_TEST_LEAVE=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var dir string
	var addrs []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "left "); ok {
			all := strings.Fields(rest)
			dir, addrs = all[0], all[1:]
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if dir == "" {
		t.Fatal("the process said nothing")
	}
	gone := func() error {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the directory is there: %v", err)
		}
		for _, a := range addrs {
			if c, err := net.Dial("tcp", a); err == nil {
				_ = c.Close()
				return fmt.Errorf("%s answers", a)
			}
		}
		return nil
	}
	limit, tick := time.After(startLimit), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for {
		err := gone()
		if err == nil {
			return
		}
		select {
		case <-limit:
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

// leave starts servers, one of them stopped, says where they are and waits to be killed.
func leave(t *testing.T) {
	p, r := StartPostgres(t, PostgresOptions{}), SharedRedis(t)
	r.Pause()
	fmt.Println("left", here.dir, p.Addr(), r.Addr())
	select {}
}
