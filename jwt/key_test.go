package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestKeyStorage(t *testing.T) {
	for alg, k := range testKeys() {
		b, err := k.MarshalPrivate()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParsePrivate(b)
		if err != nil || back.ID() != k.ID() || back.Algorithm() != alg {
			t.Errorf("%s: ParsePrivate = %s, %v", alg, back.ID(), err)
		}
		token, err := Sign(back, testClaims())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(token, NewKeys(k.Verifier()), testRules()); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		for other := range testKeys() {
			swapped := append([]byte(other), b[len(alg):]...)
			if _, err := ParsePrivate(swapped); other != alg && other != HS256 && !errors.Is(err, ErrKey) {
				t.Errorf("%s material read as %s: %v", alg, other, err)
			}
		}
		for _, bad := range [][]byte{nil, {}, b[:len(b)-1], b[:len(alg)], b[:len(alg)+1], append([]byte("none\x00"), b...), b[1:]} {
			if alg == HS256 && len(bad) == len(b)-1 {
				bad = b[:len(alg)+20]
			}
			if _, err := ParsePrivate(bad); !errors.Is(err, ErrKey) {
				t.Errorf("%s: ParsePrivate of broken bytes = %v", alg, err)
			}
		}
	}
	for _, b := range [][]byte{nil, []byte("A256GCM"), []byte("A256GCM\x00short"), append([]byte("HS256\x00"), make([]byte, 32)...)} {
		if _, err := ParseEncryptionKey(b); !errors.Is(err, ErrKey) {
			t.Errorf("ParseEncryptionKey(%q) = %v", b, err)
		}
	}
}

