package handstamptest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/handstamptest"
	"github.com/handstamp/handstamp/internal/bubbletest"
)

// notes is an application's handler. It says who asks.
var notes = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	p, _ := handstamp.FromContext(r.Context())
	fmt.Fprintf(w, "%s %v", p.User, p.May("notes:write"))
})

// TestNotes is the test in the package's documentation, line by line.
func TestNotes(t *testing.T) {
	h := handstamptest.New(t)
	handler := h.Auth.Require(handstamp.Permission("notes:write"))(notes)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, h.Login(httptest.NewRequest("POST", "/notes", nil), "ada", "notes:write"))
	if w.Code != 200 {
		t.Errorf("got %d: %s", w.Code, w.Body)
	}

	// What the documentation says of the other two.
	if got := serve(handler, h.Login(httptest.NewRequest("POST", "/notes", nil), "bob", "notes:read")); got != "403 forbidden" {
		t.Errorf("without the permission: %s", got)
	}
	if got := serve(handler, httptest.NewRequest("POST", "/notes", nil)); got != "401 missing_credential" {
		t.Errorf("without a login: %s", got)
	}
}

// TestDocumentation: the lines of code in the package's documentation are those of TestNotes.
func TestDocumentation(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	test, err := os.ReadFile("handstamptest_test.go")
	if err != nil {
		t.Fatal(err)
	}
	code, shown := 0, ""
	for line := range strings.Lines(string(doc)) {
		if line, ok := strings.CutPrefix(line, "//\t"); ok && !strings.HasPrefix(line, "//") {
			code++
			shown += "\t" + line
		}
	}
	if code != 4 || !strings.Contains(string(test), shown) {
		t.Errorf("%d lines are shown that TestNotes does not have:\n%s", code, shown)
	}
}

// serve asks a handler and returns the status, and the code of a refusal or the body.
func serve(handler http.Handler, r *http.Request) string {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return answer(w.Code, w.Body.String())
}

func answer(status int, body string) string {
	if _, rest, ok := strings.Cut(body, `"code":"`); ok {
		body, _, _ = strings.Cut(rest, `"`)
	}
	return fmt.Sprintf("%d %s", status, body)
}

func bearer(method, token string) *http.Request {
	r := httptest.NewRequest(method, "/notes", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func TestLogin(t *testing.T) {
	for name, change := range map[string]func(*handstamp.Options){
		"loopback": func(*handstamp.Options) {},
		"https":    func(o *handstamp.Options) { o.PublicURL = "https://app.example.com" },
		"domain": func(o *handstamp.Options) {
			o.PublicURL, o.Cookie.Domain = "https://app.example.com/shop", "example.com"
		},
		"hybrid":  func(o *handstamp.Options) { o.Modes = []handstamp.Mode{handstamp.ModeHybrid} },
		"no keys": func(o *handstamp.Options) { o.Keys = nil },
	} {
		t.Run(name, func(t *testing.T) {
			h := handstamptest.New(t, change)
			protected := h.Auth.Require()(notes)
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
				r := h.Login(httptest.NewRequest(method, "/notes", nil), "ada", "notes:*")
				if got := serve(protected, r); got != "200 ada true" {
					t.Errorf("%s: %s", method, got)
				}
			}
		})
	}
}

// TestLoginReplaces: a request that is logged in twice is one browser, and the first session is over.
func TestLoginReplaces(t *testing.T) {
	h := handstamptest.New(t)
	protected := h.Auth.Require()(notes)
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: "theme", Value: "dark"})
	first := h.Login(r, "ada").Clone(t.Context())
	second := h.Login(r, "bob")
	if got := serve(protected, second); got != "200 bob false" {
		t.Error(got)
	}
	if got := serve(protected, first); got != "401 revoked" {
		t.Error(got)
	}
	if c, err := second.Cookie("theme"); err != nil || c.Value != "dark" {
		t.Error("another cookie of the request was lost")
	}
}

