package remote_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/remote"
)

// The bounds that are promised: while a verifier can reach the log by any path, and by the stream.
const (
	keysPath = "/.well-known/jwks.json"

	bound       = time.Second
	streamBound = 250 * time.Millisecond
)

func modes() []handstamp.Mode {
	return []handstamp.Mode{handstamp.ModeSession, handstamp.ModeToken, handstamp.ModeHybrid}
}

// TestVerifier: the credentials of every mode are good at another service, may there what their roles grant, and say whose
// they are.
func TestVerifier(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		v := f.remote(public)
		for _, mode := range modes() {
			g := f.logIn(mode, "ada", "editor")
			want(t, string(mode), says(v, text(g), handstamp.Permission("posts:write")), "yes")
			want(t, string(mode)+", not granted", says(v, text(g), handstamp.Permission("posts:delete")), "forbidden")
			p, err := v.VerifyToken(t.Context(), text(g))
			if err != nil || p.User != "ada" || p.Session != g.Session.ID || len(p.Roles()) != 1 || p.Roles()[0] != "editor" {
				t.Errorf("%s: %+v, %v", mode, p, err)
			}
			if left := time.Until(p.ExpiresAt); left <= 0 || left > 721*time.Hour {
				t.Errorf("%s expires in %v", mode, left)
			}
		}
		key := f.newKey("posts:import")
		want(t, "a service key", says(v, key, handstamp.Permission("posts:import")), "yes")
		for _, nonsense := range []string{"", "x", "hs_s_x", "a.b.c", "hs_r_" + text(f.logIn(handstamp.ModeSession, "ada"))[5:]} {
			want(t, "nonsense", says(v, nonsense), "invalid_token")
		}
	})
}

// TestRevocation: whatever ends, at whichever node, ends at another service within 250 ms by the stream, and within 1 s
// where the stream is cut off. What was not meant goes on.
func TestRevocation(t *testing.T) {
	type victim struct{ hit, spared handstamp.Grant }
	ends := map[string]func(f *fleet, n *node, v victim) error{
		"session": func(f *fleet, n *node, v victim) error {
			_, err := n.auth.EndSession(f.t.Context(), v.hit.Session.ID, handstamp.EndOptions{})
			return err
		},
		"user": func(f *fleet, n *node, v victim) error {
			_, err := n.auth.EndUser(f.t.Context(), v.hit.Session.User, handstamp.EndOptions{Except: v.spared.Session.ID})
			return err
		},
		"disabled": func(f *fleet, n *node, v victim) error {
			_, err := n.accounts.SetDisabled(f.t.Context(), v.hit.Session.User, true, handstamp.EndOptions{})
			return err
		},
		"everybody": func(f *fleet, n *node, _ victim) error {
			_, err := n.auth.EndAll(f.t.Context(), handstamp.EndOptions{})
			return err
		},
	}
	for name, end := range ends {
		for _, silent := range []bool{false, true} {
			for _, mode := range modes() {
				within := streamBound
				if silent {
					within = bound
				}
				t.Run(name+"/"+string(mode)+"/within "+within.String(), func(t *testing.T) {
					bubbletest.Test(t, func(t *testing.T) {
						f := newFleet(t, 2)
						f.net.set(func(n *network) { n.silent = silent })
						v := f.remote("https://a.test")
						own := f.user("ada@example.com")
						g := victim{hit: f.logIn(mode, own), spared: f.logIn(mode, own)}
						other := f.logIn(mode, "bob")
						for _, x := range []handstamp.Grant{g.hit, g.spared, other} {
							want(t, "before", says(v, text(x)), "yes")
						}
						time.Sleep(time.Duration(len(name)) * 77 * time.Millisecond) // any moment
						must(t, end(f, f.nodes[1], g))
						took := eventually(t, within, v, text(g.hit), refused(mode))
						t.Logf("took %v", took)
						if name == "session" || name == "user" {
							want(t, "the spared session", says(v, text(g.spared)), "yes")
						}
						if name != "everybody" {
							want(t, "another user", says(v, text(other)), "yes")
						}
					})
				})
			}
		}
	}
}

