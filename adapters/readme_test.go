package adapters_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v3/middleware/adaptor"
)

// TestReadme: the README shows code that compiles and runs.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	unindented := strings.ReplaceAll("\n"+string(code), "\n\t", "\n")
	blocks := strings.Split(string(readme), "```go\n")[1:]
	if len(blocks) != 4 {
		t.Errorf("%d blocks, want one per router", len(blocks))
	}
	for _, block := range blocks {
		block, _, _ := strings.Cut(block, "```")
		if !strings.Contains(unindented, "\n"+block) {
			t.Errorf("not in example_test.go:\n%s", block)
		}
	}
}

// TestReadmeRuns: the examples log in, say who is there, and let nobody else in.
func TestReadmeRuns(t *testing.T) {
	w := open(t, nil)
	for name, h := range map[string]http.Handler{
		"chi": withChi(w.Auth), "gin": withGin(w.Auth), "echo": withEcho(w.Auth), "fiber": adaptor.FiberApp(withFiber(w.Auth)),
	} {
		ask := func(method, path, body, cookie string) *http.Response {
			r := httptest.NewRequest(method, path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if cookie != "" {
				r.Header.Set("Cookie", cookie)
			}
			out := httptest.NewRecorder()
			h.ServeHTTP(out, r)
			return out.Result()
		}
		if got := ask("GET", "/me", "", "").StatusCode; got != http.StatusUnauthorized {
			t.Errorf("%s: a visitor: %d", name, got)
		}
		_, credential := w.session(t, "ada")
		if got := ask("GET", "/me", "", "handstamp="+credential).StatusCode; got != http.StatusOK {
			t.Errorf("%s: ada: %d", name, got)
		}
		if name == "chi" || name == "echo" {
			continue // log-ins there are net/http's
		}
		if got := ask("POST", "/login", "user=ada&password=guess", "").StatusCode; got != http.StatusUnauthorized {
			t.Errorf("%s: a wrong password: %d", name, got)
		}
		res := ask("POST", "/login", "user=ada&password=pass", "")
		if cookies := res.Cookies(); res.StatusCode != http.StatusOK || len(cookies) != 1 || cookies[0].Name != "handstamp" {
			t.Errorf("%s: log-in: %d %v", name, res.StatusCode, res.Header)
		}
	}
}
