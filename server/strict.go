package server

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/strictjson"
)

// decode reads a body that must be there into a struct of pointers and slices: what was not sent stays nil.
func decode(r *http.Request, into any) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return malformed("This needs a body: one JSON object.")
	}
	return decodeJSON(r, body, into)
}

// decodeOptional reads a body that may be missing.
func decodeOptional(r *http.Request, into any) error {
	body, err := readBody(r)
	if err != nil || len(body) == 0 {
		return err
	}
	return decodeJSON(r, body, into)
}

// noBody reads the body of a call that takes none: nothing, or an object without members. A member that is not known is
// refused here like everywhere, so that nobody believes it did something.
func noBody(r *http.Request) error { return decodeOptional(r, &struct{}{}) }

func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(r.Body)
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(e.Limit)
	}
	if err != nil {
		return nil, malformed("The body could not be read to its end.")
	}
	return body, nil
}

func decodeJSON(r *http.Request, body []byte, into any) error {
	if mediaType(r) != "application/json" {
		return errMedia
	}
	return parse(body, into)
}

// mediaType is the one media type of a request, without parameters; empty if there is none, or two, or an encoding.
func mediaType(r *http.Request) string {
	types := r.Header.Values("Content-Type")
	if len(types) != 1 || r.Header.Get("Content-Encoding") != "" {
		return ""
	}
	t, _, err := mime.ParseMediaType(types[0])
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return ""
	}
	return t
}

// parse reads one JSON object strictly.
func parse(body []byte, into any) error {
	err := strictjson.Parse(body, into)
	if e, ok := errors.AsType[*strictjson.Error](err); ok {
		return malformed(e.Detail)
	}
	return err
}

// decodeToken reads a body as RFC 7009 and RFC 7662 have it, or as JSON. It returns the token; parameters that are not
// known are ignored in a form, as RFC 6749 section 3.2 asks.
func decodeToken(r *http.Request) (string, error) {
	body, err := readBody(r)
	if err != nil {
		return "", err
	}
	var in tokenIn
	switch mediaType(r) {
	case "application/json":
		err = parse(body, &in)
	case "application/x-www-form-urlencoded":
		in.Token, err = formValue(body, "token")
	default:
		if len(body) > 0 {
			return "", errMedia
		}
	}
	if err != nil {
		return "", err
	}
	if in.Token == nil {
		return "", invalidField("token", "is needed")
	}
	return *in.Token, nil
}

func formValue(body []byte, name string) (*string, error) {
	values, err := url.ParseQuery(string(body))
	if err != nil || len(values[name]) > 1 {
		return nil, malformed("The form cannot be read, or has a parameter twice.")
	}
	if len(values[name]) == 0 {
		return nil, nil
	}
	return &values[name][0], nil
}

// fields collects what is wrong with the fields of one request, so that all of it is said at once.
type fields struct{ errs []handstamp.FieldError }

func (f *fields) bad(field, message string) {
	f.errs = append(f.errs, handstamp.FieldError{Field: field, Message: message})
}

func (f *fields) err() error {
	if len(f.errs) == 0 {
		return nil
	}
	return invalid(f.errs...)
}

// need returns a text that must be there.
func (f *fields) need(field string, v *string) string {
	if v == nil {
		f.bad(field, "is needed")
		return ""
	}
	return *v
}

// text returns a text for people: of some length and without control characters, which break logs, terminals and
// databases.
func (f *fields) text(field string, v *string, limit int) string {
	t := f.need(field, v)
	if v == nil {
		return ""
	}
	switch {
	case t == "" || len(t) > limit:
		f.bad(field, fmt.Sprintf("has 1 to %d bytes", limit))
	case !plainText(t):
		f.bad(field, "has no control characters")
	}
	return t
}

// plainText reports whether a text is UTF-8 without control characters (C0, DEL, C1).
func plainText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// checkQuery refuses a query that cannot be read, or has a parameter twice or one that is not known. What was sent is not
// repeated.
func checkQuery(r *http.Request, known []string) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return malformed("The query cannot be read.")
	}
	for name, v := range values {
		switch {
		case len(known) == 0:
			return malformed("The query has a parameter that is not known: this takes none.")
		case !slices.Contains(known, name):
			return malformed("The query has a parameter that is not known: known are " + strings.Join(known, ", ") + ".")
		case len(v) > 1:
			return malformed("A query parameter is there twice.")
		}
	}
	return nil
}

// query reads the parameters of a list or of a change, after [checkQuery]: each is there once at most.
type query struct {
	values url.Values
	fields
}

func queryOf(r *http.Request) (*query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, malformed("The query cannot be read.")
	}
	return &query{values: values}, nil
}

// one returns a parameter that may be missing or empty.
func (q *query) one(name string) string {
	v := q.values[name]
	switch {
	case len(v) == 0:
		return ""
	case !plainText(v[0]):
		q.bad(name, "is UTF-8 without control characters")
	case len(v[0]) > maxQueryBytes:
		q.bad(name, "is too long")
	default:
		return v[0]
	}
	return ""
}

// choice returns a parameter that has one legal value, and whether it was given.
func (q *query) choice(name, value string) bool {
	if _, ok := q.values[name]; !ok {
		return false
	}
	if v := q.one(name); v != value {
		q.bad(name, "can only be "+value)
	}
	return true
}

// maxQueryBytes bounds one parameter.
const maxQueryBytes = 1024

// Bounds of a list.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

func (q *query) limit() int {
	v, ok := q.values["limit"]
	if !ok {
		return defaultLimit
	}
	n, err := strconv.Atoi(v[0])
	if err != nil || n < 1 || n > maxLimit || v[0][0] == '+' {
		q.bad("limit", "is a number from 1 to 1000")
		return defaultLimit
	}
	return n
}

func pathUnescape(s string) (string, error) { return url.PathUnescape(s) }
