package config

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestL2_open_places: what every user may write to stops the start, what fewer may do is said.
func TestL2_open_places(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes mean nothing here")
	}
	const private, group, read, all = "", "the group may write", "every user may read", "every user may write"
	for _, tt := range []struct {
		name             string
		data, db, secret os.FileMode
		warning, refusal string
	}{
		{"private", 0o700, 0o600, 0o600, private, private},
		{"a group reads", 0o750, 0o640, 0o640, private, private},
		{"a group writes to data_dir", 0o770, 0o600, 0o600, "data_dir: " + group, private},
		{"all write to data_dir", 0o777, 0o600, 0o600, private, "data_dir: " + all},
		{"all write to data_dir, nobody removes", 0o777 | os.ModeSticky, 0o600, 0o600, private, "data_dir: " + all},
		{"a group writes to the database", 0o700, 0o660, 0o600, "database: " + group, private},
		{"all write to the database", 0o700, 0o606, 0o600, private, "database: " + all},
		{"all read the secret", 0o700, 0o600, 0o644, "secret_file: " + read, private},
		{"a group writes to the secret", 0o700, 0o600, 0o620, "secret_file: " + group, private},
		{"all write to the secret", 0o700, 0o600, 0o666, private, "secret_file: " + all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			data, secret := filepath.Join(dir, "data"), filepath.Join(dir, "s")
			db := filepath.Join(data, databaseName)
			if err := os.Mkdir(data, 0o700); err != nil {
				t.Fatal(err)
			}
			for path, mode := range map[string]os.FileMode{db: tt.db, secret: tt.secret} {
				if err := os.WriteFile(path, []byte(goodSecret), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(data, tt.data); err != nil {
				t.Fatal(err)
			}
			c, _, err := Load(Sources{Flags: map[string]string{"data-dir": data, "secret-file": secret}})
			if err != nil {
				t.Fatal(err)
			}
			warnings, err := CheckPlaces(c)
			if tt.refusal == "" && err != nil || tt.refusal != "" && (err == nil || !strings.Contains(err.Error(), tt.refusal) || !strings.Contains(err.Error(), "run chmod ")) {
				t.Errorf("CheckPlaces = %v, want %q", err, tt.refusal)
			}
			said := ""
			for _, w := range warnings {
				said += w.String()
			}
			if tt.warning == "" && said != "" || !strings.Contains(said, tt.warning) {
				t.Errorf("warnings %q, want %q", said, tt.warning)
			}
		})
	}
	if warnings, err := CheckPlaces(mustLoad(t, Sources{Flags: map[string]string{"data-dir": filepath.Join(t.TempDir(), "none")}})); err != nil || len(warnings) != 0 {
		t.Errorf("a directory that is not there yet: %v, %v", warnings, err)
	}
	if _, err := CheckPlaces(nil); err == nil {
		t.Error("no configuration is fine")
	}
}

// TestL2_open_configuration: whoever writes the configuration file, or a file that it takes a database from, chooses the
// database. It counts however the file was found, and only what is in force makes it a secret.
func TestL2_open_configuration(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes mean nothing here")
	}
	for _, tt := range []struct {
		name, text       string
		mode, other      os.FileMode
		warning, refusal string
	}{
		{"nothing secret, for all to read", "", 0o644, 0o600, "", ""},
		{"a group writes", "", 0o660, 0o600, "configuration file: the group may write", ""},
		{"all write", "", 0o666, 0o600, "", "configuration file: every user may write"},
		{"a secret for all to read", "secret = \"" + goodSecret + "\"\n", 0o644, 0o600, "configuration file: every user may read", ""},
		{"a password for all to read", "database = \"postgres://u:hunter22@h/d\"\n", 0o644, 0o600, "configuration file: every user may read", ""},
		{"a secret for its owner", "secret = \"" + goodSecret + "\"\n", 0o600, 0o600, "", ""},
		{"a file with a secret", "secret_file = \"OTHER\"\n", 0o644, 0o600, "", ""},
		{"a file with a database that all may write", "database_file = \"OTHER\"\n", 0o644, 0o666, "", "database_file: every user may write"},
		{"a file with a database that all may read", "database_file = \"OTHER\"\n", 0o644, 0o644, "database_file: every user may read", ""},
	} {
		for _, way := range []string{"named", "environment", "directory"} {
			t.Run(tt.name+", "+way, func(t *testing.T) {
				dir := t.TempDir()
				path, other := filepath.Join(dir, DefaultFile), filepath.Join(dir, "other")
				content := goodSecret
				if strings.Contains(tt.text, "database_file") {
					content = "postgres://u:hunter22@h/d"
				}
				for p, f := range map[string]struct {
					text string
					mode os.FileMode
				}{path: {strings.ReplaceAll(tt.text, "OTHER", other), tt.mode}, other: {content, tt.other}} {
					if err := os.WriteFile(p, []byte(f.text), 0o600); err != nil {
						t.Fatal(err)
					}
					if err := os.Chmod(p, f.mode); err != nil {
						t.Fatal(err)
					}
				}
				src := map[string]Sources{
					"named": {File: path}, "environment": {Environ: []string{"HANDSTAMP_CONFIG=" + path}}, "directory": {Dir: dir},
				}[way]
				src.Flags = map[string]string{"data-dir": filepath.Join(dir, "none")}
				c, _, err := Load(src)
				if err != nil {
					t.Fatal(err)
				}
				if c.File() != path {
					t.Errorf("File = %q, want %q", c.File(), path)
				}
				warnings, err := CheckPlaces(c)
				said := ""
				for _, w := range warnings {
					said += w.String() + "\n"
				}
				if tt.refusal == "" && err != nil || tt.refusal != "" && (err == nil || !strings.Contains(err.Error(), tt.refusal)) {
					t.Errorf("CheckPlaces = %v, want %q", err, tt.refusal)
				}
				if tt.warning == "" && said != "" || !strings.Contains(said, tt.warning) || strings.Count(said, "\n") > 1 {
					t.Errorf("warnings %q, want %q", said, tt.warning)
				}
			})
		}
	}
	if c := mustLoad(t, Sources{}); c.File() != "" || c.FileHoldsSecret() {
		t.Errorf("without a file: File = %q", c.File())
	}
}

// TestP14_proxy_without_a_name: behind a TLS proxy that nobody named all clients are one. It is said once.
func TestP14_proxy_without_a_name(t *testing.T) {
	for text, want := range map[string]int{
		"": 0,
		"public_url = \"https://app.example.com\"\n":                                           1,
		"public_url = \"https://app.example.com\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n":       0,
		"public_url = \"https://app.example.com\"\n[tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\n": 0,
		"public_url = \"http://app.example.com\"\ninsecure_http = true\n":                      0,
	} {
		_, warnings, err := Load(fromFile(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		n := 0
		for _, w := range warnings {
			if w.Key == "trusted_proxies" {
				n++
			}
		}
		if n != want {
			t.Errorf("%q: warnings %v, want %d about trusted_proxies", text, warnings, want)
		}
	}
}
