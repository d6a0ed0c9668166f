package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sample is a chart with a line over decades, one that is flat, and a name that must be escaped.
func sample() *Chart {
	return &Chart{
		Title: `events of <1 KiB> & more`,
		X:     Axis{Title: "bytes of an event"},
		Panels: []Panel{
			{Y: Axis{Title: "delivered a second"}, Series: []Series{
				{Name: "relay", Points: []Point{{256, 9000, 8500, 9500}, {16384, 3000, 2900, 3100}, {512000, 90, 80, 95}}},
				{Name: "<proxy>", Points: []Point{{256, 8000, 8000, 8000}, {16384, 4000, 4000, 4000}, {512000, 200, 200, 200}}},
			}},
			{Y: Axis{Title: "MiB"}, Series: []Series{{Name: "relay", Points: []Point{{256, 110, 0, 0}, {512000, 210, 0, 0}}}}},
		},
	}
}

func TestSVGIsWellFormedAndSaysWhatItShows(t *testing.T) {
	for name, theme := range map[string]Theme{"light": Light, "dark": Dark} {
		svg := sample().SVG(theme)
		decoder := xml.NewDecoder(bytes.NewReader(svg))
		var text []string
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if data, ok := token.(xml.CharData); ok {
				text = append(text, string(data))
			}
		}
		for _, want := range []string{"events of <1 KiB> & more", "bytes of an event", "delivered a second", "MiB", "relay", "<proxy>", "256", "16.38k", "512k", "100", "1k"} {
			if !slices.Contains(text, want) {
				t.Errorf("%s: nothing says %q", name, want)
			}
		}
		for _, color := range []string{theme.Background, theme.Text, theme.Lines[0], theme.Lines[1]} {
			if !bytes.Contains(svg, []byte(color)) {
				t.Errorf("%s: nothing is %s", name, color)
			}
		}
		if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
			t.Errorf("%s: a place is no number", name)
		}
	}
}

// The same figures make the same picture: what is committed can be held against its source.
func TestSVGIsTheSameEachTime(t *testing.T) {
	if !bytes.Equal(sample().SVG(Light), sample().SVG(Light)) {
		t.Error("two pictures of the same figures differ")
	}
}

func TestScales(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		log    bool
		ticks  []float64
	}{
		{"decades", []float64{90, 9000}, true, []float64{100, 200, 500, 1000, 2000, 5000, 10000}},
		{"many decades", []float64{1, 1e6}, true, []float64{1, 10, 100, 1000, 1e4, 1e5, 1e6}},
		{"near each other", []float64{4000, 5000}, false, []float64{0, 1000, 2000, 3000, 4000, 5000}},
		{"nothing but zero", []float64{0, 0}, false, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
		{"below zero", []float64{-3, 5}, false, []float64{-2, 0, 2, 4}},
	}
	for _, test := range tests {
		s := newScale(test.values, 100, 0) // upwards
		if s.log != test.log {
			t.Errorf("%s: logarithmic %v", test.name, s.log)
		}
		if got := s.ticks(); !slices.EqualFunc(got, test.ticks, func(a, b float64) bool { return math.Abs(a-b) < 1e-9*max(1, b) }) {
			t.Errorf("%s: ticks %v; want %v", test.name, got, test.ticks)
		}
		for _, v := range append(test.values, s.ticks()...) {
			if at := s.at(v); at < 0 || at > 100 {
				t.Errorf("%s: %g stands at %g, outside of the picture", test.name, v, at)
			}
		}
	}
	if s := newScale(nil, 0, 100); math.IsNaN(s.at(0)) {
		t.Error("an axis without values has no places")
	}
}

func TestTicksKeepClearOfEachOther(t *testing.T) {
	c := &Chart{X: Axis{Title: "x"}, Panels: []Panel{{Series: []Series{{Name: "a"}}}}}
	for i := range 100 {
		c.Panels[0].Series[0].Points = append(c.Panels[0].Series[0].Points, Point{X: 1000 + float64(i), Y: 1})
	}
	labels := 0
	for line := range strings.Lines(string(c.SVG(Light))) {
		if strings.Contains(line, `y="288.0"`) {
			labels++
		}
	}
	if labels < 3 || labels > 20 {
		t.Errorf("%d of 100 values are written", labels)
	}
}

func TestShortNumbers(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 0.5: "0.5", 64: "64", 1500: "1.5k", 10000: "10k", 2e6: "2M", -3000: "-3k"} {
		if got := Short(value); got != want {
			t.Errorf("%s: %s; want %s", strconv.FormatFloat(value, 'g', -1, 64), got, want)
		}
	}
}
