package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
)

// Whoever gives standard input may be a person or a program that waits. The program takes signals itself, and a read
// does not end by them: every read of standard input is one of these, which do.

// interruptible is a reader that ends with ctx, also while nothing comes. Close ends it before, but for the read that is
// under way.
func interruptible(ctx context.Context, r io.Reader) *io.PipeReader {
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, r)
		_ = in.CloseWithError(err) // nil is the end of the file
	}()
	context.AfterFunc(ctx, func() { _ = in.CloseWithError(context.Cause(ctx)) })
	return out
}

// readAll reads at most limit bytes.
func readAll(ctx context.Context, r io.Reader, limit int64) ([]byte, error) {
	text := interruptible(ctx, r)
	defer func() { _ = text.Close() }()
	return io.ReadAll(io.LimitReader(text, limit))
}

// readLine reads one line of at most limit bytes, without its end.
func readLine(ctx context.Context, r io.Reader, limit int64) (string, error) {
	b, err := readAll(ctx, r, limit+1)
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	if int64(len(b)) > limit {
		return "", usage("standard input is longer than %d bytes", limit)
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if strings.ContainsAny(line, "\n") {
		return "", usage("standard input holds more than one line: give exactly one")
	}
	return line, nil
}

// maxReply is the longest answer to a question that is read.
const maxReply = 1024

// confirm asks a person before something that cannot be undone. A program that reads no terminal is not asked.
func (a *app) confirm(ctx context.Context, yes bool, question string) error {
	if yes || !isTerminal(a.stdin) {
		return nil
	}
	_, _ = fmt.Fprintf(a.stderr, "%s Type yes to go on: ", oneLine(question))
	text := interruptible(ctx, a.stdin)
	defer func() { _ = text.Close() }()
	answer, _ := bufio.NewReader(io.LimitReader(text, maxReply)).ReadString('\n')
	if ctx.Err() != nil {
		_, _ = fmt.Fprintln(a.stderr) // the cursor stands behind the question
		return fmt.Errorf("ask before going on: %w", context.Cause(ctx))
	}
	if strings.TrimSpace(answer) != "yes" {
		return fmt.Errorf("nothing was done: the answer was not yes")
	}
	return nil
}
