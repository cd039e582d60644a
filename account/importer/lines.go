package importer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// maxLineBytes is the longest line that is read, without its end.
const maxLineBytes = 64 << 10

// What is wrong with a line before anybody looks into it. The texts are shown.
var (
	errLong    = errors.New("the line is longer than 64 KiB: nothing in an account is, so a line end may be missing")
	errNotText = errors.New("the line is not valid UTF-8: convert the file first")
	errNUL     = errors.New("the line holds a NUL character")
)

func isProblem(err error) bool {
	return errors.Is(err, errLong) || errors.Is(err, errNotText) || errors.Is(err, errNUL)
}

// line is one line without its end.
type line struct {
	number int
	text   string
}

func (l line) blank() bool { return strings.Trim(l.text, " \t") == "" }

// lines reads lines of bounded length: the rest of one that is too long is skipped, not kept.
type lines struct {
	r      *bufio.Reader
	number int
	bytes  int64
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, maxLineBytes+2)} } // and "\r\n"

func (s *lines) progress() Progress { return Progress{Lines: s.number, Bytes: s.bytes} }

// next returns the next line. io.EOF is the end; isProblem tells the errors apart that are about this line only.
func (s *lines) next() (line, error) {
	raw, err := s.r.ReadSlice('\n')
	s.bytes += int64(len(raw))
	if len(raw) == 0 && err != nil {
		return line{number: s.number + 1}, err
	}
	s.number++
	l := line{number: s.number}
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return l, s.skip()
	case err != nil && !errors.Is(err, io.EOF): // EOF: the last line has no end, and the next call says so again
		return l, err
	}
	if s.number == 1 {
		raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	}
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	raw = bytes.TrimSuffix(raw, []byte("\r"))
	switch {
	case len(raw) > maxLineBytes:
		return l, errLong
	case !utf8.Valid(raw):
		return l, errNotText
	case bytes.IndexByte(raw, 0) >= 0:
		return l, errNUL
	}
	l.text = string(raw)
	return l, nil
}

// skip reads to the end of a line that is too long.
func (s *lines) skip() error {
	for {
		raw, err := s.r.ReadSlice('\n')
		s.bytes += int64(len(raw))
		switch {
		case err == nil || errors.Is(err, io.EOF):
			return errLong
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}
