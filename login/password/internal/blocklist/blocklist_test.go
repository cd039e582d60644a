package blocklist

import (
	"encoding/binary"
	"strconv"
	"testing"
)

func numbers(n int) []string {
	var list []string
	for i := range n {
		list = append(list, strconv.Itoa(i))
	}
	return list
}

func TestEveryMemberIsFound(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 1000, 20000} {
		list := numbers(n)
		data, err := Build(append(list, list...))
		if err != nil {
			t.Fatal(err)
		}
		f, err := Load(string(data))
		if err != nil {
			t.Fatalf("load %d entries: %v", n, err)
		}
		for _, s := range list {
			if !f.Contains(s) {
				t.Fatalf("%q of %d is missing", s, n)
			}
		}
		hits := 0
		for i := range 65536 {
			if f.Contains("x" + strconv.Itoa(i)) {
				hits++
			}
		}
		if hits > 12 {
			t.Errorf("%d entries: %d of 65536 others found, want about 1", n, hits)
		}
	}
}

func TestBuildRefusesNothing(t *testing.T) {
	if _, err := Build(nil); err == nil {
		t.Error("an empty set was built")
	}
}

func TestLoadRefusesDamage(t *testing.T) {
	good, err := Build(numbers(100))
	if err != nil {
		t.Fatal(err)
	}
	set := func(offset int, v uint32) string {
		b := append([]byte(nil), good...)
		binary.LittleEndian.PutUint32(b[offset:], v)
		return string(b)
	}
	noSegments := append([]byte(nil), good...)
	copy(noSegments[16:24], make([]byte, 8)) // no segments, and no room that they say they need
	for name, data := range map[string]string{
		"empty": "", "header only": string(good[:headerBytes]), "cut": string(good[:len(good)-1]), "long": string(good) + "x",
		"count": set(24, 0xffffffff), "zero count": set(24, 0), "segment length 0": set(8, 0), "segment length": set(8, 1<<31),
		"mask": set(12, 0xffffffff), "no segments": string(noSegments),
		"segment count": set(16, 1<<20), "segment count length": set(20, 1<<20),
	} {
		if f, err := Load(data); err == nil || f != nil {
			t.Errorf("%s: loaded", name)
		}
	}
}

func FuzzLoad(f *testing.F) {
	good, err := Build(numbers(5))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(good), "1")
	f.Add("", "")
	f.Fuzz(func(_ *testing.T, data, s string) {
		if filter, err := Load(data); err == nil {
			filter.Contains(s)
		}
	})
}
