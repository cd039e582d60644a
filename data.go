package handstamp

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"
)

// Data is one named value of type T that each session can have: a cart, a draft, a message to show once. It lives in a
// table of its own and is never read on the way of a check. It survives refreshes and new secrets, ends with its session,
// and is refused for a session that is over (an error that is ErrUnauthenticated).
//
// Names are independent: requests that change different names of one session at the same time do not overwrite each
// other. Requests that change the same name use [Data.Update]. All names and values of a session are 16 KiB at most.
//
// A Data is made by [NewData], is safe for concurrent use, and costs nothing to make again.
type Data[T any] struct {
	auth  *Auth
	name  string
	codec Codec
	err   error // what is wrong with the name
}

// Codec turns values into bytes and back. The zero Codec is JSON.
type Codec struct {
	Marshal   func(v any) ([]byte, error)
	Unmarshal func(data []byte, v any) error
}

// Gob is the codec of encoding/gob, for types that JSON cannot say.
func Gob() Codec {
	return Codec{
		Marshal: func(v any) ([]byte, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(v)
			return b.Bytes(), err
		},
		Unmarshal: func(data []byte, v any) error { return gob.NewDecoder(bytes.NewReader(data)).Decode(v) },
	}
}

// maxDataBytes bounds all names and values of one session together.
const maxDataBytes = 16 << 10

// maxDataName bounds a name, so that an error can show it.
const (
	maxDataName  = 64
	dataNameRule = "1 to 64 letters, digits, '.', '_' or '-'"
)

// NewData names a value. The name is 1 to 64 letters, digits, '.', '_' or '-'; with any other, every method fails. Pass a
// codec to write something else than JSON.
func NewData[T any](a *Auth, name string, codec ...Codec) *Data[T] {
	d := &Data[T]{auth: a, name: name, err: checkDataName(name)}
	for _, c := range codec {
		d.codec = c
	}
	if d.codec.Marshal == nil {
		d.codec.Marshal = json.Marshal
	}
	if d.codec.Unmarshal == nil {
		d.codec.Unmarshal = json.Unmarshal
	}
	return d
}

func checkDataName(name string) error {
	ok := name != "" && len(name) <= maxDataName
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return fmt.Errorf("handstamp: a name of session data is %s", dataNameRule)
	}
	return nil
}

// Get reads the value. ok is false if the session has none.
func (d *Data[T]) Get(ctx context.Context, s SessionID) (value T, ok bool, err error) {
	value, now, err := d.read(ctx, s)
	return value, now.Version != 0, err
}

// Set writes the value, whatever is there. What another request writes at the same moment may be lost, as after any last
// word; use Update to change what is there.
func (d *Data[T]) Set(ctx context.Context, s SessionID, value T) error {
	data, err := d.encode(value)
	if err != nil {
		return err
	}
	_, err = d.change(ctx, s, func(Datum) ([]byte, error) { return data, nil })
	return err
}

// Update changes the value by fn, which gets what is there (the zero T if there is nothing). If another request was
// faster fn is called again with what that one wrote, so nothing is lost; fn has no other effect. An error of fn comes
// back as it is, and nothing is written.
func (d *Data[T]) Update(ctx context.Context, s SessionID, fn func(T) (T, error)) error {
	_, err := d.change(ctx, s, func(old Datum) ([]byte, error) {
		value, err := d.decode(old)
		if err != nil {
			return nil, err
		}
		if value, err = fn(value); err != nil {
			return nil, err
		}
		return d.encode(value)
	})
	return err
}

// Pop reads the value and deletes it in one step: of several requests at once one gets it. It is for messages that are
// shown once ("flash").
func (d *Data[T]) Pop(ctx context.Context, s SessionID) (value T, ok bool, err error) {
	old, err := d.change(ctx, s, func(old Datum) ([]byte, error) {
		value, err = d.decode(old) // a value that cannot be read stays
		return nil, err
	})
	if err != nil || old.Version == 0 {
		var none T
		return none, false, err
	}
	return value, true, nil
}

// Delete deletes the value. Where there is none, it does nothing.
func (d *Data[T]) Delete(ctx context.Context, s SessionID) error {
	_, err := d.change(ctx, s, func(Datum) ([]byte, error) { return nil, nil })
	return err
}

