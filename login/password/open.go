package password

import (
	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
)

// Store is a backend that keeps accounts and logins.
type Store interface {
	account.Store
	login.Store
}

// Options of Open. The zero value is the safe default.
type Options struct {
	MaxFailures int           // failed logins before delays begin; default 10
	MinLength   int           // characters of a password; default 8
	Hasher      HasherOptions // costs and queue of hashing
}

// Open puts accounts with passwords on an Auth: accounts, the frame of logins, the queue of hashes and the policy, each
// with its defaults. New is for those who make the parts themselves. Open starts nothing that would have to be closed.
func Open(auth *handstamp.Auth, store Store, opt Options) (*Method, error) {
	flow, err := login.New(auth, store, login.Options{MaxFailures: opt.MaxFailures})
	if err != nil {
		return nil, err
	}
	hasher, err := NewHasher(opt.Hasher)
	if err != nil {
		return nil, err
	}
	policy, err := NewPolicy(opt.MinLength)
	if err != nil {
		return nil, err
	}
	return New(flow, account.New(auth, store), hasher, policy), nil
}

// Accounts returns the users that the method checks passwords of.
func (m *Method) Accounts() *account.Accounts { return m.accounts }
