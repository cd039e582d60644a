package password

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// vector is a hash that another system made. testdata/foreign/README.md says which.
type vector struct {
	Format   Format
	MadeBy   string `json:"made_by"`
	Password string
	Hash     string
}

func readForeign(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/foreign/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// slow says whether a vector takes more than a moment.
func (v vector) slow() bool {
	_, c, _ := Inspect(v.Hash)
	return c.MemoryKiB >= 16<<10 || c.Iterations >= 100_000
}

// Every format of the list is known by hashes that its own systems made: the right password is right and is to be
// hashed anew, and others are wrong.
func TestForeignVectors(t *testing.T) {
	seen := map[Format]int{}
	for _, v := range readForeign(t) {
		f, c, err := Inspect(v.Hash)
		if err != nil || f != v.Format || c.Iterations == 0 || c.Parallelism == 0 {
			t.Errorf("%s: Inspect(%s) = %q, %+v, %v", v.MadeBy, v.Hash, f, c, err)
			continue
		}
		seen[f]++
		if v.slow() && testing.Short() {
			continue
		}
		// What was cut when it was chosen is not known to be what is typed now.
		right := Verdict{OK: true, Rehash: true}
		if v.Format == FormatBcrypt && len(v.Password) > bcryptBytes {
			right = Verdict{}
		}
		if got, err := Verify(v.Hash, prepare(t, v.Password), cheap); err != nil || got != right {
			t.Errorf("%s: %s: the password = %+v, %v, want %+v", v.MadeBy, v.Hash, got, err, right)
		}
		for _, wrong := range []string{v.Password[1:], "?" + v.Password[1:], ""} {
			if v.slow() && wrong != "" {
				continue
			}
			if got, err := Verify(v.Hash, prepare(t, wrong), cheap); err != nil || got != (Verdict{}) {
				t.Errorf("%s: %s: wrong password = %+v, %v", v.MadeBy, v.Hash, got, err)
			}
		}
	}
	for _, f := range []Format{
		FormatArgon2id, FormatArgon2i, FormatBcrypt, FormatBcryptSHA256, FormatScrypt, FormatPBKDF2SHA1, FormatPBKDF2SHA256,
		FormatPBKDF2SHA512, FormatFirebase,
	} {
		if seen[f] < 2 {
			t.Errorf("%d vectors of %s", seen[f], f)
		}
	}
}

// TestP3_BcryptMatchesNothingBehindItsLastByte: bcrypt looks at 72 bytes. A longer password matches nothing, also where
// its first 72 bytes are right, and takes the same work. Django's bcrypt_sha256 looks at all of a password.
func TestP3_BcryptMatchesNothingBehindItsLastByte(t *testing.T) {
	h := newHasher(t, cheap)
	formats := 0
	for _, v := range readForeign(t) {
		if len(v.Password) <= bcryptBytes || !utf8.ValidString(v.Password) {
			continue
		}
		formats++
		head := v.Password[:bcryptBytes]
		whole := v.Format == FormatBcryptSHA256
		var works []Work
		for _, tc := range []struct {
			tried string
			ok    bool
		}{
			{head, !whole}, {v.Password, whole}, {head + "x", false}, {head + "another end", false}, {head[:71], false}, {head[:71] + "?" + v.Password[72:], false},
		} {
			if got, err := Verify(v.Hash, prepare(t, tc.tried), cheap); err != nil || got.OK != tc.ok {
				t.Errorf("%s with %d bytes: %+v, %v, want %v", v.Format, len(tc.tried), got, err, tc.ok)
			}
			before := h.Work()
			if got, err := h.Verify(t.Context(), v.Hash, prepare(t, tc.tried)); err != nil || got.OK != tc.ok {
				t.Errorf("%s with %d bytes by the hasher: %+v, %v, want %v", v.Format, len(tc.tried), got, err, tc.ok)
			}
			works = append(works, diff(before, h.Work()))
		}
		for _, w := range works {
			if w != works[0] {
				t.Errorf("%s: unequal work %+v", v.Format, works)
			}
		}
	}
	if formats != 2 {
		t.Errorf("%d formats", formats)
	}
}

const (
	goodSalt = "c29tZXNhbHQ"
	goodTag  = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	goodKey  = "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="
	goodSum  = "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="
	goodBody = "DO8fsxRWeDYOs0ZwUSBnBOyV1zC6CSKCtXtLaHtSRcUhMN5EM0wmG" // of a bcrypt hash
)

func aspnet(version byte, prf, iterations, salt uint32, rest int) string {
	b := []byte{version}
	b = binary.BigEndian.AppendUint32(b, prf)
	b = binary.BigEndian.AppendUint32(b, iterations)
	b = binary.BigEndian.AppendUint32(b, salt)
	return base64.StdEncoding.EncodeToString(append(b, make([]byte, rest)...))
}

// hostile are texts that must be refused before anything is computed.
func hostile() []string {
	phc := func(scheme, costs string) string { return "$" + scheme + "$" + costs + "$" + goodSalt + "$" + goodTag }
	fb := func(costs string) string { return "$fbscrypt$" + costs + "$42xEC+ixf3L2lw==$" + goodSum }
	return []string{
		"", "!", "!abcdefghijkl", "*", "$", "$$", "$$$", "x$", "$2b", "$2b$", "$2b$10", "$7$", "$scrypt$", "scrypt$", "argon2$", "argon2$argon2id",
		"argon2$argon2id$", "bcrypt$", "bcrypt$$2b$", "AQAAAA", "AQAAAAA=", "correct horse", "5f4dcc3b5aa765d61d8327deb882cf99",
		"$1$salt$qJH7.N4xYta3aEG/dfqo/0", "$6$salt$x", "$y$j9T$x$y", "{SSHA}x", "md5$seasalt$3f86d0d3d465b7b458c231bf3555c0e3",
		// argon2
		phc("argon2d", "v=19$m=64,t=2,p=1"), phc("argon2i", "v=16$m=64,t=2,p=1"), phc("argon2i", "m=64,t=2,p=1"), phc("argon2i", "v=19$m=262145,t=1,p=1"),
		phc("argon2i", "v=19$m=64,t=2,p=1,p=1"), phc("argon2i", "v=19$m=64,m=64,t=2,p=1"), "argon2" + phc("argon2d", "v=19$m=64,t=2,p=1"),
		"argon2" + phc("argon2id", "v=19$m=4294967295,t=2,p=1"), "argon2" + phc("bcrypt", "10"),
		// bcrypt
		"$2b$03$" + goodBody, "$2b$16$" + goodBody, "$2b$31$" + goodBody, "$2b$32$" + goodBody, "$2b$99$" + goodBody, "$2b$-1$" + goodBody, "$2b$4$" + goodBody,
		"$2b$004$" + goodBody, "$2b$1e$" + goodBody, "$2x$05$" + goodBody, "$2$05$" + goodBody, "$2c$05$" + goodBody, "$3b$05$" + goodBody,
		"$2b$05$" + goodBody[:52], "$2b$05$" + goodBody + "x", "$2b$05$" + goodBody[:52] + "=", "$2b$05$" + goodBody[:52] + "H", "$2b$05$" + goodBody[:52] + "+",
		"$2b$05$!" + goodBody[1:], "$2b$05$" + goodBody + "\x00", "$2b$05$" + goodBody[:52] + "\x00", "$2b$05$" + goodBody[:51] + "\xff\xfe",
		"bcrypt$2b$05$" + goodBody[:20], "bcrypt$$2x$05$" + goodBody, "bcrypt_sha256$$2b$31$" + goodBody,
		// scrypt
		phc("scrypt", "ln=0,r=8,p=1"), phc("scrypt", "ln=21,r=1,p=1"), phc("scrypt", "ln=63,r=8,p=1"), phc("scrypt", "ln=64,r=8,p=1"), phc("scrypt", "ln=18,r=9,p=1"),
		phc("scrypt", "ln=-1,r=8,p=1"), phc("scrypt", "ln=10,r=0,p=1"), phc("scrypt", "ln=10,r=33,p=1"), phc("scrypt", "ln=10,r=8,p=0"),
		phc("scrypt", "ln=10,r=8,p=17"), phc("scrypt", "ln=10,r=4294967295,p=4294967295"), phc("scrypt", "ln=10,r=4294967304,p=1"),
		phc("scrypt", "ln=17,r=8,p=5"), phc("scrypt", "r=8,ln=10,p=1"), phc("scrypt", "ln=10,ln=10,p=1"), phc("scrypt", "ln=10,r=8,p=1,p=1"), phc("scrypt", "ln=10,r=8"),
		phc("scrypt", "ln=010,r=8,p=1"), "$scrypt$ln=10,r=8,p=1$$" + goodTag, "$scrypt$ln=10,r=8,p=1$" + goodSalt + "$", "$scrypt$ln=10,r=8,p=1$" + goodSalt,
		"$scrypt$ln=10,r=8,p=1$" + goodSalt + "$" + goodTag[:20], "$scrypt$ln=10,r=8,p=1$" + strings.Repeat("A", 172) + "$" + goodTag,
		"$scrypt$ln=10,r=8,p=1$" + goodSalt + "$" + strings.Repeat("A", 88),
		"scrypt$16383$salt$8$1$" + goodTag + "=", "scrypt$0$salt$8$1$" + goodTag + "=", "scrypt$2097152$salt$8$1$" + goodTag + "=", "scrypt$16384$$8$1$" + goodTag + "=",
		"scrypt$16384$salt$8$1$" + goodTag, "scrypt$4294967296$salt$8$1$" + goodTag + "=", "scrypt$16384$salt$8$1$1$" + goodTag + "=",
		"$7$z6..../....salt$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D", "$7$Czzzzz/....salt$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
		"$7$C6....zzzzzsalt$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D", "$7$C6..../....$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
		"$7$C6..../....salt$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8z", "$7$C6..../....sa:t$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
		"$7$C6..../....salt$x$BGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D", "$7$C6..../....salt$",
		// PBKDF2
		phc("pbkdf2-sha256", "i=0"), phc("pbkdf2-sha256", "0"), phc("pbkdf2-sha256", "4000001"), phc("pbkdf2-sha256", "i=4294967295"), phc("pbkdf2-sha256", "i=4294967297"),
		phc("pbkdf2-sha256", "i=-1"), phc("pbkdf2-sha256", "-1"), phc("pbkdf2-sha256", "i=1000,l=16"), phc("pbkdf2-sha256", "i=1000,l=32,l=32"), phc("pbkdf2-sha256", "i=1000,i=1000"),
		phc("pbkdf2-sha256", "01000"), phc("pbkdf2-sha256", "1e6"), phc("pbkdf2-sha512", "2000001"), phc("pbkdf2-sha384", "1000"), phc("pbkdf2-md5", "1000"),
		"$pbkdf2-sha256$2000001$" + goodSalt + "$" + strings.Repeat("A", 86), // two blocks
		"$pbkdf2-sha256$1000$$" + goodTag, "$pbkdf2-sha256$1000$+29tZXNhbHQ$" + goodTag, "$pbkdf2-sha256$i=1000$.29tZXNhbHQ$" + goodTag, "$pbkdf2-sha256$1000$" + goodSalt,
		"pbkdf2_sha256$0$salt$" + goodTag + "=", "pbkdf2_sha256$4000001$salt$" + goodTag + "=", "pbkdf2_sha256$1000$$" + goodTag + "=", "pbkdf2_sha256$1000$salt$" + goodTag,
		"pbkdf2_sha256$1000$salt$" + goodTag + "=$", "pbkdf2_sha256$99999999999999999999$salt$" + goodTag + "=", "pbkdf2_sha256$1000$s\x00lt$" + goodTag + "=",
		"pbkdf2_sha256$1000$s\xfflt$" + goodTag + "=", "pbkdf2_sha256$1000$" + strings.Repeat("s", 129) + "$" + goodTag + "=", "pbkdf2_sha256$1000$salt$CTFhFdXPJO1aFaMaO6Mm5w=x",
		aspnet(1, 3, 1000, 16, 48), aspnet(1, 1, 0, 16, 48), aspnet(1, 1, 1<<32-1, 16, 48), aspnet(1, 1, 1000, 15, 48), aspnet(1, 1, 1000, 1<<32-1, 48), aspnet(1, 1, 1000, 1<<31, 48),
		aspnet(1, 1, 1000, 16, 16), aspnet(1, 1, 1000, 16, 31), aspnet(1, 1, 1000, 16, 81), aspnet(1, 1, 1000, 129, 161), aspnet(0, 1, 1000, 16, 48), aspnet(1, 1, 1000, 16, 48) + "\n",
		// Firebase
		fb("v=2,n=14,r=8,p=1,ss=Bw==,sk=" + goodKey), fb("v=1,n=21,r=8,p=1,ss=Bw==,sk=" + goodKey), fb("v=1,n=19,r=8,p=1,ss=Bw==,sk=" + goodKey),
		fb("v=1,n=14,r=33,p=1,ss=Bw==,sk=" + goodKey), fb("v=1,n=14,r=8,p=2,ss=Bw==,sk=" + goodKey), fb("v=1,n=14,r=8,p=1,ss=Bw==,sk="), fb("v=1,n=14,r=8,p=1,ss=Bw==,sk=Bw=="),
		fb("v=1,n=14,r=8,p=1,sk=" + goodKey + ",ss=Bw=="), fb("v=1,n=14,r=8,p=1,ss=Bw==,ss=Bw==,sk=" + goodKey), fb("v=1,n=14,r=8,p=1,ss=B*==,sk=" + goodKey), fb("v=1,n=14,r=8,p=1,ss=Bw=="),
		"$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=" + goodKey + "$$" + goodSum, "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=" + goodKey + "$42xEC+ixf3L2lw==$" + goodTag,
		"$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=" + goodKey + "$42xEC+ixf3L2lw==", strings.Repeat("$2b$05$", 200),
	}
}

// What a stored string asks for is judged before anything is computed, and a login meets it as a plain no that costs
// what every other no costs.
func TestP8_HostileForeignStringsAreRefused(t *testing.T) {
	h := newHasher(t, cheap)
	for _, s := range hostile() {
		name := s[:min(len(s), 80)]
		f, c, err := Inspect(s)
		if !errors.Is(err, ErrUnusableHash) || f != "" || c != (Cost{}) {
			t.Errorf("Inspect(%q) = %q, %+v, %v", name, f, c, err)
			continue
		}
		if len(s) > 12 && strings.Contains(err.Error(), s[len(s)-12:]) {
			t.Errorf("the error for %q repeats it: %v", name, err)
		}
		before := h.Work()
		got, err := h.Verify(t.Context(), s, prepare(t, "password"))
		if !errors.Is(err, ErrUnusableHash) || got != (Verdict{}) {
			t.Errorf("Hasher.Verify(%q) = %+v, %v", name, got, err)
		}
		if w := diff(before, h.Work()); w != (Work{Hashes: 1, KiB: 128}) {
			t.Errorf("Hasher.Verify(%q) did %+v, want one hash at the current cost", name, w)
		}
	}
}

// What is too long is not looked at: the rest is not read for the sake of a better sentence.
func TestTooLongIsSaidFirst(t *testing.T) {
	for _, s := range []string{strings.Repeat("\x00", maxStoredBytes+1), "$2b$05$" + strings.Repeat("x", 1<<20)} {
		if _, _, err := Inspect(s); err == nil || !strings.Contains(err.Error(), "too long") {
			t.Errorf("%d bytes: %v", len(s), err)
		}
	}
}

// The bounds are where they are said to be: what is just within them passes.
func TestForeignBounds(t *testing.T) {
	for _, s := range []string{
		"$2a$04$" + goodBody, "$2y$15$" + goodBody, "bcrypt$$2b$15$" + goodBody,
		"$scrypt$ln=18,r=8,p=1$" + goodSalt + "$" + goodTag, "$scrypt$ln=17,r=8,p=4$" + goodSalt + "$" + goodTag, "$scrypt$ln=20,r=2,p=2$" + goodSalt + "$" + goodTag,
		"$pbkdf2-sha256$4000000$" + goodSalt + "$" + goodTag, "$pbkdf2-sha512$i=2000000$" + goodSalt + "$" + goodTag, "pbkdf2_sha256$1500000$s$" + goodTag + "=",
		"$fbscrypt$v=1,n=18,r=8,p=1,sk=" + goodKey + "$42xEC+ixf3L2lw==$" + goodSum, aspnet(1, 2, 2_000_000, 16, 48),
	} {
		if _, _, err := Inspect(s); err != nil {
			t.Errorf("Inspect(%q): %v", s, err)
		}
	}
}

// A hash of another system never makes a login cheaper than that of an account that does not exist: after it, a whole
// check at the current costs runs, whether the password was right, wrong or nothing at all.
func TestP10_ForeignHashesAreNeverCheaper(t *testing.T) {
	h := newHasher(t, cheap)
	before := h.Work()
	if err := h.Equalise(t.Context(), prepare(t, "correct horse")); err != nil {
		t.Fatal(err)
	}
	unknown := diff(before, h.Work())
	done := map[Format]bool{}
	for _, v := range readForeign(t) {
		if done[v.Format] || v.slow() {
			continue
		}
		done[v.Format] = true
		var first Work
		for i, tried := range []Secret{prepare(t, v.Password), prepare(t, "wrong horse"), prepare(t, strings.Repeat("x", MaxBytes)), prepare(t, ""), {}} {
			before := h.Work()
			got, err := h.Verify(t.Context(), v.Hash, tried)
			if err != nil || got.OK != (i == 0) {
				t.Errorf("%s, %d: %+v, %v", v.Format, i, got, err)
			}
			w := diff(before, h.Work())
			// The function of the other system, then a whole run of ours; argon2i is measured like argon2id.
			if w.Hashes < 1 || w.KiB < unknown.KiB || !strings.HasPrefix(string(v.Format), "argon2") && w != (Work{Hashes: 2, KiB: unknown.KiB}) {
				t.Errorf("%s, %d: work %+v, an unknown account takes %+v", v.Format, i, w, unknown)
			}
			if i == 0 {
				first = w
			} else if w != first {
				t.Errorf("%s, %d: work %+v, the right password took %+v", v.Format, i, w, first)
			}
		}
	}
	if len(done) != 9 {
		t.Errorf("%d formats: %v", len(done), done)
	}
}

// TestP20_ForeignHashesSeeWhatWasSent: the systems that made them did not normalise.
func TestP20_ForeignHashesSeeWhatWasSent(t *testing.T) {
	const decomposed, composed = "cafe\u0301 cre\u0300me", "caf\u00e9 cr\u00e8me"
	n := 0
	for _, v := range readForeign(t) {
		if v.Password != decomposed {
			continue
		}
		n++
		if got, err := Verify(v.Hash, prepare(t, decomposed), cheap); err != nil || !got.OK {
			t.Errorf("%s, as it was sent: %+v, %v", v.Format, got, err)
		}
		if got, err := Verify(v.Hash, prepare(t, composed), cheap); err != nil || got.OK {
			t.Errorf("%s, another text: %+v, %v", v.Format, got, err)
		}
	}
	if n != 5 {
		t.Errorf("%d vectors", n)
	}
}

func TestFirebaseStored(t *testing.T) {
	f := Firebase{SignerKey: goodKey, SaltSeparator: "Bw==", Rounds: 8, MemCost: 14}
	url := strings.NewReplacer("+", "-", "/", "_")
	for _, in := range [][2]string{{goodSum, "42xEC+ixf3L2lw=="}, {url.Replace(goodSum), url.Replace("42xEC+ixf3L2lw==")}, {strings.TrimRight(goodSum, "="), "42xEC+ixf3L2lw"}} {
		stored, err := f.Stored(in[0], in[1])
		if err != nil {
			t.Fatal(err)
		}
		if testing.Short() {
			continue
		}
		if got, err := Verify(stored, prepare(t, "user1password"), cheap); err != nil || !got.OK {
			t.Errorf("Verify(%s) = %+v, %v", stored, got, err)
		}
	}
	for name, change := range map[string]func(*Firebase){
		"no key": func(f *Firebase) { f.SignerKey = "" }, "no rounds": func(f *Firebase) { f.Rounds = 0 }, "negative": func(f *Firebase) { f.Rounds = -8 },
		"no memory": func(f *Firebase) { f.MemCost = 0 }, "too much": func(f *Firebase) { f.MemCost = 30 }, "a key in a key": func(f *Firebase) { f.SignerKey += ",x" },
		"a field in the separator": func(f *Firebase) { f.SaltSeparator = "Bw,sk=AAAA" },
	} {
		bad := f
		change(&bad)
		if stored, err := bad.Stored(goodSum, "42xEC+ixf3L2lw=="); !errors.Is(err, ErrUnusableHash) || stored != "" {
			t.Errorf("%s: %q, %v", name, stored, err)
		}
	}
	for _, in := range [][2]string{{"", "42xEC+ixf3L2lw=="}, {goodSum, ""}, {goodSum, "$"}, {goodSum + "$", "42xEC+ixf3L2lw=="}, {"UkVEQUNURUQ=", "42xEC+ixf3L2lw=="}} {
		if stored, err := f.Stored(in[0], in[1]); !errors.Is(err, ErrUnusableHash) || stored != "" {
			t.Errorf("%q: %q, %v", in, stored, err)
		}
	}
}

// What parses is within bounds, and what this package itself makes prints back to the same text.
func FuzzParseStored(f *testing.F) {
	v := readVectors(f)
	for _, s := range v.Valid {
		f.Add(s.PHC)
	}
	for _, s := range append(v.MustNotVerify, hostile()...) {
		f.Add(s)
	}
	for _, v := range readForeign(f) {
		f.Add(v.Hash)
	}
	f.Fuzz(func(t *testing.T, in string) {
		stored, err := parseStored(in)
		format, cost, again := Inspect(in)
		if err != nil {
			if !errors.Is(err, ErrUnusableHash) || stored != nil || again == nil || format != "" {
				t.Fatalf("parseStored(%q) = %v, %v; Inspect = %q, %v", in, stored, err, format, again)
			}
			return
		}
		if again != nil || format == "" || cost.MemoryKiB > maxMemoryKiB || cost.Iterations < 1 || cost.Iterations > maxPBKDF2Work ||
			cost.Parallelism < 1 || cost.Parallelism > 16 || uint64(cost.MemoryKiB)*uint64(cost.Parallelism) > 16*maxMemoryKiB {
			t.Fatalf("%q is out of bounds: %q, %+v, %v", in, format, cost, again)
		}
		switch h := stored.(type) {
		case *argon2id:
			if strings.HasPrefix(in, "$") && fmt.Sprint(h) != in {
				t.Fatalf("%q prints as %q", in, h)
			}
			if err := h.params.Validate(); err != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.tag) < 16 || len(h.tag) > 64 {
				t.Fatalf("%q is out of bounds: %v", in, err)
			}
		case *scryptHash:
			if h.costs.memory()*uint64(h.costs.p) > maxScryptWork || len(h.salt) < 1 || len(h.salt) > 128 || len(h.tag) < 16 || len(h.tag) > 64 {
				t.Fatalf("%q is out of bounds: %+v", in, h)
			}
		case *pbkdf2Hash:
			if len(h.salt) < 1 || len(h.salt) > 128 || len(h.tag) < 16 || len(h.tag) > 64 {
				t.Fatalf("%q is out of bounds: %+v", in, h)
			}
		}
		// The cheap ones are run: no parameter that passes may make a library panic or fail.
		if cost.MemoryKiB <= 64 && cost.Iterations <= 16 {
			stored.verify(prepare(t, "x"))
		}
	})
}

