package account

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

// MaxAdopted is how many accounts one call of [Accounts.Adopt] takes.
const MaxAdopted = 1000

// Imported is an account of another system that is to be one here.
type Imported struct {
	ID            handstamp.UserID // kept as it is; empty for a new one
	Email         Address
	EmailVerified bool
	Disabled      bool
	Roles         []string  // nil says nothing: RoleMember for a new account
	CreatedAt     time.Time // zero is now
	// PasswordHash is stored as it is, and checked at the next login. Whoever reads it from outside has it judged by the
	// method that will check it; this package does not know the formats. Empty for an account without a password.
	PasswordHash string
}

// Adoption says what became of one Imported. The zero Adoption is none.
type Adoption string

// What can become of an Imported.
const (
	Adopted  Adoption = "created"  // it is an account now; for Compare: it would be one
	Same     Adoption = "same"     // it is there already and says the same
	Conflict Adoption = "conflict" // it cannot be one, or is there and says something else; nothing was changed
)

// Outcome is the answer for one Imported.
type Outcome struct {
	Adoption Adoption
	User     handstamp.UserID // the account; empty where there is none
	// Field names what a Conflict is about ("id", "email", "roles", …), and Problem says it in a sentence for people that
	// holds no value.
	Field, Problem string
}

// Compare says what Adopt would do with one account, and writes nothing. It does not see the others of a batch.
func (a *Accounts) Compare(ctx context.Context, i Imported) (Outcome, error) {
	if o, ok := checkImported(i); !ok {
		return o, nil
	}
	there, err := a.there(ctx, i)
	if err == nil {
		return a.compare(ctx, there, i)
	}
	if !errors.Is(err, handstamp.ErrNotFound) {
		return Outcome{}, fmt.Errorf("look the user up: %w", err)
	}
	if i.ID == "" {
		return Outcome{Adoption: Adopted}, nil
	}
	if other, err := a.Users().ByEmail(ctx, i.Email); err == nil {
		return conflict(other.ID, "email", "the address belongs to an account with another id"), nil
	} else if !errors.Is(err, handstamp.ErrNotFound) {
		return Outcome{}, fmt.Errorf("look the address up: %w", err)
	}
	sub, err := a.auth.Subject(ctx, i.ID)
	if err != nil {
		return Outcome{}, fmt.Errorf("read the subject: %w", err)
	}
	if sub.Deleted {
		return conflict("", "id", "an account with this id was deleted, and ids are never used again"), nil
	}
	return Outcome{Adoption: Adopted, User: i.ID}, nil
}

// Adopt makes accounts of at most MaxAdopted others, in one unit of work with their audit entries, and answers for each
// in the order given. Whoever is there already is left alone, so that the same batch can be given again after a failure.
// An account that cannot be made does not keep the others from it. With an error, what became of the batch is not known:
// give it again.
func (a *Accounts) Adopt(ctx context.Context, batch []Imported, by handstamp.Client) ([]Outcome, error) {
	if len(batch) > MaxAdopted {
		return nil, fmt.Errorf("%w: at most %d accounts at a time", ErrInput, MaxAdopted)
	}
	outcomes, err := a.adopt(ctx, batch, by)
	if !errors.Is(err, handstamp.ErrTaken) && !errors.Is(err, handstamp.ErrConflict) {
		return outcomes, err
	}
	// Two of the batch are one account, or somebody signed up meanwhile: one by one, each sees what the last has made.
	outcomes = make([]Outcome, len(batch))
	for i := range batch {
		for try := 0; ; try++ {
			one, err := a.adopt(ctx, batch[i:i+1], by)
			if err == nil {
				outcomes[i] = one[0]
				break
			}
			if try > 0 || !errors.Is(err, handstamp.ErrTaken) && !errors.Is(err, handstamp.ErrConflict) {
				return nil, err
			}
		}
	}
	return outcomes, nil
}

