package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/server"
	"github.com/handstamp/handstamp/store/memory"
)

// places are where an application may put the server: at the root, and below paths, with and without a path of its own.
var places = []struct{ prefix, mount string }{{"", ""}, {"", "/auth"}, {"", "/a/b"}, {"/app", "/app/auth"}, {"/app", "/app"}}

// beside is an application with a router of its own.
func beside(mount string) func(http.Handler) http.Handler {
	return func(s http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle(mount+"/", s)
		if mount != "" {
			mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusTeapot)
				fmt.Fprint(w, "the application's own ", r.URL.Path)
			})
		}
		return mux
	}
}

func everywhere(t *testing.T, test func(t *testing.T, w *world, mount string)) {
	for _, p := range places {
		t.Run("at "+p.mount+" of "+p.prefix+"/", func(t *testing.T) {
			test(t, newWorld(t, settings{prefix: p.prefix, mount: p.mount, app: beside(p.mount)}), p.mount)
		})
	}
}

// TestMountedAPI: a browser with a jar logs in, refreshes by cookie, sees itself and logs out, wherever the server stands.
func TestMountedAPI(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, mount string) {
		c := w.signUp("ada@example.com", "hybrid", "cookie")
		for _, path := range []string{"/v1/session", "/v1/sessions", "/v1/check", "/v1/refresh/x", "/v1/refreshx", "/"} {
			if got := c.cookie(path, "__Secure-handstamp-refresh") != ""; got != strings.HasPrefix(path, "/v1/refresh/") {
				t.Errorf("the refresh cookie is sent to %s: %v", path, got)
			}
		}
		old := c.cookie("/v1/refresh", "__Secure-handstamp-refresh")
		for _, k := range c.post("/v1/refresh", nil).want(200).setCookies() {
			if want := map[string]string{"__Host-handstamp": "/", "__Secure-handstamp-refresh": mount + "/v1/refresh"}[k.Name]; k.Path != want {
				t.Errorf("%s has the path %s, want %s", k.Name, k.Path, want)
			}
		}
		if now := c.cookie("/v1/refresh", "__Secure-handstamp-refresh"); now == "" || now == old {
			t.Error("a refresh by cookie gave the jar no other cookie")
		}
		c.get("/v1/session").want(200)
		c.get("/v1/sessions").want(200)
		c.get("/v1/check").want(200)
		w.stranger().get("/.well-known/jwks.json").want(200)
		c.post("/v1/logout", nil).want(204)
		if c.cookie("/v1/refresh", "__Secure-handstamp-refresh") != "" || c.cookie("/", "__Host-handstamp") != "" {
			t.Error("a log-out leaves cookies in the jar")
		}
		c.get("/v1/session").refused(401, "missing_credential")
		c.post("/v1/login", m{"email": c.email, "password": typed, "mode": "session"}).want(200)
		c.get("/v1/session").want(200)
	})
}

// TestMountedDocument: the document says where the server stands, and which cookie it takes.
func TestMountedDocument(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, mount string) {
		if got, want := w.document["servers"].([]any)[0].(m)["url"], mount; got != want && !(want == "" && got == "/") {
			t.Errorf("servers[0].url = %v, want %q", got, want)
		}
	})
	w := newWorld(t, settings{auth: func(o *handstamp.Options) { o.Cookie.Domain = "127.0.0.1" }})
	name := w.document["components"].(m)["securitySchemes"].(m)["cookie"].(m)["name"]
	if name != "__Secure-handstamp" {
		t.Errorf("with a domain the document names the cookie %v", name)
	}
}

var links = regexp.MustCompile(`(?:href|src|action|data-url)="([^"]*)"`)

