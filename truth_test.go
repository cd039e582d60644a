package handstamp_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
)

var errDown = errors.New("the store is down")

// cutLog makes a node lose its connection to the log, and nothing else, until its lease has lapsed.
func (e *engine) cutLog() {
	e.store.set(func(op string, call func() error) error {
		if strings.HasPrefix(op, "log.") {
			return errDown
		}
		return call()
	})
	time.Sleep(3 * time.Second)
}

// scene is what a row of the truth table happens to.
type scene struct {
	e        *engine
	accounts *account.Accounts
	user     handstamp.UserID
	mine     handstamp.Grant // the credential that is judged
	other    handstamp.Grant // another session of the same user
	stranger handstamp.Grant // another user's
}

// subject writes a row as package account does, also of a user whom no account knows.
func (s scene) subject(t testing.TB, change func(*handstamp.Subject), effect revoke.Effect) {
	t.Helper()
	ctx := context.Background()
	_, err := handstamp.Do(ctx, s.e.Auth, s.e.store.Work(), func(tx handstamp.Tx) (handstamp.Appended, error) {
		sub, err := tx.Subject(ctx, s.user)
		if err != nil {
			return handstamp.Appended{}, err
		}
		change(&sub)
		if err := tx.PutSubject(ctx, sub); err != nil {
			return handstamp.Appended{}, err
		}
		return tx.Append(ctx, s.e.Event(revoke.KindUser, string(s.user), effect, "test"))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s scene) renew(t testing.TB, g handstamp.Grant, endOthers string) {
	t.Helper()
	ctx := context.Background()
	r := must[*handstamp.Renewing](t)(s.e.PrepareRenew(ctx, g.Session.ID, s.e.prove(t, s.user, "")))
	r.EndOthers = endOthers
	_, err := handstamp.Do(ctx, s.e.Auth, s.e.store.Work(), func(tx handstamp.Tx) (handstamp.Appended, error) { return r.In(ctx, tx) })
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.e.verify(must[handstamp.Grant](t)(r.Grant(ctx)))
	wantVerdict(t, err, "yes")
}

// truth is one row: what happens, and what is said of a credential from before, by its form.
type truth struct {
	what             string
	reference, value string
	do               func(t testing.TB, s scene)
	ownOnly          bool // needs an account
}

func truths() []truth {
	ctx := context.Background()
	end := func(t testing.TB) func(handstamp.Ended, error) handstamp.Ended { return must[handstamp.Ended](t) }
	return []truth{
		{what: "nothing", reference: "yes", value: "yes", do: func(testing.TB, scene) {}},
		{what: "session end", reference: "revoked", value: "revoked", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndSession(ctx, s.mine.Session.ID, handstamp.EndOptions{}))
		}},
		{what: "end of another session", reference: "yes", value: "yes", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndSession(ctx, s.other.Session.ID, handstamp.EndOptions{}))
		}},
		{what: "user end", reference: "revoked", value: "revoked", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndUser(ctx, s.user, handstamp.EndOptions{}))
		}},
		{what: "user end but for this session", reference: "yes", value: "yes", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndUser(ctx, s.user, handstamp.EndOptions{Except: s.mine.Session.ID}))
		}},
		{what: "user end but for another session", reference: "revoked", value: "revoked", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndUser(ctx, s.user, handstamp.EndOptions{Except: s.other.Session.ID}))
		}},
		{what: "user end but for a stranger's session", reference: "revoked", value: "revoked", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndUser(ctx, s.user, handstamp.EndOptions{Except: s.stranger.Session.ID}))
		}},
		{what: "user end but for this session, twice", reference: "yes", value: "yes", do: func(t testing.TB, s scene) {
			for range 2 {
				end(t)(s.e.EndUser(ctx, s.user, handstamp.EndOptions{Except: s.mine.Session.ID}))
			}
		}},
		{what: "user end but for another session, then but for this", reference: "revoked", value: "revoked", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndUser(ctx, s.user, handstamp.EndOptions{Except: s.other.Session.ID}))
			end(t)(s.e.EndUser(ctx, s.user, handstamp.EndOptions{Except: s.mine.Session.ID}))
		}},
		{what: "user end but for this session, then user end", reference: "revoked", value: "revoked", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndUser(ctx, s.user, handstamp.EndOptions{Except: s.mine.Session.ID}))
			end(t)(s.e.EndUser(ctx, s.user, handstamp.EndOptions{}))
		}},
		{what: "end of another user", reference: "yes", value: "yes", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndUser(ctx, s.stranger.Session.User, handstamp.EndOptions{}))
		}},
		{what: "user change", reference: "yes", value: "stale_token", do: func(t testing.TB, s scene) {
			end(t)(s.e.Changed(ctx, s.user, handstamp.EndOptions{}))
		}},
		{what: "roles given", reference: "yes", value: "stale_token", do: func(t testing.TB, s scene) {
			end(t)(s.accounts.SetRoles(ctx, s.user, []string{"member", "editor"}, handstamp.EndOptions{}))
		}},
		{what: "change of another user", reference: "yes", value: "yes", do: func(t testing.TB, s scene) {
			end(t)(s.e.Changed(ctx, s.stranger.Session.User, handstamp.EndOptions{}))
		}},
		{what: "change, then end", reference: "revoked", value: "revoked", do: func(t testing.TB, s scene) {
			end(t)(s.e.Changed(ctx, s.user, handstamp.EndOptions{}))
			end(t)(s.e.EndUser(ctx, s.user, handstamp.EndOptions{}))
		}},
		{what: "definition of its role", reference: "yes", value: "yes", do: func(t testing.TB, s scene) {
			end(t)(s.accounts.PutRole(ctx, account.Role{Name: "member", Permissions: []string{"posts:read"}}, handstamp.EndOptions{}))
		}},
		{what: "definition of another role", reference: "yes", value: "yes", do: func(t testing.TB, s scene) {
			end(t)(s.accounts.PutRole(ctx, account.Role{Name: "editor", Permissions: []string{"posts:*"}}, handstamp.EndOptions{}))
		}},
		{what: "key end", reference: "yes", value: "revoked", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndKey(ctx, s.kid(t), handstamp.EndOptions{}))
		}},
		{what: "end of another key", reference: "yes", value: "yes", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndKey(ctx, "another key", handstamp.EndOptions{}))
		}},
		{what: "all end", reference: "revoked", value: "revoked", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndAll(ctx, handstamp.EndOptions{}))
		}},
		{what: "end of a service key of that name", reference: "yes", value: "yes", do: func(t testing.TB, s scene) {
			end(t)(s.e.EndServiceKey(ctx, id.ServiceKey(s.user), handstamp.EndOptions{}))
		}},
		{what: "disabled", reference: "revoked", value: "revoked", do: func(t testing.TB, s scene) {
			s.subject(t, func(sub *handstamp.Subject) { sub.Disabled = true }, revoke.End)
		}},
		{what: "disabled and enabled", reference: "revoked", value: "revoked", do: func(t testing.TB, s scene) {
			s.subject(t, func(sub *handstamp.Subject) { sub.Disabled = true }, revoke.End)
			s.subject(t, func(sub *handstamp.Subject) { sub.Disabled = false }, revoke.Change)
		}},
		{what: "disabled by account", reference: "revoked", value: "revoked", ownOnly: true, do: func(t testing.TB, s scene) {
			end(t)(s.accounts.SetDisabled(ctx, s.user, true, handstamp.EndOptions{}))
		}},
		{what: "enabled, never having been disabled", reference: "yes", value: "stale_token", ownOnly: true, do: func(t testing.TB, s scene) {
			end(t)(s.accounts.SetDisabled(ctx, s.user, false, handstamp.EndOptions{}))
		}},
		{what: "another address", reference: "yes", value: "stale_token", ownOnly: true, do: func(t testing.TB, s scene) {
			end(t)(s.accounts.SetEmail(ctx, s.user, "countess@example.org", handstamp.EndOptions{}))
		}},
		{what: "deleted", reference: "revoked", value: "revoked", do: func(t testing.TB, s scene) {
			s.subject(t, func(sub *handstamp.Subject) { *sub = handstamp.Subject{User: sub.User, Deleted: true} }, revoke.End)
		}},
		{what: "deleted by account", reference: "revoked", value: "revoked", ownOnly: true, do: func(t testing.TB, s scene) {
			end(t)(s.accounts.Delete(ctx, s.user, handstamp.EndOptions{}))
		}},
		{what: "new secrets", reference: "invalid_token", value: "stale_token", do: func(t testing.TB, s scene) {
			s.renew(t, s.mine, "")
		}},
		{what: "new secrets, and the others end", reference: "invalid_token", value: "stale_token", do: func(t testing.TB, s scene) {
			s.renew(t, s.mine, "password")
		}},
		{what: "new secrets of another session", reference: "yes", value: "yes", do: func(t testing.TB, s scene) {
			s.renew(t, s.other, "")
		}},
		{what: "new secrets of another session, and the others end", reference: "revoked", value: "revoked", do: func(t testing.TB, s scene) {
			s.renew(t, s.other, "password")
		}},
		{what: "refresh reused", reference: "yes", value: "revoked", do: func(t testing.TB, s scene) {
			if s.mine.RefreshToken.IsZero() {
				end(t)(s.e.EndSession(ctx, s.mine.Session.ID, handstamp.EndOptions{}))
				return
			}
			must[handstamp.Grant](t)(s.e.refresh(s.mine))
			time.Sleep(time.Minute)
			_, err := s.e.refresh(s.mine)
			wantReason(t, err, handstamp.ReasonReused)
		}},
	}
}

