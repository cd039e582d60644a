package server

import (
	"net/http"
	"strings"

	"github.com/handstamp/handstamp"
)

// wantsPage reports whether a refusal is for a person to read: a browser loads a page or sends a form. Programs and scripts
// get problem+json everywhere, and the API answers nothing else.
func wantsPage(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		return false
	}
	for _, api := range []string{"/v1/", "/.well-known/", "/healthz", "/openapi.json"} {
		if strings.HasPrefix(r.URL.Path, api) {
			return false
		}
	}
	mode := r.Header.Get("Sec-Fetch-Mode")
	return (mode == "" || mode == "navigate") && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// problemPage writes a refusal as a page, with the status and the headers of the problem. It touches no cookie.
func (s *Server) problemPage(w http.ResponseWriter, p handstamp.Problem) error {
	v := problemView(p)
	setProblemHeaders(w, p)
	return s.page(w, p.Status, "problem.html", v)
}

// problemView says what a refusal means, and what to do. Nothing of it comes from the request.
func problemView(p handstamp.Problem) view {
	v := view{Title: p.Title, Error: p.Detail, Advice: "Go back and try again.", Link: "/", LinkText: "Start page"}
	switch {
	case p.Status == http.StatusUnauthorized:
		v.Title, v.Error, v.Advice = "You are not signed in", "This needs somebody who is signed in.", "Sign in, then try again."
		v.Link, v.LinkText = "/login", "Sign in"
	case p.Code == "cross_origin":
		v.Title, v.Error = "This form is out of date", "It was open for too long, or it came from another site. Nothing was changed."
		v.Advice = "Open the page again and repeat what you did."
	case p.Status == http.StatusForbidden:
		v.Title, v.Advice = "You may not do this", "If you should be able to, ask whoever runs this service."
	case p.Status == http.StatusNotFound:
		v.Title, v.Error, v.Advice = "There is no such page", "The address may be mistyped, or the page is gone.", "Check the address, or begin at the start page."
	case p.Status == http.StatusServiceUnavailable:
		v.Title, v.Error = "Please try again in a moment", "The service cannot answer right now. Nothing was changed, and nobody was signed out."
		v.Advice = "Wait a few seconds, then load the page again."
	case p.Status == http.StatusInternalServerError:
		v.Title, v.Error = "Something went wrong here", "This is a mistake of this service, and not yours."
	}
	return v
}

// setProblemHeaders sets what a problem says in headers: when to ask again, and how to prove who one is.
func setProblemHeaders(w http.ResponseWriter, p handstamp.Problem) { p.Write(headersOnly{w.Header()}) }

// headersOnly is a response of which the headers are kept.
type headersOnly struct{ header http.Header }

// Header returns the headers.
func (h headersOnly) Header() http.Header { return h.header }

// Write drops the body.
func (headersOnly) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader drops the status.
func (headersOnly) WriteHeader(int) {}
