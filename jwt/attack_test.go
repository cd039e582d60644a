package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	testIssuer   = "https://id.example.com"
	testAudience = "https://app.example.com"
)

func testRules() Rules { return Rules{Issuer: testIssuer, Audience: testAudience, Now: testNow} }

func testClaims() Claims {
	return Claims{
		Issuer: testIssuer, Subject: "usr_1", Audience: []string{testAudience}, ClientID: testAudience,
		ExpiresAt: testNow.Add(10 * time.Minute), IssuedAt: testNow, NotBefore: testNow,
		ID: "j1", Session: "ses_1", AuthTime: testNow.Add(-time.Hour), Methods: []string{"pwd", "otp"},
		Roles: []string{"member", "editor"}, Permissions: []string{"posts:read", "posts:write"},
		Grants: []string{"posts:write"}, AsOf: 1<<32 + 7,
	}
}

// testKeys makes one key per algorithm, once: RSA keys are slow to make.
var testKeys = sync.OnceValue(func() map[Algorithm]Key {
	keys := map[Algorithm]Key{}
	for _, alg := range []Algorithm{ES256, EdDSA, RS256, HS256} {
		k, err := Generate(alg)
		if err != nil {
			panic(err)
		}
		keys[alg] = k
	}
	return keys
})

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// forge signs any header and payload text with a key's own primitive.
func forge(t testing.TB, k Key, header, payload string) string {
	t.Helper()
	signed := b64(header) + "." + b64(payload)
	sig, err := method(k.Algorithm()).Sign(signed, k.s.private())
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func header(k Key) string {
	return fmt.Sprintf(`{"typ":"at+jwt","alg":%q,"kid":%q}`, k.Algorithm(), k.ID())
}

func payload(t testing.TB) string {
	t.Helper()
	c := testClaims()
	b, err := c.encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// refused asserts that a token is refused with this class and check, without
// any claims (J12).
func refused(t testing.TB, name, token string, keys KeySet, want error, check string) {
	t.Helper()
	c, err := Verify(token, keys, testRules())
	var e *Error
	if !errors.Is(err, want) || !errors.As(err, &e) || (check != "" && e.Check != check) {
		t.Errorf("%s: Verify = %v, want %v (%s)", name, err, want, check)
	}
	if !reflect.DeepEqual(c, Claims{}) {
		t.Errorf("%s: claims came with the error", name)
	}
}

func TestRoundTrip(t *testing.T) {
	for alg, k := range testKeys() {
		c := testClaims()
		c.Custom = map[string]any{"plan": "pro", "seats": 3.0, "nested": map[string]any{"a": []any{true, nil, "x\"\\\n\u2028é"}}}
		token, err := Sign(k, c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Verify(token, NewKeys(k.Verifier()), testRules())
		if got.KeyID != k.ID() {
			t.Errorf("%s: checked with %q, want %q", alg, got.KeyID, k.ID())
		}
		got.KeyID = ""
		if diff := cmp.Diff(c, got); err != nil || diff != "" {
			t.Errorf("%s: Verify = %v\n%s", alg, err, diff)
		}
		h, seen, err := InspectUnverified(token)
		if err != nil || h != (Header{Type: "at+jwt", Algorithm: string(alg), KeyID: k.ID()}) || cmp.Diff(c, seen) != "" {
			t.Errorf("%s: InspectUnverified = %+v, %v", alg, h, err)
		}
	}
}

// TestInterop: another implementation reads our tokens, and we read its.
func TestInterop(t *testing.T) {
	for alg, k := range testKeys() {
		token, err := Sign(k, testClaims())
		if err != nil {
			t.Fatal(err)
		}
		claims := gojwt.MapClaims{}
		_, err = gojwt.ParseWithClaims(token, claims, func(*gojwt.Token) (any, error) { return k.s.public(), nil },
			gojwt.WithValidMethods([]string{string(alg)}), gojwt.WithIssuer(testIssuer), gojwt.WithAudience(testAudience),
			gojwt.WithTimeFunc(func() time.Time { return testNow }), gojwt.WithExpirationRequired())
		if err != nil || claims["sid"] != "ses_1" || claims["ep"] != float64(1<<32+7) {
			t.Errorf("%s: golang-jwt reads %v, %v", alg, claims, err)
		}
		theirs := gojwt.NewWithClaims(gojwt.GetSigningMethod(string(alg)), gojwt.MapClaims{
			"iss": testIssuer, "sub": "u", "aud": testAudience, "exp": testNow.Add(time.Minute).Unix(), "iat": testNow.Unix(),
		})
		theirs.Header["typ"], theirs.Header["kid"] = "at+jwt", k.ID()
		text, err := theirs.SignedString(k.s.private())
		if err != nil {
			t.Fatal(err)
		}
		if c, err := Verify(text, NewKeys(k.Verifier()), testRules()); err != nil || c.Subject != "u" {
			t.Errorf("%s: Verify of golang-jwt's token = %v", alg, err)
		}
	}
}

func TestJ1_AlgorithmIsTheKeys(t *testing.T) {
	keys := testKeys()
	for alg, k := range keys {
		set := NewKeys(k.Verifier())
		for _, name := range []string{
			"none", "None", "nOnE", "NONE", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
			"ES256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "Ed448", "dir", "es256", "eddsa", "hs256", "rs256", " ES256", "ES256 ", "ES256\x00",
		} {
			if name == string(alg) {
				continue
			}
			h, _ := json.Marshal(map[string]string{"typ": "at+jwt", "alg": name, "kid": k.ID()})
			refused(t, string(alg)+" as "+name, forge(t, k, string(h), payload(t)), set, ErrSignature, CheckAlgorithm)
			unsigned := b64(string(h)) + "." + b64(payload(t)) + "."
			refused(t, name+" without signature", unsigned, set, ErrMalformed, CheckForm)
			refused(t, name+" with some signature", unsigned+"AAAA", set, ErrSignature, CheckAlgorithm)
		}
		for name, value := range map[string]string{
			"array": `["` + string(alg) + `"]`, "null": "null", "number": "1", "object": "{}", "true": "true",
		} {
			refused(t, "alg "+name, forge(t, k, `{"typ":"at+jwt","alg":`+value+`,"kid":"`+k.ID()+`"}`, payload(t)), set, ErrMalformed, CheckHeader)
		}
		refused(t, "alg missing", forge(t, k, `{"typ":"at+jwt","kid":"`+k.ID()+`"}`, payload(t)), set, ErrMalformed, CheckHeader)
		refused(t, "alg in another case", forge(t, k, `{"typ":"at+jwt","ALG":"`+string(alg)+`","kid":"`+k.ID()+`"}`, payload(t)), set, ErrMalformed, CheckHeader)
		// Each key's tokens under each other key.
		for other, o := range keys {
			if other != alg {
				refused(t, "foreign key", forge(t, o, header(k), payload(t)), set, ErrSignature, CheckSignature)
				refused(t, "foreign key and alg", forge(t, o, `{"typ":"at+jwt","alg":"`+string(other)+`","kid":"`+k.ID()+`"}`, payload(t)), set, ErrSignature, CheckAlgorithm)
			}
		}
	}
}

// TestJ1_PublicKeyAsSecret signs with HMAC under everything that a public key
// can be written as.
func TestJ1_PublicKeyAsSecret(t *testing.T) {
	for _, alg := range []Algorithm{ES256, EdDSA, RS256} {
		k := testKeys()[alg]
		der, err := x509.MarshalPKIXPublicKey(k.s.public())
		if err != nil {
			t.Fatal(err)
		}
		p := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		jwk := k.s.appendJWK(nil)
		secrets := map[string][]byte{
			"PEM": p, "PEM without newline": []byte(strings.TrimSpace(string(p))), "DER": der, "DER base64": []byte(base64.StdEncoding.EncodeToString(der)),
			"JWK": jwk, "JWK newline": append(jwk[:len(jwk):len(jwk)], '\n'), "thumbprint input": thumbprintInput(k.s.public()), "kid": []byte(k.ID()),
		}
		if r, ok := k.s.public().(*rsa.PublicKey); ok {
			secrets["PKCS1"] = x509.MarshalPKCS1PublicKey(r)
			secrets["PKCS1 PEM"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: secrets["PKCS1"]})
			secrets["n"] = r.N.Bytes()
		}
		if e, ok := k.s.public().(ed25519.PublicKey); ok {
			secrets["raw"] = e
		}
		for name, secret := range secrets {
			h := `{"typ":"at+jwt","alg":"HS256","kid":"` + k.ID() + `"}`
			signed := b64(h) + "." + b64(payload(t))
			mac, err := gojwt.SigningMethodHS256.Sign(signed, secret)
			if err != nil {
				t.Fatal(err)
			}
			refused(t, string(alg)+" "+name, signed+"."+base64.RawURLEncoding.EncodeToString(mac), NewKeys(k.Verifier()), ErrSignature, CheckAlgorithm)
		}
	}
}

// TestJ2_KeysAndAddressesInHeaders: the token is otherwise perfect, and
// nobody is called.
func TestJ2_KeysAndAddressesInHeaders(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			_ = c.Close()
		}
	}()
	attacker, err := Generate(ES256)
	if err != nil {
		t.Fatal(err)
	}
	k := testKeys()[ES256]
	url := `"http://` + l.Addr().String() + `/keys"`
	jwk := string(attacker.s.appendJWK(nil))
	for name, param := range map[string]string{
		"jku": `"jku":` + url, "x5u": `"x5u":` + url, "jwk": `"jwk":` + jwk, "x5c": `"x5c":["MIIB"]`,
		"x5t": `"x5t":"AA"`, "x5t#S256": `"x5t#S256":"AA"`,
	} {
		for _, signer := range []Key{attacker, k} {
			for _, kid := range []string{k.ID(), attacker.ID()} {
				h := fmt.Sprintf(`{"typ":"at+jwt","alg":"ES256","kid":%q,%s}`, kid, param)
				refused(t, name, forge(t, signer, h, payload(t)), NewKeys(k.Verifier()), ErrMalformed, CheckHeader)
			}
		}
	}
	_ = l.Close()
	<-done
	if n := calls.Load(); n != 0 {
		t.Errorf("%d connections to the address in a token", n)
	}
}

