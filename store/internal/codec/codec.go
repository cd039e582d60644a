// Package codec writes records of the engine as bytes, for stores that keep a record as one value, and reads them again.
// Whoever uses it puts a number of its own for the layout in front: the bytes say nothing about what they are.
//
// It never decides whether a record is good, and never panics on bytes that nobody wrote: the first thing that is wrong
// breaks the reader, which answers zero values from then on.
package codec

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/token"
)

// Packer writes. The zero value has written nothing.
type Packer struct{ B []byte }

// Number is an unsigned varint; one number has one form.
func (p *Packer) Number(n uint64) { p.B = binary.AppendUvarint(p.B, n) }

// Signed is a zigzag varint.
func (p *Packer) Signed(n int64) { p.B = binary.AppendVarint(p.B, n) }

// Text is its length and its bytes.
func (p *Packer) Text(s string) {
	p.Number(uint64(len(s)))
	p.B = append(p.B, s...)
}

// Flag is 0 or 1.
func (p *Packer) Flag(on bool) {
	if on {
		p.Number(1)
	} else {
		p.Number(0)
	}
}

// Hash is a text of 32 bytes, or an empty one for the zero hash.
func (p *Packer) Hash(h token.Hash) {
	if h.IsZero() {
		p.Text("")
	} else {
		p.Text(string(h[:]))
	}
}

// Time is microseconds since 1970; 0 is the zero time.
func (p *Packer) Time(t time.Time) {
	if t.IsZero() {
		p.Signed(0)
	} else {
		p.Signed(t.UnixMicro())
	}
}

// Unpacker reads what a Packer wrote. The first thing that is wrong breaks it, and it answers zero values from then on.
type Unpacker struct {
	B      string // what is left
	Broken bool
}

// Number is an unsigned varint; one number has one form.
func (u *Unpacker) Number() uint64 {
	var n uint64
	for i := 0; i < len(u.B) && i < binary.MaxVarintLen64; i++ {
		c := u.B[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break
		}
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				break // one number has one form
			}
			u.B = u.B[i+1:]
			return n
		}
	}
	u.Broken, u.B = true, ""
	return 0
}

// Signed is a zigzag varint.
func (u *Unpacker) Signed() int64 {
	n := u.Number()
	return int64(n>>1) ^ -int64(n&1)
}

// Text is its length and its bytes.
func (u *Unpacker) Text() string {
	n := u.Number()
	if n > uint64(len(u.B)) {
		u.Broken, u.B = true, ""
		return ""
	}
	s := u.B[:n]
	u.B = u.B[n:]
	return s
}

// Texts is a list of texts.
func (p *Packer) Texts(all []string) {
	p.Number(uint64(len(all)))
	for _, s := range all {
		p.Text(s)
	}
}

// Count is the length of a list, whose parts have a byte at least.
func (u *Unpacker) Count() int {
	n := u.Number()
	if n > uint64(len(u.B)) {
		u.Broken, u.B = true, ""
		return 0
	}
	return int(n)
}

// Texts is a list of texts.
func (u *Unpacker) Texts() []string {
	n := u.Count()
	if n == 0 {
		return nil
	}
	all := make([]string, n)
	for i := range all {
		all[i] = u.Text()
	}
	return all
}

// Flag is 0 or 1.
func (u *Unpacker) Flag() bool {
	n := u.Number()
	u.Broken = u.Broken || n > 1
	return n == 1
}

// Hash is a text of 32 bytes, or an empty one for the zero hash.
func (u *Unpacker) Hash() (h token.Hash) {
	s := u.Text()
	if s != "" && len(s) != len(h) {
		u.Broken = true
		return h
	}
	copy(h[:], s)
	u.Broken = u.Broken || s != "" && h.IsZero()
	return h
}

// Time is microseconds since 1970; 0 is the zero time.
func (u *Unpacker) Time() time.Time {
	n := u.Signed()
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// Duration is microseconds, not negative.
func (u *Unpacker) Duration() time.Duration {
	n := u.Signed()
	if n < 0 || n > math.MaxInt64/int64(time.Microsecond) {
		u.Broken = true
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// Bytes is a text, nil for an empty one.
func (u *Unpacker) Bytes() []byte {
	if s := u.Text(); s != "" {
		return []byte(s)
	}
	return nil
}

// Session is a record, field by field.
func (p *Packer) Session(s *handstamp.Session) {
	p.Text(string(s.ID))
	p.Text(string(s.User))
	p.Hash(s.Key)
	p.Text(string(s.Mode))
	p.Text(string(s.Transport))
	p.Flag(s.BrowserSession)
	p.Texts(s.Methods)
	p.Text(string(s.Claims))
	p.Time(s.CreatedAt)
	p.Time(s.AuthAt)
	p.Time(s.SeenAt)
	p.Signed(s.IdleTimeout.Microseconds())
	p.Time(s.ExpiresAt)
	p.Number(s.Stamp)
	p.Number(s.Changed)
	p.Number(uint64(s.Refresh.Generation))
	p.Hash(s.Refresh.Nonce)
	p.Time(s.Refresh.RotatedAt)
	p.Hash(s.Refresh.Request)
	p.Text(s.Refresh.IP)
	p.Text(s.Refresh.UserAgent)
	p.Text(s.IP)
	p.Text(s.UserAgent)
	p.Number(s.EndedBy)
	p.Time(s.EndedAt)
	p.Text(s.EndReason)
	p.Number(s.Version)
}

// Session is a record, field by field.
func (u *Unpacker) Session() (s handstamp.Session) {
	s.ID = handstamp.SessionID(u.Text())
	s.User = handstamp.UserID(u.Text())
	s.Key = u.Hash()
	s.Mode = handstamp.Mode(u.Text())
	s.Transport = handstamp.Transport(u.Text())
	s.BrowserSession = u.Flag()
	s.Methods = u.Texts()
	s.Claims = u.Bytes()
	s.CreatedAt, s.AuthAt, s.SeenAt = u.Time(), u.Time(), u.Time()
	s.IdleTimeout = u.Duration()
	s.ExpiresAt = u.Time()
	s.Stamp, s.Changed = u.Number(), u.Number()
	generation := u.Number()
	u.Broken = u.Broken || generation > math.MaxUint32
	s.Refresh = handstamp.Family{
		Generation: uint32(generation), Nonce: u.Hash(), RotatedAt: u.Time(), Request: u.Hash(), IP: u.Text(), UserAgent: u.Text(),
	}
	s.IP, s.UserAgent = u.Text(), u.Text()
	s.EndedBy, s.EndedAt, s.EndReason = u.Number(), u.Time(), u.Text()
	s.Version = u.Number()
	return s
}
