package tiered

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/handstamp/handstamp/token"
)

// A text is its length as a varint and its bytes; a number is a varint; a time is microseconds since 1970 as a signed varint,
// 0 for none; a list is its length and its parts.

type packer struct{ b []byte }

func (p *packer) number(n uint64) { p.b = binary.AppendUvarint(p.b, n) }

func (p *packer) signed(n int64) { p.b = binary.AppendVarint(p.b, n) }

func (p *packer) text(s string) {
	p.number(uint64(len(s)))
	p.b = append(p.b, s...)
}

func (p *packer) flag(on bool) {
	if on {
		p.number(1)
	} else {
		p.number(0)
	}
}

func (p *packer) hash(h token.Hash) {
	if h.IsZero() {
		p.text("")
	} else {
		p.text(string(h[:]))
	}
}

func (p *packer) time(t time.Time) {
	if t.IsZero() {
		p.signed(0)
	} else {
		p.signed(t.UnixMicro())
	}
}

// unpacker reads what a packer wrote. The first thing that is wrong breaks it, and it answers zero values from then on.
type unpacker struct {
	b      string
	broken bool
}

func (u *unpacker) number() uint64 {
	var n uint64
	for i := 0; i < len(u.b) && i < binary.MaxVarintLen64; i++ {
		c := u.b[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break
		}
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				break // one number has one form
			}
			u.b = u.b[i+1:]
			return n
		}
	}
	u.broken, u.b = true, ""
	return 0
}

func (u *unpacker) signed() int64 {
	n := u.number()
	return int64(n>>1) ^ -int64(n&1)
}

func (u *unpacker) text() string {
	n := u.number()
	if n > uint64(len(u.b)) {
		u.broken, u.b = true, ""
		return ""
	}
	s := u.b[:n]
	u.b = u.b[n:]
	return s
}

func (p *packer) texts(all []string) {
	p.number(uint64(len(all)))
	for _, s := range all {
		p.text(s)
	}
}

// count reads the length of a list, whose parts have a byte at least.
func (u *unpacker) count() int {
	n := u.number()
	if n > uint64(len(u.b)) {
		u.broken, u.b = true, ""
		return 0
	}
	return int(n)
}

func (u *unpacker) texts() []string {
	n := u.count()
	if n == 0 {
		return nil
	}
	all := make([]string, n)
	for i := range all {
		all[i] = u.text()
	}
	return all
}

func (u *unpacker) flag() bool {
	n := u.number()
	u.broken = u.broken || n > 1
	return n == 1
}

func (u *unpacker) hash() (h token.Hash) {
	s := u.text()
	if s != "" && len(s) != len(h) {
		u.broken = true
		return h
	}
	copy(h[:], s)
	u.broken = u.broken || s != "" && h.IsZero()
	return h
}

func (u *unpacker) time() time.Time {
	n := u.signed()
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

func (u *unpacker) duration() time.Duration {
	n := u.signed()
	if n < 0 || n > math.MaxInt64/int64(time.Microsecond) {
		u.broken = true
		return 0
	}
	return time.Duration(n) * time.Microsecond
}