// TestMountedPages: every link, form and redirect of the pages leads below the prefix, and works.
func TestMountedPages(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, mount string) {
		w.signUp("ada@example.com", "session", "bearer")
		c := w.stranger()
		follow := func(a *response) {
			t.Helper()
			found := links.FindAllStringSubmatch(a.raw, -1)
			if len(found) == 0 {
				t.Errorf("%s has no links", a.what)
			}
			for _, link := range found {
				path, ok := strings.CutPrefix(link[1], mount)
				if !ok {
					t.Errorf("%s leads to %s", a.what, link[1])
					continue
				}
				if got := w.stranger().do("OPTIONS", path, nil).status; got != 204 {
					t.Errorf("%s leads to %s, where there is nothing: %d", a.what, link[1], got)
				}
			}
		}
		if to := c.get("/").want(303).header.Get("Location"); to != mount+"/login" {
			t.Errorf("GET / leads to %s", to)
		}
		page := c.get("/login").want(200)
		follow(page)
		follow(c.get("/setup").want(200))
		follow(c.do("GET", "/nothing", nil, navigation()...).want(404))
		form := url.Values{"handstamp_form": {page.formToken()}, "email": {"ada@example.com"}, "password": {typed}}
		if to := c.do("POST", "/login", form).want(303).header.Get("Location"); to != mount+"/" {
			t.Errorf("a login leads to %s, want %s/", to, mount)
		}
		home := c.get("/").want(200)
		follow(home)
		if to := c.do("POST", "/logout", url.Values{"handstamp_form": {home.formToken()}}).want(303).header.Get("Location"); to != mount+"/login" {
			t.Errorf("a log-out leads to %s", to)
		}
		a := c.do("GET", "/v1/check?login=redirect", nil, navigation()...).want(302)
		if to := a.header.Get("Location"); to != w.url+"/login" {
			t.Errorf("login=redirect leads to %s", to)
		}
		// A page of the application sends its visitor here, and gets them back.
		page = c.get("/login?return_to=/cart").want(200)
		form.Set("handstamp_form", page.formToken())
		form.Set("return_to", "/cart")
		if to := c.do("POST", "/login", form).want(303).header.Get("Location"); to != "/cart" {
			t.Errorf("a login for /cart leads to %s", to)
		}
	})
}

// TestHomeURL: who came from nowhere goes on to the application.
func TestHomeURL(t *testing.T) {
	for home, at := range map[string]string{"/shop?tab=1": "/shop?tab=1", friend + "/x": friend + "/x", "": "/auth/"} {
		w := newWorld(t, settings{mount: "/auth", auth: trustFriend, server: func(o *server.Options) { o.HomeURL = home }})
		w.signUp("ada@example.com", "session", "bearer")
		for target, want := range map[string]string{"": at, "//evil.example": at, "/cart": "/cart"} {
			c := w.stranger()
			page := c.get("/login?return_to=" + url.QueryEscape(target)).want(200)
			form := url.Values{"handstamp_form": {page.formToken()}, "return_to": {target}, "email": {"ada@example.com"}, "password": {typed}}
			if to := c.do("POST", "/login", form).want(303).header.Get("Location"); to != want {
				t.Errorf("HomeURL %q, return_to %q leads to %s, want %s", home, target, to, want)
			}
			if policy := page.header.Get("Content-Security-Policy"); strings.Contains(policy, friend) != strings.HasPrefix(want, friend) {
				t.Errorf("HomeURL %q, return_to %q: the policy is %s", home, target, policy)
			}
		}
	}
}

// TestMountedBesideOthers: below the prefix everything is ours, not-found too; beside it nothing is.
func TestMountedBesideOthers(t *testing.T) {
	w := newWorld(t, settings{mount: "/auth", app: beside("/auth")})
	inside := w.stranger()
	for _, path := range []string{"/nothing", "/v1/nothing", "/auth/v1/session", "/v1/session/", "/%2e%2e/v1/session", "/static/"} {
		inside.get(path).refused(404, "not_found")
	}
	if to := w.outside().get("/auth").header.Get("Location"); to != "/auth/" { // net/http's own
		t.Errorf("GET /auth leads to %q", to)
	}
	for _, path := range []string{"/", "/authx", "/v1/session", "/login", "/auth%2fv1/session", "/AUTH/v1/session"} {
		if a := w.outside().get(path); a.status != http.StatusTeapot {
			t.Errorf("GET %s = %d, want the application", path, a.status)
		}
	}
	// Whoever mounts it for everything gets not-found for what is not below the prefix.
	all := newWorld(t, settings{mount: "/auth"})
	for _, path := range []string{"/", "/auth", "/authx", "/login", "/v1/session"} {
		all.outside().get(path).refused(404, "not_found")
	}
	all.stranger().get("/login").want(200)
}