func (d *Data[T]) read(ctx context.Context, s SessionID) (value T, v Datum, err error) {
	if d.err != nil {
		return value, Datum{}, d.err
	}
	if v, err = d.auth.value(ctx, s, d.name); err != nil {
		return value, Datum{}, err
	}
	value, err = d.decode(v)
	if err != nil {
		return value, Datum{}, err
	}
	return value, v, nil
}

func (d *Data[T]) decode(v Datum) (value T, err error) {
	if v.Version == 0 {
		return value, nil
	}
	if err := d.codec.Unmarshal(v.Data, &value); err != nil {
		var none T
		return none, fmt.Errorf("handstamp: session data %q cannot be read as %T: %w", d.name, value, err)
	}
	return value, nil
}

func (d *Data[T]) encode(value T) ([]byte, error) {
	data, err := d.codec.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("handstamp: session data %q cannot be written: %w", d.name, err)
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("handstamp: session data %q cannot be written: the codec wrote nothing", d.name)
	}
	return data, nil
}

func (d *Data[T]) change(ctx context.Context, s SessionID, next func(old Datum) ([]byte, error)) (old Datum, err error) {
	if d.err != nil {
		return Datum{}, d.err
	}
	return d.auth.changeValue(ctx, s, d.name, next)
}

// value reads one value of a session that is alive.
func (a *Auth) value(ctx context.Context, s SessionID, name string) (Datum, error) {
	v, found, err := a.store.Values().Get(ctx, s, name)
	switch {
	case errors.Is(err, ErrNotFound):
		return Datum{}, denied(ReasonInvalid, "unknown_session")
	case err != nil:
		return Datum{}, fmt.Errorf("read session data %q: %w", name, err)
	}
	found.Session.SeenAt = a.seen.latest(s, found.Session.SeenAt)
	if err := judge(found.Session, found.Subject, a.now()); err != nil {
		return Datum{}, err
	}
	return v, nil
}

// How often a value is tried to be changed before the caller is told to come again, and the longest pause between.
const (
	maxValueTries = 500
	maxValuePause = 20 * time.Millisecond
)

// changeValue replaces what is there by what next makes of it, nil for nothing, by compare-and-swap. It returns what was
// replaced.
func (a *Auth) changeValue(ctx context.Context, s SessionID, name string, next func(old Datum) ([]byte, error)) (Datum, error) {
	for try := range maxValueTries {
		old, err := a.value(ctx, s, name)
		if err != nil {
			return Datum{}, err
		}
		data, err := next(old)
		if err != nil {
			return Datum{}, err
		}
		if data == nil && old.Version == 0 {
			return old, nil
		}
		w := DatumWrite{
			Session: s, Value: Datum{Name: name, Data: data}, From: old.Version,
			Limit: maxDataBytes, Now: a.now(), SeenAt: a.seen.latest(s, time.Time{}),
		}
		if data != nil {
			w.Value.Version = newVersion()
		}
		switch err := a.store.Values().Put(ctx, w); {
		case err == nil:
			return old, nil
		case errors.Is(err, ErrDataTooLarge):
			return Datum{}, fmt.Errorf("%w: with %q (%d bytes) it would be more than %d bytes", ErrDataTooLarge, name, len(data), maxDataBytes)
		case !errors.Is(err, ErrConflict):
			return Datum{}, fmt.Errorf("write session data %q: %w", name, err)
		}
		// Somebody was faster, or the session is over: the next read says which. Uneven pauses spread those who are many.
		if err := pause(ctx, mathrand.N(min(maxValuePause, time.Duration(try+1)*100*time.Microsecond))); err != nil { //nolint:gosec // spreads load
			return Datum{}, fmt.Errorf("write session data %q: %w", name, err)
		}
	}
	return Datum{}, &UnavailableError{Err: fmt.Errorf("session data %q changes too often", name)}
}

// newVersion draws a version: a value that was deleted and written again never has a version that it had before.
func newVersion() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:])
		if v := binary.BigEndian.Uint64(b[:]) >> 1; v != 0 {
			return v
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
