package remote

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp/revoke"
)

// exampleKey has the form of a service key.
var exampleKey = revealed()

// answerWriter collects an answer.
type answerWriter struct {
	header http.Header
	status int
	bytes.Buffer
}

func (w *answerWriter) Header() http.Header    { return w.header }
func (w *answerWriter) WriteHeader(status int) { w.status = status }
func (w *answerWriter) response(r *http.Request) *http.Response {
	return &http.Response{
		StatusCode: max(w.status, http.StatusOK), Header: w.header, Request: r, ContentLength: -1, Body: io.NopCloser(&w.Buffer),
	}
}

const goodRenewal = `{"log":"L","head":3,"tag":"t3","low":0,"now":"2026-11-21T08:00:00Z","age_ms":120,"lease_ms":2000,"more":false,"events":[` +
	`{"seq":2,"tag":"t2","kind":"user","id":"ada","effect":"end","except":"ses_1","until":"2026-11-21T09:05:00Z"},` +
	`{"seq":3,"tag":"t3","kind":"all","id":"","effect":"change","until":"2026-11-21T09:05:00Z"}]}`

func TestParseRenewal(t *testing.T) {
	a, err := parseRenewal([]byte(goodRenewal))
	if err != nil {
		t.Fatal(err)
	}
	if a.Head.Log != "L" || a.Head.Seq != 3 || a.Head.Tag != "t3" || a.Head.Lease != 2*time.Second || a.Head.Now.IsZero() || a.More || a.Reset {
		t.Errorf("%+v", a)
	}
	if a.Age != 121*time.Millisecond {
		t.Errorf("age %v: a part of a millisecond may have been cut off", a.Age)
	}
	if len(a.Events) != 2 || a.Events[0].Kind != revoke.KindUser || a.Events[0].Except != "ses_1" || a.Events[1].Kind != revoke.KindAll {
		t.Errorf("%+v", a.Events)
	}
	a, err = parseRenewal([]byte(`{"reset":true,"log":"L","low":7,"tag":"t7","head":9}`))
	if err != nil || !a.Reset || a.Head.Low != 7 || a.Head.LowTag != "t7" || a.Head.Seq != 9 || a.Head.Tag != "" {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestParseRenewalUnknown: what a newer server adds is passed over; an event of a kind that is not known here is passed on,
// since whom it hits only the server can say.
func TestParseRenewalUnknown(t *testing.T) {
	text := strings.Replace(goodRenewal, `"kind":"all"`, `"kind":"moon","color":"red"`, 1)
	a, err := parseRenewal([]byte(strings.Replace(text, `{"log"`, `{"news":[1],"log"`, 1)))
	if err != nil || a.Events[1].Kind != "moon" {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestParseRenewalRefuses: whatever could be read as more than was said is not read at all.
func TestParseRenewalRefuses(t *testing.T) {
	replace := func(old, by string) string {
		if !strings.Contains(goodRenewal, old) {
			t.Fatalf("%s is not in the answer", old)
		}
		return strings.Replace(goodRenewal, old, by, 1)
	}
	cases := map[string]string{
		"nothing": "", "null": "null", "an array": "[]", "text": "OK", "half": goodRenewal[:len(goodRenewal)/2],
		"two objects": goodRenewal + "{}", "bytes behind": goodRenewal + "x", "invalid UTF-8": replace("ada", "a\xff"),
		"an age of null": replace(`120`, `null`), "a negative age": replace(`120`, `-1`), "an age in text": replace(`120`, `"120"`),
		"half an age": replace(`120`, `119.5`), "no age": replace(`"age_ms":120,`, ``), "two ages": replace(`"age_ms":120`, `"age_ms":120,"age_ms":0`),
		"another case": replace(`"age_ms"`, `"Age_ms"`),
		"no lease":     replace(`"lease_ms":2000,`, ``), "a lease of 0": replace(`2000`, `0`), "a lease of an hour": replace(`2000`, `3600000`),
		"a lease beyond numbers": replace(`2000`, `99999999999999999999`),
		"no head":                replace(`"head":3,`, ``), "head below low": replace(`"low":0`, `"low":4`), "no tag": replace(`"tag":"t3",`, ``),
		"no log": replace(`"log":"L",`, ``), "an empty log": replace(`"log":"L"`, `"log":""`), "no time": replace(`"now":"2026-11-21T08:00:00Z",`, ``),
		"a wrong time": replace(`2026-11-21T08`, `2026-13-21T08`), "the year 1": replace(`2026-11-21T08`, `0001-01-01T00`),
		"no events":        `{"log":"L","head":3,"tag":"t3","low":0,"now":"2026-11-21T08:00:00Z","age_ms":120,"lease_ms":2000,"more":false}`,
		"an event of null": replace(`"events":[`, `"events":[null,`), "an event without a number": replace(`"seq":2,`, ``),
		"an event without a tag": replace(`"tag":"t2",`, ``), "an event without a kind": replace(`"kind":"user",`, ``),
		"an event without an id": replace(`"id":"ada",`, ``), "an event whose effect is null": replace(`"effect":"end"`, `"effect":null`),
		"an event without an effect": replace(`"effect":"end",`, ``),
		"a reset without low":        `{"reset":true,"log":"L","tag":"t7","head":9}`, "a reset without a tag": `{"reset":true,"log":"L","low":7,"head":9}`,
		"a reset behind its head": `{"reset":true,"log":"L","low":7,"tag":"t7","head":6}`, "deep": strings.Repeat("[", 100_000),
		"10,001 events": replace(`"events":[`, `"events":[`+strings.Repeat(`{"seq":1,"tag":"","kind":"all","id":"","effect":"end"},`, 10_000)),
	}
	for name, text := range cases {
		if a, err := parseRenewal([]byte(text)); err == nil {
			t.Errorf("%s is read as %+v", name, a)
		}
	}
	// An age beyond any lease is read, and no lease is left of it.
	a, err := parseRenewal([]byte(replace(`120`, fmt.Sprint(uint64(1<<63)))))
	if err != nil || a.Age < time.Hour {
		t.Errorf("%v, %v", a.Age, err)
	}
}

const goodSession = `{"active":true,"sub":"ada","sid":"ses_01jdbz0p0efa5r7qk0m2s8x4yc","exp":1795248000,"iat":1795240000,"ep":7,` +
	`"scope":"posts:read posts:write","token_type":"Bearer","roles":["editor"],"client_id":"x","auth_time":1795239000,"amr":["pwd"]}`

func TestParseIntrospection(t *testing.T) {
	in, err := parseIntrospection([]byte(goodSession))
	if err != nil {
		t.Fatal(err)
	}
	if !in.Active || in.User != "ada" || in.Session == "" || in.AsOf != 7 || len(in.Permissions) != 2 || len(in.Roles) != 1 ||
		in.ExpiresAt.Unix() != 1795248000 || in.AuthTime.Unix() != 1795239000 || in.Methods[0] != "pwd" {
		t.Errorf("%+v", in)
	}
	without := strings.Replace(goodSession, `,"auth_time":1795239000,"amr":["pwd"]`, "", 1)
	if in, err = parseIntrospection([]byte(without)); err != nil || !in.AuthTime.IsZero() || in.Methods != nil {
		t.Errorf("%+v, %v", in, err)
	}
	key := `{"active":true,"sub":"key_01jdbz0p0efa5r7qk0m2s8x4yc","scope":"posts:import","token_type":"Bearer"}`
	if in, err = parseIntrospection([]byte(key)); err != nil || in.Session != "" || !in.ExpiresAt.IsZero() || in.AsOf != 0 {
		t.Errorf("%+v, %v", in, err)
	}
	if in, err = parseIntrospection([]byte(`{"active":false}`)); err != nil || in.Active || in.User != "" {
		t.Errorf("%+v, %v", in, err)
	}
}

// TestParseIntrospectionRefuses: an answer that is not whole is an error, neither yes nor no.
func TestParseIntrospectionRefuses(t *testing.T) {
	replace := func(old, by string) string {
		if !strings.Contains(goodSession, old) {
			t.Fatalf("%s is not in the answer", old)
		}
		return strings.Replace(goodSession, old, by, 1)
	}
	for name, text := range map[string]string{
		"nothing": "", "null": "null", "true": "true", "an array": `[{"active":true}]`, "no active": `{}`, "active null": `{"active":null}`,
		"active in text": `{"active":"true"}`, "active 1": `{"active":1}`, "active twice": `{"active":false,"active":true}`,
		"another case": `{"Active":true,"sub":"ada"}`, "nobody": replace(`"sub":"ada",`, ``), "an empty user": replace(`"ada"`, `""`),
		"a long user": replace(`"ada"`, `"`+strings.Repeat("a", 129)+`"`), "a control character": replace(`"ada"`, `"a\u0000"`),
		"a user without a session": replace(`"sid":"ses_01jdbz0p0efa5r7qk0m2s8x4yc",`, ``), "a session that is none": replace(`ses_01`, `key_01`),
		"no end": replace(`"exp":1795248000,`, ``), "an end of null": replace(`1795248000`, `null`), "an end of 0": replace(`1795248000`, `0`),
		"a negative end": replace(`1795248000`, `-1`), "half an end": replace(`1795248000`, `1.5`), "an end beyond time": replace(`1795248000`, `999999999999999`),
		"no number": replace(`"ep":7,`, ``), "roles in text": replace(`["editor"]`, `"editor"`), "scope as a list": replace(`"posts:read posts:write"`, `["a"]`),
		"auth_time in text": replace(`1795239000`, `"1795239000"`), "an auth_time of 0": replace(`1795239000`, `0`), "behind": goodSession + "1",
	} {
		if in, err := parseIntrospection([]byte(text)); err == nil {
			t.Errorf("%s is read as %+v", name, in)
		}
	}
}

func FuzzParseRenewal(f *testing.F) {
	f.Add([]byte(goodRenewal))
	f.Add([]byte(`{"reset":true,"log":"L","low":7,"tag":"t7","head":9}`))
	f.Add([]byte(`{"age_ms":18446744073709551615,"lease_ms":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseRenewal(b)
		if err != nil {
			if a.Head.Lease != 0 || a.Events != nil {
				t.Error("something is answered beside an error")
			}
			return
		}
		if a.Age < 0 || a.Head.Lease < 0 || a.Head.Lease > maxLease || !a.Reset && (a.Age == 0 || a.Head.Lease == 0 || a.Head.Now.IsZero()) ||
			a.Reset && a.Head.Lease != 0 || a.Head.Log == "" || a.Head.Low > a.Head.Seq {
			t.Errorf("%q is read as %+v", b, a)
		}
	})
}

func FuzzParseIntrospection(f *testing.F) {
	f.Add([]byte(goodSession))
	f.Add([]byte(`{"active":false}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := parseIntrospection(b)
		switch {
		case (err != nil || !in.Active) && (in.Active || in.User != "" || in.Session != "" || in.Permissions != nil):
			t.Errorf("%q: %+v, %v", b, in, err)
		case in.Active && (in.User == "" || in.Session != "" && in.ExpiresAt.IsZero()):
			t.Errorf("%q is read as %+v", b, in)
		}
	})
}
