package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"
	"unicode"

	"github.com/handstamp/handstamp/internal/config"
)

// steering are characters that a terminal obeys instead of showing them: DEL, C1 (CSI and NEL among them), separators,
// marks that turn the direction, and a tag outside the first plane.
const steering = "a\x7fb\u0080c\u0085d\u009b31me\u009ff\u2028g\u2029h\u202ei\u2066j\u200fk\u061cl\ufeffm\U000e0041n\U000110bdo"

// shows fails if a terminal would obey something in a text.
func shows(t testing.TB, what, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == 0x2028 || r == 0x2029) {
			t.Errorf("%s has %U: %q", what, r, text)
		}
	}
}

// TestL3_json_steers_no_terminal: JSON that goes to a terminal or a log shows what a client sent and does none of it,
// and programs read the value that was sent.
func TestL3_json_steers_no_terminal(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out}
	value := map[string]string{"user_agent": steering, "plain": "grün 日本 😀 <b>&\u00a0\"\\ \x1b\t"}
	if err := a.printJSON(value); err != nil {
		t.Fatal(err)
	}
	shows(t, "an answer", out.String())
	var got map[string]string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got["user_agent"] != value["user_agent"] || got["plain"] != value["plain"] {
		t.Errorf("read back: %q, %v", got, err)
	}
	if !strings.Contains(out.String(), "grün 日本 😀 <b>&\u00a0") || !strings.Contains(out.String(), `\u009b31me`) || !strings.Contains(out.String(), `\udb40\udc41n`) {
		t.Errorf("written as %s", &out)
	}
	for _, format := range []config.LogFormat{config.LogJSON, config.LogText} {
		out.Reset()
		a.logger(&config.Config{Log: config.Log{Format: format}}).Info("said "+steering, "user_agent", steering, slog.Group("in", "x"+steering, 1))
		shows(t, "a record of the log as "+string(format), out.String())
		var record map[string]any
		if err := json.Unmarshal(out.Bytes(), &record); format == config.LogJSON && (err != nil || record["user_agent"] != steering || record["msg"] != "said "+steering) {
			t.Errorf("read back: %q, %v", record, err)
		}
	}
}

func TestL3_one_line(t *testing.T) {
	got := oneLine("\n" + steering + "\r\n\x1b ü日😀")
	shows(t, "a line", got)
	if strings.Contains(got, "\n") || !strings.HasSuffix(got, "ü日😀") || !strings.HasPrefix(got, "a b c d 31me f g h i j k l m n o") {
		t.Errorf("%q", got)
	}
}

// FuzzEscapeJSON: whatever is in a text, its JSON says the same afterwards and steers nothing.
func FuzzEscapeJSON(f *testing.F) {
	f.Add(steering)
	f.Add("\\u009b \xff\xc2 \u00c2\u009b")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var before, after string
		escaped := escapeJSON(b)
		if err := json.Unmarshal(b, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(escaped, &after); err != nil || before != after {
			t.Errorf("%q became %q, %v", before, after, err)
		}
		shows(t, "JSON", string(escaped))
	})
}

// BenchmarkPlainJSON is what a line of the log costs more.
func BenchmarkPlainJSON(b *testing.B) {
	line := []byte(`{"time":"2026-11-21T18:48:00.123456789Z","level":"INFO","msg":"request","method":"GET","path":"/v1/check","status":200,"took":0.000123,"request_id":"01h2xcejqtf2nbrexx3vqjhp41"}` + "\n")
	w := plainJSON{io.Discard}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = w.Write(line)
	}
}
