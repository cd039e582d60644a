package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wycheproof is the part of the suites' format that is used.
type wycheproof struct {
	NumberOfTests int
	TestGroups    []struct {
		Comment      string
		KeySize      int
		TagSize      int
		Public       json.RawMessage
		Private      json.RawMessage
		PublicKeyJwk json.RawMessage // missing where a key cannot be written as JWK
		PublicKey    struct {
			Uncompressed, Pk, Modulus, PublicExponent string
		}
		Tests []struct {
			TcID               int
			Comment, Result    string
			Flags              []string
			Jws, Jwe, Msg, Sig string
			Key, Tag           string
		}
	}
}

// importKey imports any JWK the way the package imports keys: public ones as
// a key set, secrets and private ones as their raw material. It fails for
// everything that the package does not accept.
func importKey(raw json.RawMessage) (VerifyKey, error) {
	var j struct{ Kty, Kid, Alg, K, Use string }
	if err := json.Unmarshal(raw, &j); err != nil {
		return VerifyKey{}, err
	}
	if j.Kty != "oct" {
		set, err := ParsePublicSet([]byte(`{"keys":[` + string(raw) + `]}`))
		if err != nil || len(set.keys) == 0 {
			return VerifyKey{}, ErrKey
		}
		return set.keys[0].Verifier(), nil
	}
	secret, err := decodeSegment(j.K)
	if err != nil {
		return VerifyKey{}, err
	}
	switch j.Alg {
	case "HS256":
		if len(secret) < MinHMACBytes {
			return VerifyKey{}, ErrKey
		}
		// Not NewHMACKey: one of the suite's secrets is a pattern.
		return VerifyKey{&verifier{alg: HS256, id: "x", public: hide(secret)}}, nil
	case "A256GCM":
		k, err := newEncryptionKey(secret)
		return k.Verifier(), err
	}
	return VerifyKey{}, ErrAlgorithm
}

// signatureLayer is what Verify does up to and including the signature; the
// vectors' payloads are no claims.
func signatureLayer(token string, k VerifyKey) ([]byte, error) {
	t, err := parse(token)
	if err != nil {
		return nil, err
	}
	return k.open(t)
}

// TestJ13_WycheproofSignatures agrees with all 401 cases of the JWS suite.
// "Valid" cases that are refused here are refused for a stricter reason, and
// each is in the table.
func TestJ13_WycheproofSignatures(t *testing.T) {
	notOffered := "algorithm is not in the closed list"
	stricter := map[int]string{}
	for id := 264; id <= 271; id++ {
		stricter[id] = notOffered // RS384, RS512
	}
	for _, r := range [][2]int{{272, 275}, {287, 288}, {320, 323}, {325, 328}} {
		for id := r[0]; id <= r[1]; id++ {
			stricter[id] = notOffered // PS256, PS384, PS512
		}
	}
	for _, id := range []int{346, 347, 350, 351} {
		stricter[id] = notOffered // PS256, ES512
	}
	stricter[372] = "a character outside base64url in the header"
	stricter[373] = "a character outside base64url in the payload"
	var suite wycheproof
	readJSON(t, "wycheproof/json_web_signature_test.json", &suite)
	ran, accepted := 0, 0
	var plain string
	for _, g := range suite.TestGroups {
		raw := g.Public
		if raw == nil {
			raw = g.Private
		}
		key, keyErr := importKey(raw)
		for _, c := range g.Tests {
			ran++
			err := keyErr
			if err == nil {
				_, err = signatureLayer(c.Jws, key)
			}
			if c.TcID == 357 {
				plain = c.Jws
			}
			want := c.Result == "valid" && stricter[c.TcID] == ""
			if c.TcID == 367 || c.TcID == 370 {
				// "Invalid" cases about padding that have lost their padding:
				// byte for byte they are the valid case 357 of their group.
				want = c.Jws == plain
			}
			if (err == nil) != want {
				t.Errorf("case %d %q (%s, %v): err = %v, want accepted %v\n%s", c.TcID, c.Comment, c.Result, c.Flags, err, want, c.Jws)
			}
			if err == nil {
				accepted++
			}
			if stricter[c.TcID] != "" && c.Result != "valid" {
				t.Errorf("case %d is in the table but not valid", c.TcID)
			}
		}
	}
	if ran != 401 || ran != suite.NumberOfTests {
		t.Errorf("ran %d cases, want 401", ran)
	}
	t.Logf("%d accepted, %d refused, %d of them for a stricter reason", accepted, ran-accepted, len(stricter))
}

