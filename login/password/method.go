package password

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// amr is the name of a password in RFC 8176.
const amr = "pwd"

// Method signs users up and logs them in by address and password. It is safe for concurrent use.
type Method struct {
	flow     *login.Flow
	accounts *account.Accounts
	hasher   *Hasher
	policy   Policy
}

// New makes the method.
func New(flow *login.Flow, accounts *account.Accounts, hasher *Hasher, policy Policy) *Method {
	return &Method{flow: flow, accounts: accounts, hasher: hasher, policy: policy}
}

// SignUp makes an account and its first session in one transaction. Errors: *login.InputError (the password),
// handstamp.ErrTaken (the address), *login.TooManyError; those of Auth.Start.
func (m *Method) SignUp(ctx context.Context, s login.SignUp) (account.User, handstamp.Grant, error) {
	user, g, err := m.signUp(ctx, s, []string{account.RoleMember}, nil)
	return user, g, translate(err, "password")
}

// SetUp makes the first administrator with the token of the one-time link. Once there is an administrator, however made,
// the link is dead: login.ErrSetup.
func (m *Method) SetUp(ctx context.Context, setup token.Secret, s login.SignUp) (account.User, handstamp.Grant, error) {
	if err := m.flow.CheckSetup(ctx, setup); err != nil {
		return account.User{}, handstamp.Grant{}, err // before it is said whether an address is taken, and before any hash
	}
	if err := m.noAdmin(ctx); err != nil {
		return account.User{}, handstamp.Grant{}, err
	}
	user, g, err := m.signUp(ctx, s, []string{account.RoleAdmin}, func(tx login.Tx) error {
		if err := m.flow.TakeSetup(ctx, tx, setup, s.Start.Client); err != nil {
			return err
		}
		return m.noAdmin(ctx) // one may have been made while the password was hashed
	})
	return user, g, translate(err, "password")
}

// noAdmin is login.ErrSetup if there is an administrator.
func (m *Method) noAdmin(ctx context.Context) error {
	has, err := m.accounts.HasAdmin(ctx)
	if err != nil {
		return fmt.Errorf("look for an administrator: %w", err)
	}
	if has {
		return login.ErrSetup
	}
	return nil
}

func (m *Method) signUp(ctx context.Context, s login.SignUp, roles []string, first func(tx login.Tx) error) (account.User, handstamp.Grant, error) {
	none := func(err error) (account.User, handstamp.Grant, error) { return account.User{}, handstamp.Grant{}, err }
	secret, err := m.choose(s.Password, s.Email)
	if err != nil {
		return none(err)
	}
	_, err = m.accounts.Users().ByEmail(ctx, s.Email)
	taken := err == nil
	if err != nil && !errors.Is(err, handstamp.ErrNotFound) {
		return none(fmt.Errorf("look the address up: %w", err))
	}
	if err := m.flow.CountSignUp(ctx, s.Start.Client, taken); err != nil {
		return none(err)
	}
	if taken {
		return none(handstamp.ErrTaken)
	}
	auth := m.flow.Auth()
	u := id.NewUser(auth.Now())
	proof, err := auth.Prove(ctx, u)
	if err != nil {
		return none(err)
	}
	proof.Methods, proof.StartOptions, proof.Grants = []string{amr}, s.Start, &handstamp.Grants{Roles: roles}
	starting, err := auth.Prepare(ctx, proof)
	if err != nil {
		return none(err)
	}
	hash, err := m.hasher.Hash(ctx, secret)
	if err != nil {
		return none(err)
	}
	by := s.Start.Client
	by.Actor = string(u)
	var user account.User
	_, err = handstamp.Do(ctx, auth, m.flow.Store().LoginWork(), func(tx login.Tx) (_ handstamp.Appended, err error) {
		if first != nil {
			if err := first(tx); err != nil {
				return handstamp.Appended{}, err
			}
		}
		if user, err = m.accounts.CreateIn(ctx, tx, account.NewUser{Email: s.Email, Roles: roles}, u, by); err != nil {
			return handstamp.Appended{}, err
		}
		if err := tx.Record(ctx, auth.AuditEntry(by, audit.Event{Kind: audit.SignUp, Target: string(u)})); err != nil {
			return handstamp.Appended{}, fmt.Errorf("write the audit entry: %w", err)
		}
		if err := tx.PutCredential(ctx, m.credential(account.Credential{}, u, hash)); err != nil {
			return handstamp.Appended{}, fmt.Errorf("write the credential: %w", err)
		}
		if err := m.flow.Welcome(ctx, tx, accountKey(s.Email), s.Start.Client); err != nil {
			return handstamp.Appended{}, err
		}
		return starting.In(ctx, tx)
	})
	if err != nil {
		return none(err)
	}
	g, err := starting.Grant(ctx)
	return user, g, err
}

