package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/config"
)

// TestDoctor_files: who may read and write what the configuration rests on.
func TestDoctor_files(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes of files")
	}
	secret := []byte(doctorSecret + "\n")
	tests := []struct {
		name, file string
		mode       fs.FileMode
		env        func(path string) []string
		id         string
	}{
		{"a secret of one's own", "secret.txt", 0o400, func(p string) []string { return []string{"HANDSTAMP_SECRET", "HANDSTAMP_SECRET_FILE=" + p} }, ""},
		{"a secret that a group may read", "secret.txt", 0o440, func(p string) []string { return []string{"HANDSTAMP_SECRET", "HANDSTAMP_SECRET_FILE=" + p} }, ""},
		{"a secret for all to read", "secret.txt", 0o444, func(p string) []string { return []string{"HANDSTAMP_SECRET", "HANDSTAMP_SECRET_FILE=" + p} }, "file-readable"},
		{"a secret for the group to write", "secret.txt", 0o660, func(p string) []string { return []string{"HANDSTAMP_SECRET", "HANDSTAMP_SECRET_FILE=" + p} }, "file-writable"},
		{"a secret for all to write", "secret.txt", 0o602, func(p string) []string { return []string{"HANDSTAMP_SECRET", "HANDSTAMP_SECRET_FILE=" + p} }, "file-writable"},
		{"a database for all to read", "x.db", 0o644, func(p string) []string { return []string{"HANDSTAMP_DATABASE=sqlite:" + p} }, "file-readable"},
		{"a log of commits for all to read", "x.db-wal", 0o644, func(p string) []string { return []string{"HANDSTAMP_DATABASE=sqlite:" + p[:len(p)-4]} }, "file-readable"},
		{"a generated secret for all to read", "secret", 0o644, func(p string) []string {
			return []string{"HANDSTAMP_SECRET", "HANDSTAMP_DATA_DIR=" + filepath.Dir(p), "HANDSTAMP_DATABASE=sqlite:/nonexistent/x.db"}
		}, "file-readable"},
		{"a configuration with a secret, for all to read", "c.toml", 0o644, func(p string) []string { return []string{"HANDSTAMP_SECRET", "HANDSTAMP_CONFIG=" + p} }, "file-readable"},
		{"the same for its owner alone", "c.toml", 0o600, func(p string) []string { return []string{"HANDSTAMP_SECRET", "HANDSTAMP_CONFIG=" + p} }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, tt.file)
			content := secret
			if tt.file == "c.toml" {
				content = []byte("secret = [\"" + doctorSecret + "\"]\n")
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			r := examine(t, healthy(t, tt.env(path)...), doctorCmd{})
			if tt.id != "" {
				r.of(t, tt.id)
			} else if r.has("file-readable") || r.has("file-writable") {
				t.Errorf("found %+v", r.Findings)
			}
		})
	}
}

func TestDoctor_data_dir(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes of files")
	}
	for mode, id := range map[fs.FileMode]string{0o700: "", 0o750: "", 0o755: "data-dir-open", 0o770: "file-writable", 0o777: "file-writable"} {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		r := examine(t, healthy(t, "HANDSTAMP_DATA_DIR="+dir), doctorCmd{})
		if id != "" {
			r.of(t, id)
		} else if len(r.Findings) > 0 {
			t.Errorf("%o: found %v", mode, r.ids())
		}
	}
	for mode, want := range map[fs.FileMode]bool{0o777: true, 0o777 | fs.ModeSticky: false, 0o755: false} {
		above := filepath.Join(t.TempDir(), "above")
		dir := filepath.Join(above, "data")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(above, mode); err != nil {
			t.Fatal(err)
		}
		if got := examine(t, healthy(t, "HANDSTAMP_DATA_DIR="+dir), doctorCmd{}).has("directory-writable"); got != want {
			t.Errorf("a directory above with mode %v: found is %v", mode, got)
		}
	}
}

func TestDoctor_certificate(t *testing.T) {
	look := func(ends time.Time, more ...string) report {
		files := writePair(t, t.TempDir(), "id.example.com", ends)
		return examine(t, healthy(t, append([]string{"HANDSTAMP_TLS_CERT=" + files.Cert, "HANDSTAMP_TLS_KEY=" + files.Key, "HANDSTAMP_PUBLIC_URL=https://127.0.0.1", "HANDSTAMP_TRUSTED_PROXIES"}, more...)...), doctorCmd{})
	}
	now := time.Now()
	if r := look(now.Add(47 * time.Hour)); len(r.Findings) > 0 {
		t.Errorf("found %v", r.ids())
	}
	look(now.Add(time.Hour)).of(t, "tls-expires-soon")
	look(now.Add(-time.Hour)).of(t, "tls-expired")
	look(now.Add(100*time.Hour)).of(t, "tls-expired") // it begins 48 h before it ends
	look(now.Add(47*time.Hour), "HANDSTAMP_PUBLIC_URL=https://id.example.com").of(t, "tls-host")
	look(now.Add(47*time.Hour), "HANDSTAMP_PUBLIC_URL=http://127.0.0.1:8080").of(t, "tls-unused")
	other := writePair(t, t.TempDir(), "x", now.Add(47*time.Hour))
	look(now.Add(47*time.Hour), "HANDSTAMP_TLS_KEY="+other.Key).of(t, "tls-unusable")
	look(now.Add(47*time.Hour), "HANDSTAMP_TLS_CERT=/nonexistent").of(t, "tls-unusable")

	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	narrow, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	large, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key  any
		want bool
	}{{&small.PublicKey, true}, {&narrow.PublicKey, true}, {&large.PublicKey, false}} {
		x := &examination{now: now}
		x.leaf(&x509.Certificate{NotBefore: now.Add(-day), NotAfter: now.Add(100 * day), PublicKey: tt.key}, "")
		if got := (report{Findings: x.findings}).has("tls-weak-key"); got != tt.want {
			t.Errorf("%T: found is %v", tt.key, got)
		}
	}
}

// TestDoctor_configuration_file: whoever may write to the configuration file chooses the database, however the server
// finds it. A file that only names the file of a secret is none itself.
func TestDoctor_configuration_file(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes of files")
	}
	dir := t.TempDir()
	path, secret := filepath.Join(dir, config.DefaultFile), filepath.Join(dir, "secret.txt")
	writeFile(t, path, []byte("secret_file = \""+secret+"\"\n"))
	writeFile(t, secret, []byte(doctorSecret+"\n"))
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, look := range map[string]func() report{
		"--config": func() report {
			return examine(t, healthy(t, "HANDSTAMP_SECRET"), doctorCmd{}, func(a *app) { a.file = path })
		},
		"HANDSTAMP_CONFIG": func() report {
			return examine(t, healthy(t, "HANDSTAMP_SECRET", "HANDSTAMP_CONFIG="+path), doctorCmd{})
		},
		"the working directory": func() report {
			t.Chdir(dir)
			return examine(t, healthy(t, "HANDSTAMP_SECRET"), doctorCmd{})
		},
	} {
		for mode, want := range map[fs.FileMode]string{0o644: "", 0o640: "", 0o660: "file-writable", 0o666: "file-writable", 0o602: "file-writable"} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			r := look()
			if want == "" && len(r.Findings) > 0 {
				t.Errorf("%s, mode %o: found %+v", name, mode, r.Findings)
			}
			if want != "" && r.of(t, want).Setting != "configuration file" {
				t.Errorf("%s, mode %o: found %+v", name, mode, r.Findings)
			}
		}
	}
}
