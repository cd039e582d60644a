package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
)

func accountRules() []rule[Backend] {
	return []rule[Backend]{
		{"round_trip", "an account comes back by id and by address as it was put", accountRoundTrip},
		{"absent", "what is not there is ErrNotFound, in every reading call", accountAbsent},
		{"compare_and_swap", "an account is created once and replaced only in the version it was read in", accountSwap},
		{"email_unique", "an address has one account, and a refused one changes nothing", emailUnique},
		{"email_race", "of fifty sign-ups of one address exactly one wins", emailRace},
		{"email_moves", "an address that was given up can be taken, the old one finds nobody", emailMoves},
		{"subject_joins", "roles and disabled are the subject's: an account is read with them and never writes them", subjectJoins},
		{"delete", "a deleted account is gone with its credentials; its subject stays, and its address is free", accountDelete},
		{"delete_addresses", "a deleted account leaves no address in the records of its sessions, which stay until their end", accountDeleteAddresses},
		{"list", "accounts are listed by ascending id; pages neither repeat nor skip", accountList},
		{"query", "a query is a part of the address, in either case, and nothing in it is a pattern", accountQuery},
		{"credentials", "a credential is created once and replaced only in the version it was read in", credentialSwap},
		{"credential_race", "of fifty writers of one version exactly one wins", credentialRace},
		{"roles", "a role is created, replaced and deleted; deleting it twice says so", roleRules},
		{"roles_from_the_start", "admin may everything and member nothing, before anybody said so", rolesSeeded},
		{"roles_found", "a credential is found with the definitions of its user's roles, as they are in that snapshot", rolesFound},
		{"service_keys", "a service key is found by its hash with the log's numbers, and ends by an event", serviceKeyRules},
		{"service_keys_listed", "keys that have not ended are listed by ascending id, in pages", serviceKeyPages},
	}
}

func user(n int) account.User {
	return account.User{
		ID: id.NewUser(at(n)), Email: account.Address(fmt.Sprintf("user%02d@example.com", n)), EmailVerified: n%2 == 0, CreatedAt: at(n),
	}
}

// accountUnit is a unit on accounts that must succeed.
func accountUnit(t testing.TB, b Backend, fn func(tx account.Tx) error) {
	t.Helper()
	if err := b.AccountWork().Do(t.Context(), fn); err != nil {
		t.Fatalf("Do = %v, want no error", err)
	}
}

// signUp makes an account as a sign-up does, subject first.
func signUp(t testing.TB, b Backend, u account.User) account.User {
	t.Helper()
	accountUnit(t, b, func(tx account.Tx) error { return putUser(t, tx, u) })
	got, err := b.Users().ByID(t.Context(), u.ID)
	must(t, err)
	return got
}

func putUser(t testing.TB, tx account.Tx, u account.User) error {
	sub, err := tx.Subject(t.Context(), u.ID)
	if err != nil {
		return err
	}
	if err := tx.PutSubject(t.Context(), sub); err != nil {
		return err
	}
	return tx.PutUser(t.Context(), u)
}

func accountRoundTrip(t *testing.T, b Backend) {
	want := user(2)
	signUp(t, b, want)
	want.Version = 1
	got, err := b.Users().ByEmail(t.Context(), want.Email)
	must(t, err)
	same(t, "the account by address", got, want)
	utc(t, "CreatedAt", got.CreatedAt, want.CreatedAt)
	want.EmailVerified = false
	accountUnit(t, b, func(tx account.Tx) error { return tx.PutUser(t.Context(), want) })
	want.Version = 2
	got, err = b.Users().ByID(t.Context(), want.ID)
	must(t, err)
	same(t, "the account after a change", got, want)
	accountUnit(t, b, func(tx account.Tx) error {
		got, err := tx.User(t.Context(), want.ID)
		same(t, "the account in a unit", got, want)
		return err
	})
}

func accountAbsent(t *testing.T, b Backend) {
	_, err := b.Users().ByID(t.Context(), "usr_none")
	fails(t, "ByID", err, handstamp.ErrNotFound)
	_, err = b.Users().ByEmail(t.Context(), "none@example.com")
	fails(t, "ByEmail", err, handstamp.ErrNotFound)
	_, err = b.Users().ByEmail(t.Context(), "")
	fails(t, "ByEmail of no address", err, handstamp.ErrNotFound)
	_, err = b.Users().Credential(t.Context(), "usr_none", "password")
	fails(t, "Credential", err, handstamp.ErrNotFound)
	_, err = b.Users().Role(t.Context(), "none")
	fails(t, "Role", err, handstamp.ErrNotFound)
	accountUnit(t, b, func(tx account.Tx) error {
		_, err := tx.User(t.Context(), "usr_none")
		fails(t, "User in a unit", err, handstamp.ErrNotFound)
		_, err = tx.Credential(t.Context(), "usr_none", "password")
		fails(t, "Credential in a unit", err, handstamp.ErrNotFound)
		fails(t, "DeleteRole", tx.DeleteRole(t.Context(), "none"), handstamp.ErrNotFound)
		return nil
	})
}

