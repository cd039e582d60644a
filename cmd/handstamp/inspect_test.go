package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/token"
)

// place is an installation without a server: tests do to it what a server would have done, at the time they like.
type place struct {
	t   *testing.T
	env []string
}

func newPlace(t *testing.T, env ...string) *place {
	t.Helper()
	return &place{t, append(append(cheap(), "HANDSTAMP_DATA_DIR="+t.TempDir()), env...)}
}

// at opens the installation as a server would at a time, and hands it to do.
func (p *place) at(now time.Time, do func(e *engine, cfg *config.Config)) {
	p.t.Helper()
	a := &app{environ: p.env}
	cfg, _, err := a.settings()
	if err != nil {
		p.t.Fatal(err)
	}
	began := time.Now()
	e, err := openEngine(context.Background(), cfg, discard(), func() time.Time { return now.Add(time.Since(began)) })
	if err != nil {
		p.t.Fatal(err)
	}
	do(e, cfg)
	if err := e.end(); err != nil {
		p.t.Fatal(err)
	}
}

// login makes a user and a session of a mode.
func (p *place) login(e *engine, email string, mode handstamp.Mode) handstamp.Grant {
	p.t.Helper()
	address, err := account.ParseAddress(email)
	if err != nil {
		p.t.Fatal(err)
	}
	_, g, err := e.passwords.SignUp(context.Background(), login.SignUp{
		Email: address, Password: goodPassword,
		Start: handstamp.StartOptions{Mode: mode, Transport: handstamp.TransportBearer, Client: handstamp.Client{IP: "192.0.2.7"}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return g
}

// run runs a command in this process.
func (p *place) run(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, &app{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, environ: p.env})
	return code, out.String(), errs.String()
}

func (p *place) inspect(credential token.Secret) (in inspection, text string) {
	p.t.Helper()
	code, out, errs := p.run(credential.Reveal(), "inspect", "--json")
	if code != 0 {
		p.t.Fatalf("inspect: exit %d: %s", code, errs)
	}
	if err := json.Unmarshal([]byte(out), &in); err != nil {
		p.t.Fatal(err)
	}
	code, text, errs = p.run(credential.Reveal(), "inspect")
	if code != 0 {
		p.t.Fatalf("inspect: exit %d: %s", code, errs)
	}
	if secret := credential.Reveal(); strings.Contains(out+text+errs, secret) || strings.Contains(out+text+errs, secret[len(secret)-24:]) {
		p.t.Error("the answer holds the credential")
	}
	return in, text
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *stamp) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, (*time.Time)(s)) }

