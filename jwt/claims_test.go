package jwt

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestReservedClaims(t *testing.T) {
	k := testKeys()[HS256]
	const value = "a-value-that-no-error-may-show"
	for _, name := range []string{
		"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "sid", "auth_time", "amr", "roles", "permissions", "grants", "ep",
		"cnf", "act", "may_act", "scope", "nonce", "azp", "acr", "email", "name", "phone_number", "address", "SUB", "Roles", "groups",
		"password", "user_password", "Passwd", "secret", "client_secret", "clientSecret", "access_token", "refreshToken", "api_key", "api-key", "pwd", "pin",
		"", "a\x00b", "naïve", "s\u200bub", strings.Repeat("n", 257),
	} {
		c := testClaims()
		c.Custom = map[string]any{name: value}
		token, err := Sign(k, c)
		if !errors.Is(err, ErrReservedClaim) || token != "" {
			t.Errorf("claim %q: %v, want ErrReservedClaim", name, err)
		} else if strings.Contains(err.Error(), value) || len(name) < 100 && name != "" && !strings.Contains(err.Error(), strings.Trim(name, "\x00\u200b")) && name != "a\x00b" && name != "naïve" && name != "s\u200bub" {
			t.Errorf("claim %q: error %q", name, err)
		}
	}
	c := testClaims()
	c.Custom = map[string]any{"settings": []any{map[string]any{"db_password": value}}}
	if _, err := Sign(k, c); !errors.Is(err, ErrReservedClaim) || strings.Contains(err.Error(), value) {
		t.Errorf("inner secret: %v", err)
	}
	c.Custom = map[string]any{"tenant": "t1", "https://app.example/plan": map[string]int{"seats": 3}}
	if _, err := Sign(k, c); err != nil {
		t.Errorf("good claims: %v", err)
	}
}

// TestEveryReservedName, in any case of letters; a name beside it is free.
func TestEveryReservedName(t *testing.T) {
	const names = "" +
		"iss sub aud exp nbf iat jti client_id sid auth_time amr roles permissions grants ep acr azp nonce at_hash " +
		"c_hash s_hash sub_jwk sub_id scope scp cnf act may_act events toe txn groups entitlements token_introspection " +
		"at_use_nbr vc vp vot vtm typ cty kid alg jwk jku htm htu ath status _claim_names _claim_sources " +
		"verified_claims authorization_details cdniv ace_profile cnonce exi orig dest mky rph attest origid jcard div " +
		"opt sph name given_name family_name middle_name nickname preferred_username profile picture website email " +
		"email_verified gender birthdate zoneinfo locale phone_number phone_number_verified address updated_at " +
		"place_of_birth nationalities birth_family_name birth_given_name birth_middle_name salutation title msisdn " +
		"also_known_as"
	for _, name := range strings.Fields(names) {
		for _, spelling := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if err := CheckCustom(map[string]any{spelling: 1}); !errors.Is(err, ErrReservedClaim) {
				t.Errorf("%q: %v", spelling, err)
			}
		}
		if err := CheckCustom(map[string]any{"my_" + name: 1}); (err != nil) != strings.Contains(name, "token") {
			t.Errorf("my_%s: %v", name, err)
		}
	}
}

// TestNamesOfSecrets: a word that promises a secret is refused wherever it stands in a name and however it is spelled,
// on every level of a value; the short ones only by themselves.
func TestNamesOfSecrets(t *testing.T) {
	refused := func(name string, want bool) {
		t.Helper()
		for _, v := range []map[string]any{
			{name: 1}, {"x": map[string]any{name: 1}}, {"x": []any{1, map[string]any{"y": map[string]any{name: nil}}}}, {"x": map[string]any{"a": 1, "b": []any{[]any{map[string]any{name: 1}}}}},
		} {
			if err := CheckCustom(v); errors.Is(err, ErrReservedClaim) != want || !want && err != nil {
				t.Errorf("%v: %v, want refused = %v", v, err, want)
			}
		}
	}
	for _, word := range []string{
		"password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "private-key", "credential", "credit.card", "card number", "cvv", "otp_seed", "mnemonic",
	} {
		for _, name := range []string{word, strings.ToUpper(word), "my_" + word, word + "s", "a" + word + "z"} {
			refused(name, true)
		}
	}
	for _, word := range []string{"pwd", "pass", "pin", "ssn", "otp"} {
		refused(word, true)
		refused(strings.ToUpper(word), true)
		refused("_"+word, true)
		refused(word+"x", false)
		refused("x"+word, false)
	}
	refused("compass", false)
}

