//go:build browser

package server_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// stepTimeout bounds one step: a condition that does not come true in it never will.
const stepTimeout = 20 * time.Second

// newBrowser starts a browser that nobody has used. It ends with the test.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("the tests with the tag browser need chromium on the PATH (apt-get install chromium)")
	}
	dir, err := os.MkdirTemp("", "handstamp-browser-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancelAll := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath(path), chromedp.UserDataDir(dir),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
	)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		cancel() // waits for the process
		cancelAll()
		_ = os.RemoveAll(dir) // a helper process may still hold a file; it is a temporary directory
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// tab is one window of somebody, with cookies of its own.
type tab struct {
	t   *testing.T
	w   *world
	ctx context.Context

	mu      sync.Mutex
	trouble []string // what the browser complained about: refused by a policy, thrown by a script
}

// person opens a window of somebody who shares no cookies with others.
func (w *world) person(t *testing.T, browser context.Context) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	return w.window(t, ctx)
}

func (w *world) window(t *testing.T, ctx context.Context) *tab {
	t.Helper()
	p := &tab{t: t, w: w, ctx: ctx}
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Source != log.EntrySourceNetwork && e.Entry.Level != log.EntryLevelInfo { // a 401 that was meant is no trouble
				p.note("%s %s: %s", e.Entry.Source, e.Entry.Level, e.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			p.note("exception: %s", e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			p.note("console.%s", e.Type)
		case *audits.EventIssueAdded:
			if e.Issue.Code == audits.InspectorIssueCodeContentSecurityPolicyIssue {
				p.note("policy: %s", e.Issue.Details.ContentSecurityPolicyIssueDetails.ViolatedDirective)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	call(p, audits.Enable, cdp.Empty{})
	return p
}

// step is what one step of a test may take.
func (p *tab) step() (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.ctx, stepTimeout)
}

// call sends one command of the protocol.
func call[P, R any](p *tab, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := p.step()
	defer cancel()
	out, err := chromedp.Call(ctx, command, params)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// value runs an action that has a value.
func value[T any](p *tab, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := p.step()
	defer cancel()
	out, err := chromedp.Run(ctx, action)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *tab) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = append(p.trouble, fmt.Sprintf(format, args...))
}

// calm wants that the browser complained about nothing so far.
func (p *tab) calm() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.trouble) > 0 {
		p.t.Errorf("the browser complains:\n%s", strings.Join(p.trouble, "\n"))
	}
}

func (p *tab) run(actions ...action) {
	p.t.Helper()
	ctx, cancel := p.step()
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// loads does what makes the browser load a page, and waits for that page.
func (p *tab) loads(status int64, actions ...action) *tab {
	p.t.Helper()
	ctx, cancel := p.step()
	defer cancel()
	resp, err := chromedp.RunResponse(ctx, actions...)
	if err != nil {
		p.t.Fatal(err)
	}
	if resp == nil {
		p.t.Fatal("the browser stayed on the page it had")
	}
	if resp.Status != status {
		p.t.Fatalf("%s = %d, want %d", resp.URL, resp.Status, status)
	}
	return p
}

func (p *tab) open(status int64, url string) *tab {
	p.t.Helper()
	return p.loads(status, chromedp.Navigate(url))
}

// js evaluates an expression that is a text, or the promise of one.
func (p *tab) js(expression string) string {
	p.t.Helper()
	return value(p, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
}

// at wants the address bar to hold a path of this server.
func (p *tab) at(want string) *tab {
	p.t.Helper()
	if got := p.js("location.href"); got != p.w.url+want {
		p.t.Errorf("the browser is at %s, want %s", got, p.w.url+want)
	}
	return p
}

func (p *tab) text(selector chromedp.CSS) string {
	p.t.Helper()
	return value(p, chromedp.Text(selector))
}

type action = chromedp.Action[chromedp.Void]

// fill types into the fields of a form, from their beginning.
func fill(email, password string) action {
	return chromedp.Steps(
		chromedp.WaitVisible(chromedp.CSS("#email")),
		chromedp.Evaluate[chromedp.Void](`for (const field of document.querySelectorAll("#email, #password")) field.value = ""`),
		chromedp.SendKeys(chromedp.CSS("#email"), email), chromedp.SendKeys(chromedp.CSS("#password"), password),
	)
}

func click(selector chromedp.CSS) action   { return chromedp.Click(selector) }
func visible(selector chromedp.CSS) action { return chromedp.WaitVisible(selector) }

const submit = chromedp.CSS("form button[type=submit]")

// signIn logs in with the form.
func (p *tab) signIn(email string) *tab {
	p.t.Helper()
	p.open(200, p.w.url+"/login")
	return p.loads(200, fill(email, typed), click(submit)).at("/")
}

// signedIn wants the browser to be signed in, or not.
func (p *tab) signedIn(want bool) {
	p.t.Helper()
	p.open(200, p.w.url+"/")
	if got := p.js("location.pathname") == "/"; got != want {
		p.t.Errorf("signed in = %v, want %v", got, want)
	}
}

// cookies are those that the browser holds for this server.
func (p *tab) cookies() []*network.Cookie {
	p.t.Helper()
	return call(p, network.GetCookies, network.GetCookiesParams{URLs: []string{p.w.url + "/", p.w.url + "/v1/refresh"}}).Cookies
}

// site serves one page of somebody else.
func site(t *testing.T, host, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, "<!doctype html><title>somebody else</title><link rel=icon href='data:,'>%s", body)
	}))
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "127.0.0.1", host, 1)
}
