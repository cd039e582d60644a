package jwt

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// FuzzVerify: nobody makes a token without the key. Only the seeds' own text
// is accepted, nothing panics, and no claims come with an error.
func FuzzVerify(f *testing.F) {
	enc, err := newEncryptionKey([]byte("an encryption key of 32 bytes ok"))
	if err != nil {
		f.Fatal(err)
	}
	hs, err := NewHMACKey([]byte("an HS256 secret that a test can name"))
	if err != nil {
		f.Fatal(err)
	}
	keys := NewKeys(enc.Verifier(), hs.Verifier())
	known := map[string]bool{}
	signed, err := Sign(hs, testClaims())
	if err != nil {
		f.Fatal(err)
	}
	// The same in every process of the fuzzer: HS256 has no randomness, and
	// this nonce is zero.
	encrypted := forgeEncrypted(enc, `{"typ":"at+jwt","alg":"dir","enc":"A256GCM","kid":"`+enc.ID()+`"}`, payload(f))
	for _, token := range []string{signed, encrypted} {
		known[token] = true
		f.Add(token)
		f.Add(token[:len(token)-1])
		f.Add(strings.ToLower(token))
		f.Add(token + ".")
	}
	f.Add(b64(`{"typ":"at+jwt","alg":"none","kid":"`+hs.ID()+`"}`) + "." + b64(`{}`) + ".")
	f.Add("....")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := Verify(token, keys, testRules())
		if err == nil && !known[token] {
			t.Fatalf("accepted: %q", token)
		}
		if err != nil && !reflect.DeepEqual(c, Claims{}) {
			t.Fatalf("claims with an error: %q", token)
		}
		if tok, err := parse(token); err == nil { // what parses prints back to the same text
			again := tok.signed + "." + tok.proof
			if tok.encrypted {
				again = tok.signed + ".." + tok.nonce + "." + tok.payload + "." + tok.proof
			}
			if again != token {
				t.Fatalf("parse of %q covers %q", token, again)
			}
		}
	})
}

// FuzzClaims signs any payload, so that the fuzzer gets behind the signature:
// whatever is accepted has what is required, and what is read and written
// again is read the same.
func FuzzClaims(f *testing.F) {
	c := testClaims()
	b, err := c.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add(`{"iss":"https://id.example.com","sub":"u","aud":["a"],"exp":1,"iat":1,"x":{"y":[1.5]}}`)
	f.Add(`{"exp":1e400}`)
	f.Fuzz(func(t *testing.T, payload string) {
		c, err := decodeClaims([]byte(payload))
		if err != nil {
			if !reflect.DeepEqual(c, Claims{}) {
				t.Fatal("claims with an error")
			}
			return
		}
		if c.Issuer == "" || c.Subject == "" || len(c.Audience) == 0 || c.ExpiresAt.IsZero() || !json.Valid([]byte(payload)) {
			t.Fatalf("accepted: %q", payload)
		}
		c.ClientID, c.ID, c.Custom = "c", "i", nil
		again, err := c.encode()
		if err != nil {
			return // an empty audience, say
		}
		back, err := decodeClaims(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		c1, _ := c.encode()
		c2, _ := back.encode()
		if string(c1) != string(c2) {
			t.Fatalf("%s\n%s", c1, c2)
		}
	})
}

// FuzzParseJWKS: no panic, no secret, and what is read is written so that it
// reads the same.
func FuzzParseJWKS(f *testing.F) {
	b, err := json.Marshal(publicSet(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"keys":[]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"` + base64.RawURLEncoding.EncodeToString(make([]byte, 32)) + `","alg":"HS256","kid":"a"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"\u0000\"","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParsePublicSet(b)
		if err != nil {
			if len(s.keys) != 0 {
				t.Fatal("keys with an error")
			}
			return
		}
		first, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParsePublicSet(first)
		if err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if second, _ := json.Marshal(again); string(first) != string(second) {
			t.Fatalf("%s\n%s", first, second)
		}
		for _, k := range s.keys {
			if k.Algorithm() == HS256 {
				t.Fatal("a secret in a public set")
			}
		}
	})
}
