package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// userCmd is "handstamp user": Handstamp's own accounts. A user is named by address or by id.
type userCmd struct {
	Add      userAddCmd      `cmd:"" help:"Make a user."`
	List     userListCmd     `cmd:"" help:"List users in the order of their ids."`
	Show     userShowCmd     `cmd:"" help:"Show one user and how many sessions are live."`
	Disable  userDisableCmd  `cmd:"" help:"Disable a user, which ends all sessions."`
	Enable   userEnableCmd   `cmd:"" help:"Enable a user; sessions do not come back."`
	Delete   userDeleteCmd   `cmd:"" help:"Delete a user: account, sessions and personal data."`
	Roles    userRolesCmd    `cmd:"" help:"Print a user's roles, or set them. Takes any user id, also one that no account knows."`
	Password userPasswordCmd `cmd:"" help:"Give a user a new password, which ends all sessions."`
	Import   userImportCmd   `cmd:"" help:"Make users of those of another system, with their password hashes, from a file."`
}

// maxLine is the longest line that is read as a password; what is longer than a password may be is refused by its rules.
const maxLine = 4096

// userView is a user in JSON, as the administration API writes one.
type userView struct {
	ID            handstamp.UserID `json:"id"`
	Email         string           `json:"email"`
	EmailVerified bool             `json:"email_verified"`
	Disabled      bool             `json:"disabled"`
	Roles         []string         `json:"roles"`
	CreatedAt     stamp            `json:"created_at"`
}

func viewUser(u account.User) userView {
	return userView{
		ID: u.ID, Email: string(u.Email), EmailVerified: u.EmailVerified, Disabled: u.Disabled,
		Roles: orEmpty(u.Roles), CreatedAt: stamp(u.CreatedAt),
	}
}

type userAddCmd struct {
	Email         string   `required:"" placeholder:"ADDRESS" help:"Address of the user."`
	Role          []string `placeholder:"ROLE" help:"Role of the user, repeatable; default member."`
	PasswordStdin bool     `help:"Read the password from standard input, one line."`
	Verified      bool     `help:"The address is known to be the user's."`
	JSON          bool     `name:"json" help:"Print the user as JSON."`
}

// Run makes the user and prints the id.
func (c *userAddCmd) Run(ctx context.Context, a *app) error {
	email, err := account.ParseAddress(c.Email)
	if err != nil {
		return usage("--email: %s", rule(err))
	}
	if err := checkRoles(c.Role); err != nil {
		return err
	}
	var typed string
	if c.PasswordStdin {
		if typed, err = a.password(ctx); err != nil {
			return err
		}
	}
	t, err := a.openTool(ctx, need{create: true})
	if err != nil {
		return err
	}
	defer t.end()
	n := account.NewUser{Email: email, EmailVerified: c.Verified, Roles: c.Role}
	user, err := t.passwords.Create(ctx, n, typed, cliClient())
	if err != nil {
		return err
	}
	unread := t.warnRoles(ctx, a, user.Roles) // the user is made, and its id is the answer all the same
	if typed == "" {
		a.note("This user has no password yet: handstamp user password %s --password-stdin", user.Email)
	}
	if c.JSON {
		return errors.Join(a.printJSON(viewUser(user)), unread)
	}
	return errors.Join(a.say("%s", user.ID), unread)
}

// password reads a password as a person typed or a program wrote it: one line, nothing trimmed.
func (a *app) password(ctx context.Context) (string, error) {
	typed, err := readLine(ctx, a.stdin, maxLine)
	if err == nil && typed == "" {
		err = usage("--password-stdin: standard input is empty: write the password there, one line")
	}
	return typed, err
}

// warnRoles tells who gives a role that nobody has defined that it grants nothing.
func (t *tool) warnRoles(ctx context.Context, a *app, roles []string) error {
	table, _, err := t.store.Roles(ctx)
	if err != nil {
		return fmt.Errorf("read the roles: %w", err)
	}
	for _, r := range roles {
		if _, ok := table[r]; !ok {
			a.note("The role %s is not defined, so it grants nothing yet: handstamp role set %s PERMISSION...", r, r)
		}
	}
	return nil
}

type userListCmd struct {
	Query string `placeholder:"TEXT" help:"Only addresses that contain this."`
	paging
}

