package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/handstamp/handstamp"
)

// serve runs the application on a free port with a file of its own.
func serve(t *testing.T) (*app, string) {
	t.Helper()
	p := start(t)
	return p.app, p.base
}

// process is the application as one process runs it.
type process struct {
	*app
	handler atomic.Value // http.Handler
	file    string
	base    string
}

func start(t *testing.T) *process {
	t.Helper()
	p := &process{file: filepath.Join(t.TempDir(), "notes.db")}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.handler.Load().(http.Handler).ServeHTTP(w, r)
	}))
	p.base = srv.URL
	p.open(t)
	t.Cleanup(func() {
		srv.Close()
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *process) open(t *testing.T) {
	t.Helper()
	var err error
	if p.app, err = open(t.Context(), p.file, p.base); err != nil {
		t.Fatal(err)
	}
	p.handler.Store(p.routes())
}

// TestRestart: accounts, sessions, notes and what was ended are in the file.
func TestRestart(t *testing.T) {
	p := start(t)
	laptop, phone := newBrowser(t, p.base), newBrowser(t, p.base)
	laptop.signUp("ada@example.com")
	phone.logIn("ada@example.com")
	laptop.pin("water the ferns")
	phone.post("/logout")
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	p.open(t)
	laptop.get("/")
	laptop.at("/", http.StatusOK)
	if !strings.Contains(laptop.body, "water the ferns") {
		t.Errorf("the note is gone:\n%s", laptop.body)
	}
	phone.get("/")
	phone.at("/login?return_to=%2F", http.StatusOK)
}

// browser is one person: a cookie jar, and the form token of the page they look at.
type browser struct {
	t    *testing.T
	base string
	http *http.Client
	site string // what it says in Sec-Fetch-Site
	path string // the page it is on, redirects followed
	body string
	code int
	form string
}

func newBrowser(t *testing.T, base string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, base: base, http: &http.Client{Jar: jar}, site: "same-origin"}
}

var hidden = regexp.MustCompile(`name="handstamp_form" value="([^"]*)"`)

func (b *browser) send(req *http.Request) {
	b.t.Helper()
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Site", b.site)
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.path, b.body, b.code, b.form = res.Request.URL.RequestURI(), string(body), res.StatusCode, ""
	if m := hidden.FindStringSubmatch(b.body); m != nil {
		b.form = m[1]
	}
}

// get loads a page.
func (b *browser) get(path string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.base+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.send(req)
}

// post sends a form with the token of the page that was loaded before.
func (b *browser) post(path string, fields ...string) {
	b.t.Helper()
	b.postToken(path, b.form, fields...)
}

func (b *browser) postToken(path, token string, fields ...string) {
	b.t.Helper()
	form := url.Values{"handstamp_form": {token}}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b.send(req)
}

// at checks where the browser is, and that it is there with this status.
func (b *browser) at(path string, code int) {
	b.t.Helper()
	if b.path != path || b.code != code {
		b.t.Fatalf("the browser is at %s with status %d, want %s with %d\n%s", b.path, b.code, path, code, b.body)
	}
}

const goodPassword = "seven wet otters"

func (b *browser) signUp(email string) {
	b.t.Helper()
	b.get("/signup")
	b.post("/signup", "email", email, "password", goodPassword)
	b.at("/", http.StatusOK)
}

func (b *browser) logIn(email string) {
	b.t.Helper()
	b.get("/login")
	b.post("/login", "email", email, "password", goodPassword)
	b.at("/", http.StatusOK)
}

var noteID = regexp.MustCompile(`<li id="note-(\d+)">`)

// pin puts a note on the board and returns the path of its own.
func (b *browser) pin(text string) string {
	b.t.Helper()
	b.post("/notes", "text", text)
	b.at("/", http.StatusOK)
	m := noteID.FindStringSubmatch(b.body)
	if m == nil || !strings.Contains(b.body, text) {
		b.t.Fatalf("the note is not on the board:\n%s", b.body)
	}
	return "/notes/" + m[1]
}

