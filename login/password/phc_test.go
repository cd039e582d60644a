package password

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

// cheap are the least costs there are; only tests may use them.
var cheap = Params{MemoryKiB: 64, Iterations: 2, Parallelism: 1}

type vectors struct {
	Valid []struct {
		Version, T, P  int
		MKiB           int `json:"m_kib"`
		Password, Salt string
		TagHex         string `json:"tag_hex"`
		PHC            string
	}
	MustNotVerify []string `json:"must_not_verify"`
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	data, err := os.ReadFile("testdata/argon2/argon2id_phc_strings.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Valid) != 8 || len(v.MustNotVerify) != 12 {
		t.Fatalf("%d valid and %d bad strings, want 8 and 12", len(v.Valid), len(v.MustNotVerify))
	}
	return v
}

func TestReferenceVectors(t *testing.T) {
	for _, v := range readVectors(t).Valid {
		if v.MKiB > 65536 && testing.Short() {
			continue
		}
		got, err := Verify(v.PHC, prepare(t, v.Password), DefaultParams())
		if err != nil || !got.OK || !got.Rehash {
			t.Errorf("Verify(%s) = %+v, %v, want OK and Rehash", v.PHC, got, err)
		}
		h, err := parseArgon2id(strings.TrimPrefix(v.PHC, "$argon2id$"))
		if err != nil {
			t.Fatal(err)
		}
		want := Params{MemoryKiB: uint32(v.MKiB), Iterations: uint32(v.T), Parallelism: uint8(v.P)}
		if h.params != want || string(h.salt) != v.Salt || hex.EncodeToString(h.tag) != v.TagHex || h.String() != v.PHC {
			t.Errorf("%s parsed to %+v", v.PHC, h)
		}
		if v.MKiB > 256 {
			continue
		}
		if got, err := Verify(v.PHC, prepare(t, v.Password+"x"), DefaultParams()); err != nil || got != (Verdict{}) {
			t.Errorf("wrong password for %s = %+v, %v", v.PHC, got, err)
		}
	}
}

