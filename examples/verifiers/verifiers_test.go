// Package verifiers_test runs the verifiers in other languages against a real server.
package verifiers_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/server"
	"github.com/handstamp/handstamp/store/memory"
)

// bound is how long an event may take to reach a verifier that can reach the log.
const bound = time.Second

// interpreter finds a program that runs a verifier. A machine without it skips; where everything is tested it has to be there.
func interpreter(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("%s is missing, and CI is set: the verifier in it has to be run", name)
	}
	if err != nil {
		t.Skipf("%s is missing on this machine: the verifier in it is not run", name)
	}
	return path
}

// world is a Handstamp server, what stands before it, and a verifier.
type world struct {
	t        *testing.T
	store    *memory.Store
	auth     *handstamp.Auth
	accounts *account.Accounts
	ring     *keyring.Ring
	base     string // of the verifier
	before   atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	process  *os.Process
	mu       sync.Mutex
	asked    map[string]int // by path
}

func start(t *testing.T, program, dir, source string) *world {
	t.Helper()
	path := interpreter(t, program)
	for _, file := range []string{source, strings.Replace(source, "app", "verifier", 1)} {
		if _, err := os.ReadFile(dir + "/" + file); err != nil { // go test keeps a result as long as what the test itself read is as it was
			t.Fatal(err)
		}
	}
	w := &world{t: t, store: memory.New(), asked: map[string]int{}}
	front := httptest.NewUnstartedServer(nil) // its address has to be known before there is something to serve
	t.Cleanup(front.Close)
	url := "http://" + front.Listener.Addr().String()
	ctx, secrets, quiet := t.Context(), [][]byte{[]byte("a secret of at least thirty-two bytes for tests")}, slog.New(slog.DiscardHandler)
	var err error
	w.ring, err = keyring.Open(ctx, w.store.Keys(), keyring.Options{Secrets: secrets})
	w.must(err)
	w.auth, err = handstamp.Open(ctx, w.store, handstamp.Options{PublicURL: url, Secrets: secrets, Keys: w.ring, Logger: quiet})
	w.must(err)
	t.Cleanup(func() { w.must(w.auth.Close()) })
	w.accounts = account.New(w.auth, w.store)
	w.role("editor", "posts:write")
	api, err := server.Handler(w.auth, w.accounts, server.Options{PublicURL: url, Keys: w.ring, Logger: quiet})
	w.must(err)
	front.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked[r.URL.Path]++
		w.mu.Unlock()
		if before := w.before.Load(); before == nil || !(*before)(rw, r) {
			api.ServeHTTP(rw, r)
		}
	})
	front.Start()
	w.run(path, dir, source, url)
	return w
}

// run runs a verifier until the test ends.
func (w *world) run(path, dir, source, url string) {
	w.t.Helper()
	cmd := exec.Command(path, source)
	cmd.Dir = dir
	// Nothing of the environment of whoever runs the tests, proxies among it.
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.t.TempDir(), "PYTHONDONTWRITEBYTECODE=1",
		"HANDSTAMP_URL=" + url, "HANDSTAMP_KEY=" + w.key("handstamp.revocations", "handstamp.introspect"), "PORT=0",
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	w.must(err)
	w.must(cmd.Start())
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if w.t.Failed() {
			w.t.Logf("%s printed:\n%s", path, log.String())
		}
	})
	stop := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() }) // then the line below ends
	defer stop.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	base, ok := strings.CutPrefix(strings.TrimSpace(line), "verifier: ")
	if err != nil || !ok {
		w.t.Fatalf("%s did not start: %q, %v", path, line, err)
	}
	w.base, w.process = base, cmd.Process
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) key(permissions ...string) string {
	w.t.Helper()
	_, s, err := w.accounts.AddServiceKey(w.t.Context(), account.NewServiceKey{Name: "test", Permissions: permissions}, handstamp.Client{Actor: "test"})
	w.must(err)
	return s.Reveal()
}

func (w *world) role(name string, permissions ...string) {
	w.t.Helper()
	_, err := w.accounts.PutRole(w.t.Context(), account.Role{Name: name, Permissions: permissions}, handstamp.EndOptions{})
	w.must(err)
}

