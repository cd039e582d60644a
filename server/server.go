package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
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

// Options of a Server. Auth, Accounts, Passwords and Audit are needed.
type Options struct {
	Auth      *handstamp.Auth
	Accounts  *account.Accounts
	Passwords Passwords
	Audit     audit.Log
	Keys      Keys // nil where no value tokens are offered

	// PublicURL is where the server is reached; its path is where the API lives.
	PublicURL string
	// Secrets key the cursors of lists; the first makes, all verify. Without any, cursors last as long as the process.
	Secrets [][]byte

	SignUpClosed    bool
	AdminMaxAuthAge time.Duration     // default 10 min
	ClearSiteData   []string          // default "cache"
	CheckHeaders    map[string]string // renames what /v1/check answers: Handstamp-User → Remote-User
	UnverifiedEmail bool              // /v1/check also names an address that nobody verified
	HideKeys        bool              // the key set is empty (HS256, or encrypted tokens)

	// Roles lists what every role grants; a backend's method of that name fits. Without it roles cannot be listed.
	Roles func(ctx context.Context) (permission.Table, uint64, error)
	// Health says where this process stands with the log of revocations, for /readyz and /metrics. Nil leaves it out.
	Health func() revoke.View

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
	prefix   string // the path of PublicURL, without a slash at its end
	secure   bool   // PublicURL is https
	forward  *forwardauth.Handler
	cursors  cursors
	metrics  *metrics
	endings  *ratelimit.Limiter // of calls that end all sessions of who calls
	pages    *pages
	document []byte // the OpenAPI document
	mux      *http.ServeMux
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
	s := &Server{opt: opt, auth: opt.Auth, endings: ratelimit.New(time.Second, 300)}
	public, err := opt.check()
	if public != nil {
		s.origin, s.prefix = public.Scheme+"://"+public.Host, strings.TrimRight(public.EscapedPath(), "/")
		s.secure = public.Scheme == "https"
	}
	if checkErr := s.newCheck(public); checkErr != nil {
		err = errors.Join(err, fmt.Errorf("server: Options.CheckHeaders: %w", checkErr))
	}
	if err != nil {
		return nil, err
	}
	if s.metrics, err = newMetrics(opt.Health); err != nil {
		return nil, fmt.Errorf("server: metrics: %w", err)
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

// check reports what is missing, and returns PublicURL, or nil where that is no URL.
func (o Options) check() (*url.URL, error) {
	var errs []error
	for name, missing := range map[string]bool{
		"Auth": o.Auth == nil, "Accounts": o.Accounts == nil, "Passwords": o.Passwords == nil, "Audit": o.Audit == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("server: Options.%s is needed", name))
		}
	}
	u, err := url.Parse(o.PublicURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, errors.New("server: Options.PublicURL is needed: where the server is reached, such as https://login.example.com"))
		u = nil
	}
	return u, errors.Join(errs...)
}

// ServeHTTP answers the API and the pages.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.serve(w, r) }