// What a stored string asks for is judged before anything is reserved or computed.
func TestP8_BadStringsNeverVerifyAndCostNothing(t *testing.T) {
	const salt, tag = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	list := append(readVectors(t).MustNotVerify,
		"$argon2d$v=19$m=64,t=2,p=1$"+salt+"$"+tag,
		"$argon2$v=19$m=64,t=2,p=1$"+salt+"$"+tag,
		"$ARGON2ID$v=19$m=64,t=2,p=1$"+salt+"$"+tag,
		"argon2id$v=19$m=64,t=2,p=1$"+salt+"$"+tag,
		"$$argon2id$v=19$m=64,t=2,p=1$"+salt+"$"+tag,
		"$argon2id$m=64,t=2,p=1$"+salt+"$"+tag, // no version
		"$argon2id$v=019$m=64,t=2,p=1$"+salt+"$"+tag,
		"$argon2id$v=19$t=2,m=64,p=1$"+salt+"$"+tag, // order
		"$argon2id$v=19$m=64,t=2$"+salt+"$"+tag,
		"$argon2id$v=19$m=64,t=2,p=1,keyid=Zm9v$"+salt+"$"+tag,
		"$argon2id$v=19$m=064,t=2,p=1$"+salt+"$"+tag,
		"$argon2id$v=19$m=+64,t=2,p=1$"+salt+"$"+tag,
		"$argon2id$v=19$m=-64,t=2,p=1$"+salt+"$"+tag,
		"$argon2id$v=19$m=6_4,t=2,p=1$"+salt+"$"+tag,
		"$argon2id$v=19$m=0x40,t=2,p=1$"+salt+"$"+tag,
		"$argon2id$v=19$m= 64,t=2,p=1$"+salt+"$"+tag,
		"$argon2id$v=19$m=,t=2,p=1$"+salt+"$"+tag,
		"$argon2id$v=19$m=7,t=2,p=1$"+salt+"$"+tag,
		"$argon2id$v=19$m=31,t=2,p=4$"+salt+"$"+tag,
		"$argon2id$v=19$m=262145,t=1,p=1$"+salt+"$"+tag,
		"$argon2id$v=19$m=262144,t=5,p=1$"+salt+"$"+tag, // each in bounds, together not
		"$argon2id$v=19$m=64,t=65,p=1$"+salt+"$"+tag,
		"$argon2id$v=19$m=4096,t=2,p=17$"+salt+"$"+tag,
		"$argon2id$v=19$m=4096,t=2,p=257$"+salt+"$"+tag, // must not wrap to 1
		"$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbA$"+tag,   // 7 bytes of salt
		"$argon2id$v=19$m=64,t=2,p=1$"+salt+"=$"+tag,
		"$argon2id$v=19$m=64,t=2,p=1$"+salt+"$"+tag+"=",
		"$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHR$"+tag, // stray bits in the last character
		"$argon2id$v=19$m=64,t=2,p=1$c29t\nZXNhbHQ$"+tag,
		"$argon2id$v=19$m=64,t=2,p=1$"+salt+"$"+tag+"\n",
		"$argon2id$v=19$m=64,t=2,p=1$"+salt+"$"+tag+"$",
		"$argon2id$v=19$m=64,t=2,p=1$"+salt+"$"+tag[:20],
		"$argon2id$v=19$m=64,t=2,p=1$c29t-_NhbHQ$"+tag, // URL alphabet
		"$argon2id$v=19$m=64,t=2,p=1$"+strings.Repeat("A", 88)+"$"+tag,
		"$argon2id$v=19$m=64,t=2,p=1$"+salt+"$"+strings.Repeat("A", 1<<20),
		"password", "$", "$$$$$", "$argon2id$", "!", "*",
	)
	h, err := NewHasher(HasherOptions{Params: cheap, InsecureCost: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		name := s[:min(len(s), 70)]
		if strings.HasPrefix(s, "$argon2i$") { // another algorithm, which can be checked: it is a plain no
			if got, err := Verify(s, prepare(t, "password"), cheap); err != nil || got != (Verdict{}) {
				t.Errorf("Verify(%q) = %+v, %v, want no", name, got, err)
			}
			continue
		}
		got, err := Verify(s, prepare(t, "password"), cheap)
		if !errors.Is(err, ErrUnusableHash) || got != (Verdict{}) {
			t.Errorf("Verify(%q) = %+v, %v, want ErrUnusableHash", name, got, err)
		}
		before := h.Work()
		got, err = h.Verify(t.Context(), s, prepare(t, "password"))
		if !errors.Is(err, ErrUnusableHash) || got != (Verdict{}) {
			t.Errorf("Hasher.Verify(%q) = %+v, %v, want ErrUnusableHash", name, got, err)
		}
		if w := diff(before, h.Work()); w != (Work{Hashes: 1, KiB: 128}) {
			t.Errorf("Hasher.Verify(%q) did %+v, want one hash at the current cost", name, w)
		}
	}
}

func TestP8_HashFormat(t *testing.T) {
	if p := DefaultParams(); p.MemoryKiB < 19*1024 || p.Iterations < 2 || p.Parallelism < 1 {
		t.Errorf("default costs %+v", p)
	}
	form := regexp.MustCompile(`^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`)
	secret, seen := prepare(t, "correct horse"), map[string]bool{}
	for range 3 {
		phc, err := Hash(DefaultParams(), secret, nil)
		if err != nil || !form.MatchString(phc) {
			t.Fatalf("Hash = %q, %v", phc, err)
		}
		salt := strings.Split(phc, "$")[4]
		if seen[salt] {
			t.Error("a salt came twice")
		}
		seen[salt] = true
		if got, err := Verify(phc, secret, DefaultParams()); err != nil || got != (Verdict{OK: true}) {
			t.Errorf("Verify = %+v, %v", got, err)
		}
	}
}

func TestHashNeedsItsInputs(t *testing.T) {
	secret := prepare(t, "correct horse")
	if s, err := Hash(Params{}, secret, nil); err == nil {
		t.Errorf("zero costs: %q", s)
	}
	if s, err := Hash(cheap, Secret{}, nil); err == nil {
		t.Errorf("zero Secret: %q", s)
	}
	if s, err := Hash(cheap, prepare(t, ""), nil); err == nil {
		t.Errorf("empty password: %q", s)
	}
	for name, r := range map[string]io.Reader{"empty": bytes.NewReader(nil), "short": bytes.NewReader(make([]byte, 15))} {
		if s, err := Hash(cheap, secret, r); err == nil || s != "" {
			t.Errorf("%s source of randomness: %q", name, s)
		}
		if h, err := NewHasher(HasherOptions{Random: r}); err == nil || h != nil {
			t.Errorf("%s source of randomness: hasher made", name)
		}
	}
}

// Whatever is stored, the empty password is wrong.
func TestEmptyPasswordIsNeverRight(t *testing.T) {
	forged := &argon2id{params: cheap, salt: []byte("0123456789abcdef")}
	forged.tag = forged.derive(Secret{}, tagBytes)
	for _, s := range []Secret{{}, prepare(t, "")} {
		if got, err := Verify(forged.String(), s, cheap); err != nil || got != (Verdict{}) {
			t.Errorf("Verify = %+v, %v, want no", got, err)
		}
	}
}

func TestP3_VerifiedExactlyAsReceived(t *testing.T) {
	base := strings.Repeat("0123456789", 7) + "ab" // 72 bytes
	for _, tc := range []struct{ name, stored, tried string }{
		{"byte 73 differs", base + "X", base + "Y"},
		{"byte 73 missing", base + "X", base},
		{"byte 129 differs", strings.Repeat("z", 128) + "X", strings.Repeat("z", 128) + "Y"},
		{"byte 1024 differs", strings.Repeat("z", 1023) + "X", strings.Repeat("z", 1023) + "Y"},
		{"leading space", " correct horse", "correct horse"},
		{"trailing space", "correct horse ", "correct horse"},
		{"case", "Correct horse", "correct horse"},
		{"inner space", "correct  horse", "correct horse"},
		{"width", "\uff43orrect horse", "correct horse"},
		{"line end", "correct horse\r\n", "correct horse\n"},
	} {
		phc, err := Hash(cheap, prepare(t, tc.stored), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Verify(phc, prepare(t, tc.stored), cheap); err != nil || got != (Verdict{OK: true}) {
			t.Errorf("%s: right password = %+v, %v", tc.name, got, err)
		}
		if got, err := Verify(phc, prepare(t, tc.tried), cheap); err != nil || got != (Verdict{}) {
			t.Errorf("%s: wrong password = %+v, %v", tc.name, got, err)
		}
	}
}

func TestP20_ComposedAtSignUpDecomposedAtLogin(t *testing.T) {
	phc, err := Hash(cheap, prepare(t, "caf\u00e9 cr\u00e8me"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Verify(phc, prepare(t, "cafe\u0301 cre\u0300me"), cheap); err != nil || !got.OK {
		t.Errorf("Verify = %+v, %v", got, err)
	}
	if got, err := Verify(phc, prepare(t, "cafe creme"), cheap); err != nil || got.OK {
		t.Errorf("without accents: Verify = %+v, %v", got, err)
	}
}

func TestParams(t *testing.T) {
	for _, tc := range []struct {
		p             Params
		valid, strong bool
	}{
		{Params{}, false, false},
		{DefaultParams(), true, true},
		{Params{65536, 3, 4}, true, true}, // RFC 9106 section 4, second choice
		{Params{47104, 1, 1}, true, true},
		{Params{12288, 3, 1}, true, true},
		{Params{7168, 5, 1}, true, true},
		{Params{19455, 2, 1}, true, false},
		{Params{19456, 1, 1}, true, false},
		{Params{7168, 4, 1}, true, false},
		{Params{8, 1, 1}, true, false},
		{Params{7, 1, 1}, false, false},
		{Params{128, 1, 16}, true, false},
		{Params{127, 1, 16}, false, false},
		{Params{19456, 2, 0}, false, false},
		{Params{19456, 2, 17}, false, false},
		{Params{19456, 0, 1}, false, false},
		{Params{262144, 4, 1}, true, true},
		{Params{262144, 5, 1}, false, false},
		{Params{262145, 1, 1}, false, false},
		{Params{1<<32 - 1, 1<<32 - 1, 1}, false, false},
		{Params{8, 65, 1}, false, false},
	} {
		if valid, strong := tc.p.Validate() == nil, tc.p.Strong(); valid != tc.valid || strong != tc.strong {
			t.Errorf("%+v: valid %v, strong %v, want %v, %v", tc.p, valid, strong, tc.valid, tc.strong)
		}
	}
}