func TestJ3_Strict(t *testing.T) {
	k := testKeys()[ES256]
	set := NewKeys(k.Verifier())
	id := k.ID()
	good := payload(t)
	for name, h := range map[string]string{
		"crit":            `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `","crit":["exp"]}`,
		"crit empty":      `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `","crit":[]}`,
		"b64 false":       `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `","b64":false,"crit":["b64"]}`,
		"b64 alone":       `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `","b64":true}`,
		"zip":             `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `","zip":"DEF"}`,
		"cty":             `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `","cty":"JWT"}`,
		"enc on a JWS":    `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `","enc":"A256GCM"}`,
		"duplicate alg":   `{"typ":"at+jwt","alg":"none","alg":"ES256","kid":"` + id + `"}`,
		"duplicate kid":   `{"typ":"at+jwt","alg":"ES256","kid":"x","kid":"` + id + `"}`,
		"escaped double":  `{"typ":"at+jwt","alg":"none","\u0061lg":"ES256","kid":"` + id + `"}`,
		"unknown double":  `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `","x":1,"x":1}`,
		"inner double":    `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `","x":{"y":1,"y":2}}`,
		"trailing text":   `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `"}{}`,
		"trailing comma":  `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `",}`,
		"comment":         `{"typ":"at+jwt",/**/"alg":"ES256","kid":"` + id + `"}`,
		"not UTF-8":       "{\"typ\":\"at+jwt\",\"alg\":\"ES256\",\"kid\":\"" + id + "\",\"x\":\"\xff\"}",
		"BOM":             "\xef\xbb\xbf{\"typ\":\"at+jwt\",\"alg\":\"ES256\",\"kid\":\"" + id + "\"}",
		"lone surrogate":  `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `","x":"\ud800"}`,
		"array":           `["typ","at+jwt"]`,
		"null":            `null`,
		"string":          `"ES256"`,
		"empty text":      ` `,
		"deep":            `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		"long kid":        `{"typ":"at+jwt","alg":"ES256","kid":"` + strings.Repeat("k", 129) + `"}`,
		"kid of 100 kB":   `{"typ":"at+jwt","alg":"ES256","kid":"` + strings.Repeat("k", 5000) + `"}`,
		"kid is a number": `{"typ":"at+jwt","alg":"ES256","kid":7}`,
		"JWE parameters":  `{"typ":"at+jwt","alg":"ES256","kid":"` + id + `","p2c":1000000000}`,
	} {
		refused(t, name, forge(t, k, h, good), set, ErrMalformed, CheckHeader)
	}
	for name, p := range map[string]string{
		"duplicate sub":   strings.Replace(good, `"sub":"usr_1"`, `"sub":"usr_2","sub":"usr_1"`, 1),
		"escaped double":  strings.Replace(good, `"sub":"usr_1"`, `"s\u0075b":"usr_2","sub":"usr_1"`, 1),
		"inner double":    strings.Replace(good, `"sub"`, `"x":{"a":1,"a":1},"sub"`, 1),
		"trailing text":   good + "x",
		"two objects":     good + good,
		"array":           "[" + good + "]",
		"empty":           "",
		"not UTF-8":       strings.Replace(good, "usr_1", "usr_\xc0\x80", 1),
		"sub is a number": strings.Replace(good, `"usr_1"`, `1`, 1),
		"sub is null":     strings.Replace(good, `"usr_1"`, `null`, 1),
		"sub is empty":    strings.Replace(good, `"usr_1"`, `""`, 1),
		"roles is text":   strings.Replace(good, `["member","editor"]`, `"member"`, 1),
		"roles mixed":     strings.Replace(good, `["member","editor"]`, `["member",1]`, 1),
		"ep is negative":  strings.Replace(good, `4294967303`, `-1`, 1),
		"ep is a float":   strings.Replace(good, `4294967303`, `1.5`, 1),
		"ep is text":      strings.Replace(good, `4294967303`, `"1"`, 1),
		"ep is 2^53":      strings.Replace(good, `4294967303`, `9007199254740992`, 1),
		"custom 2^53":     strings.Replace(good, `"sub"`, `"x":9007199254740993,"sub"`, 1),
		"custom 1e400":    strings.Replace(good, `"sub"`, `"x":1e400,"sub"`, 1),
		"nested token":    `"` + forge(t, k, header(k), good) + `"`,
	} {
		if p == good {
			t.Fatalf("%s: the case is the good payload", name)
		}
		refused(t, name, forge(t, k, header(k), p), set, ErrSignature, CheckClaims)
	}
	token := forge(t, k, header(k), good)
	parts := strings.Split(token, ".")
	for name, s := range map[string]string{
		"general JSON":   `{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`,
		"flattened JSON": `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"a quote":        `"` + token + `"`,
		"Bearer":         "Bearer " + token,
		"empty":          "", "dots": "..", "one dot": "a.b", "four dots": token + ".a.a", "three dots": token + ".", "five dots": token + "...",
		"leading dot": "." + token, "space": token + " ", "newline": token + "\n", "CRLF inside": strings.Replace(token, ".", ".\r\n", 1),
		"NUL": token + "\x00", "percent": strings.Replace(token, ".", "%2e", 1), "full-width dot": strings.Replace(token, ".", "．", 1),
	} {
		refused(t, name, s, set, ErrMalformed, CheckForm)
	}
	if _, err := Verify(token, set, testRules()); err != nil {
		t.Errorf("the good token: %v", err)
	}
	if _, err := Verify(forge(t, k, `{"typ":"at+jwt","alg":"ES256","kid":"`+id+`","later":{"a":[1]}}`, good), set, testRules()); err != nil {
		t.Errorf("a parameter that only a later version knows: %v", err)
	}
}

// TestJ3_RefusedParameters: each header parameter that brings a key, names an address or changes how the rest is read,
// whatever its value, under a good signature.
func TestJ3_RefusedParameters(t *testing.T) {
	k, enc := testKeys()[HS256], testEncryptionKey(t)
	set := NewKeys(k.Verifier(), enc.Verifier())
	for _, name := range []string{
		"jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip", "cty",
		"epk", "apu", "apv", "iv", "tag", "p2s", "p2c", "skid", `\u006aku`,
	} {
		for _, value := range []string{`"AA"`, `1`, `null`, `true`, `{}`, `[]`, `""`, ``} {
			h := fmt.Sprintf(`{"typ":"at+jwt","alg":"HS256","kid":%q,"%s":%s}`, k.ID(), name, value)
			refused(t, name+" "+value, forge(t, k, h, payload(t)), set, ErrMalformed, CheckHeader)
			h = fmt.Sprintf(`{"%s":%s,"typ":"at+jwt","alg":"dir","enc":"A256GCM","kid":%q}`, name, value, enc.ID())
			refused(t, name+" "+value+" (JWE)", forgeEncrypted(enc, h, payload(t)), set, ErrMalformed, CheckHeader)
		}
	}
}

// TestJ3_Unfinished: text that ends where a member could end is no object, in the header as in the claims.
func TestJ3_Unfinished(t *testing.T) {
	k := testKeys()[HS256]
	set := NewKeys(k.Verifier())
	cut := func(s string) []string {
		s = strings.TrimSuffix(s, "}")
		return []string{s, s + ",", s + " ", s + "]", s + `,"x"`, s + `,"x":`, s + `,"x":1`, s + `,"x":{}`, s + `,"sub"`, s + `,"kid"`,
			s + `,"x":"\q,"y":1}`, s + `,"\q:1}`} // a broken string that the rest could do without
	}
	for _, h := range cut(header(k)) {
		refused(t, h, forge(t, k, h, payload(t)), set, ErrMalformed, CheckHeader)
	}
	for _, p := range cut(payload(t)) {
		refused(t, p, forge(t, k, header(k), p), set, ErrSignature, CheckClaims)
	}
}

// TestJ3_NoValue: a member without a value, or of another type, is not taken for an absent one, wherever it stands.
func TestJ3_NoValue(t *testing.T) {
	k := testKeys()[HS256]
	set := NewKeys(k.Verifier())
	values := []string{``, `null`, `1`, `true`, `{}`, `[,]`, `["a",]`, `[,"a"]`, `["a" "b"]`, `["a",1]`, `["\q`, `"\q`, "\"a\n"}
	for _, name := range []string{"alg", "typ", "kid", "enc", "later"} {
		for _, value := range values {
			if name == "later" && (value == "null" || value == "1" || value == "true" || value == "{}" || value == `["a",1]`) {
				continue // good values, of a parameter that is ignored
			}
			h := strings.TrimSuffix(header(k), "}")
			if name != "enc" && name != "later" {
				h = strings.Replace(h, `"`+name+`"`, `"was"`, 1)
			}
			for _, text := range []string{h + `,"` + name + `":` + value + `}`, `{"` + name + `":` + value + `,` + h[1:] + `}`} {
				refused(t, text, forge(t, k, text, payload(t)), set, ErrMalformed, CheckHeader)
			}
		}
	}
	p := strings.TrimSuffix(payload(t), "}")
	for _, name := range []string{"iss", "sub", "client_id", "exp", "iat", "nbf", "jti", "sid", "auth_time", "amr", "roles", "permissions", "grants", "ep", "aud"} {
		without := strings.Replace(p, `"`+name+`"`, `"was"`, 1)
		for _, value := range values {
			if value == "1" && slices.Contains([]string{"exp", "iat", "nbf", "auth_time", "ep"}, name) {
				continue
			}
			for _, text := range []string{without + `,"` + name + `":` + value + `}`, `{"` + name + `":` + value + `,` + without[1:] + `}`} {
				refused(t, text, forge(t, k, header(k), text), set, ErrSignature, CheckClaims)
			}
		}
	}
}

// TestJ13_CanonicalThoughSigned: another spelling of a part is refused although the signature covers it; so is an empty
// header, before anything is read.
func TestJ13_CanonicalThoughSigned(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	k := testKeys()[HS256]
	set := NewKeys(k.Verifier())
	respell := func(s string) string { // sets a trailing bit that decoders may ignore
		return s[:len(s)-1] + string(alphabet[strings.IndexByte(alphabet, s[len(s)-1])|1])
	}
	sign := func(h, p string) string {
		sig, err := method(HS256).Sign(h+"."+p, k.s.private())
		if err != nil {
			t.Fatal(err)
		}
		return h + "." + p + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	for pad := range 2 { // one byte and two beyond a multiple of three
		h, p := header(k), payload(t)
		for len(h)%3 != pad+1 {
			h += " "
		}
		for len(p)%3 != pad+1 {
			p += " "
		}
		good := sign(b64(h), b64(p))
		if _, err := Verify(good, set, testRules()); err != nil {
			t.Fatal(err)
		}
		refused(t, "header", sign(respell(b64(h)), b64(p)), set, ErrMalformed, CheckForm)
		refused(t, "payload", sign(b64(h), respell(b64(p))), set, ErrMalformed, CheckForm)
		refused(t, "signature", respell(good), set, ErrMalformed, CheckForm)
		refused(t, "padding", sign(b64(h)+"=", b64(p)), set, ErrMalformed, CheckForm)
		refused(t, "header of 4n+1", sign(b64(h)+strings.Repeat("A", 5-len(b64(h))%4), b64(p)), set, ErrMalformed, CheckForm)
	}
	for _, s := range []string{".AA.AA", "..AA", ".AA.", "....AA", "..AA.AA.AA"} {
		refused(t, s, s, set, ErrMalformed, CheckForm)
	}
	for c := range 256 {
		if isBase64URL(byte(c)) != (strings.IndexByte(alphabet, byte(c)) >= 0) {
			t.Errorf("byte %#x", c)
		}
	}
}

// TestJ11_HeaderBound: a header of the longest size is read, and none above.
func TestJ11_HeaderBound(t *testing.T) {
	k := testKeys()[HS256]
	set := NewKeys(k.Verifier())
	long := func(n int) string {
		h := strings.TrimSuffix(header(k), "}") + `,"later":"`
		return h + strings.Repeat("x", n-len(h)-2) + `"}`
	}
	if _, err := Verify(forge(t, k, long(maxHeaderBytes*3/4), payload(t)), set, testRules()); err != nil {
		t.Errorf("a header of %d characters: %v", maxHeaderBytes, err)
	}
	refused(t, "longer", forge(t, k, long(maxHeaderBytes*3/4+1), payload(t)), set, ErrMalformed, CheckHeader)
}

func TestJ4_Times(t *testing.T) {
	k := testKeys()[ES256]
	set := NewKeys(k.Verifier())
	at := func(exp, nbf, iat any) string {
		m := map[string]any{"iss": testIssuer, "sub": "u", "aud": testAudience}
		for name, v := range map[string]any{"exp": exp, "nbf": nbf, "iat": iat} {
			if v != nil {
				m[name] = v
			}
		}
		b, _ := json.Marshal(m)
		return forge(t, k, header(k), string(b))
	}
	now := testNow.Unix()
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for _, tt := range []struct {
		name          string
		exp, nbf, iat any
		leeway, late  time.Duration
		want          error
	}{
		{"good", now + 60, now, now, 0, 0, nil},
		{"without nbf", now + 60, nil, now, 0, 0, nil},
		{"last second", now + 1, now, now, 0, 0, nil},
		{"exp itself is over", now, now - 9, now - 9, 0, 0, ErrExpired},
		{"exp has no leeway", now - 1, now - 9, now - 9, 30 * time.Second, 0, ErrExpired},
		{"expiry leeway, last second", now - 29, now - 90, now - 90, 0, 30 * time.Second, nil},
		{"expiry leeway, over", now - 30, now - 90, now - 90, 0, 30 * time.Second, ErrExpired},
		{"nbf at the leeway", now + 60, now + 30, now, 0, 0, nil},
		{"nbf beyond", now + 60, now + 31, now, 0, 0, ErrNotYetValid},
		{"nbf beyond a smaller leeway", now + 60, now + 6, now, 5 * time.Second, 0, ErrNotYetValid},
		{"iat at the leeway", now + 60, now, now + 30, 0, 0, nil},
		{"iat beyond", now + 60, now, now + 31, 0, 0, ErrNotYetValid},
		{"iat far ahead", now + 60, now, int64(1) << 52, 0, 0, ErrNotYetValid},
		{"exp 0", 0, 0, 0, 0, 0, ErrExpired},
		{"exp missing", nil, now, now, 0, 0, ErrSignature},
		{"iat missing", now + 60, now, nil, 0, 0, ErrSignature},
		{"exp text", fmt.Sprint(now + 60), now, now, 0, 0, ErrSignature},
		{"exp null", raw("null"), now, now, 0, 0, ErrSignature},
		{"exp float", raw(fmt.Sprint(now+60) + ".0"), now, now, 0, 0, ErrSignature},
		{"exp exponent", raw("2e9"), now, now, 0, 0, ErrSignature},
		{"exp 1e400", raw("1e400"), now, now, 0, 0, ErrSignature},
		{"exp negative", -1, now, now, 0, 0, ErrSignature},
		{"exp minus zero", raw("-0"), now, now, 0, 0, ErrSignature},
		{"exp 2^53", int64(1) << 53, now, now, 0, 0, ErrSignature},
		{"exp 2^53-1", int64(1)<<53 - 1, now, now, 0, 0, nil},
		{"exp 2^63", raw("9223372036854775808"), now, now, 0, 0, ErrSignature},
		{"exp 2^64+now", raw("18446744075400000000"), now, now, 0, 0, ErrSignature},
		{"exp array", []int64{now + 60}, now, now, 0, 0, ErrSignature},
		{"exp true", true, now, now, 0, 0, ErrSignature},
		{"nbf text", now + 60, "0", now, 0, 0, ErrSignature},
		{"iat float", now + 60, now, raw("1.5"), 0, 0, ErrSignature},
		{"leading zero", raw("09999999999"), now, now, 0, 0, ErrSignature},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rules := testRules()
			rules.Leeway, rules.ExpiryLeeway = tt.leeway, tt.late
			var token string
			if r, ok := tt.exp.(json.RawMessage); ok && !json.Valid(r) {
				token = forge(t, k, header(k), fmt.Sprintf(`{"iss":%q,"sub":"u","aud":%q,"iat":1,"exp":%s}`, testIssuer, testAudience, r))
			} else {
				token = at(tt.exp, tt.nbf, tt.iat)
			}
			c, err := Verify(token, set, rules)
			if !errors.Is(err, tt.want) || (tt.want == nil && err != nil) {
				t.Errorf("Verify = %v, want %v", err, tt.want)
			}
			if err != nil && !reflect.DeepEqual(c, Claims{}) {
				t.Error("claims came with the error")
			}
		})
	}
	t.Run("expired is only said of genuine tokens", func(t *testing.T) {
		other, err := Generate(ES256)
		if err != nil {
			t.Fatal(err)
		}
		old := testClaims()
		old.ExpiresAt = testNow.Add(-time.Hour)
		b, _ := old.encode()
		refused(t, "forged", forge(t, other, header(k), string(b)), set, ErrSignature, CheckSignature)
		token := forge(t, k, header(k), string(b))
		refused(t, "genuine", token, set, ErrExpired, CheckExpiry)
		if c, err := VerifyIgnoringExpiry(token, set, testRules()); err != nil || c.Session != "ses_1" {
			t.Errorf("VerifyIgnoringExpiry = %v", err)
		}
		if _, err := VerifyIgnoringExpiry(forge(t, other, header(k), string(b)), set, testRules()); !errors.Is(err, ErrSignature) {
			t.Errorf("VerifyIgnoringExpiry of a forged token = %v", err)
		}
	})
}

