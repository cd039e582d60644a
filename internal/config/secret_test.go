package config

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// canary is a secret that must never turn up in an output. It is random, so that
// it is accepted where a secret is.
const canary = "Xq7Tn2Vb9Lm4Rk8Wc3Hd6Jf1Pg5Ys0Za"

func refuseCanary(t *testing.T, where, output string) {
	t.Helper()
	if strings.Contains(output, canary) || strings.Contains(output, canary[:8]) || strings.Contains(output, canary[len(canary)-8:]) {
		t.Errorf("%s shows the secret: %s", where, output)
	}
}

// everyOutput is c in all the ways that a program may print it by accident.
func everyOutput(t *testing.T, c *Config) string {
	t.Helper()
	var out bytes.Buffer
	holder := struct {
		Config  *Config
		Copy    Config
		private Config
		list    []Secret
		backend Backend
	}{c, *c, *c, c.Secret, c.Database}
	for _, v := range []any{c, *c, c.Secret, c.Database, c.Sessions, c.Cache, holder, &holder, c.Database.DSN} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("c", "c", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("c", "c", v)
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	if err := c.PrintJSON(&out); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(&out, c.Entries())
	return out.String()
}

func TestSecrets_are_never_printed(t *testing.T) {
	file := files{"/secret": canary + "\n", "/dsn": "postgres://u:" + canary + "@h/d",
		"handstamp.toml": "secret = [\"" + canary + "\", \"" + goodSecret + "\"]\ndatabase = \"postgres://u:" + canary + "@h/d?password=" + canary + "\"\n" +
			"sessions = \"redis://" + canary + "@h:1\"\ncache = \"redis://:" + canary + "@h:1?key=" + canary + "&" + canary + "\"\n"}
	sources := []Sources{
		{ReadFile: file.read},
		{ReadFile: files{}.read, Environ: []string{"HANDSTAMP_SECRET=" + goodSecret + "," + canary, "HANDSTAMP_DATABASE=postgres://h/d?sslpassword=" + canary}},
		{ReadFile: files{}.read, Flags: map[string]string{"secret": canary, "database": "postgresql://u:" + canary + "@h1:1,h2:2/d"}},
		{ReadFile: file.read, Environ: []string{"HANDSTAMP_CONFIG=/none"}, File: "handstamp.toml", Flags: map[string]string{"secret-file": "/secret", "database-file": "/dsn"}},
	}
	for i, src := range sources {
		c, warnings, err := Load(src)
		if err != nil {
			t.Fatal(err)
		}
		out := everyOutput(t, c) + fmt.Sprint(warnings)
		refuseCanary(t, fmt.Sprint("source ", i), out)
		refuseCanary(t, fmt.Sprint("source ", i, " in hex"), strings.ReplaceAll(strings.ToLower(out), hex.EncodeToString([]byte(canary)), canary))
		if !strings.Contains(out, redacted) {
			t.Errorf("source %d: no REDACTED in the output", i)
		}
		if c.Secret[len(c.Secret)-1].Reveal() == "" && len(c.Secret) > 0 {
			t.Errorf("source %d: the secret was not taken", i)
		}
	}
}

// TestMistakes_never_show_a_value puts the canary where each key, each file and
// each broken document has its value.
func TestMistakes_never_show_a_value(t *testing.T) {
	var sources []Sources
	for _, k := range Keys() {
		for _, text := range []string{canary, canary + "\x01", canary + "://" + canary, "postgres://u:" + canary + "@h:x/d", "redis://" + canary + "@h:x", "sqlite://" + canary,
			"https://" + canary + "@h", "item," + canary, "Handstamp-User=" + canary + " ", canary[:31], canary + canary + strings.Repeat("é", 1024)} {
			sources = append(sources,
				Sources{Environ: []string{k.Env + "=" + text}, ReadFile: files{}.read},
				Sources{Flags: map[string]string{k.Flag: text}, ReadFile: files{}.read},
				Sources{ReadFile: files{"handstamp.toml": k.Name + " = '''" + text + "'''\n", text: text}.read})
		}
	}
	for _, text := range []string{
		"secret = " + canary, "secret = \"" + canary, "secret = [\"" + canary + "\"", "secret = '" + canary + "'x", "secret = 0x" + canary, "secret = 1" + canary,
		"secret = 1e" + canary, "secret = \"\\" + canary + "\"", canary, "[" + canary, "secret = true" + canary, "secret = 2026-" + canary, "secret = 123456789123456789123" + canary,
		"secret = {a = \"" + canary + "\"}", "secret = [[\"" + canary + "\"]]", "secret = \"" + canary + "\"\nsecret = \"" + canary + "\"", "\"" + canary,
	} {
		sources = append(sources, fromFile(text))
	}
	for _, text := range []string{canary, canary + "\n\n" + canary[:20], strings.Repeat(canary, 4000), "postgres://" + canary} {
		for _, key := range []string{"secret-file", "database-file", "sessions-file", "cache-file"} {
			sources = append(sources, Sources{Flags: map[string]string{key: "/f"}, ReadFile: files{"/f": text}.read})
		}
	}
	// Unquoted digits are a number to the parser, which quotes those it cannot hold.
	if got := (&MistakesError{Mistakes: mistakesOf(t, fromFile("secret = 73915528e46019955"))}).Error(); strings.Contains(got, "7391") {
		t.Errorf("an unquoted secret of digits is shown: %s", got)
	}
	// The path of a file may be shown, so it is not the canary's place.
	for _, src := range sources {
		_, warnings, err := Load(src)
		if err != nil {
			refuseCanary(t, fmt.Sprint(src.Environ, src.Flags), err.Error())
		}
		for _, w := range warnings {
			refuseCanary(t, "warning", w.String())
		}
	}
}

func TestBackend_hides_the_password(t *testing.T) {
	tests := []struct{ text, want string }{
		{"postgres://u:p@h/d", "postgres://u:REDACTED@h/d"},
		{"postgres://u:@h/d", "postgres://u:REDACTED@h/d"},
		{"postgres://u@h/d", "postgres://u@h/d"},
		{"postgres://u:a@b@h/d", "postgres://u:REDACTED@h/d"},
		{"postgres://u:p@h1:1,h2:2/d", "postgres://u:REDACTED@h1:1,h2:2/d"},
		{"postgres://h/d?user=u&password=p&sslmode=require", "postgres://h/d?user=u&password=REDACTED&sslmode=require"},
		{"postgres://h/d?PASSWORD=p&p&options=-c%20x=p", "postgres://h/d?REDACTED&p=REDACTED&options=REDACTED"},
	}
	for _, tt := range tests {
		b, bad := parseDatabase(tt.text)
		if len(bad) > 0 || b.String() != tt.want {
			t.Errorf("parseDatabase(%q) = %q, %v, want %q", tt.text, b, bad, tt.want)
		}
	}
	for text, want := range map[string]string{"redis://p@h": "redis://REDACTED@h", "redis://:p@h": "redis://REDACTED@h", "rediss://u:p@h:1/2": "rediss://REDACTED@h:1/2"} {
		if b, bad := parseCache(text); len(bad) > 0 || b.String() != want {
			t.Errorf("parseCache(%q) = %q, %v, want %q", text, b, bad, want)
		}
	}
}

func TestLoad_secret_files(t *testing.T) {
	second := "bM6hRz2xWq9LtVn4Kc8Yd1Jf7Gp3Hs5Q"
	file := files{"/one": goodSecret, "/two": "\r\n" + goodSecret + "\r\n" + second + "\n\n", "/short": "short", "/empty": "\n", "/binary": strings.Repeat("\xff\x80\xfe", 20),
		"/dsn": " postgres://u:p@h/d\n", "/dsns": "memory\nmemory\n", "/sqlite": "sqlite:/x.db\n"}
	load := func(env ...string) (*Config, error) {
		c, _, err := Load(Sources{Environ: env, ReadFile: file.read})
		return c, err
	}
	c, err := load("HANDSTAMP_SECRET_FILE=/two", "HANDSTAMP_DATABASE_FILE=/sqlite")
	if err != nil || len(c.Secret) != 2 || c.Secret[0].Reveal() != goodSecret || c.Secret[1].Reveal() != second {
		t.Fatalf("two secrets in a file: %v, %v", c, err)
	}
	if c.Database.Path != "/x.db" || c.Origin("secret") != "environment HANDSTAMP_SECRET_FILE" || entry(t, c, "secret_file").Value != "/two" {
		t.Errorf("database %v, origin %q", c.Database.Path, c.Origin("secret"))
	}
	for _, env := range [][]string{
		{"HANDSTAMP_SECRET_FILE=/none"}, {"HANDSTAMP_SECRET_FILE=/short"}, {"HANDSTAMP_SECRET_FILE=/empty"}, {"HANDSTAMP_SECRET_FILE=/binary"},
		{"HANDSTAMP_DATABASE_FILE=/dsn"}, {"HANDSTAMP_DATABASE_FILE=/dsns"},
		{"HANDSTAMP_SECRET_FILE=/one", "HANDSTAMP_SECRET=" + second},
	} {
		if _, err := load(env...); err == nil || len(strings.Split(err.Error(), "\n")) != 1 {
			t.Errorf("%v: %v, want one mistake", env, err)
		}
	}
	// The higher source wins, and a file that does not count need not exist.
	c = mustLoad(t, Sources{Environ: []string{"HANDSTAMP_SECRET_FILE=/none"}, Flags: map[string]string{"secret": second}})
	if c.Secret[0].Reveal() != second || entry(t, c, "secret_file").Value != "" || c.Origin("secret_file") != OriginDefault {
		t.Errorf("flag over file: %v, secret_file %+v", c.Origin("secret"), entry(t, c, "secret_file"))
	}
	c = mustLoad(t, Sources{Environ: []string{"HANDSTAMP_SECRET=" + second}, Flags: map[string]string{"secret-file": "/one"}, ReadFile: file.read})
	if c.Secret[0].Reveal() != goodSecret {
		t.Errorf("the file named by a flag lost against the environment")
	}
}

func TestLoad_secret_lists(t *testing.T) {
	c := mustLoad(t, fromFile("secret = [\" "+goodSecret+",with a comma \"]\n"))
	if len(c.Secret) != 1 || c.Secret[0].Reveal() != " "+goodSecret+",with a comma " {
		t.Errorf("an array's secret was changed: it has %d items", len(c.Secret))
	}
	c = mustLoad(t, Sources{Environ: []string{"HANDSTAMP_SECRET=" + goodSecret + "," + canary}})
	if len(c.Secret) != 2 || c.Secret[0].Reveal() != goodSecret || c.Secret[1].Reveal() != canary {
		t.Errorf("the environment's list has %d items", len(c.Secret))
	}
	_, warnings, err := Load(Sources{Flags: map[string]string{"secret": goodSecret}, ReadFile: files{}.read})
	if err != nil || len(warnings) != 1 || warnings[0].Key != "secret" {
		t.Errorf("a secret on the command line: %v, %v, want a warning", warnings, err)
	}
	for _, bad := range []string{goodSecret + "," + goodSecret, goodSecret + ",", strings.Repeat("é", 513), goodSecret + "\x00", goodSecret + "\xff"} {
		if got := mistakesOf(t, Sources{Environ: []string{"HANDSTAMP_SECRET=" + bad}}); len(got) != 1 {
			t.Errorf("%q: %v, want one mistake", bad, got)
		}
	}
}

func readList(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		list = append(list, strings.TrimRight(line, "\n"))
	}
	return list
}