// TestNamesArePlain: 1 to 256 printable characters of ASCII.
func TestNamesArePlain(t *testing.T) {
	for c := range 256 {
		b := string([]byte{byte(c)})
		for _, name := range []string{"x" + b, b + "x", "x" + b + "x"} {
			if err := CheckCustom(map[string]any{name: 1}); (err == nil) != (c >= 0x20 && c <= 0x7e) || err != nil && !errors.Is(err, ErrReservedClaim) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	for n, want := range map[int]bool{0: false, 1: true, 255: true, 256: true, 257: false} {
		if err := CheckCustom(map[string]any{strings.Repeat("x", n): 1}); (err == nil) != want {
			t.Errorf("a name of %d bytes: %v", n, err)
		}
	}
}

// TestCheckCustom says the same as making a token does.
func TestCheckCustom(t *testing.T) {
	for _, tt := range []struct {
		custom map[string]any
		want   error
	}{
		{nil, nil}, {map[string]any{"tenant": "t1", "n": 1}, nil}, {map[string]any{"sub": "x"}, ErrReservedClaim},
		{map[string]any{"ok": 1, "my_password": "x"}, ErrReservedClaim}, {map[string]any{"x": math.Inf(1)}, ErrClaim},
	} {
		c := testClaims()
		c.Custom = tt.custom
		_, signErr := Sign(testKeys()[HS256], c)
		if err := CheckCustom(tt.custom); !errors.Is(err, tt.want) || (err == nil) != (signErr == nil) {
			t.Errorf("CheckCustom(%v) = %v, Sign = %v, want %v", tt.custom, err, signErr, tt.want)
		}
	}
}

type badJSON struct{}

func (badJSON) MarshalJSON() ([]byte, error) { return []byte(`{"a":1,"a":2}`), nil }

type failJSON struct{}

func (failJSON) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a-value-that-no-error-may-show")
}

func TestUnusableClaims(t *testing.T) {
	k := testKeys()[HS256]
	deep := any("x")
	for range 20 {
		deep = []any{deep}
	}
	for name, change := range map[string]func(c *Claims){
		"iss": func(c *Claims) { c.Issuer = "" }, "sub": func(c *Claims) { c.Subject = "" }, "aud": func(c *Claims) { c.Audience = nil },
		"empty aud": func(c *Claims) { c.Audience = []string{testAudience, ""} }, "client_id": func(c *Claims) { c.ClientID = "" },
		"exp": func(c *Claims) { c.ExpiresAt = time.Time{} }, "iat": func(c *Claims) { c.IssuedAt = time.Time{} }, "jti": func(c *Claims) { c.ID = "" },
		"old": func(c *Claims) { c.ExpiresAt = time.Unix(-1, 0) }, "ep": func(c *Claims) { c.AsOf = 1 << 53 }, "not UTF-8": func(c *Claims) { c.Subject = "\xff" },
		"role": func(c *Claims) { c.Roles = []string{"\xff"} }, "chan": func(c *Claims) { c.Custom = map[string]any{"x": make(chan int)} },
		"NaN": func(c *Claims) { c.Custom = map[string]any{"x": math.NaN()} }, "large": func(c *Claims) { c.Custom = map[string]any{"x": int64(1) << 53} },
		"duplicates": func(c *Claims) { c.Custom = map[string]any{"x": badJSON{}} }, "deep": func(c *Claims) { c.Custom = map[string]any{"x": deep} },
		"failing": func(c *Claims) { c.Custom = map[string]any{"x": failJSON{}} },
	} {
		c := testClaims()
		change(&c)
		if token, err := Sign(k, c); !errors.Is(err, ErrClaim) || token != "" || strings.Contains(err.Error(), "no-error-may-show") {
			t.Errorf("%s: Sign = %v, want ErrClaim", name, err)
		}
		if _, err := Encrypt(testEncryptionKey(t), c); !errors.Is(err, ErrClaim) {
			t.Errorf("%s: Encrypt = %v, want ErrClaim", name, err)
		}
	}
}

// TestUnusableClaimsAreNamed: who has to find the mistake is told which claim it is and what is wrong, never its value.
func TestUnusableClaimsAreNamed(t *testing.T) {
	for want, change := range map[string]func(c *Claims){
		`claim "iss" is missing`:              func(c *Claims) { c.Issuer = "" },
		`claim "sub" is missing`:              func(c *Claims) { c.Subject = "" },
		`claim "aud" is missing`:              func(c *Claims) { c.Audience = []string{""} },
		`claim "client_id" is missing`:        func(c *Claims) { c.ClientID = "" },
		`claim "exp" is missing`:              func(c *Claims) { c.ExpiresAt = time.Time{} },
		`claim "iat" is missing`:              func(c *Claims) { c.IssuedAt = time.Time{} },
		`claim "jti" is missing`:              func(c *Claims) { c.ID = "" },
		`claim "nbf" is before 1970`:          func(c *Claims) { c.NotBefore = time.Unix(-1, 0) },
		`claim "exp" is 2^53 or more`:         func(c *Claims) { c.ExpiresAt = time.Unix(1<<53, 0) },
		`claim "ep" is 2^53 or more`:          func(c *Claims) { c.AsOf = 1 << 53 },
		`claim "sid" is not UTF-8`:            func(c *Claims) { c.Session = "\xff" },
		`claim "amr" is not UTF-8`:            func(c *Claims) { c.Methods = []string{"pwd", "\xff"} },
		`claim "raw" is not UTF-8`:            func(c *Claims) { c.Custom = map[string]any{"raw": json.RawMessage("\"\xff\"")} },
		`claim "x" cannot be written as JSON`: func(c *Claims) { c.Custom = map[string]any{"x": failJSON{}} },
		`claim "y" holds duplicate names`:     func(c *Claims) { c.Custom = map[string]any{"y": badJSON{}} },
	} {
		c := testClaims()
		change(&c)
		if b, err := c.encode(); !errors.Is(err, ErrClaim) || b != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("encode = %v, want %s", err, want)
		}
	}
}

