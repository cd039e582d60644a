package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse: what the strict reader accepts is valid JSON that means the same to another reader.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/json-parsing/test_parsing/*.json")
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && len(b) < 1000 {
			f.Add(b)
		}
	}
	f.Add([]byte(`{"email":"a@b.c","password":"x","remember":false}`))
	f.Add([]byte(`{"email":"\ud83d\udca9","mode":"session"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var ours, theirs credentialsIn
		if parse(body, &ours) != nil {
			return
		}
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.DisallowUnknownFields()
		if err := d.Decode(&theirs); err != nil {
			t.Fatalf("parse(%q) = nil, and encoding/json says %v", body, err)
		}
		a, _ := json.Marshal(ours)
		b, _ := json.Marshal(theirs)
		if string(a) != string(b) {
			t.Fatalf("parse(%q) = %s, and encoding/json reads %s", body, a, b)
		}
	})
}

// TestR1_Depth: what nests too deep is refused before a struct is looked at, and what comes after an object as well.
func TestR1_Depth(t *testing.T) {
	nest := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for body, ok := range map[string]bool{
		nest(1): true, nest(maxDepth): true, nest(maxDepth + 1): false, "{}": true, " {} \n": true, "{}x": false, "{}{}": false, "{} 1": false, "[]": false, "": false,
	} {
		if err := scan([]byte(body)); (err == nil) != ok {
			t.Errorf("scan(%.40q) = %v, want accepted = %v", body, err, ok)
		}
	}
}

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
