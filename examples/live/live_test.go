package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/handstamp/handstamp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// everybody opens connections of every kind for several users, each with two sessions, and waits until all are in.
func everybody(t *testing.T, w *world, users int) (all []*client) {
	t.Helper()
	for i := range users {
		user := handstamp.UserID(fmt.Sprint("user", i))
		for range 2 {
			_, credential := w.login(t, user)
			all = append(all, w.all(t, user, credential)...)
		}
	}
	wantHeard(t, w, all, "everybody is in")
	return all
}

// wantHeard says something in the room, and wants it to arrive everywhere.
func wantHeard(t *testing.T, w *world, clients []*client, text string) {
	t.Helper()
	w.room.say("test", text)
	for _, c := range clients {
		if !c.hears("say", text) {
			t.Fatalf("%s of %s ended: %s", c.kind, c.user, c.end)
		}
	}
}

// wantEnd waits for the end of connections, and answers the slowest.
func wantEnd(t *testing.T, clients []*client, want string, since time.Time) (slowest time.Duration) {
	t.Helper()
	for _, c := range clients {
		<-c.over
		if c.end != want {
			t.Errorf("%s of %s ended: %s, want %s", c.kind, c.user, c.end, want)
		}
		slowest = max(slowest, c.at.Sub(since))
	}
	return slowest
}

func split(all []*client, user handstamp.UserID) (theirs, others []*client) {
	for _, c := range all {
		if c.user == user {
			theirs = append(theirs, c)
		} else {
			others = append(others, c)
		}
	}
	return theirs, others
}

// TestOneUserEnds: exactly this user's connections close, of every kind and every session, and say why.
func TestOneUserEnds(t *testing.T) {
	w := start(t)
	all := everybody(t, w, 8)
	theirs, others := split(all, "user3")
	if len(theirs) != 6 || len(others) != 42 {
		t.Fatalf("%d and %d connections", len(theirs), len(others))
	}
	began := time.Now()
	if _, err := w.auth.EndUser(t.Context(), "user3", handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d connections were told within %v", len(theirs), wantEnd(t, theirs, "logged out", began))
	wantHeard(t, w, others, "are you still there?")
	for _, c := range theirs {
		if c.hears("say", "are you still there?") {
			t.Errorf("%s of an ended session heard what was said later", c.kind)
		}
	}
}

// TestOneSessionEnds: the user's other session goes on.
func TestOneSessionEnds(t *testing.T) {
	w := start(t)
	sid, credential := w.login(t, "bob")
	_, other := w.login(t, "bob")
	ended, spared := w.all(t, "bob", credential), w.all(t, "bob", other)
	wantHeard(t, w, append(ended, spared...), "hello")
	if _, err := w.auth.EndSession(t.Context(), sid, handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, ended, "logged out", time.Now())
	wantHeard(t, w, spared, "still there?")
}

// TestExpiry: connections end when the session has been idle for too long, and a message is activity.
func TestExpiry(t *testing.T) {
	w := start(t)
	_, idle := w.login(t, "bob")
	_, busy := w.login(t, "eve")
	idles, talker := w.all(t, "bob", idle), w.byWebSocket(t, "eve", busy)
	wantHeard(t, w, append(idles, talker), "hello")
	w.ahead.Store(int64(20 * time.Hour))
	if err := talker.say("I am here"); err != nil {
		t.Fatal(err)
	}
	if !talker.hears("say", "I am here") {
		t.Fatal(talker.end)
	}
	w.ahead.Store(int64(25 * time.Hour)) // the idle end is after 24 h
	wantEnd(t, idles, "logged out", time.Now())
	wantHeard(t, w, []*client{talker}, "still there?")
}

// TestOutage: when neither log nor store can say whether sessions go on, connections end with "unavailable", which is no
// log-out: afterwards the same credentials open new ones.
func TestOutage(t *testing.T) {
	w := start(t)
	_, credential := w.login(t, "bob")
	all := w.all(t, "bob", credential)
	wantHeard(t, w, all, "hello")
	w.store.down.Store(true)
	wantEnd(t, all, "unavailable", time.Now())
	_, res, err := w.dial(t, credential, nil)
	if err == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new connection during the outage: %v", err)
	}
	w.store.down.Store(false)
	wantHeard(t, w, w.all(t, "bob", credential), "back again")
}