// adopt is one try. Reading comes first: who is there already needs no transaction.
func (a *Accounts) adopt(ctx context.Context, batch []Imported, by handstamp.Client) ([]Outcome, error) {
	outcomes := make([]Outcome, len(batch))
	var fresh []Imported
	for n, i := range batch {
		o, err := a.Compare(ctx, i)
		if err != nil {
			return nil, err
		}
		if o.Adoption == Adopted {
			i.ID = cmp.Or(i.ID, id.NewUser(a.auth.Now()))
			o.User = i.ID
			fresh = append(fresh, i)
		}
		outcomes[n] = o
	}
	if len(fresh) == 0 {
		return outcomes, nil
	}
	// Everybody who locks several subjects does so in one order, or two imports could wait for each other.
	slices.SortFunc(fresh, func(x, y Imported) int { return strings.Compare(string(x.ID), string(y.ID)) })
	_, err := a.unit(ctx, handstamp.EndOptions{Client: by}, func(tx Tx) (handstamp.Appended, error) {
		var events []revoke.Event
		for _, i := range fresh {
			e, err := a.adoptIn(ctx, tx, i, by)
			if err != nil {
				return handstamp.Appended{}, err
			}
			events = append(events, e...)
		}
		if len(events) == 0 {
			return handstamp.Appended{}, nil
		}
		return tx.Append(ctx, events...)
	})
	if err != nil {
		return nil, err
	}
	return outcomes, nil
}

// adoptIn writes one account and returns the events that are to follow from it.
func (a *Accounts) adoptIn(ctx context.Context, tx Tx, i Imported, by handstamp.Client) ([]revoke.Event, error) {
	now := a.auth.Now()
	user := User{ID: i.ID, Email: i.Email, EmailVerified: i.EmailVerified, CreatedAt: i.createdAt(now)}
	if err := tx.PutUser(ctx, user); err != nil {
		return nil, fmt.Errorf("write the user: %w", err)
	}
	sub, err := tx.Subject(ctx, i.ID)
	if err != nil {
		return nil, fmt.Errorf("lock the subject: %w", err)
	}
	if sub.Deleted {
		return nil, handstamp.ErrConflict // since the comparison; the next one says so
	}
	events, err := a.adoptEvents(ctx, tx, sub, i)
	if err != nil {
		return nil, err
	}
	if i.Roles != nil || len(sub.Grants.Roles) == 0 { // an application that kept its own users may have given roles
		sub.Grants.Roles = i.roles()
	}
	sub.Disabled = sub.Disabled || i.Disabled
	sub.Email, sub.EmailVerified = string(i.Email), i.EmailVerified
	if err := tx.PutSubject(ctx, sub); err != nil {
		return nil, fmt.Errorf("write the subject: %w", err)
	}
	if i.PasswordHash != "" {
		c := Credential{User: i.ID, Method: MethodPassword, Data: i.PasswordHash, CreatedAt: now, UpdatedAt: now}
		if err := tx.PutCredential(ctx, c); err != nil {
			return nil, fmt.Errorf("write the credential: %w", err)
		}
	}
	entry := audit.Event{Kind: audit.UserCreated, Target: string(i.ID), Detail: map[string]string{"by": "import"}}
	if err := tx.Record(ctx, a.auth.AuditEntry(by, entry)); err != nil {
		return nil, fmt.Errorf("write the audit entry: %w", err)
	}
	return events, nil
}

// adoptEvents says what the rest of the fleet must hear. Of a user nobody knew before there are no copies, and an event
// for each would push everybody else's out of the log; but an application that kept its own users, and gives them to
// this package with their ids, may have sessions of them.
func (a *Accounts) adoptEvents(ctx context.Context, tx Tx, sub handstamp.Subject, i Imported) ([]revoke.Event, error) {
	if i.Disabled {
		return []revoke.Event{a.ended(i.ID, "disabled")}, nil
	}
	known := sub.Ended > 0 || sub.Changed > 0 || len(sub.Grants.Roles)+len(sub.Grants.Permissions) > 0
	if !known {
		live, err := tx.Oldest(ctx, i.ID, a.auth.Now(), 0)
		if err != nil {
			return nil, fmt.Errorf("look for sessions: %w", err)
		}
		known = len(live) > 0
	}
	if !known {
		return nil, nil
	}
	return []revoke.Event{a.auth.Event(revoke.KindUser, string(i.ID), revoke.Change, "import")}, nil
}

