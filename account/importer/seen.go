package importer

import (
	"crypto/sha256"
	"fmt"

	"github.com/handstamp/handstamp/account"
)

// seen knows which ids and addresses were in the lines before, by 16 bytes each and the line. Two that differ and share
// these are not found in practice: the hash is of SHA-256.
type seen struct {
	ids, emails map[[16]byte]uint32
}

func newSeen() *seen {
	return &seen{ids: make(map[[16]byte]uint32), emails: make(map[[16]byte]uint32)}
}

// add remembers an account, or says with which line it collides.
func (s *seen) add(i account.Imported, number int) *Problem {
	email := short(string(i.Email))
	if before, twice := s.emails[email]; twice {
		return &Problem{Field: fieldEmail, Text: fmt.Sprintf("the same address is in line %d", before)}
	}
	if i.ID != "" {
		key := short(string(i.ID))
		if before, twice := s.ids[key]; twice {
			return &Problem{Field: fieldID, Text: fmt.Sprintf("the same id is in line %d", before)}
		}
		s.ids[key] = uint32(number)
	}
	s.emails[email] = uint32(number)
	return nil
}

func short(s string) [16]byte {
	sum := sha256.Sum256([]byte(s))
	return [16]byte(sum[:16])
}
