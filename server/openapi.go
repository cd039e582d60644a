package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
)

// about is what the document says of a route. The zero value leaves the route out of it.
type about struct {
	summary  string
	warning  string // what a caller should know before anything else
	in       any    // the body's type
	optional bool
	form     bool // a form is taken as well as JSON
	params   []string
	status   int
	out      any  // nil for no body
	or       any  // another body with the same status
	stream   bool // an event stream is answered as well as JSON, and no HEAD, which would be one without an end
	cached   bool // 304 is answered to who has it already
	absent   bool // the route is not there at all
}

func says(summary string) about { return about{summary: summary} }

func (a about) warns(text string) about { a.warning = text; return a }
func (a about) takes(in any) about      { a.in = in; return a }
func (a about) mayTake(in any) about    { a.in, a.optional = in, true; return a }
func (a about) orForm() about           { a.form = true; return a }
func (a about) with(names ...string) about {
	a.params = append(a.params[:len(a.params):len(a.params)], names...)
	return a
}

// when leaves a route out where the server was not given what it is made of.
func (a about) when(given bool) about { a.absent = !given; return a }

func (a about) waits() about               { return a.with("wait") }
func (a about) pages() about               { return a.with("cursor", "limit") }
func (a about) gives(s int, out any) about { a.status, a.out = s, out; return a }
func (a about) orGives(out any) about      { a.or = out; return a }
func (a about) orStreams() about           { a.stream = true; return a }
func (a about) orNotModified() about       { a.cached = true; return a }
func (a about) waiting() bool              { return strings.Contains(" "+strings.Join(a.params, " ")+" ", " wait ") }

// query are the parameters that a query may have.
func (a about) query() []string {
	return slices.DeleteFunc(slices.Clone(a.params), isHeader)
}

// The documented parameters that are headers.
const (
	idempotencyHeader = "Idempotency-Key"
	lastEventID       = "Last-Event-ID"
)

func isHeader(name string) bool { return name == idempotencyHeader || name == lastEventID }

// object is a JSON object of the document.
type object = map[string]any

// parameters are the documented ones, by name.
func parameters() map[string]object {
	text := func(description string) object {
		return object{"description": description, "schema": object{"type": "string"}}
	}
	one := func(description, value string) object {
		return object{"description": description, "schema": object{"type": "string", "enum": []string{value}}}
	}
	return map[string]object{
		idempotencyHeader: text("1 to 128 visible characters: a retry with the same key gets the same successor."),
		lastEventID:       text("For an event stream: the id of the last event that was received. It goes before after."),
		"after":           {"description": "Only events with a larger number.", "schema": object{"type": "integer", "minimum": 0}},
		"wait": one("fleet: answer when no verifier can accept what was ended any more; then always 200. Where that wait does not finish, the "+
			"change stands all the same: the answer is 503, and a call that gives new secrets gives them, with applied: node.", "fleet"),
		"keep":       one("current: spare the session that asks.", "current"),
		"cursor":     text("What next was on the page before."),
		"limit":      {"description": "How many items a page holds.", "schema": object{"type": "integer", "minimum": 1, "maximum": maxLimit, "default": defaultLimit}},
		"query":      text("A part of the address."),
		"user":       text("Only this user's."),
		"kind":       text("Only this kind of event."),
		"permission": {"description": "Needed; may be repeated, then all are.", "schema": object{"type": "array", "items": object{"type": "string"}}},
		"max_age":    {"description": "At most so many seconds since the user proved who they are.", "schema": object{"type": "integer", "minimum": 0}},
		"fresh":      one("true: ask the store, whatever copy and lease say.", "true"),
		"login":      one("redirect: send a browser that loads a page to the sign-in page.", "redirect"),
	}
}

// describe makes the OpenAPI document (version 3.1) of the routes.
func (s *Server) describe(routes []route) ([]byte, error) {
	schemas := schemas{}
	problem := schemas.of(reflect.TypeFor[handstamp.Problem]())
	paths := map[string]object{}
	for _, r := range routes {
		if r.doc.summary == "" {
			continue
		}
		if paths[r.pattern] == nil {
			paths[r.pattern] = object{}
		}
		methods := []string{r.method}
		if r.method == anyMethod {
			methods = usualMethods()
		}
		for _, m := range methods {
			paths[r.pattern][strings.ToLower(m)] = operation(r, m, schemas, problem)
		}
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Handstamp", "version": cmp.Or(s.opt.Version, "0"),
			"description": "Who sent a request, and may they do that? Log in once, check every request, end any session at any moment. " +
				"Below /v1 a query parameter that an operation does not list, or that is there twice, is refused with 400 malformed_request.",
		},
		"servers": []object{{"url": cmp.Or(s.prefix, "/")}},
		"paths":   paths,
		"components": object{
			"schemas": schemas,
			"securitySchemes": object{
				"bearer": object{"type": "http", "scheme": "bearer"},
				"cookie": object{"type": "apiKey", "in": "cookie", "name": s.cookies.session.Name},
			},
		},
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("server: make the OpenAPI document: %w", err)
	}
	return b, nil
}

