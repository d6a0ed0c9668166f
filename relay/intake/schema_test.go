package intake

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/catalogue"
)

// withSchema declares the type order.paid with this schema, and order.seen without one.
func withSchema(t testing.TB, schema string) func(*Options) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "order.json")
	if err := os.WriteFile(file, []byte(schema), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := catalogue.New([]catalogue.Declaration{{Type: "order.paid", Schema: file}, {Type: "order.seen", Description: "somebody looked"}})
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Catalogue = c }
}

func TestBodiesAreHeldAgainstTheSchemaOfTheirType(t *testing.T) {
	s := newSetup(t, withSchema(t, `{"type":"object","required":["id"],"properties":{"lines":{"items":{"type":"integer"}}}}`), func(o *Options) {
		o.TypeFrom = []Locator{{Header: "X-Type"}}
	})
	right, wrong := `{"id":1,"lines":[1, 2]}`, `{"lines":[1,"2"]}`
	for _, c := range []struct {
		name, path, header, body string // %s stands for the data
		at                       string // where the data stands
	}{
		{"path", "/v1/events/order.paid", "", `%s`, ""},
		{"path in upper case", "/v1/events/ORDER.PAID", "", `%s`, ""},
		{"type_from", "/v1/events", "X-Type: order.paid", `%s`, ""},
		{"envelope", "/v1/events", "", `{"data":%s,"type":"order.paid"}`, "/data"},
		{"binary", "/v1/events", binaryHeader, `%s`, ""},
		{"structured", "/v1/events", structured, `{"data":%s,"type":"order.paid","specversion":"1.0","id":"1","source":"/s"}`, "/data"},
	} {
		s.engine.known = nil
		s.accept(t, ask{path: c.path, header: c.header, body: strings.Replace(c.body, "%s", right, 1)})
		p := s.refused(t, ask{path: c.path, header: c.header, body: strings.Replace(c.body, "%s", wrong, 1)}, 422, "invalid-data")
		if len(p.Errors) != 2 {
			t.Errorf("%s: %+v", c.name, p.Errors)
			continue
		}
		for _, f := range p.Errors {
			if f.Pointer != c.at && f.Pointer != c.at+"/lines/1" {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
	}
	for _, typ := range []string{"order.seen", "order.late"} {
		s.accept(t, ask{path: "/v1/events/" + typ, body: wrong})
	}
	p := s.refused(t, ask{path: "/v1/events", header: ndjson, body: `{"type":"order.paid","data":` + right + "}\n\n" + `{"type":"order.paid","data":` + wrong + "}\n" +
		`{"type":"order.seen"}` + "\n" + `{"type":"order.paid","data":1}`}, 422, "invalid-batch")
	var got []string
	for _, f := range p.Errors {
		got = append(got, f.Pointer)
	}
	if want := "/1/data /1/data/lines/1 /2/data /3/data"; strings.Join(got, " ") != want && strings.Join(got, " ") != "/1/data/lines/1 /1/data /2/data /3/data" {
		t.Errorf("%q; want %s", got, want)
	}
	equal(t, "line", p.Errors[0].Line, 3)
}

func TestDataOfATypeWithASchemaIsThereAndJSON(t *testing.T) {
	s := newSetup(t, withSchema(t, `{"type":"object"}`))
	ofOrder := func(members string) string {
		return `{"specversion":"1.0","id":"1","source":"/s","type":"order.paid"` + members + `}`
	}
	for _, c := range []struct{ header, body, fault string }{
		{structured, ofOrder(""), "/data: missing"},
		{structured, ofOrder(`,"datacontenttype":"text/plain","data":"{}"`), "/data: must be JSON"},
		{structured, ofOrder(`,"data_base64":"e30="`), "/data_base64: must be JSON"},
		{structured, ofOrder(`,"datacontenttype":"application/json","data_base64":"W10="`), "/data_base64: want object"},
		{binaryHeader, "", ": missing"},
		{binaryHeader + "\nContent-Type: application/xml", "<a/>", ": must be JSON"},
	} {
		wantFaults(t, s.refused(t, ask{path: "/v1/events", header: c.header, body: c.body}, 422, "invalid-data"), c.body, []string{c.fault})
	}
	s.accept(t, ask{path: "/v1/events", header: structured, body: ofOrder(`,"datacontenttype":"application/json","data_base64":"e30="`)})
}

func TestEventTypes(t *testing.T) {
	s := newSetup(t, withSchema(t, `{ "type": "object" }`))
	w := s.do(ask{method: "GET", path: "/v1/event-types"})
	equal(t, "status", w.Code, 200)
	equal(t, "content type", w.Header().Get("Content-Type"), "application/json")
	equal(t, "body", w.Body.String(), `{"items":[{"type":"order.paid","schema":{"type":"object"}},{"type":"order.seen","description":"somebody looked"}],"next":""}`+"\n")
	equal(t, "nothing declared", newSetup(t).do(ask{method: "GET", path: "/v1/event-types"}).Body.String(), `{"items":[],"next":""}`+"\n")
	equal(t, "HEAD", s.do(ask{method: "HEAD", path: "/v1/event-types"}).Code, 200)

	// The same guard as for all else.
	s = newSetup(t, func(o *Options) { o.Tokens = []string{"t"} })
	s.refused(t, ask{method: "GET", path: "/v1/event-types"}, 401, "unauthorized")
	s = newSetup(t)
	s.refused(t, ask{method: "GET", path: "/v1/event-types", local: lan}, 403, "not-local")
	w = s.do(ask{method: "POST", path: "/v1/event-types"})
	equal(t, "slug", problemOf(t, w).slug(), "method-not-allowed")
	equal(t, "Allow", w.Header().Get("Allow"), "GET, HEAD")
}

// Phraseanet's new_feed_entry has one shape in its documentation and another one on the
// wire. The schema that the documentation shows takes both, and tells what is wrong with
// the one that was meant.
func TestDocumentedSchemaTakesBothShapesOfAFeedEntry(t *testing.T) {
	c, err := catalogue.New([]catalogue.Declaration{{Type: "new_feed_entry", Schema: "../../docs/schemas/new_feed_entry.json"}})
	if err != nil {
		t.Fatal(err)
	}
	s := newSetup(t, func(o *Options) {
		o.Catalogue = c
		o.TypeFrom, o.KeyFrom = AcceptPhraseanet()
	})
	documented, sent := fixture(t, "phraseanet_documented.json"), fixture(t, "phraseanet_sent.json")
	for _, body := range []string{documented, sent} {
		s.accept(t, ask{path: "/v1/events", body: body})
		equal(t, "type", s.engine.last(t).Event.Type, "new_feed_entry")
	}
	for body, want := range map[string]string{
		strings.Replace(sent, `"webhookId":90210`, `"webhookId":"90210"`, 1): "/webhookId",
		strings.Replace(documented, `"title"`, `"titel"`, 1):                 "/feed",
		strings.Replace(documented, `"mail"`, `"email"`, 1):                  "/users/0",
	} {
		p := s.refused(t, ask{path: "/v1/events", body: body}, 422, "invalid-data")
		if len(p.Errors) != 2 || p.Errors[1].Pointer != want {
			t.Errorf("%+v; want one about %s", p.Errors, want)
		}
	}
}
