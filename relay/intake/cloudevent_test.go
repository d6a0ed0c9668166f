package intake

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyrelay/caddyrelay/relay"
)

const structured = "Content-Type: application/cloudevents+json"

func TestStructuredEvent(t *testing.T) {
	for _, ct := range []string{
		"application/cloudevents+json", "application/cloudevents+json; charset=utf-8", "Application/CloudEvents+JSON;charset=UTF-8",
	} {
		s := newSetup(t, func(o *Options) { o.DefaultSource = "/default" })
		s.accept(t, ask{path: "/v1/events", header: "Content-Type: " + ct, body: `{
			"specversion": "1.0", "id": "A-1", "source": "https://shop.example.com/orders", "type": "order.paid",
			"subject": "orders/42", "time": "2026-11-21T22:23:59.5+02:00", "dataschema": "https://shop.example.com/schemas/order.json",
			"datacontenttype": "application/vnd.shop+json;v=2",
			"partitionkey": "Zoë", "sequence": 17, "sampled": true, "raw": "AAEC", "unset": null,
			"data" : {"b":1.50e+0,	"a":[ ]} }`})
		p := s.engine.last(t)
		equal(t, "event", *p.Event, relay.Event{
			Type: "order.paid", Source: "https://shop.example.com/orders", SourceID: "A-1", Subject: "orders/42",
			Time:        time.Date(2026, 11, 21, 20, 23, 59, 5e8, time.UTC),
			ContentType: "application/vnd.shop+json;v=2", Data: []byte("{\"b\":1.50e+0,\t\"a\":[ ]}"),
			Extensions: map[string]string{
				"dataschema": "https://shop.example.com/schemas/order.json", "partitionkey": "Zoë", "sequence": "17", "sampled": "true", "raw": "AAEC",
			},
		})
		equal(t, "kind", p.Key.Kind, relay.KeyCloudEvent)
		equal(t, "key", p.Key.Text, "https://shop.example.com/orders\x00A-1")
	}
}

// ce is a CloudEvent in JSON with further members.
func ce(id, members string) string {
	if members != "" {
		members = "," + members
	}
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/s","type":"a"%s}`, id, members)
}

func TestStructuredDataByteForByte(t *testing.T) {
	for _, data := range []string{
		`{"order":42}`, "{\r\n\t\"b\" : 1.50e+0 ,\"a\":[ ] }", `null`, `0`, `"t\u0065xt \ud83d"`, `[1 , 2]`, `{"specversion":"0.3","data":1}`,
	} {
		for _, body := range []string{
			ce("1", `"data":`+data),
			`{"data":` + data + `,"type":"a","id":"1","source":"/s","specversion":"1.0"}`,
			"\n{ \"data\" :\t" + data + " , \"\\u0074ype\" : \"a\",\"id\":\"1\",\"source\":\"/s\",\"specversion\":\"1.0\"}\n",
		} {
			s := newSetup(t)
			s.accept(t, ask{path: "/v1/events", header: structured, body: body})
			e := s.engine.last(t).Event
			equal(t, "data", string(e.Data), data)
			equal(t, "content type", e.ContentType, "application/json")
		}
	}
}

// JSON is kept as it stands; text is what its string says; bytes are what base64 says.
func TestStructuredDataByContentType(t *testing.T) {
	for _, c := range []struct{ members, contentType, data string }{
		{``, "", ""},
		{`"datacontenttype":"application/json"`, "application/json", ""},
		{`"data":null`, "application/json", "null"},
		{`"data":"<x/>"`, "application/json", `"<x/>"`},
		{`"datacontenttype":"text/json","data":"\u00e9"`, "text/json", `"\u00e9"`},
		{`"datacontenttype":"application/xml","data":"<much wow=\"xml\"/>\u00e9"`, "application/xml", `<much wow="xml"/>é`},
		{`"datacontenttype":"text/plain; charset=utf-8","data":""`, "text/plain; charset=utf-8", ""},
		{`"datacontenttype":"image/png","data_base64":"iVBORwD/"`, "image/png", "\x89PNG\x00\xff"},
		{`"data_base64":"AAEC"`, "application/octet-stream", "\x00\x01\x02"},
		{`"data_base64":"AA==","data":null`, "", "pointer /data_base64"},
		{`"data_base64":null,"data":1`, "application/json", "1"},
		{`"datacontenttype":"application/x+json","data_base64":"IHsgfQ=="`, "application/x+json", " { }"},
	} {
		s := newSetup(t)
		a := ask{path: "/v1/events", header: structured, body: ce("1", c.members)}
		if pointer, refused := strings.CutPrefix(c.data, "pointer "); refused {
			equal(t, "pointer", s.refused(t, a, 422, "invalid-cloudevent").Errors[0].Pointer, pointer)
			continue
		}
		s.accept(t, a)
		e := s.engine.last(t).Event
		if e.ContentType != c.contentType || string(e.Data) != c.data {
			t.Errorf("%s: %q of type %q; want %q of %q", c.members, e.Data, e.ContentType, c.data, c.contentType)
		}
	}
}