func TestJ7_WeakKeys(t *testing.T) {
	for _, alg := range []Algorithm{"", "none", "HS384", "RS512", "PS256", "es256", "Ed25519", A256GCM, "dir"} {
		if _, err := Generate(alg); !errors.Is(err, ErrAlgorithm) {
			t.Errorf("Generate(%q) = %v", alg, err)
		}
		if _, err := ParseAlgorithm(string(alg)); !errors.Is(err, ErrAlgorithm) {
			t.Errorf("ParseAlgorithm(%q) = %v", alg, err)
		}
	}
	if n := testKeys()[RS256].s.public().(*rsa.PublicKey).N.BitLen(); n != 3072 {
		t.Errorf("a new RSA key has %d bits, want 3072", n)
	}
	for _, secret := range []string{"", "secret", strings.Repeat("a", 64), strings.Repeat("01", 32), strings.Repeat("abcdefg", 9), "0123456789012345678901234567890"} {
		if _, err := NewHMACKey([]byte(secret)); !errors.Is(err, ErrKey) || (len(secret) > 6 && strings.Contains(err.Error(), secret)) {
			t.Errorf("NewHMACKey(%q) = %v", secret, err)
		}
	}
	if _, err := NewHMACKey([]byte("0f1e2d3c4b5a69788796a5b4c3d2e1f0")); err != nil {
		t.Errorf("32 hexadecimal digits: %v", err)
	}
	for _, curve := range []elliptic.Curve{elliptic.P224(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParsePrivate(append([]byte("ES256\x00"), der...)); !errors.Is(err, ErrKey) {
			t.Errorf("%s as ES256: %v", curve.Params().Name, err)
		}
	}
	n := testKeys()[RS256].s.public().(*rsa.PublicKey).N
	for name, k := range map[string]*rsa.PublicKey{
		"2047 bits": {N: new(big.Int).Rsh(n, 1025), E: 65537}, "e 3": {N: n, E: 3}, "e 1": {N: n, E: 1}, "e even": {N: n, E: 65538},
		"8200 bits": {N: new(big.Int).Lsh(n, 8200-3072), E: 65537}, "ROCA": {N: new(big.Int).Exp(big.NewInt(65537), big.NewInt(150), nil), E: 65537},
	} {
		if err := checkPublic(k); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestJ8_KeyIDs: the id is the thumbprint as an independent implementation
// computes it, and the id of a secret is not its hash.
func TestJ8_KeyIDs(t *testing.T) {
	for alg, k := range testKeys() {
		if alg == HS256 {
			continue
		}
		sum, err := (&jose.JSONWebKey{Key: k.s.public()}).Thumbprint(crypto.SHA256)
		if want := base64.RawURLEncoding.EncodeToString(sum); err != nil || k.ID() != want {
			t.Errorf("%s: id %s, want %s (%v)", alg, k.ID(), want, err)
		}
		if p, _ := k.Public(); p.Thumbprint() != k.ID() {
			t.Errorf("%s: Thumbprint %s", alg, p.Thumbprint())
		}
	}
	secret := []byte("an HS256 secret that a test can name")
	a, err := NewHMACKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewHMACKey(bytes.Clone(secret))
	if err != nil || a.ID() != b.ID() {
		t.Error("the same secret has two ids")
	}
	for _, s := range []string{string(secret), `{"k":"` + b64(string(secret)) + `","kty":"oct"}`} { // RFC 7638 section 3.2
		sum := sha256.Sum256([]byte(s))
		if a.ID() == base64.RawURLEncoding.EncodeToString(sum[:]) {
			t.Error("the id of a secret is a hash of it")
		}
	}
	secret[0] ^= 1
	if tok, err := Sign(a, testClaims()); err != nil {
		t.Error(err)
	} else if _, err := Verify(tok, NewKeys(b.Verifier()), testRules()); err != nil {
		t.Error("the key changed with the caller's slice")
	}
}

// TestKeysCannotBePrinted formats every key type, alone and inside other
// values, in every usual way.
func TestKeysCannotBePrinted(t *testing.T) {
	enc := testEncryptionKey(t)
	values := []any{enc, enc.Verifier()}
	secrets := [][]byte{enc.e.secret().([]byte)}
	for _, k := range testKeys() {
		p, err := k.MarshalPrivate()
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, k, k.Verifier())
		secrets = append(secrets, p[len(k.Algorithm())+1:])
	}
	var log bytes.Buffer
	for _, v := range values {
		type wrap struct {
			Exported any
			hidden   any
		}
		var out strings.Builder
		for _, x := range []any{v, &v, []any{v}, map[string]any{"k": v}, wrap{v, v}, &wrap{v, v}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
				fmt.Fprintf(&out, verb+"\n", x)
			}
			j, _ := json.Marshal(x)
			out.Write(j)
		}
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", v)
		text := out.String() + log.String()
		if !strings.Contains(text, redacted) {
			t.Errorf("%T is not redacted", v)
		}
		for _, s := range secrets {
			tail := s[len(s)-8:]
			for _, form := range []string{string(tail), hex.EncodeToString(tail), strings.ToUpper(hex.EncodeToString(tail)), strings.Trim(fmt.Sprint(tail), "[]"),
				base64.RawStdEncoding.EncodeToString(s)[:20], base64.RawURLEncoding.EncodeToString(s)[:20]} {
				if strings.Contains(text, form) {
					t.Errorf("%T prints its secret", v)
				}
			}
		}
	}
}

func TestZeroKeysSayNo(t *testing.T) {
	token, err := Sign(testKeys()[ES256], testClaims())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(Key{}, testClaims()); err != ErrNoKey {
		t.Errorf("Sign = %v", err)
	}
	if _, err := Encrypt(EncryptionKey{}, testClaims()); err != ErrNoKey {
		t.Errorf("Encrypt = %v", err)
	}
	if _, err := (Key{}).MarshalPrivate(); err != ErrNoKey {
		t.Errorf("MarshalPrivate = %v", err)
	}
	if _, ok := (Key{}).Public(); ok || (Key{}).ID() != "" || (Key{}).Algorithm() != "" || (PublicKey{}).ID() != "" || (PublicKey{}).Thumbprint() != "" || (EncryptionKey{}).Used() != 0 {
		t.Error("the zero key has properties")
	}
	for _, v := range []VerifyKey{{}, Key{}.Verifier(), PublicKey{}.Verifier(), EncryptionKey{}.Verifier()} {
		if _, err := signatureLayer(token, v); err == nil {
			t.Error("the zero key accepts a token")
		}
		if len(NewKeys(v)) != 0 {
			t.Error("the zero key is in a set")
		}
	}
	if len(NewPublicSet(PublicKey{}).keys) != 0 {
		t.Error("the zero key is in a public set")
	}
}

// TestJ7_KeyBounds: what is just strong enough is taken, and nothing weaker.
func TestJ7_KeyBounds(t *testing.T) {
	modulus := func(bits int) *big.Int { // odd, of that length, and not of the ROCA form
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		for n.Add(n, big.NewInt(1)); hasROCA(n); n.Add(n, big.NewInt(2)) {
		}
		return n
	}
	for _, tt := range []struct {
		bits, e int
		want    bool
	}{
		{2047, 65537, false}, {2048, 65537, true}, {3072, 65537, true}, {8192, 65537, true}, {8193, 65537, false},
		{2048, 65536, false}, {2048, 65535, false}, {2048, 65539, true}, {2048, 65538, false}, {2048, 1<<31 - 1, true}, {2048, 0, false}, {2048, -65537, false},
	} {
		if err := checkPublic(&rsa.PublicKey{N: modulus(tt.bits), E: tt.e}); (err == nil) != tt.want || err != nil && !errors.Is(err, ErrKey) {
			t.Errorf("%d bits, exponent %d: %v", tt.bits, tt.e, err)
		}
	}
	for _, n := range []int{0, 31, 33, 64} {
		if err := checkPublic(ed25519.PublicKey(make([]byte, n))); !errors.Is(err, ErrKey) {
			t.Errorf("an Ed25519 key of %d bytes: %v", n, err)
		}
	}
	distinct := func(values, length int) []byte {
		b := make([]byte, length)
		for i := range b {
			b[i] = byte(i % values * 37)
		}
		return b
	}
	for _, tt := range []struct {
		values, length int
		want           bool
	}{{31, 31, false}, {32, 32, true}, {8, 32, true}, {7, 32, false}, {7, 1000, false}, {8, 1000, true}, {1, 64, false}} {
		if _, err := NewHMACKey(distinct(tt.values, tt.length)); (err == nil) != tt.want {
			t.Errorf("%d bytes with %d values: %v", tt.length, tt.values, err)
		}
	}
	for n, want := range map[int]bool{0: false, 16: false, 31: false, 32: true, 33: false, 64: false} {
		b := append([]byte("A256GCM\x00"), distinct(16, n)...)
		if _, err := ParseEncryptionKey(b); (err == nil) != want || err != nil && !errors.Is(err, ErrKey) {
			t.Errorf("an encryption key of %d bytes: %v", n, err)
		}
	}
	x, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(x)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []Algorithm{EdDSA, ES256, RS256} {
		if k, err := ParsePrivate(append([]byte(alg+"\x00"), der...)); !errors.Is(err, ErrKey) || k != (Key{}) {
			t.Errorf("X25519 as %s: %v", alg, err)
		}
	}
	if b, err := testKeys()[HS256].MarshalPrivate(); err != nil || len(b) != len("HS256")+1+MinHMACBytes {
		t.Errorf("a new HS256 key takes %d bytes, %v", len(b), err)
	}
	if alg, err := ParseAlgorithm("none"); err == nil || alg != "" {
		t.Errorf("ParseAlgorithm = %q, %v", alg, err)
	}
}

// TestJ8_SecretIDs: the ids of secrets are derived as they always were, one for each secret and use; tokens that are
// out name them.
func TestJ8_SecretIDs(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789ABCDEF")
	derived := func(label string) string {
		b, err := hkdf.Key(sha256.New, secret, nil, "handstamp/v1/kid "+label, 32)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	mac, err := NewHMACKey(secret)
	if err != nil || mac.ID() != derived("HS256") || mac.Verifier().ID() != mac.ID() {
		t.Errorf("HS256: %s, %v", mac.ID(), err)
	}
	enc, err := newEncryptionKey(bytes.Clone(secret))
	if err != nil || enc.ID() != derived("A256GCM") || enc.Verifier().ID() != enc.ID() {
		t.Errorf("A256GCM: %s, %v", enc.ID(), err)
	}
	seen := map[string]bool{mac.ID(): true, enc.ID(): true, testKeys()[HS256].ID(): true, testEncryptionKey(t).ID(): true}
	for _, alg := range []Algorithm{ES256, EdDSA, RS256} {
		seen[testKeys()[alg].ID()] = true
	}
	if len(seen) != 7 {
		t.Errorf("seven keys have %d ids", len(seen))
	}
	for id := range seen {
		if len(id) != 43 {
			t.Errorf("id %q", id)
		}
	}
}

// TestJ1_AKeySaysItsAlgorithm, and the zero keys say none.
func TestJ1_AKeySaysItsAlgorithm(t *testing.T) {
	for alg, k := range testKeys() {
		if k.Algorithm() != alg || k.Verifier().Algorithm() != alg {
			t.Errorf("%s: %s, %s", alg, k.Algorithm(), k.Verifier().Algorithm())
		}
		if p, ok := k.Public(); ok != (alg != HS256) || ok && p.Algorithm() != alg || !ok && p != (PublicKey{}) {
			t.Errorf("%s: %s, %v", alg, p.Algorithm(), ok)
		}
	}
	if got := testEncryptionKey(t).Verifier().Algorithm(); got != A256GCM {
		t.Errorf("an encryption key: %s", got)
	}
	if (VerifyKey{}).Algorithm() != "" || (VerifyKey{}).ID() != "" || (PublicKey{}).Algorithm() != "" || (EncryptionKey{}).ID() != "" {
		t.Error("a zero key has properties")
	}
	if b, err := (EncryptionKey{}).MarshalPrivate(); err != ErrNoKey || b != nil {
		t.Errorf("MarshalPrivate = %v", err)
	}
}

// TestKeysPrintOneWord, whichever way they are printed.
func TestKeysPrintOneWord(t *testing.T) {
	enc := testEncryptionKey(t)
	for _, v := range []interface {
		fmt.Stringer
		fmt.GoStringer
		fmt.Formatter
		slog.LogValuer
		json.Marshaler
	}{testKeys()[ES256], testKeys()[HS256].Verifier(), enc, Key{}, VerifyKey{}, EncryptionKey{}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%30v"} {
			if out := fmt.Sprintf(verb, v); out != "REDACTED" {
				t.Errorf("%s of %T is %q", verb, v, out)
			}
		}
		j, err := v.MarshalJSON()
		if v.String() != "REDACTED" || v.GoString() != "REDACTED" || v.LogValue().String() != "REDACTED" || string(j) != `"REDACTED"` || err != nil {
			t.Errorf("%T: %s %s %s %s", v, v.String(), v.GoString(), v.LogValue(), j)
		}
	}
}
