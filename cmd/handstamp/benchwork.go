package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/token"
)

// checkSessions is how many sessions the checks of one form are about, in turn.
const checkSessions = 64

// start begins a session of a user without looking at a password.
func (r *rig) start(ctx context.Context, n int, mode handstamp.Mode) (handstamp.Grant, error) {
	p, err := r.auth.Prove(ctx, r.users[n%len(r.users)].id)
	if err != nil {
		return handstamp.Grant{}, err
	}
	p.Methods, p.Mode, p.Transport, p.Client = []string{"pwd"}, mode, handstamp.TransportBearer, benchClient()
	g, err := r.auth.Start(ctx, p)
	if err != nil {
		return handstamp.Grant{}, fmt.Errorf("start a session to measure with: %w", err)
	}
	return g, nil
}

// checks are the steps of bench check.
func (b *bench) checks(ctx context.Context, mode handstamp.Mode) ([]trial, error) {
	b.bar.draw("check: starting sessions of the form " + string(mode))
	texts := make([]string, checkSessions)
	for n := range texts {
		g, err := b.rig.start(ctx, n, mode)
		if err != nil {
			return nil, err
		}
		texts[n] = g.AccessToken.Reveal()
	}
	var steps []trial
	for _, over := range []string{overProcess, overHTTP} {
		for _, from := range []string{fromMemory, fromStore} {
			s := b.trial("check", string(mode), over)
			s.from = from
			s.worker = func(n int) func(context.Context) error {
				check := b.rig.checker(over, from)
				return func(ctx context.Context) error {
					n++
					return check(ctx, texts[n%len(texts)])
				}
			}
			steps = append(steps, s)
		}
	}
	return steps, nil
}

// checker is one way to check a credential.
func (r *rig) checker(over, from string) func(ctx context.Context, text string) error {
	if over == overProcess {
		var rules []handstamp.Rule
		if from == fromStore {
			rules = append(rules, handstamp.Fresh())
		}
		return func(ctx context.Context, text string) error {
			_, err := r.auth.CheckToken(ctx, text, rules...)
			return err
		}
	}
	path := "/v1/check"
	if from == fromStore {
		path += "?fresh=true"
	}
	return func(ctx context.Context, text string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+path, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+text)
		return r.ask(req, nil)
	}
}

// loginHash is the name of the trial that is the hash of a login alone.
const loginHash = "login_hash"

// logins are the steps of bench login. The first is the hash alone, in the same queue and with as many at once, so that it
// can be said what part of a login it is.
func (b *bench) logins(modes []handstamp.Mode) []trial {
	alone := b.trial(loginHash, "", overProcess)
	alone.worker = func(int) func(context.Context) error {
		return func(ctx context.Context) error {
			return verified(b.rig.hasher.Verify(ctx, b.rig.stored, b.rig.secret))
		}
	}
	steps := []trial{alone}
	for _, mode := range modes {
		for _, over := range []string{overProcess, overHTTP} {
			s := b.trial("login", string(mode), over)
			s.worker = func(n int) func(context.Context) error {
				if over == overHTTP {
					return b.rig.logInByHTTP(b.rig.users[n], mode)
				}
				return func(ctx context.Context) error {
					_, err := b.rig.passwords.Login(ctx, b.rig.users[n].email, b.rig.typed, handstamp.StartOptions{
						Mode: mode, Transport: handstamp.TransportBearer, Client: handstamp.Client{IP: "127.0.0.1", UserAgent: "handstamp bench"},
					})
					return err
				}
			}
			steps = append(steps, s)
		}
	}
	return steps
}

func (r *rig) logInByHTTP(u benchUser, mode handstamp.Mode) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		return r.post(ctx, "/v1/login", map[string]string{
			"email": string(u.email), "password": r.typed, "mode": string(mode), "transport": string(handstamp.TransportBearer),
		}, nil)
	}
}

// leastRefreshed is how many sessions are refreshed side by side, at least.
const leastRefreshed = 64

// refreshes are the steps of bench refresh. Each worker has sessions of its own and takes them in turn; the token of a
// refresh is what the one before gave.
func (b *bench) refreshes(ctx context.Context) ([]trial, error) {
	b.bar.draw("refresh: starting sessions")
	each := max(2, (leastRefreshed+b.atOnce-1)/b.atOnce)
	tokens := make([][]token.Secret, b.atOnce)
	for n := range tokens {
		for range each {
			g, err := b.rig.start(ctx, n, handstamp.ModeHybrid)
			if err != nil {
				return nil, err
			}
			tokens[n] = append(tokens[n], g.RefreshToken)
		}
	}
	var steps []trial
	for _, over := range []string{overProcess, overHTTP} {
		s := b.trial("refresh", string(handstamp.ModeHybrid), over)
		s.worker = func(n int) func(context.Context) error {
			own, turn := tokens[n], 0
			return func(ctx context.Context) (err error) {
				turn++
				at := &own[turn%len(own)]
				*at, err = b.rig.refresh(ctx, over, *at)
				return err
			}
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// refresh gives the next refresh token, or the one that is still good.
func (r *rig) refresh(ctx context.Context, over string, is token.Secret) (token.Secret, error) {
	if over == overProcess {
		g, err := r.auth.Refresh(ctx, handstamp.RefreshRequest{Token: is, Client: benchClient()})
		if err != nil {
			return is, err
		}
		return g.RefreshToken, nil
	}
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := r.post(ctx, "/v1/refresh", map[string]string{"refresh_token": is.Reveal()}, &answer); err != nil {
		return is, err
	}
	return token.NewSecret(answer.RefreshToken), nil
}

// post sends an object to the server.
func (r *rig) post(ctx context.Context, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	return r.ask(req, into)
}

// mostAnswer is more than any answer to what is asked here.
const mostAnswer = 64 << 10

// ask sends a request, and reads the answer to its end, so that the connection is used again. Every status but 200 is an
// error, which says the problem's code (RFC 9457) and nothing of what was sent.
func (r *rig) ask(req *http.Request, into any) error {
	answer, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswer))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		var problem struct {
			Code string `json:"code"`
		}
		_ = json.Unmarshal(body, &problem) // a status without a problem says enough
		return fmt.Errorf("%s was answered with %d %s", req.URL.Path, answer.StatusCode, problem.Code)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// trial is a trial with what all of them have in common.
func (b *bench) trial(name, form, over string) trial {
	return trial{name: name, form: form, over: over, atOnce: b.atOnce, length: b.opt.For}
}

// errNoRefresh says that refreshing is not offered.
var errNoRefresh = errors.New("modes does not have hybrid, and only sessions of that form are refreshed")

// refreshing reports whether there is anything to refresh.
func refreshing(modes []handstamp.Mode) bool { return slices.Contains(modes, handstamp.ModeHybrid) }