// outside is a stranger who asks for paths of the whole application.
func (w *world) outside() *client {
	root := *w
	root.url, root.document = w.http.URL, nil
	return root.stranger()
}

// TestStripped: with a path that is cut short the server cannot know where it stands. It answers not-found, or links that
// lead elsewhere, and the log says why, once.
func TestStripped(t *testing.T) {
	strip := func(s http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/auth/", http.StripPrefix("/auth", s))
		mux.HandleFunc("/openapi.json", s.ServeHTTP) // for the harness
		return mux
	}
	const says = "without http.StripPrefix"
	w := newWorld(t, settings{app: strip})
	if strings.Contains(w.logs.String(), says) {
		t.Error("a path that nobody cut is called cut")
	}
	for range 3 {
		w.outside().get("/auth/login?a=b").want(200)
	}
	if n := strings.Count(w.logs.String(), says); n != 1 {
		t.Errorf("the log says %d times that the path was cut, want once", n)
	}
	sub := newWorld(t, settings{mount: "/auth", app: func(s http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/auth/", http.StripPrefix("/auth", s))
		mux.HandleFunc("/auth/openapi.json", s.ServeHTTP)
		return mux
	}})
	sub.stranger().get("/v1/session").refused(404, "not_found")
	if n := strings.Count(sub.logs.String(), says); n != 1 {
		t.Errorf("the log says %d times that the path was cut, want once", n)
	}
}

// engine opens an engine for tests of construction.
func engine(t *testing.T, opt handstamp.Options, hybrid bool) (*handstamp.Auth, *account.Accounts) {
	t.Helper()
	store := memory.New()
	if hybrid {
		opt.Secrets = [][]byte{[]byte(secret)}
		ring, err := keyring.Open(t.Context(), store.Keys(), keyring.Options{Secrets: opt.Secrets})
		if err != nil {
			t.Fatal(err)
		}
		opt.Keys = ring
	}
	auth, err := handstamp.Open(t.Context(), store, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := auth.Close(); err != nil {
			t.Error(err)
		}
	})
	return auth, account.New(auth, store)
}

func TestPrefixIsChecked(t *testing.T) {
	const here = "https://app.example.com"
	for _, tt := range []struct {
		public, prefix string
		want           string // where /healthz answers; "" for a mistake
		says           string
	}{
		{here, "", "/healthz", ""}, {here, "/", "/healthz", ""}, {here + "/", "", "/healthz", ""},
		{here, "/auth", "/auth/healthz", ""}, {here, "/auth/", "/auth/healthz", ""}, {here, "/a/b/", "/a/b/healthz", ""},
		{here, "/~ada/v1.0_x-y", "/~ada/v1.0_x-y/healthz", ""}, {here + "/app", "", "/app/healthz", ""}, {here + "/app/", "/app", "/app/healthz", ""},
		{here + "/app", "/app/auth", "/app/auth/healthz", ""},
		{here, "auth", "", "starts with a slash"}, {here, "//", "", "starts with a slash"}, {here, "/auth//", "", "Prefix"}, {here, "//evil.example", "", "Prefix"},
		{here, "/a//b", "", "Prefix"}, {here, "/..", "", "Prefix"}, {here, "/a/../b", "", "Prefix"}, {here, "/.", "", "Prefix"}, {here, "/a/./b", "", "Prefix"},
		{here, "/a b", "", "Prefix"}, {here, "/a%20b", "", "Prefix"}, {here, "/{id}", "", "Prefix"}, {here, "/a?b", "", "Prefix"}, {here, "/a#b", "", "Prefix"},
		{here, "/a;b", "", "Prefix"}, {here, `/a\b`, "", "Prefix"}, {here, "/é", "", "Prefix"}, {here, "/a\x00", "", "Prefix"}, {here, "https://app.example.com/auth", "", "Prefix"},
		{here + "/app", "/auth", "", "such as /app/auth"}, {here + "/app", "/application", "", "such as /app/application"}, {here + "/app", "/", "", "/app or below"},
	} {
		auth, accounts := engine(t, handstamp.Options{PublicURL: tt.public}, false)
		h, err := server.Handler(auth, accounts, server.Options{PublicURL: tt.public, Prefix: tt.prefix})
		if tt.want == "" {
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Prefix %q of %s = %v, want an error with %q", tt.prefix, tt.public, err, tt.says)
			}
			continue
		}
		if err != nil {
			t.Errorf("Prefix %q of %s = %v", tt.prefix, tt.public, err)
			continue
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", tt.want, nil))
		if rec.Code != 200 {
			t.Errorf("Prefix %q of %s: GET %s = %d", tt.prefix, tt.public, tt.want, rec.Code)
		}
	}
}

