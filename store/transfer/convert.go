package transfer

import (
	"errors"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/token"
)

// What stores that keep Go values make rows of, and back. The columns are in the order of Sessions and Data.

// Micros is a time as it is in a row.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// TimeOf is the reverse of Micros.
func TimeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// Hashed is a hash as it is in a row: absent where there is none.
func Hashed(h token.Hash) []byte {
	if h.IsZero() {
		return nil
	}
	return h[:]
}

// Truth is a flag as it is in a row.
func Truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// SessionRow makes a row of a session.
func SessionRow(s handstamp.Session) Row {
	claims := []byte(nil)
	if len(s.Claims) > 0 {
		claims = append(claims, s.Claims...)
	}
	return Row{
		string(s.ID), string(s.User), Hashed(s.Key), string(s.Mode), string(s.Transport), Truth(s.BrowserSession), ListText(s.Methods),
		claims, Micros(s.CreatedAt), Micros(s.AuthAt), Micros(s.SeenAt), s.IdleTimeout.Microseconds(), Micros(s.ExpiresAt),
		int64(s.Stamp), int64(s.Changed),
		int64(s.Refresh.Generation), Hashed(s.Refresh.Nonce), Micros(s.Refresh.RotatedAt), Hashed(s.Refresh.Request),
		Said(s.Refresh.IP), Said(s.Refresh.UserAgent), Said(s.IP), Said(s.UserAgent),
		int64(s.EndedBy), Micros(s.EndedAt), Said(s.EndReason), int64(s.Version),
	}
}

// errRow says that a row is not one of the table that was expected.
var errRow = errors.New("transfer: a row has other columns")

// fields reads a row's values one after the other. The first that is of another type is remembered.
type fields struct {
	row Row
	at  int
	err error
}

func next[T any](f *fields) T {
	var none T
	if f.at >= len(f.row) {
		f.err = errRow
		return none
	}
	v, ok := f.row[f.at].(T)
	if !ok {
		f.err = errRow
	}
	f.at++
	return v
}

func (f *fields) text() string         { return next[string](f) }
func (f *fields) number() int64        { return next[int64](f) }
func (f *fields) moment() time.Time    { return TimeOf(next[int64](f)) }
func (f *fields) flag() bool           { return next[int64](f) != 0 }
func (f *fields) bytes() []byte        { return next[[]byte](f) }
func (f *fields) span() time.Duration  { return time.Duration(next[int64](f)) * time.Microsecond }
func (f *fields) counted() uint64      { return uint64(next[int64](f)) }
func (f *fields) hash() (h token.Hash) { copy(h[:], next[[]byte](f)); return h }
func (f *fields) list() (texts []string) {
	texts, err := Texts(next[string](f))
	if err != nil {
		f.err = err
	}
	return texts
}

// SessionOf is the reverse of SessionRow.
func SessionOf(r Row) (handstamp.Session, error) {
	f := fields{row: r}
	s := handstamp.Session{
		ID: handstamp.SessionID(f.text()), User: handstamp.UserID(f.text()), Key: f.hash(), Mode: handstamp.Mode(f.text()),
		Transport: handstamp.Transport(f.text()), BrowserSession: f.flag(), Methods: f.list(), Claims: f.bytes(),
		CreatedAt: f.moment(), AuthAt: f.moment(), SeenAt: f.moment(), IdleTimeout: f.span(), ExpiresAt: f.moment(),
		Stamp: f.counted(), Changed: f.counted(),
	}
	s.Refresh = handstamp.Family{
		Generation: uint32(f.number()), Nonce: f.hash(), RotatedAt: f.moment(), Request: f.hash(),
		IP: f.text(), UserAgent: f.text(),
	}
	s.IP, s.UserAgent = f.text(), f.text()
	s.EndedBy, s.EndedAt, s.EndReason, s.Version = f.counted(), f.moment(), f.text(), f.counted()
	if f.err == nil && f.at != len(r) {
		f.err = errRow
	}
	return s, f.err
}

// DataRow makes a row of a value of a session.
func DataRow(s handstamp.SessionID, d handstamp.Datum) Row {
	return Row{string(s), d.Name, append([]byte{}, d.Data...), int64(d.Version)}
}

// DatumOf is the reverse of DataRow.
func DatumOf(r Row) (handstamp.SessionID, handstamp.Datum, error) {
	f := fields{row: r}
	s := handstamp.SessionID(f.text())
	d := handstamp.Datum{Name: f.text(), Data: f.bytes(), Version: f.counted()}
	if f.err == nil && f.at != len(r) {
		f.err = errRow
	}
	return s, d, f.err
}