func TestOnlyTheOwnerDeletes(t *testing.T) {
	a, base := serve(t)
	ada, bob := newBrowser(t, base), newBrowser(t, base)
	ada.signUp("ada@example.com")
	bob.signUp("bob@example.com")
	one := ada.pin("water the ferns")

	bob.get("/")
	if !strings.Contains(bob.body, "water the ferns") || strings.Contains(bob.body, one+"/delete") {
		t.Errorf("bob should see the note, and no button to delete it:\n%s", bob.body)
	}
	bob.post(one + "/delete")
	bob.at(one+"/delete", http.StatusForbidden)
	ada.get("/")
	if !strings.Contains(ada.body, "water the ferns") {
		t.Fatal("bob deleted ada's note")
	}
	ada.post(one + "/delete")
	ada.at("/", http.StatusOK)
	if strings.Contains(ada.body, "water the ferns") {
		t.Error("ada's note is still there")
	}

	two := ada.pin("buy twine")
	if err := a.makeAdmin(t.Context(), "bob@example.com"); err != nil {
		t.Fatal(err)
	}
	bob.get("/")
	bob.post(two + "/delete") // the role admin grants notes:delete, in the session that was open
	bob.at("/", http.StatusOK)
	bob.post(two + "/delete")
	bob.at(two+"/delete", http.StatusNotFound)
}

func TestFormsOfOthersAreRefused(t *testing.T) {
	_, base := serve(t)
	ada, eve := newBrowser(t, base), newBrowser(t, base)
	ada.get("/login")
	before := ada.form
	ada.signUp("ada@example.com")
	eve.signUp("eve@example.com")
	mine, hers := ada.form, eve.form

	for name, token := range map[string]string{
		"no token": "", "garbage": "AAAA", "another user's": hers, "from before the login": before,
		"cut": mine[:len(mine)-1], "longer": mine + "A",
	} {
		ada.postToken("/notes", token, "text", "forged")
		if ada.code != http.StatusForbidden {
			t.Errorf("%s: status %d, want 403", name, ada.code)
		}
	}
	ada.site = "cross-site"
	ada.postToken("/notes", mine, "text", "forged")
	if ada.code != http.StatusForbidden {
		t.Errorf("a cross-site form with a good token: status %d, want 403", ada.code)
	}
	ada.site = "same-origin"
	ada.get("/")
	if strings.Contains(ada.body, "forged") {
		t.Error("a forged note is on the board")
	}
	ada.postToken("/notes", mine, "text", "my own")
	ada.at("/", http.StatusOK)
}

func TestLoginAndLogoutNeedAFormToo(t *testing.T) {
	_, base := serve(t)
	ada := newBrowser(t, base)
	ada.signUp("ada@example.com")
	ada.postToken("/logout", "")
	if ada.code != http.StatusForbidden {
		t.Errorf("logout without a token: status %d, want 403", ada.code)
	}
	ada.get("/")
	ada.at("/", http.StatusOK)

	visitor := newBrowser(t, base)
	visitor.get("/login")
	visitor.postToken("/login", "", "email", "ada@example.com", "password", goodPassword)
	if visitor.code != http.StatusForbidden {
		t.Errorf("login without a token: status %d, want 403", visitor.code)
	}
	visitor.get("/")
	visitor.at("/login?return_to=%2F", http.StatusOK)
}

