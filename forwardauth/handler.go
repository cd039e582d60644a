package forwardauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/handstamp/handstamp"
)

// Auth is what a Handler asks. *handstamp.Auth implements it; all methods are safe for concurrent use.
type Auth interface {
	// Check says who sent a request, and whether it meets the rules.
	Check(r *http.Request, rules ...handstamp.Rule) (handstamp.Principal, error)
	// CheckForwarded applies the origin rules to the request that a trusted proxy asks about.
	CheckForwarded(r *http.Request) error
	// FromTrustedProxy reports whether the forwarded headers of a request count.
	FromTrustedProxy(r *http.Request) bool
	// ReturnTo accepts a place of this application and answers the fallback for anything else.
	ReturnTo(target, fallback string) string
}

// Options of a Handler. The zero value answers with the headers Handstamp-… and sends no browser anywhere.
type Options struct {
	// LoginURL is the sign-in page, with scheme and host: where login=redirect sends a browser, with ?return_to=… added.
	// Empty sends nobody: such a question is answered with 401.
	LoginURL string
	// Headers renames what the answer says: Handstamp-User → Remote-User. The names that can be renamed are those with
	// User, Session, Roles, Permissions, Expires and Email.
	Headers map[string]string
	// UnverifiedEmail also names an address that nobody verified. That is for closed installations: where people sign up
	// by themselves, anybody could name anybody's.
	UnverifiedEmail bool
	// OnDenied writes an answer that is not yes: p, or something that says the same with the same status. err is why.
	// Default: p as RFC 9457 writes it, and one line in the log for what could not be found out.
	OnDenied func(w http.ResponseWriter, r *http.Request, p handstamp.Problem, err error)
}

// Handler answers a proxy's question: 200 with headers and no body, or 401, 403 and 503, or 302 where the question asks
// for it. A question that cannot be read is 400. It answers every method, since a proxy asks with the method of the
// request that it asks about. It is safe for concurrent use.
type Handler struct {
	auth     Auth
	login    *url.URL // nil sends nobody
	names    names
	anyEmail bool
	onDenied func(w http.ResponseWriter, r *http.Request, p handstamp.Problem, err error)
}

// New makes a Handler. Every mistake in the options is reported at once. Put nothing before it that refuses a question for
// its method or its origin: what must be refused of that, the Handler refuses itself.
func New(auth Auth, opt Options) (*Handler, error) {
	h := &Handler{auth: auth, anyEmail: opt.UnverifiedEmail, onDenied: opt.OnDenied}
	if h.onDenied == nil {
		h.onDenied = writeDenied
	}
	var errs []error
	if auth == nil {
		errs = append(errs, errors.New("forwardauth: an Auth is needed"))
	}
	if opt.LoginURL != "" {
		u, err := url.Parse(opt.LoginURL)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.Fragment != "" {
			errs = append(errs, errors.New("forwardauth: Options.LoginURL is a URL such as https://login.example.com/login"))
		}
		h.login = u
	}
	var err error
	if h.names, err = newNames(opt.Headers); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return h, nil
}

// ServeHTTP answers one question by status and headers alone; proxies turn everything but 2xx, 401 and 403 into an error of
// their own.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	q, err := parse(r.URL.RawQuery)
	if err != nil {
		h.deny(w, r, err)
		return
	}
	if err := h.auth.CheckForwarded(r); err != nil {
		h.deny(w, r, err)
		return
	}
	p, err := h.auth.Check(r, q.rules...)
	switch {
	case err == nil:
		h.describe(w.Header(), p)
		w.WriteHeader(http.StatusOK)
	case q.redirect && h.login != nil && wantsLogin(err) && navigation(r):
		//nolint:gosec // the target is Options.LoginURL; the request only fills its escaped parameter
		http.Redirect(w, r, h.loginURL(h.original(r)), http.StatusFound)
	default:
		h.deny(w, r, err)
	}
}

// wantsLogin reports whether logging in could turn the answer into yes.
func wantsLogin(err error) bool {
	reason, _ := handstamp.ReasonOf(err)
	return errors.Is(err, handstamp.ErrUnauthenticated) || reason == handstamp.ReasonStepUp
}

func (h *Handler) deny(w http.ResponseWriter, r *http.Request, err error) {
	h.onDenied(w, r, problemOf(err), err)
}

// problemOf is the answer for an error. Two cookies are 401 here: nginx turns a 400 into a 500.
func problemOf(err error) handstamp.Problem {
	if e, ok := errors.AsType[*queryError](err); ok {
		return handstamp.NewProblem(http.StatusBadRequest, "malformed_request", "Malformed request", e.detail)
	}
	p := handstamp.ProblemOf(err)
	if reason, _ := handstamp.ReasonOf(err); reason == handstamp.ReasonDuplicate {
		p.Status = http.StatusUnauthorized
	}
	return p
}

func writeDenied(w http.ResponseWriter, r *http.Request, p handstamp.Problem, err error) {
	if p.Status == http.StatusServiceUnavailable {
		slog.ErrorContext(r.Context(), "could not decide about a request", "error", err)
	}
	p.Write(w)
}

// queryError is a question that cannot be read. The text never repeats what was sent.
type queryError struct{ detail string }

// Error says what is wrong with the question.
func (e *queryError) Error() string { return fmt.Sprintf("forwardauth: %s", e.detail) }
