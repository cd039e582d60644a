package main

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/handstamp/handstamp/internal/config"
)

// configCheck is an ailment that the configuration alone shows.
type configCheck struct {
	ailment
	// development says that it counts also where somebody tries things out: plain http on this machine only.
	development bool
	// found says what is the case, or "" if nothing is wrong.
	found func(c *config.Config) string
}

// configChecks is the list.
func configChecks() []configCheck {
	return slices.Concat(webChecks(), proxyChecks(), cookieChecks(), lifeChecks(), accountChecks(), storeChecks(), []configCheck{warningCheck()})
}

// sentence makes a sentence of a condition.
func sentence(wrong bool, text string) string {
	if wrong {
		return text
	}
	return ""
}

// development reports whether this is a configuration to try things out with. What a public server must have is not
// asked of it.
func development(c *config.Config) bool { return c.PlainHTTP() && c.Loopback() }

// configuration applies the list, and passes on what reading the configuration warned of.
func (x *examination) configuration(warnings []config.Warning) {
	x.look("the configuration")
	for _, check := range configChecks() {
		if check.found == nil || development(x.cfg) && !check.development {
			continue
		}
		if text := check.found(x.cfg); text != "" {
			x.find(check.ailment, "%s", text)
		}
	}
	for _, w := range warnings {
		switch w.Key {
		case "origins", "trusted_proxies", "password.memory_kib":
			continue // the list has these
		}
		if strings.Contains(w.Text, "given on the command line") {
			x.findAt(w.Key, ailmentNamed("secret-on-command-line"), "%s", w.Text)
			continue
		}
		x.findAt(w.Key, ailmentNamed("configuration-warning"), "%s", w.Text)
	}
}

// warningCheck is what package config warns of by itself; its text says what to do.
func warningCheck() configCheck {
	return configCheck{ailment{"configuration-warning", low, "", "the server starts with it, but does something else than the file says, or something weak",
		"see what was found"}, true, nil}
}

func webChecks() []configCheck {
	return []configCheck{
		{ailment{"plain-http", high, "insecure_http", "whoever is on the way (the same Wi-Fi, a router, a provider) reads passwords and takes over sessions; cookies have neither Secure nor the __Host- prefix",
			"give public_url https (a TLS proxy in front is enough) and remove insecure_http"}, true,
			func(c *config.Config) string {
				return sentence(c.PlainHTTP() && !c.Loopback(), "clients reach "+c.PublicURL.String()+" without encryption")
			}},
		{ailment{"insecure-http-left-on", low, "insecure_http", "the slip of writing http:// for https:// in public_url would go unnoticed and take the encryption away",
			"remove insecure_http: public_url is https"}, true,
			func(c *config.Config) string {
				return sentence(c.InsecureHTTP && !c.PlainHTTP(), "plain http is permitted, and not needed")
			}},
		{ailment{"development-open", high, "addr", "everybody who reaches this port talks to a server without encryption, whose cookies are made for this machine only",
			"listen at 127.0.0.1, or give public_url the https address that clients use"}, true,
			func(c *config.Config) string {
				return sentence(development(c) && !loopbackListener(c.Addr), "public_url is for this machine only, but addr "+c.Addr+" is open to others")
			}},
		{ailment{"listener-without-tls", medium, "addr", "who knows the address of the machine goes past the proxy: without encryption, without its limits, and with forwarded headers of their own where its network is trusted",
			"listen at 127.0.0.1 or at an address that only the proxy reaches, or set tls.cert and tls.key"}, false,
			func(c *config.Config) string {
				return sentence(!c.PlainHTTP() && c.TLS.Cert == "" && publicListener(c.Addr), "addr "+c.Addr+" takes plain http at a public address of this machine")
			}},
		{ailment{"ops-open", low, "ops_addr", "metrics and /readyz tell everybody on that network what the server does, which store is down, and whether a flood works",
			"listen at 127.0.0.1; where probes come from another machine, let a firewall or a NetworkPolicy admit these alone, and accept this finding"}, false,
			func(c *config.Config) string {
				return sentence(!loopbackListener(c.OpsAddr) && !publicListener(c.OpsAddr), "ops_addr "+c.OpsAddr+" is open to other machines")
			}},
		{ailment{"ops-public", high, "ops_addr", "metrics and /readyz tell everybody what the server does, which store is down, and whether a flood works",
			"listen at 127.0.0.1 or at a private address"}, true,
			func(c *config.Config) string {
				return sentence(publicListener(c.OpsAddr), "ops_addr "+c.OpsAddr+" is open at a public address of this machine")
			}},
		{ailment{"origin-plain-http", high, "origins", "whoever can change a page of that origin on the way (any open Wi-Fi) calls this server as the users who see it",
			"give the origin https"}, false,
			func(c *config.Config) string {
				return badOrigins(c, func(u originParts) bool { return u.scheme == "http" && !u.loopback })
			}},
		{ailment{"origin-loopback", medium, "origins", "any program on a user's machine that listens at that port calls this server as that user",
			"take it out of the configuration of the public server; give development a configuration of its own"}, false,
			func(c *config.Config) string {
				return badOrigins(c, func(u originParts) bool { return u.loopback })
			}},
		{ailment{"origin-lookalike", high, "origins", "a name that only looks like yours belongs to somebody else, whose pages may then call this server as your users",
			"write the exact origin; if it is meant, accept this finding"}, false,
			func(c *config.Config) string {
				return badOrigins(c, func(u originParts) bool { return lookalike(u.host, c.PublicURL.Hostname()) })
			}},
	}
}

