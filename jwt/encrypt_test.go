package jwt

import (
	"encoding/base64"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

func testEncryptionKey(t testing.TB) EncryptionKey {
	t.Helper()
	k, err := GenerateEncryptionKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// forgeEncrypted encrypts any text under any header with the key.
func forgeEncrypted(k EncryptionKey, header, payload string) string {
	protected := b64(header)
	nonce := make([]byte, gcmNonceBytes)
	sealed := string(k.e.aead.Seal(nil, nonce, []byte(payload), []byte(protected)))
	cut := len(sealed) - gcmTagBytes
	return protected + ".." + b64(string(nonce)) + "." + b64(sealed[:cut]) + "." + b64(sealed[cut:])
}

func TestEncryptRoundTrip(t *testing.T) {
	k := testEncryptionKey(t)
	token, err := Encrypt(k, testClaims())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verify(token, NewKeys(k.Verifier()), testRules())
	want := testClaims()
	want.KeyID = k.ID()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Verify = %v\n%s", err, diff)
	}
	for _, part := range strings.Split(token, ".")[1:] {
		if b, _ := base64.RawURLEncoding.DecodeString(part); strings.Contains(string(b), "usr_1") {
			t.Error("the subject can be read")
		}
	}
	h, c, err := InspectUnverified(token)
	if err != nil || !h.Encrypted || h.Encryption != "A256GCM" || h.Algorithm != "dir" || c.Subject != "" {
		t.Errorf("InspectUnverified = %+v, %+v, %v", h, c, err)
	}
	again, err := Encrypt(k, testClaims())
	if err != nil || again == token {
		t.Error("the same nonce twice")
	}
	if k.Used() != 2 {
		t.Errorf("Used = %d, want 2", k.Used())
	}
	b, err := k.MarshalPrivate()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseEncryptionKey(b)
	if err != nil || back.ID() != k.ID() {
		t.Fatalf("ParseEncryptionKey = %v", err)
	}
	if _, err := Verify(token, NewKeys(back.Verifier()), testRules()); err != nil {
		t.Errorf("Verify with the key read back = %v", err)
	}
}

// TestEncryptInterop: an independent implementation reads our tokens and we
// read its.
func TestEncryptInterop(t *testing.T) {
	k := testEncryptionKey(t)
	token, err := Encrypt(k, testClaims())
	if err != nil {
		t.Fatal(err)
	}
	obj, err := jose.ParseEncryptedCompact(token, []jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := obj.Decrypt(k.e.secret().([]byte)); err != nil || string(text) != payload(t) {
		t.Errorf("go-jose reads %q, %v", text, err)
	}
	enc, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: k.e.secret().([]byte), KeyID: k.ID()},
		(&jose.EncrypterOptions{}).WithType("at+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := enc.Encrypt([]byte(payload(t)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := theirs.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(text, NewKeys(k.Verifier()), testRules()); err != nil {
		t.Errorf("Verify of go-jose's token = %v", err)
	}
}

func TestJ15_OnlyDirA256GCM(t *testing.T) {
	k := testEncryptionKey(t)
	set := NewKeys(k.Verifier(), testKeys()[HS256].Verifier(), testKeys()[ES256].Verifier())
	id := `"kid":"` + k.ID() + `"`
	good := `{"typ":"at+jwt","alg":"dir","enc":"A256GCM",` + id + `}`
	p := payload(t)
	if _, err := Verify(forgeEncrypted(k, good, p), set, testRules()); err != nil {
		t.Fatalf("the good header: %v", err)
	}
	for _, alg := range []string{"RSA1_5", "RSA-OAEP", "A256KW", "A256GCMKW", "ECDH-ES", "PBES2-HS256+A128KW", "DIR", "none", "HS256", "A256GCM"} {
		refused(t, alg, forgeEncrypted(k, strings.Replace(good, "dir", alg, 1), p), set, ErrSignature, CheckAlgorithm)
	}
	for _, enc := range []string{"A128GCM", "A192GCM", "A128CBC-HS256", "A256CBC-HS512", "a256gcm", "none"} {
		refused(t, enc, forgeEncrypted(k, strings.Replace(good, "A256GCM", enc, 1), p), set, ErrSignature, CheckAlgorithm)
	}
	for name, h := range map[string]string{
		"zip":    `{"typ":"at+jwt","alg":"dir","enc":"A256GCM","zip":"DEF",` + id + `}`,
		"cty":    `{"typ":"at+jwt","alg":"dir","enc":"A256GCM","cty":"JWT",` + id + `}`,
		"crit":   `{"typ":"at+jwt","alg":"dir","enc":"A256GCM","crit":["x"],` + id + `}`,
		"p2c":    `{"typ":"at+jwt","alg":"dir","enc":"A256GCM","p2c":2000000000,"p2s":"AA",` + id + `}`,
		"epk":    `{"typ":"at+jwt","alg":"dir","enc":"A256GCM","epk":{},` + id + `}`,
		"jku":    `{"typ":"at+jwt","alg":"dir","enc":"A256GCM","jku":"http://127.0.0.1/",` + id + `}`,
		"no enc": `{"typ":"at+jwt","alg":"dir",` + id + `}`,
	} {
		refused(t, name, forgeEncrypted(k, h, p), set, ErrMalformed, CheckHeader)
	}
	refused(t, "typ", forgeEncrypted(k, strings.Replace(good, "at+jwt", "JWT", 1), p), set, ErrSignature, CheckType)
	token := forgeEncrypted(k, good, p)
	parts := strings.Split(token, ".")
	with := func(i int, s string) string {
		q := append([]string{}, parts...)
		q[i] = s
		return strings.Join(q, ".")
	}
	refused(t, "an encrypted key", with(1, "AAAA"), set, ErrMalformed, CheckForm)
	refused(t, "short tag", with(4, parts[4][:16]), set, ErrMalformed, CheckForm)
	refused(t, "no tag", with(4, ""), set, ErrMalformed, CheckForm)
	refused(t, "zero tag", with(4, b64(string(make([]byte, 16)))), set, ErrSignature, CheckSignature)
	refused(t, "long nonce", with(2, b64(string(make([]byte, 16)))), set, ErrMalformed, CheckForm)
	refused(t, "no nonce", with(2, ""), set, ErrMalformed, CheckForm)
	refused(t, "other nonce", with(2, b64("twelve bytes")), set, ErrSignature, CheckSignature)
	refused(t, "other header", with(0, b64(good+" ")), set, ErrSignature, CheckSignature)
	refused(t, "no text", with(3, ""), set, ErrSignature, CheckSignature)
	refused(t, "not claims", forgeEncrypted(k, good, "hello"), set, ErrSignature, CheckClaims)

	// Kinds do not mix: three parts under an encryption key, five under a
	// signing key, and a signature inside.
	for _, sk := range []Key{testKeys()[HS256], testKeys()[ES256]} {
		refused(t, "JWS under an encryption key", forge(t, sk, `{"typ":"at+jwt","alg":"dir",`+id+`}`, p), set, ErrSignature, CheckAlgorithm)
		refused(t, "JWE under a signing key", forgeEncrypted(k, strings.Replace(good, k.ID(), sk.ID(), 1), p), set, ErrSignature, CheckAlgorithm)
		refused(t, "nested", forgeEncrypted(k, good, forge(t, sk, header(sk), p)), set, ErrSignature, CheckClaims)
	}
	hmac, err := NewHMACKey(k.e.secret().([]byte))
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "HS256 with the encryption key", forge(t, hmac, `{"typ":"at+jwt","alg":"HS256",`+id+`}`, p), set, ErrSignature, CheckAlgorithm)
}

