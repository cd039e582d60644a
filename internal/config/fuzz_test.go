package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// FuzzLoad: any file and any environment give a configuration or mistakes, never
// a panic, never both, and never a part of the secret; and a configuration that
// is printed and loaded again is the same.
func FuzzLoad(f *testing.F) {
	for name, s := range samples() {
		f.Add(name+" = "+s.toml+"\n", name, s.text)
	}
	for _, tt := range ruleTests() {
		for _, text := range append(tt.accepted, tt.refused...) {
			f.Add("", tt.key, text)
			f.Add(tt.key+" = '"+text+"'", tt.key, text)
		}
	}
	f.Add("[session]\nidle_timeout = { a = [1, {b = 2}] }\n[[x]]\n", "secret", "a,b")
	f.Add("session = {idle_timeout = \"1h\", x.y = 1}\nlogin.\"max_failures\" = 0x10\n", "check.headers", "=")
	f.Fuzz(func(t *testing.T, file, key, text string) {
		env := "HANDSTAMP_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
		if strings.HasSuffix(env, "_FILE") || env == envConfig {
			return // would read another file
		}
		src := Sources{ReadFile: files{"handstamp.toml": file, "/s": canary}.read, Cores: 2,
			Environ: []string{env + "=" + text, "HANDSTAMP_CACHE=redis://:" + canary + "@h", "HANDSTAMP_SECRET=" + canary}}
		c, warnings, err := Load(src)
		if (c == nil) == (err == nil) {
			t.Fatalf("Load = %v, %v, want one of both", c, err)
		}
		if err != nil {
			list, ok := errors.AsType[*MistakesError](err)
			if !ok || len(list.Mistakes) == 0 {
				t.Fatalf("Load = %T, want mistakes", err)
			}
			for _, m := range list.Mistakes {
				if strings.ContainsAny(m.String(), "\n\r\x1b") {
					t.Fatalf("mistake %q is more than one line", m)
				}
			}
			refuseCanary(t, "error", err.Error())
			return
		}
		refuseCanary(t, "output", everyOutput(t, c)+fmt.Sprint(warnings))
		reload(t, c)
	})
}

func reload(t *testing.T, c *Config) {
	t.Helper()
	flags := map[string]string{}
	entries := c.Entries()
	for _, e := range entries {
		if !e.Secret && e.Value != "" {
			flags[e.Key] = e.Value
		}
	}
	again, _, err := Load(Sources{Flags: flags, ReadFile: files{}.read, Cores: 2})
	if err != nil {
		t.Fatalf("what Entries prints is refused: %v\n%v", err, entries)
	}
	for i, e := range again.Entries() {
		if !e.Secret && e.Value != entries[i].Value {
			t.Fatalf("%s printed %q and then %q", e.Key, entries[i].Value, e.Value)
		}
	}
}

func FuzzDSN(f *testing.F) {
	for _, s := range []string{"a", "a@b", "a/b", "a?b", "a#b", "a:b", "a&b=c", "%41", "%zz", "@@", "[::1]", "p w"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, password string) {
		// The canary is the end of the password: a cut at any special character
		// before it must not bring it into view.
		for _, format := range []string{"postgres://u:%s@h/d", "postgres://u:%s@h/d?sslmode=require", "redis://:%s@h:1", "redis://%s@h:1", "postgres://h/d?password=%s"} {
			for _, secret := range []string{password + canary, canary + password} {
				text := fmt.Sprintf(format, secret)
				for _, parse := range []func(string) (Backend, problems){parseDatabase, parseSessions, parseCache} {
					b, bad := parse(text)
					refuseCanary(t, text, b.String()+fmt.Sprintf("%+v%#v", b, b)+strings.Join(bad, ""))
				}
			}
		}
	})
}
