package login_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/login/logintest"
)

// TestProblemOf: each error of a login has its one answer, and what is not known is 503.
func TestProblemOf(t *testing.T) {
	for name, tc := range map[string]struct {
		err         error
		status      int
		code, field string
		retry       time.Duration
	}{
		"too many":       {&login.TooManyError{RetryAfter: 40 * time.Second}, 429, "too_many_attempts", "", 40 * time.Second},
		"nearly over":    {&login.TooManyError{RetryAfter: time.Millisecond}, 429, "too_many_attempts", "", time.Second},
		"input":          {&login.InputError{Field: "password", Message: "is short"}, 422, "invalid_input", "password", 0},
		"address":        {&account.AddressError{Problem: "has no @"}, 422, "invalid_input", "email", 0},
		"credentials":    {login.ErrInvalidCredentials, 401, "invalid_credentials", "", 0},
		"taken":          {handstamp.ErrTaken, 409, "email_taken", "", 0},
		"setup":          {login.ErrSetup, 401, "invalid_token", "", 0},
		"disabled":       {handstamp.ErrDisabled, 403, "account_disabled", "", 0},
		"a fault":        {errors.New("private"), 503, "unavailable", "", 2 * time.Second},
		"a busy queue":   {&handstamp.UnavailableError{RetryAfter: 5 * time.Second, Err: errors.New("private")}, 503, "unavailable", "", 5 * time.Second},
		"no error":       {nil, 503, "unavailable", "", 2 * time.Second},
		"proof outdated": {handstamp.ErrProofOutdated, 503, "unavailable", "", 2 * time.Second},
	} {
		errs := []error{tc.err}
		if tc.err != nil {
			errs = append(errs, fmt.Errorf("private: %w", tc.err))
		}
		for _, err := range errs {
			p := login.ProblemOf(err)
			field := ""
			if len(p.Errors) == 1 {
				field = p.Errors[0].Field
			}
			if p.Status != tc.status || p.Code != tc.code || field != tc.field || p.RetryAfter != tc.retry || p.Title == "" || p.Detail == "" {
				t.Errorf("%s: %+v", name, p)
			}
			if strings.Contains(fmt.Sprintf("%+v", p), "private") {
				t.Errorf("%s: the cause is shown: %+v", name, p)
			}
		}
	}
}

// TestP11_TheBudgetIsTen where nothing else is asked for, and what was asked for otherwise, from one to a million.
func TestP11_TheBudgetIsTen(t *testing.T) {
	for asked, want := range map[int]int{0: 10, 1: 1, 2: 2, 1_000_000: 50} {
		f := newFake(t, logintest.NewWorld(t))
		var err error
		if f.w.Flow, err = login.New(f.w.Auth, f.w.Store, login.Options{MaxFailures: asked}); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			_, _ = f.login(t.Context(), logintest.Owner, "wrong", "192.0.2.1")
		}
		if got := f.checks.Load(); got != uint64(want) {
			t.Errorf("MaxFailures %d: %d checks, want %d", asked, got, want)
		}
	}
}

// TestFinishIsPartOfTheLogin: it runs once, after a right credential only; if it fails, nothing of the login happened.
func TestFinishIsPartOfTheLogin(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	ran := 0
	var fails error
	try := func(ok bool, verify error) (handstamp.Grant, error) {
		a := f.attempt(logintest.Owner, "right")
		a.Verify = func(context.Context, handstamp.UserID) (login.Verified, error) {
			return login.Verified{OK: ok, Finish: func(context.Context, login.Tx) error { ran++; return fails }}, verify
		}
		return f.w.Flow.Login(t.Context(), a, handstamp.StartOptions{Client: handstamp.Client{IP: "192.0.2.1"}, Transport: handstamp.TransportBearer})
	}
	sessions := func(want int) {
		t.Helper()
		if live, err := f.w.Auth.Sessions(t.Context(), handstamp.SessionFilter{}); err != nil || len(live) != want {
			t.Errorf("%d sessions, want %d, %v", len(live), want, err)
		}
	}
	if _, err := try(false, nil); !errors.Is(err, login.ErrInvalidCredentials) || ran != 0 {
		t.Errorf("a wrong credential: %v, ran %d times", err, ran)
	}
	boom := errors.New("boom")
	if _, err := try(true, boom); !errors.Is(err, boom) || errors.Is(err, login.ErrInvalidCredentials) || ran != 0 {
		t.Errorf("a check that could not be made: %v, ran %d times", err, ran)
	}
	fails = boom
	if _, err := try(true, nil); !errors.Is(err, boom) || ran != 1 {
		t.Errorf("a failing end: %v, ran %d times", err, ran)
	}
	sessions(0)
	fails = nil
	g, err := try(true, nil)
	if err != nil || ran != 2 {
		t.Fatalf("%v, ran %d times", err, ran)
	}
	sessions(1)
	if g.Session.User != f.owner || g.Session.IP != "192.0.2.1" || g.Session.Transport != handstamp.TransportBearer || !slices.Equal(g.Session.Methods, []string{"fake"}) {
		t.Errorf("the session is %+v", g.Session)
	}
}

// TestProveSaysWho: what was proved carries the user, the method and the client, for the caller's own unit of work.
func TestProveSaysWho(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	c := handstamp.Client{IP: "192.0.2.1", UserAgent: "browser"}
	p, err := f.w.Flow.Prove(t.Context(), f.attempt(logintest.Owner, "right"), c)
	if err != nil || p.Proof.User() != f.owner || p.Proof.Client != c || !slices.Equal(p.Proof.Methods, []string{"fake"}) {
		t.Errorf("%+v, %v", p.Proof, err)
	}
	for _, who := range []logintest.Who{logintest.Owner, logintest.Stranger} {
		p, err := f.w.Flow.Prove(t.Context(), f.attempt(who, "wrong"), c)
		if !errors.Is(err, login.ErrInvalidCredentials) || p.Proof.User() != "" || p.Settle(t.Context(), nil) == nil {
			t.Errorf("%v: %v", who, err)
		}
	}
}
