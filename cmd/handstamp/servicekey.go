package main

import (
	"context"
	"errors"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
)

// serviceKeyCmd is "handstamp service-key".
type serviceKeyCmd struct {
	Add    serviceKeyAddCmd    `cmd:"" help:"Make a key; it is printed this once."`
	List   serviceKeyListCmd   `cmd:"" help:"List keys that have not ended."`
	Delete serviceKeyDeleteCmd `cmd:"" help:"End a key."`
}

// serviceKeyView is a key in JSON, as the administration API writes one.
type serviceKeyView struct {
	ID          id.ServiceKey `json:"id"`
	Name        string        `json:"name"`
	Permissions []string      `json:"permissions"`
	CreatedAt   stamp         `json:"created_at"`
	ExpiresAt   stamp         `json:"expires_at"`
	Key         string        `json:"key,omitempty"`
}

func viewServiceKey(k handstamp.ServiceKey) serviceKeyView {
	return serviceKeyView{
		ID: k.ID, Name: k.Name, Permissions: orEmpty(k.Permissions), CreatedAt: stamp(k.CreatedAt), ExpiresAt: stamp(k.ExpiresAt),
	}
}

type serviceKeyAddCmd struct {
	Named      string         `arg:"" optional:"" name:"name" help:"What the program is called, for people."`
	Granted    []string       `arg:"" optional:"" name:"permissions" help:"What it may do: resource:action, resource:*, a dotted name, or *."`
	Name       string         `name:"name" placeholder:"NAME" help:"The same as a flag."`
	Permission []string       `placeholder:"PERMISSION" help:"The same as a flag, repeatable."`
	ExpiresIn  *time.Duration `placeholder:"DURATION" help:"End of the key from now, such as 720h; default never."`
	ExpiresAt  time.Time      `placeholder:"TIME" help:"End of the key, such as 2030-01-01T00:00:00Z."`
	JSON       bool           `name:"json" help:"Print JSON."`
}

// Run makes a key. The secret is the only line on standard output, so that a script can take it from there.
func (c *serviceKeyAddCmd) Run(ctx context.Context, a *app) error {
	n, err := c.wanted(a.now())
	if err != nil {
		return err
	}
	t, err := a.openTool(ctx, need{create: true})
	if err != nil {
		return err
	}
	defer t.end()
	key, secret, err := t.accounts.AddServiceKey(ctx, n, cliClient())
	if err != nil {
		return err
	}
	if c.JSON {
		v := viewServiceKey(key)
		v.Key = secret.Reveal()
		return a.printJSON(v)
	}
	a.note("The service key %s (%s). It is shown this once: keep it now.", key.ID, key.Name)
	return a.say("%s", secret.Reveal())
}

func (c *serviceKeyAddCmd) wanted(now time.Time) (account.NewServiceKey, error) {
	n := account.NewServiceKey{Name: c.Name, ExpiresAt: c.ExpiresAt}
	switch {
	case c.Name == "" && c.Named == "":
		return n, usage("give the key a name: handstamp service-key add NAME PERMISSION...")
	case c.Name == "":
		n.Name = c.Named
	case c.Named != "":
		n.Permissions = append(n.Permissions, c.Named) // the name came as a flag, so what stands there is a permission
	}
	n.Permissions = append(append(n.Permissions, c.Granted...), c.Permission...)
	switch {
	case len(n.Permissions) == 0:
		return n, usage("say what the key may do: handstamp service-key add NAME PERMISSION...")
	case c.ExpiresIn == nil:
	case *c.ExpiresIn <= 0: // 0 is no way to say never
		return n, usage("--expires-in is a time from now, such as 720h")
	case !c.ExpiresAt.IsZero():
		return n, usage("give --expires-in or --expires-at, not both")
	default:
		n.ExpiresAt = now.Add(*c.ExpiresIn)
	}
	return n, checkPermissions(n.Permissions)
}

type serviceKeyListCmd struct{ paging }

// Run lists keys.
func (c *serviceKeyListCmd) Run(ctx context.Context, a *app) error {
	if err := c.check("a service key", "key_"); err != nil {
		return err
	}
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	return listing[handstamp.ServiceKey, serviceKeyView]{
		name: "service_keys",
		fetch: func(after string, limit int) ([]handstamp.ServiceKey, error) {
			return t.accounts.Users().ServiceKeys(ctx, id.ServiceKey(after), limit)
		},
		id: func(k handstamp.ServiceKey) string { return string(k.ID) }, view: viewServiceKey,
		head: []string{"ID", "NAME", "PERMISSIONS", "CREATED", "EXPIRES"},
		row: func(k handstamp.ServiceKey) []string {
			return []string{string(k.ID), k.Name, wordsOf(k.Permissions), when(k.CreatedAt, a.now()), when(k.ExpiresAt, a.now())}
		},
	}.print(a, c.paging)
}

type serviceKeyDeleteCmd struct {
	ID     string `arg:"" help:"Id of the key (key_...)."`
	Reason string `placeholder:"TEXT" help:"Why, for the audit log."`
	Wait   bool   `help:"Wait until every server has applied it."`
}

// Run ends a key.
func (c *serviceKeyDeleteCmd) Run(ctx context.Context, a *app) error {
	k, err := id.ParseServiceKey(c.ID)
	if err != nil && credentialPattern().MatchString(c.ID) {
		return usage("this is the key itself, not its id (key_...): handstamp inspect names it")
	}
	if err != nil {
		return usage("%q is no id of a service key (key_...): see handstamp service-key list", short(c.ID))
	}
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	if err := t.hasServiceKey(ctx, k); err != nil {
		return err
	}
	ended, err := t.auth.EndServiceKey(ctx, k, cliEnd(c.Reason))
	if err != nil {
		return err
	}
	return t.finish(ctx, a, string(k)+" is deleted", c.Wait, ended)
}

// hasServiceKey keeps a mistyped id from being answered with success.
func (t *tool) hasServiceKey(ctx context.Context, k id.ServiceKey) error {
	for after := id.ServiceKey(""); ; {
		page, err := t.accounts.Users().ServiceKeys(ctx, after, 1000)
		if err != nil {
			return err
		}
		for _, found := range page {
			if found.ID == k {
				return nil
			}
		}
		if len(page) < 1000 {
			return errors.New("there is no such service key, or it has ended already: see handstamp service-key list")
		}
		after = page[len(page)-1].ID
	}
}
