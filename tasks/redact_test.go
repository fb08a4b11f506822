package tasks

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestRedactor writes text with secrets in it in pieces of any length: no value
// comes through, and what is not one does.
func TestRedactor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secrets := map[string]string{
			"A": rapid.StringMatching(`[ab]{2,5}x`).Draw(t, "a"), "B": rapid.StringMatching(`[abx\n]{1,4}`).Draw(t, "b"), "EMPTY": "",
		}
		text := ""
		for range rapid.IntRange(0, 8).Draw(t, "parts") {
			text += rapid.SampledFrom([]string{secrets["A"], secrets["B"], "a", "b", "ab", "\n", "-"}).Draw(t, "part")
		}
		var out bytes.Buffer
		r := newRedactor(&out, secrets)
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "length")
			if m, err := r.Write([]byte(rest[:n])); m != n || err != nil {
				t.Fatalf("Write = %d, %v", m, err)
			}
			rest = rest[n:]
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		for _, v := range secrets {
			if v != "" && strings.Contains(out.String(), v) {
				t.Fatalf("%q of %q is in %q", v, text, out.String())
			}
		}
	})
}

func TestRedactorPassesOn(t *testing.T) {
	var out bytes.Buffer
	r := newRedactor(&out, map[string]string{"TOKEN": "token-1"})
	for _, p := range []string{"a tok", "en, to", "ken-2, tok", "en-", "1; token-", "1", "\nto"} {
		r.Write([]byte(p))
	}
	r.Close()
	if got, want := out.String(), "a token, token-2, ***; ***\nto"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