// TestCrossOrigin: the headers of a request from elsewhere count, whether they were there before Login or came after.
func TestCrossOrigin(t *testing.T) {
	h := handstamptest.New(t)
	protected := h.Auth.Require()(notes)
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("Origin", "https://evil.example")
	if got := serve(protected, h.Login(r, "ada")); got != "403 cross_origin" {
		t.Errorf("Origin set before: %s", got)
	}
	r = h.Login(httptest.NewRequest("POST", "/", nil), "ada")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if got := serve(protected, r); got != "403 cross_origin" {
		t.Errorf("Sec-Fetch-Site set after: %s", got)
	}
}

func TestToken(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*handstamp.Options)
		form   handstamp.Form
	}{
		"value":     {func(*handstamp.Options) {}, handstamp.Value},
		"hybrid":    {func(o *handstamp.Options) { o.Modes = []handstamp.Mode{handstamp.ModeHybrid} }, handstamp.Value},
		"reference": {func(o *handstamp.Options) { o.Keys = nil }, handstamp.Reference},
	} {
		t.Run(name, func(t *testing.T) {
			h := handstamptest.New(t, test.change)
			token := h.Token("ada", "notes:write")
			p, err := h.Auth.VerifyToken(t.Context(), token)
			if err != nil || p.User != "ada" || p.Form != test.form || !p.May("notes:write") || p.May("notes:read") {
				t.Errorf("%+v, %v", p, err)
			}
			if got := serve(h.Auth.Require()(notes), bearer("POST", token)); got != "200 ada true" {
				t.Error(got)
			}
			h.End("ada")
			if got := serve(h.Auth.Require()(notes), bearer("GET", token)); got != "401 revoked" {
				t.Errorf("after End: %s", got)
			}
		})
	}
}

func TestEnd(t *testing.T) {
	h := handstamptest.New(t)
	protected := h.Auth.Require()(notes)
	ada, bob := h.Login(httptest.NewRequest("GET", "/", nil), "ada"), h.Login(httptest.NewRequest("GET", "/", nil), "bob")
	h.End("ada")
	if got := serve(protected, ada); got != "401 revoked" {
		t.Error(got)
	}
	if got := serve(protected, bob); got != "200 bob false" {
		t.Error(got)
	}
	if got := serve(protected, h.Login(ada, "ada")); got != "200 ada false" {
		t.Errorf("after another login: %s", got)
	}
	h.End("nobody yet") // is no error: there is nothing to end
}

func TestAdvance(t *testing.T) {
	h := handstamptest.New(t, func(o *handstamp.Options) { o.Session.IdleTimeout = time.Hour })
	protected := h.Auth.Require()(notes)
	recent := h.Auth.Require(handstamp.MaxAuthAge(10 * time.Minute))(notes)
	r, token := h.Login(httptest.NewRequest("POST", "/", nil), "ada"), h.Token("bob")
	before := h.Auth.Now()
	h.Advance(10*time.Minute - time.Nanosecond)
	if got := serve(recent, r); got != "200 ada false" {
		t.Errorf("while the login is recent: %s", got)
	}
	h.Advance(time.Nanosecond)
	if got := serve(recent, r); got != "403 step_up_required" {
		t.Errorf("when the login is not recent any more: %s", got)
	}
	if got := serve(protected, r); got != "200 ada false" {
		t.Errorf("while there is no rule: %s", got)
	}
	h.Advance(5 * time.Minute)
	if got := serve(protected, bearer("GET", token)); got != "401 expired" {
		t.Errorf("a value token after 15 minutes: %s", got)
	}
	h.Advance(45 * time.Minute)
	if got := serve(protected, r); got != "200 ada false" {
		t.Errorf("used 50 minutes ago: %s", got)
	}
	h.Advance(time.Hour)
	if got := serve(protected, r); got != "401 expired" {
		t.Errorf("after the idle time: %s", got)
	}
	if passed := h.Auth.Now().Sub(before); passed != 2*time.Hour {
		t.Errorf("%v have passed", passed)
	}
}