func operation(r route, method string, schemas schemas, problem object) object {
	op := object{"summary": r.doc.summary, "operationId": strings.ToLower(method) + operationName(r.pattern)}
	if !r.guard.open {
		op["security"] = []object{{"bearer": []string{}}, {"cookie": []string{}}}
	}
	if r.guard.needs != "" {
		op["description"] = strings.TrimRight("Needs the permission "+r.guard.needs+". "+r.doc.warning, " ")
	}
	if params := parametersOf(r); len(params) > 0 {
		op["parameters"] = params
	}
	if r.doc.in != nil {
		body := object{"schema": schemas.of(reflect.TypeOf(r.doc.in))}
		content := object{"application/json": body}
		if r.doc.form {
			content["application/x-www-form-urlencoded"] = body
		}
		op["requestBody"] = object{"required": !r.doc.optional, "content": content}
	}
	refused := object{"application/problem+json": object{"schema": problem}}
	responses := object{
		"default": object{"description": "Not yes: why, as RFC 9457 writes it.", "content": refused},
	}
	if r.strictQuery() {
		responses["400"] = object{"description": "malformed_request: the body cannot be read, or the query has a parameter that is not listed here, or one twice.", "content": refused}
	}
	responses[strconv.Itoa(r.doc.status)] = r.doc.response(schemas)
	if r.doc.cached {
		responses["304"] = object{"description": "The same as what If-None-Match names."}
	}
	if r.doc.waiting() && r.doc.status != http.StatusOK {
		out := r.doc.out
		if out == nil {
			out = appliedOut{}
		}
		responses["200"] = response(out, schemas)
	}
	if r.pattern == checkPath {
		responses["302"] = object{"description": "With login=redirect: to the sign-in page."}
	}
	op["responses"] = responses
	return op
}

// response is the answer of success, in all its forms.
func (a about) response(schemas schemas) object {
	r := response(a.out, schemas)
	content, _ := r["content"].(object)
	if a.or != nil {
		content["application/json"] = object{"schema": object{"anyOf": []object{
			schemas.of(reflect.TypeOf(a.out)), schemas.of(reflect.TypeOf(a.or)),
		}}}
	}
	if a.stream {
		content[streamType] = object{"schema": object{"type": "string", "description": streamText}}
	}
	return r
}

func response(out any, schemas schemas) object {
	if out == nil {
		return object{"description": "Done."}
	}
	return object{"description": "Done.", "content": object{"application/json": object{"schema": schemas.of(reflect.TypeOf(out))}}}
}

// operationName makes a word of a pattern: /v1/sessions/{id} is _v1_sessions_id.
func operationName(pattern string) string {
	return strings.NewReplacer("/", "_", "{", "", "}", "", "-", "_", ".", "_").Replace(pattern)
}

func parametersOf(r route) []object {
	known := parameters()
	var list []object
	for part := range strings.SplitSeq(r.pattern, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			list = append(list, object{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": object{"type": "string"}})
		}
	}
	for _, name := range r.doc.params {
		p := object{"name": name, "in": "query"}
		if isHeader(name) {
			p["in"] = "header"
		}
		for k, v := range known[name] {
			p[k] = v
		}
		list = append(list, p)
	}
	return list
}

// schemas are the JSON Schemas of our types, by name.
type schemas map[string]object

// of describes a type, a struct by reference. It knows the types of this package and nothing else.
func (s schemas) of(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer:
		return s.of(t.Elem())
	case t.Kind() == reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case t.Kind() == reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case t.Kind() == reflect.Bool:
		return object{"type": "boolean"}
	case t.Kind() == reflect.String:
		return object{"type": "string"}
	case t.Kind() == reflect.Struct:
		name := strings.ToUpper(t.Name()[:1]) + strings.TrimSuffix(t.Name()[1:], "Out")
		if _, ok := s[name]; !ok {
			s[name] = object{} // a type that holds itself finds itself
			s[name] = s.structOf(t)
		}
		return object{"$ref": "#/components/schemas/" + name}
	default:
		return object{"type": "integer"}
	}
}

func (s schemas) structOf(t reflect.Type) object {
	properties, required := object{}, []string{}
	s.fields(t, properties, &required)
	return object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

func (s schemas) fields(t reflect.Type, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			s.fields(f.Type, properties, required)
			continue
		case name == "" || name == "-":
			continue
		}
		p := s.of(f.Type)
		if values := f.Tag.Get("enum"); values != "" {
			p["enum"] = strings.Split(values, ",")
		}
		if format := f.Tag.Get("format"); format != "" {
			p["format"] = format
		}
		if f.Tag.Get("nullable") == "true" {
			p = object{"anyOf": []object{p, {"type": "null"}}}
		}
		if doc := f.Tag.Get("doc"); doc != "" {
			p["description"] = doc
		}
		properties[name] = p
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}

// openAPI: GET /openapi.json.
func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(s.document) // the status is out; an error here is the client's connection
	return nil
}
