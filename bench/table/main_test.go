package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	var in strings.Builder
	for run, scs := range []float64{1000, 3000, 2000} {
		for i, s := range subjects() {
			fmt.Fprintf(&in, "BenchmarkRequest/memory/others=10/%s/check/parallel-2 \t 500\t %.1f ns/op\t 12 B/op\n", s, scs*float64(i+1))
		}
		fmt.Fprintf(&in, "ok %d\n", run)
	}
	var out strings.Builder
	if err := table(strings.NewReader(in.String()), &out); err != nil {
		t.Fatal(err)
	}
	want := "| memory | 10 | check | parallel | 2 µs (1.00) | 4 µs (2.00) | 6 µs (3.00) | 8 µs (4.00) | 10 µs (5.00) |\n"
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	missing := strings.Replace(in.String(), "value-HS256", "else", 1)
	for _, bad := range []string{"", "ok", missing} {
		if err := table(strings.NewReader(bad), &out); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}