// TestShutdown: the server going down is no log-out either.
func TestShutdown(t *testing.T) {
	w := start(t)
	_, credential := w.login(t, "bob")
	all := w.all(t, "bob", credential)
	wantHeard(t, w, all, "hello")
	w.stop()
	wantEnd(t, all[:2], "going away", time.Now())
	wantEnd(t, all[2:], "unavailable", time.Now())
}

// TestClosedAuth: an engine that is closed under open connections ends them with "unavailable".
func TestClosedAuth(t *testing.T) {
	w := start(t)
	_, credential := w.login(t, "bob")
	all := w.all(t, "bob", credential)
	wantHeard(t, w, all, "hello")
	if err := w.auth.Close(); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, all, "unavailable", time.Now())
}

// TestHandshakeOrigin: a page of somebody else's opens no WebSocket with the user's cookie, though the handshake is a GET.
func TestHandshakeOrigin(t *testing.T) {
	w := start(t)
	_, credential := w.login(t, "bob")
	host := strings.TrimPrefix(w.url, "http://")
	for name, h := range map[string]http.Header{
		"another site":             {"Origin": {"https://evil.example"}},
		"a sandboxed frame":        {"Origin": {"null"}},
		"the same name over https": {"Origin": {"https://" + host}},
		"cross-site":               {"Origin": {w.url}, "Sec-Fetch-Site": {"cross-site"}},
		"same-site":                {"Origin": {w.url}, "Sec-Fetch-Site": {"same-site"}},
		"a cookie from nowhere":    {},
		"two origins":              {"Origin": {w.url, "https://evil.example"}},
	} {
		_, res, err := w.dial(t, credential, h)
		if err == nil || res == nil || res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := w.dial(t, credential, http.Header{"Origin": {w.url}, "Sec-Fetch-Site": {"same-origin"}}); err != nil {
		t.Errorf("our own page: %v", err)
	}
	if _, res, err := w.dial(t, "x", nil); err == nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a made-up session: %v", err)
	}
}

