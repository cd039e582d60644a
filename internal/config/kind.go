package config

import (
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// form is how a value is spelled: in the environment and on the command line it
// is always one text, in the file it may be an array or a table.
type form int

const (
	formText  form = iota + 1 // one text; lists are separated by commas
	formItems                 // an array of texts
	formPairs                 // a table of texts
)

// value is what one source says for one key.
type value struct {
	form  form
	text  string
	items []string
	pairs map[string]string

	origin Origin
	where  string // place for a mistake
}

// list returns the items of a list: an array as it is, a text cut at commas with
// the white space around each item removed.
func (v value) list() []string {
	if v.form == formItems {
		return v.items
	}
	var items []string
	for item := range strings.SplitSeq(v.text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// accept is the set of TOML types that a kind takes.
type accept struct{ integer, float, boolean, array, table bool }

// kind reads, checks and writes the value of a key.
type kind struct {
	name     string // "duration", for the help text
	limits   string // "500ms to 30s", "strict, lax or none"; may be empty
	accept   accept // TOML types besides a string
	verbatim bool   // control characters and white space belong to the value
	set      func(*Config, value) problems
	show     func(*Config) string
	clear    func(*Config) // gives the field the value that means none
}

// scalar makes a kind of one text from a parser and a printer.
func scalar[T any](field func(*Config) *T, parse func(string) (T, problems), show func(T) string) kind {
	return kind{
		set: func(c *Config, v value) problems {
			parsed, bad := parse(v.text)
			if len(bad) == 0 {
				*field(c) = parsed
			}
			return bad
		},
		show:  func(c *Config) string { return show(*field(c)) },
		clear: func(c *Config) { *field(c) = *new(T) },
	}
}

func same(s string) string { return s }

func text(field func(*Config) *string, parse func(string) (string, problems)) kind {
	k := scalar(field, parse, same)
	k.name = "text"
	return k
}

func boolean(field func(*Config) *bool) kind {
	k := scalar(field, func(s string) (bool, problems) {
		switch s {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return false, problems{"must be true or false"}
	}, strconv.FormatBool)
	k.name, k.limits, k.accept = "bool", "true or false", accept{boolean: true}
	return k
}

type integer interface{ ~int | ~uint8 | ~uint32 }

func number[T integer](field func(*Config) *T, low, high int64) kind {
	limits := count(low) + " to " + count(high)
	k := scalar(field, func(s string) (T, problems) {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < low || n > high {
			return 0, problems{"must be a whole number from " + limits}
		}
		return T(n), nil
	}, func(n T) string { return strconv.FormatInt(int64(n), 10) })
	k.name, k.limits, k.accept = "int", limits, accept{integer: true}
	return k
}

// count writes n with a comma before each three digits.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// duration takes Go's syntax from low to high; a high of 0 is no limit.
func duration(field func(*Config) *time.Duration, low, high time.Duration) kind {
	limits := "at least " + showDuration(low)
	if high > 0 {
		limits = showDuration(low) + " to " + showDuration(high)
	}
	k := scalar(field, func(s string) (time.Duration, problems) {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, problems{"must be a duration with a unit, such as 30s, 10m or 24h (" + limits + ")"}
		}
		if d < low || high > 0 && d > high {
			return 0, problems{"is out of range: write a duration of " + limits}
		}
		return d, nil
	}, showDuration)
	k.name, k.limits = "duration", limits
	return k
}

// showDuration writes d in Go's syntax without parts that are zero: 24h, not
// 24h0m0s.
func showDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ratio takes a share: a decimal number from 0 to 1.
func ratio(field func(*Config) *float64) kind {
	k := scalar(field, func(s string) (float64, problems) {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f >= 0 && f <= 1) || strings.HasPrefix(s, "-") || strings.ContainsAny(s, "xXpP_") { // NaN is no share either
			return 0, problems{"must be a number from 0 to 1, such as 0.01"}
		}
		return f, nil
	}, func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) })
	k.name, k.limits, k.accept = "number", "0 to 1", accept{integer: true, float: true}
	return k
}

// byteUnits are the units of sizes, largest first, so that a size is written
// with the largest unit that divides it.
func byteUnits() []struct {
	suffix string
	bytes  int64
} {
	return []struct {
		suffix string
		bytes  int64
	}{
		{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}, {"", 1},
	}
}