func TestJ4_RulesAreComplete(t *testing.T) {
	k := testKeys()[ES256]
	token, err := Sign(k, testClaims())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Rules){
		"no issuer": func(r *Rules) { r.Issuer = "" }, "no audience": func(r *Rules) { r.Audience = "" },
		"no time": func(r *Rules) { r.Now = time.Time{} }, "leeway": func(r *Rules) { r.Leeway = 31 * time.Second },
		"negative": func(r *Rules) { r.Leeway = -1 }, "expiry leeway": func(r *Rules) { r.ExpiryLeeway = time.Hour },
		"negative expiry leeway": func(r *Rules) { r.ExpiryLeeway = -1 }, "zero": func(r *Rules) { *r = Rules{} },
	} {
		r := testRules()
		change(&r)
		if _, err := Verify(token, NewKeys(k.Verifier()), r); err != ErrRules {
			t.Errorf("%s: Verify = %v, want ErrRules", name, err)
		}
	}
	if _, err := Verify(token, nil, testRules()); err != ErrRules {
		t.Errorf("without keys: %v", err)
	}
}

// TestJ4_LeewayIsExact: to the nanosecond, at both ends, and for both kinds.
func TestJ4_LeewayIsExact(t *testing.T) {
	k := testKeys()[HS256]
	set := NewKeys(k.Verifier())
	verify := func(change func(c *Claims, r *Rules)) error {
		c, r := testClaims(), testRules()
		change(&c, &r)
		token, err := Sign(k, c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Verify(token, set, r)
		return err
	}
	for name, tt := range map[string]struct {
		change func(c *Claims, r *Rules)
		want   error
	}{
		"the largest leeways":         {func(_ *Claims, r *Rules) { r.Leeway, r.ExpiryLeeway = MaxLeeway, MaxLeeway }, nil},
		"more leeway":                 {func(_ *Claims, r *Rules) { r.Leeway = MaxLeeway + 1 }, ErrRules},
		"more expiry leeway":          {func(_ *Claims, r *Rules) { r.ExpiryLeeway = MaxLeeway + 1 }, ErrRules},
		"nbf at the largest":          {func(c *Claims, _ *Rules) { c.NotBefore = testNow.Add(MaxLeeway) }, nil},
		"nbf beyond":                  {func(c *Claims, r *Rules) { c.NotBefore, r.Now = testNow.Add(MaxLeeway), testNow.Add(-1) }, ErrNotYetValid},
		"iat beyond":                  {func(c *Claims, r *Rules) { c.IssuedAt, r.Now = testNow.Add(MaxLeeway), testNow.Add(-1) }, ErrNotYetValid},
		"nbf beyond a leeway of 1 s":  {func(c *Claims, r *Rules) { c.NotBefore, r.Leeway = testNow.Add(2*time.Second), time.Second }, ErrNotYetValid},
		"1 ns before exp":             {func(c *Claims, r *Rules) { r.Now = c.ExpiresAt.Add(-1) }, nil},
		"exp":                         {func(c *Claims, r *Rules) { r.Now = c.ExpiresAt }, ErrExpired},
		"1 ns before exp and leeway":  {func(c *Claims, r *Rules) { r.Now, r.ExpiryLeeway = c.ExpiresAt.Add(time.Second-1), time.Second }, nil},
		"exp and leeway":              {func(c *Claims, r *Rules) { r.Now, r.ExpiryLeeway = c.ExpiresAt.Add(time.Second), time.Second }, ErrExpired},
		"leeway is not expiry leeway": {func(c *Claims, r *Rules) { r.Now, r.Leeway = c.ExpiresAt, MaxLeeway }, ErrExpired},
		"expiry leeway is not for nbf": {func(c *Claims, r *Rules) {
			c.NotBefore, r.Leeway, r.ExpiryLeeway = testNow.Add(2*time.Second), time.Second, MaxLeeway
		}, ErrNotYetValid},
	} {
		if err := verify(tt.change); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: Verify = %v, want %v", name, err, tt.want)
		}
	}
}

