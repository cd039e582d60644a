package token

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func kinds() []Kind { return []Kind{Reference, ServiceKey, Setup, Anonymous} }

// TestS1_Randomness: of 100,000 tokens none is double, and every bit is set in half of them.
func TestS1_Randomness(t *testing.T) {
	const n = 100_000
	seen := make(map[string]bool, n)
	var ones [secretBytes * 8]int
	for range n {
		text := Generate(Reference).Reveal()
		if seen[text] {
			t.Fatal("a token was drawn twice")
		}
		seen[text] = true
		var b [secretBytes]byte
		if !decodeBase62(b[:], text[5:len(text)-checksumLen]) {
			t.Fatalf("payload of %d characters", len(text))
		}
		for i := range ones {
			ones[i] += int(b[i/8] >> (i % 8) & 1)
		}
	}
	for i, c := range ones {
		if c < n/2-1000 || c > n/2+1000 { // more than six standard deviations
			t.Errorf("bit %d is set in %d of %d", i, c, n)
		}
	}
}

// TestD15_Form: the published form of every kind of token.
func TestD15_Form(t *testing.T) {
	for k, prefix := range map[Kind]string{Reference: "hs_s_", ServiceKey: "hs_k_", Setup: "hs_b_", Anonymous: "hs_a_"} {
		text := Generate(k).Reveal()
		if !strings.HasPrefix(text, prefix) || len(text) != 5+43+6 {
			t.Errorf("%v: %d characters", k, len(text))
		}
		if got, ok := KindOf(text); !ok || got != k {
			t.Errorf("KindOf = %v, %v", got, ok)
		}
		hash, err := Parse(k, text)
		if err != nil || hash != HashOf(NewSecret(text)) || hash.IsZero() {
			t.Errorf("%v: %v", k, err)
		}
		for _, other := range append(kinds(), Refresh, 0, 99) { // J6
			if _, err := Parse(other, text); (err == nil) != (other == k) {
				t.Errorf("%v parses as %v: %v", k, other, err)
			}
		}
	}
	// A value that never changes: the form is a promise to those who hold tokens.
	if got := seal(Reference, make([]byte, 32)); got != "hs_s_"+strings.Repeat("0", 43)+got[48:] {
		t.Error(got)
	}
	if got := seal(Reference, bytes.Repeat([]byte{0xff}, 32)); got[5:48] != maxSecretText {
		t.Error(got)
	}
}

// TestS16_EveryChangeIsRefused: whichever character of a token is changed, cut off or added.
func TestS16_EveryChangeIsRefused(t *testing.T) {
	m, _ := NewMinter([][]byte{bytes.Repeat([]byte("k"), 32)})
	refresh, _ := m.Mint(RefreshToken{Generation: 7, Nonce: NewNonce()})
	for _, k := range append(kinds(), Refresh) {
		good := Generate(k).Reveal()
		if k == Refresh {
			good = refresh.Reveal()
		}
		refused := func(text string) {
			t.Helper()
			if text == good {
				return
			}
			_, err := Parse(k, text)
			if _, open := m.Open(text); k == Refresh {
				err = open
			}
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrKey) {
				t.Fatalf("%v: %q: %v", k, text, err)
			}
		}
		for i := range good {
			for c := range 256 {
				refused(good[:i] + string([]byte{byte(c)}) + good[i+1:])
			}
			refused(good[:i])
			refused(good[i:])
			refused(good[:i] + "0" + good[i:])
			refused(good[:i] + good[i+1:])
		}
		for _, text := range []string{"", good + "0", good + " ", " " + good, good + "\n", good + good, strings.ToUpper(good), strings.ToLower(good), strings.Repeat("0", 1<<20)} {
			refused(text)
		}
	}
}

// withChecksum prints what anybody can print: the checksum keeps typing mistakes out, not people.
func withChecksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	return text + bigBase62(new(big.Int).SetUint64(uint64(sum)), checksumLen)
}