// problemOf returns a check of one secret: its mistake or "".
func problemOf() func(string) string {
	published := publishedSet()
	return func(s string) string { // as a server sees it that others can reach
		if p := secretProblem(s, published); p != "" {
			return p
		}
		if d := secretDoubt(s); d != "" {
			return "is weak: " + d
		}
		return ""
	}
}

// upper changes the case of ASCII letters only: of some others the change cannot
// be undone.
func upper(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			r -= 'a' - 'A'
		}
		return r
	}, s)
}

// ASVS 6.3.2: the server does not start with a sample, short or listed secret.
func TestP15_known_secrets_are_refused(t *testing.T) {
	problem := problemOf()
	all := map[string]int{
		filepath.Join("testdata", "jwt-secrets", "sample-1000.list"): 1000,
		filepath.Join("testdata", "jwt-secrets", "fixed-200.list"):   200,
		filepath.Join("weaksecrets", "jwt.secrets.32.list"):          1830,
	}
	for path, count := range all {
		list := readList(t, path)
		if len(list) != count {
			t.Fatalf("%s has %d lines, want %d", path, len(list), count)
		}
		for _, s := range list {
			for _, spelled := range []string{s, " " + s + "\t", upper(s)} {
				got := problem(spelled)
				if len(strings.TrimSpace(spelled)) < minSecretBytes && !strings.Contains(got, "too short") || len(strings.TrimSpace(spelled)) >= minSecretBytes && len(spelled) <= maxSecretBytes && !strings.Contains(got, "well known") && !strings.Contains(got, "is weak") {
					t.Errorf("%s: %q: %q, want it refused with a reason", path, spelled, got)
				}
			}
			if got := problem(s); len(strings.TrimSpace(s)) >= minSecretBytes && len(s) <= maxSecretBytes && !strings.Contains(got, "well known") {
				t.Errorf("%s: %q: %q, want well known", path, s, got)
			}
		}
	}
	got := mistakesOf(t, fromFile("secret = [\""+readList(t, filepath.Join("weaksecrets", "jwt.secrets.32.list"))[400]+"\"]\n"))
	if len(got) != 1 || got[0].Key != "secret" || !strings.Contains(got[0].Text, "well known") {
		t.Errorf("Load with a listed secret: %v, want one mistake that says so", got)
	}
}

