package handstamp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The addresses that the README shows. The test runs everything on free ports instead.
const (
	readmeLibrary = "localhost:3000"
	readmeServer  = "127.0.0.1:8080"
	readmeServe   = "go run ./cmd/handstamp serve"
)

// readmeBlock is one fenced block.
type readmeBlock struct{ lang, text string }

// readmeBlocks reads the fenced blocks of a Markdown file. A fence in any other form than three backticks at the start
// of a line would be a block that nobody runs, so it is an error.
func readmeBlocks(t *testing.T, text string) []readmeBlock {
	t.Helper()
	var blocks []readmeBlock
	inside := false
	for line := range strings.Lines(text) {
		fence, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case !ok && strings.Contains(line, "```"), strings.HasPrefix(line, "~~~"), !inside && strings.HasPrefix(line, "    "):
			t.Fatalf("a block that this test would not run: %q", line)
		case ok && inside:
			inside = false
		case ok:
			inside = true
			blocks = append(blocks, readmeBlock{lang: fence})
		case inside:
			blocks[len(blocks)-1].text += line
		}
	}
	if inside {
		t.Fatal("the last block has no end")
	}
	return blocks
}

// TestReadme runs every block of the README and compares what it prints with what is shown.
func TestReadme(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("this test runs the README's calls of curl as they are: install curl")
	}
	readmeDependsOnSources(t)
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	r := readme{dir: t.TempDir(), addrs: map[string]string{}}
	ran := map[string]int{}
	for _, b := range readmeBlocks(t, string(text)) {
		kind := b.lang
		switch {
		case b.lang == "go" && strings.Contains(b.text, "handstamptest."):
			kind = "test"
			readmeTest(t, b.text)
		case b.lang == "go":
			r.start(t, readmeLibrary, r.buildProgram(t, b.text))
		case b.lang == "sh" && strings.Contains(b.text, readmeServe):
			kind = "commands"
			r.commands(t, b.text)
		case b.lang == "sh":
			r.shell(t, b.text)
		default:
			t.Errorf("a block of the kind %q is not run by this test", b.lang)
		}
		ran[kind]++
	}
	if ran["go"] != 1 || ran["test"] != 1 || ran["commands"] != 1 || ran["sh"] != 2 {
		t.Errorf("ran %v, want one program, one test, one block of commands and two of calls", ran)
	}
}

// readmeTest holds the test that the README shows to the one in the documentation of package handstamptest, which a test
// there runs line by line.
func readmeTest(t *testing.T, text string) {
	doc, err := os.ReadFile("handstamptest/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for line := range strings.Lines(text) {
		want.WriteString("//\t" + line)
	}
	if !strings.Contains(string(doc), want.String()) {
		t.Errorf("the README's test is not the one of handstamptest/doc.go:\n%s", text)
	}
}

// readme is the state of one run: where the programs listen, and the directory that the blocks share.
type readme struct {
	dir   string
	addrs map[string]string // an address in the README: the one it is replaced by
}

// free finds a port for an address of the README.
func (r *readme) free(t *testing.T, shown string) string {
	t.Helper()
	host, _, _ := strings.Cut(shown, ":")
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host + ":" + port
}

// readmeDependsOnSources makes the result of a test depend on every file of the module: go test keeps a result for as
// long as the files that the test itself looked at are as they were, and knows nothing of what the programs read that it
// starts.
func readmeDependsOnSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(_ string, d fs.DirEntry, err error) error {
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

func readmeBuild(t *testing.T, to, from string) string {
	t.Helper()
	// The module's own go.mod decides what the program may import, so this works offline.
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", to, from).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", from, err, out)
	}
	return to
}

// buildProgram compiles a block of Go.
func (r *readme) buildProgram(t *testing.T, text string) *exec.Cmd {
	t.Helper()
	addr := r.free(t, readmeLibrary)
	r.addrs[readmeLibrary] = addr
	file := filepath.Join(r.dir, "main.go")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, readmeLibrary, addr)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "gofmt", "-l", file).Output(); err == nil && len(out) > 0 {
		t.Error("the program in the README is not formatted by gofmt")
	}
	return exec.Command(readmeBuild(t, filepath.Join(r.dir, "program"), file))
}