func (w *world) logIn(mode handstamp.Mode, user handstamp.UserID, roles ...string) handstamp.Grant {
	w.t.Helper()
	p, err := w.auth.Prove(w.t.Context(), user)
	w.must(err)
	p.Mode, p.Transport, p.Grants = mode, handstamp.TransportBearer, &handstamp.Grants{Roles: roles}
	g, err := w.auth.Start(w.t.Context(), p)
	w.must(err)
	return g
}

func (w *world) count(path string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[path]
}

// gate puts something before the server. It answers true where it answered the request itself.
func (w *world) gate(before func(rw http.ResponseWriter, r *http.Request) bool) {
	if before == nil {
		w.before.Store(nil)
		return
	}
	w.before.Store(&before)
}

// says is the verifier's answer in one word: from where the yes came, or the code of the refusal.
func (w *world) says(credential, query string) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.base+"/"+query, nil)
	w.must(err)
	if credential != "" {
		req.Header.Set("Authorization", "Bearer "+credential)
	}
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	w.must(err)
	var said struct{ Code, From, User, Session string }
	w.must(json.Unmarshal(text, &said))
	if (resp.StatusCode == 200) != (said.From != "" && said.User != "") {
		w.t.Errorf("%d %s", resp.StatusCode, text)
	}
	want, known := map[string]int{
		"": 200, "unavailable": 503, "forbidden": 403, "invalid_token": 401, "expired": 401, "revoked": 401, "stale_token": 401,
	}[said.Code]
	if !known || resp.StatusCode != want {
		w.t.Errorf("%d %s", resp.StatusCode, text)
	}
	return said.Code + said.From
}

func (w *world) want(what, credential, answer string) {
	w.t.Helper()
	got := w.says(credential, "")
	if answer == "memory" && got == "introspection" { // on a machine that stood still for longer than a lease
		w.eventually(what, 20*time.Second, credential, answer)
		return
	}
	if got != answer {
		w.t.Errorf("%s: %s, want %s", what, got, answer)
	}
}

