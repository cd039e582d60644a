package config

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxConfigFile bounds the configuration file in bytes.
const maxConfigFile = 1 << 20

// readFile reads the configuration file: the one that was named, else
// handstamp.toml if there is one.
func (l *loader) readFile(fromEnv string) {
	path, named := l.src.File, true
	if path == "" {
		path = fromEnv
	}
	if path == "" {
		path, named = l.defaultPath(), false
	}
	data, err := l.src.ReadFile(path)
	switch {
	case !named && errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		l.fileMistake(path, "cannot be read: "+reason(err))
		return
	case len(data) > maxConfigFile:
		l.fileMistake(path, "is larger than 1 MiB and so is no configuration")
		return
	}
	l.config.file = path
	f := tomlFile{loader: l, path: path}
	f.read(data)
}

func (l *loader) fileMistake(path, text string) {
	l.broken = true
	l.mistake("", printable(path), text)
}

// tomlFile is the configuration file while it is read.
type tomlFile struct {
	loader *loader
	path   string
	lines  map[string]int // dotted path → line of its first mention
}

// read decodes data. The library's messages are not passed on: some quote the
// text, which may be a secret. Line and column say the same.
func (f *tomlFile) read(data []byte) {
	var tree map[string]any
	err := toml.Unmarshal(data, &tree)
	if decodeErr, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := decodeErr.Position()
		f.loader.fileMistake(f.path, "line "+strconv.Itoa(line)+", column "+strconv.Itoa(column)+
			": is not valid TOML: look for a missing quote, a name that is written twice or a missing = (texts and durations stand in quotes)")
		return
	}
	if err != nil {
		f.loader.fileMistake(f.path, "is not valid TOML")
		return
	}
	f.lines = keyLines(data)
	f.table("", tree)
}

// table takes the entries of the table at prefix, which ends in a dot or is
// empty.
func (f *tomlFile) table(prefix string, tree map[string]any) {
	// In the order of the file, so that mistakes are, too.
	names := slices.SortedFunc(maps.Keys(tree), func(a, b string) int {
		if d := f.lines[prefix+a] - f.lines[prefix+b]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		f.entry(prefix+name, tree[name])
	}
}

func (f *tomlFile) entry(path string, content any) {
	l := f.loader
	where := f.where(path)
	if s, ok := l.byName[path]; ok {
		v, problem := convert(s.kind, content)
		if problem != "" {
			l.mistake(path, where, problem)
			return
		}
		v.origin, v.where = Origin("file "+f.path), where
		l.given[rankFile][path] = v
		return
	}
	sub, isTable := content.(map[string]any)
	switch {
	case isTable && f.isSection(path):
		f.table(path+".", sub)
	case f.isSection(path):
		l.mistake(path, where, "is a section: write ["+path+"] on a line of its own and its keys below")
	default:
		known := make([]string, 0, len(l.specs))
		for _, s := range l.specs {
			known = append(known, s.name)
		}
		l.mistake(printable(path), where, "is not a known key"+didYouMean(path, known))
	}
}

func (f *tomlFile) isSection(path string) bool {
	return slices.ContainsFunc(f.loader.specs, func(s spec) bool { return strings.HasPrefix(s.name, path+".") })
}

func (f *tomlFile) where(path string) string {
	if line := f.lines[path]; line > 0 {
		return printable(f.path) + " line " + strconv.Itoa(line)
	}
	return printable(f.path)
}

// convert brings what TOML holds to a value that k takes. A number for a
// duration is refused, not guessed at.
func convert(k kind, content any) (value, string) {
	switch c := content.(type) {
	case string:
		return value{form: formText, text: c}, ""
	case int64:
		if k.accept.integer {
			return value{form: formText, text: strconv.FormatInt(c, 10)}, ""
		}
	case float64:
		if k.accept.float {
			return value{form: formText, text: strconv.FormatFloat(c, 'f', -1, 64)}, ""
		}
	case bool:
		if k.accept.boolean {
			return value{form: formText, text: strconv.FormatBool(c)}, ""
		}
	case []any:
		items := make([]string, 0, len(c))
		for _, item := range c {
			if s, ok := item.(string); ok {
				items = append(items, s)
			}
		}
		if k.accept.array && len(items) == len(c) {
			return value{form: formItems, items: items}, ""
		}
	case map[string]any:
		pairs := make(map[string]string, len(c))
		for name, item := range c {
			if s, ok := item.(string); ok {
				pairs[name] = s
			}
		}
		if k.accept.table && len(pairs) == len(c) {
			return value{form: formPairs, pairs: pairs}, ""
		}
	}
	return value{}, "has the wrong type: write " + k.spelling()
}

// spelling shows how a kind is written in the file.
func (k kind) spelling() string {
	switch {
	case k.accept.integer && k.name == "size":
		return `a text in quotes, such as "64MiB"`
	case k.accept.float:
		return "a number without quotes, such as 0.01"
	case k.accept.integer:
		return "a whole number without quotes"
	case k.accept.boolean:
		return "true or false without quotes"
	case k.accept.array:
		return `an array of texts, such as ["one", "two"]`
	case k.accept.table:
		return `a table of texts, such as Handstamp-User = "Remote-User"`
	case k.name == "duration":
		return `a text in quotes with a unit, such as "30s"`
	}
	return "a text in quotes"
}

// keyLines returns the line of each key and section of a document that decodes.
func keyLines(data []byte) map[string]int {
	lines := map[string]int{}
	var p unstable.Parser
	p.Reset(data)
	section := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			section = noteKey(&p, e, lines, "")
		case unstable.KeyValue:
			noteKeyValue(&p, e, lines, section)
		}
	}
	return lines
}

func noteKeyValue(p *unstable.Parser, n *unstable.Node, lines map[string]int, prefix string) {
	path := noteKey(p, n, lines, prefix)
	v := n.Value()
	if v.Kind != unstable.InlineTable {
		return
	}
	for entries := v.Children(); entries.Next(); {
		if e := entries.Node(); e.Kind == unstable.KeyValue {
			noteKeyValue(p, e, lines, path)
		}
	}
}

// noteKey records the line of n's key and of each table it implies, and returns
// its path with a final dot.
func noteKey(p *unstable.Parser, n *unstable.Node, lines map[string]int, prefix string) string {
	for parts := n.Key(); parts.Next(); {
		part := parts.Node()
		path := prefix + string(part.Data)
		if _, seen := lines[path]; !seen {
			lines[path] = p.Shape(part.Raw).Start.Line
		}
		prefix = path + "."
	}
	return prefix
}
