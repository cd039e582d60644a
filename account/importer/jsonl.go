package importer

import (
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// parseJSON reads one object. Names come once and exactly as they are written, and the text is UTF-8 (RFC 7493).
func parseJSON(text string) (record, *Problem) {
	var rec record
	var members map[string]jsontext.Value
	if !strings.HasPrefix(strings.TrimLeft(text, " \t"), "{") || json.Unmarshal([]byte(text), &members) != nil {
		return rec, &Problem{Text: "it is not one JSON object with every name once: each line has to be one, without a comma after it"}
	}
	var strange []string
	for _, name := range slices.Sorted(maps.Keys(members)) { // in order: of two problems always the same one is told
		v := members[name]
		if v.Kind() == 'n' {
			if !slices.Contains(fields(), name) {
				strange = append(strange, name)
			}
			continue
		}
		known, wrong := rec.member(name, v)
		if !known {
			strange = append(strange, name)
		} else if wrong != "" {
			return rec, &Problem{Field: name, Text: wrong}
		}
	}
	if strange != nil {
		return rec, unknown(strange)
	}
	return rec, nil
}

// member sets one field; wrong is what is wrong with its value, empty for nothing.
func (rec *record) member(name string, v jsontext.Value) (known bool, wrong string) {
	into := map[string]any{
		fieldID: &rec.id, fieldEmail: &rec.email, fieldVerified: &rec.verified, fieldHash: &rec.hash, fieldSalt: &rec.salt,
		fieldRoles: &rec.roles, fieldDisabled: &rec.disabled, fieldCreatedAt: &rec.createdAt,
	}[name]
	if into == nil {
		return false, ""
	}
	if json.Unmarshal(v, into) == nil {
		return true, checkRoleNames(name, rec.roles)
	}
	switch into.(type) {
	case *bool:
		return true, "it has to be true or false, without quotes"
	case *[]string:
		return true, "it has to be a list of texts"
	}
	return true, "it has to be a text in quotes"
}