// TestEngineAgrees: what engine and server were told must be the same place, and the error says which option to set.
func TestEngineAgrees(t *testing.T) {
	const here = "https://app.example.com"
	for name, tt := range map[string]struct {
		auth   handstamp.Options
		opt    server.Options
		hybrid bool
		says   string // "" for none
	}{
		"the default":                   {auth: handstamp.Options{PublicURL: here}, opt: server.Options{PublicURL: here}, hybrid: true},
		"a path":                        {auth: handstamp.Options{PublicURL: here + "/app"}, opt: server.Options{PublicURL: here + "/app"}, hybrid: true},
		"a path with a slash":           {auth: handstamp.Options{PublicURL: here + "/app/"}, opt: server.Options{PublicURL: here + "/app"}, hybrid: true},
		"a prefix":                      {auth: handstamp.Options{PublicURL: here}, opt: server.Options{PublicURL: here, Prefix: "/auth"}, hybrid: true, says: `set handstamp.Options.RefreshPath to "/auth/v1/refresh"`},
		"a prefix without refresh":      {auth: handstamp.Options{PublicURL: here}, opt: server.Options{PublicURL: here, Prefix: "/auth"}},
		"a prefix that both know":       {auth: handstamp.Options{PublicURL: here, RefreshPath: "/auth/v1/refresh"}, opt: server.Options{PublicURL: here, Prefix: "/auth"}, hybrid: true},
		"a wider path of the cookie":    {auth: handstamp.Options{PublicURL: here, RefreshPath: "/auth"}, opt: server.Options{PublicURL: here, Prefix: "/auth"}, hybrid: true},
		"the whole application":         {auth: handstamp.Options{PublicURL: here, RefreshPath: "/"}, opt: server.Options{PublicURL: here, Prefix: "/auth"}, hybrid: true},
		"a path beside":                 {auth: handstamp.Options{PublicURL: here, RefreshPath: "/auth/v1/ref"}, opt: server.Options{PublicURL: here, Prefix: "/auth"}, hybrid: true, says: "RefreshPath"},
		"a path below":                  {auth: handstamp.Options{PublicURL: here, RefreshPath: "/auth/v1/refresh/x"}, opt: server.Options{PublicURL: here, Prefix: "/auth"}, hybrid: true, says: "RefreshPath"},
		"another host":                  {auth: handstamp.Options{PublicURL: here}, opt: server.Options{PublicURL: "https://login.example.com"}, says: "handstamp.Options.PublicURL"},
		"another scheme":                {auth: handstamp.Options{PublicURL: "http://localhost:80"}, opt: server.Options{PublicURL: "https://localhost:80"}, says: "handstamp.Options.PublicURL"},
		"another port":                  {auth: handstamp.Options{PublicURL: here}, opt: server.Options{PublicURL: here + ":8443"}, says: "handstamp.Options.PublicURL"},
		"a trusted origin, plain":       {auth: handstamp.Options{PublicURL: here, Origins: []string{"http://localhost:3000"}}, opt: server.Options{PublicURL: "http://localhost:3000"}, says: "handstamp.Options.PublicURL"},
		"the standard port":             {auth: handstamp.Options{PublicURL: here}, opt: server.Options{PublicURL: here + ":443"}},
		"another path":                  {auth: handstamp.Options{PublicURL: here}, opt: server.Options{PublicURL: here + "/app"}, hybrid: true, says: `"/app/v1/refresh"`},
		"a home elsewhere":              {auth: handstamp.Options{PublicURL: here}, opt: server.Options{PublicURL: here, HomeURL: "//evil.example"}, says: "HomeURL"},
		"a home":                        {auth: handstamp.Options{PublicURL: here}, opt: server.Options{PublicURL: here, HomeURL: "/"}},
		"a sign-in page without a host": {auth: handstamp.Options{PublicURL: here}, opt: server.Options{PublicURL: here, LoginURL: "/login"}, says: "LoginURL"},
	} {
		auth, accounts := engine(t, tt.auth, tt.hybrid)
		_, err := server.Handler(auth, accounts, tt.opt)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: Handler = %v, want %q", name, err, tt.says)
		}
	}
}

