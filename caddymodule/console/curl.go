package console

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/caddyrelay/caddyrelay/relay"
)

// curl writes a request as a command of a shell. What is not shown is not in it, so that
// what is sent by hand has no signature and no credentials.
func (v *visit) curl(shown *requestShown, p *relay.Preview) string {
	var out strings.Builder
	fmt.Fprintf(&out, "curl --request %s %s", p.Method, quoted(shown.URL))
	for _, f := range shown.Fields {
		fmt.Fprintf(&out, " \\\n  --header %s", quoted(f.Name+": "+f.Value))
	}
	switch {
	case len(p.Body) == 0:
	case shown.Body.Hidden, shown.Body.Text == "", len(v.redact) > 0, len(p.Body) > maxShown, !utf8.Valid(p.Body), strings.ContainsRune(string(p.Body), 0):
		out.WriteString(" \\\n  --data-binary @body") // as a file: it is not shown, or no argument can hold it
	default:
		fmt.Fprintf(&out, " \\\n  --data-binary %s", quoted(string(p.Body)))
	}
	return out.String()
}

// quoted writes text so that a POSIX shell takes it as it is.
func quoted(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
