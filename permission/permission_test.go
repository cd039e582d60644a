package permission

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	long := strings.Repeat("a", 128)
	for p, want := range map[string][2]bool{ // grant, ask
		"posts:write": {true, true}, "handstamp.admin": {true, true}, "a": {true, true}, "A-1_b.c:D": {true, true}, long: {true, true},
		"posts:*": {true, false}, "*": {true, false},
		"": {}, ":": {}, "posts:": {}, ":write": {}, "a:b:c": {}, "posts:**": {}, "p*:x": {}, "*:read": {}, "po:wr*": {}, "**": {}, "*:*": {},
		"posts write": {}, "posts:write ": {}, " posts": {}, "posts\n": {}, "pösts:x": {}, "posts/x": {}, "a,b": {}, "a:b\x00": {},
		long + "a": {}, long + ":*": {}, strings.Repeat("a", 126) + ":*": {true, false}, strings.Repeat("a", 127) + ":*": {},
	} {
		for i, err := range []error{Check(p), CheckAsked(p)} {
			if (err == nil) != want[i] || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%q (%d): %v, want accepted = %v", p, i, err, want[i])
			}
		}
	}
	for role, want := range map[string]bool{"admin": true, "a.b-c_1": true, "": false, "a:b": false, "*": false, "a b": false, long + "a": false} {
		if err := CheckRole(role); (err == nil) != want {
			t.Errorf("CheckRole(%q) = %v", role, err)
		}
	}
}

// TestNamesHaveNoOtherCharacter: of all bytes, the ones of the published alphabet and no other.
func TestNamesHaveNoOtherCharacter(t *testing.T) {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	for c := range 256 {
		b := string([]byte{byte(c)})
		want := strings.Contains(allowed, b)
		for _, s := range []string{b, "a" + b, b + "a", "a" + b + "a"} {
			if s == "a:a" { // a colon between two names is a permission, and never a role
				continue
			}
			grant, ask, role, action := Check(s) == nil, CheckAsked(s) == nil, CheckRole(s) == nil, CheckAsked("posts:"+s) == nil
			if grant != (want || s == Everything) || ask != want || role != want || action != want {
				t.Errorf("%q: grant %v, ask %v, role %v, action %v; want %v", s, grant, ask, role, action, want)
			}
		}
	}
	for n, want := range map[int]bool{0: false, 1: true, 127: true, 128: true, 129: false} {
		if err := CheckRole(strings.Repeat("r", n)); (err == nil) != want || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("a role of %d bytes: %v", n, err)
		}
	}
}

func TestHas(t *testing.T) {
	for _, tc := range []struct {
		granted, asked string
		want           bool
	}{
		{"posts:write", "posts:write", true}, {"posts:write", "posts:read", false}, {"posts:write", "post:write", false},
		{"posts:*", "posts:write", true}, {"posts:*", "posts", false}, {"posts:*", "postsx:write", false}, {"posts:*", "posts.x:write", false},
		{"posts:*", "post:write", false}, {"posts:*", "posts:*", false}, {"posts:*", "*", false},
		{"*", "posts:write", true}, {"*", "handstamp.admin", true}, {"*", "*", false}, {"*", "posts:*", false}, {"*", "", false}, {"*", "a b", false},
		{"handstamp.admin", "handstamp.admin", true}, {"handstamp.admin", "handstamp", false}, {"handstamp", "handstamp.admin", false},
		{"", "posts:write", false}, {"posts:write", "POSTS:write", false}, {"posts", "posts:write", false},
		{"*:read", "posts:read", false}, {"p*:x", "posts:x", false}, // no patterns, so no grants
		{"a b-:* a:* a.b:*", "a:x", true}, {"a-:* a.:* a1:*", "a:x", false},
	} {
		if got := NewSet(strings.Fields(tc.granted)...).Has(tc.asked); got != tc.want {
			t.Errorf("%q has %q = %v, want %v", tc.granted, tc.asked, got, tc.want)
		}
	}
	var zero Set
	if zero.Has("a") || !zero.Empty() || len(zero.List()) != 0 || zero.List() == nil {
		t.Error("the zero Set grants something")
	}
}

// naive is the rule written down without a thought for speed.
func naive(granted []string, asked string) bool {
	if CheckAsked(asked) != nil {
		return false
	}
	for _, g := range granted {
		resource, action, two := strings.Cut(asked, ":")
		_ = action
		if g == "*" || g == asked || two && g == resource+":*" {
			return true
		}
	}
	return false
}

func TestHasAgreesWithTheRule(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	words := []string{"a", "b", "a.b", "a-", "a0", "aa", "A", "a_", "*", ""}
	pick := func() string {
		w := words[r.IntN(len(words))]
		if r.IntN(3) > 0 {
			w += ":" + words[r.IntN(len(words))]
		}
		return w
	}
	for range 20_000 {
		var granted, good []string
		for range r.IntN(6) {
			p := pick()
			granted = append(granted, p)
			if Check(p) == nil {
				good = append(good, p)
			}
		}
		s, asked := NewSet(granted...), pick()
		if got, want := s.Has(asked), naive(good, asked); got != want {
			t.Fatalf("%q has %q = %v, want %v", granted, asked, got, want)
		}
		k := r.IntN(len(granted) + 1)
		if u := NewSet(granted[:k]...).Union(NewSet(granted[k:]...)); !slices.Equal(u.List(), s.List()) {
			t.Fatalf("union of %q at %d = %q", granted, k, u.List())
		}
		if !slices.IsSorted(s.List()) {
			t.Fatalf("%q", s.List())
		}
	}
}

func TestSetIsImmutable(t *testing.T) {
	granted := []string{"b", "a"}
	s := NewSet(granted...)
	granted[0] = "*"
	s.List()[0] = "*"
	if s.Has("c") || granted[1] != "a" {
		t.Error("a set changed")
	}
	table := Table{"one": NewSet("a"), "two": NewSet("b", "a")}
	if got := table.Grants([]string{"one", "two", "unknown"}).List(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("Grants = %q", got)
	}
	if table["one"].Empty() || !table.Grants(nil).Empty() || !table["one"].Has("a") || table["one"].Has("b") {
		t.Error("a role's set changed")
	}
}

func TestHasDoesNotAllocate(t *testing.T) {
	s := NewSet("posts:*", "a", "b", "users:read")
	if n := testing.AllocsPerRun(100, func() { s.Has("posts:write"); s.Has("nothing:here") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzHas(f *testing.F) {
	f.Add("posts:*", "posts:write")
	f.Add("*", "a")
	f.Fuzz(func(t *testing.T, granted, asked string) {
		list := strings.Split(granted, "\x00")
		good := slices.DeleteFunc(slices.Clone(list), func(p string) bool { return Check(p) != nil })
		if got, want := NewSet(list...).Has(asked), naive(good, asked); got != want {
			t.Errorf("%q has %q = %v", list, asked, got)
		}
	})
}
