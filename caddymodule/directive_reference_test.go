package caddymodule

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dustin/go-humanize"

	"github.com/caddyrelay/caddyrelay/relay/intake"
)

// directives are the words of each, with the defaults that the code has.
func directives() map[string]struct {
	words    vocabulary
	defaults map[string]string
} {
	type directive = struct {
		words    vocabulary
		defaults map[string]string
	}
	return map[string]directive{
		"relay_intake": {new(Intake).words(), map[string]string{
			"max_event_size": "`" + strings.ReplaceAll(humanize.IBytes(intake.DefaultMaxEventSize), " ", "") + "`",
			"max_batch":      "`" + strconv.Itoa(intake.DefaultMaxBatch) + "`",
		}},
		"relay_console": {new(Console).words(), map[string]string{"read_only": otherwiseNo}},
		"relay_egress":  {new(EgressList).words(), nil},
		"relay_sink":    {new(Sink).words(), map[string]string{"fail": "`0`"}},
	}
}

// TestDirectivesAreDocumentedAsTheyAre holds the sections about directives, which are written
// by hand, against the code: the block that shows their words, line by line, and the table
// that explains each of them, with its default.
func TestDirectivesAreDocumentedAsTheyAre(t *testing.T) {
	page, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range directives() {
		_, section, ok := strings.Cut(string(page), "\n## "+name+"\n")
		if !ok {
			t.Errorf("%s has no section about %s", referencePage, name)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		var want []string
		for _, w := range d.words {
			want = append(want, strings.Split(w.usage, ", or: ")...)
		}
		slices.Sort(want)
		if got := shownLines(section, name); !slices.Equal(got, want) {
			t.Errorf("the block of %s shows\n\t%s\nits words are\n\t%s", name, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
		rows := shownRows(section)
		if words := slices.Sorted(maps.Keys(d.words)); !slices.Equal(slices.Sorted(maps.Keys(rows)), words) {
			t.Errorf("the table of %s has rows for %v; its words are %v", name, slices.Sorted(maps.Keys(rows)), words)
		}
		for word, otherwise := range rows {
			want := d.defaults[word]
			if want == "" {
				want = otherwiseNone
			}
			if otherwise != want {
				t.Errorf("%s: the default of %s is said to be %s; it is %s", name, word, otherwise, want)
			}
		}
	}
}

// shownLines returns the words in the block that shows a directive, sorted.
func shownLines(section, name string) []string {
	_, block, _ := strings.Cut(section, fence+"\n"+name+" [<matcher>] {\n")
	block, _, _ = strings.Cut(block, "\n}\n")
	lines := strings.Split(block, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	slices.Sort(lines)
	return lines
}

// shownRows returns the defaults in the first table of a section, by word.
func shownRows(section string) map[string]string {
	rows := make(map[string]string)
	_, table, _ := strings.Cut(section, "| word | default | |\n|---|---|---|\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			break
		}
		rows[strings.Trim(cells[1], " `")] = strings.TrimSpace(cells[2])
	}
	return rows
}
