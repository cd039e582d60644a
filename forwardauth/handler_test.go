package forwardauth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/forwardauth"
)

// answers is an Auth that says what it is told to, and notes what it was asked.
type answers struct {
	who       handstamp.Principal
	err       error
	forwarded error
	checks    int
	rules     int
}

func (a *answers) Check(_ *http.Request, rules ...handstamp.Rule) (handstamp.Principal, error) {
	a.checks++
	a.rules = len(rules)
	return a.who, a.err
}

func (a *answers) CheckForwarded(*http.Request) error { return a.forwarded }

func (a *answers) FromTrustedProxy(r *http.Request) bool { return r.Header.Get("X-Untrusted") == "" }

func (a *answers) ReturnTo(target, fallback string) string {
	if strings.HasPrefix(target, "https://app.example/") {
		return target
	}
	return fallback
}

func ask(t *testing.T, a *answers, opt forwardauth.Options, method, target string, headers ...string) *http.Response {
	t.Helper()
	h, err := forwardauth.New(a, opt)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func denied(r handstamp.Reason) error { return &handstamp.DeniedError{Reason: r, Check: "test"} }

// TestThreeAnswers: every error has its status, and none of them is 200, whatever the question.
func TestThreeAnswers(t *testing.T) {
	for _, c := range []struct {
		name      string
		err       error
		forwarded error
		want      int
	}{
		{"no credential", denied(handstamp.ReasonMissing), nil, 401},
		{"revoked", denied(handstamp.ReasonRevoked), nil, 401},
		{"two cookies: a proxy makes 500 of 400", denied(handstamp.ReasonDuplicate), nil, 401},
		{"no permission", denied(handstamp.ReasonForbidden), nil, 403},
		{"an old login", denied(handstamp.ReasonStepUp), nil, 403},
		{"another origin", nil, handstamp.ErrOrigin, 403},
		{"could not find out", errors.New("dial tcp db.internal:5432"), nil, 503},
		{"could not find out about the origin", nil, errors.New("dial tcp db.internal:5432"), 503},
	} {
		for _, query := range []string{"", "?permission=a:b&max_age=60&fresh=true"} {
			for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS", "QUERY"} {
				a := ask(t, &answers{err: c.err, forwarded: c.forwarded, who: handstamp.Principal{User: "42"}}, forwardauth.Options{}, method, "/"+query)
				if a.StatusCode != c.want || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Handstamp-User") != "" || len(a.Cookies()) != 0 {
					t.Errorf("%s, %s %q = %d %v, want %d and nothing about anybody", c.name, method, query, a.StatusCode, a.Header, c.want)
				}
			}
		}
	}
}

// TestStrictQuestion: what cannot be read is asked of nobody.
func TestStrictQuestion(t *testing.T) {
	for _, query := range []string{"permision=a:b", "permission=a:*", "permission=", "fresh=1", "max_age=-1", "max_age=1&max_age=2", "login=yes", "a=b;c=d", "%zz"} {
		fake := &answers{who: handstamp.Principal{User: "42"}}
		if a := ask(t, fake, forwardauth.Options{}, "GET", "/?"+query); a.StatusCode != 400 || fake.checks != 0 {
			t.Errorf("?%s = %d after %d checks, want 400 and none", query, a.StatusCode, fake.checks)
		}
	}
	fake := &answers{who: handstamp.Principal{User: "42"}}
	if a := ask(t, fake, forwardauth.Options{}, "GET", "/?permission=a:b&permission=c:d&max_age=1&fresh=true"); a.StatusCode != 200 || fake.rules != 4 {
		t.Errorf("four rules = %d with %d rules", a.StatusCode, fake.rules)
	}
}