// TestS16_TheChecksumIsNoDefence: with a checksum that is right, each other spelling of a token is refused all the same:
// a character outside the alphabet, a payload too long or too short, a number that does not fit.
func TestS16_TheChecksumIsNoDefence(t *testing.T) {
	m, _ := NewMinter([][]byte{bytes.Repeat([]byte("k"), 32)})
	refresh, _ := m.Mint(RefreshToken{Generation: 7, Nonce: NewNonce()})
	for _, k := range append(kinds(), Refresh) {
		good := Generate(k).Reveal()
		read := func(text string) error { _, err := Parse(k, text); return err }
		if k == Refresh {
			good = refresh.Reveal()
			read = func(text string) error { _, err := m.Open(text); return err }
		}
		body := good[:len(good)-checksumLen]
		if withChecksum(body) != good || read(good) != nil {
			t.Fatalf("%v: the checksum of this test is another one", k)
		}
		prefix, payload := body[:5], body[5:]
		refused := func(what, payload string) {
			t.Helper()
			if err := read(withChecksum(prefix + payload)); !errors.Is(err, ErrMalformed) {
				t.Errorf("%v: %s: %v", k, what, err)
			}
		}
		for i := range payload {
			for c := range 256 {
				if strings.IndexByte(alphabet, byte(c)) < 0 {
					refused(fmt.Sprintf("byte %#x at %d", c, i), payload[:i]+string([]byte{byte(c)})+payload[i+1:])
				}
			}
		}
		zeros := strings.Repeat("0", len(payload))
		for _, n := range []int{-len(payload), -2, -1, 1, 2} {
			refused(fmt.Sprintf("%+d characters", n), (payload + "00")[:len(payload)+n])
			refused(fmt.Sprintf("%+d leading characters", n), ("00" + payload)[2-min(n, 2):])
			refused(fmt.Sprintf("%+d zeros", n), (zeros + "00")[:len(payload)+n])
		}
		refused("the largest text", strings.Repeat("z", len(payload)))
		if k != Refresh {
			if err := read(withChecksum(prefix + maxSecretText)); err != nil {
				t.Errorf("%v: 2^256 - 1: %v", k, err)
			}
			refused("2^256", maxSecretText[:42]+"2")
		}
	}
}

// TestS16_OneChecksum: a checksum has one spelling, too: a character outside the alphabet does not carry into the one
// before it.
func TestS16_OneChecksum(t *testing.T) {
	tried := 0
	for i := range uint32(2000) {
		text := seal(Reference, binary.BigEndian.AppendUint32(make([]byte, 28), i))
		at := len(text) - 1
		if text[at] != '0' || text[at-1] == '0' {
			continue
		}
		tried++
		before := alphabet[strings.IndexByte(alphabet, text[at-1])-1] // x0 is (x-1)*62 + 62
		for c := range 256 {
			if strings.IndexByte(alphabet, byte(c)) >= 0 {
				continue
			}
			if _, err := Parse(Reference, text[:at-1]+string([]byte{before, byte(c)})); err == nil {
				t.Fatalf("a checksum that ends in %#x", c)
			}
		}
		// The largest checksums do not fit into 32 bits.
		if _, err := Parse(Reference, text[:len(text)-checksumLen]+"zzzzzz"); err == nil {
			t.Fatal("a checksum above 2^32")
		}
	}
	if tried == 0 {
		t.Error("no token has such a checksum")
	}
}

// TestBase62IsCanonical: printing and reading agree with arithmetic on big numbers, and each value has one text.
func TestBase62IsCanonical(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 3, 4, 5, 16, 31, 32, 33, 64, 88, 89} {
		limit := new(big.Int).Lsh(big.NewInt(1), uint(8*n))
		if width := base62Len(n); new(big.Int).Exp(big.NewInt(62), big.NewInt(int64(width)), nil).Cmp(limit) < 0 ||
			new(big.Int).Exp(big.NewInt(62), big.NewInt(int64(width-1)), nil).Cmp(limit) >= 0 {
			t.Errorf("width %d for %d bytes", width, n)
		}
		for i := range 500 {
			b := make([]byte, n)
			for j := range b {
				b[j] = byte(r.Uint32())
			}
			switch i {
			case 0:
				clear(b)
			case 1:
				for j := range b {
					b[j] = 0xff
				}
			}
			text := string(appendBase62(nil, b))
			if want := bigBase62(new(big.Int).SetBytes(b), base62Len(n)); text != want {
				t.Fatalf("%x prints as %s, want %s", b, text, want)
			}
			back := make([]byte, n)
			if !decodeBase62(back, text) || !bytes.Equal(back, b) {
				t.Fatalf("%s reads as %x, want %x", text, back, b)
			}
			if n == secretBytes && !canonical(text, n) {
				t.Fatalf("%s is not canonical", text)
			}
			// The same number with the modulus added is another text for the same bytes, if it fits the width.
			if over := bigBase62(new(big.Int).Add(new(big.Int).SetBytes(b), limit), base62Len(n)); len(over) == base62Len(n) &&
				(decodeBase62(back, over) || n == secretBytes && canonical(over, n)) {
				t.Fatalf("%s is a second text of %x", over, b)
			}
		}
	}
}