func TestLoginAndBack(t *testing.T) {
	a, base := serve(t)
	ada := newBrowser(t, base)
	ada.signUp("ada@example.com")
	if err := a.makeAdmin(t.Context(), "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	ada.get("/")
	ada.post("/logout")
	ada.at("/login", http.StatusOK)

	ada.get("/admin")
	ada.at("/login?return_to=%2Fadmin", http.StatusOK)
	if !strings.Contains(ada.body, `name="return_to" value="/admin"`) {
		t.Fatalf("the login page does not know where to go back to:\n%s", ada.body)
	}
	ada.post("/login", "email", "ada@example.com", "password", "not the password", "return_to", "/admin")
	ada.at("/login", http.StatusUnauthorized)
	ada.post("/login", "email", "Ada@Example.com", "password", goodPassword, "return_to", "/admin")
	ada.at("/admin", http.StatusOK)

	for _, elsewhere := range []string{"https://evil.example/", "//evil.example/", `/\evil.example/`, "javascript:alert(1)"} {
		ada.get("/login")
		ada.post("/login", "email", "ada@example.com", "password", goodPassword, "return_to", elsewhere)
		ada.at("/", http.StatusOK)
	}
}

func TestLogOutEverywhere(t *testing.T) {
	_, base := serve(t)
	laptop, phone := newBrowser(t, base), newBrowser(t, base)
	laptop.signUp("ada@example.com")
	phone.logIn("ada@example.com")
	phone.post("/logout")
	phone.get("/")
	phone.at("/login?return_to=%2F", http.StatusOK)
	laptop.get("/")
	laptop.at("/", http.StatusOK) // one logout is one device

	phone.logIn("ada@example.com")
	laptop.post("/logout/everywhere")
	laptop.at("/login", http.StatusOK)
	for name, b := range map[string]*browser{"laptop": laptop, "phone": phone} {
		b.get("/")
		if b.path != "/login?return_to=%2F" {
			t.Errorf("the %s is at %s, want the login", name, b.path)
		}
	}
}

func TestAdministration(t *testing.T) {
	a, base := serve(t)
	root, bob := newBrowser(t, base), newBrowser(t, base)
	root.signUp("root@example.com")
	bob.signUp("bob@example.com")
	bob.get("/admin")
	bob.at("/admin", http.StatusForbidden)
	if err := a.makeAdmin(t.Context(), "root@example.com"); err != nil {
		t.Fatal(err)
	}
	root.get("/admin")
	root.at("/admin", http.StatusOK)
	m := regexp.MustCompile(`<tr id="(usr_\w+)"><td>bob@`).FindStringSubmatch(root.body)
	if m == nil {
		t.Fatalf("bob is not in the list:\n%s", root.body)
	}
	users := "/admin/users/" + m[1]

	bob.get("/")
	bob.post(users, "action", "enable")
	bob.at(users, http.StatusForbidden)
	root.post(users, "action", "disable")
	root.at("/admin", http.StatusOK)
	bob.get("/")
	bob.at("/login?return_to=%2F", http.StatusOK) // out at once, with a session that was good
	bob.post("/login", "email", "bob@example.com", "password", goodPassword)
	bob.at("/login", http.StatusForbidden)

	root.post(users, "action", "enable")
	bob.get("/")
	bob.at("/login?return_to=%2F", http.StatusOK) // enabling brings no session back
	bob.logIn("bob@example.com")
}

func TestSignUpSaysWhatIsWrong(t *testing.T) {
	_, base := serve(t)
	newBrowser(t, base).signUp("ada@example.com")
	for _, tt := range []struct {
		email, password string
		code            int
		says            string
	}{
		{"ada@example.com", goodPassword, http.StatusConflict, "log in instead"},
		{"not an address", goodPassword, http.StatusUnprocessableEntity, "the address needs exactly one @"},
		{"eve@example.com", "short", http.StatusUnprocessableEntity, "at least 8 characters"},
		{"eve@example.com", "password1", http.StatusUnprocessableEntity, "most common"},
		{`"><script>@example.com`, goodPassword, http.StatusUnprocessableEntity, "&gt;&lt;script&gt;@example.com"},
	} {
		b := newBrowser(t, base)
		b.get("/signup")
		b.post("/signup", "email", tt.email, "password", tt.password)
		if b.code != tt.code || !strings.Contains(b.body, tt.says) {
			t.Errorf("sign-up as %q: status %d, want %d and %q in\n%s", tt.email, b.code, tt.code, tt.says, b.body)
		}
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	_, base := serve(t)
	newBrowser(t, base).signUp("ada@example.com")
	eve := newBrowser(t, base)
	eve.get("/login")
	for range 10 {
		eve.post("/login", "email", "ada@example.com", "password", "a guess of eve")
		eve.at("/login", http.StatusUnauthorized)
	}
	eve.post("/login", "email", "ada@example.com", "password", "a guess of eve")
	eve.at("/login", http.StatusTooManyRequests)
	if !strings.Contains(eve.body, "too many tries: wait 5 seconds") {
		t.Errorf("the page does not say how long:\n%s", eve.body)
	}
}

// TestLoginReplaces: a login from a browser that has a session takes that session's place, and the list of sessions says
// where each is from.
func TestLoginReplaces(t *testing.T) {
	a, base := serve(t)
	ada := newBrowser(t, base)
	ada.signUp("ada@example.com")
	ada.logIn("ada@example.com")
	list, err := a.auth.Sessions(t.Context(), handstamp.SessionFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].IP != "127.0.0.1" {
		t.Errorf("sessions after a sign-up and a login of one browser: %+v, want one from 127.0.0.1", list)
	}
}
