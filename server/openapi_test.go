package server_test

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// conforms checks a response against the served document: the status is documented, and the body is of its schema.
func (w *world) conforms(req *http.Request, a *response) {
	w.t.Helper()
	path := strings.TrimPrefix(req.URL.EscapedPath(), strings.TrimPrefix(w.url, w.http.URL))
	op := w.operation(path, req.Method)
	if op == nil || a.status == 431 {
		return // pages, and what is refused before there is a route (431 by net/http itself)
	}
	responses := op["responses"].(m)
	spec, ok := responses[strconv.Itoa(a.status)].(m)
	if !ok {
		if a.status < 400 {
			w.t.Errorf("%s = %d, which the document does not have", a.what, a.status)
			return
		}
		spec = responses["default"].(m)
	}
	content, _ := spec["content"].(m)
	if content == nil {
		if a.raw != "" && a.status != 302 && path != "/openapi.json" {
			w.t.Errorf("%s has a body, and the document says none: %s", a.what, a.raw)
		}
		return
	}
	media, ok := content[a.header.Get("Content-Type")].(m)
	if !ok {
		w.t.Errorf("%s: Content-Type %q is not in the document", a.what, a.header.Get("Content-Type"))
		return
	}
	if req.Method == "HEAD" {
		return
	}
	if err := w.valid(media["schema"].(m), a.body); err != nil {
		w.t.Errorf("%s does not match the document: %v\n%s", a.what, err, a.raw)
	}
}

func (w *world) operation(path, method string) m {
	if method == "HEAD" {
		method = "GET"
	}
	parts := strings.Split(path, "/")
	for pattern, item := range w.document["paths"].(m) {
		want := strings.Split(pattern, "/")
		if len(want) != len(parts) {
			continue
		}
		same := true
		for i := range parts {
			same = same && (want[i] == parts[i] || strings.HasPrefix(want[i], "{"))
		}
		if op, ok := item.(m)[strings.ToLower(method)].(m); ok && same && !shadowed(pattern, path) {
			return op
		}
	}
	return nil
}

// shadowed: a pattern with a fixed last part goes before one with a name there.
func shadowed(pattern, path string) bool {
	return strings.HasSuffix(pattern, "}") && slices.Contains([]string{"/v1/admin/keys/rotate"}, path)
}

// valid is as much of JSON Schema as the document uses.
func (w *world) valid(schema m, v any) error {
	if ref, ok := schema["$ref"].(string); ok {
		named := w.document["components"].(m)["schemas"].(m)[strings.TrimPrefix(ref, "#/components/schemas/")]
		if named == nil {
			return fmt.Errorf("%s leads nowhere", ref)
		}
		return w.valid(named.(m), v)
	}
	if any, ok := schema["anyOf"].([]any); ok {
		for _, s := range any {
			if w.valid(s.(m), v) == nil {
				return nil
			}
		}
		return fmt.Errorf("%v is none of the alternatives", v)
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		return fmt.Errorf("%v is not one of %v", v, enum)
	}
	switch schema["type"] {
	case "null":
		if v != nil {
			return fmt.Errorf("%v is not null", v)
		}
	case "string":
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("%v is no string", v)
		}
		if schema["format"] == "date-time" {
			at, err := time.Parse(time.RFC3339, s)
			if err != nil || !strings.HasSuffix(s, "Z") || at.IsZero() {
				return fmt.Errorf("%q is no time in UTC", s)
			}
		}
	case "integer":
		if n, ok := v.(float64); !ok || n != math.Trunc(n) {
			return fmt.Errorf("%v is no integer", v)
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return fmt.Errorf("%v is no boolean", v)
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			return fmt.Errorf("%v is no array", v)
		}
		for i, item := range list {
			if err := w.valid(schema["items"].(m), item); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
	case "object":
		return w.validObject(schema, v)
	default:
		return fmt.Errorf("the schema has the type %v", schema["type"])
	}
	return nil
}

func (w *world) validObject(schema m, v any) error {
	o, ok := v.(m)
	if !ok {
		return fmt.Errorf("%v is no object", v)
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := o[name.(string)]; !ok {
			return fmt.Errorf("%s is missing", name)
		}
	}
	properties, _ := schema["properties"].(m)
	for name, value := range o {
		s, ok := properties[name].(m)
		if !ok {
			if s, ok = schema["additionalProperties"].(m); !ok {
				return fmt.Errorf("%s is not in the schema", name)
			}
		}
		if err := w.valid(s, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// contract is every call of the API with its status of success. The document has exactly these.
var contract = []string{
	"POST /v1/signup 201", "POST /v1/login 200", "POST /v1/refresh 200", "POST /v1/logout 204", "POST /v1/password 200",
	"DELETE /v1/account 204", "POST /v1/setup 201",
	"GET /v1/session 200", "GET /v1/sessions 200", "DELETE /v1/sessions/{id} 204", "DELETE /v1/sessions 200",
	"GET /v1/check 200", "POST /v1/check 200", "PUT /v1/check 200", "PATCH /v1/check 200", "DELETE /v1/check 200",
	"POST /v1/revocations/lease 200", "GET /v1/revocations 200",
	"GET /.well-known/jwks.json 200", "POST /v1/introspect 200", "POST /v1/revoke 200",
	"GET /v1/admin/users 200", "POST /v1/admin/users 201", "GET /v1/admin/users/{id} 200", "PATCH /v1/admin/users/{id} 200",
	"DELETE /v1/admin/users/{id} 204", "PUT /v1/admin/users/{id}/roles 200", "DELETE /v1/admin/users/{id}/sessions 204",
	"POST /v1/admin/sessions 201", "GET /v1/admin/sessions 200", "DELETE /v1/admin/sessions/{id} 204",
	"GET /v1/admin/roles 200", "PUT /v1/admin/roles/{name} 200", "DELETE /v1/admin/roles/{name} 204",
	"GET /v1/admin/keys 200", "POST /v1/admin/keys/rotate 201", "POST /v1/admin/keys/{kid}/revoke 201",
	"GET /v1/admin/service-keys 200", "POST /v1/admin/service-keys 201", "DELETE /v1/admin/service-keys/{id} 204",
	"GET /v1/admin/audit 200", "GET /healthz 200", "GET /openapi.json 200",
}

func TestDocumentHasEveryRoute(t *testing.T) {
	w := newWorld(t, settings{})
	var got []string
	for pattern, item := range w.document["paths"].(m) {
		for method, op := range item.(m) {
			statuses := op.(m)["responses"].(m)
			found := 0
			for _, c := range contract {
				if want, ok := strings.CutPrefix(c, strings.ToUpper(method)+" "+pattern+" "); ok {
					found++
					if statuses[want] == nil {
						t.Errorf("%s %s does not document %s", method, pattern, want)
					}
				}
			}
			if found != 1 {
				t.Errorf("%s %s is documented and no part of the contract", method, pattern)
			}
			got = append(got, pattern)
		}
	}
	if len(got) != len(contract) {
		t.Errorf("the document has %d calls, want %d", len(got), len(contract))
	}
	// And the other way round: each of them is served.
	c := w.stranger()
	for _, line := range contract {
		f := strings.Fields(line)
		path := strings.NewReplacer("{id}", "x", "{name}", "x", "{kid}", "x").Replace(f[1])
		if a := c.do(f[0], path, nil); a.status == 404 || a.status == 405 {
			t.Errorf("%s %s = %d: not served", f[0], path, a.status)
		}
	}
}