// TestBase62Refuses what has another width, another character or a larger number; so does the check that does not decode.
func TestBase62Refuses(t *testing.T) {
	for _, n := range []int{4, secretBytes, refreshBytes} {
		zeros := strings.Repeat("0", base62Len(n))
		into := make([]byte, n)
		if !decodeBase62(into, zeros) {
			t.Fatalf("zero in %d bytes", n)
		}
		for _, text := range []string{"", "0", zeros[1:], zeros + "0", zeros[1:] + "-", "-" + zeros[1:], zeros[1:] + "{", zeros[1:] + ":", zeros[1:] + "[", zeros[1:] + "\xff", strings.Repeat("z", len(zeros))} {
			if decodeBase62(into, text) {
				t.Errorf("%q in %d bytes", text, n)
			}
			if n == secretBytes && canonical(text, n) {
				t.Errorf("%q is canonical", text)
			}
		}
	}
}

func bigBase62(n *big.Int, width int) string {
	n = new(big.Int).Set(n)
	var out []byte
	for n.Sign() > 0 || len(out) < width {
		d := new(big.Int)
		n.DivMod(n, big.NewInt(62), d)
		out = append([]byte{alphabet[d.Int64()]}, out...)
	}
	return string(out)
}

// TestRefreshFormat: a refresh token is built as documented, from the standard library alone; tokens that clients hold
// stay good when the code changes.
func TestRefreshFormat(t *testing.T) {
	secret := bytes.Repeat([]byte("s"), 32)
	m, err := NewMinter([][]byte{secret})
	if err != nil {
		t.Fatal(err)
	}
	r := RefreshToken{Session: [16]byte{0: 0x01, 15: 0xff}, Generation: 0x01020304}
	copy(r.Nonce.b[:], "nonce-nonce-nonce-nonce-nonce-32")
	key, err := hkdf.Key(sha256.New, secret, nil, "handstamp/v1/refresh", 32)
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(key)
	body := slices.Concat([]byte{1}, id[:4], r.Session[:], []byte{1, 2, 3, 4}, r.Nonce.b[:])
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	payload := mac.Sum(body)
	const width = 120 // the smallest with 62^width >= 256^89
	want := withChecksum("hs_r_" + bigBase62(new(big.Int).SetBytes(payload), width))
	got, err := m.Mint(r)
	if err != nil || got.Reveal() != want {
		t.Errorf("Mint = %s, want %s (%v)", got.Reveal(), want, err)
	}
	if back, err := m.Open(want); err != nil || back != r {
		t.Errorf("Open = %v", err)
	}
	// Another version is refused, whatever else is right.
	for _, version := range []byte{0, 2, 255} {
		b := slices.Clone(body)
		b[0] = version
		mac := hmac.New(sha256.New, key)
		mac.Write(b)
		if _, err := m.Open(seal(Refresh, mac.Sum(b))); !errors.Is(err, ErrMalformed) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// TestS1_NoncesAreRandom: none is drawn twice, and every bit is set in half of them.
func TestS1_NoncesAreRandom(t *testing.T) {
	const n = 10_000
	seen := make(map[Nonce]bool, n)
	var ones [nonceBytes * 8]int
	for range n {
		nonce := NewNonce()
		if seen[nonce] || nonce.Hash().IsZero() {
			t.Fatal("a nonce was drawn twice")
		}
		seen[nonce] = true
		for i := range ones {
			ones[i] += int(nonce.b[i/8] >> (i % 8) & 1)
		}
	}
	for i, c := range ones {
		if c < n/2-400 || c > n/2+400 { // eight standard deviations
			t.Errorf("bit %d is set in %d of %d", i, c, n)
		}
	}
	if h := (Nonce{}).Hash(); h != sha256.Sum256(make([]byte, nonceBytes)) {
		t.Error("the hash of a nonce is another one")
	}
}

// TestRefreshMAC: every byte of the payload is under the MAC, the key and its id belong together, and the checksum is not
// what protects it.
func TestRefreshMAC(t *testing.T) {
	secret := bytes.Repeat([]byte("s"), 32)
	m, err := NewMinter([][]byte{secret})
	if err != nil {
		t.Fatal(err)
	}
	r := RefreshToken{Session: [16]byte{1, 2, 3}, Generation: 41, Nonce: NewNonce()}
	good := m.keys[0].bytes(r)
	text, err := m.Mint(r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := m.Open(text.Reveal())
	if err != nil || back != r || back.Next().Generation != 42 || back.Next().Nonce != r.Nonce {
		t.Fatalf("Open = %v, %v", back, err)
	}
	again, _ := m.Mint(r)
	if again.Reveal() != text.Reveal() {
		t.Error("the same token prints in two ways: a lost answer could not be given again")
	}
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			if _, err := m.Open(seal(Refresh, b)); err == nil { // with a good checksum
				t.Fatalf("bit %d of byte %d is not protected", bit, i)
			}
		}
	}
	other, _ := NewMinter([][]byte{bytes.Repeat([]byte("o"), 32)})
	if _, err := other.Open(text.Reveal()); !errors.Is(err, ErrKey) {
		t.Errorf("another secret: %v", err)
	}
	forged := other.keys[0]
	forged.id = m.keys[0].id // says our key, is made with another
	if _, err := m.Open(seal(Refresh, forged.bytes(r))); !errors.Is(err, ErrKey) {
		t.Errorf("a forged key id: %v", err)
	}
	both, _ := NewMinter([][]byte{bytes.Repeat([]byte("o"), 32), secret})
	if got, err := both.Open(text.Reveal()); err != nil || got != r {
		t.Errorf("the second of two secrets: %v", err)
	}
	if moved, _ := both.Mint(r); moved.Reveal() == text.Reveal() {
		t.Error("the first secret does not make the token")
	}
	var zero Minter
	if _, err := zero.Open(text.Reveal()); err == nil {
		t.Error("the zero Minter opens something")
	}
	if _, err := zero.Mint(r); err == nil {
		t.Error("the zero Minter makes something")
	}
	if _, err := NewMinter(nil); err == nil {
		t.Error("a Minter without a secret")
	}
}

// TestL2_SecretsNeverPrint: no verb, no logger and no encoder shows any part of a secret.
func TestL2_SecretsNeverPrint(t *testing.T) {
	m, _ := NewMinter([][]byte{bytes.Repeat([]byte("s"), 32)})
	nonce := NewNonce()
	secret := Generate(Reference)
	r := RefreshToken{Generation: 7, Nonce: nonce}
	type holder struct {
		S Secret
		P *Secret
		N Nonce
		R RefreshToken
		M Minter
		L []Secret
		K map[string]Secret
	}
	h := holder{secret, &secret, nonce, r, m, []Secret{secret}, map[string]Secret{"k": secret}}
	hidden := []string{secret.Reveal(), secret.Reveal()[5:20], fmt.Sprintf("%x", secret.Reveal()), fmt.Sprintf("%x", nonce.b[:8]),
		strings.Trim(fmt.Sprint(nonce.b[:8]), "[]"), fmt.Sprintf("%x", m.keys[0].key[:8]), strings.Trim(fmt.Sprint(m.keys[0].key[:8]), "[]")}
	check := func(how, out string) {
		t.Helper()
		for _, s := range hidden {
			if strings.Contains(strings.ToLower(out), strings.ToLower(s)) {
				t.Errorf("%s shows a secret: %s", how, out)
			}
		}
		if !strings.Contains(out, "REDACTED") {
			t.Errorf("%s: %s", how, out)
		}
	}
	for _, v := range []any{secret, &secret, nonce, &nonce, r, &r, m, &m, h, &h, []any{secret}, fmt.Errorf("wrapped: %v", secret)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%b", "%o", "%c", "%U", "%e", "%t", "%20s", "%-9.3v"} {
			if strings.ContainsAny(verb, "debqxXotUc") && fmt.Sprintf("%T", v) == "*fmt.wrapError" {
				continue
			}
			out := fmt.Sprintf(verb, v)
			for _, s := range hidden {
				if strings.Contains(strings.ToLower(out), strings.ToLower(s)) {
					t.Errorf("%s of %T shows a secret: %s", verb, v, out)
				}
			}
		}
	}
	for _, v := range []any{secret, nonce, h.L, h.K} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		check(fmt.Sprintf("json of %T", v), string(b))
		var buf bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewJSONHandler(&buf, nil), slog.NewTextHandler(&buf, nil)} {
			slog.New(handler).Info("x", "v", v)
		}
		check(fmt.Sprintf("slog of %T", v), buf.String())
	}
	check("String", secret.String()+secret.GoString())
	for _, v := range []any{secret, nonce, r, m} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if out := fmt.Sprintf(verb, v); out != "REDACTED" {
				t.Errorf("%s of %T is %q", verb, v, out)
			}
		}
	}
	for _, v := range []encoding.TextMarshaler{secret, nonce} {
		if out, err := v.MarshalText(); err != nil || string(out) != "REDACTED" {
			t.Errorf("the text of %T is %q, %v", v, out, err)
		}
	}
	if v := secret.LogValue(); v.String() != "REDACTED" || secret.String() != "REDACTED" || secret.GoString() != "REDACTED" {
		t.Errorf("%v %s %s", v, secret.String(), secret.GoString())
	}
}