// TestClaimsAtTheirBounds: what is just allowed is written and read back.
func TestClaimsAtTheirBounds(t *testing.T) {
	for name, change := range map[string]func(c *Claims){
		"two audiences":   func(c *Claims) { c.Audience = []string{"other", testAudience} },
		"three audiences": func(c *Claims) { c.Audience = []string{"a", testAudience, "b"} },
		"absent": func(c *Claims) {
			c.NotBefore, c.AuthTime, c.Session, c.Methods, c.Grants = time.Time{}, time.Time{}, "", nil, nil
		},
		"1970":    func(c *Claims) { c.AuthTime, c.NotBefore = time.Unix(0, 0).UTC(), time.Unix(1, 0).UTC() },
		"ep":      func(c *Claims) { c.AsOf = 1<<53 - 1 },
		"exp":     func(c *Claims) { c.ExpiresAt = time.Unix(1<<53-1, 0).UTC() },
		"control": func(c *Claims) { c.Session = "\x00\x01\x0f\x10\x1f\x20\x7f\"\\\u2028" },
		"custom":  func(c *Claims) { c.Custom = map[string]any{"n": float64(1<<53 - 1), "m": -float64(1<<53 - 1)} },
	} {
		c := testClaims()
		change(&c)
		b, err := c.encode()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		back, err := decodeClaims(b)
		if err != nil || !reflect.DeepEqual(back, c) {
			t.Errorf("%s: %s reads as %+v, %v", name, b, back, err)
		}
		var doc map[string]any
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Errorf("%s: encoding/json: %v", name, err)
		}
		if _, list := doc["aud"].([]any); list != (len(c.Audience) > 1) {
			t.Errorf("%s: aud is %v", name, doc["aud"])
		}
		if _, there := doc["nbf"]; there == c.NotBefore.IsZero() {
			t.Errorf("%s: nbf is %v", name, doc["nbf"])
		}
		if _, there := doc["sid"]; there != (c.Session != "") {
			t.Errorf("%s: sid is %v", name, doc["sid"])
		}
	}
}

