package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/handstamp/handstamp/internal/config"
)

func fileAilments() []ailment {
	return []ailment{
		{"secret-on-command-line", high, "secret", "every user of this machine reads it in the list of processes, and so does whatever records that list",
			"put it into a file and name that by the key that ends in _file, or into the environment"},
		{"file-writable", high, "", "whoever may write there puts a secret, a database or a certificate of their own in its place, and is everybody",
			"chmod 600 (a directory: 700), and chown it to the user that the server runs as"},
		{"file-readable", high, "", "whoever reads it signs tokens, opens the signing keys, or takes the password hashes away",
			"chmod 600, and replace what may have been read"},
		{"directory-writable", high, "data_dir", "whoever may write to a directory above replaces the whole data directory",
			"chmod o-w it (or chmod +t, as /tmp has), or move data_dir"},
		{"data-dir-open", low, "data_dir", "others see which files are there and how large they are; one file with a slip in its mode is then readable",
			"chmod 700"},
	}
}

// place is a path that the configuration rests on.
type examinedPlace struct {
	setting, path string
	secret        bool // who reads it has something
}

// files looks at who may read and write the files and directories.
func (x *examination) files() {
	if runtime.GOOS == "windows" {
		x.skip("the modes of files", "this system has none")
		return
	}
	x.look("files")
	var hidden []string
	for _, p := range x.places() {
		info, err := os.Stat(p.path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) && p.path != "" { // what is not there is nobody's
				hidden = append(hidden, p.path)
			}
			continue
		}
		mode := info.Mode().Perm()
		switch {
		case mode&0o002 != 0 && (!info.IsDir() || info.Mode()&fs.ModeSticky == 0):
			x.findAt(p.setting, ailmentNamed("file-writable"), "every user may write to %s (mode %04o)", p.path, mode)
		case mode&0o020 != 0:
			x.findAt(p.setting, ailmentNamed("file-writable"), "the group may write to %s (mode %04o)", p.path, mode)
		}
		switch {
		case p.secret && mode&0o004 != 0:
			x.findAt(p.setting, ailmentNamed("file-readable"), "every user may read %s (mode %04o)", p.path, mode)
		case info.IsDir() && mode&0o005 != 0 && !development(x.cfg):
			x.findAt(p.setting, ailmentNamed("data-dir-open"), "%s is open to every user (mode %04o)", p.path, mode)
		}
	}
	if len(hidden) > 0 {
		x.blind("the modes of files", "%s cannot be looked at", strings.Join(slices.Compact(hidden), ", "))
	}
	x.above(x.cfg.DataDir)
}

// places lists what there is to look at.
func (x *examination) places() []examinedPlace {
	c := x.cfg
	var all []examinedPlace
	for _, e := range c.Entries() {
		if strings.HasSuffix(e.Key, "_file") && e.Value != "" {
			all = append(all, examinedPlace{e.Key, e.Value, true})
		}
	}
	if c.TLS.Key != "" {
		all = append(all, examinedPlace{"tls.key", c.TLS.Key, true}, examinedPlace{"tls.cert", c.TLS.Cert, false})
	}
	if c.Database.Kind == config.KindSQLite {
		for _, end := range []string{"", "-wal", "-shm"} {
			all = append(all, examinedPlace{"database", c.Database.Path + end, true})
		}
	}
	if len(c.Secret) == 0 {
		all = append(all, examinedPlace{"data_dir", filepath.Join(c.DataDir, config.SecretFile), true})
	}
	if len(c.Secret) == 0 || c.Database.Kind == config.KindSQLite && inside(c.DataDir, c.Database.Path) {
		all = append(all, examinedPlace{"data_dir", c.DataDir, false})
	}
	if c.File() != "" {
		all = append(all, examinedPlace{"configuration file", c.File(), c.FileHoldsSecret()})
	}
	return all
}

// above looks at the directories over data_dir. The sticky bit lets only its owner replace what is in a directory.
func (x *examination) above(dir string) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return
	}
	for parent := filepath.Dir(path); parent != path; path, parent = parent, filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err == nil && info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
			x.find(ailmentNamed("directory-writable"), "every user may write to %s (mode %04o)", parent, info.Mode().Perm())
		}
	}
}

// inside reports whether a path is below a directory.
func inside(dir, path string) bool {
	d, err := filepath.Abs(dir)
	p, err2 := filepath.Abs(path)
	return err == nil && err2 == nil && strings.HasPrefix(p, d+string(filepath.Separator))
}