func TestJ5_IssuerAndAudience(t *testing.T) {
	k := testKeys()[EdDSA]
	set := NewKeys(k.Verifier())
	make := func(iss, aud string) string {
		return forge(t, k, header(k), fmt.Sprintf(`{%s%s"sub":"u","exp":%d,"iat":1}`, iss, aud, testNow.Unix()+60))
	}
	iss, us := fmt.Sprintf(`"iss":%q,`, testIssuer), fmt.Sprintf("%q", testAudience)
	for _, tt := range []struct{ name, iss, aud, check string }{
		{"text", iss, `"aud":` + us + `,`, ""},
		{"array of us", iss, `"aud":[` + us + `],`, ""},
		{"array with us last", iss, `"aud":["other",` + us + `],`, ""},
		{"missing", iss, ``, CheckClaims},
		{"empty array", iss, `"aud":[],`, CheckClaims},
		{"null", iss, `"aud":null,`, CheckClaims},
		{"nested", iss, `"aud":[[` + us + `]],`, CheckClaims},
		{"object", iss, `"aud":{"a":` + us + `},`, CheckClaims},
		{"array with a number", iss, `"aud":[` + us + `,1],`, CheckClaims},
		{"empty text", iss, `"aud":"",`, CheckAudience},
		{"other", iss, `"aud":["other"],`, CheckAudience},
		{"others", iss, `"aud":["other","` + testAudience + `2"],`, CheckAudience},
		{"trailing space", iss, `"aud":"` + testAudience + ` ",`, CheckAudience},
		{"trailing slash", iss, `"aud":"` + testAudience + `/",`, CheckAudience},
		{"prefix", iss, `"aud":"https://app.example.co",`, CheckAudience},
		{"upper case", iss, `"aud":"HTTPS://APP.EXAMPLE.COM",`, CheckAudience},
		{"comma list", iss, `"aud":"other,` + testAudience + `",`, CheckAudience},
		{"no issuer", ``, `"aud":` + us + `,`, CheckClaims},
		{"issuer slash", `"iss":"` + testIssuer + `/",`, `"aud":` + us + `,`, CheckIssuer},
		{"issuer array", `"iss":["` + testIssuer + `"],`, `"aud":` + us + `,`, CheckClaims},
		{"other issuer", `"iss":"https://evil.example",`, `"aud":` + us + `,`, CheckIssuer},
		{"issuer case", `"iss":"https://ID.example.com",`, `"aud":` + us + `,`, CheckIssuer},
	} {
		token := make(tt.iss, tt.aud)
		if tt.check == "" {
			if _, err := Verify(token, set, testRules()); err != nil {
				t.Errorf("%s: Verify = %v", tt.name, err)
			}
			continue
		}
		refused(t, tt.name, token, set, ErrSignature, tt.check)
	}
}

