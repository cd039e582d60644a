package id

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// The vectors of the TypeID specification (version 0.3, valid.json): UUIDs and their suffixes.
func TestTypeIDVectors(t *testing.T) {
	for uuid, suffix := range map[string]string{
		"00000000-0000-0000-0000-000000000000": "00000000000000000000000000",
		"00000000-0000-0000-0000-000000000001": "00000000000000000000000001",
		"00000000-0000-0000-0000-00000000000a": "0000000000000000000000000a",
		"00000000-0000-0000-0000-000000000010": "0000000000000000000000000g",
		"00000000-0000-0000-0000-000000000020": "00000000000000000000000010",
		"ffffffff-ffff-ffff-ffff-ffffffffffff": "7zzzzzzzzzzzzzzzzzzzzzzzzz",
		"0110c853-1d09-52d8-d73e-1194e95b5f19": "0123456789abcdefghjkmnpqrs",
		"01890a5d-ac96-774b-bcce-b302099a8057": "01h455vb4pex5vsknk084sn02q",
	} {
		raw, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
		if err != nil {
			t.Fatal(err)
		}
		b := [16]byte(raw)
		s := SessionFromBytes(b)
		if string(s) != "ses_"+suffix {
			t.Errorf("%s prints as %s, want %s", uuid, s, suffix)
		}
		if got, err := SessionBytes(Session("ses_" + suffix)); err != nil || got != b {
			t.Errorf("%s reads as %x, %v", suffix, got, err)
		}
	}
}

