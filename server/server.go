package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/token"
)

// Passwords is what the server needs of the method password.
type Passwords interface {
	SignUp(ctx context.Context, s login.SignUp) (account.User, handstamp.Grant, error)
	SetUp(ctx context.Context, setup token.Secret, s login.SignUp) (account.User, handstamp.Grant, error)
	Create(ctx context.Context, n account.NewUser, typed string, by handstamp.Client) (account.User, error)
	Login(ctx context.Context, email account.Address, typed string, start handstamp.StartOptions) (handstamp.Grant, error)
	Change(ctx context.Context, c login.Change) (handstamp.Grant, handstamp.Ended, error)
}

// Keys is what the server needs of the signing keys.
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
	// Secrets key the cursors of lists; the first makes, all verify.
	Secrets [][]byte

	SignUpClosed    bool
	AdminMaxAuthAge time.Duration     // default 10 min
	ClearSiteData   []string          // default "cache"
	CheckHeaders    map[string]string // renames what /v1/check answers: Handstamp-User → Remote-User
	UnverifiedEmail bool              // /v1/check also names an address that nobody verified
	HideKeys        bool              // the key set is empty (HS256, or encrypted tokens)

	Version string
	Logger  *slog.Logger // default slog.Default()
	// Now is the clock of timeouts and metrics; default time.Now.
	Now func() time.Time
}

// Server is the HTTP API as one handler. It is safe for concurrent use.
type Server struct {
	opt Options
	mux http.Handler
}

// New makes a Server. It starts nothing.
func New(opt Options) (*Server, error)

// ServeHTTP answers the API and the pages.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Ops answers what is for operators only: /healthz, /readyz, /metrics. It belongs on a listener of its own.
func (s *Server) Ops() http.Handler