func TestJ6_Type(t *testing.T) {
	k := testKeys()[ES256]
	for _, typ := range []string{`"JWT"`, `"jwt"`, `"at+JWT"`, `"AT+JWT"`, `"application/at+jwt"`, `"id+jwt"`, `"logout+jwt"`, `"dpop+jwt"`, `"refresh"`, `""`, `" at+jwt"`} {
		h := fmt.Sprintf(`{"typ":%s,"alg":"ES256","kid":%q}`, typ, k.ID())
		refused(t, typ, forge(t, k, h, payload(t)), NewKeys(k.Verifier()), ErrSignature, CheckType)
	}
	refused(t, "missing", forge(t, k, fmt.Sprintf(`{"alg":"ES256","kid":%q}`, k.ID()), payload(t)), NewKeys(k.Verifier()), ErrSignature, CheckType)
}

func TestJ10_KeyID(t *testing.T) {
	k := testKeys()[ES256]
	asked := 0
	set := keyFunc(func(kid string) (VerifyKey, bool) {
		if asked++; len(kid) > maxKeyIDBytes {
			t.Errorf("the set was asked for a kid of %d bytes", len(kid))
		}
		return NewKeys(k.Verifier()).Key(kid)
	})
	for _, kid := range []string{
		"", "unknown", "../../../../dev/null", "/dev/null", "' OR 1=1 --", "x' UNION SELECT 'k", "|whoami", "$(id)", "http://127.0.0.1/k",
		k.ID() + "\x00", "\x00", k.ID() + " ", strings.ToUpper(k.ID()), k.ID()[:42], "🔑", strings.Repeat("k", 128),
	} {
		h, _ := json.Marshal(map[string]string{"typ": "at+jwt", "alg": "ES256", "kid": kid})
		refused(t, kid, forge(t, k, string(h), payload(t)), set, ErrSignature, CheckKey)
	}
	refused(t, "no kid", forge(t, k, `{"typ":"at+jwt","alg":"ES256"}`, payload(t)), set, ErrSignature, CheckKey)
	// A set that gives its only key for every kid is answered no as well.
	lax := keyFunc(func(string) (VerifyKey, bool) { return k.Verifier(), true })
	for _, kid := range []string{"", "other"} {
		h := fmt.Sprintf(`{"typ":"at+jwt","alg":"ES256","kid":%q}`, kid)
		refused(t, "lax set", forge(t, k, h, payload(t)), lax, ErrSignature, CheckKey)
	}
	refused(t, "zero key", forge(t, k, header(k), payload(t)), keyFunc(func(string) (VerifyKey, bool) { return VerifyKey{}, true }), ErrSignature, CheckKey)
	if asked == 0 {
		t.Error("the set was never asked")
	}
	// A key that the set gives along with its no (one that was revoked, say) is not used.
	refused(t, "no with a key", forge(t, k, header(k), payload(t)), keyFunc(func(string) (VerifyKey, bool) { return k.Verifier(), false }), ErrSignature, CheckKey)
	if got, ok := NewKeys(k.Verifier()).Key("other"); ok || got != (VerifyKey{}) {
		t.Error("a set answers yes to a key that it does not have")
	}
	if got, ok := NewKeys(k.Verifier()).Key(k.ID()); !ok || got != k.Verifier() {
		t.Error("a set does not have its key")
	}
}

