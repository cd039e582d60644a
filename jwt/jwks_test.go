package jwt

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func publicSet(t testing.TB) PublicSet {
	t.Helper()
	var keys []PublicKey
	for _, alg := range []Algorithm{ES256, EdDSA, RS256} {
		p, ok := testKeys()[alg].Public()
		if !ok {
			t.Fatal(alg)
		}
		keys = append(keys, p)
	}
	return NewPublicSet(append(keys, keys...)...)
}

func TestJ8_PublicSet(t *testing.T) {
	if _, ok := testKeys()[HS256].Public(); ok {
		t.Error("HS256 has a public half")
	}
	for _, v := range []VerifyKey{testKeys()[HS256].Verifier(), testEncryptionKey(t).Verifier()} {
		if v.v.public == nil {
			v.v = &verifier{alg: v.v.alg, id: v.v.id, public: hide(nil)}
		}
		if out := v.v.appendJWK(nil); string(out) != "{}" {
			t.Errorf("a secret is written: %s", out)
		}
	}
	b, err := json.Marshal(publicSet(t))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Keys []map[string]string }
	if err := json.Unmarshal(b, &doc); err != nil || len(doc.Keys) != 3 {
		t.Fatalf("%s: %v", b, err)
	}
	want := map[string][]string{
		"EC": {"alg", "crv", "kid", "kty", "use", "x", "y"}, "OKP": {"alg", "crv", "kid", "kty", "use", "x"}, "RSA": {"alg", "e", "kid", "kty", "n", "use"},
	}
	for _, k := range doc.Keys {
		var names []string
		for name := range k {
			names = append(names, name)
		}
		slices.Sort(names)
		if !slices.Equal(names, want[k["kty"]]) || k["use"] != "sig" {
			t.Errorf("members %v of %v", names, k)
		}
	}
	var theirs jose.JSONWebKeySet
	if err := json.Unmarshal(b, &theirs); err != nil || len(theirs.Keys) != 3 {
		t.Fatalf("go-jose reads our set: %v", err)
	}
	back, err := ParsePublicSet(b)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range theirs.Keys {
		if !k.IsPublic() || !k.Valid() || k.Use != "sig" {
			t.Errorf("go-jose on key %d: %+v", i, k)
		}
		j, err := k.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParsePublicSet(fmt.Appendf(nil, `{"keys":[%s]}`, j))
		if err != nil || len(s.keys) != 1 || s.keys[0].Thumbprint() != back.keys[i].ID() {
			t.Errorf("go-jose's writing of key %d: %v", i, err)
		}
	}
	for _, alg := range []Algorithm{ES256, EdDSA, RS256} {
		token, err := Sign(testKeys()[alg], testClaims())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(token, back, testRules()); err != nil {
			t.Errorf("%s: Verify with the set read back = %v", alg, err)
		}
	}
	if empty, err := json.Marshal(PublicSet{}); err != nil || string(empty) != `{"keys":[]}` {
		t.Errorf("the empty set is %s, %v", empty, err)
	}
	if s, err := ParsePublicSet([]byte(`{"keys":[]}`)); err != nil || len(s.Keys()) != 0 {
		t.Errorf("the empty set reads as %v, %v", s, err)
	}
}

