package caddymodule

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
)

// hostile are texts that steer a terminal, or show something else than they say.
var hostile = []string{
	"\x1b[2Jcleared", "\x1b]0;title\a", "\u009b31mred", "back\b\b\bspace", "line\rover", "\u202egnp.exe", "\u2066isolate",
	"zero\u200bwidth", "\ufeff", "nul\x00", "del\x7f", "para\u2029graph", "\U000e0041tag",
}

func TestNothingThatIsPrintedSteersATerminal(t *testing.T) {
	for _, text := range hostile {
		for _, human := range []bool{true, false} {
			root := &cobra.Command{Use: "relay"}
			relayCommand(root)
			root.AddCommand(&cobra.Command{Use: "probe", RunE: func(cmd *cobra.Command, _ []string) error {
				if human {
					_, err := cmd.OutOrStdout().Write([]byte("said\t" + text + "\n"))
					return err
				}
				// As what came over the wire is printed: encoding/json leaves most of them as they are.
				return printJSON(cmd.OutOrStdout(), []byte(`{"said": `+string(unescaped(t, text))+`}`))
			}})
			var out bytes.Buffer
			root.SetOut(&out)
			root.SetArgs([]string{"probe"})
			if err := root.Execute(); err != nil {
				t.Fatal(err)
			}
			for _, r := range out.String() {
				if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
					t.Errorf("%q (for people: %v) is printed as %q", text, human, out.String())
				}
			}
			var said struct{ Said string }
			if err := json.Unmarshal(out.Bytes(), &said); !human && (err != nil || said.Said != text) {
				t.Errorf("%q became %q (%v)", text, said.Said, err)
			}
		}
	}
}

// unescaped is a JSON text that holds all characters itself that it may.
func unescaped(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	for escaped, r := range map[string]string{`\u2028`: "\u2028", `\u2029`: "\u2029"} {
		raw = bytes.ReplaceAll(raw, []byte(escaped), []byte(r))
	}
	return raw
}

func TestTextsArePrintedAsTheyAre(t *testing.T) {
	for _, text := range []string{"", "order.paid\tdelivered\n", "日本 é — 🎉\n", "half: \ufffd", strings.Repeat("日", 5000)} {
		var out bytes.Buffer
		w := &plainWriter{to: &out}
		// A byte at a time, as a buffer may be cut anywhere.
		for _, b := range []byte(text) {
			if n, err := w.Write([]byte{b}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		if out.String() != text {
			t.Errorf("%q is printed as %q", text, out.String())
		}
	}
	var out bytes.Buffer
	if _, err := (&plainWriter{to: &out}).Write([]byte("a\xffb")); err != nil || out.String() != "a\ufffdb" {
		t.Errorf("a byte that is no character is printed as %q", out.String())
	}
	if n, err := (&plainWriter{to: failing{}}).Write([]byte("a")); n != 0 || err == nil {
		t.Errorf("a closed pipe was not noticed: %d, %v", n, err)
	}
}

// TestErrorsOfTheAdminAPIArePlain: they quote what was asked for.
func TestErrorsOfTheAdminAPIArePlain(t *testing.T) {
	for _, text := range hostile {
		body, err := json.Marshal(map[string]string{"error": text})
		if err != nil {
			t.Fatal(err)
		}
		said := (&client{}).explain(apiError("caddy responded with error: HTTP 404: " + string(body))).Error()
		if strings.ContainsFunc(said, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is told as %q", text, said)
		}
	}
}

// failing is a pipe that nobody reads any more.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, syscall.EPIPE }

type apiError string

func (e apiError) Error() string { return string(e) }

// TestCommandAsksAgainWhereAReloadCutsItOff: while Caddy replaces its admin endpoint, a connection to
// the one before may end without an answer. What only reads is asked again; what changes something
// may have been done.
func TestCommandAsksAgainWhereAReloadCutsItOff(t *testing.T) {
	for method, want := range map[string]int{http.MethodGet: 2, http.MethodPost: 1} {
		asked := 0
		admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if asked++; asked == 1 {
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write([]byte("{}"))
		}))
		answer, err := (&client{address: admin.Listener.Addr().String()}).call(method, "/relay/health/ready", nil)
		admin.Close()
		if asked != want || (err == nil) != (want == 2) || err == nil && string(answer) != "{}" {
			t.Errorf("%s: asked %d times, %q, %v", method, asked, answer, err)
		}
	}
}
