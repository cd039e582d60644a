package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/forwardauth"
	"github.com/handstamp/handstamp/internal/ratelimit"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// Passwords is what the server needs of the method password. Errors are those of [login.Flow.Login]; all methods are
// safe for concurrent use.
type Passwords interface {
	SignUp(ctx context.Context, s login.SignUp) (account.User, handstamp.Grant, error)
	SetUp(ctx context.Context, setup token.Secret, s login.SignUp) (account.User, handstamp.Grant, error)
	Create(ctx context.Context, n account.NewUser, typed string, by handstamp.Client) (account.User, error)
	Login(ctx context.Context, email account.Address, typed string, start handstamp.StartOptions) (handstamp.Grant, error)
	Change(ctx context.Context, c login.Change) (handstamp.Grant, handstamp.Ended, error)
}

// Keys is what the server needs of the signing keys. Package keyring implements it.
type Keys interface {
	Public(now time.Time) jwt.PublicSet
	List() []keyring.Info
	Rotate(ctx context.Context, now time.Time) (time.Time, error)
}

// Options of a Server. Auth, Accounts and PublicURL are needed. What is made of something that is left out is not there: no
// path, and no line in the OpenAPI document.
type Options struct {
	Auth     *handstamp.Auth   // filled in by [Handler]
	Accounts *account.Accounts // filled in by [Handler]
	// Passwords sign up and log in. Nil is for an application that checks its own users: it calls Auth.Login, or
	// POST /v1/admin/sessions. There are no pages then.
	Passwords Passwords
	Audit     audit.Log // nil: nobody reads the audit log here; it is written all the same
	Keys      Keys      // nil where no value tokens are offered

	// PublicURL is where browsers reach the application, the same as handstamp.Options.PublicURL.
	PublicURL string
	// Prefix is the path that everything is below, such as /auth: the whole path as browsers see it, with or without a slash
	// at its end; default: the path of PublicURL, which it cannot leave. If it is another path than that and the mode hybrid
	// is offered, handstamp.Options.RefreshPath has to be Prefix + /v1/refresh.
	Prefix string
	// NoPages leaves the pages out, for an application that has its own; the API stays.
	NoPages bool
	// HomeURL is where a login on the page leads that came from nowhere: a path of the application, or a URL of its origin or
	// of handstamp.Options.Origins; default: this server's own page, which says who is signed in.
	HomeURL string
	// LoginURL is the sign-in page to which /v1/check?login=redirect sends a browser, with scheme and host; default: the page
	// of this server, and without pages nobody is sent anywhere.
	LoginURL string
	// Secrets key the cursors of lists; the first makes, all verify. Without any they are keyed by Auth.DeriveKey.
	Secrets [][]byte

	SignUpClosed    bool
	AdminMaxAuthAge time.Duration     // default 10 min
	ClearSiteData   []string          // default "cache"
	CheckHeaders    map[string]string // renames what /v1/check answers: Handstamp-User → Remote-User
	UnverifiedEmail bool              // /v1/check also names an address that nobody verified
	HideKeys        bool              // the key set is empty (HS256, or encrypted tokens)

	// Roles lists what every role grants; a backend's method of that name fits. Without it nobody lists roles here.
	Roles func(ctx context.Context) (permission.Table, uint64, error)
	// Health says where this process stands with the log of revocations, for /readyz and /metrics. Nil leaves it out.
	Health func() revoke.View
	// Parts are what this process stands on, such as its database and its cache, for /readyz and /metrics. That the sessions
	// and the accounts can be read is asked without being listed here.
	Parts []Part
	// HashQueue says how the queue of password hashes stands, for /metrics. Nil leaves it out.
	HashQueue func() HashQueue
	// Throttle says how often logins were counted in this process alone, for /metrics; Flow.Throttle of package login fits.
	// Nil leaves it out.
	Throttle func() login.Throttle

	// OnRoute is told which pattern of a closed list took the request of ctx, for traces; never the path, which holds what a
	// client wrote. Nil leaves it out.
	OnRoute func(ctx context.Context, pattern string)

	Version string
	Logger  *slog.Logger // default slog.Default()
	// Now is the clock of timeouts and metrics; default time.Now.
	Now func() time.Time
}

