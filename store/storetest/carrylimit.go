package storetest

import (
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
)

// carriesExactly: names and data of all values of the session count in bytes, and the limit is the last one that fits.
func carriesExactly(t *testing.T, s SessionStore) {
	kilo := strings.Repeat("k", 1000)
	for _, c := range []struct {
		what  string
		own   map[string]string // what the session has before
		more  [][2]string       // names and data that are carried, in this order
		bytes int               // of all of them
	}{
		{"one value", nil, [][2]string{{"cart", "0123456789"}}, 14},
		{"one byte under no name", nil, [][2]string{{"", "x"}}, 1},
		{"bytes that are no text", nil, [][2]string{{"日本", "\x00\xff\x00é"}}, 11},
		{"beside what is there", map[string]string{"own": "12345", "日": "\xff"}, [][2]string{{"cart", "0123456789"}}, 26},
		{"several", nil, [][2]string{{"a", kilo}, {"b", kilo}, {"cc", kilo}, {"d", "x"}}, 3006},
		{"several beside what is there", map[string]string{"own": kilo}, [][2]string{{"a", kilo}, {"b", "1"}}, 2006},
	} {
		for _, short := range []int{0, 1} {
			from, to := begin(t, s, ada, 0), begin(t, s, bob, 1)
			for name, data := range c.own {
				set(t, s, to, name, data, 0, 1)
			}
			var names []string
			for _, v := range c.more {
				set(t, s, from, v[0], v[1], 0, 2)
				names = append(names, v[0])
			}
			unit(t, s, func(tx handstamp.Tx) error {
				return tx.Carry(t.Context(), handstamp.Carrying{From: from.ID, To: to.ID, Names: names, Limit: c.bytes - short, Now: at(2)})
			})
			for n, v := range c.more {
				want := v[1]
				if n == len(c.more)-1 && short > 0 {
					want = ""
				}
				if got := get(t, s, to, v[0]); string(got.Data) != want {
					t.Errorf("%s, %d bytes and a limit of %d: %q is %.20q after carrying, want %.20q",
						c.what, c.bytes, c.bytes-short, v[0], got.Data, want)
				}
			}
		}
	}
}