func accountSwap(t *testing.T, b Backend) {
	want := signUp(t, b, user(1))
	for _, version := range []uint64{0, 2, 1 << 40} {
		u := want
		u.Version, u.Email = version, "other@example.com"
		err := b.AccountWork().Do(t.Context(), func(tx account.Tx) error { return tx.PutUser(t.Context(), u) })
		fails(t, fmt.Sprintf("PutUser(version %d of 1)", version), err, handstamp.ErrConflict)
	}
	none := user(2)
	none.Version = 1
	err := b.AccountWork().Do(t.Context(), func(tx account.Tx) error { return putUser(t, tx, none) })
	fails(t, "PutUser(version 1 of no account)", err, handstamp.ErrConflict)
	got, err := b.Users().ByID(t.Context(), want.ID)
	must(t, err)
	same(t, "the account after that", got, want)
	_, err = b.Users().ByEmail(t.Context(), "other@example.com")
	fails(t, "ByEmail(the refused address)", err, handstamp.ErrNotFound)
}

func emailUnique(t *testing.T, b Backend) {
	one, two := signUp(t, b, user(1)), signUp(t, b, user(2))
	three := user(3)
	three.Email = one.Email
	err := b.AccountWork().Do(t.Context(), func(tx account.Tx) error { return putUser(t, tx, three) })
	fails(t, "PutUser(a new account of a taken address)", err, handstamp.ErrTaken)
	_, err = b.Users().ByID(t.Context(), three.ID)
	fails(t, "ByID(the refused account)", err, handstamp.ErrNotFound)
	moved := two
	moved.Email = one.Email
	err = b.AccountWork().Do(t.Context(), func(tx account.Tx) error { return tx.PutUser(t.Context(), moved) })
	fails(t, "PutUser(a taken address)", err, handstamp.ErrTaken)
	got, err := b.Users().ByEmail(t.Context(), one.Email)
	must(t, err)
	same(t, "the holder of the address", got, one)
	got, err = b.Users().ByEmail(t.Context(), two.Email)
	must(t, err)
	same(t, "who wanted it", got, two)
}

func emailRace(t *testing.T, b Backend) {
	won := race(t, func(n int) error {
		u := user(n)
		u.Email = "same@example.com"
		return b.AccountWork().Do(t.Context(), func(tx account.Tx) error { return putUser(t, tx, u) })
	})
	all, err := b.Users().List(t.Context(), account.UserFilter{Limit: 1000})
	must(t, err)
	if len(won) != 1 || len(all) != 1 {
		t.Errorf("%d sign-ups won and there are %d accounts, want 1 and 1", len(won), len(all))
	}
}

func emailMoves(t *testing.T, b Backend) {
	one := signUp(t, b, user(1))
	old := one.Email
	one.Email = "new@example.com"
	accountUnit(t, b, func(tx account.Tx) error { return tx.PutUser(t.Context(), one) })
	_, err := b.Users().ByEmail(t.Context(), old)
	fails(t, "ByEmail(an address that was given up)", err, handstamp.ErrNotFound)
	two := user(2)
	two.Email = old
	signUp(t, b, two)
	got, err := b.Users().ByEmail(t.Context(), "new@example.com")
	must(t, err)
	if got.ID != one.ID {
		t.Errorf("the new address is %s's, want %s's", got.ID, one.ID)
	}
}

func subjectJoins(t *testing.T, b Backend) {
	u := user(1)
	u.Roles, u.Disabled = []string{"admin"}, true // what an account says of itself grants nothing
	got := signUp(t, b, u)
	if len(got.Roles) != 0 || got.Disabled {
		t.Errorf("the account = %+v, want no roles and enabled", got)
	}
	sub := handstamp.Subject{User: u.ID, Disabled: true, Grants: handstamp.Grants{Roles: []string{"member", "editor"}}}
	unit(t, b, func(tx handstamp.Tx) error { return tx.PutSubject(t.Context(), sub) })
	got, err := b.Users().ByID(t.Context(), u.ID)
	must(t, err)
	if !slices.Equal(got.Roles, sub.Grants.Roles) || !got.Disabled {
		t.Errorf("the account = %+v, want the subject's roles and disabled", got)
	}
	byEmail, err := b.Users().ByEmail(t.Context(), u.Email)
	must(t, err)
	same(t, "the account by address", byEmail, got)
	all, err := b.Users().List(t.Context(), account.UserFilter{Limit: 10})
	must(t, err)
	same(t, "the accounts", all, []account.User{got})
	accountUnit(t, b, func(tx account.Tx) error {
		inside, err := tx.User(t.Context(), u.ID)
		same(t, "the account in a unit", inside, got)
		return err
	})
}

