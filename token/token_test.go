package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

func kinds() []Kind { return []Kind{Reference, ServiceKey, Setup} }

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
	for k, prefix := range map[Kind]string{Reference: "hs_s_", ServiceKey: "hs_k_", Setup: "hs_b_"} {
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