// TestSizeErrorNamesTheLargest claim, of any that can grow; of equal ones the first.
func TestSizeErrorNamesTheLargest(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for want, change := range map[string]func(c *Claims){
		"iss": func(c *Claims) { c.Issuer = long }, "sub": func(c *Claims) { c.Subject = long }, "aud": func(c *Claims) { c.Audience = []string{long} },
		"client_id": func(c *Claims) { c.ClientID = long }, "jti": func(c *Claims) { c.ID = long }, "sid": func(c *Claims) { c.Session = long },
		"amr": func(c *Claims) { c.Methods = []string{long} }, "roles": func(c *Claims) { c.Roles = []string{long} },
		"permissions": func(c *Claims) { c.Permissions = []string{long} }, "grants": func(c *Claims) { c.Grants = []string{long} },
		"plan": func(c *Claims) { c.Custom = map[string]any{"plan": long, "other": "x"} },
	} {
		c := testClaims()
		change(&c)
		var size *SizeError
		if err := c.CheckSize(strings.Repeat("t", 101), 100); !errors.As(err, &size) || *size != (SizeError{want, 101, 100}) || !strings.Contains(err.Error(), want) {
			t.Errorf("CheckSize = %v, want %s", err, want)
		}
		if err := c.CheckSize(strings.Repeat("t", 100), 100); err != nil {
			t.Errorf("exactly the limit: %v", err)
		}
	}
	for _, tt := range []struct {
		c    Claims
		want string
	}{
		{Claims{}, ""}, {Claims{Subject: "u"}, "sub"}, // lists are counted with their quotes and commas
		{Claims{Session: strings.Repeat("s", 299), Roles: make([]string, 100)}, "roles"},
		{Claims{Session: strings.Repeat("s", 300), Roles: make([]string, 100)}, "sid"},
	} {
		if got := tt.c.tooLong(1, 0).(*SizeError).Claim; got != tt.want {
			t.Errorf("largest claim %q, want %q", got, tt.want)
		}
	}
}

func TestJ11_SizeWhenMade(t *testing.T) {
	k, enc := testKeys()[ES256], testEncryptionKey(t)
	grow := func(n int) Claims {
		c := testClaims()
		c.Permissions = []string{strings.Repeat("p", n)}
		return c
	}
	made := 0
	for n := 5400; n < 6200; n++ {
		token, err := Sign(k, grow(n))
		var size *SizeError
		switch {
		case err == nil:
			made++
			if _, err := Verify(token, NewKeys(k.Verifier()), testRules()); err != nil || len(token) > MaxTokenBytes {
				t.Fatalf("a token of %d bytes was made but not read: %v", len(token), err)
			}
		case !errors.As(err, &size) || size.Claim != "permissions" || size.Bytes <= size.Limit:
			t.Fatalf("Sign of %d: %v", n, err)
		}
		if token, err := Encrypt(enc, grow(n)); err == nil {
			if _, err := Verify(token, NewKeys(enc.Verifier()), testRules()); err != nil || len(token) > MaxTokenBytes {
				t.Fatalf("an encrypted token of %d bytes was made but not read: %v", len(token), err)
			}
		} else if !errors.As(err, &size) {
			t.Fatal(err)
		}
	}
	if made == 0 || made == 800 {
		t.Errorf("made %d of 800: the range does not meet the limit", made)
	}
	c := testClaims()
	c.Custom = map[string]any{"tenant": strings.Repeat("x", 3000)}
	token, err := Sign(k, c)
	if err != nil {
		t.Fatal(err)
	}
	var size *SizeError
	if err := c.CheckSize(token, 3<<10); !errors.As(err, &size) || size.Claim != "tenant" {
		t.Errorf("CheckSize = %v", err)
	}
	if err := c.CheckSize(token, MaxTokenBytes); err != nil {
		t.Errorf("CheckSize = %v", err)
	}
}

