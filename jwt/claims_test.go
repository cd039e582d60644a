package jwt

import (
	"encoding/json"
	"errors"
	"math"
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
