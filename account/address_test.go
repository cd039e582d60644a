package account

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

func TestParseAddress(t *testing.T) {
	a63 := strings.Repeat("a", 63)
	for _, tc := range []struct{ in, want string }{
		{"mike@example.org", "mike@example.org"},
		{"Mike@Example.ORG", "mike@example.org"},
		{"  mike@example.org ", "mike@example.org"},
		{"o'neil+tag=x@mail.example.co.uk", "o'neil+tag=x@mail.example.co.uk"},
		{"a.b.c@example.org", "a.b.c@example.org"},
		{"root@localhost", "root@localhost"},
		{"ROOT@LOCALHOST", "root@localhost"},
		{"x@bücher.example", "x@xn--bcher-kva.example"},
		{"x@Bücher.example", "x@xn--bcher-kva.example"},
		{"x@XN--Bcher-KVA.example", "x@xn--bcher-kva.example"},
		{"x@straße.example", "x@xn--strae-oqa.example"}, // non-transitional: not strasse
		{"x@δοκιμή.example", "x@xn--jxalpdlp.example"},
		{"x@例え.テスト", "x@xn--r8jz45g.xn--zckzah"},
		{"x@1and1.example", "x@1and1.example"},
		{strings.Repeat("a", 64) + "@example.org", strings.Repeat("a", 64) + "@example.org"},
		{strings.Repeat("x", 64) + "@" + a63 + "." + a63 + "." + strings.Repeat("b", 57) + ".ab",
			strings.Repeat("x", 64) + "@" + a63 + "." + a63 + "." + strings.Repeat("b", 57) + ".ab"}, // 253
	} {
		got, err := ParseAddress(tc.in)
		if err != nil || string(got) != tc.want {
			t.Errorf("ParseAddress(%q) = %q, %v, want %q", tc.in, got, err, tc.want)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	a63 := strings.Repeat("a", 63)
	for _, tc := range []struct{ in, problem string }{
		{"", problemAt},
		{"   ", problemAt},
		{"mike", problemAt},
		{"@example.org", problemAt},
		{"mike@", problemAt},
		{"mike@a@example.org", problemAt},
		{"m\xffke@example.org", problemText},
		{strings.Repeat(" ", 2000) + "mike@example.org", problemLong},
		{strings.Repeat("a", 65) + "@example.org", problemLocalLong},
		{strings.Repeat("x", 64) + "@" + a63 + "." + a63 + "." + strings.Repeat("b", 59) + ".ab", problemLong}, // 255
		{"x@" + strings.Repeat("a", 64) + ".org", problemDomain},
		{"x@example", problemNoDot},
		{"x@intranet", problemNoDot},
		{"x@127.0.0.1", problemNoDot},
		{"x@1.0x7f", problemNoDot},
		{"x@2130706433", problemNoDot},
		{"x@[127.0.0.1]", problemDomain},
		{"x@[IPv6:::1]", problemDomain},
		{"x@::1", problemDomain},
		{"x@example.org.", problemDomain},
		{"x@localhost.", problemDomain},
		{"x@.example.org", problemDomain},
		{"x@ex_ample.org", problemDomain},
		{"x@-a.org", problemDomain},
		{"x@a-.org", problemDomain},
		{"x@ab--c.org", problemDomain},        // reserved: RFC 5890 section 2.3.1
		{"x@xn--.org", problemDomain},         // encodes nothing
		{"x@xn--example-.org", problemDomain}, // encodes plain ASCII
		{"x@xn--strae-oqa.xn--a", problemDomain},
		{"x@xn--BCHER-KVB.org", problemDomain}, // encodes a letter in upper case
		{"x@BÜCHER.example", problemDomain},    // Ü is not mapped
		{"x@bu\u0308cher.example", problemDomain},
		{"x@exam\u00adple.org", problemDomain}, // soft hyphen would vanish
		{"x@example。org", problemDomain},       // U+3002 would become a dot
		{"x@example.org:25", problemDomain},
		{"x@example.org/path", problemDomain},
		{"x@example.org?cc=y", problemDomain},
		{"x@example.org%0d", problemDomain},
		{"x@a\u200db.example", problemDomain}, // joiner outside its context
	} {
		got, err := ParseAddress(tc.in)
		refused, ok := errors.AsType[*AddressError](err)
		if !ok || refused.Problem != tc.problem || got != "" {
			t.Errorf("ParseAddress(%q) = %q, %v, want %q", tc.in, got, err, tc.problem)
		}
	}
}

// Look-alikes and letters that fold to ASCII must neither become another person's address nor be accepted.
func TestE9_EqualityIsOneFunction(t *testing.T) {
	victim, err := ParseAddress("mike@kelvin.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]string{
		"dotless i in local part":     "mıke@kelvin.example",
		"dotted capital I":            "mİke@kelvin.example",
		"KELVIN SIGN in local part":   "mi\u212ae@kelvin.example",
		"KELVIN SIGN in domain":       "mike@\u212aelvin.example",
		"long s":                      "mike@kelvin.example\u017f",
		"fullwidth @":                 "mike\uff20kelvin.example",
		"small @":                     "mike\ufe6bkelvin.example",
		"fullwidth letter, local":     "\uff4dike@kelvin.example",
		"fullwidth letter, domain":    "mike@\uff4belvin.example",
		"fullwidth dot":               "mike@kelvin\uff0eexample",
		"cyrillic letter, local":      "mik\u0435@kelvin.example",
		"zero width space":            "mi\u200bke@kelvin.example",
		"byte order mark in front":    "\ufeffmike@kelvin.example",
		"no-break space behind":       "mike@kelvin.example\u00a0",
		"combining mark":              "mike\u0301@kelvin.example",
		"circled letter in domain":    "mike@\u24dakelvin.example",
		"ligature in domain":          "mike@kelvin.\ufb01",
		"mathematical letter, domain": "mike@𝐤elvin.example",
	} {
		if got, err := ParseAddress(in); err == nil {
			t.Errorf("%s: ParseAddress(%q) = %q, want an error", name, in, got)
		}
	}
	for _, same := range []string{"MIKE@KELVIN.EXAMPLE", " mike@Kelvin.example ", "MiKe@kelvin.EXAMPLE"} {
		if got, err := ParseAddress(same); err != nil || got != victim {
			t.Errorf("ParseAddress(%q) = %q, %v, want %q", same, got, err, victim)
		}
	}
	// A look-alike that is a name of its own stays a name of its own.
	if got, err := ParseAddress("mike@kelvın.example"); err != nil || got == victim || got.Domain() != "xn--kelvn-q4a.example" {
		t.Errorf("dotless i in domain = %q, %v", got, err)
	}
	// Sub-addresses and dots are different people's for all we know.
	if got, err := ParseAddress("mi.ke+x@kelvin.example"); err != nil || got != "mi.ke+x@kelvin.example" {
		t.Errorf("sub-address = %q, %v", got, err)
	}
}

// One field is one recipient: nothing that mail software could read as two, or as another one.
func TestE10_OneAddressPerField(t *testing.T) {
	for _, in := range []string{
		"a@example.org,b@example.org", "a@example.org, b@example.org", "a@example.org;b@example.org",
		"a,b@example.org", "a;b@example.org", "a@b.example@c.example", `"a@b.example"@c.example`,
		"a@example.org\r\nBcc: b@example.org", "a@example.org\nBcc:b@example.org", "a@example.org\r",
		"\r\na@example.org", "a\r\n@example.org", "a@exam\r\nple.org", "a@example.org\x00", "a\x00@example.org",
		"a@example.org\t", "\ta@example.org", "a\x7f@example.org", "a\u0085@example.org", "a@example.org\u2028",
		"Mike <a@example.org>", "<a@example.org>", `"Mike" <a@example.org>`, "a@example.org (Mike)",
		"(x)a@example.org", "a(x)@example.org", "a@(x)example.org", "a@example.org(x)",
		`"a"@example.org`, `"a b"@example.org`, `a."b".c@example.org`, `"a\"b"@example.org`, `a\@b@example.org`,
		"@relay.example:a@example.org", "group: a@example.org;", "undisclosed:;", "mailto:a@example.org",
		"a b@example.org", "a @example.org", "a@ example.org", "a@example .org", "a@example.org b@example.org",
		"a@example.org> RCPT TO:<b@example.org", "a@example.org?bcc=b@example.org", "[a]@example.org",
		"=?utf-8?q?a=40b.example=00?=x@c.example@d.example",
	} {
		got, err := ParseAddress(in)
		if _, ok := errors.AsType[*AddressError](err); !ok || got != "" {
			t.Errorf("ParseAddress(%q) = %q, %v, want an AddressError", in, got, err)
		}
	}
}

// Every case of the isemail collection has a decision of ours: accepted as this, or refused because of that.
func TestE10_IsEmailDecisions(t *testing.T) {
	decisions := readDecisions(t)
	cases := readIsEmail(t)
	if len(cases) != 164 || len(decisions) != len(cases) {
		t.Fatalf("%d cases and %d decisions, want 164 of both", len(cases), len(decisions))
	}
	for id, in := range cases {
		want, ok := decisions[id]
		if !ok {
			t.Errorf("case %s has no decision", id)
			continue
		}
		got, err := ParseAddress(in)
		answer := "accept\t" + string(got)
		if err != nil {
			answer = "refuse\t" + err.Error()
		}
		if answer != want {
			t.Errorf("case %s: ParseAddress(%q): %q, want %q", id, in, answer, want)
		}
	}
}

func readIsEmail(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("testdata/isemail/tests.xml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Tests []struct {
			ID      string `xml:"id,attr"`
			Address string `xml:"address"`
		} `xml:"test"`
	}
	if err := xml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	cases := make(map[string]string)
	for _, c := range doc.Tests {
		// The collection writes control characters as U+2400 plus their code.
		cases[c.ID] = strings.Map(func(r rune) rune {
			if 0x2400 <= r && r <= 0x247f {
				return r - 0x2400
			}
			return r
		}, c.Address)
	}
	return cases
}

func readDecisions(t *testing.T) map[string]string {
	t.Helper()
	file, err := os.Open("testdata/isemail/decisions.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decisions := make(map[string]string)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if id, decision, ok := strings.Cut(lines.Text(), "\t"); ok {
			decisions[id] = decision
		}
	}
	return decisions
}

