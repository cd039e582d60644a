package password

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"
)

// prepare is Prepare for passwords that are known to be good.
func prepare(t testing.TB, s string) Secret {
	t.Helper()
	p, err := Prepare(s)
	if err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	return p
}

// reasonOf returns the reason of a RefusedError, empty for any other error.
func reasonOf(err error) Reason {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return refused.Reason
	}
	return ""
}

func TestP2_LongPasswords(t *testing.T) {
	for _, n := range []int{1, 8, 64, 72, 73, 128, 1023, 1024} {
		if _, err := Prepare(strings.Repeat("x", n)); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, in := range []string{strings.Repeat("x", 1025), strings.Repeat("é", 513), strings.Repeat("\xff", 1025), strings.Repeat("x", 10<<20)} {
		if p, err := Prepare(in); reasonOf(err) != ReasonTooLong || p.value != nil {
			t.Errorf("%d bytes: %v, want too_long", len(in), err)
		}
	}
}

// The limit must come before normalisation: what is over it costs nothing, however long and however hard.
func TestP2_LimitBeforeNormalisation(t *testing.T) {
	huge := strings.Repeat("a\u0315\u0300\u05ae\u0300", 1<<20) // marks to reorder; normalising copies it
	if n := testing.AllocsPerRun(5, func() {
		if _, err := Prepare(huge); err == nil {
			t.Error("accepted")
		}
	}); n > 1 {
		t.Errorf("%v allocations for a password over the limit", n)
	}
}

func TestP20_OneFormOnEveryPath(t *testing.T) {
	for _, tc := range []struct{ name, a, b string }{
		{"composed and decomposed", "caf\u00e9-latte", "cafe\u0301-latte"},
		{"order of marks", "q\u0307\u0323-dots!", "q\u0323\u0307-dots!"},
		{"hangul", "\uac01-password", "\u1100\u1161\u11a8-password"},
		{"angstrom sign", "\u212bngstrom", "\u00c5ngstrom"},
	} {
		if prepare(t, tc.a).text() != prepare(t, tc.b).text() {
			t.Errorf("%s: differ", tc.name)
		}
	}
}

// Form C and nothing more: each of these changes under a mapping that must not be applied.
func TestP20_NothingElseIsMapped(t *testing.T) {
	for _, tc := range []struct{ name, a, b string }{
		{"case", "Passphrase", "passphrase"},
		{"leading space", " passphrase", "passphrase"},
		{"trailing space", "passphrase ", "passphrase"},
		{"trailing line end", "passphrase\n", "passphrase"},
		{"inner spaces", "pass  phrase", "pass phrase"},
		{"width (form KC)", "\uff50assphrase", "passphrase"},
		{"ligature (form KC)", "\ufb01ngerprint", "fingerprint"},
		{"no-break space (RFC 8265 maps it)", "pass\u00a0phrase", "pass phrase"},
		{"zero width joiner", "pass\u200dphrase", "passphrase"},
		{"control character", "pass\x07phrase", "passphrase"},
	} {
		if prepare(t, tc.a).text() == prepare(t, tc.b).text() {
			t.Errorf("%s: the same", tc.name)
		}
	}
	if got := prepare(t, "unassigned \U000e0080 \u0378 code points"); got.text() != "unassigned \U000e0080 \u0378 code points" {
		t.Error("unassigned code points were changed")
	}
}

func TestP20_RefusesWhatIsNoText(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want Reason
	}{
		{"pass\x00word", ReasonNUL},
		{"\x00", ReasonNUL},
		{"password\x00", ReasonNUL},
		{"pass\xffword", ReasonNotText},
		{"\xed\xa0\x80surrogate", ReasonNotText},
		{"overlong\xc0\x80", ReasonNotText},
		{"cut\xe2\x82", ReasonNotText},
	} {
		if p, err := Prepare(tc.in); reasonOf(err) != tc.want || p.value != nil {
			t.Errorf("Prepare(%q): %v, want %s", tc.in, err, tc.want)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	const word = "correct-horse"
	p := prepare(t, word)
	type holder struct {
		P  Secret
		Q  *Secret
		in Secret
	}
	h := holder{P: p, Q: &p, in: p}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10s", "%p", "%t", "%c"} {
		fmt.Fprintf(&out, verb+"\n", p)
		fmt.Fprintf(&out, verb+"\n", &p)
		fmt.Fprintf(&out, verb+"\n", []Secret{p})
		fmt.Fprintf(&out, verb+"\n", map[string]Secret{"k": p})
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", &h)
	}
	fmt.Fprintln(&out, p, &p, h.P, p.String(), p.GoString())
	for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))} {
		log.Info("x", "p", p, "q", &p, "h", h)
	}
	for _, v := range []any{p, &p, h, map[string]Secret{"p": p}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	text, _ := p.MarshalText()
	out.Write(text)
	for _, leak := range []string{word, fmt.Sprintf("%x", word), fmt.Sprintf("%X", word), fmt.Sprintf("%v", []byte(word)), "horse"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("printed forms hold %q:\n%s", leak, out.String())
		}
	}
}

// No refusal says anything of the password itself.
func TestRefusedErrorNeverEchoes(t *testing.T) {
	const word = "hunter2hunter2"
	policy, err := NewPolicy(20)
	if err != nil {
		t.Fatal(err)
	}
	_, tooLong := Prepare(strings.Repeat(word, 100))
	_, nul := Prepare(word + "\x00")
	_, bad := Prepare(word + "\xff")
	short := policy.Check(prepare(t, word), "")
	for _, err := range []error{tooLong, nul, bad, short} {
		if reasonOf(err) == "" || strings.Contains(err.Error(), "hunter") || strings.Contains(fmt.Sprintf("%+v %#v", err, err), "hunter") {
			t.Errorf("%v", err)
		}
	}
	seen := map[string]bool{}
	for _, r := range []Reason{ReasonTooLong, ReasonNotText, ReasonNUL, ReasonTooShort, ReasonCommon, ReasonAddress, ""} {
		text := (&RefusedError{Reason: r}).Error()
		if text == "" || seen[text] {
			t.Errorf("reason %q has no sentence of its own", r)
		}
		seen[text] = true
	}
}

func FuzzPrepare(f *testing.F) {
	for _, s := range []string{"", "password", "caf\u00e9", "cafe\u0301", "a\x00b", "\xff", strings.Repeat("\u0301", 400), "\u1100\u1161\u11a8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		p, err := Prepare(in)
		if err != nil {
			if reasonOf(err) == "" || p.value != nil {
				t.Fatalf("Prepare(%q): %v", in, err)
			}
			return
		}
		if !utf8.ValidString(p.text()) || strings.Contains(p.text(), "\x00") || len(p.text()) > 3*MaxBytes {
			t.Fatalf("Prepare(%q) let pass %q", in, p.text())
		}
		if len(p.text()) <= MaxBytes {
			if again, err := Prepare(p.text()); err != nil || again.text() != p.text() {
				t.Fatalf("Prepare(%q) is not stable: %v", in, err)
			}
		}
		isASCII := strings.IndexFunc(in, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
		if isASCII && p.text() != in {
			t.Fatalf("Prepare(%q) changed ASCII", in)
		}
	})
}
