package deploy_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// yamlDocuments reads the part of YAML that the files here are written in, and refuses the rest: block maps and lists,
// lists in brackets, plain and quoted texts on one line, comments. A file that this takes means the same to every reader
// of YAML; what readers differ about (anchors, tags, folded texts, yes and no for booleans) is not there. Values are
// strings, int64, bool, nil, []any and map[string]any.
func yamlDocuments(text string) ([]any, error) {
	var docs []any
	var r yamlReader
	flush := func() error {
		if len(r.lines) == 0 {
			return nil
		}
		v, err := r.value(r.lines[0].indent)
		if err == nil && r.at < len(r.lines) {
			err = r.errorf("is indented as nothing above it")
		}
		docs, r = append(docs, v), yamlReader{}
		return err
	}
	for n, line := range strings.Split(text, "\n") {
		if line == "---" {
			if err := flush(); err != nil {
				return nil, err
			}
			continue
		}
		content := strings.TrimLeft(line, " ")
		if strings.ContainsRune(line, '\t') || strings.HasSuffix(line, " ") {
			return nil, fmt.Errorf("line %d: a tab, or a space at its end", n+1)
		}
		if content == "" || content[0] == '#' {
			continue
		}
		r.lines = append(r.lines, yamlLine{n + 1, len(line) - len(content), content})
	}
	return docs, flush()
}

type yamlLine struct {
	number, indent int
	text           string
}

type yamlReader struct {
	lines []yamlLine
	at    int
}

func (r *yamlReader) errorf(format string, args ...any) error {
	n := r.lines[min(r.at, len(r.lines)-1)].number
	return fmt.Errorf("line %d: %s", n, fmt.Sprintf(format, args...))
}

// value reads what stands at an indent: a list, or a map.
func (r *yamlReader) value(indent int) (any, error) {
	if r.at >= len(r.lines) || r.lines[r.at].indent != indent {
		return nil, r.errorf("want something indented by %d", indent)
	}
	if t := r.lines[r.at].text; t == "-" || strings.HasPrefix(t, "- ") {
		return r.list(indent)
	}
	return r.table(indent)
}

func (r *yamlReader) list(indent int) (any, error) {
	var all []any
	for r.at < len(r.lines) && r.lines[r.at].indent == indent {
		rest, ok := strings.CutPrefix(r.lines[r.at].text, "- ")
		if !ok {
			break
		}
		var item any
		var err error
		if _, _, isPair := cutPair(rest); isPair {
			r.lines[r.at].text, r.lines[r.at].indent = rest, indent+2
			item, err = r.table(indent + 2)
		} else {
			item, err = scalar(rest)
			if err != nil {
				err = r.errorf("%v", err)
			}
			r.at++
		}
		if err != nil {
			return nil, err
		}
		all = append(all, item)
	}
	return all, nil
}

func (r *yamlReader) table(indent int) (any, error) {
	m := map[string]any{}
	for r.at < len(r.lines) && r.lines[r.at].indent == indent {
		key, rest, ok := cutPair(r.lines[r.at].text)
		if !ok {
			return nil, r.errorf("want KEY: VALUE")
		}
		if _, twice := m[key]; twice {
			return nil, r.errorf("%s is there twice", key)
		}
		r.at++
		if rest != "" {
			v, err := scalar(rest)
			if err != nil {
				return nil, r.errorf("before this: %v", err)
			}
			m[key] = v
			continue
		}
		m[key] = nil
		if r.at < len(r.lines) && r.lines[r.at].indent > indent {
			v, err := r.value(r.lines[r.at].indent)
			if err != nil {
				return nil, err
			}
			m[key] = v
		}
	}
	if r.at < len(r.lines) && r.lines[r.at].indent > indent {
		return nil, r.errorf("is indented too far")
	}
	return m, nil
}

// cutPair splits KEY: VALUE. A key has no quotes here, and a colon in a text is followed by no space.
func cutPair(text string) (key, rest string, ok bool) {
	if strings.HasPrefix(text, `"`) || strings.HasPrefix(text, "[") {
		return "", "", false
	}
	if k, found := strings.CutSuffix(text, ":"); found && !strings.Contains(k, ": ") {
		return k, "", true
	}
	return strings.Cut(text, ": ")
}

// scalar reads a value on one line.
func scalar(text string) (any, error) {
	if i := strings.Index(text, " #"); i >= 0 && text[0] != '"' {
		text = strings.TrimRight(text[:i], " ")
	}
	switch text {
	case "true", "false":
		return text == "true", nil
	case "yes", "no", "on", "off", "null", "~", "y", "n", "Yes", "No", "True", "False":
		return nil, fmt.Errorf("%s means different things to different readers", text)
	}
	switch text[0] {
	case '"':
		return strconv.Unquote(text)
	case '[':
		return flow(text)
	case '&', '*', '!', '|', '>', '\'', '%', '@', '`', '{', ']', '}', ',', '?':
		return nil, fmt.Errorf("%q is more than these files may use", text)
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if strconv.FormatInt(n, 10) != text {
			return nil, fmt.Errorf("%q is a number in a way that readers differ about: quote it", text)
		}
		return n, nil
	}
	if strings.Contains(text, ": ") {
		return nil, fmt.Errorf("%q needs quotes", text)
	}
	return text, nil
}

// flow reads a list of texts in brackets.
func flow(text string) (any, error) {
	inner, ok := strings.CutSuffix(strings.TrimPrefix(text, "["), "]")
	if !ok {
		return nil, fmt.Errorf("%q has no end", text)
	}
	all := []any{}
	for inner = strings.TrimSpace(inner); inner != ""; {
		quoted, err := strconv.QuotedPrefix(inner)
		if err != nil || quoted[0] != '"' {
			return nil, fmt.Errorf("%q: want texts in quotes", text)
		}
		item, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		all = append(all, item)
		inner = strings.TrimSpace(inner[len(quoted):])
		rest, comma := strings.CutPrefix(inner, ",")
		if inner != "" && !comma {
			return nil, fmt.Errorf("%q: want a comma", text)
		}
		inner = strings.TrimSpace(rest)
	}
	return all, nil
}

// at walks into a value by keys and numbers, such as "spec.containers.0.image".
func at(t testing.TB, v any, path string) any {
	t.Helper()
	for _, step := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n >= len(x) {
				t.Errorf("%s: there is no item %s", path, step)
				return nil
			}
			v = x[n]
		default:
			t.Errorf("%s: nothing below %s", path, step)
			return nil
		}
	}
	return v
}

func TestYAML(t *testing.T) {
	good := "# comment\na: 1\nb:\n  - x: \"q: #\"\n    y: [\"1\", \"2\"]\n  - z\nc:\n  d: text # more\n---\n- 1\n- e: f\n"
	docs, err := yamlDocuments(good)
	if got := fmt.Sprint(docs, err); got != `[map[a:1 b:[map[x:q: # y:[1 2]] z] c:map[d:text]] [1 map[e:f]]] <nil>` {
		t.Error(got)
	}
	for _, bad := range []string{"a: 1\na: 2\n", "a:\n\t- b\n", "a: *x\n", "a: yes\n", "a: |\n  b\n", "a: 0o7\n b: 1\n", "a: 'b'\n", "a\n", "a: b: c\n", "a: 007\n", "- a\nb: 1\n", "a: [x]\n", "a: {b: 1}\n", "a: \"x\n", "a: 1 \n"} {
		if docs, err := yamlDocuments(bad); err == nil {
			t.Errorf("%q is taken as %v", bad, docs)
		}
	}
}