// TestJ1_NoAlgorithmNoSignature: a verifier of an algorithm outside the list matches nothing.
func TestJ1_NoAlgorithmNoSignature(t *testing.T) {
	for _, alg := range []Algorithm{"", "none", A256GCM, "HS384"} {
		v := verifier{alg: alg, id: "k", public: hide([]byte("k"))}
		if v.matches("a.b", nil) || v.matches("a.b", []byte("sig")) {
			t.Errorf("%q matches", alg)
		}
	}
}

// TestJ15_NoSignedEnvelope: in five parts the signature would cover the header alone, and the payload could be anything.
func TestJ15_NoSignedEnvelope(t *testing.T) {
	for alg, k := range testKeys() {
		h := b64(fmt.Sprintf(`{"typ":"at+jwt","alg":%q,"enc":"A256GCM","kid":%q}`, alg, k.ID()))
		sig, err := method(alg).Sign(h, k.s.private())
		if err != nil {
			t.Fatal(err)
		}
		token := h + ".." + b64("twelve bytes") + "." + b64(payload(t)) + "." + b64(string(sig))
		refused(t, string(alg), token, NewKeys(k.Verifier()), ErrSignature, CheckAlgorithm)
	}
}

type keyFunc func(kid string) (VerifyKey, bool)

func (f keyFunc) Key(kid string) (VerifyKey, bool) { return f(kid) }