// must ends the test for an error.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Every kind of credential in every state: good, run out, ended in each way.
func TestInspect(t *testing.T) {
	ctx, now := context.Background(), time.Now()
	session, value, hybrid := handstamp.ModeSession, handstamp.ModeToken, handstamp.ModeHybrid
	access := func(g handstamp.Grant) token.Secret { return g.AccessToken }
	refresh := func(g handstamp.Grant) token.Secret { return g.RefreshToken }
	endSession := func(e *engine, g handstamp.Grant) (handstamp.Ended, error) {
		return e.auth.EndSession(ctx, g.Session.ID, cliEnd("lost phone"))
	}
	for _, c := range []struct {
		name    string
		mode    handstamp.Mode
		of      func(handstamp.Grant) token.Secret
		ago     time.Duration // of the login
		after   func(e *engine, g handstamp.Grant) (handstamp.Ended, error)
		code    string // empty: accepted
		check   string
		reason  string
		noEvent bool
	}{
		{"good session token", session, access, time.Minute, nil, "", "", "", true},
		{"good value token", value, access, time.Minute, nil, "", "", "", true},
		{"good access token", hybrid, access, time.Minute, nil, "", "", "", true},
		{"good refresh token", hybrid, refresh, time.Minute, nil, "", "", "", true},
		{"idle session", session, access, 25 * time.Hour, nil, "expired", "idle_end", "", true},
		{"old session", session, access, 721 * time.Hour, nil, "expired", "absolute_end", "", true},
		{"old value token", value, access, time.Hour, nil, "expired", "expiry", "", true},
		{"old access token", hybrid, access, time.Hour, nil, "expired", "expiry", "", true},
		{"idle refresh token", hybrid, refresh, 721 * time.Hour, nil, "expired", "idle_end", "", true},
		{"ended session", session, access, time.Minute, endSession, "revoked", "session_ended", "lost phone", false},
		{"value token of an ended session", value, access, time.Minute, endSession, "revoked", "event", "lost phone", false},
		{"refresh token of an ended session", hybrid, refresh, time.Minute, endSession, "revoked", "session_ended", "lost phone", false},
		{"ended user", session, access, time.Minute, func(e *engine, g handstamp.Grant) (handstamp.Ended, error) {
			return e.auth.EndUser(ctx, g.Session.User, cliEnd("stolen"))
		}, "revoked", "user_ended", "stolen", false},
		{"refresh token of an ended user", hybrid, refresh, time.Minute, func(e *engine, g handstamp.Grant) (handstamp.Ended, error) {
			return e.auth.EndUser(ctx, g.Session.User, cliEnd("stolen"))
		}, "revoked", "user_ended", "stolen", false},
		{"disabled user", session, access, time.Minute, func(e *engine, g handstamp.Grant) (handstamp.Ended, error) {
			return e.accounts.SetDisabled(ctx, g.Session.User, true, cliEnd(""))
		}, "revoked", "user_ended", "disabled", false},
		{"everybody ended", session, access, time.Minute, func(e *engine, _ handstamp.Grant) (handstamp.Ended, error) {
			return e.auth.EndAll(ctx, cliEnd("incident"))
		}, "revoked", "all_ended", "", false},
		{"changed roles", value, access, time.Minute, func(e *engine, g handstamp.Grant) (handstamp.Ended, error) {
			return e.accounts.SetRoles(ctx, g.Session.User, []string{"admin"}, cliEnd(""))
		}, "stale_token", "changed", "", false},
		{"revoked signing key", value, access, time.Minute, func(e *engine, _ handstamp.Grant) (handstamp.Ended, error) {
			return e.auth.EndKey(ctx, e.ring.List()[0].ID, cliEnd("leaked"))
		}, "revoked", "signing_key", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			var g handstamp.Grant
			p.at(now.Add(-c.ago), func(e *engine, _ *config.Config) { g = p.login(e, "ada@example.com", c.mode) })
			var ended handstamp.Ended
			if c.after != nil {
				p.at(now, func(e *engine, _ *config.Config) { ended = must[handstamp.Ended](t)(c.after(e, g)) })
			}
			in, text := p.inspect(c.of(g))
			if in.Accepted != (c.code == "") || in.Code != c.code || in.Check != c.check || in.Reason != c.reason {
				t.Errorf("got accepted %v, code %q, check %q, reason %q\n%s", in.Accepted, in.Code, in.Check, in.Reason, text)
			}
			if want := ended.By; in.Event != want || (want == 0) != c.noEvent {
				t.Errorf("event %d, want %d", in.Event, want)
			}
			if c.code != "" && c.check != "changed" && in.Since == nil {
				t.Errorf("it does not say since when\n%s", text)
			}
			if in.Session == nil && c.check != "signing_key" || in.Session != nil && in.Session.ID != g.Session.ID {
				t.Errorf("the session is %+v", in.Session)
			}
			if in.User != g.Session.User && c.check != "signing_key" {
				t.Errorf("the user is %q", in.User)
			}
		})
	}
}

// A refresh token in all its states: current, used a moment ago, spent, of another family, of another installation.
func TestInspect_refresh(t *testing.T) {
	ctx, now := context.Background(), time.Now()
	p := newPlace(t)
	var first, second, third handstamp.Grant
	p.at(now.Add(-time.Hour), func(e *engine, _ *config.Config) {
		first = p.login(e, "ada@example.com", handstamp.ModeHybrid)
		second = must[handstamp.Grant](t)(e.auth.Refresh(ctx, handstamp.RefreshRequest{Token: first.RefreshToken}))
	})
	p.at(now.Add(-time.Second), func(e *engine, _ *config.Config) {
		third = must[handstamp.Grant](t)(e.auth.Refresh(ctx, handstamp.RefreshRequest{Token: second.RefreshToken}))
	})
	expect := func(name string, g handstamp.Grant, accepted bool, check, words string) {
		t.Helper()
		if in, text := p.inspect(g.RefreshToken); in.Accepted != accepted || in.Check != check || !strings.Contains(text, words) {
			t.Errorf("%s: accepted %v, check %q\n%s", name, in.Accepted, in.Check, text)
		}
	}
	expect("current", third, true, "", "the current one")
	expect("a moment ago", second, true, "", "within refresh.grace")
	expect("spent", first, false, "generation", "one of the two was stolen")
	expect("current still", third, true, "", "the current one") // looking at a spent one ended nothing
	p.at(now, func(e *engine, _ *config.Config) {
		_, _ = must2(t)(e.passwords.Change(ctx, login.Change{User: third.Session.User, Session: third.Session.ID, Current: goodPassword, New: goodPassword + "-2"}))
	})
	expect("before new secrets", third, false, "family", "new secrets")

	foreign := newPlace(t)
	foreign.at(now, func(e *engine, _ *config.Config) { third = foreign.login(e, "eve@example.com", handstamp.ModeHybrid) })
	expect("foreign", third, false, "refresh_mac", "foreign, forged")
	if in, _ := p.inspect(third.AccessToken); in.Accepted || in.Check != "key" || in.Value == nil || in.Value.Verified {
		t.Errorf("a foreign value token: accepted %v, check %q, %+v", in.Accepted, in.Check, in.Value)
	}
}

