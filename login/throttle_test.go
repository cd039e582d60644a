package login_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/login/logintest"
	"github.com/handstamp/handstamp/token"
)

// useUp leaves strangers without any try at an account: its budget and what is let through beside it are gone.
func (f *fake) useUp(t testing.TB, who logintest.Who) {
	t.Helper()
	for i := range 60 {
		_, _ = f.login(t.Context(), who, "wrong", fmt.Sprintf("198.51.100.%d", i))
	}
	if _, err := f.login(t.Context(), who, "right", "203.0.113.99"); !tooMany(err) {
		t.Fatalf("a stranger after 60 others: %v", err)
	}
}

func tooMany(err error) bool {
	_, ok := errors.AsType[*login.TooManyError](err)
	return ok
}

func (f *fake) welcome(t testing.TB, account, ip string, end error) {
	t.Helper()
	err := f.w.Store.LoginWork().Do(t.Context(), func(tx login.Tx) error {
		return errors.Join(f.w.Flow.Welcome(t.Context(), tx, account, handstamp.Client{IP: ip}), end)
	})
	if !errors.Is(err, end) {
		t.Fatal(err)
	}
}

// TestP12_ASignUpMakesItsNetworkKnown: who signed up somewhere gets in from there although strangers use the account's
// budget up, for ninety days; only there, only to that account, and no more often than a budget allows.
func TestP12_ASignUpMakesItsNetworkKnown(t *testing.T) {
	const home, days = "192.0.2.50", 90 * 24 * time.Hour
	t.Run("from there", func(t *testing.T) {
		f := newFake(t, logintest.NewWorld(t))
		f.welcome(t, "owner", home, nil)
		f.useUp(t, logintest.Owner)
		if _, err := f.login(t.Context(), logintest.Owner, "right", home); err != nil {
			t.Fatalf("the network of the sign-up: %v", err)
		}
	})
	t.Run("with a budget", func(t *testing.T) {
		f := newFake(t, logintest.NewWorld(t))
		f.welcome(t, "owner", home, nil)
		f.useUp(t, logintest.Owner)
		for i := range logintest.MaxFailures {
			if _, err := f.login(t.Context(), logintest.Owner, "wrong", home); !errors.Is(err, login.ErrInvalidCredentials) {
				t.Fatalf("try %d: %v", i, err)
			}
		}
		if _, err := f.login(t.Context(), logintest.Owner, "right", home); !tooMany(err) {
			t.Errorf("one try more than the budget: %v", err)
		}
	})
	t.Run("not from elsewhere, not to others", func(t *testing.T) {
		f := newFake(t, logintest.NewWorld(t))
		f.welcome(t, "owner", home, nil)
		f.useUp(t, logintest.Owner)
		if _, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.51"); !tooMany(err) {
			t.Errorf("the network beside it: %v", err)
		}
		f.useUp(t, logintest.Stranger)
		if _, err := f.login(t.Context(), logintest.Stranger, "right", home); !tooMany(err) {
			t.Errorf("another account: %v", err)
		}
	})
	t.Run("not by a sign-up that failed", func(t *testing.T) {
		f := newFake(t, logintest.NewWorld(t))
		f.welcome(t, "owner", home, errors.New("boom"))
		f.useUp(t, logintest.Owner)
		if _, err := f.login(t.Context(), logintest.Owner, "right", home); !tooMany(err) {
			t.Errorf("the unit was undone: %v", err)
		}
	})
	for after, known := range map[time.Duration]bool{days - time.Second: true, days: false} {
		t.Run(fmt.Sprintf("known after %v is %v", after, known), func(t *testing.T) {
			f := newFake(t, logintest.NewWorld(t))
			f.welcome(t, "owner", home, nil)
			f.w.Advance(after)
			f.useUp(t, logintest.Owner)
			if _, err := f.login(t.Context(), logintest.Owner, "right", home); (err == nil) != known || !known && !tooMany(err) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestP12_ALoginMakesItsNetworkKnown, as a sign-up does.
func TestP12_ALoginMakesItsNetworkKnown(t *testing.T) {
	const home, days = "192.0.2.50", 90 * 24 * time.Hour
	for after, known := range map[time.Duration]bool{0: true, days - time.Second: true, days: false} {
		f := newFake(t, logintest.NewWorld(t))
		if _, err := f.login(t.Context(), logintest.Owner, "right", home); err != nil {
			t.Fatal(err)
		}
		f.w.Advance(after)
		f.useUp(t, logintest.Owner)
		if _, err := f.login(t.Context(), logintest.Owner, "right", home); (err == nil) != known {
			t.Errorf("%v later: %v", after, err)
		}
	}
}

// TestP11_AGoodLoginClearsTheBudget of its account for everybody, and gives its network one try back.
func TestP11_AGoodLoginClearsTheBudget(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	wrong := func(ip string, want bool) {
		t.Helper()
		if _, err := f.login(t.Context(), logintest.Owner, "wrong", ip); errors.Is(err, login.ErrInvalidCredentials) != want || !want && !tooMany(err) {
			t.Errorf("from %s: %v", ip, err)
		}
	}
	for range logintest.MaxFailures - 1 {
		wrong("198.51.100.1", true)
	}
	if _, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	for range logintest.MaxFailures { // a stranger finds the whole budget, and not more
		wrong("198.51.100.2", true)
	}
	wrong("198.51.100.2", false)

	f = newFake(t, logintest.NewWorld(t))
	other := func(account string, want bool) {
		t.Helper()
		a := f.attempt(logintest.Stranger, "wrong")
		a.Account = account
		_, err := f.w.Flow.Login(t.Context(), a, handstamp.StartOptions{Client: handstamp.Client{IP: "192.0.2.1"}})
		if errors.Is(err, login.ErrInvalidCredentials) != want || !want && !tooMany(err) {
			t.Errorf("%s: %v", account, err)
		}
	}
	for i := range logintest.MaxFailures - 1 {
		other(fmt.Sprint(i), true)
	}
	if _, err := f.login(t.Context(), logintest.Owner, "right", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	other("one more", true)
	other("too many", false)
}

// TestP16_CheckSetupTakesNothing: it says whether a link would be taken, as often as it is asked, until it is.
func TestP16_CheckSetupTakesNothing(t *testing.T) {
	f := newFake(t, logintest.NewWorld(t))
	check := func(s token.Secret, want error) {
		t.Helper()
		if err := f.w.Flow.CheckSetup(t.Context(), s); !errors.Is(err, want) {
			t.Errorf("CheckSetup = %v, want %v", err, want)
		}
	}
	secret, err := f.w.Flow.NewSetup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		check(secret, nil)
	}
	check(token.Secret{}, login.ErrSetup)
	check(token.Generate(token.Setup), login.ErrSetup)
	check(token.Generate(token.Reference), login.ErrSetup)
	f.w.Advance(login.SetupLife - time.Nanosecond)
	check(secret, nil)
	f.w.Advance(time.Nanosecond)
	check(secret, login.ErrSetup)
	if secret, err = f.w.Flow.NewSetup(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = f.w.Store.LoginWork().Do(t.Context(), func(tx login.Tx) error {
		return f.w.Flow.TakeSetup(t.Context(), tx, secret, handstamp.Client{})
	})
	if err != nil {
		t.Fatal(err)
	}
	check(secret, login.ErrSetup)
}

// TestKnownNetworkExpiresForGood: a failed try after ninety days does not make a network known again.
func TestKnownNetworkExpiresForGood(t *testing.T) {
	const home = "192.0.2.50"
	f := newFake(t, logintest.NewWorld(t))
	f.welcome(t, "owner", home, nil)
	f.w.Advance(90 * 24 * time.Hour)
	if _, err := f.login(t.Context(), logintest.Owner, "wrong", home); !errors.Is(err, login.ErrInvalidCredentials) {
		t.Fatal(err)
	}
	f.useUp(t, logintest.Owner)
	if _, err := f.login(t.Context(), logintest.Owner, "right", home); !tooMany(err) {
		t.Errorf("a failed try revived it: %v", err)
	}
}
