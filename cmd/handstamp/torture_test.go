package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Killed at random points under load, again and again: whatever the server acknowledged is there when it is back, and
// whatever it did not is there wholly or not at all. HANDSTAMP_TORTURE_CYCLES says how often it is killed.
func TestTorture_kill(t *testing.T) {
	t.Parallel()
	cycles := 20
	if testing.Short() {
		cycles = 4
	}
	if n, err := strconv.Atoi(os.Getenv("HANDSTAMP_TORTURE_CYCLES")); err == nil {
		cycles = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d cycles", seed, cycles)
	s := newSite(t, "", "HANDSTAMP_REFRESH_GRACE=0s", "HANDSTAMP_TRUSTED_PROXIES=127.0.0.0/8")
	var clients []*client
	for n := range 4 {
		clients = append(clients, &client{site: s, t: t, n: n, rand: rand.New(rand.NewPCG(seed, uint64(n)))})
	}
	pause := rand.New(rand.NewPCG(seed, 99))
	var starts []time.Duration
	for range cycles {
		starts = append(starts, s.start())
		each(clients, (*client).verify)
		done := make(chan struct{})
		go func() { each(clients, (*client).load); close(done) }()
		select {
		case <-time.After(time.Duration(20+pause.IntN(180)) * time.Millisecond):
		case <-done:
			t.Error("the load ended by itself")
		}
		s.kill()
		<-done
		http.DefaultClient.CloseIdleConnections()
		if t.Failed() {
			t.FailNow()
		}
	}
	starts = append(starts, s.start())
	each(clients, (*client).verify)
	slices.Sort(starts)
	worst := starts[len(starts)-1]
	var sums tally
	for _, c := range clients {
		sums.add(c.tally)
	}
	t.Logf("acknowledged: %+v; first answer: median %v, worst %v", sums, starts[len(starts)/2], worst)
	if worst > 10*time.Second {
		t.Errorf("first answer after %v", worst)
	}
	if sums.SignUps == 0 || sums.Logins == 0 || sums.Refreshes == 0 || sums.Passwords == 0 || sums.Ends == 0 {
		t.Error("the load left something out")
	}
}

func each(clients []*client, fn func(*client)) {
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() { fn(c) })
	}
	all.Wait()
}

// tally counts what was acknowledged, and what was verified after a crash.
type tally struct{ SignUps, Logins, Refreshes, Passwords, Ends, Unknown, Alive, Over, Spent int }

func (a *tally) add(b tally) {
	a.SignUps, a.Logins, a.Refreshes, a.Passwords, a.Ends = a.SignUps+b.SignUps, a.Logins+b.Logins, a.Refreshes+b.Refreshes, a.Passwords+b.Passwords, a.Ends+b.Ends
	a.Unknown, a.Alive, a.Over, a.Spent = a.Unknown+b.Unknown, a.Alive+b.Alive, a.Over+b.Over, a.Spent+b.Spent
}

// client is one user's clients as one program, which remembers what it was told.
type client struct {
	site *site
	t    *testing.T
	n    int
	rand *rand.Rand
	tally

	accounts int
	email    string // empty: no account
	password string
	maybe    string // a sign-up without an answer: the address
	changing string // a change of password without an answer: the new one
	serial   int
	alive    []*held
	over     []*held
}

// held is a session as its client holds it.
type held struct {
	grant
	mode  string
	spent []string // refresh tokens that were used, oldest first
}

// load does one thing after another until an answer stays out.
func (c *client) load() {
	for range 10_000 {
		if !c.step() {
			c.Unknown++
			return
		}
	}
}

// step does one thing. It says whether there was an answer.
func (c *client) step() bool {
	if c.email == "" || c.rand.IntN(25) == 0 {
		return c.signUp()
	}
	switch c.rand.IntN(8) {
	case 0, 1, 2:
		return c.login()
	case 3, 4, 5:
		return c.refresh()
	case 6:
		return c.end()
	default:
		return c.change()
	}
}

func (c *client) mode() string {
	return []string{"session", "token", "hybrid", "hybrid"}[c.rand.IntN(4)]
}

func (c *client) signUp() bool {
	c.accounts++
	email, password, mode := fmt.Sprintf("client-%d-%d@example.com", c.n, c.accounts), c.newPassword(), c.mode()
	status, g := c.site.callFrom(c.network(), "POST", "/v1/signup", "", map[string]any{"email": email, "password": password, "mode": mode, "transport": "bearer"})
	if status == 0 {
		c.maybe = email
		return false
	}
	c.want("sign-up", http.StatusCreated, status, g)
	c.SignUps++
	c.email, c.password, c.over = email, password, nil
	c.alive = []*held{{grant: g, mode: mode}}
	return true
}

// network is another one for every account: one network may not make more than so many.
func (c *client) network() string {
	return fmt.Sprintf("10.%d.%d.%d", c.n, c.accounts/256%256, c.accounts%256)
}

func (c *client) newPassword() string {
	c.serial++
	return fmt.Sprintf("%s-%d-%d", goodPassword, c.n, c.serial)
}

func (c *client) login() bool {
	mode := c.mode()
	status, g := c.site.call("POST", "/v1/login", "", map[string]any{"email": c.email, "password": c.password, "mode": mode, "transport": "bearer"})
	if status == 0 {
		return false
	}
	c.want("login", http.StatusOK, status, g)
	c.Logins++
	c.alive = append(c.alive, &held{grant: g, mode: mode})
	if len(c.alive) > 8 {
		c.alive = c.alive[1:]
	}
	return true
}