func TestP15_sample_secrets_are_refused(t *testing.T) {
	problem := problemOf()
	for _, s := range []string{
		"change-me-change-me-change-me-change-me", "CHANGE_ME_TO_SOMETHING_SECURE_IN_PRODUCTION", "please-change-this-secret-key-before-use",
		"your-super-secret-jwt-key-with-at-least-32-characters", "this is my very long secret, do not use it in production!!", "development-secret-key-1234567890",
		"<your handstamp secret here, at least 32 characters>", "supersecretsupersecretpassword123456", "0000000000-development-secret-0000000000",
		"insecure-default-secret-for-local-testing-only", "handstamp-example-signing-secret-0123",
		"PleaseGenerateARandomStringWithOpenSSL32Bytes", "TODO: replace with a random value from your secret store",
	} {
		if got := problem(s); !strings.Contains(got, "is weak") && !strings.Contains(got, "well known") {
			t.Errorf("%q: %q, want it refused as a sample", s, got)
		}
	}
}

// RFC 8725 section 3.5: no low-entropy keys.
func TestJ7_low_entropy_secrets_are_refused(t *testing.T) {
	problem := problemOf()
	for _, s := range []string{
		strings.Repeat("a", 32), strings.Repeat("ab", 512), strings.Repeat("0123456789abcdef", 2), strings.Repeat("Zs0t9oXy4q2mJr7V", 2), strings.Repeat("Zs0t9oXy4q2mJr7Vb", 3)[:48],
		"abcdefghijklmnopqrstuvwxyz012345", "zyxwvutsrqponmlkjihgfedcba9876543210", "12345678901234567890123456789012", "qwertyuiopasdfghjklzxcvbnm123456",
		"1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef", "aaaaaaaabbbbbbbbccccccccdddddddd", "aaaabbbbccccddddeeeeffffgggghhhhiiiijjjj",
		"01010101101010010101011010100101", "!@#$%^&*()_+!@#$%^&*()_+!@#$%^&*",
	} {
		if got := problem(s); !strings.Contains(got, "is weak") && !strings.Contains(got, "well known") {
			t.Errorf("%q: %q, want it refused as weak", s, got)
		}
	}
	for _, s := range []string{"", "a", strings.Repeat("é", 15) + "x", strings.Repeat(" ", 40), strings.Repeat("\n", 40), "secret" + strings.Repeat(" ", 40)} {
		if got := problem(s); !strings.Contains(got, "too short") {
			t.Errorf("%q: %q, want too short", s, got)
		}
	}
}

