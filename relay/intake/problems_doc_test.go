package intake

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/problems.md anew from the table")

// TestProblemsPage holds docs/problems.md, which the type of each problem links to,
// against the table. With -update it writes the page.
func TestProblemsPage(t *testing.T) {
	const path = "../../docs/problems.md"
	want := problemsPage(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the table says; write it anew with: go test ./relay/intake -run TestProblemsPage -update", path)
	}
}

const problemsHead = `<!-- Made from the table in relay/intake/problem.go by:
go test ./relay/intake -run TestProblemsPage -update -->

# Problems

When the intake refuses a request, it answers with a problem in JSON ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)),
as ` + "`application/problem+json`" + `:

` + "```json" + `
{
  "type": "https://github.com/caddyrelay/caddyrelay/blob/main/docs/problems.md#unknown-subscription",
  "title": "No such subscription",
  "status": 422,
  "detail": "There is no subscription named \"nope\" in the configuration; nothing was stored.",
  "errors": [{"header": "Relay-Subscriptions", "detail": "\"nope\" is not a subscription"}]
}
` + "```" + `

` + "`type`" + ` names the problem and links to its section here. Programs should compare that, or the status. ` + "`detail`" + ` is
about this one request, for people. ` + "`errors`" + `, where it is present, lists what is wrong, each with a ` + "`pointer`" + ` (RFC 6901)
into the body, an ` + "`offset`" + ` in bytes, the ` + "`line`" + ` of an NDJSON body, or the name of a ` + "`header`" + `. The
elements of a batch, lines too, are counted from 0 in pointers; lines are counted from 1.

**A request that was refused stored nothing.** Send again what was answered with 408, 429, 500 or 503, after
` + "`Retry-After`" + ` if that is there and with the same idempotency key. Other requests are refused again until something is changed.

The examples below are sent by the tests, and the answers are what they got. The word after ` + "`#`" + ` is also the label ` + "`reason`" + ` of the metric ` + "`caddy_relay_events_rejected_total`" + `.

`

func problemsPage(t *testing.T) string {
	var b strings.Builder
	b.WriteString(problemsHead)
	b.WriteString("| type | status | title |\n|---|---|---|\n")
	for _, p := range ProblemTypes() {
		fmt.Fprintf(&b, "| [%s](#%s) | %d | %s |\n", p.Slug, p.Slug, p.Status, p.Title)
	}
	for _, p := range ProblemTypes() {
		fmt.Fprintf(&b, "\n## %s\n\n**%s.** %d %s\n\n%s\n\n", p.Slug, p.Title, p.Status, http.StatusText(p.Status), p.Description)
		occurrences[p.Slug].write(t, &b)
	}
	return b.String()
}

// write shows the request and what it is answered with, by sending it.
func (o occurrence) write(t *testing.T, b *strings.Builder) {
	fmt.Fprintf(b, "```sh\n%s\n```\n\n", o.curl)
	s, a := o.setup(t)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, o.request(a))
	var fields []string
	for _, name := range []string{"Accept", "Accept-Encoding", "Allow", "Retry-After", "WWW-Authenticate"} {
		if value := w.Header().Get(name); value != "" {
			fields = append(fields, fmt.Sprintf("`%s: %s`", name, value))
		}
	}
	if len(fields) > 0 {
		fmt.Fprintf(b, "is answered, with %s,\n\n", strings.Join(fields, " and "))
	} else {
		b.WriteString("is answered\n\n")
	}
	var body bytes.Buffer
	if err := json.Indent(&body, w.Body.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(b, "```json\n%s\n```\n", bytes.TrimSpace(body.Bytes()))
}
