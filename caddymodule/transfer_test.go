package caddymodule

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/transfer"
)

func TestExportAndImportByTheAdminAPI(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm", `"paused": true`))
	id := c.post("order.paid")
	status, header, export := c.ask("GET /relay/export", "")
	if got := header.Get("Content-Type"); status != http.StatusOK || got != "application/x-ndjson" || !strings.Contains(string(export), id) {
		t.Fatalf("%d %s %s", status, got, export)
	}
	var done transfer.Imported
	c.want(http.StatusOK, "POST /relay/import", string(export), &done)
	if done.Events != 0 || done.KnownEvents != 1 {
		t.Errorf("where it came from, it is imported as %+v", done)
	}

	for _, q := range []struct {
		status              int
		request, body, text string
	}{
		{400, "GET /relay/export?select=some", "", `select="some" is none of unfinished, all`},
		{400, "GET /relay/export?since=1h", "", `unknown parameter "since"`},
		{405, "POST /relay/export", "", "takes GET, HEAD, not POST"},
		{405, "GET /relay/import", "", "takes POST, not GET"},
		{400, "POST /relay/import", "", "line 1: it is empty; give what caddy relay export has written"},
		{400, "POST /relay/import", `{"type":"order.paid"}`, "line 1"},
		{400, "POST /relay/import", string(export[:len(export)-20]), "cut off"},
		{400, "POST /relay/import", string(export[:len(export)-20]), "import the whole export again"},
		{400, "POST /relay/import", strings.Replace(string(export), "order.paid", "order.sent", 1), "the lines before it are not those that were written"},
	} {
		c.refused(q.status, q.request, q.body, q.text)
	}
}

func TestTransferCommands(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm", `"paused": true`))
	id := c.post("order.paid")
	if out := c.mustRun("export"); !strings.Contains(out, id) {
		t.Errorf("printed is %s", out)
	}
	file := filepath.Join(t.TempDir(), "export")
	c.mustRun("export", file)
	if out := c.mustRun("import", file); !strings.Contains(out, "imported 0 events") {
		t.Errorf("printed is %s", out)
	}
	if out := c.mustRun("import", file, "--json"); !strings.Contains(out, `"known_events": 1`) {
		t.Errorf("printed is %s", out)
	}
	for _, bad := range []struct {
		args []string
		want string
	}{
		{[]string{"export", file}, "file exists"},
		{[]string{"export", "--offline", filepath.Join(t.TempDir(), "none")}, "is the directory right?"},
		{[]string{"export", "--offline", c.dir}, "stop that Caddy first"},
		{[]string{"import"}, `something is missing behind "import"; write: relay import <file>`},
		{[]string{"import", filepath.Join(t.TempDir(), "none")}, "no such file"},
	} {
		if _, err := c.run(bad.args...); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v: %v; want %q", bad.args, err, bad.want)
		}
	}
}
