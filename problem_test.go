package handstamp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
)

// answer is what a client sees of a problem.
type answer struct {
	status    int
	code      string
	field     string // of errors[0]
	challenge string // WWW-Authenticate
	retry     string // Retry-After
}

func written(t testing.TB, p handstamp.Problem) (answer, string) {
	t.Helper()
	w := httptest.NewRecorder()
	p.Write(w)
	var body struct {
		Type, Title, Detail, Code string
		Status                    int
		Errors                    []handstamp.FieldError
	}
	decoder := json.NewDecoder(strings.NewReader(w.Body.String()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	h := w.Header()
	if w.Code != body.Status || body.Type != "urn:handstamp:problem:"+body.Code || body.Title == "" || body.Detail == "" ||
		h.Get("Content-Type") != "application/problem+json" || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %v %s", w.Code, h, w.Body)
	}
	a := answer{status: w.Code, code: body.Code, challenge: h.Get("WWW-Authenticate"), retry: h.Get("Retry-After")}
	if len(body.Errors) > 0 {
		a.field = body.Errors[0].Field
	}
	if _, there := h["Www-Authenticate"]; there != (w.Code == http.StatusUnauthorized) {
		t.Errorf("a challenge with %d", w.Code)
	}
	return a, w.Body.String()
}

// TestProblemsByCause: each error has its one answer, wrapped or not, and what the wrapping says never reaches the client.
func TestProblemsByCause(t *testing.T) {
	const again = `Bearer error="invalid_token"`
	deny := func(r handstamp.Reason) error {
		return &handstamp.DeniedError{Reason: r, Check: "private-check", By: 4711}
	}
	busy := func(d time.Duration) error {
		return &handstamp.UnavailableError{RetryAfter: d, Err: errors.New("private-cause")}
	}
	unknown := answer{503, "unavailable", "", "", "2"}
	for name, tc := range map[string]struct {
		err  error
		want answer
	}{
		"missing":           {deny(handstamp.ReasonMissing), answer{401, "missing_credential", "", "Bearer", ""}},
		"duplicate":         {deny(handstamp.ReasonDuplicate), answer{400, "duplicate_credential", "", "", ""}},
		"invalid":           {deny(handstamp.ReasonInvalid), answer{401, "invalid_token", "", again, ""}},
		"expired":           {deny(handstamp.ReasonExpired), answer{401, "expired", "", again, ""}},
		"revoked":           {deny(handstamp.ReasonRevoked), answer{401, "revoked", "", again, ""}},
		"reused":            {deny(handstamp.ReasonReused), answer{401, "refresh_reused", "", again, ""}},
		"stale":             {deny(handstamp.ReasonStale), answer{401, "stale_token", "", again, ""}},
		"forbidden":         {deny(handstamp.ReasonForbidden), answer{403, "forbidden", "", "", ""}},
		"step up":           {deny(handstamp.ReasonStepUp), answer{403, "step_up_required", "", "", ""}},
		"said so: no":       {handstamp.ErrUnauthenticated, answer{401, "invalid_token", "", again, ""}},
		"said so: not that": {handstamp.ErrForbidden, answer{403, "forbidden", "", "", ""}},
		"too much data":     {handstamp.ErrDataTooLarge, answer{422, "invalid_input", "data", "", ""}},
		"too many visitors": {handstamp.ErrTooMany, answer{429, "too_many_attempts", "", "", "60"}},
		"not awaited":       {handstamp.ErrNotAwaited, unknown},
		"origin":            {handstamp.ErrOrigin, answer{403, "cross_origin", "", "", ""}},
		"not found":         {handstamp.ErrNotFound, answer{404, "not_found", "", "", ""}},
		"a user id":         {id.ErrInvalid, answer{422, "invalid_input", "user", "", ""}},
		"mode":              {handstamp.ErrMode, answer{422, "invalid_input", "mode", "", ""}},
		"disabled":          {handstamp.ErrDisabled, answer{403, "account_disabled", "", "", ""}},
		"no reason":         {deny(""), unknown},
		"made-up reason":    {deny("made up"), unknown},
		"no error":          {nil, unknown},
		"a fault":           {errors.New("private-cause"), unknown},
		"conflict":          {handstamp.ErrConflict, unknown},
		"proof outdated":    {handstamp.ErrProofOutdated, unknown},
		"busy":              {busy(0), unknown},
		"busy, negative":    {busy(-time.Second), unknown},
		"busy for 1 ns":     {busy(1), answer{503, "unavailable", "", "", "1"}},
		"busy for 1 s":      {busy(time.Second), answer{503, "unavailable", "", "", "1"}},
		"busy for 1.001 s":  {busy(1001 * time.Millisecond), answer{503, "unavailable", "", "", "2"}},
		"busy for a minute": {busy(time.Minute), answer{503, "unavailable", "", "", "60"}},
		// What is no is no, also beside what is not known; and a fault that is no refusal never becomes one.
		"denied and busy": {errors.Join(busy(time.Minute), deny(handstamp.ReasonRevoked)), answer{401, "revoked", "", again, ""}},
	} {
		got, body := written(t, handstamp.ProblemOf(tc.err))
		if got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
		if tc.err == nil {
			continue
		}
		wrapped, same := written(t, handstamp.ProblemOf(fmt.Errorf("private-wrap 10.0.0.7: %w", tc.err)))
		if wrapped != got || same != body {
			t.Errorf("%s, wrapped: %+v %s", name, wrapped, same)
		}
		for _, private := range []string{"private", "10.0.0.7", "4711", "handstamp: "} {
			if strings.Contains(body, private) {
				t.Errorf("%s: %q is in %s", name, private, body)
			}
		}
	}
}

// TestProblemTexts: what a client is told beyond the code, where that depends on the error.
func TestProblemTexts(t *testing.T) {
	missing := handstamp.ProblemOf(&handstamp.DeniedError{Reason: handstamp.ReasonForbidden, Permission: "posts:write"})
	if missing.Detail != "This needs the permission posts:write." {
		t.Errorf("%q", missing.Detail)
	}
	if p := handstamp.ProblemOf(&handstamp.DeniedError{Reason: handstamp.ReasonForbidden}); p.Detail != "You may not do this." {
		t.Errorf("%q", p.Detail)
	}
	large := handstamp.ProblemOf(fmt.Errorf("%w: claim plan", handstamp.ErrTooLarge))
	want := []handstamp.FieldError{{Field: "claims", Message: "the value token is too large: claim plan"}}
	if large.Status != 422 || large.Code != "invalid_input" || !reflect.DeepEqual(large.Errors, want) {
		t.Errorf("%+v", large)
	}
	for _, err := range []error{id.ErrInvalid, handstamp.ErrMode} {
		if p := handstamp.ProblemOf(err); len(p.Errors) != 1 || p.Errors[0].Message == "" || p.Title == "" {
			t.Errorf("%+v", p)
		}
	}
	got, body := written(t, handstamp.NewProblem(http.StatusTeapot, "own", "Title", "Detail"))
	if got != (answer{status: http.StatusTeapot, code: "own"}) ||
		body != `{"type":"urn:handstamp:problem:own","title":"Title","status":418,"detail":"Detail","code":"own"}`+"\n" {
		t.Errorf("%+v %s", got, body)
	}
	if a, _ := written(t, handstamp.NewProblem(http.StatusUnauthorized, "own", "Title", "Detail")); a.challenge != "Bearer" {
		t.Errorf("%+v", a)
	}
}
