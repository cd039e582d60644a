package server

import "testing"

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