// kid is the id of the key that signs.
func (s scene) kid(t testing.TB) string {
	for _, k := range s.e.ring.List() {
		if k.State == "active" {
			return k.ID
		}
	}
	t.Fatal("no active key")
	return ""
}

func (s scene) want(r truth) string {
	switch {
	case s.mine.Session.Mode != handstamp.ModeSession:
		return r.value
	case r.what == "refresh reused":
		return "revoked" // there is no refresh token: the session is ended
	default:
		return r.reference
	}
}

// TestTruthTable: whatever can end or change a credential gives one verdict on it: on the node where it happened and on one
// that hears of it by the log, by memory and by look-up, at once and later, for users of package account and for others.
func TestTruthTable(t *testing.T) {
	for _, b := range backends() {
		for _, mode := range modes() {
			for _, own := range []bool{true, false} {
				if testing.Short() && b.name == "sqlite" && !own {
					continue
				}
				name := strings.Join([]string{b.name, string(mode), map[bool]string{true: "account", false: "other users"}[own]}, "/")
				t.Run(name, func(t *testing.T) {
					for _, r := range truths() {
						if r.ownOnly && !own {
							continue
						}
						t.Run(r.what, func(t *testing.T) {
							bubbletest.Test(t, func(t *testing.T) { playTruth(t, b, mode, own, r) })
						})
					}
				})
			}
		}
	}
}

