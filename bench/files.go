//go:build linux

package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// briefer is what -json writes.
type briefer interface {
	// brief is the same without the rounds, and without where things lay: enough for tables and
	// pictures.
	brief() any
}

func (r *report) brief() any {
	short := *r
	short.Machine, short.Runs = short.Machine.brief(), nil
	return &short
}

func (m machine) brief() machine {
	m.Caddy, m.Directory, m.Sync.Histogram = filepath.Base(m.Caddy), "", nil
	return m
}

func (g *growth) brief() any {
	short := *g
	short.Machine = short.Machine.brief()
	short.Points = make([]*point, len(g.Points))
	for i, p := range g.Points {
		at := *p
		at.Runs = nil
		short.Points[i] = &at
	}
	return &short
}

// writeJSON writes what was measured for programs.
func writeJSON(path string, measured any) error {
	var out bytes.Buffer
	err := encode(&out, measured)
	if err == nil {
		err = os.WriteFile(path, out.Bytes(), 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing the JSON: %w", err)
	}
	return nil
}

// innermost is an object or a list without another in it.
var innermost = regexp.MustCompile(`[{\[][^{}\[\]]*[}\]]`)

// encode writes JSON in which each innermost object or list is one line, as people read it.
func encode(w io.Writer, measured any) error {
	text, err := json.MarshalIndent(measured, "", "  ")
	if err != nil {
		return err
	}
	// No text of JSON has a line break in it.
	lines := regexp.MustCompile(`\n\s*`)
	text = innermost.ReplaceAllFunc(text, func(inner []byte) []byte { return lines.ReplaceAll(inner, []byte(" ")) })
	_, err = w.Write(append(text, '\n'))
	return err
}

// measured are files that -json has written.
type measured struct {
	reports map[string]*report // by the name of the file
	growths []*growth          // in the order of the files
}

// readFigures reads files that -json has written.
func readFigures(paths []string) (*measured, error) {
	f := &measured{reports: make(map[string]*report)}
	for _, path := range paths {
		if err := f.read(path); err != nil {
			return nil, fmt.Errorf("%s is no file that -json has written: %w", path, err)
		}
	}
	return f, nil
}

func (f *measured) read(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var both struct {
		growth
		Medians []summary `json:"medians"`
	}
	if err := json.Unmarshal(text, &both); err != nil {
		return err
	}
	if len(both.Medians) > 0 {
		r := &report{file: filepath.Base(path)}
		f.reports[r.file] = r
		return json.Unmarshal(text, r)
	}
	if _, err := quantityNamed(both.Grow); err != nil {
		return err
	}
	f.growths = append(f.growths, &both.growth)
	return nil
}
