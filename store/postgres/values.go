package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp"
)

// Values keeps the named values of sessions.
func (s *Store) Values() handstamp.Values { return &values{s} }

type values struct{ s *Store }

// readValue is findBySession with a value: one statement, so that all of it is one snapshot.
const readValue = `SELECT ` + sessionColumns + `, ` + subjectColumns + `, ` + rolesOf + `, d.data, d.version
	FROM @log AS l LEFT JOIN @sessions AS s ON s.id = $1
	LEFT JOIN @subjects AS u ON u.user_id = s.user_id
	LEFT JOIN @data AS d ON d.session = s.id AND d.name = $2 WHERE l.id = 1`

// Get implements handstamp.Values.
func (v *values) Get(ctx context.Context, id handstamp.SessionID, name string) (handstamp.Datum, handstamp.Found, error) {
	d, f := handstamp.Datum{Name: name}, handstamp.Found{}
	var roles string
	into := append(sessionInto(&f.Session), subjectInto(&f.Subject)...)
	into = append(into, asText(&roles), asBytes(&d.Data), asNumber(&d.Version))
	err := v.s.row(ctx, readValue, []any{string(id), name}, into...)
	if err == nil && f.Session.ID == "" {
		err = pgx.ErrNoRows
	}
	if err == nil {
		f.Subject.User = f.Session.User
		f.Roles, err = v.s.tables.parse(roles)
	}
	if err != nil {
		return handstamp.Datum{}, handstamp.Found{}, fmt.Errorf("read session data: %w", notFound(err))
	}
	return d, f, nil
}

const putValue = `SELECT @put_value_1($1, $2, $3, $4, $5, $6, $7, $8, $9)::bigint`

// errValue says that the caller is wrong: no codec writes nothing, and no version is that large.
var errValue = errors.New("a value needs data, and a version below 2^63")

// Put implements handstamp.Values.
func (v *values) Put(ctx context.Context, w handstamp.DatumWrite) error {
	if err := v.put(ctx, w); err != nil {
		return fmt.Errorf("write session data: %w", err)
	}
	return nil
}

func (v *values) put(ctx context.Context, w handstamp.DatumWrite) error {
	d := w.Value
	switch {
	case d.Version > math.MaxInt64 || d.Version != 0 && len(d.Data) == 0:
		return errValue
	case w.From > math.MaxInt64:
		return handstamp.ErrConflict // no value ever had that version
	}
	args := []any{
		string(w.Session), d.Name, d.Data, number(d.Version), number(w.From), int64(w.Limit), micros(w.Now), micros(w.SeenAt),
		milliseconds(v.s.limits.lock),
	}
	answer := -1
	err := v.s.write(ctx, forRead, statement{query: putValue, args: args, scan: func(r pgx.Rows) error { return r.Scan(asNumber(&answer)) }})
	switch {
	case err != nil:
		return err
	case answer == 0:
		return nil
	case answer == 1:
		return handstamp.ErrConflict
	case answer == 2:
		return handstamp.ErrDataTooLarge
	default:
		return errColumn
	}
}

// Carry implements handstamp.Tx. It goes with the next statement.
func (u *unit) Carry(ctx context.Context, c handstamp.Carrying) error {
	if len(c.Names) == 0 {
		return u.ready(ctx)
	}
	return u.keep(ctx, statement{query: `SELECT @carry_values_1($1, $2, $3, $4, $5)`, what: "carry session data", args: []any{
		string(c.From), string(c.To), list(c.Names), int64(c.Limit), micros(c.Now),
	}})
}