// TestAdvanceFar: after a year nothing that was made is good, and everything can be made.
func TestAdvanceFar(t *testing.T) {
	h := handstamptest.New(t)
	for range 5 {
		old := h.Token("ada")
		h.Advance(365 * 24 * time.Hour)
		if got := serve(h.Auth.Require()(notes), bearer("GET", old)); !strings.HasPrefix(got, "401 ") {
			t.Error(got)
		}
	}
	if got := serve(h.Auth.Require()(notes), bearer("GET", h.Token("ada"))); got != "200 ada false" {
		t.Error(got)
	}
	if got := serve(h.Auth.Require()(notes), h.Login(httptest.NewRequest("GET", "/", nil), "ada")); got != "200 ada false" {
		t.Error(got)
	}
}

// TestAdvanceRenews: after a jump memory answers again, whatever the machine was doing.
func TestAdvanceRenews(t *testing.T) {
	h := handstamptest.New(t, func(o *handstamp.Options) { o.RefuseStale = true })
	token := h.Token("ada")
	for range 20 {
		h.Advance(10 * time.Second)
		if got := serve(h.Auth.Require()(notes), bearer("GET", token)); got != "200 ada false" {
			t.Fatal(got)
		}
	}
}

func TestStoreDown(t *testing.T) {
	h := handstamptest.New(t)
	protected := h.Auth.Require()(notes)
	r, token := h.Login(httptest.NewRequest("GET", "/", nil), "ada"), h.Token("bob")
	h.StoreDown(true)
	if got := serve(protected, r); got != "503 unavailable" {
		t.Errorf("a session: %s", got)
	}
	if got := serve(protected, bearer("GET", token)); got != "200 bob false" {
		t.Errorf("a value token under the lease: %s", got)
	}
	h.Advance(3 * time.Second)
	if got := serve(protected, bearer("GET", token)); got != "503 unavailable" {
		t.Errorf("a value token after the lease: %s", got)
	}
	h.StoreDown(false)
	if got := serve(protected, r); got != "200 ada false" {
		t.Errorf("a session, when the store is back: %s", got)
	}
	if got := serve(protected, bearer("GET", token)); got != "200 bob false" {
		t.Errorf("a value token, when the store is back: %s", got)
	}
	h.StoreDown(true) // and the cleanup closes all the same
}

// TestCloseWhileDown: what is left to write at the end is written although the test took the store down.
func TestCloseWhileDown(t *testing.T) {
	h := handstamptest.New(t)
	r := h.Login(httptest.NewRequest("GET", "/", nil), "ada")
	h.Advance(time.Hour)
	if got := serve(h.Auth.Require()(notes), r); got != "200 ada false" {
		t.Error(got)
	}
	h.StoreDown(true)
}

// TestStoreDownEverywhere: no view of the store answers while it is down.
func TestStoreDownEverywhere(t *testing.T) {
	h := handstamptest.New(t)
	accounts := account.New(h.Auth, h.Store)
	u, err := accounts.Create(t.Context(), account.NewUser{Email: "ada@example.com"}, handstamp.Client{})
	if err != nil {
		t.Fatal(err)
	}
	h.StoreDown(true)
	for name, err := range everyCall(t.Context(), h, u.ID) {
		if err == nil || errors.Is(err, handstamp.ErrNotFound) || errors.Is(err, handstamp.ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.StoreDown(false)
	if _, err := h.Store.Users().ByID(t.Context(), u.ID); err != nil {
		t.Error(err)
	}
}

// TestUnitGoesDown: a unit that is under way when the store goes away is not committed.
func TestUnitGoesDown(t *testing.T) {
	h := handstamptest.New(t)
	err := h.Store.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		sub, err := tx.Subject(t.Context(), "ada")
		if err != nil {
			return err
		}
		sub.Disabled = true
		if err := tx.PutSubject(t.Context(), sub); err != nil {
			return err
		}
		go h.StoreDown(true)
		for h.Store.Up() == nil {
			runtime.Gosched()
		}
		return nil
	})
	if err == nil {
		t.Error("the unit was committed")
	}
	h.StoreDown(false)
	if sub, err := h.Auth.Subject(t.Context(), "ada"); err != nil || sub.Disabled {
		t.Errorf("%+v, %v", sub, err)
	}
}