// TestZeroMeansNo: the zero value of every type matches nothing.
func TestZeroMeansNo(t *testing.T) {
	var h Hash
	if h.Equal(h) || !h.IsZero() || !(Secret{}).IsZero() || Kind(0).prefix() != "" {
		t.Error("a zero value means something")
	}
	if a, b := HashOf(Generate(Reference)), HashOf(Generate(Reference)); a.Equal(b) || !a.Equal(a) {
		t.Error("hashes do not compare")
	}
	if _, err := Parse(0, ""); err == nil {
		t.Error("nothing parses")
	}
	if !(Secret{}).IsZero() || NewSecret("x").IsZero() || HashOf(NewSecret("x")).IsZero() {
		t.Error("a value that is there counts as zero")
	}
	// No kind has no prefix: a payload with a checksum and nothing else is no token of it.
	bare := withChecksum(strings.Repeat("0", base62Len(secretBytes)))
	for _, k := range []Kind{0, 99, 255} {
		if _, err := Parse(k, bare); !errors.Is(err, ErrMalformed) {
			t.Errorf("kind %d parses: %v", k, err)
		}
	}
	// Refresh tokens are opened, never looked up: not even one of another length.
	if _, err := Parse(Refresh, seal(Refresh, make([]byte, secretBytes))); !errors.Is(err, ErrMalformed) {
		t.Errorf("a refresh token parses: %v", err)
	}
}