type originParts struct {
	scheme, host string
	loopback     bool
}

// badOrigins names the origins of which wrong is true.
func badOrigins(c *config.Config, wrong func(originParts) bool) string {
	var bad []string
	for _, o := range c.Origins {
		scheme, rest, _ := strings.Cut(o, "://")
		host, _, err := net.SplitHostPort(rest)
		if err != nil {
			host = strings.Trim(rest, "[]")
		}
		if wrong(originParts{scheme, host, loopbackHost(host)}) {
			bad = append(bad, o)
		}
	}
	return sentence(len(bad) > 0, "origins has "+strings.Join(bad, ", "))
}

// lookalike reports whether a host holds the name of our site without being below it: id.example.com.evil.net,
// notexample.com, and the same with another top-level domain in front of somebody's own.
func lookalike(host, ours string) bool {
	site, err := publicsuffix.EffectiveTLDPlusOne(ours)
	if err != nil || host == site || strings.HasSuffix(host, "."+site) {
		return false
	}
	return strings.Contains(host, site)
}

func loopbackHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

func loopbackListener(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && loopbackHost(host)
}

// publicListener reports whether a listener is at an address that the whole internet can route to. Of "every interface"
// this machine's own addresses decide: in a container or behind a router none of them is public.
func publicListener(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() {
		return publicAddr(a)
	}
	if host != "" && host != "0.0.0.0" && host != "::" {
		return false // a name: who resolves it is not asked
	}
	own, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(own, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && publicAddr(p.Addr())
	})
}

// publicAddr leaves out what is not routed: private, link-local and loopback addresses, and the shared space of carriers
// (RFC 6598), which clouds use inside as well.
func publicAddr(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !netip.MustParsePrefix("100.64.0.0/10").Contains(a)
}

