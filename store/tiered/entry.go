package tiered

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/store/internal/codec"
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
	var p codec.Packer
	p.Text(key)
	h.Write(p.B)
	h.Write(body)
	return h.Sum(nil)
}

// close writes a copy.
func (s *sealer) close(key, log string, f handstamp.Found) []byte {
	var p codec.Packer
	p.Text(log)
	packFound(&p, &f)
	out := make([]byte, 0, 1+macLen+len(p.B))
	out = append(out, layout)
	out = append(out, mac(s.keys[0], key, p.B)...)
	return append(out, p.B...)
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
	u := codec.Unpacker{B: string(body)}
	log := u.Text()
	f := unpackFound(&u)
	if u.Broken || len(u.B) > 0 {
		return handstamp.Found{}, "", errEntry
	}
	return f, log, nil
}

func packFound(p *codec.Packer, f *handstamp.Found) {
	p.Session(&f.Session)
	packSubject(p, &f.Subject)
	packServiceKey(p, &f.ServiceKey)
	p.Flag(f.Roles != nil)
	p.Number(uint64(len(f.Roles)))
	for _, name := range slices.Sorted(maps.Keys(f.Roles)) {
		p.Text(name)
		p.Texts(f.Roles[name].List())
	}
	p.Number(f.SigningKeyEnded)
}

func unpackFound(u *codec.Unpacker) (f handstamp.Found) {
	f.Session = u.Session()
	f.Subject = unpackSubject(u)
	f.ServiceKey = unpackServiceKey(u)
	if u.Flag() {
		f.Roles = permission.Table{}
	}
	for n := u.Count(); n > 0 && f.Roles != nil; n-- {
		name := u.Text()
		f.Roles[name] = permission.NewSet(u.Texts()...)
	}
	f.SigningKeyEnded = u.Number()
	return f
}

func packSubject(p *codec.Packer, s *handstamp.Subject) {
	p.Text(string(s.User))
	p.Number(s.Ended)
	p.Time(s.EndedAt)
	p.Text(s.EndReason)
	p.Number(s.Changed)
	p.Number(s.AllEnded)
	p.Time(s.AllEndedAt)
	p.Number(s.Head)
	p.Time(s.RestoredAt)
	p.Flag(s.Disabled)
	p.Flag(s.Deleted)
	p.Texts(s.Grants.Roles)
	p.Texts(s.Grants.Permissions)
	p.Text(s.Email)
	p.Flag(s.EmailVerified)
}

func unpackSubject(u *codec.Unpacker) (s handstamp.Subject) {
	s.User = handstamp.UserID(u.Text())
	s.Ended, s.EndedAt, s.EndReason = u.Number(), u.Time(), u.Text()
	s.Changed = u.Number()
	s.AllEnded, s.AllEndedAt = u.Number(), u.Time()
	s.Head, s.RestoredAt = u.Number(), u.Time()
	s.Disabled, s.Deleted = u.Flag(), u.Flag()
	s.Grants = handstamp.Grants{Roles: u.Texts(), Permissions: u.Texts()}
	s.Email, s.EmailVerified = u.Text(), u.Flag()
	return s
}

func packServiceKey(p *codec.Packer, k *handstamp.ServiceKey) {
	p.Text(string(k.ID))
	p.Hash(k.Hash)
	p.Text(k.Name)
	p.Texts(k.Permissions)
	p.Time(k.CreatedAt)
	p.Time(k.ExpiresAt)
	p.Number(k.EndedBy)
	p.Time(k.EndedAt)
	p.Text(k.EndReason)
	p.Number(k.Version)
}

func unpackServiceKey(u *codec.Unpacker) (k handstamp.ServiceKey) {
	k.ID = id.ServiceKey(u.Text())
	k.Hash = u.Hash()
	k.Name = u.Text()
	k.Permissions = u.Texts()
	k.CreatedAt, k.ExpiresAt = u.Time(), u.Time()
	k.EndedBy, k.EndedAt, k.EndReason = u.Number(), u.Time(), u.Text()
	k.Version = u.Number()
	return k
}