func TestRedirect(t *testing.T) {
	const page = "text/html,application/xhtml+xml"
	opt := forwardauth.Options{LoginURL: "https://login.example.com/login?lang=en"}
	for _, c := range []struct {
		name    string
		opt     forwardauth.Options
		err     error
		query   string
		headers []string
		want    string
	}{
		{"a page", opt, denied(handstamp.ReasonMissing), "?login=redirect", nil, "https://login.example.com/login?lang=en"},
		{"with a place to return to", opt, denied(handstamp.ReasonExpired), "?login=redirect",
			[]string{"X-Forwarded-Host", "app.example", "X-Forwarded-Uri", "/a?b=c"}, "https://login.example.com/login?lang=en&return_to=https%3A%2F%2Fapp.example%2Fa%3Fb%3Dc"},
		{"a place that is not ours", opt, denied(handstamp.ReasonExpired), "?login=redirect",
			[]string{"X-Forwarded-Host", "evil.example"}, "https://login.example.com/login?lang=en"},
		{"step-up", opt, denied(handstamp.ReasonStepUp), "?login=redirect", nil, "https://login.example.com/login?lang=en"},
		{"not asked for", opt, denied(handstamp.ReasonMissing), "", nil, ""},
		{"a script", opt, denied(handstamp.ReasonMissing), "?login=redirect", []string{"Sec-Fetch-Mode", "cors"}, ""},
		{"an unsafe request", opt, denied(handstamp.ReasonMissing), "?login=redirect", []string{"X-Forwarded-Method", "POST"}, ""},
		{"no permission: logging in would not help", opt, denied(handstamp.ReasonForbidden), "?login=redirect", nil, ""},
		{"could not find out", opt, errors.New("down"), "?login=redirect", nil, ""},
		{"nowhere to send anybody", forwardauth.Options{}, denied(handstamp.ReasonMissing), "?login=redirect", nil, ""},
	} {
		a := ask(t, &answers{err: c.err}, c.opt, "GET", "/"+c.query, append([]string{"Accept", page}, c.headers...)...)
		if got := a.Header.Get("Location"); got != c.want || (a.StatusCode == 302) != (c.want != "") {
			t.Errorf("%s = %d to %q, want %q", c.name, a.StatusCode, got, c.want)
		}
	}
}

func TestOnDenied(t *testing.T) {
	called := 0
	opt := forwardauth.Options{OnDenied: func(w http.ResponseWriter, _ *http.Request, p handstamp.Problem, err error) {
		called++
		if reason, _ := handstamp.ReasonOf(err); reason != handstamp.ReasonRevoked || p.Code != "revoked" {
			t.Errorf("OnDenied with %v and %v", p, err)
		}
		w.WriteHeader(p.Status)
	}}
	if a := ask(t, &answers{err: denied(handstamp.ReasonRevoked)}, opt, "GET", "/"); a.StatusCode != 401 || called != 1 {
		t.Errorf("an own answer = %d, called %d times", a.StatusCode, called)
	}
}

// TestNewRefuses: one name for two headers would let an address that somebody chose stand where an id is expected.
func TestNewRefuses(t *testing.T) {
	for name, opt := range map[string]forwardauth.Options{
		"unknown header":       {Headers: map[string]string{"Handstamp-Nothing": "X"}},
		"underscore":           {Headers: map[string]string{"Handstamp-User": "Remote_User"}},
		"empty":                {Headers: map[string]string{"Handstamp-User": ""}},
		"line break":           {Headers: map[string]string{"Handstamp-User": "a\r\nb"}},
		"one name for two":     {Headers: map[string]string{"Handstamp-User": "Remote-User", "Handstamp-Email": "remote-user"}},
		"the name of another":  {Headers: map[string]string{"Handstamp-Email": "handstamp-user"}},
		"a path as login page": {LoginURL: "/login"},
		"a script":             {LoginURL: "javascript:alert(1)"},
	} {
		if _, err := forwardauth.New(&answers{}, opt); err == nil {
			t.Errorf("New with %s = nil, want an error", name)
		}
	}
	if _, err := forwardauth.New(nil, forwardauth.Options{}); err == nil {
		t.Error("New without an Auth = nil, want an error")
	}
	swapped := forwardauth.Options{Headers: map[string]string{"Handstamp-User": "Handstamp-Session", "Handstamp-Session": "Handstamp-User"}}
	if _, err := forwardauth.New(&answers{}, swapped); err != nil {
		t.Errorf("New with two names swapped = %v", err)
	}
}
