package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// subject is a binary of which the parts are listed.
type subject struct {
	info     *debug.BuildInfo
	version  string
	platform string // OS/ARCH
	binary   [sha256.Size]byte
	at       time.Time
}

// The document, as SPDX 2.3 has it in JSON (spdx.github.io/spdx-spec/v2.3). Only what is known is said: which modules are
// linked, in which version, with which sum of their content. Licences of others are not guessed.
type document struct {
	SPDXVersion       string         `json:"spdxVersion"`
	DataLicense       string         `json:"dataLicense"`
	SPDXID            string         `json:"SPDXID"`
	Name              string         `json:"name"`
	DocumentNamespace string         `json:"documentNamespace"`
	CreationInfo      creation       `json:"creationInfo"`
	Packages          []spdxPackage  `json:"packages"`
	Relationships     []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	Name             string        `json:"name"`
	SPDXID           string        `json:"SPDXID"`
	VersionInfo      string        `json:"versionInfo"`
	Supplier         string        `json:"supplier"`
	DownloadLocation string        `json:"downloadLocation"`
	FilesAnalyzed    bool          `json:"filesAnalyzed"`
	Checksums        []checksum    `json:"checksums,omitempty"`
	LicenseConcluded string        `json:"licenseConcluded"`
	LicenseDeclared  string        `json:"licenseDeclared"`
	CopyrightText    string        `json:"copyrightText"`
	Comment          string        `json:"comment,omitempty"`
	PrimaryPurpose   string        `json:"primaryPackagePurpose"`
	ExternalRefs     []externalRef `json:"externalRefs"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	documentID  = "SPDXRef-DOCUMENT"
	noAssertion = "NOASSERTION"
)

// bill lists the parts of a binary.
func bill(s subject) ([]byte, error) {
	sum := hex.EncodeToString(s.binary[:])
	main := part(s.info.Main.Path, s.version, "APPLICATION")
	main.Checksums = []checksum{{"SHA256", sum}}
	main.LicenseDeclared = "Apache-2.0"
	main.Comment = "The binary for " + s.platform + "."
	d := document{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: documentID,
		Name: "handstamp " + s.version + " for " + s.platform,
		// Unique for what it is about, and the same whoever makes it (section 6.5).
		DocumentNamespace: "https://" + s.info.Main.Path + "/spdx/" + url.PathEscape(s.version) + "/" + sum,
		CreationInfo:      creation{s.at.Format(time.RFC3339), []string{"Tool: " + s.info.Main.Path + "/internal/release"}},
		Packages:          []spdxPackage{main},
		Relationships:     []relationship{{documentID, "DESCRIBES", main.SPDXID}},
	}
	std := part("stdlib", strings.TrimPrefix(strings.Fields(s.info.GoVersion + " ")[0], "go"), "LIBRARY")
	std.Comment = "The standard library and the run-time system of Go."
	parts := []spdxPackage{std}
	for _, m := range s.info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		p := part(m.Path, m.Version, "LIBRARY")
		if m.Sum == "" {
			return nil, fmt.Errorf("the module %s has no sum", m.Path)
		}
		p.Comment = "Sum of the module's content, as in go.sum: " + m.Sum
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b spdxPackage) int { return strings.Compare(a.SPDXID, b.SPDXID) })
	for _, p := range parts {
		d.Packages = append(d.Packages, p)
		d.Relationships = append(d.Relationships, relationship{main.SPDXID, "DEPENDS_ON", p.SPDXID})
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// part is a module with what is true of all of them.
func part(path, version, purpose string) spdxPackage {
	return spdxPackage{
		Name: path, SPDXID: "SPDXRef-" + regexp.MustCompile(`[^A-Za-z0-9.-]+`).ReplaceAllString(path+"-"+version, "-"),
		VersionInfo: version, Supplier: noAssertion, DownloadLocation: noAssertion,
		LicenseConcluded: noAssertion, LicenseDeclared: noAssertion, CopyrightText: noAssertion, PrimaryPurpose: purpose,
		ExternalRefs: []externalRef{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + path + "@" + url.QueryEscape(version)}},
	}
}