func naughtyStrings(t testing.TB) []string {
	t.Helper()
	data, err := os.ReadFile("testdata/isemail-blns/blns.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestParseAddressNaughtyStrings(t *testing.T) {
	list := naughtyStrings(t)
	if len(list) < 500 {
		t.Fatalf("%d strings", len(list))
	}
	for _, s := range list {
		for _, in := range []string{s, s + "@example.org", "x@" + s, "x@" + s + ".org"} {
			checkProperties(t, in)
		}
	}
}

// The error is shown and logged: it must be one of the fixed sentences.
func TestAddressErrorNeverEchoes(t *testing.T) {
	for _, in := range []string{"hunter2", "hunter2@", "hunter2@@", `hun"ter2@example.org`, "x@hunter2", "x@hunter2..org", ".hunter2@a.org"} {
		if _, err := ParseAddress(in); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("ParseAddress(%q): %v", in, err)
		}
	}
}

func TestAddressParts(t *testing.T) {
	a := Address("mike@example.org")
	if a.String() != "mike@example.org" || a.Local() != "mike" || a.Domain() != "example.org" {
		t.Errorf("parts of %q: %q, %q", a, a.Local(), a.Domain())
	}
	if zero := Address(""); zero.Local() != "" || zero.Domain() != "" {
		t.Error("the zero Address has parts")
	}
}

