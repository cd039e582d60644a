package tiered

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/permission"
)

// A copy is kept as
//
//	1 byte    layout: 1
//	32 bytes  HMAC-SHA256 over the key that the copy is under, and over the body
//	…         body: the log's id, and what was found, in the order of pack
//
// Who can write to the cache can put an old copy back, which the events after it end, and nothing else. Another layout gets
// another number; a copy of a layout that a process does not know is none for it.
const (
	layout = 1
	macLen = sha256.Size
)

// errEntry says that an entry was not written by the fleet for this key, or by another version of it.
var errEntry = errors.New("tiered: an entry cannot be believed")

// sealer authenticates entries.
type sealer struct{ keys [][]byte }

// newSealer derives keys from secrets (HKDF-SHA256, RFC 5869). The label keeps them apart from every other use of a secret.
func newSealer(secrets [][]byte) *sealer {
	s := &sealer{}
	for _, secret := range secrets {
		key, err := hkdf.Key(sha256.New, secret, nil, "handstamp/v1/tier", sha256.Size)
		if err == nil { // it fails where a rule forbids so short a secret; then nothing of it is believed
			s.keys = append(s.keys, key)
		}
	}
	if len(s.keys) == 0 {
		key := make([]byte, sha256.Size)
		rand.Read(key)
		s.keys = append(s.keys, key)
	}
	return s
}

func mac(with []byte, key string, body []byte) []byte {
	h := hmac.New(sha256.New, with)
	var p packer
	p.text(key)
	h.Write(p.b)
	h.Write(body)
	return h.Sum(nil)
}

// close writes a copy.
func (s *sealer) close(key, log string, f handstamp.Found) []byte {
	var p packer
	p.text(log)
	p.found(&f)
	out := make([]byte, 0, 1+macLen+len(p.b))
	out = append(out, layout)
	out = append(out, mac(s.keys[0], key, p.b)...)
	return append(out, p.b...)
}

// open reads a copy, and the id of the log that its numbers are of.
func (s *sealer) open(key string, b []byte) (handstamp.Found, string, error) {
	if len(b) < 1+macLen || b[0] != layout {
		return handstamp.Found{}, "", errEntry
	}
	sum, body := b[1:1+macLen], b[1+macLen:]
	if !slices.ContainsFunc(s.keys, func(k []byte) bool { return hmac.Equal(sum, mac(k, key, body)) }) {
		return handstamp.Found{}, "", errEntry
	}
	u := unpacker{b: string(body)}
	log := u.text()
	f := u.found()
	if u.broken || len(u.b) > 0 {
		return handstamp.Found{}, "", errEntry
	}
	return f, log, nil
}

func (p *packer) found(f *handstamp.Found) {
	p.session(&f.Session)
	p.subject(&f.Subject)
	p.serviceKey(&f.ServiceKey)
	p.flag(f.Roles != nil)
	p.number(uint64(len(f.Roles)))
	for _, name := range slices.Sorted(maps.Keys(f.Roles)) {
		p.text(name)
		p.texts(f.Roles[name].List())
	}
	p.number(f.SigningKeyEnded)
}

func (u *unpacker) found() (f handstamp.Found) {
	f.Session = u.session()
	f.Subject = u.subject()
	f.ServiceKey = u.serviceKey()
	if u.flag() {
		f.Roles = permission.Table{}
	}
	for n := u.count(); n > 0 && f.Roles != nil; n-- {
		name := u.text()
		f.Roles[name] = permission.NewSet(u.texts()...)
	}
	f.SigningKeyEnded = u.number()
	return f
}

func (p *packer) session(s *handstamp.Session) {
	p.text(string(s.ID))
	p.text(string(s.User))
	p.hash(s.Key)
	p.text(string(s.Mode))
	p.text(string(s.Transport))
	p.flag(s.BrowserSession)
	p.texts(s.Methods)
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
}

func (u *unpacker) session() (s handstamp.Session) {
	s.ID = handstamp.SessionID(u.text())
	s.User = handstamp.UserID(u.text())
	s.Key = u.hash()
	s.Mode = handstamp.Mode(u.text())
	s.Transport = handstamp.Transport(u.text())
	s.BrowserSession = u.flag()
	s.Methods = u.texts()
	s.Claims = u.bytes()
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
	return s
}

func (p *packer) subject(s *handstamp.Subject) {
	p.text(string(s.User))
	p.number(s.Ended)
	p.time(s.EndedAt)
	p.text(s.EndReason)
	p.number(s.Changed)
	p.number(s.AllEnded)
	p.time(s.AllEndedAt)
	p.number(s.Head)
	p.time(s.RestoredAt)
	p.flag(s.Disabled)
	p.flag(s.Deleted)
	p.texts(s.Grants.Roles)
	p.texts(s.Grants.Permissions)
	p.text(s.Email)
	p.flag(s.EmailVerified)
}

func (u *unpacker) subject() (s handstamp.Subject) {
	s.User = handstamp.UserID(u.text())
	s.Ended, s.EndedAt, s.EndReason = u.number(), u.time(), u.text()
	s.Changed = u.number()
	s.AllEnded, s.AllEndedAt = u.number(), u.time()
	s.Head, s.RestoredAt = u.number(), u.time()
	s.Disabled, s.Deleted = u.flag(), u.flag()
	s.Grants = handstamp.Grants{Roles: u.texts(), Permissions: u.texts()}
	s.Email, s.EmailVerified = u.text(), u.flag()
	return s
}

func (p *packer) serviceKey(k *handstamp.ServiceKey) {
	p.text(string(k.ID))
	p.hash(k.Hash)
	p.text(k.Name)
	p.texts(k.Permissions)
	p.time(k.CreatedAt)
	p.time(k.ExpiresAt)
	p.number(k.EndedBy)
	p.time(k.EndedAt)
	p.text(k.EndReason)
	p.number(k.Version)
}

func (u *unpacker) serviceKey() (k handstamp.ServiceKey) {
	k.ID = id.ServiceKey(u.text())
	k.Hash = u.hash()
	k.Name = u.text()
	k.Permissions = u.texts()
	k.CreatedAt, k.ExpiresAt = u.time(), u.time()
	k.EndedBy, k.EndedAt, k.EndReason = u.number(), u.time(), u.text()
	k.Version = u.number()
	return k
}

func (u *unpacker) bytes() []byte {
	if s := u.text(); s != "" {
		return []byte(s)
	}
	return nil
}
