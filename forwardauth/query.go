package forwardauth

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/permission"
)

// question is what a proxy wants to know.
type question struct {
	rules    []handstamp.Rule
	redirect bool
}

// parse reads the query strictly: a mistyped permission must not open the door.
func parse(raw string) (question, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return question{}, &queryError{"The query cannot be read."}
	}
	var q question
	for name, v := range values {
		if name != "permission" && len(v) > 1 {
			return question{}, &queryError{"A query parameter is there twice."}
		}
		switch name {
		case "permission":
			for _, p := range v {
				if permission.CheckAsked(p) != nil {
					return question{}, &queryError{"A permission is resource:action or a dotted name, and no pattern."}
				}
				q.rules = append(q.rules, handstamp.Permission(p))
			}
		case "max_age":
			n, err := strconv.ParseUint(v[0], 10, 31)
			if err != nil {
				return question{}, &queryError{"max_age is a number of seconds."}
			}
			q.rules = append(q.rules, handstamp.MaxAuthAge(time.Duration(n)*time.Second))
		case "fresh":
			if v[0] != "true" {
				return question{}, &queryError{"fresh can only be true."}
			}
			q.rules = append(q.rules, handstamp.Fresh())
		case "login":
			if v[0] != "redirect" {
				return question{}, &queryError{"login can only be redirect."}
			}
			q.redirect = true
		default:
			return question{}, &queryError{"The query has a parameter that is not known: known are permission, max_age, fresh and login."}
		}
	}
	return q, nil
}

// navigation reports whether the request that a proxy asks about loads a page. What a proxy says of the method is believed
// here of anybody: it decides between two ways of saying no. A proxy sets one of the headers and may pass the other on from
// the client, so all of them must say so.
func navigation(r *http.Request) bool {
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method"} {
		for _, m := range r.Header.Values(name) {
			if m != "" && m != http.MethodGet {
				return false
			}
		}
	}
	return handstamp.IsNavigation(r)
}

// original is where the browser wanted to go, if that is a place of this application: ReturnTo decides, so a made-up header
// sends nobody anywhere else. Empty if nothing says so.
func (h *Handler) original(r *http.Request) string {
	if !h.auth.FromTrustedProxy(r) {
		return "" // anybody can write these headers
	}
	target := r.Header.Get("X-Original-URL")
	if host := r.Header.Get("X-Forwarded-Host"); host != "" {
		scheme := h.login.Scheme
		if proto := r.Header.Get("X-Forwarded-Proto"); proto != "" {
			scheme = proto
		}
		target = scheme + "://" + host + "/" + strings.TrimPrefix(r.Header.Get("X-Forwarded-Uri"), "/")
	}
	return h.auth.ReturnTo(target, "")
}

func (h *Handler) loginURL(returnTo string) string {
	u := *h.login
	if returnTo == "" {
		return u.String()
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += "return_to=" + url.QueryEscape(returnTo)
	return u.String()
}
