package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	envPrefix = "HANDSTAMP_"
	envConfig = "HANDSTAMP_CONFIG"

	// DefaultFile is the name of the configuration file that is read if no other
	// is named.
	DefaultFile = "handstamp.toml"
)

// Sources is everything a configuration is made of. The zero value gives the
// defaults and whatever handstamp.toml of the working directory says.
type Sources struct {
	Flags    map[string]string                 // flag without dashes, or key, to its value; lists with commas
	Environ  []string                          // NAME=VALUE as from os.Environ; of two equal names the first counts
	File     string                            // path of the file; "": HANDSTAMP_CONFIG, else Dir/handstamp.toml if present
	Dir      string                            // where handstamp.toml is looked for; "": the working directory
	ReadFile func(name string) ([]byte, error) // nil: os.ReadFile
	Cores    int                               // processor cores; 0: those this process may use
}

// Origin says where a value came from: "default", "file PATH",
// "environment NAME" or "flag --name".
type Origin string

// OriginDefault is the origin of a value that nobody gave.
const OriginDefault Origin = "default"

// rank orders the sources: a later one wins.
type rank int

const (
	rankFile rank = iota + 1
	rankEnv
	rankFlag
	rankEnd
)

type loader struct {
	src      Sources
	specs    []spec
	byName   map[string]spec
	given    [rankEnd]map[string]value
	config   *Config
	bad      map[string]bool // keys with a mistake, which the rules leave alone
	broken   bool            // the file cannot be read, so no rule that joins keys is applied
	mistakes []Mistake
	warnings []Warning
}

// Load makes a Config from its sources: flags win over the environment, the
// environment over the file, the file over the defaults. Values of all sources
// are checked, also those that another source overrides.
//
// The error is a [*MistakesError] with everything that is wrong; the Config is
// then nil. Warnings are returned in both cases. Load keeps nothing of src.
func Load(src Sources) (*Config, []Warning, error) {
	l := newLoader(src)
	l.readFile(l.readEnvironment())
	l.readFlags()
	l.defaults()
	for r := rankFile; r < rankEnd; r++ {
		for _, s := range l.specs {
			if v, ok := l.given[r][s.name]; ok {
				l.apply(r, s, v)
			}
		}
	}
	l.derive()
	if !l.broken {
		l.rules()
	}
	if len(l.mistakes) > 0 {
		return nil, l.warnings, &MistakesError{Mistakes: l.mistakes}
	}
	return l.config, l.warnings, nil
}

func newLoader(src Sources) *loader {
	if src.ReadFile == nil {
		src.ReadFile = os.ReadFile
	}
	if src.Cores <= 0 {
		src.Cores = runtime.GOMAXPROCS(0)
	}
	l := &loader{
		src: src, specs: specs(), byName: map[string]spec{}, bad: map[string]bool{},
		config: &Config{origins: map[string]Origin{}, files: map[string]string{}},
	}
	for r := range l.given {
		l.given[r] = map[string]value{}
	}
	for _, s := range l.specs {
		l.byName[s.name] = s
	}
	return l
}

func (l *loader) mistake(key, where, text string) {
	l.mistakes = append(l.mistakes, Mistake{Key: key, Where: where, Text: text})
	l.bad[key] = true
}

func (l *loader) warn(key, text string) {
	l.warnings = append(l.warnings, Warning{Key: key, Text: text})
}

// readEnvironment takes all variables with our prefix and returns the path of
// the configuration file, if one of them names it.
func (l *loader) readEnvironment() (file string) {
	known := []string{envConfig}
	byEnv := map[string]spec{}
	for _, s := range l.specs {
		byEnv[s.env()] = s
		known = append(known, s.env())
	}
	seen := map[string]bool{}
	for _, entry := range l.src.Environ {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || seen[name] {
			continue
		}
		seen[name] = true
		s, ok := byEnv[name]
		switch {
		case name == envConfig && text == "":
			l.mistake("", "environment "+name, "is empty: give it the path of a file or remove it")
		case name == envConfig:
			file = text
		case !ok:
			l.mistake("", "environment "+printable(name), "is not a known variable"+didYouMean(name, known))
		default:
			l.given[rankEnv][s.name] = value{form: formText, text: text,
				origin: Origin("environment " + name), where: "environment " + name}
		}
	}
	return file
}

func (l *loader) readFlags() {
	byFlag := map[string]spec{}
	var known, names []string
	for _, s := range l.specs {
		byFlag[s.flag()] = s
		known = append(known, s.flag())
	}
	for name := range l.src.Flags {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		flag := strings.TrimPrefix(name, "--")
		s, ok := byFlag[flag]
		if !ok {
			s, ok = l.byName[name]
		}
		if !ok {
			l.mistake("", "flag --"+printable(flag), "is not a known flag"+didYouMean(flag, known))
			continue
		}
		where := "flag --" + s.flag()
		if _, twice := l.given[rankFlag][s.name]; twice {
			l.mistake(s.name, where, "is given twice: keep one")
			continue
		}
		l.given[rankFlag][s.name] = value{form: formText, text: l.src.Flags[name], origin: Origin(where), where: where}
	}
}

