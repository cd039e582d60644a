// Command table reads what go test -bench printed, several runs one after the other, and prints a Markdown table: the
// median time of each row, and how many times the time of scs in the same run that is, as a median of the runs.
package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The subjects, in the order of the columns; the first is what the others are compared with.
func subjects() []string {
	return []string{"scs", "scs-idle", "reference", "value-HS256", "value-ES256"}
}

func main() {
	if err := table(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// result is the times of one subject in one row, in nanoseconds, one for each run.
type result map[string][]float64

func table(r io.Reader, w io.Writer) error {
	rows, order, err := read(r)
	if err != nil {
		return err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "| store | other values | request | | %s |\n", strings.Join(subjects(), " | "))
	fmt.Fprintf(&out, "|%s\n", strings.Repeat("---|", 4+len(subjects())))
	for _, name := range order {
		cells := strings.Split(name, "/")
		base := rows[name][subjects()[0]]
		for _, s := range subjects() {
			times := rows[name][s]
			if len(times) != len(base) {
				return fmt.Errorf("%s: %d runs of %s, %d of %s", name, len(times), s, len(base), subjects()[0])
			}
			ratios := make([]float64, len(times))
			for i := range times {
				ratios[i] = times[i] / base[i]
			}
			cells = append(cells, fmt.Sprintf("%.3g µs (%.2f)", median(times)/1000, median(ratios)))
		}
		fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
	}
	_, err = io.WriteString(w, out.String())
	return err
}

// read returns the times by row and subject, and the rows in the order in which they were printed.
func read(r io.Reader) (rows map[string]result, order []string, err error) {
	line := regexp.MustCompile(`^BenchmarkRequest/(\w+)/others=(\d+)/([\w-]+?)/(\w+)/(\w+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op`)
	rows = map[string]result{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		m := line.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		ns, err := strconv.ParseFloat(m[6], 64)
		if err != nil {
			return nil, nil, err
		}
		name := strings.Join([]string{m[1], m[2], m[4], m[5]}, "/")
		if rows[name] == nil {
			rows[name], order = result{}, append(order, name)
		}
		rows[name][m[3]] = append(rows[name][m[3]], ns)
	}
	if len(order) == 0 {
		return nil, nil, errors.Join(errors.New("no results of BenchmarkRequest"), lines.Err())
	}
	return rows, order, lines.Err()
}

func median(v []float64) float64 {
	v = slices.SortedFunc(slices.Values(v), cmp.Compare)
	if len(v) == 0 {
		return 0
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
