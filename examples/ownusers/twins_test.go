package main

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/server"
	"github.com/handstamp/handstamp/store/memory"
)

// interpreter finds a program that runs a twin. A machine without it skips; where everything is tested it has to be there.
func interpreter(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("%s is missing, and CI is set: the twin of this example has to be run", name)
	}
	if err != nil {
		t.Skipf("%s is missing on this machine: its twin of this example is not run", name)
	}
	return path
}

// asked is a Handstamp server without users of its own, as a twin asks it.
type asked struct {
	url      string
	key      string // the twin's service key
	clock    *clock
	auth     *handstamp.Auth
	accounts *account.Accounts
	handler  *late
	good     http.Handler
}

func handstampServer(t *testing.T) *asked {
	t.Helper()
	s := &asked{clock: &clock{now: time.Now()}, handler: &late{}}
	srv := httptest.NewServer(s.handler)
	s.url = srv.URL
	store := memory.New()
	auth, err := handstamp.Open(t.Context(), store, handstamp.Options{
		PublicURL: srv.URL, Now: s.clock.Now, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		srv.Close()
		if err := auth.Close(); err != nil {
			t.Error(err)
		}
	})
	s.auth, s.accounts = auth, account.New(auth, store)
	if s.good, err = server.Handler(auth, s.accounts, server.Options{PublicURL: srv.URL}); err != nil {
		t.Fatal(err)
	}
	s.handler.set(s.good)
	s.key = s.newKey(t, "handstamp.start", "handstamp.admin")
	return s
}

func (s *asked) newKey(t *testing.T, permissions ...string) string {
	t.Helper()
	n := account.NewServiceKey{Name: "ownusers", Permissions: permissions}
	_, secret, err := s.accounts.AddServiceKey(t.Context(), n, handstamp.Client{Actor: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal()
}

// twin runs one of the programs until the test ends.
func twin(t *testing.T, program, source string) (application, *asked) {
	t.Helper()
	path := interpreter(t, program)
	if _, err := os.ReadFile(source); err != nil { // go test keeps a result as long as what the test itself read is as it was
		t.Fatal(err)
	}
	srv := handstampServer(t)
	cmd := exec.Command(path, source)
	// Nothing of the environment of whoever runs the tests, proxies among it.
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYTHONDONTWRITEBYTECODE=1",
		"HANDSTAMP_URL=" + srv.url, "HANDSTAMP_KEY=" + srv.key, "PORT=0", "TIMEOUT=120", "DB=" + filepath.Join(t.TempDir(), "app.db"),
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s printed:\n%s", program, log.String())
		}
	})
	stop := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() }) // then the line below ends
	defer stop.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	base, ok := strings.CutPrefix(strings.TrimSpace(line), "ownusers: ")
	if err != nil || !ok {
		t.Fatalf("%s did not start: %q, %v", program, line, err)
	}
	return application{base: base, advance: srv.clock.add}, srv
}

func TestPython(t *testing.T) {
	t.Parallel()
	app, srv := twin(t, "python3", "python/app.py")
	contract(t, app)
	outage(t, app, srv)
	strangers(t, app, srv)
	overtaken(t, app, srv)
}

func TestNode(t *testing.T) {
	t.Parallel()
	app, srv := twin(t, "node", "node/app.mjs")
	contract(t, app)
	outage(t, app, srv)
	strangers(t, app, srv)
	overtaken(t, app, srv)
}

// outage: where Handstamp cannot be asked, or does not know the application any more, nobody is logged out.
func outage(t *testing.T, app application, srv *asked) {
	t.Helper()
	ivy := app.browser(t, "laptop").signUp("ivy@example.com")
	says := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, body, status) }
	}
	logIn := object{"email": "ivy@example.com", "password": goodPassword}
	for _, broken := range []http.HandlerFunc{
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		says(http.StatusServiceUnavailable, `{"code":"unavailable"}`),
		says(http.StatusBadGateway, "<html>"),
		says(http.StatusNotFound, "<html>"), // somebody else answers
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusBadGateway)
		},
	} {
		srv.handler.set(broken)
		ivy.send("POST", "/login", logIn, 503)
		ivy.send("GET", "/me", nil, 503)
		ivy.send("POST", "/logout", nil, 503)
		srv.handler.set(srv.good)
		ivy.in()
	}
	srv.handler.set(says(http.StatusUnauthorized, `{"code":"revoked"}`)) // of the application's key
	ivy.send("POST", "/login", logIn, 503)
	srv.handler.set(srv.good)
	ivy.in()
}

// strangers: a credential that Handstamp finds good is of nobody here, if the application's table has nobody of that id.
func strangers(t *testing.T, app application, srv *asked) {
	t.Helper()
	proof, err := srv.auth.Prove(t.Context(), "999999")
	if err != nil {
		t.Fatal(err)
	}
	proof.Transport = handstamp.TransportBearer
	grant, err := srv.auth.Start(t.Context(), proof)
	if err != nil {
		t.Fatal(err)
	}
	b := app.browser(t, "laptop")
	program := srv.newKey(t, "*")
	for _, credential := range []string{grant.AccessToken.Reveal(), program, "nonsense", ""} {
		b.with("shop="+credential).refused("GET", "/me", nil, 401, "invalid_token")
	}
	b.with("shop="+program).refused("PUT", "/users/1", object{"disabled": true}, 401, "invalid_token")
}

// overtaken: a role that is taken away while a login is on its way to Handstamp stays away, on every device.
func overtaken(t *testing.T, app application, srv *asked) {
	t.Helper()
	root := app.browser(t, "root").logIn("root@example.com")
	kim := app.browser(t, "laptop").signUp("kim@example.com")
	phone := app.browser(t, "phone").logIn("kim@example.com")
	for _, change := range []object{{"role": "customer"}, {"disabled": true}} {
		root.send("PUT", "/users/"+kim.userID, object{"role": "manager"}, 204)
		var once sync.Once
		srv.handler.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/admin/sessions" {
				once.Do(func() { root.send("PUT", "/users/"+kim.userID, change, 204) })
			}
			srv.good.ServeHTTP(w, r)
		}))
		tablet := app.browser(t, "tablet")
		tablet.refused("POST", "/login", object{"email": "kim@example.com", "password": goodPassword}, 503, "unavailable")
		tablet.out()
		if change["disabled"] == true {
			phone.out()
			continue
		}
		phone.refused("PUT", "/users/"+kim.userID, object{"role": "manager"}, 403, "forbidden")
		if n := len(phone.devices()); n != 2 {
			t.Errorf("kim has %d devices, want laptop and phone", n)
		}
	}
	srv.handler.set(srv.good)
	tablet := app.browser(t, "tablet")
	tablet.refused("POST", "/login", object{"email": "kim@example.com", "password": goodPassword}, 403, "account_disabled")
}