// refused is what is said of an ended credential: only an event or a record can say "revoked"; an introspection says no
// more than no.
func refused(m handstamp.Mode) string {
	if m == handstamp.ModeSession {
		return "invalid_token"
	}
	return "revoked"
}

// TestRoles: what a role grants, and who has it, is obeyed as fast.
func TestRoles(t *testing.T) {
	for _, mode := range modes() {
		t.Run(string(mode), func(t *testing.T) {
			bubbletest.Test(t, func(t *testing.T) {
				f := newFleet(t, 2)
				v := f.remote("https://a.test")
				g := f.logIn(mode, "ada", "editor")
				write, read := handstamp.Permission("posts:write"), handstamp.Permission("posts:read")
				want(t, "editor", says(v, text(g), write), "yes")
				f.role("editor", "posts:read")
				time.Sleep(streamBound)
				if got := says(v, text(g), write); got == "yes" || got == "don't know" {
					t.Errorf("what the role no longer grants: %s", got)
				}
				f.role("editor", "posts:write", "posts:read")
				time.Sleep(streamBound)
				want(t, "what the role grants again", says(v, text(g), write), "yes")
				if _, err := f.nodes[1].accounts.SetRoles(t.Context(), "ada", []string{"reader"}, handstamp.EndOptions{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(streamBound)
				if got := says(v, text(g), write); got == "yes" || got == "don't know" {
					t.Errorf("the role is taken away: %s", got)
				}
				if mode == handstamp.ModeSession {
					want(t, "the other role", says(v, text(g), read), "yes")
				}
			})
		})
	}
}

// TestKeyRevoked: what a revoked key signed is refused, and what its successor signs is good at once.
func TestKeyRevoked(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2)
		v := f.remote("https://a.test")
		g, opaque := f.logIn(handstamp.ModeToken, "ada"), f.logIn(handstamp.ModeSession, "ada")
		want(t, "before", says(v, text(g)), "yes")
		p, err := v.VerifyToken(t.Context(), text(g))
		must(t, err)
		guarded, cancel := v.Guard(t.Context(), p)
		defer cancel()
		time.Sleep(time.Minute) // so that nothing else is due
		read := f.net.count(keysPath)
		for _, k := range f.nodes[0].ring.List() {
			if k.State == "active" {
				_, err = f.nodes[1].auth.EndKey(t.Context(), k.ID, handstamp.EndOptions{})
				must(t, err)
			}
		}
		t.Logf("took %v", eventually(t, bound, v, text(g), "revoked"))
		<-guarded.Done()
		time.Sleep(bound)
		if f.net.count(keysPath) == read {
			t.Error("the keys were not read again")
		}
		want(t, "a reference token", says(v, text(opaque)), "yes")
		next := f.logIn(handstamp.ModeToken, "ada")
		want(t, "signed by the next key", says(v, text(next)), "yes")
		want(t, "afterwards", says(v, text(g)), "revoked")
	})
}

// TestServiceKeyRevoked: a program's credential stops, and so does the Verifier whose own key is taken away.
func TestServiceKeyRevoked(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2)
		v := f.remote("https://a.test")
		key := f.newKey("posts:import")
		want(t, "before", says(v, key), "yes")
		g := f.logIn(handstamp.ModeToken, "ada")
		list, err := f.store.Users().ServiceKeys(t.Context(), "", 100)
		must(t, err)
		end := func(k id.ServiceKey) {
			_, err := f.nodes[1].auth.EndServiceKey(t.Context(), k, handstamp.EndOptions{})
			must(t, err)
		}
		own := list[0]
		for _, k := range list {
			if len(k.Permissions) == 1 {
				end(k.ID)
			} else {
				own = k
			}
		}
		t.Logf("took %v", eventually(t, bound, v, key, "invalid_token"))
		want(t, "a user", says(v, text(g)), "yes")
		end(own.ID)
		time.Sleep(3 * time.Second)
		want(t, "a user, asked by who may not ask", says(v, text(g)), "don't know")
	})
}