// there finds the account that an Imported is, if it is one already: by its id, or by its address if it has none.
func (a *Accounts) there(ctx context.Context, i Imported) (User, error) {
	if i.ID == "" {
		return a.Users().ByEmail(ctx, i.Email)
	}
	return a.Users().ByID(ctx, i.ID)
}

// compare says whether an account says what the import says. What people change by themselves (a password, a verified
// address) may have moved on since an earlier run, and is no conflict.
func (a *Accounts) compare(ctx context.Context, u User, i Imported) (Outcome, error) {
	switch {
	case u.Email != i.Email:
		return conflict(u.ID, "email", "the account is there with another address"), nil
	case i.EmailVerified && !u.EmailVerified:
		return conflict(u.ID, "email_verified", "the account is there with an address that is not verified"), nil
	case i.Disabled != u.Disabled:
		return conflict(u.ID, "disabled", "the account is there, and one of the two is disabled"), nil
	case i.Roles != nil && !sameRoles(i.Roles, u.Roles):
		return conflict(u.ID, "roles", "the account is there with other roles"), nil
	case !i.CreatedAt.IsZero() && !i.createdAt(time.Time{}).Equal(u.CreatedAt):
		return conflict(u.ID, "created_at", "the account is there and was made at another time"), nil
	case i.PasswordHash == "":
		return Outcome{Adoption: Same, User: u.ID}, nil
	}
	c, err := a.Users().Credential(ctx, u.ID, MethodPassword)
	if errors.Is(err, handstamp.ErrNotFound) {
		return conflict(u.ID, "password_hash", "the account is there without a password"), nil
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("read the credential: %w", err)
	}
	if c.Data != i.PasswordHash && c.Version <= 1 { // a later version is one that a login or its owner has written
		return conflict(u.ID, "password_hash", "the account is there with another password"), nil
	}
	return Outcome{Adoption: Same, User: u.ID}, nil
}

// checkImported judges what does not depend on the store; false comes with a Conflict.
func checkImported(i Imported) (Outcome, bool) {
	if i.ID != "" {
		if _, err := id.ParseUser(string(i.ID)); err != nil {
			return conflict("", "id", "a user id has 1 to 128 bytes of UTF-8 without control characters"), false
		}
	}
	// These are the log's words for actors that are no user, and a name that the login frame keeps for nobody.
	if i.ID == "cli" || i.ID == "system" || strings.HasPrefix(string(i.ID), "handstamp-") {
		return conflict("", "id", "the id is reserved"), false
	}
	if a, err := ParseAddress(string(i.Email)); err != nil || a != i.Email {
		return conflict("", "email", "the address is missing or not in its canonical form"), false
	}
	if err := checkRoles(i.Roles); err != nil {
		return conflict("", "roles", "a role has 1 to 128 letters, digits, '.', '_' and '-'; at most 100, none twice"), false
	}
	return Outcome{}, true
}

func conflict(u handstamp.UserID, field, problem string) Outcome {
	return Outcome{Adoption: Conflict, User: u, Field: field, Problem: problem}
}

func (i Imported) roles() []string {
	if i.Roles == nil {
		return []string{RoleMember}
	}
	return slices.Clone(i.Roles)
}

// createdAt is in the precision that stores keep.
func (i Imported) createdAt(now time.Time) time.Time {
	if i.CreatedAt.IsZero() {
		return now
	}
	return i.CreatedAt.UTC().Truncate(time.Microsecond)
}

func sameRoles(x, y []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y)))
}
