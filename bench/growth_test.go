//go:build linux

package bench

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a growth measures is kept, read again, written as Markdown and drawn, all from the file.
func TestGrowthIsDrawnFromItsFile(t *testing.T) {
	o := shortOptions(t)
	o.duration = 200 * time.Millisecond
	if err := o.growOver("fanout", "1,3", ""); err != nil {
		t.Fatal(err)
	}
	g, err := measureGrowth(t.Context(), o, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range g.Problems {
		t.Error(p)
	}
	for i, p := range g.Points {
		events := int64(2000 / o.values[i])
		for _, f := range p.Runs {
			if f.Events != events || f.Deliveries != events*int64(p.Value) {
				t.Errorf("%s at %d: %d events, %d deliveries; want %d events", f.System, p.Value, f.Events, f.Deliveries, events)
			}
		}
		for _, s := range p.Medians {
			for _, column := range g.quantity().columns {
				if s.Figures[column].Median <= 0 && column != "disk_bytes_per_event" {
					t.Errorf("%s at %d: %s is %g", s.System, p.Value, column, s.Figures[column].Median)
				}
			}
		}
	}
	var table strings.Builder
	g.print(&table)
	t.Log("\n" + table.String())

	folder := t.TempDir()
	o.json, o.brief = filepath.Join(folder, "fanout.json"), true
	if err := o.keep(g); err != nil {
		t.Fatal(err)
	}
	o.files, o.plot, o.report = []string{o.json}, folder, true
	var markdown strings.Builder
	if err := o.show(&markdown); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(markdown.String(), "| 3 | client |") {
		t.Errorf("the Markdown is\n%s", markdown.String())
	}
	for name, svg := range g.pictures() {
		drawn, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil || string(drawn) != string(svg) {
			t.Errorf("%s is not drawn from the file as from what was measured: %v", name, err)
		}
	}
}

func TestFilesOfOthersAreRefused(t *testing.T) {
	folder := t.TempDir()
	for name, content := range map[string]string{"no.json": "no", "empty.json": "{}", "other.json": `{"grow":"weather","points":[]}`} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readFigures([]string{path}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v; want an error that names it", name, err)
		}
	}
}

func TestBriefFilesHaveNoRounds(t *testing.T) {
	r := &report{Machine: machine{Caddy: "/home/somebody/caddy", Directory: "/home/somebody"}, Runs: []*figures{{System: "relay"}}, Medians: []summary{{System: "relay", Figures: map[string]spread{"events": {1, 1, 1}}}}}
	path := filepath.Join(t.TempDir(), "r.json")
	if err := (&options{json: path, brief: true}).keep(r); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(text), `"runs"`) || strings.Contains(string(text), "somebody") || !strings.Contains(string(text), `"events": { "median": 1, "min": 1, "max": 1 }`) {
		t.Errorf("%s (%v)", text, err)
	}
	f, err := readFigures([]string{path})
	if err != nil || !reflect.DeepEqual(f.reports["r.json"].Medians, r.Medians) {
		t.Errorf("read are %+v, %v", f, err)
	}
	if len(r.Runs) != 1 {
		t.Error("what was measured has lost its rounds")
	}
}

func TestQuantitiesShowWhatThereIs(t *testing.T) {
	for _, q := range quantities {
		o, err := parseOptions([]string{"-grow", q.name})
		if err != nil {
			t.Errorf("%s: %v", q.name, err)
			continue
		}
		if len(o.points) != len(q.values) || !slices.IsSorted(q.values) {
			t.Errorf("%s is measured at %d of %v", q.name, len(o.points), q.values)
		}
		if shown := q.shown(); len(shown) != len(q.columns)+1 {
			t.Errorf("%s shows %d columns of %v", q.name, len(shown), q.columns)
		}
		for _, panel := range q.panels {
			if !slices.Contains(q.columns, panel.column) {
				t.Errorf("%s draws %s and does not list it", q.name, panel.column)
			}
			for _, at := range o.points {
				if !slices.ContainsFunc(columns(&at), func(c column) bool { return c.name == panel.column }) {
					t.Errorf("%s has no %s to draw", at.label, panel.column)
				}
			}
		}
	}
}

func TestBatchesLeaveNothingOver(t *testing.T) {
	tests := []struct{ n, size, want int }{{1_000_000, 1024, 100}, {500, 1024, 100}, {1001, 1024, 91}, {997, 1024, 1}, {1000, 500 << 10, 2}, {3, 500 << 10, 1}}
	for _, test := range tests {
		if got := batchOf(test.n, test.size); got != test.want {
			t.Errorf("%d events of %d bytes: %d a request; want %d", test.n, test.size, got, test.want)
		}
	}
}

func TestABatchCarriesItsEvents(t *testing.T) {
	var got []uint64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer io.WriteString(w, "{}")
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			var e struct {
				Type string
				Data json.RawMessage
			}
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Type != eventType {
				t.Errorf("%v: %s", err, lines.Text())
			}
			number, _ := eventNumber(e.Data)
			got = append(got, number)
		}
	}))
	defer server.Close()
	l := new(load)
	order := LoadOrder{Posters: 1, Events: 6, Batch: 3, Size: 100, Address: server.Listener.Addr().String(), Status: http.StatusOK, Length: time.Minute}
	var posted Posted
	if err := l.Prepare(order, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Run(None{}, &posted); err != nil || posted.Refused > 0 {
		t.Fatal(err, posted.FirstRefusal)
	}
	if want := []uint64{0, 1, 2, 3, 4, 5}; !slices.Equal(got, want) || len(posted.Ends) != len(want) {
		t.Errorf("came %v, noted %d; want %v", got, len(posted.Ends), want)
	}
}

func TestGoals(t *testing.T) {
	tests := []struct {
		goal  goal
		value float64
		met   bool
	}{{"≥ 1.25", 1.25, true}, {"≥ 1.25", 1.24, false}, {"≤ 4", 4, true}, {"≤ 4", 4.1, false}, {"", 1, false}}
	for _, test := range tests {
		if test.goal.met(test.value) != test.met {
			t.Errorf("%s by %g: not %v", test.goal, test.value, test.met)
		}
	}
}