// checkProperties holds for every input: no panic; the result is plain ASCII of bounded length with one @; it
// parses to itself; its domain is the one its Unicode form stands for.
func checkProperties(t *testing.T, in string) {
	t.Helper()
	a, err := ParseAddress(in)
	if err != nil {
		if _, ok := errors.AsType[*AddressError](err); !ok || a != "" {
			t.Fatalf("ParseAddress(%q) = %q, %v", in, a, err)
		}
		return
	}
	s := string(a)
	if len(s) > 254 || strings.Count(s, "@") != 1 || strings.ToLower(s) != s {
		t.Fatalf("ParseAddress(%q) = %q", in, s)
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= utf8.RuneSelf-1 || strings.IndexByte(`,;:<>()[]"\`, c) >= 0 {
			t.Fatalf("ParseAddress(%q) = %q holds %q", in, s, c)
		}
	}
	if again, err := ParseAddress(s); err != nil || again != a {
		t.Fatalf("ParseAddress(%q) = %q, parsed again %q, %v", in, s, again, err)
	}
	u, err := idna.Registration.ToUnicode(a.Domain())
	if err != nil {
		t.Fatalf("domain of %q: %v", s, err)
	}
	if back, err := ParseAddress(a.Local() + "@" + u); err != nil || back != a {
		t.Fatalf("%q as Unicode %q parses to %q, %v", s, u, back, err)
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{
		"mike@example.org", "x@bücher.example", "x@xn--bcher-kva.example", "x@straße.de", " A.B@C.D ", "a@b@c",
		`"a"@b.c`, "a@[::1]", "x@xn--a.xn--b", "x@\u212aelvin.org", "x@例え.テスト", "x@א.example", "x@localhost",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) { checkProperties(t, in) })
}
