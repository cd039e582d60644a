package handstampfiber

import (
	"net/http"

	"github.com/gofiber/fiber/v3"
)

// answer writes to the answer of a fiber.Ctx. Its headers begin as those that c has, so that Add and Del mean what they
// mean in net/http, and go back to c with the status, or in the end.
type answer struct {
	c      fiber.Ctx
	header http.Header
	before []string // the headers that c had
	wrote  bool
	handed bool
}

func newAnswer(c fiber.Ctx) *answer {
	a := &answer{c: c, header: http.Header{}}
	for k, v := range c.Response().Header.All() {
		key := http.CanonicalHeaderKey(string(k))
		if own(key) {
			continue
		}
		if a.header[key] == nil {
			a.before = append(a.before, key)
		}
		a.header.Add(key, string(v))
	}
	return a
}

// own reports the headers that fasthttp keeps apart from the others: c's stay, and what is written here comes on top.
func own(key string) bool {
	switch key {
	case "Content-Type", "Content-Length", "Connection", "Date", "Server", "Set-Cookie", "Transfer-Encoding", "Trailer":
		return true
	}
	return false
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter. Provisional answers (1xx) are not sent.
func (a *answer) WriteHeader(status int) {
	if a.wrote || status < http.StatusOK {
		return
	}
	a.wrote = true
	a.handOver()
	a.c.Status(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	if a.header["Content-Type"] == nil && len(a.c.Response().Body()) == 0 {
		a.c.Response().Header.SetContentType(http.DetectContentType(b))
	}
	return a.c.Response().BodyWriter().Write(b)
}

// handOver gives the headers to c, once.
func (a *answer) handOver() {
	if a.handed {
		return
	}
	a.handed = true
	h := &a.c.Response().Header
	for _, key := range a.before {
		h.Del(key)
	}
	for key, values := range a.header {
		if key == "Content-Length" {
			continue // fasthttp counts
		}
		for _, v := range values {
			h.Add(key, v)
		}
	}
}
