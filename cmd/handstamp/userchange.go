package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

type userRolesCmd struct {
	User   string   `arg:"" help:"Address or any user id."`
	Roles  []string `arg:"" optional:"" help:"All roles the user is to have; none prints them."`
	Add    []string `placeholder:"ROLE" help:"Give this role besides."`
	Remove []string `placeholder:"ROLE" help:"Take this role away."`
	None   bool     `help:"Take all roles away."`
	Wait   bool     `help:"Wait until every server has applied it."`
	JSON   bool     `name:"json" help:"Print JSON."`
}

// Run prints or sets roles.
func (c *userRolesCmd) Run(ctx context.Context, a *app) error {
	if c.None && len(c.Roles)+len(c.Add)+len(c.Remove) > 0 || len(c.Roles) > 0 && len(c.Add)+len(c.Remove) > 0 {
		return usage("give the roles themselves, or --add and --remove, or --none")
	}
	if err := checkRoles(slices.Concat(c.Roles, c.Add)); err != nil {
		return err
	}
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	u, err := t.anyUser(ctx, c.User)
	if err != nil {
		return err
	}
	sub, err := t.auth.Subject(ctx, u)
	if err != nil {
		return err
	}
	roles := c.wanted(sub.Grants.Roles)
	if c.None || len(c.Roles)+len(c.Add)+len(c.Remove) > 0 {
		ended, err := t.accounts.SetRoles(ctx, u, roles, cliEnd(""))
		if err != nil {
			return notFound(err, "this user was deleted")
		}
		unread := t.warnRoles(ctx, a, roles) // what was done is waited for all the same
		if !c.JSON {
			return errors.Join(t.finish(ctx, a, fmt.Sprintf("%s has the roles %s", u, wordsOf(roles)), c.Wait, ended), unread)
		}
		_, unwaited := t.settle(ctx, c.Wait, ended)
		if err := errors.Join(unwaited, unread); err != nil {
			return err
		}
	}
	if c.JSON {
		return a.printJSON(map[string]any{"user": u, "roles": orEmpty(roles)})
	}
	return a.say("%s", wordsOf(roles))
}

func (c *userRolesCmd) wanted(now []string) []string {
	switch {
	case c.None:
		return []string{}
	case len(c.Roles) > 0:
		return c.Roles
	}
	roles := slices.DeleteFunc(slices.Clone(now), func(r string) bool { return slices.Contains(c.Remove, r) })
	for _, r := range c.Add {
		if !slices.Contains(roles, r) {
			roles = append(roles, r)
		}
	}
	return roles
}

func wordsOf(items []string) string {
	if len(items) == 0 {
		return "none"
	}
	return strings.Join(items, " ")
}

type userPasswordCmd struct {
	User          string `arg:"" help:"Address or id."`
	PasswordStdin bool   `help:"Read the password from standard input, one line." required:""`
	Wait          bool   `help:"Wait until every server has applied it."`
}

// Run sets a password.
func (c *userPasswordCmd) Run(ctx context.Context, a *app) error {
	typed, err := a.password(ctx)
	if err != nil {
		return err
	}
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	user, err := t.user(ctx, c.User)
	if err != nil {
		return err
	}
	ended, err := t.passwords.Set(ctx, user.ID, typed, cliEnd("password"))
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%s has a new password, %s ended", user.ID, count(ended.Sessions, ended.More, "session", "sessions"))
	return t.finish(ctx, a, what, c.Wait, ended)
}