func accountDelete(t *testing.T, b Backend) {
	u := signUp(t, b, user(1))
	credential := account.Credential{User: u.ID, Method: "password", Data: "$x", CreatedAt: at(1), UpdatedAt: at(1)}
	accountUnit(t, b, func(tx account.Tx) error { return tx.PutCredential(t.Context(), credential) })
	a := add(t, b, endUser(u.ID, 2))
	accountUnit(t, b, func(tx account.Tx) error {
		if err := tx.DeleteUser(t.Context(), u.ID); err != nil {
			return err
		}
		_, err := tx.User(t.Context(), u.ID)
		fails(t, "User in the unit that deleted it", err, handstamp.ErrNotFound)
		return nil
	})
	_, err := b.Users().ByID(t.Context(), u.ID)
	fails(t, "ByID", err, handstamp.ErrNotFound)
	_, err = b.Users().ByEmail(t.Context(), u.Email)
	fails(t, "ByEmail", err, handstamp.ErrNotFound)
	_, err = b.Users().Credential(t.Context(), u.ID, "password")
	fails(t, "Credential", err, handstamp.ErrNotFound)
	if sub := subject(t, b, u.ID); sub.Ended != a.Last() {
		t.Errorf("the subject's Ended = %d, want %d", sub.Ended, a.Last())
	}
	err = b.AccountWork().Do(t.Context(), func(tx account.Tx) error { return tx.DeleteUser(t.Context(), u.ID) })
	if err != nil {
		fails(t, "DeleteUser of a deleted account", err, handstamp.ErrNotFound)
	}
	again := user(2)
	again.Email = u.Email
	signUp(t, b, again)
	_, err = b.Users().Credential(t.Context(), again.ID, "password")
	fails(t, "Credential of the next holder of the address", err, handstamp.ErrNotFound)
}

func accountDeleteAddresses(t *testing.T, b Backend) {
	u := signUp(t, b, user(1))
	ended, alive, other := begin(t, b, u.ID, 1), begin(t, b, u.ID, 2), begin(t, b, bob, 3)
	add(t, b, endSession(ended, 4))
	remove := func(fail error) error {
		return b.AccountWork().Do(t.Context(), func(tx account.Tx) error {
			if err := tx.DeleteUser(t.Context(), u.ID); err != nil {
				return err
			}
			return fail
		})
	}
	fails(t, "the unit", remove(errRollback), errRollback)
	same(t, "a session after a rollback", find(t, b, alive.ID).Session, alive)
	must(t, remove(nil))
	for _, sid := range []handstamp.SessionID{ended.ID, alive.ID} {
		if got := find(t, b, sid).Session; got.IP != "" || got.UserAgent != "" || got.User != u.ID {
			t.Errorf("the record of %s's session = IP %q, UserAgent %q, want neither", got.User, got.IP, got.UserAgent)
		}
	}
	if got := find(t, b, ended.ID).Session; got.EndedBy == 0 || got.EndReason == "" {
		t.Errorf("the tombstone = %+v, want it to say why", got)
	}
	same(t, "another user's session", find(t, b, other.ID).Session, other)
}

func accountList(t *testing.T, b Backend) {
	var want []account.User
	for _, n := range []int{4, 0, 3, 1, 2} {
		want = append(want, signUp(t, b, user(n)))
	}
	slices.SortFunc(want, func(a, b account.User) int { return a.CreatedAt.Compare(b.CreatedAt) })
	for _, limit := range []int{1, 2, 5, 1000} {
		var got []account.User
		f := account.UserFilter{Limit: limit}
		for range 10 {
			page, err := b.Users().List(t.Context(), f)
			must(t, err)
			if len(page) > limit {
				t.Errorf("List with a limit of %d = %d accounts", limit, len(page))
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			f.After = page[len(page)-1].ID
		}
		same(t, "all pages together", got, want)
	}
}

func accountQuery(t *testing.T, b Backend) {
	for n, address := range []account.Address{"a_b@example.com", "axb@example.com", "100%@example.org", `o'brien@example.com`, `back\slash@example.com`} {
		u := user(n)
		u.Email = address
		signUp(t, b, u)
	}
	for query, want := range map[string]int{
		"": 5, "EXAMPLE.org": 1, "a_b": 1, "%": 1, "_": 1, "A_B@": 1, "o'b": 1, `\`: 1, "nobody": 0, `%'`: 0, "*": 0, "@example.com": 4,
	} {
		got, err := b.Users().List(t.Context(), account.UserFilter{Query: query, Limit: 100})
		must(t, err)
		if len(got) != want {
			t.Errorf("List(query %q) = %d accounts, want %d", query, len(got), want)
		}
	}
}
