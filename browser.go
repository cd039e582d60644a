package handstamp

import (
	"context"
	"net/http"
	"strings"

	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// LoginWith is what every login of a browser goes through, whatever it is that proves the user: the origin rules, who the
// client is, the session that the new one takes the place of, and at the end the cookies. login is called with the
// options as the request completes them, and begins the session.
func (a *Auth) LoginWith(w http.ResponseWriter, r *http.Request, o StartOptions, login func(StartOptions) (Grant, error)) (Grant, error) {
	if err := a.CheckOrigin(r); err != nil {
		return Grant{}, err
	}
	o, err := a.FromRequest(r, o)
	if err != nil {
		return Grant{}, err
	}
	var left bool
	o.left = &left
	g, err := login(o)
	if err != nil {
		return Grant{}, err
	}
	a.Deliver(w, g)
	if left { // and not where a session was given once more: then the visitor's goes on
		a.cookies.setGuest(w, "", 0)
	}
	return g, nil
}

// LogOutRequest ends the sessions behind all credentials that a request carries, good, expired or ended, and clears the
// cookies: with the cookie of a session that lives on, its browser would lose the one thing that could still end it.
// Without a credential there is nothing to end, which is no error. If an end cannot be made durable, or the fleet was not
// waited for, it fails, and the cookies stay: the user can try again.
//
// The visitor's session that the browser may have beside ends as well: on a shared machine the next user's login would
// take its data along. also are credentials that came another way, such as in the body.
func (a *Auth) LogOutRequest(w http.ResponseWriter, r *http.Request, opt EndOptions, also ...token.Secret) (Ended, error) {
	if opt.Client == (Client{}) {
		opt.Client = a.ClientOf(r)
	}
	visitor, err := a.visitor(r)
	if err != nil {
		return Ended{}, err
	}
	ended, err := a.LogOutEach(r.Context(), append(a.Credentials(r), also...), opt)
	if err != nil {
		return ended, err
	}
	if visitor != "" {
		if err := a.endVisitor(r.Context(), visitor); err != nil {
			return ended, err
		}
		a.cookies.setGuest(w, "", 0)
	}
	a.ClearCookies(w)
	return ended, nil
}

// endVisitor ends a session without a user. Nobody is told in the audit log, and it does not count.
func (a *Auth) endVisitor(ctx context.Context, s SessionID) error {
	_, err := Do(ctx, a, a.store.Work(), func(tx Tx) (Appended, error) {
		return tx.Append(ctx, a.event(revoke.KindSession, string(s), revoke.End, "log-out", a.now()))
	})
	return err
}

// maxCredentials bounds the look-ups that one log-out may cost.
const maxCredentials = 8

// Credentials lists what a request carries that may stand for a session, the strongest first: header, session cookies,
// refresh cookies. It is for ending sessions. Who sent a request is for [Verifier.Verify] to say, which refuses two
// cookies where this lists both.
func (v *Verifier) Credentials(r *http.Request) []token.Secret {
	var out []token.Secret
	add := func(text string) {
		if text != "" && len(out) < maxCredentials {
			out = append(out, token.NewSecret(text))
		}
	}
	for _, h := range r.Header["Authorization"] {
		if scheme, rest, _ := strings.Cut(h, " "); strings.EqualFold(scheme, "Bearer") {
			add(strings.TrimLeft(rest, " "))
		}
	}
	for _, name := range []string{v.cookies.session, v.cookies.refresh} {
		for _, line := range r.Header["Cookie"] {
			for pair := range strings.SplitSeq(line, ";") {
				if n, value, ok := strings.Cut(strings.Trim(pair, " \t"), "="); ok && n == name {
					add(value)
				}
			}
		}
	}
	return out
}