func didYouMean(name string, known []string) string {
	if k := nearest(name, known); k != "" {
		return ": did you mean " + k + "?"
	}
	return ": remove it"
}

// printable cuts a name from outside to a length and to characters that cannot
// forge a line of a log or steer a terminal.
func printable(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i >= 80 {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (l *loader) defaults() {
	for _, s := range l.specs {
		l.config.origins[s.name] = OriginDefault
		if s.initial != "" {
			l.set(s, value{form: formText, text: s.initial, origin: OriginDefault, where: "default"})
		}
	}
	l.config.Password.MaxConcurrent = max(1, l.src.Cores-1)
}

// apply sets a key from one source. A secret and the file it can be read from
// are one setting: the higher source wins, and both in one source is a mistake.
func (l *loader) apply(r rank, s spec, v value) {
	if s.fileOf == "" {
		if !l.set(s, v) {
			return
		}
		delete(l.config.files, s.name)
		if s.secret {
			l.config.origins[s.name+"_file"] = OriginDefault
		}
		if s.secret && r == rankFlag && v.text != s.kind.show(l.config) {
			l.warn(s.name, "was given on the command line, where other users of this machine can read it: use --"+s.flag()+"-file or "+s.env())
		}
		return
	}
	if _, both := l.given[r][s.fileOf]; both {
		l.mistake(s.name, v.where, "is given together with "+s.fileOf+": keep one of them")
		return
	}
	for higher := r + 1; higher < rankEnd; higher++ {
		_, text := l.given[higher][s.fileOf]
		_, file := l.given[higher][s.name]
		if text || file {
			return // what does not count need not exist
		}
	}
	if !l.set(s, v) || v.text == "" {
		return
	}
	target := l.byName[s.fileOf]
	content, ok := l.readSecretFile(s, v)
	if !ok {
		l.bad[s.fileOf] = true
		return
	}
	content.origin, content.where = v.origin, v.where+", its content"
	if l.setAs(target, content, s.name) {
		l.config.files[s.fileOf] = v.text
	}
}

// maxSecretFile bounds a file with a secret in bytes.
const maxSecretFile = 64 << 10

// readSecretFile reads one value, or for a list one in each line. The ends of
// lines and empty lines are no part of it.
func (l *loader) readSecretFile(s spec, v value) (value, bool) {
	data, err := l.src.ReadFile(v.text)
	if err != nil {
		l.mistake(s.name, v.where, "names a file that cannot be read: "+reason(err))
		return value{}, false
	}
	if len(data) > maxSecretFile {
		l.mistake(s.name, v.where, "names a file of more than 64 KiB, which is no secret")
		return value{}, false
	}
	lines := secretLines(data)
	if s.fileOf == "secret" {
		return value{form: formItems, items: lines}, true
	}
	if len(lines) != 1 {
		l.mistake(s.name, v.where, "names a file that does not hold exactly one line")
		return value{}, false
	}
	return value{form: formText, text: lines[0]}, true
}

func secretLines(data []byte) []string {
	lines := []string{}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// reason is an error of the file system without the path, which the message
// gives by the key.
func reason(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err.Error()
	}
	return "it is not readable"
}

func (l *loader) set(s spec, v value) bool { return l.setAs(s, v, s.name) }

// setAs sets s and reports mistakes under the name of the key that was given.
func (l *loader) setAs(s spec, v value, key string) bool {
	bad := l.check(s, v)
	if len(bad) == 0 && v.form == formText && v.text == "" {
		s.kind.clear(l.config)
	} else if len(bad) == 0 {
		bad = s.kind.set(l.config, v)
	}
	for _, p := range bad {
		l.mistake(key, v.where, p)
		l.bad[s.name] = true
	}
	if len(bad) == 0 {
		l.config.origins[s.name] = v.origin
	}
	return len(bad) == 0
}

// check is what holds for the values of all kinds: they are printed into lines
// of logs and headers, so control characters are refused at the door.
func (l *loader) check(s spec, v value) problems {
	if v.form == formText && v.text == "" && !s.optional {
		return problems{"is empty: give it a value or remove it"}
	}
	if s.kind.verbatim {
		return nil
	}
	texts := append([]string{v.text}, v.items...)
	for from, to := range v.pairs {
		texts = append(texts, from, to)
	}
	for _, t := range texts {
		if !utf8.ValidString(t) || strings.ContainsFunc(t, unicode.IsControl) {
			return problems{"has a control character or is not UTF-8: remove it"}
		}
	}
	if v.form == formText && v.text != strings.TrimSpace(v.text) {
		return problems{"starts or ends with white space: remove it"}
	}
	return nil
}

func (l *loader) defaultPath() string { return filepath.Join(l.src.Dir, DefaultFile) }