func TestStructuredFaults(t *testing.T) {
	base := `"specversion":"1.0","id":"1","source":"/s","type":"a"`
	for _, c := range []struct {
		body   string
		faults []string // "pointer: part of the detail"
	}{
		{`{}`, []string{"/specversion: missing", "/id: missing", "/source: missing", "/type: missing"}},
		{`{"specversion":"1.0","id":null,"source":"/s","type":"a"}`, []string{"/id: missing"}},
		{`{"specversion":"0.3","id":"1","source":"/s","type":"a"}`, []string{`/specversion: must be "1.0"`}},
		{`{"specversion":1.0,"id":"1","source":"/s","type":"a"}`, []string{`/specversion: must be a string`}},
		{`{"specversion":"1.0","id":"","source":"","type":""}`, []string{"/type: empty", "/source: empty", "/id: empty"}},
		{`{"specversion":"1.0","id":7,"source":"/s","type":"a"}`, []string{"/id: must be a string"}},
		{`{"specversion":"1.0","id":"1","source":"http://[::","type":"relay.x"}`, []string{"/type: reserved", "/source: no URI reference"}},
		{`{"specversion":"1.0","id":"` + strings.Repeat("x", 256) + `","source":"/s","type":"a"}`, []string{"/id: 1 to 255"}},
		{`{` + base + `,"subject":""}`, []string{"/subject: empty"}},
		{`{` + base + `,"time":"yesterday"}`, []string{"/time: RFC 3339"}},
		{`{` + base + `,"dataschema":"order.json"}`, []string{"/dataschema: no absolute URI"}},
		{`{` + base + `,"datacontenttype":"json"}`, []string{"/datacontenttype: no media type"}},
		{`{` + base + `,"datacontenttype":"text/x\r\nA: b"}`, []string{"/datacontenttype: no media type"}},
		{`{` + base + `,"traceId":"x"}`, []string{"/traceId: lower-case"}},
		{`{` + base + `,"trace_id":"x"}`, []string{"/trace_id: lower-case"}},
		{`{` + base + `,"":"x"}`, []string{"/: no name"}},
		{`{` + base + `,"x":{"y":1}}`, []string{"/x: must be a string, a boolean or a whole number"}},
		{`{` + base + `,"x":[]}`, []string{"/x: must be a string, a boolean or a whole number"}},
		{`{` + base + `,"x":1.5}`, []string{"/x: not whole"}},
		{`{` + base + `,"x":1e3}`, []string{"/x: not whole"}},
		{`{` + base + `,"x":2147483648}`, []string{"/x: more than 32 bits"}},
		{`{` + base + `,"x":"a\u0007"}`, []string{"/x: U+0007"}},
		{`{` + base + `,"x":"` + strings.Repeat("x", maxExtensionBytes) + `"}`, []string{"/x: more than 8192 bytes in all"}},
		{`{` + base + `,"data":1,"data_base64":"AA=="}`, []string{"/data_base64: stands beside data"}},
		{`{` + base + `,"data_base64":1}`, []string{"/data_base64: must be a string"}},
		{`{` + base + `,"data_base64":"AA"}`, []string{"/data_base64: not base64"}},
		{`{` + base + `,"data_base64":"-_8="}`, []string{"/data_base64: not base64"}},
		{`{` + base + `,"datacontenttype":"application/json","data_base64":"AA=="}`, []string{"/data_base64: does not hold JSON"}},
		{`{` + base + `,"datacontenttype":"application/xml","data":{"x":1}}`, []string{"/data: must be a string"}},
		{`{` + base + `,"datacontenttype":"text/plain","data":"\ud800"}`, []string{"/data: no character"}},
	} {
		s := newSetup(t)
		wantFaults(t, s.refused(t, ask{path: "/v1/events", header: structured, body: c.body}, 422, "invalid-cloudevent"), c.body, c.faults)
	}
	var many strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, `,"x%d":"y"`, i)
	}
	s := newSetup(t)
	p := s.refused(t, ask{path: "/v1/events", header: structured, body: `{` + base + many.String() + `}`}, 422, "invalid-cloudevent")
	if !strings.Contains(p.Detail, "more than 64 extensions") {
		t.Error(p.Detail)
	}
	for _, body := range []string{`[]`, `null`, `"a"`} {
		s.refused(t, ask{path: "/v1/events", header: structured, body: body}, 422, "invalid-cloudevent")
	}
	for body, slug := range map[string]string{
		``: "malformed-json", `{` + base: "malformed-json", `{` + base + `}{}`: "malformed-json", `{` + base + `,"id":"2"}`: "duplicate-name",
		`{` + base + `,"data":{"x":1,"x":2}}`: "duplicate-name", `{` + base + `,"data":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`: "too-deep",
		"{\"id\":\"\xff\"}": "not-utf-8",
	} {
		s.refused(t, ask{path: "/v1/events", header: structured, body: body}, 400, slug)
	}
	s.accept(t, ask{path: "/v1/events", header: structured, body: ce("1", `"data":`+strings.Repeat("[", 64)+strings.Repeat("]", 64))})
}

