package scenario

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// browser keeps the cookies that it is sent, sends them to every node (they are one site to it), and says with every
// request where that comes from.
type browser struct {
	f    *fleet
	jar  *cookiejar.Jar
	mode string

	session, user string
	first         []*http.Cookie // what the log-in brought: a thief may have copied them
}

// newBrowser logs a user in.
func (f *fleet) newBrowser(n *node, user account, password, mode string) *browser {
	f.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	b := &browser{f: f, jar: jar, mode: mode, user: user.id}
	op := f.Invoke(fault.Op{Kind: fault.Start, Node: n.Name(), User: user.id, Form: fault.FormCookie, Entry: loginOK})
	a := b.post(n, "/v1/login", f.public, `{"email":"`+user.email+`","password":"`+password+`","mode":"`+mode+`","transport":"cookie"}`)
	if a.status != http.StatusOK {
		f.t.Fatalf("a login by cookie is answered %d %s", a.status, a.body)
	}
	f.done(op, a, fault.Yes)
	b.session, b.first = a.grant().Session.ID, (&http.Response{Header: a.header}).Cookies()
	if len(b.first) == 0 || len(b.cookies(n)) == 0 {
		f.t.Fatalf("a login by cookie brings none: %v", a.header)
	}
	return b
}

func (b *browser) cookies(n *node) []*http.Cookie {
	u, err := url.Parse(n.URL())
	if err != nil {
		panic(err)
	}
	return b.jar.Cookies(u)
}

// post sends what a page of that origin makes a browser send.
func (b *browser) post(n *node, path, origin, body string) answer {
	return b.send(n, http.MethodPost, path, body, func(r *http.Request) {
		r.Header.Set("Origin", origin)
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
	})
}

func (b *browser) send(n *node, method, path, body string, fill func(r *http.Request)) answer {
	r, err := http.NewRequestWithContext(context.Background(), method, n.URL()+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	fill(r)
	c := http.Client{Transport: n.client.Transport, Timeout: n.client.Timeout}
	if b != nil {
		c.Jar = b.jar
	}
	resp, err := c.Do(r)
	if err != nil {
		return answer{}
	}
	defer func() { _ = resp.Body.Close() }()
	read, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answer{}
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: read}
}

// check asks with what the browser keeps, or with what the log-in once brought.
func (b *browser) check(n *node, stolen bool) fault.Op {
	if !stolen && len(b.cookies(n)) == 0 {
		stolen = true // it has nothing left to send
	}
	op := b.f.Invoke(fault.Op{Kind: fault.Check, Node: n.Name(), Session: b.session, User: b.user, Form: fault.FormCookie})
	var a answer
	if stolen {
		a = (*browser)(nil).send(n, http.MethodGet, "/v1/check", "", b.steal("/v1/check"))
	} else {
		a = b.send(n, http.MethodGet, "/v1/check", "", func(*http.Request) {})
	}
	return b.told(op, a)
}

// steal adds the cookies that the log-in brought, as far as a browser would send them there.
func (b *browser) steal(path string) func(r *http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Origin", b.f.public)
		for _, c := range b.first {
			if strings.HasPrefix(path, c.Path) {
				r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
			}
		}
	}
}

// refresh asks for the next credentials: with what the browser keeps, or with what the log-in brought.
func (b *browser) refresh(n *node, stolen bool) fault.Op {
	op := b.f.Invoke(fault.Op{Kind: fault.Refresh, Node: n.Name(), Session: b.session, User: b.user, Form: fault.FormCookie})
	var a answer
	if stolen {
		a = (*browser)(nil).send(n, http.MethodPost, "/v1/refresh", "", b.steal("/v1/refresh"))
	} else {
		a = b.post(n, "/v1/refresh", b.f.public, "")
	}
	if a.status == http.StatusUnauthorized && a.grant().Code == "missing_credential" {
		// A browser without a refresh cookie: nothing was shown.
		b.f.done(op, a, fault.Unknown)
		b.f.Done(op, func(op *fault.Op) { op.Kind, op.Session = "refresh without a cookie", "" })
		return *op
	}
	return b.told(op, a)
}

func (b *browser) told(op *fault.Op, a answer) fault.Op {
	outcome := fault.Unknown
	switch a.status {
	case http.StatusOK:
		outcome = fault.Yes
	case http.StatusUnauthorized:
		outcome = fault.No
	}
	b.f.done(op, a, outcome)
	return *op
}

