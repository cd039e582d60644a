// Command release packs a built binary for publication: the archive, and the list of what is in the binary (SBOM, SPDX
// 2.3). Who builds the same sources with the same Go gets the same bytes: there is no clock, no user, no path of a
// machine and no order of a map in them.
//
// It never builds anything, and never reads from the network; scripts/release does the first.
//
//	release pack -binary PATH -os OS -arch ARCH -version V -epoch SECONDS -root DIR -out DIR
//	release sums DIR
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	what, rest := "", []string(nil)
	if len(args) > 0 {
		what, rest = args[0], args[1:]
	}
	switch {
	case what == "sums" && len(rest) == 1:
		return sums(rest[0])
	case what == "pack":
		p, err := parsePack(rest)
		if err != nil {
			return err
		}
		return p.run()
	}
	return errors.New("want pack or sums: see the comment of package main")
}

// pack is one binary to be packed.
type pack struct {
	binary       string
	goos, goarch string
	version      string
	at           time.Time // of everything in the archive
	root, out    string
}

// shipped is what goes into an archive beside the binary.
func shipped() []string {
	return []string{"CHANGELOG.md", "LICENSE", "README.md", "deploy/systemd/handstamp.service", "deploy/systemd/handstamp.toml"}
}

func parsePack(args []string) (*pack, error) {
	p := &pack{}
	f := flag.NewFlagSet("pack", flag.ContinueOnError)
	f.StringVar(&p.binary, "binary", "", "the binary")
	f.StringVar(&p.goos, "os", "", "operating system")
	f.StringVar(&p.goarch, "arch", "", "architecture")
	f.StringVar(&p.version, "version", "", "version")
	f.StringVar(&p.root, "root", ".", "root of the sources")
	f.StringVar(&p.out, "out", "dist", "where to write")
	epoch := f.Int64("epoch", 0, "time of the files, in seconds since 1970")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	p.at = time.Unix(*epoch, 0).UTC()
	if p.at.Year() < 1980 || p.at.Year() > 2100 { // ZIP begins in 1980
		return nil, fmt.Errorf("-epoch %d is no time that an archive can hold", *epoch)
	}
	for _, s := range []string{p.version, p.goos, p.goarch} {
		if !regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]*$`).MatchString(s) {
			return nil, fmt.Errorf("%q cannot be a part of a file's name", s)
		}
	}
	return p, nil
}

// name is the archive's without its ending, and the directory in it.
func (p *pack) name() string { return "handstamp_" + p.version + "_" + p.goos + "_" + p.goarch }

func (p *pack) run() error {
	info, err := buildinfo.ReadFile(p.binary)
	if err != nil {
		return fmt.Errorf("read what the binary says of itself: %w", err)
	}
	if err := p.check(info); err != nil {
		return err
	}
	content, err := os.ReadFile(p.binary)
	if err != nil {
		return err
	}
	exe := "handstamp"
	if p.goos == "windows" {
		exe += ".exe"
	}
	entries := []entry{{p.name() + "/" + exe, 0o755, content}}
	for _, path := range shipped() {
		b, err := os.ReadFile(filepath.Join(p.root, filepath.FromSlash(path)))
		if err != nil {
			return err
		}
		entries = append(entries, entry{p.name() + "/" + path, 0o644, b})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	if err := os.MkdirAll(p.out, 0o750); err != nil {
		return err
	}
	archive, write := p.name()+".tar.gz", writeTar
	if p.goos == "windows" {
		archive, write = p.name()+".zip", writeZip
	}
	if err := writeFile(filepath.Join(p.out, archive), func(w io.Writer) error { return write(w, entries, p.at) }); err != nil {
		return err
	}
	list, err := bill(subject{
		info: info, version: p.version, platform: p.goos + "/" + p.goarch, binary: sha256.Sum256(content), at: p.at,
	})
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(p.out, p.name()+".spdx.json"), func(w io.Writer) error { _, err := w.Write(list); return err })
}

// check refuses a binary that was not built as releases are.
func (p *pack) check(info *debug.BuildInfo) error {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	for key, want := range map[string]string{"GOOS": p.goos, "GOARCH": p.goarch, "CGO_ENABLED": "0", "-trimpath": "true"} {
		if settings[key] != want {
			return fmt.Errorf("the binary was built with %s=%q, want %q", key, settings[key], want)
		}
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Replace != nil && m.Replace.Version == "" {
			return fmt.Errorf("the module %s came from a directory: nobody could build it again", m.Path)
		}
	}
	return nil
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// sums writes SHA256SUMS, which sha256sum -c reads, over every other file of a directory.
func sums(dir string) error {
	entries, err := os.ReadDir(dir) // by name
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, e := range entries {
		if e.IsDir() || e.Name() == "SHA256SUMS" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		fmt.Fprintf(&b, "%s  %s\n", hex.EncodeToString(sum[:]), e.Name())
	}
	return writeFile(filepath.Join(dir, "SHA256SUMS"), func(w io.Writer) error { _, err := io.WriteString(w, b.String()); return err })
}