// TestJ1_WycheproofKeys: keys whose alg, use, kty or curve is not the one of
// the token never check it, and neither do weak ones. Sets are read as
// verifiers read them, so a set with a secret in it is refused as a whole,
// also where the suite only checks that the secret works.
func TestJ1_WycheproofKeys(t *testing.T) {
	var suite wycheproof
	readJSON(t, "wycheproof/json_web_key_test.json", &suite)
	ran, accepted := 0, 0
	for _, g := range suite.TestGroups {
		raw := g.Public
		if raw == nil {
			raw = g.Private
		}
		var members struct{ Keys []struct{ Kty string } }
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatal(err)
		}
		secret := false
		for _, k := range members.Keys {
			secret = secret || k.Kty == "oct"
		}
		set, setErr := ParsePublicSet(raw)
		if secret && setErr == nil {
			t.Errorf("%s: a set with a secret was read", g.Comment)
		}
		for _, c := range g.Tests {
			ran++
			ok := false
			if tok, err := parse(c.Jws); err == nil && setErr == nil {
				if k, found := set.Key(tok.head.KeyID); found {
					_, err := k.open(tok)
					ok = err == nil
				}
			}
			if want := c.Result == "valid" && !secret; ok != want {
				t.Errorf("case %d %s/%s (%s): accepted %v, want %v\n%s", c.TcID, g.Comment, c.Comment, c.Result, ok, want, raw)
			}
			if ok {
				accepted++
			}
		}
	}
	if ran != 26 || accepted == 0 {
		t.Errorf("ran %d cases, %d accepted", ran, accepted)
	}
}

// TestJ15_WycheproofEncryption: no algorithm of the JWE suite is dir with
// A256GCM, so all 139 are refused, whatever they are encrypted with, and
// before any decryption: by a key of ours and by the vector's own key where
// it has the right length.
func TestJ15_WycheproofEncryption(t *testing.T) {
	own, err := GenerateEncryptionKey()
	if err != nil {
		t.Fatal(err)
	}
	var suite wycheproof
	readJSON(t, "wycheproof/json_web_encryption_test.json", &suite)
	ran := 0
	for _, g := range suite.TestGroups {
		keys := []VerifyKey{own.Verifier()}
		var j struct{ Kty, K string }
		if err := json.Unmarshal(g.Private, &j); err != nil {
			t.Fatal(err)
		}
		if secret, err := base64.RawURLEncoding.DecodeString(j.K); err == nil && len(secret) == gcmKeyBytes {
			k, err := newEncryptionKey(secret)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k.Verifier())
		}
		for _, c := range g.Tests {
			ran++
			for _, k := range keys {
				if _, err := signatureLayer(c.Jwe, k); err == nil || err == errSignature {
					t.Errorf("case %d %q reached decryption: %v", c.TcID, c.Comment, err)
				}
			}
		}
	}
	if ran != 139 {
		t.Errorf("ran %d cases, want 139", ran)
	}
}

// TestJ14_Primitives puts the primitive suites through the check that Verify
// uses. "acceptable" counts as invalid.
func TestJ14_Primitives(t *testing.T) {
	for _, f := range []struct {
		file string
		ran  int
		key  func(t *testing.T, g int, s *wycheproof) any
	}{
		{"ecdsa_secp256r1_sha256_p1363_test.json", 262, func(t *testing.T, g int, s *wycheproof) any {
			k, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), unhex(t, s.TestGroups[g].PublicKey.Uncompressed))
			if err != nil {
				t.Fatal(err)
			}
			return k
		}},
		{"ed25519_test.json", 151, func(t *testing.T, g int, s *wycheproof) any {
			return ed25519.PublicKey(unhex(t, s.TestGroups[g].PublicKey.Pk))
		}},
		{"rsa_signature_2048_sha256_test.json", 259, rsaKey},
		{"rsa_signature_3072_sha256_test.json", 259, rsaKey},
	} {
		t.Run(f.file, func(t *testing.T) {
			var s wycheproof
			readJSON(t, "wycheproof/"+f.file, &s)
			ran := 0
			for g := range s.TestGroups {
				public := f.key(t, g, &s)
				weak := checkPublic(public) != nil
				v := &verifier{public: hide(public)}
				switch public.(type) {
				case *ecdsa.PublicKey:
					v.alg = ES256
				case ed25519.PublicKey:
					v.alg = EdDSA
				case *rsa.PublicKey:
					v.alg = RS256
				}
				for _, c := range s.TestGroups[g].Tests {
					ran++
					if weak {
						continue // the key is refused on import
					}
					if got, want := v.matches(string(unhex(t, c.Msg)), unhex(t, c.Sig)), c.Result == "valid"; got != want {
						t.Errorf("case %d %q (%s) = %v, want %v", c.TcID, c.Comment, c.Result, got, want)
					}
				}
			}
			if ran != f.ran {
				t.Errorf("ran %d cases, want %d", ran, f.ran)
			}
		})
	}
}