// Create makes an account without a session, for administrators. An empty password makes an account without a credential.
func (m *Method) Create(ctx context.Context, n account.NewUser, typed string, by handstamp.Client) (account.User, error) {
	if typed == "" {
		return m.accounts.Create(ctx, n, by)
	}
	secret, err := m.choose(typed, n.Email)
	if err != nil {
		return account.User{}, translate(err, "password")
	}
	hash, err := m.hasher.Hash(ctx, secret)
	if err != nil {
		return account.User{}, translate(err, "password")
	}
	var user account.User
	u := id.NewUser(m.flow.Auth().Now())
	err = m.flow.Store().LoginWork().Do(ctx, func(tx login.Tx) (err error) {
		if user, err = m.accounts.CreateIn(ctx, tx, n, u, by); err != nil {
			return err
		}
		return tx.PutCredential(ctx, m.credential(account.Credential{}, u, hash))
	})
	return user, err
}

// choose applies the policy to a password that somebody wants to have.
func (m *Method) choose(typed string, email account.Address) (Secret, error) {
	secret, err := Prepare(typed)
	if err != nil {
		return Secret{}, err
	}
	return secret, m.policy.Check(secret, string(email))
}

func (m *Method) credential(old account.Credential, u handstamp.UserID, hash string) account.Credential {
	now := m.flow.Auth().Now()
	c := account.Credential{User: u, Method: account.MethodPassword, Data: hash, CreatedAt: now, UpdatedAt: now, Version: old.Version}
	if old.Version > 0 {
		c.CreatedAt = old.CreatedAt
	}
	return c
}

// Login logs a user in. A password that nobody can have (too long, not text) is a *login.InputError, for known and
// unknown addresses alike and before anything is looked up. Other errors are those of login.Flow.Login.
func (m *Method) Login(ctx context.Context, email account.Address, typed string, start handstamp.StartOptions) (handstamp.Grant, error) {
	secret, err := Prepare(typed)
	if err != nil {
		return handstamp.Grant{}, translate(err, "password")
	}
	g, err := m.flow.Login(ctx, m.attempt(email, secret), start)
	return g, translate(err, "password")
}

// accountKey is the one text under which attempts at an account are counted.
func accountKey(email account.Address) string { return "email:" + string(email) }

// attempt is how a password fills the frame.
func (m *Method) attempt(email account.Address, secret Secret) login.Attempt {
	return login.Attempt{
		Method: amr, Account: accountKey(email),
		Find: func(ctx context.Context) (handstamp.UserID, error) {
			user, err := m.accounts.Users().ByEmail(ctx, email)
			return user.ID, err
		},
		Verify: func(ctx context.Context, u handstamp.UserID) (login.Verified, error) { return m.verify(ctx, u, secret) },
	}
}

// nobody has no credential. It is asked for where there is no user, for the time it takes.
const nobody handstamp.UserID = "handstamp-nobody"