func TestGuard(t *testing.T) {
	h := handstamptest.New(t, func(o *handstamp.Options) { o.Session.IdleTimeout = time.Hour })
	who := func(user handstamp.UserID) handstamp.Principal {
		p, err := h.Auth.Verify(h.Login(httptest.NewRequest("GET", "/", nil), user))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ada, cancel := h.Auth.Guard(t.Context(), who("ada"))
	defer cancel()
	bob, cancel := h.Auth.Guard(t.Context(), who("bob"))
	defer cancel()
	h.End("ada")
	if reason, _ := handstamp.ReasonOf(context.Cause(ada)); reason != handstamp.ReasonRevoked {
		t.Errorf("ada's connection: %v", context.Cause(ada))
	}
	if bob.Err() != nil {
		t.Errorf("bob's connection: %v", context.Cause(bob))
	}
	h.Advance(2 * time.Hour)
	<-bob.Done()
	if reason, _ := handstamp.ReasonOf(context.Cause(bob)); reason != handstamp.ReasonExpired {
		t.Errorf("bob's connection after the idle time: %v", context.Cause(bob))
	}
}

// TestParallel: many users at once, each with sessions and tokens of their own.
func TestParallel(t *testing.T) {
	h := handstamptest.New(t)
	handler := h.Auth.Require(handstamp.Permission("notes:write"))(notes)
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			user := handstamp.UserID(fmt.Sprintf("user-%d", i))
			want := fmt.Sprintf("200 %s true", user)
			if got := serve(handler, h.Login(httptest.NewRequest("POST", "/", nil), user, "notes:write")); got != want {
				t.Error(got)
			}
			if got := serve(handler, bearer("POST", h.Token(user, "notes:write"))); got != want {
				t.Error(got)
			}
			other := handstamp.UserID(fmt.Sprintf("reader-%d", i))
			if got := serve(handler, h.Login(httptest.NewRequest("POST", "/", nil), other, "notes:read")); got != "403 forbidden" {
				t.Error(got)
			}
			h.End(user)
		})
	}
}

// TestSameUserAtOnce: logins that write the same user's permissions at the same moment all succeed.
func TestSameUserAtOnce(t *testing.T) {
	h := handstamptest.New(t)
	protected := h.Auth.Require()(notes)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			r := h.Login(httptest.NewRequest("GET", "/", nil), "ada", fmt.Sprintf("notes:%d", i))
			if got := serve(protected, r); got != "200 ada false" {
				t.Error(got)
			}
		})
	}
	all.Wait()
}

// TestPermissionsAreTheUsers: the last call says what the user may do, with the sessions from before, too.
func TestPermissionsAreTheUsers(t *testing.T) {
	h := handstamptest.New(t)
	handler := h.Auth.Require(handstamp.Permission("notes:write"))(notes)
	before := h.Login(httptest.NewRequest("POST", "/", nil), "ada", "notes:write")
	h.Login(httptest.NewRequest("POST", "/", nil), "ada")
	if got := serve(handler, before); got != "403 forbidden" {
		t.Error(got)
	}
}

