package forwardauth

import (
	"net/url"
	"testing"
)

// FuzzParse: no query panics, and what is accepted asks for every permission that is in it.
func FuzzParse(f *testing.F) {
	for _, q := range []string{"permission=a:b&permission=c", "max_age=600&fresh=true", "login=redirect", "permission=a%3Ab", "x", "permission=*"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parse(raw)
		if err != nil {
			return
		}
		values, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatal(err)
		}
		want := len(values["permission"]) + len(values["max_age"]) + len(values["fresh"])
		if len(q.rules) != want {
			t.Fatalf("parse(%q) has %d rules, want %d", raw, len(q.rules), want)
		}
	})
}

// FuzzHeaderText: what goes into a header is visible ASCII, and no two texts are alike.
func FuzzHeaderText(f *testing.F) {
	for _, s := range []string{"usr_x", "42", " a", "a ", "%20", "ü", "\x00\r\n", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h := headerText(s)
		for i := range len(h) {
			if h[i] <= 0x20 || h[i] > 0x7e {
				t.Fatalf("headerText(%q) = %q", s, h)
			}
		}
		if back, err := url.PathUnescape(h); err != nil || back != s {
			t.Fatalf("headerText(%q) = %q, which is %q", s, h, back)
		}
	})
}