// verify checks a password. Without a user, or for one without a password, it does the same work and answers no.
func (m *Method) verify(ctx context.Context, u handstamp.UserID, secret Secret) (login.Verified, error) {
	// An address that nobody has costs the same read and the same hash as one whose password is wrong.
	c, err := m.accounts.Users().Credential(ctx, cmp.Or(u, nobody), account.MethodPassword)
	if errors.Is(err, handstamp.ErrNotFound) {
		return login.Verified{}, m.hasher.Equalise(ctx, secret)
	}
	if err != nil {
		return login.Verified{}, fmt.Errorf("read the credential: %w", err)
	}
	v, err := m.hasher.Verify(ctx, c.Data, secret)
	if errors.Is(err, ErrUnusableHash) {
		return login.Verified{Failure: audit.PasswordUnusable}, nil // a no: the work was done all the same
	}
	if err != nil || !v.OK {
		return login.Verified{}, err
	}
	verified := login.Verified{OK: true}
	if v.Rehash {
		// The new hash is made outside the transaction; a queue must not be waited for while a lock is held.
		if hash, err := m.hasher.Hash(ctx, secret); err == nil {
			verified.Finish = func(ctx context.Context, tx login.Tx) error { return m.rehash(ctx, tx, c, hash) }
		}
	}
	return verified, nil
}

// rehash writes a hash of today's cost, unless the credential is another one than the one that was verified.
func (m *Method) rehash(ctx context.Context, tx login.Tx, verified account.Credential, hash string) error {
	now, err := tx.Credential(ctx, verified.User, account.MethodPassword)
	if errors.Is(err, handstamp.ErrNotFound) || err == nil && (now.Version != verified.Version || now.Data != verified.Data) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the credential: %w", err)
	}
	if err := tx.PutCredential(ctx, m.credential(now, verified.User, hash)); err != nil {
		return fmt.Errorf("write the credential: %w", err)
	}
	auth := m.flow.Auth()
	return tx.Record(ctx, auth.AuditEntry(handstamp.Client{Actor: "system"}, audit.Event{Kind: audit.PasswordRehashed, Target: string(verified.User)}))
}

// Change checks the current password, counted like a login, sets the new one, ends all other sessions and gives this one
// new secrets. Errors: *login.InputError, login.ErrInvalidCredentials, *login.TooManyError. With an error that is
// handstamp.ErrNotAwaited the password is changed, and the grant is good.
func (m *Method) Change(ctx context.Context, c login.Change) (handstamp.Grant, handstamp.Ended, error) {
	g, ended, err := m.change(ctx, c)
	return g, ended, translate(err, "new_password")
}

// maxChangeTries bounds how often a change starts over because the session was refreshed meanwhile.
const maxChangeTries = 20