// start runs a program until the test ends, and waits for it to listen.
func (r *readme) start(t *testing.T, shown string, cmd *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.dir, &out, &out
	// The README starts without any configuration; somebody's own on this machine must not count.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HANDSTAMP_") })
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(cmd.Path), out.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.addrs[shown]+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended before it answered: %v\n%s", filepath.Base(cmd.Path), err, out.String())
		case <-ctx.Done():
			t.Fatalf("%s does not answer\n%s", filepath.Base(cmd.Path), out.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// commands checks the block with the two commands. The server is the one of the README but for its ports; "make test" is
// what runs this test, so it is only looked up.
func (r *readme) commands(t *testing.T, text string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(text) {
		command, _, _ := strings.Cut(line, "#")
		got = append(got, strings.TrimSpace(command))
	}
	if want := []string{readmeServe, "make test"}; !slices.Equal(got, want) {
		t.Fatalf("the commands are %q, want %q", got, want)
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	// All packages, and after them the stories of a fleet, whose bounds are no good beside other tests.
	if !regexp.MustCompile(`(?m)^test:.*\n(\t.*\n)?\t\$\(GO\) test .*\$\(GO\) list \./\.\.\. \| grep -v /internal/fault/scenario\)\n(\t.*\n)*\tscripts/fleet\n`).Match(makefile) {
		t.Error("make test does not run the tests of all packages and scripts/fleet")
	}
	addr, ops := r.free(t, readmeServer), r.free(t, readmeServer)
	r.addrs[readmeServer] = addr
	cmd := exec.Command(readmeBuild(t, filepath.Join(r.dir, "handstamp"), "./cmd/handstamp"),
		"serve", "--addr", addr, "--ops-addr", ops, "--public-url", "http://"+addr)
	r.start(t, readmeServer, cmd)
	if _, err := os.Stat(filepath.Join(r.dir, "handstamp-data")); err != nil {
		t.Errorf("the README says where the server keeps its file: %v", err)
	}
}

// shell runs a block of calls one by one. What a call shall print stands below it in a comment; … stands for anything.
func (r *readme) shell(t *testing.T, text string) {
	t.Helper()
	var command, want string
	flush := func() {
		if command != "" {
			r.call(t, command, want)
		}
		command, want = "", ""
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		shown, comment := strings.CutPrefix(line, "# ")
		switch {
		case line == "":
			flush()
		case comment && command != "":
			want += shown
		case !comment:
			flush()
			command = line
		}
	}
	flush()
}

func (r *readme) call(t *testing.T, command, want string) {
	t.Helper()
	if want == "" {
		t.Errorf("the README does not show what this prints: %s", command)
		return
	}
	run := command
	for shown, addr := range r.addrs {
		run = strings.ReplaceAll(run, shown, addr)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", run)
	cmd.Dir = r.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v\n%s", command, err, stderr.String())
		return
	}
	parts := strings.Split(want, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	pattern := regexp.MustCompile(fmt.Sprintf(`(?s)^%s\s*$`, strings.Join(parts, ".*")))
	if strings.HasSuffix(want, "…") {
		pattern = regexp.MustCompile(fmt.Sprintf(`(?s)^%s`, strings.Join(parts, ".*")))
	}
	if !pattern.Match(out) {
		t.Errorf("%s\nprints %s\nthe README shows %s", command, out, want)
	}
}

var (
	docLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	docHeading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	docNoSlug  = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// docAnchors are the anchors that a hosting site makes of a page's headings.
func docAnchors(text []byte) []string {
	var anchors []string
	for _, m := range docHeading.FindAllSubmatch(text, -1) {
		slug := docNoSlug.ReplaceAllString(strings.ToLower(string(m[1])), "")
		anchors = append(anchors, strings.ReplaceAll(slug, " ", "-"))
	}
	return anchors
}

// TestDocLinks follows every link between our pages.
func TestDocLinks(t *testing.T) {
	pages := []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
	for _, pattern := range []string{"docs/*.md", "docs/adr/*.md", "examples/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no pages in %s (%v)", pattern, err)
		}
		pages = append(pages, found...)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range docLink.FindAllSubmatch(text, -1) {
			link := string(m[1])
			if strings.HasPrefix(link, "https://") {
				continue
			}
			file, anchor, _ := strings.Cut(link, "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", page, link)
				continue
			}
			if anchor == "" {
				continue
			}
			there, err := os.ReadFile(target)
			if err != nil || !slices.Contains(docAnchors(there), anchor) {
				t.Errorf("%s links to %s, and there is no such heading (%v)", page, link, err)
			}
		}
	}
}

// TestArchitectureTree: what the page says is there is there.
func TestArchitectureTree(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tree, _ := strings.Cut(string(text), "## Tree\n\n")
	tree, _, _ = strings.Cut(tree, "\n\n")
	parent, n := "", 0
	for line := range strings.Lines(tree) {
		entry := strings.TrimPrefix(line, "    ")
		nested := strings.HasPrefix(entry, "  ")
		for _, name := range strings.Fields(entry) {
			if !strings.HasSuffix(name, "/") && !strings.HasSuffix(name, ".go") {
				break // the description begins
			}
			path := name
			if nested {
				path = filepath.Join(parent, name)
			} else {
				parent = name
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("ARCHITECTURE.md names %s: %v", path, err)
			}
			n++
		}
		if strings.HasPrefix(entry, ". ") {
			parent = ""
		}
	}
	if n < 40 {
		t.Errorf("read only %d names from the tree", n)
	}
}

// TestMakeTargets: every target that a page tells people to make is in the Makefile.
func TestMakeTargets(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"README.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		targets := regexp.MustCompile(`(?m)(?:^|`+"`"+`)make ([a-z-]+)`).FindAllStringSubmatch(string(text), -1)
		if len(targets) == 0 {
			t.Errorf("%s names no target", page)
		}
		for _, m := range targets {
			if !bytes.Contains(makefile, []byte("\n"+m[1]+":")) {
				t.Errorf("%s says make %s, and the Makefile has no such target", page, m[1])
			}
		}
	}
}