// Server is the HTTP API as one handler. It is safe for concurrent use.
type Server struct {
	opt      Options
	auth     *handstamp.Auth
	origin   string // of PublicURL
	prefix   string // the path that everything is below, without a slash at its end
	secure   bool   // PublicURL is https
	cookies  engineCookies
	forward  *forwardauth.Handler
	cursors  cursors
	metrics  *metrics
	endings  *ratelimit.Limiter // of calls that end all sessions of who calls
	outages  *ratelimit.Limiter // of lines about what could not be found out
	unsaid   atomic.Uint64      // of these, the lines that were left out since the last
	streams  *streams
	asking   *crowd // who introspects
	revoking *crowd // who revokes tokens
	pages    *pages
	document []byte // the OpenAPI document
	mux      *http.ServeMux

	cutNoticed sync.Once
}

// New makes a Server. It starts nothing. Every mistake in the options is reported at once.
func New(opt Options) (*Server, error) {
	opt.AdminMaxAuthAge = cmp.Or(opt.AdminMaxAuthAge, 10*time.Minute)
	if opt.ClearSiteData == nil {
		opt.ClearSiteData = []string{"cache"}
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	opt.NoPages = opt.NoPages || opt.Passwords == nil
	s := &Server{
		opt: opt, auth: opt.Auth, endings: ratelimit.New(time.Second, 300), outages: ratelimit.New(200*time.Millisecond, 20),
		streams: newStreams(), asking: newCrowd(maxAsking), revoking: newCrowd(maxRevoking),
	}
	if err := s.place(); err != nil {
		return nil, err
	}
	var err error
	if s.metrics, err = newMetrics(s); err != nil {
		return nil, fmt.Errorf("server: metrics: %w", err)
	}
	if len(opt.Secrets) == 0 {
		key, err := s.auth.DeriveKey(cursorLabel)
		if err != nil {
			return nil, fmt.Errorf("server: the key of cursors: %w", err)
		}
		opt.Secrets = [][]byte{key}
	}
	if s.cursors, err = newCursors(opt.Secrets); err != nil {
		return nil, err
	}
	if s.pages, err = newPages(); err != nil {
		return nil, err
	}
	routes := s.routes()
	if s.document, err = s.describe(routes); err != nil {
		return nil, err
	}
	s.mux = s.install(routes)
	return s, nil
}

// place finds out where this server stands: origin, prefix, cookies, sign-in page. It reports every mistake at once.
func (s *Server) place() error {
	public, err := s.opt.check()
	if public != nil {
		s.origin, s.secure = public.Scheme+"://"+public.Host, public.Scheme == "https"
		var prefixErr error
		s.prefix, prefixErr = prefixOf(s.opt.Prefix, public)
		err = errors.Join(err, prefixErr)
	}
	if checkErr := s.newCheck(); checkErr != nil {
		err = errors.Join(err, fmt.Errorf("server: Options.CheckHeaders or LoginURL: %w", checkErr))
	}
	if err != nil {
		return err
	}
	if home := s.opt.HomeURL; home != "" && s.auth.ReturnTo(home, "") == "" {
		err = fmt.Errorf("server: Options.HomeURL %q is no path of this application, and no URL of one of its origins", home)
	}
	s.cookies = cookiesOf(s.auth)
	return errors.Join(err, s.agree())
}

// check reports what is missing, and returns PublicURL, or nil where that is no URL.
func (o Options) check() (*url.URL, error) {
	var errs []error
	if o.Auth == nil {
		errs = append(errs, errors.New("server: Options.Auth is needed"))
	}
	if o.Accounts == nil {
		errs = append(errs, errors.New("server: Options.Accounts is needed"))
	}
	u, err := url.Parse(o.PublicURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, errors.New("server: Options.PublicURL is needed: where the server is reached, such as https://login.example.com"))
		u = nil
	}
	return u, errors.Join(append(errs, checkParts(o.Parts))...)
}

// ServeHTTP answers the API and the pages.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.serve(w, r) }