// TestOnlyTheAPI: an application with users and pages of its own gets the rest, and a document that says no more than that.
func TestOnlyTheAPI(t *testing.T) {
	const public = "http://localhost:8080"
	auth, accounts := engine(t, handstamp.Options{PublicURL: public}, false)
	for name, opt := range map[string]server.Options{
		"without passwords": {PublicURL: public}, "with a sign-in page elsewhere": {PublicURL: public, LoginURL: public + "/sign-in?x=y"},
	} {
		h, err := server.Handler(auth, accounts, opt)
		if err != nil {
			t.Fatal(err)
		}
		ask := func(method, path string) *httptest.ResponseRecorder {
			rec := httptest.NewRecorder()
			r := httptest.NewRequest(method, path, nil)
			r.Header.Set("Accept", "text/html")
			h.ServeHTTP(rec, r)
			return rec
		}
		document := ask("GET", "/openapi.json").Body.String()
		for _, gone := range []string{"POST /v1/signup", "POST /v1/login", "POST /v1/setup", "POST /v1/password", "GET /v1/admin/roles", "GET /v1/admin/audit", "GET /", "GET /login", "POST /logout", "GET /setup", "GET /static/style.css"} {
			method, path, _ := strings.Cut(gone, " ")
			rec := ask(method, path)
			if rec.Code != 404 || rec.Header().Get("Content-Type") != "application/problem+json" || strings.Contains(document, `"`+path+`":{`) {
				t.Errorf("%s: %s = %d %s", name, gone, rec.Code, rec.Header().Get("Content-Type"))
			}
		}
		if rec := ask("POST", "/v1/admin/users"); rec.Code != 405 || rec.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s: POST /v1/admin/users = %d, %v", name, rec.Code, rec.Header())
		}
		for _, there := range []string{"GET /v1/session", "GET /v1/sessions", "POST /v1/logout", "POST /v1/admin/sessions", "GET /v1/check"} {
			method, path, _ := strings.Cut(there, " ")
			if rec := ask(method, path); rec.Code == 404 {
				t.Errorf("%s: %s = 404", name, there)
			}
		}
		sent := ask("GET", "/v1/check?login=redirect")
		want := map[string]string{"with a sign-in page elsewhere": public + "/sign-in?x=y"}[name]
		if got := sent.Header().Get("Location"); want == "" && (got != "" || sent.Code != 401) || !strings.HasPrefix(got, want) {
			t.Errorf("%s: login=redirect = %d %s", name, sent.Code, got)
		}
	}
	w := newWorld(t, settings{server: func(o *server.Options) { o.NoPages = true }})
	w.stranger().do("GET", "/login", nil, navigation()...).refused(404, "not_found")
	w.signUp("ada@example.com", "session", "cookie").get("/v1/session").want(200)
}
