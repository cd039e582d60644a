package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// parseWebURL takes an absolute http or https URL of a host and a plain path.
// Scheme and host become lower case, the scheme's own port and a final slash are
// removed: a browser's Origin header (RFC 6454 section 6) and the links we make
// then compare equal byte for byte.
func parseWebURL(text string) (*url.URL, problems) {
	u, err := url.Parse(text) // the error quotes the text, which may hold a password
	if err != nil || u.Opaque != "" || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, problems{"must be an absolute URL such as https://id.example.com"}
	}
	var bad problems
	if u.User != nil {
		bad = append(bad, "has a user name or password in it: remove everything up to the @")
	}
	if u.RawQuery != "" || u.ForceQuery || strings.ContainsAny(text, "?#") {
		bad = append(bad, "has a query or fragment: end it before ? and #")
	}
	host, wrong := parseAuthority(u)
	bad = append(bad, wrong...)
	path := strings.TrimSuffix(u.Path, "/")
	if u.RawPath != "" || !plainPath(path) {
		// The path is written into cookies, whose attributes end at ";", and is
		// compared by proxies that resolve "..": only plain segments are safe.
		bad = append(bad, "has a path that is not made of plain segments: use letters, digits and . _ ~ - between single slashes")
	}
	if len(bad) > 0 {
		return nil, bad
	}
	return &url.URL{Scheme: u.Scheme, Host: host, Path: path}, nil
}

func plainPath(path string) bool {
	if path == "" {
		return true
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
		for _, r := range segment {
			if !isAlnum(r) && !strings.ContainsRune("._~-", r) {
				return false
			}
		}
	}
	return path[0] == '/'
}

func isAlnum(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// parseAuthority returns host[:port] of u in the form that browsers write.
func parseAuthority(u *url.URL) (string, problems) {
	host := strings.ToLower(u.Hostname())
	if p := hostProblem(host); p != "" {
		return "", problems{p}
	}
	if strings.Contains(host, ":") {
		host = "[" + netip.MustParseAddr(host).String() + "]" // hostProblem parsed it
	}
	port := u.Port()
	if port == "" {
		if strings.HasSuffix(u.Host, ":") {
			return "", problems{"ends in a colon without a port"}
		}
		return host, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", problems{"has no valid port: use 1 to 65,535"}
	}
	if u.Scheme == "http" && n == 80 || u.Scheme == "https" && n == 443 {
		return host, nil
	}
	return host + ":" + strconv.FormatUint(n, 10), nil
}

// hostProblem says what is wrong with a lower-case host name or address. Browsers
// take a name whose last label is a number for an IPv4 address in one of many
// spellings (URL standard, "ends in a number"), so only the usual one is taken.
func hostProblem(host string) string {
	if strings.Contains(host, ":") {
		addr, err := netip.ParseAddr(host)
		if err != nil || addr.Zone() != "" || addr.Is4In6() {
			return "has no valid IPv6 address as its host: write it as [2001:db8::1]"
		}
		return ""
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is4() {
		return ""
	}
	if len(host) > 253 {
		return "has a host name of more than 253 characters"
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !plainLabel(label) {
			return "has no valid host name: use letters, digits, - and single dots, and the xn-- form of other letters"
		}
	}
	last := labels[len(labels)-1]
	if last[0] >= '0' && last[0] <= '9' {
		return "has a host that ends in a number but is no IPv4 address"
	}
	return ""
}

// plainLabel is RFC 1123 section 2.1, with the underscore that container
// networks put into names.
func plainLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for _, r := range label {
		if !isAlnum(r) && r != '-' && r != '_' {
			return false
		}
	}
	return true
}

// isLoopback reports whether host can only be this machine: the loopback
// addresses, and localhost with the names below it (RFC 6761 section 6.3).
func isLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// parseOrigin takes exactly what a browser sends in Origin: no path, not even a
// slash, and neither null (any sandboxed page has that origin) nor *.
func parseOrigin(text string) (string, problems) {
	if text == "null" || strings.Contains(text, "*") {
		return "", problems{"must be one exact origin such as https://app.example.com: null and * would let any page in"}
	}
	u, bad := parseWebURL(text)
	if len(bad) > 0 {
		return "", bad
	}
	if _, rest, _ := strings.Cut(text, "://"); strings.Contains(rest, "/") {
		return "", problems{"has a path: end it after the host and port, without a slash"}
	}
	return u.Scheme + "://" + u.Host, nil
}

// parseIssuer takes an http or https URL (RFC 8414 section 2) and keeps it as it
// is, since issuers are compared byte for byte.
func parseIssuer(text string) (string, problems) {
	_, bad := parseWebURL(text)
	return text, bad
}

// parseAddr takes host:port of a listener. Port 0 lets the system choose.
func parseAddr(text string) (string, problems) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", problems{"must be HOST:PORT, such as 127.0.0.1:8080, [::1]:8080 or :8080 for every interface"}
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", problems{"has no valid port: use 0 to 65,535"}
	}
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return text, nil
	}
	if p := hostProblem(strings.ToLower(host)); p != "" {
		return "", problems{p}
	}
	return text, nil
}

// parsePrefix takes a network or a single address. A network with bits behind
// its length is refused: it is as likely a wrong length as a wrong address.
func parsePrefix(text string) (netip.Prefix, problems) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" && !addr.Is4In6() {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, problems{"must be a network or an address, such as 10.0.0.0/8, fd00::/8 or 192.0.2.7"}
	}
	if p != p.Masked() {
		return netip.Prefix{}, problems{"has bits behind its length: write " + p.Masked().String() + " or another length"}
	}
	return p, nil
}

// parseDomain takes the Domain attribute of a cookie (RFC 6265bis section
// 4.1.2.3): a name of at least two labels, since browsers drop cookies for a
// whole top-level domain and for addresses.
func parseDomain(text string) (string, problems) {
	domain := strings.ToLower(text)
	if strings.HasPrefix(domain, ".") {
		return "", problems{"starts with a dot: write example.com"}
	}
	if strings.Contains(domain, ":") {
		return "", problems{"must be a domain such as example.com, without scheme or port"}
	}
	if p := hostProblem(domain); p != "" {
		return "", problems{p}
	}
	if _, err := netip.ParseAddr(domain); err == nil {
		return "", problems{"is an address: a cookie can have a domain such as example.com only"}
	}
	if !strings.Contains(domain, ".") {
		return "", problems{"is a single label: browsers take a domain of two labels or more, such as example.com"}
	}
	return domain, nil
}

// parseAudience takes any short text. RFC 7519 section 2 (StringOrURI): a text
// with a colon must be a URI.
func parseAudience(text string) (string, problems) {
	if len(text) > 512 {
		return "", problems{"is longer than 512 bytes"}
	}
	if strings.Contains(text, ":") {
		if u, err := url.Parse(text); err != nil || u.Scheme == "" {
			return "", problems{"has a colon and so must be a URI, such as https://api.example.com or urn:example:api"}
		}
	}
	return text, nil
}
