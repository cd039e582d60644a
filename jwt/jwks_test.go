package jwt

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
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