// TestJ11_SizeIsExact: the length that is foretold is the length of the token, up to the last byte that is allowed.
func TestJ11_SizeIsExact(t *testing.T) {
	enc := testEncryptionKey(t)
	check := func(name, header string, tail int, make func(c Claims) (string, error)) {
		t.Helper()
		exact := false
		for n := 5300; n < 6300; n++ {
			c := testClaims()
			c.Permissions = []string{strings.Repeat("p", n)}
			b, err := c.encode()
			if err != nil {
				t.Fatal(err)
			}
			want := len(header) + (len(b)*4+2)/3 + tail
			token, err := make(c)
			if want <= MaxTokenBytes {
				exact = exact || want == MaxTokenBytes
				if err != nil || len(token) != want {
					t.Fatalf("%s: %d bytes, %v; want %d", name, len(token), err, want)
				}
				continue
			}
			var size *SizeError
			if token != "" || !errors.As(err, &size) || *size != (SizeError{"permissions", want, MaxTokenBytes}) {
				t.Fatalf("%s: %d bytes, %v; want a SizeError of %d", name, len(token), err, want)
			}
		}
		if !exact {
			t.Logf("%s: no token has the length of the limit itself", name)
		}
	}
	mac := testKeys()[HS256]
	check("JWS", mac.s.header, 1+1+43, func(c Claims) (string, error) { return Sign(mac, c) })
	check("JWE", enc.e.header, 2+16+1+1+22, func(c Claims) (string, error) { return Encrypt(enc, c) })
	for alg, k := range testKeys() {
		token, err := Sign(k, testClaims())
		if err != nil {
			t.Fatal(err)
		}
		if got := len(token) - strings.LastIndexByte(token, '.') - 1; got != signatureChars(k.s.public()) {
			t.Errorf("%s: a signature of %d characters, foretold %d", alg, got, signatureChars(k.s.public()))
		}
	}
	// No token comes with an error.
	for name, change := range map[string]func(c *Claims){"missing": func(c *Claims) { c.Subject = "" }, "size": func(c *Claims) { c.Subject = strings.Repeat("x", MaxTokenBytes) }} {
		c := testClaims()
		change(&c)
		if token, err := Sign(mac, c); err == nil || token != "" {
			t.Errorf("%s: Sign = %q, %v", name, token, err)
		}
		if token, err := Encrypt(enc, c); err == nil || token != "" {
			t.Errorf("%s: Encrypt = %q, %v", name, token, err)
		}
	}
}

// TestJ16_NoPersonalData: a token holds what Claims names, nothing else.
func TestJ16_NoPersonalData(t *testing.T) {
	var m map[string]any
	if err := json.Unmarshal([]byte(payload(t)), &m); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{"amr", "aud", "auth_time", "client_id", "ep", "exp", "grants", "iat", "iss", "jti", "nbf", "permissions", "roles", "sid", "sub"}
	if !slices.Equal(names, want) {
		t.Errorf("claims %v, want %v", names, want)
	}
	c := testClaims()
	c.Grants, c.Roles = nil, []string{}
	b, err := c.encode()
	if err != nil || strings.Contains(string(b), "grants") || !strings.Contains(string(b), `"roles":[]`) {
		t.Errorf("grants are left out when there are none, roles are not: %s, %v", b, err)
	}
	c.ExpiresAt = testNow.Add(999 * time.Millisecond)
	b, _ = c.encode()
	if back, err := decodeClaims(b); err != nil || !back.ExpiresAt.Equal(testNow) {
		t.Errorf("exp is rounded up: %v", back.ExpiresAt)
	}
}

// TestClaimsRoundTrip: any claims come back as they went in, and the text is
// what encoding/json reads too.
func TestClaimsRoundTrip(t *testing.T) {
	k := testKeys()[HS256]
	set := NewKeys(k.Verifier())
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(1, 40, 100)
		list := rapid.SliceOfN(rapid.StringN(0, 10, 30), 1, 4)
		c := testClaims()
		c.Subject, c.Session, c.ID = text.Draw(t, "sub"), text.Draw(t, "sid"), text.Draw(t, "jti")
		c.Roles, c.Permissions, c.Methods = list.Draw(t, "roles"), list.Draw(t, "permissions"), list.Draw(t, "amr")
		c.AsOf = rapid.Uint64Range(0, 1<<53-1).Draw(t, "ep")
		c.Custom = map[string]any{"x": text.Draw(t, "x"), "n": float64(rapid.Int32().Draw(t, "n"))}
		token, err := Sign(k, c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Verify(token, set, testRules())
		if err != nil {
			t.Fatal(err)
		}
		c.KeyID = k.ID()
		a, _ := json.Marshal(c)
		b, _ := json.Marshal(got)
		if string(a) != string(b) {
			t.Fatalf("in:  %s\nout: %s", a, b)
		}
	})
}