func (m *Method) change(ctx context.Context, c login.Change) (handstamp.Grant, handstamp.Ended, error) {
	none := func(err error) (handstamp.Grant, handstamp.Ended, error) {
		return handstamp.Grant{}, handstamp.Ended{}, err
	}
	user, err := m.accounts.Users().ByID(ctx, c.User)
	if err != nil {
		return none(fmt.Errorf("read the user: %w", err))
	}
	chosen, err := m.choose(c.New, user.Email)
	if err != nil {
		return none(err)
	}
	current, err := Prepare(c.Current)
	if err != nil {
		return none(translate(err, "current_password"))
	}
	proved, err := m.flow.Prove(ctx, m.attempt(user.Email, current), c.Client)
	if err != nil {
		return none(err)
	}
	undone := func(err error) (handstamp.Grant, handstamp.Ended, error) {
		proved.Undone()
		return none(err)
	}
	hurried, cancel := proved.Hurry(ctx)
	defer cancel()
	hash, err := m.hasher.Hash(hurried, chosen)
	if err != nil {
		return undone(err)
	}
	auth := m.flow.Auth()
	var renewing *handstamp.Renewing
	var done handstamp.Appended
	for range maxChangeTries {
		if renewing, err = auth.PrepareRenew(hurried, c.Session, proved.Proof); err != nil {
			return undone(err)
		}
		renewing.EndOthers = "password"
		done, err = handstamp.Do(hurried, auth, m.flow.Store().LoginWork(), func(tx login.Tx) (handstamp.Appended, error) {
			if err := proved.Settle(hurried, tx); err != nil {
				return handstamp.Appended{}, err
			}
			if err := m.put(hurried, tx, c.User, hash, c.Client); err != nil {
				return handstamp.Appended{}, err
			}
			return renewing.In(hurried, tx)
		})
		if !errors.Is(err, handstamp.ErrConflict) {
			break // a conflict is a refresh of this session that was faster: its record is another one now
		}
	}
	if err != nil {
		return undone(err)
	}
	ended := handstamp.Ended{Sessions: done.Sessions, More: done.More, By: done.Last()}
	g, err := renewing.Grant(ctx)
	if err == nil && c.WaitFleet {
		ended, err = auth.WaitFleet(ctx, ended) // the grant stands whether or not the fleet was waited for
	}
	return g, ended, err
}

// put writes a new password over whatever is there, under the lock of the subject.
func (m *Method) put(ctx context.Context, tx login.Tx, u handstamp.UserID, hash string, by handstamp.Client) error {
	if _, err := tx.Subject(ctx, u); err != nil {
		return fmt.Errorf("lock the subject: %w", err)
	}
	old, err := tx.Credential(ctx, u, account.MethodPassword)
	if err != nil && !errors.Is(err, handstamp.ErrNotFound) {
		return fmt.Errorf("read the credential: %w", err)
	}
	if err := tx.PutCredential(ctx, m.credential(old, u, hash)); err != nil {
		return fmt.Errorf("write the credential: %w", err)
	}
	auth := m.flow.Auth()
	return tx.Record(ctx, auth.AuditEntry(by, audit.Event{Kind: audit.PasswordChanged, Target: string(u)}))
}

// Set gives a user a password, for administrators on the command line, and ends all sessions.
func (m *Method) Set(ctx context.Context, u handstamp.UserID, typed string, opt handstamp.EndOptions) (handstamp.Ended, error) {
	user, err := m.accounts.Users().ByID(ctx, u)
	if err != nil {
		return handstamp.Ended{}, fmt.Errorf("read the user: %w", err)
	}
	secret, err := m.choose(typed, user.Email)
	if err != nil {
		return handstamp.Ended{}, translate(err, "password")
	}
	hash, err := m.hasher.Hash(ctx, secret)
	if err != nil {
		return handstamp.Ended{}, translate(err, "password")
	}
	auth := m.flow.Auth()
	done, err := handstamp.Do(ctx, auth, m.flow.Store().LoginWork(), func(tx login.Tx) (handstamp.Appended, error) {
		if err := m.put(ctx, tx, u, hash, opt.Client); err != nil {
			return handstamp.Appended{}, err
		}
		return tx.Append(ctx, auth.Event(revoke.KindUser, string(u), revoke.End, "password"))
	})
	if err != nil {
		return handstamp.Ended{}, err
	}
	ended := handstamp.Ended{Sessions: done.Sessions, More: done.More, By: done.Last()}
	if opt.WaitFleet {
		return auth.WaitFleet(ctx, ended)
	}
	return ended, nil
}

// translate turns what only this package knows into what every caller of a login understands: a password that nobody may
// have, named by its field, and a queue that is full, which is "ask again later".
func translate(err error, field string) error {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return &login.InputError{Field: field, Message: refused.Error()}
	}
	if busy, ok := errors.AsType[*BusyError](err); ok {
		return &handstamp.UnavailableError{RetryAfter: time.Duration(busy.RetryAfter) * time.Second, Err: busy}
	}
	return err
}
