package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/handstamp/handstamp/account"
)

// roleCmd is "handstamp role".
type roleCmd struct {
	List   roleListCmd   `cmd:"" help:"List roles and what they grant."`
	Set    roleSetCmd    `cmd:"" help:"Define a role: role set editor posts:read posts:write."`
	Delete roleDeleteCmd `cmd:"" help:"Delete a role; who has it is granted nothing by it."`
}

type roleListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists roles.
func (c *roleListCmd) Run(ctx context.Context, a *app) error {
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	table, _, err := t.store.Roles(ctx)
	if err != nil {
		return fmt.Errorf("read the roles: %w", err)
	}
	type view struct {
		Name        string   `json:"name"`
		Permissions []string `json:"permissions"`
	}
	views, rows := []view{}, [][]string{}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		granted := table.Grants([]string{name}).List()
		views = append(views, view{name, orEmpty(granted)})
		rows = append(rows, []string{name, wordsOf(granted)})
	}
	if c.JSON {
		return a.printJSON(map[string]any{"roles": views, "next": nil})
	}
	return a.printTable([]string{"ROLE", "GRANTS"}, rows)
}

type roleSetCmd struct {
	Name        string   `arg:"" help:"Name of the role."`
	Permissions []string `arg:"" optional:"" help:"Everything it grants: resource:action, resource:*, a dotted name, or *."`
	Wait        bool     `help:"Wait until every server has applied it."`
}

// Run defines a role.
func (c *roleSetCmd) Run(ctx context.Context, a *app) error {
	if err := checkRoles([]string{c.Name}); err != nil {
		return err
	}
	if err := checkPermissions(c.Permissions); err != nil {
		return err
	}
	t, err := a.openTool(ctx, need{create: true})
	if err != nil {
		return err
	}
	defer t.end()
	ended, err := t.accounts.PutRole(ctx, account.Role{Name: c.Name, Permissions: c.Permissions}, cliEnd(""))
	if err != nil {
		return err
	}
	return t.finish(ctx, a, fmt.Sprintf("%s grants %s", c.Name, wordsOf(c.Permissions)), c.Wait, ended)
}

type roleDeleteCmd struct {
	Name string `arg:"" help:"Name of the role."`
	Wait bool   `help:"Wait until every server has applied it."`
}

// Run deletes a role.
func (c *roleDeleteCmd) Run(ctx context.Context, a *app) error {
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	ended, err := t.accounts.DeleteRole(ctx, c.Name, cliEnd(""))
	if err != nil {
		return notFound(err, "there is no role with this name: see handstamp role list")
	}
	return t.finish(ctx, a, c.Name+" is deleted", c.Wait, ended)
}