// With a sample of what was imported, all ways out of a login take the same work: the hash of an account that has not
// logged in since the import, of one that has, of one that cannot be used, and of an account that does not exist.
func TestP9_LegacyHidesWhoHasNotLoggedInYet(t *testing.T) {
	const imported = "$2y$04$EEg7ZZPiVoku3O8rEprU4.68qkvn0VDnKBPzG/MvzIITx/zd2UrXq"
	h, err := NewHasher(HasherOptions{Params: cheap, InsecureCost: true, Legacy: "$2b$04$" + goodBody})
	if err != nil {
		t.Fatal(err)
	}
	own := hashAt(t, cheap, "correct horse")
	for name, exit := range map[string]func(Secret) error{
		"imported":        func(s Secret) error { _, err := h.Verify(t.Context(), imported, s); return err },
		"logged in since": func(s Secret) error { _, err := h.Verify(t.Context(), own, s); return err },
		"unusable":        func(s Secret) error { _, err := h.Verify(t.Context(), "!", s); return err },
		"unknown":         func(s Secret) error { return h.Equalise(t.Context(), s) },
	} {
		for _, tried := range []Secret{prepare(t, strings.Repeat("0123456789", 8)), prepare(t, "correct horse"), prepare(t, "wrong"), {}} {
			before := h.Work()
			if err := exit(tried); err != nil && !errors.Is(err, ErrUnusableHash) {
				t.Fatal(err)
			}
			if w := diff(before, h.Work()); w != (Work{Hashes: 2, KiB: 128}) {
				t.Errorf("%s: work %+v, want both functions once", name, w)
			}
		}
	}
	for _, bad := range []string{"!", "$2b$31$" + goodBody, own} {
		if h, err := NewHasher(HasherOptions{Params: cheap, InsecureCost: true, Legacy: bad}); !errors.Is(err, ErrLegacy) || h != nil {
			t.Errorf("sample %q accepted", bad)
		}
	}
}