func must2(t *testing.T) func(handstamp.Grant, handstamp.Ended, error) (handstamp.Grant, handstamp.Ended) {
	return func(g handstamp.Grant, e handstamp.Ended, err error) (handstamp.Grant, handstamp.Ended) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return g, e
	}
}

// A service key that is good, has run out, and was deleted.
func TestInspect_service_key(t *testing.T) {
	ctx, now := context.Background(), time.Now()
	p := newPlace(t)
	var good, old, gone token.Secret
	add := func(e *engine, name string, end time.Time) (handstamp.ServiceKey, token.Secret) {
		k, s, err := e.accounts.AddServiceKey(ctx, account.NewServiceKey{Name: name, Permissions: []string{"posts:read"}, ExpiresAt: end}, cliClient())
		if err != nil {
			t.Fatal(err)
		}
		return k, s
	}
	p.at(now.Add(-time.Hour), func(e *engine, _ *config.Config) {
		_, good = add(e, "good", time.Time{})
		_, old = add(e, "old", now.Add(-time.Minute))
		k, s := add(e, "gone", time.Time{})
		gone = s
		must[handstamp.Ended](t)(e.auth.EndServiceKey(ctx, k.ID, cliEnd("not needed")))
	})
	for _, c := range []struct {
		key         token.Secret
		accepted    bool
		code, words string
	}{{good, true, "", "may posts:read"}, {old, false, "expired", "has run out"}, {gone, false, "revoked", "was deleted"}} {
		if in, text := p.inspect(c.key); in.Accepted != c.accepted || in.Code != c.code || !strings.Contains(text, c.words) || in.ServiceKey == nil {
			t.Errorf("%s: accepted %v, code %q\n%s", c.words, in.Accepted, in.Code, text)
		}
	}
}

// An encrypted token is opened with the installation's key, and what somebody hid in it stays hidden.
func TestInspect_encrypted(t *testing.T) {
	p := newPlace(t, "HANDSTAMP_TOKEN_ENCRYPT=true")
	var g handstamp.Grant
	p.at(time.Now(), func(e *engine, _ *config.Config) { g = p.login(e, "ada@example.com", handstamp.ModeToken) })
	in, text := p.inspect(g.AccessToken)
	if !in.Accepted || in.Value == nil || !in.Value.Encrypted || !in.Value.Verified || in.Value.Session != string(g.Session.ID) {
		t.Errorf("accepted %v, %+v\n%s", in.Accepted, in.Value, text)
	}
}

// A command beside a server makes no keys, settles nothing and leaves no verifier behind.
func TestCommands_leave_no_trace(t *testing.T) {
	ctx := context.Background()
	p := newPlace(t)
	for _, args := range [][]string{{"migrate"}, {"user", "add", "--email", "ada@example.com"}, {"session", "list"}, {"session", "revoke", "--all", "--wait"}} {
		if code, _, errs := p.run("", args...); code != 0 {
			t.Fatalf("%v: %s", args, errs)
		}
	}
	p.env = append(p.env, "HANDSTAMP_REVOCATION_LEASE=5s") // the first server's lease counts, not the first command's
	p.at(time.Now(), func(e *engine, _ *config.Config) {
		keys := len(e.ring.List())
		for _, args := range [][]string{{"key", "list"}, {"inspect", "hs_s_x"}, {"user", "list"}} {
			if code, _, errs := p.run("", args...); code != 0 {
				t.Fatalf("%v: %s", args, errs)
			}
		}
		if err := e.ring.Reload(ctx); err != nil {
			t.Fatal(err)
		}
		if got := len(e.ring.List()); got != keys {
			t.Errorf("%d keys became %d", keys, got)
		}
		if regs := must[int](t)(func() (int, error) { l, err := e.store.Log().Registered(ctx); return len(l), err }()); regs != 1 {
			t.Errorf("%d verifiers are registered", regs)
		}
	})
	p.env = p.env[:len(p.env)-1] // another lease on the command line is no reason to refuse it
	if code, _, errs := p.run("", "session", "list"); code != 0 {
		t.Errorf("with another lease: %s", errs)
	}
}
