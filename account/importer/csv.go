package importer

import (
	"errors"
	"slices"
	"strings"

	"github.com/handstamp/handstamp/permission"
)

// maxColumns bounds how many fields a line is cut into.
const maxColumns = 64

// parseHeader reads the line that names the columns, and returns what reads the others.
func parseHeader(text string) (parseLine, error) {
	names, wrong := splitCSV(text)
	if wrong != "" {
		return nil, errors.New("the header, " + wrong)
	}
	var strange []string
	for n := range names {
		names[n] = strings.ToLower(strings.TrimSpace(names[n]))
		if slices.Contains(names[:n], names[n]) {
			return nil, errors.New("the header names a column twice")
		}
		if !slices.Contains(fields(), names[n]) {
			strange = append(strange, names[n])
		}
	}
	if len(strange) == len(names) { // values, perhaps: none of them is repeated
		return nil, errors.New("the first line is no header: it has to name the columns. Known are: " + strings.Join(fields(), ", "))
	}
	if strange != nil {
		return nil, errors.New("the header, " + unknown(strange).Text)
	}
	if !slices.Contains(names, fieldEmail) {
		return nil, errors.New("the header has no column email")
	}
	return func(text string) (record, *Problem) { return parseRow(names, text) }, nil
}

// parseRow reads one line under a header.
func parseRow(names []string, text string) (record, *Problem) {
	var rec record
	values, wrong := splitCSV(text)
	if wrong != "" {
		return rec, &Problem{Text: wrong}
	}
	if len(values) != len(names) {
		return rec, &Problem{Text: "it has another number of fields than the header: a field with a comma in it needs quotes"}
	}
	for n, name := range names {
		if wrong := rec.column(name, values[n]); wrong != "" {
			return rec, &Problem{Field: name, Text: wrong}
		}
	}
	return rec, nil
}

// column sets one field; an empty value says nothing.
func (rec *record) column(name, value string) (wrong string) {
	if value == "" {
		return ""
	}
	switch name {
	case fieldID:
		rec.id = value
	case fieldEmail:
		rec.email = value
	case fieldHash:
		rec.hash = value
	case fieldSalt:
		rec.salt = value
	case fieldCreatedAt:
		rec.createdAt = value
	case fieldVerified:
		return parseBool(value, &rec.verified)
	case fieldDisabled:
		return parseBool(value, &rec.disabled)
	case fieldRoles:
		rec.roles = strings.Fields(value)
		return checkRoleNames(name, rec.roles)
	}
	return ""
}

// parseBool reads what databases and spreadsheets write.
func parseBool(value string, into *bool) (wrong string) {
	switch strings.ToLower(value) {
	case "true", "t", "1":
		*into = true
	case "false", "f", "0":
		*into = false
	default:
		return "it has to be true or false"
	}
	return ""
}

// checkRoleNames judges a list of roles, and nothing for other fields.
func checkRoleNames(name string, roles []string) (wrong string) {
	if name != fieldRoles {
		return ""
	}
	if len(roles) > 100 {
		return "an account has at most 100 roles"
	}
	for n, r := range roles {
		if permission.CheckRole(r) != nil {
			return "a role has 1 to 128 letters, digits, '.', '_' and '-'"
		}
		if slices.Contains(roles[:n], r) {
			return "a role is named twice"
		}
	}
	return ""
}

// splitCSV cuts a line into fields (RFC 4180). A field does not go on in the next line: nothing in an account has a line
// end in it, and a quote that is missing would swallow everybody up to the next one.
func splitCSV(text string) (values []string, wrong string) {
	for {
		var value string
		if strings.HasPrefix(text, `"`) {
			value, text, wrong = quoted(text[1:])
			if wrong != "" {
				return nil, wrong
			}
		} else {
			end := strings.IndexByte(text, ',')
			if end < 0 {
				end = len(text)
			}
			value, text = text[:end], text[end:]
			if strings.Contains(value, `"`) {
				return nil, "a quote stands inside a field that does not begin with one"
			}
		}
		if values = append(values, value); len(values) > maxColumns {
			return nil, "it has more than 64 fields"
		}
		if text == "" {
			return values, ""
		}
		text = text[1:] // the comma
	}
}

// quoted reads what follows an opening quote, up to the comma or the end after the closing one.
func quoted(text string) (value, rest, wrong string) {
	var b strings.Builder
	for {
		end := strings.IndexByte(text, '"')
		if end < 0 {
			return "", "", "a quote is not closed in its line"
		}
		b.WriteString(text[:end])
		text = text[end+1:]
		if !strings.HasPrefix(text, `"`) {
			break
		}
		b.WriteByte('"')
		text = text[1:]
	}
	if text != "" && text[0] != ',' {
		return "", "", "something stands after a closing quote"
	}
	return b.String(), text, ""
}