func TestData(t *testing.T) {
	h := handstamptest.New(t, func(o *handstamp.Options) { o.Carry = []string{"cart"} })
	cart := handstamp.NewData[[]string](h.Auth, "cart")
	shop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := h.Auth.Anonymous(w, r)
		if err != nil {
			h.Auth.Deny(w, r, err)
			return
		}
		if item := r.FormValue("item"); item != "" {
			if err := cart.Update(r.Context(), s, func(c []string) ([]string, error) { return append(c, item), nil }); err != nil {
				h.Auth.Deny(w, r, err)
				return
			}
		}
		c, _, err := cart.Get(r.Context(), s)
		fmt.Fprint(w, c, err)
	})
	srv := httptest.NewServer(shop)
	defer srv.Close()
	visitor := h.Client(t, "")
	if got := post(t, visitor, srv.URL+"?item=tea"); got != "200 [tea] <nil>" {
		t.Error(got)
	}
	if got := post(t, visitor, srv.URL+"?item=milk"); got != "200 [tea milk] <nil>" {
		t.Error(got)
	}

	// The same with a request that is logged in: its cart comes along.
	r := httptest.NewRequest("GET", "/", nil)
	u, _ := url.Parse(srv.URL)
	for _, c := range visitor.Jar.Cookies(u) {
		r.AddCookie(c)
	}
	if got := serve(shop, h.Login(r, "ada")); got != "200 [tea milk] <nil>" {
		t.Error(got)
	}
	if _, err := r.Cookie("handstamp-guest"); err == nil {
		t.Error("the visitor's cookie is still there")
	}
	h.End("ada")
	p, err := h.Auth.Verify(r)
	if _, _, err := cart.Get(t.Context(), p.Session); !errors.Is(err, handstamp.ErrUnauthenticated) {
		t.Errorf("the cart of a session that is over: %v (%v)", err, p)
	}
	if err == nil {
		t.Error("the session goes on")
	}
}

func post(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	res, err := c.Post(url, "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, res)
}

func read(t *testing.T, res *http.Response) string {
	t.Helper()
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer(res.StatusCode, string(body))
}

func TestNewContext(t *testing.T) {
	ctx := handstamptest.NewContext(t.Context(), "ada", "notes:write", "lists:*")
	p, ok := handstamp.FromContext(ctx)
	if !ok || p.User != "ada" || p.Session == "" || !p.May("notes:write") || !p.May("lists:read") || p.May("notes:read") {
		t.Errorf("%+v", p)
	}
	if got := serve(notes, httptest.NewRequest("GET", "/", nil).WithContext(ctx)); got != "200 ada true" {
		t.Error(got)
	}
	if p, ok := handstamp.FromContext(handstamptest.NewContext(t.Context(), "bob")); !ok || p.User != "bob" || p.May("notes:write") {
		t.Errorf("%+v", p)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if ctx := handstamptest.NewContext(cancelled, "ada"); ctx.Err() == nil {
		t.Error("the context lost its end")
	}
	for _, bad := range []func(){
		func() { handstamptest.NewContext(t.Context(), "") },
		func() { handstamptest.NewContext(t.Context(), "a\nb") },
		func() { handstamptest.NewContext(t.Context(), "ada", "two words") },
	} {
		func() {
			defer func() {
				if s, _ := recover().(string); !strings.HasPrefix(s, "handstamptest: NewContext") {
					t.Errorf("panicked with %q", s)
				}
			}()
			bad()
		}()
	}
}

// TestBubble: a harness lives in a bubble of testing/synctest, too.
func TestBubble(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		h := handstamptest.New(t)
		ctx, cancel := h.Auth.Guard(t.Context(), verified(t, h, h.Login(httptest.NewRequest("GET", "/", nil), "ada")))
		defer cancel()
		h.Advance(800 * time.Hour)
		<-ctx.Done()
		if got := serve(h.Auth.Require()(notes), bearer("GET", h.Token("ada"))); got != "200 ada false" {
			t.Error(got)
		}
	})
}

func verified(t *testing.T, h *handstamptest.Harness, r *http.Request) handstamp.Principal {
	t.Helper()
	p, err := h.Auth.Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		handstamptest.New(b)
	}
}

func BenchmarkNewContext(b *testing.B) {
	for b.Loop() {
		handstamptest.NewContext(b.Context(), "ada", "notes:write")
	}
}

func BenchmarkAdvance(b *testing.B) {
	h := handstamptest.New(b)
	for b.Loop() {
		h.Advance(3 * time.Second)
	}
}
