package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// address is what a URL says. Its texts are safe to print, but for option.
type address struct {
	option rueidis.ClientOption
	prefix string
	hosts  string // where it connects to, for people
	kind   kind
}

// kind is how the servers behind an address are joined.
type kind uint8

const (
	single   kind = iota + 1 // one server
	sentinel                 // a primary and replicas, watched by Sentinels
	cluster
)

// parseURL reads
//
//	redis://[user[:password]@]host[:port][/db][?parameters]       (also valkey://)
//	rediss://…                                                     the same over TLS (also valkeys://)
//
// with the parameters
//
//	addr=host:port          one more address, as often as there are; for Sentinel and Cluster
//	master=NAME             the addresses are Sentinels that watch this primary
//	sentinel_user=, sentinel_password=    for the Sentinels, if they want them
//	cluster=true            the addresses are nodes of a Cluster
//	prefix=TEXT             what all keys begin with
//	ca=FILE                 PEM: whom to believe, instead of the system's list (TLS)
//	cert=FILE, key=FILE     PEM: who this client is (TLS)
//	server_name=NAME        whose certificate to expect (TLS)
//
// Nothing switches the check of a certificate off. Errors never repeat the URL: it has the password.
func parseURL(text string) (address, error) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return address{}, errors.New("want redis://[user[:password]@]host[:port][/db], with special characters of a password percent-encoded")
	}
	a := address{option: baseOption(), kind: single}
	secure := false
	switch u.Scheme {
	case "redis", "valkey":
	case "rediss", "valkeys":
		secure = true
	default:
		return address{}, errors.New("want a URL that begins with redis://, rediss://, valkey:// or valkeys://")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return address{}, errors.New("the parameters after ? cannot be read")
	}
	if err := a.knowsAll(q); err != nil {
		return address{}, err
	}
	if err := a.places(u, q["addr"]); err != nil {
		return address{}, err
	}
	if err := a.joined(u, q); err != nil {
		return address{}, err
	}
	if a.option.SelectDB, err = database(u.Path); err != nil {
		return address{}, err
	}
	if a.kind == cluster && a.option.SelectDB != 0 {
		return address{}, errors.New("a Cluster has no database numbers: leave the path away")
	}
	if u.User != nil {
		a.option.Username = u.User.Username()
		a.option.Password, _ = u.User.Password()
	}
	a.prefix = q.Get("prefix")
	if a.option.TLSConfig, err = secureConfig(secure, u.Hostname(), q); err != nil {
		return address{}, err
	}
	a.option.Sentinel.TLSConfig = a.option.TLSConfig
	return a, nil
}

// knowsAll refuses what is misspelt or said twice: an unknown parameter may have been meant to make something safer.
func (a *address) knowsAll(q url.Values) error {
	known := []string{"addr", "master", "sentinel_user", "sentinel_password", "cluster", "prefix", "ca", "cert", "key", "server_name"}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name):
			return fmt.Errorf("there is no parameter %q; there are %s", name, strings.Join(known, ", "))
		case len(values) > 1 && name != "addr":
			return fmt.Errorf("the parameter %q is there twice", name)
		}
	}
	return nil
}

// places reads the addresses.
func (a *address) places(u *url.URL, more []string) error {
	for n, text := range append([]string{u.Host}, more...) {
		host, port := text, "6379"
		if h, p, err := net.SplitHostPort(text); err == nil {
			host, port = h, p
		} else if n == 0 {
			host = u.Hostname() // also of [::1]
		} else if strings.Contains(text, ":") {
			host = ""
		}
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 || host == "" || strings.ContainsAny(host, "[]@/ ") {
			return errors.New("want addresses of the form host:port")
		}
		a.option.InitAddress = append(a.option.InitAddress, net.JoinHostPort(host, port))
	}
	a.hosts = strings.Join(a.option.InitAddress, ", ")
	return nil
}

// joined reads how the servers belong together.
func (a *address) joined(u *url.URL, q url.Values) error {
	isCluster := false
	if q.Has("cluster") {
		var err error
		if isCluster, err = strconv.ParseBool(q.Get("cluster")); err != nil {
			return errors.New("want cluster=true or cluster=false")
		}
	}
	switch {
	case q.Has("master") && isCluster:
		return errors.New("want either master= (Sentinel) or cluster=true")
	case q.Has("master") && q.Get("master") == "":
		return errors.New("master= names the primary as the Sentinels know it")
	case q.Has("master"):
		a.kind = sentinel
		a.option.Sentinel.MasterSet = q.Get("master")
		a.option.Sentinel.Username, a.option.Sentinel.Password = q.Get("sentinel_user"), q.Get("sentinel_password")
	case q.Has("sentinel_user") || q.Has("sentinel_password"):
		return errors.New("sentinel_user and sentinel_password go with master=")
	case isCluster:
		a.kind = cluster
	case len(a.option.InitAddress) > 1:
		return errors.New("several addresses go with master= (Sentinel) or cluster=true")
	default:
		a.option.ForceSingleClient = true
	}
	if u.User != nil && u.User.Username() == "" {
		if password, ok := u.User.Password(); !ok || password == "" {
			return errors.New("there is an @ without a password before it")
		}
	}
	return nil
}

// database reads the number behind the host.
func database(path string) (int, error) {
	path = strings.TrimPrefix(path, "/")
	if path == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(path, 10, 16)
	if err != nil {
		return 0, errors.New("want the number of a database after the host, as in redis://host/0")
	}
	return int(n), nil
}

// secureConfig is nil for a connection in clear.
func secureConfig(secure bool, host string, q url.Values) (*tls.Config, error) {
	if !secure {
		for _, name := range []string{"ca", "cert", "key", "server_name"} {
			if q.Has(name) {
				return nil, fmt.Errorf("the parameter %q is for TLS: begin with rediss://", name)
			}
		}
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if name := q.Get("server_name"); name != "" {
		c.ServerName = name
	}
	if file := q.Get("ca"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the ca: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("there is no certificate in %s", file)
		}
	}
	if q.Get("cert") == "" && q.Get("key") == "" {
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(q.Get("cert"), q.Get("key"))
	if err != nil {
		return nil, fmt.Errorf("read cert and key: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
