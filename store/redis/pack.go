package redis

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/token"
)

// A record is kept as
//
//	8 bytes   mark: drawn anew with every write, what a script compares
//	1 byte    layout: 1
//	…         the fields of handstamp.Session in the order of pack
//
// A text is its length as a varint and its bytes; a number is a varint; a time is microseconds since 1970 as a signed
// varint, 0 for none. Another layout gets another number. It is written only by releases whose predecessor could read
// it, since old and new processes run side by side during an upgrade. A reader that does not know a layout does not know
// the answer.
const (
	layout    = 1
	markBytes = 8
)

// errRecord says that a record is not what this version wrote. What is in it is never repeated.
var errRecord = errors.New("redis: a record has a layout that this version does not know")

// pack writes a record behind its mark.
func pack(mark string, s *handstamp.Session) string {
	p := packer{b: make([]byte, 0, 256+len(s.Claims)+len(s.UserAgent))}
	p.b = append(p.b, mark...)
	p.b = append(p.b, layout)
	p.text(string(s.ID))
	p.text(string(s.User))
	p.hash(s.Key)
	p.text(string(s.Mode))
	p.text(string(s.Transport))
	p.flag(s.BrowserSession)
	p.number(uint64(len(s.Methods)))
	for _, m := range s.Methods {
		p.text(m)
	}
	p.text(string(s.Claims))
	p.time(s.CreatedAt)
	p.time(s.AuthAt)
	p.time(s.SeenAt)
	p.signed(s.IdleTimeout.Microseconds())
	p.time(s.ExpiresAt)
	p.number(s.Stamp)
	p.number(s.Changed)
	p.number(uint64(s.Refresh.Generation))
	p.hash(s.Refresh.Nonce)
	p.time(s.Refresh.RotatedAt)
	p.hash(s.Refresh.Request)
	p.text(s.Refresh.IP)
	p.text(s.Refresh.UserAgent)
	p.text(s.IP)
	p.text(s.UserAgent)
	p.number(s.EndedBy)
	p.time(s.EndedAt)
	p.text(s.EndReason)
	p.number(s.Version)
	return string(p.b)
}

// unpack reads a record and its mark. It answers errRecord for anything that pack did not write.
func unpack(text string) (mark string, s handstamp.Session, err error) {
	if len(text) < markBytes+1 || text[markBytes] != layout {
		return "", handstamp.Session{}, errRecord
	}
	mark = text[:markBytes]
	u := unpacker{b: text[markBytes+1:]}
	s.ID = handstamp.SessionID(u.text())
	s.User = handstamp.UserID(u.text())
	s.Key = u.hash()
	s.Mode = handstamp.Mode(u.text())
	s.Transport = handstamp.Transport(u.text())
	s.BrowserSession = u.flag()
	if n := u.number(); n > 0 && n <= uint64(len(u.b)) { // each has a byte of length at least
		s.Methods = make([]string, n)
		for i := range s.Methods {
			s.Methods[i] = u.text()
		}
	} else if n > 0 {
		u.broken = true
	}
	if claims := u.text(); claims != "" {
		s.Claims = []byte(claims)
	}
	s.CreatedAt, s.AuthAt, s.SeenAt = u.time(), u.time(), u.time()
	s.IdleTimeout = u.duration()
	s.ExpiresAt = u.time()
	s.Stamp, s.Changed = u.number(), u.number()
	generation := u.number()
	u.broken = u.broken || generation > math.MaxUint32
	s.Refresh = handstamp.Family{
		Generation: uint32(generation), Nonce: u.hash(), RotatedAt: u.time(), Request: u.hash(), IP: u.text(), UserAgent: u.text(),
	}
	s.IP, s.UserAgent = u.text(), u.text()
	s.EndedBy, s.EndedAt, s.EndReason = u.number(), u.time(), u.text()
	s.Version = u.number()
	if u.broken || len(u.b) > 0 {
		return "", handstamp.Session{}, errRecord
	}
	return mark, s, nil
}

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