// wantFaults compares pointers or header names, and a part of each detail.
func wantFaults(t *testing.T, p problemBody, input string, want []string) {
	t.Helper()
	if len(p.Errors) != len(want) {
		t.Errorf("%.300s: %+v; want %q", input, p.Errors, want)
		return
	}
	for i, w := range want {
		where, detail, _ := strings.Cut(w, ": ")
		if got := p.Errors[i]; got.Pointer+got.Header != where || !strings.Contains(got.Detail, detail) {
			t.Errorf("%.300s: %+v; want %s", input, got, w)
		}
	}
}

const binaryHeader = "ce-specversion: 1.0\nce-type: order.paid\nce-source: /shop\nce-id: A-1"

func TestBinaryEvent(t *testing.T) {
	s := newSetup(t)
	for _, body := range []string{`{"order":42}`, " {\"b\" : 1.50e+0 }\n", `null`, `"text"`} {
		s.engine.known = nil
		s.accept(t, ask{path: "/v1/events", header: binaryHeader + "\nContent-Type: application/json; charset=utf-8\nce-subject: orders%2F42\nCE-TIME: 2026-11-21T20:23:59Z\n" +
			"ce-dataschema: https://shop.example.com/order.json\nce-traceparent: 00-x\nce-Sequence: 17\nce-empty:", body: body})
		p := s.engine.last(t)
		equal(t, "event", *p.Event, relay.Event{
			Type: "order.paid", Source: "/shop", SourceID: "A-1", Subject: "orders/42", Time: time.Date(2026, 11, 21, 20, 23, 59, 0, time.UTC),
			ContentType: "application/json; charset=utf-8", Data: []byte(body),
			Extensions: map[string]string{"dataschema": "https://shop.example.com/order.json", "traceparent": "00-x", "sequence": "17", "empty": ""},
		})
		equal(t, "kind", p.Key.Kind, relay.KeyCloudEvent)
	}
}

func TestBinaryDataOfAnyType(t *testing.T) {
	for _, c := range []struct{ contentType, body, slug string }{
		{"application/octet-stream", "\x00\xff{", ""},
		{"image/png", "\x89PNG", ""},
		{"application/xml", "<a/>", ""},
		{"text/csv", "a,b\n", ""},
		{"application/x-ndjson", "{}\n{}\n", ""},
		{"application/vnd.shop+json", `{"a":1}`, ""},
		{"text/json", `[1]`, ""},
		{"none", "", ""},
		{"application/json", "", ""}, // an event without data
		{"none", "x", "unsupported-media-type"},
		{"application/json", "{", "malformed-json"},
		{"application/vnd.shop+json", `{"a":1,"a":2}`, "duplicate-name"},
		// What a web page could send.
		{"text/plain", "x", "unsupported-media-type"},
		{"text/plain; charset=utf-8", "x", "unsupported-media-type"},
		{"application/x-www-form-urlencoded", "a=b", "unsupported-media-type"},
		{"multipart/form-data; boundary=x", "x", "unsupported-media-type"},
		// Formats of CloudEvents that are not taken.
		{"application/cloudevents+avro", "x", "unsupported-media-type"},
		{"application/cloudevents-batch+xml", "x", "unsupported-media-type"},
		{"application/cloudevents", "{}", "unsupported-media-type"},
	} {
		s := newSetup(t)
		a := ask{path: "/v1/events", header: binaryHeader + "\nContent-Type: " + c.contentType, body: c.body}
		if c.slug != "" {
			w := s.do(a)
			equal(t, c.contentType, problemOf(t, w).slug(), c.slug)
			continue
		}
		s.accept(t, a)
		e := s.engine.last(t).Event
		if c.contentType == "none" {
			c.contentType = ""
		}
		if e.ContentType != c.contentType || string(e.Data) != c.body {
			t.Errorf("%s: %q of type %q", c.contentType, e.Data, e.ContentType)
		}
	}
}