// TestClear asks for the permission when it is used: what was true at the handshake is old.
func TestClear(t *testing.T) {
	w := start(t)
	_, ada := w.login(t, "ada")
	_, bob := w.login(t, "bob")
	adas, bobs := w.byWebSocket(t, "ada", ada), w.byWebSocket(t, "bob", bob)
	wantHeard(t, w, []*client{adas, bobs}, "hello")
	try := func(c *client, kind, text string) {
		t.Helper()
		if err := c.say("/clear"); err != nil {
			t.Fatal(err)
		}
		if !c.hears(kind, text) {
			t.Fatalf("ended: %s", c.end)
		}
	}
	try(bobs, "note", "You may not do this.")
	try(adas, "clear", "")
	if !bobs.hears("clear", "") {
		t.Fatal("bob's room is not cleared")
	}
	// ada is no administrator any more: told to the engine, and to nobody's connection.
	changed := w.users.of["ada"]
	changed.permissions = nil
	w.users.of["ada"] = changed
	if _, err := w.auth.Changed(t.Context(), "ada", handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	try(adas, "note", "You may not do this.")
	wantHeard(t, w, []*client{adas, bobs}, "nothing was cleared")
	w.store.down.Store(true)
	if err := adas.say("/clear"); err != nil {
		t.Fatal(err)
	}
	// On a slow machine the lease may lapse first.
	if !adas.hears("note", "It cannot be found out right now whether you may do this. Try again.") && adas.end != "unavailable" {
		t.Fatalf("ended: %s", adas.end)
	}
	w.store.down.Store(false)
	w.room.say("test", "nothing was cleared")
	for len(bobs.told) > 0 {
		if m := <-bobs.told; m.Kind == "clear" {
			t.Error("cleared without knowing whether ada may")
		}
	}
}

// TestAllowance: a burst, then a steady rate; what was refused costs nothing.
func TestAllowance(t *testing.T) {
	var a allowance
	now := time.Now()
	for i := range burst {
		if !a.take(now) {
			t.Errorf("message %d of a burst is refused", i)
		}
	}
	for range 100 {
		if a.take(now) {
			t.Error("a burst has no end")
		}
	}
	if now = now.Add(sayingRate); !a.take(now) || a.take(now) {
		t.Error("later, one more is allowed")
	}
}

// TestOneWhoDoesNotRead: a client that takes nothing keeps no connection of an ended session open.
func TestOneWhoDoesNotRead(t *testing.T) {
	w := start(t)
	w.grace = 10 * time.Millisecond
	_, credential := w.login(t, "bob")
	if _, _, err := w.dial(t, credential, nil); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 1<<20)
	for range maxWaiting / 2 { // more than the network holds, fewer than get it dropped
		w.room.say("test", big)
	}
	began := time.Now()
	if _, err := w.auth.EndUser(t.Context(), "bob", handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	w.sockets.Wait()
	t.Logf("its connection was given up after %v", time.Since(began))
}

// TestCalls: the same over gRPC, one call at a time.
func TestCalls(t *testing.T) {
	w := start(t)
	_, ada := w.login(t, "ada")
	_, bob := w.login(t, "bob")
	bobs := w.byWebSocket(t, "bob", bob)
	call := func(credential, method string, in any) codes.Code {
		t.Helper()
		return status.Code(w.rpc.Invoke(as(t.Context(), credential), method, in, &emptypb.Empty{}))
	}
	if got := call(ada, methodSay, wrapperspb.String(" by gRPC ")); got != codes.OK || !bobs.hears("say", "by gRPC") {
		t.Errorf("say: %v", got)
	}
	if got := call(ada, methodClear, &emptypb.Empty{}); got != codes.OK || !bobs.hears("clear", "") {
		t.Errorf("clear: %v", got)
	}
	for want, got := range map[codes.Code]codes.Code{
		codes.PermissionDenied:  call(bob, methodClear, &emptypb.Empty{}),
		codes.Unauthenticated:   call("x", methodSay, wrapperspb.String("x")),
		codes.InvalidArgument:   call(bob, methodSay, wrapperspb.String("")),
		codes.ResourceExhausted: call(bob, methodSay, wrapperspb.String(strings.Repeat("x", maxFrameBytes))),
	} {
		if got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

// TestPages: log in as a person does, chat, log out everywhere on one device, and the other one's page ends.
func TestPages(t *testing.T) {
	w := start(t)
	form := func(user, password string) url.Values {
		return url.Values{"user": {user}, "password": {password}, "return_to": {"https://evil.example/"}}
	}
	laptop, phone, admin := w.browser(t), w.browser(t), w.browser(t)
	res := w.post(t, laptop, "/login", form("bob", "guess"))
	if text := body(t, res); res.StatusCode != http.StatusUnauthorized || !strings.Contains(text, "Wrong name or password.") {
		t.Errorf("a wrong password: %d %s", res.StatusCode, text)
	}
	if res := w.post(t, laptop, "/login", form("nobody", "correct horse battery")); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("an unknown user: %d", res.StatusCode)
	}
	credential := map[*http.Client]string{}
	for c, user := range map[*http.Client]string{laptop: "bob", phone: "bob", admin: "ada"} {
		res := w.post(t, c, "/login", form(user, "correct horse battery"))
		if text := body(t, res); res.StatusCode != http.StatusOK || res.Request.URL.Path != "/" ||
			!strings.Contains(text, "You are "+user) || strings.Contains(text, "Log this user out") != (user == "ada") {
			t.Fatalf("log in: %d %s %s", res.StatusCode, res.Request.URL, text)
		}
		at, _ := url.Parse(w.url)
		credential[c] = c.Jar.Cookies(at)[0].Value
	}
	onPhone, onAdmin := w.byWebSocket(t, "bob", credential[phone]), w.byEvents(t, "ada", credential[admin])
	wantHeard(t, w, []*client{onPhone, onAdmin}, "hello")
	if err := onPhone.say("<b>hi</b>"); err != nil || !onAdmin.hears("say", "<b>hi</b>") {
		t.Errorf("a message: %v", err)
	}
	if res := w.post(t, laptop, "/admin/end", url.Values{"user": {"ada"}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("bob throws ada out: %d", res.StatusCode)
	}
	if res := w.post(t, laptop, "/logout/everywhere", nil); res.Request.URL.Path != "/login" {
		t.Errorf("log out everywhere: %d %s", res.StatusCode, res.Request.URL)
	}
	wantEnd(t, []*client{onPhone}, "logged out", time.Now())
	again := w.browser(t)
	w.post(t, again, "/login", form("bob", "correct horse battery"))
	at, _ := url.Parse(w.url)
	thrown := w.byWebSocket(t, "bob", again.Jar.Cookies(at)[0].Value)
	wantHeard(t, w, []*client{thrown, onAdmin}, "back")
	w.post(t, admin, "/admin/end", url.Values{"user": {"bob"}})
	wantEnd(t, []*client{thrown}, "logged out", time.Now())
	wantHeard(t, w, []*client{onAdmin}, "only ada is left")
	w.post(t, admin, "/logout", nil)
	wantEnd(t, []*client{onAdmin}, "logged out", time.Now())
}

// TestLimits: what one client can do to the others.
func TestLimits(t *testing.T) {
	w := start(t)
	_, bob := w.login(t, "bob")
	_, eve := w.login(t, "eve")
	t.Run("a frame that is too large", func(t *testing.T) {
		c := w.byWebSocket(t, "bob", bob)
		if err := c.say(strings.Repeat("x", maxFrameBytes+1)); err != nil {
			t.Fatal(err)
		}
		<-c.over
		if !strings.HasPrefix(c.end, fmt.Sprint(int(websocket.StatusMessageTooBig))) {
			t.Errorf("ended: %s", c.end)
		}
	})
	t.Run("a flood", func(t *testing.T) {
		c := w.byWebSocket(t, "bob", bob)
		var heard atomic.Bool
		go func() {
			for !heard.Load() && c.say("x") == nil {
			}
		}()
		if !c.hears("note", "Too fast. That was not sent.") {
			t.Errorf("ended: %s", c.end)
		}
		heard.Store(true)
	})
	t.Run("no text", func(t *testing.T) {
		c := w.byWebSocket(t, "eve", eve)
		if err := c.say("  "); err != nil || !c.hears("note", "That is no message.") {
			t.Errorf("%v, ended: %s", err, c.end)
		}
	})
	t.Run("somebody who does not read", func(t *testing.T) {
		slow, err := w.room.join("slow")
		if err != nil {
			t.Fatal(err)
		}
		quick := w.byWebSocket(t, "eve", eve)
		for i := range 2 * maxWaiting {
			w.room.say("test", fmt.Sprint(i))
			if !quick.hears("say", fmt.Sprint(i)) {
				t.Fatalf("who reads was dropped: %s", quick.end)
			}
		}
		n := 0
		for range slow.out {
			n++
		}
		if n > maxWaiting {
			t.Errorf("%d messages were kept for one", n)
		}
		w.room.leave(slow)
	})
	t.Run("too many connections", func(t *testing.T) {
		_, many := w.login(t, "many")
		for range maxPerUser {
			w.byWebSocket(t, "many", many)
		}
		if _, res, err := w.dial(t, many, nil); err == nil || res.StatusCode != http.StatusTooManyRequests {
			t.Errorf("one more: %v", err)
		}
	})
}

// TestNobodyIsLeft: connections that are over leave the room.
func TestNobodyIsLeft(t *testing.T) {
	w := start(t)
	_, watcher := w.login(t, "ada")
	_, credential := w.login(t, "bob")
	watch := w.byEvents(t, "ada", watcher)
	all := w.all(t, "bob", credential)
	wantHeard(t, w, append(all, watch), "hello")
	if _, err := w.auth.EndUser(t.Context(), "bob", handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, all, "logged out", time.Now())
	for m := range watch.told {
		if m.Kind == "here" && len(m.Here) == 1 && m.Here[0] == "ada" {
			return
		}
	}
}

// TestPageAgreesWithServer: the page knows the codes and elements by name.
func TestPageAgreesWithServer(t *testing.T) {
	script, err := os.ReadFile("web/live.js")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("web/chat.html")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(script), fmt.Sprintf("const loggedOut = %d;", statusLoggedOut)) {
		t.Error("the page knows another code for a log-out")
	}
	for _, part := range strings.Split(string(script), `$("`)[1:] {
		id, _, _ := strings.Cut(part, `"`)
		if !strings.Contains(string(page), `id="`+id+`"`) {
			t.Errorf("the page has no %s", id)
		}
	}
	if strings.Contains(string(script), "innerHTML") || strings.Contains(string(page), "<script>") || strings.Contains(string(page), "onclick") {
		t.Error("the page runs what others typed, or what its policy forbids")
	}
}

// TestRun: an address that cannot be listened on is an error, and leaves nothing open.
func TestRun(t *testing.T) {
	if err := run(t.Context(), "127.0.0.1:no", "127.0.0.1:0"); err == nil || errors.Is(err, errShutdown) {
		t.Errorf("an address that is none: %v", err)
	}
}