func TestJ15_KeysAreUsedUp(t *testing.T) {
	k := testEncryptionKey(t)
	k.e.aead.used.Store(MaxEncryptions - 1)
	if _, err := Encrypt(k, testClaims()); err != nil {
		t.Errorf("the last token: %v", err)
	}
	for range 3 {
		if token, err := Encrypt(k, testClaims()); !errors.Is(err, ErrKeySpent) || token != "" {
			t.Errorf("one more: %v, want ErrKeySpent", err)
		}
	}
}

// TestJ13_OneSpellingEncrypted: no part of an encrypted token can be written in another way.
func TestJ13_OneSpellingEncrypted(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	k := testEncryptionKey(t)
	set := NewKeys(k.Verifier())
	for pad := range 3 { // each length of the text modulo three
		c := testClaims()
		c.Subject += strings.Repeat("x", pad)
		token, err := Encrypt(k, c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(token, set, testRules()); err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(token, ".")
		for i, part := range parts {
			with := func(s string) {
				q := slices.Clone(parts)
				q[i] = s
				if _, err := Verify(strings.Join(q, "."), set, testRules()); err == nil {
					t.Errorf("part %d as %q: accepted", i, s)
				}
			}
			for _, more := range []string{"=", "==", "A", "AA", "AAA", "AAAA", "\n", "\r\n", " "} {
				with(part + more)
				with(more + part)
			}
			if part == "" {
				continue
			}
			with(part[:len(part)-1])
			for _, last := range alphabet + "=+/" {
				if byte(last) != part[len(part)-1] {
					with(part[:len(part)-1] + string(last))
				}
			}
		}
	}
}

// TestInspectUnverified tells what can be read of a broken token, and only that.
func TestInspectUnverified(t *testing.T) {
	k := testKeys()[HS256]
	want := Header{Type: "at+jwt", Algorithm: "HS256", KeyID: k.ID()}
	h := b64(header(k))
	for name, tt := range map[string]struct {
		token, check string
		head         Header
	}{
		"empty":              {"", CheckForm, Header{}},
		"two parts":          {h + "." + b64("{}"), CheckForm, Header{}},
		"long":               {h + "." + strings.Repeat("A", MaxTokenBytes) + ".AA", CheckSize, Header{}},
		"header":             {b64(`{"alg":"HS256","alg":"none"}`) + "." + b64(payload(t)) + ".AA", CheckHeader, Header{}},
		"claims":             {h + "." + b64(`{"sub":"u","sub":"v"}`) + ".AA", CheckClaims, want},
		"claims are missing": {h + "." + b64(`{}`) + ".AA", CheckClaims, want},
		"spelling":           {h + ".AB.AA", CheckForm, want},
		"length":             {h + ".AAAAA.AA", CheckForm, want},
		"length of good":     {h + "." + b64(payload(t)+strings.Repeat(" ", 3-len(payload(t))%3)) + "A.AA", CheckForm, want},
	} {
		head, c, err := InspectUnverified(tt.token)
		var e *Error
		if !errors.As(err, &e) || e.Check != tt.check || head != tt.head || !reflect.DeepEqual(c, Claims{}) {
			t.Errorf("%s: %+v, %+v, %v", name, head, c, err)
		}
	}
	forged := h + "." + b64(payload(t)) + ".AAAA"
	if head, c, err := InspectUnverified(forged); err != nil || head != want || c.Subject != "usr_1" || c.KeyID != "" {
		t.Errorf("a forged token: %+v, %+v, %v", head, c, err)
	}
}

// TestErrorsSayWhat: the texts that end up in logs name class and check, and nothing of a token.
func TestErrorsSayWhat(t *testing.T) {
	if got := errExpired.Error(); got != "jwt: token is expired (expiry)" {
		t.Error(got)
	}
	if got := (&SizeError{Claim: "roles", Bytes: 9000, Limit: 8192}).Error(); got != `jwt: token of 9000 bytes is longer than 8192; largest claim "roles"` {
		t.Error(got)
	}
}