func playTruth(t *testing.T, b backing, mode handstamp.Mode, own bool, r truth) {
	ctx := t.Context()
	inner := b.open(t)
	node := func() *engine {
		return setup{store: newHooked(inner), now: time.Now, change: func(o *handstamp.Options) {
			if !own { // an application that keeps its users keeps its roles in the program
				o.Roles = permission.Table{"member": permission.NewSet("posts:read")}
			}
		}}.open(t)
	}
	s := scene{e: node(), user: "customer 4711"}
	s.accounts = account.New(s.e.Auth, s.e.store)
	if own {
		s.user = must[account.User](t)(s.accounts.Create(ctx, account.NewUser{Email: "ada@example.org"}, handstamp.Client{})).ID
	} else {
		must[handstamp.Ended](t)(s.accounts.SetRoles(ctx, s.user, []string{"member"}, handstamp.EndOptions{}))
	}
	s.mine, s.other = s.e.start(t, s.user, mode), s.e.start(t, s.user, mode)
	s.stranger = s.e.start(t, "stranger", mode)
	second, cut := node(), node()
	time.Sleep(time.Second)
	for _, n := range []*engine{s.e, second, cut} {
		_, err := n.verify(s.mine)
		wantVerdict(t, err, "yes")
	}
	cut.cutLog() // hears of nothing that comes now

	r.do(t, s)

	want := s.want(r)
	check := func(where string, n *engine, rules ...handstamp.Rule) {
		t.Helper()
		for range 2 { // and the same once more
			if _, err := n.verify(s.mine, rules...); verdict(err) != want {
				t.Errorf("%s: %s (%v), want %s", where, verdict(err), err, want)
			}
		}
	}
	check("same node, at once", s.e)
	check("same node, fresh rule", s.e, handstamp.Fresh())
	check("second node, fresh rule", second, handstamp.Fresh())
	check("node that lost the log", cut)
	time.Sleep(time.Second)
	check("same node, by the log", s.e)
	check("second node, by the log", second)
	check("third node, opened after it", node())
	if s.e.Health().LeaseFresh != true || second.Health().LeaseFresh != true || cut.Health().LeaseFresh {
		t.Error("the leases are not what this test thinks")
	}
	second.cutLog()
	check("second node, lapsed", second)
	s.e.cutLog()
	check("same node, lapsed", s.e)
	cut.store.set(nil)
	time.Sleep(3 * time.Second)
	check("node that found the log again", cut)
}