func TestJ8_ParsePublicSet(t *testing.T) {
	jwk := func(alg Algorithm) string { return string(testKeys()[alg].s.appendJWK(nil)) }
	es, ed, rs := jwk(ES256), jwk(EdDSA), jwk(RS256)
	change := func(s, old, with string) string {
		if !strings.Contains(s, old) {
			t.Fatalf("%s is not in %s", old, s)
		}
		return strings.Replace(s, old, with, 1)
	}
	point, err := testKeys()[ES256].s.public().(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	shifted := fmt.Sprintf(`{"kty":"EC","crv":"P-256","alg":"ES256","kid":"a","x":%q,"y":%q}`, b64(string(point[1:32])), b64(string(point[32:])))
	for _, tt := range []struct {
		name, key string
		keys      int // -1: the whole set is refused
	}{
		{"EC", es, 1}, {"Ed25519", ed, 1}, {"RSA", rs, 1}, {"all", es + "," + ed + "," + rs, 3},
		{"key_ops", change(es, `"use"`, `"key_ops":["verify"],"use"`), 1},
		{"for signing", change(es, `"use"`, `"key_ops":["sign"],"use"`), 0},
		{"for encryption", change(es, `"sig"`, `"enc"`), 0},
		{"unknown kty", `{"kty":"XYZ","kid":"a"}`, 0},
		{"no kty", `{}`, 0},
		{"another alg", change(rs, `"RS256"`, `"PS256"`), 0},
		{"alg missing", change(es, `,"alg":"ES256"`, ``), 0},
		{"alg of another kty", change(es, `"ES256"`, `"RS256"`), 0},
		{"another curve", change(es, `"P-256"`, `"P-384"`), 0},
		{"X25519", change(ed, `"Ed25519"`, `"X25519"`), 0},
		{"d", change(es, `"use"`, `"d":"AA","use"`), -1},
		{"p", change(rs, `"use"`, `"p":"AA","use"`), -1},
		{"oct", `{"kty":"oct","k":"AAAA","alg":"HS256","kid":"a"}`, -1},
		{"twice", es + "," + es, -1},
		{"no kid", change(es, `"kid":"`+testKeys()[ES256].ID()+`",`, ``), -1},
		{"long kid", change(es, testKeys()[ES256].ID(), strings.Repeat("k", 129)), -1},
		{"duplicate name", change(es, `"use"`, `"alg":"ES256","use"`), -1},
		{"short x", change(es, `"x":"`, `"x":"AA","was":"`), -1},
		{"not on the curve", change(es, `"y":"`, `"y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","was":"`), -1},
		{"x and y of 31 and 33 bytes", shifted, -1},
		{"padding", change(ed, `"x":"`, `"x":"=`), -1},
		{"short Ed25519", change(ed, `"x":"`, `"x":"AAAA","was":"`), -1},
		{"e 3", change(rs, `"AQAB"`, `"Aw"`), -1},
		{"e with a leading zero", change(rs, `"AQAB"`, `"AAEAAQ"`), -1},
		{"e of 5 bytes", change(rs, `"AQAB"`, `"AQAAAAE"`), -1},
		{"e of 2^31", change(rs, `"AQAB"`, `"gAAAAQ"`), -1},
		{"n small", change(rs, `"n":"`, `"n":"AQAB","was":"`), -1},
		{"n with a leading zero", change(rs, `"n":"`, `"n":"AAAA`), -1},
		{"n huge", change(rs, `"n":"`, `"n":"`+strings.Repeat("A", 4000)), -1},
		{"x is a number", change(es, `"x":"`, `"x":1,"was":"`), -1},
		{"not an object", `"key"`, -1},
		{"65 keys", strings.TrimSuffix(strings.Repeat(`{},`, 65), ","), -1},
	} {
		s, err := ParsePublicSet([]byte(`{"other":1,"keys":[` + tt.key + `]}`))
		if tt.keys < 0 {
			if !errors.Is(err, ErrKey) || len(s.keys) != 0 {
				t.Errorf("%s: %d keys, %v; want ErrKey", tt.name, len(s.keys), err)
			}
		} else if err != nil || len(s.keys) != tt.keys {
			t.Errorf("%s: %d keys, %v; want %d", tt.name, len(s.keys), err, tt.keys)
		}
	}
	for _, doc := range []string{``, `{}`, `[]`, `null`, `{"keys":{}}`, `{"keys":[]}x`, `{"keys":[],"keys":[]}`, `{"KEYS":[]}`, "{\"keys\":[]}\xff",
		`{"keys":[],"x":"` + strings.Repeat("a", MaxSetBytes) + `"}`, strings.Repeat("[", 60000)} {
		if _, err := ParsePublicSet([]byte(doc)); !errors.Is(err, ErrKey) {
			t.Errorf("ParsePublicSet(%.40s) = %v", doc, err)
		}
	}
}

// TestJ8_NoSecretInASet: each parameter that is a secret, in each kind of key, our own or not, refuses the whole set.
func TestJ8_NoSecretInASet(t *testing.T) {
	for _, key := range []string{
		string(testKeys()[ES256].s.appendJWK(nil)), string(testKeys()[EdDSA].s.appendJWK(nil)), string(testKeys()[RS256].s.appendJWK(nil)),
		`{"kty":"XYZ"}`, `{"kty":"RSA","alg":"PS256","kid":"a"}`, `{"use":"enc"}`,
	} {
		for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv", `\u0064`} {
			for _, value := range []string{`"AA"`, `""`, `null`, `[]`, `1`} {
				secret := fmt.Sprintf(`"%s":%s`, name, value)
				for _, doc := range []string{`{"keys":[{` + secret + `,` + key[1:] + `]}`, `{"keys":[` + key[:len(key)-1] + `,` + secret + `}]}`} {
					if s, err := ParsePublicSet([]byte(doc)); !errors.Is(err, ErrKey) || len(s.keys) != 0 {
						t.Errorf("%s: %d keys, %v", doc, len(s.keys), err)
					}
				}
			}
		}
	}
}

