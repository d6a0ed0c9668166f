package integration

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The benchmark for users works and leaves nothing; what it measures is not looked at.
func TestBenchMeasuresBothAndLeavesNothing(t *testing.T) {
	t.Parallel()
	c := prepare(t)
	wantNothing := func() {
		t.Helper()
		left, err := os.ReadDir(c.path("tmp"))
		if err != nil || len(left) > 0 {
			t.Errorf("left are %v, %v", left, err)
		}
	}
	r := c.caddy("relay", "bench", "--duration", "200ms", "--posters", "2", "--dir", c.path("tmp"))
	wantOutput(t, r, "reverse_proxy", "events delivered a second", "written to disk for an event")
	if strings.Contains(r.errors, "measurements") {
		t.Errorf("progress is shown without a terminal: %s", r)
	}
	wantNothing()
	var report struct {
		Runs []struct {
			System string
			Events int
		}
	}
	r = c.caddy("relay", "bench", "--duration", "200ms", "--posters", "2", "--dir", c.path("tmp"), "--json")
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != 0 || len(report.Runs) != 2 || report.Runs[0].Events == 0 {
		t.Errorf("%v: %s", err, r)
	}
	wantNothing()
	r = c.caddy("relay", "bench", "--grow", "size", "--values", "300", "--duration", "200ms", "--posters", "2", "--dir", c.path("tmp"), "--plot", c.path("."))
	wantOutput(t, r, "bytes of an event", "300 B")
	if svg, err := os.ReadFile(c.path("grow-size-dark.svg")); err != nil || !strings.Contains(string(svg), "reverse_proxy") {
		t.Errorf("nothing is drawn: %v", err)
	}
	wantNothing()
	wantFailure(t, c.caddy("relay", "bench", "--grow", "weather"), "subscriptions, fanout, size")
	wantFailure(t, c.caddy("relay", "bench", "--duration", "soon"), "for example 8s")
	wantFailure(t, c.caddy("relay", "bench", "--dir", c.path("none")), "no such file")
}
