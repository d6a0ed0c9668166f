package caddymodule

import (
	"strings"
	"testing"
)

// What an endpoint answers is shown to people: it must not steer their terminal.
func TestFirstLineOfAnAnswer(t *testing.T) {
	for answer, want := range map[string]string{
		"": "", "\n \n": "", "signature does not match\n": "signature does not match", "  one\ntwo": "one",
		"\x1b[2Jcleared\a": "[2Jcleared", "\u202eevil": "evil", "日本": "日本",
		strings.Repeat("é", 201): strings.Repeat("é", 200) + "...",
	} {
		if got := firstLine(answer); got != want {
			t.Errorf("%q: %q, want %q", answer, got, want)
		}
	}
}
