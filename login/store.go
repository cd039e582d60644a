package login

import (
	"context"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/token"
)

// BudgetKey names one budget of failed attempts: a MAC over what it is for, so that the table of counters tells nobody
// which addresses were tried.
type BudgetKey [32]byte

// Counter is the state of one budget. The zero value but for Key is a budget that nothing was charged to.
type Counter struct {
	Key      BudgetKey
	Failures int       // attempts that were counted and not cleared since
	LastAt   time.Time // the last attempt that counted
	// Known marks a pair of account and network from which a login succeeded before.
	Known     bool
	ExpiresAt time.Time // the counter may be swept after this time
}

// OneTime is a secret that works once.
type OneTime struct {
	Hash      token.Hash
	Kind      string // what it is for; a token of one kind is not found under another
	Data      string
	ExpiresAt time.Time
}

// Tx is a unit of work of a login: accounts, sessions, counters and one-time tokens in one transaction.
type Tx interface {
	account.Tx
	// Counter reads a budget's counter and locks it until the unit ends. An absent one is a zero Counter with its key.
	Counter(ctx context.Context, k BudgetKey) (Counter, error)
	// PutCounter writes a counter.
	PutCounter(ctx context.Context, c Counter) error
	// PutOneTime keeps a one-time token.
	PutOneTime(ctx context.Context, t OneTime) error
	// TakeOneTime removes and returns a token, so that of several takers one wins. An absent one, or one of another kind,
	// is handstamp.ErrNotFound. An expired one is returned too: the caller looks at ExpiresAt.
	TakeOneTime(ctx context.Context, kind string, h token.Hash) (OneTime, error)
	// DropOneTimes removes all tokens of a kind.
	DropOneTimes(ctx context.Context, kind string) error
}

// Store is a backend's view for logins.
type Store interface {
	LoginWork() handstamp.UnitOfWork[Tx]
}
