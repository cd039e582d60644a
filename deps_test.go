package handstamp_test

import (
	"encoding/json"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/handstamp/handstamp"

// leaves are packages of values and pure rules. They hold no state and ask nobody, so that any package above them may
// use their types.
var leaves = []string{"id", "token", "permission", "audit", "revoke", "jwt"}

// arrows says what each package may import of this module: the walls of the house. "." is the root. A package that is
// not listed may import nothing; an entry ending in /... stands for a whole folder.
var arrows = map[string][]string{
	"id":         {},
	"token":      {},
	"jwt":        {},
	"permission": {},
	"revoke":     {"id"},
	"audit":      {"id"},
	"keyring":    {"jwt"},
	".":          leaves,

	"account":          slices.Concat(leaves, []string{"."}),
	"account/importer": slices.Concat(leaves, []string{".", "account"}),
	"login":            slices.Concat(leaves, []string{".", "account"}),

	"login/password":                    slices.Concat(leaves, []string{".", "account", "login", "login/password/internal/blocklist"}),
	"login/password/internal/blocklist": {},
	"login/password/internal/commongen": {"login/password/internal/blocklist"},
	"login/logintest":                   slices.Concat(leaves, []string{".", "account", "login", "store/memory"}),

	"store/memory":    slices.Concat(backend(), []string{"store/transfer"}),
	"store/sqlite":    slices.Concat(backend(), []string{"store/transfer"}),
	"store/postgres":  slices.Concat(backend(), []string{"store/transfer"}),
	"store/redis":     slices.Concat(backend(), []string{"store/transfer", "store/internal/codec"}),
	"store/tiered":    slices.Concat(backend(), []string{"store/internal/codec"}),
	"store/storetest": backend(),
	"store/transfer":  backend(),

	"store/internal/codec": slices.Concat(leaves, []string{"."}),

	"store/storetest/transfertest": slices.Concat(backend(), []string{"store/transfer"}),

	"internal/bubbletest":     {},
	"internal/config":         {},
	"internal/fault":          {},
	"internal/fault/remoted":  {".", "remote"},
	"internal/fault/shaky":    {},
	"internal/fault/scenario": {"internal/fault"},
	"internal/release":        {},
	"internal/strictjson":     {},
	"internal/telemetry":      {},

	"move":   slices.Concat(leaves, []string{".", "store/transfer"}),
	"remote": {".", "id", "jwt", "revoke", "token"},

	"handstamptest":      slices.Concat(leaves, []string{".", "account", "login", "store/memory", "keyring"}),
	"forwardauth":        {".", "permission"},
	"internal/ratelimit": {},

	"server": slices.Concat(leaves, []string{".", "account", "login", "keyring", "forwardauth", "internal/strictjson", "internal/ratelimit"}),

	"cmd/handstamp":     {"..."},
	"examples/notes":    {"..."},
	"examples/ownusers": {"..."},
	"examples/api":      {"..."},

	"examples/verifiers": {"..."},
	"deploy":             {},
}

func backend() []string { return slices.Concat(leaves, []string{".", "account", "login", "keyring"}) }

type listed struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func local(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

// TestArrows holds the walls: an import that is not listed fails the build.
func TestArrows(t *testing.T) {
	for _, p := range list(t, "./...") {
		from, _ := local(p.ImportPath)
		allowed, known := arrows[from]
		if !known {
			t.Errorf("package %s is not in the list of arrows: say what it may import", from)
			continue
		}
		for _, path := range p.Imports {
			to, ours := local(path)
			if ours && !slices.Contains(allowed, to) && !slices.Contains(allowed, "...") {
				t.Errorf("%s imports %s, which is not among its arrows %v", from, to, allowed)
			}
		}
	}
}

// TestOneDriver: a program that imports the root and one store compiles that store's driver and no other.
func TestOneDriver(t *testing.T) {
	drivers := map[string]string{
		"modernc.org/sqlite": "store/sqlite", "github.com/jackc/pgx/v5": "store/postgres", "github.com/redis/rueidis": "store/redis",
	}
	pkgs := []string{".", "account", "login", "login/password", "store/memory", "store/tiered", "keyring", "server", "remote"}
	for _, pkg := range slices.Concat(pkgs, slices.Collect(maps.Values(drivers))) {
		out, err := exec.Command("go", "list", "-deps", "./"+pkg).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", pkg, err)
		}
		deps := strings.Fields(string(out))
		for driver, owner := range drivers {
			if pkg != owner && slices.Contains(deps, driver) {
				t.Errorf("%s compiles %s, which only %s needs", pkg, driver, owner)
			}
		}
	}
}
