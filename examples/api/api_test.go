// Package api runs the shell client of this folder against the real server.
package api

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// freeAddress is a loopback address that nobody listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// environment is the test's own without settings of a Handstamp that somebody runs on this machine.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HANDSTAMP_") })
}

// dependOnSources makes the result of a test depend on every file of the module: go test keeps a result for as long as
// the files that the test itself looked at are as they were, and knows nothing of what the programs read that it starts.
func dependOnSources(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if errors.Is(err, fs.ErrNotExist) { // another test's, and gone again
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// serve builds the binary, runs it in a directory of its own until the test ends, and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	dependOnSources(t, "../..")
	dir := t.TempDir()
	binary := filepath.Join(dir, "handstamp")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/handstamp").CombinedOutput(); err != nil {
		t.Fatalf("build the server: %v\n%s", err, out)
	}
	addr := freeAddress(t)
	cmd := exec.Command(binary, "serve", "--addr", addr, "--ops-addr", freeAddress(t), "--public-url", "http://"+addr)
	var log bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, environment(), &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("the server printed:\n%s", log.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return addr
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the server ended: %v", err)
		case <-ctx.Done():
			t.Fatal("the server does not answer")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// printed is what the README says the client prints: the indented block after "It prints:".
func printed(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(readme), "It prints:\n\n")
	block, _, ends := strings.Cut(after, "\n\n")
	if !ok || !ends {
		t.Fatal(`the README has no block after "It prints:"`)
	}
	return strings.TrimPrefix(strings.ReplaceAll("\n"+block, "\n    ", "\n"), "\n") + "\n"
}

func TestClient(t *testing.T) {
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the example is a client in shell that calls curl, and %s is missing on this machine: install it", tool)
		}
	}
	url := "http://" + serve(t)
	cmd := exec.CommandContext(t.Context(), "sh", "client.sh", url)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("client.sh: %v\n%s%s", err, out, stderr.String())
	}
	if got, want := string(out), printed(t); got != want {
		t.Errorf("client.sh prints\n%s\nwant\n%s", got, want)
	}
}

// TestClientStops: a client that goes on after an answer it did not expect is a bad example.
func TestClientStops(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("the example calls curl, which is missing on this machine: install it")
	}
	cmd := exec.CommandContext(t.Context(), "sh", "client.sh", "http://"+freeAddress(t))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil || len(out) > 0 || !strings.Contains(stderr.String(), "got no answer") {
		t.Errorf("without a server: %v, printed %q and %q", err, out, stderr.String())
	}
}