func TestBinaryFaults(t *testing.T) {
	for _, c := range []struct {
		header string
		faults []string
	}{
		{"ce-id: 1", []string{"ce-specversion: missing", "ce-source: missing", "ce-type: missing"}},
		{"ce-type: a\nce-source: /s", []string{"ce-specversion: missing", "ce-id: missing"}},
		{binaryHeader + "\nce-id: 2", []string{"ce-id: more than once"}},
		{strings.Replace(binaryHeader, "1.0", "1.1", 1), []string{`ce-specversion: must be "1.0"`}},
		{strings.Replace(binaryHeader, "A-1", "", 1), []string{"ce-id: empty"}},
		{strings.Replace(binaryHeader, "order.paid", "a b", 1), []string{"ce-type: byte 0x20"}},
		{strings.Replace(binaryHeader, "/shop", "http://[::", 1), []string{"ce-source: URI reference"}},
		{binaryHeader + "\nce-subject: a%0Ab", []string{"ce-subject: U+000A"}},
		{binaryHeader + "\nce-subject: %C0%A0", []string{"ce-subject: not UTF-8"}},
		{binaryHeader + "\nce-subject: \"a\\\"", []string{"ce-subject: backslash"}},
		{binaryHeader + "\nce-time: 2026", []string{"ce-time: RFC 3339"}},
		{binaryHeader + "\nce-a_b: x\nce-b-c: y", []string{"ce-a_b: lower-case", "ce-b-c: lower-case"}},
		{binaryHeader + "\nce-data: x", []string{"ce-data: the body"}},
		{binaryHeader + "\nce-data_base64: x", []string{"ce-data_base64: lower-case"}},
		{binaryHeader + "\nce-datacontenttype: text/plain", []string{"ce-datacontenttype: Content-Type"}},
		{binaryHeader + "\nce-: x", []string{"ce-: no name"}},
		{binaryHeader + "\nce-" + strings.Repeat("x", 5000) + ": " + strings.Repeat("y", 5000), []string{"ce-" + strings.Repeat("x", 61) + "...: more than 8192 bytes"}},
	} {
		s := newSetup(t)
		wantFaults(t, s.refused(t, ask{path: "/v1/events", header: c.header, body: "1"}, 422, "invalid-cloudevent"), c.header, c.faults)
	}
	// With the type in the path, or a content type that says otherwise, they are fields
	// like any other.
	s := newSetup(t)
	s.accept(t, ask{path: "/v1/events/a", header: "ce-id: 1\nce-x_y: z", body: "1"})
	s.accept(t, ask{path: "/v1/events", header: "ce-id: 1\nce-x_y: z\n" + structured, body: ce("1", "")})
}

func TestFieldsAreDecodedOnce(t *testing.T) {
	for value, want := range map[string]string{
		"Euro%20%E2%82%AC%20%F0%9F%98%80": "Euro € 😀", "euro%20%e2%82%ac": "euro €", "%41bc": "Abc", "100%25": "100%", "%2541": "%41",
		`"quoted \"x\" \\ y"`: `quoted "x" \ y`, `"a%20b"`: "a b", `"`: `"`, `"a`: `"a`, `a"b"`: `a"b"`, `""`: "",
		"100%": "100%", "%zz%4": "%zz%4", "%+1": "%+1", "é": "é", "a b": "a b",
	} {
		got, err := decodeField(value)
		if err != nil || got != want {
			t.Errorf("%q: %q (%v); want %q", value, got, err, want)
		}
	}
}

