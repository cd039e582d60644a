package tiered

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/store/internal/codec"
	"github.com/handstamp/handstamp/token"
)

func full() handstamp.Found {
	at := time.Date(2024, 5, 6, 7, 8, 9, 123_457_000, time.UTC)
	return handstamp.Found{
		Session: handstamp.Session{
			ID: "ses_01h455vb4pex5vsknk084sn02q", User: "us\x00er", Key: token.Hash{1, 2, 3}, Mode: handstamp.ModeSession,
			Transport: handstamp.TransportCookie, BrowserSession: true, Methods: []string{"pwd", ""}, Claims: []byte("{\"a\":\"\xff\"}"),
			CreatedAt: at, AuthAt: at.Add(1000), SeenAt: at.Add(2000), IdleTimeout: 90 * time.Second, ExpiresAt: at.Add(time.Hour),
			Stamp: 1 << 40, Changed: math.MaxUint64,
			Refresh: handstamp.Family{
				Generation: math.MaxUint32, Nonce: token.Hash{4}, RotatedAt: at, Request: token.Hash{5}, IP: "::1", UserAgent: "\xc3\x28",
			},
			IP: "192.0.2.1", UserAgent: strings.Repeat("a", 512), EndedBy: 7, EndedAt: at, EndReason: "because", Version: 9,
		},
		Subject: handstamp.Subject{
			User: "us\x00er", Ended: 1, EndedAt: at, EndReason: "x", Changed: 2, AllEnded: 3, AllEndedAt: at, Head: 1 << 33, RestoredAt: at,
			Disabled: true, Deleted: true, Grants: handstamp.Grants{Roles: []string{"a", "b"}, Permissions: []string{"c:*"}},
			Email: "a@example.com", EmailVerified: true,
		},
		ServiceKey: handstamp.ServiceKey{
			ID: "key_1", Hash: token.Hash{9}, Name: "n", Permissions: []string{"p"}, CreatedAt: at, ExpiresAt: at, EndedBy: 4, EndedAt: at,
			EndReason: "r", Version: 2,
		},
		Roles:           permission.Table{"a": permission.NewSet("x:y", "z"), "b": permission.NewSet()},
		SigningKeyEnded: 5,
	}
}

func diff(want, got handstamp.Found) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b token.Hash) bool { return a == b }),
		cmp.Comparer(func(a, b permission.Set) bool { return cmp.Equal(a.List(), b.List()) }))
}

func TestSealRoundTrip(t *testing.T) {
	s := newSealer([][]byte{[]byte("secret")})
	for name, want := range map[string]handstamp.Found{"full": full(), "empty": {}, "no roles": {Roles: permission.Table{}}} {
		got, log, err := s.open("key", s.close("key", "log", want))
		if err != nil || log != "log" {
			t.Fatalf("%s: open = %q, %v", name, log, err)
		}
		if d := diff(want, got); d != "" {
			t.Errorf("%s differs (-want +got):\n%s", name, d)
		}
	}
}

// TestForgedEntries: nothing is believed that the fleet has not written for this very credential.
func TestForgedEntries(t *testing.T) {
	one, two := []byte("the first secret of the fleet"), []byte("the second one")
	s := newSealer([][]byte{one})
	good := s.close("key", "log", full())
	believed := func(s *sealer, key string, b []byte) bool {
		f, _, err := s.open(key, b)
		if err != nil && f.Session.ID != "" {
			t.Error("a refused entry comes with a session")
		}
		return err == nil
	}
	for n := range good {
		forged := bytes.Clone(good)
		forged[n] ^= 1
		if believed(s, "key", forged) {
			t.Fatalf("an entry whose byte %d was changed is believed", n)
		}
		if believed(s, "key", good[:n]) {
			t.Fatalf("the first %d bytes of an entry are believed", n)
		}
	}
	for name, tc := range map[string]struct {
		s    *sealer
		key  string
		b    []byte
		want bool
	}{
		"as it is":                             {s, "key", good, true},
		"by a process that makes with another": {newSealer([][]byte{two, one}), "key", good, true},
		"under the key of another credential":  {s, "kez", good, false},
		"with something after it":              {s, "key", append(bytes.Clone(good), 0), false},
		"by a process of another fleet":        {newSealer([][]byte{two}), "key", good, false},
		"by a process without secrets":         {newSealer(nil), "key", good, false},
		"nothing":                              {s, "key", nil, false},
	} {
		if got := believed(tc.s, tc.key, tc.b); got != tc.want {
			t.Errorf("%s: believed: %v, want %v", name, got, tc.want)
		}
	}
	lonely := newSealer(nil)
	if b := lonely.close("key", "log", full()); !believed(lonely, "key", b) || believed(newSealer(nil), "key", b) {
		t.Error("without secrets a process believes itself and nobody else")
	}
}

// TestEntryHoldsNoSecret: what is written can be read by whoever reads the cache.
func TestEntryHoldsNoSecret(t *testing.T) {
	secret := token.Generate(token.Reference)
	f := full()
	f.Session.Key = token.HashOf(secret)
	b := newSealer([][]byte{[]byte("fleet")}).close("key", "log", f)
	if bytes.Contains(b, []byte(secret.Reveal())) || bytes.Contains(b, []byte("fleet")) {
		t.Error("an entry holds a token or the fleet's secret")
	}
}

// FuzzFound reads bodies that nobody has authenticated: no panic, and what can be read comes back.
func FuzzFound(f *testing.F) {
	for _, one := range []handstamp.Found{full(), {}} {
		var p codec.Packer
		packFound(&p, &one)
		f.Add(string(p.B))
	}
	f.Add("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
	f.Fuzz(func(t *testing.T, text string) {
		u := codec.Unpacker{B: text}
		found := unpackFound(&u)
		if u.Broken || len(u.B) > 0 {
			return
		}
		var p codec.Packer
		packFound(&p, &found)
		again := codec.Unpacker{B: string(p.B)}
		if d := diff(found, unpackFound(&again)); d != "" || again.Broken {
			t.Errorf("written and read again (-want +got):\n%s", d)
		}
	})
}