// TestCache: what was asked once is answered from memory, by every form, until an event hits it.
func TestCache(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		v := f.remote(public, remembers)
		g, other := f.logIn(handstamp.ModeSession, "ada"), f.logIn(handstamp.ModeSession, "bob")
		before := f.net.count("/v1/introspect")
		for range 100 {
			want(t, "a reference token", says(v, text(g)), "yes")
		}
		if n := f.net.count("/v1/introspect") - before; n != 1 {
			t.Errorf("%d introspections for 100 checks, want 1", n)
		}
		_, err := f.nodes[0].auth.EndSession(t.Context(), other.Session.ID, handstamp.EndOptions{})
		must(t, err)
		time.Sleep(bound)
		want(t, "after somebody else's end", says(v, text(g)), "yes")
		if n := f.net.count("/v1/introspect") - before; n != 1 {
			t.Errorf("%d introspections after somebody else's end, want 1", n)
		}
		keys := f.net.count(keysPath)
		tok := f.logIn(handstamp.ModeToken, "ada")
		for range 100 {
			want(t, "a value token", says(v, text(tok)), "yes")
		}
		if n := f.net.count("/v1/introspect") - before; n != 1 || f.net.count(keysPath) != keys {
			t.Errorf("a value token was asked about")
		}
	})
}

// TestAlgorithms: every algorithm of a server works, also those whose key never leaves it and tokens that nobody else can
// read: these are asked about.
func TestAlgorithms(t *testing.T) {
	for name, ring := range map[string]keyring.Options{
		"ES256": {Algorithm: jwt.ES256}, "EdDSA": {Algorithm: jwt.EdDSA}, "HS256": {Algorithm: jwt.HS256}, "encrypted": {Encrypt: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubbletest.Test(t, func(t *testing.T) {
				f := newFleetOf(t, 2, ring)
				v := f.remote("https://a.test")
				for _, mode := range modes() {
					g := f.logIn(mode, "ada", "editor")
					want(t, string(mode), says(v, text(g), handstamp.Permission("posts:write")), "yes")
					_, err := f.nodes[1].auth.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{WaitFleet: true})
					must(t, err)
					if got := says(v, text(g)); got != "revoked" && got != "invalid_token" {
						t.Errorf("%s after its end: %s", mode, got)
					}
				}
			})
		})
	}
}