// Run lists users.
func (c *userListCmd) Run(ctx context.Context, a *app) error {
	if err := c.check("a user", ""); err != nil {
		return err
	}
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	if c.After != "" && !strings.HasPrefix(c.After, "usr_") { // ids of imported users may look like anything
		if _, err := t.accounts.Users().ByID(ctx, handstamp.UserID(c.After)); errors.Is(err, handstamp.ErrNotFound) {
			return usage("--after: %q is no id of a user: the note below a list names the one to go on after", short(c.After))
		} else if err != nil {
			return err
		}
	}
	return listing[account.User, userView]{
		name: "users",
		fetch: func(after string, limit int) ([]account.User, error) {
			return t.accounts.Users().List(ctx, account.UserFilter{Query: c.Query, After: handstamp.UserID(after), Limit: limit})
		},
		id: func(u account.User) string { return string(u.ID) }, view: viewUser,
		head: []string{"ID", "ADDRESS", "STATE", "ROLES", "CREATED"},
		row: func(u account.User) []string {
			return []string{string(u.ID), string(u.Email), state(u.Disabled), strings.Join(u.Roles, " "), when(u.CreatedAt, a.now())}
		},
	}.print(a, c.paging)
}

func state(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}

type userShowCmd struct {
	User string `arg:"" help:"Address or id."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run shows one user.
func (c *userShowCmd) Run(ctx context.Context, a *app) error {
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	user, err := t.user(ctx, c.User)
	if err != nil {
		return err
	}
	sub, err := t.auth.Subject(ctx, user.ID)
	if err != nil {
		return err
	}
	sessions, err := t.auth.Sessions(ctx, handstamp.SessionFilter{User: user.ID, Limit: 1000})
	if err != nil {
		return err
	}
	_, err = t.accounts.Users().Credential(ctx, user.ID, account.MethodPassword)
	if err != nil && !errors.Is(err, handstamp.ErrNotFound) {
		return err
	}
	hasPassword := err == nil
	if c.JSON {
		return a.printJSON(struct {
			userView
			Password bool  `json:"has_password"`
			Sessions int   `json:"sessions"`
			EndedAt  stamp `json:"sessions_ended_at"`
		}{viewUser(user), hasPassword, len(sessions), stamp(sub.EndedAt)})
	}
	return a.printTable([]string{"id", string(user.ID)}, [][]string{
		{"address", string(user.Email) + map[bool]string{false: " (not verified)"}[user.EmailVerified]},
		{"state", state(user.Disabled)},
		{"roles", strings.Join(user.Roles, " ")},
		{"password", map[bool]string{true: "set", false: "none"}[hasPassword]},
		{"live sessions", count(len(sessions), len(sessions) == 1000, "session", "sessions")},
		{"created", when(user.CreatedAt, a.now())},
		{"all sessions ended", strings.TrimSpace(when(sub.EndedAt, a.now()) + " " + sub.EndReason)},
	})
}

type userDisableCmd struct {
	User   string `arg:"" help:"Address or id."`
	Reason string `placeholder:"TEXT" help:"Why, for the audit log."`
	Wait   bool   `help:"Wait until every server has applied it."`
}

// Run disables a user.
func (c *userDisableCmd) Run(ctx context.Context, a *app) error {
	return a.setDisabled(ctx, c.User, true, c.Reason, c.Wait)
}

type userEnableCmd struct {
	User string `arg:"" help:"Address or id."`
	Wait bool   `help:"Wait until every server has applied it."`
}

// Run enables a user.
func (c *userEnableCmd) Run(ctx context.Context, a *app) error {
	return a.setDisabled(ctx, c.User, false, "", c.Wait)
}

func (a *app) setDisabled(ctx context.Context, named string, disabled bool, reason string, wait bool) error {
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	user, err := t.user(ctx, named)
	if err != nil {
		return err
	}
	ended, err := t.accounts.SetDisabled(ctx, user.ID, disabled, cliEnd(reason))
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%s is %s", user.ID, state(disabled))
	if disabled {
		what += ", " + count(ended.Sessions, ended.More, "session", "sessions") + " ended"
	}
	return t.finish(ctx, a, what, wait, ended)
}

// finish waits for the fleet where that was asked for, and says what was done.
func (t *tool) finish(ctx context.Context, a *app, what string, wait bool, ended ...handstamp.Ended) error {
	out, err := t.settle(ctx, wait, ended...)
	if err != nil {
		return err
	}
	return a.say("%s", out.words(what))
}

type userDeleteCmd struct {
	User string `arg:"" help:"Address or id."`
	Yes  bool   `help:"Do not ask."`
	Wait bool   `help:"Wait until every server has applied it."`
}

// Run deletes a user.
func (c *userDeleteCmd) Run(ctx context.Context, a *app) error {
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	user, err := t.user(ctx, c.User)
	if err != nil {
		return err
	}
	if err := a.confirm(ctx, c.Yes, fmt.Sprintf("This deletes %s (%s) for good.", user.Email, user.ID)); err != nil {
		return err
	}
	ended, err := t.accounts.Delete(ctx, user.ID, cliEnd(""))
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%s is deleted, %s ended", user.ID, count(ended.Sessions, ended.More, "session", "sessions"))
	return t.finish(ctx, a, what, c.Wait, ended)
}