// TestJ11_Bombs: what is too long or has too many dots costs nothing.
func TestJ11_Bombs(t *testing.T) {
	k := testKeys()[ES256]
	set := NewKeys(k.Verifier())
	dots := strings.Repeat(".", MaxTokenBytes)
	for name, tt := range map[string]struct {
		token, check string
		allocs       float64
	}{
		"1 MB of dots":   {strings.Repeat(".", 1<<20), CheckSize, 0},
		"8 KiB of dots":  {dots, CheckForm, 0},
		"10 MB header":   {strings.Repeat("A", 10<<20) + ".A.A", CheckSize, 0},
		"8 KiB header":   {strings.Repeat("A", 8000) + ".AA.AA", CheckHeader, 0},
		"one byte over":  {strings.Repeat("A", MaxTokenBytes+1), CheckSize, 0},
		"8 KiB no dots":  {strings.Repeat("A", MaxTokenBytes), CheckForm, 0},
		"10 MB payload":  {"eyJ9." + strings.Repeat("A", 10<<20) + ".AA", CheckSize, 0},
		"10 MB of JSON":  {`{"payload":"` + strings.Repeat("A", 10<<20) + `"}`, CheckSize, 0},
		"headers of JWE": {strings.Repeat("A", 4000) + "..A.A.A", CheckHeader, 0},
	} {
		refused(t, name, tt.token, set, ErrMalformed, tt.check)
		if got := testing.AllocsPerRun(10, func() { _, _ = Verify(tt.token, set, testRules()) }); got > tt.allocs {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
	members := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"%x":0`, i)
		}
		return b.String()
	}
	h := fmt.Sprintf(`{"typ":"at+jwt","alg":"ES256","kid":%q%s}`, k.ID(), members(300))
	refused(t, "many header members", forge(t, k, h, payload(t)), set, ErrMalformed, CheckHeader)
	p := strings.TrimSuffix(payload(t), "}") + members(300) + "}"
	refused(t, "many claims", forge(t, k, header(k), p), set, ErrSignature, CheckClaims)
}

func TestJ13_OneSpelling(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for alg, k := range testKeys() {
		set := NewKeys(k.Verifier())
		token, err := Sign(k, testClaims())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(token, set, testRules()); err != nil {
			t.Fatal(err)
		}
		// No other last character of any part, and no padding, is the same token.
		for i := range token {
			if i+1 < len(token) && token[i+1] != '.' || token[i] == '.' {
				continue
			}
			for _, c := range alphabet + "=+/" {
				if byte(c) == token[i] {
					continue
				}
				if _, err := Verify(token[:i]+string(c)+token[i+1:], set, testRules()); err == nil {
					t.Errorf("%s: another character at %d is accepted", alg, i)
				}
			}
			for _, more := range []string{"=", "==", "A", "AA", "AAAA", "\n", " "} {
				if _, err := Verify(token[:i+1]+more+token[i+1:], set, testRules()); err == nil {
					t.Errorf("%s: %q after %d is accepted", alg, more, i)
				}
			}
		}
	}
}

func TestJ14_SpecialSignatures(t *testing.T) {
	n := elliptic.P256().Params().N.FillBytes(make([]byte, 32))
	zero, one := make([]byte, 32), append(make([]byte, 31), 1)
	join := func(a, b []byte) string { return string(a) + string(b) }
	for alg, k := range testKeys() {
		set := NewKeys(k.Verifier())
		signed := b64(header(k)) + "." + b64(payload(t))
		for name, sig := range map[string]string{
			"zero": join(zero, zero), "r 0": join(zero, one), "s 0": join(one, zero), "n": join(n, n), "r n": join(n, one), "one": join(one, one),
			"short": join(zero, zero)[:63], "long": join(zero, zero) + "\x00", "32": join(zero, nil), "one byte": "\x00",
			"DER": "\x30\x06\x02\x01\x00\x02\x01\x00", "256 zeros": string(make([]byte, 256)), "384 zeros": string(make([]byte, 384)),
		} {
			refused(t, string(alg)+" "+name, signed+"."+b64(sig), set, ErrSignature, CheckSignature)
		}
		refused(t, "null signature", signed+".", set, ErrMalformed, CheckForm)
	}
	// A good signature in ASN.1, as other protocols have it.
	k := testKeys()[ES256]
	signed := b64(header(k)) + "." + b64(payload(t))
	sum := sha256.Sum256([]byte(signed))
	der, err := ecdsa.SignASN1(rand.Reader, k.s.private().(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "ASN.1", signed+"."+b64(string(der)), NewKeys(k.Verifier()), ErrSignature, CheckSignature)
}

// TestJ12_EveryByte: no token with one bit changed is accepted, and none
// gives claims.
func TestJ12_EveryByte(t *testing.T) {
	k := testKeys()[EdDSA]
	set := NewKeys(k.Verifier())
	token, err := Sign(k, testClaims())
	if err != nil {
		t.Fatal(err)
	}
	for i := range token {
		for bit := range 8 {
			b := []byte(token)
			b[i] ^= 1 << bit
			c, err := Verify(string(b), set, testRules())
			if err == nil || !reflect.DeepEqual(c, Claims{}) {
				t.Fatalf("byte %d bit %d: %v, %v", i, bit, c, err)
			}
		}
		if _, err := Verify(token[:i], set, testRules()); err == nil {
			t.Fatalf("cut at %d: accepted", i)
		}
	}
}