// logout logs out as a page of the given origin does.
func (b *browser) logout(n *node, origin string) fault.Op {
	before := len(b.cookies(n))
	if before == 0 {
		b.f.t.Error("a browser that was not logged out has no cookie to log out with")
	}
	op := b.f.Invoke(fault.Op{Kind: fault.End, Node: n.Name(), Session: b.session, User: b.user, Form: fault.FormCookie, Entry: sessionEnded})
	a := b.post(n, "/v1/logout", origin, "")
	outcome := fault.Unknown
	switch {
	case a.status == http.StatusNoContent:
		outcome = fault.Yes
	case a.status >= 400 && a.status < 500:
		outcome = fault.No
	}
	b.f.done(op, a, outcome)
	if outcome != fault.Yes && len(b.cookies(n)) < before {
		b.f.t.Errorf("a log-out that is answered %d takes a cookie away: %v", a.status, a.header.Values("Set-Cookie"))
	}
	return *op
}

// A log-out by cookie, as a page of the site sends it, while something breaks and the other tabs refresh: until it is
// acknowledged the browser keeps its cookies and may try again, and from then on nothing of that session is good, neither
// what the browser keeps nor what was copied from it. A page of another site logs nobody out.
func TestLogOutByCookie(t *testing.T) {
	what := map[string][]string{
		onPostgres: {"kill PostgreSQL", "read-only PostgreSQL", "half-open to PostgreSQL", "statements fail"},
		onSQLite:   {"kill a node", "full disk"},
		onRedis:    {"kill Redis", "cut from PostgreSQL"},
		onTiered:   {"kill PostgreSQL", "black hole to Redis"},
	}
	for _, store := range []string{onPostgres, onSQLite, onRedis, onTiered} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			rnd := seeded(t)
			s := setup{store: store, nodes: 2, lease: 500 * time.Millisecond, disk: diskFor(t, store), env: map[string]string{"HANDSTAMP_REFRESH_GRACE": slowGrace.String()}}
			f := newFleet(t, s)
			for _, e := range evils() {
				if !e.on(store) || !long() && !slices.Contains(what[store], e.name) {
					continue
				}
				for range times(1, 10) {
					f.logOutDuring(e, rnd)
				}
			}
			rules := rulesFor(f)
			rules.Grace = slowGrace
			f.finish(rules)
		})
	}
}

// slowGrace is a grace that no slow machine exceeds between two tries: what comes later is theft by rule.
const slowGrace = time.Minute

func (f *fleet) logOutDuring(e evil, rnd *rand.Rand) {
	t := f.t
	user, password := f.signUp(f.nodes[0], int(f.serial.Add(1)))
	var all []*browser
	for i, mode := range []string{"session", "hybrid", "hybrid", "token"} {
		b := f.newBrowser(f.nodes[i%2], user, password, mode)
		for _, n := range f.nodes {
			if op := b.check(n, false); op.Outcome != fault.Yes {
				t.Fatalf("before: %d %s", op.Status, op.Code)
			}
		}
		if op := b.logout(f.nodes[i%2], "https://elsewhere.example"); op.Outcome != fault.No || op.Code != "cross_origin" {
			t.Errorf("a log-out from another site is answered %d %s", op.Status, op.Code)
		}
		all = append(all, b)
	}
	heal := e.begin(f, rnd)
	var work sync.WaitGroup
	done := make(chan struct{})
	tries := make([]int, len(all))
	for i, b := range all {
		n, other := f.nodes[i%2], f.nodes[(i+1)%2]
		over := make(chan struct{})
		work.Go(func() { // the page that logs out, until it is told that it is
			defer close(over)
			for ; ; wait(10 * time.Millisecond) {
				tries[i]++
				if b.logout(n, f.public).Outcome == fault.Yes {
					return
				}
			}
		})
		for _, tab := range []func(){
			func() { b.check(other, true) }, func() { b.refresh(n, false) }, func() { b.refresh(other, true) },
		} {
			if b.mode != "hybrid" {
				tab = func() { b.check(other, true); b.check(n, true) }
			}
			work.Go(func() {
				for ; ; wait(20 * time.Millisecond) {
					tab()
					select {
					case <-over:
						return
					case <-done:
						return
					default:
					}
				}
			})
		}
	}
	wait(hurt() / 2)
	heal()
	back := f.recovered()
	close(done)
	work.Wait()
	t.Logf("%s: log-outs were acknowledged after %v tries; service was back after %v", e.name, tries, back.Round(time.Millisecond))
	for i, b := range all { // acknowledged at the one, asked at the other, with what the log-in brought
		ended, other := f.nodes[i%2], f.nodes[(i+1)%2]
		b.check(ended, true)
		b.check(other, true)
		if b.mode == "hybrid" {
			b.refresh(other, true)
			b.refresh(ended, false)
		}
	}
	wait(rulesFor(f).Bound)
	for _, b := range all {
		for _, n := range f.nodes {
			if op := b.check(n, true); op.Outcome != fault.No {
				t.Errorf("after a log-out was acknowledged: %d %s", op.Status, op.Code)
			}
		}
	}
}
