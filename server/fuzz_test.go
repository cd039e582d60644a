package server

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/handstamp/handstamp/id"
)

// FuzzCursor: only what mark made opens, and it gives back what it was made of.
func FuzzCursor(f *testing.F) {
	c, err := newCursors([][]byte{[]byte("a secret of thirty-two bytes ....")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("usr_x", "users", "")
	f.Add(*c.mark("usr_x", "users", ""), "users", "x")
	f.Fuzz(func(t *testing.T, text, list, filter string) {
		if len(text) > 500 {
			return
		}
		if after, ok := c.open(text, list, filter); ok && (text != "" || after != "") && *c.mark(after, list, filter) != text {
			t.Fatalf("open(%q) = %q, which was never given", text, after)
		}
		if after, ok := c.open(*c.mark(text, list, filter), list, filter); !ok || after != text {
			t.Fatalf("open(mark(%q)) = %q, %v", text, after, ok)
		}
		if _, ok := c.open(*c.mark(text, list, filter), list+filter, ""); ok && filter != "" {
			t.Fatalf("a cursor of %q %q opens another list", list, filter)
		}
	})
}

// FuzzRenewal: what is taken for a renewal names a verifier and a place, and nothing else is an acknowledgement.
func FuzzRenewal(f *testing.F) {
	for _, seed := range []string{
		`{"verifier":"vrf_01h2xcejqtf2nbrexx3vqjhp41","log":"A","applied":7,"tag":"AAAAAAAAAAA"}`, `{"verifier":"vrf_01h2xcejqtf2nbrexx3vqjhp41"}`,
		`{"verifier":"vrf_01h2xcejqtf2nbrexx3vqjhp41","applied":18446744073709551615}`, `{"verifier":"ses_01h2xcejqtf2nbrexx3vqjhp41"}`,
		`{"verifier":"vrf_01h2xcejqtf2nbrexx3vqjhp41","applied":7,"applied":8}`, `{}`, ``, `null`, `{"verifier":"vrf_01h2xcejqtf2nbrexx3vqjhp41","applied":1e1}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/v1/revocations/lease", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		q, err := renewalOf(r)
		if err != nil {
			if p := problemOf(err); p.Status < 400 || p.Status >= 500 || strings.Contains(p.Detail, "vrf_0") {
				t.Fatalf("renewalOf(%q) = %d %s", body, p.Status, p.Detail)
			}
			return
		}
		if v, err := id.ParseVerifier(string(q.Verifier)); err != nil || v != q.Verifier {
			t.Fatalf("renewalOf(%q) is of %q", body, q.Verifier)
		}
		if len(q.Log) > maxMarkBytes || len(q.Tag) > maxMarkBytes || q.Limit != maxRevocations || q.Lag != 0 ||
			q.Applied != 0 && !strings.Contains(body, "applied") {
			t.Fatalf("renewalOf(%q) = %+v", body, q)
		}
	})
}

// FuzzPlace: a number that is read is written in the same way, and headers of any kind make no panic.
func FuzzPlace(f *testing.F) {
	f.Add("0", "text/event-stream")
	f.Add("18446744073709551616", "text/event-stream;q=0, */*")
	f.Add("-1", `text/event-stream;q="1"`)
	f.Fuzz(func(t *testing.T, text, accept string) {
		if n, ok := parseNumber(text); ok && strconv.FormatUint(n, 10) != text {
			t.Fatalf("parseNumber(%q) = %d", text, n)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Accept"] = []string{accept}
		if wantsStream(r) && !strings.Contains(strings.ToLower(accept), streamType) {
			t.Fatalf("Accept: %q asks for a stream", accept)
		}
	})
}