// TestJ7_random_secrets_are_accepted: a generator's output in any of the usual
// alphabets must never be refused, whatever its luck.
func TestJ7_random_secrets_are_accepted(t *testing.T) {
	problem := problemOf()
	r := rand.New(rand.NewChaCha8([32]byte([]byte(canary))))
	random := func(n int, alphabet string) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	var printable strings.Builder
	for c := byte('!'); c <= '~'; c++ {
		printable.WriteByte(c)
	}
	lower := "abcdefghijklmnopqrstuvwxyz"
	alnum := lower + strings.ToUpper(lower) + "0123456789"
	for range 4000 {
		for _, s := range []string{
			random(32, "0123456789abcdef"), random(64, "0123456789abcdef"), random(44, alnum+"+/"), random(32, alnum), random(32, lower), random(32, printable.String()),
			random(52, "abcdefghijklmnopqrstuvwxyz234567"), random(1024, alnum+"-_"), random(48, "0123456789"),
			"handstamp-production-secret-" + random(24, alnum),
		} {
			if got := problem(s); got != "" {
				t.Fatalf("%q: %s, want it accepted", s, got)
			}
		}
	}
	for _, s := range []string{"correct horse battery staple unicorn lighthouse", "Überfahrt-Knäckebrot-Löwenzahn-Ömmes", "ключ-который-никто-не-угадает-никогда-в-жизни"} {
		if got := problem(s); got != "" {
			t.Errorf("%q: %s, want it accepted", s, got)
		}
	}
}

func TestEnsureSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	first, created, err := EnsureSecret(dir)
	if err != nil || !created || len(first) != 1 {
		t.Fatalf("EnsureSecret = %d secrets, %v, %v, want one that was created", len(first), created, err)
	}
	if raw, err := base64.RawURLEncoding.DecodeString(first[0].Reveal()); err != nil || len(raw) != generatedBytes {
		t.Errorf("the secret holds %d bytes, %v", len(raw), err)
	}
	again, created, err := EnsureSecret(dir)
	if err != nil || created || again[0].Reveal() != first[0].Reveal() {
		t.Errorf("EnsureSecret again = created %v, %v, want the same secret", created, err)
	}
	path := filepath.Join(dir, SecretFile)
	if runtime.GOOS != "windows" {
		for name, want := range map[string]os.FileMode{dir: 0o700, path: 0o600} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("mode of %s = %v, %v, want %v", name, info.Mode().Perm(), err, want)
			}
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("the directory has %v, %v, want the secret only", names, err)
	}
	other, _, err := EnsureSecret(t.TempDir())
	if err != nil || other[0].Reveal() == first[0].Reveal() {
		t.Errorf("two directories share a secret: %v", err)
	}
	// Rotation: a line more, the first makes.
	if err := os.WriteFile(path, []byte(goodSecret+"\n"+first[0].Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, _, err := EnsureSecret(dir); err != nil || len(list) != 2 || list[0].Reveal() != goodSecret {
		t.Errorf("two lines = %d secrets, %v", len(list), err)
	}
}

func TestEnsureSecret_together(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var wg sync.WaitGroup
	var mu sync.Mutex
	makers, seen := 0, map[string]bool{}
	start := make(chan struct{})
	for range 16 {
		wg.Go(func() {
			<-start
			list, created, err := EnsureSecret(dir)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("EnsureSecret: %v", err)
				return
			}
			if created {
				makers++
			}
			seen[list[0].Reveal()] = true
		})
	}
	close(start)
	wg.Wait()
	if makers != 1 || len(seen) != 1 {
		t.Errorf("%d makers and %d secrets, want one of each", makers, len(seen))
	}
}

func TestEnsureSecret_refuses(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes mean nothing here")
	}
	write := func(t *testing.T, text string, mode os.FileMode) string {
		t.Helper()
		dir := t.TempDir()
		path := filepath.Join(dir, SecretFile)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	linked := t.TempDir()
	if err := os.Symlink(filepath.Join(write(t, canary, 0o600), SecretFile), filepath.Join(linked, SecretFile)); err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, dir, want string }{
		{"readable by the group", write(t, canary, 0o640), "run chmod 600"},
		{"readable by all", write(t, canary, 0o604), "run chmod 600"},
		{"weak", write(t, strings.Repeat("x", 40), 0o600), "is weak"},
		{"cut short", write(t, canary[:20], 0o600), "too short"},
		{"empty", write(t, "", 0o600), "is empty"},
		{"huge", write(t, strings.Repeat(canary+"\n", 3000), 0o600), "larger than 64 KiB"},
		{"a link", linked, "no plain file"},
		{"directory open to all", open, "chmod 700"},
		{"directory is a file", filepath.Join(write(t, "x", 0o600), SecretFile), "create data directory"},
	}
	for _, tt := range tests {
		list, created, err := EnsureSecret(tt.dir)
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(list) != 0 || created {
			t.Errorf("%s: %d secrets, %v, %v, want an error with %q", tt.name, len(list), created, err, tt.want)
			continue
		}
		refuseCanary(t, tt.name, err.Error())
	}
	if names, err := os.ReadDir(open); err != nil || len(names) != 0 {
		t.Errorf("the open directory has %v, %v, want nothing written to it", names, err)
	}
}

// TestP15_doubtful_secrets: what looks like a sample starts nothing that others can reach; on one's own machine it is said.
func TestP15_doubtful_secrets(t *testing.T) {
	const sample = "secret = [\"a-test-secret-for-the-tests-only-0001\"]\n"
	if got := mistakesOf(t, fromFile("public_url = \"https://app.example.com\"\n"+sample)); len(got) != 1 || got[0].Key != "secret" {
		t.Errorf("for others to reach: %v", got)
	}
	_, warnings, err := Load(fromFile(sample))
	if err != nil {
		t.Fatalf("on one's own machine: %v", err)
	}
	said := false
	for _, w := range warnings {
		said = said || w.Key == "secret"
		if strings.Contains(w.Text, "0001") {
			t.Errorf("the warning holds the secret: %s", w.Text)
		}
	}
	if !said {
		t.Errorf("warnings %v, want one about the secret", warnings)
	}
}
