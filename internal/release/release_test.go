package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// build builds this very program for this machine, as scripts/release builds the other.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "binary")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func packed(t *testing.T, args ...string) (dir string, err error) {
	t.Helper()
	dir = t.TempDir()
	return dir, run(append([]string{"pack", "-version", "v1.2.3", "-epoch", "1700000001", "-root", "../..", "-out", dir}, args...))
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// The same binary gives the same bytes, at another time, in another directory.
func TestPack_tar(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("packed as ZIP there")
	}
	binary := build(t)
	one, err := packed(t, "-binary", binary, "-os", runtime.GOOS, "-arch", runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(binary, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	two, err := packed(t, "-binary", binary, "-os", runtime.GOOS, "-arch", runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	name := "handstamp_v1.2.3_" + runtime.GOOS + "_" + runtime.GOARCH
	for _, name := range []string{name + ".tar.gz", name + ".spdx.json"} {
		if sum(t, filepath.Join(one, name)) != sum(t, filepath.Join(two, name)) {
			t.Errorf("%s has other bytes", name)
		}
	}
	f, err := os.Open(filepath.Join(one, name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil || !z.ModTime.IsZero() || z.Name != "" {
		t.Fatalf("%v %+v", err, z.Header)
	}
	before, seen := "", 0
	for r := tar.NewReader(z); ; seen++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		rest, below := strings.CutPrefix(h.Name, name+"/")
		if !below || h.Name <= before || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 1700000001 || (h.Mode == 0o755) != (rest == "handstamp") {
			t.Errorf("%+v", h)
		}
		before = h.Name
	}
	if seen != 1+len(shipped()) {
		t.Errorf("%d files", seen)
	}
}

func TestPack_zip(t *testing.T) {
	at := time.Unix(1700000001, 0).UTC()
	var one, two bytes.Buffer
	entries := []entry{{"x/handstamp.exe", 0o755, []byte("program")}, {"x/README.md", 0o644, []byte("text")}}
	if err := errors.Join(writeZip(&one, entries, at), writeZip(&two, entries, at)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("other bytes")
	}
	z, err := zip.NewReader(bytes.NewReader(one.Bytes()), int64(one.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range z.File {
		if f.Name != entries[i].name || f.Modified.Unix() != 1700000000 || f.Mode() != entries[i].mode {
			t.Errorf("%s: %v %v", f.Name, f.Modified, f.Mode())
		}
	}
}

// What was built otherwise, or is called what it is not, is refused.
func TestPack_refuses(t *testing.T) {
	binary := build(t)
	for _, args := range [][]string{
		{"-binary", binary, "-os", runtime.GOOS, "-arch", "riscv64"},
		{"-binary", binary, "-os", "plan9", "-arch", runtime.GOARCH},
		{"-binary", "main.go", "-os", runtime.GOOS, "-arch", runtime.GOARCH},
		{"-binary", binary, "-os", "../x", "-arch", runtime.GOARCH},
		{"-binary", binary, "-os", runtime.GOOS, "-arch", runtime.GOARCH, "-version", "v1/../.."},
		{"-binary", binary, "-os", runtime.GOOS, "-arch", runtime.GOARCH, "-epoch", "0"},
		{"-binary", binary, "-os", runtime.GOOS, "-arch", runtime.GOARCH, "-root", t.TempDir()},
	} {
		if _, err := packed(t, args...); err == nil {
			t.Errorf("%v is packed", args)
		}
	}
	p := &pack{goos: "linux", goarch: "amd64"}
	info := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "GOOS", Value: "linux"}, {Key: "GOARCH", Value: "amd64"}, {Key: "CGO_ENABLED", Value: "0"}, {Key: "-trimpath", Value: "true"}}}
	if err := p.check(info); err != nil {
		t.Error(err)
	}
	info.Settings[2].Value = "1"
	if p.check(info) == nil {
		t.Error("a binary that needs a C library is packed")
	}
	info.Settings[2].Value = "0"
	info.Deps = []*debug.Module{{Path: "example.com/x", Version: "v1.0.0", Replace: &debug.Module{Path: "../x"}}}
	if p.check(info) == nil {
		t.Error("a module from a directory is packed")
	}
}

func TestBill(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8 X:x", Main: debug.Module{Path: "github.com/handstamp/handstamp", Version: "(devel)"}, Deps: []*debug.Module{
		{Path: "example.com/b", Version: "v2.0.0+incompatible", Sum: "h1:b="},
		{Path: "example.com/a", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.0.1", Sum: "h1:c="}},
	}}
	at := time.Unix(1700000001, 0).UTC()
	list, err := bill(subject{info: info, version: "v1.2.3", platform: "linux/amd64", binary: sha256.Sum256(nil), at: at})
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(list))
	d.DisallowUnknownFields()
	var doc document
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{documentID: true}
	var names []string
	for _, p := range doc.Packages {
		if ids[p.SPDXID] || !regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`).MatchString(p.SPDXID) {
			t.Errorf("the id %s is no id, or is there twice", p.SPDXID)
		}
		ids[p.SPDXID] = true
		names = append(names, p.Name+" "+p.VersionInfo+" "+p.ExternalRefs[0].Locator)
	}
	want := []string{
		"github.com/handstamp/handstamp v1.2.3 pkg:golang/github.com/handstamp/handstamp@v1.2.3",
		"example.com/b v2.0.0+incompatible pkg:golang/example.com/b@v2.0.0%2Bincompatible",
		"example.com/fork v1.0.1 pkg:golang/example.com/fork@v1.0.1",
		"stdlib 1.26.8 pkg:golang/stdlib@1.26.8",
	}
	if strings.Join(names, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", names)
	}
	for _, r := range doc.Relationships {
		if !ids[r.From] || !ids[r.To] {
			t.Errorf("%+v is about nothing", r)
		}
	}
	if len(doc.Relationships) != 4 || doc.CreationInfo.Created != "2023-11-14T22:13:21Z" || doc.SPDXVersion != "SPDX-2.3" {
		t.Errorf("%+v", doc)
	}
	info.Deps[0].Sum = ""
	if _, err := bill(subject{info: info, version: "v1", at: at}); err == nil {
		t.Error("a module without a sum is listed")
	}
}

func TestSums(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a", "SHA256SUMS"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := run([]string{"sums", dir}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, name := range []string{"a", "b"} {
		s := sha256.Sum256([]byte(name))
		want += hex.EncodeToString(s[:]) + "  " + name + "\n"
	}
	if string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
	if run([]string{"nonsense"}) == nil || run(nil) == nil {
		t.Error("wrong use is taken")
	}
}
