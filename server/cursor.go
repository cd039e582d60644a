package server

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// cursors make and check the marks between the pages of a list. A cursor says after which item to go on, with a MAC over
// that, the list and its filters: what comes back is what was given, for the same list, and reaches a store only then.
type cursors struct{ keys [][]byte }

const (
	cursorLabel    = "handstamp/v1/cursor"
	cursorMACBytes = 16 // 128 bits; a forgery opens nothing but another page of the same list
	maxCursorBytes = 1024
)

func newCursors(secrets [][]byte) (cursors, error) {
	var c cursors
	for _, s := range secrets {
		key, err := hkdf.Key(sha256.New, s, nil, cursorLabel, sha256.Size)
		if err != nil {
			return cursors{}, fmt.Errorf("server: derive the key of cursors: %w", err)
		}
		c.keys = append(c.keys, key)
	}
	return c, nil
}

// mark makes the cursor after an item. of names the list and its filters.
func (c cursors) mark(after string, of ...string) *string {
	out := append(cursorMAC(c.keys[0], after, of), after...)
	text := base64.RawURLEncoding.EncodeToString(out)
	return &text
}

// open returns the item after which a page begins. An empty cursor is the first page. It answers false for anything that
// this server did not make for this list.
func (c cursors) open(cursor string, of ...string) (after string, ok bool) {
	if cursor == "" {
		return "", true
	}
	if len(cursor) > maxCursorBytes {
		return "", false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) < cursorMACBytes {
		return "", false
	}
	after = string(b[cursorMACBytes:])
	for _, key := range c.keys {
		if hmac.Equal(b[:cursorMACBytes], cursorMAC(key, after, of)) {
			return after, true
		}
	}
	return "", false
}

func cursorMAC(key []byte, after string, of []string) []byte {
	mac := hmac.New(sha256.New, key)
	for _, part := range append([]string{after}, of...) {
		mac.Write(fmt.Appendf(nil, "%d:%s", len(part), part)) // lengths, so that two lists of parts never run together alike
	}
	return mac.Sum(nil)[:cursorMACBytes]
}

// page is one request for a part of a list.
type page struct {
	limit  int
	cursor string
	of     []string
	after  string
}

// pageOf reads limit and cursor of a list that is named by of.
func (s *Server) pageOf(q *query, of ...string) page {
	p := page{limit: q.limit(), cursor: q.one("cursor"), of: of}
	var ok bool
	if p.after, ok = s.cursors.open(p.cursor, of...); !ok {
		q.bad("cursor", "is not one that this list gave")
	}
	return p
}

// ask is how many items to ask a store for: one more than the page holds says whether there is another page. At the
// largest page a full one is taken for that.
func (p page) ask() int { return min(p.limit+1, maxLimit) }

// turn cuts a list that was asked for to the page, and makes the cursor of the next one.
func turn[T any](s *Server, p page, list []T, id func(T) string) ([]T, *string) {
	more := len(list) > p.limit || p.limit == maxLimit && len(list) == maxLimit
	if len(list) > p.limit {
		list = list[:p.limit]
	}
	if !more || len(list) == 0 {
		return list, nil
	}
	return list, s.cursors.mark(id(list[len(list)-1]), p.of...)
}
