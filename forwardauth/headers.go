package forwardauth

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
)

// names are the headers of an answer, which an operator may choose.
type names struct{ user, session, roles, permissions, expires, email string }

func defaultNames() map[string]string {
	all := map[string]string{}
	for _, n := range []string{"User", "Session", "Roles", "Permissions", "Expires", "Email"} {
		all["Handstamp-"+n] = "Handstamp-" + n
	}
	return all
}

// newNames renames the defaults. Two that end up with one name are refused: the application behind could not tell whether
// it is told an id or an address that somebody chose.
func newNames(renamed map[string]string) (names, error) {
	n := defaultNames()
	var errs []error
	for _, from := range slices.Sorted(maps.Keys(renamed)) {
		key, to := http.CanonicalHeaderKey(from), renamed[from]
		if _, known := n[key]; !known {
			errs = append(errs, fmt.Errorf("forwardauth: Options.Headers: %q is no header of an answer", from))
			continue
		}
		if !headerName(to) {
			errs = append(errs, fmt.Errorf("forwardauth: Options.Headers: %q is no name of a header: letters, digits and '-'", to))
			continue
		}
		n[key] = http.CanonicalHeaderKey(to)
	}
	seen := map[string]bool{}
	for _, from := range slices.Sorted(maps.Keys(n)) {
		if seen[n[from]] {
			errs = append(errs, fmt.Errorf("forwardauth: Options.Headers: %s is the name of two headers", n[from]))
		}
		seen[n[from]] = true
	}
	return names{
		user: n["Handstamp-User"], session: n["Handstamp-Session"], roles: n["Handstamp-Roles"],
		permissions: n["Handstamp-Permissions"], expires: n["Handstamp-Expires"], email: n["Handstamp-Email"],
	}, errors.Join(errs...)
}

// headerName accepts the letters, digits and hyphens that every proxy passes on. An underscore is refused: servers that
// fold it into a hyphen would let a client send the same header under another name.
func headerName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// describe writes who it is. Nothing of it comes from the request's own headers.
func (h *Handler) describe(out http.Header, p handstamp.Principal) {
	n := h.names
	out.Set(n.user, headerText(string(p.User)))
	roles := p.Roles()
	for i, role := range roles {
		roles[i] = headerText(role)
	}
	out.Set(n.roles, strings.Join(roles, " "))
	out.Set(n.permissions, strings.Join(p.Permissions(), " "))
	if p.Session != "" {
		out.Set(n.session, string(p.Session))
	}
	if !p.ExpiresAt.IsZero() {
		out.Set(n.expires, p.ExpiresAt.UTC().Format(time.RFC3339))
	}
	if email, verified := p.Email(); email != "" && (verified || h.anyEmail) {
		out.Set(n.email, headerText(email))
	}
}

// headerText makes a text fit a header, and no two texts alike: everything but visible ASCII, and the percent sign itself,
// is percent-encoded as UTF-8 (RFC 3986 section 2.1). Bytes above 0x7f are read differently by every proxy, and spaces at
// the ends are cut off. Ids like usr_… and numbers stay as they are.
func headerText(s string) string {
	plain := func(c byte) bool { return c > 0x20 && c < 0x7f && c != '%' }
	clean := true
	for i := range len(s) {
		clean = clean && plain(s[i])
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if plain(s[i]) {
			b.WriteByte(s[i])
			continue
		}
		const hex = "0123456789ABCDEF"
		b.Write([]byte{'%', hex[s[i]>>4], hex[s[i]&15]})
	}
	return b.String()
}
