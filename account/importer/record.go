package importer

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
)

// The fields of a line.
const (
	fieldID        = "id"
	fieldEmail     = "email"
	fieldVerified  = "email_verified"
	fieldHash      = "password_hash"
	fieldSalt      = "password_salt"
	fieldRoles     = "roles"
	fieldDisabled  = "disabled"
	fieldCreatedAt = "created_at"
)

// fields returns all of them, in the order in which they are documented.
func fields() []string {
	return []string{fieldID, fieldEmail, fieldVerified, fieldHash, fieldSalt, fieldRoles, fieldDisabled, fieldCreatedAt}
}

// Bounds of single fields, in bytes. Stored hashes are the longest thing in an account.
const maxHashBytes = 4096

// record is a line as it was read: texts that nobody has judged yet.
type record struct {
	id, email, hash, salt, createdAt string
	verified, disabled               bool
	roles                            []string // nil for none given
}

// account judges a record. A Problem names the field.
func (rec record) account(opt Options) (account.Imported, *Problem) {
	none := func(field, text string) (account.Imported, *Problem) {
		return account.Imported{}, &Problem{Field: field, Text: text}
	}
	i := account.Imported{EmailVerified: rec.verified, Disabled: rec.disabled, Roles: rec.roles}
	if rec.id != "" {
		if _, err := id.ParseUser(rec.id); err != nil {
			return none(fieldID, "a user id has 1 to 128 bytes of UTF-8 without control characters: leave it out to have a new one made")
		}
		i.ID = handstamp.UserID(rec.id)
	}
	if rec.email == "" {
		return none(fieldEmail, "it is missing: an account needs an address to log in with")
	}
	email, err := account.ParseAddress(rec.email)
	if problem, ok := errors.AsType[*account.AddressError](err); ok {
		return none(fieldEmail, problem.Error())
	}
	if err != nil {
		return none(fieldEmail, "it is not an address")
	}
	i.Email = email
	if rec.createdAt != "" {
		if i.CreatedAt, err = parseTime(rec.createdAt); err != nil {
			return none(fieldCreatedAt, err.Error())
		}
	}
	if i.PasswordHash, err = rec.stored(opt); err != nil {
		return none(fieldHash, rec.scrub(err))
	}
	return i, nil
}

// stored returns the hash as it is to be stored, empty for none.
func (rec record) stored(opt Options) (string, error) {
	stored := rec.hash
	switch {
	case len(rec.hash) > maxHashBytes || len(rec.salt) > maxHashBytes:
		return "", errors.New("it is too long")
	case rec.hash == "" && rec.salt == "":
		return "", nil
	case rec.hash == "":
		return "", errors.New("there is a salt without a hash")
	case opt.CheckHash == nil:
		return "", errors.New("hashes are not taken here: leave the field out, and let people set new passwords")
	case rec.salt != "" && opt.JoinSalt == nil:
		return "", errors.New("there is a salt, and nothing was said about how the two belong together: " +
			"give the parameters of the system they come from, or put both into one text")
	case rec.salt != "":
		var err error
		if stored, err = opt.JoinSalt(rec.hash, rec.salt); err != nil {
			return "", err
		}
	}
	if err := opt.CheckHash(stored); err != nil {
		return "", err
	}
	return stored, nil
}

// scrub returns the text of a caller's error, unless it holds what the caller was asked not to repeat. What is shorter
// than eight bytes is no hash, and may be in any sentence.
func (rec record) scrub(err error) string {
	text := err.Error()
	for _, secret := range []string{rec.hash, rec.salt} {
		if len(secret) >= 8 && strings.Contains(text, secret) {
			return "it cannot be used"
		}
	}
	return text
}

// layouts are RFC 3339, and what databases print for a time with its zone.
func layouts() []string {
	return []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07"}
}

func parseTime(s string) (time.Time, error) {
	for _, layout := range layouts() {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		if y := t.UTC().Year(); y < 1970 || y > 2199 {
			return time.Time{}, errors.New("the year is not in 1970 to 2199")
		}
		return t.UTC(), nil
	}
	return time.Time{}, errors.New("it is no time with a zone such as 2021-04-05T06:07:08Z")
}

// unknown is the problem of names that are no field.
func unknown(names []string) *Problem {
	shown := make([]string, 0, len(names))
	for _, n := range names {
		shown = append(shown, printable(n))
	}
	slices.Sort(shown)
	if len(shown) > 10 {
		shown = append(shown[:10], "…")
	}
	return &Problem{Text: "not known here: " + strings.Join(shown, ", ") + "; remove or rename it. Known are: " + strings.Join(fields(), ", ")}
}

// printable returns a name that looks like one. Where there should be names there may be values, when a header is
// missing.
func printable(name string) string {
	if name == "" || len(name) > 40 {
		return "(a name that is not shown)"
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return "(a name that is not shown)"
		}
	}
	return name
}
