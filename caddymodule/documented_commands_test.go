package caddymodule

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var (
	relayInvocation = regexp.MustCompile(`(?:\bcaddy|xcaddy\.sh) relay\b([^)]*)`) // it may stand in $(...)
	inlineCode      = regexp.MustCompile("`([^`\n]+)`")
)

// TestDocumentedCommandsExist: each "caddy relay ..." in code of a page names a subcommand
// with flags that it has. What stands behind a prompt is whole, and could be typed so.
func TestDocumentedCommandsExist(t *testing.T) {
	seen := 0
	for _, page := range documentation(t) {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range codeOf(string(raw)) {
			found := relayInvocation.FindStringSubmatch(line)
			if found == nil {
				continue
			}
			seen++
			if err := mistaken(found[1], strings.HasPrefix(line, "$ ")); err != nil {
				t.Errorf("%s: %s: %v", page, line, err)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d commands were found", seen)
	}
	// The control.
	for line, typed := range map[string]bool{
		" lits events": false, " list events --sate held": false, " pause | resmue": false, " show": true, " list subscription --limit many": true,
	} {
		if mistaken(line, typed) == nil {
			t.Errorf("caddy relay%s: taken for right", line)
		}
	}
}

// codeOf are the lines of blocks of code, those that go on in the next one joined, and
// what stands between backticks.
func codeOf(page string) (lines []string) {
	within := false
	goesOn := ""
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		switch trimmed := strings.TrimSpace(line); {
		case strings.HasPrefix(trimmed, fence):
			within = !within
		case !within:
			for _, code := range inlineCode.FindAllStringSubmatch(line, -1) {
				lines = append(lines, code[1])
			}
		case strings.HasSuffix(trimmed, `\`):
			goesOn += strings.TrimSuffix(trimmed, `\`)
		default:
			lines = append(lines, goesOn+trimmed)
			goesOn = ""
		}
	}
	return lines
}

// mistaken says what is wrong with what stands behind "caddy relay". Of what is not typed,
// but talked about, arguments may be left out.
func mistaken(line string, typed bool) error {
	args := words(line)
	if len(args) == 0 || strings.Trim(args[0], ".") == "" || args[0] == "--help" {
		return nil
	}
	if len(args) > 1 && args[1] == "|" {
		for _, name := range args {
			if sub, _ := subcommand(name); name != "|" && sub == nil {
				return fmt.Errorf("there is no subcommand %q", name)
			}
		}
		return nil
	}
	sub, rest := subcommand(args...)
	if sub == nil {
		return fmt.Errorf("there is no subcommand %q", args[0])
	}
	if !typed {
		var flags []string
		for _, arg := range rest {
			if name, _, _ := strings.Cut(arg, "="); strings.HasPrefix(name, "--") {
				flags = append(flags, strings.TrimRight(name, ",;:"))
			}
		}
		sub.InheritedFlags() // adds those of the command relay to the ones that are looked up
		for _, flag := range flags {
			if sub.Flag(strings.TrimPrefix(flag, "--")) == nil {
				return fmt.Errorf("%s has no flag %s", sub.Name(), flag)
			}
		}
		return nil
	}
	if err := sub.ParseFlags(rest); err != nil {
		return err
	}
	return sub.ValidateArgs(sub.Flags().Args())
}

// subcommand finds a subcommand of caddy relay; nil if there is none.
func subcommand(args ...string) (*cobra.Command, []string) {
	root := &cobra.Command{Use: "relay"}
	relayCommand(root)
	sub, rest, err := root.Find(args)
	if err != nil || sub == root {
		return nil, nil
	}
	return sub, rest
}

// words takes a line apart as a shell does, up to where another command or a redirection
// begins.
func words(line string) (all []string) {
	word, quote, some := "", rune(0), false
	end := func() {
		if some {
			all = append(all, word)
		}
		word, some = "", false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, some = r, true
		case r == ' ':
			end()
		default:
			word, some = word+string(r), true
		}
	}
	end()
	for i, w := range all {
		switch w {
		case "<", ">", ">>", "&&", ";", "#":
			return all[:i]
		case "|":
			if i > 1 {
				return all[:i]
			}
		}
	}
	return all
}
