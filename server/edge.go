package server

import (
	"crypto/rand"
	"errors"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
)

// maxBodyBytes is the largest body that is read. No request of the API needs more than a few hundred bytes.
const maxBodyBytes = 64 << 10

// checkPath changes nothing and is asked about requests of every method, so it is exempt from the origin rules for its own.
const checkPath = "/v1/check"

// serve is what every request goes through, from the outside in: an id, the net for panics, headers, the path, the
// origin rules, the limit on the body. Then the mux.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	began := s.opt.Now()
	rec := &recorder{ResponseWriter: w}
	req := r.WithContext(r.Context())
	req.Header = r.Header.Clone() // the caller's request stays as it is
	// Always our own id: one that a client chose could hide one request behind another in the logs.
	id := rand.Text()
	req.Header.Set("Request-Id", id)
	s.setHeaders(rec.Header(), id)
	defer s.finish(rec, req, began)
	if r.Body != nil {
		req.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	}
	s.noticeCut(r)
	if err := s.enter(rec, req); err != nil {
		s.fail(rec, req, err)
		return
	}
	s.mux.ServeHTTP(rec, req)
}

// setHeaders are the headers of every answer. Handlers of the few things that may be cached say so themselves.
func (s *Server) setHeaders(h http.Header, id string) {
	h.Set("Request-Id", id)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Add("Vary", "Origin")
	if s.secure {
		h.Set("Strict-Transport-Security", "max-age=31536000") // a year
	}
}

// enter decides whether a request may reach the mux at all, and cuts the prefix off its path.
func (s *Server) enter(w http.ResponseWriter, r *http.Request) error {
	if !s.cut(r) {
		return handstamp.ErrNotFound
	}
	s.allowOrigin(w.Header(), r)
	if r.URL.Path == checkPath || neverAnswered(r.Method) {
		return nil
	}
	return s.auth.CheckOrigin(r)
}

// neverAnswered are the methods that no path has, /v1/check among them: TRACE would show a script the headers that it must
// not see (RFC 9110 section 9.3.8), and CONNECT is for proxies.
func neverAnswered(method string) bool {
	return method == http.MethodTrace || method == http.MethodConnect
}

// cut takes the prefix off. A path that is not in its one plain form is not there: whoever guards paths in front of this
// server must not see another path than the one that is served. The parts of a path that are ids are the client's, and may
// be anything percent-encoded; [endpoint] looks at the others.
func (s *Server) cut(r *http.Request) bool {
	u := *r.URL
	escaped, ok := strings.CutPrefix(u.EscapedPath(), s.prefix)
	if !ok || !strings.HasPrefix(escaped, "/") || clean(escaped) != escaped {
		return false
	}
	plain, err := pathUnescape(escaped)
	if err != nil || climbs(escaped) {
		return false
	}
	u.Path, u.RawPath = plain, ""
	if u.EscapedPath() != escaped {
		u.RawPath = escaped
	}
	r.URL = &u
	return true
}

// climbs reports whether a part of a path holds a path of its own with . or .. in it: /v1/admin/users/..%2F..%2F.. is a user
// here, and somewhere else altogether to a proxy that decodes before it compares.
func climbs(escaped string) bool {
	for part := range strings.SplitSeq(escaped, "/") {
		plain, err := pathUnescape(part)
		if err != nil {
			return true
		}
		if !strings.Contains(plain, "/") {
			continue // an id that is .. stays below the path that ids of its kind are on
		}
		for one := range strings.SplitSeq(plain, "/") {
			if one == "." || one == ".." {
				return true
			}
		}
	}
	return false
}

func clean(p string) string {
	c := path.Clean(p)
	if c != "/" && strings.HasSuffix(p, "/") {
		return c + "/"
	}
	return c
}

// allowOrigin answers CORS for the origins that may call from a browser, with credentials: by name, never with *, and
// never for null.
func (s *Server) allowOrigin(h http.Header, r *http.Request) {
	origins := r.Header.Values("Origin")
	if len(origins) != 1 || !s.trusts(origins[0]) {
		return
	}
	h.Set("Access-Control-Allow-Origin", origins[0])
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", "Request-Id, Retry-After, WWW-Authenticate")
}

