package jwt

import "testing"

func BenchmarkSign(b *testing.B) {
	for _, alg := range []Algorithm{ES256, EdDSA, RS256, HS256} {
		b.Run(string(alg), func(b *testing.B) {
			k, c := testKeys()[alg], testClaims()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Sign(k, c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("A256GCM", func(b *testing.B) {
		k, c := testEncryptionKey(b), testClaims()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Encrypt(k, c); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	run := func(name, token string, keys KeySet) {
		b.Run(name, func(b *testing.B) {
			rules := testRules()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Verify(token, keys, rules); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, alg := range []Algorithm{ES256, EdDSA, RS256, HS256} {
		k := testKeys()[alg]
		token, err := Sign(k, testClaims())
		if err != nil {
			b.Fatal(err)
		}
		run(string(alg), token, NewKeys(k.Verifier()))
	}
	k := testEncryptionKey(b)
	token, err := Encrypt(k, testClaims())
	if err != nil {
		b.Fatal(err)
	}
	run("A256GCM", token, NewKeys(k.Verifier()))
}
