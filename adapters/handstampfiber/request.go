package handstampfiber

import (
	"bytes"
	"io"
	"net/http"
	"net/url"

	"github.com/gofiber/fiber/v3"
)

// requestKey is where Wrap keeps the request that a middleware passed on.
type requestKey struct{}

// request is the request of c as net/http has it. Every text in it is a copy: fasthttp uses its memory again for the next
// request, and a principal, a log line or a background task may outlive this one.
func request(c fiber.Ctx) (*http.Request, error) {
	if r := fiber.Locals[*http.Request](c, requestKey{}); r != nil && r.Method == c.Method() {
		return r.WithContext(c.Context()), nil
	}
	h := &c.Request().Header
	uri := string(h.RequestURI())
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return nil, fiber.ErrBadRequest
	}
	proto := string(h.Protocol())
	major, minor, ok := http.ParseHTTPVersion(proto)
	if !ok {
		return nil, fiber.ErrBadRequest
	}
	r := &http.Request{
		// The method that fiber routes by: if something before made a POST of a GET, the rules for a POST count.
		Method: string([]byte(c.Method())), URL: u, RequestURI: uri, Host: string(h.Host()),
		Proto: proto, ProtoMajor: major, ProtoMinor: minor, Header: header(c),
		RemoteAddr: c.RequestCtx().RemoteAddr().String(), TLS: c.RequestCtx().TLSConnectionState(),
	}
	if stream := c.Request().BodyStream(); stream != nil {
		r.Body, r.ContentLength = io.NopCloser(stream), int64(h.ContentLength())
		r.ContentLength = max(-1, r.ContentLength) // fasthttp has two numbers for "not known"
	} else {
		body := c.Request().Body()
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return r.WithContext(c.Context()), nil
}

// header has every header as often as it was sent. The host is not among them in net/http.
func header(c fiber.Ctx) http.Header {
	out, cookies := http.Header{}, false
	for k, v := range c.Request().Header.All() {
		switch key := http.CanonicalHeaderKey(string(k)); key {
		case "Host", "Transfer-Encoding":
		case "Cookie":
			cookies = true
			out.Add(key, string(v))
		default:
			out.Add(key, string(v))
		}
	}
	if !cookies {
		return out
	}
	// All has read the cookies once and written them again, leniently. What reads a protected cookie must see the bytes
	// that the client sent.
	var sent []string
	for k, v := range c.Request().Header.AllInOrder() {
		if http.CanonicalHeaderKey(string(k)) == "Cookie" {
			sent = append(sent, string(v))
		}
	}
	if len(sent) > 0 { // none: the request did not come over a wire
		out["Cookie"] = sent
	}
	return out
}