// TestF42_FloodThroughTheVerifier: tokens with made-up key ids are refused, each at once, and the server is hardly asked.
func TestF42_FloodThroughTheVerifier(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		v := f.remote(public)
		g := f.logIn(handstamp.ModeToken, "ada")
		_, rest, _ := strings.Cut(text(g), ".")
		read, asked := f.net.count(keysPath), f.net.count("/v1/introspect")
		for i := range 10_000 {
			head := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"ES256","typ":"at+jwt","kid":"made-up-%d"}`, i))
			want(t, "a made-up key", says(v, head+"."+rest), "invalid_token")
			if i%100 == 0 {
				time.Sleep(500 * time.Millisecond)
				want(t, "a good token", says(v, text(g)), "yes")
			}
		}
		if n := f.net.count(keysPath) - read; n > 6 { // three at first, then one in 30 s, within 50 s
			t.Errorf("%d reads of the keys", n)
		}
		if n := f.net.count("/v1/introspect") - asked; n > 0 {
			t.Errorf("%d questions about tokens of nobody", n)
		}
	})
}

// remembers gives a Verifier a memory whatever the default of the build is.
func remembers(o *remote.Options) { o.Verifier.CacheBytes = 16 << 20 }

// TestPartition: cut off, a Verifier goes on for its lease and no longer; then it asks, and nobody answers. It never says
// that a live session is over, and never accepts an ended one after the lease.
func TestPartition(t *testing.T) {
	for _, mode := range modes() {
		t.Run(string(mode), func(t *testing.T) {
			bubbletest.Test(t, func(t *testing.T) {
				f := newFleet(t, 1)
				v := f.remote(public, remembers)
				live, ended := f.logIn(mode, "ada"), f.logIn(mode, "ada")
				want(t, "before", says(v, text(live)), "yes")
				want(t, "before", says(v, text(ended)), "yes")
				f.net.set(func(n *network) { n.cut["auth.example.com"] = true })
				_, err := f.nodes[0].auth.EndSession(t.Context(), ended.Session.ID, handstamp.EndOptions{})
				must(t, err)
				want(t, "within the lease", says(v, text(live)), "yes")
				time.Sleep(2 * time.Second)
				for range 5 {
					began := time.Now()
					want(t, "live, cut off", says(v, text(live)), "don't know")
					if took := time.Since(began); took > 3*time.Second {
						t.Errorf("the answer took %v", took)
					}
					want(t, "ended, cut off", says(v, text(ended)), "don't know")
				}
				f.net.set(func(n *network) { delete(n.cut, "auth.example.com") })
				eventually(t, 5*time.Second, v, text(live), "yes")
				eventually(t, time.Second, v, text(ended), refused(mode))
			})
		})
	}
}

// TestNodeWithoutLease: a node that lost sight of the log gives no lease. A Verifier that has another node goes there, and
// one that has none comes to know nothing.
func TestNodeWithoutLease(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2)
		alone, both := f.remote("https://a.test"), f.remote("https://a.test,https://b.test")
		g := f.logIn(handstamp.ModeToken, "ada")
		f.nodes[0].store.down.Store(true)
		time.Sleep(5 * time.Second)
		want(t, "at one node", says(alone, text(g)), "don't know")
		want(t, "at two nodes", says(both, text(g)), "yes")
		introspections := f.net.count("/v1/introspect")
		for range 20 {
			want(t, "at two nodes", says(both, text(g)), "yes")
			time.Sleep(100 * time.Millisecond)
		}
		if n := f.net.count("/v1/introspect"); n != introspections {
			t.Error("a Verifier with a node that holds a lease asks instead of answering from memory")
		}
		if _, err := f.nodes[1].auth.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, bound, both, text(g), "revoked")
		want(t, "at one node", says(alone, text(g)), "don't know")
		f.nodes[0].store.down.Store(false)
		eventually(t, 5*time.Second, alone, text(g), "revoked")
	})
}

// TestWaitFleet: who ends something and waits for the fleet waits for Verifiers in other services, too: a moment if they
// acknowledge, and never longer than a lease can last if they cannot be reached. After that they do not accept it.
func TestWaitFleet(t *testing.T) {
	for _, mode := range modes() {
		for _, cut := range []bool{false, true} {
			name := string(mode) + "/awake"
			if cut {
				name = string(mode) + "/cut off"
			}
			t.Run(name, func(t *testing.T) {
				bubbletest.Test(t, func(t *testing.T) {
					f := newFleet(t, 2)
					v := f.remote("https://a.test")
					for round := range 20 {
						g := f.logIn(mode, "ada")
						want(t, "before", says(v, text(g)), "yes")
						f.net.set(func(n *network) { n.cut["a.test"] = cut })
						time.Sleep(time.Duration(round) * 13 * time.Millisecond)
						began := time.Now()
						done, err := f.nodes[1].auth.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{WaitFleet: true})
						must(t, err)
						took := time.Since(began)
						if got := says(v, text(g)); got == "yes" {
							t.Fatalf("accepted after the fleet was waited for (%v)", took)
						}
						if limit := 2240*time.Millisecond + 500*time.Millisecond; took > limit || !cut && (took > 100*time.Millisecond || done.WaitedOut > 0) {
							t.Errorf("it took %v, %+v", took, done)
						}
						if cut && took < time.Second {
							t.Errorf("it took only %v though a verifier held a lease", took)
						}
						f.net.set(func(n *network) { n.cut["a.test"] = false })
						time.Sleep(3 * time.Second)
					}
				})
			})
		}
	}
}

// TestGuard: connections at another service end with their session, and with the news that it could not be found out.
func TestGuard(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2)
		v := f.remote("https://a.test")
		for _, mode := range modes() {
			g, stays := f.logIn(mode, "ada"), f.logIn(mode, "bob")
			guard := func(credential string) context.Context {
				p, err := v.VerifyToken(t.Context(), credential)
				must(t, err)
				ctx, cancel := v.Guard(t.Context(), p)
				t.Cleanup(cancel)
				return ctx
			}
			ends, goesOn := guard(text(g)), guard(text(stays))
			began := time.Now()
			_, err := f.nodes[1].auth.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{})
			must(t, err)
			<-ends.Done()
			if took := time.Since(began); took > streamBound {
				t.Errorf("%s: the connection ended after %v", mode, took)
			}
			if !errors.Is(context.Cause(ends), handstamp.ErrUnauthenticated) {
				t.Errorf("%s: the connection ended with %v", mode, context.Cause(ends))
			}
			time.Sleep(time.Minute)
			if goesOn.Err() != nil {
				t.Errorf("%s: somebody else's connection ended with %v", mode, context.Cause(goesOn))
			}
			f.net.set(func(n *network) { n.cut["a.test"] = true })
			<-goesOn.Done()
			if _, ok := errors.AsType[*handstamp.UnavailableError](context.Cause(goesOn)); !ok {
				t.Errorf("%s, cut off: the connection ended with %v", mode, context.Cause(goesOn))
			}
			f.net.set(func(n *network) { n.cut["a.test"] = false })
			time.Sleep(5 * time.Second)
		}
	})
}

// TestGuardAsks: a connection whose verifier lost the log and can still ask goes on while its session does.
func TestGuardAsks(t *testing.T) {
	for _, mode := range modes() {
		t.Run(string(mode), func(t *testing.T) {
			bubbletest.Test(t, func(t *testing.T) {
				f := newFleet(t, 1)
				v := f.remote(public)
				g := f.logIn(mode, "ada")
				p, err := v.VerifyToken(t.Context(), text(g))
				must(t, err)
				guarded, cancel := v.Guard(t.Context(), p)
				defer cancel()
				f.net.set(func(n *network) {
					n.hosts["auth.example.com"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if r.URL.Path == leasePath || r.URL.Path == streamPath {
							http.Error(w, "no", http.StatusServiceUnavailable)
							return
						}
						f.nodes[0].server.ServeHTTP(w, r)
					})
				})
				time.Sleep(10 * time.Second)
				if guarded.Err() != nil {
					t.Fatalf("a live session's connection ended with %v", context.Cause(guarded))
				}
				_, err = f.nodes[0].auth.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{})
				must(t, err)
				time.Sleep(5 * time.Second)
				if !errors.Is(context.Cause(guarded), handstamp.ErrUnauthenticated) {
					t.Errorf("an ended session's connection: %v", context.Cause(guarded))
				}
			})
		})
	}
}

// TestReset: after the log was replaced, nothing that was known before is believed.
func TestReset(t *testing.T) {
	for _, keep := range []bool{false, true} {
		bubbletest.Test(t, func(t *testing.T) {
			f := newFleet(t, 1)
			v := f.remote(public)
			var grants []handstamp.Grant
			for _, mode := range modes() {
				g := f.logIn(mode, "ada")
				grants = append(grants, g)
				want(t, "before", says(v, text(g)), "yes")
			}
			for range 10 { // the numbers go on, and the log behind them is another one
				_, err := f.store.Restored(t.Context(), keep, time.Now())
				must(t, err)
			}
			began := time.Now()
			introspections, read := f.net.count("/v1/introspect"), f.net.count(keysPath)
			for _, g := range grants {
				switch {
				case keep:
					time.Sleep(bound)
					eventually(t, bound, v, text(g), "yes")
				case g.Session.Mode == handstamp.ModeSession: // the server is asked, which says no more than no
					eventually(t, 2*bound, v, text(g), "invalid_token")
				default: // a good signature, and the new log's first event, which ended everybody
					eventually(t, 2*bound, v, text(g), "revoked")
				}
			}
			t.Logf("took %v", time.Since(began))
			if keep && f.net.count("/v1/introspect") == introspections {
				t.Error("copies outlived their log")
			}
			next := f.logIn(handstamp.ModeToken, "bob")
			want(t, "a session of the new log", says(v, text(next)), "yes")
			_, err := f.nodes[0].auth.EndSession(t.Context(), next.Session.ID, handstamp.EndOptions{})
			must(t, err)
			eventually(t, bound, v, text(next), "revoked")
			time.Sleep(time.Minute)
			if f.net.count(keysPath) == read {
				t.Error("the keys were not read again, though an event about one may have been missed")
			}
		})
	}
}

// TestRestart: a node that is replaced by another one, which has read the log from its beginning, serves on.
func TestRestart(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2)
		v := f.remote(public)
		g, ended := f.logIn(handstamp.ModeHybrid, "ada"), f.logIn(handstamp.ModeHybrid, "bob")
		want(t, "before", says(v, text(ended)), "yes")
		f.net.set(func(n *network) { n.refused["auth.example.com"] = true })
		_, err := f.nodes[1].auth.EndSession(t.Context(), ended.Session.ID, handstamp.EndOptions{})
		must(t, err)
		time.Sleep(700 * time.Millisecond)
		want(t, "meanwhile", says(v, text(g)), "yes")
		third := f.add("c.test")
		f.net.set(func(n *network) { delete(n.refused, "auth.example.com"); n.hosts["auth.example.com"] = third.server })
		eventually(t, bound, v, text(ended), "revoked")
		want(t, "afterwards", says(v, text(g)), "yes")
	})
}

// TestStepUp: the rules that an answer from memory cannot meet are asked about.
func TestStepUp(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		v := f.remote(public)
		for _, mode := range modes() {
			g := f.logIn(mode, "ada")
			want(t, string(mode)+", a new login", says(v, text(g), handstamp.MaxAuthAge(5*time.Minute)), "yes")
			time.Sleep(6 * time.Minute)
			want(t, string(mode)+", an old login", says(v, text(g), handstamp.MaxAuthAge(5*time.Minute)), "step_up_required")
			want(t, string(mode)+", fresh", says(v, text(g), handstamp.Fresh()), "yes")
		}
	})
}

// TestClose: a closed Verifier answers nothing from memory.
func TestClose(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		v, err := remote.OpenWith(t.Context(), public, f.key, remote.Options{Transport: f.net})
		must(t, err)
		g := f.logIn(handstamp.ModeToken, "ada")
		want(t, "open", says(v, text(g)), "yes")
		must(t, v.Close())
		before := f.net.count("/v1/introspect")
		want(t, "closed", says(v, text(g)), "yes")
		if f.net.count("/v1/introspect") == before {
			t.Error("a closed Verifier answered from memory")
		}
	})
}

// TestOpenEnds: a server that answers, and never so that a lease comes of it, does not keep Open for ever.
func TestOpenEnds(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		f.net.set(func(n *network) {
			n.hosts["auth.example.com"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				f.nodes[0].server.ServeHTTP(rec, r)
				w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
				w.WriteHeader(rec.Code)
				_, _ = io.WriteString(w, regexp.MustCompile(`"age_ms":\d+`).ReplaceAllString(rec.Body.String(), `"age_ms":60000`))
			})
		})
		began := time.Now()
		if _, err := f.tryRemote(public, f.key); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
