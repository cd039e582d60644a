package handstamp

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxUserAgentBytes bounds what is kept of a User-Agent header.
const maxUserAgentBytes = 512

// ClientOf says who sent a request, for audit log and throttling: the address by the rules for trusted proxies, the
// User-Agent cut to 512 bytes, and the header Request-Id that the server set on the answer's way in.
func (a *Auth) ClientOf(r *http.Request) Client {
	c := Client{UserAgent: cut(r.UserAgent(), maxUserAgentBytes), RequestID: cut(r.Header.Get("Request-Id"), 128)}
	if addr := ClientAddr(r, a.opt.TrustedProxies); addr.IsValid() {
		c.IP = addr.String()
	}
	if p, ok := FromContext(r.Context()); ok {
		c.Actor = string(p.User)
	}
	return c
}

// ClientAddr is the address of who sent a request. Forwarded headers count only when the peer is a trusted proxy; then
// X-Forwarded-For is walked from the right, and the first address that is no trusted proxy is the client. What is left of
// it anybody may have written. The answer has no zone and no IPv4-in-IPv6 form, so that one client has one text.
func ClientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	client := plain(peer.Addr())
	if !contains(trusted, client) {
		return client
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		addr, err := netip.ParseAddr(strings.Trim(hops[i], " \t"))
		if err != nil {
			return client // nothing, or garbage: the last proxy that is known is as far as trust goes
		}
		client = plain(addr)
		if !contains(trusted, client) {
			return client
		}
	}
	return client
}

// Network is the part of an address that a limit counts: an IPv6 client has a whole /64 to draw addresses from.
func Network(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := plain(a).Prefix(min(bits, plain(a).BitLen()))
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// cut shortens to at most n bytes of valid UTF-8.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "?")
}
