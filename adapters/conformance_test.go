package adapters_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
)

// exchanged is one request and what net/http must answer; every router must answer the same.
type exchanged struct {
	name   string
	send   string
	status int
	header map[string]string // "" is: not there
	body   string            // what must be in it
	ran    int64             // handlers behind
}

const (
	ours    = "Origin: http://127.0.0.1:3000"
	theirs  = "Origin: https://evil.example"
	page    = "Accept: text/html"
	problem = "application/problem+json"
)

// exchanges are with a store that answers. ada may write notes; bob may not; gone was ended; old is past its end.
func exchanges(w *world, t *testing.T) []exchanged {
	t.Helper()
	_, old := w.session(t, "old")
	w.clock.ahead.Store(int64(25 * time.Hour)) // past its idle end
	_, ada := w.session(t, "ada")
	_, bob := w.session(t, "bob")
	sid, gone := w.session(t, "gone")
	if _, err := w.EndSession(t.Context(), sid, handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	w.clock.ahead.Add(int64(time.Hour)) // the logins are not recent any more
	cookie := func(value string) string { return "Cookie: handstamp=" + value }
	bearer := func(value string) string { return "Authorization: Bearer " + value }
	ok := func(name, send, body string) exchanged {
		return exchanged{name: name, send: send, status: 200, body: body, ran: 1}
	}
	no := func(name string, status int, body, send string) exchanged {
		return exchanged{name: name, send: send, status: status, body: body, header: map[string]string{"Content-Type": problem, "Cache-Control": "no-store"}}
	}
	list := []exchanged{
		ok("cookie", request("GET", "/me", cookie(ada)), "hello ada"),
		ok("bearer", request("GET", "/me", bearer(bob)), "hello bob"),
		ok("bearer beats cookie", request("GET", "/me", bearer(bob), cookie(ada)), "hello bob"),
		ok("cookie among others", request("GET", "/me", "Cookie: a=1; handstamp="+ada+"; b=2"), "hello ada"),
		ok("two Cookie headers", request("GET", "/me", "Cookie: a=1", cookie(ada)), "hello ada"),
		ok("post with body", request("POST", "/notes", cookie(ada), ours), "hello ada!"),
		ok("post by a program", request("POST", "/notes", bearer(ada)), "hello ada!"),
		ok("visitor", request("GET", "/open"), "hello visitor"),
		ok("visitor with a body", request("POST", "/open"), "hello visitor!"),
		ok("optional, logged in", request("GET", "/open", cookie(ada)), "hello ada"),
		ok("optional, ended session", request("GET", "/open", cookie(gone)), "hello visitor"),
		ok("optional, then require", request("GET", "/both", cookie(ada)), "hello ada"),
		ok("adopted", request("GET", "/adopted", "Cookie: old=ada"), "hello ada"),
		{name: "panic", send: request("GET", "/panic", cookie(ada)), status: 500, body: "recovered: boom", ran: 1},

		no("no credential", 401, "missing_credential", request("GET", "/me")),
		no("not adopted", 401, "missing_credential", request("GET", "/adopted")),
		no("optional, then require, visitor", 401, "missing_credential", request("GET", "/both")),
		no("a made-up credential", 401, "invalid_token", request("GET", "/me", cookie("x"))),
		no("an empty header", 401, "invalid_token", request("GET", "/me", "Authorization: Bearer ", cookie(ada))),
		no("expired", 401, "expired", request("GET", "/me", cookie(old))),
		no("ended", 401, "revoked", request("GET", "/me", bearer(gone))),
		no("from elsewhere", 403, "cross_origin", request("POST", "/notes", cookie(ada), theirs)),
		no("from elsewhere, to the optional", 403, "cross_origin", request("POST", "/open", theirs)),
		no("cross-site", 403, "cross_origin", request("POST", "/notes", cookie(ada), "Sec-Fetch-Site: cross-site", ours)),
		no("two origins, ours last", 403, "cross_origin", request("POST", "/notes", cookie(ada), theirs, ours)),
		no("two origins, ours first", 403, "cross_origin", request("POST", "/notes", cookie(ada), ours, theirs)),
		no("two sites", 403, "cross_origin", request("POST", "/notes", cookie(ada), "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin")),
		no("an empty site", 403, "cross_origin", request("POST", "/notes", cookie(ada), "Sec-Fetch-Site: ", ours)),
		no("a cookie from nowhere", 403, "cross_origin", request("POST", "/notes", cookie(ada))),
		no("permission missing", 403, "This needs the permission notes:write.", request("POST", "/notes", bearer(bob))),
		no("step-up", 403, "step_up_required", request("GET", "/recent", cookie(ada))),
		no("two cookies in one header", 400, "duplicate_credential", request("GET", "/me", cookie(ada)+"; handstamp="+bob)),
		no("two cookies in two headers", 400, "duplicate_credential", request("GET", "/me", cookie(bob), cookie(ada))),
		no("the same cookie twice", 400, "duplicate_credential", request("GET", "/me", cookie(ada)+"; handstamp="+ada)),
		no("two headers", 401, "invalid_token", request("GET", "/me", bearer(ada), bearer(bob))),
		no("a quoted cookie", 401, "invalid_token", request("GET", "/me", cookie(`"`+ada+`"`))),
		no("$Version", 401, "invalid_token", request("GET", "/me", "Cookie: $Version=1; handstamp="+ada)),
		no("cookies too large", 401, "invalid_token", request("GET", "/me", cookie(ada)+"; x="+strings.Repeat("x", 3000), "Cookie: y="+strings.Repeat("y", 3000), "Cookie: z="+strings.Repeat("z", 3000))),
		no("log in from elsewhere", 403, "cross_origin", request("POST", "/login", theirs)),
		{name: "a page without a login", send: request("GET", "/me?a=b&c=%2F..", page), status: 302, header: map[string]string{"Location": "/login?return_to=%2Fme%3Fa%3Db%26c%3D%252F.."}},
		{name: "a page, expired", send: request("GET", "/me", page, cookie(old)), status: 302, header: map[string]string{"Location": "/login?return_to=%2Fme"}},
		{name: "a page, step-up", send: request("GET", "/recent", page, cookie(ada)), status: 302, header: map[string]string{"Location": "/login?return_to=%2Frecent"}},
		{name: "a script", send: request("GET", "/me", page, "Sec-Fetch-Mode: cors"), status: 401, header: map[string]string{"Location": ""}},
		{name: "log in", send: request("POST", "/login", ours), status: 303, ran: 1, header: map[string]string{"Location": "/me"}},
		{name: "log out", send: request("POST", "/logout", "Cookie: handstamp=x", ours), status: 200, body: "bye", ran: 1, header: map[string]string{"Content-Type": "text/html; charset=utf-8"}},
	}
	for i := range list {
		if e := &list[i]; e.status == 401 && e.header["WWW-Authenticate"] == "" {
			e.header["WWW-Authenticate"] = `Bearer`
			if e.body != "missing_credential" && e.body != "" {
				e.header["WWW-Authenticate"] = `Bearer error="invalid_token"`
			}
		}
	}
	return list
}

// compare sends each request to net/http and to every router.
func compare(t *testing.T, w *world, list []exchanged) {
	t.Helper()
	reference := onNetHTTP(t, w.routes())
	wants := make([]string, len(list))
	for i, e := range list {
		w.ran.Store(0)
		got := exchange(t, reference, e.send)
		wants[i] = got.String()
		e.check(t, got, w.ran.Load())
	}
	for name, on := range routers() {
		t.Run(name, func(t *testing.T) {
			addr := on(t, w.routes())
			for i, e := range list {
				w.ran.Store(0)
				got := exchange(t, addr, e.send)
				if text := got.String(); text != wants[i] {
					t.Errorf("%s: answers\n%s\nnet/http answers\n%s", e.name, text, wants[i])
				}
				e.check(t, got, w.ran.Load())
			}
		})
	}
}

func (e exchanged) check(t *testing.T, got *answer, ran int64) {
	t.Helper()
	if got.status != e.status || !strings.Contains(got.body, e.body) {
		t.Errorf("%s: %v, want %d and %q", e.name, got, e.status, e.body)
	}
	for k, v := range e.header {
		if got.header.Get(k) != v {
			t.Errorf("%s: %s: %q, want %q", e.name, k, got.header.Get(k), v)
		}
	}
	if ran != e.ran {
		t.Errorf("%s: %d handlers ran behind it, want %d", e.name, ran, e.ran)
	}
}

// TestConformance: every router answers what net/http answers, byte for byte, and runs no handler behind a refusal.
func TestConformance(t *testing.T) {
	w := open(t, nil)
	compare(t, w, exchanges(w, t))
}

// TestConformanceOutage: a store that does not answer is 503 everywhere, and logs nobody out.
func TestConformanceOutage(t *testing.T) {
	w := open(t, nil)
	_, ada := w.session(t, "ada")
	w.store.down.Store(true)
	var list []exchanged
	for _, path := range []string{"/me", "/notes", "/open", "/both", "/adopted"} {
		list = append(list, exchanged{
			name: path, send: request("GET", path, page, "Cookie: handstamp="+ada), status: 503, body: `"code":"unavailable"`,
			header: map[string]string{"Retry-After": "2", "Content-Type": problem, "Set-Cookie": "", "Location": ""},
		})
	}
	compare(t, w, list)
}

// TestConformanceOwnAnswers: what the application writes in OnDenied arrives as it would from net/http.
func TestConformanceOwnAnswers(t *testing.T) {
	kinds := map[string]http.HandlerFunc{
		"nothing":      func(http.ResponseWriter, *http.Request) {},
		"only headers": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Reason", "no") },
		"a page without its type": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "<!doctype html>")
			_, _ = io.WriteString(w, "no")
		},
		"cookies and headers twice": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Vary", "Cookie")
			w.Header().Add("Vary", "Origin")
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "1"})
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "2", Path: "/x"})
			w.Header().Set("Content-Type", "text/x-own")
			_, _ = fmt.Fprintf(w, "%s %s %s %s %s %v", r.Method, r.URL, r.RequestURI, r.Host, r.Proto, r.ContentLength)
		},
		"a header taken back": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Del("Vary")
			http.Error(w, "no", http.StatusGone)
		},
		"a body that is read": func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%q %v", body, err)
		},
		"no content": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	}
	for name, answer := range kinds {
		t.Run(name, func(t *testing.T) {
			w := open(t, func(o *handstamp.Options) {
				o.OnDenied = func(w http.ResponseWriter, r *http.Request, _ error) { answer(w, r) }
			})
			reference := onNetHTTP(t, w.routes())
			for router, on := range routers() {
				addr := on(t, w.routes())
				for _, method := range []string{"GET", "POST"} {
					send := request(method, "/me?q=1;2")
					if got, want := exchange(t, addr, send).String(), exchange(t, reference, send).String(); got != want {
						t.Errorf("%s answers\n%s\nnet/http answers\n%s", router, got, want)
					}
				}
			}
			if n := w.ran.Load(); n != 0 {
				t.Errorf("%d handlers ran behind a refusal", n)
			}
		})
	}
}

// TestEachIsWhoTheyAre: many users at once, each of whom is told their own name. fasthttp uses its memory again.
func TestEachIsWhoTheyAre(t *testing.T) {
	w := open(t, nil)
	const users = 20
	var credentials [users]string
	for i := range users {
		_, credentials[i] = w.session(t, handstamp.UserID(fmt.Sprint("user", i)))
	}
	for name, on := range routers() {
		t.Run(name, func(t *testing.T) {
			addr := on(t, w.routes())
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections() // or fiber waits for them
			var all sync.WaitGroup
			for i, credential := range credentials {
				all.Go(func() {
					for range 5 {
						req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/me", nil)
						if err != nil {
							t.Error(err)
							return
						}
						req.AddCookie(&http.Cookie{Name: "handstamp", Value: credential})
						res, err := client.Do(req)
						if err != nil {
							t.Error(err)
							return
						}
						body, _ := io.ReadAll(res.Body)
						_ = res.Body.Close()
						if want := fmt.Sprint("hello user", i); string(body) != want {
							t.Errorf("%q, want %q", body, want)
						}
					}
				})
			}
			all.Wait()
		})
	}
}
