package intake

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every curl of the pages for senders, in a block of sh, does what it is shown for. Those
// of docs/problems.md are refused, see TestProblemsPage.
func TestDocumentedCommandsAreTaken(t *testing.T) {
	pages, err := filepath.Glob("../../docs/clients/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../../README.md", "../../docs/intake.md") {
		for _, block := range shellBlocks(t, page) {
			for _, command := range curlCommands(block) {
				found++
				s := newSetup(t, func(o *Options) {
					types, keys := AcceptPhraseanet()
					o.TypeFrom, o.KeyFrom = AcceptContentful()
					o.TypeFrom, o.KeyFrom = append(o.TypeFrom, types...), append(o.KeyFrom, keys...)
				})
				a := parseCurl(t, command)
				w := s.do(a)
				if want := http.StatusAccepted; a.method == http.MethodPost && w.Code != want {
					t.Errorf("%s\n%s\nis answered %d %s", page, command, w.Code, w.Body)
				}
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d commands were found", found)
	}
}

// The address that a problem has as its type leads to its section.
func TestProblemTypesLeadToTheirSections(t *testing.T) {
	const page = "docs/problems.md"
	text, err := os.ReadFile("../../" + page)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ProblemTypes() {
		address, fragment, _ := strings.Cut(p.URI(), "#")
		if !strings.HasSuffix(address, "/"+page) || strings.Count(string(text), "\n## "+fragment+"\n") != 1 {
			t.Errorf("%s leads nowhere", p.URI())
		}
	}
}

// shellBlocks returns the fenced blocks of sh of a page.
func shellBlocks(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(text), "\n```sh\n")[1:] {
		block, _, closed := strings.Cut(part, "\n```")
		if !closed {
			t.Fatalf("%s: a block is not closed", page)
		}
		blocks = append(blocks, block+"\n")
	}
	return blocks
}

// curlCommands returns the commands of a block that begin with curl, with what they get
// by "<<'EOF'" in the place of @-.
func curlCommands(block string) []string {
	var commands []string
	lines := strings.Split(block, "\n")
	for i := 0; i < len(lines); i++ {
		if !strings.HasPrefix(lines[i], "curl ") {
			continue
		}
		command := lines[i]
		for strings.HasSuffix(command, "\\") {
			i++
			command += "\n" + lines[i]
		}
		if before, ok := strings.CutSuffix(command, " <<'EOF'"); ok {
			var input strings.Builder
			for i++; lines[i] != "EOF"; i++ {
				input.WriteString(lines[i] + "\n")
			}
			command = strings.Replace(before, "@-", "'"+input.String()+"'", 1)
		}
		commands = append(commands, command)
	}
	return commands
}