// TestJ8_SetBounds: how long a set may be and how many keys it may have, exactly, and that it has to be whole.
func TestJ8_SetBounds(t *testing.T) {
	keys := func(n int) string { return strings.TrimSuffix(strings.Repeat(`{"kty":"XYZ"},`, n), ",") }
	for n, want := range map[int]bool{0: true, 1: true, 63: true, 64: true, 65: false, 66: false} {
		if _, err := ParsePublicSet([]byte(`{"keys":[` + keys(n) + `]}`)); (err == nil) != want {
			t.Errorf("%d keys: %v", n, err)
		}
	}
	for n, want := range map[int]bool{MaxSetBytes - 1: true, MaxSetBytes: true, MaxSetBytes + 1: false} {
		doc := `{"keys":[]}`
		if _, err := ParsePublicSet([]byte(doc + strings.Repeat(" ", n-len(doc)))); (err == nil) != want {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	good := string(testKeys()[EdDSA].s.appendJWK(nil))
	whole := `{"a":1,"keys":[` + good + `],"b":{}}`
	if s, err := ParsePublicSet([]byte(whole)); err != nil || len(s.keys) != 1 {
		t.Fatalf("%d keys, %v", len(s.keys), err)
	}
	for i := range whole {
		if s, err := ParsePublicSet([]byte(whole[:i])); !errors.Is(err, ErrKey) || len(s.keys) != 0 {
			t.Errorf("cut at %d: %d keys, %v", i, len(s.keys), err)
		}
	}
	for _, broken := range []string{`1`, `"a"`, `{"kty":1}`, `{"kty":"\q"}`, `{"key_ops":"verify"}`, `{"key_ops":[1]}`, `{"kid":null}`, `{"use":[]}`, `{"alg":{}}`, `{"crv":1}`, `{"x":1}`, `{"y":1}`, `{"n":1}`, `{"e":65537}`, `{"z":}`, `[]`} {
		for _, doc := range []string{`{"keys":[` + broken + `]}`, `{"keys":[` + good + `,` + broken + `]}`, `{"keys":[` + broken + `,` + good + `]}`} {
			if s, err := ParsePublicSet([]byte(doc)); !errors.Is(err, ErrKey) || len(s.keys) != 0 {
				t.Errorf("%s: %d keys, %v", broken, len(s.keys), err)
			}
		}
	}
	open, anonymous := good[:len(good)-1], strings.Replace(good, `"kid"`, `"was"`, 1)
	for _, doc := range []string{ // text that goes on as if what is wrong were not there
		`{"x":"\q,"keys":[]}`, `{"x":,"keys":[]}`, `{"keys":[` + anonymous + `}`, `{"keys":[` + anonymous + `,"x":1}`, `{"keys":[` + keys(64) + `,]}`, `{"keys":[,]}`, `{"keys":[` + good + `,]}`,
		`{"keys":[` + open + `,"d":]}`, `{"keys":[` + open + `,"d"]}`, `{"keys":[` + open + `]}`, `{"keys":[` + open + `,"z":"\q]}`, `{"keys":[` + open + `,"kty":]}`, `{"keys":,"x":1}`, `{"keys":}`,
	} {
		if s, err := ParsePublicSet([]byte(doc)); !errors.Is(err, ErrKey) || len(s.keys) != 0 {
			t.Errorf("%s: %d keys, %v", doc, len(s.keys), err)
		}
	}
	for n, want := range map[int]int{1: 1, 127: 1, 128: 1, 129: -1} {
		doc := strings.Replace(good, testKeys()[EdDSA].ID(), strings.Repeat("k", n), 1)
		s, err := ParsePublicSet([]byte(`{"keys":[` + doc + `]}`))
		if (err == nil) != (want > 0) || err == nil && (len(s.keys) != want || s.keys[0].ID() != strings.Repeat("k", n)) {
			t.Errorf("a kid of %d bytes: %v", n, err)
		}
	}
}

// TestJ13_KeysHaveOneSpelling: a parameter of a key is canonical base64url of the full width.
func TestJ13_KeysHaveOneSpelling(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for alg, params := range map[Algorithm][]string{ES256: {"x", "y"}, EdDSA: {"x"}, RS256: {"n", "e"}} {
		k := string(testKeys()[alg].s.appendJWK(nil))
		var members map[string]string
		if err := json.Unmarshal([]byte(k), &members); err != nil {
			t.Fatal(err)
		}
		for _, name := range params {
			good := members[name]
			last := strings.IndexByte(alphabet, good[len(good)-1])
			bad := []string{"", "A", "AA", good + "=", "AAAA" + good, good + "\n", good[:3] + "\r\n" + good[3:], "\n" + good, " " + good, good + "*"}
			if name != "n" { // a longer modulus is another key
				bad = append(bad, good+"A", good+"AA", good+"AAAA", good[:len(good)-1])
			} else {
				bad = append(bad, good+strings.Repeat("A", 5-len(good)%4))
			}
			if len(good)%4 != 0 { // trailing bits that are not zero
				bad = append(bad, good[:len(good)-1]+string(alphabet[last|1]))
			}
			for _, text := range bad {
				changed := maps.Clone(members)
				changed[name] = text
				b, err := json.Marshal(map[string]any{"keys": []any{changed}})
				if err != nil {
					t.Fatal(err)
				}
				if s, err := ParsePublicSet(b); !errors.Is(err, ErrKey) || len(s.keys) != 0 {
					t.Errorf("%s: %s as %q: %d keys, %v", alg, name, text, len(s.keys), err)
				}
			}
		}
	}
}

// TestJ1_KeysAreOfOneKind: a key whose type, curve and algorithm do not belong together is nobody's; none is taken for
// another algorithm than its own.
func TestJ1_KeysAreOfOneKind(t *testing.T) {
	for own := range testKeys() {
		if own == HS256 {
			continue
		}
		var members map[string]string
		if err := json.Unmarshal(testKeys()[own].s.appendJWK(nil), &members); err != nil {
			t.Fatal(err)
		}
		for _, kty := range []string{"EC", "OKP", "RSA", "oct", "ec", "okp", "rsa", ""} {
			for _, crv := range []string{members["crv"], "P-256", "Ed25519", "X25519", "P-521", "p-256"} {
				for _, alg := range []string{"ES256", "EdDSA", "RS256", "HS256", "none", "PS256", "Ed25519", "ES384", ""} {
					changed := maps.Clone(members)
					changed["kty"], changed["crv"], changed["alg"] = kty, crv, alg
					b, err := json.Marshal(map[string]any{"keys": []any{changed}})
					if err != nil {
						t.Fatal(err)
					}
					s, err := ParsePublicSet(b)
					if err != nil && len(s.keys) != 0 || len(s.keys) == 1 && s.keys[0].Algorithm() != Algorithm(alg) {
						t.Errorf("%s as %s %s %s: %d keys, %v", own, kty, crv, alg, len(s.keys), err)
					}
					// The x of a point of P-256 is as long as a key of Ed25519; a modulus is like nothing else.
					fits := kty == members["kty"] || kty == "OKP" && own == ES256
					one := kty == "EC" && crv == "P-256" && alg == "ES256" || kty == "OKP" && crv == "Ed25519" && alg == "EdDSA" || kty == "RSA" && alg == "RS256"
					if (len(s.keys) == 1) != (one && fits) {
						t.Errorf("%s as %s %s %s: %d keys, %v", own, kty, crv, alg, len(s.keys), err)
					}
				}
			}
		}
	}
}

// TestJ7_RSAParameters: modulus and exponent at the ends of what is read.
func TestJ7_RSAParameters(t *testing.T) {
	modulus := func(bits int) string {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		for n.Add(n, big.NewInt(1)); hasROCA(n); n.Add(n, big.NewInt(2)) {
		}
		return b64(string(n.Bytes()))
	}
	for _, tt := range []struct {
		bits int
		e    string
		want bool
	}{
		{2048, "\x01\x00\x01", true}, {8192, "\x01\x00\x01", true}, {2047, "\x01\x00\x01", false}, {8193, "\x01\x00\x01", false}, {8200, "\x01\x00\x01", false},
		{2048, "\x01\x00\x00\x01", true}, {2048, "\x7f\xff\xff\xff", true}, {2048, "\x80\x00\x00\x01", false}, {2048, "\xff\xff\xff\xff", false},
		{2048, "\x01\x00\x00\x00\x01", false},                 // one byte more
		{2048, "\x01\x00\x00\x00\x00\x00\x01\x00\x01", false}, // 65537 and 2^64: its low half alone would do
		{2048, "\x00\x01\x00\x01", false}, {2048, "", false}, {2048, "\x00", false}, {2048, "\x01\x00\x00", false},
	} {
		doc := fmt.Sprintf(`{"keys":[{"kty":"RSA","alg":"RS256","kid":"a","n":%q,"e":%q}]}`, modulus(tt.bits), b64(tt.e))
		if s, err := ParsePublicSet([]byte(doc)); (err == nil && len(s.keys) == 1) != tt.want || !tt.want && !errors.Is(err, ErrKey) {
			t.Errorf("%d bits, exponent %x: %v", tt.bits, tt.e, err)
		}
	}
}

// TestJ7_ROCA: a modulus that is a power of 65537 for each small prime is refused; being one for all of them but one is
// not enough.
func TestJ7_ROCA(t *testing.T) {
	all := big.NewInt(1)
	primes := []int64{}
	for p := int64(3); p <= 167; p += 2 {
		if big.NewInt(p).ProbablyPrime(0) {
			primes = append(primes, p)
			all.Mul(all, big.NewInt(p))
		}
	}
	weak := new(big.Int).Exp(big.NewInt(65537), big.NewInt(97), all)
	if !hasROCA(weak) || !hasROCA(big.NewInt(1)) || !hasROCA(new(big.Int).Add(weak, new(big.Int).Lsh(all, 2000))) {
		t.Error("a weak modulus is not seen")
	}
	for e := range int64(200) {
		if !hasROCA(new(big.Int).Exp(big.NewInt(65537), big.NewInt(e), all)) {
			t.Errorf("65537^%d is not seen", e)
		}
	}
	for _, p := range primes {
		// The same number for every prime but p, and 0 for that one: no power of 65537 is 0.
		rest := new(big.Int).Div(all, big.NewInt(p))
		n := new(big.Int).Set(weak)
		for new(big.Int).Mod(n, big.NewInt(p)).Sign() != 0 {
			n.Add(n, rest)
		}
		if hasROCA(n) {
			t.Errorf("a modulus that only %d tells to be good is refused", p)
		}
	}
}