func rsaKey(t *testing.T, g int, s *wycheproof) any {
	p := s.TestGroups[g].PublicKey
	return &rsa.PublicKey{
		N: new(big.Int).SetBytes(unhex(t, p.Modulus)),
		E: int(new(big.Int).SetBytes(unhex(t, p.PublicExponent)).Int64()),
	}
}

// TestJ14_HMAC: tags of 256 bits under keys of at least 256 bits agree with
// the suite; truncated tags and short keys are refused.
func TestJ14_HMAC(t *testing.T) {
	var s wycheproof
	readJSON(t, "wycheproof/hmac_sha256_test.json", &s)
	ran := 0
	for _, g := range s.TestGroups {
		for _, c := range g.Tests {
			ran++
			secret := unhex(t, c.Key)
			want := c.Result == "valid" && g.TagSize == 256
			k, err := NewHMACKey(secret)
			if (err == nil) != (len(secret) >= MinHMACBytes) {
				if len(secret) < MinHMACBytes || distinctBytes(secret) >= minDistinct {
					t.Errorf("case %d: key of %d bytes: %v", c.TcID, len(secret), err)
				}
				continue
			}
			if err != nil {
				continue
			}
			if got := k.s.matches(string(unhex(t, c.Msg)), unhex(t, c.Tag)); got != want {
				t.Errorf("case %d %q = %v, want %v", c.TcID, c.Comment, got, want)
			}
		}
	}
	if ran != 174 {
		t.Errorf("ran %d cases, want 174", ran)
	}
}

func distinctBytes(b []byte) int {
	set := map[byte]bool{}
	for _, x := range b {
		set[x] = true
	}
	return len(set)
}

// TestRFCExamples: RFC 7515 A.1 and A.5, RFC 8037 A, RFC 7638 3.1.
func TestRFCExamples(t *testing.T) {
	var f struct {
		HS256 struct{ Jws, K string } `json:"rfc7515_a1_hs256"`
		None  struct{ Jws string }    `json:"rfc7515_a5_none"`
		Ed    struct {
			Jwk        struct{ X, D string }
			Jws        string
			Thumbprint string `json:"thumbprint_sha256"`
		} `json:"rfc8037_ed25519"`
		RSA struct {
			Jwk        json.RawMessage
			Thumbprint string `json:"thumbprint_sha256"`
		} `json:"rfc7638_rsa"`
	}
	readJSON(t, "rfc/rfc_examples.json", &f)
	secret, err := decodeSegment(f.HS256.K)
	if err != nil {
		t.Fatal(err)
	}
	hs, err := NewHMACKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := signatureLayer(f.HS256.Jws, hs.Verifier())
	if err != nil || string(payload) != "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}" {
		t.Errorf("RFC 7515 A.1 = %q, %v", payload, err)
	}
	for _, k := range []VerifyKey{hs.Verifier(), {}, {&verifier{}}} {
		if _, err := signatureLayer(f.None.Jws, k); err == nil {
			t.Error("RFC 7515 A.5 (none) was accepted")
		}
	}
	seed, err := decodeSegment(f.Ed.Jwk.D)
	if err != nil {
		t.Fatal(err)
	}
	ed, err := newKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		t.Fatal(err)
	}
	if payload, err := signatureLayer(f.Ed.Jws, ed.Verifier()); err != nil || string(payload) != "Example of Ed25519 signing" {
		t.Errorf("RFC 8037 A.4 = %q, %v", payload, err)
	}
	if ed.ID() != f.Ed.Thumbprint {
		t.Errorf("RFC 8037 A.3: thumbprint %s, want %s", ed.ID(), f.Ed.Thumbprint)
	}
	set, err := ParsePublicSet(fmt.Appendf(nil, `{"keys":[%s]}`, f.RSA.Jwk))
	if err != nil || len(set.keys) != 1 {
		t.Fatalf("RFC 7638 key: %v", err)
	}
	if got := set.keys[0].Thumbprint(); got != f.RSA.Thumbprint {
		t.Errorf("RFC 7638 3.1: thumbprint %s, want %s", got, f.RSA.Thumbprint)
	}
}