func TestCloudEventIsTheSameInEveryMode(t *testing.T) {
	s := newSetup(t)
	first := s.accept(t, ask{path: "/v1/events", header: structured, body: `{"specversion":"1.0","id":"A-1","source":"/shop","type":"order.paid","data":{"n":1}}`})
	for _, a := range []ask{
		{path: "/v1/events", header: structured, body: `{"data":{"n":1}, "type":"order.paid","source":"/shop","specversion":"1.0","id":"A-1","datacontenttype":"application/json"}`},
		{path: "/v1/events", header: binaryHeader, body: `{"n":1}`},
	} {
		again := s.accept(t, a)
		if !again.Duplicate || again.ID != first.ID {
			t.Errorf("%+v; want a duplicate of %s", again, first.ID)
		}
	}
	for _, a := range []ask{
		{path: "/v1/events", header: binaryHeader, body: `{"n":2}`},
		{path: "/v1/events", header: binaryHeader + "\nContent-Type: application/x+json", body: `{"n":1}`},
		{path: "/v1/events", header: binaryHeader + "\nRelay-Subscriptions: crm", body: `{"n":1}`},
		{path: "/v1/events", header: strings.Replace(binaryHeader, "paid", "late", 1), body: `{"n":1}`},
	} {
		s.refused(t, a, 422, "key-reused")
	}
	// Another source, or another kind of key, is another event.
	for _, a := range []ask{
		{path: "/v1/events", header: strings.Replace(binaryHeader, "/shop", "/shop2", 1), body: `{"n":1}`},
		{path: "/v1/events", header: "Idempotency-Key: A-1", body: `{"type":"order.paid","source":"/shop","data":{"n":1}}`},
		{path: "/v1/events", body: `{"type":"order.paid","source":"/shop","id":"A-1","data":{"n":1}}`},
		{path: "/v1/events", header: binaryHeader + "\nIdempotency-Key: other", body: `{"n":1}`},
	} {
		if s.accept(t, a).Duplicate {
			t.Errorf("%+v is a duplicate", a)
		}
	}
}

func FuzzStructured(f *testing.F) {
	for _, s := range []string{
		ce("1", `"data":{"b":[1]},"time":"2026-11-21T20:23:59Z","x":17,"y":true`), ce("1", `"data_base64":"AAEC","datacontenttype":"image/png"`),
		ce("1", `"datacontenttype":"text/plain","data":"\u00e9"`), `{}`, `[]`, ce("", ""), ce("1", "")[:20], ce("1", `"A":1`), ce("1", `"data_base64":"AA"`),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		kept := slices.Clone(body)
		s := newSetup(t)
		events, ref := s.parseStructured(&submission{body: body})
		if !slices.Equal(body, kept) {
			t.Fatal("the body was changed")
		}
		valid := checkJSON(body, maxDepth+1) == nil
		if ref != nil {
			if (ref.kind == problemCloudEvent) != valid {
				t.Fatalf("%+v, valid %v", ref, valid)
			}
			return
		}
		if !valid {
			t.Fatal("taken, but no JSON")
		}
		checkEvent(t, events[0].Event)
	})
}

func FuzzBinary(f *testing.F) {
	f.Add("1.0", "A-1", "/shop", "order.paid", "subject", "orders%2F42")
	f.Add("1.0", "%C0%A0", `"a\"b"`, "a", "x", "%")
	f.Add("", "", "", "", "", "")
	f.Add("1.0", "1", "s", "t", "time", "2026-11-21T20:23:59Z")
	f.Fuzz(func(t *testing.T, version, id, source, typ, name, value string) {
		header := map[string][]string{"Ce-Specversion": {version}, "Ce-Id": {id}, "Ce-Source": {source}, "Ce-Type": {typ}, "Ce-" + name: {value}}
		s := newSetup(t)
		events, ref := s.parseBinary(&submission{header: header, contentType: "application/json", body: []byte("1")})
		if ref == nil {
			checkEvent(t, events[0].Event)
		}
	})
}

// checkEvent holds a CloudEvent that was taken against what is promised of it.
func checkEvent(t *testing.T, e *relay.Event) {
	t.Helper()
	if relay.CheckType(e.Type) != nil || e.Source == "" || e.SourceID == "" || len(e.ContentType) > maxContentType || !isPrintable(e.ContentType) {
		t.Fatalf("%+v", e)
	}
	size := 0
	for name, value := range e.Extensions {
		if checkExtensionName(name) != nil || checkControls(value) != nil || !utf8.ValidString(value) {
			t.Fatalf("extension %q: %q", name, value)
		}
		size += len(name) + len(value)
	}
	if size > maxExtensionBytes+maxAttribute+len("dataschema") {
		t.Fatalf("%d bytes of extensions", size)
	}
	if len(e.Data) > 0 && isJSONData(e.ContentType) && checkJSON(e.Data, maxDepth) != nil {
		t.Fatalf("%s: %q", e.ContentType, e.Data)
	}
}
