package jwt

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
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

// TestJ3_JSONBounds: depth, number of names and what comes beside them, exactly.
func TestJ3_JSONBounds(t *testing.T) {
	nest := func(open, inner, end string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
	}
	names := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"%x":%d`, i, i)
		}
		return "{" + strings.TrimPrefix(b.String(), ",") + "}"
	}
	for _, s := range []string{
		nest("[", "", "]", 16), nest(`{"a":`, "1", "}", 16), nest(`{"a":`, "{}", "}", 15), nest(`[{"a":`, "1", "}]", 8),
		"[" + strings.TrimSuffix(strings.Repeat("{},", 300), ",") + "]", "[" + strings.TrimSuffix(strings.Repeat("[],", 300), ",") + "]",
		`{"a":{},"b":[],"c":{"a":{}},"d":[[]]}`, names(256), `[` + names(256) + `,` + names(256) + `]`, `{"":1}`, `{"":1,"a":2}`,
		"\t\n\r {\t\n\r \"a\"\t\n\r :\t\n\r [\t\n\r ]\t\n\r }\t\n\r ",
	} {
		got, err := readAny(s)
		var want any
		if e := json.Unmarshal([]byte(s), &want); e != nil || err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.60s = %.60v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		nest("[", "", "]", 17), nest(`{"a":`, "1", "}", 17), nest(`{"a":`, "{}", "}", 16), nest(`{"a":`, "[]", "}", 16), nest(`[{"a":`, "{}", "}]", 8), names(257),
		strings.Repeat("[", 17) + strings.Repeat("]", 16), strings.Repeat(`{"a":`, 16) + "{" + strings.Repeat("}", 16), // as if the innermost were not there
		`{"":1,"":2}`, `{"a":1,"a"`, `{"a":1,"a":`, `{"a"`, `[1`, `["a"`, `{"a":"b"`,
		"\v1", "\f1", "\u00a01", "1\v", "\u20281", "{\v}",
	} {
		if v, err := readAny(s); err == nil {
			t.Errorf("%.60q = %.60v, want refused", s, v)
		}
	}
}

// TestJ3_JSONCharacters: each byte in a string, after a backslash, in an escape, and beside a number, as encoding/json
// has it where that is strict.
func TestJ3_JSONCharacters(t *testing.T) {
	good := func(s string) {
		t.Helper()
		got, err := readAny(s)
		var want any
		if e := json.Unmarshal([]byte(s), &want); (e == nil) != (err == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%q = %#v, %v; encoding/json: %#v, %v", s, got, err, want, e)
		}
	}
	for c := range 256 {
		b := string([]byte{byte(c)})
		for _, s := range []string{`"` + b + `"`, `"a` + b + `c"`, `"\n` + b + `"`, `"\` + b + `"`, `"\` + b + `0041"`, `"\u004` + b + `"`, `"\u` + b + `041"`, `"\u00` + b + `1"`,
			b + `1`, `1` + b, `1` + b + `1`, `1.` + b, `1.2` + b + `3`, `1e` + b, `1e` + b + `1`, `-` + b, `-` + b + `1`, `0` + b, `[` + b + `]`, `[1` + b + `2]`, `{` + b + `}`, `{"a"` + b + `1}`,
			b, `tru` + b, `nul` + b, `fals` + b, `{"a":1` + b + `"b":2}`} {
			if utf8.ValidString(s) {
				good(s)
			} else if _, err := readAny(s); err == nil {
				t.Errorf("%q is read", s)
			}
		}
	}
	// After a string that is wrong the text could go on as if it had ended.
	for _, s := range []string{
		`"\q`, `{"x":"\q,"y":1}`, `{"\q:1}`, `["\q,1]`, `["\q]`, `{"x":"\u00,"y":1}`, `{"x":"\ud800,"y":1}`, `{"x":"\ud800\u0041,"y":1}`, "{\"x\":\"\x01,\"y\":1}", "[\"a\\n\x01]",
		`"\`, `"\u`, `"\u0`, `"\u004`, `"\u0041`, `"\ud83d`, `"\ud83d\`, `"\ud83d\u`, `"\ud83d\ude0`, `"\ud83d\ude00`, `"\ud83dude00"`, `"\ud83dxxde00"`, `"\ud83d\n"`, `"\udc00\ud83d"`, `"\ud83d\ud83d"`, `"\ud83d\ue000"`, `"\udfff"`,
		`"\ud83d\u"`, `"\ud83d\ude0"`, `"\ud83d\uzzzz"`, `"\ud83d\u+e00"`, "{\"x\":\"a\n,\"y\":1}", "{\"x\":\"a\t,\"y\":1}", "{\"x\":\"\\n\n,\"y\":1}",
		`"\u+041"`, `"\u-041"`, `"\u 041"`, `"\u0x41"`, `"\u00_1"`,
	} {
		if v, err := readAny(s); err == nil {
			t.Errorf("%q = %#v, want refused", s, v)
		}
	}
	for _, s := range []string{`"\ud83d\ude00"`, `"\uD83D\uDE00"`, `"\ud7ff\ue000"`, `"\ud800\udc00"`, `"\udbff\udfff"`, `"\b\f\n\r\t\/\\\""`, `"\uABCDef"`, `"a\nb\nc"`} {
		good(s)
	}
	for _, s := range []string{`-0`, `-0.0`, `0.0`, `0e0`, `1E5`, `1e05`, `-1.5E-3`, `10`, `100`, `9007199254740991`, `-9007199254740991`, `9007199254740993.0`, `1e22`, `1.7e308`, `-1.7e308`} {
		good(s)
	}
	for _, s := range []string{`00`, `-00`, `-01`, `01.5`, `1.`, `1.e1`, `.1`, `-.1`, `1e`, `1e-`, `1e+-1`, `1e--1`, `e1`, `--1`, `9007199254740992`, `-9007199254740992`, `1e309`, `-1e309`} {
		if v, err := readAny(s); err == nil {
			t.Errorf("%q = %#v, want refused", s, v)
		}
	}
}

// TestJ3_Naturals are whole numbers from 0 to 2^53-1, written as such.
func TestJ3_Naturals(t *testing.T) {
	for s, want := range map[string]int64{
		`0`: 0, `1`: 1, ` 7`: 7, `9007199254740991`: 1<<53 - 1, `9007199254740992`: -1, `9007199254740993`: -1, `9223372036854775808`: -1, `18446744073709551617`: -1,
		`-0`: -1, `-1`: -1, `1.0`: -1, `1e0`: -1, `1E3`: -1, `01`: -1, ``: -1, `"1"`: -1, `null`: -1, `true`: -1, `[1]`: -1,
	} {
		r, err := newReader(s)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := r.natural(); (err == nil) != (want >= 0) || err == nil && n != want {
			t.Errorf("%s = %d, %v", s, n, err)
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
