package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// CheckPlaces looks at who else on this machine may use the files that a server
// with this configuration rests on: the configuration file itself, the data
// directory, the database, the files of secrets and the TLS key. It changes
// nothing.
//
// What every user may write to is an error: they could put a database or a
// secret of theirs there, or name one in the configuration file. What a group
// may write to, or others may read that holds a secret, is a warning, since
// secrets are handed to containers in files that are open to all who are
// inside. What is not there yet is no fault.
func CheckPlaces(c *Config) ([]Warning, error) {
	if c == nil {
		return nil, errors.New("check places: no configuration")
	}
	type place struct {
		key, path string
		secret    bool
	}
	places := []place{
		{"configuration file", c.file, c.FileHoldsSecret()},
		{"tls.key", c.TLS.Key, true},
	}
	for _, key := range slices.Sorted(maps.Keys(c.files)) {
		places = append(places, place{key + "_file", c.files[key], true})
	}
	if c.Database.Kind == KindSQLite {
		places = append(places, place{"database", c.Database.Path, false}) // the store says who may read it
	}
	if len(c.Secret) == 0 || c.Database.Kind == KindSQLite && filepath.Dir(c.Database.Path) == filepath.Clean(c.DataDir) {
		places = append(places, place{"data_dir", c.DataDir, false})
	}
	var warnings []Warning
	var errs []error
	for _, p := range places {
		info, err := os.Stat(p.path)
		if p.path == "" || err != nil {
			continue // who opens it says what is wrong
		}
		fix := "600"
		if info.IsDir() {
			fix = "700"
		}
		mode := fmt.Sprintf("%s (mode %04o): run chmod %s on it", p.path, info.Mode().Perm(), fix)
		switch {
		case othersHave(info, 0o002):
			errs = append(errs, fmt.Errorf("%s: every user may write to %s", p.key, mode))
		case othersHave(info, 0o020):
			warnings = append(warnings, Warning{Key: p.key, Text: "the group may write to " + mode})
		case p.secret && othersHave(info, 0o004):
			warnings = append(warnings, Warning{Key: p.key, Text: "every user may read " + mode})
		}
	}
	return warnings, errors.Join(errs...)
}
