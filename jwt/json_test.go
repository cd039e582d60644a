package jwt

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// readAny reads a whole text.
func readAny(s string) (any, error) {
	r, err := newReader(s)
	if err != nil {
		return nil, err
	}
	v, err := r.value()
	if err == nil && !r.end() {
		err = errJSON
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

func TestJ3_JSON(t *testing.T) {
	for _, s := range []string{
		`null`, `true`, `false`, `0`, `-0`, `1`, `-1`, `1.5`, `1e3`, `1E+3`, `1e-3`, `""`, `"a"`, `"\u0041\n\\\/\""`, `"\ud83d\ude00"`, `[]`, `[1,[2]]`, `{}`,
		` { "a" : [ 1 , 2 ] , "b" : { } } `, `9007199254740991`, `-9007199254740991`, `"é"`, `"\u0000"`,
	} {
		got, err := readAny(s)
		var want any
		if e := json.Unmarshal([]byte(s), &want); e != nil || err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %#v, %v; want %#v", s, got, err, want)
		}
	}
	for _, s := range []string{
		``, ` `, `nul`, `nulls`, `True`, `01`, `-`, `+1`, `.5`, `1.`, `1e`, `1e+`, `0x1`, `1_0`, `NaN`, `Infinity`, `-Infinity`, `1e400`, `9007199254740992`, `-9007199254740992`,
		`"`, `"a`, `'a'`, "\"\x01\"", "\"\n\"", `"\x"`, `"\u12"`, `"\u12g4"`, `"\ud800"`, `"\ud800\u0041"`, `"\udc00"`, `"\ud800\ud800"`, "\"\xff\"", `[`, `]`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1 2]`,
		`{`, `}`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `{1:1}`, `{"a" 1}`, `{"a":1 "b":2}`, `{"a":1,"a":1}`, `{"a":{"b":1,"b":1}}`, `[{"a":1,"a":1}]`,
		`{"a":1,"\u0061":2}`, `1 1`, `{}{}`, `//`, `/**/1`, "\xef\xbb\xbf1", "\x001", "1\x00", strings.Repeat("[", 17) + strings.Repeat("]", 17), strings.Repeat("[", 100000),
		strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20),
	} {
		if v, err := readAny(s); err == nil {
			t.Errorf("%.40q = %#v, want refused", s, v)
		}
	}
}

// FuzzJSON: what the strict reader reads, encoding/json reads as the same
// value; and it never panics.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,"x\u00e9\ud83d\ude00\n",true,false,null,{"b":{}}]}`, `{"a":1,"a":2}`, `[[[[]]]]`, `"\ud800"`, `9007199254740993`, "\"\xff\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := readAny(s)
		if err != nil {
			return
		}
		var want any
		if err := json.Unmarshal([]byte(s), &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q = %#v, encoding/json: %#v, %v", s, got, want, err)
		}
	})
}
