package fault

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// resp is a connection that speaks RESP2, just enough to steer a server in a test.
type resp struct {
	conn net.Conn
	in   *bufio.Reader
}

// respError is an error that the server answered.
type respError string

func (e respError) Error() string { return string(e) }

func dialResp(addr string, ca *CA) (*resp, error) {
	d := &net.Dialer{Timeout: 5 * time.Second}
	var conn net.Conn
	var err error
	if ca == nil {
		conn, err = d.Dial("tcp", addr)
	} else {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca.PEM)
		conn, err = tls.DialWithDialer(d, "tcp", addr, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}) //nolint:noctx // bounded by the dialer
	}
	if err != nil {
		return nil, err
	}
	return &resp{conn: conn, in: bufio.NewReader(conn)}, nil
}

// do sends one command and reads its answer: a string, an int64, nil or a list of these.
func (r *resp) do(args ...string) (any, error) {
	if err := r.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(r.conn, b.String()); err != nil {
		return nil, err
	}
	return r.read()
}

func (r *resp) read() (any, error) {
	line, err := r.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("an empty line")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, respError(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil //nolint:nilnil // the protocol's null
	case kind == '$':
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r.in, b); err != nil {
			return nil, err
		}
		return string(b[:n]), nil
	case kind == '*':
		all := make([]any, n)
		for i := range all {
			if all[i], err = r.read(); err != nil {
				return nil, err
			}
		}
		return all, nil
	}
	return nil, fmt.Errorf("an answer of kind %q", kind)
}

func (r *resp) close() { _ = r.conn.Close() }
