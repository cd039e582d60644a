// Package blocklist keeps a set of strings as a binary fuse filter with 16-bit fingerprints: small, fast, never
// wrong about a member and wrong about one in 65,536 of all other strings. It never holds the strings
// themselves and knows nothing of passwords.
package blocklist

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/FastFilter/xorfilter"
)

// headerBytes is the length of what precedes the fingerprints: seed 8 bytes, then segment length, segment
// mask, segment count, segment count length and number of fingerprints, 4 bytes each, all little endian.
const headerBytes = 28

// Filter answers whether a string is in the set. It does not change and is safe for concurrent use. The zero
// Filter cannot be used; make one with [Load].
type Filter struct {
	fuse *xorfilter.BinaryFuse[uint16]
}

// Contains says whether s is in the set: always true for a member, true by chance for one in 65,536 others.
func (f *Filter) Contains(s string) bool { return f.fuse.Contains(key(s)) }

// Build returns the filter of the entries as bytes for [Load]. The same set gives the same bytes, whatever the
// order and the repetitions. An empty set is an error.
func Build(entries []string) ([]byte, error) {
	if len(entries) == 0 {
		return nil, errors.New("build filter: no entries")
	}
	keys := make([]uint64, 0, len(entries))
	for _, e := range entries {
		keys = append(keys, key(e))
	}
	slices.Sort(keys)
	fuse, err := xorfilter.NewBinaryFuse[uint16](slices.Compact(keys))
	if err != nil {
		return nil, fmt.Errorf("build filter: %w", err)
	}
	var out bytes.Buffer
	if err := fuse.Save(&out); err != nil {
		return nil, fmt.Errorf("save filter: %w", err)
	}
	return out.Bytes(), nil
}

// Load reads what [Build] wrote. It returns an error for anything that could not be looked up in: a wrong
// length, or segments that do not fit the number of fingerprints.
func Load(data string) (*Filter, error) {
	if len(data) < headerBytes {
		return nil, errors.New("load filter: too short")
	}
	// The library reserves what the count says before it reads; the count must agree with the length first.
	count := binary.LittleEndian.Uint32([]byte(data[headerBytes-4 : headerBytes]))
	if uint64(len(data)) != headerBytes+2*uint64(count) {
		return nil, errors.New("load filter: wrong length")
	}
	fuse, err := xorfilter.LoadBinaryFuse[uint16](strings.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("load filter: %w", err)
	}
	length := uint64(fuse.SegmentLength)
	switch {
	case length == 0 || length&(length-1) != 0 || uint64(fuse.SegmentLengthMask) != length-1,
		fuse.SegmentCount == 0 || uint64(fuse.SegmentCountLength) != uint64(fuse.SegmentCount)*length,
		uint64(count) < uint64(fuse.SegmentCountLength)+2*length:
		return nil, errors.New("load filter: inconsistent header")
	}
	return &Filter{fuse: fuse}, nil
}

// key is the first 8 bytes of SHA-256, big endian: evenly spread, the same on every machine.
func key(s string) uint64 {
	sum := sha256.Sum256([]byte(s))
	return binary.BigEndian.Uint64(sum[:8])
}
