package redis

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/token"
)

func full() handstamp.Session {
	at := time.Date(2024, 5, 6, 7, 8, 9, 123_457_000, time.UTC)
	return handstamp.Session{
		ID: "ses_01h455vb4pex5vsknk084sn02q", User: "us\x00er", Key: token.Hash{1, 2, 3}, Mode: handstamp.ModeHybrid,
		Transport: handstamp.TransportCookie, BrowserSession: true, Methods: []string{"pwd", ""}, Claims: []byte("{\"a\":\"\xff\"}"),
		CreatedAt: at, AuthAt: at.Add(1000), SeenAt: at.Add(2000), IdleTimeout: 90 * time.Second, ExpiresAt: time.UnixMicro(-5).UTC(),
		Stamp: 1 << 40, Changed: math.MaxUint64,
		Refresh: handstamp.Family{
			Generation: math.MaxUint32, Nonce: token.Hash{4}, RotatedAt: at.Add(time.Hour), Request: token.Hash{5}, IP: "::1", UserAgent: "\xc3\x28",
		},
		IP: "192.0.2.1", UserAgent: strings.Repeat("a", 512), EndedBy: 7, EndedAt: at, EndReason: "because", Version: 9,
	}
}

func TestPackRoundTrip(t *testing.T) {
	for name, want := range map[string]handstamp.Session{"full": full(), "empty": {}} {
		mark := newMark()
		gotMark, got, err := unpack(pack(mark, &want))
		if err != nil || gotMark != mark {
			t.Fatalf("%s: unpack = mark %q, %v; want %q", name, gotMark, err, mark)
		}
		if d := cmp.Diff(want, got, cmp.Comparer(func(a, b token.Hash) bool { return a == b })); d != "" {
			t.Errorf("%s differs (-want +got):\n%s", name, d)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	s := full()
	good := pack("12345678", &s)
	other := []byte(good)
	other[markBytes] = 2
	for name, text := range map[string]string{
		"nothing": "", "a mark alone": "12345678", "another layout": string(other), "more": good + "x", "cut": good[:len(good)-1],
	} {
		if _, got, err := unpack(text); err == nil || got.ID != "" {
			t.Errorf("unpack(%s) = %v, %v; want an error and no record", name, got.ID, err)
		}
	}
	for n := range len(good) {
		if _, _, err := unpack(good[:n]); err == nil {
			t.Errorf("unpack of the first %d of %d bytes = nil, want an error", n, len(good))
		}
	}
}

// FuzzUnpack: what can be read is written again to the same bytes.
func FuzzUnpack(f *testing.F) {
	s := full()
	f.Add(pack("12345678", &s))
	f.Add(pack("12345678", &handstamp.Session{}))
	f.Add("12345678\x01")
	f.Add("12345678\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
	f.Fuzz(func(t *testing.T, text string) {
		mark, s, err := unpack(text)
		if err != nil {
			return
		}
		if again := pack(mark, &s); again != text {
			t.Errorf("unpack and pack of %q = %q", text, again)
		}
	})
}

func TestAfterConverges(t *testing.T) {
	events := sampleEvents()
	var want handstamp.Session
	for n, order := range permutations(len(events)) {
		s := handstamp.Session{ID: "s", User: "u"}
		for _, i := range append(order, order...) { // and each twice
			s, _ = after(s, events[i:i+1])
		}
		s.Version = 0
		if n == 0 {
			want = s
		} else if d := cmp.Diff(want, s, cmp.Comparer(func(a, b token.Hash) bool { return a == b })); d != "" {
			t.Fatalf("the order %v (-want +got):\n%s", order, d)
		}
	}
	if want.EndedBy != 3 || want.Changed != 5 || want.Stamp != 4 || want.EndReason != "first" {
		t.Errorf("all orders = %+v, want ended by 3, changed by 5, spared by 4", want)
	}
}