// pick takes a session of a mode out of the list of those alive; "" is any mode.
func (c *client) pick(mode string) *held {
	for _, i := range c.rand.Perm(len(c.alive)) {
		if h := c.alive[i]; mode == "" || h.mode == mode {
			c.alive = slices.Delete(c.alive, i, i+1)
			return h
		}
	}
	return nil
}

func (c *client) refresh() bool {
	h := c.pick("hybrid")
	if h == nil {
		return true
	}
	status, g := c.site.call("POST", "/v1/refresh", "", map[string]any{"refresh_token": h.Refresh})
	if status == 0 {
		return false // it was rotated or it was not: the session is not looked at again
	}
	c.want("refresh", http.StatusOK, status, g)
	c.Refreshes++
	h.spent, h.grant = append(h.spent, h.Refresh), g
	c.alive = append(c.alive, h)
	return true
}

func (c *client) end() bool {
	h := c.pick("")
	if h == nil {
		return true
	}
	status, g := c.site.call("POST", "/v1/logout", h.Access, nil)
	if status == 0 {
		return false
	}
	c.want("logout", http.StatusNoContent, status, g)
	c.Ends++
	c.bury(h)
	return true
}

func (c *client) bury(h ...*held) {
	c.over = append(c.over, h...)
	if extra := len(c.over) - 8; extra > 0 {
		c.over = c.over[extra:]
	}
}

func (c *client) change() bool {
	h := c.pick("")
	if h == nil {
		return true
	}
	next := c.newPassword()
	status, g := c.site.call("POST", "/v1/password", h.Access, map[string]any{"current_password": c.password, "new_password": next})
	if status == 0 {
		c.changing = next
		return false
	}
	c.want("password", http.StatusOK, status, g)
	c.Passwords++
	old := &held{grant: h.grant, mode: "session"} // its access token is over; its session lives on with new secrets
	c.bury(append(c.alive, old)...)
	c.password, c.alive = next, []*held{{grant: g, mode: h.mode}}
	return true
}

func (c *client) want(what string, want, got int, g grant) {
	if got != want {
		c.t.Errorf("%s: status %d (%s), want %d", what, got, g.Code, want)
	}
}

// verify asks for everything that was acknowledged before the crash.
func (c *client) verify() {
	c.settleSignUp()
	if c.email == "" {
		return
	}
	c.settleChange()
	status, g := c.site.call("POST", "/v1/login", "", map[string]any{"email": c.email, "password": c.password, "transport": "bearer"})
	c.want("login after a crash", http.StatusOK, status, g)
	status, g = c.site.call("POST", "/v1/login", "", map[string]any{"email": c.email, "password": goodPassword + "-wrong", "transport": "bearer"})
	c.want("login with a wrong password", http.StatusUnauthorized, status, g)
	for _, h := range c.alive {
		c.want("a "+h.mode+" session after a crash", http.StatusOK, c.site.check(h.Access), grant{})
		c.Alive++
	}
	for _, h := range c.over {
		c.want("an ended "+h.mode+" session after a crash", http.StatusUnauthorized, c.site.check(h.Access), grant{})
		if h.mode == "hybrid" {
			status, g := c.site.call("POST", "/v1/refresh", "", map[string]any{"refresh_token": h.Refresh})
			c.want("refresh of an ended session after a crash", http.StatusUnauthorized, status, g)
		}
		c.Over++
	}
	c.present()
}

// present shows a spent refresh token: it was acknowledged as spent, so that coming back it is a theft.
func (c *client) present() {
	for i, h := range c.alive {
		if len(h.spent) == 0 {
			continue
		}
		status, g := c.site.call("POST", "/v1/refresh", "", map[string]any{"refresh_token": h.spent[len(h.spent)-1]})
		if status != http.StatusUnauthorized || g.Code != "refresh_reused" {
			c.t.Errorf("a spent refresh token after a crash: %d %s", status, g.Code)
		}
		c.want("the session after that", http.StatusUnauthorized, c.site.check(h.Access), grant{})
		c.alive = slices.Delete(c.alive, i, i+1)
		c.Spent++
		return
	}
}

// settleSignUp: a sign-up without an answer made an account that works, or the address is free.
func (c *client) settleSignUp() {
	if c.maybe == "" {
		return
	}
	email := c.maybe
	c.maybe = ""
	status, g := c.site.callFrom(c.network(), "POST", "/v1/signup", "", map[string]any{"email": email, "password": goodPassword, "transport": "bearer"})
	switch {
	case status == http.StatusCreated: // it was free
	case status == http.StatusConflict:
		password := fmt.Sprintf("%s-%d-%d", goodPassword, c.n, c.serial)
		status, g = c.site.call("POST", "/v1/login", "", map[string]any{"email": email, "password": password, "transport": "bearer"})
		c.want("login to an account whose sign-up had no answer", http.StatusOK, status, g)
	default:
		c.want("sign-up again", http.StatusCreated, status, g)
	}
}

// settleChange: a change of password without an answer is done wholly, with the end of all other sessions, or not at all.
func (c *client) settleChange() {
	if c.changing == "" {
		return
	}
	try := func(password string) int {
		status, _ := c.site.call("POST", "/v1/login", "", map[string]any{"email": c.email, "password": password, "transport": "bearer"})
		return status
	}
	before, after := try(c.password), try(c.changing)
	switch {
	case before == http.StatusOK && after == http.StatusUnauthorized:
	case before == http.StatusUnauthorized && after == http.StatusOK:
		c.bury(c.alive...)
		c.password, c.alive = c.changing, nil
	default:
		c.t.Errorf("a change of password without an answer: the old one gets %d, the new one %d", before, after)
	}
	c.changing = ""
}
