package handstamptest

import (
	"context"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/keyring"
)

type users struct {
	inner account.Users
	s     *Store
}

func (v users) ByID(ctx context.Context, u handstamp.UserID) (account.User, error) {
	return ask(v.s, func() (account.User, error) { return v.inner.ByID(ctx, u) })
}

func (v users) ByEmail(ctx context.Context, a account.Address) (account.User, error) {
	return ask(v.s, func() (account.User, error) { return v.inner.ByEmail(ctx, a) })
}

func (v users) List(ctx context.Context, f account.UserFilter) ([]account.User, error) {
	return ask(v.s, func() ([]account.User, error) { return v.inner.List(ctx, f) })
}

func (v users) Credential(ctx context.Context, u handstamp.UserID, method string) (account.Credential, error) {
	return ask(v.s, func() (account.Credential, error) { return v.inner.Credential(ctx, u, method) })
}

func (v users) Role(ctx context.Context, name string) (account.Role, error) {
	return ask(v.s, func() (account.Role, error) { return v.inner.Role(ctx, name) })
}

func (v users) ServiceKeys(ctx context.Context, after id.ServiceKey, limit int) ([]handstamp.ServiceKey, error) {
	return ask(v.s, func() ([]handstamp.ServiceKey, error) { return v.inner.ServiceKeys(ctx, after, limit) })
}

type keys struct {
	inner keyring.Store
	s     *Store
}

func (v keys) Keys(ctx context.Context) ([]keyring.Record, error) {
	return ask(v.s, func() ([]keyring.Record, error) { return v.inner.Keys(ctx) })
}

func (v keys) PutKey(ctx context.Context, r keyring.Record) error {
	if err := v.s.up(); err != nil {
		return err
	}
	return v.inner.PutKey(ctx, r)
}

func (v keys) DeleteKey(ctx context.Context, kid string) error {
	if err := v.s.up(); err != nil {
		return err
	}
	return v.inner.DeleteKey(ctx, kid)
}
