// Command commongen makes the filter of common passwords from a list with one entry per line, the password
// being the first word. It writes the same bytes for the same list. It is run by go generate in package
// password and is no part of the product.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"

	"github.com/handstamp/handstamp/login/password/internal/blocklist"
)

func main() {
	list := flag.String("list", "", "file with one entry per line; the first word is the password")
	out := flag.String("out", "", "file to write")
	flag.Parse()
	if err := run(*list, *out); err != nil {
		fmt.Fprintln(os.Stderr, "commongen:", err)
		os.Exit(1)
	}
}

func run(list, out string) error {
	data, err := os.ReadFile(list)
	if err != nil {
		return fmt.Errorf("read list: %w", err)
	}
	var entries []string
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if word, _, _ := bytes.Cut(lines.Bytes(), []byte(" ")); len(word) > 0 {
			entries = append(entries, string(word))
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read list: %w", err)
	}
	filter, err := blocklist.Build(entries)
	if err != nil {
		return err
	}
	//nolint:gosec // a public file of the repository
	if err := os.WriteFile(out, filter, 0o644); err != nil {
		return fmt.Errorf("write filter: %w", err)
	}
	return nil
}