// TestRFC7520 is the decision table over the JOSE cookbook.
func TestRFC7520(t *testing.T) {
	const jwk, form, alg = "key is not imported", "not the compact form", "algorithm is not in the closed list"
	for _, tt := range []struct{ file, refused string }{
		{"4_1.rsa_v15_signature.json", ""},
		{"4_2.rsa-pss_signature.json", jwk}, // PS384
		{"4_3.ecdsa_signature.json", jwk},   // P-521
		{"4_4.hmac-sha2_integrity_protection.json", ""},
		{"4_5.signature_with_detached_content.json", "the payload is part of the token"},
		{"4_6.protecting_specific_header_fields.json", form},
		{"4_7.protecting_content_only.json", form},
		{"4_8.multiple_signatures.json", form},
		{"jws.json", ""}, // RFC 8037
		{"5_6.direct_encryption_using_aes-gcm.json", "A128GCM"},
	} {
		var f struct {
			Input struct {
				Payload string
				Alg     json.RawMessage
				Key     json.RawMessage
			}
			Output struct {
				Compact  string
				JSON     json.RawMessage `json:"json"`
				JSONFlat json.RawMessage `json:"json_flat"`
			}
		}
		readJSON(t, "rfc7520/"+tt.file, &f)
		token := f.Output.Compact
		if token == "" {
			token = string(f.Output.JSON)
		}
		key, err := importKey(publicOnly(t, f.Input.Key, f.Input.Alg))
		if err == nil {
			var payload []byte
			if payload, err = signatureLayer(token, key); err == nil && string(payload) != f.Input.Payload {
				t.Errorf("%s: payload %q", tt.file, payload)
			}
		}
		if (err == nil) != (tt.refused == "") {
			t.Errorf("%s: %v, want refused for %q", tt.file, err, tt.refused)
		}
		for _, serial := range []string{string(f.Output.JSON), string(f.Output.JSONFlat)} {
			if _, err := parse(serial); err == nil {
				t.Errorf("%s: JSON serialisation was accepted", tt.file)
			}
		}
	}
	for _, tt := range []struct{ file, why string }{
		{"3_1.ec_public_key.json", "P-521"}, {"3_2.ec_private_key.json", "private, P-521"},
		{"3_3.rsa_public_key.json", "no alg"}, {"3_4.rsa_private_key.json", "private"},
		{"3_5.symmetric_key_mac_computation.json", "secret"}, {"3_6.symmetric_key_encryption.json", "secret"},
	} {
		b, err := os.ReadFile("testdata/rfc7520/" + tt.file)
		if err != nil {
			t.Fatal(err)
		}
		set, err := ParsePublicSet(fmt.Appendf(nil, `{"keys":[%s]}`, b))
		if len(set.Keys()) != 0 {
			t.Errorf("%s: in a key set although %s (%v)", tt.file, tt.why, err)
		}
	}
}

// publicOnly is the public half of a cookbook key, with the example's alg.
func publicOnly(t *testing.T, raw, alg json.RawMessage) json.RawMessage {
	t.Helper()
	m := map[string]any{}
	if json.Unmarshal(raw, &m) != nil {
		return []byte("{}") // several keys: there is no single one to import
	}
	for _, p := range []string{"d", "p", "q", "dp", "dq", "qi"} {
		delete(m, p)
	}
	m["alg"] = alg
	if m["kid"] == nil {
		m["kid"] = "x"
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRFC7515A1Claims: the claims of A.1 are not those of a value token.
func TestRFC7515A1Claims(t *testing.T) {
	c, err := decodeClaims([]byte(`{"iss":"joe","exp":1300819380,"http://example.com/is_root":true}`))
	if diff := cmp.Diff(Claims{}, c); err == nil || diff != "" {
		t.Errorf("decodeClaims = %v, %v", c, err)
	}
}
