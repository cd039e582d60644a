package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/handstamp/handstamp"
)

// Values keeps the named values of sessions.
func (s *Store) Values() handstamp.Values { return &values{s} }

type values struct{ s *Store }

// readValue is findBySession with a value: one statement, so that all of it is one snapshot.
const readValue = `SELECT ` + sessionColumns + `, ` + subjectColumns + `, ` + rolesOf + `, d.data, d.version
	FROM handstamp_sessions AS s JOIN handstamp_log AS l ON l.id = 1
	LEFT JOIN handstamp_subjects AS u ON u.user = s.user
	LEFT JOIN handstamp_data AS d ON d.session = s.id AND d.name = ?2 WHERE s.id = ?1`

// Get implements handstamp.Values.
func (v *values) Get(ctx context.Context, id handstamp.SessionID, name string) (handstamp.Datum, handstamp.Found, error) {
	d, f, err := v.get(ctx, id, name)
	if err != nil {
		return handstamp.Datum{}, handstamp.Found{}, fmt.Errorf("read session data: %w", notFound(err))
	}
	return d, f, nil
}

func (v *values) get(ctx context.Context, id handstamp.SessionID, name string) (handstamp.Datum, handstamp.Found, error) {
	d, f := handstamp.Datum{Name: name}, handstamp.Found{}
	c, err := v.s.readers.take(ctx)
	if err != nil {
		return d, f, err
	}
	defer v.s.readers.give(c, true)
	var roles string
	into := append(sessionInto(&f.Session), subjectInto(&f.Subject)...)
	into = append(into, asText(&roles), asBytes(&d.Data), asNumber(&d.Version))
	if err := c.row(readValue, []any{string(id), name}, into...); err != nil {
		return d, f, err
	}
	f.Subject.User = f.Session.User
	f.Roles, err = v.s.tables.parse(roles)
	return d, f, err
}

// The statements of Put. length counts the letters of a text and stops at a NUL; octet_length reads no data.
const (
	// aliveThen is alive with an activity that is not written yet (?4).
	aliveThen = lasting + ` AND ` + enabled + ` AND (s.idle = 0 OR max(s.seen_at, ?4) + s.idle > ?1)`

	judgeValue = `SELECT coalesce(d.version, 0), (SELECT coalesce(sum(octet_length(o.name) + octet_length(o.data)), 0)
		FROM handstamp_data AS o WHERE o.session = s.id AND o.name <> ?3)
		FROM handstamp_sessions AS s JOIN handstamp_log AS l ON l.id = 1
		LEFT JOIN handstamp_subjects AS u ON u.user = s.user
		LEFT JOIN handstamp_data AS d ON d.session = s.id AND d.name = ?3 WHERE s.id = ?2 AND ` + aliveThen

	putValue = `INSERT INTO handstamp_data (session, name, data, version) VALUES (?1, ?2, ?3, ?4)
		ON CONFLICT (session, name) DO UPDATE SET data = ?3, version = ?4`
	dropValue = `DELETE FROM handstamp_data WHERE session = ?1 AND name = ?2`
)

// errValue says that the caller is wrong: no codec writes nothing, and no version is that large.
var errValue = errors.New("a value needs data, and a version below 2^63")

// Put implements handstamp.Values.
func (v *values) Put(ctx context.Context, w handstamp.DatumWrite) error {
	err := v.s.do(ctx, func(u *unit) error { return u.putValue(w) })
	if err != nil {
		return fmt.Errorf("write session data: %w", err)
	}
	return nil
}

// putValue judges and writes under the one write lock, so that nothing comes between.
func (u *unit) putValue(w handstamp.DatumWrite) error {
	d := w.Value
	if d.Version > math.MaxInt64 || d.Version != 0 && len(d.Data) == 0 {
		return errValue
	}
	var version uint64
	var others int
	err := u.row(judgeValue, []any{micros(w.Now), string(w.Session), d.Name, micros(w.SeenAt)}, asNumber(&version), &others)
	switch {
	case absent(err):
		return handstamp.ErrConflict
	case err != nil:
		return err
	case version != w.From:
		return handstamp.ErrConflict
	case d.Version == 0:
		_, err = u.exec(dropValue, string(w.Session), d.Name)
		return err
	case others+len(d.Name)+len(d.Data) > w.Limit:
		return handstamp.ErrDataTooLarge
	}
	_, err = u.exec(putValue, string(w.Session), d.Name, d.Data, number(d.Version))
	return err
}

// carryValue copies a value with its version, if it fits and nothing is there. A session that is not there has no values
// and gets none, and one that does not stand gives none.
const carryValue = `INSERT INTO handstamp_data (session, name, data, version)
	SELECT ?3, d.name, d.data, d.version FROM handstamp_data AS d
	JOIN handstamp_sessions AS s ON s.id = d.session JOIN handstamp_log AS l ON l.id = 1
	LEFT JOIN handstamp_subjects AS u ON u.user = s.user
	WHERE d.session = ?2 AND d.name = ?4 AND ` + lasting + ` AND ` + enabled + `
	AND EXISTS (SELECT 1 FROM handstamp_sessions AS t WHERE t.id = ?3)
	AND octet_length(d.name) + octet_length(d.data) + (SELECT coalesce(sum(octet_length(o.name) + octet_length(o.data)), 0)
		FROM handstamp_data AS o WHERE o.session = ?3) <= ?5
	ON CONFLICT (session, name) DO NOTHING`

// Carry implements handstamp.Tx.
func (u *unit) Carry(ctx context.Context, c handstamp.Carrying) error {
	for _, name := range c.Names {
		if err := u.ready(ctx); err != nil {
			return err
		}
		if _, err := u.exec(carryValue, micros(c.Now), string(c.From), string(c.To), name, c.Limit); err != nil {
			return fmt.Errorf("carry session data: %w", err)
		}
	}
	return u.ready(ctx)
}
