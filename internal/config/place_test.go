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