// invalid are texts that are no session id: the invalid vectors of the specification with our prefix, and more.
func invalid() []string {
	const good = "01h455vb4pex5vsknk084sn02q"
	return []string{
		"", "ses", "ses_", "_" + good, good, "ses" + good, "SES_" + good, "Ses_" + good, "usr_" + good, "ses-" + good, "ses__" + good,
		"ses_1", "ses_" + good[1:], "ses_" + good + "0", "ses_" + strings.ToUpper(good), "ses_01H455vb4pex5vsknk084sn02q",
		"ses_8zzzzzzzzzzzzzzzzzzzzzzzzz", "ses_zzzzzzzzzzzzzzzzzzzzzzzzzz",
		"ses_ooooooiiiiiiuuuuuuulllllll", "ses_i23456789ol23456789oi23456", "ses_123456789-123456789-123456",
		"ses_1234567890123456789012345 ", " ses_" + good, "ses_" + good + "\n", "ses_" + good + "\x00", "ses_" + strings.Repeat("0", 25) + "é",
		"ses_" + strings.Repeat("0", 24) + "é", strings.Repeat("0", 1<<20),
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range invalid() {
		if _, err := ParseSession(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseSession(%.40q) = %v", text, err)
		}
		if b, err := SessionBytes(Session(text)); !errors.Is(err, ErrInvalid) || b != [16]byte{} {
			t.Errorf("SessionBytes(%.40q) = %v", text, err)
		}
	}
}

func TestKindsAreApart(t *testing.T) {
	now := time.Now()
	all := []string{string(NewUser(now)), string(NewSession(now)), string(NewServiceKey(now)), string(NewVerifier(now)), string(NewAudit(now))}
	for i, text := range all {
		_, s := ParseSession(text)
		_, k := ParseServiceKey(text)
		_, v := ParseVerifier(text)
		if (s == nil) != (i == 1) || (k == nil) != (i == 2) || (v == nil) != (i == 3) || User(text).Own() != (i == 0) {
			t.Errorf("%s is taken for another kind", text)
		}
	}
}

// TestIDsSortByTime and are UUIDs of version 7 that are never equal.
func TestIDsSortByTime(t *testing.T) {
	now := time.Date(2027, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	var all []Session
	seen := map[Session]bool{}
	for i := range 1000 {
		s := NewSession(now.Add(time.Duration(i) * time.Millisecond))
		b, err := SessionBytes(s)
		if err != nil || b[6]>>4 != 7 || b[8]>>6 != 2 {
			t.Fatalf("%s: %x, %v", s, b, err)
		}
		ms := int64(b[0])<<40 | int64(b[1])<<32 | int64(b[2])<<24 | int64(b[3])<<16 | int64(b[4])<<8 | int64(b[5])
		if ms != now.UnixMilli()+int64(i) || seen[s] {
			t.Fatalf("%s is of %d", s, ms)
		}
		seen[s] = true
		all = append(all, s)
	}
	if !slices.IsSorted(all) {
		t.Error("ids do not sort by time")
	}
}

// TestS1_IDsOfOneMoment differ: each of the 74 random bits is set in about half of them, and the rest says what it must.
func TestS1_IDsOfOneMoment(t *testing.T) {
	const n = 20_000
	now := time.UnixMilli(int64(0x0123_4567_89ab))
	seen := map[Session]bool{}
	var ones [128]int
	const few = 2000
	var all [few][128]byte
	for draw := range n {
		s := NewSession(now)
		if seen[s] {
			t.Fatalf("%s was drawn twice", s)
		}
		seen[s] = true
		b, err := SessionBytes(s)
		if err != nil {
			t.Fatal(err)
		}
		for i := range ones {
			bit := b[i/8] >> (7 - i%8) & 1
			ones[i] += int(bit)
			if draw < few {
				all[draw][i] = bit
			}
		}
	}
	fixed := map[int]int{48: 0, 49: 1, 50: 1, 51: 1, 64: 1, 65: 0} // version and variant, RFC 9562 section 5.7
	for i := range 48 {
		fixed[i] = int(int64(0x0123_4567_89ab) >> (47 - i) & 1)
	}
	for i, c := range ones {
		want, is := fixed[i]
		if is && c != want*n || !is && (c < n/2-600 || c > n/2+600) { // more than eight standard deviations
			t.Errorf("bit %d is set in %d of %d", i, c, n)
		}
		for j := range i { // no bit is drawn from another
			if _, is := fixed[j]; is || c == 0 || c == n {
				continue
			}
			equal := 0
			for _, bits := range all {
				equal += int(1 ^ bits[i] ^ bits[j])
			}
			if equal < few/2-200 || equal > few/2+200 { // nearly nine standard deviations
				t.Errorf("bits %d and %d are equal in %d of %d", i, j, equal, few)
			}
		}
	}
}

// TestKindsHaveTheirPrefixes, and what parses comes back as it was.
func TestKindsHaveTheirPrefixes(t *testing.T) {
	now := time.Now()
	key, verifier := NewServiceKey(now), NewVerifier(now)
	for text, prefix := range map[string]string{
		string(NewUser(now)): "usr_", string(NewSession(now)): "ses_", string(key): "key_", string(verifier): "vrf_", string(NewAudit(now)): "evt_",
	} {
		if !strings.HasPrefix(text, prefix) || len(text) != 30 {
			t.Errorf("%s, want %s and 26 characters", text, prefix)
		}
	}
	if k, err := ParseServiceKey(string(key)); err != nil || k != key {
		t.Errorf("ParseServiceKey(%s) = %q, %v", key, k, err)
	}
	if v, err := ParseVerifier(string(verifier)); err != nil || v != verifier {
		t.Errorf("ParseVerifier(%s) = %q, %v", verifier, v, err)
	}
	for _, bad := range []string{"", string(verifier) + "0", string(NewSession(now))} {
		if k, err := ParseServiceKey(bad); !errors.Is(err, ErrInvalid) || k != "" {
			t.Errorf("ParseServiceKey(%q) = %q, %v", bad, k, err)
		}
		if v, err := ParseVerifier(bad); !errors.Is(err, ErrInvalid) || v != "" {
			t.Errorf("ParseVerifier(%q) = %q, %v", bad, v, err)
		}
	}
}

// TestNoControlCharacterInAUserID: each of C0, DEL and C1 is refused wherever it stands, and no neighbour of theirs is.
func TestNoControlCharacterInAUserID(t *testing.T) {
	for r := range rune(0x180) {
		control := r < 0x20 || r >= 0x7f && r <= 0x9f
		for _, text := range []string{string(r), "a" + string(r), string(r) + "a", "a" + string(r) + "a"} {
			if _, err := ParseUser(text); (err != nil) != control {
				t.Errorf("ParseUser(%q) = %v", text, err)
			}
		}
	}
}

func TestParseUser(t *testing.T) {
	for _, good := range []string{"a", "42", "customer 4711", "usr_01h455vb4pex5vsknk084sn02q", "ada@example.org", "名前", "'; DROP TABLE x;--", "..", strings.Repeat("x", 128), "\u00a0"} {
		if u, err := ParseUser(good); err != nil || string(u) != good {
			t.Errorf("ParseUser(%q) = %q, %v", good, u, err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", 129), strings.Repeat("é", 65), "a\x00", "a\n", "\t", "\x7f", "\u0080", "\u009f", "\xff", "a\xc3"} {
		if u, err := ParseUser(bad); !errors.Is(err, ErrInvalid) || u != "" {
			t.Errorf("ParseUser(%q) = %q, %v", bad, u, err)
		}
	}
}

func FuzzParseSession(f *testing.F) {
	for _, s := range invalid() {
		f.Add(s)
	}
	f.Add("ses_01h455vb4pex5vsknk084sn02q")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSession(text)
		if err != nil {
			if s != "" {
				t.Error("an id with an error")
			}
			return
		}
		b, err := SessionBytes(s)
		if err != nil || string(SessionFromBytes(b)) != text {
			t.Errorf("%q is not how it prints", text)
		}
	})
}

func FuzzParseUser(f *testing.F) {
	f.Add("42")
	f.Add("a\x00")
	f.Fuzz(func(t *testing.T, text string) {
		if u, err := ParseUser(text); err == nil && (string(u) != text || u == "" || len(u) > 128) {
			t.Errorf("ParseUser(%q) = %q", text, u)
		}
	})
}
