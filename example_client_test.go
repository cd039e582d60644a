package handstamp_test

import (
	"fmt"
	"net/http/httptest"
	"net/netip"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/memory"
)

func ExampleAuth_ClientOf() {
	auth := openAuth(memory.New(), handstamp.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	defer auth.Close()
	r := browse("GET", "/")
	r.RemoteAddr = "10.0.0.1:1234" // the proxy
	r.Header.Set("X-Forwarded-For", "192.0.2.7")
	var client handstamp.Client = auth.ClientOf(r)
	fmt.Println(client.IP, auth.FromTrustedProxy(r))
	// Output: 192.0.2.7 true
}

// Only a trusted proxy may say for whom it asks.
func ExampleClientAddr() {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "203.0.113.5:1234"
	r.Header.Set("X-Forwarded-For", "192.0.2.7")
	fmt.Println(handstamp.ClientAddr(r, nil))
	fmt.Println(handstamp.ClientAddr(r, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}))
	// Output:
	// 203.0.113.5
	// 192.0.2.7
}

func ExampleNetwork() {
	fmt.Println(handstamp.Network(netip.MustParseAddr("192.0.2.7")))
	fmt.Println(handstamp.Network(netip.MustParseAddr("2001:db8::7")))
	// Output:
	// 192.0.2.7/32
	// 2001:db8::/64
}
