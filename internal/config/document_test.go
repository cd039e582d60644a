package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the documents that are made from the code")

const documentPath = "../../docs/configuration.md"

const documentHead = `# Configuration

Made from the table of keys in the code: ` + "`go test ./internal/config -run TestDocument -update`" + `.

Flags, environment and file are one set of keys. The key ` + "`session.idle_timeout`" + ` is the flag
` + "`--session-idle-timeout`" + `, the variable ` + "`HANDSTAMP_SESSION_IDLE_TIMEOUT`" + ` and, in the file, ` + "`idle_timeout`" + ` below ` + "`[session]`" + `:

` + "```toml" + `
public_url = "https://app.example.com"

[session]
idle_timeout = "12h"
` + "```" + `

The file is TOML: ` + "`--config PATH`" + `, else ` + "`HANDSTAMP_CONFIG`" + `, else ` + "`./handstamp.toml`" + ` if there is one. Flags win over
environment, environment over file, file over defaults. Unknown keys and unknown ` + "`HANDSTAMP_*`" + ` variables are mistakes, and
every mistake is reported in one go. ` + "`handstamp config`" + ` prints what is in force and where each value came from; secrets
print as REDACTED. Durations are written like ` + "`90s`, `15m`, `24h`" + `.

Where sessions are: ` + "`database`" + ` alone keeps all in one place; ` + "`sessions`" + ` moves the session records to memory or Redis; ` + "`cache`" + ` puts
Redis or Valkey in front of the database. Redis URLs: ` + "`redis://[user[:password]@]host[:port][/db][?parameters]`" + `, ` + "`rediss://`" + ` for TLS;
parameters: ` + "`addr=host:port`" + ` (more addresses), ` + "`master=NAME`" + ` (the addresses are Sentinels), ` + "`cluster=true`, `prefix=TEXT`" + `, and for TLS
` + "`ca=FILE`, `cert=FILE`, `key=FILE`, `server_name=NAME`" + `. [operations.md](operations.md) says which to choose.

| key | default | what it is | accepted |
|---|---|---|---|
`

// TestDocument: docs/configuration.md is what the table of keys says.
func TestDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString(documentHead)
	cell := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
	for _, k := range Keys() {
		initial := "–"
		if k.Default != "" {
			initial = "`" + k.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, cell(initial), cell(k.Help), cell(k.Limits))
	}
	if *update {
		if err := os.WriteFile(documentPath, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(documentPath)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not what the table of keys says: run go test ./internal/config -run TestDocument -update", documentPath)
	}
}
