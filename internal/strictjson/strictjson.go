// Package strictjson reads one JSON object in the one way that leaves no choice (RFC 8259, and RFC 7493 where that leaves
// one): nothing before or after it, no name twice, valid UTF-8, names exactly as they are, no null, nothing unknown, not
// too deep. Two readers that disagree about a body are how one of them is told something else than the other.
//
// Package strictjson never repeats anything of what it read: its errors name only the members that the program takes.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep an object may nest.
const MaxDepth = 16

// Error says why a text is not the object that was asked for, in a sentence for people.
type Error struct{ Detail string }

// Error returns the sentence.
func (e *Error) Error() string { return "strictjson: " + e.Detail }

// Parse reads an object into the struct that into points to. Its fields are pointers and slices, so that what was not sent
// is told apart from what is zero; all of them have a name in their json tag, and none is embedded. Every refusal is an
// *Error; then the struct may be filled in part and is not to be used. The caller bounds how long the text is.
func Parse(text []byte, into any) error {
	if err := scan(text); err != nil {
		return err
	}
	err := json.Unmarshal(text, into, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	known := members(into)
	if e, ok := errors.AsType[*json.SemanticError](err); ok && !errors.Is(err, json.ErrUnknownName) {
		name, _, _ := strings.Cut(strings.TrimPrefix(string(e.JSONPointer), "/"), "/")
		for _, k := range known {
			if k == name { // one of ours: what a client wrote is never repeated
				return &Error{fmt.Sprintf("The member %q has the wrong type.", k)}
			}
		}
	}
	if len(known) == 0 {
		return &Error{"The body has a member, and this call takes none."}
	}
	return &Error{"The body has a member that is not known here. Known are: " + strings.Join(known, ", ") + "."}
}

// scan checks the form alone, before any struct is looked at. The decoder refuses repeated names and invalid UTF-8.
func scan(text []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	for first := true; ; first = false {
		t, err := d.ReadToken()
		switch {
		case err != nil:
			return &Error{"The body is not valid JSON: it must be one object in UTF-8, with every name once."}
		case first && t.Kind() != '{':
			return &Error{"The body must be one JSON object."}
		case d.StackDepth() > MaxDepth:
			return &Error{"The body nests too deep."}
		case t.Kind() == 'n':
			return &Error{"null is no value here: leave the member out."}
		case d.StackDepth() > 0:
			continue
		}
		if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
			return &Error{"There is something after the JSON object."}
		}
		return nil
	}
}

// members are the names that a struct takes.
func members(into any) []string {
	t := reflect.TypeOf(into).Elem()
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}