// trusts reports whether an origin, byte for byte as browsers write it, is one of those that were configured. The
// engine's own reading of them decides.
func (s *Server) trusts(origin string) bool {
	if origin == s.origin || strings.Count(origin, "/") != 2 || strings.ContainsAny(origin, "?#@") {
		return false
	}
	return s.auth.ReturnTo(origin+"/", "") == origin+"/"
}

// endpoint is one path with its methods.
type endpoint struct {
	pattern string
	fail    func(w http.ResponseWriter, r *http.Request, err error)
	any     handler // answers whatever method but those that are never answered, for /v1/check
	methods map[string]handler
	noHead  bool // GET does not answer HEAD
	allow   string
}

// ServeHTTP picks the method. GET answers HEAD too, unless it may answer without an end.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := e.answer(w, r); err != nil {
		e.fail(w, r, err)
	}
}

func (e *endpoint) answer(w http.ResponseWriter, r *http.Request) error {
	if !spelt(e.pattern, r.URL.EscapedPath()) {
		return handstamp.ErrNotFound
	}
	if e.any != nil && !neverAnswered(r.Method) {
		return e.any(w, r)
	}
	method := r.Method
	if method == http.MethodHead && !e.noHead {
		method = http.MethodGet
	}
	if h, ok := e.methods[method]; ok {
		return h(w, r)
	}
	w.Header().Set("Allow", e.allow)
	if method != http.MethodOptions {
		return errMethod
	}
	if w.Header().Get("Access-Control-Allow-Origin") != "" && r.Header.Get("Access-Control-Request-Method") != "" {
		w.Header().Set("Access-Control-Allow-Methods", e.allow)
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key")
		w.Header().Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// spelt reports whether the fixed parts of a pattern are in a path byte for byte. The mux decodes each part before it
// compares: it takes /v1/%61dmin/users for /v1/admin/users, and a proxy whose rule is about /v1/admin/ does not.
func spelt(pattern, escaped string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(escaped, "/")
	for i, part := range want {
		if !strings.HasPrefix(part, "{") && (i >= len(got) || got[i] != part) {
			return false
		}
	}
	return true
}

// finish counts the request, and turns a panic into an answer that says nothing about it.
func (s *Server) finish(w *recorder, r *http.Request, began time.Time) {
	v := recover()
	if cause, _ := v.(error); v != nil && !errors.Is(cause, http.ErrAbortHandler) {
		s.opt.Logger.ErrorContext(r.Context(), "a handler panicked", "request_id", r.Header.Get("Request-Id"),
			"route", r.Pattern, "panic", v, "stack", string(debug.Stack()))
		if w.status == 0 {
			s.deny(w, r, internalProblem(), nil)
			v = nil
		} else {
			v = http.ErrAbortHandler // half an answer must not look like a whole one
		}
	}
	took := s.opt.Now().Sub(began)
	if s.opt.OnRoute != nil && r.Pattern != "/" {
		s.opt.OnRoute(r.Context(), r.Pattern)
	}
	s.metrics.request(r.Pattern, r.Method, w.status)
	if !w.stream {
		s.metrics.took(r.Pattern, took)
	}
	s.opt.Logger.DebugContext(r.Context(), "request", "request_id", r.Header.Get("Request-Id"), "method", knownMethod(r.Method),
		"route", r.Pattern, "status", w.status, "took", took)
	if v != nil {
		panic(v)
	}
}

// recorder remembers which status was written. It changes nothing.
type recorder struct {
	http.ResponseWriter
	status int
	stream bool // how long it takes says nothing
}

// WriteHeader remembers the status and passes it on.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write passes on.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the writer behind.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// FlushError passes on. It is an error that is http.ErrNotSupported, with nothing written yet, where what stands between
// here and the connection cannot do it.
func (r *recorder) FlushError() error {
	err := http.NewResponseController(r.ResponseWriter).Flush()
	if r.status == 0 && !errors.Is(err, http.ErrNotSupported) {
		r.status = http.StatusOK
	}
	return err
}