func byteSize(field func(*Config) *int64, low, high int64) kind {
	limits := showBytes(low) + " to " + showBytes(high)
	k := scalar(field, func(s string) (int64, problems) {
		for _, u := range byteUnits() {
			digits, found := strings.CutSuffix(s, u.suffix)
			if !found {
				continue
			}
			n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
			if err != nil {
				break
			}
			if n < 0 || n > high/u.bytes || n*u.bytes < low {
				return 0, problems{"is out of range: write a size of " + limits}
			}
			return n * u.bytes, nil
		}
		return 0, problems{"must be a size with a unit, such as 64MiB or 1GiB (" + limits + ")"}
	}, showBytes)
	k.name, k.limits, k.accept = "size", limits, accept{integer: true}
	return k
}

func showBytes(n int64) string {
	for _, u := range byteUnits() {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return "0B"
}

// or joins texts as "a, b or c".
func or[T ~string](texts []T) string {
	var b strings.Builder
	for i, t := range texts {
		switch {
		case i > 0 && i == len(texts)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(t))
	}
	return b.String()
}

func choice[T ~string](field func(*Config) *T, options ...T) kind {
	k := scalar(field, func(s string) (T, problems) {
		if !slices.Contains(options, T(s)) {
			return "", problems{"must be " + or(options)}
		}
		return T(s), nil
	}, func(t T) string { return string(t) })
	k.name, k.limits = "text", or(options)
	return k
}

func level(field func(*Config) *slog.Level) kind {
	options := []string{"debug", "info", "warn", "error"}
	k := scalar(field, func(s string) (slog.Level, problems) {
		var l slog.Level
		if !slices.Contains(options, s) || l.UnmarshalText([]byte(s)) != nil {
			return 0, problems{"must be " + or(options)}
		}
		return l, nil
	}, func(l slog.Level) string { return strings.ToLower(l.String()) })
	k.name, k.limits = "text", or(options)
	return k
}

// list makes a kind of many texts; parse sees one item. An item that comes twice
// is a mistake, since it is most likely a slip for another one.
func list[T any](field func(*Config) *[]T, parse func(string) (T, problems), show func(T) string) kind {
	return kind{
		name: "list", accept: accept{array: true},
		set: func(c *Config, v value) problems {
			var all []T
			var bad problems
			seen := map[string]bool{}
			for i, item := range v.list() {
				parsed, wrong := parse(item)
				for _, w := range wrong {
					bad = append(bad, "item "+strconv.Itoa(i+1)+" "+w)
				}
				if len(wrong) == 0 && seen[show(parsed)] {
					bad = append(bad, "item "+strconv.Itoa(i+1)+" is given twice: remove it")
				}
				if len(wrong) == 0 {
					seen[show(parsed)] = true
					all = append(all, parsed)
				}
			}
			if len(bad) == 0 {
				*field(c) = all
			}
			return bad
		},
		show: func(c *Config) string {
			var texts []string
			for _, item := range *field(c) {
				texts = append(texts, show(item))
			}
			return strings.Join(texts, ",")
		},
		clear: func(c *Config) { *field(c) = nil },
	}
}

func choices[T ~string](field func(*Config) *[]T, options ...T) kind {
	k := list(field, func(s string) (T, problems) {
		if !slices.Contains(options, T(s)) {
			return "", problems{"must be " + or(options)}
		}
		return T(s), nil
	}, func(t T) string { return string(t) })
	k.limits = "of " + or(options)
	inner := k.set
	k.set = func(c *Config, v value) problems {
		if len(v.list()) == 0 {
			return problems{"is empty: name at least one of " + or(options)}
		}
		return inner(c, v)
	}
	return k
}

func prefixes(field func(*Config) *[]netip.Prefix) kind {
	return list(field, parsePrefix, netip.Prefix.String)
}

func backend(field func(*Config) *Backend, parse func(string) (Backend, problems)) kind {
	k := scalar(field, parse, Backend.String)
	k.name = "text"
	return k
}

func webURL(field func(*Config) **url.URL) kind {
	k := scalar(field, parseWebURL, func(u *url.URL) string {
		if u == nil {
			return ""
		}
		return u.String()
	})
	k.name, k.limits = "url", "http or https, a path but no query"
	return k
}