// eventually waits for an answer.
func (w *world) eventually(what string, within time.Duration, credential string, answers ...string) {
	w.t.Helper()
	began := time.Now()
	for {
		asked := time.Now()
		got := w.says(credential, "")
		for _, a := range answers {
			if got == a {
				w.t.Logf("%s: %s after %v", what, got, time.Since(began).Round(time.Millisecond))
				return
			}
		}
		if asked.Sub(began) > within {
			w.t.Fatalf("%s: after %v the answer is still %s, want %v", what, within, got, answers)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestNode(t *testing.T) {
	t.Parallel()
	contract(t, start(t, "node", "node", "app.mjs"))
}

func TestPython(t *testing.T) {
	t.Parallel()
	contract(t, start(t, "python3", "python", "app.py"))
}

// contract is what every verifier does.
func contract(t *testing.T, w *world) {
	t.Helper()
	answers(w)
	forged(w)
	ends(w)
	changes(w)
	fleet(w)
	lapses(w)
	made(w)
	keys(w)
	restored(w)
}

func text(g handstamp.Grant) string { return g.AccessToken.Reveal() }

// answers: value tokens are answered from memory, and everything else by the server.
func answers(w *world) {
	value, opaque := w.logIn(handstamp.ModeHybrid, "ada", "editor"), w.logIn(handstamp.ModeSession, "ada", "editor")
	w.eventually("a value token", bound, text(value), "memory")
	before := w.count("/v1/introspect")
	for range 20 {
		w.want("a value token", text(value), "memory")
	}
	if n := w.count("/v1/introspect"); n > before+10 { // one that stands still asks, and then no more
		w.t.Errorf("the server was asked %d times about a value token", n-before)
	}
	w.want("a reference token", text(opaque), "introspection")
	w.want("a service key", w.key("posts:import"), "introspection")
	w.want("no credential", "", "invalid_token")
	for _, c := range []handstamp.Grant{value, opaque} {
		for query, want := range map[string]bool{"?permission=posts:write": true, "?permission=posts:delete": false, "?permission=post": false} {
			if got := w.says(text(c), query); (got == "memory" || got == "introspection") != want || !want && got != "forbidden" {
				w.t.Errorf("%s: %s", query, got)
			}
		}
	}
}

// forged: nothing but what the server signed is a value token.
func forged(w *world) {
	good := text(w.logIn(handstamp.ModeToken, "ada", "editor"))
	w.eventually("a value token", bound, good, "memory")
	parts := strings.Split(good, ".")
	enc, dec := base64.RawURLEncoding.EncodeToString, base64.RawURLEncoding.DecodeString
	head, err := dec(parts[0])
	w.must(err)
	claims, err := dec(parts[1])
	w.must(err)
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	sign := func(head, claims string) string {
		signed := enc([]byte(head)) + "." + enc([]byte(claims))
		digest := sha256.Sum256([]byte(signed))
		r, s, err := ecdsa.Sign(rand.Reader, own, digest[:])
		w.must(err)
		return signed + "." + enc(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	}
	kid := w.ring.List()[0].ID
	for name, forged := range map[string]string{
		"another key":       sign(string(head), string(claims)),
		"an unknown key":    sign(strings.Replace(string(head), kid, "unknown", 1), string(claims)),
		"no key":            sign(`{"alg":"ES256","typ":"at+jwt"}`, string(claims)),
		"a key of its own":  sign(`{"alg":"ES256","typ":"at+jwt","jwk":{"kty":"EC"}}`, string(claims)),
		"no algorithm":      enc([]byte(strings.Replace(string(head), "ES256", "none", 1))) + "." + parts[1] + ".",
		"HMAC":              enc([]byte(strings.Replace(string(head), "ES256", "HS256", 1))) + "." + parts[1] + "." + parts[2],
		"other claims":      parts[0] + "." + enc(bytes.Replace(claims, []byte("ada"), []byte("eve"), 1)) + "." + parts[2],
		"zeros":             parts[0] + "." + parts[1] + "." + enc(make([]byte, 64)),
		"half a signature":  parts[0] + "." + parts[1] + "." + parts[2][:40],
		"another spelling":  good[:len(good)-1] + string(good[len(good)-1]+1),
		"padding":           good + "==",
		"prototype":         sign(`{"alg":"ES256","typ":"at+jwt","kid":"__proto__"}`, string(claims)),
		"a head that is no": enc([]byte("null")) + "." + parts[1] + "." + parts[2],
		"no JSON":           enc([]byte("x")) + "." + parts[1] + "." + parts[2],
		"two parts":         parts[0] + "." + parts[1],
		"a refresh token":   w.logIn(handstamp.ModeHybrid, "ada").RefreshToken.Reveal(),
		"made up":           "hs_s_" + strings.Repeat("x", 49),
	} {
		w.want(name, forged, "invalid_token")
	}
}

// ends: what is ended is refused within a second; what is spared is not.
func ends(w *world) {
	ctx := w.t.Context()
	hit, other := w.logIn(handstamp.ModeHybrid, "bob"), w.logIn(handstamp.ModeHybrid, "bob")
	opaque := w.logIn(handstamp.ModeSession, "bob")
	for _, g := range []handstamp.Grant{hit, other} {
		w.eventually("before", bound, text(g), "memory")
	}
	_, err := w.auth.EndSession(ctx, hit.Session.ID, handstamp.EndOptions{})
	w.must(err)
	w.eventually("an ended session", bound, text(hit), "revoked")
	w.want("another session of the user", text(other), "memory")

	third := w.logIn(handstamp.ModeToken, "bob")
	w.eventually("before", bound, text(third), "memory")
	_, err = w.auth.EndUser(ctx, "bob", handstamp.EndOptions{Except: other.Session.ID})
	w.must(err)
	w.eventually("everything but one", bound, text(third), "revoked")
	w.want("the session that was spared", text(other), "memory")
	w.want("a reference token", text(opaque), "invalid_token")
	w.want("a later login", text(w.logIn(handstamp.ModeToken, "bob")), "memory")

	_, err = w.auth.EndAll(ctx, handstamp.EndOptions{})
	w.must(err)
	w.eventually("everybody", bound, text(other), "revoked")
	w.eventually("a later login", bound, text(w.logIn(handstamp.ModeToken, "bob")), "memory")
}

// changes: a token that was made before a change is stale, and one that was made after it is not.
func changes(w *world) {
	ctx := w.t.Context()
	old, reader := w.logIn(handstamp.ModeToken, "carl", "editor"), w.logIn(handstamp.ModeToken, "dora", "reader")
	w.eventually("before", bound, text(old), "memory")
	w.role("editor", "posts:write", "posts:publish")
	w.eventually("a role that changed", bound, text(old), "stale_token")
	w.want("somebody without the role", text(reader), "memory")
	next := w.logIn(handstamp.ModeToken, "carl", "editor")
	w.eventually("afterwards", bound, text(next), "memory")
	_, err := w.accounts.SetRoles(ctx, "carl", []string{"reader"}, handstamp.EndOptions{})
	w.must(err)
	w.eventually("a role that was taken away", bound, text(next), "stale_token")
}

// fleet: who waits for the fleet waits for these verifiers too, and not long.
func fleet(w *world) {
	for range 10 {
		g := w.logIn(handstamp.ModeHybrid, "eve")
		w.eventually("before", bound, text(g), "memory")
		ended, err := w.auth.EndSession(w.t.Context(), g.Session.ID, handstamp.EndOptions{WaitFleet: true})
		w.must(err)
		if got := w.says(text(g), ""); got == "memory" || got == "introspection" {
			w.t.Fatalf("accepted after the fleet was waited for: %s, %+v", got, ended)
		}
		if ended.Waited > 2240*time.Millisecond+500*time.Millisecond {
			w.t.Errorf("the wait took %v", ended.Waited)
		}
	}
}

// lapses: cut off from the log, a verifier asks; cut off from everything, it says so; it logs nobody out. Then all is well.
func lapses(w *world) {
	live, ended := w.logIn(handstamp.ModeHybrid, "ada"), w.logIn(handstamp.ModeHybrid, "ada")
	for _, g := range []handstamp.Grant{live, ended} {
		w.eventually("before", bound, text(g), "memory")
	}
	w.gate(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/revocations/lease" {
			return false
		}
		http.Error(rw, "no", http.StatusServiceUnavailable)
		return true
	})
	_, err := w.auth.EndSession(w.t.Context(), ended.Session.ID, handstamp.EndOptions{WaitFleet: true})
	w.must(err)
	w.want("ended, without the log", text(ended), "invalid_token")
	w.want("live, without the log", text(live), "introspection")
	w.gate(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	for range 3 {
		w.want("live, without a server", text(live), "unavailable")
		w.want("ended, without a server", text(ended), "unavailable")
	}
	w.gate(func(rw http.ResponseWriter, r *http.Request) bool { // somebody else answers
		rw.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(rw, "<html>")
		return true
	})
	w.want("live, somebody else answers", text(live), "unavailable")
	for _, status := range []int{401, 403, 404, 500, 503} { // of the verifier's own key they say nothing about the user
		w.gate(func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, `{"code":"revoked","active":false}`)
			return true
		})
		w.want("live, a server in trouble", text(live), "unavailable")
	}
	w.gate(nil)
	w.eventually("live, afterwards", 10*time.Second, text(live), "memory")
	w.eventually("ended, afterwards", bound, text(ended), "revoked")

	next := w.logIn(handstamp.ModeHybrid, "ada")
	w.eventually("before", bound, text(next), "memory")
	w.gate(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	w.eventually("the lease runs out", 20*time.Second, text(next), "unavailable")
	w.gate(nil)
	w.eventually("afterwards", 10*time.Second, text(next), "memory")
}

// made: made-up key ids cost next to nothing.
func made(w *world) {
	read := w.count("/.well-known/jwks.json")
	for i := range 50 {
		head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"made-up-` + strings.Repeat("x", i) + `"}`))
		w.want("a made-up key", head+".e30."+strings.Repeat("A", 86), "invalid_token")
	}
	if n := w.count("/.well-known/jwks.json") - read; n > 2 {
		w.t.Errorf("50 made-up keys made the keys be read %d times", n)
	}
}

// keys: what a revoked key signed is over, whatever it says of itself and although the keys cannot be read again just then.
// Its successor's tokens are good.
func keys(w *world) {
	g := w.logIn(handstamp.ModeToken, "ada")
	w.eventually("before", bound, text(g), "memory")
	_, claims, err := jwt.InspectUnverified(text(g))
	w.must(err)
	claims.AsOf = 1 << 50 // as a thief of the key would write
	stolen, err := w.ring.Seal(claims, time.Now())
	w.must(err)
	w.want("made by a thief of the key", stolen, "memory")
	w.gate(func(rw http.ResponseWriter, r *http.Request) bool { // the event alone must do
		if !strings.HasSuffix(r.URL.Path, "jwks.json") {
			return false
		}
		http.Error(rw, "no", http.StatusInternalServerError)
		return true
	})
	for _, k := range w.ring.List() {
		if k.State == keyring.Active {
			_, err := w.auth.EndKey(w.t.Context(), k.ID, handstamp.EndOptions{})
			w.must(err)
		}
	}
	w.eventually("signed by a revoked key", bound, text(g), "revoked")
	w.eventually("made by a thief of the key", bound, stolen, "revoked")
	w.gate(nil)
	w.eventually("signed by the next", bound, text(w.logIn(handstamp.ModeToken, "ada")), "memory")
}

// restored: after the log was replaced nothing that was known before counts.
func restored(w *world) {
	kept, ended := w.logIn(handstamp.ModeHybrid, "ada"), w.logIn(handstamp.ModeHybrid, "ada")
	w.eventually("before", bound, text(kept), "memory")
	_, err := w.auth.EndSession(w.t.Context(), ended.Session.ID, handstamp.EndOptions{})
	w.must(err)
	_, err = w.store.Restored(w.t.Context(), true, time.Now())
	w.must(err)
	w.eventually("made before the new log", 2*bound, text(kept), "introspection")
	w.want("ended before the new log", text(ended), "invalid_token")
	next := w.logIn(handstamp.ModeHybrid, "ada")
	w.eventually("made in the new log", 5*bound, text(next), "memory")
	for range 3 {
		w.want("made before the new log", text(kept), "introspection")
		w.want("ended before the new log", text(ended), "invalid_token")
	}
	_, err = w.auth.EndSession(w.t.Context(), next.Session.ID, handstamp.EndOptions{})
	w.must(err)
	w.eventually("ended in the new log", bound, text(next), "revoked")
	_, err = w.store.Restored(w.t.Context(), false, time.Now())
	w.must(err)
	w.eventually("everybody is logged out", 2*bound, text(kept), "invalid_token", "revoked")
}

// TestPythonES256 checks the curve in plain Python against the vectors of Wycheproof, good ones and bad ones.
func TestPythonES256(t *testing.T) {
	t.Parallel()
	python := interpreter(t, "python3")
	file, err := os.ReadFile("../../jwt/testdata/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var suite struct {
		TestGroups []struct {
			PublicKey struct{ Wx, Wy string }
			Tests     []struct {
				TcID             int
				Msg, Sig, Result string
			}
		}
	}
	if err := json.Unmarshal(file, &suite); err != nil {
		t.Fatal(err)
	}
	type question struct{ X, Y, Msg, Sig string }
	var all []question
	var want []bool
	var ids []int
	for _, g := range suite.TestGroups {
		for _, c := range g.Tests {
			if _, err := hex.DecodeString(c.Sig); err != nil {
				t.Fatal(err)
			}
			all = append(all, question{g.PublicKey.Wx, g.PublicKey.Wy, c.Msg, c.Sig})
			want, ids = append(want, c.Result == "valid"), append(ids, c.TcID)
		}
	}
	if len(all) < 200 {
		t.Fatalf("only %d vectors", len(all))
	}
	in, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-c", `import json, sys; from verifier import es256
print(json.dumps([es256(int(q["X"], 16), int(q["Y"], 16), bytes.fromhex(q["Msg"]), bytes.fromhex(q["Sig"])) for q in json.load(sys.stdin)]))`)
	cmd.Dir, cmd.Stdin, cmd.Stderr = "python", bytes.NewReader(in), os.Stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []bool
	if err := json.Unmarshal(out, &got); err != nil || len(got) != len(want) {
		t.Fatalf("%d answers, %v", len(got), err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("vector %d: %v, want %v", ids[i], got[i], want[i])
		}
	}
}
