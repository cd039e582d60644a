package strictjson

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// form has a member of every kind that callers use.
type form struct {
	Email    *string   `json:"email,omitempty"`
	Password *string   `json:"password,omitempty"`
	Remember *bool     `json:"remember,omitempty"`
	Roles    *[]string `json:"roles,omitempty"`
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{ // "" is accepted
		`{}`: "", ` {"email":"a"} `: "", `{"roles":["a","b"],"remember":false}`: "", `{"email":"\ud83d\udca9"}`: "",
		``: "not valid JSON", `[]`: "one JSON object", `"x"`: "one JSON object", `null`: "one JSON object", `{} {}`: "after the JSON object", `{}x`: "after the JSON object",
		`{"email":"a","email":"b"}`: "every name once", `{"email":"a","\u0065mail":"b"}`: "every name once", `{"Email":"a"}`: "not known", `{"other":1}`: "not known",
		`{"email":1}`: `"email" has the wrong type`, `{"email":["a"]}`: `"email" has the wrong type`, `{"remember":"true"}`: `"remember" has the wrong type`,
		`{"roles":[1]}`: `"roles" has the wrong type`, `{"email":null}`: "null", `{"roles":[null]}`: "null", `{"email":"\ud800"}`: "not valid JSON", "{\"email\":\"\xff\"}": "not valid JSON",
		"\ufeff{}": "not valid JSON", `{"email":"a",}`: "not valid JSON", `{/**/}`: "not valid JSON", `{"a":` + strings.Repeat("[", 20): "too deep",
	} {
		err := Parse([]byte(text), &form{})
		e, refused := errors.AsType[*Error](err)
		if (want == "") != (err == nil) || want != "" && (!refused || !strings.Contains(e.Detail, want)) {
			t.Errorf("Parse(%.40q) = %v, want %q in it", text, err, want)
		}
	}
	if err := Parse([]byte(`{"canary":"canary"}`), &form{}); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("an unknown member = %v, want it refused and not repeated", err)
	}
	if err := Parse([]byte(`{"x":1}`), &struct{}{}); err == nil || !strings.Contains(err.Error(), "takes none") {
		t.Errorf("a member where none is taken = %v", err)
	}
}

// TestDepth: what nests too deep is refused before a struct is looked at.
func TestDepth(t *testing.T) {
	nest := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for n, ok := range map[int]bool{1: true, MaxDepth: true, MaxDepth + 1: false, 10000: false} {
		if err := scan([]byte(nest(n))); (err == nil) != ok {
			t.Errorf("scan of depth %d = %v, want accepted = %v", n, err, ok)
		}
	}
}

// TestSuite reads all of JSONTestSuite: n_ is never accepted, whatever the implementation may choose.
func TestSuite(t *testing.T) {
	files, err := filepath.Glob("testdata/json-parsing/test_parsing/*.json")
	if err != nil || len(files) != 318 {
		t.Fatalf("%d files, %v; want 318", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		wellFormed := scan(text) == nil
		object := strings.HasPrefix(strings.TrimSpace(string(text)), "{")
		switch {
		case strings.HasPrefix(name, "n_") && wellFormed:
			t.Errorf("%s is accepted", name)
		case strings.HasPrefix(name, "y_object") && !strings.Contains(name, "duplicated") && object && !wellFormed:
			t.Errorf("%s is refused: %v", name, scan(text))
		}
	}
}

// FuzzParse: what is accepted is valid JSON that means the same to another reader.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/json-parsing/test_parsing/*.json")
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && len(b) < 1000 {
			f.Add(b)
		}
	}
	f.Add([]byte(`{"email":"a@b.c","password":"x","remember":false}`))
	f.Add([]byte(`{"email":"\ud83d\udca9","roles":["member"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var ours, theirs form
		if Parse(text, &ours) != nil {
			return
		}
		d := json.NewDecoder(strings.NewReader(string(text)))
		d.DisallowUnknownFields()
		if err := d.Decode(&theirs); err != nil {
			t.Fatalf("Parse(%q) = nil, and encoding/json says %v", text, err)
		}
		a, _ := json.Marshal(ours)
		b, _ := json.Marshal(theirs)
		if string(a) != string(b) {
			t.Fatalf("Parse(%q) = %s, and encoding/json reads %s", text, a, b)
		}
	})
}