// TestKinds: prefix and name of each, and no kind for anything else.
func TestKinds(t *testing.T) {
	for k, want := range map[Kind][2]string{
		Reference: {"hs_s_", "session token"}, Refresh: {"hs_r_", "refresh token"}, ServiceKey: {"hs_k_", "service key"}, Setup: {"hs_b_", "setup token"},
		Anonymous: {"hs_a_", "anonymous session token"},
	} {
		if got, ok := KindOf(want[0] + "rest"); !ok || got != k || k.String() != want[1] || k.prefix() != want[0] {
			t.Errorf("KindOf(%s) = %v, %v", want[0], got, ok)
		}
	}
	for _, text := range []string{"", "hs_", "hs_s", "hs_x_0", "HS_S_0", " hs_s_0", "s_hs_0", "eyJ0eXAiOiJhdCtqd3QifQ.e30.AA"} {
		if k, ok := KindOf(text); ok || k != 0 {
			t.Errorf("KindOf(%q) = %v, %v", text, k, ok)
		}
	}
	if Kind(0).String() != "no token" || Kind(99).String() != "no token" || Kind(99).prefix() != "" {
		t.Error("what is no kind has a name")
	}
}

func FuzzParse(f *testing.F) {
	for _, k := range kinds() {
		f.Add(uint8(k), Generate(k).Reveal())
		f.Add(uint8(k), seal(k, make([]byte, 32)))
	}
	f.Add(uint8(Reference), "hs_s_"+maxSecretText+"000000")
	f.Fuzz(func(t *testing.T, kind uint8, text string) {
		hash, err := Parse(Kind(kind), text)
		if err != nil {
			if hash != (Hash{}) || !errors.Is(err, ErrMalformed) {
				t.Errorf("%v with an error %v", hash, err)
			}
			return
		}
		var b [secretBytes]byte
		if !decodeBase62(b[:], text[5:len(text)-checksumLen]) || seal(Kind(kind), b[:]) != text {
			t.Errorf("%q parses and is not how its value prints", text)
		}
	})
}

func FuzzOpen(f *testing.F) {
	m, _ := NewMinter([][]byte{bytes.Repeat([]byte("k"), 32)})
	for g := range uint32(3) {
		s, _ := m.Mint(RefreshToken{Generation: g, Nonce: NewNonce()})
		f.Add(s.Reveal())
	}
	f.Add("hs_r_")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := m.Open(text)
		if err != nil {
			if r != (RefreshToken{}) {
				t.Error("a token with an error")
			}
			return
		}
		if again, _ := m.Mint(r); again.Reveal() != text {
			t.Errorf("%q opens and is not how it prints", text)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := Generate(Reference).Reveal()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(Reference, text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	m, _ := NewMinter([][]byte{bytes.Repeat([]byte("k"), 32)})
	s, _ := m.Mint(RefreshToken{Nonce: NewNonce()})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Open(s.Reveal()); err != nil {
			b.Fatal(err)
		}
	}
}
