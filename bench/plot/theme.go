package plot

// Theme has the colours of a page that the picture stands in.
type Theme struct {
	Background, Text, Faint, Grid string
	Lines                         []string
}

// Light and Dark are those of GitHub, with lines that people who see few colours can tell
// apart.
var (
	Light = Theme{
		Background: "#ffffff", Text: "#1f2328", Faint: "#59636e", Grid: "#d1d9e0",
		Lines: []string{"#0969da", "#bc4c00", "#1a7f37", "#8250df"},
	}
	Dark = Theme{
		Background: "#0d1117", Text: "#f0f6fc", Faint: "#9198a1", Grid: "#2f3742",
		Lines: []string{"#58a6ff", "#f0883e", "#3fb950", "#bc8cff"},
	}
)

// look is how a line is told from others.
type look struct{ color, dashes, mark string }

var (
	dashes = []string{"none", "7 4", "2 3", "7 3 2 3"}
	marks  = []string{
		"M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", // a circle
		"M-3.5-3.5h7v7h-7z",                  // a square
		"M0-4.5l4.5 8h-9z",                   // a triangle
		"M0-5l5 5-5 5-5-5z",                  // a rhombus
	}
)

func (t *Theme) look(i int) look {
	return look{color: t.Lines[i%len(t.Lines)], dashes: dashes[i%len(dashes)], mark: marks[i%len(marks)]}
}
