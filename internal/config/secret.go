package config

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// redacted stands for a secret in everything that is printed.
const redacted = "REDACTED"

// Secret is a text that must not be printed. All verbs of fmt, slog, JSON and
// text marshalling write REDACTED; the text is had by Reveal only. The zero
// Secret is empty.
type Secret struct {
	// A pointer, since fmt prints unexported fields of a struct around this one
	// without asking for a method: it then shows an address and not the text.
	text *string
}

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text: &text} }

// Reveal returns the text itself. The caller must not log or print it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no text.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String returns REDACTED.
func (s Secret) String() string { return redacted }

// GoString returns REDACTED.
func (s Secret) GoString() string { return redacted }

// Format writes REDACTED for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns REDACTED.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED; it serves JSON, XML and TOML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// secrets is the kind of the list of signing secrets. Items are used as they
// are, white space included.
func secrets() kind {
	return kind{
		name: "secret", limits: "32 to 1,024 bytes each", accept: accept{array: true}, verbatim: true,
		set: func(c *Config, v value) problems {
			items := v.items
			if v.form == formText {
				items = strings.Split(v.text, ",")
			}
			bad := checkSecrets(items)
			if v.form == formText && len(items) > 1 {
				for i := range bad {
					bad[i] += " (commas separate secrets)"
				}
			}
			if len(bad) > 0 {
				return bad
			}
			c.Secret = c.Secret[:0:0]
			for _, item := range items {
				c.Secret = append(c.Secret, NewSecret(item))
			}
			return nil
		},
		show: func(c *Config) string {
			if len(c.Secret) == 0 {
				return ""
			}
			return strings.Repeat(redacted+",", len(c.Secret)-1) + redacted
		},
		clear: func(c *Config) { c.Secret = nil },
	}
}

// maxLegacyHash bounds a stored hash in bytes.
const maxLegacyHash = 512

// legacyHash is the kind of a stored hash. Whether its format is known is for the package that checks passwords.
func legacyHash() kind {
	k := scalar(func(c *Config) *Secret { return &c.Password.LegacyHash }, func(s string) (Secret, problems) {
		printable := !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
		if len(s) > maxLegacyHash || !printable {
			return Secret{}, problems{"must be one stored hash: at most 512 characters of ASCII, without spaces"}
		}
		return NewSecret(s), nil
	}, func(s Secret) string {
		if s.Reveal() == "" {
			return ""
		}
		return redacted
	})
	k.name, k.limits = "secret", "a stored hash that is not argon2"
	return k
}

// filePath is the kind of a key that names a file with the value of key. The
// loader reads the file.
func filePath(key string) kind {
	return kind{
		name: "text", limits: "path",
		set:   func(c *Config, v value) problems { c.files[key] = v.text; return nil },
		show:  func(c *Config) string { return c.files[key] },
		clear: func(c *Config) { delete(c.files, key) },
	}
}

// SecretFile is the name of the file in the data directory that holds the
// generated secret. Like a secret_file it has one secret in each line, so that a
// secret can be replaced by adding a line.
const SecretFile = "secret"

// generatedBytes is the randomness of a generated secret: 384 bits, written in
// 64 characters.
const generatedBytes = 48

// EnsureSecret returns the secrets kept in dir and makes one if there is none;
// created says that this call made it. A directory that does not exist is made
// with mode 0700, the file with mode 0600.
//
// Processes that start together all get the same secret: it is written to a file
// of another name and linked to its place, which succeeds once.
//
// A file that other users can read, that is no plain file, or that holds a weak
// secret is refused and not repaired: it may have been read, and a quiet repair
// would hide that. A directory that every user may write to is refused as well,
// since they could put a secret of theirs into it.
func EnsureSecret(dir string) (list []Secret, created bool, err error) {
	if err := ensureDir(dir); err != nil {
		return nil, false, err
	}
	path := filepath.Join(dir, SecretFile)
	list, err = loadSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return list, false, err
	}
	created, err = createSecret(dir, path)
	if err != nil {
		return nil, false, fmt.Errorf("create secret: %w", err)
	}
	list, err = loadSecret(path)
	return list, created && err == nil, err
}

func ensureDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("read data directory: %w", err)
	}
	if othersHave(info, 0o002) {
		return fmt.Errorf("data directory %s can be written to by every user (mode %04o): run chmod 700 on it", dir, info.Mode().Perm())
	}
	return nil
}

// othersHave reports whether mode bits of info are set, on systems where they
// mean something.
func othersHave(info fs.FileInfo, bits fs.FileMode) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&bits != 0
}

func loadSecret(path string) ([]Secret, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	if !before.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no plain file: remove it, or name the file it stands for by secret_file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	if !os.SameFile(before, info) {
		return nil, fmt.Errorf("%s was replaced while it was read: start again", path)
	}
	if othersHave(info, 0o077) {
		return nil, fmt.Errorf("%s is open to other users (mode %04o): run chmod 600 on it, and replace the secret if somebody may have read it", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	if len(data) > maxSecretFile {
		return nil, fmt.Errorf("%s is larger than 64 KiB and so holds no secret", path)
	}
	lines := secretLines(data)
	if bad := checkSecrets(lines); len(bad) > 0 {
		return nil, fmt.Errorf("%s %s", path, strings.Join(bad, "; "))
	}
	list := make([]Secret, len(lines))
	for i, line := range lines {
		list[i] = NewSecret(line)
	}
	return list, nil
}

// createSecret puts a secret at path unless one is there, and reports whether it
// did.
func createSecret(dir, path string) (bool, error) {
	raw := make([]byte, generatedBytes)
	rand.Read(raw)                              // never fails: it ends the program instead
	temp, err := os.CreateTemp(dir, ".secret-") // mode 0600
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // a second name of the file, or of one that was not needed
	_, err = temp.WriteString(base64.RawURLEncoding.EncodeToString(raw) + "\n")
	// On disk before it has its name: after a crash the file is whole or absent.
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return false, err
	}
	err = os.Link(temp.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return false, nil // another process was first
	}
	if err != nil {
		return false, fmt.Errorf("%w (the file system has no hard links: set secret or secret_file instead)", err)
	}
	return true, syncDir(dir)
}

// syncDir makes the new name durable, where directories can be synced.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
