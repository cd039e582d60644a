package redis

import (
	"errors"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/internal/codec"
)

// A record is kept as
//
//	8 bytes   mark: drawn anew with every write, what a script compares
//	1 byte    layout: 1
//	…         the session, as package codec writes it
//
// Another layout gets another number. It is written only by releases whose predecessor could read
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
	p := codec.Packer{B: make([]byte, 0, 256+len(s.Claims)+len(s.UserAgent))}
	p.B = append(p.B, mark...)
	p.B = append(p.B, layout)
	p.Session(s)
	return string(p.B)
}

// unpack reads a record and its mark. It answers errRecord for anything that pack did not write.
func unpack(text string) (mark string, s handstamp.Session, err error) {
	if len(text) < markBytes+1 || text[markBytes] != layout {
		return "", handstamp.Session{}, errRecord
	}
	u := codec.Unpacker{B: text[markBytes+1:]}
	s = u.Session()
	if u.Broken || len(u.B) > 0 {
		return "", handstamp.Session{}, errRecord
	}
	return text[:markBytes], s, nil
}
