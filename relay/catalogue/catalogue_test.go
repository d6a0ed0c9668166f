package catalogue

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/topic"
)

// write makes files of names and texts, and returns their folder.
func write(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// checked is a catalogue of one type, "order.paid", with this schema.
func checked(t testing.TB, schema string) *Catalogue {
	t.Helper()
	c, err := New([]Declaration{{Type: "order.paid", Schema: filepath.Join(write(t, "order.json", schema), "order.json")}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const order = `{
	"type": "object",
	"required": ["id", "total"],
	"properties": {
		"id": {"type": "string", "pattern": "^ord_"},
		"total": {"type": "number", "minimum": 0, "multipleOf": 0.01},
		"lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "uniqueItems": true},
		"a/b~c": {"type": "boolean"}
	},
	"$defs": {"line": {"type": "object", "required": ["sku"], "properties": {"quantity": {"type": "integer"}}}}
}`

func TestDataIsHeldAgainstTheSchemaOfItsType(t *testing.T) {
	c := checked(t, order)
	for _, data := range []string{
		`{"id":"ord_1","total":19.90}`, `{"id":"ord_1","total":0,"other":null,"lines":[{"sku":"a","quantity":2.0}]}`, `{"id":"ord_1","total":1e3}`,
		`{"id":"ord_1","total":123456789012345678901234567890.01}`,
	} {
		if faults := c.Check("order.paid", []byte(data)); faults != nil {
			t.Errorf("%s: %+v", data, faults)
		}
	}
	for _, refused := range []struct {
		data string
		want []string // "pointer: part of the detail"
	}{
		{`null`, []string{": got null, want object"}},
		{`[]`, []string{": got array, want object"}},
		{`{}`, []string{": missing properties 'id', 'total'"}},
		{`{"id":7,"total":-1}`, []string{"/id: got number, want string", "/total: minimum"}},
		{`{"id":"x","total":0.001}`, []string{"/id: pattern", "/total: multipleOf"}},
		{`{"id":"ord_1","total":1,"lines":[{"sku":"a"},{"quantity":1.5}]}`, []string{"/lines/1: 'sku'", "/lines/1/quantity: want integer"}},
		{`{"id":"ord_1","total":1,"lines":[{"sku":1},{"sku":1.0}]}`, []string{"/lines: items at 0 and 1 are equal"}},
		{`{"id":"ord_1","total":1,"a/b~c":1}`, []string{"/a~1b~0c: want boolean"}},
	} {
		wantFaults(t, refused.data, c.Check("order.paid", []byte(refused.data)), refused.want)
	}
}

func wantFaults(t *testing.T, data string, got []Fault, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %+v; want %q", data, got, want)
		return
	}
	for _, w := range want { // members come in any order
		at, detail, _ := strings.Cut(w, ": ")
		found := false
		for _, f := range got {
			found = found || pointer(f.Path) == at && strings.Contains(f.Detail, detail)
		}
		if !found {
			t.Errorf("%s: %+v; want %q", data, got, w)
		}
	}
}

// What is told of alternatives is about the one that was meant.
func TestAlternativesAreExplainedByTheNearest(t *testing.T) {
	c := checked(t, `{"oneOf": [
		{"type": "object", "required": ["event", "webhookId"], "properties": {"event": {"const": "new_feed_entry"}, "webhookId": {"type": "integer"}}},
		{"type": "object", "required": ["name", "feed"], "properties": {"name": {"const": "new_feed_entry"}, "feed": {"type": "object"}}, "not": {"required": ["event"]}}
	]}`)
	for _, data := range []string{`{"event":"new_feed_entry","webhookId":1}`, `{"name":"new_feed_entry","feed":{}}`} {
		if faults := c.Check("order.paid", []byte(data)); faults != nil {
			t.Errorf("%s: %+v", data, faults)
		}
	}
	wantFaults(t, "first", c.Check("order.paid", []byte(`{"event":"new_feed_entry","webhookId":"1"}`)),
		[]string{": fits none of 2 alternatives; what follows is wrong with number 1", "/webhookId: got string, want integer"})
	wantFaults(t, "second", c.Check("order.paid", []byte(`{"name":"new_feed_entry"}`)),
		[]string{": wrong with number 2", ": missing property 'feed'"})
	both := checked(t, `{"oneOf": [{"type": "object"}, {"required": ["a"]}]}`)
	wantFaults(t, "both", both.Check("order.paid", []byte(`{"a":1}`)), []string{": oneOf"})
}

func TestTypesAreComparedWithoutCase(t *testing.T) {
	dir := write(t, "false.json", "false")
	file := filepath.Join(dir, "false.json")
	c, err := New([]Declaration{{Type: "Order.Paid", Schema: file}, {Type: "Entry.publish", Schema: file}, {Type: "free", Description: "without"}})
	if err != nil {
		t.Fatal(err)
	}
	for typ, want := range map[string]bool{
		"order.paid": true, "ORDER.PAID": true, "Order.Paid": true, "order.paid.late": false, "order": false, "free": false, "unknown": false,
		"ContentManagement.Entry.Publish": true, "entry.publish": true, "ContentManagement.order.paid": true,
	} {
		if got := c.HasSchema(typ); got != want {
			t.Errorf("%s: %v", typ, got)
		}
		if faults := c.Check(typ, []byte("1")); (len(faults) > 0) != want {
			t.Errorf("%s: %+v", typ, faults)
		}
	}
	var none *Catalogue
	if none.HasSchema("a") || none.Check("a", []byte("1")) != nil || !none.Covers(topic.Pattern{}) {
		t.Error("a catalogue of nothing checks something")
	}
}

func TestCovers(t *testing.T) {
	c, err := New([]Declaration{{Type: "order.paid"}, {Type: "ContentManagement.Entry.publish"}})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"*": true, "order.*": true, "Order.Paid": true, "*.paid": true, "Entry.*": true, "relay.*": true, "relay.egress.changed": true,
		"order.late": false, "invoice.*": false, "*.*.*.x": false,
	} {
		p, err := topic.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Covers(p); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestListing(t *testing.T) {
	dir := write(t, "a.json", "{ \"type\":\t\"object\" }\n")
	c, err := New([]Declaration{{Type: "b", Description: "the <second>"}, {Type: "a", Schema: filepath.Join(dir, "a.json")}})
	if err != nil {
		t.Fatal(err)
	}
	var got listing
	if err := json.Unmarshal(c.JSON(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Items) != 2 || got.Items[0].Description != "the <second>" || string(got.Items[1].Schema) != `{"type":"object"}` {
		t.Errorf("%s", c.JSON())
	}
	var none *Catalogue
	empty, err := New(nil)
	if err != nil || string(empty.JSON()) != string(none.JSON()) {
		t.Errorf("%s (%v); want %s", empty.JSON(), err, none.JSON())
	}
}

func TestErrorsNameTheFileAndTheMend(t *testing.T) {
	dir := write(t, "broken.json", "{\n\"type\": \n}", "twice.json", "{} {}", "kind.json", `{"type":"objekt"}`, "remote.json", `{"$ref":"https://schemas.example.com/a.json"}`,
		"id.json", `{"$id":"https://shop.example.com/order.json","$ref":"line.json"}`, "draft.json", `{"$schema":"http://example.com/my-schema"}`,
		"missing.json", `{"$ref":"nowhere.json"}`, "bad-ref.json", `{"$ref":"broken.json"}`, "regexp.json", `{"pattern":"("}`, "large.json", `{"pattern":".{999}.{999}.{999}"}`, "true.json", "true")
	for file, want := range map[string]string{
		"none.json":    "no such file",
		"broken.json":  "broken.json is not JSON: invalid character '}' looking for beginning of value, on line 3",
		"twice.json":   "is not JSON",
		"kind.json":    `it is no JSON schema: at "/type": `,
		"remote.json":  "refers to https://schemas.example.com/a.json, and schemas are not fetched over the network; save that beside it",
		"id.json":      "refers to https://shop.example.com/line.json, and schemas are not fetched",
		"draft.json":   "refers to http://example.com/my-schema, and schemas are not fetched",
		"missing.json": "nowhere.json: no such file",
		"bad-ref.json": "broken.json is not JSON",
		"regexp.json":  "regex",
		"large.json":   "is too large: it comes to 2999 instructions",
	} {
		path := filepath.Join(dir, file)
		_, err := New([]Declaration{{Type: "order.paid", Schema: path}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), `event "order.paid": schema `+path+": ") {
			t.Errorf("%s: %v; want %q", file, err, want)
		}
	}
	for want, declarations := range map[string][]Declaration{
		"is a pattern":   {{Type: "order.*"}},
		"declared twice": {{Type: "order.paid"}, {Type: "Order.Paid"}},
		`"contentmanagement.a" is declared twice`: {{Type: "a"}, {Type: "contentmanagement.a"}},
	} {
		if _, err := New(declarations); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestSchemasMayReferToFilesBesideThem(t *testing.T) {
	dir := write(t, "order.json", `{"properties":{"line":{"$ref":"line.json#/$defs/line"}}}`, "line.json", `{"$defs":{"line":{"type":"string"}}}`)
	t.Chdir(dir)
	c, err := New([]Declaration{{Type: "a", Schema: "order.json"}})
	if err != nil {
		t.Fatal(err)
	}
	wantFaults(t, "1", c.Check("a", []byte(`{"line":1}`)), []string{"/line: want string"})
	// Named by its address, a schema may be known by it.
	dir = write(t, "a.json", `{"$schema":"http://json-schema.org/draft-07/schema#","$id":"https://example.com/a.json","properties":{"n":{"$ref":"#/definitions/n"}},"definitions":{"n":{"type":"null"}}}`)
	if c, err = New([]Declaration{{Type: "a", Schema: filepath.Join(dir, "a.json")}}); err != nil {
		t.Fatal(err)
	}
	wantFaults(t, "2", c.Check("a", []byte(`{"n":1}`)), []string{"/n: want null"})
}

// The validator calculates exactly. What a sender writes must not make that expensive,
// or impossible.
func TestHugeNumbersAreNotCalculated(t *testing.T) {
	c := checked(t, order)
	digits := strings.Repeat("9", 300_000)
	for number, want := range map[string]string{
		"1e999999": "/total: send it as a string", "1e-999999": "/total: send it as a string", "1E+99999999999999999999": "/total: send it as a string",
		digits: "/total: send it as a string", "0." + digits: "/total: send it as a string", "1e400": "", "1e-400": "/total: multipleOf",
	} {
		data := fmt.Sprintf(`{"id":"ord_1","total":%s}`, number)
		var faults []string
		if want != "" {
			faults = []string{want}
		}
		wantFaults(t, number[:min(len(number), 20)], c.Check("order.paid", []byte(data)), faults)
	}
	wantFaults(t, "alone", c.Check("order.paid", []byte("1e999999")), []string{": send it as a string"})
	wantFaults(t, "deep", c.Check("order.paid", []byte(`{"x":[0,{"y":1e999999}]}`)), []string{"/x/1/y: send it as a string"})
}

func TestDetailsAreShort(t *testing.T) {
	c := checked(t, `{"items":{"enum":["a"]},"pattern":"^a$","maxLength":3}`)
	for _, data := range []string{`"` + strings.Repeat("é", 100_000) + `"`, `["` + strings.Repeat("x", 100_000) + `"]`} {
		for _, f := range c.Check("order.paid", []byte(data)) {
			if len(f.Detail) > 400 {
				t.Errorf("%d bytes: %.100s", len(f.Detail), f.Detail)
			}
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte(`{"id":"ord_1","total":19.90,"lines":[{"sku":"a","quantity":1}],"a/b~c":true}`))
	f.Add([]byte(`{"id":1,"total":-1e400,"lines":[1,1,{}]}`))
	f.Add([]byte(`1e999999999999`))
	f.Add([]byte(`"\ud800"`))
	f.Add([]byte(`{`))
	c := checked(f, order)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, fault := range c.Check("order.paid", data) {
			if fault.Detail == "" || len(fault.Detail) > 400 {
				t.Fatalf("%q: %+v", data, fault)
			}
		}
	})
}

// Types without a schema cost a look into a map.
func BenchmarkTypeWithoutSchema(b *testing.B) {
	c := checked(b, order)
	b.ReportAllocs()
	for b.Loop() {
		if c.HasSchema("invoice.paid") {
			b.Fatal("it has none")
		}
	}
}
