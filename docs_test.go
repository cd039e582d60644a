package handstamp_test

import (
	"encoding/json"
	"fmt"
	"go/format"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docPages are the pages whose blocks of Go are compiled.
func docPages() []string {
	return []string{"docs/library.md", "docs/migrate.md", "docs/mobile.md", "docs/ssr.md", "docs/verifiers.md"}
}

// docImports are the packages that a block may use without saying so, by their name in the block.
func docImports() map[string]string {
	paths := map[string]string{}
	for _, path := range []string{
		"bytes", "context", "crypto/sha256", "database/sql", "encoding/json", "errors", "fmt", "io", "log", "net/http",
		"net/http/httptest", "strings", "testing", "time",
		"github.com/golang-jwt/jwt/v5",
		module, module + "/account", module + "/handstamptest", module + "/keyring", module + "/permission", module + "/server",
		module + "/store/sqlite", module + "/token",
	} {
		name := filepath.Base(path)
		if name == "v5" {
			name = "jwt"
		}
		paths[name] = path
	}
	return paths
}

// docContext is what the blocks of all pages may speak of: the rest of an application.
const docContext = `
var (
	ctx           context.Context
	auth          *handstamp.Auth
	mux           *http.ServeMux
	posts         http.Handler
	deleteAccount http.Handler
	flash         *handstamp.Data[string]
	proof         handstamp.Proof
	secrets       [][]byte
	messages      chan string
	job           struct{ Session handstamp.SessionID }
	db            *sql.DB
	oldKey        []byte
	accounts      *account.Accounts
	passwords     server.Passwords
	public        string
)

func passwordIsRight(user handstamp.UserID, password string) bool { return false }

func rolesOf(ctx context.Context, u handstamp.UserID) ([]string, error) { return nil, nil }

func oldUser(r *http.Request) (user, credential string, issued time.Time, err error) { return }
`

// docFile makes a file of a block: a program as it is, declarations with imports, or statements in a function.
func docFile(text string) string {
	if strings.HasPrefix(text, "package ") {
		return text
	}
	if !regexp.MustCompile(`(?m)^(func|type|var|const) `).MatchString(text) {
		text = "func _(w http.ResponseWriter, r *http.Request) error {\n" + text + "\nreturn nil\n}\n"
	}
	return "package block\n\n" + docImporting(text) + text
}

// docImporting imports what a text uses.
func docImporting(text string) string {
	out := ""
	paths := docImports()
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(text) {
			out += fmt.Sprintf("import %s %q\n", name, paths[name])
		}
	}
	return out
}

// TestDocs compiles every block of Go on the pages, and looks whether it is formatted. The blocks become packages of this
// module in an overlay: nothing is written into the tree.
func TestDocs(t *testing.T) {
	readmeDependsOnSources(t)
	dir, root := t.TempDir(), mustGetwd(t)
	replace := map[string]string{}
	put := func(block, name, text string) {
		file := filepath.Join(dir, block+"_"+name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, "docs", "zz_blocks", block, name)] = file
	}
	where := map[string]string{}
	for _, page := range docPages() {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range readmeBlocks(t, string(text)) {
			if b.lang != "go" {
				continue
			}
			formatted, err := format.Source([]byte(b.text))
			if err != nil || string(formatted) != b.text {
				t.Errorf("%s: not formatted by gofmt (%v):\n%s", page, err, b.text)
			}
			block := fmt.Sprintf("%s%02d", strings.TrimSuffix(filepath.Base(page), ".md"), i)
			where[block] = page + ":\n" + b.text
			source := docFile(b.text)
			put(block, "block.go", source)
			if strings.HasPrefix(source, "package block") {
				put(block, "context.go", "package block\n\n"+docImporting(docContext)+docContext)
			}
		}
	}
	if len(where) < 20 {
		t.Errorf("only %d blocks of Go", len(where))
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", file, "./docs/zz_blocks/...").CombinedOutput(); err != nil {
		t.Errorf("a block does not compile: %v\n%s", err, out)
		for block, text := range where {
			if strings.Contains(string(out), "/"+block+"/") {
				t.Logf("%s is in %s", block, text)
			}
		}
	}
}

func mustGetwd(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
