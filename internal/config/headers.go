package config

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// headers is the kind of a table from a header that we send to the name that it
// gets. In one text: Handstamp-User=Remote-User,Handstamp-Email=Remote-Email.
func headers(field func(*Config) *map[string]string) kind {
	return kind{
		name: "map", limits: "of " + or(emittedHeaders()) + " to other names, of letters, digits and -", accept: accept{table: true},
		set: func(c *Config, v value) problems {
			pairs, bad := v.pairs, problems(nil)
			if v.form != formPairs {
				pairs, bad = splitPairs(v.list())
			}
			names, wrong := renameHeaders(pairs)
			if bad = append(bad, wrong...); len(bad) == 0 {
				*field(c) = names
			}
			return bad
		},
		show: func(c *Config) string {
			m := *field(c)
			var texts []string
			for _, from := range slices.Sorted(maps.Keys(m)) {
				texts = append(texts, from+"="+m[from])
			}
			return strings.Join(texts, ",")
		},
		clear: func(c *Config) { *field(c) = nil },
	}
}

func splitPairs(items []string) (map[string]string, problems) {
	var bad problems
	pairs := map[string]string{}
	for _, item := range items {
		from, to, found := strings.Cut(item, "=")
		from, to = strings.TrimSpace(from), strings.TrimSpace(to)
		if _, twice := pairs[from]; !found || twice {
			bad = append(bad, "must name each header once, as in Handstamp-User=Remote-User")
			continue
		}
		pairs[from] = to
	}
	return pairs, bad
}

// renameHeaders checks pairs and brings them to canonical form. Two headers of
// one name would let the value of the one be read as the other.
func renameHeaders(pairs map[string]string) (map[string]string, problems) {
	var bad problems
	names, taken := map[string]string{}, map[string]string{}
	for _, from := range slices.Sorted(maps.Keys(pairs)) {
		to := pairs[from]
		ours := http.CanonicalHeaderKey(from)
		if !slices.Contains(emittedHeaders(), ours) {
			bad = append(bad, "renames a header that is never sent: only "+or(emittedHeaders())+" can be renamed")
			continue
		}
		if _, twice := names[ours]; twice {
			bad = append(bad, "renames "+ours+" twice: keep one")
			continue
		}
		if !headerName(to) {
			bad = append(bad, "gives "+ours+" a name that is not made of letters, digits and - alone: "+
				"not every proxy passes such a header on, and some take it for another one; use one such as Remote-User")
			continue
		}
		if ownHeader(http.CanonicalHeaderKey(to)) {
			bad = append(bad, "gives "+ours+" a name that has another meaning in HTTP: use one such as Remote-User")
			continue
		}
		names[ours] = http.CanonicalHeaderKey(to)
	}
	for _, ours := range emittedHeaders() {
		final, renamed := names[ours]
		if !renamed {
			final = ours
		}
		if other, clash := taken[final]; clash {
			bad = append(bad, "gives "+other+" and "+ours+" the same name: choose another for one of them")
		}
		taken[final] = ours
	}
	return names, bad
}

// headerName accepts the letters, digits and hyphens that every proxy passes on, of what RFC 9110 section 5.6.2 permits.
// An underscore is refused: proxies and application servers take Remote_User and Remote-User for one header, so a client
// that writes the other spelling, which nobody deletes, would be whoever it likes.
func headerName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !isAlnum(r) && r != '-' })
}

// emittedHeaders are the headers of a check's answer.
func emittedHeaders() []string {
	return []string{
		"Handstamp-User", "Handstamp-Session", "Handstamp-Roles",
		"Handstamp-Permissions", "Handstamp-Expires", "Handstamp-Email",
	}
}

// ownHeader reports whether name means something else in an answer, to a proxy
// or to the browser behind it.
func ownHeader(name string) bool {
	return slices.Contains([]string{
		"Accept-Ranges", "Age", "Authorization", "Cache-Control", "Clear-Site-Data", "Connection", "Content-Encoding",
		"Content-Length", "Content-Type", "Cookie", "Date", "Expires", "Host", "Keep-Alive", "Location", "Pragma",
		"Proxy-Authenticate", "Proxy-Authorization", "Request-Id", "Retry-After", "Server", "Set-Cookie",
		"Strict-Transport-Security", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Vary", "Via",
		"Www-Authenticate",
	}, name) || strings.HasPrefix(name, "Access-Control-")
}
