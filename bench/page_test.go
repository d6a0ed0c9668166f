//go:build linux

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tables of the performance page are made of docs/figures, and its pictures, too. They stand
// between lines like these:
//
//	<!-- the goals: UPDATE=1 go test ./bench -run PerformancePage -->
//	<!-- end -->
const (
	performancePage = "../docs/performance.md"
	figureFiles     = "../docs/figures/*.json"
	pictureFolder   = "../docs/images"
	sectionBegin    = "<!-- %s: UPDATE=1 go test ./bench -run PerformancePage -->\n"
	sectionEnd      = "<!-- end -->"
)

// TestPerformancePage holds the tables and pictures against the figures. UPDATE=1 writes them.
func TestPerformancePage(t *testing.T) {
	paths, err := filepath.Glob(figureFiles)
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are no figures in %s: %v", figureFiles, err)
	}
	f, err := readFigures(paths)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(performancePage)
	if err != nil {
		t.Fatal(err)
	}
	want := string(page)
	for _, s := range f.sections() {
		begin := fmt.Sprintf(sectionBegin, s.name)
		before, rest, ok := strings.Cut(want, begin)
		_, after, closed := strings.Cut(rest, sectionEnd)
		if !ok || !closed {
			t.Fatalf("%s has no place for %s: %s%s", performancePage, s.name, begin, sectionEnd)
		}
		want = before + begin + s.text + sectionEnd + after
	}
	hold(t, performancePage, page, []byte(want))
	for name, r := range f.reports {
		for _, problem := range r.Problems {
			t.Errorf("%s does not count: %s", name, problem)
		}
	}
	for _, g := range f.growths {
		for _, problem := range g.Problems {
			t.Errorf("-grow %s does not count: %s", g.Grow, problem)
		}
		for name, svg := range g.pictures() {
			if !strings.Contains(want, name) {
				t.Errorf("%s does not show %s", performancePage, name)
			}
			path := filepath.Join(pictureFolder, name)
			drawn, err := os.ReadFile(path)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			hold(t, path, drawn, svg)
		}
	}
}

// hold compares a file with what it should be, or writes that.
func hold(t *testing.T, path string, is, want []byte) {
	t.Helper()
	switch {
	case string(is) == string(want):
	case os.Getenv("UPDATE") != "":
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what %s makes; write it with: UPDATE=1 go test ./bench -run PerformancePage", path, figureFiles)
	}
}

// TestDocumentedMeasurementsAreUnderstood: each "go run ./integration/bench ..." of a page has
// flags that there are, with values that they take.
func TestDocumentedMeasurementsAreUnderstood(t *testing.T) {
	t.Chdir("..") // where they are typed
	command := regexp.MustCompile("go run ./integration/bench([^\n#`|]*)")
	seen := 0
	for _, pattern := range []string{"*.md", "docs/*.md", "integration/bench/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range command.FindAllStringSubmatch(string(text), -1) {
				seen++
				if _, err := parseOptions(strings.Fields(strings.ReplaceAll(found[1], "'", ""))); err != nil {
					t.Errorf("%s: %s: %v", path, found[0], err)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands were found", seen)
	}
}

// What was missed is said, and so is that a machine was busy.
func TestTheReportSaysWhatWasMissed(t *testing.T) {
	o := defaultOptions()
	if err := o.choose("relay,proxy"); err != nil {
		t.Fatal(err)
	}
	r := &report{Options: o.facts(), file: "load.json"}
	r.Machine.Sync = latency{P50: 0.0567, P99: 1.2}
	for system, figures := range map[string]map[string]spread{
		"relay": {
			"delivered_per_second": {9081, 5967, 9461}, "cpu_us_per_event": {99.7, 91.6, 101.8},
			"peak_anonymous_mib": {154, 149, 155}, "disk_bytes_per_event": {6000, 5900, 6100}, "others_cpu_percent": {39, 22, 54},
		},
		"proxy": {"delivered_per_second": {7249, 7026, 7433}, "cpu_us_per_event": {117.1, 99.6, 121.3}},
	} {
		r.Medians = append(r.Medians, summary{System: system, Figures: figures})
	}
	r.Ratios = ratios(&o)[:2]
	r.Ratios[0].spread, r.Ratios[1].spread = spread{1.26, 0.82, 1.35}, spread{0.87, 0.82, 0.92}
	got := (&measured{reports: map[string]*report{"load.json": r}}).markdown()
	for _, want := range []string{
		"| as fast as answers come | delivered/s, `relay` ÷ `proxy` | ≥ 1.25 | 1.26 | 0.82–1.35 | 9,081 ÷ 7,249 | yes |",
		"| as fast as answers come | CPU per event, `relay` ÷ `proxy` | ≤ 0.75 | 0.87 | 0.82–0.92 | 99.7 ÷ 117 | **no** |",
		"memory at its highest, MiB, `relay` | ≤ 200 | 154 |", "bytes written to disk for an event, `relay` | ≤ 5120 | 6000 |",
		"| `load.json` |", "0.06 and 1.20 ms", "| 39 % |", "The machine was busy",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("nothing says %s in\n%s", want, got)
		}
	}
}

func TestQuestionsAreTold(t *testing.T) {
	for args, want := range map[string]string{
		"":                       plainQuestion,
		"-rate 100":              "100 events/s by the clock",
		"-fanout 10":             "each event to 10 subscriptions",
		"-others 9999":           "9,999 subscriptions beside it",
		"-backlog 1000000":       "1,000,000 events that had waited",
		"-steady -duration 30m":  "30m on end",
		"-steady -duration 150s": "2m30s on end",
		"-tls h2":                "over https, HTTP/2",
		"-postgres x":            "events in PostgreSQL",
	} {
		o, err := parseOptions(strings.Fields(args))
		if err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		if got := o.facts().question(); got != want {
			t.Errorf("%s is about %q; want %q", args, got, want)
		}
	}
}