func proxyChecks() []configCheck {
	return []configCheck{
		{ailment{"trusted-proxies-everyone", high, "trusted_proxies", "every client writes its own address into X-Forwarded-For: no limit of failed logins holds, and the audit log has what the attacker likes",
			"name the addresses of your proxies"}, true,
			func(c *config.Config) string {
				return prefixesThat(c, func(p netip.Prefix) bool { return p.Bits() < leastBits(p, 8, 16) })
			}},
		{ailment{"trusted-proxies-wide", medium, "trusted_proxies", "who rents a machine in that network writes its own address into X-Forwarded-For, and gets around the limit of failed logins",
			"name the addresses of your proxies, or the published networks of the service in front"}, true,
			func(c *config.Config) string {
				return prefixesThat(c, func(p netip.Prefix) bool {
					wide := p.Bits() >= leastBits(p, 8, 16) && p.Bits() < leastBits(p, 12, 24)
					return wide && publicAddr(p.Addr()) // 10.0.0.0/8 and fd00::/8 are nobody's to rent
				})
			}},
		{ailment{"trusted-proxies-none", medium, "trusted_proxies", "all clients have the address of the TLS proxy: the failed logins of one attacker slow down everybody's, and the audit log cannot tell users apart",
			"name the proxy, such as 127.0.0.1/32"}, false,
			func(c *config.Config) string {
				return sentence(!c.PlainHTTP() && c.TLS.Cert == "" && len(c.TrustedProxies) == 0,
					"public_url is https and there is no tls.cert, so a proxy stands in front, and no proxy is trusted")
			}},
		{ailment{"check-header-forwarded", medium, "check.headers", "the name is one that proxies set and overwrite themselves: the application reads an address or a host for a user, or the other way round",
			"use names of their own, such as Remote-User"}, false,
			func(c *config.Config) string {
				return headersThat(c, func(name string) bool {
					return name == "Forwarded" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-For") || strings.HasPrefix(name, "X-Forwarded-Host") ||
						strings.HasPrefix(name, "X-Forwarded-Proto") || name == "X-Original-Uri" || name == "X-Original-Method"
				})
			}},
	}
}

func leastBits(p netip.Prefix, v4, v6 int) int {
	if p.Addr().Is4() {
		return v4
	}
	return v6
}

func prefixesThat(c *config.Config, wrong func(netip.Prefix) bool) string {
	var bad []string
	for _, p := range c.TrustedProxies {
		if wrong(p) && !(p.Addr().IsPrivate() && p.Bits() >= leastBits(p, 8, 7)) {
			bad = append(bad, p.String())
		}
	}
	return sentence(len(bad) > 0, "trusted_proxies has "+strings.Join(bad, ", "))
}

func headersThat(c *config.Config, wrong func(string) bool) string {
	var bad []string
	for _, name := range c.Check.Headers {
		if wrong(name) {
			bad = append(bad, name)
		}
	}
	slices.Sort(bad)
	return sentence(len(bad) > 0, "check.headers gives the name "+strings.Join(bad, ", "))
}

func cookieChecks() []configCheck {
	return []configCheck{
		{ailment{"cookie-domain", medium, "cookie.domain", "the session cookie goes to every subdomain, and any of them can plant one: one forgotten host with a hole, or one taken over by its DNS entry, is enough; the __Host- prefix is gone",
			"remove cookie.domain and let each application have its own session, or serve them all below one host"}, false,
			func(c *config.Config) string {
				return sentence(c.Cookie.Domain != "" && !publicSuffix(c.Cookie.Domain), "cookies are shared with every host below "+c.Cookie.Domain)
			}},
		{ailment{"cookie-domain-suffix", high, "cookie.domain", "browsers drop a cookie for a public suffix: nobody can log in; a browser that does not know the suffix gives it to strangers",
			"remove cookie.domain, or name a domain of your own"}, false,
			func(c *config.Config) string {
				return sentence(c.Cookie.Domain != "" && publicSuffix(c.Cookie.Domain), c.Cookie.Domain+" is a suffix below which strangers register names")
			}},
		{ailment{"same-site-none", medium, "cookie.same_site", "the browser sends the cookie with every request that another site makes it send: the origin rules alone stand in the way, and a check by a proxy that says no method has none",
			"use strict, or lax where links from elsewhere must arrive logged in"}, false,
			func(c *config.Config) string {
				return sentence(c.Cookie.SameSite == config.SameSiteNone, "cookies are sent with requests from other sites")
			}},
	}
}

// publicSuffix reports whether strangers can register names below a domain.
func publicSuffix(domain string) bool {
	suffix, listed := publicsuffix.PublicSuffix(domain)
	return suffix == domain && (listed || strings.Contains(domain, "."))
}
